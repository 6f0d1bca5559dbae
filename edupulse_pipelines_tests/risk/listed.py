"""A district of three schools with one scored week, written straight into the database, for tests of lists.

Every kind of student that a list has to place: at one school, at two, moved, of a school without a name, without any,
left, deleted, scored twice, at low risk, not scored. Names and texts hold what pages, cells and terminals must not run.
"""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import sqlalchemy as sa

from edupulse_pipelines.schema import sqlalchemy_tables as tables
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines_tests.risk.district import tenant_settings

WEEK = dt.date(2025, 3, 3)
SUNDAY = WEEK + dt.timedelta(days=6)
NAMELESS = "S-9"
_DAY = dt.date(2025, 3, 10)


def identifier(number: int) -> uuid.UUID:
    """A stable id."""
    return uuid.UUID(int=number)


def factor(text: str, advice: str, direction: str = "raises", *, protective: bool = False) -> dict[str, Any]:
    """A stored risk factor, as far as a list reads it."""
    return {"description": text, "recommendation": advice, "direction": direction, "protective": protective}


STUDENTS: list[tuple[int, str, str, str, int | None, dict[str, Any]]] = [
    (1, "0101", "Ada", "<script>alert(1)</script>", 9, {}),
    (2, "0102", "=cmd|'/c calc'!A1", "O'Neil & Söhne", 10, {}),
    (3, "0103", "Zqmoved", "Zqstudent", 9, {}),
    (4, "0104", "Zqtwo", "Zqschools", 0, {}),
    (5, "0105", "Zqno", "Zqschool", None, {}),
    (6, "0106", "Zqlow", "Zqrisk", 11, {}),
    (7, "0107", "Zqgone", "Zqdeleted", 9, {}),
    (8, "0108", "Zqleft", "Zqbefore", 9, {}),
    (9, "0109", "Zqnameless", "Zqplace", None, {"grade_code": "PK"}),
    (10, "0110", "Zqnot", "Zqscored", 9, {}),
    (11, "0111", "Zqsame", "Zqequal", 12, {}),
]
PREDICTIONS: list[tuple[int, int, float, str, Any]] = [
    (101, 1, 0.91, "critical", [
        factor("Attended 96% of the last 4 weeks", "Keep it up", "lowers", protective=True),
        factor("Failing <b>math</b>", "Ask the teacher"),
        factor("2 incidents", "Talk about them"),
        factor("1 incident this week", "Talk about them"),
    ]),
    (102, 2, 0.62, "high", [factor("=1+1", "-call\x1b[31mhome")]),
    (103, 3, 0.40, "medium", [factor("Nothing stands out", "No action", "lowers")]),
    (104, 4, 0.30, "medium", []),
    (105, 5, 0.95, "critical", None),
    (106, 6, 0.10, "low", [factor("Attended 100%", "Keep it up", "lowers", protective=True)]),
    (107, 7, 0.99, "critical", []),
    (108, 8, 0.98, "critical", []),
    (109, 9, 0.80, "critical", [factor("Grades fell", "Tutoring")]),
    (111, 11, 0.62, "high", [factor("Late often", "Call home")]),
    (112, 11, 0.20, "low", []),  # an earlier prediction of the same week: a smaller id
]  # fmt: skip
# student, school, entry, exit, main, deleted
ENROLLMENTS: list[tuple[int, str | None, str, str | None, bool | None, bool]] = [
    (1, "S-1", "2024-09-02", None, None, False),
    (2, "S-1", "2024-09-02", "2025-03-10", None, False),
    (3, "S-1", "2024-09-02", "2025-03-09", None, False),  # the first day on which it holds no more
    (3, "S-2", "2025-03-09", None, None, False),
    (4, "S-1", "2025-02-01", None, False, False),
    (4, "S-2", "2024-09-02", None, True, False),
    (4, "S-1", "2025-03-03", None, True, True),  # taken back
    (5, None, "2024-09-02", None, None, False),
    (6, "S-2", "2024-09-02", None, None, False),
    (9, NAMELESS, "2024-09-02", None, None, False),
    (10, "S-1", "2025-03-03", None, None, False),
    (11, "S-1", "2024-09-02", None, None, False),
    (11, "S-2", "2025-03-10", None, True, False),  # after the week
]
SCHOOLS = [("S-1", "North <High>", False), ("S-2", "Elm Street", False), (NAMELESS, "Taken back", True)]


