-- How did attendance go over the last eight weeks, by grade level and school week?
-- attended = present or tardy; excused absences are not attended and are counted apart. For PostgreSQL; the SQLite
-- text beside it returns the same rows. A week is named by its Monday.
-- Read from weekly activity, which also counts the sessions that a district sending only absences leaves unsaid. Where
-- their number is not known (sessions_basis) they are no part of the rate, and the rate is NULL when nothing else is.
WITH weekly AS (
    SELECT tenant_id, student_id, week_start,
           sessions_present + sessions_tardy AS attended,
           sessions_excused AS excused,
           sessions_present + sessions_tardy + sessions_absent + sessions_excused AS sessions,
           CASE WHEN sessions_basis = 'unknown' THEN 0 ELSE 1 END AS known
    FROM weekly_activity
    WHERE week_start >= CURRENT_DATE - INTERVAL '56 days'
)
SELECT s.tenant_id,
       s.grade_level,
       w.week_start AS week,
       SUM(w.sessions) AS total_records,
       SUM(w.attended) AS attended_count,
       SUM(w.excused) AS excused_count,
       ROUND(CAST(SUM(w.attended * w.known) AS numeric) / NULLIF(SUM(w.sessions * w.known), 0), 3) AS attendance_rate
FROM students s
JOIN weekly w ON w.tenant_id = s.tenant_id AND w.student_id = s.id
WHERE w.sessions > 0 AND s.deleted_on IS NULL
GROUP BY s.tenant_id, s.grade_level, w.week_start
ORDER BY s.tenant_id, week, s.grade_level NULLS LAST;
