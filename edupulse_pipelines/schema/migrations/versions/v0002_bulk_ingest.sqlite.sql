ALTER TABLE students ADD COLUMN deleted_on DATE

--;

ALTER TABLE grades ADD COLUMN deleted_on DATE

--;

ALTER TABLE discipline_incidents ADD COLUMN deleted_on DATE

--;

ALTER TABLE training_feedback ADD COLUMN deleted_on DATE

--;

ALTER TABLE attendance_records ADD COLUMN deleted_on DATE

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