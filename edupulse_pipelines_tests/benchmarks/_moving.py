"""How rows are moved to and from PostgreSQL: our encoder and readers against `pgpq` and ADBC, in the same tables.

A part of the `load` benchmark (`--moving`). Everything is written into one table without indexes, and read from it, so
that what is compared is the moving and not the upkeep of the table.

write   ours    `copy_binary`, as the attendance writer calls it: Arrow columns, encoded by `pgpq`, and COPY
        by_hand the same rows made from numpy arrays (`_binary_rows`), as it is done without a library
        csv     `copy_rows`: Arrow's CSV writer and COPY
read    ours    `read_rows`: COPY as CSV into Arrow, in the transaction
        pieces  `read_pieces`: the driver's rows into numpy arrays, in the transaction
        adbc    ADBC's driver into Arrow. It opens a connection of its own, so it sees nothing that the transaction of
                the work has written and none of its settings: a yardstick, not a replacement.
"""

from __future__ import annotations

import datetime as dt
import io
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.storage.bulk import (
    DAY,
    ID,
    OBJECT,
    as_text,
    copy_binary,
    copy_rows,
    plain,
    read_pieces,
    read_rows,
)
from edupulse_pipelines.storage.engine import create_engine
from edupulse_pipelines.storage.ids import Ids, id_column, id_texts, new_id_bytes

_ROUNDS = 3
_TENANT, _STATUS = "benchmark", "present"
_COLUMNS = ("id", "tenant_id", "student_id", "date", "delivered_on", "status", "period")
_TABLE = sa.table(
    "moved",
    sa.column("id", sa.Uuid()),
    sa.column("tenant_id", sa.String()),
    sa.column("student_id", sa.Uuid()),
    sa.column("date", sa.Date()),
    sa.column("delivered_on", sa.Date()),
    sa.column("status", sa.String()),
    sa.column("period", sa.Integer()),
)
_EPOCH = dt.date(1970, 1, 1)
_POSTGRESQL_EPOCH = (dt.date(2000, 1, 1) - _EPOCH).days


def measure(url: str, rows: int) -> dict[str, Any]:
    """Rows per second of each way to write and to read `rows` rows, the best of some rounds, and ours by the others."""
    ids, students = new_id_bytes(rows), new_id_bytes(rows)
    days = (dt.date(2025, 9, 1) - _EPOCH).days + np.arange(rows) % 90
    delivered = (dt.date(2026, 1, 5) - _EPOCH).days

    def by_hand(connection: Connection) -> None:
        block = _binary_rows(
            rows, ids, _TENANT, students, days - _POSTGRESQL_EPOCH, _STATUS, None, delivered - _POSTGRESQL_EPOCH
        )
        _copy_blocks(connection, [block])

    def as_arrow(*, texts: bool) -> pa.Table:
        id_of = (lambda values: id_texts(values, "postgresql")) if texts else id_column
        return pa.table(
            {
                "id": id_of(ids),
                "tenant_id": pa.repeat(_TENANT, rows),
                "student_id": id_of(students),
                "date": pa.array(days.astype(np.int32)).cast(pa.date32()),
                "delivered_on": pa.array(np.full(rows, delivered, dtype=np.int32)).cast(pa.date32()),
                "status": pa.repeat(_STATUS, rows),
                "period": pa.nulls(rows, pa.int32()),
            }
        )

    def ours(connection: Connection) -> None:
        copy_binary(connection, "moved", as_arrow(texts=False))

    def by_csv(connection: Connection) -> None:
        copy_rows(connection, "moved", as_arrow(texts=True))

    columns = _TABLE.c
    query = sa.select(columns.id, columns.student_id, columns.date, columns.status)

    def read_ours(connection: Connection) -> int:
        types = {"id": pa.string(), "student_id": pa.string(), "date": pa.date32(), "status": pa.string()}
        return len(read_rows(connection, query, types))

    def read_in_pieces(connection: Connection) -> int:
        plainly = sa.select(
            as_text(columns.id), as_text(columns.student_id), as_text(columns.date), plain(columns.status)
        )
        return sum(len(piece[0]) for piece in read_pieces(connection, plainly, ID, ID, DAY, OBJECT))

    def read_by_adbc(_: Connection) -> int:
        from adbc_driver_postgresql import dbapi

        uri = sa.engine.make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        with dbapi.connect(uri) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT id, student_id, date, status FROM moved")
            return len(cursor.fetch_arrow_table())

    engine = create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE UNLOGGED TABLE moved (id UUID, tenant_id VARCHAR(50), student_id UUID, date DATE,"
            " delivered_on DATE, status VARCHAR(20), period INTEGER)"
        )
    writers: dict[str, Callable[[Connection], Any]] = {"ours": ours, "by_hand": by_hand, "csv": by_csv}
    readers: dict[str, Callable[[Connection], Any]] = {
        "ours": read_ours,
        "pieces": read_in_pieces,
        "adbc": read_by_adbc,
    }
    best: dict[tuple[str, str], float] = {}
    for _ in range(_ROUNDS):  # in turn, so that a busy moment hits all of them
        for name, write in writers.items():
            with engine.begin() as connection:
                connection.exec_driver_sql("TRUNCATE moved")
                _keep_best(best, ("write", name), lambda write=write, connection=connection: write(connection))
                assert connection.scalar(sa.select(sa.func.count()).select_from(_TABLE)) == rows
        for name, read in readers.items():
            with engine.begin() as connection:
                count = _keep_best(best, ("read", name), lambda read=read, connection=connection: read(connection))
                assert count == rows, name
    engine.dispose()
    return {
        way: {name: rows / best[way, name] for name in sides} for way, sides in (("write", writers), ("read", readers))
    }


