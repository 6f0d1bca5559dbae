-- How much write-ahead log (WAL) lies on the server's disk, and what keeps it there?
-- One row: the bytes of its files, the most that a checkpoint aims at (max_wal_size), and the replication slot that holds
-- most of it back. A slot that nobody reads keeps every file for ever, unless max_slot_wal_keep_size says how many.
-- Needs the right to list the files: GRANT pg_monitor TO …
SELECT coalesce((SELECT sum(size) FROM pg_ls_waldir()), 0) AS wal_bytes,
       pg_size_bytes(current_setting('max_wal_size')) AS max_wal_bytes,
       s.slot_name,
       s.active AS slot_is_read,
       CAST(s.held AS bigint) AS slot_bytes,
       current_setting('max_slot_wal_keep_size') AS max_slot_wal_keep_size
FROM (VALUES (1)) AS one (row)
LEFT JOIN LATERAL (
    SELECT slot_name, active, pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn) AS held
    FROM pg_replication_slots
    WHERE restart_lsn IS NOT NULL AND NOT pg_is_in_recovery()
    ORDER BY held DESC
    LIMIT 1
) s ON true;
