-- Who is chronically absent at each school in this school year so far, by the rule of an authority?
-- One row a school and student: the days at that school, and beside them the student's own days over all schools, of
-- which a day at two schools is one.
-- For SQLite; the PostgreSQL text beside it returns the same rows.
-- A day at a school is one whose attendance names the school; where it names none, the school is that of the enrolment
-- of the day: the main one, then one of which nobody says whether it is, then the one entered last. Where only absences
-- are recorded a day of instruction is a day at each school that the student is enrolled at; but where a record of the
-- day names no school, at the school it is taken for alone: nobody has said that the student came to another one. Only
-- days within an enrolment count. school_id is NULL where nobody says at which school the student was.
-- The rules are those of edupulse_pipelines/settings/absence_rules.py, as in chronic_absence.*.sql; a test holds this
-- query and `features.days_by_school` together. Name the tenant's rule and its day rule (half, more_than_half, any, all
-- or minutes) in `chosen`. chronically_absent is 1, 0, or NULL where the rule says nothing: too few days.
WITH chosen AS (
    SELECT 'federal' AS name, 'half' AS absent_day
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
digits (number) AS (
    VALUES (1), (2), (3), (4), (5), (6), (7)
),
weeks AS (
    SELECT tenant_id, week_start, LAG(week_start) OVER (PARTITION BY tenant_id ORDER BY week_start) AS week_before
    FROM (SELECT DISTINCT tenant_id, week_start FROM weekly_activity) AS each_week
),
years AS (
    SELECT tenant_id, MAX(week_start) AS first_week
    FROM weeks
    WHERE week_before IS NULL OR julianday(week_start) - julianday(week_before) > 35
    GROUP BY tenant_id
),
-- Enrolments that have an effect, as features/enrolment.py has it: those that are sent, up to the next at the school;
-- others up to the next one, and an assumed one that was opened before any was sent for the student.
since AS (
    SELECT tenant_id, MIN(first_delivered_on) AS day FROM enrollments WHERE origin = 'sent' GROUP BY tenant_id
),
since_of_student AS (
    SELECT student_id, MIN(first_delivered_on) AS day FROM enrollments WHERE origin = 'sent' GROUP BY student_id
),
standing AS (
    SELECT e.*
    FROM enrollments e
    LEFT JOIN since s ON s.tenant_id = e.tenant_id
    LEFT JOIN since_of_student o ON o.student_id = e.student_id
    WHERE e.deleted_on IS NULL
      AND (e.origin = 'sent' OR s.day IS NULL OR e.first_delivered_on < s.day
           OR (e.origin = 'assumed' AND (o.day IS NULL OR e.first_delivered_on < o.day)))
),
firsts AS (
    SELECT student_id,
           MIN(CASE WHEN origin = 'student' THEN entry_date END) AS said,
           MIN(CASE WHEN origin = 'sent' THEN entry_date END) AS sent
    FROM standing
    GROUP BY student_id
),
enrolled AS (
    SELECT e.tenant_id, e.student_id, e.school_id, e.entry_date, e.exit_date,
           CASE WHEN e.is_primary THEN 0 WHEN e.is_primary IS NULL THEN 1 ELSE 2 END AS preference,
           CASE e.origin
               WHEN 'assumed' THEN f.said
               ELSE LEAD(e.entry_date) OVER (
                        PARTITION BY e.student_id, e.origin, COALESCE(e.school_id, '') ORDER BY e.entry_date
                    )
           END AS next_said,
           CASE WHEN e.origin <> 'sent' THEN f.sent END AS next_sent
    FROM standing e
    JOIN firsts f ON f.student_id = e.student_id
),
recorded AS (
    SELECT r.tenant_id, r.student_id, r.date, r.school_id,
           COUNT(CASE r.status WHEN 'present' THEN 1 END) AS present,
           COUNT(CASE r.status WHEN 'tardy' THEN 1 END) AS tardy,
           COUNT(CASE r.status WHEN 'absent' THEN 1 END) AS absent,
           COUNT(CASE r.status WHEN 'excused' THEN 1 END) AS excused,
           SUM(CASE WHEN r.minutes_absent <= r.minutes_possible THEN r.minutes_absent ELSE 0 END) AS minutes_absent,
           SUM(CASE WHEN r.minutes_absent <= r.minutes_possible THEN r.minutes_possible ELSE 0 END) AS minutes_possible,
           COUNT(CASE WHEN r.minutes_absent <= r.minutes_possible THEN 1 END) AS minutes_sessions
    FROM attendance_records r
    JOIN years y ON y.tenant_id = r.tenant_id AND r.date >= y.first_week
    WHERE r.deleted_on IS NULL
    GROUP BY r.tenant_id, r.student_id, r.date, r.school_id
),
placed AS (
    SELECT r.tenant_id, r.student_id, r.date,
           COALESCE(r.school_id, (
               SELECT e.school_id
               FROM enrolled e
               WHERE e.student_id = r.student_id AND e.school_id IS NOT NULL
                 AND e.entry_date <= r.date AND (e.exit_date IS NULL OR r.date < e.exit_date)
               ORDER BY e.preference, e.entry_date DESC, e.school_id
               LIMIT 1
           )) AS school_id,
           r.present, r.tardy, r.absent, r.excused, r.minutes_absent, r.minutes_possible, r.minutes_sessions,
           0 AS expected
    FROM recorded r
),
taught AS (
    SELECT a.tenant_id, a.student_id, date(a.week_start, '+' || (d.number - 1) || ' days') AS date,
           CAST(substr(a.sessions_basis, instr(a.sessions_basis, ' x ') + 3) AS INTEGER) AS expected
    FROM weekly_activity a
    JOIN years y ON y.tenant_id = a.tenant_id AND a.week_start >= y.first_week
    JOIN digits d ON instr(substr(a.sessions_basis, 1, instr(a.sessions_basis, ' x ')), d.number) > 0
    WHERE a.sessions_basis <> 'unknown'
),
everywhere AS (
    SELECT DISTINCT t.tenant_id, t.student_id, t.date, e.school_id, t.expected
    FROM taught t
    LEFT JOIN enrolled e
           ON e.student_id = t.student_id AND e.school_id IS NOT NULL
          AND e.entry_date <= t.date AND (e.exit_date IS NULL OR t.date < e.exit_date)
),
recorded_days AS (
    SELECT DISTINCT student_id, date FROM recorded WHERE school_id IS NULL
),
recorded_at AS (
    SELECT DISTINCT student_id, date, COALESCE(school_id, '') AS school_id FROM placed
),
taught_at AS (
    SELECT v.tenant_id, v.student_id, v.date, v.school_id, v.expected
    FROM everywhere v
    LEFT JOIN recorded_days d ON d.student_id = v.student_id AND d.date = v.date
    LEFT JOIN recorded_at h
           ON h.student_id = v.student_id AND h.date = v.date AND h.school_id = COALESCE(v.school_id, '')
    WHERE d.student_id IS NULL OR h.student_id IS NOT NULL
),
sessions AS (
    SELECT tenant_id, student_id, date, school_id, SUM(present) AS present, SUM(tardy) AS tardy,
           SUM(absent) AS absent, SUM(excused) AS excused, SUM(minutes_absent) AS minutes_absent,
           SUM(minutes_possible) AS minutes_possible, SUM(minutes_sessions) AS minutes_sessions,
           SUM(expected) AS expected
    FROM (
        SELECT tenant_id, student_id, date, school_id, present, tardy, absent, excused, minutes_absent,
               minutes_possible, minutes_sessions, expected
        FROM placed
        UNION ALL
        SELECT tenant_id, student_id, date, school_id, 0, 0, 0, 0, 0, 0, 0, expected FROM taught_at
    ) AS each_one
    GROUP BY tenant_id, student_id, date, school_id
),
known AS (
    SELECT s.*, s.absent + s.excused AS sessions_missed,
           -- A day's sessions that no record speaks of were attended.
           CASE WHEN s.expected > s.present + s.tardy + s.absent + s.excused THEN s.expected
                ELSE s.present + s.tardy + s.absent + s.excused END AS sessions_possible
    FROM sessions s
    WHERE EXISTS (
        SELECT 1 FROM enrolled e
        WHERE e.student_id = s.student_id
          AND e.entry_date <= s.date AND (e.exit_date IS NULL OR s.date < e.exit_date)
          AND (e.next_said IS NULL OR s.date < e.next_said) AND (e.next_sent IS NULL OR s.date < e.next_sent)
    )
      AND NOT EXISTS (
        SELECT 1 FROM weekly_activity a
        WHERE a.student_id = s.student_id AND a.sessions_basis = 'unknown'
          AND a.week_start <= s.date AND s.date < date(a.week_start, '+' || (7) || ' days')
    )
),
measured_days AS (
    SELECT k.tenant_id, k.student_id, k.school_id, k.absent, k.excused, c.absent_day,
           CASE WHEN c.absent_day = 'minutes' AND k.minutes_sessions = k.sessions_possible AND k.minutes_possible > 0
                THEN k.minutes_absent ELSE k.sessions_missed END AS missed,
           CASE WHEN c.absent_day = 'minutes' AND k.minutes_sessions = k.sessions_possible AND k.minutes_possible > 0
                THEN k.minutes_possible ELSE k.sessions_possible END AS possible
    FROM known k
    JOIN chosen c ON 1 = 1
),
judged_days AS (
    SELECT tenant_id, student_id, school_id, absent, excused,
           CAST(missed AS REAL) / possible AS part_missed,
           CASE absent_day
               WHEN 'more_than_half' THEN 2 * missed > possible
               WHEN 'any' THEN missed > 0
               WHEN 'all' THEN missed >= possible
               ELSE 2 * missed >= possible
           END AS is_away
    FROM measured_days
    WHERE possible > 0
),
at_school AS (
    SELECT tenant_id, student_id, school_id,
           COUNT(*) AS days_enrolled,
           COUNT(CASE WHEN is_away THEN 1 END) AS days_absent,
           COUNT(CASE WHEN is_away AND excused > 0 AND absent = 0 THEN 1 END) AS days_excused,
           ROUND(SUM(part_missed), 6) AS days_missed
    FROM judged_days
    GROUP BY tenant_id, student_id, school_id
),
at_all AS (
    SELECT a.tenant_id, a.student_id, SUM(a.days_enrolled) AS days_enrolled,
           SUM(a.days_absent + a.days_excused) AS days_absent
    FROM weekly_activity a
    JOIN years y ON y.tenant_id = a.tenant_id AND a.week_start >= y.first_week
    GROUP BY a.tenant_id, a.student_id
),
measured AS (
    SELECT d.*, r.name AS rule, r.at_least, r.minimum_days,
           CASE WHEN r.by_time = 1 THEN d.days_missed ELSE d.days_absent END AS counted,
           CASE WHEN r.days IS NULL THEN r.percent * d.days_enrolled / 100.0 ELSE r.days END AS limit_of_days
    FROM at_school d
    JOIN chosen c ON 1 = 1
    JOIN rules r ON r.name = c.name
)
SELECT m.tenant_id, m.rule, m.school_id, o.name AS school_name, s.grade_level, s.district_id,
       m.days_enrolled, m.days_absent, m.days_excused, m.days_missed,
       ROUND(CAST(m.days_absent AS REAL) / m.days_enrolled, 3) AS absent_share,
       ROUND(CAST(m.days_absent - m.days_excused AS REAL) / m.days_enrolled, 3) AS unexcused_share,
       CASE WHEN m.days_enrolled < m.minimum_days THEN NULL
            WHEN m.at_least = 1 AND m.counted >= m.limit_of_days - 0.000001 THEN 1
            WHEN m.at_least = 0 AND m.counted > m.limit_of_days + 0.000001 THEN 1
            ELSE 0 END AS chronically_absent,
       a.days_enrolled AS days_at_all_schools,
       ROUND(CAST(a.days_absent AS REAL) / NULLIF(a.days_enrolled, 0), 3) AS absent_share_at_all_schools
FROM measured m
JOIN students s ON s.tenant_id = m.tenant_id AND s.id = m.student_id
LEFT JOIN schools o ON o.tenant_id = m.tenant_id AND o.school_id = m.school_id AND o.deleted_on IS NULL
LEFT JOIN at_all a ON a.tenant_id = m.tenant_id AND a.student_id = m.student_id
WHERE s.deleted_on IS NULL
ORDER BY m.tenant_id, m.school_id IS NULL, m.school_id, s.grade_level NULLS LAST, s.district_id;
