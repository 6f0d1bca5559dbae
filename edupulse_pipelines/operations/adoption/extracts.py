"""Reading tables of version 1.0 in batches, as the archive keeps rows: everything is text, in columns of the contract.

Numbers are written as short as single precision has them: 0.48 and not 0.47999998927116394, as a `REAL` widens to.
Students are named by their number. A batch is read in one go into a file beside memory, and from there in pieces.
"""

from __future__ import annotations

import datetime as dt
import io
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from sqlalchemy.engine import Connection

from edupulse_pipelines.hashing import Hashing
from edupulse_pipelines.ingest.earlier_records import CREATED_AT, EARLIER_COLUMNS, ID
from edupulse_pipelines.schema.delivery import DELETED, DELIVERED, STUDENT_NUMBER
from edupulse_pipelines.schema.source_formats import VERSION_1
from edupulse_pipelines.sources.records import LINE_NUMBER, archive_schema
from edupulse_pipelines.storage.bulk import write_csv_of
from edupulse_pipelines.storage.sql_names import quoted
from edupulse_pipelines.storage.version_1 import OLD_TABLES, STUDENTS, columns_of, old_name

_BLOCK_BYTES = 8 << 20
_ISO_MOMENT = r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\z"
_FIRST_LINE = 2
"""Line 1 of a file is its header."""


@dataclass(frozen=True)
class OldDatabase:
    """The tables of version 1.0, where they are now. columns: by table its columns with their types."""

    dialect: str
    moved: bool
    columns: dict[str, dict[str, str]]

    @classmethod
    def of(cls, connection: Connection, *, moved: bool) -> OldDatabase:
        """The tables as they are; `moved`: out of the way of ours."""
        columns = {table: columns_of(connection, table, moved=moved) for table in OLD_TABLES}
        return cls(connection.dialect.name, moved, columns)

    def name(self, table: str) -> str:
        """The table's name as SQL has it."""
        return old_name(self.dialect, table) if self.moved else quoted(table)

    def text(self, table: str, column: str) -> str:
        """The expression for a column of the table, whose alias is `o`, as text; SQLite's driver gives values."""
        value = f"o.{quoted(column)}"
        if self.dialect == "sqlite":
            return value
        if self.columns[table][column].startswith("timestamp"):
            return f"to_char({value}, 'YYYY-MM-DD\"T\"HH24:MI:SS.US')"
        return f"CAST({value} AS text)"

    def id_text(self, table: str, column: str) -> str:
        """The expression for a column with an id: 32 digits, all with hyphens (where it is a UUID), or all without."""
        value = f"CAST(o.{quoted(column)} AS text)"
        return value if self.columns[table][column] == "uuid" else f"lower(replace({value}, '-', ''))"

    def delivered_columns(self, table: str) -> list[str]:
        """The columns of the table that districts deliver today, too: they come over."""
        contract = DELIVERED[table]
        return [name for name in contract.column_names if name in self.columns[table] and name != DELETED]

    def left_columns(self) -> dict[str, list[str]]:
        """By table the columns that version 1.0 does not have and nothing here knows: they stay behind."""
        left = {}
        for table, known in OLD_TABLES.items():
            coming = self.delivered_columns(table) if table in DELIVERED else []
            names = [name for name in self.columns[table] if name not in known and name not in coming]
            if names:
                left[table] = names
        return left


def plain_reading(connection: Connection) -> None:
    """Have PostgreSQL write moments in UTC and dates in ISO form in this transaction, whatever its settings."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET LOCAL TimeZone = 'UTC'")
        connection.exec_driver_sql("SET LOCAL DateStyle = 'ISO, YMD'")
        connection.exec_driver_sql("SET LOCAL extra_float_digits = 1")


@dataclass(frozen=True)
class Extract:
    """Rows of one batch in a file; `sha256` and `size` are of its bytes."""

    header: list[str]
    stream: IO[bytes]
    sha256: str
    size: int

    def pieces(self) -> Iterator[pa.Table]:
        """The rows as text, piece by piece; an empty field is null."""
        if not self.size:
            return
        self.stream.seek(0)
        with pyarrow.csv.open_csv(
            _Borrowed(self.stream),
            pyarrow.csv.ReadOptions(column_names=self.header, use_threads=False, block_size=_BLOCK_BYTES),
            pyarrow.csv.ParseOptions(newlines_in_values=True),
            pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(self.header, pa.string()),
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,  # version 1.0 took an empty text for a value; nobody delivers one
                null_values=[""],
            ),
        ) as reader:
            for batch in reader:
                yield pa.Table.from_batches([batch])

    def table(self) -> pa.Table:
        """All rows."""
        empty = pa.schema([(name, pa.string()) for name in self.header]).empty_table()
        return pa.concat_tables([empty, *self.pieces()])


class _Borrowed:
    """A stream that whoever reads it may not close."""

    closed = False

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        return self._stream.read(size)

    def close(self) -> None:
        """Nothing: the stream is its owner's."""


@contextmanager
def extracted(connection: Connection, query: str, header: list[str]) -> Iterator[Extract]:
    """The query's rows, whose columns `header` names, in a file that is gone after the block."""
    with tempfile.TemporaryFile(prefix="edupulse-") as stream:
        writer = Hashing(stream)
        write_csv_of(connection, query, writer)
        yield Extract(header, stream, writer.sha256, writer.size)


