-- The schema of EduPulse on SQLite.
-- Generated from edupulse_pipelines/schema/ by `make sql`; do not edit.

CREATE TABLE students (
    id CHAR(32) DEFAULT (lower(hex(randomblob(16)))) NOT NULL,
    tenant_id VARCHAR(50) NOT NULL,
    district_id VARCHAR(50) NOT NULL,
    first_name VARCHAR(100) NOT NULL,
    last_name VARCHAR(100) NOT NULL,
    grade_level INTEGER,
    date_of_birth DATE NOT NULL,
    gender VARCHAR(10),
    ethnicity VARCHAR(100),
    socioeconomic_status VARCHAR(50),
    gpa DOUBLE,
    attendance_rate DOUBLE,
    parent_contact VARCHAR(200),
    enrollment_date DATE DEFAULT CURRENT_DATE NOT NULL,
    exit_date DATE,
    exit_type VARCHAR(20),
    student_metadata JSON DEFAULT '{}',
    delivered_on DATE NOT NULL,
    field_deliveries JSON,
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_at DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL,
    deleted_on DATE,
    change_id BIGINT DEFAULT 0 NOT NULL,
    CONSTRAINT pk_students PRIMARY KEY (id),
    CONSTRAINT ck_students_grade_level_range CHECK (grade_level >= 0 AND grade_level <= 12),
    CONSTRAINT ck_students_gpa_range CHECK (gpa >= 0 AND gpa <= 5),
    CONSTRAINT ck_students_attendance_rate_range CHECK (attendance_rate >= 0 AND attendance_rate <= 1),
    CONSTRAINT ck_students_exit_type_values CHECK (exit_type IN ('completed', 'transferred', 'dropped_out', 'failed', 'other')),
    CONSTRAINT uq_students_district_id UNIQUE (tenant_id, district_id),
    CONSTRAINT uq_students_id UNIQUE (tenant_id, id)
);

CREATE INDEX ix_students_enrollment_date ON students (tenant_id, enrollment_date);

CREATE INDEX ix_students_grade_level ON students (tenant_id, grade_level);

CREATE INDEX ix_students_change_id ON students (change_id);

CREATE TRIGGER tr_students_updated_at AFTER UPDATE OF district_id, first_name, last_name, grade_level, date_of_birth, gender, ethnicity, socioeconomic_status, gpa, attendance_rate, parent_contact, enrollment_date, exit_date, exit_type, student_metadata, deleted_on
ON students FOR EACH ROW
BEGIN
    UPDATE students SET updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') WHERE rowid = NEW.rowid;
END;

CREATE TRIGGER tr_students_audit_row AFTER UPDATE OF id, tenant_id, district_id, first_name, last_name, grade_level, date_of_birth, gender, ethnicity, socioeconomic_status, gpa, attendance_rate, parent_contact, enrollment_date, exit_date, exit_type, student_metadata, deleted_on
ON students FOR EACH ROW WHEN OLD.id IS NOT NEW.id OR OLD.tenant_id IS NOT NEW.tenant_id OR OLD.district_id IS NOT NEW.district_id OR OLD.first_name IS NOT NEW.first_name OR OLD.last_name IS NOT NEW.last_name OR OLD.grade_level IS NOT NEW.grade_level OR OLD.date_of_birth IS NOT NEW.date_of_birth OR OLD.gender IS NOT NEW.gender OR OLD.ethnicity IS NOT NEW.ethnicity OR OLD.socioeconomic_status IS NOT NEW.socioeconomic_status OR OLD.gpa IS NOT NEW.gpa OR OLD.attendance_rate IS NOT NEW.attendance_rate OR OLD.parent_contact IS NOT NEW.parent_contact OR OLD.enrollment_date IS NOT NEW.enrollment_date OR OLD.exit_date IS NOT NEW.exit_date OR OLD.exit_type IS NOT NEW.exit_type OR OLD.student_metadata IS NOT NEW.student_metadata OR OLD.deleted_on IS NOT NEW.deleted_on
BEGIN
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt)
    VALUES (OLD.tenant_id, 'students', CAST(OLD.id AS text), OLD.id, OLD.change_id, coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0),
        json_object('id', OLD.id, 'tenant_id', OLD.tenant_id, 'district_id', OLD.district_id, 'first_name', OLD.first_name, 'last_name', OLD.last_name, 'grade_level', OLD.grade_level, 'date_of_birth', OLD.date_of_birth, 'gender', OLD.gender, 'ethnicity', OLD.ethnicity, 'socioeconomic_status', OLD.socioeconomic_status, 'gpa', CASE WHEN OLD.gpa IS NULL THEN NULL ELSE printf('%!.17g', OLD.gpa) END, 'attendance_rate', CASE WHEN OLD.attendance_rate IS NULL THEN NULL ELSE printf('%!.17g', OLD.attendance_rate) END, 'parent_contact', OLD.parent_contact, 'enrollment_date', OLD.enrollment_date, 'exit_date', OLD.exit_date, 'exit_type', OLD.exit_type, 'student_metadata', OLD.student_metadata, 'delivered_on', OLD.delivered_on, 'field_deliveries', OLD.field_deliveries, 'created_at', OLD.created_at, 'updated_at', OLD.updated_at, 'deleted_on', OLD.deleted_on, 'change_id', OLD.change_id), lower(hex(randomblob(16))));
    UPDATE students SET change_id = coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0) WHERE rowid = NEW.rowid;
END;

CREATE TRIGGER tr_students_audit_removed AFTER DELETE
ON students FOR EACH ROW
BEGIN
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt)
    VALUES (OLD.tenant_id, 'students', CAST(OLD.id AS text), OLD.id, OLD.change_id, coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0),
        json_object('id', OLD.id, 'tenant_id', OLD.tenant_id, 'district_id', OLD.district_id, 'first_name', OLD.first_name, 'last_name', OLD.last_name, 'grade_level', OLD.grade_level, 'date_of_birth', OLD.date_of_birth, 'gender', OLD.gender, 'ethnicity', OLD.ethnicity, 'socioeconomic_status', OLD.socioeconomic_status, 'gpa', CASE WHEN OLD.gpa IS NULL THEN NULL ELSE printf('%!.17g', OLD.gpa) END, 'attendance_rate', CASE WHEN OLD.attendance_rate IS NULL THEN NULL ELSE printf('%!.17g', OLD.attendance_rate) END, 'parent_contact', OLD.parent_contact, 'enrollment_date', OLD.enrollment_date, 'exit_date', OLD.exit_date, 'exit_type', OLD.exit_type, 'student_metadata', OLD.student_metadata, 'delivered_on', OLD.delivered_on, 'field_deliveries', OLD.field_deliveries, 'created_at', OLD.created_at, 'updated_at', OLD.updated_at, 'deleted_on', OLD.deleted_on, 'change_id', OLD.change_id), lower(hex(randomblob(16))));
END;

CREATE TABLE schools (
    id CHAR(32) DEFAULT (lower(hex(randomblob(16)))) NOT NULL,
    tenant_id VARCHAR(50) NOT NULL,
    school_id VARCHAR(50) NOT NULL,
    name VARCHAR(200),
    level VARCHAR(50),
    lowest_grade VARCHAR(20),
    highest_grade VARCHAR(20),
    first_delivered_on DATE NOT NULL,
    delivered_on DATE NOT NULL,
    field_deliveries JSON,
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_at DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL,
    deleted_on DATE,
    change_id BIGINT DEFAULT 0 NOT NULL,
    CONSTRAINT pk_schools PRIMARY KEY (id),
    CONSTRAINT uq_schools_school_id UNIQUE (tenant_id, school_id)
);

CREATE INDEX ix_schools_change_id ON schools (change_id);

CREATE TRIGGER tr_schools_updated_at AFTER UPDATE OF school_id, name, level, lowest_grade, highest_grade, deleted_on
ON schools FOR EACH ROW
BEGIN
    UPDATE schools SET updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') WHERE rowid = NEW.rowid;
END;

CREATE TRIGGER tr_schools_audit_row AFTER UPDATE OF id, tenant_id, school_id, name, level, lowest_grade, highest_grade, deleted_on
ON schools FOR EACH ROW WHEN OLD.id IS NOT NEW.id OR OLD.tenant_id IS NOT NEW.tenant_id OR OLD.school_id IS NOT NEW.school_id OR OLD.name IS NOT NEW.name OR OLD.level IS NOT NEW.level OR OLD.lowest_grade IS NOT NEW.lowest_grade OR OLD.highest_grade IS NOT NEW.highest_grade OR OLD.deleted_on IS NOT NEW.deleted_on
BEGIN
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt)
    VALUES (OLD.tenant_id, 'schools', CAST(OLD.id AS text), NULL, OLD.change_id, coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0),
        json_object('id', OLD.id, 'tenant_id', OLD.tenant_id, 'school_id', OLD.school_id, 'name', OLD.name, 'level', OLD.level, 'lowest_grade', OLD.lowest_grade, 'highest_grade', OLD.highest_grade, 'first_delivered_on', OLD.first_delivered_on, 'delivered_on', OLD.delivered_on, 'field_deliveries', OLD.field_deliveries, 'created_at', OLD.created_at, 'updated_at', OLD.updated_at, 'deleted_on', OLD.deleted_on, 'change_id', OLD.change_id), lower(hex(randomblob(16))));
    UPDATE schools SET change_id = coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0) WHERE rowid = NEW.rowid;
END;

CREATE TRIGGER tr_schools_audit_removed AFTER DELETE
ON schools FOR EACH ROW
BEGIN
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt)
    VALUES (OLD.tenant_id, 'schools', CAST(OLD.id AS text), NULL, OLD.change_id, coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0),
        json_object('id', OLD.id, 'tenant_id', OLD.tenant_id, 'school_id', OLD.school_id, 'name', OLD.name, 'level', OLD.level, 'lowest_grade', OLD.lowest_grade, 'highest_grade', OLD.highest_grade, 'first_delivered_on', OLD.first_delivered_on, 'delivered_on', OLD.delivered_on, 'field_deliveries', OLD.field_deliveries, 'created_at', OLD.created_at, 'updated_at', OLD.updated_at, 'deleted_on', OLD.deleted_on, 'change_id', OLD.change_id), lower(hex(randomblob(16))));
END;

CREATE TABLE enrollments (
    id CHAR(32) DEFAULT (lower(hex(randomblob(16)))) NOT NULL,
    tenant_id VARCHAR(50) NOT NULL,
    student_id CHAR(32) NOT NULL,
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
    field_deliveries JSON,
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_at DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL,
    deleted_on DATE,
    taken_back_for TEXT,
    change_id BIGINT DEFAULT 0 NOT NULL,
    CONSTRAINT pk_enrollments PRIMARY KEY (id),
    CONSTRAINT ck_enrollments_exit_type_values CHECK (exit_type IN ('completed', 'transferred', 'dropped_out', 'failed', 'other')),
    CONSTRAINT ck_enrollments_grade_level_range CHECK (grade_level >= 0 AND grade_level <= 12),
    CONSTRAINT ck_enrollments_origin_values CHECK (origin IN ('sent', 'student', 'assumed')),
    CONSTRAINT fk_enrollments_students FOREIGN KEY(tenant_id, student_id) REFERENCES students (tenant_id, id) ON DELETE RESTRICT
);

CREATE INDEX ix_enrollments_school_id ON enrollments (tenant_id, school_id);

CREATE UNIQUE INDEX uq_enrollments_student_id_school_id_entry_date ON enrollments (student_id, coalesce(school_id, ''), entry_date);

CREATE INDEX ix_enrollments_change_id ON enrollments (change_id);

CREATE TRIGGER tr_enrollments_updated_at AFTER UPDATE OF student_id, school_id, entry_date, exit_date, exit_type, grade_level, is_primary, source_record_id, origin, deleted_on, taken_back_for
ON enrollments FOR EACH ROW
BEGIN
    UPDATE enrollments SET updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') WHERE rowid = NEW.rowid;
END;

CREATE TRIGGER tr_enrollments_audit_row AFTER UPDATE OF id, tenant_id, student_id, school_id, entry_date, exit_date, exit_type, grade_level, is_primary, source_record_id, origin, deleted_on, taken_back_for
ON enrollments FOR EACH ROW WHEN OLD.id IS NOT NEW.id OR OLD.tenant_id IS NOT NEW.tenant_id OR OLD.student_id IS NOT NEW.student_id OR OLD.school_id IS NOT NEW.school_id OR OLD.entry_date IS NOT NEW.entry_date OR OLD.exit_date IS NOT NEW.exit_date OR OLD.exit_type IS NOT NEW.exit_type OR OLD.grade_level IS NOT NEW.grade_level OR OLD.is_primary IS NOT NEW.is_primary OR OLD.source_record_id IS NOT NEW.source_record_id OR OLD.origin IS NOT NEW.origin OR OLD.deleted_on IS NOT NEW.deleted_on OR OLD.taken_back_for IS NOT NEW.taken_back_for
BEGIN
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt)
    VALUES (OLD.tenant_id, 'enrollments', CAST(OLD.id AS text), OLD.student_id, OLD.change_id, coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0),
        json_object('id', OLD.id, 'tenant_id', OLD.tenant_id, 'student_id', OLD.student_id, 'school_id', OLD.school_id, 'entry_date', OLD.entry_date, 'exit_date', OLD.exit_date, 'exit_type', OLD.exit_type, 'grade_level', OLD.grade_level, 'is_primary', OLD.is_primary, 'source_record_id', OLD.source_record_id, 'origin', OLD.origin, 'first_delivered_on', OLD.first_delivered_on, 'delivered_on', OLD.delivered_on, 'field_deliveries', OLD.field_deliveries, 'created_at', OLD.created_at, 'updated_at', OLD.updated_at, 'deleted_on', OLD.deleted_on, 'taken_back_for', OLD.taken_back_for, 'change_id', OLD.change_id), lower(hex(randomblob(16))));
    UPDATE enrollments SET change_id = coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0) WHERE rowid = NEW.rowid;
END;

CREATE TRIGGER tr_enrollments_audit_removed AFTER DELETE
ON enrollments FOR EACH ROW
BEGIN
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt)
    VALUES (OLD.tenant_id, 'enrollments', CAST(OLD.id AS text), OLD.student_id, OLD.change_id, coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0),
        json_object('id', OLD.id, 'tenant_id', OLD.tenant_id, 'student_id', OLD.student_id, 'school_id', OLD.school_id, 'entry_date', OLD.entry_date, 'exit_date', OLD.exit_date, 'exit_type', OLD.exit_type, 'grade_level', OLD.grade_level, 'is_primary', OLD.is_primary, 'source_record_id', OLD.source_record_id, 'origin', OLD.origin, 'first_delivered_on', OLD.first_delivered_on, 'delivered_on', OLD.delivered_on, 'field_deliveries', OLD.field_deliveries, 'created_at', OLD.created_at, 'updated_at', OLD.updated_at, 'deleted_on', OLD.deleted_on, 'taken_back_for', OLD.taken_back_for, 'change_id', OLD.change_id), lower(hex(randomblob(16))));
