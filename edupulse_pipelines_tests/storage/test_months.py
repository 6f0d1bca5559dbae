"""Months as partitions on a real PostgreSQL: made, and built apart by several at once."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from edupulse_pipelines.errors import EduPulseError
from edupulse_pipelines.operations.partitions import months_ahead
from edupulse_pipelines.schema.sqlalchemy_tables import attendance_records, students
from edupulse_pipelines.storage import months, turns, versions
from edupulse_pipelines.storage.engine import create_engine
from edupulse_pipelines.storage.work import EVERY_TENANT, Work
from edupulse_pipelines_tests.roles import loader_role
from edupulse_pipelines_tests.storage.attendance import (
    NOVEMBER,
    OCTOBER,
    SEPTEMBER,
    TABLE,
    attend,
    build,
    days,
    finishes,
    homes,
    tables,
    work,
    work_for,
)

__all__ = ["work"]

pytestmark = [pytest.mark.parametrize("database_url", ["postgresql"], indirect=True), pytest.mark.usefixtures("work")]


# Making months


def test_months_are_made_ahead_and_once(engine: Engine, work: Work) -> None:
    today = dt.date(2025, 11, 30)
    wanted = [f"{TABLE}_y2025m11", f"{TABLE}_y2025m12", f"{TABLE}_y2026m01"]
    assert months.ensure_months(work, TABLE, months_ahead(today)) == wanted
    assert months.ensure_months(work, TABLE, [today]) == []
    with engine.begin() as connection:
        for day in (dt.date(2025, 11, 1), dt.date(2025, 12, 31), dt.date(2026, 1, 31)):
            attend(connection, day)
        assert sorted(homes(connection).values()) == wanted
        assert [month.name for month in months.stored_months(connection, TABLE)] == wanted
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

    def another_districts(connection: Connection, name: str) -> None:
        attend(connection, SEPTEMBER, name)
        attend(connection, SEPTEMBER, name, tenant="south")

    for wrong in (twice, somebody_elses, another_month, no_status, another_districts):
        with pytest.raises(sa.exc.IntegrityError), engine.begin() as connection:
            work_for(connection, "north")
            name = months.start_bulk(connection, TABLE)
            wrong(connection, name)
            months.finish_bulk(connection, TABLE, {SEPTEMBER: name})
    with engine.connect() as connection:
        assert months.partitions(connection, TABLE) == {}
        assert not [name for name in tables(connection) if "_load_" in name]


@pytest.mark.parametrize("apart", [False, True], ids=["made_ahead", "built_apart"])
def test_a_month_of_which_the_default_partition_holds_rows_can_be_made(engine: Engine, work: Work, apart: bool) -> None:
    with engine.begin() as connection:
        attend(connection, SEPTEMBER)
        attend(connection, OCTOBER)
    if apart:
        with engine.begin() as connection:
            build(connection, SEPTEMBER, SEPTEMBER, dt.date(2025, 9, 2), tenant="south")
    else:
        months.ensure_months(work, TABLE, [SEPTEMBER])
    with engine.connect() as connection:
        assert homes(connection)[SEPTEMBER] == f"{TABLE}_y2025m09"
        assert len(days(connection)) == (4 if apart else 2)
        assert months.default_months(connection, TABLE) == {"2025-10": 1}


# Several at once


def test_a_month_that_another_district_has_filled_meanwhile(engine: Engine) -> None:
    with engine.begin() as connection:
        work_for(connection, "south")
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
    engine: Engine, work: Work, pair: tuple[dt.date, dt.date], ahead: bool
) -> None:
    if ahead:
        months.ensure_months(work, TABLE, pair)
    meet = threading.Barrier(2)

    def load(tenant: str, month: dt.date) -> Callable[[], None]:
        def work() -> None:
            with engine.begin() as connection:
                connection.execute(sa.select(students.c.id))  # as a load does, to know whom rows name
                if months.bulk_months(connection, TABLE, {month: 10}, 1):
                    work_for(connection, tenant)
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


def test_two_who_make_the_same_months_at_once(engine: Engine, work: Work) -> None:
    wanted = [SEPTEMBER, OCTOBER]
    made: list[str] = []
    assert finishes(*2 * [lambda: made.extend(months.ensure_months(work, TABLE, wanted))]) == []
    assert sorted(made) == [f"{TABLE}_y2025m09", f"{TABLE}_y2025m10"]


def test_a_row_that_comes_while_an_empty_month_is_taken_over_is_kept(engine: Engine, work: Work) -> None:
    months.ensure_months(work, TABLE, [SEPTEMBER])
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
    engine: Engine, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(months, "REPLACING_SECONDS", 0.1)
    months.ensure_months(work, TABLE, [SEPTEMBER])
    with engine.connect() as reader:
        days(reader)  # keeps its lock on the whole table until it ends
        with engine.begin() as connection:
            build(connection, SEPTEMBER, SEPTEMBER)
    with engine.connect() as connection:
        assert homes(connection) == {SEPTEMBER: f"{TABLE}_y2025m09"}


def test_months_cannot_be_made_while_the_table_is_in_use_and_that_is_said(
    engine: Engine, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "PATIENCE_SECONDS", 0.0)
    with engine.connect() as reader:
        days(reader)
        with pytest.raises(EduPulseError, match="attendance_records has been in use"):
            months.ensure_months(work, TABLE, [SEPTEMBER])
    assert months.ensure_months(work, TABLE, [SEPTEMBER]) == [f"{TABLE}_y2025m09"]


# As a role that may only read and write rows


@pytest.fixture
def loader(engine: Engine) -> Iterator[Engine]:
    """The same database, for a role that owns nothing and may make nothing."""
    with loader_role(engine) as url:
        made = create_engine(url)
        yield made
        made.dispose()


def refused(loader: Engine, statement: str) -> str:
    """The SQLSTATE with which the loader's statement is refused."""
    with pytest.raises(sa.exc.DBAPIError) as caught, loader.begin() as connection:
        work_for(connection, "north")
        connection.exec_driver_sql(statement)
    return str(caught.value.orig.pgcode)


