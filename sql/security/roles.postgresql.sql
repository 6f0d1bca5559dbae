-- The roles of EduPulse, what they may do with which table, and whose rows they see.

-- Printed by `edupulse db roles --print`. As a superuser, as often as you like: psql -1 -f FILE

DO $edupulse$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'edupulse_owner') THEN
        CREATE ROLE "edupulse_owner" NOLOGIN INHERIT;
    END IF;
END
$edupulse$;

DO $edupulse$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'edupulse_owner' AND NOT rolcanlogin AND rolinherit AND NOT rolcreatedb AND NOT rolcreaterole) THEN
        ALTER ROLE "edupulse_owner" NOLOGIN INHERIT NOCREATEDB NOCREATEROLE;
    END IF;
END
$edupulse$;

DO $edupulse$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'edupulse_owner' AND NOT rolsuper AND NOT rolreplication AND NOT rolbypassrls) THEN
        ALTER ROLE "edupulse_owner" NOSUPERUSER NOREPLICATION NOBYPASSRLS;
    END IF;
END
$edupulse$;

DO $edupulse$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'edupulse_loader') THEN
        CREATE ROLE "edupulse_loader" LOGIN INHERIT;
    END IF;
END
$edupulse$;

DO $edupulse$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'edupulse_loader' AND rolinherit AND NOT rolcreatedb AND NOT rolcreaterole) THEN
        ALTER ROLE "edupulse_loader" INHERIT NOCREATEDB NOCREATEROLE;
    END IF;
END
$edupulse$;

DO $edupulse$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'edupulse_loader' AND NOT rolsuper AND NOT rolreplication AND NOT rolbypassrls) THEN
        ALTER ROLE "edupulse_loader" NOSUPERUSER NOREPLICATION NOBYPASSRLS;
    END IF;
END
$edupulse$;

DO $edupulse$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'edupulse_analyst_springfield') THEN
        CREATE ROLE "edupulse_analyst_springfield" LOGIN INHERIT;
    END IF;
END
$edupulse$;

DO $edupulse$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'edupulse_analyst_springfield' AND rolinherit AND NOT rolcreatedb AND NOT rolcreaterole) THEN
        ALTER ROLE "edupulse_analyst_springfield" INHERIT NOCREATEDB NOCREATEROLE;
    END IF;
END
$edupulse$;

DO $edupulse$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'edupulse_analyst_springfield' AND NOT rolsuper AND NOT rolreplication AND NOT rolbypassrls) THEN
        ALTER ROLE "edupulse_analyst_springfield" NOSUPERUSER NOREPLICATION NOBYPASSRLS;
    END IF;
END
$edupulse$;

DO $edupulse$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'edupulse_auditor_springfield') THEN
        CREATE ROLE "edupulse_auditor_springfield" LOGIN INHERIT;
    END IF;
END
$edupulse$;

DO $edupulse$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'edupulse_auditor_springfield' AND rolinherit AND NOT rolcreatedb AND NOT rolcreaterole) THEN
        ALTER ROLE "edupulse_auditor_springfield" INHERIT NOCREATEDB NOCREATEROLE;
    END IF;
END
$edupulse$;

DO $edupulse$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'edupulse_auditor_springfield' AND NOT rolsuper AND NOT rolreplication AND NOT rolbypassrls) THEN
        ALTER ROLE "edupulse_auditor_springfield" NOSUPERUSER NOREPLICATION NOBYPASSRLS;
    END IF;
END
$edupulse$;

DO $edupulse$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'edupulse_keeper') THEN
        CREATE ROLE "edupulse_keeper" LOGIN NOINHERIT;
    END IF;
END
$edupulse$;

DO $edupulse$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'edupulse_keeper' AND NOT rolinherit AND NOT rolcreatedb AND NOT rolcreaterole) THEN
        ALTER ROLE "edupulse_keeper" NOINHERIT NOCREATEDB NOCREATEROLE;
    END IF;
END
$edupulse$;

DO $edupulse$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'edupulse_keeper' AND NOT rolsuper AND NOT rolreplication AND NOT rolbypassrls) THEN
        ALTER ROLE "edupulse_keeper" NOSUPERUSER NOREPLICATION NOBYPASSRLS;
    END IF;
END
$edupulse$;

DO $edupulse$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'edupulse_backup') THEN
        CREATE ROLE "edupulse_backup" LOGIN INHERIT;
    END IF;
END
$edupulse$;

DO $edupulse$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'edupulse_backup' AND rolinherit AND NOT rolcreatedb AND NOT rolcreaterole) THEN
        ALTER ROLE "edupulse_backup" INHERIT NOCREATEDB NOCREATEROLE;
    END IF;
END
$edupulse$;

DO $edupulse$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'edupulse_backup' AND NOT rolsuper AND rolreplication AND rolbypassrls) THEN
        ALTER ROLE "edupulse_backup" NOSUPERUSER REPLICATION BYPASSRLS;
    END IF;
END
$edupulse$;

DO $edupulse$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_auth_members WHERE roleid = CAST('"edupulse_owner"' AS regrole) AND member = CAST('"edupulse_keeper"' AS regrole)) THEN
        GRANT "edupulse_owner" TO "edupulse_keeper";
    END IF;
END
$edupulse$;

DO $edupulse$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_database d, aclexplode(d.datacl) a WHERE d.datname = current_database() AND a.grantee = CAST('"edupulse_loader"' AS regrole) AND a.privilege_type = 'CONNECT') THEN
        EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), 'edupulse_loader');
    END IF;
END
$edupulse$;

DO $edupulse$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_namespace n, aclexplode(n.nspacl) a WHERE n.oid = CAST('public' AS regnamespace) AND a.grantee = CAST('"edupulse_loader"' AS regrole) AND a.privilege_type = 'USAGE') THEN
        GRANT USAGE ON SCHEMA public TO "edupulse_loader";
    END IF;
END
$edupulse$;

DO $edupulse$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_database d, aclexplode(d.datacl) a WHERE d.datname = current_database() AND a.grantee = CAST('"edupulse_keeper"' AS regrole) AND a.privilege_type = 'CONNECT') THEN
        EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), 'edupulse_keeper');
    END IF;
END
$edupulse$;

DO $edupulse$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_namespace n, aclexplode(n.nspacl) a WHERE n.oid = CAST('public' AS regnamespace) AND a.grantee = CAST('"edupulse_keeper"' AS regrole) AND a.privilege_type = 'USAGE') THEN
        GRANT USAGE ON SCHEMA public TO "edupulse_keeper";
    END IF;
END
$edupulse$;

DO $edupulse$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_database d, aclexplode(d.datacl) a WHERE d.datname = current_database() AND a.grantee = CAST('"edupulse_backup"' AS regrole) AND a.privilege_type = 'CONNECT') THEN
        EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), 'edupulse_backup');
    END IF;
END
$edupulse$;

