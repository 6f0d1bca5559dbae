"""Reading the canonical CSV of the landing contract: fast, and without losing one line.

RFC 4180 with a header row; comma, tab, semicolon or pipe; UTF-8, UTF-16 with a byte order mark, or the encoding that
the tenant's profile declares. A file that cannot be read as a whole raises RefusedFile; a line that cannot be read
becomes a row with a problem. Values stay text: types are judged in `ingest`.

Two readers give the same rows. `_StrictReader` reads line by line and gives the lines of a broken row back;
`_read_block` hands a whole block to Arrow where it is plain that both would say the same. A test holds them together.
"""

from __future__ import annotations

import codecs
import csv
import datetime as dt
import io
import json
import re
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv

from edupulse_pipelines.schema.delivery import DELIVERED
from edupulse_pipelines.schema.source_formats import CSV
from edupulse_pipelines.settings import ProfileSettings
from edupulse_pipelines.sources.profiles import check_header
from edupulse_pipelines.sources.records import SYSTEM_COLUMNS, RefusedFile, archive_schema

MALFORMED_ROW = "malformed_row"
TOO_FEW_FIELDS = "too_few_fields"
TOO_MANY_FIELDS = "too_many_fields"
NUL_BYTE = "nul_byte"
DELIMITERS = (",", "\t", ";", "|")
"""What may stand between fields, in the order in which a header is tried with them."""

_LONGEST_FIELD = 1 << 20  # characters; a stray quote swallows at most this much before it is noticed
_LONGEST_LINE = 16 << 20  # bytes; a line without end is cut here, so that memory stays bounded
_BLOCK = 4 << 20  # bytes that are read, and handed to Arrow, at once
_PIECE = 64 << 10  # bytes that are read line by line where a block holds something out of the ordinary
_HEADER_BLOCK = 64 << 10
_ROWS_PER_TABLE = 100_000

_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, because the one begins like the other
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_OTHER_FORMATS = (
    (b"PK\x03\x04", "a zip archive or an Excel workbook"),
    (b"\x1f\x8b", "gzip data, which is named <table>.csv.gz"),
    (b"\xd0\xcf\x11\xe0", "an Excel workbook"),
    (b"%PDF", "a PDF"),
)
_BLANK_LINES = re.compile(rb"\n\n+")


