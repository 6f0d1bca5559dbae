ALTER TABLE predictions ALTER COLUMN risk_score DROP NOT NULL

--;

ALTER TABLE predictions ALTER COLUMN confidence DROP NOT NULL

--;

ALTER TABLE predictions ADD COLUMN rule_score DOUBLE PRECISION

--;

ALTER TABLE predictions ADD CONSTRAINT ck_predictions_rule_score_range CHECK (rule_score >= 0)

--;

ALTER TABLE predictions ADD CONSTRAINT ck_predictions_probability CHECK ((risk_score IS NULL) = (confidence IS NULL))

--;

ALTER TABLE predictions ADD CONSTRAINT ck_predictions_order CHECK (risk_score IS NOT NULL OR rule_score IS NOT NULL)
