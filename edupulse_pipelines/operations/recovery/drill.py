"""The drill: what was backed up is restored on this machine, compared with what is live, and taken away again.

On PostgreSQL: in a quiet moment the state of the database is noted and a restore point made; then a base backup is
restored and replayed to that point, compared, and looked at as a whole (the record of changes, the server's own check
of tables and indexes, the champions); then once more to the time just before the point. On SQLite: in a quiet moment
the state is noted and a moment taken, whose copy is compared likewise. The live database is only read.
"""

from __future__ import annotations

import datetime as dt
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.errors import (
    DatabaseUnavailable,
    DiskFull,
    EduPulseError,
    PermanentError,
    TransientError,
    unexpected_in_words,
)
from edupulse_pipelines.full_disk import full_disk_in_words
from edupulse_pipelines.governance.audit_verify import verify
from edupulse_pipelines.operations.backup import base_backups
from edupulse_pipelines.operations.backup.moments import Moment
from edupulse_pipelines.operations.backup.retiring import not_retired
from edupulse_pipelines.operations.backup.targets import Target
from edupulse_pipelines.operations.postgresql_server import Programs, programs_for, server_major
from edupulse_pipelines.operations.recovery import moment_files
from edupulse_pipelines.operations.recovery.champions import (
    Champion,
    ChampionsFound,
    compare_champions,
    noted_champions,
)
from edupulse_pipelines.operations.recovery.compared import differences
from edupulse_pipelines.operations.recovery.drills import Drill, record_drill
from edupulse_pipelines.operations.recovery.scratch import RestoredServer, Scratch, only_drill
from edupulse_pipelines.operations.recovery.state import State, read_sequences, read_state
from edupulse_pipelines.operations.upkeep.sizes import bytes_below
from edupulse_pipelines.programs import environment
from edupulse_pipelines.risk.book.registry import Registry
from edupulse_pipelines.settings import Settings
from edupulse_pipelines.sizes_in_words import in_bytes
from edupulse_pipelines.storage.database import Database
from edupulse_pipelines.storage.sqlite_files import copy_sqlite
from edupulse_pipelines.storage.turns import quiet_moment
from edupulse_pipelines.storage.work import EVERY_TENANT, Work

Told = Callable[[str], None]
_SPARE_BYTES = 64 << 20
_BETWEEN_SECONDS = 0.05
"""Between the time that the second restore goes to and the transaction that it must not have."""
_FINDINGS_SHOWN = 50


@dataclass(frozen=True)
class _Noted:
    """What the live database was at the restore point.

    time: just before it, with nothing changed in between but `transaction`, which wrote nothing. user, name: of whom
    the connection is, and the database. role: that it took.
    """

    state: State
    champions: list[Champion]
    point: str | None = None
    time: dt.datetime | None = None
    transaction: int | None = None
    user: str = ""
    name: str = ""
    programs: Programs | None = None


@dataclass
class _Report:
    """What a drill has found so far."""

    begun: dt.datetime
    tell: Told
    findings: list[str] = field(default_factory=list)
    unproven: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    rpo_seconds: float | None = None
    moment: str | None = None
    doing: str = ""
    noted: bool = False
    """Whether all is known of the live database, so that the rest is about restored copies."""

    @contextmanager
    def step(self, name: str, sentence: str) -> Iterator[None]:
        """A step, its time taken; a step of a name adds to what the name took before."""
        self.doing = sentence
        self.tell(f"{sentence} …")
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.monotonic() - began, 3)

    def ended(self) -> Drill:
        """The drill as it goes on record."""
        more = len(self.findings) - _FINDINGS_SHOWN
        shown = self.findings[:_FINDINGS_SHOWN] + ([f"and {more} more differences"] if more > 0 else [])
        return Drill(
            begun=self.begun,
            ended=dt.datetime.now(dt.UTC),
            succeeded=not self.findings,
            findings=tuple(shown),
            unproven=tuple(self.unproven),
            rpo_seconds=self.rpo_seconds,
            seconds=self.seconds,
            sizes=self.sizes,
            moment=self.moment,
        )


def drill(settings: Settings, database: Database, registry: Registry, *, tell: Told = lambda _: None) -> Drill:
    """Do a drill, and put it on record; what is wrong is in its findings.

    database: the live one as its owner. registry: of the live models. tell: hears what is being done. TransientError
    while somebody is busy (another drill, a backup, writers who do not pause) or the live database does not answer, and
    ConfigurationError for a scratch folder that is not one: nothing was proven or refuted, and no drill goes on record.
    """
    report = _Report(dt.datetime.now(dt.UTC), tell)
    over = False
    try:
        with only_drill(settings) as scratch:
            _do(settings, database, registry, scratch, report)
            over = True
    except OSError as error:
        if not over:
            raise
        report.findings.append(f"Taking the restored copies away: {_in_words(error)}")
    done = report.ended()
    record_drill(settings, done)
    return done