DO $edupulse$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_namespace n, aclexplode(n.nspacl) a WHERE n.oid = CAST('public' AS regnamespace) AND a.grantee = CAST('"edupulse_backup"' AS regrole) AND a.privilege_type = 'USAGE') THEN
        GRANT USAGE ON SCHEMA public TO "edupulse_backup";
    END IF;
END
$edupulse$;

DO $edupulse$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_database d, aclexplode(d.datacl) a WHERE d.datname = current_database() AND a.grantee = CAST('"edupulse_analyst_springfield"' AS regrole) AND a.privilege_type = 'CONNECT') THEN
        EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), 'edupulse_analyst_springfield');
    END IF;
END
$edupulse$;

DO $edupulse$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_namespace n, aclexplode(n.nspacl) a WHERE n.oid = CAST('public' AS regnamespace) AND a.grantee = CAST('"edupulse_analyst_springfield"' AS regrole) AND a.privilege_type = 'USAGE') THEN
        GRANT USAGE ON SCHEMA public TO "edupulse_analyst_springfield";
    END IF;
END
$edupulse$;

DO $edupulse$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_database d, aclexplode(d.datacl) a WHERE d.datname = current_database() AND a.grantee = CAST('"edupulse_auditor_springfield"' AS regrole) AND a.privilege_type = 'CONNECT') THEN
        EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), 'edupulse_auditor_springfield');
    END IF;
END
$edupulse$;

DO $edupulse$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_namespace n, aclexplode(n.nspacl) a WHERE n.oid = CAST('public' AS regnamespace) AND a.grantee = CAST('"edupulse_auditor_springfield"' AS regrole) AND a.privilege_type = 'USAGE') THEN
        GRANT USAGE ON SCHEMA public TO "edupulse_auditor_springfield";
    END IF;
END
$edupulse$;

DO $edupulse$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_database d, aclexplode(d.datacl) a WHERE d.datname = current_database() AND a.grantee = CAST('"edupulse_loader"' AS regrole) AND a.privilege_type = 'TEMPORARY') THEN
        EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO %I', current_database(), 'edupulse_loader');
    END IF;
END
$edupulse$;

DO $edupulse$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_database d, aclexplode(d.datacl) a WHERE d.datname = current_database() AND a.grantee = CAST('"edupulse_owner"' AS regrole) AND a.privilege_type = 'TEMPORARY') THEN
        EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO %I', current_database(), 'edupulse_owner');
    END IF;
END
$edupulse$;

DO $edupulse$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_database d, aclexplode(d.datacl) a WHERE d.datname = current_database() AND a.grantee = CAST('"edupulse_owner"' AS regrole) AND a.privilege_type = 'CREATE') THEN
        EXECUTE format('GRANT CREATE ON DATABASE %I TO %I', current_database(), 'edupulse_owner');
    END IF;
END
$edupulse$;

DO $edupulse$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_namespace n, aclexplode(n.nspacl) a WHERE n.oid = CAST('public' AS regnamespace) AND a.grantee = CAST('"edupulse_owner"' AS regrole) AND a.privilege_type = 'USAGE') THEN
        GRANT USAGE ON SCHEMA public TO "edupulse_owner";
    END IF;
END
$edupulse$;

DO $edupulse$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_namespace n, aclexplode(n.nspacl) a WHERE n.oid = CAST('public' AS regnamespace) AND a.grantee = CAST('"edupulse_owner"' AS regrole) AND a.privilege_type = 'CREATE') THEN
        GRANT CREATE ON SCHEMA public TO "edupulse_owner";
    END IF;
END
$edupulse$;

DO $edupulse$
BEGIN
    IF EXISTS (SELECT FROM pg_namespace n, aclexplode(n.nspacl) a WHERE n.oid = CAST('public' AS regnamespace) AND a.grantee = 0 AND a.privilege_type = 'CREATE') THEN
        REVOKE CREATE ON SCHEMA public FROM PUBLIC;
    END IF;
END
$edupulse$;

DO $edupulse$
DECLARE
    named text;
