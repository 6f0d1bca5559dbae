"""Corrections: edited CSVs of quarantined rows read back, and what was changed recorded beside the row as it came.

What stands in such a CSV, and what a spreadsheet does to cells on its own, is in `spreadsheets`; a cell that differs
only by that is no correction. Loading corrected rows is in `replay`.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
import re
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.errors import CorrectionsRefused
from edupulse_pipelines.ingest.spreadsheets import (
    FILE,
    ID,
    IDENTITY,
    LINE,
    NUL_SHOWN,
    RAW_LINE,
    as_loaded,
    breaks_folded,
    guarded,
    own_header,
    raw_line,
    rewritten_by_spreadsheet,
    unguarded,
)
from edupulse_pipelines.schema.sqlalchemy_tables import quarantined_records
from edupulse_pipelines.schema.tables import RECORD_TABLES
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.sources.profiles import canonical_names
from edupulse_pipelines.storage.turns import take_turn
from edupulse_pipelines.storage.work import Work

_BATCH = 1_000
_SHOWN = 20
_LONGEST_FIELD = 1 << 24
_DELIMITERS = ",;\t|"

Advanced = Callable[[int, int], None]
"""Called with rows read and 0: how many there are is not known."""


@dataclass(frozen=True)
class EditedRow:
    """One data row of an exported CSV as it came back."""

    source: str
    """Name of the CSV."""
    line: int
    identity: dict[str, str]
    """`_quarantine_id`, `_file`, `_line` as they came back."""
    raw_line: str | None
    cells: dict[str, str]


@dataclass
class CorrectionCounts:
    """What became of the rows of edited CSVs; `read` = `corrected` + `unchanged`."""

    read: int = 0
    corrected: int = 0
    unchanged: int = 0
    replaced: int = 0
    """Of the corrected ones: had been corrected before, and not loaded yet."""
    columns: dict[str, dict[str, int]] = field(default_factory=dict)
    """Corrected rows by table and by column whose value changed."""


class _Refusal(Exception):
    """Why one edited row cannot be taken: a rule, and what to do in words. Never a value."""

    def __init__(self, rule: str, said: str) -> None:
        super().__init__(f"{rule}: {said}")


def _emptied() -> _Refusal:
    return _Refusal("emptied_row", "nothing is left of the row; to leave it as it is, take out its line")


def read_edited(paths: Iterable[Path]) -> Iterator[EditedRow]:
    """The rows of edited CSVs, read as they are asked for. CorrectionsRefused names the line that cannot be read.

    Comma, semicolon, tab or pipe; UTF-8, or UTF-16 with its mark. Columns may stand in any order.
    """
    for path in paths:
        try:
            with path.open("rb") as stream:
                mark = stream.read(2)
            encoding = "utf-16" if mark in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
            with path.open(encoding=encoding, newline="") as text:
                yield from _rows_in(path.name, text)
        except OSError as error:
            raise CorrectionsRefused(f"{path} cannot be read: {error.strerror}.") from None
        except UnicodeError:
            raise CorrectionsRefused(
                f"{path.name} is not UTF-8, so letters may be lost: save it as `CSV UTF-8`. Nothing was recorded."
            ) from None


def _rows_in(name: str, text: TextIO) -> Iterator[EditedRow]:
    csv.field_size_limit(_LONGEST_FIELD)
    first = text.readline()
    # What stands beside our own column's plain name is the delimiter, which depends on the spreadsheet's language.
    beside = re.search(rf'{ID}"?([{_DELIMITERS}])|([{_DELIMITERS}])"?{ID}', first)
    text.seek(0)
    lines = csv.reader(text, delimiter=(beside[1] or beside[2]) if beside else ",", strict=True)
    began = 1
    try:
        header = [unguarded(column) for column in next(lines, [])]
        missing = [column for column in (ID, FILE, LINE) if column not in header]
        if missing:
            raise CorrectionsRefused(
                f"{name} line 1: column {missing[0]} is missing; this is no CSV of `edupulse quarantine export`."
            )
        ours = {column: header.index(column) for column in (*IDENTITY, RAW_LINE) if column in header}
        theirs = {place: column for place, column in enumerate(header) if place not in ours.values()}
        repeated = [column for column, times in Counter(theirs.values()).items() if times > 1]
        if repeated:
            raise CorrectionsRefused(f"{name} line 1: the header has column {repeated[0]!r} more than once.")
        while True:
            began = lines.line_num + 1
            fields = next(lines, None)
            if fields is None:
                return
            if not any(fields):
                continue  # a blank line, which spreadsheets like to leave at the end
            if len(fields) != len(header):
                raise CorrectionsRefused(
                    f"{name} line {began}: {len(fields)} fields, but the header has {len(header)}. "
                    "Nothing was recorded."
                )
            yield EditedRow(
                source=name,
                line=began,
                identity={column: fields[ours[column]].strip() for column in (ID, FILE, LINE)},
                raw_line=unguarded(fields[ours[RAW_LINE]]) if RAW_LINE in ours else None,
                cells={column: fields[place] for place, column in theirs.items()},
            )
    except csv.Error:
        raise CorrectionsRefused(f"{name} line {began}: not valid CSV. Nothing was recorded.") from None


def record_corrections(
    work: Work,
    raw_dir: Path,
    tenant: TenantSettings,
    rows: Iterable[EditedRow],
    *,
    as_typed: bool = False,
    check_only: bool = False,
    advanced: Advanced | None = None,
) -> CorrectionCounts:
    """Record what was changed in edited rows as `quarantined_records.corrected`; a replay loads it.

    All or nothing: CorrectionsRefused names line and rule of the rows that cannot be taken, and nothing is recorded. A
    cell that reads as a spreadsheet rewrites cells on its own (a lost zero, a date in another form) is refused unless
    `as_typed`, or a reason of the row names its column. A row as it was exported is no correction. `check_only`
    records nothing in any case, and reading the same files again changes nothing. `advanced(rows read, 0)`.
    """
    counts = CorrectionCounts()
    problems: list[str] = []
    refused = 0
    seen: set[int] = set()
    stream = iter(rows)
    with work.writing() as connection:
        take_turn(connection, work, RECORD_TABLES)  # no row is replayed while its correction is recorded
        recorder = _Recorder(connection, work, raw_dir, tenant, as_typed)
        now = dt.datetime.now(dt.UTC)
        while batch := list(islice(stream, _BATCH)):
            stored = recorder.stored(batch)
            changes: list[dict[str, Any]] = []
            for edited in batch:
                counts.read += 1
                try:
                    row = recorder.row(edited, stored, seen)
                    corrected = recorder.correction(edited, row)
                    if corrected is not None:
                        _refuse_closed(row)
                except _Refusal as refusal:
                    refused += 1
                    if len(problems) < _SHOWN:
                        problems.append(f"{edited.source} line {edited.line}: {refusal}")
                    continue
                if corrected is None:
                    counts.unchanged += 1
                    continue
                counts.corrected += 1
                counts.replaced += row.corrected is not None
                by_column = counts.columns.setdefault(row.table_name, {})
                before = as_loaded(row)
                for name, value in corrected.items():
                    if value != before.get(name, ""):
                        by_column[name] = by_column.get(name, 0) + 1
                changes.append({"row": row.id, "corrected": corrected, "corrected_at": now})
            if changes and not refused and not check_only:
                connection.execute(
                    quarantined_records.update()
                    .where(quarantined_records.c.id == sa.bindparam("row"))
                    .values(corrected=sa.bindparam("corrected"), corrected_at=sa.bindparam("corrected_at")),
                    changes,
                )
            if advanced is not None:
                advanced(counts.read, 0)
        if refused:
            more = f"\n  and {refused - len(problems):,} more" if refused > len(problems) else ""
            raise CorrectionsRefused(
                f"Nothing was recorded: {refused:,} of {counts.read:,} rows cannot be taken.\n  "
                + "\n  ".join(problems)
                + more
            )
    return counts


class _Recorder:
    """Compares edited rows with the stored ones, inside one transaction."""

    def __init__(
        self, connection: Connection, work: Work, raw_dir: Path, tenant: TenantSettings, as_typed: bool
    ) -> None:
        self._connection = connection
        self._work = work
        self._raw_dir = raw_dir
        self._tenant = tenant
        self._as_typed = as_typed
        self._headers: dict[tuple[str, dt.date, str, str], list[str]] = {}

    def stored(self, batch: Iterable[EditedRow]) -> Mapping[uuid.UUID, sa.Row]:
        """The stored rows of a batch by id, whoever's they are."""
        ids = {guid for edited in batch if (guid := _guid(edited.identity[ID])) is not None}
        query = sa.select(quarantined_records).where(quarantined_records.c.id.in_(ids))
        return {row.id: row for row in self._connection.execute(query)}

    def row(self, edited: EditedRow, stored: Mapping[uuid.UUID, sa.Row], seen: set[int]) -> sa.Row:
        """The stored row that an edited one is about."""
        guid = _guid(edited.identity[ID])
        row = stored.get(guid) if guid is not None else None
        if guid is None or row is None:
            raise _Refusal("unknown_id", f"no quarantined row has this {ID}")
        if row.tenant_id != self._work.tenant:
            raise _Refusal("other_tenant", f"the row is not one of {self._work.tenant}")
        if guid.int in seen:
            raise _Refusal("repeated_row", f"this {ID} stands on more than one line")
        seen.add(guid.int)
        if unguarded(edited.identity[FILE]) != row.file_name:
            raise _Refusal("changed_identity", f"{FILE} is not the one that was exported")
        if edited.identity[LINE] != str(row.line_number):
            raise _Refusal("changed_identity", f"{LINE} is not the one that was exported")
        return row

    def correction(self, edited: EditedRow, row: sa.Row) -> dict[str, str] | None:
        """The row as it is to be loaded, by the file's own columns; None when nothing was changed."""
        if isinstance(row.raw, dict):
            unchanged = [row.corrected or row.raw, row.raw]
            corrected = self._of_columns(edited, row, list(row.raw), unchanged)
            if not any(corrected.values()) and any(unchanged[0].values()):
                raise _emptied()
            return None if corrected in unchanged else corrected
        header = self._header(row)
        empty = dict.fromkeys(header, "")  # which is how it is exported as long as nobody has corrected it
        unchanged = [row.corrected or empty, empty]
        corrected = self._of_columns(edited, row, header, unchanged)
        line = edited.raw_line
        if line is None or breaks_folded(line) == breaks_folded(raw_line(row)):
            return None if corrected in unchanged else corrected
        if line and corrected not in unchanged:
            raise _Refusal("corrected_twice", f"both {RAW_LINE} and the columns were changed; change one of them")
        if not line:
            if not any(corrected.values()):
                raise _emptied()
            return None if corrected in unchanged else corrected
        corrected = dict(zip(header, _fields(line, len(header)), strict=True))
        return None if corrected in unchanged else corrected

    def _of_columns(
        self, edited: EditedRow, row: sa.Row, header: list[str], earlier: list[dict[str, str]]
    ) -> dict[str, str]:
        """The edited cells by column of the file; one that reads like one of `known` (first match) keeps its value."""
        for name, typed in edited.cells.items():
            if typed and name not in header:
                raise _Refusal("not_its_column", f"column {name!r} is none of the columns of {row.file_name}")
        values: dict[str, str] = {}
        for name in header:
            cell = edited.cells.get(name)
            kept = [value.get(name, "") for value in earlier]
            if cell is None:
                values[name] = kept[0]
                continue
            same = [value for value in kept if breaks_folded(guarded(value)) == breaks_folded(cell)]
            values[name] = same[0] if same else self._typed(row, name, kept[0], unguarded(cell))
        return values

    def _typed(self, row: sa.Row, name: str, before: str, after: str) -> str:
        if "\0" in after:
            raise _Refusal("nul_byte", f"column {name!r} holds a NUL character")
        if not self._as_typed and rewritten_by_spreadsheet(before, after):
            (canonical,) = canonical_names([name], row.table_name, self._tenant.profile)
            if canonical not in {reason.partition(":")[2] for reason in row.reasons}:
                raise _Refusal(
                    "only_reformatted",
                    f"column {name!r} differs only as a spreadsheet rewrites cells on its own; open the export with "
                    "all columns as text, or say --as-typed when it is meant",
                )
        return after

    def _header(self, row: sa.Row) -> list[str]:
        key = (row.table_name, row.delivered_on, row.file_name, row.file_hash)
        if key not in self._headers:
            self._headers[key] = own_header(self._connection, self._work, self._raw_dir, *key)
        return self._headers[key]


