-- Which statements take the server's time?
-- The twenty that took most in all since the counts were last reset, in this database. Needs the extension
-- pg_stat_statements (shared_preload_libraries, then CREATE EXTENSION), and pg_read_all_stats to see those of other roles.
-- No value of a row is shown: comments, texts and numbers that stand in a statement are left out here too, because the
-- extension keeps those of commands (SET, COPY, CREATE …) and, when it is short of room, now and then of others. Of what
-- is no SELECT, INSERT, UPDATE, DELETE, MERGE or WITH only the first word is shown.
SELECT CASE WHEN s.words ~* '^(select|insert|update|delete|merge|with)\M'
            THEN left(btrim(regexp_replace(s.words, '\s+', ' ', 'g')), 400)
            ELSE upper(coalesce(substring(s.words FROM '^[A-Za-z]+'), '?')) || ' …'
       END AS statement,
       s.role,
       s.calls,
       round(CAST(s.total_exec_time AS numeric)) AS total_ms,
       round(CAST(s.mean_exec_time AS numeric), 1) AS mean_ms,
       round(CAST(s.max_exec_time AS numeric), 1) AS longest_ms,
       s.rows
FROM (
    SELECT pg_get_userbyid(q.userid) AS role, q.calls, q.total_exec_time, q.mean_exec_time, q.max_exec_time, q.rows,
           btrim(regexp_replace(
               -- In one pass: what is quoted as a name stays, comments and texts go.
               regexp_replace(
                   q.query,
                   '("([^"]|"")*("|$))|/\*.*|--[^\n]*|\$([^$0-9\s][^$\s]*)?\$.*'
                   '|\m[eE]''([^''\\]|\\.|'''')*(''|$)|''([^'']|'''')*(''|$)',
                   '\1', 'g'),
               '(?<![\w$"])\d[\w.]*', '?', 'g'), E' \t\n(') AS words
    FROM pg_stat_statements q
    WHERE q.toplevel AND q.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
) s
ORDER BY s.total_exec_time DESC
LIMIT 20;
