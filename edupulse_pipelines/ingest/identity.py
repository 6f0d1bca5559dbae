"""Whose a student's number is: the child's of the oldest delivery, whatever is loaded first.

A row of students whose names and date of birth are all others than those the number had before names another child
(`another_child`). It stays in quarantine until a person accepts it or the child has a number of its own; as long as the
newest row under the number is such a one, records that are delivered under it wait as well (`disputed_number`). When a
delivery comes late, or a row is accepted, all deliveries that name the number are looked at again, and what has changed
is made anew (`rebuild`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import sqlalchemy as sa

from edupulse_pipelines.ingest import quarantine
from edupulse_pipelines.ingest.delivery import rows_of, without_copies
from edupulse_pipelines.ingest.frames import Piece
from edupulse_pipelines.ingest.names import NAMED_BY, Identity
from edupulse_pipelines.ingest.rebuild import (
    TakenBackByNumber,
    begin_students_anew,
    deliveries_naming,
    rebuild,
    rows_under,
)
from edupulse_pipelines.ingest.table_load import TableLoad
from edupulse_pipelines.ingest.take_back import taken_back
from edupulse_pipelines.ingest.validation import ANOTHER_CHILD
from edupulse_pipelines.schema.delivery import STUDENT_NUMBER
from edupulse_pipelines.schema.sqlalchemy_tables import metadata
from edupulse_pipelines.schema.sqlalchemy_tables import students as students_table
from edupulse_pipelines.storage import numbers as stored_numbers
from edupulse_pipelines.storage.manifest import Entry
from edupulse_pipelines.storage.numbers import spans

LOST_ZEROS = "lost_zeros"
"""A warning: children with the same names and date of birth whose numbers differ only by zeros in front."""


@dataclass(frozen=True)
class NamedRow:
    """One good row of students under a number: where it stands, and whom it names."""

    delivered_on: dt.date
    file_hash: str
    line: int
    values: dict[str, object]
    accepted: bool


def settle(load: TableLoad, anew: Collection[str] = (), taken_back_before: TakenBackByNumber | None = None) -> None:
    """Look again at the numbers that rows of students have raised, and at those in dispute; nothing for other tables.

    anew: numbers whose students are made anew in any case, because a person has joined them or taken that back;
    taken_back_before: then also the enrolments of theirs that people have taken back.
    One transaction: the students, their rows in quarantine, the accounts and the disputes come together.
    """
    if load.table != students_table.name:
        return
    with load.work.reading() as connection:
        before = stored_numbers.disputes(connection, load.work)
        held_before = quarantine.lines_with(connection, load.work, load.table, ANOTHER_CHILD)
        twins = _without_zeros_alike(connection, load)
        joined = set(stored_numbers.joined_numbers(connection, load.work).values())
    if twins:
        load.warnings[LOST_ZEROS] = twins
    numbers = load.raised | set(before) | set(anew)
    if not numbers:
        return
    deliveries = deliveries_naming(load, numbers)
    named = _named_rows(load, numbers, deliveries)
    held: dict[str, set[int]] = {}
    disputes: dict[str, tuple[stored_numbers.Span, ...]] = {}
    changed = set(anew)
    for number in numbers:
        rows = named.get(number, [])
        marker = load.tenant.profile.missing_date_of_birth
        # Of a joined child a person has said that it is one, however it is named.
        verdicts = [True] * len(rows) if number in joined else judge(rows, marker)
        for row, is_owner in zip(rows, verdicts, strict=True):
            if not is_owner:
                held.setdefault(row.file_hash, set()).add(row.line)
            if is_owner == (row.line in held_before.get(row.file_hash, ())):
                changed.add(number)
        disputes[number] = spans((row.delivered_on, owner) for row, owner in zip(rows, verdicts, strict=True))
    with load.writing() as connection:
        if changed:
            first = {number: named[number][0].values for number in changed if named.get(number)}
            kept = taken_back_before or taken_back(connection, load.work, changed)
            begin_students_anew(connection, load, first)
            rebuild(connection, load, changed, deliveries, held, kept)
        stored_numbers.write_disputes(connection, load.work, disputes)
    load.raised.clear()


def judge(rows: list[NamedRow], marker: object) -> list[bool]:
    """For each of a number's rows, oldest first, whether it names the child who has the number."""
    verdicts = []
    child: Identity | None = None
    for row in rows:
        now = Identity.of(row.values, marker)
        is_owner = child is None or row.accepted or not child.is_another(now)
        child = now if is_owner else child
        verdicts.append(is_owner)
    return verdicts


