"""What every reader of weekly activity leaves out: sessions that nobody knows, and students that were deleted.

SQL expressions only; what is computed from the rows is the readers' business (`store`, `risk.labels`, summaries).
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


def on_record(student_id: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    """Whether the student of a row has not been deleted."""
    return ~sa.exists().where(students.c.id == student_id, students.c.deleted_on.is_not(None))
