-- How large is each index, is it used, and is it whole?
-- One row an index of the current schema. `valid` is false for one that was not built to its end, which queries do not
-- use and every write still keeps up; `leftover` for what an interrupted REINDEX CONCURRENTLY left behind (its names end
-- in _ccnew or _ccold): nothing needs that one. `building`: somebody builds or vacuums at its table at this moment.
-- `scans` are those since the server's counts were last reset; on a standby they are counted apart.
-- Mend: DROP INDEX CONCURRENTLY name, for a leftover; REINDEX INDEX CONCURRENTLY name, for another that is not valid.
SELECT c.relname AS name,
       t.relname AS table_name,
       m.amname AS method,
       pg_get_userbyid(c.relowner) AS owner,
       CASE WHEN CAST(current_setting('server_version_num') AS integer) >= 170000
            THEN has_table_privilege(t.oid, 'MAINTAIN')
            ELSE pg_has_role(t.relowner, 'USAGE')
       END AS may_maintain,
       pg_has_role(t.relowner, 'USAGE') AS may_drop,
       pg_relation_size(c.oid) AS bytes,
       x.indisvalid AS valid,
       NOT x.indisvalid AND c.relname ~ '_cc(new|old)[0-9]*$' AS leftover,
       EXISTS (
           SELECT FROM pg_locks l
           WHERE l.locktype = 'relation' AND l.relation = x.indrelid AND l.pid <> pg_backend_pid()
             AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
             AND l.mode IN ('ShareUpdateExclusiveLock', 'ShareLock', 'AccessExclusiveLock')
       ) AS building,
       coalesce(s.idx_scan, 0) AS scans
FROM pg_index x
JOIN pg_class c ON c.oid = x.indexrelid
JOIN pg_class t ON t.oid = x.indrelid
JOIN pg_am m ON m.oid = c.relam
LEFT JOIN pg_stat_all_indexes s ON s.indexrelid = c.oid
WHERE c.relkind = 'i'
  AND t.relpersistence = 'p'
  AND t.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())
ORDER BY pg_relation_size(c.oid) DESC, c.relname;
