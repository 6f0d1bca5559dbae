"""The upkeep of PostgreSQL's tables and indexes: which need it, by the server's own figures, and doing it gently.

Leftovers of interrupted index builds first, then tables and partitions one by one (VACUUM, ANALYZE), then partitioned
parents (ANALYZE; autovacuum never does it), then indexes that hold too much air (REINDEX CONCURRENTLY). Each on its
own, outside of transactions, with a pause between. None of it keeps anybody from reading or writing rows; all of it
keeps months from being attached to the same table, and waits for others. So nobody is loading into a table when its
turn begins (or it is left for the next time), locks are waited for a few seconds, and an index build that did not get
one is taken away at once.
"""

from __future__ import annotations

import datetime as dt
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.operations.upkeep.disks import servers_room
from edupulse_pipelines.operations.upkeep.queries import extension_schema, query, rows_of, run
from edupulse_pipelines.operations.upkeep.tasks import Outcome, Result, Task, Upkeep
from edupulse_pipelines.schema.tables import TABLES
from edupulse_pipelines.settings.maintenance import MaintenanceSettings
from edupulse_pipelines.sizes_in_words import in_bytes
from edupulse_pipelines.storage.engine import INSUFFICIENT_PRIVILEGE, LOCK_SQLSTATES, driver_code, is_gone
from edupulse_pipelines.storage.months import PARTITIONED
from edupulse_pipelines.storage.sql_names import quoted
from edupulse_pipelines.storage.turns import transactions_under_way, writers_of

_FEW_ROWS = 1000
"""Fewer dead or changed rows than this are nobody's trouble, whatever share they are."""
_DISK_FULL = "53100"
_CANCELED = "57014"
_DATA_CORRUPTED, _INDEX_CORRUPTED = "XX001", "XX002"
_LOOK_AGAIN_SECONDS = 1.0
_WITH_ITS_PARTITIONS = dt.timedelta(hours=1)
"""Before PostgreSQL 18 whoever analyses a partitioned table analyses its partitions with it, one after another."""
_MANNERS = ("lock_timeout", "statement_timeout", "vacuum_cost_delay")
"""Settings of the session that are set here and reset afterwards."""
_ALEMBIC = "alembic_version"
_DETACHED = re.compile(rf"^({'|'.join(PARTITIONED)})_y\d{{4}}m\d\d$")

_OF_INDEX = re.compile(r"SELECT '((?:[^']|'')*)' AS name")

Hears = Callable[[Task], None]


@dataclass
class TableState:
    """A row of `sql/maintenance/tables.postgresql.sql`."""

    name: str
    parent: str | None
    partitioned: bool
    owner: str
    may_maintain: bool
    bytes: int
    live_rows: int
    dead_rows: int
    changed_rows: int
    vacuumed_at: Any
    analysed_at: Any
    age: int


# What there is to do


def is_ours(table: str, parent: str | None = None) -> bool:
    """Whether a table of the schema is one of ours: declared, a partition of one, or a month that stands alone."""
    return table in TABLES or parent in TABLES or table == _ALEMBIC or _DETACHED.match(table) is not None


def table_states(connection: Connection) -> list[TableState]:
    """Our tables and partitions, as the server counts them."""
    states = (TableState(**row) for row in rows_of(connection, "tables"))
    return [state for state in states if is_ours(state.name, state.parent)]


def of_tables(states: Sequence[TableState], limits: MaintenanceSettings, *, parents_alone: bool) -> list[Task]:
    """VACUUM and ANALYZE where the figures ask for them.

    parents_alone: whether the server can analyse a partitioned table without its partitions (18 can).
    """
    slack = dt.timedelta(0) if parents_alone else _WITH_ITS_PARTITIONS
    parents = {state.name: _parent(state, states, limits, slack) for state in states if state.partitioned}
    tasks = []
    for state in states:
        if state.partitioned:
            continue
        vacuum = _vacuum_because(state, limits)
        analyse = _analyse_because(state, limits)
        with_its_parent = state.parent in parents and parents[state.parent] and not parents_alone
        if vacuum:
            freeze = "FREEZE, " if state.age > limits.transaction_age else ""
            statement = f"VACUUM ({freeze}ANALYZE) {_name(state.name)}"
            tasks.append(_task("vacuum", state, vacuum, statement))
        elif analyse and not with_its_parent:
            tasks.append(_task("analyze", state, analyse, f"ANALYZE {_name(state.name)}"))
    for state in states:
        if why := parents.get(state.name):
            only = "ONLY " if parents_alone else ""
            tasks.append(_task("analyze", state, why, f"ANALYZE {only}{_name(state.name)}"))
    return tasks