class CsvText:
    """The rows of a CSV, whatever they are about: the encoding is found when it is made, `header` is the subclass's.

    `content` is a path, or gives the file's bytes from the beginning each time it is called. RefusedFile `empty_file`,
    `not_csv` or `encoding`.
    """

    header: list[str]

    def __init__(
        self,
        content: Path | Callable[[], BinaryIO],
        encoding: str = "auto",
        *,
        block_bytes: int = _BLOCK,
        strict: bool = False,
    ) -> None:
        """`encoding` as the profile declares it. With `strict` every row is read one by one: the same rows, slowly."""
        self._open = (lambda: content.open("rb")) if isinstance(content, Path) else content
        self._block_bytes = block_bytes
        self._strict = strict
        self._delimiter = ","
        self._encoding = self._find_encoding(encoding)

    def batches(self) -> Iterator[pa.Table]:
        """The data rows in file order, in tables of `archive_schema(header)`; blank lines are no rows.

        RefusedFile `encoding` when a byte is none of the file's encoding, and whatever reading the content raises.
        """
        schema = archive_schema(self.header)
        batch = _Batch(schema)
        with self._open() as stream:
            reader = _StrictReader(self._blocks(stream, self._block_bytes), self._delimiter)
            reader.next_row(None)  # the header
            while True:
                block = reader.next_block()
                if block is not None:
                    whole = None if self._strict else _read_block(block, reader.line_number, self._delimiter, schema)
                    if whole is not None:
                        batch.add_table(whole.rows)
                        reader.line_number += whole.lines
                    else:
                        reader.take(block)
                elif (row := reader.next_row(len(self.header))) is not None:
                    batch.add_row(row)
                else:
                    break
                if batch.count >= _ROWS_PER_TABLE:
                    yield batch.empty()
        if batch.count:
            yield batch.empty()

    def _find_encoding(self, declared: str) -> _Encoding:
        """What the file is written in: a byte order mark says it, else the profile, else it is UTF-8."""
        with self._open() as stream:
            start = stream.read(4)
        for signature, words in _OTHER_FORMATS:
            if start.startswith(signature):
                raise RefusedFile("not_csv", f"the file is {words}, not text; deliver it as CSV")
        for mark, name in _BYTE_ORDER_MARKS:
            if start.startswith(mark):
                if name == "utf-32":
                    raise RefusedFile("encoding", "the file is UTF-32", "save it as UTF-8")
                return _Encoding(name, len(mark), ", as its byte order mark says")
        if declared == "utf-16" and start:
            # Every header begins with a letter of ASCII, so that the place of the zero tells the order of the bytes.
            if len(start) < 2 or (start[0] == 0) == (start[1] == 0):
                raise RefusedFile("encoding", "line 1: not UTF-16, as the tenant's profile declares")
            return _Encoding("utf-16-be" if start[0] == 0 else "utf-16-le", 0, ", as the tenant's profile declares")
        if declared in ("auto", "utf-8"):
            return _Encoding(
                "utf-8",
                0,
                advice='save the file as UTF-8, or declare its encoding (such as encoding = "cp1252") in the tenant\'s '
                "profile in edupulse.toml",
            )
        return _Encoding(declared, 0, ", as the tenant's profile declares")

    def _read_header(self, delimiter: str) -> _Row:
        with self._open() as stream:
            row = _StrictReader(self._blocks(stream, _HEADER_BLOCK), delimiter).next_row(None)
        if row is None:
            raise RefusedFile("empty_file", "the file is empty: not even a header row")
        return row

    def _blocks(self, stream: BinaryIO, block_bytes: int) -> Iterator[bytes]:
        """The file as blocks of whole lines, in UTF-8."""
        stream.read(self._encoding.mark)
        try:
            if self._encoding.name == "utf-8":
                for block in _whole_lines(stream.read, block_bytes):
                    if not block.isascii():
                        block.decode("utf-8")
                    yield block
            else:
                yield from _whole_lines(_transcoded(stream, self._encoding.name), block_bytes)
        except UnicodeDecodeError:
            raise self._undecodable() from None

    def _undecodable(self) -> RefusedFile:
        """Where the first byte stands that is none of the encoding; for that the file is read again, up to there."""
        name = self._encoding.name
        decoder = codecs.getincrementaldecoder(name)()
        line, column, after_return, found = 1, 0, False, False
        with self._open() as stream:
            stream.read(self._encoding.mark)
            while not found:
                data = stream.read(_HEADER_BLOCK)
                try:
                    text = decoder.decode(data, final=not data)
                except UnicodeDecodeError as error:
                    text, found = error.object[: error.start].decode(name), True
                if not data and not found:
                    return self._encoding.refused("")
                if text:
                    fresh = text[1:] if after_return and text[0] == "\n" else text
                    after_return = text[-1] == "\r"
                    *before, last = fresh.replace("\r\n", "\n").replace("\r", "\n").rsplit("\n", 1)
                    if before:
                        line, column = line + before[0].count("\n") + 1, 0
                    column += len(last.encode(name))
        return self._encoding.refused(f"line {line}, byte {column + 1}: ")


class CanonicalCsv(CsvText):
    """One file as a source of records: its header is checked when it is opened, its rows come from `batches`, once.

    RefusedFile as CsvText has it, `malformed_header`, and what `check_header` says of the header under the tenant's
    profile.
    """

    def __init__(
        self,
        content: Path | Callable[[], BinaryIO],
        table: str,
        profile: ProfileSettings | None = None,
        *,
        source_format: str = CSV.name,
        block_bytes: int = _BLOCK,
        strict: bool = False,
    ) -> None:
        profile = profile or ProfileSettings()
        super().__init__(content, profile.encoding, block_bytes=block_bytes, strict=strict)
        self.source_format = source_format
        self._delimiter, self.header = self._find_header(table, profile)
        canonical = check_header(self.header, table, profile)
        self.unknown_columns = [
            name or f"(column {position} has no name)"
            for position, (name, ours) in enumerate(zip(self.header, canonical, strict=True), start=1)
            if ours not in DELIVERED[table].column_names
        ]
        self.left_out: dict[str, int] = {}
        self.instructional_days: list[dt.date] = []

    def _find_header(self, table: str, profile: ProfileSettings) -> tuple[str, list[str]]:
        """The delimiter and the column names: the delimiter with which the header has most names that we know."""
        candidates = DELIMITERS if profile.delimiter == "auto" else (profile.delimiter,)
        rows = {delimiter: self._read_header(delimiter) for delimiter in candidates}

        def known(delimiter: str) -> int:
            names = rows[delimiter].fields if rows[delimiter].problem is None else []
            return sum(profile.canonical_name(table, name) in DELIVERED[table].column_names for name in names)

        best = max(candidates, key=known)  # the first of several
        if rows[best].problem == NUL_BYTE:
            raise RefusedFile(
                "malformed_header",
                "line 1: there are NUL characters in the header row; UTF-16 without a byte order mark has to be "
                'declared (encoding = "utf-16") in the tenant\'s profile in edupulse.toml',
            )
        if rows[best].problem is not None:
            raise RefusedFile("malformed_header", "line 1: the header row is not valid CSV")
        return best, rows[best].fields


