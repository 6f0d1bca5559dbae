"""Moving many rows between Arrow tables and the database: COPY on PostgreSQL, the driver's executemany on SQLite.

Knows no table of ours and no rule. What a bulk write bypasses is said here once: rows that are copied straight into a
partition do not fire triggers of the parent table other than those PostgreSQL clones to its partitions (row triggers
are), and row-level security policies of the parent do not apply; whoever relies on them applies them where
`copy_rows` is called.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import sqlalchemy as sa
from sqlalchemy.engine import Connection

_ROWS_PER_WRITE = 50_000

Ids = npt.NDArray[np.uint8]
"""UUIDs as an array [rows, 16] of bytes."""


def new_id_bytes(count: int) -> Ids:
    """`count` UUIDs of version 7 (RFC 9562, method 1: a counter after the milliseconds), ascending in one call.

    The same as `database.new_ids`, made a million at a time: 48 bits of time, 12 + 20 bits of counter, 42 random bits.
    """
    import time

    made = np.frombuffer(np.random.default_rng().bytes(16 * count), dtype=np.uint8).reshape(count, 16).copy()
    milliseconds = time.time_ns() // 1_000_000
    made[:, :6] = np.frombuffer(milliseconds.to_bytes(6, "big"), dtype=np.uint8)
    # 32 bits, begun anywhere in the lower half, so that two calls of one millisecond do not share their order.
    counter = np.arange(count, dtype=np.uint64) + np.uint64(int.from_bytes(made[0, 6:10].tobytes(), "big") >> 1)
    made[:, 6] = 0x70 | ((counter >> 28) & 0x0F)
    made[:, 7] = (counter >> 20) & 0xFF
    made[:, 8] = 0x80 | ((counter >> 14) & 0x3F)
    made[:, 9] = (counter >> 6) & 0xFF
    made[:, 10] = ((counter & 0x3F) << 2).astype(np.uint8) | (made[:, 10] & 0x03)
    return made


_HEX = np.frombuffer(b"".join(b"%02x" % value for value in range(256)), dtype=np.uint8).reshape(256, 2)


def id_texts(ids: Ids, dialect: str) -> pa.Array:
    """The ids as the database writes them: with hyphens on PostgreSQL, 32 hexadecimal digits on SQLite."""
    digits = _HEX[ids].reshape(len(ids), 32)
    if dialect == "postgresql":
        hyphenated = np.full((len(ids), 36), ord("-"), dtype=np.uint8)
        for start, end, at in ((0, 8, 0), (8, 12, 9), (12, 16, 14), (16, 20, 19), (20, 32, 24)):
            hyphenated[:, at : at + end - start] = digits[:, start:end]
        digits = hyphenated
    width = digits.shape[1]
    offsets = np.arange(0, width * (len(ids) + 1), width, dtype=np.int64)
    return pa.LargeStringArray.from_buffers(
        len(ids), pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(digits))
    ).cast(pa.string() if width * len(ids) < 2**31 else pa.large_string())


def id_bytes(texts: pa.Array) -> Ids:
    """The reverse of `id_texts`, for either spelling (all of one)."""
    if not len(texts):
        return np.empty((0, 16), dtype=np.uint8)
    joined = "".join(texts.to_pylist()).replace("-", "")
    return np.frombuffer(bytes.fromhex(joined), dtype=np.uint8).reshape(-1, 16)


@contextmanager
def _as_sqlalchemy(connection: Connection, statement: str) -> Iterator[None]:
    """Errors of the driver as SQLAlchemy's, like those of every other statement."""
    driver = connection.dialect.loaded_dbapi
    try:
        yield
    except driver.Error as error:
        closed = bool(getattr(connection.connection.driver_connection, "closed", 0))
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
        statement = f"COPY {table} ({', '.join(names)}) FROM STDIN (FORMAT csv)"
        buffer = io.BytesIO()
        # Every text is quoted, so that an empty text is not a NULL.
        pyarrow.csv.write_csv(rows, buffer, pyarrow.csv.WriteOptions(include_header=False, quoting_style="needed"))
        buffer.seek(0)
        with _as_sqlalchemy(connection, statement), driver.cursor() as cursor:
            cursor.copy_expert(statement, buffer, size=1 << 20)
        return
    statement = f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
    with _as_sqlalchemy(connection, statement):
        for start in range(0, len(rows), _ROWS_PER_WRITE):
            driver.executemany(statement, _tuples(rows.slice(start, _ROWS_PER_WRITE)))