END;

CREATE TABLE enrollment_statements (
    tenant_id VARCHAR(50) NOT NULL,
    student_id CHAR(32) NOT NULL,
    said VARCHAR(50) NOT NULL,
    first_delivered_on DATE NOT NULL,
    delivered_on DATE NOT NULL,
    change_id BIGINT DEFAULT 0 NOT NULL,
    CONSTRAINT pk_enrollment_statements PRIMARY KEY (student_id, said),
    CONSTRAINT fk_enrollment_statements_students FOREIGN KEY(tenant_id, student_id) REFERENCES students (tenant_id, id) ON DELETE RESTRICT
);

CREATE INDEX ix_enrollment_statements_delivered_on ON enrollment_statements (tenant_id, delivered_on);

CREATE INDEX ix_enrollment_statements_change_id ON enrollment_statements (change_id);

CREATE TRIGGER tr_enrollment_statements_audit_row AFTER UPDATE OF tenant_id, student_id, said
ON enrollment_statements FOR EACH ROW WHEN OLD.tenant_id IS NOT NEW.tenant_id OR OLD.student_id IS NOT NEW.student_id OR OLD.said IS NOT NEW.said
BEGIN
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt)
    VALUES (OLD.tenant_id, 'enrollment_statements', CAST(OLD.student_id AS text) || '|' || CAST(OLD.said AS text), OLD.student_id, OLD.change_id, coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0),
        json_object('tenant_id', OLD.tenant_id, 'student_id', OLD.student_id, 'said', OLD.said, 'first_delivered_on', OLD.first_delivered_on, 'delivered_on', OLD.delivered_on, 'change_id', OLD.change_id), lower(hex(randomblob(16))));
    UPDATE enrollment_statements SET change_id = coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0) WHERE rowid = NEW.rowid;
END;

CREATE TRIGGER tr_enrollment_statements_audit_removed AFTER DELETE
ON enrollment_statements FOR EACH ROW
BEGIN
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt)
    VALUES (OLD.tenant_id, 'enrollment_statements', CAST(OLD.student_id AS text) || '|' || CAST(OLD.said AS text), OLD.student_id, OLD.change_id, coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0),
        json_object('tenant_id', OLD.tenant_id, 'student_id', OLD.student_id, 'said', OLD.said, 'first_delivered_on', OLD.first_delivered_on, 'delivered_on', OLD.delivered_on, 'change_id', OLD.change_id), lower(hex(randomblob(16))));
END;

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
    school_id VARCHAR(50),
    change_id BIGINT DEFAULT 0 NOT NULL,
    CONSTRAINT pk_attendance_records PRIMARY KEY (id, date),
    CONSTRAINT ck_attendance_records_status_values CHECK (status IN ('present', 'absent', 'tardy', 'excused')),
    CONSTRAINT ck_attendance_records_period_range CHECK (period >= 0),
    CONSTRAINT ck_attendance_records_minutes_absent_range CHECK (minutes_absent >= 0 AND minutes_absent <= 1440),
    CONSTRAINT ck_attendance_records_minutes_possible_range CHECK (minutes_possible >= 1 AND minutes_possible <= 1440),
    CONSTRAINT fk_attendance_records_students FOREIGN KEY(tenant_id, student_id) REFERENCES students (tenant_id, id) ON DELETE RESTRICT
);

CREATE INDEX ix_attendance_records_date ON attendance_records (date, tenant_id);

CREATE UNIQUE INDEX uq_attendance_records_student_id_date_period_school_id ON attendance_records (student_id, date, coalesce(period, -1), coalesce(school_id, ''));

CREATE INDEX ix_attendance_records_change_id ON attendance_records (change_id);

CREATE TRIGGER tr_attendance_records_updated_at AFTER UPDATE OF student_id, date, status, period, deleted_on, minutes_absent, minutes_possible, school_id
ON attendance_records FOR EACH ROW
BEGIN
    UPDATE attendance_records SET updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') WHERE rowid = NEW.rowid;
END;

CREATE TRIGGER tr_attendance_records_audit_row AFTER UPDATE OF id, tenant_id, student_id, date, status, period, deleted_on, minutes_absent, minutes_possible, school_id
ON attendance_records FOR EACH ROW WHEN OLD.id IS NOT NEW.id OR OLD.tenant_id IS NOT NEW.tenant_id OR OLD.student_id IS NOT NEW.student_id OR OLD.date IS NOT NEW.date OR OLD.status IS NOT NEW.status OR OLD.period IS NOT NEW.period OR OLD.deleted_on IS NOT NEW.deleted_on OR OLD.minutes_absent IS NOT NEW.minutes_absent OR OLD.minutes_possible IS NOT NEW.minutes_possible OR OLD.school_id IS NOT NEW.school_id
BEGIN
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt)
    VALUES (OLD.tenant_id, 'attendance_records', CAST(OLD.id AS text), OLD.student_id, OLD.change_id, coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0),
        json_object('id', OLD.id, 'tenant_id', OLD.tenant_id, 'student_id', OLD.student_id, 'date', OLD.date, 'status', OLD.status, 'period', OLD.period, 'delivered_on', OLD.delivered_on, 'created_at', OLD.created_at, 'updated_at', OLD.updated_at, 'deleted_on', OLD.deleted_on, 'minutes_absent', OLD.minutes_absent, 'minutes_possible', OLD.minutes_possible, 'field_deliveries', OLD.field_deliveries, 'school_id', OLD.school_id, 'change_id', OLD.change_id), lower(hex(randomblob(16))));
    UPDATE attendance_records SET change_id = coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0) WHERE rowid = NEW.rowid;
END;

CREATE TRIGGER tr_attendance_records_audit_removed AFTER DELETE
ON attendance_records FOR EACH ROW
BEGIN
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt)
    VALUES (OLD.tenant_id, 'attendance_records', CAST(OLD.id AS text), OLD.student_id, OLD.change_id, coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0),
        json_object('id', OLD.id, 'tenant_id', OLD.tenant_id, 'student_id', OLD.student_id, 'date', OLD.date, 'status', OLD.status, 'period', OLD.period, 'delivered_on', OLD.delivered_on, 'created_at', OLD.created_at, 'updated_at', OLD.updated_at, 'deleted_on', OLD.deleted_on, 'minutes_absent', OLD.minutes_absent, 'minutes_possible', OLD.minutes_possible, 'field_deliveries', OLD.field_deliveries, 'school_id', OLD.school_id, 'change_id', OLD.change_id), lower(hex(randomblob(16))));
END;

CREATE TABLE attendance_statements (
    tenant_id VARCHAR(50) NOT NULL,
    student_id CHAR(32) NOT NULL,
    date DATE NOT NULL,
    period INTEGER NOT NULL,
    said JSON NOT NULL,
    at_several BOOLEAN NOT NULL,
    change_id BIGINT DEFAULT 0 NOT NULL,
    CONSTRAINT pk_attendance_statements PRIMARY KEY (student_id, date, period),
    CONSTRAINT fk_attendance_statements_students FOREIGN KEY(tenant_id, student_id) REFERENCES students (tenant_id, id) ON DELETE RESTRICT
);

CREATE INDEX ix_attendance_statements_date ON attendance_statements (tenant_id, date);

CREATE INDEX ix_attendance_statements_change_id ON attendance_statements (change_id);

CREATE TRIGGER tr_attendance_statements_audit_row AFTER UPDATE OF tenant_id, student_id, date, period, said, at_several
ON attendance_statements FOR EACH ROW WHEN OLD.tenant_id IS NOT NEW.tenant_id OR OLD.student_id IS NOT NEW.student_id OR OLD.date IS NOT NEW.date OR OLD.period IS NOT NEW.period OR OLD.said IS NOT NEW.said OR OLD.at_several IS NOT NEW.at_several
BEGIN
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt)
    VALUES (OLD.tenant_id, 'attendance_statements', CAST(OLD.student_id AS text) || '|' || CAST(OLD.date AS text) || '|' || CAST(OLD.period AS text), OLD.student_id, OLD.change_id, coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0),
        json_object('tenant_id', OLD.tenant_id, 'student_id', OLD.student_id, 'date', OLD.date, 'period', OLD.period, 'said', OLD.said, 'at_several', OLD.at_several, 'change_id', OLD.change_id), lower(hex(randomblob(16))));
    UPDATE attendance_statements SET change_id = coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0) WHERE rowid = NEW.rowid;
END;

CREATE TRIGGER tr_attendance_statements_audit_removed AFTER DELETE
ON attendance_statements FOR EACH ROW
BEGIN
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt)
    VALUES (OLD.tenant_id, 'attendance_statements', CAST(OLD.student_id AS text) || '|' || CAST(OLD.date AS text) || '|' || CAST(OLD.period AS text), OLD.student_id, OLD.change_id, coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0),
        json_object('tenant_id', OLD.tenant_id, 'student_id', OLD.student_id, 'date', OLD.date, 'period', OLD.period, 'said', OLD.said, 'at_several', OLD.at_several, 'change_id', OLD.change_id), lower(hex(randomblob(16))));
END;

CREATE TABLE grades (
    id CHAR(32) DEFAULT (lower(hex(randomblob(16)))) NOT NULL,
    tenant_id VARCHAR(50) NOT NULL,
    student_id CHAR(32) NOT NULL,
    record_key VARCHAR(110) NOT NULL,
    source_record_id VARCHAR(100),
    course_id VARCHAR(50) NOT NULL,
    course_name VARCHAR(200),
    grade_value DOUBLE,
    grade_letter VARCHAR(2),
    submission_date DATE NOT NULL,
    assignment_type VARCHAR(50),
    delivered_on DATE NOT NULL,
    field_deliveries JSON,
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_at DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL,
    deleted_on DATE,
    change_id BIGINT DEFAULT 0 NOT NULL,
    assignment_id VARCHAR(100),
    due_date DATE,
    CONSTRAINT pk_grades PRIMARY KEY (id),
    CONSTRAINT ck_grades_grade_value_range CHECK (grade_value >= 0 AND grade_value <= 100),
    CONSTRAINT fk_grades_students FOREIGN KEY(tenant_id, student_id) REFERENCES students (tenant_id, id) ON DELETE RESTRICT,
    CONSTRAINT uq_grades_record_key UNIQUE (tenant_id, record_key)
);

CREATE INDEX ix_grades_course_id ON grades (tenant_id, course_id);

CREATE INDEX ix_grades_student_id_submission_date ON grades (tenant_id, student_id, submission_date);

CREATE INDEX ix_grades_change_id ON grades (change_id);

CREATE TRIGGER tr_grades_updated_at AFTER UPDATE OF student_id, record_key, source_record_id, course_id, course_name, grade_value, grade_letter, submission_date, assignment_type, deleted_on, assignment_id, due_date
ON grades FOR EACH ROW
BEGIN
    UPDATE grades SET updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') WHERE rowid = NEW.rowid;
END;

CREATE TRIGGER tr_grades_audit_row AFTER UPDATE OF id, tenant_id, student_id, record_key, source_record_id, course_id, course_name, grade_value, grade_letter, submission_date, assignment_type, deleted_on, assignment_id, due_date
ON grades FOR EACH ROW WHEN OLD.id IS NOT NEW.id OR OLD.tenant_id IS NOT NEW.tenant_id OR OLD.student_id IS NOT NEW.student_id OR OLD.record_key IS NOT NEW.record_key OR OLD.source_record_id IS NOT NEW.source_record_id OR OLD.course_id IS NOT NEW.course_id OR OLD.course_name IS NOT NEW.course_name OR OLD.grade_value IS NOT NEW.grade_value OR OLD.grade_letter IS NOT NEW.grade_letter OR OLD.submission_date IS NOT NEW.submission_date OR OLD.assignment_type IS NOT NEW.assignment_type OR OLD.deleted_on IS NOT NEW.deleted_on OR OLD.assignment_id IS NOT NEW.assignment_id OR OLD.due_date IS NOT NEW.due_date
BEGIN
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt)
    VALUES (OLD.tenant_id, 'grades', CAST(OLD.id AS text), OLD.student_id, OLD.change_id, coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0),
        json_object('id', OLD.id, 'tenant_id', OLD.tenant_id, 'student_id', OLD.student_id, 'record_key', OLD.record_key, 'source_record_id', OLD.source_record_id, 'course_id', OLD.course_id, 'course_name', OLD.course_name, 'grade_value', CASE WHEN OLD.grade_value IS NULL THEN NULL ELSE printf('%!.17g', OLD.grade_value) END, 'grade_letter', OLD.grade_letter, 'submission_date', OLD.submission_date, 'assignment_type', OLD.assignment_type, 'delivered_on', OLD.delivered_on, 'field_deliveries', OLD.field_deliveries, 'created_at', OLD.created_at, 'updated_at', OLD.updated_at, 'deleted_on', OLD.deleted_on, 'change_id', OLD.change_id, 'assignment_id', OLD.assignment_id, 'due_date', OLD.due_date), lower(hex(randomblob(16))));
    UPDATE grades SET change_id = coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0) WHERE rowid = NEW.rowid;
END;

CREATE TRIGGER tr_grades_audit_removed AFTER DELETE
ON grades FOR EACH ROW
BEGIN
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt)
    VALUES (OLD.tenant_id, 'grades', CAST(OLD.id AS text), OLD.student_id, OLD.change_id, coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0),
        json_object('id', OLD.id, 'tenant_id', OLD.tenant_id, 'student_id', OLD.student_id, 'record_key', OLD.record_key, 'source_record_id', OLD.source_record_id, 'course_id', OLD.course_id, 'course_name', OLD.course_name, 'grade_value', CASE WHEN OLD.grade_value IS NULL THEN NULL ELSE printf('%!.17g', OLD.grade_value) END, 'grade_letter', OLD.grade_letter, 'submission_date', OLD.submission_date, 'assignment_type', OLD.assignment_type, 'delivered_on', OLD.delivered_on, 'field_deliveries', OLD.field_deliveries, 'created_at', OLD.created_at, 'updated_at', OLD.updated_at, 'deleted_on', OLD.deleted_on, 'change_id', OLD.change_id, 'assignment_id', OLD.assignment_id, 'due_date', OLD.due_date), lower(hex(randomblob(16))));
END;