def _do(settings: Settings, database: Database, registry: Registry, scratch: Scratch, report: _Report) -> None:
    """Drill; what is wrong becomes a finding."""
    try:
        if settings.database_url.startswith("sqlite"):
            _drill_sqlite(settings, database, registry, scratch, report)
        else:
            _drill_postgresql(settings, database, registry, scratch, report)
    except TransientError as error:
        # That a restored server does not answer is something to know; the live one may at the next try.
        if not (report.noted and isinstance(error, DatabaseUnavailable)):
            raise
        report.findings.append(f"{report.doing}: {error}")
    except EduPulseError as error:
        report.findings.append(f"{report.doing}: {error}")
    except OSError as error:
        report.findings.append(f"{report.doing}: {full_disk_in_words(error, [scratch.folder]) or _in_words(error)}")
    except BaseException as error:
        report.findings.append(f"{report.doing}: {type(error).__name__}")
        record_drill(settings, report.ended())
        raise


def _in_words(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}" if error.filename else unexpected_in_words(error)


# PostgreSQL


def _drill_postgresql(
    settings: Settings, database: Database, registry: Registry, scratch: Scratch, report: _Report
) -> None:
    report.doing = "Looking at WAL"
    report.rpo_seconds = base_backups.wal_state(settings).age_seconds
    noted = _note_postgresql(settings, database, registry, report)
    report.noted = True
    with not_retired(settings):
        moment = moment_files.newest(settings)
        report.moment = None if moment is None else moment.id
        _read_files(settings, moment, report)
        _restore_twice(settings, database, noted, moment, scratch, report)


def _restore_twice(
    settings: Settings, database: Database, noted: _Noted, moment: Moment | None, scratch: Scratch, report: _Report
) -> None:
    """Restore to the point and to the time before it, and compare; the moment's files serve the champions."""
    assert noted.point is not None and noted.time is not None
    with _restored(settings, scratch, report, noted, "point", Target.named(noted.point)) as server:
        restored = server.database(database.role)
        _compare(restored, noted.state, report, "compare", f"Restored to {noted.point}")
        _verify_audit(restored, report)
        _amcheck(server, noted, report)
        _champions(settings, restored, noted, scratch, moment, report)
    with _restored(settings, scratch, report, noted, "between", Target.at(noted.time)) as server:
        _compare(
            server.database(database.role),
            noted.state,
            report,
            "compare_between",
            f"Restored to {noted.time}",
        )
        _stopped_in_time(server, noted, report)


def _note_postgresql(settings: Settings, database: Database, registry: Registry, report: _Report) -> _Noted:
    """Note the state in a quiet moment, which ends with the restore point; hashing goes on after it, in a snapshot."""
    tenants = {*settings.tenants, *settings.broken_tenants}
    with database.work(EVERY_TENANT) as work, work.reading(steady=True) as snapshot:
        with report.step("note", "Waiting for a quiet moment"):
            _demand_owner(work)
            with quiet_moment(work, tenants) as connection:
                _refuse_tablespaces(connection)
                user, name, at = connection.execute(
                    sa.text("SELECT session_user, current_database(), clock_timestamp()")
                ).one()
                programs = programs_for(server_major(connection), settings.programs_dir)
                sequences = read_sequences(connection)
                # The snapshot is taken by its first statement: now, when nobody writes.
                report.sizes["database_bytes"] = int(
                    snapshot.scalar(sa.text("SELECT pg_database_size(current_database())")) or 0
                )
                time.sleep(_BETWEEN_SECONDS)
                with work.keeping_out() as other:
                    transaction = int(str(other.scalar(sa.text("SELECT pg_current_xact_id()::text"))))
                name_of_point = f"edupulse-drill-{report.begun:%Y%m%dT%H%M%S}"
                point = base_backups.make_restore_point(settings, name_of_point, wait=False)
        # Its WAL travels while others write again.
        with report.step("arrive", f"Waiting for the WAL of {point.name}"):
            base_backups.await_restore_point(settings, point)
        with report.step("hash", "Counting and hashing the live database"):
            state = read_state(snapshot, sequences)
        with report.step("score", "Scoring by the live champions"):
            champions = noted_champions(snapshot, work, settings.tenants.values(), registry)
    report.sizes["rows"] = state.rows
    report.unproven += [f"Not compared: {what}." for what in state.left_out]
    return _Noted(state, champions, point.name, at, transaction, user, name, programs)