BEGIN
    FOR named IN
        SELECT CAST(CAST(oid AS regclass) AS text) FROM pg_class
        WHERE relnamespace = CAST('public' AS regnamespace) AND relkind IN ('r', 'p', 'S')
          AND relowner <> CAST('"edupulse_owner"' AS regrole)
          AND (relname IN ('students', 'schools', 'enrollments', 'enrollment_statements', 'attendance_records', 'attendance_statements', 'grades', 'discipline_incidents', 'student_features', 'model_metadata', 'predictions', 'training_feedback', 'model_evaluations', 'promotion_decisions', 'review_proposals', 'ingested_files', 'accepted_removals', 'quarantined_records', 'disputed_numbers', 'student_merges', 'instructional_days', 'weekly_activity', 'weekly_course_grades', 'pending_updates', 'step_accounts', 'disclosures', 'erasures', 'erased_keys', 'legal_holds', 'audit_changes', 'audit_entries', 'audit_images', 'retention_removals', 'retention_certificates', 'alembic_version', 'audit_changes_number')
               OR relname ~ '^(students|schools|enrollments|enrollment_statements|attendance_records|attendance_statements|grades|discipline_incidents|student_features|model_metadata|predictions|training_feedback|model_evaluations|promotion_decisions|review_proposals|ingested_files|accepted_removals|quarantined_records|disputed_numbers|student_merges|instructional_days|weekly_activity|weekly_course_grades|pending_updates|step_accounts|disclosures|erasures|erased_keys|legal_holds|audit_changes|audit_entries|audit_images|retention_removals|retention_certificates)_(default|y\d{4}m\d\d|load_[0-9a-f]{8})$')
    LOOP
        EXECUTE format('ALTER TABLE %s OWNER TO %I', named, 'edupulse_owner');
    END LOOP;
    FOR named IN
        SELECT CAST(CAST(oid AS regprocedure) AS text) FROM pg_proc
        WHERE pronamespace = CAST('public' AS regnamespace) AND proowner <> CAST('"edupulse_owner"' AS regrole)
          AND proname IN ('attendance_records_as_recorded', 'discipline_incidents_as_recorded', 'edupulse_audit_arrive', 'edupulse_audit_begin', 'edupulse_audit_built', 'edupulse_audit_columns', 'edupulse_audit_content', 'edupulse_audit_entries', 'edupulse_audit_fixed', 'edupulse_audit_guard', 'edupulse_audit_images', 'edupulse_audit_is_retired', 'edupulse_audit_link', 'edupulse_audit_moment', 'edupulse_audit_moved', 'edupulse_audit_next', 'edupulse_audit_number', 'edupulse_audit_record', 'edupulse_audit_refuse_truncate', 'edupulse_audit_release', 'edupulse_audit_row_accepted_removals', 'edupulse_audit_row_attendance_records', 'edupulse_audit_row_attendance_statements', 'edupulse_audit_row_discipline_incidents', 'edupulse_audit_row_disclosures', 'edupulse_audit_row_disputed_numbers', 'edupulse_audit_row_enrollment_statements', 'edupulse_audit_row_enrollments', 'edupulse_audit_row_erased_keys', 'edupulse_audit_row_erasures', 'edupulse_audit_row_grades', 'edupulse_audit_row_ingested_files', 'edupulse_audit_row_instructional_days', 'edupulse_audit_row_legal_holds', 'edupulse_audit_row_model_evaluations', 'edupulse_audit_row_model_metadata', 'edupulse_audit_row_predictions', 'edupulse_audit_row_promotion_decisions', 'edupulse_audit_row_quarantined_records', 'edupulse_audit_row_retention_certificates', 'edupulse_audit_row_retention_removals', 'edupulse_audit_row_review_proposals', 'edupulse_audit_row_schools', 'edupulse_audit_row_step_accounts', 'edupulse_audit_row_student_features', 'edupulse_audit_row_student_merges', 'edupulse_audit_row_students', 'edupulse_audit_row_training_feedback', 'edupulse_audit_row_weekly_activity', 'edupulse_audit_row_weekly_course_grades', 'edupulse_audit_start', 'edupulse_audit_statement_accepted_removals', 'edupulse_audit_statement_attendance_records', 'edupulse_audit_statement_attendance_statements', 'edupulse_audit_statement_discipline_incidents', 'edupulse_audit_statement_disclosures', 'edupulse_audit_statement_disputed_numbers', 'edupulse_audit_statement_enrollment_statements', 'edupulse_audit_statement_enrollments', 'edupulse_audit_statement_erased_keys', 'edupulse_audit_statement_erasures', 'edupulse_audit_statement_grades', 'edupulse_audit_statement_ingested_files', 'edupulse_audit_statement_instructional_days', 'edupulse_audit_statement_legal_holds', 'edupulse_audit_statement_model_evaluations', 'edupulse_audit_statement_model_metadata', 'edupulse_audit_statement_predictions', 'edupulse_audit_statement_promotion_decisions', 'edupulse_audit_statement_quarantined_records', 'edupulse_audit_statement_retention_certificates', 'edupulse_audit_statement_retention_removals', 'edupulse_audit_statement_review_proposals', 'edupulse_audit_statement_schools', 'edupulse_audit_statement_step_accounts', 'edupulse_audit_statement_student_features', 'edupulse_audit_statement_student_merges', 'edupulse_audit_statement_students', 'edupulse_audit_statement_training_feedback', 'edupulse_audit_statement_weekly_activity', 'edupulse_audit_statement_weekly_course_grades', 'edupulse_guard', 'edupulse_guard_rows', 'edupulse_month_attach', 'edupulse_month_bound', 'edupulse_month_bounds', 'edupulse_month_column', 'edupulse_month_columns', 'edupulse_month_demand_ended', 'edupulse_month_demand_started', 'edupulse_month_end', 'edupulse_month_finish', 'edupulse_month_hold_default', 'edupulse_month_locks', 'edupulse_month_make', 'edupulse_month_name', 'edupulse_month_partition', 'edupulse_month_place', 'edupulse_month_rename', 'edupulse_month_start', 'edupulse_month_table', 'edupulse_month_take', 'edupulse_month_tenant', 'edupulse_month_unclaimed', 'edupulse_month_writer', 'edupulse_refuse_change', 'edupulse_touch_updated_at', 'enrollments_as_recorded', 'grades_as_recorded', 'schools_as_recorded', 'students_as_recorded', 'training_feedback_as_recorded')
    LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO %I', named, 'edupulse_owner');
    END LOOP;
END
$edupulse$;

DO $edupulse$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_auth_members WHERE roleid = CAST('"pg_read_all_data"' AS regrole) AND member = CAST('"edupulse_backup"' AS regrole)) THEN
        GRANT "pg_read_all_data" TO "edupulse_backup";
    END IF;
END
$edupulse$;

DO $edupulse$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_auth_members WHERE roleid = CAST('"pg_monitor"' AS regrole) AND member = CAST('"edupulse_backup"' AS regrole)) THEN
        GRANT "pg_monitor" TO "edupulse_backup";
    END IF;
END
$edupulse$;

DO $edupulse$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_auth_members WHERE roleid = CAST('"pg_checkpoint"' AS regrole) AND member = CAST('"edupulse_backup"' AS regrole)) THEN
        GRANT "pg_checkpoint" TO "edupulse_backup";
    END IF;
END
$edupulse$;

DO $edupulse$
BEGIN
    IF NOT has_function_privilege('edupulse_backup', 'pg_catalog.pg_backup_start(text, boolean)', 'EXECUTE') THEN
        GRANT EXECUTE ON FUNCTION pg_catalog.pg_backup_start(text, boolean) TO "edupulse_backup";
    END IF;
END
$edupulse$;

DO $edupulse$
BEGIN
    IF NOT has_function_privilege('edupulse_backup', 'pg_catalog.pg_backup_stop(boolean)', 'EXECUTE') THEN
        GRANT EXECUTE ON FUNCTION pg_catalog.pg_backup_stop(boolean) TO "edupulse_backup";
    END IF;
END
$edupulse$;

DO $edupulse$
BEGIN
    IF NOT has_function_privilege('edupulse_backup', 'pg_catalog.pg_switch_wal()', 'EXECUTE') THEN
        GRANT EXECUTE ON FUNCTION pg_catalog.pg_switch_wal() TO "edupulse_backup";
    END IF;
END
$edupulse$;

DO $edupulse$
BEGIN
    IF NOT has_function_privilege('edupulse_backup', 'pg_catalog.pg_create_restore_point(text)', 'EXECUTE') THEN
        GRANT EXECUTE ON FUNCTION pg_catalog.pg_create_restore_point(text) TO "edupulse_backup";
    END IF;
END
$edupulse$;

SET ROLE "edupulse_owner";

SELECT edupulse_guard('students');

SELECT edupulse_guard('schools');

SELECT edupulse_guard('enrollments');

SELECT edupulse_guard('enrollment_statements');

SELECT edupulse_guard('attendance_records');

SELECT edupulse_guard('attendance_statements');

SELECT edupulse_guard('grades');

SELECT edupulse_guard('discipline_incidents');

SELECT edupulse_guard('student_features');

SELECT edupulse_guard('model_metadata');

SELECT edupulse_guard('predictions');

SELECT edupulse_guard('training_feedback');

SELECT edupulse_guard('model_evaluations');

SELECT edupulse_guard('promotion_decisions');

SELECT edupulse_guard('review_proposals');

SELECT edupulse_guard('ingested_files');

SELECT edupulse_guard('accepted_removals');

SELECT edupulse_guard('quarantined_records');

SELECT edupulse_guard('disputed_numbers');

SELECT edupulse_guard('student_merges');

SELECT edupulse_guard('instructional_days');

SELECT edupulse_guard('weekly_activity');

SELECT edupulse_guard('weekly_course_grades');

SELECT edupulse_guard('pending_updates');

SELECT edupulse_guard('step_accounts');

SELECT edupulse_guard('disclosures');

