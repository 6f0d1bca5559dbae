"""How weekly activity is read in SQL: unknown sessions count as 0, and rows of deleted students are left out.

Every reader of `weekly_activity` uses these expressions (`store`, `standing`, `by_week`, `risk.samples.labels`, the
leakage proof); what is computed from the rows is there.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from edupulse_pipelines.schema.sqlalchemy_tables import students, weekly_activity

UNKNOWN = "unknown"
"""`weekly_activity.sessions_basis` of a week whose sessions are unknown."""


def known_sessions(status: str) -> sa.ColumnElement[int]:
    """The row's sessions of a status; 0 in a week whose sessions are unknown, which then has no attendance rate."""
    rows = weekly_activity.c
    return sa.case((rows.sessions_basis == UNKNOWN, 0), else_=rows[f"sessions_{status}"])


def known_measure(name: str) -> sa.ColumnElement[Any]:
    """A column of weekly activity by its name; those of sessions as `known_sessions` gives them.

    Days are NULL in a week whose sessions are unknown.
    """
    status = name.removeprefix("sessions_")
    return weekly_activity.c[name] if status == name else known_sessions(status)


def on_record(student_id: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    """Whether the student of a row has not been deleted."""
    return ~sa.exists().where(students.c.id == student_id, students.c.deleted_on.is_not(None))
