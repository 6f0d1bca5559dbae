"""Reading and judging deliveries: which are due, whether they say anything new, and their rows with their reasons.

Nothing is written here. The archive's rows are read in `delivered_rows` and judged in `validation`; what becomes of a
judged delivery is in `merging`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from sqlalchemy.engine import Connection

from edupulse_pipelines.ingest import delivered_rows, quarantine
from edupulse_pipelines.ingest.delivered_rows import ArchivedContent, DeliveredRows
from edupulse_pipelines.ingest.frames import Piece
from edupulse_pipelines.ingest.intact import intact_archive
from edupulse_pipelines.ingest.table_load import TableLoad
from edupulse_pipelines.ingest.validation import FUTURE_DATE, Reasons
from edupulse_pipelines.schema.source_formats import format_of
from edupulse_pipelines.schema.tables import ARCHIVED
from edupulse_pipelines.storage import manifest, numbers
from edupulse_pipelines.storage.manifest import Entry
from edupulse_pipelines.weeks import week_of_delivery

CONFIRMED_LATER_ROWS = 20_000
"""Rows from which on a delivery that only confirms the newest one is not merged until an older delivery asks for it:
rewriting every record for the sake of its `delivered_on` would cost as much as its first load."""

Nothing = Literal["loaded", "known", "confirms"]
"""Why a delivery says nothing new. `loaded`: its files have been loaded. `known`: every row of it was in one delivery
of its date or later. `confirms`: it repeats the newest loaded delivery, and that one is older."""
JudgedPiece = tuple[Piece, Reasons]


@dataclass
class Delivery:
    """One table's files of one delivery; `rows` and their judged `pieces` unless it says nothing new."""

    delivered_on: dt.date
    files: list[Entry]
    rows: DeliveredRows | None = None
    pieces: Iterable[JudgedPiece] = ()

    @property
    def count(self) -> int:
        """Rows in the files."""
        return sum(file.rows_read for file in self.files)


def due(load: TableLoad, weeks: set[dt.date]) -> list[Delivery]:
    """The deliveries of `weeks`, and those of earlier weeks with a file that was archived and never merged, in order.

    Their rows are not read yet.
    """
    with load.work.reading() as connection:
        deliveries = manifest.deliveries(connection, load.work, load.table)
    return [
        Delivery(delivered_on, files)
        for delivered_on, files in sorted(deliveries.items())
        if (week := week_of_delivery(delivered_on)) in weeks
        or (weeks and week < max(weeks) and any(file.status == ARCHIVED for file in files))
    ]


def judged(load: TableLoad, deliveries: Iterable[Delivery]) -> Iterator[Delivery]:
    """The deliveries in order with their rows and judged pieces; without for one that says nothing new.

    Small deliveries are judged together: the price of a validation is mostly per call, not per row.
    """
    group: list[Delivery] = []
    rows_in_group = 0
    for delivery in deliveries:
        with load.work.reading() as connection:
            nothing = says_nothing_new(connection, load, delivery.delivered_on, delivery.files) is not None
        count = 0 if nothing else delivery.count
        if group and rows_in_group + count > delivered_rows.PIECE_ROWS:
            yield from _judged_together(load, group)
            group, rows_in_group = [], 0
        if not nothing:
            delivery.rows = rows_of(load, delivery.files)
        group.append(delivery)
        rows_in_group += count
    yield from _judged_together(load, group)


def _judged_together(load: TableLoad, group: list[Delivery]) -> Iterator[Delivery]:
    small = {
        delivery.delivered_on: list(delivery.rows.pieces())
        for delivery in group
        if delivery.rows is not None and delivery.rows.count <= delivered_rows.PIECE_ROWS
    }
    pieces = [(day, piece) for day, of_day in small.items() for piece in of_day]
    verdicts = load.judged([piece for _, piece in pieces]) if pieces else []
    with_reasons: dict[dt.date, list[JudgedPiece]] = {day: [] for day in small}
    for (day, piece), reasons in zip(pieces, verdicts, strict=True):
        with_reasons[day].append((piece, reasons))
    for delivery in group:
        if delivery.rows is not None:
            in_group = with_reasons.get(delivery.delivered_on)
            delivery.pieces = pieces_of(load, delivery.rows) if in_group is None else in_group
        yield delivery


