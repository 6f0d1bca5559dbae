"""Marks of what has to be recomputed: taken and left by the two updates of this room.

A mark names a student (or nobody: every student) and a week. It is written in the transaction that changed the data and
taken in the one that recomputes, so neither a crash nor a concurrent load loses it. Marks are a set: repeats mean the
same. What is recomputed is said in `weekly_activity` and `store`.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import sqlalchemy as sa

from edupulse_pipelines.schema.sqlalchemy_tables import pending_updates
from edupulse_pipelines.storage.bulk import write_columns
from edupulse_pipelines.storage.ids import new_ids

Stage = Literal["weekly_activity", "student_features"]
Mark = tuple[bytes | None, dt.date]
"""The student's id as the database's text (None: every student) and a Monday."""


def take_marks(connection: sa.Connection, tenant_id: str, stage: Stage) -> set[Mark]:
    """Remove the stage's marks and return them.

    One statement: a mark committed by someone else meanwhile is either returned here or stays for the next run. Until
    the transaction ends no other one takes the tenant's marks of this stage.
    """
    if connection.dialect.name == "postgresql":  # SQLite has one writer anyway
        lock = sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(f"{stage}/{tenant_id}", 0))
        connection.execute(sa.select(lock))
    mark = pending_updates.c
    taken = connection.execute(
        sa.delete(pending_updates)
        .where(mark.tenant_id == tenant_id, mark.stage == stage)
        .returning(sa.cast(mark.student_id, sa.Text()), mark.week_start)
    )
    return {(None if student is None else student.encode(), week) for student, week in taken}


def put_marks(connection: sa.Connection, tenant_id: str, stage: Stage, marks: Iterable[Mark]) -> None:
    """Leave marks for a stage."""
    left = list(marks)
    columns: dict[str, Sequence[Any]] = {
        "id": new_ids(len(left)),
        "tenant_id": [tenant_id] * len(left),
        "stage": [stage] * len(left),
        "student_id": [None if student is None else uuid.UUID(student.decode()) for student, _ in left],
        "week_start": [week for _, week in left],
    }
    write_columns(connection, pending_updates, columns)
