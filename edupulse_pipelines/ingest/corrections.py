"""Quarantined rows in a person's hands: written to a CSV to be mended, and read back as corrections.

An exported CSV has one line a row: four columns that say which row it is, then the columns of the row's own file. It is
for spreadsheets (UTF-8 with a mark, commas, CRLF), and what a spreadsheet does to cells on its own is not taken for a
correction. Loading corrected rows is in `load`.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
import os
import re
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.errors import CorrectionsRefused, PermanentError
from edupulse_pipelines.ingest.archive import archive_path, archived_header
from edupulse_pipelines.ingest.quarantine import Selection, selected
from edupulse_pipelines.schema.delivery import DELIVERED
from edupulse_pipelines.schema.sqlalchemy_tables import quarantined_records
from edupulse_pipelines.schema.tables import RECORD_TABLES
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.storage.turns import take_turn
from edupulse_pipelines.storage.work import Work

ID, FILE, LINE, REASONS, RAW_LINE = "_quarantine_id", "_file", "_line", "_reasons", "_raw_line"
IDENTITY = (ID, FILE, LINE, REASONS)
MALFORMED = "malformed_row"
_BATCH = 1_000
_SHOWN = 20
_LONGEST_FIELD = 1 << 24
_DELIMITERS = ",;\t|"
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_PLAIN_NEGATIVE = re.compile(r"-[0-9]+(\.[0-9]+)?")
_ISO_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_SCIENTIFIC = re.compile(r"[+-]?[0-9]([.,][0-9]+)?[eE][+-]?[0-9]+")
_NUL_SHOWN = "␀"
Advanced = Callable[[int, int], None]


@dataclass(frozen=True)
class ExportedFile:
    """One CSV that was written."""

    table: str
    path: Path
    rows: int
    misfits: int
    """Rows that do not fit their file's header: they are in `_raw_line`."""


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


# Out


def export_rows(
    work: Work,
    raw_dir: Path,
    tenant: TenantSettings,
    selection: Selection,
    out: Path,
    advanced: Advanced | None = None,
) -> list[ExportedFile]:
    """Write the selected open rows to CSVs that only their owner can read; one a table, `<out>/<table>.csv`.

    An `out` that ends in `.csv` is the file itself, for rows of one table. Nothing is overwritten, and memory does not
    grow with the rows. `advanced(rows written, rows in all)`. EduPulseError when a file is there, cannot be
    written, or would have to hold two tables.
    """
    selection = replace(selection, closed=False)
    with work.reading() as connection:
        found = _files_by_table(connection, work, selection)
        paths = _targets(out, list(found))
        total = sum(rows for files in found.values() for rows, _ in files.values())
        written: list[ExportedFile] = []
        for table, files in found.items():
            headers = [_own_header(connection, work, raw_dir, table, *file) for file in files]
            columns = list(dict.fromkeys(name for header in headers for name in header))
            misfits = sum(count for _, count in files.values())
            with _new_file(paths[table]) as stream:
                sheet = csv.writer(stream, lineterminator="\r\n")
                sheet.writerow([*IDENTITY, *([RAW_LINE] if misfits else []), *map(_guarded, columns)])
                done = sum(one.rows for one in written)
                rows = 0
                for row in selected(connection, work, replace(selection, tables=(table,))):
                    sheet.writerow(_line_out(row, columns, with_raw_line=bool(misfits)))
                    rows += 1
                    if advanced is not None and rows % _BATCH == 0:
                        advanced(done + rows, total)
            written.append(ExportedFile(table, paths[table], rows, misfits))
    return written


def _files_by_table(
    connection: Connection, work: Work, selection: Selection
) -> dict[str, dict[tuple[dt.date, str, str], tuple[int, int]]]:
    """By table and (delivery, file name, hash) how many rows are selected, and how many of them fit no header."""
    columns = quarantined_records.c
    misfit = sa.cast(columns.raw, sa.Text).startswith("[")
    query = (
        sa.select(
            columns.table_name,
            columns.delivered_on,
            columns.file_name,
            columns.file_hash,
            sa.func.count(),
            sa.func.count(sa.case((misfit, 1))),
        )
        .where(selection.of(work))
        .group_by(columns.table_name, columns.delivered_on, columns.file_name, columns.file_hash)
        .order_by(columns.table_name, columns.delivered_on, columns.file_name, columns.file_hash)
    )
    found: dict[str, dict[tuple[dt.date, str, str], tuple[int, int]]] = {}
    for table, day, name, file_hash, rows, misfits in connection.execute(query):
        found.setdefault(table, {})[day, name, file_hash] = (rows, misfits)
    return found


