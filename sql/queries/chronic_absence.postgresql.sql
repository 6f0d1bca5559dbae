-- Who is chronically absent in this school year so far, by the rule of an authority?
-- One row a student with days: how many enrolled, of absence (excused or not) and missed, and whether the rule is met.
-- For PostgreSQL; the SQLite text beside it returns the same rows.
-- The rules are those of edupulse_pipelines/settings/absence_rules.py, which says whose they are; a test holds both
-- together. Name the tenant's rule in `chosen`. chronically_absent is 1, 0, or NULL where the rule says nothing: too few
-- days enrolled, or a week whose days are not computed yet. Excused days count; the unexcused share leaves them out.
-- Days enrolled are those within an enrolment: before an entry, after an exit and in a gap there are none.
-- A school year begins after more than five weeks without a row of weekly activity.
WITH chosen AS (
    SELECT 'federal' AS name
),
rules (name, percent, days, at_least, minimum_days, by_time) AS (
    VALUES
        ('federal', 10, NULL, 1, 10, 0),
        ('federal_2013', NULL, 15, 1, 1, 0),
        ('california', 10, NULL, 1, 31, 0),
        ('connecticut', 10, NULL, 1, 1, 0),
        ('florida', NULL, 21, 1, 1, 0),
        ('hawaii', NULL, 15, 1, 1, 0),
        ('ohio', 10, NULL, 1, 1, 1),
        ('pennsylvania', 10, NULL, 0, 90, 0)
),
weeks AS (
    SELECT tenant_id, week_start, LAG(week_start) OVER (PARTITION BY tenant_id ORDER BY week_start) AS week_before
    FROM (SELECT DISTINCT tenant_id, week_start FROM weekly_activity) AS each_week
),
years AS (
    SELECT tenant_id, MAX(week_start) AS first_week
    FROM weeks
    WHERE week_before IS NULL OR week_start - week_before > 35
    GROUP BY tenant_id
),
so_far AS (
    SELECT a.tenant_id, a.student_id,
           SUM(a.days_enrolled) AS days_enrolled,
           SUM(a.days_absent + a.days_excused) AS days_absent,
           SUM(a.days_excused) AS days_excused,
           ROUND(CAST(SUM(a.days_missed) AS numeric), 6) AS days_missed,
           SUM(CASE WHEN a.days_basis IS NULL THEN 1 ELSE 0 END) AS weeks_not_computed
    FROM weekly_activity a
    JOIN years y ON y.tenant_id = a.tenant_id AND a.week_start >= y.first_week
    GROUP BY a.tenant_id, a.student_id
),
measured AS (
    SELECT d.*, r.name AS rule, r.at_least, r.minimum_days,
           CASE WHEN r.by_time = 1 THEN d.days_missed ELSE d.days_absent END AS counted,
           CASE WHEN r.days IS NULL THEN r.percent * d.days_enrolled / 100.0 ELSE r.days END AS limit_of_days
    FROM so_far d
    JOIN chosen c ON 1 = 1
    JOIN rules r ON r.name = c.name
    WHERE d.days_enrolled > 0 OR d.weeks_not_computed > 0
)
SELECT m.tenant_id, m.rule, s.grade_level, s.district_id, m.days_enrolled, m.days_absent, m.days_excused, m.days_missed,
       ROUND(CAST(m.days_absent AS numeric) / NULLIF(m.days_enrolled, 0), 3) AS absent_share,
       ROUND(CAST(m.days_absent - m.days_excused AS numeric) / NULLIF(m.days_enrolled, 0), 3) AS unexcused_share,
       CASE WHEN m.weeks_not_computed > 0 OR m.days_enrolled < m.minimum_days THEN NULL
            WHEN m.at_least = 1 AND m.counted >= m.limit_of_days - 0.000001 THEN 1
            WHEN m.at_least = 0 AND m.counted > m.limit_of_days + 0.000001 THEN 1
            ELSE 0 END AS chronically_absent
FROM measured m
JOIN students s ON s.tenant_id = m.tenant_id AND s.id = m.student_id
WHERE s.deleted_on IS NULL
ORDER BY m.tenant_id, s.grade_level NULLS LAST, s.district_id;
