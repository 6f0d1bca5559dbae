ALTER TABLE training_feedback ADD COLUMN reviewer VARCHAR(100)

--;

CREATE TABLE model_evaluations (
    tenant_id VARCHAR(50) NOT NULL,
    model_version VARCHAR(50) NOT NULL,
    candidate VARCHAR(50) NOT NULL,
    scope VARCHAR(20) NOT NULL,
    as_of_date DATE NOT NULL,
    metric VARCHAR(50) NOT NULL,
    parameter VARCHAR(100) NOT NULL,
    subgroup VARCHAR(100) NOT NULL,
    value DOUBLE PRECISION,
    samples BIGINT,
    evaluated_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    CONSTRAINT pk_model_evaluations PRIMARY KEY (tenant_id, model_version, candidate, scope, as_of_date, metric, parameter, subgroup),
    CONSTRAINT ck_model_evaluations_scope_values CHECK (scope IN ('validation', 'week', 'unseen_students', 'matured', 'health')),
    CONSTRAINT ck_model_evaluations_samples_range CHECK (samples >= 0),
    CONSTRAINT fk_model_evaluations_model_metadata FOREIGN KEY(tenant_id, model_version) REFERENCES model_metadata (tenant_id, model_version) ON DELETE RESTRICT
)

--;

CREATE TABLE promotion_decisions (
    id UUID DEFAULT gen_random_uuid() NOT NULL,
    tenant_id VARCHAR(50) NOT NULL,
    model_version VARCHAR(50) NOT NULL,
    kind VARCHAR(20) NOT NULL,
    promoted BOOLEAN NOT NULL,
    previous_version VARCHAR(50),
    reason TEXT NOT NULL,
    numbers JSONB DEFAULT '{}' NOT NULL,
    decided_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    run_id VARCHAR(50),
    CONSTRAINT pk_promotion_decisions PRIMARY KEY (id),
    CONSTRAINT ck_promotion_decisions_kind_values CHECK (kind IN ('gate', 'promote', 'rollback', 'sync')),
    CONSTRAINT fk_promotion_decisions_model_metadata FOREIGN KEY(tenant_id, model_version) REFERENCES model_metadata (tenant_id, model_version) ON DELETE RESTRICT
)

--;

CREATE INDEX ix_promotion_decisions_decided_at ON promotion_decisions (tenant_id, decided_at)

--;

CREATE TABLE review_proposals (
    id UUID DEFAULT gen_random_uuid() NOT NULL,
    tenant_id VARCHAR(50) NOT NULL,
    prediction_id UUID NOT NULL,
    feature_date DATE NOT NULL,
    drawn_from INTEGER NOT NULL,
    proposed_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    CONSTRAINT pk_review_proposals PRIMARY KEY (id),
    CONSTRAINT ck_review_proposals_drawn_from_range CHECK (drawn_from >= 1),
    CONSTRAINT fk_review_proposals_predictions FOREIGN KEY(tenant_id, prediction_id) REFERENCES predictions (tenant_id, id) ON DELETE RESTRICT,
    CONSTRAINT uq_review_proposals_prediction_id UNIQUE (tenant_id, prediction_id)
)

--;

CREATE INDEX ix_review_proposals_feature_date ON review_proposals (tenant_id, feature_date)