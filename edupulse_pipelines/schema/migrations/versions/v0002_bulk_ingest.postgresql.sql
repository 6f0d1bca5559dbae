ALTER TABLE students ADD COLUMN deleted_on DATE

--;

ALTER TABLE grades ADD COLUMN deleted_on DATE

--;

ALTER TABLE discipline_incidents ADD COLUMN deleted_on DATE

--;

ALTER TABLE training_feedback ADD COLUMN deleted_on DATE

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