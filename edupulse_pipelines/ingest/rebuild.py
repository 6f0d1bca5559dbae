"""Some students' records of one table made anew from all its deliveries, once it is known whose their numbers are.

What is stored of them goes, and every loaded delivery's rows under their numbers are judged and written again, oldest
first, with the quarantine and the accounts. So the result is that of loading everything under what is known now. Rare:
two children under one number, and numbers that people join.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Collection, Mapping

import numpy as np
import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.ingest import quarantine, snapshots
from edupulse_pipelines.ingest.delivered_rows import DeliveredRows
from edupulse_pipelines.ingest.delivery import rows_of, without_copies
from edupulse_pipelines.ingest.frames import Mask, Piece
from edupulse_pipelines.ingest.marks import Marks
from edupulse_pipelines.ingest.quarantine import BadRow
from edupulse_pipelines.ingest.student_enrolments import forget_said
from edupulse_pipelines.ingest.table_load import TableLoad
from edupulse_pipelines.ingest.take_back import TakenBack, take_back_again, taken_back
from edupulse_pipelines.ingest.validation import ANOTHER_CHILD, Reasons
from edupulse_pipelines.ingest.writers.outcomes import OUTCOMES, Outcomes
from edupulse_pipelines.schema.delivery import DELIVERED, STUDENT_NUMBER
from edupulse_pipelines.schema.sqlalchemy_tables import attendance_records, attendance_statements, enrollments, metadata
from edupulse_pipelines.schema.sqlalchemy_tables import students as students_table
from edupulse_pipelines.storage import manifest
from edupulse_pipelines.storage.bulk import read_rows
from edupulse_pipelines.storage.manifest import Entry

TakenBackByNumber = Mapping[str, Collection[TakenBack]]
Held = Mapping[str, Collection[int]]
"""By content (hash) the lines of students that name another child."""
_BEFORE_ALL = dt.date(1, 1, 1)
_AFTER_ALL = dt.date(9999, 12, 31)


def deliveries_naming(load: TableLoad, numbers: Collection[str]) -> dict[dt.date, list[Entry]]:
    """The loaded deliveries of the table with a row under one of these numbers, or one that names no number.

    Makes room for what they hold. PermanentError when an archive is gone.
    """
    with load.work.reading() as connection:
        deliveries = manifest.deliveries(connection, load.work, load.table)
    naming = []
    for delivered_on, files in sorted(deliveries.items()):
        loaded = [file for file in files if file.is_loaded]
        if not loaded:
            continue
        rows = rows_of(load, loaded)
        if any(rows_about(piece, numbers).any() for piece in rows.pieces()):
            load.make_room(rows)
            naming.append(delivered_on)
    with load.work.reading() as connection:  # again: reading an archive may have noted another hash of it
        deliveries = manifest.deliveries(connection, load.work, load.table)
    return {day: [file for file in deliveries[day] if file.is_loaded] for day in naming}


def rows_under(piece: Piece, numbers: Collection[str]) -> Mask:
    """The readable rows of a piece under one of these numbers."""
    column = piece.column(STUDENT_NUMBER)
    wanted = np.array([text in numbers for text in column.texts.to_pylist()], dtype=np.bool_)
    return column.where_value(wanted) & piece.readable


def rows_about(piece: Piece, numbers: Collection[str]) -> Mask:
    """The rows of a piece under one of these numbers, and those that take a record back by its id alone."""
    about = rows_under(piece, numbers)
    if STUDENT_NUMBER not in DELIVERED[piece.table].key_columns and piece.deleted.any():
        about |= piece.deleted & piece.names_its_record() & (piece.column(STUDENT_NUMBER).codes < 0)
    return about


def rebuild(
    connection: Connection,
    load: TableLoad,
    numbers: Collection[str],
    deliveries: Mapping[dt.date, list[Entry]],
    held: Held | None = None,
    taken_back_before: TakenBackByNumber | None = None,
) -> None:
    """Make the records of these numbers anew, in a transaction of the table's load.

    held: lines of another child. taken_back_before: enrolments that people have taken back, which they stay; by default
    those that are stored of these numbers.
    """
    marks = load.marks(connection)
    if taken_back_before is None:
        taken_back_before = taken_back(connection, load.work, numbers)
    if load.record.about_students:
        _forget(connection, load, numbers, marks)
    for delivered_on, files in sorted(deliveries.items()):
        rows = rows_of(load, files)
        originals = without_copies(files)
        writer = load.writer(connection, rows, marks)
        for piece in rows.pieces():
            asked = rows_about(piece, numbers)
            if not asked.any():
                continue
            (reasons,) = load.judged([piece])
            for number, file in enumerate(originals):
                lines = list((held or {}).get(file.sha256, ()))
                named = (piece.file == number) & np.isin(piece.line_numbers, lines)
                for row in np.flatnonzero(named).tolist():
                    reasons.setdefault(row, []).append(ANOTHER_CHILD)
            outcomes = writer.write(writer.prepare(piece, reasons, asked))
            for number, file in enumerate(originals):
                _account(connection, load, rows, file, piece, asked & (piece.file == number), reasons, outcomes)
        writer.close()
        manifest.note_merged(connection, load.work, load.table, delivered_on)
    snapshots.apply(connection, load, min(deliveries, default=_AFTER_ALL), marks)
    if load.table in (enrollments.name, students_table.name):
        is_sent = load.table == enrollments.name
        take_back_again(connection, load.work, marks, taken_back_before, is_sent=is_sent)
    load.leave(connection, marks)
    _recount(connection, load, deliveries)


def _recount(connection: Connection, load: TableLoad, deliveries: Collection[dt.date]) -> None:
    """Have the run tell the accounts of these deliveries as they are now, of those that it has looked at."""
    for delivered_on in set(deliveries) & set(load.accounts):
        counts = load.accounts[delivered_on]
        files = manifest.delivery(connection, load.work, load.table, delivered_on)
        for name in OUTCOMES:
            setattr(counts, name, sum(getattr(file, f"rows_{name}") for file in files))
        reasons: Counter[str] = Counter()
        counts.waiting = 0
        for file in files:
            of_file, waiting = quarantine.open_reasons(connection, load.work, load.table, file.sha256)
            reasons.update(of_file)
            counts.waiting += waiting
        counts.reasons = dict(sorted(reasons.items()))


def begin_students_anew(connection: Connection, load: TableLoad, first: Mapping[str, Mapping[str, object]]) -> None:
    """Have students say nothing but who they are (`first`, by number), so that every delivery's row says more."""
    table = students_table
    contract = DELIVERED[table.name]
    nobody = {name: None for name in contract.fields if table.c[name].nullable}
    marks = load.marks(connection)
    for number, identity in first.items():
        mine = sa.and_(table.c.tenant_id == load.work.tenant, table.c.district_id == number)
        row = connection.execute(sa.select(table.c.id, table.c.enrollment_date).where(mine)).one_or_none()
        if row is None:
            continue
        as_text = row.id.hex if connection.dialect.name == "sqlite" else str(row.id)
        marks.add_enrolment(row.enrollment_date, [as_text])
        values = {
            **nobody,
            **identity,
            "enrollment_date": _AFTER_ALL,
            "delivered_on": _BEFORE_ALL,
            "deleted_on": None,
            "field_deliveries": dict.fromkeys(contract.fields),
        }
        connection.execute(table.update().where(mine).values(**values))
        forget_said(connection, marks, row.id, as_text)
    marks.write(connection)