class _Encoding(NamedTuple):
    """What a file is written in, the length of its byte order mark, and how we know, or what to do when it is not."""

    name: str
    mark: int
    known_from: str = ""
    advice: str = ""

    @property
    def spoken(self) -> str:
        return {"utf-8": "UTF-8", "utf-16-le": "UTF-16", "utf-16-be": "UTF-16"}.get(self.name, self.name)

    def refused(self, place: str) -> RefusedFile:
        """The refusal of a file that is written in something else at a place."""
        return RefusedFile("encoding", f"{place}not {self.spoken}{self.known_from}", self.advice)


class _Row(NamedTuple):
    """One row: its first line in the file, its fields, and what is wrong with it, if anything."""

    line_number: int
    fields: list[str]
    problem: str | None


class _Block(NamedTuple):
    """What `_read_block` read: the rows, and how many physical lines they and the blank ones were."""

    rows: pa.Table
    lines: int


class _Batch:
    """Rows on their way into one table, as they come from the one reader or the other."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._tables: list[pa.Table] = []
        self._rows: list[_Row] = []
        self.count = 0

    def add_row(self, row: _Row) -> None:
        self._rows.append(row)
        self.count += 1

    def add_table(self, table: pa.Table) -> None:
        self._settle()
        self._tables.append(table)
        self.count += len(table)

    def empty(self) -> pa.Table:
        """The rows in order, as one table; the batch is empty again."""
        self._settle()
        table = self._tables[0] if len(self._tables) == 1 else pa.concat_tables(self._tables).combine_chunks()
        self._tables, self.count = [], 0
        return table

    def _settle(self) -> None:
        if self._rows:
            self._tables.append(_as_table(self._rows, self._schema))
            self._rows = []


def _whole_lines(read: Callable[[int], bytes], block_bytes: int) -> Iterator[bytes]:
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


def _transcoded(stream: BinaryIO, encoding: str) -> Callable[[int], bytes]:
    """Like `stream.read`, in UTF-8; UnicodeDecodeError when a byte is none of `encoding`."""
    decoder = codecs.getincrementaldecoder(encoding)()

    def read(size: int) -> bytes:
        while data := stream.read(size):
            if text := decoder.decode(data):
                return text.encode("utf-8")
        return decoder.decode(b"", final=True).encode("utf-8")

    return read


def _read_block(block: bytes, lines_before: int, delimiter: str, schema: pa.Schema) -> _Block | None:
    """The rows of a block of whole lines by Arrow's reader; None where the strict reader might say something else.

    There are no NULs then, no field is too long, and every quote opens or closes a field or is one of a doubled pair.
    """
    if b"\0" in block:
        return None
    text = block if block.endswith((b"\n", b"\r")) else block + b"\n"
    if b"\r" in text:
        if b'"' in text and _return_within_quotes(text):
            return None
        text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    codes = np.frombuffer(text, dtype=np.uint8)
    line_ends = row_ends = np.flatnonzero(codes == ord("\n"))
    first_lines = np.arange(1, len(line_ends) + 1, dtype=np.int64)
    quoted = b'"' in text
    if quoted:
        quotes = np.flatnonzero(codes == ord('"'))
        if not _quotes_enclose_fields(codes, quotes, ord(delimiter)):
            return None
        of_rows = np.searchsorted(quotes, line_ends) % 2 == 0  # the other ones stand within quotes
        row_ends = line_ends[of_rows]
        first_lines = first_lines[np.concatenate([[True], of_rows[:-1]])]
    lengths = np.diff(row_ends, prepend=-1) - 1
    if lengths.max() >= _LONGEST_FIELD:
        return None
    several_lines = len(row_ends) < len(line_ends)
    if not lengths.min():  # blank lines are no rows
        if several_lines:
            return None
        first_lines = first_lines[lengths > 0]
        text = _BLANK_LINES.sub(b"\n", text.lstrip(b"\n"))
        if not text:
            return _Block(schema.empty_table(), len(line_ends))
    numbers = first_lines + lines_before
    columns, misfits = _arrow_columns(text, delimiter, len(schema) - len(SYSTEM_COLUMNS), quoted, several_lines)
    if len(columns) + len(misfits) != len(numbers) or (misfits and several_lines):
        return None
    misfit = _misfit_lines(text, delimiter, columns.num_columns) if misfits else np.zeros(len(numbers), dtype=bool)
    if int(misfit.sum()) != len(misfits):
        return None
    nothing = pa.nulls(len(columns), pa.string())
    fitting = pa.Table.from_arrays([pa.array(numbers[~misfit]), nothing, nothing, *columns.columns], schema=schema)
    if not misfits:
        return _Block(fitting, len(line_ends))
    rows = [
        _Row(number, fields, TOO_FEW_FIELDS if len(fields) < columns.num_columns else TOO_MANY_FIELDS)
        for number, fields in zip(
            numbers[misfit].tolist(), csv.reader(misfits, delimiter=delimiter, strict=True), strict=True
        )
    ]
    order = np.argsort(np.concatenate([numbers[~misfit], numbers[misfit]]), kind="stable")
    return _Block(pa.concat_tables([fitting, _as_table(rows, schema)]).take(order), len(line_ends))


def _quotes_enclose_fields(codes: np.ndarray, quotes: np.ndarray, delimiter: int) -> bool:
    """Whether the quotes of a text that ends with a line alternately open and close: both readers then see the same.

    One that opens follows a delimiter or a line's end, one that closes stands before one; or the one is next to the
    other, which is a doubled quote within a field.
    """
    if len(quotes) % 2:
        return False
    opening, closing = quotes[::2], quotes[1::2]
    before = codes[opening - 1]  # of the very first byte: the last, which is a line's end
    after = codes[closing + 1]
    doubled = opening[1:] == closing[:-1] + 1
    return bool(
        np.all((before == delimiter) | (before == ord("\n")) | np.concatenate([[False], doubled]))
        and np.all((after == delimiter) | (after == ord("\n")) | np.concatenate([doubled, [False]]))
    )


def _return_within_quotes(text: bytes) -> bool:
    codes = np.frombuffer(text, dtype=np.uint8)
    quotes, returns = (np.flatnonzero(codes == ord(character)) for character in ('"', "\r"))
    return bool(np.any(np.searchsorted(quotes, returns) % 2))


def _arrow_columns(
    text: bytes, delimiter: str, width: int, quoted: bool, several_lines: bool
) -> tuple[pa.Table, list[str]]:
    """The rows of the right width as text columns, '' as null, and the text of the others, in order."""
    misfits: list[str] = []

    def skip(row: pyarrow.csv.InvalidRow) -> str:
        misfits.append(row.text)
        return "skip"

    names = [str(position) for position in range(width)]
    table = pyarrow.csv.read_csv(
        pa.BufferReader(text),
        read_options=pyarrow.csv.ReadOptions(column_names=names, block_size=len(text) + 1, use_threads=False),
        parse_options=pyarrow.csv.ParseOptions(
            delimiter=delimiter,
            quote_char='"' if quoted else False,
            double_quote=quoted,
            escape_char=False,
            newlines_in_values=several_lines,
            ignore_empty_lines=False,
            invalid_row_handler=skip,
        ),
        convert_options=pyarrow.csv.ConvertOptions(
            check_utf8=False,  # done before
            column_types=dict.fromkeys(names, pa.string()),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=True,
        ),
    )
    return table, misfits


def _misfit_lines(text: bytes, delimiter: str, width: int) -> np.ndarray:
    """For each line of the text, whether it has another number of fields than `width`."""
    codes = np.frombuffer(text, dtype=np.uint8)
    between = np.flatnonzero(codes == ord(delimiter))
    if b'"' in text:
        between = between[np.searchsorted(np.flatnonzero(codes == ord('"')), between) % 2 == 0]
    delimiters_before = np.searchsorted(between, np.flatnonzero(codes == ord("\n")))
    return np.diff(delimiters_before, prepend=0) != width - 1


class _StrictReader:
    """Rows out of physical lines, where the lines of a broken row can be given back and read again.

    A row that is broken over several physical lines costs only its first line: the others are read again, so that one
    stray quote does not swallow its neighbours. Between rows, whole blocks can be taken out for a faster reader.
    """

    def __init__(self, blocks: Iterator[bytes], delimiter: str) -> None:
        csv.field_size_limit(_LONGEST_FIELD)
        self._blocks = blocks
        self._pieces: deque[bytes] = deque()
        self._lines: deque[str] = deque()
        self._taken: list[str] = []
        self.line_number = 0
        """How many lines of the file are read."""
        self._reader = csv.reader(self, delimiter=delimiter, strict=True)

    def __iter__(self) -> _StrictReader:
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
            pieces = list(_whole_lines(io.BytesIO(block).read, _PIECE))
            self._pieces.extendleft(reversed(pieces[1:]))
            block = pieces[0]
        self._lines.extend(io.StringIO(block.decode("utf-8"), newline=""))

    def next_row(self, width: int | None) -> _Row | None:
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
                return _Row(first_line, fields, problem)


def _as_table(rows: list[_Row], schema: pa.Schema) -> pa.Table:
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
