"""A full disk is one line that says which, whatever library noticed it; afterwards a run ends as if it had not been."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psycopg2.errors
import pytest
import sqlalchemy as sa

from edupulse_pipelines.errors import DatabaseUnavailable, DiskFull
from edupulse_pipelines.full_disk import full_disk_in_words
from edupulse_pipelines.orchestration.execution import run_weekly_job
from edupulse_pipelines.private_home import keep_private
from edupulse_pipelines.settings import load_settings
from edupulse_pipelines.storage.engine import create_engine, reachable
from edupulse_pipelines_tests import forked
from edupulse_pipelines_tests.test_private_home import STUDENTS, a_district, edupulse

SAID = "No space is left on the disk of "


def _oserror(number: int, *rest: object) -> OSError:
    return OSError(number, os.strerror(number), *rest)


class _Sqlite(sqlite3.OperationalError):
    sqlite_errorname = "SQLITE_FULL"


class _Postgres(psycopg2.errors.DiskFull):
    pgcode = "53100"


def _wrapped(error: BaseException) -> BaseException:
    """As SQLAlchemy, MLflow and Dagster do: in an error of their own, whose text says nothing."""
    try:
        try:
            raise sa.exc.OperationalError("INSERT", {}, error)
        except sa.exc.OperationalError as inner:
            raise RuntimeError("it failed") from inner
    except RuntimeError as outer:
        return outer


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (_oserror(errno.ENOSPC, "/srv/x/raw/a.parquet"), f"{SAID}/srv/x/raw."),
        (_oserror(errno.EDQUOT, "/srv/x/raw/a.parquet"), f"{SAID}/srv/x/raw."),
        (_oserror(errno.ENOSPC), f"{SAID}/srv/home."),
        (_Sqlite("Ada"), f"{SAID}/srv/home."),
        (_Postgres("Ada"), f"{SAID}the database server."),
        (_oserror(errno.EFBIG, "/srv/x/a"), "A file (/srv/x/a) has become as large as this system allows"),
    ],
)
@pytest.mark.parametrize("as_raised", [lambda error: error, _wrapped])
def test_every_error_of_a_full_disk_is_known(
    error: BaseException, said: str, as_raised: Callable[[BaseException], BaseException]
) -> None:
    words = full_disk_in_words(as_raised(error), [Path("/srv/home/edupulse.db").parent])
    assert words is not None
    assert words.startswith(said)
    assert "Ada" not in words
    assert "\n" not in words


@pytest.mark.parametrize("error", [RuntimeError("No space left on device"), _oserror(errno.EIO), MemoryError()])
def test_what_is_no_full_disk_is_not_called_one(error: BaseException) -> None:
    assert full_disk_in_words(error) is None
    assert full_disk_in_words(_wrapped(error)) is None


def test_a_cycle_of_causes_ends() -> None:
    first, second = RuntimeError(), RuntimeError()
    first.__context__, second.__context__ = second, first
    assert full_disk_in_words(first) is None


def test_sqlite_on_a_full_disk(small_disk: Callable[[int], Path]) -> None:
    folder = small_disk(256)
    engine = create_engine(f"sqlite:///{folder / 'x.db'}")
    with (
        pytest.raises(DiskFull, match=f"^{SAID}{folder}\\. Free some"),
        reachable(engine),
        engine.begin() as connection,
    ):
        connection.exec_driver_sql("CREATE TABLE t (x)")
        for _ in range(100):
            connection.exec_driver_sql("INSERT INTO t VALUES (zeroblob(10000))")
    engine.dispose()


def test_sqlite_that_does_not_answer_for_another_reason(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'x.db'}")
    (tmp_path / "x.db").unlink()
    (tmp_path / "x.db").mkdir()
    with pytest.raises(DatabaseUnavailable), reachable(engine), engine.connect():
        pass


def _tables(home: Path) -> dict[str, list[tuple[object, ...]]]:
    with closing(sqlite3.connect(home / "edupulse.db")) as database:
        return {
            name: database.execute(query).fetchall()
            for name, query in {
                "students": "SELECT district_id, first_name, delivered_on FROM students"
                " ORDER BY CAST(district_id AS INT)",
                "files": "SELECT file_name, status, rows_read, rows_inserted, rows_unchanged, rows_quarantined"
                " FROM ingested_files ORDER BY 1",
                "quarantine": "SELECT line_number, reasons FROM quarantined_records ORDER BY 1",
            }.items()
        }


def test_a_run_on_a_full_disk_says_so_in_one_line_and_the_next_ends_as_it_should(
    small_disk: Callable[[int], Path],
) -> None:
    """The disk grows from run to run: it is full before Dagster has a store, in the middle, and not any more."""
    folder = small_disk(100)
    a_district(folder)
    (folder / "landing" / "north" / "2026-01-12" / "grades.csv").unlink()
    for kib in (100, 1100):
        small_disk(kib)
        full = edupulse(folder, "run", "--all", umask=0o022)
        said = full.stdout + full.stderr
        assert full.returncode == 1, said
        assert "Traceback" not in said
        (line,) = [line for line in said.splitlines() if SAID in line]
        assert str(folder) in line
    small_disk(60_000)
    again = edupulse(folder, "run", "--all", umask=0o022)
    assert again.returncode == 0, again.stdout + again.stderr
    assert _tables(folder) == {
        "students": [
            (str(number), {1: "Ada", 2: "Alan"}.get(number, "A"), "2026-01-12") for number in range(1, STUDENTS + 1)
        ],
        "files": [("students.csv", "loaded", STUDENTS + 1, STUDENTS, 0, 1)],
        "quarantine": [(STUDENTS + 2, '["type:date_of_birth"]')],
    }


def test_a_limit_on_the_size_of_files(tmp_path: Path) -> None:
    """A cheap stand-in for a full disk, where nothing can be mounted: no write beyond so many bytes succeeds."""
    a_district(tmp_path)
    ran = forked.edupulse("run", "--all", "--home", tmp_path, largest_file=20_000).finish()
    assert ran.returncode == 1
    assert "Traceback" not in ran.stdout + ran.stderr


@pytest.mark.usefixtures("runs_in_memory")
def test_a_disk_that_is_full_in_every_step_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edupulse_pipelines.ingest import archive

    def full(*_: object, **__: object) -> None:
        raise _oserror(errno.ENOSPC, str(tmp_path / "raw" / "x.tmp"))

    monkeypatch.setattr(archive, "archive_files", full)
    a_district(tmp_path)
    settings = load_settings(home=tmp_path)
    keep_private(settings)
    (tenant,) = settings.tenants.values()
    outcome = run_weekly_job(settings, tenant, [tenant.first_week], [tenant.first_week])
    (error,) = outcome.errors
    assert error.startswith(f"{SAID}{tmp_path / 'raw'}. Free some")
