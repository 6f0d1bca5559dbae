-- What have educators said about each model's predictions in the last 30 days?
-- One row a model version and verdict. For PostgreSQL (ROUND wants numeric); the SQLite text beside it returns the
-- same rows.
-- Of several verdicts on one prediction only the latest counts: by outcome date (else the delivery's), delivery and id.
-- prevented_count: those of the row where the student was flagged and helped, and it did not happen: no error of the
-- model. They are the outcome types in the list below (the setting feedback.prevented; change it in both places).
WITH verdicts AS (
    SELECT tf.tenant_id, tf.prediction_id, tf.feedback_type, tf.created_at,
           CASE WHEN tf.feedback_type = 'false_positive'
                 AND LOWER(TRIM(tf.outcome_type)) IN ('prevented', 'helped', 'intervention_succeeded')
                THEN 1 ELSE 0 END AS prevented,
           ROW_NUMBER() OVER (
               PARTITION BY tf.tenant_id, tf.prediction_id
               ORDER BY COALESCE(tf.outcome_date, tf.delivered_on) DESC, tf.delivered_on DESC, tf.id DESC
           ) AS newest
    FROM training_feedback tf
    WHERE tf.feedback_type IS NOT NULL AND tf.deleted_on IS NULL
)
SELECT mm.tenant_id,
       mm.model_version,
       v.feedback_type,
       COUNT(*) AS feedback_count,
       ROUND(CAST(AVG(p.risk_score) AS numeric), 3) AS avg_predicted_risk,
       ROUND(CAST(AVG(p.confidence) AS numeric), 3) AS avg_confidence,
       SUM(v.prevented) AS prevented_count
FROM predictions p
JOIN verdicts v ON v.tenant_id = p.tenant_id AND v.prediction_id = p.id AND v.newest = 1
JOIN model_metadata mm ON mm.tenant_id = p.tenant_id AND mm.model_version = p.model_version
WHERE v.created_at >= CURRENT_DATE - INTERVAL '30 days'
GROUP BY mm.tenant_id, mm.model_version, v.feedback_type
ORDER BY mm.tenant_id, mm.model_version, v.feedback_type;
