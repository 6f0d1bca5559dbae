"""The upkeep of months on a real PostgreSQL: made ahead, moved, detached, brought back; none differs from another."""

from __future__ import annotations

import datetime as dt

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from edupulse_pipelines.errors import DatabaseBusy, DatabaseUnavailable, EduPulseError, TransientError
from edupulse_pipelines.operations import partitions
from edupulse_pipelines.operations.partitions import Maintenance, attach_month, detach_month, maintain
from edupulse_pipelines.schema.sqlalchemy_tables import pending_updates
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
    catalog,
    days,
    homes,
    tables,
    work,
    work_for,
)

__all__ = ["work"]

pytestmark = [pytest.mark.parametrize("database_url", ["postgresql"], indirect=True), pytest.mark.usefixtures("work")]


def test_a_month_is_the_same_however_it_was_made(engine: Engine, work: Work) -> None:
    march = dt.date(2025, 3, 1)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            f"CREATE TABLE as_postgresql PARTITION OF {TABLE} FOR VALUES FROM ('2025-02-01') TO ('2025-03-01')"
        )
        connection.exec_driver_sql(f"SELECT edupulse_audit_guard('{TABLE}', 'as_postgresql')")
        build(connection, SEPTEMBER, SEPTEMBER)
        attend(connection, march)
    months.ensure_months(work, TABLE, [OCTOBER])
    with engine.begin() as connection:
        build(connection, OCTOBER, OCTOBER)  # in the place of the empty one
    months.ensure_months(work, TABLE, [NOVEMBER])
    maintain(work, NOVEMBER)  # March comes out of the default partition
    detach_month(work, TABLE, SEPTEMBER)
    attach_month(work, TABLE, SEPTEMBER)
    with engine.connect() as connection:
        expected = catalog(connection, "as_postgresql")
        assert all(len(expected[kind]) >= count for kind, count in (("columns", 10), ("indexes", 3), ("triggers", 2)))
        for month in (march, SEPTEMBER, OCTOBER, NOVEMBER):
            assert catalog(connection, months.partition_name(TABLE, month)) == expected, month
        assert not [name for name in tables(connection) if "_load_" in name or len(name) > 63]
        assert set(homes(connection)) == {march, SEPTEMBER, OCTOBER}
    assert versions.check(engine) == []


def test_maintenance_gives_every_plausible_month_a_partition_and_tells_what_is_left(engine: Engine, work: Work) -> None:
    today = dt.date(2026, 3, 10)
    stays = ["0025-09-01", "0999-12-31", "1969-12-31", "2027-01-01", "9999-12-31", "12025-09-01", "0044-03-15 BC"]
    moves = [dt.date(1970, 1, 1), dt.date(2020, 2, 3), dt.date(2020, 2, 4), dt.date(2026, 5, 31)]
    with engine.begin() as connection:
        for day in [*moves, *stays]:
            attend(connection, day)
        before = connection.execute(sa.text(f"SELECT CAST(r AS text) FROM {TABLE} r ORDER BY 1")).all()
        work_for(connection, "south")
        assert months.default_months(connection, TABLE, own=True) == {}
        work_for(connection, "north")
        assert months.default_months(connection, TABLE, own=True)["2020-02"] == 2
    done = maintain(work, today)[TABLE]
    assert done.moved == {dt.date(1970, 1, 1): 1, dt.date(2020, 2, 1): 2, dt.date(2026, 5, 1): 1}
    assert done.left == len(stays)
    assert {name[-8:] for name in done.made} == {"y1970m01", "y2020m02", "y2026m03", "y2026m04", "y2026m05"}
    again = maintain(work, today)[TABLE]
    assert again == Maintenance(left=len(stays))
    with engine.connect() as connection:
        assert connection.execute(sa.text(f"SELECT CAST(r AS text) FROM {TABLE} r ORDER BY 1")).all() == before
        assert len(days(connection, f"{TABLE}_y2020m02")) == 2
    assert versions.check(engine) == []


# Detaching and bringing back


