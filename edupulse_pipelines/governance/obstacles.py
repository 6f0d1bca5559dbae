"""What stands against taking a student's rows away: a legal hold, or a month of them that was taken out of its table.

It is asked before anything is written, and again in each transaction that notes or deletes something, after the turn
has been taken: what is placed or taken out meanwhile wins.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.errors import PermanentError
from edupulse_pipelines.governance import holds
from edupulse_pipelines.governance.person import Person
from edupulse_pipelines.storage.bulk import id_batches
from edupulse_pipelines.storage.months import PARTITIONED, detached_months
from edupulse_pipelines.storage.turns import hold_months
from edupulse_pipelines.storage.work import Work


class KeptBack(PermanentError):
    """The rows stay for now; nothing has been taken away."""


def demand_erasable(connection: Connection, work: Work, person: Person) -> None:
    """KeptBack when the student, or one of several, is on legal hold, or has rows in a month that was taken out."""
    if holds.is_held(connection, work, person.numbers):
        who = "The student" if person.number else "A student"
        raise KeptBack(f"{who} is on legal hold; nothing was erased. `edupulse privacy holds` shows it.")
    demand_attached(connection, work, person.ids)


def demand_attached(connection: Connection, work: Work, ids: Sequence[uuid.UUID]) -> None:
    """KeptBack when a month that was taken out of its table holds rows of these students.

    Until the transaction ends no month is taken out, and none is brought back.
    """
    hold_months(connection)
    out = []
    for table in PARTITIONED:
        for month, partition in sorted(detached_months(connection, table).items()):
            alone = sa.table(partition.name, sa.column("tenant_id"), sa.column("student_id", sa.Uuid()))
            found = sa.select(sa.literal(1)).select_from(alone).where(alone.c.tenant_id == work.tenant).limit(1)
            if any(connection.scalar(found.where(alone.c.student_id.in_(some))) for some in id_batches(list(ids))):
                out.append(f"`edupulse db attach-month {table} {month:%Y-%m}`")
    if out:
        raise KeptBack(
            "Rows that are to go lie in months that were taken out of their table; nothing was taken away. Bring them "
            f"back first: {', '.join(out)}. They can be taken out again afterwards."
        )