def _task(kind: Any, state: TableState, why: str, statement: str) -> Task:
    """VACUUM (not FULL) and ANALYZE write in the table's place, so that none of them needs room of its own."""
    return Task(kind, state.name, state.name, why, statement, 0, state.owner, state.may_maintain)


def _vacuum_because(state: TableState, limits: MaintenanceSettings) -> str | None:
    if state.age > limits.transaction_age:
        return f"its oldest row was frozen {state.age:,} transactions ago, more than {limits.transaction_age:,}"
    rows = state.live_rows + state.dead_rows
    if state.dead_rows >= _FEW_ROWS and state.dead_rows > limits.dead_rows * rows:
        return f"{state.dead_rows / rows:.0%} of its {rows:,} rows are dead, more than {limits.dead_rows:.0%}"
    return None


def _analyse_because(state: TableState, limits: MaintenanceSettings) -> str | None:
    if state.changed_rows < _FEW_ROWS:
        return None
    if state.analysed_at is None:
        return "it has never been analysed"
    if state.changed_rows > limits.changed_rows * max(state.live_rows, 1):
        return f"{state.changed_rows:,} rows changed since it was analysed, more than {limits.changed_rows:.0%}"
    return None


def _parent(
    parent: TableState, states: Sequence[TableState], limits: MaintenanceSettings, slack: dt.timedelta
) -> str | None:
    """Why a partitioned table is to be analysed; None when little changed since it was.

    slack: so much later than the table its partitions may have been analysed along with it.
    """
    partitions = [state for state in states if state.parent == parent.name]
    rows, changed = (sum(getattr(state, of) for state in partitions) for of in ("live_rows", "changed_rows"))
    if not rows:
        return None
    if parent.analysed_at is None:
        return "it has never been analysed: autovacuum does not do it for a partitioned table"
    newer = [state for state in partitions if state.analysed_at and state.analysed_at > parent.analysed_at + slack]
    if newer:
        return f"{len(newer)} of its partitions have been analysed since it was"
    if changed >= _FEW_ROWS and changed > limits.changed_rows * rows:
        return f"{changed:,} rows of its partitions changed since they were analysed"
    return None


def leftovers(connection: Connection) -> tuple[list[Task], list[str]]:
    """What interrupted index builds left behind, to be dropped; and in words what is not valid and not a leftover."""
    tasks, others = [], []
    for row in _indexes(connection):
        if row["valid"]:
            continue
        if not row["leftover"]:
            line = f"REINDEX INDEX CONCURRENTLY {_name(row['name'])};"
            others.append(f"{row['name']} of {row['table_name']} is not valid: no query uses it. {line}")
        elif not row["building"]:
            statement = f"DROP INDEX CONCURRENTLY IF EXISTS {_name(row['name'])}"
            why = f"an interrupted REINDEX CONCURRENTLY left it behind, of {in_bytes(row['bytes'])}"
            task = Task("drop_index", row["name"], row["table_name"], why, statement, 0, row["owner"], row["may_drop"])
            tasks.append(task)
    return tasks, others


def _indexes(connection: Connection) -> list[dict[str, Any]]:
    parents = {state.name: state.parent for state in table_states(connection)}
    return [row for row in rows_of(connection, "indexes") if row["table_name"] in parents]