def pieces_of(load: TableLoad, rows: DeliveredRows) -> Iterator[JudgedPiece]:
    """The pieces of a delivery with the reasons of their rows, one after the other."""
    for piece in rows.pieces():
        yield piece, load.judged([piece])[0]


def read_and_judged(load: TableLoad, delivered_on: dt.date, files: list[Entry]) -> Delivery:
    """One delivery with its rows and judged pieces, whether or not it says anything new."""
    rows = rows_of(load, files)
    return Delivery(delivered_on, files, rows, pieces_of(load, rows))


def rows_of(load: TableLoad, files: list[Entry]) -> DeliveredRows:
    """The rows of one delivery's files, with what people have corrected. PermanentError as `intact_archive` says."""
    originals = without_copies(files)
    paths = [intact_archive(load, file) for file in originals]
    with load.work.reading() as connection:
        joined = numbers.joined_numbers(connection, load.work)
        contents = [
            ArchivedContent(
                file.file_name,
                path,
                file.rows_read,
                quarantine.corrections(connection, load.work, load.table, file.sha256),
                converted=format_of(file.source_format).converted,
                accepted=frozenset(quarantine.accepted_lines(connection, load.work, load.table, file.sha256)),
                has_ids=format_of(file.source_format).has_ids,
            )
            for file, path in zip(originals, paths, strict=True)
        ]
    return DeliveredRows(load.table, files[0].delivered_on, contents, load.tenant, joined)


def without_copies(files: list[Entry]) -> list[Entry]:
    """The files of one delivery without those whose content an earlier one has: a copy says nothing of its own."""
    originals: dict[str, Entry] = {}
    for file in files:
        originals.setdefault(file.sha256, file)
    return list(originals.values())


def says_nothing_new(
    connection: Connection, load: TableLoad, delivered_on: dt.date, files: list[Entry]
) -> Nothing | None:
    """Why these files of one delivery need not be merged; None when they have to be.

    For `known` and `confirms` it has to be one and the same delivery, because rows of different files can repeat or
    contradict each other; for `known` without a row of it in quarantine. Where a record's first delivery is a fact of
    its own (a student's `enrollment_date`, a school's), a later date does not say everything. A snapshot also says what
    is not there, so it is always merged.
    """
    if all(file.is_loaded for file in files):
        return "loaded"
    if any(file.snapshot for file in files):
        return None
    dates: set[dt.date] | None = None
    quarantined = 0
    for file in files:
        loaded = manifest.loaded_with_content(connection, load.work, load.table, file.sha256)
        of_file = {entry.delivered_on for entry in loaded}
        quarantined += sum(entry.rows_quarantined for entry in loaded)
        dates = of_file if dates is None else dates & of_file
    if not dates:
        return None
    later = delivered_on if load.keeps_first_delivery else max(dates)
    if not quarantined and any(delivered_on <= day <= later for day in dates):
        return "known"
    if sum(file.rows_read for file in files) < CONFIRMED_LATER_ROWS:
        return None
    newest = manifest.newest_loaded(connection, load.work, load.table)
    is_older = newest is not None and newest < delivered_on
    return "confirms" if is_older and _is_all_of(connection, load, newest, files) else None


def _is_all_of(connection: Connection, load: TableLoad, delivered_on: dt.date | None, files: list[Entry]) -> bool:
    """Whether these are exactly the files of that delivery, so that each row has the same verdict again.

    Rows that came too early then (`future_date`) could be judged differently now.
    """
    assert delivered_on is not None
    there = manifest.delivery(connection, load.work, load.table, delivered_on)
    if {file.sha256 for file in there} != {file.sha256 for file in files}:
        return False
    return not any(
        FUTURE_DATE in quarantine.open_reasons(connection, load.work, load.table, file.sha256)[0]
        for file in files
        if file.rows_quarantined or any(entry.rows_quarantined for entry in there)
    )
