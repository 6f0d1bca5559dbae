"""A made-up district: what loading would leave in the database, and a slow, obvious reference.

`District.deliver` writes records, the manifest and the marks as loading does (the newest delivery wins, marks in the
same transaction). `expected_activity` and `expected_vectors` say in plain Python what must come out.
"""

from __future__ import annotations

import datetime as dt
import itertools
import json
import statistics
import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from edupulse_pipelines.features.definitions import FEATURE_NAMES
from edupulse_pipelines.schema.sqlalchemy_tables import (
    attendance_records,
    discipline_incidents,
    grades,
    ingested_files,
    instructional_days,
    pending_updates,
    student_features,
    students,
    weekly_activity,
    weekly_course_grades,
)
from edupulse_pipelines.settings import WEEKDAYS, AttendanceSettings, CalendarSettings, DayRule
from edupulse_pipelines.storage.work import Work
from edupulse_pipelines.weeks import WEEK, feature_date, week_of_delivery, week_start
from edupulse_pipelines_tests.enrolment import enrol

FIRST_WEEK = dt.date(2024, 9, 2)
TABLES = {"attendance_records": attendance_records, "grades": grades, "discipline_incidents": discipline_incidents}
DATE_COLUMNS = {"attendance_records": "date", "grades": "submission_date", "discipline_incidents": "incident_date"}
VALUE_COLUMNS = {"attendance_records": "status", "grades": "grade_value", "discipline_incidents": "severity_level"}
DOMAIN_TABLES = {"attendance": "attendance_records", "academic": "grades", "behavioral": "discipline_incidents"}
_numbers = itertools.count()


def _days_of(row: dict[str, Any]) -> list[dt.date]:
    return [row[name] for name in DATE_COLUMNS.values() if name in row]


def week(number: int) -> dt.date:
    """The Monday of week `number`, counted from 0."""
    return FIRST_WEEK + number * WEEK


@dataclass
class Delivery:
    """One delivery: per table its records by key; a table with no records is a header-only file."""

    delivered_on: dt.date
    records: dict[str, dict[Any, dict[str, Any]]]