def _own_header(
    connection: Connection, work: Work, raw_dir: Path, table: str, day: dt.date, file_name: str, file_hash: str
) -> list[str]:
    """The columns of a file: from its archive, else from a row of it, else the landing contract's."""
    path = archive_path(raw_dir, work.tenant, table, day, file_name.partition("/")[2], file_hash)
    if path.exists():
        return archived_header(path)
    columns = quarantined_records.c
    for raw in connection.scalars(
        sa.select(columns.raw)
        .where(
            columns.tenant_id == work.tenant,
            columns.table_name == table,
            columns.file_hash == file_hash,
            sa.cast(columns.raw, sa.Text).startswith("{"),
        )
        .limit(1)
    ):
        return list(raw)
    return list(DELIVERED[table].column_names)


def _targets(out: Path, tables: list[str]) -> dict[str, Path]:
    """Where each table's CSV goes, none of which exists."""
    if out.suffix.lower() == ".csv":
        if len(tables) > 1:
            raise PermanentError(
                f"One CSV holds one table, and these rows are of {', '.join(tables)}: name a folder, or one --table."
            )
        paths = dict.fromkeys(tables, out)
    else:
        paths = {table: out / f"{table}.csv" for table in tables}
    there = [path for path in paths.values() if path.exists()]
    if there:
        raise PermanentError(
            f"{there[0]} is there already, and may hold somebody's corrections: name another place, or remove it."
        )
    return paths


@contextmanager
def _new_file(path: Path) -> Iterator[TextIO]:
    """A new file that only its owner can read, removed again when the block raises."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise PermanentError(f"{path} cannot be written: {error.strerror}.") from None
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8-sig", newline="") as stream:
            yield stream
    except OSError as error:
        path.unlink(missing_ok=True)
        raise PermanentError(f"{path} cannot be written: {error.strerror}.") from None
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _line_out(row: sa.Row, columns: list[str], *, with_raw_line: bool) -> list[str]:
    values = _as_loaded(row)
    cells = [str(row.id), _guarded(row.file_name), str(row.line_number), "; ".join(row.reasons)]
    if with_raw_line:
        cells.append(_guarded(_raw_line(row)) if isinstance(row.raw, list) else "")
    return cells + [_guarded(values.get(name, "")) for name in columns]


def _as_loaded(row: Any) -> dict[str, str]:
    """What a replay would load: the correction, else the row as it came; empty for one that fits no header."""
    if row.corrected is not None:
        return row.corrected
    return row.raw if isinstance(row.raw, dict) else {}


def _raw_line(row: Any) -> str:
    """A row that does not fit its header, as one line of CSV; a NUL, which no spreadsheet shows, as a sign."""
    fields = [str(value).replace("\0", _NUL_SHOWN) for value in row.raw]
    if MALFORMED in row.reasons and len(fields) == 1:
        return fields[0]
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(fields)
    return line.getvalue()


def _guarded(text: str) -> str:
    """A text that a spreadsheet would run as a formula gets an apostrophe; `_unguarded` takes exactly that away."""
    return f"'{text}" if _FORMULA.match(text) and not _PLAIN_NEGATIVE.fullmatch(text) else text


def _unguarded(text: str) -> str:
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


# In


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
        header = [_unguarded(column) for column in next(lines, [])]
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
                raw_line=_unguarded(fields[ours[RAW_LINE]]) if RAW_LINE in ours else None,
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
        take_turn(connection, work.tenant, RECORD_TABLES)  # no row is replayed while its correction is recorded
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
                before = _as_loaded(row)
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
        if _unguarded(edited.identity[FILE]) != row.file_name:
            raise _Refusal("changed_identity", f"{FILE} is not the one that was exported")
        if edited.identity[LINE] != str(row.line_number):
            raise _Refusal("changed_identity", f"{LINE} is not the one that was exported")
        return row

    def correction(self, edited: EditedRow, row: sa.Row) -> dict[str, str] | None:
        """The row as it is to be loaded, by the file's own columns; None when nothing was changed."""
        if isinstance(row.raw, dict):
            known = [row.corrected or row.raw, row.raw]
            corrected = self._of_columns(edited, row, list(row.raw), known)
            if not any(corrected.values()) and any(known[0].values()):
                raise _emptied()
            return None if corrected in known else corrected
        header = self._header(row)
        empty = dict.fromkeys(header, "")  # which is how it is exported as long as nobody has corrected it
        known = [row.corrected or empty, empty]
        corrected = self._of_columns(edited, row, header, known)
        line = edited.raw_line
        if line is None or _breaks_folded(line) == _breaks_folded(_raw_line(row)):
            return None if corrected in known else corrected
        if line and corrected not in known:
            raise _Refusal("corrected_twice", f"both {RAW_LINE} and the columns were changed; change one of them")
        if not line:
            if not any(corrected.values()):
                raise _emptied()
            return None if corrected in known else corrected
        corrected = dict(zip(header, _fields(line, len(header)), strict=True))
        return None if corrected in known else corrected

    def _of_columns(
        self, edited: EditedRow, row: sa.Row, header: list[str], known: list[dict[str, str]]
    ) -> dict[str, str]:
        """The edited cells by column of the file; one that reads like one of `known` (first match) keeps its value."""
        for name, typed in edited.cells.items():
            if typed and name not in header:
                raise _Refusal("not_its_column", f"column {name!r} is none of the columns of {row.file_name}")
        values: dict[str, str] = {}
        for name in header:
            cell = edited.cells.get(name)
            kept = [value.get(name, "") for value in known]
            if cell is None:
                values[name] = kept[0]
                continue
            same = [value for value in kept if _breaks_folded(_guarded(value)) == _breaks_folded(cell)]
            values[name] = same[0] if same else self._typed(row, name, kept[0], _unguarded(cell))
        return values

    def _typed(self, row: sa.Row, name: str, before: str, after: str) -> str:
        if "\0" in after:
            raise _Refusal("nul_byte", f"column {name!r} holds a NUL character")
        if not self._as_typed and rewritten_by_spreadsheet(before, after):
            canonical = self._tenant.profile.canonical_name(row.table_name, name)
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
            self._headers[key] = _own_header(self._connection, self._work, self._raw_dir, *key)
        return self._headers[key]


