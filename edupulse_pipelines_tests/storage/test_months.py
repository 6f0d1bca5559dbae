"""Months as partitions on a real PostgreSQL: made, moved, detached, by several at once; none differs from another."""

from __future__ import annotations

import datetime as dt
import threading
import uuid
from collections.abc import Callable

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from edupulse_pipelines.errors import EduPulseError
from edupulse_pipelines.schema.sqlalchemy_tables import attendance_records, pending_updates, students
from edupulse_pipelines.storage import months, versions

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)

TABLE = "attendance_records"
SEPTEMBER, OCTOBER, NOVEMBER = (dt.date(2025, month, 1) for month in (9, 10, 11))
SECRET = "ZQ"
STUDENTS = {"north": uuid.UUID(int=1), "south": uuid.UUID(int=2)}


@pytest.fixture(autouse=True)
def _students(engine: Engine) -> None:
    """One student each of two districts: loads of attendance write none themselves."""
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
    """Build a month apart, with a record on each of these days, as a load does."""
    name = months.start_bulk(connection, TABLE)
    for day in days:
        attend(connection, day, name, tenant=tenant)
    months.finish_bulk(connection, TABLE, {month: name})


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


# Making months


def test_months_are_made_ahead_and_once(engine: Engine) -> None:
    today = dt.date(2025, 11, 30)
    wanted = [f"{TABLE}_y2025m11", f"{TABLE}_y2025m12", f"{TABLE}_y2026m01"]
    assert months.ensure_months(engine, TABLE, months.months_ahead(today)) == wanted
    assert months.ensure_months(engine, TABLE, [today]) == []
    with engine.begin() as connection:
        for day in (dt.date(2025, 11, 1), dt.date(2025, 12, 31), dt.date(2026, 1, 31)):
            attend(connection, day)
        assert sorted(homes(connection).values()) == wanted
        assert [month.name for month in months.stored_months(connection, TABLE)] == wanted
    assert versions.check(engine) == []


def test_a_month_is_the_same_however_it_was_made(engine: Engine) -> None:
    march = dt.date(2025, 3, 1)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            f"CREATE TABLE as_postgresql PARTITION OF {TABLE} FOR VALUES FROM ('2025-02-01') TO ('2025-03-01')"
        )
        build(connection, SEPTEMBER, SEPTEMBER)
        attend(connection, march)
    months.ensure_months(engine, TABLE, [OCTOBER])
    with engine.begin() as connection:
        build(connection, OCTOBER, OCTOBER)  # in the place of the empty one
    months.ensure_months(engine, TABLE, [NOVEMBER])
    months.maintain(engine, NOVEMBER)  # March comes out of the default partition
    months.detach_month(engine, TABLE, SEPTEMBER)
    months.attach_month(engine, TABLE, SEPTEMBER)
    with engine.connect() as connection:
        expected = catalog(connection, "as_postgresql")
        assert all(len(expected[kind]) >= count for kind, count in (("columns", 10), ("indexes", 3), ("triggers", 2)))
        for month in (march, SEPTEMBER, OCTOBER, NOVEMBER):
            assert catalog(connection, months.partition_name(TABLE, month)) == expected, month
        assert not [name for name in tables(connection) if "_load_" in name or len(name) > 63]
        assert set(homes(connection)) == {march, SEPTEMBER, OCTOBER}
    assert versions.check(engine) == []


def test_updated_at_is_kept_in_a_month_that_was_built_apart(engine: Engine) -> None:
    with engine.begin() as connection:
        build(connection, SEPTEMBER, SEPTEMBER)
    columns = attendance_records.c
    with engine.begin() as connection:
        connection.execute(attendance_records.update().values(delivered_on=OCTOBER))
        assert connection.scalar(sa.select(columns.updated_at == columns.created_at))
        connection.execute(attendance_records.update().values(status="absent"))
        assert connection.scalar(sa.select(columns.updated_at > columns.created_at))


def test_nothing_wrong_is_committed_by_building_a_month_apart(engine: Engine) -> None:
    def twice(connection: Connection, name: str) -> None:
        attend(connection, SEPTEMBER, name)
        attend(connection, SEPTEMBER, name)

    def somebody_elses(connection: Connection, name: str) -> None:
        attend(connection, SEPTEMBER, name, student="south")

    def another_month(connection: Connection, name: str) -> None:
        attend(connection, OCTOBER, name)

    def no_status(connection: Connection, name: str) -> None:
        attend(connection, SEPTEMBER, name)
        connection.exec_driver_sql(f"UPDATE {name} SET status = 'ill'")

    for wrong in (twice, somebody_elses, another_month, no_status):
        with pytest.raises(sa.exc.IntegrityError), engine.begin() as connection:
            name = months.start_bulk(connection, TABLE)
            wrong(connection, name)
            months.finish_bulk(connection, TABLE, {SEPTEMBER: name})
    with engine.connect() as connection:
        assert months.partitions(connection, TABLE) == {}
        assert not [name for name in tables(connection) if "_load_" in name]


