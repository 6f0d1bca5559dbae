-- This week's list: for each grade level, the students of the newest scored week at medium risk or above.
-- One row a student with the factor that weighs most. Runs unchanged on PostgreSQL and SQLite (3.38 or newer).
-- Of several predictions for a student and week (a newer model, a rescored week) the latest counts. A student who has
-- turned out to have left by then, or whose record was deleted, is not on the list: whoever was enrolled at the end of a
-- school week has a feature vector of it, and nobody else.
WITH newest_week AS (
    SELECT tenant_id, MAX(feature_date) AS feature_date
    FROM predictions
    GROUP BY tenant_id
),
this_week AS (
    SELECT p.*,
           ROW_NUMBER() OVER (
               PARTITION BY p.tenant_id, p.student_id
               ORDER BY p.prediction_date DESC, p.id DESC
           ) AS newest
    FROM predictions p
    JOIN newest_week w ON w.tenant_id = p.tenant_id AND w.feature_date = p.feature_date
)
SELECT s.tenant_id, s.grade_level, s.district_id, s.first_name, s.last_name,
       t.feature_date, t.risk_category, t.risk_score, t.confidence, t.rule_score,
       t.risk_factors -> 0 ->> 'description' AS main_factor
FROM this_week t
JOIN students s ON s.tenant_id = t.tenant_id AND s.id = t.student_id
WHERE t.newest = 1 AND t.risk_category IN ('medium', 'high', 'critical')
  AND s.deleted_on IS NULL
  AND EXISTS (
      SELECT 1 FROM student_features f WHERE f.student_id = t.student_id AND f.feature_date = t.feature_date
  )
ORDER BY s.tenant_id, s.grade_level NULLS LAST,
         CASE t.risk_category WHEN 'critical' THEN 0 WHEN 'high' THEN 1 WHEN 'medium' THEN 2 ELSE 3 END,
         t.risk_score DESC NULLS LAST, t.rule_score DESC NULLS LAST, s.district_id;