INSUFFICIENT_PRIVILEGE, INVALID_PARAMETER = "42501", "22023"


def test_a_role_without_a_right_to_make_tables_makes_and_builds_months(engine: Engine, loader: Engine) -> None:
    work = Work(loader, EVERY_TENANT)
    assert refused(loader, "CREATE TABLE mine (id int)") == INSUFFICIENT_PRIVILEGE
    with loader.begin() as connection:
        work_for(connection, "north")
        attend(connection, OCTOBER)  # into the default partition
    assert months.ensure_months(work, TABLE, [OCTOBER]) == [f"{TABLE}_y2025m10"]
    months.ensure_months(work, TABLE, [NOVEMBER])
    with loader.begin() as connection:
        build(connection, SEPTEMBER, SEPTEMBER)
        build(connection, NOVEMBER, NOVEMBER)  # in the place of the empty one
    with loader.begin() as connection:
        work_for(connection, "north")
        assert set(homes(connection)) == {SEPTEMBER, OCTOBER, NOVEMBER}
        attend(connection, dt.date(2025, 9, 2))  # a later load
        assert not [name for name in tables(connection) if "_load_" in name]
    with engine.connect() as connection:
        owners = "SELECT DISTINCT pg_get_userbyid(relowner) FROM pg_class WHERE relname LIKE 'attendance%%'"
        (owner,) = connection.exec_driver_sql(owners).scalars().all()
        rights = sa.text(
            "SELECT c.relrowsecurity AND c.relforcerowsecurity, array_agg(DISTINCT pg_get_userbyid(a.grantee))"
            " FROM pg_class c, aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) a"
            " WHERE c.oid = CAST(:name AS regclass) GROUP BY 1"
        )
        for month in (SEPTEMBER, OCTOBER, NOVEMBER):
            name = months.partition_name(TABLE, month)
            assert connection.execute(rights, {"name": name}).one() == (True, [owner])
    assert versions.check(engine) == []


def test_a_month_being_built_is_the_loaders_to_fill_and_nothing_else(engine: Engine, loader: Engine) -> None:
    with loader.begin() as connection:
        work_for(connection, "north")
        name = months.start_bulk(connection, TABLE)
        attend(connection, SEPTEMBER, name)
        for statement in (
            f"DROP TABLE {name}",
            f"ALTER TABLE {name} ADD COLUMN more int",
            f"CREATE TRIGGER mine BEFORE INSERT ON {name} FOR EACH ROW EXECUTE FUNCTION edupulse_touch_updated_at()",
            f"TRUNCATE {name}",
        ):
            with (
                pytest.raises(sa.exc.ProgrammingError, match=r"must be owner|permission denied"),
                connection.begin_nested(),
            ):
                connection.exec_driver_sql(statement)