def district() -> TenantSettings:
    """The tenant."""
    return tenant_settings()


def fill(engine: sa.Engine, tenant: str) -> None:
    """Write everything above for the tenant, and one student of another one."""
    with engine.begin() as connection:

        def write(table: sa.Table, rows: list[dict[str, Any]]) -> None:
            connection.execute(table.insert(), rows)

        write(
            tables.students,
            [
                {
                    "id": identifier(number),
                    "tenant_id": tenant,
                    "district_id": district_id,
                    "first_name": first,
                    "last_name": last,
                    "grade_level": grade,
                    "date_of_birth": dt.date(2010, 1, 1),
                    "enrollment_date": dt.date(2024, 9, 2),
                    "student_metadata": facts,
                    "delivered_on": _DAY,
                    "deleted_on": _DAY if number == 7 else None,
                }
                for number, district_id, first, last, grade, facts in STUDENTS
            ]
            + [
                {
                    "id": identifier(50),
                    "tenant_id": "elsewhere",
                    "district_id": "0101",
                    "first_name": "Other",
                    "last_name": "District",
                    "grade_level": 9,
                    "date_of_birth": dt.date(2010, 1, 1),
                    "enrollment_date": dt.date(2024, 9, 2),
                    "student_metadata": {},
                    "delivered_on": _DAY,
                    "deleted_on": None,
                }
            ],
        )
        write(
            tables.model_metadata,
            [
                {"id": identifier(90), "tenant_id": tenant, "model_version": "m1"},
                {"id": identifier(91), "tenant_id": tenant, "model_version": "m2"},
            ],
        )
        write(
            tables.student_features,
            [
                {"tenant_id": tenant, "student_id": identifier(number), "feature_date": SUNDAY}
                for number, *_ in STUDENTS
                if number != 8
            ],
        )
        write(
            tables.predictions,
            [
                {
                    "id": identifier(number if number != 112 else 100),
                    "tenant_id": tenant,
                    "student_id": identifier(student),
                    "feature_date": SUNDAY,
                    "prediction_date": dt.datetime(2025, 3, 10, 6, tzinfo=dt.UTC),
                    "risk_score": score,
                    "risk_category": category,
                    "confidence": 0.8,
                    "risk_factors": factors,
                    "model_version": "m2" if number == 112 else "m1",
                    "rescored": number == 102,
                }
                for number, student, score, category, factors in PREDICTIONS
            ],
        )
        write(
            tables.schools,
            [
                {
                    "id": identifier(300 + place),
                    "tenant_id": tenant,
                    "school_id": number,
                    "name": name,
                    "first_delivered_on": _DAY,
                    "delivered_on": _DAY,
                    "deleted_on": _DAY if deleted else None,
                }
                for place, (number, name, deleted) in enumerate(SCHOOLS)
            ],
        )
        write(
            tables.enrollments,
            [
                {
                    "id": identifier(400 + place),
                    "tenant_id": tenant,
                    "student_id": identifier(student),
                    "school_id": school,
                    "entry_date": dt.date.fromisoformat(entry),
                    "exit_date": left and dt.date.fromisoformat(left),
                    "is_primary": main,
                    "origin": "sent",
                    "first_delivered_on": _DAY,
                    "delivered_on": _DAY,
                    "deleted_on": _DAY if deleted else None,
                }
                for place, (student, school, entry, left, main, deleted) in enumerate(ENROLLMENTS)
            ],
        )
