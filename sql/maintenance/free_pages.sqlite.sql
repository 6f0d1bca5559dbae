-- How large is the SQLite file, and which share of it is free?
-- One row. Pages that are free were written once and hold nothing now; new rows take them before the file grows.
-- Mend: VACUUM; it needs the space of the whole file a second time, and nobody else may use the file meanwhile.
SELECT p.page_count AS pages,
       f.freelist_count AS free_pages,
       s.page_size AS page_bytes,
       round(1.0 * f.freelist_count / max(1, p.page_count), 3) AS free_share
FROM pragma_page_count() AS p, pragma_freelist_count() AS f, pragma_page_size() AS s;
