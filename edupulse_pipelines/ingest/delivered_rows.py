"""One table's rows of one delivery, read from the archive piece by piece, identified over the whole delivery.

A large delivery is read twice: once for what tells repeats and conflicts, once for the rows; so memory does not grow
with the file. What people have corrected takes the place of what came, the tenant's profile is applied and blanks
around values are taken away, here and not in the archive: mending and replaying works. Nothing is judged here.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from edupulse_pipelines.encryption.archives import archive_schema_of, opened_archive
from edupulse_pipelines.errors import ConfigurationError
from edupulse_pipelines.ingest.ahead import ahead
from edupulse_pipelines.ingest.archived_file import FORMER_COLUMNS
from edupulse_pipelines.ingest.earlier_records import EARLIER_COLUMNS, Earlier
from edupulse_pipelines.ingest.frames import Coded, Identities, Integers, Mask, Piece, fingerprints
from edupulse_pipelines.schema.delivery import DELIVERED, SCHOOL, STUDENT_NUMBER
from edupulse_pipelines.schema.tables import TABLES
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.sources.blanks import trimmed_rows
from edupulse_pipelines.sources.file_names import name_outside
from edupulse_pipelines.sources.profiles import add_codes, apply_profile, canonical_names
from edupulse_pipelines.sources.records import FIELDS, LINE_NUMBER, PROBLEM, SYSTEM_COLUMNS, RefusedFile
from edupulse_pipelines.weeks import week_start

PIECE_ROWS = 250_000
_PIECE_ROWS_OF_TEXT = 100_000
"""Of tables not partitioned by month, whose rows hold text of their own: a piece takes about as much memory."""
_KEPT_BYTES = 96 << 20
"""Up to here a delivery's rows are kept from the first reading for the second."""
_NOT_OF_THE_FILE = {*SYSTEM_COLUMNS, *FORMER_COLUMNS}
"""The archive's own columns, also in archives of the first release."""

Corrections = Mapping[int, Mapping[str, str]]
"""By line of one file: the row as a person corrected it, by column of the file."""


@dataclass(frozen=True)
class ArchivedContent:
    """A file of a delivery as the archive has it."""

    name: str
    path: Path
    rows: int
    corrections: Corrections
    converted: bool = False
    """Whether a converter has written the rows, so that they have canonical columns, dates and numbers."""
    accepted: frozenset[int] = frozenset()
    """Lines that a person has said to be right."""
    has_ids: bool = False
    """Whether the rows were records of version 1.0 and bring their ids along."""


