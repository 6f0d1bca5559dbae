-- How much space do the tables take, and how much of it their indexes?
-- One row a table. It reads the whole file; SQLite has to be built with its table dbstat (most are).
-- The record of changes is in the tables audit_*.
SELECT m.tbl_name AS name,
       sum(CASE WHEN m.type = 'table' THEN d.pgsize ELSE 0 END) AS table_bytes,
       sum(CASE WHEN m.type = 'index' THEN d.pgsize ELSE 0 END) AS index_bytes
FROM dbstat AS d
JOIN sqlite_schema AS m ON m.name = d.name
WHERE d.aggregate = TRUE
GROUP BY m.tbl_name
ORDER BY sum(d.pgsize) DESC, m.tbl_name;
