ALTER TABLE students ADD COLUMN deleted_on DATE

--;

DROP TRIGGER tr_students_updated_at ON students

--;

CREATE TRIGGER tr_students_updated_at BEFORE UPDATE OF district_id, first_name, last_name, grade_level, date_of_birth, gender, ethnicity, socioeconomic_status, gpa, attendance_rate, parent_contact, enrollment_date, exit_date, exit_type, student_metadata, deleted_on
ON students FOR EACH ROW EXECUTE FUNCTION edupulse_touch_updated_at()

--;

ALTER TABLE grades ADD COLUMN deleted_on DATE

--;

DROP TRIGGER tr_grades_updated_at ON grades

--;

CREATE TRIGGER tr_grades_updated_at BEFORE UPDATE OF student_id, record_key, source_record_id, course_id, course_name, grade_value, grade_letter, submission_date, assignment_type, deleted_on
ON grades FOR EACH ROW EXECUTE FUNCTION edupulse_touch_updated_at()

--;

ALTER TABLE discipline_incidents ADD COLUMN deleted_on DATE

--;

DROP TRIGGER tr_discipline_incidents_updated_at ON discipline_incidents

--;

CREATE TRIGGER tr_discipline_incidents_updated_at BEFORE UPDATE OF student_id, record_key, source_record_id, incident_date, severity_level, incident_type, description, resolution, deleted_on
ON discipline_incidents FOR EACH ROW EXECUTE FUNCTION edupulse_touch_updated_at()

--;

ALTER TABLE training_feedback ADD COLUMN deleted_on DATE

--;

DROP TRIGGER tr_training_feedback_updated_at ON training_feedback

--;

CREATE TRIGGER tr_training_feedback_updated_at BEFORE UPDATE OF prediction_id, record_key, outcome_date, outcome_type, feedback_type, educator_notes, deleted_on
ON training_feedback FOR EACH ROW EXECUTE FUNCTION edupulse_touch_updated_at()

--;

ALTER TABLE ingested_files ADD COLUMN source_format VARCHAR(50)

--;

ALTER TABLE ingested_files ADD COLUMN left_out JSONB

--;

ALTER TABLE ingested_files ADD COLUMN snapshot JSONB

--;

ALTER TABLE ingested_files ADD COLUMN rows_deleted BIGINT DEFAULT 0 NOT NULL

--;

ALTER TABLE ingested_files ADD COLUMN confirms_only BOOLEAN DEFAULT false NOT NULL

--;

ALTER TABLE quarantined_records ADD COLUMN corrected JSON

--;

ALTER TABLE quarantined_records ADD COLUMN corrected_at TIMESTAMP WITH TIME ZONE

--;

ALTER TABLE quarantined_records ADD COLUMN replay_run_id VARCHAR(50)

--;

ALTER TABLE weekly_activity ADD COLUMN sessions_basis VARCHAR(20)

--;

CREATE TABLE instructional_days (
    tenant_id VARCHAR(50) NOT NULL,
    date DATE NOT NULL,
    delivered_on DATE NOT NULL,
    CONSTRAINT pk_instructional_days PRIMARY KEY (tenant_id, date)
)

--;

COMMENT ON TABLE instructional_days IS 'The school days a source''s own calendar names; with them exceptions-only attendance has a denominator.'

--;

COMMENT ON COLUMN instructional_days.tenant_id IS 'The school district that owns the row.'

--;

COMMENT ON COLUMN instructional_days.date IS 'A day of instruction.'

--;

COMMENT ON COLUMN instructional_days.delivered_on IS 'Date of the newest delivery that named it.'

--;

COMMENT ON COLUMN students.deleted_on IS 'Delivery that took the record back (`_deleted`, or missing from a full snapshot); NULL while it stands.'

--;

COMMENT ON COLUMN grades.deleted_on IS 'Delivery that took the record back (`_deleted`, or missing from a full snapshot); NULL while it stands.'

--;

COMMENT ON COLUMN discipline_incidents.deleted_on IS 'Delivery that took the record back (`_deleted`, or missing from a full snapshot); NULL while it stands.'

--;

COMMENT ON COLUMN training_feedback.deleted_on IS 'Delivery that took the record back (`_deleted`, or missing from a full snapshot); NULL while it stands.'

--;

COMMENT ON COLUMN ingested_files.source_format IS 'What the file was read as, such as `csv, gzip` or `OneRoster 1.2`.'

--;

COMMENT ON COLUMN ingested_files.left_out IS 'Entries of the source that are no records of the table (an exempt result, say), by reason.'

--;

COMMENT ON COLUMN ingested_files.snapshot IS 'The days (`from`, `to`) for which the delivery says it holds every record; NULL: what is new.'

--;

COMMENT ON COLUMN ingested_files.rows_deleted IS 'Stored records that this file, or its absence of them from a snapshot, took back.'

--;

