-- What have educators said about each model's predictions in the last 30 days?
-- One row a model version and verdict. For PostgreSQL (ROUND wants numeric); the SQLite text beside it returns the
-- same rows.
SELECT mm.tenant_id,
       mm.model_version,
       tf.feedback_type,
       COUNT(*) AS feedback_count,
       ROUND(CAST(AVG(p.risk_score) AS numeric), 3) AS avg_predicted_risk,
       ROUND(CAST(AVG(p.confidence) AS numeric), 3) AS avg_confidence
FROM predictions p
JOIN training_feedback tf ON tf.tenant_id = p.tenant_id AND tf.prediction_id = p.id
JOIN model_metadata mm ON mm.tenant_id = p.tenant_id AND mm.model_version = p.model_version
WHERE tf.created_at >= CURRENT_DATE - INTERVAL '30 days' AND tf.deleted_on IS NULL
GROUP BY mm.tenant_id, mm.model_version, tf.feedback_type
ORDER BY mm.tenant_id, mm.model_version, tf.feedback_type;
