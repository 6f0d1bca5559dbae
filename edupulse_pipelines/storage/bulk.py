"""Moving many rows to and from the database, as Arrow tables or as columns.

`copy_rows`, `copy_binary`, `stage`, `update_rows` and `read_rows` move Arrow tables, by COPY on PostgreSQL and by the
driver's executemany on SQLite. `read_pieces` and `read_arrays` give columns as numpy arrays, `write_columns` and
`write_rows` take plain values. These go past SQLAlchemy's rows and types: for a district's millions of student-weeks, a
Row, a UUID and a date for each would cost more than everything that is computed from them.

There is nothing here about particular tables but one thing: PostgreSQL takes no COPY into a table with policies of
row-level security, which every table of districts has. Rows for those are copied into a temporary table and inserted
from there, which costs a few per cent more; whoever calls `copy_rows` or `copy_binary` need not know. Rows are written
through the table, never into one of its partitions, where its policies would not hold.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import marshal
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import Connection

from edupulse_pipelines.errors import DatabaseRefused
from edupulse_pipelines.schema.objects.guards import GUARDED
from edupulse_pipelines.schema.row_contents import OPEN_CHANGE
from edupulse_pipelines.schema.tables import AUDITED, CHANGE_ID
from edupulse_pipelines.storage.engine import INSUFFICIENT_PRIVILEGE, driver_code

_ROWS_PER_COPY = 50_000
_ROWS_PER_HASH = 10_000

Bytes = npt.NDArray[np.bytes_]
Integers = npt.NDArray[np.int64]

# Types of the arrays that columns are read into.
ID = "S36"
"""An id as the database's text."""
DAY = "S10"
"""A date as ISO text."""
NUMBER = "f8"
"""NULL becomes NaN."""
OBJECT = "O"
"""The driver's own value."""

IDS_PER_QUERY = 5_000
"""Students named in one query; well below the parameter limits of both databases."""
ROWS_PER_WRITE = 20_000
_ROWS_TAKEN_APART_AT_ONCE = 2_000


@dataclass(frozen=True)
class Place:
    """Where some rows are: in `table`, with a date in `column` from `first` to before `end`.

    A statement that says so is not planned for other partitions of the table, and keeps nobody from them.
    """

    table: str
    column: str
    first: dt.date
    end: dt.date

    def holds(self, table: sa.TableClause) -> sa.ColumnElement[bool]:
        """The condition on the rows of `table`, which stands for the place's, that leaves other partitions alone."""
        date = table.c[self.column]
        return sa.and_(date >= self.first, date < self.end)


@contextmanager
def _as_sqlalchemy(connection: Connection, statement: str) -> Iterator[None]:
    """Raise errors of the driver as SQLAlchemy's, which every other statement raises; parameters are not shown.

    A connection that the server has ended is given up, so that nobody tries to roll back on it.
    """
    driver = connection.dialect.loaded_dbapi
    try:
        yield
    except driver.Error as error:
        closed = bool(getattr(connection.connection.driver_connection, "closed", 0))
        if closed:
            connection.invalidate()
        raise sa.exc.DBAPIError.instance(
            statement, None, error, driver.Error, hide_parameters=True, connection_invalidated=closed
        ) from None


def copy_rows(connection: Connection, table: str, rows: pa.Table) -> None:
    """Write the rows into `table`, whose columns the Arrow columns name. Dates, texts and numbers; null is NULL."""
    if not len(rows):
        return
    names = rows.column_names
    driver: Any = connection.connection.driver_connection
    if connection.dialect.name == "postgresql":
        buffer = io.BytesIO()
        # Every text is quoted, so that an empty text is not a NULL.
        pyarrow.csv.write_csv(rows, buffer, pyarrow.csv.WriteOptions(include_header=False, quoting_style="needed"))
        _copy(connection, table, names, buffer, "csv")
        return
    places = ["?"] * len(names)
    if table in AUDITED:
        names, places = [*names, CHANGE_ID], [*places, OPEN_CHANGE]
    statement = f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join(places)})"
    with _as_sqlalchemy(connection, statement):
        for start in range(0, len(rows), _ROWS_PER_COPY):
            driver.executemany(statement, _tuples(rows.slice(start, _ROWS_PER_COPY)))


