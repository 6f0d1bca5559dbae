CREATE TABLE students (
    id UUID DEFAULT gen_random_uuid() NOT NULL,
    tenant_id VARCHAR(50) NOT NULL,
    district_id VARCHAR(50) NOT NULL,
    first_name VARCHAR(100) NOT NULL,
    last_name VARCHAR(100) NOT NULL,
    grade_level INTEGER,
    date_of_birth DATE NOT NULL,
    gender VARCHAR(10),
    ethnicity VARCHAR(100),
    socioeconomic_status VARCHAR(50),
    gpa DOUBLE PRECISION,
    attendance_rate DOUBLE PRECISION,
    parent_contact VARCHAR(200),
    enrollment_date DATE DEFAULT CURRENT_DATE NOT NULL,
    exit_date DATE,
    exit_type VARCHAR(20),
    student_metadata JSONB DEFAULT '{}',
    delivered_on DATE NOT NULL,
    field_deliveries JSONB,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    CONSTRAINT pk_students PRIMARY KEY (id),
    CONSTRAINT ck_students_grade_level_range CHECK (grade_level >= 0 AND grade_level <= 12),
    CONSTRAINT ck_students_gpa_range CHECK (gpa >= 0 AND gpa <= 5),
    CONSTRAINT ck_students_attendance_rate_range CHECK (attendance_rate >= 0 AND attendance_rate <= 1),
    CONSTRAINT ck_students_exit_type_values CHECK (exit_type IN ('completed', 'transferred', 'dropped_out', 'failed', 'other')),
    CONSTRAINT uq_students_district_id UNIQUE (tenant_id, district_id),
    CONSTRAINT uq_students_id UNIQUE (tenant_id, id)
)

--;

CREATE INDEX ix_students_enrollment_date ON students (tenant_id, enrollment_date)

--;

CREATE INDEX ix_students_grade_level ON students (tenant_id, grade_level)

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
    CONSTRAINT pk_attendance_records PRIMARY KEY (id, date),
    CONSTRAINT ck_attendance_records_status_values CHECK (status IN ('present', 'absent', 'tardy', 'excused')),
    CONSTRAINT ck_attendance_records_period_range CHECK (period >= 0),
    CONSTRAINT fk_attendance_records_students FOREIGN KEY(tenant_id, student_id) REFERENCES students (tenant_id, id) ON DELETE RESTRICT
)

--;

CREATE INDEX ix_attendance_records_date_status ON attendance_records (tenant_id, date, status)

--;

CREATE UNIQUE INDEX uq_attendance_records_student_id_date_period ON attendance_records (tenant_id, student_id, date, coalesce(period, -1))

--;

CREATE TABLE grades (
    id UUID DEFAULT gen_random_uuid() NOT NULL,
    tenant_id VARCHAR(50) NOT NULL,
    student_id UUID NOT NULL,
    record_key VARCHAR(110) NOT NULL,
    source_record_id VARCHAR(100),
    course_id VARCHAR(50) NOT NULL,
    course_name VARCHAR(200),
    grade_value DOUBLE PRECISION,
    grade_letter VARCHAR(2),
    submission_date DATE NOT NULL,
    assignment_type VARCHAR(50),
    delivered_on DATE NOT NULL,
    field_deliveries JSONB,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    CONSTRAINT pk_grades PRIMARY KEY (id),
    CONSTRAINT ck_grades_grade_value_range CHECK (grade_value >= 0 AND grade_value <= 100),
    CONSTRAINT fk_grades_students FOREIGN KEY(tenant_id, student_id) REFERENCES students (tenant_id, id) ON DELETE RESTRICT,
    CONSTRAINT uq_grades_record_key UNIQUE (tenant_id, record_key)
)

--;

CREATE INDEX ix_grades_course_id ON grades (tenant_id, course_id)

--;

CREATE INDEX ix_grades_student_id_submission_date ON grades (tenant_id, student_id, submission_date)

--;

