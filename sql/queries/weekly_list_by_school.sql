-- This week's list: for each school, the students of the newest scored week at medium risk or above, highest risk first.
-- One row a student, with the factor that raises the risk most (where none does, the one that weighs most) and what to do
-- about it. Runs unchanged on PostgreSQL and SQLite (3.38 or newer). `edupulse list` prints the same students.
-- A student's school is the one of the enrolment that holds at the week's end: the main one, then one of which nobody
-- says whether it is, then the one entered last. Only enrolments that are sent name a school; without one the school is
-- NULL, and such students come last. Of several predictions for a student and week (a newer model, a rescored week) the
-- latest counts. A student who has turned out to have left by then, or whose record was deleted, is not on the list:
-- whoever was enrolled at the end of a school week has a feature vector of it, and nobody else.
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
),
listed AS (
    SELECT t.*,
           CASE 'raises'
               WHEN t.risk_factors -> 0 ->> 'direction' THEN t.risk_factors -> 0
               WHEN t.risk_factors -> 1 ->> 'direction' THEN t.risk_factors -> 1
               WHEN t.risk_factors -> 2 ->> 'direction' THEN t.risk_factors -> 2
               WHEN t.risk_factors -> 3 ->> 'direction' THEN t.risk_factors -> 3
               WHEN t.risk_factors -> 4 ->> 'direction' THEN t.risk_factors -> 4
               WHEN t.risk_factors -> 5 ->> 'direction' THEN t.risk_factors -> 5
               ELSE t.risk_factors -> 0
           END AS factor,
           (
               SELECT e.school_id
               FROM enrollments e
               WHERE e.student_id = t.student_id AND e.deleted_on IS NULL AND e.school_id IS NOT NULL
                 AND e.entry_date <= t.feature_date AND (e.exit_date IS NULL OR e.exit_date > t.feature_date)
               ORDER BY CASE WHEN e.is_primary THEN 0 WHEN e.is_primary IS NULL THEN 1 ELSE 2 END,
                        e.entry_date DESC, e.school_id
               LIMIT 1
           ) AS school_id
    FROM this_week t
    WHERE t.newest = 1 AND t.risk_category IN ('medium', 'high', 'critical')
)
SELECT s.tenant_id, l.school_id, c.name AS school_name, s.grade_level, s.district_id, s.first_name, s.last_name,
       l.feature_date, l.risk_category, l.risk_score, l.confidence, l.rule_score,
       l.factor ->> 'description' AS main_reason, l.factor ->> 'recommendation' AS recommendation
FROM listed l
JOIN students s ON s.tenant_id = l.tenant_id AND s.id = l.student_id
LEFT JOIN schools c ON c.tenant_id = l.tenant_id AND c.school_id = l.school_id AND c.deleted_on IS NULL
WHERE s.deleted_on IS NULL
  AND EXISTS (
      SELECT 1 FROM student_features f WHERE f.student_id = l.student_id AND f.feature_date = l.feature_date
  )
ORDER BY s.tenant_id, l.school_id IS NULL, COALESCE(c.name, l.school_id), l.school_id,
         CASE l.risk_category WHEN 'critical' THEN 0 WHEN 'high' THEN 1 WHEN 'medium' THEN 2 ELSE 3 END,
         l.risk_score DESC NULLS LAST, l.rule_score DESC NULLS LAST, s.district_id;
