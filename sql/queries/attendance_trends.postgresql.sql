-- How did attendance go over the last eight weeks, by grade level and school week?
-- attended = present or tardy; excused absences are not attended and are counted apart. For PostgreSQL; the SQLite
-- text beside it returns the same rows. A week is named by its Monday.
SELECT s.tenant_id,
       s.grade_level,
       CAST(DATE_TRUNC('week', ar.date) AS date) AS week,
       COUNT(*) AS total_records,
       COUNT(CASE WHEN ar.status IN ('present', 'tardy') THEN 1 END) AS attended_count,
       COUNT(CASE WHEN ar.status = 'excused' THEN 1 END) AS excused_count,
       ROUND(
           CAST(COUNT(CASE WHEN ar.status IN ('present', 'tardy') THEN 1 END) AS numeric) / COUNT(*), 3
       ) AS attendance_rate
FROM students s
JOIN attendance_records ar ON ar.tenant_id = s.tenant_id AND ar.student_id = s.id
WHERE ar.date >= CURRENT_DATE - INTERVAL '56 days'
GROUP BY s.tenant_id, s.grade_level, DATE_TRUNC('week', ar.date)
ORDER BY s.tenant_id, week, s.grade_level NULLS LAST;