def copy_binary(connection: Connection, table: str, rows: pa.Table) -> None:
    """Write the rows into `table`, whose columns the Arrow columns name, by binary COPY; PostgreSQL only.

    The types have to be those of the table, because the server converts nothing: int32 for INTEGER, date32 for DATE,
    texts, 16 bytes for a UUID (`ids.id_column`), and Arrow's JSON type for JSONB. It costs the client and the server
    less than the CSV of `copy_rows`; the benchmark `load --moving` measures both.
    """
    buffer = io.BytesIO()
    buffer.write(_COPY_HEAD)
    for part in encoded(rows):
        buffer.write(part)
    buffer.write(_COPY_TAIL)
    _copy(connection, table, rows.column_names, buffer, "binary")


def _copy(connection: Connection, table: str, names: Sequence[str], buffer: io.BytesIO, form: str) -> None:
    """Send what was encoded to the table's columns: straight, or where it has policies by way of a temporary table."""
    columns = ", ".join(names)
    target = f"incoming_{table}" if table in GUARDED else table
    if target != table:
        # The columns' types without their rules and defaults, which are the table's to apply.
        _make_temporary(connection, target, query=f"AS SELECT {columns} FROM {table} WITH NO DATA")
    statement = f"COPY {target} ({columns}) FROM STDIN (FORMAT {form})"
    buffer.seek(0)
    driver: Any = connection.connection.driver_connection
    with _as_sqlalchemy(connection, statement), driver.cursor() as cursor:
        cursor.copy_expert(statement, buffer, size=1 << 20)
    if target != table:
        connection.exec_driver_sql(f"INSERT INTO {table} ({columns}) SELECT {columns} FROM pg_temp.{target}")
        connection.exec_driver_sql(f"DROP TABLE pg_temp.{target}")


_COPY_HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_COPY_TAIL = b"\xff\xff"


def encoded(rows: pa.Table) -> Iterator[bytes]:
    """The rows as binary COPY sends them, without its head and tail; types as `copy_binary` takes them."""
    from pgpq import ArrowToPostgresBinaryEncoder, encoders, schema

    documents = [name for name in rows.column_names if rows.schema.field(name).type == pa.json_()]
    for name in documents:
        rows = rows.set_column(rows.column_names.index(name), name, rows[name].cast(pa.string()))
    encoder = ArrowToPostgresBinaryEncoder.new_with_encoders(
        rows.schema,
        {
            field.name: encoders.StringEncoderBuilder.new_with_output(field, schema.Jsonb())
            if field.name in documents
            else ArrowToPostgresBinaryEncoder.infer_encoder(field)
            for field in rows.schema
        },
    )
    encoder.write_header()
    for batch in rows.to_batches(max_chunksize=_ROWS_PER_COPY):
        yield encoder.write_batch(batch)  # what it holds back comes with the end
    yield encoder.finish().removesuffix(_COPY_TAIL)


def hash_of_copy(connection: Connection, query: str) -> str:
    """SHA-256 of what PostgreSQL sends for the query's rows by binary COPY, without its head and tail."""
    digest = _Digest()
    statement = f"COPY ({query}) TO STDOUT (FORMAT binary)"
    driver: Any = connection.connection.driver_connection
    with _as_sqlalchemy(connection, "COPY TO STDOUT"), driver.cursor() as cursor:
        cursor.copy_expert(statement, digest, size=1 << 20)
    return digest.hexdigest()


def counted_hash_of_rows(connection: Connection, query: str) -> tuple[int, str]:
    """How many rows a query of SQLite has, and a SHA-256 over them in their order: of each value its type and bytes.

    The hash is for comparing within one process; another version of Python may write values differently.
    """
    digest, rows = hashlib.sha256(), 0
    driver: Any = connection.connection.driver_connection
    with _as_sqlalchemy(connection, "SELECT"), closing(driver.execute(query)) as cursor:
        while part := cursor.fetchmany(_ROWS_PER_HASH):
            rows += len(part)
            # The second version of this form refers to nothing that was written before, so equal rows are equal bytes.
            digest.update(marshal.dumps(part, 2))
    return rows, digest.hexdigest()


