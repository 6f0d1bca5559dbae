"""What upkeep finds to do, and what came of each: plain data, for a command, a job and a test alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from edupulse_pipelines.operations.partitions import Maintenance

Kind = Literal["drop_index", "vacuum", "analyze", "reindex", "optimize", "checkpoint", "rewrite"]
Outcome = Literal["done", "planned", "left", "refused", "failed"]
"""done; planned: what a dry run would do; left: not now (in use, no space), the note says why; refused: no right;
failed: an error of the database, which next time will not mend."""


@dataclass(frozen=True)
class Task:
    """One thing to do, and why. `name` is of the table, index or file; `statement` can be pasted into psql.

    needs_bytes: the space that it takes on the disk until it is done. owner: the role that may do it; may: whether the
    connection's role may.
    """

    kind: Kind
    name: str
    table: str
    why: str
    statement: str
    needs_bytes: int = 0
    owner: str = ""
    may: bool = True


@dataclass(frozen=True)
class Result:
    """What came of a task. `saved_bytes`: by how much the index or file is smaller."""

    task: Task
    outcome: Outcome
    note: str = ""
    seconds: float = 0.0
    saved_bytes: int | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """As `--json` and Dagster tell it."""
        return {
            "kind": self.task.kind,
            "name": self.task.name,
            "table": self.task.table,
            "why": self.task.why,
            "outcome": self.outcome,
            "note": self.note,
            "statement": self.task.statement,
            "seconds": round(self.seconds, 3),
            "saved_bytes": self.saved_bytes,
        }


@dataclass
class Upkeep:
    """What upkeep did, or would do. `months`: by partitioned table. `notes`: what it could not look at, and why."""

    months: Mapping[str, Maintenance] = field(default_factory=dict)
    results: list[Result] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    invalid: list[str] = field(default_factory=list)
    """Indexes that are not valid and that upkeep does not drop: somebody else's business, each with its line."""

    @property
    def not_done(self) -> list[Result]:
        """What was to be done and is not."""
        return [result for result in self.results if result.outcome in ("left", "refused", "failed")]

    @property
    def refused(self) -> list[Result]:
        """What the role may not do."""
        return [result for result in self.results if result.outcome == "refused"]

    @property
    def failed(self) -> list[Result]:
        """What ended in an error of the database: a damaged table or index, say."""
        return [result for result in self.results if result.outcome == "failed"]

    @property
    def in_words(self) -> str:
        """`2 tables vacuumed, 1 index built anew`, and what is left; or that nothing was needed."""
        parts = [in_words for kind in _WORDS if (in_words := _counted(self.results, kind))]
        if left := len(self.not_done):
            parts.append(f"{left} not done")
        return ", ".join(parts) or "nothing needed"


_WORDS: Mapping[Kind, tuple[str, str]] = {
    "drop_index": ("leftover index", "dropped"),
    "vacuum": ("table", "vacuumed"),
    "analyze": ("table", "analysed"),
    "reindex": ("index", "built anew"),
    "optimize": ("file", "analysed"),
    "checkpoint": ("write-ahead log", "written back"),
    "rewrite": ("file", "written anew"),
}


def _counted(results: Sequence[Result], kind: Kind) -> str:
    outcomes: Counter[str] = Counter(result.outcome for result in results if result.task.kind == kind)
    noun, verb = _WORDS[kind]
    parts = []
    for outcome, words in (("done", verb), ("planned", f"to be {verb}")):
        if count := outcomes[outcome]:
            plural = {"index": "indexes", "leftover index": "leftover indexes"}.get(noun, f"{noun}s")
            parts.append(f"{count} {noun if count == 1 else plural} {words}")
    return ", ".join(parts)