def of_indexes(connection: Connection, limits: MaintenanceSettings, notes: list[str]) -> Iterator[Task]:
    """The indexes that hold too much air, the largest first, each measured when its turn comes.

    By pgstattuple where the extension is and may be called, else by an estimate; `notes` is told which, and why.
    """
    found = [
        row
        for row in _indexes(connection)
        if row["valid"] and row["method"] == "btree" and row["bytes"] >= max(limits.index_at_least_bytes, 1)
    ]
    looked_at = [row for row in found if row["may_maintain"]]
    if len(looked_at) < len(found):
        owner = next(row["owner"] for row in found if not row["may_maintain"])
        notes.append(f"{len(found) - len(looked_at)} indexes were not looked at: they are of {owner}.")
    if not looked_at:
        return
    measure = _measured(connection, notes) or _estimated(connection)
    for row in looked_at:
        how, bloat = measure(row["name"])
        if bloat > limits.index_bloat:
            yield Task(
                "reindex",
                row["name"],
                row["table_name"],
                f"{bloat:.0%} of its {in_bytes(row['bytes'])} would not be in a new one ({how}), more than "
                f"{limits.index_bloat:.0%}",
                f"REINDEX INDEX CONCURRENTLY {_name(row['name'])}",
                int(row["bytes"] * (1 - bloat)) + 1,
                row["owner"],
                row["may_maintain"],
            )


Measure = Callable[[str], tuple[str, float]]


def _measured(connection: Connection, notes: list[str]) -> Measure | None:
    schema = extension_schema(connection, "pgstattuple")
    if schema is None:
        notes.append(
            "Indexes were estimated, not measured: the extension pgstattuple is not made in this database. "
            "As a superuser: CREATE EXTENSION pgstattuple; GRANT pg_stat_scan_tables TO the owner of the tables;"
        )
        return None
    right = sa.text("SELECT has_function_privilege(CAST(:name AS regprocedure), 'EXECUTE'), quote_ident(current_user)")
    may, role = connection.execute(right, {"name": f"{schema}.pgstatindex(regclass)"}).one()
    if not may:
        notes.append(
            f"Indexes were estimated, not measured: {role} may not call pgstattuple. As a superuser: "
            f"GRANT pg_stat_scan_tables TO {role};"
        )
        return None
    text = query("index_bloat", "postgresql").replace("pgstatindex(", f"{schema}.pgstatindex(")
    one = sa.text(f"SELECT bloat FROM ({text.replace(':', chr(92) + ':')}) AS measured WHERE name = :name")
    return lambda index: ("measured", float(connection.scalar(one, {"name": index}) or 0))


def _estimated(connection: Connection) -> Measure:
    """Each index's statement of `index_estimate`, run when it is asked for."""
    found = (row["statement"] for row in rows_of(connection, "index_estimate"))
    statements = {_OF_INDEX.search(text).group(1).replace("''", "'"): text for text in found}  # type: ignore[union-attr]

    def measure(index: str) -> tuple[str, float]:
        bloat = run(connection, statements[index])[0]["bloat"] if index in statements else 0
        return "estimated", float(bloat)

    return measure


def _name(name: str) -> str:
    return name if re.fullmatch(r"[a-z_][a-z0-9_]*", name) else quoted(name)


# Doing it