def _refuse_closed(row: sa.Row) -> None:
    """A row that has left quarantine takes no correction any more (its line may stand in the CSV as it was loaded)."""
    if row.replayed_at is not None:
        raise _Refusal("already_replayed", "the row was loaded meanwhile; correct it in the next delivery")
    if row.superseded_at is not None:
        raise _Refusal("already_superseded", "the row's file was replaced by a corrected one; take out its line")


def rewritten_by_spreadsheet(before: str, after: str) -> bool:
    """Whether `after` is `before` with something lost, as a spreadsheet shows and saves what it takes for a number.

    Lost zeros (`007`, `3.50`), digits (`1.23E+11`), the ISO form of a date, and letters that became `?`.
    """
    if before == after or not before or not after:
        return False
    if len(before) == len(after) and "?" in after:
        return all(old == new or (new == "?" and ord(old) > 127) for old, new in zip(before, after, strict=True))
    date = _ISO_DATE.fullmatch(before)
    if date is not None and not _ISO_DATE.fullmatch(after):
        year, month, day = map(int, date.groups())
        numbers = [int(digits) for digits in re.findall("[0-9]+", after)[:4]]
        return day in numbers and {*numbers} <= {year, year % 100, month, day}
    if before.isdigit() and len(before) > 11 and _SCIENTIFIC.fullmatch(after):
        return True
    try:
        return len(after) < len(before) and Decimal(before) == Decimal(after.replace(",", "."))
    except InvalidOperation:
        return False


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
    if any("\0" in value or _NUL_SHOWN in value for value in fitting[0]):
        raise _Refusal("nul_byte", f"{RAW_LINE} still holds the NUL character ({_NUL_SHOWN})")
    if not any(fitting[0]):
        raise _emptied()
    return fitting[0]


def _breaks_folded(text: str) -> str:
    """Spreadsheets rewrite line breaks inside cells; that is no change."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _guid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