SELECT edupulse_guard('erasures');

SELECT edupulse_guard('erased_keys');

SELECT edupulse_guard('legal_holds');

SELECT edupulse_guard('audit_changes');

SELECT edupulse_guard('audit_entries');

SELECT edupulse_guard('audit_images');

SELECT edupulse_guard('retention_removals');

SELECT edupulse_guard('retention_certificates');

REVOKE ALL ON alembic_version FROM "edupulse_loader";

GRANT SELECT ON alembic_version TO "edupulse_loader";

REVOKE ALL ON students FROM "edupulse_loader";

GRANT SELECT, INSERT, UPDATE, DELETE ON students TO "edupulse_loader";

REVOKE ALL ON students FROM "edupulse_analyst_springfield";

GRANT SELECT ON students TO "edupulse_analyst_springfield";

REVOKE ALL ON schools FROM "edupulse_loader";

GRANT SELECT, INSERT, UPDATE, DELETE ON schools TO "edupulse_loader";

REVOKE ALL ON schools FROM "edupulse_analyst_springfield";

GRANT SELECT ON schools TO "edupulse_analyst_springfield";

REVOKE ALL ON enrollments FROM "edupulse_loader";

GRANT SELECT, INSERT, UPDATE, DELETE ON enrollments TO "edupulse_loader";

REVOKE ALL ON enrollments FROM "edupulse_analyst_springfield";

GRANT SELECT ON enrollments TO "edupulse_analyst_springfield";

REVOKE ALL ON enrollment_statements FROM "edupulse_loader";

GRANT SELECT, INSERT, UPDATE, DELETE ON enrollment_statements TO "edupulse_loader";

REVOKE ALL ON enrollment_statements FROM "edupulse_analyst_springfield";

GRANT SELECT ON enrollment_statements TO "edupulse_analyst_springfield";

REVOKE ALL ON attendance_records FROM "edupulse_loader";

GRANT SELECT, INSERT, UPDATE, DELETE ON attendance_records TO "edupulse_loader";

REVOKE ALL ON attendance_records FROM "edupulse_analyst_springfield";

GRANT SELECT ON attendance_records TO "edupulse_analyst_springfield";

REVOKE ALL ON attendance_statements FROM "edupulse_loader";

GRANT SELECT, INSERT, UPDATE, DELETE ON attendance_statements TO "edupulse_loader";

REVOKE ALL ON attendance_statements FROM "edupulse_analyst_springfield";

GRANT SELECT ON attendance_statements TO "edupulse_analyst_springfield";

REVOKE ALL ON grades FROM "edupulse_loader";

GRANT SELECT, INSERT, UPDATE, DELETE ON grades TO "edupulse_loader";

REVOKE ALL ON grades FROM "edupulse_analyst_springfield";

GRANT SELECT ON grades TO "edupulse_analyst_springfield";

REVOKE ALL ON discipline_incidents FROM "edupulse_loader";

GRANT SELECT, INSERT, UPDATE, DELETE ON discipline_incidents TO "edupulse_loader";

REVOKE ALL ON discipline_incidents FROM "edupulse_analyst_springfield";

GRANT SELECT ON discipline_incidents TO "edupulse_analyst_springfield";

REVOKE ALL ON student_features FROM "edupulse_loader";

GRANT SELECT, INSERT, UPDATE, DELETE ON student_features TO "edupulse_loader";

REVOKE ALL ON student_features FROM "edupulse_analyst_springfield";

GRANT SELECT ON student_features TO "edupulse_analyst_springfield";

REVOKE ALL ON model_metadata FROM "edupulse_loader";

GRANT SELECT, INSERT, UPDATE, DELETE ON model_metadata TO "edupulse_loader";

REVOKE ALL ON model_metadata FROM "edupulse_analyst_springfield";

GRANT SELECT ON model_metadata TO "edupulse_analyst_springfield";

REVOKE ALL ON predictions FROM "edupulse_loader";

GRANT SELECT, INSERT, UPDATE, DELETE ON predictions TO "edupulse_loader";

REVOKE ALL ON predictions FROM "edupulse_analyst_springfield";

GRANT SELECT ON predictions TO "edupulse_analyst_springfield";

REVOKE ALL ON training_feedback FROM "edupulse_loader";

GRANT SELECT, INSERT, UPDATE, DELETE ON training_feedback TO "edupulse_loader";

REVOKE ALL ON training_feedback FROM "edupulse_analyst_springfield";

GRANT SELECT ON training_feedback TO "edupulse_analyst_springfield";

REVOKE ALL ON model_evaluations FROM "edupulse_loader";

GRANT SELECT, INSERT, UPDATE, DELETE ON model_evaluations TO "edupulse_loader";

REVOKE ALL ON model_evaluations FROM "edupulse_analyst_springfield";

GRANT SELECT ON model_evaluations TO "edupulse_analyst_springfield";

REVOKE ALL ON promotion_decisions FROM "edupulse_loader";

GRANT SELECT, INSERT, UPDATE, DELETE ON promotion_decisions TO "edupulse_loader";

REVOKE ALL ON promotion_decisions FROM "edupulse_analyst_springfield";

GRANT SELECT ON promotion_decisions TO "edupulse_analyst_springfield";

REVOKE ALL ON review_proposals FROM "edupulse_loader";

GRANT SELECT, INSERT, UPDATE, DELETE ON review_proposals TO "edupulse_loader";

REVOKE ALL ON review_proposals FROM "edupulse_analyst_springfield";

GRANT SELECT ON review_proposals TO "edupulse_analyst_springfield";

REVOKE ALL ON ingested_files FROM "edupulse_loader";

GRANT SELECT, INSERT, UPDATE, DELETE ON ingested_files TO "edupulse_loader";

REVOKE ALL ON ingested_files FROM "edupulse_analyst_springfield";

GRANT SELECT ON ingested_files TO "edupulse_analyst_springfield";

REVOKE ALL ON accepted_removals FROM "edupulse_loader";

GRANT SELECT, INSERT, UPDATE, DELETE ON accepted_removals TO "edupulse_loader";

REVOKE ALL ON accepted_removals FROM "edupulse_analyst_springfield";

GRANT SELECT ON accepted_removals TO "edupulse_analyst_springfield";

REVOKE ALL ON quarantined_records FROM "edupulse_loader";

GRANT SELECT, INSERT, UPDATE, DELETE ON quarantined_records TO "edupulse_loader";

REVOKE ALL ON quarantined_records FROM "edupulse_analyst_springfield";

GRANT SELECT ON quarantined_records TO "edupulse_analyst_springfield";

REVOKE ALL ON disputed_numbers FROM "edupulse_loader";

GRANT SELECT, INSERT, UPDATE, DELETE ON disputed_numbers TO "edupulse_loader";

REVOKE ALL ON disputed_numbers FROM "edupulse_analyst_springfield";

GRANT SELECT ON disputed_numbers TO "edupulse_analyst_springfield";

REVOKE ALL ON student_merges FROM "edupulse_loader";

