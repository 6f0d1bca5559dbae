"""A sheet of an Excel workbook (`.xlsx`) as a source of records: its cells as the texts a person sees there.

Dates are told by the cell's type, not by how they are shown, and written as the profile has dates and decimals; whole
numbers have no decimal point, and the leading zeros that the cell's format shows; an error such as #N/A stays, to be
judged. Which sheet is meant: the one named after the table, else the only one.
"""

from __future__ import annotations

import datetime as dt
import io
import json
import re
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO
from xml.etree.ElementTree import ParseError

import pyarrow as pa

from edupulse_pipelines.settings import ProfileSettings
from edupulse_pipelines.sources.csv_rows import TOO_MANY_FIELDS
from edupulse_pipelines.sources.file_names import table_named
from edupulse_pipelines.sources.plain_files import open_plain
from edupulse_pipelines.sources.profiles import check_header, unknown_columns
from edupulse_pipelines.sources.records import RefusedFile, archive_schema

CORRUPT_WORKBOOK = "corrupt_workbook"
UNCLEAR_SHEET = "unclear_sheet"

_DAMAGED = (
    zipfile.BadZipFile, ParseError, KeyError, ValueError, TypeError, IndexError, AttributeError,
    OverflowError, EOFError, NotImplementedError,
)  # fmt: skip
"""What the reader of workbooks raises for a file that is none, is damaged or has a password."""
_MOST_BYTES = 1 << 29  # unpacked; it is read through in memory
_MOST_ROWS = 1 << 20  # as Excel has it
_ROWS_PER_TABLE = 20_000
_SHOWN_ZEROS = re.compile(r"0{2,}")
_EXACT = 10**15  # beyond it a number of a spreadsheet has lost digits


class WorkbookSheet:
    """The rows of one sheet; see RecordSource. RefusedFile `corrupt_workbook`, `unclear_sheet` or `too_large`.

    The header is the first row that is not empty.
    """

    def __init__(
        self,
        open_content: Callable[[], BinaryIO],
        table: str,
        profile: ProfileSettings,
        *,
        source_format: str,
        sheet: str | None = None,
    ) -> None:
        """`sheet` is the title of the sheet, where it is known."""
        self.source_format = source_format
        self._decimal, self._date_format = profile.decimal, profile.date_format
        with open_content() as stream:
            self._rows = self._numbered_rows(stream.read(_MOST_BYTES + 1), table, sheet)
        self._header_line, header = next(self._rows, (0, []))
        if not header:
            raise RefusedFile("empty_file", "the sheet is empty: not even a header row")
        self.header = [name or "" for name in header]
        self.unknown_columns = unknown_columns(self.header, check_header(self.header, table, profile), table)
        self.left_out: dict[str, int] = {}
        self.instructional_days: list[dt.date] = []

    def batches(self) -> Iterator[pa.Table]:
        """The rows below the header, in tables of `archive_schema(header)`; to be iterated once."""
        batch: list[tuple[int, list[str | None]]] = []
        for row in self._rows:
            batch.append(row)
            if len(batch) == _ROWS_PER_TABLE:
                yield self._table(batch)
                batch = []
        if batch:
            yield self._table(batch)

    def _table(self, rows: Sequence[tuple[int, list[str | None]]]) -> pa.Table:
        width = len(self.header)
        fits = [not any(fields[width:]) for _, fields in rows]
        columns = [
            [
                fields[place] if fit and place < len(fields) else None
                for (_, fields), fit in zip(rows, fits, strict=True)
            ]
            for place in range(width)
        ]
        problems = [None if fit else TOO_MANY_FIELDS for fit in fits]
        misfits = [
            None if fit else json.dumps([text or "" for text in fields], ensure_ascii=False)
            for (_, fields), fit in zip(rows, fits, strict=True)
        ]
        return pa.Table.from_arrays(
            [
                pa.array([line for line, _ in rows], pa.int64()),
                pa.array(problems, pa.string()),
                pa.array(misfits, pa.string()),
                *(pa.array(texts, pa.string()) for texts in columns),
            ],
            schema=archive_schema(self.header),
        )

    def _numbered_rows(self, data: bytes, table: str, sheet: str | None) -> Iterator[tuple[int, list[str | None]]]:
        """Row number and texts of the rows that have any, each without the empty cells at its end."""
        workbook = _opened(data)
        try:
            cells = _sheet(workbook, table, sheet)
            cells.reset_dimensions()  # what the file says of its size may be wrong
            for number, row in enumerate(_guarded(cells.iter_rows()), start=1):
                if number > _MOST_ROWS:
                    raise RefusedFile(CORRUPT_WORKBOOK, f"a row has a number above {_MOST_ROWS:,}")
                texts = [self._text(cell) for cell in row]
                while texts and texts[-1] is None:
                    texts.pop()
                if texts:
                    yield number, texts
        finally:
            workbook.close()

    def _text(self, cell: Any) -> str | None:
        value = cell.value
        if value is None or isinstance(value, str):
            return value or None
        if isinstance(value, bool):
            return str(value).upper()
        if isinstance(value, dt.date):  # also a moment, which is its day
            return value.strftime(self._date_format)
        if isinstance(value, int | float):
            if abs(value) < _EXACT and value == int(value):
                zeros = _SHOWN_ZEROS.fullmatch(cell.number_format or "")
                return f"{int(value):0{len(zeros[0])}d}" if zeros else str(int(value))
            try:
                return f"{value:.15g}".replace(".", self._decimal)
            except OverflowError:  # of an integer of hundreds of digits
                return "inf"
        return str(value)