CREATE TABLE discipline_incidents (
    id CHAR(32) DEFAULT (lower(hex(randomblob(16)))) NOT NULL,
    tenant_id VARCHAR(50) NOT NULL,
    student_id CHAR(32) NOT NULL,
    record_key VARCHAR(110) NOT NULL,
    source_record_id VARCHAR(100),
    incident_date DATE NOT NULL,
    severity_level INTEGER NOT NULL,
    incident_type VARCHAR(100),
    description TEXT,
    resolution VARCHAR(200),
    delivered_on DATE NOT NULL,
    field_deliveries JSON,
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_at DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL,
    deleted_on DATE,
    change_id BIGINT DEFAULT 0 NOT NULL,
    CONSTRAINT pk_discipline_incidents PRIMARY KEY (id),
    CONSTRAINT ck_discipline_incidents_severity_level_range CHECK (severity_level >= 1 AND severity_level <= 5),
    CONSTRAINT fk_discipline_incidents_students FOREIGN KEY(tenant_id, student_id) REFERENCES students (tenant_id, id) ON DELETE RESTRICT,
    CONSTRAINT uq_discipline_incidents_record_key UNIQUE (tenant_id, record_key)
);

CREATE INDEX ix_discipline_incidents_incident_date ON discipline_incidents (tenant_id, incident_date);

CREATE INDEX ix_discipline_incidents_student_id_incident_date ON discipline_incidents (tenant_id, student_id, incident_date);

CREATE INDEX ix_discipline_incidents_change_id ON discipline_incidents (change_id);

CREATE TRIGGER tr_discipline_incidents_updated_at AFTER UPDATE OF student_id, record_key, source_record_id, incident_date, severity_level, incident_type, description, resolution, deleted_on
ON discipline_incidents FOR EACH ROW
BEGIN
    UPDATE discipline_incidents SET updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') WHERE rowid = NEW.rowid;
END;

CREATE TRIGGER tr_discipline_incidents_audit_row AFTER UPDATE OF id, tenant_id, student_id, record_key, source_record_id, incident_date, severity_level, incident_type, description, resolution, deleted_on
ON discipline_incidents FOR EACH ROW WHEN OLD.id IS NOT NEW.id OR OLD.tenant_id IS NOT NEW.tenant_id OR OLD.student_id IS NOT NEW.student_id OR OLD.record_key IS NOT NEW.record_key OR OLD.source_record_id IS NOT NEW.source_record_id OR OLD.incident_date IS NOT NEW.incident_date OR OLD.severity_level IS NOT NEW.severity_level OR OLD.incident_type IS NOT NEW.incident_type OR OLD.description IS NOT NEW.description OR OLD.resolution IS NOT NEW.resolution OR OLD.deleted_on IS NOT NEW.deleted_on
BEGIN
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt)
    VALUES (OLD.tenant_id, 'discipline_incidents', CAST(OLD.id AS text), OLD.student_id, OLD.change_id, coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0),
        json_object('id', OLD.id, 'tenant_id', OLD.tenant_id, 'student_id', OLD.student_id, 'record_key', OLD.record_key, 'source_record_id', OLD.source_record_id, 'incident_date', OLD.incident_date, 'severity_level', OLD.severity_level, 'incident_type', OLD.incident_type, 'description', OLD.description, 'resolution', OLD.resolution, 'delivered_on', OLD.delivered_on, 'field_deliveries', OLD.field_deliveries, 'created_at', OLD.created_at, 'updated_at', OLD.updated_at, 'deleted_on', OLD.deleted_on, 'change_id', OLD.change_id), lower(hex(randomblob(16))));
    UPDATE discipline_incidents SET change_id = coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0) WHERE rowid = NEW.rowid;
END;

CREATE TRIGGER tr_discipline_incidents_audit_removed AFTER DELETE
ON discipline_incidents FOR EACH ROW
BEGIN
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt)
    VALUES (OLD.tenant_id, 'discipline_incidents', CAST(OLD.id AS text), OLD.student_id, OLD.change_id, coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0),
        json_object('id', OLD.id, 'tenant_id', OLD.tenant_id, 'student_id', OLD.student_id, 'record_key', OLD.record_key, 'source_record_id', OLD.source_record_id, 'incident_date', OLD.incident_date, 'severity_level', OLD.severity_level, 'incident_type', OLD.incident_type, 'description', OLD.description, 'resolution', OLD.resolution, 'delivered_on', OLD.delivered_on, 'field_deliveries', OLD.field_deliveries, 'created_at', OLD.created_at, 'updated_at', OLD.updated_at, 'deleted_on', OLD.deleted_on, 'change_id', OLD.change_id), lower(hex(randomblob(16))));
END;

CREATE TABLE student_features (
    tenant_id VARCHAR(50) NOT NULL,
    student_id CHAR(32) NOT NULL,
    feature_date DATE NOT NULL,
    attendance_rate DOUBLE,
    gpa_current DOUBLE,
    discipline_incidents INTEGER,
    feature_vector JSON,
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_at DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL,
    change_id BIGINT DEFAULT 0 NOT NULL,
    CONSTRAINT pk_student_features PRIMARY KEY (student_id, feature_date),
    CONSTRAINT ck_student_features_attendance_rate_range CHECK (attendance_rate >= 0 AND attendance_rate <= 1),
    CONSTRAINT ck_student_features_gpa_current_range CHECK (gpa_current >= 0 AND gpa_current <= 5),
    CONSTRAINT ck_student_features_discipline_incidents_range CHECK (discipline_incidents >= 0),
    CONSTRAINT fk_student_features_students FOREIGN KEY(tenant_id, student_id) REFERENCES students (tenant_id, id) ON DELETE RESTRICT
);

CREATE INDEX ix_student_features_feature_date ON student_features (tenant_id, feature_date);

CREATE INDEX ix_student_features_change_id ON student_features (change_id);

CREATE TRIGGER tr_student_features_updated_at AFTER UPDATE OF student_id, feature_date, attendance_rate, gpa_current, discipline_incidents, feature_vector
ON student_features FOR EACH ROW
BEGIN
    UPDATE student_features SET updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') WHERE rowid = NEW.rowid;
END;

CREATE TRIGGER tr_student_features_audit_row AFTER UPDATE OF tenant_id, student_id, feature_date, attendance_rate, gpa_current, discipline_incidents, feature_vector
ON student_features FOR EACH ROW WHEN OLD.tenant_id IS NOT NEW.tenant_id OR OLD.student_id IS NOT NEW.student_id OR OLD.feature_date IS NOT NEW.feature_date OR OLD.attendance_rate IS NOT NEW.attendance_rate OR OLD.gpa_current IS NOT NEW.gpa_current OR OLD.discipline_incidents IS NOT NEW.discipline_incidents OR OLD.feature_vector IS NOT NEW.feature_vector
BEGIN
    UPDATE student_features SET change_id = coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0) WHERE rowid = NEW.rowid;
END;

CREATE TABLE model_metadata (
    id CHAR(32) DEFAULT (lower(hex(randomblob(16)))) NOT NULL,
    tenant_id VARCHAR(50) NOT NULL,
    model_version VARCHAR(50) NOT NULL,
    model_type VARCHAR(50),
    training_date DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL,
    performance_metrics JSON DEFAULT '{}',
    hyperparameters JSON DEFAULT '{}',
    is_active BOOLEAN DEFAULT 0 NOT NULL,
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_at DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL,
    data_through DATE,
    data_hash VARCHAR(64),
    settings_hash VARCHAR(64),
    promoted BOOLEAN DEFAULT 0 NOT NULL,
    set_aside BOOLEAN DEFAULT 0 NOT NULL,
    mlflow_run_id VARCHAR(64),
    mlflow_model_id VARCHAR(64),
    registered_model VARCHAR(255),
    registry_version VARCHAR(20),
    artifact_sha256 VARCHAR(64),
    artifact_uri TEXT,
    label_hash VARCHAR(64),
    change_id BIGINT DEFAULT 0 NOT NULL,
    CONSTRAINT pk_model_metadata PRIMARY KEY (id),
    CONSTRAINT uq_model_metadata_model_version UNIQUE (tenant_id, model_version)
);

CREATE UNIQUE INDEX uq_model_metadata_is_active ON model_metadata (tenant_id) WHERE is_active;

CREATE INDEX ix_model_metadata_change_id ON model_metadata (change_id);

CREATE TRIGGER tr_model_metadata_updated_at AFTER UPDATE OF model_version, model_type, training_date, performance_metrics, hyperparameters, is_active, data_through, data_hash, settings_hash, promoted, set_aside, mlflow_run_id, mlflow_model_id, registered_model, registry_version, artifact_sha256, artifact_uri, label_hash
ON model_metadata FOR EACH ROW
BEGIN
    UPDATE model_metadata SET updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') WHERE rowid = NEW.rowid;
END;

CREATE TRIGGER tr_model_metadata_audit_row AFTER UPDATE OF id, tenant_id, model_version, model_type, training_date, performance_metrics, hyperparameters, is_active, data_through, data_hash, settings_hash, promoted, set_aside, mlflow_run_id, mlflow_model_id, registered_model, registry_version, artifact_sha256, artifact_uri, label_hash
ON model_metadata FOR EACH ROW WHEN OLD.id IS NOT NEW.id OR OLD.tenant_id IS NOT NEW.tenant_id OR OLD.model_version IS NOT NEW.model_version OR OLD.model_type IS NOT NEW.model_type OR OLD.training_date IS NOT NEW.training_date OR OLD.performance_metrics IS NOT NEW.performance_metrics OR OLD.hyperparameters IS NOT NEW.hyperparameters OR OLD.is_active IS NOT NEW.is_active OR OLD.data_through IS NOT NEW.data_through OR OLD.data_hash IS NOT NEW.data_hash OR OLD.settings_hash IS NOT NEW.settings_hash OR OLD.promoted IS NOT NEW.promoted OR OLD.set_aside IS NOT NEW.set_aside OR OLD.mlflow_run_id IS NOT NEW.mlflow_run_id OR OLD.mlflow_model_id IS NOT NEW.mlflow_model_id OR OLD.registered_model IS NOT NEW.registered_model OR OLD.registry_version IS NOT NEW.registry_version OR OLD.artifact_sha256 IS NOT NEW.artifact_sha256 OR OLD.artifact_uri IS NOT NEW.artifact_uri OR OLD.label_hash IS NOT NEW.label_hash
BEGIN
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt)
    VALUES (OLD.tenant_id, 'model_metadata', CAST(OLD.id AS text), NULL, OLD.change_id, coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0),
        json_object('id', OLD.id, 'tenant_id', OLD.tenant_id, 'model_version', OLD.model_version, 'model_type', OLD.model_type, 'training_date', OLD.training_date, 'performance_metrics', OLD.performance_metrics, 'hyperparameters', OLD.hyperparameters, 'is_active', OLD.is_active, 'created_at', OLD.created_at, 'updated_at', OLD.updated_at, 'data_through', OLD.data_through, 'data_hash', OLD.data_hash, 'settings_hash', OLD.settings_hash, 'promoted', OLD.promoted, 'set_aside', OLD.set_aside, 'mlflow_run_id', OLD.mlflow_run_id, 'mlflow_model_id', OLD.mlflow_model_id, 'registered_model', OLD.registered_model, 'registry_version', OLD.registry_version, 'artifact_sha256', OLD.artifact_sha256, 'artifact_uri', OLD.artifact_uri, 'label_hash', OLD.label_hash, 'change_id', OLD.change_id), lower(hex(randomblob(16))));
    UPDATE model_metadata SET change_id = coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0) WHERE rowid = NEW.rowid;
END;

CREATE TRIGGER tr_model_metadata_audit_removed AFTER DELETE
ON model_metadata FOR EACH ROW
BEGIN
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt)
    VALUES (OLD.tenant_id, 'model_metadata', CAST(OLD.id AS text), NULL, OLD.change_id, coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0),
        json_object('id', OLD.id, 'tenant_id', OLD.tenant_id, 'model_version', OLD.model_version, 'model_type', OLD.model_type, 'training_date', OLD.training_date, 'performance_metrics', OLD.performance_metrics, 'hyperparameters', OLD.hyperparameters, 'is_active', OLD.is_active, 'created_at', OLD.created_at, 'updated_at', OLD.updated_at, 'data_through', OLD.data_through, 'data_hash', OLD.data_hash, 'settings_hash', OLD.settings_hash, 'promoted', OLD.promoted, 'set_aside', OLD.set_aside, 'mlflow_run_id', OLD.mlflow_run_id, 'mlflow_model_id', OLD.mlflow_model_id, 'registered_model', OLD.registered_model, 'registry_version', OLD.registry_version, 'artifact_sha256', OLD.artifact_sha256, 'artifact_uri', OLD.artifact_uri, 'label_hash', OLD.label_hash, 'change_id', OLD.change_id), lower(hex(randomblob(16))));
END;

CREATE TABLE predictions (
    id CHAR(32) DEFAULT (lower(hex(randomblob(16)))) NOT NULL,
    tenant_id VARCHAR(50) NOT NULL,
    student_id CHAR(32) NOT NULL,
    feature_date DATE NOT NULL,
    prediction_date DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL,
    risk_score DOUBLE,
    risk_category VARCHAR(20) NOT NULL,
    confidence DOUBLE,
    risk_factors JSON DEFAULT '[]',
    model_version VARCHAR(50) NOT NULL,
    rescored BOOLEAN DEFAULT 0 NOT NULL,
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_at DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL,
    rule_score DOUBLE,
    change_id BIGINT DEFAULT 0 NOT NULL,
    CONSTRAINT pk_predictions PRIMARY KEY (id),
    CONSTRAINT ck_predictions_risk_score_range CHECK (risk_score >= 0 AND risk_score <= 1),
    CONSTRAINT ck_predictions_risk_category_values CHECK (risk_category IN ('low', 'medium', 'high', 'critical')),
    CONSTRAINT ck_predictions_confidence_range CHECK (confidence >= 0 AND confidence <= 1),
    CONSTRAINT ck_predictions_rule_score_range CHECK (rule_score >= 0),
    CONSTRAINT ck_predictions_probability CHECK ((risk_score IS NULL) = (confidence IS NULL)),
    CONSTRAINT ck_predictions_order CHECK (risk_score IS NOT NULL OR rule_score IS NOT NULL),
    CONSTRAINT fk_predictions_students FOREIGN KEY(tenant_id, student_id) REFERENCES students (tenant_id, id) ON DELETE RESTRICT,
    CONSTRAINT fk_predictions_model_metadata FOREIGN KEY(tenant_id, model_version) REFERENCES model_metadata (tenant_id, model_version) ON DELETE RESTRICT,
    CONSTRAINT uq_predictions_student_id_feature_date_model_version UNIQUE (tenant_id, student_id, feature_date, model_version),
    CONSTRAINT uq_predictions_id UNIQUE (tenant_id, id)
);