@dataclass
class District:
    """A tenant of its own in a shared database."""

    engine: sa.Engine
    enrolment: list[tuple[dt.date, dt.date | None]]
    name: str = field(default_factory=lambda: f"district-{next(_numbers)}")
    records: dict[tuple[str, Any], dict[str, Any]] = field(default_factory=dict)
    deliveries: list[Delivery] = field(default_factory=list)
    ids: list[uuid.UUID] = field(default_factory=list)
    deleted: set[int] = field(default_factory=set)
    whole_weeks: bool = False
    """Whether loading marks the weeks of records for every student."""
    attendance: AttendanceSettings = field(default_factory=AttendanceSettings)
    calendar: CalendarSettings = field(default_factory=CalendarSettings)
    source_days: set[dt.date] = field(default_factory=set)
    absent_day: DayRule = "half"

    @property
    def work(self) -> Work:
        return Work(self.engine, self.name)

    def __post_init__(self) -> None:
        self.ids = [uuid.uuid4() for _ in self.enrolment]
        with self.engine.begin() as connection:
            connection.execute(
                sa.insert(students),
                [
                    {
                        "id": id_,
                        "tenant_id": self.name,
                        "district_id": f"s{number}",
                        "first_name": "A",
                        "last_name": "B",
                        "date_of_birth": dt.date(2010, 1, 1),
                        "grade_level": 9,
                        "enrollment_date": enrolled,
                        "exit_date": left,
                        "delivered_on": FIRST_WEEK,
                    }
                    for number, (id_, (enrolled, left)) in enumerate(zip(self.ids, self.enrolment, strict=True))
                ],
            )
            enrol(connection, self.name)
            for id_, (enrolled, _) in zip(self.ids, self.enrolment, strict=True):
                self.mark_enrolment(connection, id_, enrolled)

    def mark(self, connection: sa.Connection, stage: str, student: uuid.UUID | None, monday: dt.date) -> None:
        connection.execute(
            sa.insert(pending_updates).values(
                id=uuid.uuid4(), tenant_id=self.name, stage=stage, student_id=student, week_start=monday
            )
        )

    def mark_enrolment(self, connection: sa.Connection, student: uuid.UUID, day: dt.date) -> None:
        """A student is enrolled otherwise from the day on."""
        for stage in ("enrolled_days", "student_features"):
            self.mark(connection, stage, student, week_start(day))

    def change_enrolment(self, number: int, enrolled: dt.date, left: dt.date | None) -> None:
        before = self.enrolment[number]
        self.enrolment[number] = (enrolled, left)
        days = [
            day for old, new in zip(before, (enrolled, left), strict=True) if old != new for day in (old, new) if day
        ]
        with self.engine.begin() as connection:
            connection.execute(
                sa.update(students)
                .where(students.c.id == self.ids[number])
                .values(enrollment_date=enrolled, exit_date=left)
            )
            enrol(connection, self.name)
            if days:
                self.mark_enrolment(connection, self.ids[number], min(days))

    def delete_student(self, number: int, *, deleted: bool = True) -> None:
        """A student is taken back, or delivered again."""
        (self.deleted.add if deleted else self.deleted.discard)(number)
        table, (enrolled, _) = students, self.enrolment[number]
        with self.engine.begin() as connection:
            changed = sa.update(table).where(table.c.id == self.ids[number])
            connection.execute(changed.values(deleted_on=FIRST_WEEK if deleted else None))
            self.mark_enrolment(connection, self.ids[number], enrolled)

    def delete_record(self, key: tuple[str, Any]) -> None:
        """A record is taken back."""
        gone, table = self.records.pop(key), TABLES[key[0]]
        with self.engine.begin() as connection:
            connection.execute(sa.update(table).where(table.c.id == gone["id"]).values(deleted_on=FIRST_WEEK))
            monday = week_start(gone[DATE_COLUMNS[key[0]]])
            self.mark(connection, "weekly_activity", self.ids[gone["student"]], monday)

    def name_days(self, days: set[dt.date]) -> None:
        """The calendar of the source names days of instruction."""
        with self.engine.begin() as connection:
            for day in days - self.source_days:
                row = {"tenant_id": self.name, "date": day, "delivered_on": FIRST_WEEK}
                connection.execute(sa.insert(instructional_days).values(row))
        self.source_days |= days

    def deliver(self, delivery: Delivery) -> None:
        """Merge a delivery: for one key the newest delivery wins, whatever the order of processing."""
        with self.engine.begin() as connection:
            for table, rows in delivery.records.items():
                self._mark_week(connection, rows, delivery.delivered_on)
                connection.execute(
                    sa.insert(ingested_files).values(
                        id=uuid.uuid4(),
                        tenant_id=self.name,
                        table_name=table,
                        delivered_on=delivery.delivered_on,
                        file_name=f"{table}.csv",
                        sha256="0" * 64,
                        size_bytes=1,
                        status="loaded",
                        rows_read=len(rows),
                        rows_by_week=Counter(week_start(row[DATE_COLUMNS[table]]).isoformat() for row in rows.values()),
                    )
                )
                for key, row in rows.items():
                    self._merge(connection, table, key, row, delivery.delivered_on)
        self.deliveries.append(delivery)

    def _mark_week(self, connection: sa.Connection, rows: dict[Any, dict[str, Any]], delivered_on: dt.date) -> None:
        """The week has data now, and the domain may be known from an earlier one on."""
        weeks = [week_of_delivery(delivered_on), *(week_start(day) for row in rows.values() for day in _days_of(row))]
        self.mark(connection, "student_features", None, min(weeks))

    def _merge(
        self, connection: sa.Connection, table: str, key: Any, row: dict[str, Any], delivered_on: dt.date
    ) -> None:
        old = self.records.get((table, key))
        if old is not None and old["delivered_on"] > delivered_on:
            return
        new = {**row, "delivered_on": delivered_on}
        self.records[table, key] = new
        stored = {name: value for name, value in new.items() if name != "student"}
        if old is None:
            new["id"] = uuid.uuid4()
            stored |= {"id": new["id"], "tenant_id": self.name, "student_id": self.ids[row["student"]]}
            if table != "attendance_records":
                stored["record_key"] = f"id:{key}"
            connection.execute(sa.insert(TABLES[table]).values(stored))
        else:
            new["id"] = old["id"]
            connection.execute(sa.update(TABLES[table]).where(TABLES[table].c.id == old["id"]).values(stored))
        for version in (old, new):
            if version is not None:
                day = version[DATE_COLUMNS[table]]
                student = None if self.whole_weeks else self.ids[row["student"]]
                self.mark(connection, "weekly_activity", student, week_start(day))

    def snapshot(self) -> dict[str, list[tuple[Any, ...]]]:
        """Everything computed, by student number and without timestamps, in one order."""
        number = {id_: position for position, id_ in enumerate(self.ids)}
        found = {}
        with self.engine.connect() as connection:
            for table in (weekly_activity, weekly_course_grades, student_features):
                names = [
                    name
                    for name in (column.name for column in table.columns)
                    if name not in ("tenant_id", "created_at", "updated_at", "change_id")
                ]
                rows = connection.execute(
                    sa.select(*(table.c[name] for name in names)).where(table.c.tenant_id == self.name)
                )
                found[table.name] = sorted(
                    (
                        number[row[0]],
                        *(json.dumps(value, sort_keys=True) if isinstance(value, dict) else value for value in row[1:]),
                    )
                    for row in rows
                )
        return found

    def updated_at(self) -> list[tuple[Any, ...]]:
        table = student_features.c
        query = sa.select(table.student_id, table.feature_date, table.created_at, table.updated_at)
        with self.engine.connect() as connection:
            return [
                tuple(row)
                for row in connection.execute(
                    query.where(table.tenant_id == self.name).order_by(*query.selected_columns[:2])
                )
            ]

    def marks(self) -> int:
        with self.engine.connect() as connection:
            return connection.scalar(
                sa.select(sa.func.count()).select_from(pending_updates).where(pending_updates.c.tenant_id == self.name)
            )


