"""How far a restore goes: to the newest change, to a time, to a named point, or to just before a transaction.

The record of changes (`audit_changes`) says by which transaction a change was made.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Literal

from edupulse_pipelines.errors import PermanentError
from edupulse_pipelines.operations.backup.barman_configuration import copying_url
from edupulse_pipelines.settings import Settings
from edupulse_pipelines.storage.database import Database


@dataclass(frozen=True)
class Target:
    """Where replaying WAL ends. Of `time`, `transaction` and `point` only the one that `kind` names is set."""

    kind: Literal["latest", "time", "transaction", "point"]
    time: dt.datetime | None = None
    """With a time zone. What was committed up to then is there, and nothing later. For a transaction: a time at which
    it had not yet been committed, by which the base backup is chosen."""
    transaction: int | None = None
    """The number of a transaction, which is the first that is *not* there."""
    point: str | None = None
    """The name of a restore point."""

    @classmethod
    def latest(cls) -> Target:
        """All that there is."""
        return cls("latest")

    @classmethod
    def at(cls, time: dt.datetime) -> Target:
        """What had been committed at this time (with a time zone)."""
        return cls("time", time=time)

    @classmethod
    def before_transaction(cls, number: int, not_committed_at: dt.datetime) -> Target:
        """What had been committed before this transaction was; it had not yet been at the time given."""
        return cls("transaction", transaction=number, time=not_committed_at)

    @classmethod
    def named(cls, point: str) -> Target:
        """What had been committed when this restore point was made."""
        return cls("point", point=point)

    @property
    def sentence(self) -> str:
        """The target in words, after "to"."""
        if self.kind == "time":
            assert self.time is not None
            return f"{self.time.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S.%f} UTC"
        if self.kind == "transaction":
            return f"just before transaction {self.transaction}"
        return f"the restore point {self.point!r}" if self.kind == "point" else "the newest change there is"


def target_before_change(settings: Settings, change: str) -> Target:
    """The target just before a change of the audit (its number) or the first change of a run (its id) was committed.

    What others committed before that stays, and whatever was committed later goes, by whom ever. PermanentError for an
    id that the record of changes does not hold. It asks the running database: without one, a time has to be named.
    """
    import sqlalchemy as sa

    if not change.strip():
        raise PermanentError("Neither the number of a change nor the id of a run was given.")
    by_number = change.isascii() and change.isdigit() and len(change) < 19
    statement = sa.text(
        "SELECT transaction_id, coalesce(linked_at, changed_at) FROM audit_changes "
        f"WHERE {'id = :given' if by_number else 'run_id = :given'} AND transaction_id IS NOT NULL "
        "ORDER BY link_number NULLS LAST, id LIMIT 1"
    )
    with Database(copying_url(settings)).unchecked_work() as work, work.reading() as connection:
        found = connection.execute(statement, {"given": int(change) if by_number else change}).first()
    if found is None:
        what = f"change {change}" if by_number else f"change by a run {change!r}"
        raise PermanentError(
            f"The record of changes holds no {what}: `edupulse audit` lists them. It may be older than the years that "
            "are kept; a restore to a time works without it."
        )
    return Target.before_transaction(found[0], found[1])