CREATE INDEX ix_predictions_feature_date_risk_category ON predictions (tenant_id, feature_date, risk_category);

CREATE INDEX ix_predictions_model_version ON predictions (tenant_id, model_version);

CREATE INDEX ix_predictions_change_id ON predictions (change_id);

CREATE TRIGGER tr_predictions_updated_at AFTER UPDATE OF student_id, feature_date, prediction_date, risk_score, risk_category, confidence, risk_factors, model_version, rescored, rule_score
ON predictions FOR EACH ROW
BEGIN
    UPDATE predictions SET updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') WHERE rowid = NEW.rowid;
END;

CREATE TRIGGER tr_predictions_audit_row AFTER UPDATE OF id, tenant_id, student_id, feature_date, prediction_date, risk_score, risk_category, confidence, risk_factors, model_version, rescored, rule_score
ON predictions FOR EACH ROW WHEN OLD.id IS NOT NEW.id OR OLD.tenant_id IS NOT NEW.tenant_id OR OLD.student_id IS NOT NEW.student_id OR OLD.feature_date IS NOT NEW.feature_date OR OLD.prediction_date IS NOT NEW.prediction_date OR OLD.risk_score IS NOT NEW.risk_score OR OLD.risk_category IS NOT NEW.risk_category OR OLD.confidence IS NOT NEW.confidence OR OLD.risk_factors IS NOT NEW.risk_factors OR OLD.model_version IS NOT NEW.model_version OR OLD.rescored IS NOT NEW.rescored OR OLD.rule_score IS NOT NEW.rule_score
BEGIN
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt)
    VALUES (OLD.tenant_id, 'predictions', CAST(OLD.id AS text), OLD.student_id, OLD.change_id, coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0),
        json_object('id', OLD.id, 'tenant_id', OLD.tenant_id, 'student_id', OLD.student_id, 'feature_date', OLD.feature_date, 'prediction_date', OLD.prediction_date, 'risk_score', CASE WHEN OLD.risk_score IS NULL THEN NULL ELSE printf('%!.17g', OLD.risk_score) END, 'risk_category', OLD.risk_category, 'confidence', CASE WHEN OLD.confidence IS NULL THEN NULL ELSE printf('%!.17g', OLD.confidence) END, 'risk_factors', OLD.risk_factors, 'model_version', OLD.model_version, 'rescored', OLD.rescored, 'created_at', OLD.created_at, 'updated_at', OLD.updated_at, 'rule_score', CASE WHEN OLD.rule_score IS NULL THEN NULL ELSE printf('%!.17g', OLD.rule_score) END, 'change_id', OLD.change_id), lower(hex(randomblob(16))));
    UPDATE predictions SET change_id = coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0) WHERE rowid = NEW.rowid;
END;

CREATE TRIGGER tr_predictions_audit_removed AFTER DELETE
ON predictions FOR EACH ROW
BEGIN
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt)
    VALUES (OLD.tenant_id, 'predictions', CAST(OLD.id AS text), OLD.student_id, OLD.change_id, coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0),
        json_object('id', OLD.id, 'tenant_id', OLD.tenant_id, 'student_id', OLD.student_id, 'feature_date', OLD.feature_date, 'prediction_date', OLD.prediction_date, 'risk_score', CASE WHEN OLD.risk_score IS NULL THEN NULL ELSE printf('%!.17g', OLD.risk_score) END, 'risk_category', OLD.risk_category, 'confidence', CASE WHEN OLD.confidence IS NULL THEN NULL ELSE printf('%!.17g', OLD.confidence) END, 'risk_factors', OLD.risk_factors, 'model_version', OLD.model_version, 'rescored', OLD.rescored, 'created_at', OLD.created_at, 'updated_at', OLD.updated_at, 'rule_score', CASE WHEN OLD.rule_score IS NULL THEN NULL ELSE printf('%!.17g', OLD.rule_score) END, 'change_id', OLD.change_id), lower(hex(randomblob(16))));
END;

CREATE TABLE training_feedback (
    id CHAR(32) DEFAULT (lower(hex(randomblob(16)))) NOT NULL,
    tenant_id VARCHAR(50) NOT NULL,
    prediction_id CHAR(32) NOT NULL,
    record_key VARCHAR(110) NOT NULL,
    outcome_date DATE,
    outcome_type VARCHAR(50),
    feedback_type VARCHAR(50),
    educator_notes TEXT,
    delivered_on DATE NOT NULL,
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_at DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL,
    deleted_on DATE,
    reviewer VARCHAR(100),
    change_id BIGINT DEFAULT 0 NOT NULL,
    CONSTRAINT pk_training_feedback PRIMARY KEY (id),
    CONSTRAINT ck_training_feedback_feedback_type_values CHECK (feedback_type IN ('true_positive', 'false_positive', 'true_negative', 'false_negative')),
    CONSTRAINT fk_training_feedback_predictions FOREIGN KEY(tenant_id, prediction_id) REFERENCES predictions (tenant_id, id) ON DELETE RESTRICT,
    CONSTRAINT uq_training_feedback_record_key UNIQUE (tenant_id, record_key)
);

CREATE INDEX ix_training_feedback_prediction_id ON training_feedback (tenant_id, prediction_id);

CREATE INDEX ix_training_feedback_change_id ON training_feedback (change_id);

CREATE TRIGGER tr_training_feedback_updated_at AFTER UPDATE OF prediction_id, record_key, outcome_date, outcome_type, feedback_type, educator_notes, deleted_on, reviewer
ON training_feedback FOR EACH ROW
BEGIN
    UPDATE training_feedback SET updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') WHERE rowid = NEW.rowid;
END;

CREATE TRIGGER tr_training_feedback_audit_row AFTER UPDATE OF id, tenant_id, prediction_id, record_key, outcome_date, outcome_type, feedback_type, educator_notes, deleted_on, reviewer
ON training_feedback FOR EACH ROW WHEN OLD.id IS NOT NEW.id OR OLD.tenant_id IS NOT NEW.tenant_id OR OLD.prediction_id IS NOT NEW.prediction_id OR OLD.record_key IS NOT NEW.record_key OR OLD.outcome_date IS NOT NEW.outcome_date OR OLD.outcome_type IS NOT NEW.outcome_type OR OLD.feedback_type IS NOT NEW.feedback_type OR OLD.educator_notes IS NOT NEW.educator_notes OR OLD.deleted_on IS NOT NEW.deleted_on OR OLD.reviewer IS NOT NEW.reviewer
BEGIN
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt)
    VALUES (OLD.tenant_id, 'training_feedback', CAST(OLD.id AS text), NULL, OLD.change_id, coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0),
        json_object('id', OLD.id, 'tenant_id', OLD.tenant_id, 'prediction_id', OLD.prediction_id, 'record_key', OLD.record_key, 'outcome_date', OLD.outcome_date, 'outcome_type', OLD.outcome_type, 'feedback_type', OLD.feedback_type, 'educator_notes', OLD.educator_notes, 'delivered_on', OLD.delivered_on, 'created_at', OLD.created_at, 'updated_at', OLD.updated_at, 'deleted_on', OLD.deleted_on, 'reviewer', OLD.reviewer, 'change_id', OLD.change_id), lower(hex(randomblob(16))));
    UPDATE training_feedback SET change_id = coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0) WHERE rowid = NEW.rowid;
END;

CREATE TRIGGER tr_training_feedback_audit_removed AFTER DELETE
ON training_feedback FOR EACH ROW
BEGIN
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt)
    VALUES (OLD.tenant_id, 'training_feedback', CAST(OLD.id AS text), NULL, OLD.change_id, coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0),
        json_object('id', OLD.id, 'tenant_id', OLD.tenant_id, 'prediction_id', OLD.prediction_id, 'record_key', OLD.record_key, 'outcome_date', OLD.outcome_date, 'outcome_type', OLD.outcome_type, 'feedback_type', OLD.feedback_type, 'educator_notes', OLD.educator_notes, 'delivered_on', OLD.delivered_on, 'created_at', OLD.created_at, 'updated_at', OLD.updated_at, 'deleted_on', OLD.deleted_on, 'reviewer', OLD.reviewer, 'change_id', OLD.change_id), lower(hex(randomblob(16))));
END;

CREATE TABLE model_evaluations (
    tenant_id VARCHAR(50) NOT NULL,
    model_version VARCHAR(50) NOT NULL,
    candidate VARCHAR(50) NOT NULL,
    scope VARCHAR(20) NOT NULL,
    as_of_date DATE NOT NULL,
    metric VARCHAR(50) NOT NULL,
    parameter VARCHAR(100) NOT NULL,
    subgroup VARCHAR(100) NOT NULL,
    value DOUBLE,
    samples BIGINT,
    evaluated_at DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL,
    change_id BIGINT DEFAULT 0 NOT NULL,
    CONSTRAINT pk_model_evaluations PRIMARY KEY (tenant_id, model_version, candidate, scope, as_of_date, metric, parameter, subgroup),
    CONSTRAINT ck_model_evaluations_scope_values CHECK (scope IN ('validation', 'week', 'unseen_students', 'matured', 'health')),
    CONSTRAINT ck_model_evaluations_samples_range CHECK (samples >= 0),
    CONSTRAINT fk_model_evaluations_model_metadata FOREIGN KEY(tenant_id, model_version) REFERENCES model_metadata (tenant_id, model_version) ON DELETE RESTRICT
);

CREATE INDEX ix_model_evaluations_change_id ON model_evaluations (change_id);

CREATE TRIGGER tr_model_evaluations_audit_row AFTER UPDATE OF tenant_id, model_version, candidate, scope, as_of_date, metric, parameter, subgroup, value, samples, evaluated_at
ON model_evaluations FOR EACH ROW WHEN OLD.tenant_id IS NOT NEW.tenant_id OR OLD.model_version IS NOT NEW.model_version OR OLD.candidate IS NOT NEW.candidate OR OLD.scope IS NOT NEW.scope OR OLD.as_of_date IS NOT NEW.as_of_date OR OLD.metric IS NOT NEW.metric OR OLD.parameter IS NOT NEW.parameter OR OLD.subgroup IS NOT NEW.subgroup OR OLD.value IS NOT NEW.value OR OLD.samples IS NOT NEW.samples OR OLD.evaluated_at IS NOT NEW.evaluated_at
BEGIN
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt)
    VALUES (OLD.tenant_id, 'model_evaluations', CAST(OLD.tenant_id AS text) || '|' || CAST(OLD.model_version AS text) || '|' || CAST(OLD.candidate AS text) || '|' || CAST(OLD.scope AS text) || '|' || CAST(OLD.as_of_date AS text) || '|' || CAST(OLD.metric AS text) || '|' || CAST(OLD.parameter AS text) || '|' || CAST(OLD.subgroup AS text), NULL, OLD.change_id, coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0),
        json_object('tenant_id', OLD.tenant_id, 'model_version', OLD.model_version, 'candidate', OLD.candidate, 'scope', OLD.scope, 'as_of_date', OLD.as_of_date, 'metric', OLD.metric, 'parameter', OLD.parameter, 'subgroup', OLD.subgroup, 'value', CASE WHEN OLD.value IS NULL THEN NULL ELSE printf('%!.17g', OLD.value) END, 'samples', OLD.samples, 'evaluated_at', OLD.evaluated_at, 'change_id', OLD.change_id), lower(hex(randomblob(16))));
    UPDATE model_evaluations SET change_id = coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0) WHERE rowid = NEW.rowid;
END;

CREATE TRIGGER tr_model_evaluations_audit_removed AFTER DELETE
ON model_evaluations FOR EACH ROW
BEGIN
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt)
    VALUES (OLD.tenant_id, 'model_evaluations', CAST(OLD.tenant_id AS text) || '|' || CAST(OLD.model_version AS text) || '|' || CAST(OLD.candidate AS text) || '|' || CAST(OLD.scope AS text) || '|' || CAST(OLD.as_of_date AS text) || '|' || CAST(OLD.metric AS text) || '|' || CAST(OLD.parameter AS text) || '|' || CAST(OLD.subgroup AS text), NULL, OLD.change_id, coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0),
        json_object('tenant_id', OLD.tenant_id, 'model_version', OLD.model_version, 'candidate', OLD.candidate, 'scope', OLD.scope, 'as_of_date', OLD.as_of_date, 'metric', OLD.metric, 'parameter', OLD.parameter, 'subgroup', OLD.subgroup, 'value', CASE WHEN OLD.value IS NULL THEN NULL ELSE printf('%!.17g', OLD.value) END, 'samples', OLD.samples, 'evaluated_at', OLD.evaluated_at, 'change_id', OLD.change_id), lower(hex(randomblob(16))));
END;

CREATE TABLE promotion_decisions (
    id CHAR(32) DEFAULT (lower(hex(randomblob(16)))) NOT NULL,
    tenant_id VARCHAR(50) NOT NULL,
    model_version VARCHAR(50) NOT NULL,
    kind VARCHAR(20) NOT NULL,
    promoted BOOLEAN NOT NULL,
    previous_version VARCHAR(50),
    reason TEXT NOT NULL,
    numbers JSON DEFAULT '{}' NOT NULL,
    decided_at DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL,
    run_id VARCHAR(50),
    change_id BIGINT DEFAULT 0 NOT NULL,
    CONSTRAINT pk_promotion_decisions PRIMARY KEY (id),
    CONSTRAINT ck_promotion_decisions_kind_values CHECK (kind IN ('gate', 'promote', 'rollback', 'sync')),
    CONSTRAINT fk_promotion_decisions_model_metadata FOREIGN KEY(tenant_id, model_version) REFERENCES model_metadata (tenant_id, model_version) ON DELETE RESTRICT
);

CREATE INDEX ix_promotion_decisions_decided_at ON promotion_decisions (tenant_id, decided_at);

CREATE INDEX ix_promotion_decisions_change_id ON promotion_decisions (change_id);

CREATE TRIGGER tr_promotion_decisions_audit_row AFTER UPDATE OF id, tenant_id, model_version, kind, promoted, previous_version, reason, numbers, decided_at, run_id
ON promotion_decisions FOR EACH ROW WHEN OLD.id IS NOT NEW.id OR OLD.tenant_id IS NOT NEW.tenant_id OR OLD.model_version IS NOT NEW.model_version OR OLD.kind IS NOT NEW.kind OR OLD.promoted IS NOT NEW.promoted OR OLD.previous_version IS NOT NEW.previous_version OR OLD.reason IS NOT NEW.reason OR OLD.numbers IS NOT NEW.numbers OR OLD.decided_at IS NOT NEW.decided_at OR OLD.run_id IS NOT NEW.run_id
BEGIN
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt)
    VALUES (OLD.tenant_id, 'promotion_decisions', CAST(OLD.id AS text), NULL, OLD.change_id, coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0),
        json_object('id', OLD.id, 'tenant_id', OLD.tenant_id, 'model_version', OLD.model_version, 'kind', OLD.kind, 'promoted', OLD.promoted, 'previous_version', OLD.previous_version, 'reason', OLD.reason, 'numbers', OLD.numbers, 'decided_at', OLD.decided_at, 'run_id', OLD.run_id, 'change_id', OLD.change_id), lower(hex(randomblob(16))));
    UPDATE promotion_decisions SET change_id = coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0) WHERE rowid = NEW.rowid;
