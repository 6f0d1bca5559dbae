"""Who waits for whom: one writer at a time for each table of a district, one at a time who changes partitions.

All turns end with the transaction that takes them. On SQLite there is one writer anyway: nothing is locked here.

To attach a month, PostgreSQL locks the whole default partition and keeps writers of `students` out; to take one away,
it locks the whole table. `give_way` takes these locks before anything else is done, tries each for half a second, and
releases all of them before it tries again, so that nobody waits for a lock while holding one that another load may
want. A load either writes into the default partition (`hold_default`) or attaches months, never both: two that did
both would wait for each other.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.errors import DatabaseBusy
from edupulse_pipelines.schema.tables import RECORD_TABLES
from edupulse_pipelines.storage.engine import LOCK_SQLSTATES, driver_code
from edupulse_pipelines.storage.work import Work

_CHANGING = "edupulse partitions"
_IN_USE = "edupulse partitions in use"
_REPLACING = "edupulse partitions replaced"
_UPKEEP = "edupulse upkeep"
_LOCK_TIMEOUT = "500ms"
"""Shorter than PostgreSQL's `deadlock_timeout` (1 s): we give way before the server ends one of the transactions."""
_QUIET_LOCK_TIMEOUT = "1500ms"
"""Longer than `deadlock_timeout`: an automatic VACUUM gives way to who has waited that long. Of two who wait for each
other the server ends who waited first, and that is who asks for quiet: it is given its locks one after another."""
PATIENCE_SECONDS = 3600.0
"""A load or a dump that is under way may need the default partition for as long as it takes."""
_Result = TypeVar("_Result")


def take_turn(connection: Connection, work: Work, tables: Iterable[str]) -> None:
    """Wait until no other transaction loads or replays this tenant's records of these tables, and keep others from it.

    Everybody takes the tables in the order of their names, whatever the order given, so that no two transactions each
    hold what the other one waits for.
    """
    if connection.dialect.name == "postgresql":
        for table in sorted(tables):
            _wait(connection, f"load/{work.tenant}/{table}")


def hold_enrolments(connection: Connection, work: Work) -> None:
    """Until the transaction ends, nobody else changes enrolments of this tenant that follow from other records.

    Taken after every turn (`take_turn`) of the transaction, so that no two wait for each other.
    """
    if connection.dialect.name == "postgresql":
        _wait(connection, f"enrolments/{work.tenant}")


def hold_months(connection: Connection) -> None:
    """Until the transaction ends, nobody detaches a month or brings one back; a load that goes by months needs that."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock_shared(_key(_IN_USE))))


def hold_default(connection: Connection, table: str) -> None:
    """Until the transaction ends, nobody attaches a month; a load that writes into the default partition needs that.

    Such a load must not attach any month itself: two of them would wait for each other.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.edupulse_month_hold_default(table)))


def wait_for_loads(connection: Connection) -> None:
    """Wait for the loads that go by months (`hold_months`), and keep others from beginning."""
    _wait(connection, _IN_USE)


def may_replace_months(connection: Connection) -> bool:
    """Whether this transaction may put months in the place of empty ones; one transaction at a time, nobody waits.

    That needs the whole table, and each load that builds a month apart keeps a lock on it, because it has read the
    table's definition: two loads that both wanted it would wait for each other.
    """
    return bool(connection.scalar(sa.select(sa.func.pg_try_advisory_xact_lock(_key(_REPLACING)))))


def take_upkeep(connection: Connection) -> bool:
    """Whether this connection, until it is closed or `end_upkeep`, is the one that keeps up tables; nobody waits."""
    return bool(connection.scalar(sa.select(sa.func.pg_try_advisory_lock(_key(_UPKEEP)))))


def end_upkeep(connection: Connection) -> None:
    """Let others keep up tables."""
    connection.execute(sa.select(sa.func.pg_advisory_unlock(_key(_UPKEEP))))


