"""What has become of the rows of version 1.0: counted by batch beside the old tables, and added up by table."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.errors import PermanentError
from edupulse_pipelines.storage.version_1 import BATCHES, OLD_TABLES, old_name


@dataclass
class Counts:
    """Rows of one table or batch: read = kept + repeated + quarantined + recomputed.

    reasons: quarantined rows by reason, each of a row's reasons; others: what else is counted, by name.
    """

    read: int = 0
    kept: int = 0
    repeated: int = 0
    quarantined: int = 0
    recomputed: int = 0
    """Features: they are computed from records again, and the old ones stay where they are."""
    reasons: Counter[str] = field(default_factory=Counter)
    others: Counter[str] = field(default_factory=Counter)

    @property
    def balanced(self) -> bool:
        """Whether every row that was read is accounted for."""
        return self.read == self.kept + self.repeated + self.quarantined + self.recomputed

    def add(self, other: Counts) -> None:
        """Count these rows, too."""
        for name in ("read", "kept", "repeated", "quarantined", "recomputed"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.reasons.update(other.reasons)
        self.others.update(other.others)

    def as_json(self) -> dict[str, object]:
        """For `--json`."""
        return {
            "read": self.read,
            "kept": self.kept,
            "repeated": self.repeated,
            "quarantined": self.quarantined,
            "recomputed": self.recomputed,
            "reasons": dict(sorted(self.reasons.items())),
            **dict(sorted(self.others.items())),
        }


Report = dict[str, Counts]
"""By table of version 1.0."""


def take_turn(connection: Connection, table: str, batch: str) -> None:
    """Keep other adoptions of this database from bringing anything over until the transaction ends.

    PermanentError when one of them has brought this batch over: two processes do the same work then.
    """
    name = old_name(connection.dialect.name, BATCHES)
    if connection.dialect.name == "postgresql":  # on SQLite a transaction that writes is alone
        connection.exec_driver_sql(f"LOCK TABLE {name} IN SHARE ROW EXCLUSIVE MODE")
    if batch in batches_done(connection, table):
        raise PermanentError(
            "Another process is adopting this database, too, and has come first. Wait until that has ended: no row is "
            "brought over twice, and the same command goes on if the other was stopped."
        )


def enter_batch(connection: Connection, table: str, batch: str, counts: Counts) -> None:
    """Put on record what became of a batch, in the transaction that brings its rows over."""
    if not counts.balanced:
        raise RuntimeError(f"{table}, batch {batch!r}: not every row is accounted for")
    facts = {"recomputed": counts.recomputed, "reasons": counts.reasons, "others": counts.others}
    name = old_name(connection.dialect.name, BATCHES)
    connection.execute(
        sa.text(
            f"INSERT INTO {name} (table_name, batch, rows_read, kept, repeated, quarantined, counts)"
            " VALUES (:table, :batch, :read, :kept, :repeated, :quarantined, :counts)"
        ),
        {
            "table": table,
            "batch": batch,
            "read": counts.read,
            "kept": counts.kept,
            "repeated": counts.repeated,
            "quarantined": counts.quarantined,
            "counts": json.dumps(facts),
        },
    )


def batches_done(connection: Connection, table: str) -> set[str]:
    """The batches of a table that are over."""
    name = old_name(connection.dialect.name, BATCHES)
    return set(connection.scalars(sa.text(f"SELECT batch FROM {name} WHERE table_name = :table"), {"table": table}))


def report(connection: Connection) -> Report:
    """What has come over so far, by table."""
    name = old_name(connection.dialect.name, BATCHES)
    found: Report = {table: Counts() for table in OLD_TABLES}
    for row in connection.execute(
        sa.text(f"SELECT table_name, rows_read, kept, repeated, quarantined, counts FROM {name}")
    ):
        facts = json.loads(row.counts)
        found[row.table_name].add(
            Counts(
                row.rows_read,
                row.kept,
                row.repeated,
                row.quarantined,
                facts["recomputed"],
                Counter(facts["reasons"]),
                Counter(facts["others"]),
            )
        )
    return found


def total(counted: Iterable[Counts]) -> Counts:
    """The sum."""
    whole = Counts()
    for counts in counted:
        whole.add(counts)
    return whole