def record(table: str, student: int, day: dt.date, value: Any, place: int = 0) -> dict[str, Any]:
    """A record's fields: value is a status, a grade (or None), a severity; place is a period or a course number."""
    if table == "attendance_records":
        return {"student": student, "date": day, "status": value, "period": place}
    if table == "grades":
        return {"student": student, "submission_date": day, "grade_value": value, "course_id": f"c{place}"}
    return {"student": student, "incident_date": day, "severity_level": value}


def expected_activity(district: District) -> dict[tuple[int, dt.date], dict[str, Any]]:
    """Weekly activity by (student number, Monday)."""
    found: dict[tuple[int, dt.date], dict[str, list[Any]]] = {}
    for (table, _), row in district.records.items():
        day = row[DATE_COLUMNS[table]]
        cell = found.setdefault((row["student"], week_start(day)), {name: [] for name in TABLES})
        cell[table].append((day, row[VALUE_COLUMNS[table]]))
    exceptions = district.attendance.recording == "exceptions"
    taught: dict[tuple[int, dt.date], list[dt.date]] = {}
    weeks = calendar_weeks(district) if exceptions else {}
    for monday, days in weeks.items():
        for student, (enrolled, left) in enumerate(district.enrolment):
            here = [day for day in days or [] if enrolled <= day and (left is None or day < left)]
            taught[student, monday] = [] if student in district.deleted else here
            if taught[student, monday]:
                found.setdefault((student, monday), {name: [] for name in TABLES})
    activity = {}
    for key, cell in found.items():
        statuses = [status for _, status in cell["attendance_records"]]
        present = statuses.count("present")
        for day in taught.get(key, []):
            here = [status for one, status in cell["attendance_records"] if one == day]
            said = here.count("present")
            present += max(said, district.attendance.sessions_per_day - (len(here) - said)) - said
        unsaid = {
            day: max(0, district.attendance.sessions_per_day - sum(one == day for one, _ in cell["attendance_records"]))
            for day in taught.get(key, [])
        }
        enrolled, left = district.enrolment[key[0]]
        within = [
            (day, status)
            for day, status in cell["attendance_records"]
            if key[0] not in district.deleted and enrolled <= day and (left is None or day < left)
        ]
        days = expected_days(district, within, unsaid)
        scores = [score for _, score in cell["grades"] if score is not None]
        severities = [severity for _, severity in cell["discipline_incidents"]]
        activity[key] = {
            "sessions_present": present,
            **{f"sessions_{status}": statuses.count(status) for status in ("absent", "tardy", "excused")},
            "unexcused_absences": len({day for day, status in cell["attendance_records"] if status == "absent"}),
            "grade_count": len(scores),
            "grade_mean": statistics.fmean(scores) if scores else None,
            "grade_lowest": min(scores, default=None),
            "incident_count": len(severities),
            "severity_highest": max(severities, default=None),
            "sessions_basis": None,
            **days,
            "days_basis": district.absent_day,
        }
        if exceptions and weeks.get(key[1]) is None:
            activity[key] |= {"sessions_basis": "unknown"} | dict.fromkeys(days)
        elif exceptions:
            digits = "".join(str(day.isoweekday()) for day in taught[key]) or "-"
            activity[key]["sessions_basis"] = f"{digits} x {district.attendance.sessions_per_day}"
    return activity