class DeliveredRows:
    """The rows of one table in one delivery; `pieces` may be called more than once.

    `unmapped`: texts that the profile has no value for, by column, counted while `pieces` is iterated (each time anew).
    """

    def __init__(
        self,
        table: str,
        delivered_on: dt.date,
        files: list[ArchivedContent],
        tenant: TenantSettings,
        joined: Mapping[str, str] | None = None,
    ) -> None:
        """`joined`: by each number that was given up the number of the joined child, under which its rows are read."""
        self.table = table
        self.delivered_on = delivered_on
        self._days: list[Counter[dt.date]] = [Counter() for _ in files]
        self.unmapped: Counter[tuple[str, str]] = Counter()
        self.count = sum(file.rows for file in files)
        self._files = files
        self._profile = tenant.profile
        self._zone = ZoneInfo(tenant.timezone)
        self._joined = joined or {}
        self._event_date = DELIVERED[table].record.event_date
        self._piece_rows = PIECE_ROWS if TABLES[table].partition_by_month else min(PIECE_ROWS, _PIECE_ROWS_OF_TEXT)
        self._headers = [archive_schema_of(file.path).names for file in files]
        self._kept: list[Piece] | None = []
        self._school_named: set[bool] = set()
        kept_bytes = 0
        self._identities = Identities(table)
        for piece, unmapped in ahead(self._read()):
            add_codes(self.unmapped, unmapped)
            self._identities.add(fingerprints(piece))
            self._count_days(piece)
            if SCHOOL in DELIVERED[table].natural_key:
                self._school_named.update(np.unique(piece.column(SCHOOL).codes >= 0).tolist())
            kept_bytes += piece.nbytes
            if self._kept is not None:
                self._kept.append(piece)
            if kept_bytes > _KEPT_BYTES:
                self._kept = None
        self._identities.finish()
        self._unmapped_of_first = Counter(self.unmapped)

    def header(self, file: int) -> list[str]:
        """The columns of a file as it has them."""
        return [name for name in self._headers[file] if name not in _NOT_OF_THE_FILE]

    def pieces(self) -> Iterator[Piece]:
        """The rows, with numbers and identity, in file and line order."""
        self.unmapped = Counter()
        if self._kept is not None:
            self.unmapped = Counter(self._unmapped_of_first)
            yield from map(self._identities.attach, self._kept)
            return
        for piece, unmapped in self._read():
            add_codes(self.unmapped, unmapped)
            yield self._identities.attach(piece)

    def raw(self, piece: Piece, rows: list[int]) -> list[tuple[int, int, Any]]:
        """These rows as they came: (file, line, an object by column name, or the fields of a row that does not fit)."""
        wanted: dict[int, set[int]] = {}
        for row in rows:
            wanted.setdefault(int(piece.file[row]), set()).add(int(piece.line_numbers[row]))
        by_place = {}
        for file, lines in wanted.items():
            with opened_archive(self._files[file].path) as archive:
                for group in self._groups_with(archive, min(lines), max(lines)):
                    part = archive.read_row_group(group)
                    asked = np.isin(part[LINE_NUMBER].to_numpy(), list(lines))
                    for values in part.filter(pa.array(asked)).to_pylist():
                        by_place[file, values[LINE_NUMBER]] = _as_it_came(values)
        places = [(int(piece.file[row]), int(piece.line_numbers[row])) for row in rows]
        return [(file, line, by_place[file, line]) for file, line in places]

    @staticmethod
    def _groups_with(archive: pq.ParquetFile, first: int, last: int) -> Iterator[int]:
        column = archive.schema_arrow.names.index(LINE_NUMBER)
        for group in range(archive.num_row_groups):
            statistics = archive.metadata.row_group(group).column(column).statistics
            if statistics is None or (statistics.min <= last and statistics.max >= first):
                yield group

    def is_joined(self, number: str) -> bool:
        """Whether a person has joined another number to this one, so that its rows may name the child in two ways."""
        return number in self._joined.values()

    def is_accepted(self, piece: Piece, row: int) -> bool:
        """Whether a person has said that this row of a piece is right."""
        return int(piece.line_numbers[row]) in self._files[int(piece.file[row])].accepted

    @property
    def names_some_schools(self) -> bool:
        """Whether some of the rows name a school and some do not, in a table where it may be part of the key."""
        return len(self._school_named) > 1

    @property
    def days(self) -> Counter[dt.date]:
        """Rows by event date."""
        return sum(self._days, Counter())

    def _join(self, columns: dict[str, Coded], count: int) -> Mask | None:
        """Read numbers that were given up as the joined child's; which rows of students say nothing of their own.

        In `students` that is where the delivery also names the child under its other number.
        """
        numbers = columns.get(STUDENT_NUMBER)
        texts = numbers.texts.to_pylist() if numbers is not None and self._joined else []
        given_up = [place for place, text in enumerate(texts) if text in self._joined]
        if numbers is None or not given_up:
            return None
        silent = np.zeros(count, dtype=np.bool_)
        there = set(texts)
        for place in given_up:
            number = self._joined[texts[place]]
            if self.table == "students" and number in there:
                silent |= numbers.codes == place
                continue
            texts[place] = number
            there.add(number)
        columns[STUDENT_NUMBER] = Coded.of(numbers.take(pa.array(texts, pa.string())))
        return silent

    def rows_by_week(self, file: int, earliest: dt.date) -> dict[str, int] | None:
        """Rows of a file by the Monday (ISO) of their event's week, those from `earliest` to the delivery."""
        if self._event_date is None:
            return None
        weeks: Counter[str] = Counter()
        for day, count in self._days[file].items():
            if count and earliest <= day <= self.delivered_on:
                weeks[week_start(day).isoformat()] += count
        return dict(sorted(weeks.items()))

    def _count_days(self, piece: Piece) -> None:
        if self._event_date is None or self._event_date not in piece.columns:
            return
        dates = piece.columns[self._event_date]
        days = [_day(text) for text in dates.texts.to_pylist()]
        for file in np.unique(piece.file).tolist():
            codes = dates.codes[piece.file == file]
            counts = np.bincount(codes[codes >= 0], minlength=len(days)).tolist()
            for day, count in zip(days, counts, strict=True):
                if day is not None and count:
                    self._days[file][day] += count

    # Reading

    def _read(self) -> Iterator[tuple[Piece, Counter[tuple[str, str]]]]:
        start = 0
        parts: list[tuple[int, pa.Table]] = []
        for file, part in self._parts():
            parts.append((file, part))
            if sum(len(rows) for _, rows in parts) >= self._piece_rows:
                piece, unmapped = self._piece(parts, start)
                start += len(piece)
                parts = []
                yield piece, unmapped
        if parts:
            yield self._piece(parts, start)

    def _parts(self) -> Iterator[tuple[int, pa.Table]]:
        """The rows of each file piece by piece, under our names of the columns that the table knows."""
        contract = DELIVERED[self.table]
        for number, file in enumerate(self._files):
            header = self.header(number)
            canonical = header if file.converted else self._canonical(number, header)
            ours = dict(zip(header, canonical, strict=True))
            names = [name for name in header if ours[name] in contract.column_names]
            if file.has_ids:
                names += EARLIER_COLUMNS
            with opened_archive(file.path) as archive:
                for group in range(archive.num_row_groups):
                    part = archive.read_row_group(group, columns=[LINE_NUMBER, PROBLEM, *names])
                    for begin in range(0, len(part), self._piece_rows):
                        piece = part.slice(begin, self._piece_rows)
                        if file.corrections:
                            piece = _corrected(piece, file.corrections)
                        yield number, piece.rename_columns([LINE_NUMBER, PROBLEM, *(ours[name] for name in names)])

    def _canonical(self, number: int, names: list[str]) -> list[str]:
        """Our names of these columns of a file. ConfigurationError when the profile now gives two of them one name."""
        try:
            return canonical_names(names, self.table, self._profile)
        except RefusedFile as refusal:  # the profile has changed since the file was archived
            told = name_outside(self._files[number].name, number + 1)
            raise ConfigurationError(
                f"{self.delivered_on}/{told}: {refusal.detail} under the profile of now; mend "
                f"[tenants.….profile.columns.{self.table}]."
            ) from None

    def _piece(self, parts: list[tuple[int, pa.Table]], start: int) -> tuple[Piece, Counter[tuple[str, str]]]:
        contract = DELIVERED[self.table]
        unmapped: Counter[tuple[str, str]] = Counter()
        reasons: dict[int, list[str]] = {}
        tables, as_came = [], []
        earlier: list[pa.Table | None] = []
        padded: set[str] = set()
        present: dict[int, frozenset[str]] = {}
        offset = 0
        for file, part in parts:
            converted, has_ids = self._files[file].converted, self._files[file].has_ids
            earlier.append(part.select(EARLIER_COLUMNS) if has_ids else None)
            bare, with_blanks = trimmed_rows(part.drop_columns(EARLIER_COLUMNS) if has_ids else part)
            rows = bare
            of_part: dict[int, list[str]] = {}
            codes: Counter[tuple[str, str]] = Counter()
            if not has_ids:  # version 1.0 had values of ours already
                rows, of_part, codes = apply_profile(
                    bare, self.table, self._profile, zone=self._zone, converted=converted, named=True
                )
            reasons.update({offset + row: given for row, given in of_part.items()})
            add_codes(unmapped, codes)
            present[file] = frozenset(rows.column_names)
            tables.append(rows)
            padded.update(with_blanks)
            for name in with_blanks:
                rows = rows.set_column(rows.column_names.index(name), name, part[name])
            as_came.append(rows)
            offset += len(rows)
        whole = _one_table(tables)
        problems = whole[PROBLEM]
        columns = {name: Coded.of(whole[name]) for name in contract.column_names if name in whole.column_names}
        silent = self._join(columns, len(whole))
        piece = Piece(
            table=self.table,
            start=start,
            file=np.repeat(np.array([file for file, _ in parts], dtype=np.int32), [len(part) for _, part in parts]),
            line_numbers=whole[LINE_NUMBER].to_numpy(),
            problems=(
                {row: problem for row, problem in enumerate(problems.to_pylist()) if problem is not None}
                if problems.null_count < len(problems)
                else {}
            ),
            columns=columns,
            silent=silent,
            earlier=(
                Earlier.of(earlier, [len(part) for _, part in parts], self._zone)
                if any(self._files[file].has_ids for file, _ in parts)
                else None
            ),
            as_came={name: Coded.of(_one_table(as_came)[name]) for name in sorted(padded)},
            present=present,
            given_reasons=reasons,
            delivered_on=self.delivered_on.isoformat(),
        )
        return piece, unmapped


def _one_table(tables: list[pa.Table]) -> pa.Table:
    return pa.concat_tables(tables, promote_options="default") if len(tables) > 1 else tables[0]


def _day(text: str) -> dt.date | None:
    try:
        return dt.date.fromisoformat(text)
    except ValueError:  # of a row that will be quarantined
        return None


def _as_it_came(values: dict[str, Any]) -> Any:
    if values[PROBLEM] is not None:
        return orjson.loads(values[FIELDS])
    return {name: value or "" for name, value in values.items() if name not in _NOT_OF_THE_FILE}


def _corrected(rows: pa.Table, corrections: Corrections) -> pa.Table:
    """The rows with the corrected ones in the place of those that came; a corrected row fits its header."""
    lines: Integers = rows[LINE_NUMBER].to_numpy()
    places = np.flatnonzero(np.isin(lines, list(corrections)))
    if not len(places):
        return rows
    for index, name in enumerate(rows.column_names):
        if name == LINE_NUMBER:
            continue
        values = rows[name].to_pylist()
        for place in places.tolist():
            corrected = corrections[int(lines[place])]
            values[place] = None if name in SYSTEM_COLUMNS else corrected.get(name) or None
        rows = rows.set_column(index, name, pa.array(values, pa.string()))
    return rows
