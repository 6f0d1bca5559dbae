"""Marks of what has to be recomputed (`pending_updates`): left by whoever changes data, taken by whoever recomputes.

A mark names a week and a student, or no student for all of them. It is written in the transaction that changes the
data and removed in the one that recomputes, so that neither a crash nor a concurrent load loses it. A mark that is
there twice means the same as once. Which marks a delivery leaves is decided in `ingest.marks`, what is recomputed for
them in `features`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence

import pyarrow as pa
import sqlalchemy as sa

from edupulse_pipelines.schema.sqlalchemy_tables import pending_updates
from edupulse_pipelines.schema.tables import Stage
from edupulse_pipelines.storage.bulk import copy_rows
from edupulse_pipelines.storage.ids import id_texts, new_id_bytes
from edupulse_pipelines.storage.work import Work

Mark = tuple[bytes | None, dt.date]
"""The student's id as the database's text (None: every student) and a Monday."""


def take_marks(connection: sa.Connection, work: Work, stage: Stage) -> set[Mark]:
    """Remove the stage's marks and return them.

    It is one statement, so that a mark that another transaction commits meanwhile is either returned here or stays for
    the next run. Until the transaction ends no other one takes the tenant's marks of this stage.
    """
    if connection.dialect.name == "postgresql":  # SQLite has one writer anyway
        lock = sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(f"{stage}/{work.tenant}", 0))
        connection.execute(sa.select(lock))
    mark = pending_updates.c
    taken = connection.execute(
        sa.delete(pending_updates)
        .where(mark.tenant_id == work.tenant, mark.stage == stage)
        .returning(sa.cast(mark.student_id, sa.Text()), mark.week_start)
    )
    return {(None if student is None else student.encode(), week) for student, week in taken}


def put_marks(connection: sa.Connection, work: Work, stage: Stage, marks: Iterable[Mark]) -> None:
    """Leave marks for a stage."""
    texts = ((None if student is None else student.decode(), week) for student, week in marks)
    leave_marks(connection, work, [(stage, student, week) for student, week in texts])


def leave_marks(connection: sa.Connection, work: Work, marks: Sequence[tuple[Stage, str | None, dt.date]]) -> None:
    """Leave marks for several stages: (stage, student's id as the database writes it or None for everybody, Monday)."""
    if not marks:
        return
    stages, students, weeks = zip(*marks, strict=True)
    columns = {
        "id": id_texts(new_id_bytes(len(marks)), work.dialect),
        "tenant_id": pa.array([work.tenant] * len(marks), pa.string()),
        "stage": pa.array(stages, pa.string()),
        "student_id": pa.array(students, pa.string()),
        "week_start": pa.array(weeks, pa.date32()),
    }
    copy_rows(connection, pending_updates.name, pa.table(columns))


def leave_marks_of_rows(connection: sa.Connection, table: str, date: str) -> None:
    """Leave marks to recompute the weekly activity of every week in which `table` has rows; PostgreSQL only.

    `table` is a month that is taken out of a partitioned table or brought back, with the rows of every tenant; `date`
    is its column of dates.
    """
    connection.exec_driver_sql(
        f"INSERT INTO {pending_updates.name} (id, tenant_id, stage, week_start)"
        " SELECT gen_random_uuid(), tenant_id, 'weekly_activity', week FROM"
        f" (SELECT DISTINCT tenant_id, CAST(date_trunc('week', {date}) AS date) AS week FROM {table}) w"
    )
