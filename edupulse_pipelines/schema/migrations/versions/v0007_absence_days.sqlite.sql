ALTER TABLE attendance_records RENAME TO attendance_records_before

--;

CREATE TABLE attendance_records (
    id CHAR(32) DEFAULT (lower(hex(randomblob(16)))) NOT NULL,
    tenant_id VARCHAR(50) NOT NULL,
    student_id CHAR(32) NOT NULL,
    date DATE NOT NULL,
    status VARCHAR(20) NOT NULL,
    period INTEGER,
    delivered_on DATE NOT NULL,
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_at DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL,
    deleted_on DATE,
    minutes_absent INTEGER,
    minutes_possible INTEGER,
    field_deliveries JSON,
    CONSTRAINT pk_attendance_records PRIMARY KEY (id, date),
    CONSTRAINT ck_attendance_records_status_values CHECK (status IN ('present', 'absent', 'tardy', 'excused')),
    CONSTRAINT ck_attendance_records_period_range CHECK (period >= 0),
    CONSTRAINT ck_attendance_records_minutes_absent_range CHECK (minutes_absent >= 0 AND minutes_absent <= 1440),
    CONSTRAINT ck_attendance_records_minutes_possible_range CHECK (minutes_possible >= 1 AND minutes_possible <= 1440),
    CONSTRAINT fk_attendance_records_students FOREIGN KEY(tenant_id, student_id) REFERENCES students (tenant_id, id) ON DELETE RESTRICT
)

--;

INSERT INTO attendance_records
    (id, tenant_id, student_id, date, status, period, delivered_on, created_at, updated_at, deleted_on)
SELECT id, tenant_id, student_id, date, status, period, delivered_on, created_at, updated_at, deleted_on
FROM attendance_records_before
ORDER BY rowid

--;

DROP TABLE attendance_records_before

--;

CREATE INDEX ix_attendance_records_date ON attendance_records (date, tenant_id)

--;

CREATE UNIQUE INDEX uq_attendance_records_student_id_date_period ON attendance_records (student_id, date, coalesce(period, -1))

--;

ALTER TABLE weekly_activity ADD COLUMN days_enrolled INTEGER

--;

ALTER TABLE weekly_activity ADD COLUMN days_present INTEGER

--;

ALTER TABLE weekly_activity ADD COLUMN days_absent INTEGER

--;

ALTER TABLE weekly_activity ADD COLUMN days_excused INTEGER

--;

ALTER TABLE weekly_activity ADD COLUMN days_missed DOUBLE

--;

ALTER TABLE weekly_activity ADD COLUMN days_basis VARCHAR(20)

--;

ALTER TABLE model_metadata ADD COLUMN label_hash VARCHAR(64)
