"""Feature vectors of one week from a year of data: students per second, against one student at a time with an ORM.

Ours reads the look-back of weekly activity, computes and serialises the vectors of every student, all inside the time.
The other side does what applications do: mapped classes, per student a query for each domain of each of the last four
weeks and for each window that a feature is about (some twenty), the numbers in Python, trends with `numpy.polyfit`, a
JSON. It makes the same vectors, which is checked; the school calendar is given to it, and its record tables hold
nothing but the sample's records, both in its favour. Records are those of a secondary school: attendance in each of six
periods a day, and a grade a week in each of six courses. Also measured: what week 36 costs compared with week 6.
Times are the best of several rounds in which the sides take turns.
"""

from __future__ import annotations

import argparse
import datetime as dt
import resource
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Session

from edupulse_pipelines.features.school_calendar import school_calendar
from edupulse_pipelines.features.store import read_activity, read_students
from edupulse_pipelines.features.vectors import feature_vectors, grade_points, vector_json
from edupulse_pipelines.features.weekly_activity import update_weekly_activity
from edupulse_pipelines.schema import sqlalchemy_tables as tables
from edupulse_pipelines.storage.engine import create_engine
from edupulse_pipelines.storage.ids import new_ids
from edupulse_pipelines.storage.versions import upgrade
from edupulse_pipelines.storage.work import Work
from edupulse_pipelines.weeks import WEEK, feature_date, week_start
from edupulse_pipelines_tests.enrolment import enrol

TENANT = "benchmark"
FIRST_WEEK = dt.date(2024, 8, 26)
WEEKS = 36
EARLY, LATE = 6, 36
ROUNDS, ORM_ROUNDS = 12, 3
PERIODS = 6
COURSES = ("ART", "ENG", "HIST", "MATH", "SCI", "SPAN")