class _Digest:
    """Takes what is written to it as a file would, and hashes all but the head and the tail of a COPY."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._skip = len(_COPY_HEAD)
        self._held = b""

    def write(self, data: bytes) -> None:
        """The next bytes."""
        skipped = min(self._skip, len(data))
        self._skip -= skipped
        held = self._held + data[skipped:]
        self._hash.update(held[: -len(_COPY_TAIL)])
        self._held = held[-len(_COPY_TAIL) :]

    def hexdigest(self) -> str:
        """The hash of what was written."""
        return self._hash.hexdigest()


def _tuples(rows: pa.Table) -> Iterator[tuple[Any, ...]]:
    columns = []
    for column in rows.columns:
        if pa.types.is_date(column.type):
            column = column.cast(pa.string())  # noqa: PLW2901 - SQLite keeps dates as ISO text
        columns.append(column.to_pylist())
    return zip(*columns, strict=True)


def stage(connection: Connection, name: str, columns: dict[str, str], rows: pa.Table) -> str:
    """A temporary table of these rows, `columns` giving the SQL type of each; returns the name to query it by.

    It lives until the transaction ends (SQLite: until `name` is staged again). DatabaseRefused for a role of PostgreSQL
    without the right TEMPORARY.
    """
    declared = ", ".join(f"{column} {type_}" for column, type_ in columns.items())
    if connection.dialect.name == "postgresql":
        _make_temporary(connection, name, f"({declared})")
    else:
        connection.exec_driver_sql(f"DROP TABLE IF EXISTS temp.{name}")
        connection.exec_driver_sql(f"CREATE TEMPORARY TABLE {name} ({declared})")
    copy_rows(connection, name, rows.select(list(columns)))
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"ANALYZE {name}")
    return name


def _make_temporary(connection: Connection, name: str, columns: str = "", *, query: str = "") -> None:
    """Make a temporary table of PostgreSQL that lives until the transaction ends; DatabaseRefused as in `stage`."""
    connection.exec_driver_sql(f"DROP TABLE IF EXISTS pg_temp.{name}")
    try:
        connection.exec_driver_sql(f"CREATE TEMPORARY TABLE {name} {columns} ON COMMIT DROP {query}")
    except sa.exc.ProgrammingError as error:
        if driver_code(error) != INSUFFICIENT_PRIVILEGE:
            raise
        role, database = connection.engine.url.username, connection.engine.url.database
        raise DatabaseRefused(
            f"The role {role} may not make temporary tables (SQLSTATE {INSUFFICIENT_PRIVILEGE}), which rows are staged "
            f"in. Have it granted the right: GRANT TEMPORARY ON DATABASE {database} TO {role}."
        ) from None


def read_rows(connection: Connection, query: sa.Select[Any], types: dict[str, pa.DataType]) -> pa.Table:
    """The query's columns, which `types` names in order, as an Arrow table."""
    if connection.dialect.name == "postgresql":
        compiled = query.compile(dialect=connection.dialect, compile_kwargs={"literal_binds": True})
        # Compiled for execution with parameters: a percent sign is doubled.
        statement = f"COPY ({str(compiled).replace('%%', '%')}) TO STDOUT (FORMAT csv, FORCE_QUOTE *)"
        buffer = io.BytesIO()
        driver: Any = connection.connection.driver_connection
        with _as_sqlalchemy(connection, "COPY TO STDOUT"), driver.cursor() as cursor:
            cursor.copy_expert(statement, buffer, size=1 << 20)
        if buffer.tell() == 0:
            return pa.schema(list(types.items())).empty_table()
        buffer.seek(0)
        return pyarrow.csv.read_csv(
            buffer,
            pyarrow.csv.ReadOptions(column_names=list(types), use_threads=False, block_size=1 << 24),
            pyarrow.csv.ParseOptions(newlines_in_values=True),
            pyarrow.csv.ConvertOptions(
                column_types=types,
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                null_values=[""],
                true_values=["t"],
                false_values=["f"],
            ),
        )
    fetched = connection.execute(
        query.with_only_columns(
            *(sa.type_coerce(column, sa.types.NullType()) for column in query.selected_columns),
            maintain_column_froms=True,
        )
    ).all()
    columns = list(zip(*fetched, strict=True)) if fetched else [()] * len(types)
    return pa.table(
        {name: _column(values, type_) for (name, type_), values in zip(types.items(), columns, strict=True)}
    )


class Writable(Protocol):
    """What bytes can be written to."""

    def write(self, data: bytes) -> int:
        """The next bytes."""