END;

CREATE TRIGGER tr_promotion_decisions_audit_removed AFTER DELETE
ON promotion_decisions FOR EACH ROW
BEGIN
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt)
    VALUES (OLD.tenant_id, 'promotion_decisions', CAST(OLD.id AS text), NULL, OLD.change_id, coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0),
        json_object('id', OLD.id, 'tenant_id', OLD.tenant_id, 'model_version', OLD.model_version, 'kind', OLD.kind, 'promoted', OLD.promoted, 'previous_version', OLD.previous_version, 'reason', OLD.reason, 'numbers', OLD.numbers, 'decided_at', OLD.decided_at, 'run_id', OLD.run_id, 'change_id', OLD.change_id), lower(hex(randomblob(16))));
END;

CREATE TABLE review_proposals (
    id CHAR(32) DEFAULT (lower(hex(randomblob(16)))) NOT NULL,
    tenant_id VARCHAR(50) NOT NULL,
    prediction_id CHAR(32) NOT NULL,
    feature_date DATE NOT NULL,
    drawn_from INTEGER NOT NULL,
    proposed_at DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL,
    change_id BIGINT DEFAULT 0 NOT NULL,
    CONSTRAINT pk_review_proposals PRIMARY KEY (id),
    CONSTRAINT ck_review_proposals_drawn_from_range CHECK (drawn_from >= 1),
    CONSTRAINT fk_review_proposals_predictions FOREIGN KEY(tenant_id, prediction_id) REFERENCES predictions (tenant_id, id) ON DELETE RESTRICT,
    CONSTRAINT uq_review_proposals_prediction_id UNIQUE (tenant_id, prediction_id)
);

CREATE INDEX ix_review_proposals_feature_date ON review_proposals (tenant_id, feature_date);

CREATE INDEX ix_review_proposals_change_id ON review_proposals (change_id);

CREATE TRIGGER tr_review_proposals_audit_row AFTER UPDATE OF id, tenant_id, prediction_id, feature_date, drawn_from, proposed_at
ON review_proposals FOR EACH ROW WHEN OLD.id IS NOT NEW.id OR OLD.tenant_id IS NOT NEW.tenant_id OR OLD.prediction_id IS NOT NEW.prediction_id OR OLD.feature_date IS NOT NEW.feature_date OR OLD.drawn_from IS NOT NEW.drawn_from OR OLD.proposed_at IS NOT NEW.proposed_at
BEGIN
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt)
    VALUES (OLD.tenant_id, 'review_proposals', CAST(OLD.id AS text), NULL, OLD.change_id, coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0),
        json_object('id', OLD.id, 'tenant_id', OLD.tenant_id, 'prediction_id', OLD.prediction_id, 'feature_date', OLD.feature_date, 'drawn_from', OLD.drawn_from, 'proposed_at', OLD.proposed_at, 'change_id', OLD.change_id), lower(hex(randomblob(16))));
    UPDATE review_proposals SET change_id = coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0) WHERE rowid = NEW.rowid;
END;

CREATE TRIGGER tr_review_proposals_audit_removed AFTER DELETE
ON review_proposals FOR EACH ROW
BEGIN
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt)
    VALUES (OLD.tenant_id, 'review_proposals', CAST(OLD.id AS text), NULL, OLD.change_id, coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0),
        json_object('id', OLD.id, 'tenant_id', OLD.tenant_id, 'prediction_id', OLD.prediction_id, 'feature_date', OLD.feature_date, 'drawn_from', OLD.drawn_from, 'proposed_at', OLD.proposed_at, 'change_id', OLD.change_id), lower(hex(randomblob(16))));
END;

CREATE TABLE ingested_files (
    id CHAR(32) DEFAULT (lower(hex(randomblob(16)))) NOT NULL,
    tenant_id VARCHAR(50) NOT NULL,
    table_name VARCHAR(50) NOT NULL,
    delivered_on DATE NOT NULL,
    file_name VARCHAR(255) NOT NULL,
    sha256 VARCHAR(64) NOT NULL,
    size_bytes BIGINT NOT NULL,
    status VARCHAR(20) NOT NULL,
    reason VARCHAR(50),
    detail TEXT,
    unknown_columns JSON DEFAULT '[]',
    rows_read BIGINT DEFAULT 0 NOT NULL,
    rows_inserted BIGINT DEFAULT 0 NOT NULL,
    rows_updated BIGINT DEFAULT 0 NOT NULL,
    rows_unchanged BIGINT DEFAULT 0 NOT NULL,
    rows_quarantined BIGINT DEFAULT 0 NOT NULL,
    archived_at DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL,
    loaded_at DATETIME,
    run_id VARCHAR(50),
    source_format VARCHAR(50),
    left_out JSON,
    snapshot JSON,
    rows_deleted BIGINT DEFAULT 0 NOT NULL,
    confirms_only BOOLEAN DEFAULT 0 NOT NULL,
    landed_state VARCHAR(64),
    removals JSON,
    rows_by_week JSON,
    archive_sha256 VARCHAR(64),
    rows_erased BIGINT DEFAULT 0 NOT NULL,
    change_id BIGINT DEFAULT 0 NOT NULL,
    CONSTRAINT pk_ingested_files PRIMARY KEY (id),
    CONSTRAINT ck_ingested_files_size_bytes_range CHECK (size_bytes >= 0),
    CONSTRAINT ck_ingested_files_status_values CHECK (status IN ('archived', 'loaded', 'refused', 'superseded', 'withdrawn')),
    CONSTRAINT ck_ingested_files_rows_read_range CHECK (rows_read >= 0),
    CONSTRAINT ck_ingested_files_rows_inserted_range CHECK (rows_inserted >= 0),
    CONSTRAINT ck_ingested_files_rows_updated_range CHECK (rows_updated >= 0),
    CONSTRAINT ck_ingested_files_rows_unchanged_range CHECK (rows_unchanged >= 0),
    CONSTRAINT ck_ingested_files_rows_quarantined_range CHECK (rows_quarantined >= 0),
    CONSTRAINT uq_ingested_files_table_name_delivered_on_file_name_sha256 UNIQUE (tenant_id, table_name, delivered_on, file_name, sha256)
);

CREATE INDEX ix_ingested_files_sha256 ON ingested_files (tenant_id, sha256);

CREATE INDEX ix_ingested_files_change_id ON ingested_files (change_id);

CREATE TRIGGER tr_ingested_files_audit_row AFTER UPDATE OF id, tenant_id, table_name, delivered_on, file_name, sha256, size_bytes, status, reason, detail, unknown_columns, rows_read, rows_inserted, rows_updated, rows_unchanged, rows_quarantined, archived_at, loaded_at, run_id, source_format, left_out, snapshot, rows_deleted, confirms_only, removals, rows_by_week, archive_sha256, rows_erased
ON ingested_files FOR EACH ROW WHEN OLD.id IS NOT NEW.id OR OLD.tenant_id IS NOT NEW.tenant_id OR OLD.table_name IS NOT NEW.table_name OR OLD.delivered_on IS NOT NEW.delivered_on OR OLD.file_name IS NOT NEW.file_name OR OLD.sha256 IS NOT NEW.sha256 OR OLD.size_bytes IS NOT NEW.size_bytes OR OLD.status IS NOT NEW.status OR OLD.reason IS NOT NEW.reason OR OLD.detail IS NOT NEW.detail OR OLD.unknown_columns IS NOT NEW.unknown_columns OR OLD.rows_read IS NOT NEW.rows_read OR OLD.rows_inserted IS NOT NEW.rows_inserted OR OLD.rows_updated IS NOT NEW.rows_updated OR OLD.rows_unchanged IS NOT NEW.rows_unchanged OR OLD.rows_quarantined IS NOT NEW.rows_quarantined OR OLD.archived_at IS NOT NEW.archived_at OR OLD.loaded_at IS NOT NEW.loaded_at OR OLD.run_id IS NOT NEW.run_id OR OLD.source_format IS NOT NEW.source_format OR OLD.left_out IS NOT NEW.left_out OR OLD.snapshot IS NOT NEW.snapshot OR OLD.rows_deleted IS NOT NEW.rows_deleted OR OLD.confirms_only IS NOT NEW.confirms_only OR OLD.removals IS NOT NEW.removals OR OLD.rows_by_week IS NOT NEW.rows_by_week OR OLD.archive_sha256 IS NOT NEW.archive_sha256 OR OLD.rows_erased IS NOT NEW.rows_erased
BEGIN
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt)
    VALUES (OLD.tenant_id, 'ingested_files', CAST(OLD.id AS text), NULL, OLD.change_id, coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0),
        json_object('id', OLD.id, 'tenant_id', OLD.tenant_id, 'table_name', OLD.table_name, 'delivered_on', OLD.delivered_on, 'file_name', OLD.file_name, 'sha256', OLD.sha256, 'size_bytes', OLD.size_bytes, 'status', OLD.status, 'reason', OLD.reason, 'detail', OLD.detail, 'unknown_columns', OLD.unknown_columns, 'rows_read', OLD.rows_read, 'rows_inserted', OLD.rows_inserted, 'rows_updated', OLD.rows_updated, 'rows_unchanged', OLD.rows_unchanged, 'rows_quarantined', OLD.rows_quarantined, 'archived_at', OLD.archived_at, 'loaded_at', OLD.loaded_at, 'run_id', OLD.run_id, 'source_format', OLD.source_format, 'left_out', OLD.left_out, 'snapshot', OLD.snapshot, 'rows_deleted', OLD.rows_deleted, 'confirms_only', OLD.confirms_only, 'landed_state', OLD.landed_state, 'removals', OLD.removals, 'rows_by_week', OLD.rows_by_week, 'archive_sha256', OLD.archive_sha256, 'rows_erased', OLD.rows_erased, 'change_id', OLD.change_id), lower(hex(randomblob(16))));
    UPDATE ingested_files SET change_id = coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0) WHERE rowid = NEW.rowid;
END;

CREATE TRIGGER tr_ingested_files_audit_removed AFTER DELETE
ON ingested_files FOR EACH ROW
BEGIN
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt)
    VALUES (OLD.tenant_id, 'ingested_files', CAST(OLD.id AS text), NULL, OLD.change_id, coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0),
        json_object('id', OLD.id, 'tenant_id', OLD.tenant_id, 'table_name', OLD.table_name, 'delivered_on', OLD.delivered_on, 'file_name', OLD.file_name, 'sha256', OLD.sha256, 'size_bytes', OLD.size_bytes, 'status', OLD.status, 'reason', OLD.reason, 'detail', OLD.detail, 'unknown_columns', OLD.unknown_columns, 'rows_read', OLD.rows_read, 'rows_inserted', OLD.rows_inserted, 'rows_updated', OLD.rows_updated, 'rows_unchanged', OLD.rows_unchanged, 'rows_quarantined', OLD.rows_quarantined, 'archived_at', OLD.archived_at, 'loaded_at', OLD.loaded_at, 'run_id', OLD.run_id, 'source_format', OLD.source_format, 'left_out', OLD.left_out, 'snapshot', OLD.snapshot, 'rows_deleted', OLD.rows_deleted, 'confirms_only', OLD.confirms_only, 'landed_state', OLD.landed_state, 'removals', OLD.removals, 'rows_by_week', OLD.rows_by_week, 'archive_sha256', OLD.archive_sha256, 'rows_erased', OLD.rows_erased, 'change_id', OLD.change_id), lower(hex(randomblob(16))));
END;

CREATE TABLE accepted_removals (
    tenant_id VARCHAR(50) NOT NULL,
    delivered_on DATE NOT NULL,
    accepted_by VARCHAR(255),
    accepted_at DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL,
    change_id BIGINT DEFAULT 0 NOT NULL,
    CONSTRAINT pk_accepted_removals PRIMARY KEY (tenant_id, delivered_on)
);

CREATE INDEX ix_accepted_removals_change_id ON accepted_removals (change_id);

CREATE TRIGGER tr_accepted_removals_audit_row AFTER UPDATE OF tenant_id, delivered_on, accepted_by, accepted_at
ON accepted_removals FOR EACH ROW WHEN OLD.tenant_id IS NOT NEW.tenant_id OR OLD.delivered_on IS NOT NEW.delivered_on OR OLD.accepted_by IS NOT NEW.accepted_by OR OLD.accepted_at IS NOT NEW.accepted_at
BEGIN
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt)
    VALUES (OLD.tenant_id, 'accepted_removals', CAST(OLD.tenant_id AS text) || '|' || CAST(OLD.delivered_on AS text), NULL, OLD.change_id, coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0),
        json_object('tenant_id', OLD.tenant_id, 'delivered_on', OLD.delivered_on, 'accepted_by', OLD.accepted_by, 'accepted_at', OLD.accepted_at, 'change_id', OLD.change_id), lower(hex(randomblob(16))));
    UPDATE accepted_removals SET change_id = coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0) WHERE rowid = NEW.rowid;
END;

CREATE TRIGGER tr_accepted_removals_audit_removed AFTER DELETE
ON accepted_removals FOR EACH ROW
BEGIN
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt)
    VALUES (OLD.tenant_id, 'accepted_removals', CAST(OLD.tenant_id AS text) || '|' || CAST(OLD.delivered_on AS text), NULL, OLD.change_id, coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0),
        json_object('tenant_id', OLD.tenant_id, 'delivered_on', OLD.delivered_on, 'accepted_by', OLD.accepted_by, 'accepted_at', OLD.accepted_at, 'change_id', OLD.change_id), lower(hex(randomblob(16))));
END;

