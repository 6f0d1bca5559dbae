-- Which share of each B-tree index is air, measured?
-- One row an index of the current schema. `bloat` is the share of its pages that a new one would not have: pages that
-- are empty or deleted, and what the others are less full than when an index is built (90 %, or its fillfactor).
-- Needs the extension pgstattuple (CREATE EXTENSION pgstattuple) and the right to call it
-- (GRANT pg_stat_scan_tables TO …). It reads every page of every index. Without it: index_estimate.postgresql.sql.
-- Mend: REINDEX INDEX CONCURRENTLY name.
SELECT c.relname AS name,
       t.relname AS table_name,
       b.index_size AS bytes,
       round(CAST(greatest(0, 1 - (
           1 + b.internal_pages
           + b.leaf_pages * CASE WHEN b.avg_leaf_density = 'NaN' THEN 0 ELSE b.avg_leaf_density END / f.fillfactor
       ) / greatest(1, b.index_size / CAST(current_setting('block_size') AS integer))) AS numeric), 3) AS bloat
FROM pg_index x
JOIN pg_class c ON c.oid = x.indexrelid
JOIN pg_class t ON t.oid = x.indrelid
JOIN pg_am m ON m.oid = c.relam AND m.amname = 'btree'
CROSS JOIN LATERAL pgstatindex(CAST(c.oid AS regclass)) b
CROSS JOIN LATERAL (
    SELECT coalesce(max(CAST(option_value AS integer)) FILTER (WHERE option_name = 'fillfactor'), 90) AS fillfactor
    FROM pg_options_to_table(c.reloptions)
) f
WHERE c.relkind = 'i'
  AND x.indisvalid
  AND t.relpersistence = 'p'
  AND t.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema());
