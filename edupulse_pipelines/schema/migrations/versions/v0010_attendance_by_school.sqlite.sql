ALTER TABLE attendance_records ADD COLUMN school_id VARCHAR(50)

--;

DROP INDEX uq_attendance_records_student_id_date_period

--;

CREATE UNIQUE INDEX uq_attendance_records_student_id_date_period_school_id ON attendance_records (student_id, date, coalesce(period, -1), coalesce(school_id, ''))

--;

CREATE TABLE attendance_statements (
    tenant_id VARCHAR(50) NOT NULL,
    student_id CHAR(32) NOT NULL,
    date DATE NOT NULL,
    period INTEGER NOT NULL,
    said JSON NOT NULL,
    at_several BOOLEAN NOT NULL,
    CONSTRAINT pk_attendance_statements PRIMARY KEY (student_id, date, period),
    CONSTRAINT fk_attendance_statements_students FOREIGN KEY(tenant_id, student_id) REFERENCES students (tenant_id, id) ON DELETE RESTRICT
)

--;

CREATE INDEX ix_attendance_statements_date ON attendance_statements (tenant_id, date)
