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

CREATE TRIGGER tr_students_updated_at AFTER UPDATE OF district_id, first_name, last_name, grade_level, date_of_birth, gender, ethnicity, socioeconomic_status, gpa, attendance_rate, parent_contact, enrollment_date, exit_date, exit_type, student_metadata, deleted_on
ON students FOR EACH ROW
BEGIN
    UPDATE students SET updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') WHERE rowid = NEW.rowid;
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
    CONSTRAINT pk_schools PRIMARY KEY (id),
    CONSTRAINT uq_schools_school_id UNIQUE (tenant_id, school_id)
);

CREATE TRIGGER tr_schools_updated_at AFTER UPDATE OF school_id, name, level, lowest_grade, highest_grade, deleted_on
ON schools FOR EACH ROW
BEGIN
    UPDATE schools SET updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') WHERE rowid = NEW.rowid;
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
    CONSTRAINT pk_enrollments PRIMARY KEY (id),
    CONSTRAINT ck_enrollments_exit_type_values CHECK (exit_type IN ('completed', 'transferred', 'dropped_out', 'failed', 'other')),
    CONSTRAINT ck_enrollments_grade_level_range CHECK (grade_level >= 0 AND grade_level <= 12),
    CONSTRAINT ck_enrollments_origin_values CHECK (origin IN ('sent', 'student', 'assumed')),
    CONSTRAINT fk_enrollments_students FOREIGN KEY(tenant_id, student_id) REFERENCES students (tenant_id, id) ON DELETE RESTRICT
);

CREATE INDEX ix_enrollments_school_id ON enrollments (tenant_id, school_id);

CREATE UNIQUE INDEX uq_enrollments_student_id_school_id_entry_date ON enrollments (student_id, coalesce(school_id, ''), entry_date);

CREATE TRIGGER tr_enrollments_updated_at AFTER UPDATE OF student_id, school_id, entry_date, exit_date, exit_type, grade_level, is_primary, source_record_id, origin, deleted_on, taken_back_for
ON enrollments FOR EACH ROW
BEGIN
    UPDATE enrollments SET updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') WHERE rowid = NEW.rowid;
END;

CREATE TABLE enrollment_statements (
    tenant_id VARCHAR(50) NOT NULL,
    student_id CHAR(32) NOT NULL,
    said VARCHAR(50) NOT NULL,
    first_delivered_on DATE NOT NULL,
    delivered_on DATE NOT NULL,
    CONSTRAINT pk_enrollment_statements PRIMARY KEY (student_id, said),
    CONSTRAINT fk_enrollment_statements_students FOREIGN KEY(tenant_id, student_id) REFERENCES students (tenant_id, id) ON DELETE RESTRICT
);

CREATE INDEX ix_enrollment_statements_delivered_on ON enrollment_statements (tenant_id, delivered_on);

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
    CONSTRAINT pk_attendance_records PRIMARY KEY (id, date),
    CONSTRAINT ck_attendance_records_status_values CHECK (status IN ('present', 'absent', 'tardy', 'excused')),
    CONSTRAINT ck_attendance_records_period_range CHECK (period >= 0),
    CONSTRAINT ck_attendance_records_minutes_absent_range CHECK (minutes_absent >= 0 AND minutes_absent <= 1440),
    CONSTRAINT ck_attendance_records_minutes_possible_range CHECK (minutes_possible >= 1 AND minutes_possible <= 1440),
    CONSTRAINT fk_attendance_records_students FOREIGN KEY(tenant_id, student_id) REFERENCES students (tenant_id, id) ON DELETE RESTRICT
);

CREATE INDEX ix_attendance_records_date ON attendance_records (date, tenant_id);

CREATE UNIQUE INDEX uq_attendance_records_student_id_date_period_school_id ON attendance_records (student_id, date, coalesce(period, -1), coalesce(school_id, ''));

CREATE TRIGGER tr_attendance_records_updated_at AFTER UPDATE OF student_id, date, status, period, deleted_on, minutes_absent, minutes_possible, school_id
ON attendance_records FOR EACH ROW
BEGIN
    UPDATE attendance_records SET updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') WHERE rowid = NEW.rowid;
END;

CREATE TABLE attendance_statements (
    tenant_id VARCHAR(50) NOT NULL,
    student_id CHAR(32) NOT NULL,
    date DATE NOT NULL,
    period INTEGER NOT NULL,
    said JSON NOT NULL,
    at_several BOOLEAN NOT NULL,
    CONSTRAINT pk_attendance_statements PRIMARY KEY (student_id, date, period),
    CONSTRAINT fk_attendance_statements_students FOREIGN KEY(tenant_id, student_id) REFERENCES students (tenant_id, id) ON DELETE RESTRICT
);

