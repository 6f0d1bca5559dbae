-- How right was each model, by the educators' latest verdict on each of its predictions?
-- One row a model version with verdicts. Runs unchanged on PostgreSQL and SQLite; `risk.feedback` defines and computes
-- the same figures, with intervals.
-- flagged: category high or critical. right and wrong: it happened, or not, whatever verdict word was used. prevented:
-- the student was helped and it did not happen, which is neither (outcome types in the list below: the setting
-- feedback.prevented; change it in both places). missed: unflagged, and it happened.
-- reviews are of unflagged students drawn at random, so missed_share_of_unflagged holds for everybody unflagged: each
-- stands for drawn_from / drawn students. missed alone does not, because educators judge whom they know about.
WITH verdicts AS (
    SELECT tf.tenant_id, tf.prediction_id, tf.feedback_type,
           CASE WHEN tf.feedback_type = 'false_positive'
                 AND LOWER(TRIM(tf.outcome_type)) IN ('prevented', 'helped', 'intervention_succeeded')
                THEN 1 ELSE 0 END AS prevented,
           CASE WHEN tf.feedback_type IN ('true_positive', 'false_negative') THEN 1 ELSE 0 END AS happened,
           ROW_NUMBER() OVER (
               PARTITION BY tf.tenant_id, tf.prediction_id
               ORDER BY COALESCE(tf.outcome_date, tf.delivered_on) DESC, tf.delivered_on DESC, tf.id DESC
           ) AS newest
    FROM training_feedback tf
    WHERE tf.feedback_type IS NOT NULL AND tf.deleted_on IS NULL
),
drawn AS (
    SELECT rp.tenant_id, rp.prediction_id, 1.0 * rp.drawn_from / COUNT(*) OVER (
               PARTITION BY rp.tenant_id, p.feature_date, p.model_version
           ) AS stands_for
    FROM review_proposals rp
    JOIN predictions p ON p.tenant_id = rp.tenant_id AND p.id = rp.prediction_id
),
judged AS (
    SELECT p.tenant_id, p.model_version, v.happened, v.prevented,
           CASE WHEN p.risk_category IN ('high', 'critical') THEN 1 ELSE 0 END AS flagged,
           CASE WHEN v.prevented = 0 AND p.risk_category NOT IN ('high', 'critical') THEN d.stands_for END AS stands_for
    FROM predictions p
    JOIN verdicts v ON v.tenant_id = p.tenant_id AND v.prediction_id = p.id AND v.newest = 1
    LEFT JOIN drawn d ON d.tenant_id = p.tenant_id AND d.prediction_id = p.id
)
SELECT tenant_id,
       model_version,
       COUNT(*) AS verdicts,
       SUM(flagged * happened) AS flagged_right,
       SUM(flagged * (1 - happened) * (1 - prevented)) AS flagged_wrong,
       SUM(prevented) AS prevented,
       SUM((1 - flagged) * happened) AS missed,
       SUM((1 - flagged) * (1 - happened) * (1 - prevented)) AS unflagged_right,
       ROUND(1.0 * SUM(flagged * happened) / NULLIF(SUM(flagged * (1 - prevented)), 0), 3) AS precision_of_flagged,
       ROUND(1.0 * SUM(flagged * prevented) / NULLIF(SUM(flagged), 0), 3) AS prevented_share_of_flagged,
       COUNT(stands_for) AS reviews,
       SUM(CASE WHEN stands_for IS NOT NULL THEN happened ELSE 0 END) AS reviews_missed,
       ROUND(SUM(stands_for * happened) / NULLIF(SUM(stands_for), 0), 3) AS missed_share_of_unflagged
FROM judged
GROUP BY tenant_id, model_version
ORDER BY tenant_id, model_version;
