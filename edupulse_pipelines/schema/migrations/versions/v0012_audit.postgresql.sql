CREATE TABLE audit_changes (
    id BIGSERIAL NOT NULL,
    tenant_id VARCHAR(50) NOT NULL,
    changed_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    actor VARCHAR(255) NOT NULL,
    database_user VARCHAR(255) NOT NULL,
    run_id VARCHAR(50),
    transaction_id BIGINT,
    link_number BIGINT,
    linked_at TIMESTAMP WITH TIME ZONE,
    link VARCHAR(64),
    CONSTRAINT pk_audit_changes PRIMARY KEY (id),
    CONSTRAINT uq_audit_changes_link_number UNIQUE (link_number)
)

--;

CREATE INDEX ix_audit_changes_changed_at ON audit_changes (tenant_id, changed_at)

--;

CREATE INDEX ix_audit_changes_run_id ON audit_changes (run_id)

--;

CREATE TABLE audit_entries (
    change_id BIGINT NOT NULL,
    tenant_id VARCHAR(50) NOT NULL,
    table_name VARCHAR(63) NOT NULL,
    operation VARCHAR(10) NOT NULL,
    rows BIGINT NOT NULL,
    columns INTEGER,
    content VARCHAR(64),
    images VARCHAR(64),
    replaced JSONB,
    CONSTRAINT pk_audit_entries PRIMARY KEY (change_id, tenant_id, table_name, operation),
    CONSTRAINT ck_audit_entries_operation_values CHECK (operation IN ('before', 'insert', 'update', 'delete', 'write', 'replace', 'detach', 'attach', 'restate'))
)

--;

CREATE INDEX ix_audit_entries_table_name ON audit_entries (table_name)

--;

CREATE TABLE audit_images (
    id UUID DEFAULT gen_random_uuid() NOT NULL,
    tenant_id VARCHAR(50) NOT NULL,
    table_name VARCHAR(63) NOT NULL,
    row_key TEXT NOT NULL,
    student_id UUID,
    written_by BIGINT NOT NULL,
    replaced_by BIGINT NOT NULL,
    image JSONB,
    salt VARCHAR(32),
    hash VARCHAR(64),
    CONSTRAINT pk_audit_images PRIMARY KEY (id)
)

--;

CREATE INDEX ix_audit_images_replaced_by ON audit_images (replaced_by)

--;

CREATE INDEX ix_audit_images_student_id ON audit_images (student_id)

--;

CREATE INDEX ix_audit_images_table_name_row_key ON audit_images (table_name, row_key)

--;

ALTER TABLE students ADD COLUMN change_id BIGINT DEFAULT 0 NOT NULL

--;

ALTER TABLE students ALTER COLUMN change_id SET DEFAULT CAST(coalesce(nullif(current_setting('app.audit_insert', true), ''), '0') AS bigint)

--;

INSERT INTO audit_entries (change_id, tenant_id, table_name, operation, rows)
SELECT 0, tenant_id, 'students', 'before', count(*) FROM students GROUP BY tenant_id

--;

ALTER TABLE schools ADD COLUMN change_id BIGINT DEFAULT 0 NOT NULL

--;

ALTER TABLE schools ALTER COLUMN change_id SET DEFAULT CAST(coalesce(nullif(current_setting('app.audit_insert', true), ''), '0') AS bigint)

--;

INSERT INTO audit_entries (change_id, tenant_id, table_name, operation, rows)
SELECT 0, tenant_id, 'schools', 'before', count(*) FROM schools GROUP BY tenant_id

--;

ALTER TABLE enrollments ADD COLUMN change_id BIGINT DEFAULT 0 NOT NULL

--;

ALTER TABLE enrollments ALTER COLUMN change_id SET DEFAULT CAST(coalesce(nullif(current_setting('app.audit_insert', true), ''), '0') AS bigint)

--;

INSERT INTO audit_entries (change_id, tenant_id, table_name, operation, rows)
SELECT 0, tenant_id, 'enrollments', 'before', count(*) FROM enrollments GROUP BY tenant_id

--;

ALTER TABLE enrollment_statements ADD COLUMN change_id BIGINT DEFAULT 0 NOT NULL

--;

ALTER TABLE enrollment_statements ALTER COLUMN change_id SET DEFAULT CAST(coalesce(nullif(current_setting('app.audit_insert', true), ''), '0') AS bigint)