CREATE INDEX ix_attendance_statements_date ON attendance_statements (tenant_id, date);

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
    CONSTRAINT pk_grades PRIMARY KEY (id),
    CONSTRAINT ck_grades_grade_value_range CHECK (grade_value >= 0 AND grade_value <= 100),
    CONSTRAINT fk_grades_students FOREIGN KEY(tenant_id, student_id) REFERENCES students (tenant_id, id) ON DELETE RESTRICT,
    CONSTRAINT uq_grades_record_key UNIQUE (tenant_id, record_key)
);

CREATE INDEX ix_grades_course_id ON grades (tenant_id, course_id);

CREATE INDEX ix_grades_student_id_submission_date ON grades (tenant_id, student_id, submission_date);

CREATE TRIGGER tr_grades_updated_at AFTER UPDATE OF student_id, record_key, source_record_id, course_id, course_name, grade_value, grade_letter, submission_date, assignment_type, deleted_on
ON grades FOR EACH ROW
BEGIN
    UPDATE grades SET updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') WHERE rowid = NEW.rowid;
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
    CONSTRAINT pk_discipline_incidents PRIMARY KEY (id),
    CONSTRAINT ck_discipline_incidents_severity_level_range CHECK (severity_level >= 1 AND severity_level <= 5),
    CONSTRAINT fk_discipline_incidents_students FOREIGN KEY(tenant_id, student_id) REFERENCES students (tenant_id, id) ON DELETE RESTRICT,
    CONSTRAINT uq_discipline_incidents_record_key UNIQUE (tenant_id, record_key)
);

CREATE INDEX ix_discipline_incidents_incident_date ON discipline_incidents (tenant_id, incident_date);

CREATE INDEX ix_discipline_incidents_student_id_incident_date ON discipline_incidents (tenant_id, student_id, incident_date);

CREATE TRIGGER tr_discipline_incidents_updated_at AFTER UPDATE OF student_id, record_key, source_record_id, incident_date, severity_level, incident_type, description, resolution, deleted_on
ON discipline_incidents FOR EACH ROW
BEGIN
    UPDATE discipline_incidents SET updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') WHERE rowid = NEW.rowid;
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
    CONSTRAINT pk_student_features PRIMARY KEY (student_id, feature_date),
    CONSTRAINT ck_student_features_attendance_rate_range CHECK (attendance_rate >= 0 AND attendance_rate <= 1),
    CONSTRAINT ck_student_features_gpa_current_range CHECK (gpa_current >= 0 AND gpa_current <= 5),
    CONSTRAINT ck_student_features_discipline_incidents_range CHECK (discipline_incidents >= 0),
    CONSTRAINT fk_student_features_students FOREIGN KEY(tenant_id, student_id) REFERENCES students (tenant_id, id) ON DELETE RESTRICT
);

CREATE INDEX ix_student_features_feature_date ON student_features (tenant_id, feature_date);

CREATE TRIGGER tr_student_features_updated_at AFTER UPDATE OF student_id, feature_date, attendance_rate, gpa_current, discipline_incidents, feature_vector
ON student_features FOR EACH ROW
BEGIN
    UPDATE student_features SET updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') WHERE rowid = NEW.rowid;
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
    CONSTRAINT pk_model_metadata PRIMARY KEY (id),
    CONSTRAINT uq_model_metadata_model_version UNIQUE (tenant_id, model_version)
);

CREATE UNIQUE INDEX uq_model_metadata_is_active ON model_metadata (tenant_id) WHERE is_active;

CREATE TRIGGER tr_model_metadata_updated_at AFTER UPDATE OF model_version, model_type, training_date, performance_metrics, hyperparameters, is_active, data_through, data_hash, settings_hash, promoted, set_aside, mlflow_run_id, mlflow_model_id, registered_model, registry_version, artifact_sha256, artifact_uri, label_hash
ON model_metadata FOR EACH ROW
BEGIN
    UPDATE model_metadata SET updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') WHERE rowid = NEW.rowid;
END;

