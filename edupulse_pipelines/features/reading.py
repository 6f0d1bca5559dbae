"""Bulk reads and writes: rows straight from the driver into numpy arrays, rows of parameters in batches.

A student-week is small, a district has millions of them: a Row object, a UUID and a date for each would cost more than
everything computed from them. Knows no table.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

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


def read_arrays(connection: sa.Connection, statement: sa.Select[Any], *types: str) -> list[npt.NDArray[Any]]:
    """The statement's columns as arrays of `types`."""
    dtype = np.dtype([(f"column_{number}", type_) for number, type_ in enumerate(types)])
    result = connection.execute(statement)
    parts: list[list[npt.NDArray[Any]]] = []
    cursor: Any = result.cursor
    try:
        # A piece at a time, taken apart while it is still in the processor's cache.
        while not parts or len(parts[-1][0]):
            rows = np.fromiter(islice(cursor, _ROWS_TAKEN_APART_AT_ONCE), dtype=dtype)
            parts.append([np.ascontiguousarray(rows[name]) for name in dtype.names or ()])
    finally:
        result.close()
    return [np.concatenate(columns) for columns in zip(*parts, strict=True)]


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


def write_rows(connection: sa.Connection, statement: Any, rows: Sequence[dict[str, Any]]) -> None:
    """Execute an insert or delete for many rows of parameters, in batches."""
    for start in range(0, len(rows), ROWS_PER_WRITE):
        connection.execute(statement, rows[start : start + ROWS_PER_WRITE])
