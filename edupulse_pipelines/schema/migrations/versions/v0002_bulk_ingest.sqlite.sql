ALTER TABLE students ADD COLUMN deleted_on DATE

--;

DROP TRIGGER tr_students_updated_at

--;

CREATE TRIGGER tr_students_updated_at AFTER UPDATE OF district_id, first_name, last_name, grade_level, date_of_birth, gender, ethnicity, socioeconomic_status, gpa, attendance_rate, parent_contact, enrollment_date, exit_date, exit_type, student_metadata, deleted_on
ON students FOR EACH ROW
BEGIN
    UPDATE students SET updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') WHERE rowid = NEW.rowid;
END

--;

ALTER TABLE grades ADD COLUMN deleted_on DATE

--;

DROP TRIGGER tr_grades_updated_at

--;

CREATE TRIGGER tr_grades_updated_at AFTER UPDATE OF student_id, record_key, source_record_id, course_id, course_name, grade_value, grade_letter, submission_date, assignment_type, deleted_on
ON grades FOR EACH ROW
BEGIN
    UPDATE grades SET updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') WHERE rowid = NEW.rowid;
END

--;

ALTER TABLE discipline_incidents ADD COLUMN deleted_on DATE

--;

DROP TRIGGER tr_discipline_incidents_updated_at

--;

CREATE TRIGGER tr_discipline_incidents_updated_at AFTER UPDATE OF student_id, record_key, source_record_id, incident_date, severity_level, incident_type, description, resolution, deleted_on
ON discipline_incidents FOR EACH ROW
BEGIN
    UPDATE discipline_incidents SET updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') WHERE rowid = NEW.rowid;
END

--;

ALTER TABLE training_feedback ADD COLUMN deleted_on DATE

--;

DROP TRIGGER tr_training_feedback_updated_at

--;

CREATE TRIGGER tr_training_feedback_updated_at AFTER UPDATE OF prediction_id, record_key, outcome_date, outcome_type, feedback_type, educator_notes, deleted_on
ON training_feedback FOR EACH ROW
BEGIN
    UPDATE training_feedback SET updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') WHERE rowid = NEW.rowid;
END

--;

ALTER TABLE attendance_records ADD COLUMN deleted_on DATE

--;

DROP TRIGGER tr_attendance_records_updated_at

--;

CREATE TRIGGER tr_attendance_records_updated_at AFTER UPDATE OF student_id, date, status, period, deleted_on
ON attendance_records FOR EACH ROW
BEGIN
    UPDATE attendance_records SET updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') WHERE rowid = NEW.rowid;
END

--;

ALTER TABLE ingested_files ADD COLUMN source_format VARCHAR(50)

--;

ALTER TABLE ingested_files ADD COLUMN left_out JSON

--;

ALTER TABLE ingested_files ADD COLUMN snapshot JSON

--;

ALTER TABLE ingested_files ADD COLUMN rows_deleted BIGINT DEFAULT 0 NOT NULL

--;

ALTER TABLE ingested_files ADD COLUMN confirms_only BOOLEAN DEFAULT 0 NOT NULL

--;

ALTER TABLE quarantined_records ADD COLUMN corrected JSON

--;

ALTER TABLE quarantined_records ADD COLUMN corrected_at DATETIME

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

DROP INDEX uq_attendance_records_student_id_date_period

--;

DROP INDEX ix_attendance_records_date_status

--;

CREATE INDEX ix_attendance_records_date ON attendance_records (date, tenant_id)

--;

CREATE UNIQUE INDEX uq_attendance_records_student_id_date_period ON attendance_records (student_id, date, coalesce(period, -1))