-- Who is at high or critical risk by the latest prediction of each student?
-- One row a student, highest score first. Runs unchanged on PostgreSQL and SQLite.
-- Latest: by as-of date, then moment, then id, so that a re-run on the same day does not leave it to chance.
WITH latest AS (
    SELECT p.*,
           ROW_NUMBER() OVER (
               PARTITION BY p.tenant_id, p.student_id
               ORDER BY p.feature_date DESC, p.prediction_date DESC, p.id DESC
           ) AS newest
    FROM predictions p
)
SELECT s.tenant_id, s.district_id, s.first_name, s.last_name, s.grade_level,
       l.risk_score, l.rule_score, l.risk_category, l.feature_date, l.prediction_date
FROM students s
JOIN latest l ON l.tenant_id = s.tenant_id AND l.student_id = s.id AND l.newest = 1
WHERE l.risk_category IN ('high', 'critical') AND s.deleted_on IS NULL
ORDER BY s.tenant_id,
         CASE l.risk_category WHEN 'critical' THEN 0 WHEN 'high' THEN 1 WHEN 'medium' THEN 2 ELSE 3 END,
         l.risk_score DESC NULLS LAST, l.rule_score DESC NULLS LAST, s.district_id;