CREATE TABLE predictions (
    id CHAR(32) DEFAULT (lower(hex(randomblob(16)))) NOT NULL,
    tenant_id VARCHAR(50) NOT NULL,
    student_id CHAR(32) NOT NULL,
    feature_date DATE NOT NULL,
    prediction_date DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL,
    risk_score DOUBLE NOT NULL,
    risk_category VARCHAR(20) NOT NULL,
    confidence DOUBLE NOT NULL,
    risk_factors JSON DEFAULT '[]',
    model_version VARCHAR(50) NOT NULL,
    rescored BOOLEAN DEFAULT 0 NOT NULL,
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_at DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL,
    CONSTRAINT pk_predictions PRIMARY KEY (id),
    CONSTRAINT ck_predictions_risk_score_range CHECK (risk_score >= 0 AND risk_score <= 1),
    CONSTRAINT ck_predictions_risk_category_values CHECK (risk_category IN ('low', 'medium', 'high', 'critical')),
    CONSTRAINT ck_predictions_confidence_range CHECK (confidence >= 0 AND confidence <= 1),
    CONSTRAINT fk_predictions_students FOREIGN KEY(tenant_id, student_id) REFERENCES students (tenant_id, id) ON DELETE RESTRICT,
    CONSTRAINT fk_predictions_model_metadata FOREIGN KEY(tenant_id, model_version) REFERENCES model_metadata (tenant_id, model_version) ON DELETE RESTRICT,
    CONSTRAINT uq_predictions_student_id_feature_date_model_version UNIQUE (tenant_id, student_id, feature_date, model_version),
    CONSTRAINT uq_predictions_id UNIQUE (tenant_id, id)
);

CREATE INDEX ix_predictions_feature_date_risk_category ON predictions (tenant_id, feature_date, risk_category);

CREATE INDEX ix_predictions_model_version ON predictions (tenant_id, model_version);

CREATE TRIGGER tr_predictions_updated_at AFTER UPDATE OF student_id, feature_date, prediction_date, risk_score, risk_category, confidence, risk_factors, model_version, rescored
ON predictions FOR EACH ROW
BEGIN
    UPDATE predictions SET updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') WHERE rowid = NEW.rowid;
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
    CONSTRAINT pk_training_feedback PRIMARY KEY (id),
    CONSTRAINT ck_training_feedback_feedback_type_values CHECK (feedback_type IN ('true_positive', 'false_positive', 'true_negative', 'false_negative')),
    CONSTRAINT fk_training_feedback_predictions FOREIGN KEY(tenant_id, prediction_id) REFERENCES predictions (tenant_id, id) ON DELETE RESTRICT,
    CONSTRAINT uq_training_feedback_record_key UNIQUE (tenant_id, record_key)
);

CREATE INDEX ix_training_feedback_prediction_id ON training_feedback (tenant_id, prediction_id);

CREATE TRIGGER tr_training_feedback_updated_at AFTER UPDATE OF prediction_id, record_key, outcome_date, outcome_type, feedback_type, educator_notes, deleted_on, reviewer
ON training_feedback FOR EACH ROW
BEGIN
    UPDATE training_feedback SET updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') WHERE rowid = NEW.rowid;
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
    CONSTRAINT pk_model_evaluations PRIMARY KEY (tenant_id, model_version, candidate, scope, as_of_date, metric, parameter, subgroup),
    CONSTRAINT ck_model_evaluations_scope_values CHECK (scope IN ('validation', 'week', 'unseen_students', 'matured', 'health')),
    CONSTRAINT ck_model_evaluations_samples_range CHECK (samples >= 0),
    CONSTRAINT fk_model_evaluations_model_metadata FOREIGN KEY(tenant_id, model_version) REFERENCES model_metadata (tenant_id, model_version) ON DELETE RESTRICT
);

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
    CONSTRAINT pk_promotion_decisions PRIMARY KEY (id),
    CONSTRAINT ck_promotion_decisions_kind_values CHECK (kind IN ('gate', 'promote', 'rollback', 'sync')),
    CONSTRAINT fk_promotion_decisions_model_metadata FOREIGN KEY(tenant_id, model_version) REFERENCES model_metadata (tenant_id, model_version) ON DELETE RESTRICT
);

CREATE INDEX ix_promotion_decisions_decided_at ON promotion_decisions (tenant_id, decided_at);

CREATE TABLE review_proposals (
    id CHAR(32) DEFAULT (lower(hex(randomblob(16)))) NOT NULL,
    tenant_id VARCHAR(50) NOT NULL,
    prediction_id CHAR(32) NOT NULL,
    feature_date DATE NOT NULL,
    drawn_from INTEGER NOT NULL,
    proposed_at DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL,
    CONSTRAINT pk_review_proposals PRIMARY KEY (id),
    CONSTRAINT ck_review_proposals_drawn_from_range CHECK (drawn_from >= 1),
    CONSTRAINT fk_review_proposals_predictions FOREIGN KEY(tenant_id, prediction_id) REFERENCES predictions (tenant_id, id) ON DELETE RESTRICT,
    CONSTRAINT uq_review_proposals_prediction_id UNIQUE (tenant_id, prediction_id)
);

