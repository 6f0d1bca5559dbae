ALTER TABLE predictions RENAME TO predictions_before

--;

ALTER TABLE training_feedback RENAME TO training_feedback_before

--;

ALTER TABLE review_proposals RENAME TO review_proposals_before

--;

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
)

--;

INSERT INTO predictions
    (id, tenant_id, student_id, feature_date, prediction_date, risk_score, risk_category, confidence, risk_factors, model_version, rescored, created_at, updated_at, change_id)
SELECT id, tenant_id, student_id, feature_date, prediction_date, risk_score, risk_category, confidence, risk_factors, model_version, rescored, created_at, updated_at, change_id
FROM predictions_before
ORDER BY rowid

--;

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
)

--;

INSERT INTO training_feedback
    (id, tenant_id, prediction_id, record_key, outcome_date, outcome_type, feedback_type, educator_notes, delivered_on, created_at, updated_at, deleted_on, reviewer, change_id)
SELECT id, tenant_id, prediction_id, record_key, outcome_date, outcome_type, feedback_type, educator_notes, delivered_on, created_at, updated_at, deleted_on, reviewer, change_id
FROM training_feedback_before
ORDER BY rowid

--;

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
)

--;

INSERT INTO review_proposals
    (id, tenant_id, prediction_id, feature_date, drawn_from, proposed_at, change_id)
SELECT id, tenant_id, prediction_id, feature_date, drawn_from, proposed_at, change_id
FROM review_proposals_before
ORDER BY rowid

--;

DROP TABLE review_proposals_before

--;

DROP TABLE training_feedback_before

--;

DROP TABLE predictions_before

--;

CREATE INDEX ix_predictions_feature_date_risk_category ON predictions (tenant_id, feature_date, risk_category)

--;

CREATE INDEX ix_predictions_model_version ON predictions (tenant_id, model_version)

--;

CREATE INDEX ix_predictions_change_id ON predictions (change_id)

--;

CREATE INDEX ix_training_feedback_prediction_id ON training_feedback (tenant_id, prediction_id)

--;

CREATE INDEX ix_training_feedback_change_id ON training_feedback (change_id)

--;

CREATE INDEX ix_review_proposals_feature_date ON review_proposals (tenant_id, feature_date)

--;

CREATE INDEX ix_review_proposals_change_id ON review_proposals (change_id)