GRANT SELECT, INSERT, UPDATE, DELETE ON student_merges TO "edupulse_loader";

REVOKE ALL ON student_merges FROM "edupulse_analyst_springfield";

GRANT SELECT ON student_merges TO "edupulse_analyst_springfield";

REVOKE ALL ON instructional_days FROM "edupulse_loader";

GRANT SELECT, INSERT, UPDATE, DELETE ON instructional_days TO "edupulse_loader";

REVOKE ALL ON instructional_days FROM "edupulse_analyst_springfield";

GRANT SELECT ON instructional_days TO "edupulse_analyst_springfield";

REVOKE ALL ON weekly_activity FROM "edupulse_loader";

GRANT SELECT, INSERT, UPDATE, DELETE ON weekly_activity TO "edupulse_loader";

REVOKE ALL ON weekly_activity FROM "edupulse_analyst_springfield";

GRANT SELECT ON weekly_activity TO "edupulse_analyst_springfield";

REVOKE ALL ON weekly_course_grades FROM "edupulse_loader";

GRANT SELECT, INSERT, UPDATE, DELETE ON weekly_course_grades TO "edupulse_loader";

REVOKE ALL ON weekly_course_grades FROM "edupulse_analyst_springfield";

GRANT SELECT ON weekly_course_grades TO "edupulse_analyst_springfield";

REVOKE ALL ON pending_updates FROM "edupulse_loader";

GRANT SELECT, INSERT, UPDATE, DELETE ON pending_updates TO "edupulse_loader";

REVOKE ALL ON pending_updates FROM "edupulse_analyst_springfield";

GRANT SELECT ON pending_updates TO "edupulse_analyst_springfield";

REVOKE ALL ON step_accounts FROM "edupulse_loader";

GRANT SELECT, INSERT, UPDATE, DELETE ON step_accounts TO "edupulse_loader";

REVOKE ALL ON step_accounts FROM "edupulse_analyst_springfield";

GRANT SELECT ON step_accounts TO "edupulse_analyst_springfield";

REVOKE ALL ON disclosures FROM "edupulse_loader";

GRANT SELECT, INSERT, UPDATE, DELETE ON disclosures TO "edupulse_loader";

REVOKE ALL ON disclosures FROM "edupulse_analyst_springfield";

GRANT SELECT ON disclosures TO "edupulse_analyst_springfield";

REVOKE ALL ON erasures FROM "edupulse_loader";

GRANT SELECT, INSERT, UPDATE, DELETE ON erasures TO "edupulse_loader";

REVOKE ALL ON erasures FROM "edupulse_analyst_springfield";

GRANT SELECT ON erasures TO "edupulse_analyst_springfield";

REVOKE ALL ON erased_keys FROM "edupulse_loader";

GRANT SELECT, INSERT, UPDATE, DELETE ON erased_keys TO "edupulse_loader";

REVOKE ALL ON erased_keys FROM "edupulse_analyst_springfield";

GRANT SELECT ON erased_keys TO "edupulse_analyst_springfield";

REVOKE ALL ON legal_holds FROM "edupulse_loader";

GRANT SELECT, INSERT, UPDATE, DELETE ON legal_holds TO "edupulse_loader";

REVOKE ALL ON legal_holds FROM "edupulse_analyst_springfield";

GRANT SELECT ON legal_holds TO "edupulse_analyst_springfield";

REVOKE ALL ON audit_changes FROM "edupulse_loader";

GRANT SELECT ON audit_changes TO "edupulse_loader";

REVOKE ALL ON audit_changes FROM "edupulse_auditor_springfield";

GRANT SELECT ON audit_changes TO "edupulse_auditor_springfield";

REVOKE ALL ON audit_entries FROM "edupulse_loader";

GRANT SELECT ON audit_entries TO "edupulse_loader";

REVOKE ALL ON audit_entries FROM "edupulse_auditor_springfield";

GRANT SELECT ON audit_entries TO "edupulse_auditor_springfield";

REVOKE ALL ON audit_images FROM "edupulse_loader";

GRANT SELECT ON audit_images TO "edupulse_loader";

REVOKE ALL ON audit_images FROM "edupulse_auditor_springfield";

GRANT SELECT ON audit_images TO "edupulse_auditor_springfield";

REVOKE ALL ON retention_removals FROM "edupulse_loader";

GRANT SELECT, INSERT, UPDATE, DELETE ON retention_removals TO "edupulse_loader";

REVOKE ALL ON retention_removals FROM "edupulse_analyst_springfield";

GRANT SELECT ON retention_removals TO "edupulse_analyst_springfield";

REVOKE ALL ON retention_certificates FROM "edupulse_loader";

GRANT SELECT, INSERT, UPDATE, DELETE ON retention_certificates TO "edupulse_loader";

REVOKE ALL ON retention_certificates FROM "edupulse_analyst_springfield";

GRANT SELECT ON retention_certificates TO "edupulse_analyst_springfield";

GRANT EXECUTE ON FUNCTION edupulse_month_make(text, date) TO "edupulse_loader";

GRANT EXECUTE ON FUNCTION edupulse_month_start(text) TO "edupulse_loader";

GRANT EXECUTE ON FUNCTION edupulse_month_end(text, text, date) TO "edupulse_loader";

GRANT EXECUTE ON FUNCTION edupulse_month_place(text, text[], date[], date[]) TO "edupulse_loader";

GRANT EXECUTE ON FUNCTION edupulse_month_unclaimed(text, boolean) TO "edupulse_loader";

GRANT EXECUTE ON FUNCTION edupulse_month_hold_default(text) TO "edupulse_loader";

GRANT EXECUTE ON FUNCTION edupulse_audit_built(text, text, bigint, text) TO "edupulse_loader";

GRANT EXECUTE ON FUNCTION students_as_recorded(timestamp with time zone) TO "edupulse_loader";

GRANT EXECUTE ON FUNCTION schools_as_recorded(timestamp with time zone) TO "edupulse_loader";

GRANT EXECUTE ON FUNCTION enrollments_as_recorded(timestamp with time zone) TO "edupulse_loader";

GRANT EXECUTE ON FUNCTION attendance_records_as_recorded(timestamp with time zone) TO "edupulse_loader";

GRANT EXECUTE ON FUNCTION grades_as_recorded(timestamp with time zone) TO "edupulse_loader";

GRANT EXECUTE ON FUNCTION discipline_incidents_as_recorded(timestamp with time zone) TO "edupulse_loader";

GRANT EXECUTE ON FUNCTION training_feedback_as_recorded(timestamp with time zone) TO "edupulse_loader";

DROP POLICY IF EXISTS "edupulse_loader" ON students;

CREATE POLICY "edupulse_loader" ON students FOR ALL TO "edupulse_loader" USING (tenant_id = (SELECT nullif(current_setting('app.tenant', true), ''))) WITH CHECK (tenant_id = (SELECT nullif(current_setting('app.tenant', true), '')));

