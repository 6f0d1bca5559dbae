-- Which tables and partitions ask for upkeep?
-- One row a table or partition of the current schema: its size, rows alive and dead, rows changed since it was last
-- analysed, how many transactions ago its oldest row was frozen, and whether the role that asks may maintain it.
-- A partitioned table holds no rows itself: autovacuum never analyses it, so that analysed_at is when a person or
-- `edupulse db maintain` last did. Rows are the server's own counts, which it forgets when it crashes.
-- Mend: VACUUM (ANALYZE) name; ANALYZE name.
SELECT c.relname AS name,
       p.relname AS parent,
       c.relkind = 'p' AS partitioned,
       pg_get_userbyid(c.relowner) AS owner,
       CASE WHEN CAST(current_setting('server_version_num') AS integer) >= 170000
            THEN has_table_privilege(c.oid, 'MAINTAIN')
            ELSE pg_has_role(c.relowner, 'USAGE')
       END AS may_maintain,
       pg_table_size(c.oid) AS bytes,
       coalesce(s.n_live_tup, 0) AS live_rows,
       coalesce(s.n_dead_tup, 0) AS dead_rows,
       coalesce(s.n_mod_since_analyze, 0) AS changed_rows,
       greatest(s.last_vacuum, s.last_autovacuum) AS vacuumed_at,
       greatest(s.last_analyze, s.last_autoanalyze) AS analysed_at,
       CASE WHEN c.relkind = 'r'
            THEN greatest(age(c.relfrozenxid), mxid_age(c.relminmxid), age(t.relfrozenxid), mxid_age(t.relminmxid))
            ELSE 0
       END AS age
FROM pg_class c
LEFT JOIN pg_stat_all_tables s ON s.relid = c.oid
LEFT JOIN pg_inherits i ON i.inhrelid = c.oid
LEFT JOIN pg_class p ON p.oid = i.inhparent
LEFT JOIN pg_class t ON t.oid = c.reltoastrelid
WHERE c.relkind IN ('r', 'p')
  AND c.relpersistence = 'p'
  AND c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())
ORDER BY coalesce(p.relname, c.relname), p.relname NULLS FIRST, c.relname;
