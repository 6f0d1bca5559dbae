"""Processes that load a district, and what can befall them at a point of their work: be killed, wait, meet another.

A point is told from outside: a file that is moved, a statement that is sent, rows that are fed to a COPY, a commit. So
the code that is tested knows nothing of it, and a test names what happens (`after COMMIT of grades`), not a function.
"""

from __future__ import annotations

import datetime as dt
import os
import re
import signal
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg2.extensions
import sqlalchemy as sa
from sqlalchemy.engine.default import DefaultDialect

from edupulse_pipelines.ingest.archive import archive_files
from edupulse_pipelines.ingest.load import load_records
from edupulse_pipelines.ingest.validation import Expectations
from edupulse_pipelines.ingest.writers import attendance
from edupulse_pipelines.schema.sqlalchemy_tables import metadata
from edupulse_pipelines.schema.tables import RECORD_TABLES
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.storage.engine import create_engine
from edupulse_pipelines.storage.months import PARTITIONED
from edupulse_pipelines.storage.work import Work
from edupulse_pipelines_tests.forked import CONTEXT, PATIENCE_SECONDS
from edupulse_pipelines_tests.ingest.district import District

_STATEMENT = re.compile(
    r"\s*(INSERT INTO|UPDATE|DELETE FROM|COPY|TRUNCATE|ANALYZE|LOCK TABLE"
    r"|(?:CREATE|ALTER|DROP)(?: TEMPORARY)? TABLE(?: IF (?:NOT )?EXISTS)?|CREATE(?: UNIQUE)? INDEX(?=.*? ON)"
    r"|SELECT\b.*?\bFROM)\s+(?:\w* ?ON )?(?:ONLY )?\"?([\w.]+)",
    re.DOTALL | re.IGNORECASE,
)


# What befalls a process