@dataclass
class _Visit:
    """One round over the tables: what every task of it goes by, and what came of each."""

    connection: Connection
    limits: MaintenanceSettings
    dry_run: bool
    hears: Hears
    upkeep: Upkeep
    _begun: bool = field(default=False)
    _waited: float = field(default=0.0)
    """Seconds that were spent on waiting for others; `patience_minutes` is for all tasks together."""

    def all_of(self, tasks: Iterable[Task]) -> None:
        for task in tasks:
            self.upkeep.results.append(self._one(task))

    def _one(self, task: Task) -> Result:
        if not task.may:
            return Result(task, "refused", f"only {task.owner}, who owns it, may: {task.statement};")
        if lacking := self._no_room_for(task):
            return Result(task, "left", lacking)
        if self.dry_run:
            return Result(task, "planned")
        if self._begun:
            time.sleep(self.limits.pause_seconds)
        self._begun = True
        if not self._nobody_is_in_the_way(task):
            return Result(task, "left", "somebody was using it all the time; the next time will do it")
        self.hears(task)
        before = self._size(task)
        begun = time.monotonic()
        try:
            self.connection.exec_driver_sql(task.statement)
        except sa.exc.DBAPIError as error:
            if is_gone(error) or self.connection.invalidated:
                raise
            if task.kind == "reindex":
                self._take_away_what_is_half_built(task.table)
            return Result(task, *_what_came_of(error), time.monotonic() - begun)
        seconds = time.monotonic() - begun
        return Result(task, "done", "", seconds, None if before is None else before - (self._size(task) or 0))

    def _no_room_for(self, task: Task) -> str | None:
        if not task.needs_bytes:
            return None
        room = servers_room(self.connection, self.limits.server_disk_bytes, None)
        wanted = task.needs_bytes + self.limits.keep_free_bytes
        if room is None or room.free >= wanted:
            return None
        return f"no room: the server's disk has {in_bytes(room.free)} free, and {in_bytes(wanted)} are needed"

    def _nobody_is_in_the_way(self, task: Task) -> bool:
        """Wait for the loads of the table that have begun; False when they go on for too long.

        An index is built and dropped concurrently only when every transaction that had begun before has ended, of
        whatever table: for it all of those are waited for.
        """
        concurrently = task.kind in ("reindex", "drop_index")
        in_the_way = None
        while True:
            now = transactions_under_way(self.connection) if concurrently else writers_of(self.connection, task.table)
            in_the_way = now if in_the_way is None else in_the_way & now
            if not in_the_way:
                return True
            if self._waited >= self.limits.patience_minutes * 60:
                return False
            time.sleep(_LOOK_AGAIN_SECONDS)
            self._waited += _LOOK_AGAIN_SECONDS

    def _size(self, task: Task) -> int | None:
        if task.kind != "reindex":
            return None
        size = sa.text("SELECT pg_relation_size(to_regclass(:name))")
        found: int | None = self.connection.scalar(size, {"name": _name(task.name)})
        return found

    def _take_away_what_is_half_built(self, table: str) -> None:
        left, _ = leftovers(self.connection)
        self.all_of(task for task in left if task.table == table)


def _what_came_of(error: sa.exc.DBAPIError) -> tuple[Outcome, str]:
    """The outcome of a task that the server ended with an error, and why; the next task has its turn all the same."""
    code = driver_code(error)
    if code in LOCK_SQLSTATES:
        return "left", f"in use: {LOCK_SQLSTATES[code]}; the next time will do it"
    if code == _CANCELED:
        return "left", "somebody, or a limit of the server, ended it; the next time will do it"
    if code == _DISK_FULL:
        return "left", "no space is left on the disk of the database server"
    if code == INSUFFICIENT_PRIVILEGE:
        return "refused", str(getattr(error.orig, "diag", None) and error.orig.diag.message_primary)  # type: ignore[union-attr]
    if code in (_DATA_CORRUPTED, _INDEX_CORRUPTED):
        return "failed", f"it is damaged on the server's disk (SQLSTATE {code}): see docs/backup.md for a way back"
    # The server's own sentence may hold a row's values, as of an index over an expression.
    return "failed", f"the server ended it with SQLSTATE {code}; its log says why"


def keep_up(
    connection: Connection, limits: MaintenanceSettings, upkeep: Upkeep, *, dry_run: bool, hears: Hears
) -> None:
    """Do what the tables and indexes need, and tell `upkeep`. The connection has no transaction.

    A dry run changes nothing and waits for nothing.
    """
    visit = _Visit(connection, limits, dry_run, hears, upkeep)
    with _manners(connection, limits):
        left, upkeep.invalid = leftovers(connection)
        visit.all_of(left)
        version = connection.dialect.server_version_info
        parents_alone = version is not None and version >= (18,)
        visit.all_of(of_tables(table_states(connection), limits, parents_alone=parents_alone))
        visit.all_of(of_indexes(connection, limits, upkeep.notes))
        if any(result.task.kind == "reindex" and result.outcome in ("left", "failed") for result in upkeep.results):
            visit.all_of(leftovers(connection)[0])  # of a build of ours that was ended


@contextmanager
def _manners(connection: Connection, limits: MaintenanceSettings) -> Iterator[None]:
    """For the block, wait for locks briefly, take as long as it takes otherwise, and leave others the disk."""
    wanted = (f"{int(limits.lock_seconds * 1000)}ms", "0", "2ms")
    for name, value in zip(_MANNERS, wanted, strict=True):
        connection.exec_driver_sql(f"SET {name} = '{value}'")
    try:
        yield
    finally:
        if not connection.invalidated:
            for name in _MANNERS:
                connection.exec_driver_sql(f"RESET {name}")
