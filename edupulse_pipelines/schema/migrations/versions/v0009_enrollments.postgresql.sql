CREATE TABLE schools (
    id UUID DEFAULT gen_random_uuid() NOT NULL,
    tenant_id VARCHAR(50) NOT NULL,
    school_id VARCHAR(50) NOT NULL,
    name VARCHAR(200),
    level VARCHAR(50),
    lowest_grade VARCHAR(20),
    highest_grade VARCHAR(20),
    first_delivered_on DATE NOT NULL,
    delivered_on DATE NOT NULL,
    field_deliveries JSONB,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    deleted_on DATE,
    CONSTRAINT pk_schools PRIMARY KEY (id),
    CONSTRAINT uq_schools_school_id UNIQUE (tenant_id, school_id)
)

--;

CREATE TABLE enrollments (
    id UUID DEFAULT gen_random_uuid() NOT NULL,
    tenant_id VARCHAR(50) NOT NULL,
    student_id UUID NOT NULL,
    school_id VARCHAR(50),
    entry_date DATE NOT NULL,
    exit_date DATE,
    exit_type VARCHAR(20),
    grade_level INTEGER,
    is_primary BOOLEAN,
    source_record_id VARCHAR(100),
    origin VARCHAR(10) NOT NULL,
    first_delivered_on DATE NOT NULL,
    delivered_on DATE NOT NULL,
    field_deliveries JSONB,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    deleted_on DATE,
    taken_back_for TEXT,
    CONSTRAINT pk_enrollments PRIMARY KEY (id),
    CONSTRAINT ck_enrollments_exit_type_values CHECK (exit_type IN ('completed', 'transferred', 'dropped_out', 'failed', 'other')),
    CONSTRAINT ck_enrollments_grade_level_range CHECK (grade_level >= 0 AND grade_level <= 12),
    CONSTRAINT ck_enrollments_origin_values CHECK (origin IN ('sent', 'student', 'assumed')),
    CONSTRAINT fk_enrollments_students FOREIGN KEY(tenant_id, student_id) REFERENCES students (tenant_id, id) ON DELETE RESTRICT
)

--;

CREATE INDEX ix_enrollments_school_id ON enrollments (tenant_id, school_id)

--;

CREATE UNIQUE INDEX uq_enrollments_student_id_school_id_entry_date ON enrollments (student_id, coalesce(school_id, ''), entry_date)

--;

CREATE TABLE enrollment_statements (
    tenant_id VARCHAR(50) NOT NULL,
    student_id UUID NOT NULL,
    said VARCHAR(50) NOT NULL,
    first_delivered_on DATE NOT NULL,
    delivered_on DATE NOT NULL,
    CONSTRAINT pk_enrollment_statements PRIMARY KEY (student_id, said),
    CONSTRAINT fk_enrollment_statements_students FOREIGN KEY(tenant_id, student_id) REFERENCES students (tenant_id, id) ON DELETE RESTRICT
)

--;

CREATE INDEX ix_enrollment_statements_delivered_on ON enrollment_statements (tenant_id, delivered_on)

--;

INSERT INTO enrollment_statements (tenant_id, student_id, said, first_delivered_on, delivered_on)
SELECT tenant_id, id,
    CASE WHEN coalesce(jsonb_typeof(field_deliveries -> 'enrollment_date') = 'null', false) THEN '' ELSE enrollment_date::text END || '/'
        || CASE WHEN coalesce(jsonb_typeof(field_deliveries -> 'exit_date') = 'null', false) THEN '?' ELSE coalesce(exit_date::text, '') END || '/'
        || CASE WHEN coalesce(jsonb_typeof(field_deliveries -> 'exit_type') = 'null', false) THEN '?' ELSE coalesce(exit_type, '') END,
    CASE
        WHEN coalesce(jsonb_typeof(field_deliveries -> 'enrollment_date') = 'null', false) THEN least(enrollment_date, delivered_on)
        ELSE least(coalesce((field_deliveries ->> 'enrollment_date')::date, delivered_on), coalesce((field_deliveries ->> 'exit_date')::date, delivered_on))
    END,
    coalesce((field_deliveries ->> 'exit_date')::date, delivered_on)
FROM students

--;

INSERT INTO enrollments (
    id, tenant_id, student_id, entry_date, exit_date, exit_type, origin, first_delivered_on, delivered_on
)
SELECT gen_random_uuid(), tenant_id, id, enrollment_date, exit_date, CASE WHEN exit_date IS NOT NULL THEN exit_type END,
    CASE WHEN coalesce(jsonb_typeof(field_deliveries -> 'enrollment_date') = 'null', false) THEN 'assumed' ELSE 'student' END,
    CASE
        WHEN coalesce(jsonb_typeof(field_deliveries -> 'enrollment_date') = 'null', false) THEN least(enrollment_date, delivered_on)
        ELSE least(coalesce((field_deliveries ->> 'enrollment_date')::date, delivered_on), coalesce((field_deliveries ->> 'exit_date')::date, delivered_on))
    END,
    CASE
        WHEN coalesce(jsonb_typeof(field_deliveries -> 'enrollment_date') = 'null', false) THEN least(enrollment_date, delivered_on)
        ELSE least(coalesce((field_deliveries ->> 'enrollment_date')::date, delivered_on), coalesce((field_deliveries ->> 'exit_date')::date, delivered_on))
    END
FROM students

--;

UPDATE enrollments SET entry_date = first.day
FROM (SELECT student_id, min(date) AS day FROM attendance_records WHERE deleted_on IS NULL GROUP BY student_id) AS first
WHERE enrollments.origin = 'assumed' AND enrollments.student_id = first.student_id AND first.day < enrollments.entry_date

--;

UPDATE enrollments SET entry_date = first.day
FROM (SELECT student_id, min(submission_date) AS day FROM grades WHERE deleted_on IS NULL GROUP BY student_id) AS first
WHERE enrollments.origin = 'assumed' AND enrollments.student_id = first.student_id AND first.day < enrollments.entry_date

--;

UPDATE enrollments SET entry_date = first.day
FROM (SELECT student_id, min(incident_date) AS day FROM discipline_incidents WHERE deleted_on IS NULL GROUP BY student_id) AS first
WHERE enrollments.origin = 'assumed' AND enrollments.student_id = first.student_id AND first.day < enrollments.entry_date

--;

INSERT INTO pending_updates (tenant_id, stage, student_id, week_start)
SELECT e.tenant_id, 'student_features', e.student_id, date_trunc('week', e.entry_date)::date
FROM enrollments e JOIN students s ON s.id = e.student_id
WHERE e.origin = 'assumed' AND e.entry_date < s.enrollment_date

--;

ALTER TABLE pending_updates DROP CONSTRAINT ck_pending_updates_stage_values

--;

ALTER TABLE pending_updates
    ADD CONSTRAINT ck_pending_updates_stage_values CHECK (stage IN ('weekly_activity', 'enrolled_days', 'student_features'))

--;

INSERT INTO pending_updates (tenant_id, stage, student_id, week_start)
SELECT tenant_id, 'enrolled_days', NULL, DATE '1970-01-05'
FROM students
GROUP BY tenant_id