CREATE TABLE discipline_incidents (
    id UUID DEFAULT gen_random_uuid() NOT NULL,
    tenant_id VARCHAR(50) NOT NULL,
    student_id UUID NOT NULL,
    record_key VARCHAR(110) NOT NULL,
    source_record_id VARCHAR(100),
    incident_date DATE NOT NULL,
    severity_level INTEGER NOT NULL,
    incident_type VARCHAR(100),
    description TEXT,
    resolution VARCHAR(200),
    delivered_on DATE NOT NULL,
    field_deliveries JSONB,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    CONSTRAINT pk_discipline_incidents PRIMARY KEY (id),
    CONSTRAINT ck_discipline_incidents_severity_level_range CHECK (severity_level >= 1 AND severity_level <= 5),
    CONSTRAINT fk_discipline_incidents_students FOREIGN KEY(tenant_id, student_id) REFERENCES students (tenant_id, id) ON DELETE RESTRICT,
    CONSTRAINT uq_discipline_incidents_record_key UNIQUE (tenant_id, record_key)
)

--;

CREATE INDEX ix_discipline_incidents_incident_date ON discipline_incidents (tenant_id, incident_date)

--;

CREATE INDEX ix_discipline_incidents_student_id_incident_date ON discipline_incidents (tenant_id, student_id, incident_date)

--;

CREATE TABLE student_features (
    tenant_id VARCHAR(50) NOT NULL,
    student_id UUID NOT NULL,
    feature_date DATE NOT NULL,
    attendance_rate DOUBLE PRECISION,
    gpa_current DOUBLE PRECISION,
    discipline_incidents INTEGER,
    feature_vector JSONB,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    CONSTRAINT pk_student_features PRIMARY KEY (student_id, feature_date),
    CONSTRAINT ck_student_features_attendance_rate_range CHECK (attendance_rate >= 0 AND attendance_rate <= 1),
    CONSTRAINT ck_student_features_gpa_current_range CHECK (gpa_current >= 0 AND gpa_current <= 5),
    CONSTRAINT ck_student_features_discipline_incidents_range CHECK (discipline_incidents >= 0),
    CONSTRAINT fk_student_features_students FOREIGN KEY(tenant_id, student_id) REFERENCES students (tenant_id, id) ON DELETE RESTRICT
)

--;

CREATE INDEX ix_student_features_feature_date ON student_features (tenant_id, feature_date)

--;

CREATE TABLE model_metadata (
    id UUID DEFAULT gen_random_uuid() NOT NULL,
    tenant_id VARCHAR(50) NOT NULL,
    model_version VARCHAR(50) NOT NULL,
    model_type VARCHAR(50),
    training_date TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    performance_metrics JSONB DEFAULT '{}',
    hyperparameters JSONB DEFAULT '{}',
    is_active BOOLEAN DEFAULT false NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    CONSTRAINT pk_model_metadata PRIMARY KEY (id),
    CONSTRAINT uq_model_metadata_model_version UNIQUE (tenant_id, model_version)
)

--;

CREATE UNIQUE INDEX uq_model_metadata_is_active ON model_metadata (tenant_id) WHERE is_active

--;

CREATE TABLE predictions (
    id UUID DEFAULT gen_random_uuid() NOT NULL,
    tenant_id VARCHAR(50) NOT NULL,
    student_id UUID NOT NULL,
    feature_date DATE NOT NULL,
    prediction_date TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    risk_score DOUBLE PRECISION NOT NULL,
    risk_category VARCHAR(20) NOT NULL,
    confidence DOUBLE PRECISION NOT NULL,
    risk_factors JSONB DEFAULT '[]',
    model_version VARCHAR(50) NOT NULL,
    rescored BOOLEAN DEFAULT false NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    CONSTRAINT pk_predictions PRIMARY KEY (id),
    CONSTRAINT ck_predictions_risk_score_range CHECK (risk_score >= 0 AND risk_score <= 1),
    CONSTRAINT ck_predictions_risk_category_values CHECK (risk_category IN ('low', 'medium', 'high', 'critical')),
    CONSTRAINT ck_predictions_confidence_range CHECK (confidence >= 0 AND confidence <= 1),
    CONSTRAINT fk_predictions_students FOREIGN KEY(tenant_id, student_id) REFERENCES students (tenant_id, id) ON DELETE RESTRICT,
    CONSTRAINT fk_predictions_model_metadata FOREIGN KEY(tenant_id, model_version) REFERENCES model_metadata (tenant_id, model_version) ON DELETE RESTRICT,
    CONSTRAINT uq_predictions_student_id_feature_date_model_version UNIQUE (tenant_id, student_id, feature_date, model_version),
    CONSTRAINT uq_predictions_id UNIQUE (tenant_id, id)
)