CREATE TABLE quarantined_records (
    id CHAR(32) DEFAULT (lower(hex(randomblob(16)))) NOT NULL,
    tenant_id VARCHAR(50) NOT NULL,
    table_name VARCHAR(50) NOT NULL,
    file_hash VARCHAR(64) NOT NULL,
    file_name VARCHAR(255) NOT NULL,
    delivered_on DATE NOT NULL,
    line_number BIGINT NOT NULL,
    raw JSON NOT NULL,
    reasons JSON NOT NULL,
    quarantined_at DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL,
    run_id VARCHAR(50),
    replayed_at DATETIME,
    superseded_at DATETIME,
    corrected JSON,
    corrected_at DATETIME,
    replay_run_id VARCHAR(50),
    accepted_at DATETIME,
    accepted_by VARCHAR(255),
    accepted_reason TEXT,
    change_id BIGINT DEFAULT 0 NOT NULL,
    CONSTRAINT pk_quarantined_records PRIMARY KEY (id),
    CONSTRAINT ck_quarantined_records_line_number_range CHECK (line_number >= 1),
    CONSTRAINT uq_quarantined_records_table_name_file_hash_line_number UNIQUE (tenant_id, table_name, file_hash, line_number)
);

CREATE INDEX ix_quarantined_records_table_name_delivered_on ON quarantined_records (tenant_id, table_name, delivered_on);

CREATE INDEX ix_quarantined_records_change_id ON quarantined_records (change_id);

CREATE TRIGGER tr_quarantined_records_audit_row AFTER UPDATE OF id, tenant_id, table_name, file_hash, file_name, delivered_on, line_number, raw, reasons, quarantined_at, run_id, replayed_at, superseded_at, corrected, corrected_at, replay_run_id, accepted_at, accepted_by, accepted_reason
ON quarantined_records FOR EACH ROW WHEN OLD.id IS NOT NEW.id OR OLD.tenant_id IS NOT NEW.tenant_id OR OLD.table_name IS NOT NEW.table_name OR OLD.file_hash IS NOT NEW.file_hash OR OLD.file_name IS NOT NEW.file_name OR OLD.delivered_on IS NOT NEW.delivered_on OR OLD.line_number IS NOT NEW.line_number OR OLD.raw IS NOT NEW.raw OR OLD.reasons IS NOT NEW.reasons OR OLD.quarantined_at IS NOT NEW.quarantined_at OR OLD.run_id IS NOT NEW.run_id OR OLD.replayed_at IS NOT NEW.replayed_at OR OLD.superseded_at IS NOT NEW.superseded_at OR OLD.corrected IS NOT NEW.corrected OR OLD.corrected_at IS NOT NEW.corrected_at OR OLD.replay_run_id IS NOT NEW.replay_run_id OR OLD.accepted_at IS NOT NEW.accepted_at OR OLD.accepted_by IS NOT NEW.accepted_by OR OLD.accepted_reason IS NOT NEW.accepted_reason
BEGIN
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt)
    VALUES (OLD.tenant_id, 'quarantined_records', CAST(OLD.id AS text), NULL, OLD.change_id, coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0),
        json_object('id', OLD.id, 'tenant_id', OLD.tenant_id, 'table_name', OLD.table_name, 'file_hash', OLD.file_hash, 'file_name', OLD.file_name, 'delivered_on', OLD.delivered_on, 'line_number', OLD.line_number, 'raw', OLD.raw, 'reasons', OLD.reasons, 'quarantined_at', OLD.quarantined_at, 'run_id', OLD.run_id, 'replayed_at', OLD.replayed_at, 'superseded_at', OLD.superseded_at, 'corrected', OLD.corrected, 'corrected_at', OLD.corrected_at, 'replay_run_id', OLD.replay_run_id, 'accepted_at', OLD.accepted_at, 'accepted_by', OLD.accepted_by, 'accepted_reason', OLD.accepted_reason, 'change_id', OLD.change_id), lower(hex(randomblob(16))));
    UPDATE quarantined_records SET change_id = coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0) WHERE rowid = NEW.rowid;
END;

CREATE TRIGGER tr_quarantined_records_audit_removed AFTER DELETE
ON quarantined_records FOR EACH ROW
BEGIN
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt)
    VALUES (OLD.tenant_id, 'quarantined_records', CAST(OLD.id AS text), NULL, OLD.change_id, coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0),
        json_object('id', OLD.id, 'tenant_id', OLD.tenant_id, 'table_name', OLD.table_name, 'file_hash', OLD.file_hash, 'file_name', OLD.file_name, 'delivered_on', OLD.delivered_on, 'line_number', OLD.line_number, 'raw', OLD.raw, 'reasons', OLD.reasons, 'quarantined_at', OLD.quarantined_at, 'run_id', OLD.run_id, 'replayed_at', OLD.replayed_at, 'superseded_at', OLD.superseded_at, 'corrected', OLD.corrected, 'corrected_at', OLD.corrected_at, 'replay_run_id', OLD.replay_run_id, 'accepted_at', OLD.accepted_at, 'accepted_by', OLD.accepted_by, 'accepted_reason', OLD.accepted_reason, 'change_id', OLD.change_id), lower(hex(randomblob(16))));
END;

CREATE TABLE disputed_numbers (
    tenant_id VARCHAR(50) NOT NULL,
    district_id VARCHAR(50) NOT NULL,
    since DATE NOT NULL,
    until DATE,
    change_id BIGINT DEFAULT 0 NOT NULL,
    CONSTRAINT pk_disputed_numbers PRIMARY KEY (tenant_id, district_id, since)
);

CREATE INDEX ix_disputed_numbers_change_id ON disputed_numbers (change_id);

CREATE TRIGGER tr_disputed_numbers_audit_row AFTER UPDATE OF tenant_id, district_id, since, until
ON disputed_numbers FOR EACH ROW WHEN OLD.tenant_id IS NOT NEW.tenant_id OR OLD.district_id IS NOT NEW.district_id OR OLD.since IS NOT NEW.since OR OLD.until IS NOT NEW.until
BEGIN
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt)
    VALUES (OLD.tenant_id, 'disputed_numbers', CAST(OLD.tenant_id AS text) || '|' || CAST(OLD.district_id AS text) || '|' || CAST(OLD.since AS text), NULL, OLD.change_id, coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0),
        json_object('tenant_id', OLD.tenant_id, 'district_id', OLD.district_id, 'since', OLD.since, 'until', OLD.until, 'change_id', OLD.change_id), lower(hex(randomblob(16))));
    UPDATE disputed_numbers SET change_id = coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0) WHERE rowid = NEW.rowid;
END;

CREATE TRIGGER tr_disputed_numbers_audit_removed AFTER DELETE
ON disputed_numbers FOR EACH ROW
BEGIN
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt)
    VALUES (OLD.tenant_id, 'disputed_numbers', CAST(OLD.tenant_id AS text) || '|' || CAST(OLD.district_id AS text) || '|' || CAST(OLD.since AS text), NULL, OLD.change_id, coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0),
        json_object('tenant_id', OLD.tenant_id, 'district_id', OLD.district_id, 'since', OLD.since, 'until', OLD.until, 'change_id', OLD.change_id), lower(hex(randomblob(16))));
END;

CREATE TABLE student_merges (
    id CHAR(32) DEFAULT (lower(hex(randomblob(16)))) NOT NULL,
    tenant_id VARCHAR(50) NOT NULL,
    old_number VARCHAR(50) NOT NULL,
    new_number VARCHAR(50) NOT NULL,
    reason TEXT NOT NULL,
    merged_by VARCHAR(255),
    merged_at DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL,
    undone_by VARCHAR(255),
    undone_at DATETIME,
    in_force BOOLEAN NOT NULL,
    moved JSON,
    change_id BIGINT DEFAULT 0 NOT NULL,
    CONSTRAINT pk_student_merges PRIMARY KEY (id)
);

CREATE INDEX ix_student_merges_new_number ON student_merges (tenant_id, new_number);

CREATE UNIQUE INDEX uq_student_merges_in_force ON student_merges (tenant_id, old_number) WHERE in_force;

CREATE INDEX ix_student_merges_change_id ON student_merges (change_id);

CREATE TRIGGER tr_student_merges_audit_row AFTER UPDATE OF id, tenant_id, old_number, new_number, reason, merged_by, merged_at, undone_by, undone_at, in_force, moved
ON student_merges FOR EACH ROW WHEN OLD.id IS NOT NEW.id OR OLD.tenant_id IS NOT NEW.tenant_id OR OLD.old_number IS NOT NEW.old_number OR OLD.new_number IS NOT NEW.new_number OR OLD.reason IS NOT NEW.reason OR OLD.merged_by IS NOT NEW.merged_by OR OLD.merged_at IS NOT NEW.merged_at OR OLD.undone_by IS NOT NEW.undone_by OR OLD.undone_at IS NOT NEW.undone_at OR OLD.in_force IS NOT NEW.in_force OR OLD.moved IS NOT NEW.moved
BEGIN
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt)
    VALUES (OLD.tenant_id, 'student_merges', CAST(OLD.id AS text), NULL, OLD.change_id, coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0),
        json_object('id', OLD.id, 'tenant_id', OLD.tenant_id, 'old_number', OLD.old_number, 'new_number', OLD.new_number, 'reason', OLD.reason, 'merged_by', OLD.merged_by, 'merged_at', OLD.merged_at, 'undone_by', OLD.undone_by, 'undone_at', OLD.undone_at, 'in_force', OLD.in_force, 'moved', OLD.moved, 'change_id', OLD.change_id), lower(hex(randomblob(16))));
    UPDATE student_merges SET change_id = coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0) WHERE rowid = NEW.rowid;
END;

CREATE TRIGGER tr_student_merges_audit_removed AFTER DELETE
ON student_merges FOR EACH ROW
BEGIN
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt)
    VALUES (OLD.tenant_id, 'student_merges', CAST(OLD.id AS text), NULL, OLD.change_id, coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0),
        json_object('id', OLD.id, 'tenant_id', OLD.tenant_id, 'old_number', OLD.old_number, 'new_number', OLD.new_number, 'reason', OLD.reason, 'merged_by', OLD.merged_by, 'merged_at', OLD.merged_at, 'undone_by', OLD.undone_by, 'undone_at', OLD.undone_at, 'in_force', OLD.in_force, 'moved', OLD.moved, 'change_id', OLD.change_id), lower(hex(randomblob(16))));
END;

CREATE TABLE instructional_days (
    tenant_id VARCHAR(50) NOT NULL,
    date DATE NOT NULL,
    delivered_on DATE NOT NULL,
    change_id BIGINT DEFAULT 0 NOT NULL,
    CONSTRAINT pk_instructional_days PRIMARY KEY (tenant_id, date)
);

CREATE INDEX ix_instructional_days_change_id ON instructional_days (change_id);

CREATE TRIGGER tr_instructional_days_audit_row AFTER UPDATE OF tenant_id, date
ON instructional_days FOR EACH ROW WHEN OLD.tenant_id IS NOT NEW.tenant_id OR OLD.date IS NOT NEW.date
BEGIN
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt)
    VALUES (OLD.tenant_id, 'instructional_days', CAST(OLD.tenant_id AS text) || '|' || CAST(OLD.date AS text), NULL, OLD.change_id, coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0),
        json_object('tenant_id', OLD.tenant_id, 'date', OLD.date, 'delivered_on', OLD.delivered_on, 'change_id', OLD.change_id), lower(hex(randomblob(16))));
    UPDATE instructional_days SET change_id = coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0) WHERE rowid = NEW.rowid;
END;

CREATE TRIGGER tr_instructional_days_audit_removed AFTER DELETE
ON instructional_days FOR EACH ROW
BEGIN
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt)
    VALUES (OLD.tenant_id, 'instructional_days', CAST(OLD.tenant_id AS text) || '|' || CAST(OLD.date AS text), NULL, OLD.change_id, coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0),
        json_object('tenant_id', OLD.tenant_id, 'date', OLD.date, 'delivered_on', OLD.delivered_on, 'change_id', OLD.change_id), lower(hex(randomblob(16))));
END;

CREATE TABLE weekly_activity (
    tenant_id VARCHAR(50) NOT NULL,
    student_id CHAR(32) NOT NULL,
    week_start DATE NOT NULL,
    sessions_present INTEGER DEFAULT 0 NOT NULL,
    sessions_absent INTEGER DEFAULT 0 NOT NULL,
    sessions_tardy INTEGER DEFAULT 0 NOT NULL,
    sessions_excused INTEGER DEFAULT 0 NOT NULL,
    unexcused_absences INTEGER DEFAULT 0 NOT NULL,
    grade_count INTEGER DEFAULT 0 NOT NULL,
    grade_mean DOUBLE,
    grade_lowest DOUBLE,
    incident_count INTEGER DEFAULT 0 NOT NULL,
    severity_highest INTEGER,
    sessions_basis VARCHAR(20),
    days_enrolled INTEGER,
    days_present INTEGER,
    days_absent INTEGER,
    days_excused INTEGER,
    days_missed DOUBLE,
    days_basis VARCHAR(20),
    change_id BIGINT DEFAULT 0 NOT NULL,
    CONSTRAINT pk_weekly_activity PRIMARY KEY (student_id, week_start),
    CONSTRAINT ck_weekly_activity_sessions_present_range CHECK (sessions_present >= 0),
    CONSTRAINT ck_weekly_activity_sessions_absent_range CHECK (sessions_absent >= 0),
    CONSTRAINT ck_weekly_activity_sessions_tardy_range CHECK (sessions_tardy >= 0),
    CONSTRAINT ck_weekly_activity_sessions_excused_range CHECK (sessions_excused >= 0),
    CONSTRAINT ck_weekly_activity_unexcused_absences_range CHECK (unexcused_absences >= 0),
    CONSTRAINT ck_weekly_activity_grade_count_range CHECK (grade_count >= 0),
    CONSTRAINT ck_weekly_activity_grade_mean_range CHECK (grade_mean >= 0 AND grade_mean <= 100),
    CONSTRAINT ck_weekly_activity_grade_lowest_range CHECK (grade_lowest >= 0 AND grade_lowest <= 100),
    CONSTRAINT ck_weekly_activity_incident_count_range CHECK (incident_count >= 0),
    CONSTRAINT ck_weekly_activity_severity_highest_range CHECK (severity_highest >= 1 AND severity_highest <= 5),
    CONSTRAINT fk_weekly_activity_students FOREIGN KEY(tenant_id, student_id) REFERENCES students (tenant_id, id) ON DELETE RESTRICT
);

CREATE INDEX ix_weekly_activity_week_start ON weekly_activity (tenant_id, week_start);

CREATE INDEX ix_weekly_activity_change_id ON weekly_activity (change_id);