def sheets_of_tables(path: Path) -> list[tuple[str, str]]:
    """Title and table of the sheets of a workbook that are named after a table; none of a file that is no workbook."""
    stat = path.stat()
    return list(_sheets_of_tables(path, stat.st_mtime_ns, stat.st_size))


@lru_cache(maxsize=64)
def _sheets_of_tables(path: Path, _modified: int, _size: int) -> tuple[tuple[str, str], ...]:
    try:
        with open_plain(path) as stream:
            workbook = _opened(stream.read(_MOST_BYTES + 1))
    except RefusedFile:
        return ()
    titles = [cells.title for cells in workbook.worksheets]
    workbook.close()
    return tuple((title, table) for title in titles if (table := table_named(title)) is not None)


def _opened(data: bytes) -> Any:
    """The workbook, whose sheets are then read row by row. RefusedFile when it is none, or too large."""
    import openpyxl

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if max(size, len(data)) > _MOST_BYTES:
            raise RefusedFile(
                "too_large", f"the workbook is larger than {_MOST_BYTES >> 20} MiB unpacked", "deliver it as CSV"
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what it has beside cells
            return openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True, keep_links=False)
    except _DAMAGED:
        raise _corrupt() from None


def _guarded(rows: Iterable[Any]) -> Iterator[Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield from rows
    except _DAMAGED:
        raise _corrupt() from None


def _corrupt() -> RefusedFile:
    return RefusedFile(
        CORRUPT_WORKBOOK, "the Excel workbook is damaged or has a password", "save it again as .xlsx, or as CSV"
    )


def _sheet(workbook: Any, table: str, title: str | None) -> Any:
    """The sheet of this title; else the one named after the table; else the only one that is not hidden."""
    sheets = workbook.worksheets
    if title is not None:
        return next(sheet for sheet in sheets if sheet.title == title)
    named = [sheet for sheet in sheets if table_named(sheet.title) == table]
    candidates = named or [sheet for sheet in sheets if sheet.sheet_state == "visible"] or sheets
    if len(candidates) != 1:
        raise RefusedFile(
            UNCLEAR_SHEET,
            f"the workbook has {len(candidates)} sheets, {'all' if named else 'none of them'} named after {table}",
            f"name one sheet {table}, or leave one sheet only",
        )
    return candidates[0]