def _demand_owner(work: Work) -> None:
    """PermanentError for a role that may not lock the tables and see every row of them."""
    with work.reading() as connection:
        owns = connection.scalar(
            sa.text("SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = CAST('audit_changes' AS regclass)")
        )
    if not owns:
        raise PermanentError(
            "The role does not own the tables, so it sees neither every row nor can it ask for a quiet moment: name "
            "the keeper's database URL in EDUPULSE_KEEPER_URL."
        )


def _refuse_tablespaces(connection: Connection) -> None:
    """PermanentError for a server with tablespaces of its own: a copy of it would be put over the live ones."""
    names = connection.scalars(sa.text("SELECT spcname FROM pg_tablespace WHERE spcname NOT LIKE 'pg\\_%' ORDER BY 1"))
    if found := names.all():
        raise PermanentError(
            f"The server has tablespaces ({', '.join(found)}), which lie outside its data folder: on this machine a "
            "restored copy would meet the live ones. Drill on another machine (docs/operating.md)."
        )


@contextmanager
def _restored(
    settings: Settings, scratch: Scratch, report: _Report, noted: _Noted, name: str, target: Target
) -> Iterator[RestoredServer]:
    """A server over a copy restored to the target, its recovery ended; taken away at the end of the block."""
    suffix = "" if name == "point" else f"_{name}"
    assert noted.programs is not None
    server = RestoredServer(scratch, name, noted.programs, noted.name, noted.user)
    where = f"to {target.point}" if target.point else f"to {target.time}"
    try:
        with report.step(f"restore{suffix}", f"Restoring {where}"):
            plan = base_backups.restore_plan(settings, target)
            _demand_room(scratch, plan.bytes_needed or report.sizes["database_bytes"])
            server.data.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            base_backups.restore_database(settings, server.data, target)
        with report.step(f"replay{suffix}", f"Replaying {where}"):
            if plan.wal_bytes is not None:
                report.sizes[f"wal_bytes{suffix}"] = plan.wal_bytes
            server.start()
            server.wait_until_recovered(settings.drill.most_hours)
        report.sizes[f"restored_bytes{suffix}"] = bytes_below(server.data)
        yield server
    finally:
        began = time.monotonic()
        if server.data.exists():
            server.stop()
        scratch.remove(name)
        report.seconds["remove"] = round(report.seconds.get("remove", 0.0) + time.monotonic() - began, 3)


def _demand_room(scratch: Scratch, needed: int) -> None:
    if scratch.free_bytes < needed + _SPARE_BYTES:
        raise DiskFull(
            f"It takes {in_bytes(needed)}, and the disk of {scratch.folder} has {in_bytes(scratch.free_bytes)} "
            "free. Name a folder on another disk in [drill] folder."
        )


def _compare(database: Database, noted: State, report: _Report, step: str, label: str) -> None:
    with report.step(step, "Comparing every table and partition"):
        with database.work(EVERY_TENANT) as work, work.reading(steady=True) as connection:
            found = read_state(connection)
        report.findings += [f"{label}: {difference}" for difference in differences(noted, found)]


def _verify_audit(database: Database, report: _Report) -> None:
    with report.step("audit", "Verifying the record of changes"), database.work(EVERY_TENANT) as work:
        report.findings += [f"Record of changes, restored: {one.in_words}" for one in verify(work).findings]


def _stopped_in_time(server: RestoredServer, noted: _Noted, report: _Report) -> None:
    """Whether the copy restored to a time lacks the transaction that was committed after it."""
    with server.database(None).unchecked_work() as work, work.reading() as connection:
        next_one = int(str(connection.scalar(sa.text("SELECT pg_snapshot_xmax(pg_current_snapshot())::text"))))
    if noted.transaction is not None and next_one > noted.transaction:
        report.findings.append(f"Restored to {noted.time}: it holds transactions that were committed after that time")


def _amcheck(server: RestoredServer, noted: _Noted, report: _Report) -> None:
    """Let the server look through its tables and indexes, where the extension is on this machine."""
    assert noted.programs is not None
    with server.database(None).unchecked_work() as work, work.reading() as connection:
        there = connection.scalar(sa.text("SELECT count(*) FROM pg_available_extensions WHERE name = 'amcheck'"))
        # Who reaches the socket is trusted, and that is this drill alone.
        superuser = connection.scalar(
            sa.text("SELECT rolname FROM pg_roles WHERE rolsuper AND rolcanlogin ORDER BY oid LIMIT 1")
        )
    if not there or superuser is None or not noted.programs.has("pg_amcheck"):
        report.unproven.append("Tables and indexes were not looked through: the extension amcheck is not installed.")
        return
    with report.step("amcheck", "Looking through tables and indexes"):
        ended = subprocess.run(
            [
                noted.programs.path("pg_amcheck"),
                "--install-missing",
                f"--host={server.server.socket}",
                f"--port={server.server.port}",
                f"--username={superuser}",
                noted.name,
            ],
            capture_output=True,
            text=True,
            check=False,
            env=environment(password=False),
        )
    if ended.returncode == 1:
        report.findings.append(f"pg_amcheck could not look: {(ended.stderr.strip().splitlines() or ['no reason'])[0]}")
    elif ended.returncode != 0:
        # Names only: what it says beyond that may quote what lies in a block.
        named = sorted(set(re.findall(r"^(?:heap table|btree index) \S+?(?=:|,|$)", ended.stdout, re.MULTILINE)))
        report.findings.append(f"pg_amcheck finds damage: {', '.join(named) or 'see its output'}")