CREATE TRIGGER tr_weekly_activity_audit_row AFTER UPDATE OF tenant_id, student_id, week_start, sessions_present, sessions_absent, sessions_tardy, sessions_excused, unexcused_absences, grade_count, grade_mean, grade_lowest, incident_count, severity_highest, sessions_basis, days_enrolled, days_present, days_absent, days_excused, days_missed, days_basis
ON weekly_activity FOR EACH ROW WHEN OLD.tenant_id IS NOT NEW.tenant_id OR OLD.student_id IS NOT NEW.student_id OR OLD.week_start IS NOT NEW.week_start OR OLD.sessions_present IS NOT NEW.sessions_present OR OLD.sessions_absent IS NOT NEW.sessions_absent OR OLD.sessions_tardy IS NOT NEW.sessions_tardy OR OLD.sessions_excused IS NOT NEW.sessions_excused OR OLD.unexcused_absences IS NOT NEW.unexcused_absences OR OLD.grade_count IS NOT NEW.grade_count OR OLD.grade_mean IS NOT NEW.grade_mean OR OLD.grade_lowest IS NOT NEW.grade_lowest OR OLD.incident_count IS NOT NEW.incident_count OR OLD.severity_highest IS NOT NEW.severity_highest OR OLD.sessions_basis IS NOT NEW.sessions_basis OR OLD.days_enrolled IS NOT NEW.days_enrolled OR OLD.days_present IS NOT NEW.days_present OR OLD.days_absent IS NOT NEW.days_absent OR OLD.days_excused IS NOT NEW.days_excused OR OLD.days_missed IS NOT NEW.days_missed OR OLD.days_basis IS NOT NEW.days_basis
BEGIN
    UPDATE weekly_activity SET change_id = coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0) WHERE rowid = NEW.rowid;
END;

CREATE TABLE weekly_course_grades (
    tenant_id VARCHAR(50) NOT NULL,
    student_id CHAR(32) NOT NULL,
    week_start DATE NOT NULL,
    course_id VARCHAR(50) NOT NULL,
    grade_count INTEGER NOT NULL,
    grade_mean DOUBLE NOT NULL,
    grade_lowest DOUBLE NOT NULL,
    change_id BIGINT DEFAULT 0 NOT NULL,
    CONSTRAINT pk_weekly_course_grades PRIMARY KEY (student_id, week_start, course_id),
    CONSTRAINT ck_weekly_course_grades_grade_count_range CHECK (grade_count >= 1),
    CONSTRAINT ck_weekly_course_grades_grade_mean_range CHECK (grade_mean >= 0 AND grade_mean <= 100),
    CONSTRAINT ck_weekly_course_grades_grade_lowest_range CHECK (grade_lowest >= 0 AND grade_lowest <= 100),
    CONSTRAINT fk_weekly_course_grades_students FOREIGN KEY(tenant_id, student_id) REFERENCES students (tenant_id, id) ON DELETE RESTRICT
);

CREATE INDEX ix_weekly_course_grades_week_start ON weekly_course_grades (tenant_id, week_start);

CREATE INDEX ix_weekly_course_grades_change_id ON weekly_course_grades (change_id);

CREATE TRIGGER tr_weekly_course_grades_audit_row AFTER UPDATE OF tenant_id, student_id, week_start, course_id, grade_count, grade_mean, grade_lowest
ON weekly_course_grades FOR EACH ROW WHEN OLD.tenant_id IS NOT NEW.tenant_id OR OLD.student_id IS NOT NEW.student_id OR OLD.week_start IS NOT NEW.week_start OR OLD.course_id IS NOT NEW.course_id OR OLD.grade_count IS NOT NEW.grade_count OR OLD.grade_mean IS NOT NEW.grade_mean OR OLD.grade_lowest IS NOT NEW.grade_lowest
BEGIN
    UPDATE weekly_course_grades SET change_id = coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0) WHERE rowid = NEW.rowid;
END;

CREATE TABLE pending_updates (
    id CHAR(32) DEFAULT (lower(hex(randomblob(16)))) NOT NULL,
    tenant_id VARCHAR(50) NOT NULL,
    stage VARCHAR(20) NOT NULL,
    student_id CHAR(32),
    week_start DATE NOT NULL,
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL,
    CONSTRAINT pk_pending_updates PRIMARY KEY (id),
    CONSTRAINT ck_pending_updates_stage_values CHECK (stage IN ('weekly_activity', 'enrolled_days', 'student_features')),
    CONSTRAINT fk_pending_updates_students FOREIGN KEY(tenant_id, student_id) REFERENCES students (tenant_id, id) ON DELETE RESTRICT
);

CREATE INDEX ix_pending_updates_stage ON pending_updates (tenant_id, stage);

CREATE INDEX ix_pending_updates_student_id ON pending_updates (tenant_id, student_id);

CREATE TABLE step_accounts (
    tenant_id VARCHAR(50) NOT NULL,
    run_id VARCHAR(50) NOT NULL,
    step VARCHAR(50) NOT NULL,
    part VARCHAR(10) NOT NULL,
    account JSON NOT NULL,
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL,
    change_id BIGINT DEFAULT 0 NOT NULL,
    CONSTRAINT pk_step_accounts PRIMARY KEY (tenant_id, run_id, step, part)
);

CREATE INDEX ix_step_accounts_change_id ON step_accounts (change_id);

CREATE TRIGGER tr_step_accounts_audit_row AFTER UPDATE OF tenant_id, run_id, step, part, account
ON step_accounts FOR EACH ROW WHEN OLD.tenant_id IS NOT NEW.tenant_id OR OLD.run_id IS NOT NEW.run_id OR OLD.step IS NOT NEW.step OR OLD.part IS NOT NEW.part OR OLD.account IS NOT NEW.account
BEGIN
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt)
    VALUES (OLD.tenant_id, 'step_accounts', CAST(OLD.tenant_id AS text) || '|' || CAST(OLD.run_id AS text) || '|' || CAST(OLD.step AS text) || '|' || CAST(OLD.part AS text), NULL, OLD.change_id, coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0),
        json_object('tenant_id', OLD.tenant_id, 'run_id', OLD.run_id, 'step', OLD.step, 'part', OLD.part, 'account', OLD.account, 'created_at', OLD.created_at, 'change_id', OLD.change_id), lower(hex(randomblob(16))));
    UPDATE step_accounts SET change_id = coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0) WHERE rowid = NEW.rowid;
END;

CREATE TRIGGER tr_step_accounts_audit_removed AFTER DELETE
ON step_accounts FOR EACH ROW
BEGIN
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt)
    VALUES (OLD.tenant_id, 'step_accounts', CAST(OLD.tenant_id AS text) || '|' || CAST(OLD.run_id AS text) || '|' || CAST(OLD.step AS text) || '|' || CAST(OLD.part AS text), NULL, OLD.change_id, coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0),
        json_object('tenant_id', OLD.tenant_id, 'run_id', OLD.run_id, 'step', OLD.step, 'part', OLD.part, 'account', OLD.account, 'created_at', OLD.created_at, 'change_id', OLD.change_id), lower(hex(randomblob(16))));
END;

CREATE TABLE disclosures (
    id CHAR(32) DEFAULT (lower(hex(randomblob(16)))) NOT NULL,
    tenant_id VARCHAR(50) NOT NULL,
    kind VARCHAR(20) NOT NULL,
    subject_hash VARCHAR(64),
    disclosed_at DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL,
    disclosed_by VARCHAR(255) NOT NULL,
    recipient VARCHAR(255) NOT NULL,
    purpose TEXT NOT NULL,
    legal_basis VARCHAR(255) NOT NULL,
    files JSON NOT NULL,
    counts JSON DEFAULT '{}' NOT NULL,
    change_id BIGINT DEFAULT 0 NOT NULL,
    CONSTRAINT pk_disclosures PRIMARY KEY (id),
    CONSTRAINT ck_disclosures_kind_values CHECK (kind IN ('inspection', 'research', 'aggregates'))
);

CREATE INDEX ix_disclosures_disclosed_at ON disclosures (tenant_id, disclosed_at);

CREATE INDEX ix_disclosures_change_id ON disclosures (change_id);

CREATE TRIGGER tr_disclosures_no_update BEFORE UPDATE
ON disclosures FOR EACH ROW
BEGIN
    SELECT RAISE(ABORT, 'rows of disclosures are added and never changed or removed');
END;

CREATE TRIGGER tr_disclosures_no_delete BEFORE DELETE
ON disclosures FOR EACH ROW
BEGIN
    SELECT RAISE(ABORT, 'rows of disclosures are added and never changed or removed');
END;

CREATE TRIGGER tr_disclosures_audit_row AFTER UPDATE OF id, tenant_id, kind, subject_hash, disclosed_at, disclosed_by, recipient, purpose, legal_basis, files, counts
ON disclosures FOR EACH ROW WHEN OLD.id IS NOT NEW.id OR OLD.tenant_id IS NOT NEW.tenant_id OR OLD.kind IS NOT NEW.kind OR OLD.subject_hash IS NOT NEW.subject_hash OR OLD.disclosed_at IS NOT NEW.disclosed_at OR OLD.disclosed_by IS NOT NEW.disclosed_by OR OLD.recipient IS NOT NEW.recipient OR OLD.purpose IS NOT NEW.purpose OR OLD.legal_basis IS NOT NEW.legal_basis OR OLD.files IS NOT NEW.files OR OLD.counts IS NOT NEW.counts
BEGIN
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt)
    VALUES (OLD.tenant_id, 'disclosures', CAST(OLD.id AS text), NULL, OLD.change_id, coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0),
        json_object('id', OLD.id, 'tenant_id', OLD.tenant_id, 'kind', OLD.kind, 'subject_hash', OLD.subject_hash, 'disclosed_at', OLD.disclosed_at, 'disclosed_by', OLD.disclosed_by, 'recipient', OLD.recipient, 'purpose', OLD.purpose, 'legal_basis', OLD.legal_basis, 'files', OLD.files, 'counts', OLD.counts, 'change_id', OLD.change_id), lower(hex(randomblob(16))));
    UPDATE disclosures SET change_id = coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0) WHERE rowid = NEW.rowid;
END;

CREATE TRIGGER tr_disclosures_audit_removed AFTER DELETE
ON disclosures FOR EACH ROW
BEGIN
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt)
    VALUES (OLD.tenant_id, 'disclosures', CAST(OLD.id AS text), NULL, OLD.change_id, coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0),
        json_object('id', OLD.id, 'tenant_id', OLD.tenant_id, 'kind', OLD.kind, 'subject_hash', OLD.subject_hash, 'disclosed_at', OLD.disclosed_at, 'disclosed_by', OLD.disclosed_by, 'recipient', OLD.recipient, 'purpose', OLD.purpose, 'legal_basis', OLD.legal_basis, 'files', OLD.files, 'counts', OLD.counts, 'change_id', OLD.change_id), lower(hex(randomblob(16))));
END;

CREATE TABLE erasures (
    id CHAR(32) DEFAULT (lower(hex(randomblob(16)))) NOT NULL,
    tenant_id VARCHAR(50) NOT NULL,
    number_hash VARCHAR(64) NOT NULL,
    reason TEXT NOT NULL,
    erased_by VARCHAR(255) NOT NULL,
    approved_by VARCHAR(255) NOT NULL,
    begun_at DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL,
    done_at DATETIME,
    counts JSON DEFAULT '{}' NOT NULL,
    change_id BIGINT DEFAULT 0 NOT NULL,
    CONSTRAINT pk_erasures PRIMARY KEY (id),
    CONSTRAINT uq_erasures_number_hash UNIQUE (tenant_id, number_hash),
    CONSTRAINT uq_erasures_id UNIQUE (tenant_id, id)
);

CREATE INDEX ix_erasures_change_id ON erasures (change_id);

CREATE TRIGGER tr_erasures_audit_row AFTER UPDATE OF id, tenant_id, number_hash, reason, erased_by, approved_by, begun_at, done_at, counts
ON erasures FOR EACH ROW WHEN OLD.id IS NOT NEW.id OR OLD.tenant_id IS NOT NEW.tenant_id OR OLD.number_hash IS NOT NEW.number_hash OR OLD.reason IS NOT NEW.reason OR OLD.erased_by IS NOT NEW.erased_by OR OLD.approved_by IS NOT NEW.approved_by OR OLD.begun_at IS NOT NEW.begun_at OR OLD.done_at IS NOT NEW.done_at OR OLD.counts IS NOT NEW.counts
BEGIN
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt)
    VALUES (OLD.tenant_id, 'erasures', CAST(OLD.id AS text), NULL, OLD.change_id, coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0),
        json_object('id', OLD.id, 'tenant_id', OLD.tenant_id, 'number_hash', OLD.number_hash, 'reason', OLD.reason, 'erased_by', OLD.erased_by, 'approved_by', OLD.approved_by, 'begun_at', OLD.begun_at, 'done_at', OLD.done_at, 'counts', OLD.counts, 'change_id', OLD.change_id), lower(hex(randomblob(16))));
    UPDATE erasures SET change_id = coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0) WHERE rowid = NEW.rowid;
END;

CREATE TRIGGER tr_erasures_audit_removed AFTER DELETE
ON erasures FOR EACH ROW
BEGIN
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt)
    VALUES (OLD.tenant_id, 'erasures', CAST(OLD.id AS text), NULL, OLD.change_id, coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0),
        json_object('id', OLD.id, 'tenant_id', OLD.tenant_id, 'number_hash', OLD.number_hash, 'reason', OLD.reason, 'erased_by', OLD.erased_by, 'approved_by', OLD.approved_by, 'begun_at', OLD.begun_at, 'done_at', OLD.done_at, 'counts', OLD.counts, 'change_id', OLD.change_id), lower(hex(randomblob(16))));
END;

CREATE TABLE erased_keys (
    tenant_id VARCHAR(50) NOT NULL,
    key_hash VARCHAR(64) NOT NULL,
    erasure_id CHAR(32) NOT NULL,
    change_id BIGINT DEFAULT 0 NOT NULL,
    CONSTRAINT pk_erased_keys PRIMARY KEY (tenant_id, key_hash),
    CONSTRAINT fk_erased_keys_erasures FOREIGN KEY(tenant_id, erasure_id) REFERENCES erasures (tenant_id, id) ON DELETE RESTRICT
);

CREATE INDEX ix_erased_keys_change_id ON erased_keys (change_id);

CREATE TRIGGER tr_erased_keys_audit_row AFTER UPDATE OF tenant_id, key_hash, erasure_id
ON erased_keys FOR EACH ROW WHEN OLD.tenant_id IS NOT NEW.tenant_id OR OLD.key_hash IS NOT NEW.key_hash OR OLD.erasure_id IS NOT NEW.erasure_id
BEGIN
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt)
    VALUES (OLD.tenant_id, 'erased_keys', CAST(OLD.tenant_id AS text) || '|' || CAST(OLD.key_hash AS text), NULL, OLD.change_id, coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0),
        json_object('tenant_id', OLD.tenant_id, 'key_hash', OLD.key_hash, 'erasure_id', OLD.erasure_id, 'change_id', OLD.change_id), lower(hex(randomblob(16))));
    UPDATE erased_keys SET change_id = coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0) WHERE rowid = NEW.rowid;