--;

CREATE INDEX ix_predictions_feature_date_risk_category ON predictions (tenant_id, feature_date, risk_category)

--;

CREATE INDEX ix_predictions_model_version ON predictions (tenant_id, model_version)

--;

CREATE TABLE training_feedback (
    id UUID DEFAULT gen_random_uuid() NOT NULL,
    tenant_id VARCHAR(50) NOT NULL,
    prediction_id UUID NOT NULL,
    record_key VARCHAR(110) NOT NULL,
    outcome_date DATE,
    outcome_type VARCHAR(50),
    feedback_type VARCHAR(50),
    educator_notes TEXT,
    delivered_on DATE NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    CONSTRAINT pk_training_feedback PRIMARY KEY (id),
    CONSTRAINT ck_training_feedback_feedback_type_values CHECK (feedback_type IN ('true_positive', 'false_positive', 'true_negative', 'false_negative')),
    CONSTRAINT fk_training_feedback_predictions FOREIGN KEY(tenant_id, prediction_id) REFERENCES predictions (tenant_id, id) ON DELETE RESTRICT,
    CONSTRAINT uq_training_feedback_record_key UNIQUE (tenant_id, record_key)
)

--;

CREATE INDEX ix_training_feedback_prediction_id ON training_feedback (tenant_id, prediction_id)

--;

CREATE TABLE ingested_files (
    id UUID DEFAULT gen_random_uuid() NOT NULL,
    tenant_id VARCHAR(50) NOT NULL,
    table_name VARCHAR(50) NOT NULL,
    delivered_on DATE NOT NULL,
    file_name VARCHAR(255) NOT NULL,
    sha256 VARCHAR(64) NOT NULL,
    size_bytes BIGINT NOT NULL,
    status VARCHAR(20) NOT NULL,
    reason VARCHAR(50),
    detail TEXT,
    unknown_columns JSONB DEFAULT '[]',
    rows_read BIGINT DEFAULT 0 NOT NULL,
    rows_inserted BIGINT DEFAULT 0 NOT NULL,
    rows_updated BIGINT DEFAULT 0 NOT NULL,
    rows_unchanged BIGINT DEFAULT 0 NOT NULL,
    rows_quarantined BIGINT DEFAULT 0 NOT NULL,
    archived_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    loaded_at TIMESTAMP WITH TIME ZONE,
    run_id VARCHAR(50),
    CONSTRAINT pk_ingested_files PRIMARY KEY (id),
    CONSTRAINT ck_ingested_files_size_bytes_range CHECK (size_bytes >= 0),
    CONSTRAINT ck_ingested_files_status_values CHECK (status IN ('archived', 'loaded', 'refused', 'superseded', 'withdrawn')),
    CONSTRAINT ck_ingested_files_rows_read_range CHECK (rows_read >= 0),
    CONSTRAINT ck_ingested_files_rows_inserted_range CHECK (rows_inserted >= 0),
    CONSTRAINT ck_ingested_files_rows_updated_range CHECK (rows_updated >= 0),
    CONSTRAINT ck_ingested_files_rows_unchanged_range CHECK (rows_unchanged >= 0),
    CONSTRAINT ck_ingested_files_rows_quarantined_range CHECK (rows_quarantined >= 0),
    CONSTRAINT uq_ingested_files_table_name_delivered_on_file_name_sha256 UNIQUE (tenant_id, table_name, delivered_on, file_name, sha256)
)

--;

CREATE INDEX ix_ingested_files_sha256 ON ingested_files (tenant_id, sha256)

