"""Reading CSV row by row, without losing one line: a line that cannot be read becomes a row with a problem.

Rows come out of blocks of whole lines in UTF-8 (`csv_text`). This is the slow reader, for what `csv_blocks` leaves to
it; both give the same rows.
"""

from __future__ import annotations

import csv
import io
import json
from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pyarrow as pa

from edupulse_pipelines.sources.records import SYSTEM_COLUMNS

MALFORMED_ROW = "malformed_row"
TOO_FEW_FIELDS = "too_few_fields"
TOO_MANY_FIELDS = "too_many_fields"
NUL_BYTE = "nul_byte"

LONGEST_FIELD = 1 << 20
"""Characters; a stray quote swallows at most this much before it is noticed."""
_LONGEST_LINE = 16 << 20  # bytes; a line without end is cut here, so that memory stays bounded
_PIECE = 64 << 10  # bytes that are read line by line where a block holds something out of the ordinary


class Row(NamedTuple):
    """One row: its first line in the file, its fields, and what is wrong with it, if anything."""

    line_number: int
    fields: list[str]
    problem: str | None


class StrictReader:
    """Rows out of physical lines, where the lines of a broken row can be given back and read again.

    A row that is broken over several physical lines costs only its first line: the others are read again, so that one
    stray quote does not swallow its neighbours. Between rows, whole blocks can be taken out for a faster reader.
    """

    def __init__(self, blocks: Iterator[bytes], delimiter: str) -> None:
        csv.field_size_limit(LONGEST_FIELD)
        self._blocks = blocks
        self._pieces: deque[bytes] = deque()
        self._lines: deque[str] = deque()
        self._taken: list[str] = []
        self.line_number = 0
        """How many lines of the file are read."""
        self._reader = csv.reader(self, delimiter=delimiter, strict=True)

    def __iter__(self) -> StrictReader:
        return self

    def __next__(self) -> str:
        """The next physical line, for the csv reader."""
        while not self._lines:
            block = self.next_block()
            if block is None:
                raise StopIteration
            self.take(block)
        line = self._lines.popleft()
        self._taken.append(line)
        return line

    def next_block(self) -> bytes | None:
        """The next block of lines, of which none has been read; None in the middle of one, and at the end."""
        if self._lines:
            return None
        return self._pieces.popleft() if self._pieces else next(self._blocks, None)

    def take(self, block: bytes) -> None:
        """Read a block line by line; only its beginning when it is large, the rest comes as blocks again."""
        if len(block) > _PIECE:
            pieces = list(whole_lines(io.BytesIO(block).read, _PIECE))
            self._pieces.extendleft(reversed(pieces[1:]))
            block = pieces[0]
        self._lines.extend(io.StringIO(block.decode("utf-8"), newline=""))

    def next_row(self, width: int | None) -> Row | None:
        """The next row, or None at the end; `width` is the number of fields the header has (None: it is the header)."""
        while True:
            problem: str | None = None
            fields: list[str] = []
            try:
                fields = next(self._reader)
            except StopIteration:
                return None
            except csv.Error:
                problem = MALFORMED_ROW
            first_line = self.line_number + 1
            if problem is None and width is not None and len(fields) != width and fields:
                problem = TOO_FEW_FIELDS if len(fields) < width else TOO_MANY_FIELDS
            if problem is not None and len(self._taken) > 1:
                self._lines.extendleft(reversed(self._taken[1:]))
                del self._taken[1:]
                problem = MALFORMED_ROW
            self.line_number += len(self._taken)
            if problem == MALFORMED_ROW:
                fields = [self._taken[0].rstrip("\r\n")]
            elif problem is None and any("\0" in field for field in fields):
                problem = NUL_BYTE
            self._taken.clear()
            if fields or problem:  # else a blank line
                return Row(first_line, fields, problem)


def as_table(rows: list[Row], schema: pa.Schema) -> pa.Table:
    """Rows of the strict reader as a table; of a row with a problem only the list of its fields."""
    width = len(schema) - len(SYSTEM_COLUMNS)
    blank = [""] * width
    numbers = pa.array([row.line_number for row in rows], pa.int64())
    problems = pa.array([row.problem for row in rows], pa.string())
    misfits = pa.array(
        [None if row.problem is None else json.dumps(row.fields, ensure_ascii=False) for row in rows], pa.string()
    )
    # Only the empty field is NULL; every other text is a value, whatever it spells.
    columns = [
        pa.array([value or None for value in values], pa.string())
        for values in zip(*(blank if row.problem else row.fields for row in rows), strict=True)
    ]
    return pa.Table.from_arrays([numbers, problems, misfits, *columns], schema=schema)


def whole_lines(read: Callable[[int], bytes], block_bytes: int) -> Iterator[bytes]:
    """The bytes in blocks that end with a line, but for the last one, and for a line that does not end in time."""
    rest = b""
    while data := read(block_bytes):
        rest = rest + data if rest else data
        # A carriage return at the very end may be the half of a line end.
        cut = rest.rfind(b"\n") + 1 or rest.rfind(b"\r", 0, -1) + 1
        if not cut and len(rest) >= _LONGEST_LINE:
            cut = len(rest) - 1
            while rest[cut] & 0xC0 == 0x80 and cut > len(rest) - 4:
                cut -= 1  # not within a character
        if cut:
            yield rest[:cut]
            rest = rest[cut:]
    if rest:
        yield rest