END;

CREATE TRIGGER tr_erased_keys_audit_removed AFTER DELETE
ON erased_keys FOR EACH ROW
BEGIN
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt)
    VALUES (OLD.tenant_id, 'erased_keys', CAST(OLD.tenant_id AS text) || '|' || CAST(OLD.key_hash AS text), NULL, OLD.change_id, coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0),
        json_object('tenant_id', OLD.tenant_id, 'key_hash', OLD.key_hash, 'erasure_id', OLD.erasure_id, 'change_id', OLD.change_id), lower(hex(randomblob(16))));
END;

CREATE TABLE legal_holds (
    id CHAR(32) DEFAULT (lower(hex(randomblob(16)))) NOT NULL,
    tenant_id VARCHAR(50) NOT NULL,
    district_id VARCHAR(50) NOT NULL,
    reason TEXT NOT NULL,
    placed_by VARCHAR(255) NOT NULL,
    placed_at DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL,
    released_by VARCHAR(255),
    released_at DATETIME,
    in_force BOOLEAN NOT NULL,
    change_id BIGINT DEFAULT 0 NOT NULL,
    CONSTRAINT pk_legal_holds PRIMARY KEY (id)
);

CREATE UNIQUE INDEX uq_legal_holds_in_force ON legal_holds (tenant_id, district_id) WHERE in_force;

CREATE INDEX ix_legal_holds_change_id ON legal_holds (change_id);

CREATE TRIGGER tr_legal_holds_audit_row AFTER UPDATE OF id, tenant_id, district_id, reason, placed_by, placed_at, released_by, released_at, in_force
ON legal_holds FOR EACH ROW WHEN OLD.id IS NOT NEW.id OR OLD.tenant_id IS NOT NEW.tenant_id OR OLD.district_id IS NOT NEW.district_id OR OLD.reason IS NOT NEW.reason OR OLD.placed_by IS NOT NEW.placed_by OR OLD.placed_at IS NOT NEW.placed_at OR OLD.released_by IS NOT NEW.released_by OR OLD.released_at IS NOT NEW.released_at OR OLD.in_force IS NOT NEW.in_force
BEGIN
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt)
    VALUES (OLD.tenant_id, 'legal_holds', CAST(OLD.id AS text), NULL, OLD.change_id, coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0),
        json_object('id', OLD.id, 'tenant_id', OLD.tenant_id, 'district_id', OLD.district_id, 'reason', OLD.reason, 'placed_by', OLD.placed_by, 'placed_at', OLD.placed_at, 'released_by', OLD.released_by, 'released_at', OLD.released_at, 'in_force', OLD.in_force, 'change_id', OLD.change_id), lower(hex(randomblob(16))));
    UPDATE legal_holds SET change_id = coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0) WHERE rowid = NEW.rowid;
END;

CREATE TRIGGER tr_legal_holds_audit_removed AFTER DELETE
ON legal_holds FOR EACH ROW
BEGIN
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt)
    VALUES (OLD.tenant_id, 'legal_holds', CAST(OLD.id AS text), NULL, OLD.change_id, coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0),
        json_object('id', OLD.id, 'tenant_id', OLD.tenant_id, 'district_id', OLD.district_id, 'reason', OLD.reason, 'placed_by', OLD.placed_by, 'placed_at', OLD.placed_at, 'released_by', OLD.released_by, 'released_at', OLD.released_at, 'in_force', OLD.in_force, 'change_id', OLD.change_id), lower(hex(randomblob(16))));
END;

CREATE TABLE audit_changes (
    id BIGINT NOT NULL,
    tenant_id VARCHAR(50) NOT NULL,
    changed_at DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL,
    actor VARCHAR(255) NOT NULL,
    database_user VARCHAR(255) NOT NULL,
    run_id VARCHAR(50),
    transaction_id BIGINT,
    link_number BIGINT,
    linked_at DATETIME,
    link VARCHAR(64),
    CONSTRAINT pk_audit_changes PRIMARY KEY (id),
    CONSTRAINT uq_audit_changes_link_number UNIQUE (link_number)
);

CREATE INDEX ix_audit_changes_changed_at ON audit_changes (tenant_id, changed_at);

CREATE INDEX ix_audit_changes_run_id ON audit_changes (run_id);

CREATE TRIGGER tr_audit_changes_fixed_update BEFORE UPDATE
ON audit_changes FOR EACH ROW WHEN NOT (OLD.link IS NULL)
BEGIN
    SELECT RAISE(ABORT, 'audit_changes is only added to');
END;

CREATE TRIGGER tr_audit_changes_fixed_delete BEFORE DELETE
ON audit_changes FOR EACH ROW WHEN NOT (OLD.link IS NULL OR OLD.link_number <= coalesce((SELECT CAST(json_extract(replaced, '$.link_number') AS INTEGER) FROM audit_entries WHERE table_name = 'audit_changes' ORDER BY change_id DESC LIMIT 1), 0))
BEGIN
    SELECT RAISE(ABORT, 'audit_changes is only added to');
END;

CREATE TABLE audit_entries (
    change_id BIGINT NOT NULL,
    tenant_id VARCHAR(50) NOT NULL,
    table_name VARCHAR(63) NOT NULL,
    operation VARCHAR(10) NOT NULL,
    rows BIGINT NOT NULL,
    columns INTEGER,
    content VARCHAR(64),
    images VARCHAR(64),
    replaced JSON,
    CONSTRAINT pk_audit_entries PRIMARY KEY (change_id, tenant_id, table_name, operation),
    CONSTRAINT ck_audit_entries_operation_values CHECK (operation IN ('before', 'insert', 'update', 'delete', 'write', 'replace', 'detach', 'attach', 'restate'))
);

CREATE INDEX ix_audit_entries_table_name ON audit_entries (table_name);

CREATE TRIGGER tr_audit_entries_fixed_update BEFORE UPDATE
ON audit_entries FOR EACH ROW WHEN NOT (0)
BEGIN
    SELECT RAISE(ABORT, 'audit_entries is only added to');
END;

CREATE TRIGGER tr_audit_entries_fixed_delete BEFORE DELETE
ON audit_entries FOR EACH ROW WHEN NOT (OLD.change_id / 1048576 IN (SELECT id FROM audit_changes WHERE link_number <= coalesce((SELECT CAST(json_extract(replaced, '$.link_number') AS INTEGER) FROM audit_entries WHERE table_name = 'audit_changes' ORDER BY change_id DESC LIMIT 1), 0)) OR (OLD.change_id = 0 AND coalesce((SELECT CAST(json_extract(replaced, '$.link_number') AS INTEGER) FROM audit_entries WHERE table_name = 'audit_changes' ORDER BY change_id DESC LIMIT 1), 0) > 0))
BEGIN
    SELECT RAISE(ABORT, 'audit_entries is only added to');
END;

CREATE TABLE audit_images (
    id CHAR(32) DEFAULT (lower(hex(randomblob(16)))) NOT NULL,
    tenant_id VARCHAR(50) NOT NULL,
    table_name VARCHAR(63) NOT NULL,
    row_key TEXT NOT NULL,
    student_id CHAR(32),
    written_by BIGINT NOT NULL,
    replaced_by BIGINT NOT NULL,
    image JSON,
    salt VARCHAR(32),
    hash VARCHAR(64),
    CONSTRAINT pk_audit_images PRIMARY KEY (id)
);

CREATE INDEX ix_audit_images_replaced_by ON audit_images (replaced_by);

CREATE INDEX ix_audit_images_student_id ON audit_images (student_id);

CREATE INDEX ix_audit_images_table_name_row_key ON audit_images (table_name, row_key);

CREATE TRIGGER tr_audit_images_fixed_update BEFORE UPDATE
ON audit_images FOR EACH ROW WHEN NOT ((OLD.hash IS NULL AND OLD.id IS NEW.id AND OLD.tenant_id IS NEW.tenant_id AND OLD.table_name IS NEW.table_name AND OLD.written_by IS NEW.written_by AND OLD.replaced_by IS NEW.replaced_by AND OLD.row_key IS NEW.row_key AND OLD.student_id IS NEW.student_id AND OLD.image IS NEW.image AND OLD.salt IS NEW.salt) OR (NEW.image IS NULL AND NEW.salt IS NULL AND OLD.hash IS NEW.hash AND OLD.id IS NEW.id AND OLD.tenant_id IS NEW.tenant_id AND OLD.table_name IS NEW.table_name AND OLD.written_by IS NEW.written_by AND OLD.replaced_by IS NEW.replaced_by))
BEGIN
    SELECT RAISE(ABORT, 'audit_images is only added to');
END;

CREATE TRIGGER tr_audit_images_fixed_delete BEFORE DELETE
ON audit_images FOR EACH ROW WHEN NOT (OLD.replaced_by / 1048576 IN (SELECT id FROM audit_changes WHERE link_number <= coalesce((SELECT CAST(json_extract(replaced, '$.link_number') AS INTEGER) FROM audit_entries WHERE table_name = 'audit_changes' ORDER BY change_id DESC LIMIT 1), 0)))
BEGIN
    SELECT RAISE(ABORT, 'audit_images is only added to');
END;

CREATE TABLE retention_removals (
    tenant_id VARCHAR(50) NOT NULL,
    student_id CHAR(32) NOT NULL,
    table_name VARCHAR(50) NOT NULL,
    through DATE NOT NULL,
    removed_at DATETIME,
    change_id BIGINT DEFAULT 0 NOT NULL,
    CONSTRAINT pk_retention_removals PRIMARY KEY (student_id, table_name),
    CONSTRAINT fk_retention_removals_students FOREIGN KEY(tenant_id, student_id) REFERENCES students (tenant_id, id) ON DELETE RESTRICT
);

CREATE INDEX ix_retention_removals_table_name ON retention_removals (tenant_id, table_name);

CREATE INDEX ix_retention_removals_change_id ON retention_removals (change_id);

CREATE TRIGGER tr_retention_removals_audit_row AFTER UPDATE OF tenant_id, student_id, table_name, through, removed_at
ON retention_removals FOR EACH ROW WHEN OLD.tenant_id IS NOT NEW.tenant_id OR OLD.student_id IS NOT NEW.student_id OR OLD.table_name IS NOT NEW.table_name OR OLD.through IS NOT NEW.through OR OLD.removed_at IS NOT NEW.removed_at
BEGIN
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt)
    VALUES (OLD.tenant_id, 'retention_removals', CAST(OLD.student_id AS text) || '|' || CAST(OLD.table_name AS text), OLD.student_id, OLD.change_id, coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0),
        json_object('tenant_id', OLD.tenant_id, 'student_id', OLD.student_id, 'table_name', OLD.table_name, 'through', OLD.through, 'removed_at', OLD.removed_at, 'change_id', OLD.change_id), lower(hex(randomblob(16))));
    UPDATE retention_removals SET change_id = coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0) WHERE rowid = NEW.rowid;
END;

CREATE TRIGGER tr_retention_removals_audit_removed AFTER DELETE
ON retention_removals FOR EACH ROW
BEGIN
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt)
    VALUES (OLD.tenant_id, 'retention_removals', CAST(OLD.student_id AS text) || '|' || CAST(OLD.table_name AS text), OLD.student_id, OLD.change_id, coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0),
        json_object('tenant_id', OLD.tenant_id, 'student_id', OLD.student_id, 'table_name', OLD.table_name, 'through', OLD.through, 'removed_at', OLD.removed_at, 'change_id', OLD.change_id), lower(hex(randomblob(16))));
END;

CREATE TABLE retention_certificates (
    id CHAR(32) DEFAULT (lower(hex(randomblob(16)))) NOT NULL,
    tenant_id VARCHAR(50) NOT NULL,
    signed_at DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL,
    executed_by VARCHAR(255) NOT NULL,
    approved_by VARCHAR(255) NOT NULL,
    reason TEXT NOT NULL,
    document JSON NOT NULL,
    sha256 VARCHAR(64) NOT NULL,
    change_id BIGINT DEFAULT 0 NOT NULL,
    CONSTRAINT pk_retention_certificates PRIMARY KEY (id)
);

CREATE INDEX ix_retention_certificates_signed_at ON retention_certificates (tenant_id, signed_at);

CREATE INDEX ix_retention_certificates_change_id ON retention_certificates (change_id);

CREATE TRIGGER tr_retention_certificates_no_update BEFORE UPDATE
ON retention_certificates FOR EACH ROW
BEGIN
    SELECT RAISE(ABORT, 'rows of retention_certificates are added and never changed or removed');
END;

CREATE TRIGGER tr_retention_certificates_no_delete BEFORE DELETE
ON retention_certificates FOR EACH ROW
BEGIN
    SELECT RAISE(ABORT, 'rows of retention_certificates are added and never changed or removed');
END;

CREATE TRIGGER tr_retention_certificates_audit_row AFTER UPDATE OF id, tenant_id, signed_at, executed_by, approved_by, reason, document, sha256
ON retention_certificates FOR EACH ROW WHEN OLD.id IS NOT NEW.id OR OLD.tenant_id IS NOT NEW.tenant_id OR OLD.signed_at IS NOT NEW.signed_at OR OLD.executed_by IS NOT NEW.executed_by OR OLD.approved_by IS NOT NEW.approved_by OR OLD.reason IS NOT NEW.reason OR OLD.document IS NOT NEW.document OR OLD.sha256 IS NOT NEW.sha256
BEGIN
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt)
    VALUES (OLD.tenant_id, 'retention_certificates', CAST(OLD.id AS text), NULL, OLD.change_id, coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0),
        json_object('id', OLD.id, 'tenant_id', OLD.tenant_id, 'signed_at', OLD.signed_at, 'executed_by', OLD.executed_by, 'approved_by', OLD.approved_by, 'reason', OLD.reason, 'document', OLD.document, 'sha256', OLD.sha256, 'change_id', OLD.change_id), lower(hex(randomblob(16))));
    UPDATE retention_certificates SET change_id = coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0) WHERE rowid = NEW.rowid;
END;

CREATE TRIGGER tr_retention_certificates_audit_removed AFTER DELETE
ON retention_certificates FOR EACH ROW
BEGIN
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt)
    VALUES (OLD.tenant_id, 'retention_certificates', CAST(OLD.id AS text), NULL, OLD.change_id, coalesce((SELECT id * 1048576 FROM audit_changes WHERE link IS NULL), 0),
        json_object('id', OLD.id, 'tenant_id', OLD.tenant_id, 'signed_at', OLD.signed_at, 'executed_by', OLD.executed_by, 'approved_by', OLD.approved_by, 'reason', OLD.reason, 'document', OLD.document, 'sha256', OLD.sha256, 'change_id', OLD.change_id), lower(hex(randomblob(16))));
END;