# The default partition


def test_maintenance_gives_every_plausible_month_a_partition_and_tells_what_is_left(engine: Engine) -> None:
    today = dt.date(2026, 3, 10)
    stays = ["0025-09-01", "0999-12-31", "1969-12-31", "2027-01-01", "9999-12-31", "12025-09-01", "0044-03-15 BC"]
    moves = [dt.date(1970, 1, 1), dt.date(2020, 2, 3), dt.date(2020, 2, 4), dt.date(2026, 5, 31)]
    with engine.begin() as connection:
        for day in [*moves, *stays]:
            attend(connection, day)
        before = connection.execute(sa.text(f"SELECT CAST(r AS text) FROM {TABLE} r ORDER BY 1")).all()
        assert months.default_months(connection, TABLE, "south") == {}
        assert months.default_months(connection, TABLE, "north")["2020-02"] == 2
    done = months.maintain(engine, today)[TABLE]
    assert done.moved == {dt.date(1970, 1, 1): 1, dt.date(2020, 2, 1): 2, dt.date(2026, 5, 1): 1}
    assert done.left == len(stays)
    assert {name[-8:] for name in done.made} == {"y1970m01", "y2020m02", "y2026m03", "y2026m04", "y2026m05"}
    again = months.maintain(engine, today)[TABLE]
    assert again == months.Maintenance(left=len(stays))
    with engine.connect() as connection:
        assert connection.execute(sa.text(f"SELECT CAST(r AS text) FROM {TABLE} r ORDER BY 1")).all() == before
        assert len(days(connection, f"{TABLE}_y2020m02")) == 2
    assert versions.check(engine) == []


@pytest.mark.parametrize("apart", [False, True], ids=["made_ahead", "built_apart"])
def test_a_month_of_which_the_default_partition_holds_rows_can_be_made(engine: Engine, apart: bool) -> None:
    with engine.begin() as connection:
        attend(connection, SEPTEMBER)
        attend(connection, OCTOBER)
    if apart:
        with engine.begin() as connection:
            build(connection, SEPTEMBER, SEPTEMBER, dt.date(2025, 9, 2), tenant="south")
    else:
        months.ensure_months(engine, TABLE, [SEPTEMBER])
    with engine.connect() as connection:
        assert homes(connection)[SEPTEMBER] == f"{TABLE}_y2025m09"
        assert len(days(connection)) == (4 if apart else 2)
        assert months.default_months(connection, TABLE) == {"2025-10": 1}


# Detaching and bringing back


