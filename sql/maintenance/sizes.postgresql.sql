-- How much space do the tables take, and how much of it their indexes?
-- One row a table of the current schema, its partitions and TOAST included; `partitions` is NULL for a table without.
-- The record of changes is in the tables audit_*.
SELECT c.relname AS name,
       CASE WHEN c.relkind = 'p' THEN count(*) FILTER (WHERE f.isleaf) END AS partitions,
       coalesce(sum(greatest(l.reltuples, 0)) FILTER (WHERE f.isleaf), 0) AS estimated_rows,
       coalesce(sum(pg_table_size(l.oid)), 0) AS table_bytes,
       coalesce(sum(pg_indexes_size(l.oid)), 0) AS index_bytes
FROM pg_class c
LEFT JOIN LATERAL pg_partition_tree(CAST(c.oid AS regclass)) p ON true
CROSS JOIN LATERAL (SELECT coalesce(p.relid, c.oid) AS relid, coalesce(p.isleaf, true) AS isleaf) f
JOIN pg_class l ON l.oid = f.relid
WHERE c.relkind IN ('r', 'p')
  AND NOT c.relispartition
  AND c.relpersistence = 'p'
  AND c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())
GROUP BY c.oid, c.relname, c.relkind
ORDER BY sum(pg_total_relation_size(l.oid)) DESC, c.relname;
