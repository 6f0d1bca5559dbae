"""Legal holds: students whose data must be kept for now, whatever retention or an erasure would take away."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from dataclasses import dataclass, fields

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.errors import PermanentError
from edupulse_pipelines.governance.approval import given_reason
from edupulse_pipelines.schema.sqlalchemy_tables import legal_holds as table
from edupulse_pipelines.schema.sqlalchemy_tables import students
from edupulse_pipelines.schema.tables import RECORD_TABLES
from edupulse_pipelines.sources.blanks import trimmed
from edupulse_pipelines.storage.ids import new_ids
from edupulse_pipelines.storage.numbers import numbers_of
from edupulse_pipelines.storage.turns import take_turn
from edupulse_pipelines.storage.work import Work


@dataclass(frozen=True, kw_only=True)
class Hold:
    """One hold; the fields are columns of `legal_holds`."""

    district_id: str
    reason: str
    placed_by: str
    placed_at: dt.datetime
    released_by: str | None
    released_at: dt.datetime | None
    in_force: bool


def place(work: Work, number: str, reason: str) -> None:
    """Hold the data of the student of this number, whichever of the student's numbers it is.

    It waits for loads and erasures that are under way. PermanentError when no student is stored under the number, or
    the student is held already; ConfigurationError without a reason.
    """
    told = given_reason(reason)
    with work.writing() as connection:
        take_turn(connection, work, RECORD_TABLES)
        mine = numbers_of(connection, work, trimmed(number))
        column = students.c
        known = sa.select(sa.func.count()).where(column.tenant_id == work.tenant, column.district_id.in_(mine))
        if not connection.scalar(known):
            raise PermanentError("No student is stored under this number, so nothing was placed on hold.")
        if is_held(connection, work, mine):
            raise PermanentError("The student is on hold already; `edupulse privacy holds` shows since when.")
        connection.execute(
            table.insert().values(
                id=new_ids(1)[0],
                tenant_id=work.tenant,
                district_id=trimmed(number),
                reason=told,
                placed_by=work.actor,
                placed_at=dt.datetime.now(dt.UTC),
                in_force=True,
            )
        )


def release(work: Work, number: str) -> None:
    """End the hold, under whichever of the student's numbers it was placed; PermanentError when there is none."""
    with work.writing() as connection:
        mine = numbers_of(connection, work, trimmed(number))
        if not is_held(connection, work, mine):
            raise PermanentError("The student is not on hold.")
        connection.execute(
            table.update()
            .where(_in_force(work, mine))
            .values(in_force=False, released_by=work.actor, released_at=dt.datetime.now(dt.UTC))
        )


def _in_force(work: Work, numbers: Collection[str]) -> sa.ColumnElement[bool]:
    return sa.and_(table.c.tenant_id == work.tenant, table.c.district_id.in_(numbers), table.c.in_force)


def is_held(connection: Connection, work: Work, numbers: Collection[str]) -> bool:
    """Whether the data of one of these numbers are held."""
    return bool(connection.scalar(sa.select(sa.func.count()).where(_in_force(work, numbers))))


def holds(connection: Connection, work: Work) -> list[Hold]:
    """Every hold, those that were released included, oldest first."""
    query = sa.select(*(table.c[field.name] for field in fields(Hold))).where(table.c.tenant_id == work.tenant)
    return [Hold(**row._mapping) for row in connection.execute(query.order_by(table.c.placed_at, table.c.id))]


def held_numbers(connection: Connection, work: Work) -> set[str]:
    """The numbers of all students who are on hold."""
    query = sa.select(table.c.district_id).where(table.c.tenant_id == work.tenant, table.c.in_force)
    return set(connection.scalars(query))