DROP POLICY IF EXISTS "edupulse_analyst_springfield" ON students;

CREATE POLICY "edupulse_analyst_springfield" ON students FOR SELECT TO "edupulse_analyst_springfield" USING (tenant_id = 'springfield');

DROP POLICY IF EXISTS "edupulse_loader" ON schools;

CREATE POLICY "edupulse_loader" ON schools FOR ALL TO "edupulse_loader" USING (tenant_id = (SELECT nullif(current_setting('app.tenant', true), ''))) WITH CHECK (tenant_id = (SELECT nullif(current_setting('app.tenant', true), '')));

DROP POLICY IF EXISTS "edupulse_analyst_springfield" ON schools;

CREATE POLICY "edupulse_analyst_springfield" ON schools FOR SELECT TO "edupulse_analyst_springfield" USING (tenant_id = 'springfield');

DROP POLICY IF EXISTS "edupulse_loader" ON enrollments;

CREATE POLICY "edupulse_loader" ON enrollments FOR ALL TO "edupulse_loader" USING (tenant_id = (SELECT nullif(current_setting('app.tenant', true), ''))) WITH CHECK (tenant_id = (SELECT nullif(current_setting('app.tenant', true), '')));

DROP POLICY IF EXISTS "edupulse_analyst_springfield" ON enrollments;

CREATE POLICY "edupulse_analyst_springfield" ON enrollments FOR SELECT TO "edupulse_analyst_springfield" USING (tenant_id = 'springfield');

DROP POLICY IF EXISTS "edupulse_loader" ON enrollment_statements;

CREATE POLICY "edupulse_loader" ON enrollment_statements FOR ALL TO "edupulse_loader" USING (tenant_id = (SELECT nullif(current_setting('app.tenant', true), ''))) WITH CHECK (tenant_id = (SELECT nullif(current_setting('app.tenant', true), '')));

DROP POLICY IF EXISTS "edupulse_analyst_springfield" ON enrollment_statements;

CREATE POLICY "edupulse_analyst_springfield" ON enrollment_statements FOR SELECT TO "edupulse_analyst_springfield" USING (tenant_id = 'springfield');

DROP POLICY IF EXISTS "edupulse_loader" ON attendance_records;

CREATE POLICY "edupulse_loader" ON attendance_records FOR ALL TO "edupulse_loader" USING (tenant_id = (SELECT nullif(current_setting('app.tenant', true), ''))) WITH CHECK (tenant_id = (SELECT nullif(current_setting('app.tenant', true), '')));

DROP POLICY IF EXISTS "edupulse_analyst_springfield" ON attendance_records;

CREATE POLICY "edupulse_analyst_springfield" ON attendance_records FOR SELECT TO "edupulse_analyst_springfield" USING (tenant_id = 'springfield');

DROP POLICY IF EXISTS "edupulse_loader" ON attendance_statements;

CREATE POLICY "edupulse_loader" ON attendance_statements FOR ALL TO "edupulse_loader" USING (tenant_id = (SELECT nullif(current_setting('app.tenant', true), ''))) WITH CHECK (tenant_id = (SELECT nullif(current_setting('app.tenant', true), '')));

DROP POLICY IF EXISTS "edupulse_analyst_springfield" ON attendance_statements;

CREATE POLICY "edupulse_analyst_springfield" ON attendance_statements FOR SELECT TO "edupulse_analyst_springfield" USING (tenant_id = 'springfield');

DROP POLICY IF EXISTS "edupulse_loader" ON grades;

CREATE POLICY "edupulse_loader" ON grades FOR ALL TO "edupulse_loader" USING (tenant_id = (SELECT nullif(current_setting('app.tenant', true), ''))) WITH CHECK (tenant_id = (SELECT nullif(current_setting('app.tenant', true), '')));

DROP POLICY IF EXISTS "edupulse_analyst_springfield" ON grades;

CREATE POLICY "edupulse_analyst_springfield" ON grades FOR SELECT TO "edupulse_analyst_springfield" USING (tenant_id = 'springfield');

DROP POLICY IF EXISTS "edupulse_loader" ON discipline_incidents;

CREATE POLICY "edupulse_loader" ON discipline_incidents FOR ALL TO "edupulse_loader" USING (tenant_id = (SELECT nullif(current_setting('app.tenant', true), ''))) WITH CHECK (tenant_id = (SELECT nullif(current_setting('app.tenant', true), '')));

DROP POLICY IF EXISTS "edupulse_analyst_springfield" ON discipline_incidents;

CREATE POLICY "edupulse_analyst_springfield" ON discipline_incidents FOR SELECT TO "edupulse_analyst_springfield" USING (tenant_id = 'springfield');

DROP POLICY IF EXISTS "edupulse_loader" ON student_features;

CREATE POLICY "edupulse_loader" ON student_features FOR ALL TO "edupulse_loader" USING (tenant_id = (SELECT nullif(current_setting('app.tenant', true), ''))) WITH CHECK (tenant_id = (SELECT nullif(current_setting('app.tenant', true), '')));

DROP POLICY IF EXISTS "edupulse_analyst_springfield" ON student_features;

CREATE POLICY "edupulse_analyst_springfield" ON student_features FOR SELECT TO "edupulse_analyst_springfield" USING (tenant_id = 'springfield');

DROP POLICY IF EXISTS "edupulse_loader" ON model_metadata;

CREATE POLICY "edupulse_loader" ON model_metadata FOR ALL TO "edupulse_loader" USING (tenant_id = (SELECT nullif(current_setting('app.tenant', true), ''))) WITH CHECK (tenant_id = (SELECT nullif(current_setting('app.tenant', true), '')));

DROP POLICY IF EXISTS "edupulse_analyst_springfield" ON model_metadata;

CREATE POLICY "edupulse_analyst_springfield" ON model_metadata FOR SELECT TO "edupulse_analyst_springfield" USING (tenant_id = 'springfield');

DROP POLICY IF EXISTS "edupulse_loader" ON predictions;

CREATE POLICY "edupulse_loader" ON predictions FOR ALL TO "edupulse_loader" USING (tenant_id = (SELECT nullif(current_setting('app.tenant', true), ''))) WITH CHECK (tenant_id = (SELECT nullif(current_setting('app.tenant', true), '')));

DROP POLICY IF EXISTS "edupulse_analyst_springfield" ON predictions;

CREATE POLICY "edupulse_analyst_springfield" ON predictions FOR SELECT TO "edupulse_analyst_springfield" USING (tenant_id = 'springfield');

DROP POLICY IF EXISTS "edupulse_loader" ON training_feedback;

CREATE POLICY "edupulse_loader" ON training_feedback FOR ALL TO "edupulse_loader" USING (tenant_id = (SELECT nullif(current_setting('app.tenant', true), ''))) WITH CHECK (tenant_id = (SELECT nullif(current_setting('app.tenant', true), '')));

DROP POLICY IF EXISTS "edupulse_analyst_springfield" ON training_feedback;