COMMENT ON COLUMN ingested_files.confirms_only IS 'Whether its rows were not merged one by one, because the newest delivery before it said exactly the same; they are when an older delivery comes late.'

--;

COMMENT ON COLUMN quarantined_records.corrected IS 'The row as a person corrected it, by column of the file; it is loaded in place of `raw`.'

--;

COMMENT ON COLUMN quarantined_records.corrected_at IS 'When it was corrected.'

--;

COMMENT ON COLUMN quarantined_records.replay_run_id IS 'The run that loaded it after all.'

--;

COMMENT ON COLUMN weekly_activity.sessions_basis IS 'How the sessions were counted. NULL: as recorded. Where only absences are recorded: the days of instruction while enrolled (1 = Monday) x sessions a day, such as `12345 x 1`; or `unknown` without a calendar or delivery for the week: then no rate can be given.'

--;

ALTER TABLE attendance_records RENAME TO attendance_records_unpartitioned

--;

ALTER INDEX pk_attendance_records RENAME TO pk_attendance_records_unpartitioned

--;

ALTER INDEX uq_attendance_records_student_id_date_period RENAME TO uq_attendance_records_student_id_date_period_unpartitioned

--;

ALTER INDEX ix_attendance_records_date_status RENAME TO ix_attendance_records_date_status_unpartitioned

--;

CREATE TABLE attendance_records (
    id UUID DEFAULT gen_random_uuid() NOT NULL,
    tenant_id VARCHAR(50) NOT NULL,
    student_id UUID NOT NULL,
    date DATE NOT NULL,
    status VARCHAR(20) NOT NULL,
    period INTEGER,
    delivered_on DATE NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    deleted_on DATE,
    CONSTRAINT pk_attendance_records PRIMARY KEY (id, date),
    CONSTRAINT ck_attendance_records_status_values CHECK (status IN ('present', 'absent', 'tardy', 'excused')),
    CONSTRAINT ck_attendance_records_period_range CHECK (period >= 0),
    CONSTRAINT fk_attendance_records_students FOREIGN KEY(tenant_id, student_id) REFERENCES students (tenant_id, id) ON DELETE RESTRICT
)
 PARTITION BY RANGE (date)

--;

CREATE TABLE attendance_records_default PARTITION OF attendance_records DEFAULT

--;

DO $$
DECLARE
    month date;
BEGIN
    FOR month IN SELECT DISTINCT date_trunc('month', date)::date FROM attendance_records_unpartitioned ORDER BY 1 LOOP
        EXECUTE format(
            'CREATE TABLE %I PARTITION OF attendance_records FOR VALUES FROM (%L) TO (%L)',
            'attendance_records_y' || to_char(month, 'YYYY') || 'm' || to_char(month, 'MM'),
            month,
            (month + interval '1 month')::date
        );
    END LOOP;
END
$$

--;

INSERT INTO attendance_records (id, tenant_id, student_id, date, status, period, delivered_on, created_at, updated_at)
SELECT id, tenant_id, student_id, date, status, period, delivered_on, created_at, updated_at FROM attendance_records_unpartitioned ORDER BY tenant_id, student_id, date

--;

DROP TABLE attendance_records_unpartitioned

--;

CREATE INDEX ix_attendance_records_date ON attendance_records (date, tenant_id)

--;

CREATE UNIQUE INDEX uq_attendance_records_student_id_date_period ON attendance_records (student_id, date, coalesce(period, -1))

--;

COMMENT ON TABLE attendance_records IS 'Attendance, one row per student, day and (where the district records it) period.'

--;

COMMENT ON COLUMN attendance_records.id IS 'System-generated, time-ordered identifier.'

--;

COMMENT ON COLUMN attendance_records.tenant_id IS 'The school district that owns the row.'

--;

COMMENT ON COLUMN attendance_records.student_id IS 'The student the row is about.'

--;

COMMENT ON COLUMN attendance_records.date IS 'School day.'

--;

COMMENT ON COLUMN attendance_records.status IS 'present and tardy are attended; absent is unexcused; excused is kept apart.'

--;

COMMENT ON COLUMN attendance_records.period IS 'Period of the day; NULL where attendance is daily.'

--;

COMMENT ON COLUMN attendance_records.delivered_on IS 'Date of the newest delivery that held this record.'

--;

COMMENT ON COLUMN attendance_records.created_at IS 'When the row was first written.'

--;

COMMENT ON COLUMN attendance_records.updated_at IS 'When the row last changed; kept by the database.'

--;

COMMENT ON COLUMN attendance_records.deleted_on IS 'Delivery that took the record back (`_deleted`, or missing from a full snapshot); NULL while it stands.'

--;

CREATE TRIGGER tr_attendance_records_updated_at BEFORE UPDATE OF student_id, date, status, period, deleted_on
ON attendance_records FOR EACH ROW EXECUTE FUNCTION edupulse_touch_updated_at()