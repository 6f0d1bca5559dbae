"""How far a restore goes: to the newest change, to a time, to a named point, or to just before a transaction."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Literal


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