def test_a_month_is_detached_and_comes_back(engine: Engine) -> None:
    with engine.begin() as connection:
        build(connection, SEPTEMBER, SEPTEMBER, dt.date(2025, 9, 2), dt.date(2025, 9, 8))
        build(connection, OCTOBER, OCTOBER)
    name = months.detach_month(engine, TABLE, dt.date(2025, 9, 17)).name
    assert name == f"{TABLE}_y2025m09"
    with engine.connect() as connection:
        assert days(connection) == [OCTOBER]
        assert len(days(connection, name)) == 3
        assert [(month.month, month.attached) for month in months.stored_months(connection, TABLE)] == [
            (SEPTEMBER, False),
            (OCTOBER, True),
        ]
    assert versions.check(engine) == []
    with pytest.raises(EduPulseError, match="2025-09 is detached already"):
        months.detach_month(engine, TABLE, SEPTEMBER)
    with pytest.raises(EduPulseError, match="no partition for 2025-12"):
        months.detach_month(engine, TABLE, dt.date(2025, 12, 1))
    # The month stays away, whoever asks for it.
    assert months.ensure_months(engine, TABLE, [SEPTEMBER]) == []
    with engine.begin() as connection:
        assert months.bulk_months(connection, TABLE, {SEPTEMBER: 10}, 1) == []
        attend(connection, dt.date(2025, 9, 30))
    assert months.maintain(engine, SEPTEMBER)[TABLE].left == 1

    assert months.attach_month(engine, TABLE, SEPTEMBER).name == name
    with engine.connect() as connection:
        assert len(days(connection)) == 5
        assert months.default_rows(connection, TABLE) == 0
        marks = connection.execute(
            sa.select(pending_updates.c.stage, pending_updates.c.student_id, pending_updates.c.week_start)
        ).all()
        weeks = (dt.date(2025, 9, 1), dt.date(2025, 9, 8))
        assert sorted(marks) == [("weekly_activity", None, week) for week in weeks]
    with pytest.raises(EduPulseError, match="attached already"):
        months.attach_month(engine, TABLE, SEPTEMBER)
    with pytest.raises(EduPulseError, match="no table attendance_records_y2025m12"):
        months.attach_month(engine, TABLE, dt.date(2025, 12, 1))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (f"UPDATE {TABLE}_y2025m09 SET date = '2025-10-01'", 'check constraint "ck_month"'),
        (f"INSERT INTO {TABLE} SELECT * FROM {TABLE}_y2025m09", "unique"),
        (f"ALTER TABLE {TABLE}_y2025m09 DROP COLUMN student_id", "student_id"),
    ],
    ids=["a_day_of_another_month", "a_record_that_came_again", "a_column_is_gone"],
)
def test_a_month_that_does_not_fit_is_refused_in_words(engine: Engine, damage: str, said: str) -> None:
    with engine.begin() as connection:
        build(connection, SEPTEMBER, SEPTEMBER)
    months.detach_month(engine, TABLE, SEPTEMBER)
    with engine.begin() as connection:
        connection.exec_driver_sql(damage)
        before = days(connection), tables(connection)
    with pytest.raises(EduPulseError, match=said) as caught:
        months.attach_month(engine, TABLE, SEPTEMBER)
    assert "attendance_records_y2025m09 cannot be attached" in str(caught.value)
    assert "DETAIL" not in str(caught.value) and "Key" not in str(caught.value)
    with engine.connect() as connection:
        assert (days(connection), tables(connection)) == before


@pytest.mark.parametrize("how", ["restored", "older"])
def test_a_month_from_a_dump_or_from_before_a_migration_comes_back(engine: Engine, how: str) -> None:
    """A dump spells a check otherwise than its table did, and has not the columns that came after it."""
    with engine.begin() as connection:
        build(connection, SEPTEMBER, SEPTEMBER, dt.date(2025, 9, 2))
    name = months.detach_month(engine, TABLE, SEPTEMBER).name
    with engine.begin() as connection:
        if how == "older":
            connection.exec_driver_sql(f"ALTER TABLE {name} DROP COLUMN deleted_on")
        else:
            check = "ck_attendance_records_status_values"
            rule = connection.scalar(
                sa.text(
                    "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = CAST(:t AS regclass)"
                    " AND conname = :name"
                ),
                {"t": name, "name": check},
            )
            connection.exec_driver_sql(f"CREATE TABLE restored (LIKE {name} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)")
            connection.exec_driver_sql(f"ALTER TABLE restored DROP CONSTRAINT {check}")
            connection.exec_driver_sql(f"ALTER TABLE restored ADD CONSTRAINT {check} {rule}")
            connection.exec_driver_sql(f"INSERT INTO restored SELECT * FROM {name}")
            connection.exec_driver_sql(f"DROP TABLE {name}")
            connection.exec_driver_sql(f"ALTER TABLE restored RENAME TO {name}")
    months.attach_month(engine, TABLE, SEPTEMBER)
    months.ensure_months(engine, TABLE, [OCTOBER])
    with engine.connect() as connection:
        assert days(connection) == [SEPTEMBER, dt.date(2025, 9, 2)]
        assert catalog(connection, name) == catalog(connection, f"{TABLE}_y2025m10")


# Several at once


def test_a_month_that_another_district_has_filled_meanwhile(engine: Engine) -> None:
    with engine.begin() as connection:
        name = months.start_bulk(connection, TABLE)
        attend(connection, SEPTEMBER, name, tenant="south")
        with engine.begin() as other:
            build(other, SEPTEMBER, dt.date(2025, 9, 2))
        months.finish_bulk(connection, TABLE, {SEPTEMBER: name})
    with engine.connect() as connection:
        assert set(homes(connection).values()) == {f"{TABLE}_y2025m09"}
        assert days(connection) == [SEPTEMBER, dt.date(2025, 9, 2)]
        assert not [name for name in tables(connection) if "_load_" in name]


