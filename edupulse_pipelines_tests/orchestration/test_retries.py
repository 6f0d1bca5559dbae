"""Steps that fail for a passing reason are tried again, others are not; and who replaces the database is obeyed."""

from __future__ import annotations

import ast
import datetime as dt
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from dagster import DagsterInstance, ExecuteInProcessResult

from edupulse_pipelines import errors
from edupulse_pipelines.errors import (
    DatabaseBusy,
    EduPulseError,
    LandingError,
    PermanentError,
    RegistryUnavailable,
    TransientError,
)
from edupulse_pipelines.orchestration import retries
from edupulse_pipelines.orchestration.assembly import build_defs
from edupulse_pipelines.orchestration.jobs import training_job_name, weekly_job_name
from edupulse_pipelines.orchestration.maintenance import MAINTENANCE
from edupulse_pipelines.orchestration.partitions import asset_key
from edupulse_pipelines.orchestration.resources import Database
from edupulse_pipelines.settings import Settings, TenantSettings
from edupulse_pipelines.storage.engine import create_engine
from edupulse_pipelines.storage.work import Work
from edupulse_pipelines_tests.orchestration.conftest import settings_of, tenant_of

WEEK = dt.date(2026, 1, 5)
TRIES = 1 + retries.TRIES_AFTER_THE_FIRST


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    return settings_of(tmp_path, tenant_of(tmp_path)).model_copy(update={"database_url": database_url})


def _land(tenant: TenantSettings) -> None:
    folder = tenant.landing / "2026-01-12"
    folder.mkdir(parents=True)
    (folder / "students.csv").write_text(
        "district_id,first_name,last_name,date_of_birth\nZQ1,ZQ,ZQ,2010-01-01\n", encoding="utf-8"
    )


def _students(settings: Settings, **resources: Any) -> ExecuteInProcessResult:
    """A run of `raw_students` and `students`."""
    tenant = settings.tenants["open-university"]
    job = build_defs(settings, **resources).resolve_job_def(weekly_job_name(tenant))
    with DagsterInstance.ephemeral() as instance:
        return job.execute_in_process(
            instance=instance,
            asset_selection=[asset_key(tenant, "raw_students"), asset_key(tenant, "students")],
            partition_key=WEEK.isoformat(),
            raise_on_error=False,
        )


def _events(result: ExecuteInProcessResult, kind: str) -> list[Any]:
    return [event for event in result.all_events if event.event_type_value == kind]


@contextmanager
def _gate(database_url: str, refused: int) -> Iterator[str]:
    """The URL of a way to the PostgreSQL server that is cut after a few words for the first `refused` connections."""
    target = sa.engine.make_url(database_url)
    folder = target.query.get("host") or target.host
    tried = 0

    class Way(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            import socket

            nonlocal tried
            tried += 1
            if tried <= refused:
                return
            if str(folder).startswith("/"):
                server = socket.socket(socket.AF_UNIX)
                server.connect(f"{folder}/.s.PGSQL.{target.port or 5432}")
            else:
                server = socket.create_connection((str(folder), target.port or 5432))
            back = threading.Thread(target=_pour, args=(server, self.request), daemon=True)
            back.start()
            _pour(self.request, server)
            back.join()

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Way) as gate:
        gate.daemon_threads = True
        threading.Thread(target=gate.serve_forever, daemon=True).start()
        port = gate.server_address[1]
        yield target.set(host="127.0.0.1", port=port, query={}).render_as_string(hide_password=False)
        gate.shutdown()


def _pour(source: Any, sink: Any) -> None:
    import socket

    try:
        while piece := source.recv(1 << 16):
            sink.sendall(piece)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


class Away(Database):
    """A SQLite file that is not there (a folder stands in its place) until it has been asked for some times."""

    def __init__(self, path: Path, refused: int) -> None:
        super().__init__(f"sqlite:///{path}")
        self._path, self._away = path, path.with_suffix(".away")
        self._left = refused
        path.rename(self._away)
        path.mkdir()

    @contextmanager
    def work(self, tenant: str, run_id: str | None = None, actor: str | None = None) -> Iterator[Work]:
        """Fails until the file is back."""
        if self._left == 0 and self._away.exists():
            self._path.rmdir()
            self._away.rename(self._path)
        self._left -= 1
        with super().work(tenant, run_id, actor) as work:
            yield work


@contextmanager
def _coming_back(database_url: str, refused: int) -> Iterator[Database]:
    if database_url.startswith("sqlite"):
        yield Away(Path(database_url.removeprefix("sqlite:///")), refused)
        return
    with _gate(database_url, refused) as url:
        yield Database(url)


