ALTER TABLE training_feedback ADD COLUMN reviewer VARCHAR(100)

--;

DROP TRIGGER tr_training_feedback_updated_at ON training_feedback

--;

CREATE TRIGGER tr_training_feedback_updated_at BEFORE UPDATE OF prediction_id, record_key, outcome_date, outcome_type, feedback_type, educator_notes, deleted_on, reviewer
ON training_feedback FOR EACH ROW EXECUTE FUNCTION edupulse_touch_updated_at()

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

COMMENT ON TABLE model_evaluations IS 'Every measured figure of every model in long form: one row a model, as-of week, metric and subgroup.'

--;

COMMENT ON COLUMN model_evaluations.tenant_id IS 'The school district that owns the row.'

--;

COMMENT ON COLUMN model_evaluations.model_version IS 'The model version it belongs to.'

--;

COMMENT ON COLUMN model_evaluations.candidate IS 'Whose scores: `logistic`, `additive`, `boosting`, `rule`, or `champion` (the one at that time).'

--;

COMMENT ON COLUMN model_evaluations.scope IS '`validation`: all held-out weeks together; `week`: one of them; `unseen_students`: held-out weeks and held-out students; `matured`: scores as they were given, once their outcomes are known; `health`: drift.'

--;

COMMENT ON COLUMN model_evaluations.as_of_date IS 'Sunday of the as-of week; of several weeks, of the last one.'

--;

COMMENT ON COLUMN model_evaluations.metric IS 'Name of the metric, as in `risk.evaluation`.'

--;

COMMENT ON COLUMN model_evaluations.parameter IS 'What the metric is taken at, such as `k10` or a feature; empty where there is none.'

--;

COMMENT ON COLUMN model_evaluations.subgroup IS '`attribute=value`; empty for everybody in the cohort.'

--;

COMMENT ON COLUMN model_evaluations.value IS 'NULL: not defined, or a subgroup too small to show.'

--;

COMMENT ON COLUMN model_evaluations.samples IS 'Student-weeks it was measured on; NULL for a subgroup too small to show.'

--;

COMMENT ON COLUMN model_evaluations.evaluated_at IS 'When it was measured.'

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

COMMENT ON TABLE promotion_decisions IS 'Who became champion, who did not, and why: every decision of the gate and of people, with its numbers.'

--;

COMMENT ON COLUMN promotion_decisions.id IS 'System-generated, time-ordered identifier.'

--;

COMMENT ON COLUMN promotion_decisions.tenant_id IS 'The school district that owns the row.'

--;

COMMENT ON COLUMN promotion_decisions.model_version IS 'The model that was decided about.'

--;

COMMENT ON COLUMN promotion_decisions.kind IS '`gate`: by the rules; `promote`, `rollback`, `sync`: by a person''s command.'

--;

COMMENT ON COLUMN promotion_decisions.promoted IS 'Whether the model passed.'

--;

COMMENT ON COLUMN promotion_decisions.previous_version IS 'The champion before; NULL when there was none.'

--;

COMMENT ON COLUMN promotion_decisions.reason IS 'The decision in words.'

--;

COMMENT ON COLUMN promotion_decisions.numbers IS 'Every figure that it rests on.'

--;

COMMENT ON COLUMN promotion_decisions.decided_at IS 'When it was decided.'

--;

COMMENT ON COLUMN promotion_decisions.run_id IS 'The run that decided.'

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

--;

COMMENT ON TABLE review_proposals IS 'Unflagged students drawn at random each week for an educator''s review, so that misses can be counted.'

--;

COMMENT ON COLUMN review_proposals.id IS 'System-generated, time-ordered identifier.'

--;

COMMENT ON COLUMN review_proposals.tenant_id IS 'The school district that owns the row.'

--;

COMMENT ON COLUMN review_proposals.prediction_id IS 'The prediction to judge; names student, week and model.'

--;

COMMENT ON COLUMN review_proposals.feature_date IS 'As-of date of the week it was drawn for.'

--;

COMMENT ON COLUMN review_proposals.drawn_from IS 'Unflagged students of the week it was drawn from; with the number drawn, the sampling fraction.'

--;

COMMENT ON COLUMN review_proposals.proposed_at IS 'When it was drawn.'

--;

COMMENT ON COLUMN training_feedback.reviewer IS 'Who judged; a name, a role or a number, as the district likes.'