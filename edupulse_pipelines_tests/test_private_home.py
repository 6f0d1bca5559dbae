"""Who may read what EduPulse writes: every file under a home is looked at, whatever the umask was."""

from __future__ import annotations

import grp
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from edupulse_pipelines.errors import ConfigurationError
from edupulse_pipelines.private_home import as_senders_write, keep_private
from edupulse_pipelines.settings import load_settings
from edupulse_pipelines.storage.engine import create_engine
from edupulse_pipelines_tests import forked
from edupulse_pipelines_tests.prepared import put_mlflow_store

STUDENTS = 29
"""In the delivery of `a_district`, beside the one with a bad row."""
TOML = '[tenants.north]\ntimezone = "UTC"\nfirst_week = 2026-01-05\n'


def modes(home: Path) -> dict[str, int]:
    """The mode of every file and folder by its path in the home."""
    return {
        str(path.relative_to(home)): stat.S_IMODE(path.lstat().st_mode)
        for path in sorted([home, *home.rglob("*")])
        if path.relative_to(home).parts[:1] not in (("landing",), ("edupulse.toml",))
    }


def wrong(home: Path, *, file: int, folder: int, of_home: int) -> dict[str, str]:
    """Every file and folder that EduPulse made and that has another mode than it should."""
    return {
        name: oct(mode)
        for name, mode in modes(home).items()
        if mode != (of_home if name == "." else folder if (home / name).is_dir() else file)
    }


def an_own_group() -> str:
    """A group other than this process's own that its user may give files to."""
    groups = {group for group in os.getgroups() if group != os.getegid()}
    if os.geteuid() == 0:
        groups |= {entry.gr_gid for entry in grp.getgrall() if entry.gr_gid != os.getegid()}
    for group in sorted(groups):
        try:
            return grp.getgrgid(group).gr_name
        except KeyError:
            continue
    pytest.skip("this user is in one group alone")


def a_district(home: Path, toml: str = TOML) -> None:
    """One delivery: rows of students, one bad one, and a file that is refused."""
    folder = home / "landing" / "north" / "2026-01-12"
    folder.mkdir(parents=True)
    rows = "1,Ada,Lovelace,2010-01-01\n2,Alan,Turing,2010-01-01\n" + "".join(
        f"{n},A,B,2010-01-01\n" for n in range(3, STUDENTS + 1)
    )
    (folder / "students.csv").write_text(f"district_id,first_name,last_name,date_of_birth\n{rows}99,A,B,never\n")
    (folder / "grades.csv").write_text("course_name\nAlgebra\n")
    (home / "edupulse.toml").write_text(toml)


def edupulse(home: Path, *words: str, umask: int) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("EDUPULSE_", "MLFLOW_"))}
    return forked.edupulse(*words, "--home", home, umask=umask, environment=environment).finish()


def test_a_home_is_for_its_owner_alone(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o777)
    a_district(home)
    senders = {path: path.stat().st_mode for path in (home / "landing").rglob("*")}
    ran = edupulse(home, "run", "--all", umask=0)
    assert ran.returncode == 1, ran.stdout + ran.stderr  # grades.csv
    found = modes(home)
    assert {"edupulse.db", "raw", "dagster/dagster.yaml", "dagster/history", "logs/run.log"} <= found.keys()
    assert any(name.endswith(".refused") for name in found)
    assert wrong(home, file=0o600, folder=0o700, of_home=0o711) == {}
    assert {path: path.stat().st_mode for path in (home / "landing").rglob("*")} == senders


def test_a_home_may_be_shared_with_a_group(tmp_path: Path) -> None:
    name = an_own_group()
    home = tmp_path / "home"
    home.mkdir()
    a_district(home, f'{TOML}[permissions]\ngroup = "{name}"\n')
    edupulse(home, "run", "--all", umask=0o077)
    assert (home / "edupulse.db").exists()
    assert wrong(home, file=0o660, folder=0o2770, of_home=0o2771) == {}
    group = grp.getgrnam(name).gr_gid
    assert {(home / path).lstat().st_gid for path in modes(home)} == {group}