def expected_days(
    district: District, records: list[tuple[dt.date, str]], unsaid: dict[dt.date, int]
) -> dict[str, float]:
    """The days of a week by the district's day rule; `unsaid`: sessions that nobody speaks of, which were attended."""
    kinds = []
    missed_days = 0.0
    for day in {day for day, _ in records} | {day for day, number in unsaid.items() if number}:
        here = [status for one, status in records if one == day] + ["present"] * unsaid.get(day, 0)
        missed = sum(status in ("absent", "excused") for status in here)
        missed_days += missed / len(here)
        away = {
            "half": missed >= len(here) / 2,
            "minutes": missed >= len(here) / 2,
            "more_than_half": missed > len(here) / 2,
            "any": missed > 0,
            "all": missed == len(here),
        }[district.absent_day]
        kinds.append(("absent" if "absent" in here else "excused") if away else "present")
    return {
        "days_enrolled": len(kinds),
        **{f"days_{kind}": kinds.count(kind) for kind in ("present", "absent", "excused")},
        "days_missed": missed_days,
    }


def calendar_weeks(district: District) -> dict[dt.date, list[dt.date] | None]:
    """The weeks with delivered attendance, each with its days of instruction; None where nobody knows them."""
    weeks = {week_of_delivery(d.delivered_on) for d in district.deliveries if "attendance_records" in d.records}
    last = max(weeks, default=dt.date.min)
    weeks |= {week_start(row["date"]) for (table, _), row in district.records.items() if table == "attendance_records"}
    settings = district.calendar
    spoken_of = [day for span in settings.terms for day in (span.start, span.end)]
    spoken_of += settings.extra_days if settings.terms else []
    known: dict[dt.date, list[dt.date] | None] = {}
    for monday in sorted(week for week in weeks if week <= last):
        days = [monday + dt.timedelta(days=number) for number in range(7)]
        if spoken_of and week_start(min(spoken_of)) <= monday <= max(spoken_of):
            known[monday] = [
                day
                for day in days
                if day in settings.extra_days
                or (
                    WEEKDAYS[day.weekday()] in settings.weekdays
                    and any(span.start <= day <= span.end for span in settings.terms)
                    and not any(span.start <= day <= span.end for span in settings.holidays)
                )
            ]
        else:
            known[monday] = [day for day in days if day in district.source_days] or None
        rows = [row for (table, _), row in district.records.items() if table == "attendance_records"]
        periods = {row["period"] for row in rows if week_start(row["date"]) == monday}
        if len(periods) > district.attendance.sessions_per_day == 1:
            known[monday] = None  # how many sessions a day has nobody has said
    return known


def known_from(delivery: Delivery, table: str) -> dt.date:
    """From which week on a delivery makes the table's domain known: its own, or that of the history it brings."""
    own = week_of_delivery(delivery.delivered_on)
    weeks = sorted(week_start(row[DATE_COLUMNS[table]]) for row in delivery.records[table].values())
    weeks = [monday for monday in weeks if monday <= own]
    history = [monday for monday in weeks if monday < own]
    # Nothing in these tests is more than a summer apart.
    assert all((later - monday).days <= 16 * 7 for monday, later in itertools.pairwise([*history, own]))
    if len(history) < len(weeks) / 4 or len(weeks) > 100:
        return own
    return (history[1:] or [own])[0]  # one row decides nothing


def expected_vectors(district: District) -> dict[tuple[int, dt.date], dict[str, Any]]:
    """Vectors by (student number, Sunday), computed one student and week at a time."""
    activity = expected_activity(district)
    if not district.deliveries:
        return {}
    last = max(week_of_delivery(delivery.delivered_on) for delivery in district.deliveries)
    weeks = {monday for _, monday in activity}
    since: dict[str, dt.date | None] = {}
    for delivery in district.deliveries:
        if any(delivery.records.values()):
            weeks.add(week_of_delivery(delivery.delivered_on))
    for domain, table in DOMAIN_TABLES.items():
        since[domain] = min((known_from(d, table) for d in district.deliveries if table in d.records), default=None)
    for row in activity.values():
        if row["sessions_basis"] == "unknown":  # no sessions that a rate could be a share of
            row.update({name: 0 for name in row if name.startswith("sessions_") and name != "sessions_basis"})
    school_weeks = sorted(monday for monday in weeks if monday <= last)
    vectors = {}
    for student, (enrolled, left) in enumerate(district.enrolment):
        for monday in school_weeks if student not in district.deleted else []:
            sunday = feature_date(monday)
            if enrolled <= sunday and (left is None or left > sunday):
                window = [w for w in school_weeks if week_start(enrolled) <= w <= monday]
                rows = [(w, activity.get((student, w))) for w in window]
                vectors[student, sunday] = _vector(rows, since, monday)
    return vectors