--;

INSERT INTO audit_entries (change_id, tenant_id, table_name, operation, rows)
SELECT 0, tenant_id, 'enrollment_statements', 'before', count(*) FROM enrollment_statements GROUP BY tenant_id

--;

ALTER TABLE attendance_records ADD COLUMN change_id BIGINT DEFAULT 0 NOT NULL

--;

ALTER TABLE attendance_records ALTER COLUMN change_id SET DEFAULT CAST(coalesce(nullif(current_setting('app.audit_insert', true), ''), '0') AS bigint)

--;

INSERT INTO audit_entries (change_id, tenant_id, table_name, operation, rows)
SELECT 0, tenant_id, 'attendance_records', 'before', count(*) FROM attendance_records GROUP BY tenant_id

--;

ALTER TABLE attendance_statements ADD COLUMN change_id BIGINT DEFAULT 0 NOT NULL

--;

ALTER TABLE attendance_statements ALTER COLUMN change_id SET DEFAULT CAST(coalesce(nullif(current_setting('app.audit_insert', true), ''), '0') AS bigint)

--;

INSERT INTO audit_entries (change_id, tenant_id, table_name, operation, rows)
SELECT 0, tenant_id, 'attendance_statements', 'before', count(*) FROM attendance_statements GROUP BY tenant_id

--;

ALTER TABLE grades ADD COLUMN change_id BIGINT DEFAULT 0 NOT NULL

--;

ALTER TABLE grades ALTER COLUMN change_id SET DEFAULT CAST(coalesce(nullif(current_setting('app.audit_insert', true), ''), '0') AS bigint)

--;

INSERT INTO audit_entries (change_id, tenant_id, table_name, operation, rows)
SELECT 0, tenant_id, 'grades', 'before', count(*) FROM grades GROUP BY tenant_id

--;

ALTER TABLE discipline_incidents ADD COLUMN change_id BIGINT DEFAULT 0 NOT NULL

--;

ALTER TABLE discipline_incidents ALTER COLUMN change_id SET DEFAULT CAST(coalesce(nullif(current_setting('app.audit_insert', true), ''), '0') AS bigint)

--;

INSERT INTO audit_entries (change_id, tenant_id, table_name, operation, rows)
SELECT 0, tenant_id, 'discipline_incidents', 'before', count(*) FROM discipline_incidents GROUP BY tenant_id

--;

ALTER TABLE student_features ADD COLUMN change_id BIGINT DEFAULT 0 NOT NULL

--;

ALTER TABLE student_features ALTER COLUMN change_id SET DEFAULT CAST(coalesce(nullif(current_setting('app.audit_insert', true), ''), '0') AS bigint)

--;

INSERT INTO audit_entries (change_id, tenant_id, table_name, operation, rows)
SELECT 0, tenant_id, 'student_features', 'before', count(*) FROM student_features GROUP BY tenant_id

--;

ALTER TABLE model_metadata ADD COLUMN change_id BIGINT DEFAULT 0 NOT NULL

--;

ALTER TABLE model_metadata ALTER COLUMN change_id SET DEFAULT CAST(coalesce(nullif(current_setting('app.audit_insert', true), ''), '0') AS bigint)

--;

INSERT INTO audit_entries (change_id, tenant_id, table_name, operation, rows)
SELECT 0, tenant_id, 'model_metadata', 'before', count(*) FROM model_metadata GROUP BY tenant_id

--;

ALTER TABLE predictions ADD COLUMN change_id BIGINT DEFAULT 0 NOT NULL

--;

ALTER TABLE predictions ALTER COLUMN change_id SET DEFAULT CAST(coalesce(nullif(current_setting('app.audit_insert', true), ''), '0') AS bigint)

--;

INSERT INTO audit_entries (change_id, tenant_id, table_name, operation, rows)
SELECT 0, tenant_id, 'predictions', 'before', count(*) FROM predictions GROUP BY tenant_id

--;

ALTER TABLE training_feedback ADD COLUMN change_id BIGINT DEFAULT 0 NOT NULL

--;

ALTER TABLE training_feedback ALTER COLUMN change_id SET DEFAULT CAST(coalesce(nullif(current_setting('app.audit_insert', true), ''), '0') AS bigint)

--;