CREATE POLICY "edupulse_analyst_springfield" ON training_feedback FOR SELECT TO "edupulse_analyst_springfield" USING (tenant_id = 'springfield');

DROP POLICY IF EXISTS "edupulse_loader" ON model_evaluations;

CREATE POLICY "edupulse_loader" ON model_evaluations FOR ALL TO "edupulse_loader" USING (tenant_id = (SELECT nullif(current_setting('app.tenant', true), ''))) WITH CHECK (tenant_id = (SELECT nullif(current_setting('app.tenant', true), '')));

DROP POLICY IF EXISTS "edupulse_analyst_springfield" ON model_evaluations;

CREATE POLICY "edupulse_analyst_springfield" ON model_evaluations FOR SELECT TO "edupulse_analyst_springfield" USING (tenant_id = 'springfield');

DROP POLICY IF EXISTS "edupulse_loader" ON promotion_decisions;

CREATE POLICY "edupulse_loader" ON promotion_decisions FOR ALL TO "edupulse_loader" USING (tenant_id = (SELECT nullif(current_setting('app.tenant', true), ''))) WITH CHECK (tenant_id = (SELECT nullif(current_setting('app.tenant', true), '')));

DROP POLICY IF EXISTS "edupulse_analyst_springfield" ON promotion_decisions;

CREATE POLICY "edupulse_analyst_springfield" ON promotion_decisions FOR SELECT TO "edupulse_analyst_springfield" USING (tenant_id = 'springfield');

DROP POLICY IF EXISTS "edupulse_loader" ON review_proposals;

CREATE POLICY "edupulse_loader" ON review_proposals FOR ALL TO "edupulse_loader" USING (tenant_id = (SELECT nullif(current_setting('app.tenant', true), ''))) WITH CHECK (tenant_id = (SELECT nullif(current_setting('app.tenant', true), '')));

DROP POLICY IF EXISTS "edupulse_analyst_springfield" ON review_proposals;

CREATE POLICY "edupulse_analyst_springfield" ON review_proposals FOR SELECT TO "edupulse_analyst_springfield" USING (tenant_id = 'springfield');

DROP POLICY IF EXISTS "edupulse_loader" ON ingested_files;

CREATE POLICY "edupulse_loader" ON ingested_files FOR ALL TO "edupulse_loader" USING (tenant_id = (SELECT nullif(current_setting('app.tenant', true), ''))) WITH CHECK (tenant_id = (SELECT nullif(current_setting('app.tenant', true), '')));

DROP POLICY IF EXISTS "edupulse_analyst_springfield" ON ingested_files;

CREATE POLICY "edupulse_analyst_springfield" ON ingested_files FOR SELECT TO "edupulse_analyst_springfield" USING (tenant_id = 'springfield');

DROP POLICY IF EXISTS "edupulse_loader" ON accepted_removals;

CREATE POLICY "edupulse_loader" ON accepted_removals FOR ALL TO "edupulse_loader" USING (tenant_id = (SELECT nullif(current_setting('app.tenant', true), ''))) WITH CHECK (tenant_id = (SELECT nullif(current_setting('app.tenant', true), '')));

DROP POLICY IF EXISTS "edupulse_analyst_springfield" ON accepted_removals;

CREATE POLICY "edupulse_analyst_springfield" ON accepted_removals FOR SELECT TO "edupulse_analyst_springfield" USING (tenant_id = 'springfield');

DROP POLICY IF EXISTS "edupulse_loader" ON quarantined_records;

CREATE POLICY "edupulse_loader" ON quarantined_records FOR ALL TO "edupulse_loader" USING (tenant_id = (SELECT nullif(current_setting('app.tenant', true), ''))) WITH CHECK (tenant_id = (SELECT nullif(current_setting('app.tenant', true), '')));

DROP POLICY IF EXISTS "edupulse_analyst_springfield" ON quarantined_records;

CREATE POLICY "edupulse_analyst_springfield" ON quarantined_records FOR SELECT TO "edupulse_analyst_springfield" USING (tenant_id = 'springfield');

DROP POLICY IF EXISTS "edupulse_loader" ON disputed_numbers;

CREATE POLICY "edupulse_loader" ON disputed_numbers FOR ALL TO "edupulse_loader" USING (tenant_id = (SELECT nullif(current_setting('app.tenant', true), ''))) WITH CHECK (tenant_id = (SELECT nullif(current_setting('app.tenant', true), '')));

DROP POLICY IF EXISTS "edupulse_analyst_springfield" ON disputed_numbers;

CREATE POLICY "edupulse_analyst_springfield" ON disputed_numbers FOR SELECT TO "edupulse_analyst_springfield" USING (tenant_id = 'springfield');

DROP POLICY IF EXISTS "edupulse_loader" ON student_merges;

CREATE POLICY "edupulse_loader" ON student_merges FOR ALL TO "edupulse_loader" USING (tenant_id = (SELECT nullif(current_setting('app.tenant', true), ''))) WITH CHECK (tenant_id = (SELECT nullif(current_setting('app.tenant', true), '')));

DROP POLICY IF EXISTS "edupulse_analyst_springfield" ON student_merges;

CREATE POLICY "edupulse_analyst_springfield" ON student_merges FOR SELECT TO "edupulse_analyst_springfield" USING (tenant_id = 'springfield');

DROP POLICY IF EXISTS "edupulse_loader" ON instructional_days;

CREATE POLICY "edupulse_loader" ON instructional_days FOR ALL TO "edupulse_loader" USING (tenant_id = (SELECT nullif(current_setting('app.tenant', true), ''))) WITH CHECK (tenant_id = (SELECT nullif(current_setting('app.tenant', true), '')));

DROP POLICY IF EXISTS "edupulse_analyst_springfield" ON instructional_days;

CREATE POLICY "edupulse_analyst_springfield" ON instructional_days FOR SELECT TO "edupulse_analyst_springfield" USING (tenant_id = 'springfield');

DROP POLICY IF EXISTS "edupulse_loader" ON weekly_activity;

CREATE POLICY "edupulse_loader" ON weekly_activity FOR ALL TO "edupulse_loader" USING (tenant_id = (SELECT nullif(current_setting('app.tenant', true), ''))) WITH CHECK (tenant_id = (SELECT nullif(current_setting('app.tenant', true), '')));

DROP POLICY IF EXISTS "edupulse_analyst_springfield" ON weekly_activity;

CREATE POLICY "edupulse_analyst_springfield" ON weekly_activity FOR SELECT TO "edupulse_analyst_springfield" USING (tenant_id = 'springfield');

DROP POLICY IF EXISTS "edupulse_loader" ON weekly_course_grades;

CREATE POLICY "edupulse_loader" ON weekly_course_grades FOR ALL TO "edupulse_loader" USING (tenant_id = (SELECT nullif(current_setting('app.tenant', true), ''))) WITH CHECK (tenant_id = (SELECT nullif(current_setting('app.tenant', true), '')));

