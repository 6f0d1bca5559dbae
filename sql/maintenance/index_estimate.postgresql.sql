-- How large would each B-tree index be if it were built anew?
-- For a server without pgstattuple; with it, index_bloat.postgresql.sql measures.
-- One row an index of the current schema: a statement that looks at some 30,000 rows of its table and answers with
-- `name`, `bytes` (its size), `rebuilt_bytes` and `bloat` (the share that a new index would not have). In psql end this
-- query with \gexec in the place of the semicolon, and every statement is run.
-- An estimate: the mean size of an entry, and how many rows share a key, are those of the rows looked at. Repeated keys
-- are taken for rarer than they are, so that an index is not called bloated that is not. Who asks must see all rows,
-- and the table must have been analysed: indexes of one that never was are left out.
-- Mend: REINDEX INDEX CONCURRENTLY name.
SELECT format(
    $look$
    SELECT %L AS name, pg_relation_size(%L) AS bytes, CAST(e.rebuilt AS bigint) AS rebuilt_bytes,
           round(CAST(greatest(0, 1 - e.rebuilt / greatest(1, pg_relation_size(%L))) AS numeric), 3) AS bloat
    FROM (
        SELECT count(*) FILTER (WHERE inside) / greatest(1.0, count(*)) * %s AS entries,
               coalesce(avg(8 * ceil((pg_column_size(entry) - 24) / 8.0)) FILTER (WHERE inside), 8) + 12 AS width,
               greatest(1.0, count(*) FILTER (WHERE inside))
                   / greatest(1.0, count(DISTINCT entry) FILTER (WHERE inside)) AS sharing
        FROM (SELECT ROW(%s) AS entry, (%s) IS TRUE AS inside FROM ONLY %s TABLESAMPLE SYSTEM (%s)) AS looked_at
    ) AS s
    CROSS JOIN LATERAL (
        SELECT 8192 * (1 + ceil(1.01 * CASE
            WHEN %L AND s.sharing >= 2 THEN s.entries * 6 + s.entries / s.sharing * s.width * ceil(s.sharing / 400)
            ELSE s.entries * s.width
        END / (8152 * 0.9))) AS rebuilt
    ) AS e$look$,
    c.relname, c.oid, c.oid, greatest(t.reltuples, 0),
    (SELECT string_agg(pg_get_indexdef(c.oid, k, true), ', ' ORDER BY k) FROM generate_series(1, x.indnatts) AS k),
    coalesce(pg_get_expr(x.indpred, x.indrelid), 'true'),
    CAST(t.oid AS regclass),
    least(100, round(CAST(100 * 30000 / greatest(t.reltuples, 1) AS numeric), 4)),
    NOT x.indisunique AND NOT EXISTS (
        SELECT FROM pg_attribute a
        WHERE a.attrelid = c.oid AND CAST(a.atttypid AS regtype) IN ('numeric', 'real', 'double precision', 'jsonb')
    )
) AS statement
FROM pg_index x
JOIN pg_class c ON c.oid = x.indexrelid
JOIN pg_class t ON t.oid = x.indrelid
JOIN pg_am m ON m.oid = c.relam AND m.amname = 'btree'
WHERE c.relkind = 'i'
  AND x.indisvalid
  AND t.reltuples >= 0
  AND t.relpersistence = 'p'
  AND t.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema());