INSERT INTO audit_entries (change_id, tenant_id, table_name, operation, rows)
SELECT 0, tenant_id, 'training_feedback', 'before', count(*) FROM training_feedback GROUP BY tenant_id

--;

ALTER TABLE model_evaluations ADD COLUMN change_id BIGINT DEFAULT 0 NOT NULL

--;

ALTER TABLE model_evaluations ALTER COLUMN change_id SET DEFAULT CAST(coalesce(nullif(current_setting('app.audit_insert', true), ''), '0') AS bigint)

--;

INSERT INTO audit_entries (change_id, tenant_id, table_name, operation, rows)
SELECT 0, tenant_id, 'model_evaluations', 'before', count(*) FROM model_evaluations GROUP BY tenant_id

--;

ALTER TABLE promotion_decisions ADD COLUMN change_id BIGINT DEFAULT 0 NOT NULL

--;

ALTER TABLE promotion_decisions ALTER COLUMN change_id SET DEFAULT CAST(coalesce(nullif(current_setting('app.audit_insert', true), ''), '0') AS bigint)

--;

INSERT INTO audit_entries (change_id, tenant_id, table_name, operation, rows)
SELECT 0, tenant_id, 'promotion_decisions', 'before', count(*) FROM promotion_decisions GROUP BY tenant_id

--;

ALTER TABLE review_proposals ADD COLUMN change_id BIGINT DEFAULT 0 NOT NULL

--;

ALTER TABLE review_proposals ALTER COLUMN change_id SET DEFAULT CAST(coalesce(nullif(current_setting('app.audit_insert', true), ''), '0') AS bigint)

--;

INSERT INTO audit_entries (change_id, tenant_id, table_name, operation, rows)
SELECT 0, tenant_id, 'review_proposals', 'before', count(*) FROM review_proposals GROUP BY tenant_id

--;

ALTER TABLE ingested_files ADD COLUMN change_id BIGINT DEFAULT 0 NOT NULL

--;

ALTER TABLE ingested_files ALTER COLUMN change_id SET DEFAULT CAST(coalesce(nullif(current_setting('app.audit_insert', true), ''), '0') AS bigint)

--;

INSERT INTO audit_entries (change_id, tenant_id, table_name, operation, rows)
SELECT 0, tenant_id, 'ingested_files', 'before', count(*) FROM ingested_files GROUP BY tenant_id

--;

ALTER TABLE accepted_removals ADD COLUMN change_id BIGINT DEFAULT 0 NOT NULL

--;

ALTER TABLE accepted_removals ALTER COLUMN change_id SET DEFAULT CAST(coalesce(nullif(current_setting('app.audit_insert', true), ''), '0') AS bigint)

--;

INSERT INTO audit_entries (change_id, tenant_id, table_name, operation, rows)
SELECT 0, tenant_id, 'accepted_removals', 'before', count(*) FROM accepted_removals GROUP BY tenant_id

--;

ALTER TABLE quarantined_records ADD COLUMN change_id BIGINT DEFAULT 0 NOT NULL

--;

ALTER TABLE quarantined_records ALTER COLUMN change_id SET DEFAULT CAST(coalesce(nullif(current_setting('app.audit_insert', true), ''), '0') AS bigint)

--;

INSERT INTO audit_entries (change_id, tenant_id, table_name, operation, rows)
SELECT 0, tenant_id, 'quarantined_records', 'before', count(*) FROM quarantined_records GROUP BY tenant_id

--;

ALTER TABLE disputed_numbers ADD COLUMN change_id BIGINT DEFAULT 0 NOT NULL

--;

ALTER TABLE disputed_numbers ALTER COLUMN change_id SET DEFAULT CAST(coalesce(nullif(current_setting('app.audit_insert', true), ''), '0') AS bigint)

--;

INSERT INTO audit_entries (change_id, tenant_id, table_name, operation, rows)
SELECT 0, tenant_id, 'disputed_numbers', 'before', count(*) FROM disputed_numbers GROUP BY tenant_id

--;

ALTER TABLE student_merges ADD COLUMN change_id BIGINT DEFAULT 0 NOT NULL

--;

ALTER TABLE student_merges ALTER COLUMN change_id SET DEFAULT CAST(coalesce(nullif(current_setting('app.audit_insert', true), ''), '0') AS bigint)

--;

INSERT INTO audit_entries (change_id, tenant_id, table_name, operation, rows)
SELECT 0, tenant_id, 'student_merges', 'before', count(*) FROM student_merges GROUP BY tenant_id