DROP POLICY IF EXISTS "edupulse_analyst_springfield" ON weekly_course_grades;

CREATE POLICY "edupulse_analyst_springfield" ON weekly_course_grades FOR SELECT TO "edupulse_analyst_springfield" USING (tenant_id = 'springfield');

DROP POLICY IF EXISTS "edupulse_loader" ON pending_updates;

CREATE POLICY "edupulse_loader" ON pending_updates FOR ALL TO "edupulse_loader" USING (tenant_id = (SELECT nullif(current_setting('app.tenant', true), ''))) WITH CHECK (tenant_id = (SELECT nullif(current_setting('app.tenant', true), '')));

DROP POLICY IF EXISTS "edupulse_analyst_springfield" ON pending_updates;

CREATE POLICY "edupulse_analyst_springfield" ON pending_updates FOR SELECT TO "edupulse_analyst_springfield" USING (tenant_id = 'springfield');

DROP POLICY IF EXISTS "edupulse_loader" ON step_accounts;

CREATE POLICY "edupulse_loader" ON step_accounts FOR ALL TO "edupulse_loader" USING (tenant_id = (SELECT nullif(current_setting('app.tenant', true), ''))) WITH CHECK (tenant_id = (SELECT nullif(current_setting('app.tenant', true), '')));

DROP POLICY IF EXISTS "edupulse_analyst_springfield" ON step_accounts;

CREATE POLICY "edupulse_analyst_springfield" ON step_accounts FOR SELECT TO "edupulse_analyst_springfield" USING (tenant_id = 'springfield');

DROP POLICY IF EXISTS "edupulse_loader" ON disclosures;

CREATE POLICY "edupulse_loader" ON disclosures FOR ALL TO "edupulse_loader" USING (tenant_id = (SELECT nullif(current_setting('app.tenant', true), ''))) WITH CHECK (tenant_id = (SELECT nullif(current_setting('app.tenant', true), '')));

DROP POLICY IF EXISTS "edupulse_analyst_springfield" ON disclosures;

CREATE POLICY "edupulse_analyst_springfield" ON disclosures FOR SELECT TO "edupulse_analyst_springfield" USING (tenant_id = 'springfield');

DROP POLICY IF EXISTS "edupulse_loader" ON erasures;

CREATE POLICY "edupulse_loader" ON erasures FOR ALL TO "edupulse_loader" USING (tenant_id = (SELECT nullif(current_setting('app.tenant', true), ''))) WITH CHECK (tenant_id = (SELECT nullif(current_setting('app.tenant', true), '')));

DROP POLICY IF EXISTS "edupulse_analyst_springfield" ON erasures;

CREATE POLICY "edupulse_analyst_springfield" ON erasures FOR SELECT TO "edupulse_analyst_springfield" USING (tenant_id = 'springfield');

DROP POLICY IF EXISTS "edupulse_loader" ON erased_keys;

CREATE POLICY "edupulse_loader" ON erased_keys FOR ALL TO "edupulse_loader" USING (tenant_id = (SELECT nullif(current_setting('app.tenant', true), ''))) WITH CHECK (tenant_id = (SELECT nullif(current_setting('app.tenant', true), '')));

DROP POLICY IF EXISTS "edupulse_analyst_springfield" ON erased_keys;

CREATE POLICY "edupulse_analyst_springfield" ON erased_keys FOR SELECT TO "edupulse_analyst_springfield" USING (tenant_id = 'springfield');

DROP POLICY IF EXISTS "edupulse_loader" ON legal_holds;

CREATE POLICY "edupulse_loader" ON legal_holds FOR ALL TO "edupulse_loader" USING (tenant_id = (SELECT nullif(current_setting('app.tenant', true), ''))) WITH CHECK (tenant_id = (SELECT nullif(current_setting('app.tenant', true), '')));

DROP POLICY IF EXISTS "edupulse_analyst_springfield" ON legal_holds;

CREATE POLICY "edupulse_analyst_springfield" ON legal_holds FOR SELECT TO "edupulse_analyst_springfield" USING (tenant_id = 'springfield');

DROP POLICY IF EXISTS "edupulse_loader" ON audit_changes;

CREATE POLICY "edupulse_loader" ON audit_changes FOR SELECT TO "edupulse_loader" USING (tenant_id = (SELECT nullif(current_setting('app.tenant', true), '')));

DROP POLICY IF EXISTS "edupulse_auditor_springfield" ON audit_changes;

CREATE POLICY "edupulse_auditor_springfield" ON audit_changes FOR SELECT TO "edupulse_auditor_springfield" USING (tenant_id = 'springfield');

DROP POLICY IF EXISTS "edupulse_loader" ON audit_entries;

CREATE POLICY "edupulse_loader" ON audit_entries FOR SELECT TO "edupulse_loader" USING (tenant_id = (SELECT nullif(current_setting('app.tenant', true), '')));

DROP POLICY IF EXISTS "edupulse_auditor_springfield" ON audit_entries;

CREATE POLICY "edupulse_auditor_springfield" ON audit_entries FOR SELECT TO "edupulse_auditor_springfield" USING (tenant_id = 'springfield');

DROP POLICY IF EXISTS "edupulse_loader" ON audit_images;

CREATE POLICY "edupulse_loader" ON audit_images FOR SELECT TO "edupulse_loader" USING (tenant_id = (SELECT nullif(current_setting('app.tenant', true), '')));

DROP POLICY IF EXISTS "edupulse_auditor_springfield" ON audit_images;

CREATE POLICY "edupulse_auditor_springfield" ON audit_images FOR SELECT TO "edupulse_auditor_springfield" USING (tenant_id = 'springfield');

DROP POLICY IF EXISTS "edupulse_loader" ON retention_removals;

CREATE POLICY "edupulse_loader" ON retention_removals FOR ALL TO "edupulse_loader" USING (tenant_id = (SELECT nullif(current_setting('app.tenant', true), ''))) WITH CHECK (tenant_id = (SELECT nullif(current_setting('app.tenant', true), '')));

DROP POLICY IF EXISTS "edupulse_analyst_springfield" ON retention_removals;

CREATE POLICY "edupulse_analyst_springfield" ON retention_removals FOR SELECT TO "edupulse_analyst_springfield" USING (tenant_id = 'springfield');

DROP POLICY IF EXISTS "edupulse_loader" ON retention_certificates;

CREATE POLICY "edupulse_loader" ON retention_certificates FOR ALL TO "edupulse_loader" USING (tenant_id = (SELECT nullif(current_setting('app.tenant', true), ''))) WITH CHECK (tenant_id = (SELECT nullif(current_setting('app.tenant', true), '')));

DROP POLICY IF EXISTS "edupulse_analyst_springfield" ON retention_certificates;

CREATE POLICY "edupulse_analyst_springfield" ON retention_certificates FOR SELECT TO "edupulse_analyst_springfield" USING (tenant_id = 'springfield');

RESET ROLE;

-- Nobody has a password yet: \password NAME in psql, or a line in pg_hba.conf.