--;

CREATE TABLE quarantined_records (
    id UUID DEFAULT gen_random_uuid() NOT NULL,
    tenant_id VARCHAR(50) NOT NULL,
    table_name VARCHAR(50) NOT NULL,
    file_hash VARCHAR(64) NOT NULL,
    file_name VARCHAR(255) NOT NULL,
    delivered_on DATE NOT NULL,
    line_number BIGINT NOT NULL,
    raw JSON NOT NULL,
    reasons JSONB NOT NULL,
    quarantined_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    run_id VARCHAR(50),
    replayed_at TIMESTAMP WITH TIME ZONE,
    superseded_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_quarantined_records PRIMARY KEY (id),
    CONSTRAINT ck_quarantined_records_line_number_range CHECK (line_number >= 1),
    CONSTRAINT uq_quarantined_records_table_name_file_hash_line_number UNIQUE (tenant_id, table_name, file_hash, line_number)
)

--;

CREATE INDEX ix_quarantined_records_table_name_delivered_on ON quarantined_records (tenant_id, table_name, delivered_on)

--;

CREATE TABLE weekly_activity (
    tenant_id VARCHAR(50) NOT NULL,
    student_id UUID NOT NULL,
    week_start DATE NOT NULL,
    sessions_present INTEGER DEFAULT 0 NOT NULL,
    sessions_absent INTEGER DEFAULT 0 NOT NULL,
    sessions_tardy INTEGER DEFAULT 0 NOT NULL,
    sessions_excused INTEGER DEFAULT 0 NOT NULL,
    unexcused_absences INTEGER DEFAULT 0 NOT NULL,
    grade_count INTEGER DEFAULT 0 NOT NULL,
    grade_mean DOUBLE PRECISION,
    grade_lowest DOUBLE PRECISION,
    incident_count INTEGER DEFAULT 0 NOT NULL,
    severity_highest INTEGER,
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
)

--;

CREATE INDEX ix_weekly_activity_week_start ON weekly_activity (tenant_id, week_start)

--;

CREATE TABLE weekly_course_grades (
    tenant_id VARCHAR(50) NOT NULL,
    student_id UUID NOT NULL,
    week_start DATE NOT NULL,
    course_id VARCHAR(50) NOT NULL,
    grade_count INTEGER NOT NULL,
    grade_mean DOUBLE PRECISION NOT NULL,
    grade_lowest DOUBLE PRECISION NOT NULL,
    CONSTRAINT pk_weekly_course_grades PRIMARY KEY (student_id, week_start, course_id),
    CONSTRAINT ck_weekly_course_grades_grade_count_range CHECK (grade_count >= 1),
    CONSTRAINT ck_weekly_course_grades_grade_mean_range CHECK (grade_mean >= 0 AND grade_mean <= 100),
    CONSTRAINT ck_weekly_course_grades_grade_lowest_range CHECK (grade_lowest >= 0 AND grade_lowest <= 100),
    CONSTRAINT fk_weekly_course_grades_students FOREIGN KEY(tenant_id, student_id) REFERENCES students (tenant_id, id) ON DELETE RESTRICT
)

--;

CREATE INDEX ix_weekly_course_grades_week_start ON weekly_course_grades (tenant_id, week_start)

--;

CREATE TABLE pending_updates (
    id UUID DEFAULT gen_random_uuid() NOT NULL,
    tenant_id VARCHAR(50) NOT NULL,
    stage VARCHAR(20) NOT NULL,
    student_id UUID,
    week_start DATE NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    CONSTRAINT pk_pending_updates PRIMARY KEY (id),
    CONSTRAINT ck_pending_updates_stage_values CHECK (stage IN ('weekly_activity', 'student_features')),
    CONSTRAINT fk_pending_updates_students FOREIGN KEY(tenant_id, student_id) REFERENCES students (tenant_id, id) ON DELETE RESTRICT
)

--;

CREATE INDEX ix_pending_updates_stage ON pending_updates (tenant_id, stage)

--;

CREATE INDEX ix_pending_updates_student_id ON pending_updates (tenant_id, student_id)