@pytest.mark.parametrize("pair", [(SEPTEMBER, SEPTEMBER), (SEPTEMBER, OCTOBER)], ids=["one_month", "two_months"])
@pytest.mark.parametrize("ahead", [True, False], ids=["made_ahead", "new"])
def test_two_districts_that_build_months_at_once_do_not_wait_for_each_other(
    engine: Engine, pair: tuple[dt.date, dt.date], ahead: bool
) -> None:
    if ahead:
        months.ensure_months(engine, TABLE, pair)
    meet = threading.Barrier(2)

    def load(tenant: str, month: dt.date) -> Callable[[], None]:
        def work() -> None:
            with engine.begin() as connection:
                connection.execute(sa.select(students.c.id))  # as a load does, to know whom rows name
                if months.bulk_months(connection, TABLE, {month: 10}, 1):
                    name = months.start_bulk(connection, TABLE)
                    attend(connection, month, name, tenant=tenant)
                    meet.wait(10)
                    months.finish_bulk(connection, TABLE, {month: name})
                else:
                    attend(connection, month, tenant=tenant)
                    meet.wait(10)

        return work

    assert finishes(load("north", pair[0]), load("south", pair[1])) == []
    with engine.connect() as connection:
        assert days(connection) == sorted(pair)
        assert set(homes(connection).values()) == {months.partition_name(TABLE, month) for month in pair}


def test_two_who_make_the_same_months_at_once(engine: Engine) -> None:
    wanted = [SEPTEMBER, OCTOBER]
    made: list[str] = []
    assert finishes(*2 * [lambda: made.extend(months.ensure_months(engine, TABLE, wanted))]) == []
    assert sorted(made) == [f"{TABLE}_y2025m09", f"{TABLE}_y2025m10"]


def test_a_row_that_comes_while_an_empty_month_is_taken_over_is_kept(engine: Engine) -> None:
    months.ensure_months(engine, TABLE, [SEPTEMBER])
    name = f"{TABLE}_y2025m09"
    waits = sa.text("SELECT EXISTS (SELECT 1 FROM pg_locks WHERE relation = CAST(:name AS regclass) AND NOT granted)")

    def builds() -> None:
        with engine.begin() as connection:
            build(connection, SEPTEMBER, SEPTEMBER)

    def writes() -> None:
        with engine.begin() as connection:
            connection.exec_driver_sql(f"LOCK TABLE {name} IN ROW EXCLUSIVE MODE")
            begun.set()
            with engine.connect() as onlooker:
                while not onlooker.scalar(waits, {"name": name}):
                    onlooker.rollback()
            attend(connection, dt.date(2025, 9, 2), name, tenant="south")

    begun = threading.Event()
    writer = threading.Thread(target=writes, daemon=True)
    writer.start()
    assert begun.wait(10)
    assert finishes(builds) == []
    writer.join(10)
    with engine.connect() as connection:
        assert days(connection) == [SEPTEMBER, dt.date(2025, 9, 2)]


def test_an_empty_month_that_is_being_read_gets_the_rows_instead_of_making_way(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(months, "_REPLACING_SECONDS", 0.1)
    months.ensure_months(engine, TABLE, [SEPTEMBER])
    with engine.connect() as reader:
        days(reader)  # keeps its lock on the whole table until it ends
        with engine.begin() as connection:
            build(connection, SEPTEMBER, SEPTEMBER)
    with engine.connect() as connection:
        assert homes(connection) == {SEPTEMBER: f"{TABLE}_y2025m09"}


def test_months_cannot_be_made_while_the_table_is_in_use_and_that_is_said(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(months, "_PATIENCE_SECONDS", 0.0)
    with engine.connect() as reader:
        days(reader)
        with pytest.raises(EduPulseError, match="attendance_records has been in use"):
            months.ensure_months(engine, TABLE, [SEPTEMBER])
    assert months.ensure_months(engine, TABLE, [SEPTEMBER]) == [f"{TABLE}_y2025m09"]


def test_no_month_is_detached_under_a_load(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    months.ensure_months(engine, TABLE, [SEPTEMBER])
    with engine.begin() as load:
        months.hold_months(load)
        there = months.partitions(load, TABLE)[SEPTEMBER]
        with monkeypatch.context() as patched, pytest.raises(EduPulseError, match="in use"):
            patched.setattr(months, "_PATIENCE_SECONDS", 0.0)
            months.detach_month(engine, TABLE, SEPTEMBER)
        attend(load, SEPTEMBER, there.name)
    months.detach_month(engine, TABLE, SEPTEMBER)
    with engine.connect() as connection:
        assert days(connection, f"{TABLE}_y2025m09") == [SEPTEMBER]
