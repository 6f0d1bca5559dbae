"""Trying quarantined rows again: those that waited for something that has come, or all of a table's open ones.

The delivery is read anew from the archive, so that identity and conflicts are those of the whole delivery; only the
waiting lines are written. What quarantine holds is in `quarantine`, how people correct it in `corrections`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import islice

import numpy as np
import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.ingest import quarantine, snapshots
from edupulse_pipelines.ingest.accounts import ReplayCounts
from edupulse_pipelines.ingest.confirmations import merge_confirming
from edupulse_pipelines.ingest.delivered_rows import DeliveredRows
from edupulse_pipelines.ingest.delivery import rows_of, without_copies
from edupulse_pipelines.ingest.frames import Mask, Piece
from edupulse_pipelines.ingest.table_load import TableLoad
from edupulse_pipelines.ingest.validation import UNKNOWN_RECORD, Reasons
from edupulse_pipelines.ingest.writers.outcomes import OUTCOMES, Outcomes
from edupulse_pipelines.schema.delivery import STUDENT_NUMBER
from edupulse_pipelines.sources.blanks import trimmed
from edupulse_pipelines.sources.profiles import canonical_names
from edupulse_pipelines.storage import manifest
from edupulse_pipelines.storage.manifest import Entry
from edupulse_pipelines.storage.numbers import joined_numbers

_WAITING_BATCH = 20_000

Lines = Mapping[str, set[int]]
"""Lines to try again, by the hash of their file."""


def replay(load: TableLoad, *, every: bool = False, only: str | None = None) -> ReplayCounts:
    """Try the waiting rows of a table again (`every`: all open ones; `only`: those with this reason)."""
    with load.work.reading() as connection:
        lines, tried = _lines_to_try(connection, load, every=every, only=only)
        deliveries = manifest.deliveries(connection, load.work, load.table) if lines else {}
    # One content may have been delivered more than once: every delivery has its say, but a row is freed once.
    freed: set[tuple[str, int]] = set()
    for delivered_on, files in sorted(deliveries.items()):
        if not any(file.sha256 in lines and file.is_loaded for file in files):
            continue
        rows = rows_of(load, files)
        merge_confirming(load, delivered_on)
        load.make_room(rows)
        with load.writing() as connection:
            released = _merge_lines(connection, load, rows, files, lines) - freed
            load.replayed += len(released)
        freed |= released
    return ReplayCounts(tried, len(freed), tried - len(freed))


def _lines_to_try(
    connection: Connection, load: TableLoad, *, every: bool, only: str | None
) -> tuple[dict[str, set[int]], int]:
    """The lines to try again by file hash, and how many they are."""
    lines: dict[str, set[int]] = {}
    tried = 0
    waiting = iter(quarantine.waiting(connection, load.work, load.table, every=every))
    while batch := list(islice(waiting, _WAITING_BATCH)):
        wanted = [row for row in batch if only is None or only in row.reasons]
        for row in wanted if every else _maybe_good_now(connection, load, wanted):
            lines.setdefault(row.file_hash, set()).add(row.line_number)
            tried += 1
    return lines, tried


def _maybe_good_now(connection: Connection, load: TableLoad, rows: list[sa.Row]) -> list[sa.Row]:
    """Those of the waiting rows whose student has come, or that wait for something else."""
    if not load.record.about_students:
        return rows
    profile = load.tenant.profile

    def number(row: sa.Row) -> str | None:
        values = row.corrected or row.raw
        if not isinstance(values, dict):
            return None
        named = zip(canonical_names(list(values), load.table, profile), values.items(), strict=True)
        return next(
            (trimmed(str(value)) for ours, (name, value) in named if STUDENT_NUMBER in (name, ours)),
            None,
        )

    students, joined = load.students(connection), joined_numbers(connection, load.work)
    named = [joined.get(text, text) if (text := number(row)) is not None else None for row in rows]
    places = students.places(pa.array(named, pa.string()))
    return [
        row
        for row, text, place in zip(rows, named, places.tolist(), strict=True)
        if (place >= 0 or UNKNOWN_RECORD in row.reasons) and not students.is_disputed(text, row.delivered_on)
    ]


def _merge_lines(
    connection: Connection, load: TableLoad, rows: DeliveredRows, files: list[Entry], lines: Lines
) -> set[tuple[str, int]]:
    """Write only these lines of the delivery; those (file hash, line) that this has freed.

    Not those that another delivery of the same content, or another run meanwhile, has freed before.
    """
    freed: set[tuple[str, int]] = set()
    marks = load.marks(connection)
    originals = without_copies(files)
    writer = load.writer(connection, rows, marks)
    for piece in rows.pieces():
        asked = np.zeros(len(piece), dtype=np.bool_)
        for number, file in enumerate(originals):
            if file.sha256 in lines and file.is_loaded:
                asked |= (piece.file == number) & np.isin(piece.line_numbers, list(lines[file.sha256]))
        if not asked.any():
            continue
        (reasons,) = load.judged([piece])
        outcomes = writer.write(writer.prepare(piece, reasons, asked))
        for number, file in enumerate(originals):
            mine = asked & (piece.file == number)
            freed |= _release(connection, load, file, piece, mine, reasons, outcomes)
    writer.close()
    manifest.add_deleted(connection, files[0], snapshots.apply(connection, load, rows.delivered_on, marks))
    load.leave(connection, marks)
    return freed


def _release(
    connection: Connection,
    load: TableLoad,
    file: Entry,
    piece: Piece,
    mine: Mask,
    reasons: Reasons,
    outcomes: Outcomes,
) -> set[tuple[str, int]]:
    """Take the rows of one file that are loaded now out of quarantine, and give the others their reasons of now."""
    places = np.flatnonzero(mine).tolist()
    good = {int(piece.line_numbers[place]): OUTCOMES[outcomes[place]] for place in places if place not in reasons}
    released = quarantine.release(connection, load.work, load.table, file.sha256, list(good))
    if released:
        manifest.move_freed(connection, load.work, file, Counter(good[line] for line in released))
    still_bad = {int(piece.line_numbers[place]): reasons[place] for place in places if place in reasons}
    quarantine.reconsider(connection, load.work, load.table, file.sha256, still_bad)
    return {(file.sha256, line) for line in released}