@contextmanager
def extract_of(rows: pa.Table) -> Iterator[Extract]:
    """Some rows, all text, as an extract."""
    with tempfile.TemporaryFile(prefix="edupulse-") as stream:
        writer = Hashing(stream)
        text = io.BytesIO()
        pyarrow.csv.write_csv(rows, text, pyarrow.csv.WriteOptions(include_header=False, quoting_style="needed"))
        writer.write(text.getvalue())
        yield Extract(rows.column_names, stream, writer.sha256, writer.size)


def record_query(old: OldDatabase, table: str, condition: str) -> tuple[str, list[str]]:
    """The query for rows of a table of records in order of their ids, and the names of its columns."""
    contract = DELIVERED[table]
    columns = {name: old.text(table, name) for name in old.delivered_columns(table)}
    source = f"{old.name(table)} o"
    if contract.record.about_students:
        # Of a student who is not there, in a database that did not look, the id stands for the number.
        columns[STUDENT_NUMBER] = f"coalesce(s.district_id, {old.id_text(table, 'student_id')})"
        source += f" LEFT JOIN {old.name(STUDENTS)} s ON s.id = o.student_id"
    elif contract.record.about_predictions:
        columns["prediction_id"] = old.id_text(table, "prediction_id")
    header = [name for name in contract.column_names if name in columns]
    chosen = [columns[name] for name in header]
    chosen += [old.id_text(table, ID), old.text(table, CREATED_AT)]
    names = [*header, *EARLIER_COLUMNS]
    listed = ", ".join(f"{value} AS {quoted(name)}" for value, name in zip(chosen, names, strict=True))
    return f"SELECT {listed} FROM {source} WHERE {condition} ORDER BY o.{ID}", names


class OldRows:
    """The rows of an extract as the archive takes them (`sources.records.RecordSource`)."""

    source_format = VERSION_1.named(" 1.0")
    unknown_columns: list[str]
    left_out: dict[str, int]
    instructional_days: list[dt.date]

    def __init__(self, table: str, extract: Extract) -> None:
        self._table = table
        self._extract = extract
        self.header = extract.header
        self.unknown_columns, self.left_out, self.instructional_days = [], {}, []

    def batches(self) -> Iterator[pa.Table]:
        """The rows with their line numbers."""
        line = _FIRST_LINE
        schema = archive_schema(self.header)
        for piece in self._extract.pieces():
            rows = in_canonical_form(piece, self._table)
            lines = pa.array(np.arange(line, line + len(rows)))
            line += len(rows)
            texts = {name: rows[name] if name in rows.column_names else pa.nulls(len(rows)) for name in schema.names}
            yield pa.table({**texts, LINE_NUMBER: lines}).select(schema.names).cast(schema)


def in_canonical_form(rows: pa.Table, table: str) -> pa.Table:
    """The rows with numbers and moments as they are written here."""
    numbers = {column.name for column in DELIVERED[table].columns if column.type == "number"}
    for place, name in enumerate(rows.column_names):
        if name in numbers:
            rows = rows.set_column(place, name, _each(rows[name], shortest))
        elif name == CREATED_AT:
            rows = rows.set_column(place, name, moments(rows[name]))
    return rows


def moments(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Texts of moments in UTC, ISO form; null where there is none."""
    if pc.all(pc.match_substring_regex(column, _ISO_MOMENT)).as_py() is not False:
        return column
    return _each(column, moment_of)


def last_moment(connection: Connection, old: OldDatabase, table: str, until: dt.datetime) -> dt.datetime | None:
    """The last moment at which a row of the table was created; of none that is not known, or lies after `until`."""
    value = old.text(table, CREATED_AT)
    end = until.astimezone(dt.UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
    query = f"SELECT DISTINCT {value} FROM {old.name(table)} o WHERE o.{CREATED_AT} IS NOT NULL"
    if old.dialect == "postgresql" and old.columns[table][CREATED_AT].startswith("timestamp"):
        query = f"SELECT max({value}) FROM {old.name(table)} o WHERE o.{CREATED_AT} BETWEEN '0001-01-01' AND '{end}'"
    texts = connection.exec_driver_sql(query, execution_options={"stream_results": True}).scalars()
    known = (moment for text in texts if (moment := moment_of(str(text))) is not None)
    last = max((moment for moment in known if moment <= end), default=None)
    return None if last is None else dt.datetime.fromisoformat(last).replace(tzinfo=dt.UTC)


def _each(column: pa.ChunkedArray, convert: Any) -> pa.ChunkedArray:
    """Each distinct text converted."""
    encoded = column.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    texts = pa.array([convert(text) for text in encoded.dictionary.to_pylist()], pa.string())
    return pa.chunked_array([texts.take(encoded.indices)])


def shortest(text: str) -> str:
    """A number as short as its value in single precision is written, where that is the value; else as it is."""
    try:
        value = float(text)
    except ValueError:
        return text
    single = np.float32(value)
    if not np.isfinite(single):
        return text
    if float(single) == value:
        return np.format_float_positional(single, unique=True, trim="-")
    return np.format_float_positional(value, unique=True, trim="-")


def moment_of(text: str) -> str | None:
    """A text of a moment in UTC, ISO form; None for what is none."""
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is not None:
        moment = moment.astimezone(dt.UTC).replace(tzinfo=None)
    return moment.isoformat(timespec="microseconds")