def writers_of(connection: Connection, table: str) -> set[str]:
    """The other transactions that write to a table, or change it, at this moment. Nobody is kept from anything."""
    return _transactions(
        connection,
        "locktype = 'relation' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        " AND relation = to_regclass(quote_ident(:table)) AND mode NOT IN ('AccessShareLock', 'RowShareLock')",
        table=table,
    )


def transactions_under_way(connection: Connection) -> set[str]:
    """All other transactions of users in this database, also those that only read. Nobody is kept from anything.

    Not autovacuum's, which belong to no user: nobody who builds an index has to wait for them.
    """
    return _transactions(
        connection,
        "locktype = 'virtualxid' AND pid IN"
        " (SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND usesysid IS NOT NULL)",
    )


def _transactions(connection: Connection, which: str, **named: str) -> set[str]:
    held = sa.text(
        "SELECT DISTINCT pid || '/' || virtualtransaction FROM pg_locks"
        f" WHERE granted AND pid <> pg_backend_pid() AND {which}"
    )
    return set(connection.scalars(held, named))


@contextmanager
def quiet_moment(work: Work, tenants: Iterable[str]) -> Iterator[Connection]:
    """For the block nobody changes a row of ours: it begins when whoever writes is done, and others wait for its end.

    Readers are not kept out. tenants: every district there is. To be kept short. DatabaseBusy when somebody has been
    writing for `PATIENCE_SECONDS`. On PostgreSQL the role has to own the tables.
    """
    with work.keeping_out() as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{PATIENCE_SECONDS:.0f}s'")
            for tenant in sorted(tenants):
                for table in sorted(RECORD_TABLES):
                    _wait(connection, f"load/{tenant}/{table}")
            wait_for_loads(connection)
            _wait(connection, _CHANGING)
            _keep_writers_out(connection)
        yield connection


def _keep_writers_out(connection: Connection) -> None:
    """Lock every table that is ours against writers; where one is in use, give all of them back and try again."""
    names = connection.scalars(
        sa.text(
            "SELECT CAST(oid AS regclass)::text FROM pg_class WHERE relkind IN ('r', 'p') AND relpersistence = 'p'"
            " AND relnamespace = CAST(current_schema() AS regnamespace) AND pg_has_role(relowner, 'USAGE') ORDER BY 1"
        )
    ).all()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while names:
        try:
            with connection.begin_nested():
                connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_QUIET_LOCK_TIMEOUT}'")
                connection.exec_driver_sql(f"LOCK TABLE {', '.join(names)} IN SHARE MODE")
            return
        except sa.exc.OperationalError as error:
            if driver_code(error) not in LOCK_SQLSTATES:
                raise
            if time.monotonic() > deadline:
                raise DatabaseBusy(
                    f"Somebody has been writing for {PATIENCE_SECONDS / 60:.0f} minutes without a pause, so there was "
                    "no quiet moment. See who (pg_stat_activity), and try again."
                ) from None
            time.sleep(random.uniform(0.05, 0.5))


def give_way(connection: Connection, table: str, action: Callable[[], _Result]) -> _Result:
    """Do `action` while no one else changes partitions; on a lock that is not free give everything back and retry.

    DatabaseBusy when the table has been in use for `PATIENCE_SECONDS`.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            with connection.begin_nested(), _impatient(connection):
                _wait(connection, _CHANGING)
                return action()
        except sa.exc.OperationalError as error:
            if driver_code(error) not in LOCK_SQLSTATES:
                raise
            if time.monotonic() > deadline:
                raise DatabaseBusy(
                    f"{table} has been in use for {PATIENCE_SECONDS / 60:.0f} minutes without a pause, so that no "
                    "month could be attached or detached. See who uses it (pg_stat_activity), and try again."
                ) from None
            time.sleep(random.uniform(0.05, 0.5))


@contextmanager
def _impatient(connection: Connection) -> Iterator[None]:
    before = connection.exec_driver_sql("SHOW lock_timeout").scalar()
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'")
    yield
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{before}'")


def _wait(connection: Connection, name: str) -> None:
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_key(name))))


def _key(name: str) -> sa.Function[int]:
    return sa.func.hashtextextended(name, 0)
