"""Reading the canonical CSV of the landing contract, line by line and without losing one.

UTF-8 (a BOM is accepted), RFC 4180, a header row. A file that cannot be read as a whole raises RefusedFile; a line that
cannot be read becomes a row with a `problem`. Values stay text: types are judged in `ingest`. No database here.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from edupulse_pipelines.schema.delivery import DELIVERED

MALFORMED_ROW = "malformed_row"
TOO_FEW_FIELDS = "too_few_fields"
TOO_MANY_FIELDS = "too_many_fields"
NUL_BYTE = "nul_byte"
_LONGEST_FIELD = 1 << 20  # characters; a stray quote swallows at most this much before it is noticed


class RefusedFile(Exception):
    """The file cannot be read as the table it is for; `reason` is a code, `detail` says it in words."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class CsvRow:
    """One data row: its first line in the file (header = 1), its fields, and what is wrong with it, if anything."""

    line_number: int
    fields: list[str]
    problem: str | None = None


class CanonicalCsv:
    """One file: check its header with `header`, then iterate over `rows()` once.

    The header is checked against the landing contract of `table`: RefusedFile `empty_file`, `missing_column`,
    `duplicate_column` or `encoding`. Columns that the contract does not know are listed in `unknown_columns`.
    """

    def __init__(self, path: Path, table: str) -> None:
        self.path = path
        self.table = table
        self._lines: _Rows | None = None
        with self._decoding(), self._open() as stream:
            self.header = self._read_header(_Rows(stream))
        self.unknown_columns = [
            name or f"(column {position} has no name)"
            for position, name in enumerate(self.header, start=1)
            if name not in DELIVERED[table].column_names
        ]

    def rows(self) -> Iterator[CsvRow]:
        """The data rows in file order; blank lines are no rows. RefusedFile when a byte is not UTF-8."""
        with self._decoding(), self._open() as stream:
            lines = _Rows(stream)
            self._read_header(lines)
            while (row := lines.next_row(len(self.header))) is not None:
                yield row

    def _open(self) -> TextIO:
        return self.path.open(encoding="utf-8-sig", errors="strict", newline="")

    def _decoding(self) -> _Decoding:
        return _Decoding(self.path)

    def _read_header(self, lines: _Rows) -> list[str]:
        first = lines.next_row(None)
        if first is None:
            raise RefusedFile("empty_file", "the file is empty: not even a header row")
        contract = DELIVERED[self.table]
        if first.problem is not None:
            raise RefusedFile("malformed_header", "line 1: the header row is not valid CSV")
        header = first.fields
        repeated = sorted({name for name in header if header.count(name) > 1})
        if repeated:
            # Without a header row this may be a student's value: only names of the contract are repeated.
            columns = (
                repr(repeated[0])
                if repeated[0] in contract.column_names
                else " and ".join(str(place) for place, name in enumerate(header, start=1) if name == repeated[0])
            )
            raise RefusedFile("duplicate_column", f"line 1: column {columns}: the same name occurs more than once")
        missing = [name for name in contract.required if name not in header]
        if missing:
            raise RefusedFile("missing_column", f"line 1: required column {', '.join(missing)} is missing")
        if self.table == "training_feedback" and "prediction_id" not in header:
            missing = [name for name in ("district_id", "prediction_date") if name not in header]
            if missing:
                raise RefusedFile(
                    "missing_column", "line 1: needs prediction_id, or district_id together with prediction_date"
                )
        return header


class _Decoding:
    """Turns a decoding error in the block into RefusedFile with the line it is on."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if not isinstance(error, UnicodeDecodeError):
            return
        with self._path.open("rb") as stream:
            start = stream.read(4)
            if start.startswith((b"\xff\xfe", b"\xfe\xff")):
                raise RefusedFile("encoding", "the file is UTF-16; save it as UTF-8") from None
            stream.seek(0)
            for number, line in enumerate(stream, start=1):
                try:
                    line.decode("utf-8")
                except UnicodeDecodeError as problem:
                    raise RefusedFile(
                        "encoding", f"line {number}, byte {problem.start + 1}: not UTF-8; save the file as UTF-8"
                    ) from None
        raise RefusedFile("encoding", "the file is not UTF-8; save it as UTF-8") from None


class _Rows:
    """Rows out of physical lines, where the lines of a broken row can be given back and read again.

    A row that is broken over several physical lines costs only its first line: the others are read again, so that one
    stray quote does not swallow its neighbours.
    """

    def __init__(self, stream: TextIO) -> None:
        csv.field_size_limit(_LONGEST_FIELD)
        self._stream = stream
        self._returned: deque[str] = deque()
        self._taken: list[str] = []
        self._line_number = 0
        self._reader = csv.reader(self, strict=True)

    def __iter__(self) -> _Rows:
        return self

    def __next__(self) -> str:
        """The next physical line, for the csv reader."""
        line = self._returned.popleft() if self._returned else self._stream.readline(_LONGEST_FIELD * 4)
        if line == "":
            raise StopIteration
        self._taken.append(line)
        return line

    def next_row(self, width: int | None) -> CsvRow | None:
        """The next row, or None at the end; `width` is the number of fields the header has (None: it is the header)."""
        while True:
            self._line_number += len(self._taken)
            self._taken.clear()
            problem: str | None = None
            fields: list[str] = []
            try:
                fields = next(self._reader)
            except StopIteration:
                return None
            except csv.Error:
                problem = MALFORMED_ROW
            if problem is None and not fields:
                continue  # a blank line
            if problem is None and width is not None and len(fields) != width:
                problem = TOO_FEW_FIELDS if len(fields) < width else TOO_MANY_FIELDS
            if problem is not None and len(self._taken) > 1:
                self._returned.extendleft(reversed(self._taken[1:]))
                del self._taken[1:]
                problem = MALFORMED_ROW
            if problem == MALFORMED_ROW:
                fields = [self._taken[0].rstrip("\r\n")]
            elif problem is None and any("\0" in field for field in fields):
                problem = NUL_BYTE
            return CsvRow(self._line_number + 1, fields, problem)