def write_csv_of(connection: Connection, query: str, stream: Writable) -> None:
    """Write the rows of a query as CSV without a header, every text quoted and NULL as nothing at all."""
    driver: Any = connection.connection.driver_connection
    if connection.dialect.name == "postgresql":
        with _as_sqlalchemy(connection, "COPY TO STDOUT"), driver.cursor() as cursor:
            cursor.copy_expert(f"COPY ({query}) TO STDOUT (FORMAT csv, FORCE_QUOTE *)", stream, size=1 << 20)
        return
    with _as_sqlalchemy(connection, query):
        cursor = driver.execute(query)
        while rows := cursor.fetchmany(_ROWS_TAKEN_APART_AT_ONCE):
            stream.write("".join(",".join(map(_csv_field, row)) + "\n" for row in rows).encode())


def _csv_field(value: Any) -> str:
    if value is None:
        return ""
    text = value.hex() if isinstance(value, bytes) else str(value)
    return '"' + text.replace('"', '""') + '"'


def _column(values: Sequence[Any], type_: pa.DataType) -> pa.Array:
    if pa.types.is_date(type_):
        return pa.array(values, pa.string()).cast(type_)
    if pa.types.is_boolean(type_):  # SQLite keeps 0 and 1
        return pa.array([None if value is None else bool(value) for value in values], type_)
    return pa.array(values, type_)


def update_rows(
    connection: Connection, table: sa.Table, rows: pa.Table, *, place: Place | None = None, key: Sequence[str] = ("id",)
) -> None:
    """Set the columns of `rows` in the rows of `table` with the same `key`, all of which are at the `place`, if given.

    The place's table may be another one with the columns of `table`.
    """
    if not len(rows):
        return
    target = table.name if place is None else place.table
    fields = [column for column in rows.column_names if column not in key]
    if connection.dialect.name == "postgresql":
        types = {column: table.c[column].type.compile(dialect=connection.dialect) for column in rows.column_names}
        stage(connection, "staged_updates", types, rows)
        assignments = ", ".join(f"{field} = s.{field}" for field in fields)
        where = " AND ".join(f"t.{column} = s.{column}" for column in key)
        if place is not None:
            where += f" AND t.{place.column} >= DATE '{place.first}' AND t.{place.column} < DATE '{place.end}'"
        connection.exec_driver_sql(f"UPDATE {target} t SET {assignments} FROM staged_updates s WHERE {where}")
        return
    statement = (
        f"UPDATE {target} SET {', '.join(f'{field} = ?' for field in fields)}"
        f" WHERE {' AND '.join(f'{column} = ?' for column in key)}"
    )
    driver: Any = connection.connection.driver_connection
    with _as_sqlalchemy(connection, statement):
        driver.executemany(statement, _tuples(rows.select([*fields, *key])))


