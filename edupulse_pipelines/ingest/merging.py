"""Bringing one delivery into its table, in one transaction: rows, quarantine, account and marks, or nothing at all.

Reading and judging is in `delivery`, how rows are written in `writers`, what is left of a snapshot in `snapshots`.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from sqlalchemy.engine import Connection

from edupulse_pipelines.ingest import accounts, quarantine, snapshots
from edupulse_pipelines.ingest.accounts import DeliveryCounts
from edupulse_pipelines.ingest.ahead import ahead
from edupulse_pipelines.ingest.confirmations import merge_confirming
from edupulse_pipelines.ingest.delivered_rows import DeliveredRows
from edupulse_pipelines.ingest.delivery import Delivery, Nothing, read_and_judged, says_nothing_new, without_copies
from edupulse_pipelines.ingest.frames import Piece
from edupulse_pipelines.ingest.marks import Marks
from edupulse_pipelines.ingest.quarantine import BadRow
from edupulse_pipelines.ingest.school_days import store_instructional_days
from edupulse_pipelines.ingest.table_load import TableLoad
from edupulse_pipelines.ingest.validation import Reasons
from edupulse_pipelines.ingest.writers.outcomes import OUTCOMES, UPDATED, Prepared, Writer
from edupulse_pipelines.schema.reasons import only_waits
from edupulse_pipelines.sources.profiles import presentable_codes
from edupulse_pipelines.storage import manifest
from edupulse_pipelines.storage.history import first_known
from edupulse_pipelines.storage.manifest import Entry
from edupulse_pipelines.weeks import week_of_delivery


def deliver(load: TableLoad, delivery: Delivery, *, again: bool = False) -> None:
    """Bring one delivery into its table, and account for every row of it.

    again: whether the run merges it only because rows of it have been freed from quarantine.
    """
    delivered_on, files, rows = delivery.delivered_on, delivery.files, delivery.rows
    if rows is not None:
        merge_confirming(load, delivered_on)
        load.make_room(rows)
    with load.writing() as connection:
        now = manifest.delivery(connection, load.work, load.table, delivered_on)
        if [_state(file) for file in now] != [_state(file) for file in files]:
            files, rows = now, None  # loaded or superseded by another run meanwhile, or a student of it was erased
        if rows is not None:
            counts = merge(connection, load, delivery, rows)
            load.keep_account(connection, counts, files, again=again)
            return
        nothing = says_nothing_new(connection, load, delivered_on, files)
        if nothing is not None:
            counts = _count_again(connection, load, delivered_on, files, nothing)
            load.keep_account(connection, counts, files, again=again)
            return
    deliver(load, read_and_judged(load, delivered_on, files), again=again)


def _state(file: Entry) -> tuple[object, ...]:
    return file.id, file.status, file.rows_erased


def deliver_again(load: TableLoad) -> None:
    """Merge the deliveries of which another one has freed rows from quarantine."""
    done: set[dt.date] = set()
    while waiting := load.open_again - done:
        delivered_on = min(waiting)
        # Each delivery once, or two that free each other's rows would go on for ever.
        done.add(delivered_on)
        with load.work.reading() as connection:
            files = manifest.delivery(connection, load.work, load.table, delivered_on)
        if any(not file.is_loaded for file in files):
            deliver(load, read_and_judged(load, delivered_on, files), again=True)


def _count_again(
    connection: Connection, load: TableLoad, delivered_on: dt.date, files: list[Entry], nothing: Nothing
) -> DeliveryCounts:
    """The account of a delivery that says nothing new: its rows in quarantine, and all others as unchanged."""
    counts = DeliveryCounts(week_of_delivery(delivered_on), delivered_on)
    reasons: Counter[str] = Counter()
    marks = load.marks(connection)
    known_before = _first_known(connection, load)
    for file in files:
        of_file, waiting = quarantine.open_reasons(connection, load.work, load.table, file.sha256)
        reasons.update(of_file)
        counts.waiting += waiting
        quarantined = quarantine.open_count(connection, load.work, load.table, file.sha256)
        unchanged = file.rows_read - quarantined
        if not file.is_loaded:
            same = manifest.loaded_with_content(connection, load.work, load.table, file.sha256)
            rows_by_week = next((entry.rows_by_week for entry in same if entry.rows_by_week is not None), None)
            _supersede_replaced(connection, load, file)
            _mark_week(connection, load, delivered_on, file.rows_read, marks)
            outcome = {"unchanged": unchanged, "quarantined": quarantined}
            manifest.enter_account(
                connection,
                load.work,
                file,
                outcome,
                rows_by_week=rows_by_week,
                confirms_only=nothing == "confirms",
            )
        counts.read += file.rows_read + file.rows_erased
        counts.erased_student += file.rows_erased
        counts.quarantined += quarantined
        counts.unchanged += unchanged
    _mark_moved(known_before, _first_known(connection, load), marks)
    load.leave(connection, marks)
    counts.reasons = dict(sorted(reasons.items()))
    counts.left_out = accounts.left_out(files)
    load.advance(counts.read)
    return counts


def merge(connection: Connection, load: TableLoad, delivery: Delivery, rows: DeliveredRows) -> DeliveryCounts:
    """Write the good rows of one delivery, keep its bad ones, and enter the account of each of its files.

    In a transaction of the table's load, with room made for the rows.
    """
    load.merged = True
    delivered_on, files = delivery.delivered_on, delivery.files
    erased = sum(file.rows_erased for file in files)
    counts = DeliveryCounts(
        week_of_delivery(delivered_on), delivered_on, read=delivery.count + erased, erased_student=erased
    )
    marks = load.marks(connection)
    if not all(file.loaded_at for file in files):
        _mark_week(connection, load, delivered_on, delivery.count, marks)
    weeks = {
        file.sha256: rows.rows_by_week(number, load.tenant.no_event_before)
        for number, file in enumerate(without_copies(files))
    }
    known_before = _first_known(connection, load)
    for file in files:
        _supersede_replaced(connection, load, file)
    writer = load.writer(connection, rows, marks)
    tally, by_content = _write(connection, load, delivery, rows, writer, counts)
    _enter_accounts(connection, load, files, by_content, weeks, tally, counts)
    _mark_moved(known_before, _first_known(connection, load), marks)
    counts.deleted += snapshots.apply(connection, load, delivered_on, marks)
    manifest.add_deleted(connection, files[0], counts.deleted)
    store_instructional_days(connection, load, delivered_on, without_copies(files))
    load.leave(connection, marks)
    counts.reasons = dict(sorted(tally.items()))
    counts.unmapped_codes = presentable_codes(rows.unmapped)
    counts.left_out = accounts.left_out(files)
    return counts


def _write(
    connection: Connection,
    load: TableLoad,
    delivery: Delivery,
    rows: DeliveredRows,
    writer: Writer[Any],
    counts: DeliveryCounts,
) -> tuple[Counter[str], dict[str, dict[str, int]]]:
    """Write piece after piece; how often each reason was given, and by content (hash) the rows by outcome."""
    originals = without_copies(delivery.files)
    cells = np.zeros((len(originals), len(OUTCOMES)), dtype=np.int64)
    tally: Counter[str] = Counter()
    for prepared in ahead(_prepared(delivery, writer)):
        piece, reasons = prepared.piece, prepared.reasons
        outcomes = writer.write(prepared)
        tally.update(code for codes in reasons.values() for code in codes)
        counts.waiting += sum(map(only_waits, reasons.values()))
        counts.deleted += int((piece.deleted & (outcomes == UPDATED)).sum())
        of_piece = np.bincount(piece.file.astype(np.int64) * len(OUTCOMES) + outcomes, minlength=cells.size)
        cells += of_piece.reshape(cells.shape)
        _keep_bad(connection, load, originals, rows, piece, reasons)
        load.advance(len(piece))
    writer.close()
    return tally, {
        file.sha256: dict(zip(OUTCOMES, cells[number].tolist(), strict=True)) for number, file in enumerate(originals)
    }


def _prepared(delivery: Delivery, writer: Writer[Any]) -> Iterator[Prepared]:
    """The pieces, read, judged and sorted out without the database, so that a second thread may make them."""
    for piece, reasons in delivery.pieces:
        yield writer.prepare(piece, reasons, np.ones(len(piece), dtype=np.bool_))


def _enter_accounts(
    connection: Connection,
    load: TableLoad,
    files: list[Entry],
    by_content: dict[str, dict[str, int]],
    weeks: Mapping[str, dict[str, int] | None],
    tally: Counter[str],
    counts: DeliveryCounts,
) -> None:
    """Enter what became of each file's rows; a copy of another file of the delivery has brought nothing of its own.

    `weeks`: by content its rows by week.
    """
    originals = {file.id for file in without_copies(files)}
    for file in files:
        outcome, rows_by_week = by_content[file.sha256], weeks[file.sha256]
        if file.id not in originals:
            quarantined = outcome["quarantined"]
            outcome = {"unchanged": file.rows_read - quarantined, "quarantined": quarantined}
            reasons, waiting = quarantine.open_reasons(connection, load.work, load.table, file.sha256)
            tally.update(reasons)
            counts.waiting += waiting
            load.advance(file.rows_read)
        entered = accounts.of_second_merge(file, outcome) if file.id in load.reopened else outcome
        manifest.enter_account(connection, load.work, file, entered, rows_by_week=rows_by_week)
        for name, count in outcome.items():
            setattr(counts, name, getattr(counts, name) + count)


def _keep_bad(
    connection: Connection,
    load: TableLoad,
    files: list[Entry],
    rows: DeliveredRows,
    piece: Piece,
    reasons: Reasons,
) -> None:
    """Make the quarantine of a piece's lines exactly its bad rows, and see which other deliveries that concerns."""
    bad = sorted(reasons)
    by_file: dict[int, dict[int, BadRow]] = {}
    for row, (number, line, raw) in zip(bad, rows.raw(piece, bad), strict=True):
        by_file.setdefault(number, {})[line] = BadRow(raw, reasons[row])
    for number in np.unique(piece.file).tolist():
        file = files[number]
        lines = piece.line_numbers[piece.file == number]
        freed = quarantine.keep(
            connection,
            load.work,
            file,
            lines=(int(lines.min()), int(lines.max())),
            bad=by_file.get(number, {}),
        )
        if freed:
            # The other deliveries of this content share its entries in quarantine, which are closed now: their rows
            # are good as well.
            opened = manifest.reopen(connection, load.work, load.table, file.sha256, but=file.delivered_on)
            load.open_again.update(other.delivered_on for other in opened)
            load.reopened.update(other.id for other in opened)


