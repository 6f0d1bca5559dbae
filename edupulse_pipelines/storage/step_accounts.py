"""What the steps of a run have done so far (`step_accounts`), for a step that is tried again.

A step may be killed, or fail, between a transaction's commit and the end of its work. Its next try finds that part
done and does the rest. So that it can tell what the run did in all, each transaction adds its counts here, and they
are committed or rolled back together with what they count. What is counted, and what a step tells of it, is decided in
the room that does the work. Outside of a run there is no other try, and nothing is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.schema.sqlalchemy_tables import step_accounts
from edupulse_pipelines.storage.work import Work

WHOLE = ""
"""The part of a step whose work is not divided into weeks or deliveries."""

_column = step_accounts.c


def read(connection: Connection, work: Work, step: str) -> dict[str, dict[str, Any]]:
    """The accounts of the step in the work's run by part; none when no transaction has counted anything yet."""
    query = sa.select(_column.part, _column.account).where(_of_step(work, step))
    return {row.part: row.account for row in connection.execute(query)}


def keep(connection: Connection, work: Work, step: str, account: Mapping[str, Any], part: str = WHOLE) -> None:
    """Keep the account of a part of the step, in place of the one that there is."""
    if work.run_id is None:
        return
    of_part = _of_part(work, step, part)
    if connection.execute(step_accounts.update().where(of_part).values(account=dict(account))).rowcount:
        return
    connection.execute(
        step_accounts.insert().values(
            tenant_id=work.tenant, run_id=work.run_id, step=step, part=part, account=dict(account)
        )
    )


def add(connection: Connection, work: Work, step: str, counts: Mapping[str, int], part: str = WHOLE) -> dict[str, int]:
    """Add the counts of this transaction to the account of a part of the step; the sums, by the names in `counts`.

    Transactions that count the same part of the same step must wait for each other, as those do that take the same
    marks or load the same table.
    """
    if work.run_id is None:
        return dict(counts)
    before = connection.scalar(sa.select(_column.account).where(_of_part(work, step, part))) or {}
    sums = {name: before.get(name, 0) + count for name, count in counts.items()}
    if any(counts.values()):
        keep(connection, work, step, {**before, **sums}, part)
    return sums


def _of_step(work: Work, step: str) -> sa.ColumnElement[bool]:
    return sa.and_(_column.tenant_id == work.tenant, _column.run_id == work.run_id, _column.step == step)


def _of_part(work: Work, step: str, part: str) -> sa.ColumnElement[bool]:
    return sa.and_(_of_step(work, step), _column.part == part)
