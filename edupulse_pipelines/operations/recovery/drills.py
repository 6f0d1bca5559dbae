"""The drills there were: one line of JSON each in `drills.jsonl` of the home, oldest first; when the next one is due.

A line holds figures and findings in words, no value of a row. How a drill is done is in `drill`.
"""

from __future__ import annotations

import datetime as dt
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from edupulse_pipelines.settings import Settings

FILE = "drills.jsonl"


@dataclass(frozen=True, kw_only=True)
class Drill:
    """A drill. succeeded: everything that was compared is the same.

    findings: what is wrong, in words. unproven: what could not be looked at, with why. rpo_seconds: how old the last
    WAL received was when it began (SQLite: the newest moment): what a loss of the server would have lost then. seconds:
    by step. sizes: bytes and rows by name.
    """

    begun: dt.datetime
    ended: dt.datetime
    succeeded: bool
    findings: tuple[str, ...] = ()
    unproven: tuple[str, ...] = ()
    rpo_seconds: float | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    moment: str | None = None
    """The moment whose files were used."""

    @property
    def rto_seconds(self) -> float | None:
        """What it takes until a restored database answers: copying it, and replaying WAL; None where it did not."""
        parts = [self.seconds.get(name) for name in ("restore", "replay")]
        return None if None in parts else round(sum(part for part in parts if part is not None), 3)

    def facts(self) -> dict[str, Any]:
        """All of it for JSON."""
        return asdict(self) | {
            "begun": self.begun.isoformat(),
            "ended": self.ended.isoformat(),
            "rto_seconds": self.rto_seconds,
        }


def record_drill(settings: Settings, drill: Drill) -> None:
    """Write a drill into the record, at its end."""
    path = settings.home / FILE
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(drill.facts()) + "\n")
        stream.flush()
        os.fsync(stream.fileno())


def drills(settings: Settings) -> list[Drill]:
    """The drills on record, oldest first. A line that was cut off by a full disk is left out."""
    path: Path = settings.home / FILE
    found = []
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            with suppress(ValueError, KeyError, TypeError):
                found.append(_drill(json.loads(line)))
    return found


def trouble_with_drills(settings: Settings, now: dt.datetime) -> str | None:
    """Why somebody has to look: the last drill failed, there was none, or it was too long ago; else None."""
    there = drills(settings)
    days = settings.drill.overdue_days
    if not there:
        return "There was no drill yet: nobody knows whether the backups can be restored. Run `edupulse backup drill`."
    last = there[-1]
    if not last.succeeded:
        return f"The drill of {last.begun:%Y-%m-%d} failed: {'; '.join(last.findings) or 'it did not end'}."
    if (age := now - last.begun) > dt.timedelta(days=days):
        return f"The last drill was {age.days} days ago, and one is due every {days}: run `edupulse backup drill`."
    return None


def _drill(facts: dict[str, Any]) -> Drill:
    known = {name: facts[name] for name in Drill.__dataclass_fields__ if name in facts}
    read = Drill(**known)
    begun, ended = (dt.datetime.fromisoformat(facts[name]) for name in ("begun", "ended"))
    return replace(read, begun=begun, ended=ended, findings=tuple(read.findings), unproven=tuple(read.unproven))
