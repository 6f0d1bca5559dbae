"""Bulk reads and writes: rows straight from the driver into numpy arrays, rows of parameters in batches.

A student-week is small, a district has millions of them: a Row object, a UUID and a date for each would cost more than
everything computed from them. Knows no table.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

Bytes = npt.NDArray[np.bytes_]
Integers = npt.NDArray[np.int64]

ID = "S36"
DAY = "S10"
NUMBER = "f8"
"""NULL becomes NaN."""
OBJECT = "O"
"""The driver's own value."""

IDS_PER_QUERY = 5_000
"""Students named in one query; well below the parameter limits of both databases."""
ROWS_PER_WRITE = 20_000
_ROWS_TAKEN_APART_AT_ONCE = 2_000


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
        # A piece at a time, taken apart while it is still in the processor's cache.
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
    found = np.minimum(np.searchsorted(among, ids), len(among) - 1)
    return np.where(among[found] == ids, found, -1)


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
    statement = sqlite.insert(sa.table(table.name, *(sa.column(name, type_) for name, type_ in types.items())))
    if overwrite:
        values = {name: statement.excluded[name] for name in columns if name not in overwrite}
        statement = statement.on_conflict_do_update(index_elements=overwrite, set_=values)
    rows = zip(*columns.values(), strict=True)
    connection.execute(statement, [dict(zip(columns, row, strict=True)) for row in rows])


def write_rows(connection: sa.Connection, statement: Any, rows: Sequence[dict[str, Any]]) -> None:
    """Execute an insert or delete for many rows of parameters, in batches."""
    for start in range(0, len(rows), ROWS_PER_WRITE):
        connection.execute(statement, rows[start : start + ROWS_PER_WRITE])