def test_a_month_is_detached_and_comes_back(engine: Engine, work: Work) -> None:
    with engine.begin() as connection:
        build(connection, SEPTEMBER, SEPTEMBER, dt.date(2025, 9, 2), dt.date(2025, 9, 8))
        build(connection, OCTOBER, OCTOBER)
    name = detach_month(work, TABLE, dt.date(2025, 9, 17)).name
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
        detach_month(work, TABLE, SEPTEMBER)
    with pytest.raises(EduPulseError, match="no partition for 2025-12"):
        detach_month(work, TABLE, dt.date(2025, 12, 1))
    # The month stays away, whoever asks for it.
    assert months.ensure_months(work, TABLE, [SEPTEMBER]) == []
    with engine.begin() as connection:
        assert months.bulk_months(connection, TABLE, {SEPTEMBER: 10}, 1) == []
        attend(connection, dt.date(2025, 9, 30))
    assert maintain(work, SEPTEMBER)[TABLE].left == 1

    assert attach_month(work, TABLE, SEPTEMBER).name == name
    with engine.connect() as connection:
        assert len(days(connection)) == 5
        assert months.default_rows(connection, TABLE) == 0
        marks = connection.execute(
            sa.select(pending_updates.c.stage, pending_updates.c.student_id, pending_updates.c.week_start)
        ).all()
        weeks = (dt.date(2025, 9, 1), dt.date(2025, 9, 8))
        assert sorted(marks) == [("weekly_activity", None, week) for week in weeks]
    with pytest.raises(EduPulseError, match="attached already"):
        attach_month(work, TABLE, SEPTEMBER)
    with pytest.raises(EduPulseError, match="no table attendance_records_y2025m12"):
        attach_month(work, TABLE, dt.date(2025, 12, 1))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (f"UPDATE {TABLE}_y2025m09 SET date = '2025-10-01'", 'check constraint "ck_month"'),
        (
            f"INSERT INTO {TABLE} (tenant_id, student_id, date, status, delivered_on)"
            f" SELECT tenant_id, student_id, date, status, delivered_on FROM {TABLE}_y2025m09",
            "unique",
        ),
        (f"ALTER TABLE {TABLE}_y2025m09 DROP COLUMN student_id", "student_id"),
    ],
    ids=["a_day_of_another_month", "a_record_that_came_again", "a_column_is_gone"],
)
def test_a_month_that_does_not_fit_is_refused_in_words(engine: Engine, work: Work, damage: str, said: str) -> None:
    with engine.begin() as connection:
        build(connection, SEPTEMBER, SEPTEMBER)
    detach_month(work, TABLE, SEPTEMBER)
    with engine.begin() as connection:
        connection.exec_driver_sql(damage)
        before = days(connection), tables(connection)
    with pytest.raises(EduPulseError, match=said) as caught:
        attach_month(work, TABLE, SEPTEMBER)
    assert "attendance_records_y2025m09 cannot be attached" in str(caught.value)
    assert "DETAIL" not in str(caught.value) and "Key" not in str(caught.value)
    with engine.connect() as connection:
        assert (days(connection), tables(connection)) == before


@pytest.mark.parametrize(
    ("sqlstate", "kind"),
    [("40P01", DatabaseBusy), ("55P03", DatabaseBusy), ("57P01", DatabaseUnavailable), ("08006", DatabaseUnavailable)],
    ids=["deadlock", "lock_not_had", "server_stopping", "connection_lost"],
)
def test_what_is_not_the_months_fault_may_be_tried_again(
    engine: Engine, work: Work, monkeypatch: pytest.MonkeyPatch, sqlstate: str, kind: type[TransientError]
) -> None:
    with engine.begin() as connection:
        build(connection, SEPTEMBER, SEPTEMBER)
    detach_month(work, TABLE, SEPTEMBER)
    with engine.connect() as connection:
        before = days(connection), tables(connection)

    def fail(connection: sa.Connection, *_: object) -> None:
        connection.exec_driver_sql(f"DO $$ BEGIN RAISE EXCEPTION 'something' USING ERRCODE = '{sqlstate}'; END $$")

    with monkeypatch.context() as patched, pytest.raises(kind):
        patched.setattr(partitions, "leave_marks_of_rows", fail)
        attach_month(work, TABLE, SEPTEMBER)
    with engine.connect() as connection:
        assert (days(connection), tables(connection)) == before
    attach_month(work, TABLE, SEPTEMBER)


@pytest.mark.parametrize("how", ["restored", "older"])
def test_a_month_from_a_dump_or_from_before_a_migration_comes_back(engine: Engine, work: Work, how: str) -> None:
    """A dump spells a check otherwise than its table did, and has not the columns that came after it."""
    with engine.begin() as connection:
        build(connection, SEPTEMBER, SEPTEMBER, dt.date(2025, 9, 2))
    name = detach_month(work, TABLE, SEPTEMBER).name
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
    attach_month(work, TABLE, SEPTEMBER)
    months.ensure_months(work, TABLE, [OCTOBER])
    with engine.connect() as connection:
        assert days(connection) == [SEPTEMBER, dt.date(2025, 9, 2)]
        assert catalog(connection, name) == catalog(connection, f"{TABLE}_y2025m10")


def test_no_month_is_detached_under_a_load(engine: Engine, work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    months.ensure_months(work, TABLE, [SEPTEMBER])
    with engine.begin() as load:
        turns.hold_months(load)
        there = months.partitions(load, TABLE)[SEPTEMBER]
        with monkeypatch.context() as patched, pytest.raises(EduPulseError, match="in use"):
            patched.setattr(turns, "PATIENCE_SECONDS", 0.0)
            detach_month(work, TABLE, SEPTEMBER)
        attend(load, SEPTEMBER, there.name)
    detach_month(work, TABLE, SEPTEMBER)
    with engine.connect() as connection:
        assert days(connection, f"{TABLE}_y2025m09") == [SEPTEMBER]


def test_only_the_owner_takes_a_month_out_and_who_writes_rows_keeps_them(engine: Engine, work: Work) -> None:
    with loader_role(engine) as url:
        loader = create_engine(url)
        others = Work(loader, EVERY_TENANT)
        made = maintain(others, SEPTEMBER)[TABLE].made
        assert made[0] == f"{TABLE}_y2025m09"
        with pytest.raises(EduPulseError, match=f"Only the owner of {TABLE}"):
            detach_month(others, TABLE, SEPTEMBER)
        detach_month(work, TABLE, SEPTEMBER)
        with pytest.raises(EduPulseError, match=f"Only the owner of {TABLE}"):
            attach_month(others, TABLE, SEPTEMBER)
        loader.dispose()