def test_a_database_that_comes_back_is_waited_for(settings: Settings) -> None:
    tenant = settings.tenants["open-university"]
    _land(tenant)
    with _coming_back(settings.database_url, refused=2) as database:
        result = _students(settings, database=database)
    assert result.success
    again = _events(result, "STEP_UP_FOR_RETRY")
    assert len(again) == 2
    assert all("does not answer" in str(event.step_retry_data.error) for event in again)
    assert all(check.passed for check in result.get_asset_check_evaluations())
    engine = create_engine(settings.database_url)
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM students")) == 1
    engine.dispose()


def test_a_database_that_stays_away_is_given_up(settings: Settings) -> None:
    with _coming_back(settings.database_url, refused=100) as database:
        result = _students(settings, database=database)
    assert not result.success
    (failed,) = [event for event in result.all_events if event.is_step_failure]
    assert "does not answer" in failed.step_failure_data.user_failure_data.description
    assert len(_events(result, "STEP_UP_FOR_RETRY")) == retries.TRIES_AFTER_THE_FIRST


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("error", "tries"),
    [
        (LandingError("the folder is gone"), 1),
        (RegistryUnavailable("MLflow does not answer"), TRIES),
        (KeyError("Ada Lovelace"), 1),
    ],
)
def test_only_what_may_pass_is_tried_again(
    settings: Settings, error: Exception, tries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edupulse_pipelines.ingest import load

    asked = 0

    def broken(*_: object, **__: object) -> None:
        nonlocal asked
        asked += 1
        raise error

    monkeypatch.setattr(load, "load_records", broken)
    _land(settings.tenants["open-university"])
    result = _students(settings)
    assert not result.success
    assert asked == tries
    assert not any("Ada" in str(event) for event in result.all_events)
    # A check that has no answer says so once, after the last try.
    unanswered = sorted(check.check_name for check in result.get_asset_check_evaluations() if not check.passed)
    assert unanswered == sorted(set(unanswered))
    assert {"accounting_identity", "expectations"} <= set(unanswered)


def test_what_an_earlier_try_has_merged_is_counted_as_the_runs(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edupulse_pipelines.ingest import load

    merge = load.load_records
    failures = [DatabaseBusy("a lock was not had in time")]

    def interrupted(*arguments: Any, **options: Any) -> Any:
        report = merge(*arguments, **options)
        if failures:
            raise failures.pop()
        return report

    monkeypatch.setattr(load, "load_records", interrupted)
    _land(settings.tenants["open-university"])
    result = _students(settings)
    assert result.success
    assert len(_events(result, "STEP_UP_FOR_RETRY")) == 1
    (event,) = result.asset_materializations_for_node("open_university__students")
    counts = {name: event.metadata[f"run_{name}"].value for name in ("read", "inserted", "unchanged", "quarantined")}
    assert counts == {"read": 1, "inserted": 1, "unchanged": 0, "quarantined": 0}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_run_that_failed_in_a_step_is_not_run_again(settings: Settings) -> None:
    tenant = settings.tenants["open-university"]
    defs = build_defs(settings)
    for name in (weekly_job_name(tenant), training_job_name(tenant), MAINTENANCE):
        assert defs.resolve_job_def(name).tags["dagster/retry_on_asset_or_op_failure"] == "false"


def test_every_error_is_of_one_kind() -> None:
    kinds = [
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, EduPulseError) and value is not EduPulseError
    ]
    assert len(kinds) > 2
    for kind in kinds:
        assert issubclass(kind, PermanentError) != issubclass(kind, TransientError), kind


def test_every_raise_says_its_kind() -> None:
    package = Path(errors.__file__).parent
    unsaid = [
        f"{path.relative_to(package)}:{node.lineno}"
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Raise)
        and isinstance(node.exc, ast.Call)
        and ast.unparse(node.exc.func) in {"EduPulseError", "errors.EduPulseError"}
    ]
    assert unsaid == []


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_schedule_looks_into_the_database_it_is_given(settings: Settings, tmp_path: Path) -> None:
    from dagster import build_schedule_context

    tenant = settings.tenants["open-university"]
    _land(tenant)
    elsewhere = settings.model_copy(update={"database_url": f"sqlite:///{tmp_path / 'nowhere' / 'x.db'}"})
    database = Database(settings.database_url)
    repository = build_defs(elsewhere, database=database).get_repository_def()
    schedule = repository.get_schedule_def(f"{weekly_job_name(tenant)}_schedule")
    tick = dt.datetime(2026, 1, 19, 7, tzinfo=dt.UTC)
    with build_schedule_context(
        scheduled_execution_time=tick, repository_def=repository, resources={"database": database}
    ) as context:
        [request] = schedule.evaluate_tick(context).run_requests
    assert request.partition_key is None  # the delivery of the week before is late
    assert not (tmp_path / "nowhere").exists()