def _keep_best(best: dict[tuple[str, str], float], key: tuple[str, str], work: Callable[[], Any]) -> Any:
    start = time.perf_counter()
    result = work()
    best[key] = min(best.get(key, float("inf")), time.perf_counter() - start)
    return result


def _binary_rows(
    count: int,
    ids: Ids,
    tenant: str,
    students: Ids,
    dates: npt.NDArray[np.int64],
    status: str,
    periods: npt.NDArray[np.int64] | None,
    on: int,
) -> npt.NDArray[Any]:
    """Rows of one width for PostgreSQL's binary COPY, `_COLUMNS`; dates in days since 2000-01-01."""
    columns: list[tuple[str, str, Any]] = [
        ("id", "V16", np.ascontiguousarray(ids).view("V16")[:, 0]),
        ("tenant", f"S{len(tenant.encode())}", tenant.encode()),
        ("student", "V16", np.ascontiguousarray(students).view("V16")[:, 0]),
        ("date", ">i4", dates),
        ("on", ">i4", on),
        ("status", f"S{len(status)}", status.encode()),
    ]
    if periods is not None:
        columns.append(("period", ">i4", periods))
    types = [("fields", ">i2")]
    for name, type_, _ in columns:
        types += [(f"{name} length", ">i4"), (name, type_)]
    if periods is None:
        types.append(("period length", ">i4"))
    rows = np.empty(count, dtype=types)
    rows["fields"] = len(_COLUMNS)
    for name, type_, values in columns:
        rows[f"{name} length"] = np.dtype(type_).itemsize
        rows[name] = values
    if periods is None:
        rows["period length"] = -1  # NULL
    return rows


def _copy_blocks(connection: Connection, blocks: Sequence[npt.NDArray[Any]]) -> None:
    """Write rows in PostgreSQL's binary COPY format, of which each block is an array."""
    buffer = io.BytesIO()
    buffer.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
    for block in blocks:
        buffer.write(block.tobytes())
    buffer.write(b"\xff\xff")
    buffer.seek(0)
    driver: Any = connection.connection.driver_connection
    with driver.cursor() as cursor:
        cursor.copy_expert(f"COPY moved ({', '.join(_COLUMNS)}) FROM STDIN (FORMAT binary)", buffer, size=1 << 20)