def _refuse_closed(row: sa.Row) -> None:
    """A row that has left quarantine takes no correction any more (its line may stand in the CSV as it was loaded)."""
    if row.replayed_at is not None:
        raise _Refusal("already_replayed", "the row was loaded meanwhile; correct it in the next delivery")
    if row.superseded_at is not None:
        raise _Refusal("already_superseded", "the row's file was replaced by a corrected one; take out its line")
    if row.table_name not in RECORD_TABLES:
        raise _Refusal("not_delivered", "nobody delivers predictions; those of version 1.0 stay as they are")


def _fields(line: str, width: int) -> list[str]:
    """The fields of a corrected line, by the one delimiter that gives as many as the header has columns."""
    fitting = []
    for delimiter in _DELIMITERS:
        try:
            rows = list(csv.reader(io.StringIO(line, newline=""), delimiter=delimiter, strict=True))
        except csv.Error:
            continue
        if len(rows) == 1 and len(rows[0]) == width:
            fitting.append(rows[0])
    if len(fitting) != 1:
        problem = "can be read in two ways" if fitting else f"is not {width} fields of valid CSV"
        raise _Refusal("misfit", f"{RAW_LINE} {problem}; mend it, or empty it and fill in the columns")
    if any("\0" in value or NUL_SHOWN in value for value in fitting[0]):
        raise _Refusal("nul_byte", f"{RAW_LINE} still holds the NUL character ({NUL_SHOWN})")
    if not any(fitting[0]):
        raise _emptied()
    return fitting[0]


def _guid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