def run(argv: list[str]) -> dict[str, Any]:
    """Measure, print what was seen, return the figures."""
    parser = argparse.ArgumentParser(prog="benchmarks features")
    parser.add_argument("--students", type=int, default=20_000)
    parser.add_argument("--sample", type=int, default=200, help="students of the ORM side")
    arguments = parser.parse_args(argv)
    sample = min(arguments.sample, arguments.students)
    with tempfile.TemporaryDirectory() as folder:
        engine = create_engine(f"sqlite:///{Path(folder) / 'benchmark.db'}")
        upgrade(engine)
        print(f"writing {arguments.students} students with {WEEKS} weeks of activity", file=sys.stderr)
        ids = _write_district(engine, arguments.students, sample)
        # Warms up both sides. Ids are ordered by time: the sample's students come first on our side too.
        _assert_same(_compute(engine, LATE)[:sample], _orm_vectors(engine, ids[:sample], LATE))
        early = late = orm_seconds = float("inf")
        for number in range(ROUNDS):
            early = min(early, _timed(lambda: _compute(engine, EARLY)))
            late = min(late, _timed(lambda: _compute(engine, LATE)))
            if number % (ROUNDS // ORM_ROUNDS) == 0:
                orm_seconds = min(orm_seconds, _timed(lambda: _orm_vectors(engine, ids[:sample], LATE)))
        engine.dispose()
    ours, orm = arguments.students / late, sample / orm_seconds
    print(f"ours             {ours:12,.0f} students/s  ({late:.3f} s for {arguments.students})")
    print(f"orm_per_student  {orm:12,.1f} students/s  ({orm_seconds:.3f} s for {sample})")
    print(f"ratio            {ours / orm:12,.0f}")
    print(f"week {LATE} / week {EARLY} {late / early:12.2f}             ({late:.3f} s / {early:.3f} s)")
    return {
        "bench": "features",
        "size": arguments.students,
        "unit": "students/s",
        "ours": round(ours, 1),
        "others": {"orm_per_student": round(orm, 2)},
        "ratios": {"orm_per_student": round(ours / orm, 1)},
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "week_6": round(early, 4),
        "week_36": round(late, 4),
        "week_cost_ratio": round(late / early, 3),
    }


def _timed(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _compute(engine: sa.Engine, number: int) -> list[str]:
    """The serialised vectors of school week `number` (from 1), as the weekly step makes them."""
    work = Work(engine, TENANT)
    with work.reading() as connection:
        calendar = school_calendar(connection, work)
        week = calendar.weeks[number - 1]
        people = read_students(connection, work)
        activity = read_activity(connection, work, people, calendar.weeks[max(0, number - 8) : number], everyone=True)
    vectors = feature_vectors(people.frame(), activity, calendar, [week])
    return vector_json(vectors)


class _Base(DeclarativeBase):
    metadata = tables.metadata


class _Student(_Base):
    __table__ = tables.students


class _Attendance(_Base):
    __table__ = tables.attendance_records


class _Grade(_Base):
    __table__ = tables.grades


class _Incident(_Base):
    __table__ = tables.discipline_incidents


def _orm_vectors(engine: sa.Engine, ids: list[uuid.UUID], number: int) -> list[bytes]:
    """The same week's vectors, one student after the other."""
    weeks = [FIRST_WEEK + position * WEEK for position in range(number)]
    vectors = []
    with Session(engine) as session:
        for id_ in ids:
            vectors.append(_orm_vector(session, id_, weeks))
            session.expunge_all()
    return vectors


def _orm_vector(session: Session, id_: uuid.UUID, school_weeks: list[dt.date]) -> bytes:
    student: Any = session.get(_Student, id_)
    weeks = [week for week in school_weeks if feature_date(week) >= student.enrollment_date]
    sunday = feature_date(weeks[-1])

    # The lists: each domain of each of the last four weeks.
    rates, means, counts = [], [], []
    for week in weeks[-4:]:
        rates.append(
            _rate(_records(session, student, _Attendance, "date", week, feature_date(week)), "present", "tardy")
        )
        means.append(_mean(_records(session, student, _Grade, "submission_date", week, feature_date(week))))
        counts.append(len(_records(session, student, _Incident, "incident_date", week, feature_date(week))))
    points = [None if mean is None else float(grade_points(mean)) for mean in means]

    # The named features: each domain in the window it is about.
    four, four_before, eight = weeks[-4:][0], weeks[-8:-4], weeks[-8:][0]
    attendance = _records(session, student, _Attendance, "date", four, sunday)
    grades = _records(session, student, _Grade, "submission_date", four, sunday)
    grades_of_eight = _records(session, student, _Grade, "submission_date", eight, sunday)
    incidents = _records(session, student, _Incident, "incident_date", four, sunday)
    incidents_of_eight = _records(session, student, _Incident, "incident_date", eight, sunday)
    attendance_before, grades_before = [], []
    if four_before:
        until = feature_date(four_before[-1])
        attendance_before = _records(session, student, _Attendance, "date", four_before[0], until)
        grades_before = _records(session, student, _Grade, "submission_date", four_before[0], until)
    graded = [week_start(grade.submission_date) for grade in grades_of_eight if grade.grade_value is not None]
    scores = [grade.grade_value for grade in grades if grade.grade_value is not None]
    rate = _rate(attendance, "present", "tardy")
    return orjson.dumps(
        {
            "attendance": rates,
            "academic": points,
            "behavioral": counts,
            "trends": [_slope(rates), _slope(points), _slope(counts)],
            "metadata": {
                "weeks_of_data": len(weeks),
                "data_quality": sum(value is not None for value in (*rates, *points, *counts)) / 12,
            },
            "features": {
                "attendance_rate_1w": rates[-1],
                "attendance_rate_4w": rate,
                "unexcused_rate_4w": _rate(attendance, "absent"),
                "excused_rate_4w": _rate(attendance, "excused"),
                "tardy_rate_4w": _rate(attendance, "tardy"),
                "unexcused_days_4w": len({row.date for row in attendance if row.status == "absent"})
                if attendance
                else None,
                "attendance_change": _minus(rate, _rate(attendance_before, "present", "tardy")),
                "attendance_trend": _slope(rates),
                "grade_mean_4w": _mean(grades),
                "grade_mean_8w": _mean(grades_of_eight),
                "grade_lowest_4w": min(scores, default=None),
                "grade_count_4w": len(scores),
                "grade_change": _minus(_mean(grades), _mean(grades_before)),
                "grade_trend": _slope(means),
                "weeks_since_grade": len(weeks) - 1 - weeks.index(max(graded)) if graded else None,
                "incidents_4w": len(incidents),
                "incidents_8w": len(incidents_of_eight),
                "severity_highest_8w": max((incident.severity_level for incident in incidents_of_eight), default=0),
                "incidents_trend": _slope(counts),
                "weeks_of_data": len(weeks),
            },
        }
    )


def _records(
    session: Session, student: Any, kind: Any, date_column: str, first: dt.date, last: dt.date
) -> Sequence[Any]:
    return session.scalars(
        sa.select(kind).where(
            kind.tenant_id == student.tenant_id,
            kind.student_id == student.id,
            getattr(kind, date_column).between(first, last),
        )
    ).all()


def _rate(records: Sequence[Any], *statuses: str) -> float | None:
    return sum(record.status in statuses for record in records) / len(records) if records else None


def _mean(grades: Sequence[Any]) -> float | None:
    scores = [grade.grade_value for grade in grades if grade.grade_value is not None]
    return statistics.fmean(scores) if scores else None


def _minus(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other


def _slope(values: Sequence[float | None]) -> float | None:
    known = [(x, y) for x, y in enumerate(values) if y is not None]
    return float(np.polyfit(*zip(*known, strict=True), 1)[0]) if len(known) > 1 else None


def _assert_same(ours: list[str], others: list[bytes]) -> None:
    """Both sides make the same vectors, up to rounding."""
    for one, other in zip(ours, others, strict=True):
        numbers = [list(_leaves(orjson.loads(text))) for text in (one, other)]
        assert [name for name, _ in numbers[0]] == [name for name, _ in numbers[1]]
        for (name, value), (_, expected) in zip(*numbers, strict=True):
            same = value == expected if value is None or expected is None else abs(value - expected) < 2e-6
            assert same, f"{name}: {value} is not {expected}"


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, float | None]]:
    if isinstance(value, dict | list):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves(part, f"{path}/{key}")
    else:
        yield path, value


def _write_district(engine: sa.Engine, count: int, sample: int) -> list[uuid.UUID]:
    """`count` students with a year of weekly activity; that of the first `sample` is rolled up from raw records."""
    ids = new_ids(count)
    weeks = [FIRST_WEEK + number * WEEK for number in range(WEEKS)]
    with engine.begin() as connection:
        connection.execute(
            sa.insert(tables.students),
            [
                {
                    "id": id_,
                    "tenant_id": TENANT,
                    "district_id": f"{number:06d}",
                    "first_name": "A",
                    "last_name": "B",
                    "date_of_birth": dt.date(2010, 1, 1),
                    "enrollment_date": FIRST_WEEK,
                    "delivered_on": FIRST_WEEK + WEEK,
                }
                for number, id_ in enumerate(ids)
            ],
        )
        enrol(connection, TENANT)
        names = ("attendance_records", "grades", "discipline_incidents")
        connection.execute(
            sa.insert(tables.ingested_files),
            [
                {
                    "id": id_,
                    "tenant_id": TENANT,
                    "table_name": names[number % 3],
                    "delivered_on": weeks[number // 3] + WEEK,
                    "file_name": f"{names[number % 3]}.csv",
                    "sha256": f"{number:064d}",
                    "size_bytes": 1,
                    "status": "loaded",
                    "rows_read": 1,
                }
                for number, id_ in enumerate(new_ids(len(weeks) * 3))
            ],
        )
    _write_records(engine, ids[:sample], weeks)
    update_weekly_activity(Work(engine, TENANT))
    random = np.random.default_rng(1)
    with engine.begin() as connection:
        for week in weeks:  # week after week, as a year goes by
            _write_activity(connection, ids[sample:], week, random)
        connection.exec_driver_sql("ANALYZE")
    return ids


def _write_records(engine: sa.Engine, ids: list[uuid.UUID], weeks: list[dt.date]) -> None:
    """Attendance in every period, a grade a week in each course and an incident now and then."""
    random = np.random.default_rng(0)
    attendance, grades, incidents, marks = [], [], [], []
    for student in ids:
        for week in weeks:
            delivered = {"tenant_id": TENANT, "student_id": student, "delivered_on": week + WEEK}
            statuses = random.choice(["present", "absent", "tardy", "excused"], 5 * PERIODS, p=[0.9, 0.05, 0.03, 0.02])
            attendance += [
                {
                    **delivered,
                    "date": week + dt.timedelta(days=number // PERIODS),
                    "period": number % PERIODS + 1,
                    "status": status,
                }
                for number, status in enumerate(statuses.tolist())
            ]
            grades += [
                {
                    **delivered,
                    "record_key": f"id:{len(grades) + place}",
                    "course_id": course,
                    "grade_value": float(random.integers(50, 100)),
                    "submission_date": week + dt.timedelta(days=int(random.integers(0, 5))),
                }
                for place, course in enumerate(COURSES)
            ]
            if random.random() < 0.05:
                day = week + dt.timedelta(days=int(random.integers(0, 5)))
                row = {"record_key": f"id:{len(incidents)}", "incident_date": day, "severity_level": 2}
                incidents.append({**delivered, **row})
            mark = {"tenant_id": TENANT, "stage": "weekly_activity", "student_id": student, "week_start": week}
            marks.append(mark)
    with engine.begin() as connection:
        for table, rows in (
            (tables.attendance_records, attendance),
            (tables.grades, grades),
            (tables.discipline_incidents, incidents),
            (tables.pending_updates, marks),
        ):
            for row, id_ in zip(rows, new_ids(len(rows)), strict=True):
                row["id"] = id_
            if rows:
                connection.execute(sa.insert(table), rows)


def _write_activity(
    connection: sa.Connection, ids: list[uuid.UUID], week: dt.date, random: np.random.Generator
) -> None:
    if not ids:
        return
    sessions = 5 * PERIODS
    absent = random.binomial(sessions, 0.05, len(ids))
    excused = random.binomial(sessions - absent, 0.02)
    tardy = random.binomial(sessions - absent - excused, 0.03)
    graded = random.binomial(len(COURSES), 0.9, len(ids))
    grade = random.integers(50, 100, len(ids)).astype(float)
    incidents = random.poisson(0.05, len(ids))
    connection.execute(
        sa.insert(tables.weekly_activity),
        [
            {
                "tenant_id": TENANT,
                "student_id": student,
                "week_start": week,
                "sessions_present": sessions - a - e - t,
                "sessions_absent": a,
                "sessions_tardy": t,
                "sessions_excused": e,
                "unexcused_absences": min(a, 5),
                "grade_count": count,
                "grade_mean": mean if count else None,
                "grade_lowest": mean - 10 if count else None,
                "incident_count": found,
                "severity_highest": 2 if found else None,
            }
            for student, a, e, t, count, mean, found in zip(
                ids,
                *(values.tolist() for values in (absent, excused, tardy, graded, grade, incidents)),
                strict=True,
            )
        ],
    )