def copy_binary(connection: Connection, table: str, columns: Sequence[str], blocks: Sequence[npt.NDArray[Any]]) -> None:
    """Write rows in PostgreSQL's binary COPY format, of which each block is an array; PostgreSQL only."""
    statement = f"COPY {table} ({', '.join(columns)}) FROM STDIN (FORMAT binary)"
    buffer = io.BytesIO()
    buffer.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
    for block in blocks:
        buffer.write(block.tobytes())
    buffer.write(b"\xff\xff")
    buffer.seek(0)
    driver: Any = connection.connection.driver_connection
    with _as_sqlalchemy(connection, statement), driver.cursor() as cursor:
        cursor.copy_expert(statement, buffer, size=1 << 20)


def _tuples(rows: pa.Table) -> Iterator[tuple[Any, ...]]:
    columns = []
    for column in rows.columns:
        if pa.types.is_date(column.type):
            column = column.cast(pa.string())  # noqa: PLW2901 - SQLite keeps dates as ISO text
        columns.append(column.to_pylist())
    return zip(*columns, strict=True)


def stage(connection: Connection, name: str, columns: dict[str, str], rows: pa.Table) -> str:
    """A temporary table of these rows, `columns` giving the SQL type of each; returns the name to query it by.

    It lives until the transaction ends (SQLite: until `name` is staged again).
    """
    connection.exec_driver_sql(
        f"DROP TABLE IF EXISTS temp.{name}"
        if connection.dialect.name == "sqlite"
        else (f"DROP TABLE IF EXISTS pg_temp.{name}")
    )
    declared = ", ".join(f"{column} {type_}" for column, type_ in columns.items())
    ending = " ON COMMIT DROP" if connection.dialect.name == "postgresql" else ""
    connection.exec_driver_sql(f"CREATE TEMPORARY TABLE {name} ({declared}){ending}")
    copy_rows(connection, name, rows.select(list(columns)))
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"ANALYZE {name}")
    return name


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


def _column(values: Sequence[Any], type_: pa.DataType) -> pa.Array:
    if pa.types.is_date(type_):
        return pa.array(values, pa.string()).cast(type_)
    return pa.array(values, type_)


def update_rows(
    connection: Connection, table: sa.Table, rows: pa.Table, *, name: str | None = None, key: Sequence[str] = ("id",)
) -> None:
    """Set the columns of `rows` in the rows of `table` with the same `key`; `name` names a partition of it instead."""
    if not len(rows):
        return
    target = name or table.name
    fields = [column for column in rows.column_names if column not in key]
    if connection.dialect.name == "postgresql":
        types = {column: table.c[column].type.compile(dialect=connection.dialect) for column in rows.column_names}
        stage(connection, "staged_updates", types, rows)
        assignments = ", ".join(f"{field} = s.{field}" for field in fields)
        where = " AND ".join(f"t.{column} = s.{column}" for column in key)
        connection.exec_driver_sql(f"UPDATE {target} t SET {assignments} FROM staged_updates s WHERE {where}")
        return
    statement = (
        f"UPDATE {target} SET {', '.join(f'{field} = ?' for field in fields)}"
        f" WHERE {' AND '.join(f'{column} = ?' for column in key)}"
    )
    driver: Any = connection.connection.driver_connection
    with _as_sqlalchemy(connection, statement):
        driver.executemany(statement, _tuples(rows.select([*fields, *key])))