def test_a_home_of_an_earlier_release_is_closed(tmp_path: Path) -> None:
    home = tmp_path / "home"
    made = [
        "raw/north/students/a.parquet",
        "dagster/history/runs.db",
        "mlflow/mlflow.db",
        "logs/run.log",
        "edupulse.db",
    ]
    for name in [*made, "edupulse.db-wal", "notes.txt", "landing/north/x.csv"]:
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(0o644)
    (home / "raw" / "link").symlink_to(home / "notes.txt")
    (home / "edupulse.toml").write_text(TOML)
    keep_private(load_settings(home=home))
    found = modes(home)
    assert {found.pop(name) for name in [*made, "edupulse.db-wal"]} == {0o600}
    assert (found.pop("."), found.pop("notes.txt")) == (0o711, 0o644)  # a person's own file stays as it is
    found.pop("raw/link")
    assert set(found.values()) == {0o700}
    assert stat.S_IMODE((home / "landing" / "north").stat().st_mode) == 0o755


@pytest.mark.parametrize(("before", "after"), [(0o777, 0o711), (0o755, 0o711), (0o750, 0o711), (0o700, 0o700)])
def test_others_may_only_pass_the_home(tmp_path: Path, before: int, after: int) -> None:
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(before)
    keep_private(load_settings(home=home))
    assert stat.S_IMODE(home.stat().st_mode) == after


def test_a_folder_shared_by_many_is_no_home_of_ours(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    keep_private(load_settings(home=tmp_path))
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o1777


@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
def test_what_libraries_write_and_what_stands_in_for_a_sender(tmp_path: Path, umask: int) -> None:
    os.umask(umask)
    home = tmp_path / "new" / "home"
    keep_private(load_settings(home=home), make=True)
    engine = create_engine(f"sqlite:///{home / 'edupulse.db'}")
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE t (i)")
        assert wrong(home, file=0o600, folder=0o700, of_home=0o711) == {}
        assert "edupulse.db-wal" in modes(home)
    engine.dispose()
    with as_senders_write():
        (home / "landing").mkdir()
    (home / "raw").mkdir()
    assert stat.S_IMODE((home / "landing").stat().st_mode) == 0o755
    assert stat.S_IMODE((home / "raw").stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("permissions", "words"),
    [
        ('group = "no such group"', r"\[permissions\] group: this machine knows no group 'no such group'"),
        ('group = ""', r"\[permissions\] group: .*at least 1 character"),
        ("group = 5", r"\[permissions\] group: .*string"),
        ('owner = "ada"', r"\[permissions\] owner: "),
    ],
)
def test_wrong_permissions_are_named(tmp_path: Path, permissions: str, words: str) -> None:
    (tmp_path / "edupulse.toml").write_text(f"{TOML}[permissions]\n{permissions}\n")
    with pytest.raises(ConfigurationError, match=words) as caught:
        keep_private(load_settings(home=tmp_path))
    assert caught.value.exit_code == 2


def test_every_process_that_dagster_starts_keeps_the_home_private(tmp_path: Path) -> None:
    """A bare `dagster dev` has made its files before it loads the definitions; they are closed then."""
    home = tmp_path / "home"
    (home / "landing" / "north").mkdir(parents=True)
    (home / "dagster" / "history").mkdir(parents=True)
    (home / "dagster" / "history" / "runs.db").touch(0o644)
    put_mlflow_store(home / "mlflow" / "mlflow.db")
    (home / "edupulse.toml").write_text(TOML)
    asked = subprocess.run(
        [sys.executable, "-c", "import os, edupulse_pipelines.definitions; print(oct(os.umask(0)))"],
        capture_output=True,
        text=True,
        check=True,
        umask=0o022,
        env={**os.environ, "EDUPULSE_HOME": str(home)},
    )
    assert asked.stdout.split()[-1] == "0o77"
    assert wrong(home, file=0o600, folder=0o700, of_home=0o711) == {}