CREATE INDEX ix_review_proposals_feature_date ON review_proposals (tenant_id, feature_date);

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

CREATE TABLE accepted_removals (
    tenant_id VARCHAR(50) NOT NULL,
    delivered_on DATE NOT NULL,
    accepted_by VARCHAR(255),
    accepted_at DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL,
    CONSTRAINT pk_accepted_removals PRIMARY KEY (tenant_id, delivered_on)
);

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
    CONSTRAINT pk_quarantined_records PRIMARY KEY (id),
    CONSTRAINT ck_quarantined_records_line_number_range CHECK (line_number >= 1),
    CONSTRAINT uq_quarantined_records_table_name_file_hash_line_number UNIQUE (tenant_id, table_name, file_hash, line_number)
);

CREATE INDEX ix_quarantined_records_table_name_delivered_on ON quarantined_records (tenant_id, table_name, delivered_on);

CREATE TABLE disputed_numbers (
    tenant_id VARCHAR(50) NOT NULL,
    district_id VARCHAR(50) NOT NULL,
    since DATE NOT NULL,
    until DATE,
    CONSTRAINT pk_disputed_numbers PRIMARY KEY (tenant_id, district_id, since)
);

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
    CONSTRAINT pk_student_merges PRIMARY KEY (id)
);

CREATE INDEX ix_student_merges_new_number ON student_merges (tenant_id, new_number);

CREATE UNIQUE INDEX uq_student_merges_in_force ON student_merges (tenant_id, old_number) WHERE in_force;

CREATE TABLE instructional_days (
    tenant_id VARCHAR(50) NOT NULL,
    date DATE NOT NULL,
    delivered_on DATE NOT NULL,
    CONSTRAINT pk_instructional_days PRIMARY KEY (tenant_id, date)
);

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

CREATE TABLE weekly_course_grades (
    tenant_id VARCHAR(50) NOT NULL,
    student_id CHAR(32) NOT NULL,
    week_start DATE NOT NULL,
    course_id VARCHAR(50) NOT NULL,
    grade_count INTEGER NOT NULL,
    grade_mean DOUBLE NOT NULL,
    grade_lowest DOUBLE NOT NULL,
    CONSTRAINT pk_weekly_course_grades PRIMARY KEY (student_id, week_start, course_id),
    CONSTRAINT ck_weekly_course_grades_grade_count_range CHECK (grade_count >= 1),
    CONSTRAINT ck_weekly_course_grades_grade_mean_range CHECK (grade_mean >= 0 AND grade_mean <= 100),
    CONSTRAINT ck_weekly_course_grades_grade_lowest_range CHECK (grade_lowest >= 0 AND grade_lowest <= 100),
    CONSTRAINT fk_weekly_course_grades_students FOREIGN KEY(tenant_id, student_id) REFERENCES students (tenant_id, id) ON DELETE RESTRICT
);

CREATE INDEX ix_weekly_course_grades_week_start ON weekly_course_grades (tenant_id, week_start);

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
    CONSTRAINT pk_step_accounts PRIMARY KEY (tenant_id, run_id, step, part)
);

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
    CONSTRAINT pk_disclosures PRIMARY KEY (id),
    CONSTRAINT ck_disclosures_kind_values CHECK (kind IN ('inspection', 'research', 'aggregates'))
);

CREATE INDEX ix_disclosures_disclosed_at ON disclosures (tenant_id, disclosed_at);

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
    CONSTRAINT pk_erasures PRIMARY KEY (id),
    CONSTRAINT uq_erasures_number_hash UNIQUE (tenant_id, number_hash),
    CONSTRAINT uq_erasures_id UNIQUE (tenant_id, id)
);

CREATE TABLE erased_keys (
    tenant_id VARCHAR(50) NOT NULL,
    key_hash VARCHAR(64) NOT NULL,
    erasure_id CHAR(32) NOT NULL,
    CONSTRAINT pk_erased_keys PRIMARY KEY (tenant_id, key_hash),
    CONSTRAINT fk_erased_keys_erasures FOREIGN KEY(tenant_id, erasure_id) REFERENCES erasures (tenant_id, id) ON DELETE RESTRICT
);

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
    CONSTRAINT pk_legal_holds PRIMARY KEY (id)
);

CREATE UNIQUE INDEX uq_legal_holds_in_force ON legal_holds (tenant_id, district_id) WHERE in_force;