--;

ALTER TABLE instructional_days ADD COLUMN change_id BIGINT DEFAULT 0 NOT NULL

--;

ALTER TABLE instructional_days ALTER COLUMN change_id SET DEFAULT CAST(coalesce(nullif(current_setting('app.audit_insert', true), ''), '0') AS bigint)

--;

INSERT INTO audit_entries (change_id, tenant_id, table_name, operation, rows)
SELECT 0, tenant_id, 'instructional_days', 'before', count(*) FROM instructional_days GROUP BY tenant_id

--;

ALTER TABLE weekly_activity ADD COLUMN change_id BIGINT DEFAULT 0 NOT NULL

--;

ALTER TABLE weekly_activity ALTER COLUMN change_id SET DEFAULT CAST(coalesce(nullif(current_setting('app.audit_insert', true), ''), '0') AS bigint)

--;

INSERT INTO audit_entries (change_id, tenant_id, table_name, operation, rows)
SELECT 0, tenant_id, 'weekly_activity', 'before', count(*) FROM weekly_activity GROUP BY tenant_id

--;

ALTER TABLE weekly_course_grades ADD COLUMN change_id BIGINT DEFAULT 0 NOT NULL

--;

ALTER TABLE weekly_course_grades ALTER COLUMN change_id SET DEFAULT CAST(coalesce(nullif(current_setting('app.audit_insert', true), ''), '0') AS bigint)

--;

INSERT INTO audit_entries (change_id, tenant_id, table_name, operation, rows)
SELECT 0, tenant_id, 'weekly_course_grades', 'before', count(*) FROM weekly_course_grades GROUP BY tenant_id

--;

ALTER TABLE step_accounts ADD COLUMN change_id BIGINT DEFAULT 0 NOT NULL

--;

ALTER TABLE step_accounts ALTER COLUMN change_id SET DEFAULT CAST(coalesce(nullif(current_setting('app.audit_insert', true), ''), '0') AS bigint)

--;

INSERT INTO audit_entries (change_id, tenant_id, table_name, operation, rows)
SELECT 0, tenant_id, 'step_accounts', 'before', count(*) FROM step_accounts GROUP BY tenant_id

--;

ALTER TABLE disclosures ADD COLUMN change_id BIGINT DEFAULT 0 NOT NULL

--;

ALTER TABLE disclosures ALTER COLUMN change_id SET DEFAULT CAST(coalesce(nullif(current_setting('app.audit_insert', true), ''), '0') AS bigint)

--;

INSERT INTO audit_entries (change_id, tenant_id, table_name, operation, rows)
SELECT 0, tenant_id, 'disclosures', 'before', count(*) FROM disclosures GROUP BY tenant_id

--;

ALTER TABLE erasures ADD COLUMN change_id BIGINT DEFAULT 0 NOT NULL

--;

ALTER TABLE erasures ALTER COLUMN change_id SET DEFAULT CAST(coalesce(nullif(current_setting('app.audit_insert', true), ''), '0') AS bigint)

--;

INSERT INTO audit_entries (change_id, tenant_id, table_name, operation, rows)
SELECT 0, tenant_id, 'erasures', 'before', count(*) FROM erasures GROUP BY tenant_id

--;

ALTER TABLE erased_keys ADD COLUMN change_id BIGINT DEFAULT 0 NOT NULL

--;

ALTER TABLE erased_keys ALTER COLUMN change_id SET DEFAULT CAST(coalesce(nullif(current_setting('app.audit_insert', true), ''), '0') AS bigint)

--;

INSERT INTO audit_entries (change_id, tenant_id, table_name, operation, rows)
SELECT 0, tenant_id, 'erased_keys', 'before', count(*) FROM erased_keys GROUP BY tenant_id

--;

ALTER TABLE legal_holds ADD COLUMN change_id BIGINT DEFAULT 0 NOT NULL

--;

ALTER TABLE legal_holds ALTER COLUMN change_id SET DEFAULT CAST(coalesce(nullif(current_setting('app.audit_insert', true), ''), '0') AS bigint)

--;

INSERT INTO audit_entries (change_id, tenant_id, table_name, operation, rows)
SELECT 0, tenant_id, 'legal_holds', 'before', count(*) FROM legal_holds GROUP BY tenant_id