def _forget(connection: Connection, load: TableLoad, numbers: Collection[str], marks: Marks) -> None:
    """Remove the records of these students, and mark the weeks they were about, or what follows from enrolments."""
    table = metadata.tables[load.table]
    reference = DELIVERED[load.table].reference
    assert reference is not None
    of_them = sa.select(students_table.c.id).where(
        students_table.c.tenant_id == load.work.tenant, students_table.c.district_id.in_(sorted(numbers))
    )
    mine = sa.and_(table.c.tenant_id == load.work.tenant, table.c[reference].in_(of_them))
    if "origin" in table.c:  # the others follow from the students' deliveries
        mine = sa.and_(mine, table.c.origin == "sent")
    date = load.record.event_date or load.record.counts_from
    if date is not None:
        types = {"student": pa.string(), "date": pa.date32()}
        query = sa.select(table.c[reference], table.c[date]).where(mine)
        touched = read_rows(connection, query, types).combine_chunks()
        dates, of_students = touched["date"].combine_chunks(), touched["student"].combine_chunks()
        if load.record.event_date is not None:
            marks.add_dated("weekly_activity", dates, of_students)
        else:
            marks.add_enrolments(dates, of_students)
    connection.execute(table.delete().where(mine))
    if load.table == attendance_records.name:
        said = attendance_statements.c
        of_mine = sa.and_(said.tenant_id == load.work.tenant, said.student_id.in_(of_them))
        connection.execute(attendance_statements.delete().where(of_mine))


def _account(
    connection: Connection,
    load: TableLoad,
    rows: DeliveredRows,
    file: Entry,
    piece: Piece,
    mine: Mask,
    reasons: Reasons,
    outcomes: Outcomes,
) -> None:
    """Bring quarantine and account of one file up to what has become of its rows now.

    Takes eight arguments, because a row is known by its file, its piece and its place in it.
    """
    places = np.flatnonzero(mine).tolist()
    good = {int(piece.line_numbers[place]): OUTCOMES[outcomes[place]] for place in places if place not in reasons}
    released = quarantine.release(connection, load.work, load.table, file.sha256, list(good))
    if released:
        manifest.move_freed(connection, load.work, file, Counter(good[line] for line in released))
    bad = [place for place in places if place in reasons]
    if bad:
        lines = {
            line: BadRow(raw, reasons[place]) for place, (_, line, raw) in zip(bad, rows.raw(piece, bad), strict=True)
        }
        count = quarantine.hold(connection, load.work, file, lines)
        manifest.move_held(connection, load.work, load.table, file.sha256, count)