def _mark_week(connection: Connection, load: TableLoad, delivered_on: dt.date, rows: int, marks: Marks) -> None:
    """A week becomes one with data, or a domain begins: every student's vectors from there on are stale."""
    week = week_of_delivery(delivered_on)
    loaded = manifest.loaded_between(connection, load.work, load.table, week, week + dt.timedelta(days=8))
    of_week = [count for day, count in loaded if week_of_delivery(day) == week]
    if not of_week or (rows and not any(of_week)):
        marks.add_everybody("student_features", week)


def _first_known(connection: Connection, load: TableLoad) -> dt.date | None:
    """From which week on the table's domain is known; None without a domain or a delivery."""
    if load.record.domain is None:
        return None
    return first_known(manifest.weeks_delivered(connection, load.work, load.table))


def _mark_moved(before: dt.date | None, after: dt.date | None, marks: Marks) -> None:
    """Where a domain is known from another week on, everybody's vectors from the earlier of the two on are stale."""
    if before != after:
        marks.add_everybody("student_features", min(week for week in (before, after) if week is not None))


def _supersede_replaced(connection: Connection, load: TableLoad, file: Entry) -> None:
    """A corrected file of the same name in the same delivery replaces the content that was loaded before."""
    for entry in manifest.supersede_replaced(connection, file):
        if not manifest.loaded_with_content(connection, load.work, load.table, entry.sha256):
            quarantine.supersede(connection, load.work, load.table, entry.sha256)
