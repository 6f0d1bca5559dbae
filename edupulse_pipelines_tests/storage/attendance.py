"""Attendance of two districts for the tests of months: rows put in, months built, and what the server has of them."""

from __future__ import annotations

import datetime as dt
import threading
import uuid
from collections.abc import Callable

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from edupulse_pipelines.schema.sqlalchemy_tables import students
from edupulse_pipelines.storage import months
from edupulse_pipelines.storage.work import EVERY_TENANT, Work

TABLE = "attendance_records"
SEPTEMBER, OCTOBER, NOVEMBER = (dt.date(2025, month, 1) for month in (9, 10, 11))
SECRET = "ZQ"
STUDENTS = {"north": uuid.UUID(int=1), "south": uuid.UUID(int=2)}


@pytest.fixture
def work(engine: Engine) -> Work:
    """Work for no district; there is one student of each of two, because loads of attendance write none themselves."""
    rows = [
        {
            "id": identifier,
            "tenant_id": tenant,
            "district_id": SECRET,
            "first_name": SECRET,
            "last_name": SECRET,
            "date_of_birth": dt.date(2010, 1, 1),
            "delivered_on": SEPTEMBER,
        }
        for tenant, identifier in STUDENTS.items()
    ]
    with engine.begin() as connection:
        connection.execute(students.insert(), rows)
    return Work(engine, EVERY_TENANT)


def attend(
    connection: Connection, day: dt.date | str, name: str = TABLE, *, tenant: str = "north", student: str | None = None
) -> None:
    """Put a record of the day, of the district's student or another one, into the table `name`."""
    connection.execute(
        sa.text(
            f"INSERT INTO {name} (tenant_id, student_id, date, status, delivered_on)"
            f" VALUES (:tenant, :student, '{day}', 'present', '2025-09-01')"
        ),
        {"tenant": tenant, "student": STUDENTS[student or tenant]},
    )


def build(connection: Connection, month: dt.date, *days: dt.date, tenant: str = "north") -> None:
    """Build a month apart for the district, with a record on each of these days, as a load does."""
    work_for(connection, tenant)
    name = months.start_bulk(connection, TABLE)
    for day in days:
        attend(connection, day, name, tenant=tenant)
    months.finish_bulk(connection, TABLE, {month: name})


def work_for(connection: Connection, tenant: str) -> None:
    """Let the transaction be for the district, as those of a `Work` are."""
    connection.execute(sa.select(sa.func.set_config("app.tenant", tenant, True)))


def days(connection: Connection, name: str = TABLE) -> list[dt.date]:
    return sorted(connection.scalars(sa.text(f"SELECT date FROM {name}")))


def homes(connection: Connection) -> dict[dt.date, str]:
    """By date, the table that holds the record."""
    return dict(
        connection.execute(sa.text(f"SELECT date, CAST(CAST(tableoid AS regclass) AS text) FROM {TABLE}")).all()
    )


def tables(connection: Connection) -> list[str]:
    named = "SELECT relname FROM pg_class WHERE relkind IN ('r', 'i') AND relname LIKE 'attendance%' ORDER BY 1"
    return list(connection.scalars(sa.text(named)))


def catalog(connection: Connection, name: str) -> dict[str, list[tuple]]:
    """What the server knows of a partition, without its own name and the names of its indexes."""
    asked = {
        "columns": "SELECT attname, format_type(atttypid, atttypmod), attnotnull, attislocal, attinhcount, attstorage,"
        " pg_get_expr(adbin, adrelid) FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum"
        " WHERE attrelid = t.oid AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        "constraints": "SELECT CASE WHEN contype IN ('c', 'f') THEN conname END, contype, convalidated, conislocal,"
        " coninhcount, conparentid, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = t.oid"
        " ORDER BY contype, 7, 1",
        "indexes": "SELECT i.inhparent, indisunique, indisprimary, indisvalid, indisready,"
        " split_part(pg_get_indexdef(indexrelid), ' USING ', 2) FROM pg_index"
        " LEFT JOIN pg_inherits i ON i.inhrelid = indexrelid WHERE indrelid = t.oid ORDER BY 6",
        "triggers": "SELECT CASE WHEN NOT tgisinternal THEN tgname END, tgparentid, tgenabled, tgtype, tgfoid,"
        " CAST(tgattr AS text), tgconstraint <> 0 FROM pg_trigger WHERE tgrelid = t.oid ORDER BY tgtype, tgfoid",
    }
    found = {}
    for kind, query in asked.items():
        statement = query.replace("t.oid", "CAST(:name AS regclass)")
        found[kind] = [tuple(row) for row in connection.execute(sa.text(statement), {"name": name})]
    return found


def finishes(*works: Callable[[], None], within: float = 20) -> list[BaseException]:
    """Do the works at once; what they raised. AssertionError when one does not come to an end."""
    raised: list[BaseException] = []

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=guarded, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(within)
        assert not thread.is_alive(), "it waits for ever"
    return raised
