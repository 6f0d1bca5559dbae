"""How sizes grow, and when a disk will be full, from what earlier measurements found.

They are kept in `<home>/maintenance/sizes.jsonl`, one line a day that was measured: bytes by area, table and disk, and
nothing else. A file of the home, so that the weekly job and the command add to the same one, without Dagster too; the
database needs no table for it. A line that cannot be read is passed over.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edupulse_pipelines.file_locks import only_one
from edupulse_pipelines.operations.upkeep.sizes import Sizes
from edupulse_pipelines.whole_files import write_whole

WINDOW = dt.timedelta(weeks=8)
"""Growth is over so long; what grew faster or slower before says little of today."""
_MOST_LINES = 1000
_LEAST_SPAN = dt.timedelta(hours=20)
"""Two measurements that are closer say nothing of a day's growth."""


@dataclass(frozen=True)
class Point:
    """What one measurement found, in bytes: by area, by table, and what was free on each disk."""

    at: dt.datetime
    areas: Mapping[str, int]
    tables: Mapping[str, int]
    free: Mapping[str, int]


@dataclass(frozen=True)
class Forecast:
    """A disk: what is free, how many bytes it loses a day, in how many days it is full.

    `per_day` None: not known yet; `days` None: not known, or it does not grow.
    """

    disk: str
    free: int
    total: int
    per_day: float | None
    days: float | None


def point_of(sizes: Sizes) -> Point:
    """What is kept of a measurement."""
    tables = {table.name: table.bytes for table in sizes.tables or ()}
    return Point(sizes.at, dict(sizes.areas), tables, {name: room.free for name, room in sizes.disks.items()})


def history_file(home: Path) -> Path:
    """Where measurements are kept."""
    return home / "maintenance" / "sizes.jsonl"


def history(home: Path) -> list[Point]:
    """Every measurement on record, the oldest first."""
    try:
        text = history_file(home).read_text(encoding="utf-8")
    except OSError:
        return []
    return sorted(_points(text), key=lambda point: point.at)


def _points(text: str) -> Iterator[Point]:
    for line in text.splitlines():
        try:
            kept = json.loads(line)
            at = dt.datetime.fromisoformat(kept["at"])
            parts = [{str(name): int(size) for name, size in kept[key].items()} for key in ("areas", "tables", "free")]
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
        if at.tzinfo is not None:
            yield Point(at, *parts)


def remember(home: Path, point: Point) -> None:
    """Add a measurement; one of the same day is replaced. OSError where the home cannot be written to."""
    file = history_file(home)
    file.parent.mkdir(parents=True, exist_ok=True)
    with only_one(file.with_suffix(".lock")):
        kept = [other for other in history(home) if other.at.date() != point.at.date()]
        lines = [
            json.dumps(
                {"at": one.at.isoformat(), "areas": one.areas, "tables": one.tables, "free": one.free}, sort_keys=True
            )
            for one in [*kept, point][-_MOST_LINES:]
        ]
        write_whole(file, "\n".join(lines) + "\n", mode=0o666)


def growth(before: Sequence[Point], now: Point) -> tuple[dict[str, float], dict[str, float]]:
    """Bytes a day by area and by table, since the oldest measurement within `WINDOW`; those not known left out."""
    areas: dict[str, float] = {}
    tables: dict[str, float] = {}
    for grown, of in ((areas, "areas"), (tables, "tables")):
        for name, size in getattr(now, of).items():
            rate = _per_day([(point.at, getattr(point, of).get(name)) for point in before], now.at, size)
            if rate is not None:
                grown[name] = rate
    return areas, tables


def forecasts(before: Sequence[Point], sizes: Sizes) -> list[Forecast]:
    """When each disk will be full, if it goes on as since the oldest measurement within `WINDOW`."""
    told = []
    for disk, room in sizes.disks.items():
        gained = _per_day([(point.at, point.free.get(disk)) for point in before], sizes.at, room.free)
        per_day = None if gained is None else -gained
        days = room.free / per_day if per_day is not None and per_day > 0 else None
        told.append(Forecast(disk, room.free, room.total, per_day, days))
    return told


def _per_day(before: Sequence[tuple[dt.datetime, int | None]], now: dt.datetime, size: int) -> float | None:
    known = [(at, value) for at, value in before if value is not None and now - WINDOW <= at <= now - _LEAST_SPAN]
    if not known:
        return None
    at, value = known[0]
    return (size - value) / ((now - at) / dt.timedelta(days=1))