def reclaim(load: TableLoad) -> None:
    """Take back records that were loaded for a number which turned out to be in dispute when they were delivered."""
    if not load.record.about_students:
        return
    table = metadata.tables[load.table]
    with load.work.reading() as connection:
        disputes = stored_numbers.disputes(connection, load.work)
        wrong = {
            number
            for number, of_number in disputes.items()
            if connection.scalar(
                sa.select(sa.func.count())
                .select_from(table.join(students_table, students_table.c.id == table.c.student_id))
                .where(
                    table.c.tenant_id == load.work.tenant,
                    students_table.c.district_id == number,
                    sa.or_(
                        *(
                            sa.and_(
                                table.c.delivered_on >= span.since,
                                *(() if span.until is None else (table.c.delivered_on < span.until,)),
                            )
                            for span in of_number
                        )
                    ),
                )
            )
        }
    if wrong:
        deliveries = deliveries_naming(load, wrong)
        with load.writing() as connection:
            rebuild(connection, load, wrong, deliveries)


def _named_rows(
    load: TableLoad, numbers: Collection[str], deliveries: dict[dt.date, list[Entry]]
) -> dict[str, list[NamedRow]]:
    """The rows under these numbers that nothing else is wrong with, by number, oldest first."""
    named: dict[str, list[NamedRow]] = {}
    for delivered_on, files in sorted(deliveries.items()):
        rows = rows_of(load, files)
        originals = without_copies(files)
        for piece in rows.pieces():
            places = _good_places(load, piece, numbers)
            for place in places:
                values = {name: _text(piece, name, place) for name in NAMED_BY}
                number = _text(piece, STUDENT_NUMBER, place)
                born = dt.date.fromisoformat(str(values["date_of_birth"]))
                named.setdefault(str(number), []).append(
                    NamedRow(
                        delivered_on,
                        originals[int(piece.file[place])].sha256,
                        int(piece.line_numbers[place]),
                        {**values, "date_of_birth": born},
                        rows.is_accepted(piece, place),
                    )
                )
    return named


def _good_places(load: TableLoad, piece: Piece, numbers: Collection[str]) -> list[int]:
    wanted = rows_under(piece, numbers) & ~piece.deleted & ~piece.repeat
    if piece.silent is not None:
        wanted &= ~piece.silent
    if not wanted.any():
        return []
    (reasons,) = load.judged([piece])
    return [place for place in np.flatnonzero(wanted).tolist() if place not in reasons]


def _text(piece: Piece, name: str, place: int) -> str | None:
    column = piece.column(name)
    code = int(column.codes[place])
    return None if code < 0 else str(column.texts[code].as_py())


def _without_zeros_alike(connection: sa.Connection, load: TableLoad) -> int:
    """How many children share names and date of birth with one whose number differs only by zeros in front."""
    columns = students_table.c
    plain = sa.func.ltrim(columns.district_id, "0")
    query = (
        sa.select(sa.func.count())
        .where(columns.tenant_id == load.work.tenant, columns.deleted_on.is_(None))
        .group_by(plain, *(columns[name] for name in NAMED_BY))
        .having(sa.func.count() > 1)
    )
    return sum(connection.scalars(query))