def test_the_functions_of_months_take_nothing_on_trust(engine: Engine, loader: Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE attendance_records_load_0badcafe (LIKE attendance_records)")
        connection.exec_driver_sql("CREATE TABLE theirs (LIKE attendance_records)")
    invalid = (
        "SELECT edupulse_month_make('students', '2025-09-01')",
        "SELECT edupulse_month_make('students; DROP TABLE grades', '2025-09-01')",
        "SELECT edupulse_month_make('attendance_records', '2025-09-02')",
        "SELECT edupulse_month_make('attendance_records', 'infinity')",
        "SELECT edupulse_month_make('attendance_records', NULL)",
        "SELECT edupulse_month_make(NULL, '2025-09-01')",
        "SELECT edupulse_month_start('grades')",
        "SELECT edupulse_month_end('attendance_records', 'theirs', '2025-09-01')",
        "SELECT edupulse_month_end('attendance_records', 'grades', '2025-09-01')",
        "SELECT edupulse_month_end('attendance_records', 'attendance_records_default', '2025-09-01')",
        "SELECT edupulse_month_place('attendance_records', '{theirs}', '{2025-09-01}', '{}')",
        "SELECT edupulse_month_place('attendance_records', '{NULL}', '{2025-09-01}', '{}')",
        "SELECT edupulse_month_place('attendance_records', '{}', '{2025-09-01}', '{}')",
    )
    for statement in invalid:
        assert refused(loader, statement) == INVALID_PARAMETER, statement
    # What is not for who writes rows does no more than its caller may do.
    for statement in (
        "SELECT edupulse_month_table('attendance_records', 'mine')",
        "SELECT edupulse_month_attach('attendance_records', 'theirs', '2025-09-01')",
        "SELECT edupulse_month_rename('theirs', 'mine')",
    ):
        assert refused(loader, statement) == INSUFFICIENT_PRIVILEGE, statement
    # A table of the caller's own in pg_temp is never taken for one of ours.
    with pytest.raises(sa.exc.DBAPIError, match="is not a month"), loader.begin() as connection:
        work_for(connection, "north")
        connection.exec_driver_sql("CREATE TEMPORARY TABLE attendance_records_load_0badc0de (id int)")
        connection.exec_driver_sql(
            "SELECT edupulse_month_end('attendance_records', 'attendance_records_load_0badc0de', '2025-09-01')"
        )
    # Nor is a month placed that has not been ended, for another district, or without one.
    for ended_for, placed_for, code in (
        (None, "north", INVALID_PARAMETER),
        ("north", "south", INVALID_PARAMETER),
        ("north", "", INSUFFICIENT_PRIVILEGE),
        ("", "north", INSUFFICIENT_PRIVILEGE),
    ):
        with pytest.raises(sa.exc.DBAPIError) as caught, loader.begin() as connection:
            name = months.start_bulk(connection, TABLE)
            attend(connection, SEPTEMBER, name)
            if ended_for is not None:
                work_for(connection, ended_for)
                connection.execute(sa.select(sa.func.edupulse_month_end(TABLE, name, SEPTEMBER)))
                with pytest.raises(sa.exc.ProgrammingError, match="permission denied"), connection.begin_nested():
                    attend(connection, SEPTEMBER, name)
            work_for(connection, placed_for)
            connection.exec_driver_sql(
                f"SELECT edupulse_month_place('{TABLE}', '{{{name}}}', '{{2025-09-01}}', '{{}}')"
            )
        assert caught.value.orig.pgcode == code
    with engine.begin() as connection:
        connection.exec_driver_sql(f"REVOKE INSERT ON {TABLE} FROM {loader.url.username}")
    for statement in (
        "SELECT edupulse_month_make('attendance_records', '2025-09-01')",
        "SELECT edupulse_month_start('attendance_records')",
    ):
        assert refused(loader, statement) == INSUFFICIENT_PRIVILEGE, statement
    with engine.connect() as connection:
        assert months.partitions(connection, TABLE) == {}
