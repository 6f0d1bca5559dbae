"""The text of a CSV file, whatever its rows are about: what it is written in, its lines, and its rows as Arrow tables.

UTF-8, UTF-16 with a byte order mark, or the encoding that the tenant's profile declares. Rows are read in blocks
(`csv_blocks`), or one by one (`csv_rows`). Which delimiter and which columns a file has is for the subclass to say.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import pyarrow as pa

from edupulse_pipelines.settings import FilesSettings
from edupulse_pipelines.sources.csv_blocks import read_block
from edupulse_pipelines.sources.csv_rows import Row, StrictReader, as_table, whole_lines
from edupulse_pipelines.sources.records import RefusedFile, archive_schema

BLOCK_BYTES = 4 << 20
"""What is read, and handed to Arrow, at once."""
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


class CsvText:
    """The rows of a CSV, whatever they are about: the encoding is found when it is made, `header` is the subclass's.

    `content` is a path, or gives the file's bytes from the beginning each time it is called. RefusedFile `empty_file`,
    `not_csv`, `encoding` or `too_many_columns`.
    """

    header: list[str]

    def __init__(
        self,
        content: Path | Callable[[], BinaryIO],
        encoding: str = "auto",
        *,
        max_columns: int = FilesSettings().max_columns,
        block_bytes: int = BLOCK_BYTES,
        strict: bool = False,
    ) -> None:
        """`encoding` as the profile declares it. With `strict` every row is read one by one: the same rows, slowly."""
        self._open = (lambda: content.open("rb")) if isinstance(content, Path) else content
        self._max_columns = max_columns
        self._block_bytes = block_bytes
        self._strict = strict
        self.delimiter = ","
        self._encoding = self._find_encoding(encoding)

    def batches(self) -> Iterator[pa.Table]:
        """The data rows in file order, in tables of `archive_schema(header)`; blank lines are no rows.

        RefusedFile `encoding` when a byte is none of the file's encoding, and whatever reading the content raises.
        """
        schema = archive_schema(self.header)
        batch = _Batch(schema)
        with self._open() as stream:
            reader = StrictReader(self._blocks(stream, self._block_bytes), self.delimiter)
            reader.next_row(None)  # the header
            while True:
                block = reader.next_block()
                if block is not None:
                    whole = None if self._strict else read_block(block, reader.line_number, self.delimiter, schema)
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

    def read_header(self, delimiter: str) -> Row:
        """The first row, read with this delimiter. RefusedFile `empty_file` or `too_many_columns`."""
        with self._open() as stream:
            row = StrictReader(self._blocks(stream, _HEADER_BLOCK), delimiter).next_row(None)
        if row is None:
            raise RefusedFile("empty_file", "the file is empty: not even a header row")
        if row.problem is None and len(row.fields) > self._max_columns:
            raise RefusedFile(
                "too_many_columns",
                f"line 1: the header row has {len(row.fields):,} columns, more than {self._max_columns:,}",
                "deliver fewer, or raise max_columns in the tenant's files table of edupulse.toml",
            )
        return row

    def _blocks(self, stream: BinaryIO, block_bytes: int) -> Iterator[bytes]:
        """The file as blocks of whole lines, in UTF-8."""
        stream.read(self._encoding.mark)
        try:
            if self._encoding.name == "utf-8":
                for block in whole_lines(stream.read, block_bytes):
                    if not block.isascii():
                        block.decode("utf-8")
                    yield block
            else:
                yield from whole_lines(_transcoded(stream, self._encoding.name), block_bytes)
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


class _Batch:
    """Rows on their way into one table, as they come from the one reader or the other."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._tables: list[pa.Table] = []
        self._rows: list[Row] = []
        self.count = 0

    def add_row(self, row: Row) -> None:
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
            self._tables.append(as_table(self._rows, self._schema))
            self._rows = []


def _transcoded(stream: BinaryIO, encoding: str) -> Callable[[int], bytes]:
    """Like `stream.read`, in UTF-8; UnicodeDecodeError when a byte is none of `encoding`."""
    decoder = codecs.getincrementaldecoder(encoding)()

    def read(size: int) -> bytes:
        while data := stream.read(size):
            if text := decoder.decode(data):
                return text.encode("utf-8")
        return decoder.decode(b"", final=True).encode("utf-8")

    return read