def as_text(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """An id or a date as the database's own text (dates in ISO form), empty when NULL; read it as `ID` or `DAY`."""
    text = sa.cast(column, sa.Text())
    return sa.func.coalesce(text, "") if getattr(column, "nullable", True) else text


def plain(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """A column as the driver gives it, without SQLAlchemy's conversion of each value."""
    return sa.type_coerce(column, sa.types.NullType())


def read_pieces(connection: sa.Connection, statement: sa.Select[Any], *types: str) -> Iterator[list[npt.NDArray[Any]]]:
    """The statement's columns as arrays of `types`, some thousand rows at a time; the last piece is empty."""
    dtype = np.dtype([(f"column_{number}", type_) for number, type_ in enumerate(types)])
    result = connection.execute(statement)
    cursor: Any = result.cursor
    try:
        # Small pieces, so that the rows are still in the processor's cache when their columns are copied.
        while True:
            rows = np.fromiter(islice(cursor, _ROWS_TAKEN_APART_AT_ONCE), dtype=dtype)
            yield [np.ascontiguousarray(rows[name]) for name in dtype.names or ()]
            if not len(rows):
                return
    finally:
        result.close()


def read_arrays(connection: sa.Connection, statement: sa.Select[Any], *types: str) -> list[npt.NDArray[Any]]:
    """The statement's columns as arrays of `types`."""
    return concatenated(list(read_pieces(connection, statement, *types)))


def concatenated(parts: list[list[npt.NDArray[Any]]]) -> list[npt.NDArray[Any]]:
    """The results of several reads of the same columns as one."""
    return parts[0] if len(parts) == 1 else [np.concatenate(columns) for columns in zip(*parts, strict=True)]


def days(texts: Bytes) -> npt.NDArray[np.datetime64]:
    """Dates of ISO texts; empty text is NaT."""
    return texts.astype("datetime64[D]")


def ordinals(texts: Bytes) -> Integers:
    """`datetime.date.toordinal()` of ISO texts."""
    return days(texts).astype(np.int64) + dt.date(1970, 1, 1).toordinal()


def positions(ids: Bytes, among: Bytes) -> Integers:
    """Position of each id in the sorted `among`, -1 where it is not there."""
    if not len(among):
        return np.full(len(ids), -1, dtype=np.int64)
    place = np.minimum(np.searchsorted(among, ids), len(among) - 1)
    return np.where(among[place] == ids, place, -1)


def uuids(ids: Bytes) -> list[uuid.UUID]:
    """The UUIDs behind id texts."""
    return [uuid.UUID(text.decode()) for text in ids.tolist()]


def id_batches(ids: Sequence[uuid.UUID]) -> Iterator[Sequence[uuid.UUID]]:
    """`ids` in pieces that fit one query."""
    for start in range(0, len(ids), IDS_PER_QUERY):
        yield ids[start : start + IDS_PER_QUERY]


def write_columns(
    connection: sa.Connection, table: sa.Table, columns: Mapping[str, Sequence[Any]], *, overwrite: Sequence[str] = ()
) -> None:
    """Insert the rows that `columns` hold by name (JSON as text), overwriting the row of the same key `overwrite`.

    PostgreSQL gets each column as one array, which takes it a quarter of the time of as many rows of parameters.
    """
    count = len(next(iter(columns.values())))
    write = _insert_arrays if connection.dialect.name == "postgresql" else _insert_rows
    for start in range(0, count, ROWS_PER_WRITE):
        part = {name: values[start : start + ROWS_PER_WRITE] for name, values in columns.items()}
        write(connection, table, part, overwrite)


def _insert_arrays(
    connection: sa.Connection, table: sa.Table, columns: Mapping[str, Sequence[Any]], overwrite: Sequence[str]
) -> None:
    # A cast to VARCHAR(n) would cut what is too long for the column, instead of refusing it.
    types = [
        "TEXT" if isinstance(table.c[name].type, sa.String) else table.c[name].type.compile(dialect=connection.dialect)
        for name in columns
    ]
    arrays = ", ".join(f"CAST(:{name} AS {type_}[])" for name, type_ in zip(columns, types, strict=True))
    statement = f"INSERT INTO {table.name} ({', '.join(columns)}) SELECT * FROM unnest({arrays})"
    if overwrite:
        values = ", ".join(f"{name} = excluded.{name}" for name in columns if name not in overwrite)
        statement += f" ON CONFLICT ({', '.join(overwrite)}) DO UPDATE SET {values}"
    connection.execute(sa.text(statement), {name: _array_literal(values) for name, values in columns.items()})


def _array_literal(values: Sequence[Any]) -> str:
    """The values as PostgreSQL writes an array."""
    written = [
        "NULL"
        if value is None
        else '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
        if isinstance(value, str)
        else str(value)
        for value in values
    ]
    return "{" + ",".join(written) + "}"


def _insert_rows(
    connection: sa.Connection, table: sa.Table, columns: Mapping[str, Sequence[Any]], overwrite: Sequence[str]
) -> None:
    # A column of JSON would serialise the text again.
    types = {name: sa.Text() if isinstance(table.c[name].type, sa.JSON) else table.c[name].type for name in columns}
    target = sa.table(table.name, *(sa.column(name, type_) for name, type_ in types.items()))
    values: dict[str, Any] = {name: sa.bindparam(name) for name in columns}
    if table.name in AUDITED:
        target.append_column(sa.column(CHANGE_ID, sa.BigInteger()))
        values[CHANGE_ID] = sa.literal_column(OPEN_CHANGE)
    statement = sqlite.insert(target).values(values)
    if overwrite:
        values = {name: statement.excluded[name] for name in columns if name not in overwrite}
        statement = statement.on_conflict_do_update(index_elements=overwrite, set_=values)
    rows = zip(*columns.values(), strict=True)
    connection.execute(statement, [dict(zip(columns, row, strict=True)) for row in rows])


def write_rows(connection: sa.Connection, statement: Any, rows: Sequence[dict[str, Any]]) -> None:
    """Execute an insert or delete for many rows of parameters, in batches."""
    for start in range(0, len(rows), ROWS_PER_WRITE):
        connection.execute(statement, rows[start : start + ROWS_PER_WRITE])