def _vector(rows: list[tuple[dt.date, Any]], since: dict[str, dt.date | None], monday: dt.date) -> dict[str, Any]:
    empty = {
        "grade_count": 0,
        "incident_count": 0,
        "unexcused_absences": 0,
        "severity_highest": None,
        "grade_lowest": None,
    }
    empty |= {f"sessions_{status}": 0 for status in ("present", "absent", "tardy", "excused")}
    weeks = [(w, row or empty) for w, row in rows]
    recent, before, all_eight = weeks[-4:], weeks[-8:-4], weeks[-8:]

    def count(part: list[Any], *names: str) -> int:
        return sum(row[name] for _, row in part for name in names)

    def rate(part: list[Any], *names: str) -> float | None:
        sessions = count(part, "sessions_present", "sessions_absent", "sessions_tardy", "sessions_excused")
        return count(part, *names) / sessions if sessions else None

    def grade(part: list[Any]) -> float | None:
        total = count(part, "grade_count")
        return (
            sum(row["grade_mean"] * row["grade_count"] for _, row in part if row["grade_count"]) / total
            if total
            else None
        )

    def minus(one: float | None, other: float | None) -> float | None:
        return None if one is None or other is None else one - other

    def sent(domain: str, w: dt.date) -> bool:
        return since[domain] is not None and w >= since[domain]

    attended = ("sessions_present", "sessions_tardy")
    rates = [None] * (4 - len(recent)) + [rate([one], *attended) for one in recent]
    means = [None] * (4 - len(recent)) + [grade([one]) for one in recent]
    incidents = [None] * (4 - len(recent)) + [
        row["incident_count"] if sent("behavioral", w) else None for w, row in recent
    ]
    points = [grade_points_by_table(mean) for mean in means]
    graded = [lag for lag, (_, row) in enumerate(reversed(all_eight)) if row["grade_count"]]
    behaviour = sent("behavioral", monday)
    features = {
        "attendance_rate_1w": rates[-1],
        "attendance_rate_4w": rate(recent, *attended),
        "unexcused_rate_4w": rate(recent, "sessions_absent"),
        "excused_rate_4w": rate(recent, "sessions_excused"),
        "tardy_rate_4w": rate(recent, "sessions_tardy"),
        "unexcused_days_4w": None if rate(recent, *attended) is None else count(recent, "unexcused_absences"),
        "attendance_change": minus(rate(recent, *attended), rate(before, *attended)),
        "attendance_trend": slope(rates),
        "grade_mean_4w": grade(recent),
        "grade_mean_8w": grade(all_eight),
        "grade_lowest_4w": min((row["grade_lowest"] for _, row in recent if row["grade_count"]), default=None),
        "grade_count_4w": count(recent, "grade_count") if sent("academic", monday) else None,
        "grade_change": minus(grade(recent), grade(before)),
        "grade_trend": slope(means),
        "weeks_since_grade": graded[0] if graded else None,
        "incidents_4w": count(recent, "incident_count") if behaviour else None,
        "incidents_8w": count(all_eight, "incident_count") if behaviour else None,
        "severity_highest_8w": max(row["severity_highest"] or 0 for _, row in all_eight) if behaviour else None,
        "incidents_trend": slope(incidents),
        "weeks_of_data": len(weeks),
    }
    assert tuple(features) == FEATURE_NAMES
    known = sum(cell is not None for cell in (*rates, *points, *incidents))
    return {
        "attendance_rate": features["attendance_rate_4w"],
        "gpa_current": grade_points_by_table(features["grade_mean_4w"]),
        "discipline_incidents": features["incidents_4w"],
        "vector": {
            "attendance": rates,
            "academic": points,
            "behavioral": incidents,
            "trends": [slope(rates), slope(points), slope(incidents)],
            "metadata": {"weeks_of_data": len(weeks), "data_quality": known / 12},
            "features": features,
        },
    }


def slope(values: list[Any]) -> float | None:
    points = [(x, y) for x, y in enumerate(values) if y is not None]
    if len(points) < 2:
        return None
    mean_x, mean_y = statistics.fmean(x for x, _ in points), statistics.fmean(y for _, y in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)


def grade_points_by_table(mean: float | None) -> float | None:
    if mean is None:
        return None
    table = [
        (93, 4.0),
        (90, 3.7),
        (87, 3.3),
        (83, 3.0),
        (80, 2.7),
        (77, 2.3),
        (73, 2.0),
        (70, 1.7),
        (67, 1.3),
        (65, 1.0),
    ]
    return next((points for lowest, points in table if round(mean, 6) >= lowest), 0.0)