@dataclass(frozen=True)
class Kill:
    """`kill -9` where the work reaches a point whose name matches `pattern` for the `occurrence`-th time."""

    pattern: str
    occurrence: int = 1

    def happen(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Meet:
    """Wait for the others at this point, so that all of them go on from it at once; not for ever."""

    pattern: str
    barrier: Any
    occurrence: int = 1
    patience: float = 3

    def happen(self) -> None:
        with suppress(threading.BrokenBarrierError):
            self.barrier.wait(self.patience)


@dataclass(frozen=True)
class Pause:
    """Tell that the point is reached, and go on when the test says so."""

    pattern: str
    reached: Any
    go_on: Any
    occurrence: int = 1

    def happen(self) -> None:
        self.reached.set()
        assert self.go_on.wait(PATIENCE_SECONDS), "nobody lets the process go on"


Interruption = Kill | Meet | Pause


def event() -> Any:
    """An event that a child can be given."""
    return CONTEXT.Event()


def barrier(parties: int) -> Any:
    """A barrier that children can be given."""
    return CONTEXT.Barrier(parties)


# The processes


@dataclass(frozen=True)
class Job:
    """Weeks of a tenant that a process archives and loads, table after table."""

    url: str
    raw: Path
    tenant: TenantSettings
    weeks: tuple[dt.date, ...]
    tables: tuple[str, ...] = RECORD_TABLES
    bulk_rows: int = attendance.BULK_ROWS
    """Rows of a new month from which on its partition is built apart."""

    @classmethod
    def of(cls, district: District, weeks: Iterable[dt.date], **options: Any) -> Job:
        url = district.engine.url.render_as_string(hide_password=False)
        return cls(url, district.raw, district.tenant, tuple(weeks), **options)

    def work(self, reach: Callable[[str], None]) -> None:
        """Do it in this process."""
        attendance.BULK_ROWS = self.bulk_rows
        engine = create_engine(self.url)
        work = Work(engine, self.tenant.name)
        for table in self.tables:
            archive_files(work, self.raw, self.tenant, table, self.weeks)
            reach(f"between archive and load of {table}")
            load_records(work, self.raw, self.tenant, table, self.weeks)
            reach(f"after the load of {table}")
        engine.dispose()


@dataclass(frozen=True)
class Command:
    """The `edupulse` command, as typed, in a process of its own."""

    words: tuple[str, ...]
    database_url: str

    def work(self, _reach: Callable[[str], None]) -> None:
        """Do it in this process; AssertionError unless it exits with 0."""
        from click.testing import CliRunner

        from edupulse_pipelines.cli import main

        done = CliRunner(env={"EDUPULSE_DATABASE_URL": self.database_url}).invoke(main, self.words)
        assert done.exit_code == 0, done.output


@dataclass
class Child:
    """A process that was started, and what it told."""

    process: Any
    log: Path

    def join(self) -> int:
        """Its exit code: 0 done, 1 an exception (see `told`), -9 killed."""
        self.process.join(PATIENCE_SECONDS)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
            raise AssertionError(f"the process did not end: {self.told}")
        return int(self.process.exitcode)

    @property
    def told(self) -> str:
        """The error that ended it, if one did."""
        error = self.log.with_suffix(".error")
        return error.read_text() if error.exists() else ""

    @property
    def points(self) -> list[str]:
        """The points that it came to."""
        return self.log.read_text().splitlines()


def start(job: Any, log: Path, *interruptions: Interruption, judge: Callable[..., Any] | None = None) -> Child:
    """Start a process that does the job; `judge` stands in for Great Expectations."""
    process = CONTEXT.Process(target=_run, args=(job, log, interruptions, judge))
    process.start()
    return Child(process, log)


def _run(job: Any, log: Path, interruptions: tuple[Interruption, ...], judge: Callable[..., Any] | None) -> None:
    if judge is not None:
        Expectations.judge = judge  # type: ignore[method-assign]
    with log.open("w", buffering=1) as stream:
        points = _Points(stream.write, interruptions)
        points.watch()
        try:
            job.work(points.reach)
        except BaseException as error:
            log.with_suffix(".error").write_text(f"{type(error).__name__}: {error}\n{traceback.format_exc()}")
            os._exit(1)
    os._exit(0)  # no goodbye: what a process does at its end is not what is tested


class _Points:
    """The points of this process's work, in order."""

    def __init__(self, tell: Callable[[str], Any], interruptions: tuple[Interruption, ...]) -> None:
        self._tell = tell
        self._interruptions = interruptions
        self._met: Counter[Interruption] = Counter()
        self._written: dict[int, list[str]] = {}

    def reach(self, name: str) -> None:
        self._tell(name + "\n")
        for interruption in self._interruptions:
            if re.search(interruption.pattern, name):
                self._met[interruption] += 1
                if self._met[interruption] == interruption.occurrence:
                    interruption.happen()

    def watch(self) -> None:
        """Have files, statements, streams and commits tell."""
        for name in ("replace", "rename", "link"):
            setattr(os, name, self._around(getattr(os, name), name))
        sa.event.listen(sa.Engine, "before_cursor_execute", self._before_statement)
        sa.event.listen(sa.Engine, "after_cursor_execute", self._after_statement)
        sa.event.listen(sa.pool.Pool, "connect", self._on_connect)
        commit, rollback = DefaultDialect.do_commit, DefaultDialect.do_rollback

        def do_rollback(dialect: Any, connection: Any) -> None:
            self._take_written(connection)
            rollback(dialect, connection)

        def do_commit(dialect: Any, connection: Any) -> None:
            written = self._take_written(connection)
            of = f" of {', '.join(dict.fromkeys(written))}" if written else ""
            self.reach(f"before COMMIT{of}")
            commit(dialect, connection)
            self.reach(f"after COMMIT{of}")

        DefaultDialect.do_commit = do_commit  # type: ignore[method-assign]
        DefaultDialect.do_rollback = do_rollback  # type: ignore[method-assign]

    def _take_written(self, connection: Any) -> list[str]:
        return self._written.pop(id(getattr(connection, "dbapi_connection", connection)), [])

    def _around(self, work: Callable[..., Any], name: str) -> Callable[..., Any]:
        def told(source: Any, target: Any, *arguments: Any, **options: Any) -> Any:
            kind = Path(target).suffix
            self.reach(f"before {name} of {kind}")
            result = work(source, target, *arguments, **options)
            self.reach(f"after {name} of {kind}")
            return result

        return told

    def _before_statement(
        self, connection: sa.Connection, _cursor: Any, statement: str, _parameters: Any, _context: Any, _many: bool
    ) -> None:
        self.reach(f"before {_named(statement)}")

    def _after_statement(
        self, connection: sa.Connection, _cursor: Any, statement: str, _parameters: Any, _context: Any, _many: bool
    ) -> None:
        name = _named(statement)
        verb, _, table = name.rpartition(" ")
        if verb and not verb.startswith("SELECT"):
            self.wrote(connection.connection.dbapi_connection, table)
        self.reach(f"after {name}")

    def wrote(self, connection: Any, table: str) -> None:
        """Remember for the commit that the table was written to; the record of changes goes with every table."""
        if table.startswith("audit_"):
            return
        self._written.setdefault(id(connection), []).append(table)

    def _on_connect(self, connection: Any, _record: Any) -> None:
        if isinstance(connection, psycopg2.extensions.connection):
            points = self

            class Cursor(psycopg2.extensions.cursor):
                """A cursor whose COPY tells."""

                def copy_expert(self, sql: Any, file: Any, size: int = 8192) -> None:
                    if "FROM STDIN" not in str(sql).upper():
                        super().copy_expert(sql, file, size)
                        return
                    name = _named(str(sql))
                    points.reach(f"before {name}")
                    super().copy_expert(sql, _ToldStream(file, lambda: points.reach(f"during {name}")), size)
                    points.wrote(self.connection, name.rpartition(" ")[2])
                    points.reach(f"after {name}")

            connection.cursor_factory = Cursor
        else:

            def at_row(statement: str) -> None:
                """The driver's executemany asks no one else: row by row."""
                name = _named(statement)
                if name.startswith(("INSERT", "UPDATE", "DELETE")):
                    self.wrote(connection, name.rpartition(" ")[2])
                    self.reach(f"at a row of {name}")

            connection.set_trace_callback(at_row)


class _ToldStream:
    """What COPY reads; tells each time that something of it has been read already."""

    def __init__(self, stream: Any, tell: Callable[[], None]) -> None:
        self._stream = stream
        self._tell = tell
        self._begun = False

    def read(self, size: int = -1) -> Any:
        if self._begun:
            self._tell()
        self._begun = True
        return self._stream.read(size)


def _named(statement: str) -> str:
    """`INSERT grades`: the statement's verb and its table, a part of a record table by the name of the table.

    Of a function of ours `CALL edupulse_month_make attendance_records`: all of them are about partitioned tables.
    """
    if called := re.match(r"\s*SELECT (edupulse_\w+)\(", statement):
        return f"CALL {called[1]} {next(iter(PARTITIONED))}"
    match = _STATEMENT.match(statement)
    if match is None:
        return " ".join(statement.split()[:1]).upper()
    verb = match[1].upper()
    verb = "SELECT" if verb.startswith("SELECT") else verb.removesuffix(" INTO").removesuffix(" FROM")
    table = match[2].rpartition(".")[2].lower()
    whole = next((name for name in metadata.tables if re.fullmatch(rf"{name}(_\w+)?", table)), table)
    return f"{verb} {whole}"


# What came of it


@dataclass
class State:
    """A district's tables without what differs from run to run: ids, moments, the run."""

    tables: dict[str, list[str]] = field(default_factory=dict)
    archive: list[str] = field(default_factory=list)


def state(engine: sa.Engine, raw: Path, tenant: str) -> State:
    """The state of every table of this tenant, and the names of the archived files.

    Without `step_accounts`, which say what each run has done: a run that was killed and the one after it are two. Nor
    with the record of changes, which says the same of each transaction.
    """
    with engine.connect() as connection:
        students = metadata.tables["students"]
        numbers = dict(connection.execute(sa.select(students.c.id, students.c.district_id)).tuples().all())
        predictions = metadata.tables["predictions"]
        query = sa.select(predictions.c.id, predictions.c.student_id, predictions.c.feature_date)
        numbers |= {row.id: f"{numbers.get(row.student_id)}, {row.feature_date}" for row in connection.execute(query)}
        tables = {}
        for table in metadata.sorted_tables:
            if "tenant_id" not in table.c or table.name == "step_accounts" or table.name.startswith("audit_"):
                continue
            rows = connection.execute(sa.select(table).where(table.c.tenant_id == tenant)).mappings()
            tables[table.name] = sorted(str(_lasting(row, numbers)) for row in rows)
    root = raw / tenant
    archive = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    return State(tables, archive)


_MOMENTS_THAT_TELL = ("loaded_at", "replayed_at", "superseded_at", "corrected_at")
"""When does not matter, whether does."""

_OF_ONE_RUN = ("id", "change_id", "tenant_id", "run_id", "replay_run_id", "landed_state")
"""These differ between two runs over copies of the same files."""


def _lasting(row: Any, numbers: dict[Any, str]) -> dict[str, Any]:
    lasting: dict[str, Any] = {}
    for name, value in row.items():
        if name in ("student_id", "prediction_id"):
            lasting[name] = numbers.get(value)
        elif name in _MOMENTS_THAT_TELL:
            lasting[name] = value is not None
        elif name not in _OF_ONE_RUN and not isinstance(value, dt.datetime):
            lasting[name] = value
    return lasting
