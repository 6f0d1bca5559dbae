"""What a load did, in figures: the account of each delivery, and the report of all of them.

For every file, read = inserted + updated + unchanged + quarantined + erased_student. How the accounts of files are
stored is in `storage.manifest`, how those of a run's step are kept for its next try in `storage.step_accounts`.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from edupulse_pipelines.schema.tables import ACCOUNTS, ERASED_STUDENT
from edupulse_pipelines.sources.blanks import BLANK
from edupulse_pipelines.storage.manifest import Entry
from edupulse_pipelines.weeks import week_of_delivery


@dataclass
class DeliveryCounts:
    """The account of one table in one delivery by one run; `deleted`: stored records it took back."""

    week: dt.date
    delivered_on: dt.date
    read: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    quarantined: int = 0
    erased_student: int = 0
    """Rows of erased students, which the archive has left out."""
    waiting: int = 0
    """Of the quarantined: rows that are not bad and wait for something that may still come."""
    deleted: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    failed_expectations: list[dict[str, Any]] = field(default_factory=list)
    unmapped_codes: list[dict[str, Any]] = field(default_factory=list)
    """Codes that the tenant's profile does not map: column, code, rows."""
    left_out: dict[str, int] = field(default_factory=dict)
    """Entries of the source that are no records of the table, by reason; they are not among the rows read."""

    @property
    def blank(self) -> int:
        """Rows of its files without a value: they are neither read nor bad."""
        return self.left_out.get(BLANK, 0)

    @property
    def bad(self) -> int:
        """Quarantined rows that do not only wait."""
        return self.quarantined - self.waiting

    def as_json(self) -> dict[str, Any]:
        """The account to be kept; what follows from its date and its reasons is not in it."""
        return {name: getattr(self, name) for name in _KEPT}

    @classmethod
    def from_json(cls, delivered_on: dt.date, kept: Mapping[str, Any]) -> DeliveryCounts:
        """The account that `as_json` gave. The database does not keep the order of names."""
        counts = cls(week_of_delivery(delivered_on), delivered_on)
        for name, value in kept.items():
            setattr(counts, name, dict(sorted(value.items())) if isinstance(value, dict) else value)
        return counts


_KEPT = (*ACCOUNTS, ERASED_STUDENT, "waiting", "deleted", "reasons", "unmapped_codes", "left_out")


@dataclass
class LoadReport:
    """What loading a table in a run did, over all tries; `replayed` rows belong to accounts of earlier deliveries."""

    deliveries: list[DeliveryCounts] = field(default_factory=list)
    replayed: int = 0
    warnings: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class ReplayCounts:
    """What a replay did to one table's open rows."""

    tried: int = 0
    loaded: int = 0
    still_quarantined: int = 0


def of_second_merge(file: Entry, outcome: Mapping[str, int]) -> Mapping[str, int]:
    """The account of a file that is merged a second time: what it brought the first time it has brought."""
    inserted = file.rows_inserted + outcome.get("inserted", 0)
    updated = file.rows_updated + outcome.get("updated", 0)
    quarantined = outcome.get("quarantined", 0)
    unchanged = file.rows_read - inserted - updated - quarantined
    if unchanged < 0:  # a row was inserted the first time and updated the second
        return outcome
    return {"inserted": inserted, "updated": updated, "unchanged": unchanged, "quarantined": quarantined}


def left_out(files: Iterable[Entry]) -> dict[str, int]:
    """Entries of the files' sources that are no records of the table, by reason."""
    counts: Counter[str] = Counter()
    for file in files:
        counts.update(file.left_out or {})
    return dict(sorted(counts.items()))
