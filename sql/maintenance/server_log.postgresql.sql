-- Which settings of the server put rows into its log?
-- One row a setting that does: what it is, what it should be, what it would write, and the line that mends it. None: the
-- log holds no row of ours. Run it as the role that loads, whose statements are at stake; settings that a role or the
-- database has of its own are looked at besides. Lines for a superuser, and then: SELECT pg_reload_conf();
-- What the log holds already stays there: see to it that it is closed to others, and not kept for long.
WITH logging AS (
    SELECT bool_or(CASE name WHEN 'log_statement' THEN setting IN ('mod', 'all')
                             WHEN 'log_transaction_sample_rate' THEN CAST(setting AS double precision) > 0
                             ELSE CAST(setting AS double precision) >= 0 END) AS statements
    FROM pg_settings
    WHERE name IN ('log_statement', 'log_min_duration_statement', 'log_min_duration_sample',
                   'log_transaction_sample_rate')
),
rules (name, pattern, wanted, writes) AS (
    VALUES
        ('log_error_verbosity', '^terse$', 'terse', 'the row that an error is about (DETAIL, CONTEXT)'),
        ('log_min_error_statement', '^panic$', 'panic', 'the statement that failed, with its values'),
        ('log_statement', '^(none|ddl)$', 'none', 'every statement, with its values'),
        ('log_min_duration_statement', '^-1$', '-1', 'slow statements, with their values'),
        ('log_min_duration_sample', '^-1$', '-1', 'a sample of slow statements, with their values'),
        ('log_transaction_sample_rate', '^0(\.0+)?$', '0', 'the statements of a sample of transactions'),
        ('log_parameter_max_length', '^0$', '0', 'the parameters of statements that are logged'),
        ('log_parameter_max_length_on_error', '^0$', '0', 'the parameters of a statement that failed'),
        ('debug_print_parse', '^off$', 'off', 'the values of statements, as the server reads them'),
        ('debug_print_rewritten', '^off$', 'off', 'the values of statements, as the server reads them'),
        ('debug_print_plan', '^off$', 'off', 'the values of statements, as the server reads them'),
        ('auto_explain.log_min_duration', '^-1$', '-1', 'slow statements and their plans, with their values'),
        ('auto_explain.log_parameter_max_length', '^0$', '0', 'the parameters of statements that it explains'),
        ('pgaudit.log', '^(none|ddl|role|[ ,]|-all)*$', 'ddl, role', 'statements that read and write rows'),
        ('pgaudit.log_parameter', '^off$', 'off', 'the parameters of statements that it logs')
),
found AS (
    SELECT s.name, s.setting, s.source, CAST(NULL AS text) AS of_role, CAST(NULL AS text) AS of_database
    FROM pg_settings s
    UNION ALL
    SELECT lower(split_part(c.pair, '=', 1)), substr(c.pair, strpos(c.pair, '=') + 1), 'role',
           CASE WHEN r.setrole <> 0 THEN pg_get_userbyid(r.setrole) END,
           CASE WHEN r.setdatabase <> 0 THEN current_database() END
    FROM pg_db_role_setting r
    CROSS JOIN LATERAL unnest(r.setconfig) AS c (pair)
    WHERE r.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
)
SELECT f.name,
       f.setting,
       r.wanted,
       r.writes,
       f.of_role,
       CASE WHEN f.of_role IS NOT NULL AND f.of_database IS NOT NULL
            THEN format('ALTER ROLE %I IN DATABASE %I RESET %s;', f.of_role, f.of_database, f.name)
            WHEN f.of_role IS NOT NULL THEN format('ALTER ROLE %I RESET %s;', f.of_role, f.name)
            WHEN f.of_database IS NOT NULL OR f.source = 'database'
            THEN format('ALTER DATABASE %I SET %s = %L;', current_database(), f.name, r.wanted)
            WHEN f.source = 'command line'
            THEN format('-- %s is set on the command line that starts the server: take it away there.', f.name)
            ELSE format('ALTER SYSTEM SET %s = %L;', f.name, r.wanted)
       END AS line
FROM found f
JOIN rules r ON r.name = f.name
CROSS JOIN logging l
WHERE lower(f.setting) !~ r.pattern
  AND (f.name <> 'log_parameter_max_length' OR l.statements)
  AND (f.name <> 'auto_explain.log_parameter_max_length'
       OR EXISTS (SELECT FROM pg_settings
                  WHERE name = 'auto_explain.log_min_duration' AND CAST(setting AS double precision) >= 0))
  AND (f.name <> 'pgaudit.log_parameter'
       OR EXISTS (SELECT FROM pg_settings WHERE name = 'pgaudit.log' AND setting NOT IN ('', 'none')))
  -- What the session has from a role or the database is told where it is set.
  AND NOT (f.of_role IS NULL AND f.of_database IS NULL AND f.source IN ('user', 'database user', 'database'))
ORDER BY f.of_role NULLS FIRST, f.of_database NULLS FIRST, f.name;