# The files


def _read_files(settings: Settings, moment: Moment | None, report: _Report) -> None:
    """Read the files of a moment from before the drill, and of the oldest, each to its end and by its hash."""
    first, unreadable = moment_files.oldest(settings)
    report.findings += unreadable
    if moment is None:
        report.unproven.append(
            "No file of the home was read back: there was no moment before (`edupulse backup create`)."
        )
        return
    moments = [moment] if first is None or first.id == moment.id else [moment, first]
    with report.step("files", f"Reading the files of {' and '.join(one.id for one in moments)}"):
        report.sizes["files"], damaged = moment_files.damaged(settings, moments)
        report.findings += damaged


def _champions(
    settings: Settings, database: Database, noted: _Noted, scratch: Scratch, moment: Moment | None, report: _Report
) -> None:
    if not noted.champions:
        report.unproven.append("No model was opened and scored by: no district has a champion yet.")
        return
    with (
        report.step("champion", "Opening the champions from restored files"),
        database.work(EVERY_TENANT) as work,
        work.reading(steady=True) as connection,
    ):
        found = _compared_champions(connection, work, settings, noted, scratch, moment)
    report.findings += found.wrong
    report.unproven += found.unproven
    report.sizes["champions"], report.sizes["students_scored"] = found.opened, found.students


def _compared_champions(
    connection: Connection, work: Work, settings: Settings, noted: _Noted, scratch: Scratch, moment: Moment | None
) -> ChampionsFound:
    def fetch(name: str, to: Path) -> bool:
        return moment is not None and moment_files.write_folder(settings, moment, name, to)

    folder = scratch.copy("files")
    try:
        return compare_champions(
            connection,
            work,
            noted.champions,
            settings.tenants,
            home=settings.home,
            files_from=None if moment is None else moment.at,
            fetch=fetch,
            folder=folder,
        )
    finally:
        scratch.remove("files")


# SQLite


def _drill_sqlite(
    settings: Settings, database: Database, registry: Registry, scratch: Scratch, report: _Report
) -> None:
    """Take a moment while nobody writes, and compare its copy of the database; none is thrown away meanwhile."""
    with not_retired(settings):
        _take_and_compare(settings, database, registry, scratch, report)


def _take_and_compare(
    settings: Settings, database: Database, registry: Registry, scratch: Scratch, report: _Report
) -> None:
    report.doing = "Looking for moments"
    before = moment_files.newest(settings)
    if before is not None:
        report.rpo_seconds = round((report.begun - before.at).total_seconds(), 3)
    noted = _Noted(State({}, {}, None, {}, None), [])

    def copy_and_note(source: Path, target: Path) -> None:
        """Copy the database in a quiet moment, and note what is in it; others write again while that is counted."""
        nonlocal noted
        with database.work(EVERY_TENANT) as work, work.reading(steady=True) as snapshot:
            with quiet_moment(work, ()):
                snapshot.exec_driver_sql("SELECT count(*) FROM sqlite_master")  # the snapshot begins with it
                copy_sqlite(source, target)
            state = read_state(snapshot)
            noted = _Noted(state, noted_champions(snapshot, work, settings.tenants.values(), registry))

    with report.step("note", "Taking a moment, the database in a quiet one"):
        moment = moment_files.take(settings, database, report.tell, copy_and_note)
    report.noted, state = True, noted.state
    _read_files(settings, before, report)
    report.seconds["hash"] = round(state.seconds, 3)
    report.moment, report.sizes["rows"] = moment.id, state.rows
    with report.step("restore", "Restoring the newest moment"):
        _demand_room(scratch, moment.bytes)
        path = scratch.copy("sqlite") / "edupulse.db"
        path.parent.mkdir(mode=0o700)
        report.sizes["database_bytes"] = moment_files.write_database(settings, moment, path)
    restored = Database(f"sqlite:///{path}")
    with report.step("replay", "Opening the restored database"):
        restored.ensure_current()
    _compare(restored, state, report, "compare", f"Restored from {moment.id}")
    _verify_audit(restored, report)
    _champions(settings, restored, noted, scratch, moment, report)
