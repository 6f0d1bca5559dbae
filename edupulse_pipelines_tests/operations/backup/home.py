"""A home on SQLite with three students, an MLflow store and a model's file, for tests of backups."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa
from click.testing import CliRunner, Result

from edupulse_pipelines import cli
from edupulse_pipelines.settings import Settings, load_settings
from edupulse_pipelines.storage.engine import create_engine
from edupulse_pipelines_tests.cli.house import ATTENDANCE, STUDENTS
from edupulse_pipelines_tests.ingest.district import FIRST_WEEK, District
from edupulse_pipelines_tests.prepared import put_mlflow_store

MODEL = "mlflow/artifacts/north/1/models/m-1/artifacts/model.skops"


class BackedUp:
    """A home whose database is the SQLite file in it."""

    def __init__(self, home: Path) -> None:
        """The home at this path, which `make_home` made or which was copied from such a one."""
        self.home = home
        self.engine: sa.Engine = create_engine(f"sqlite:///{home / 'edupulse.db'}")
        landed = home / "north" / "landing"
        aside = landed.rename(home / "landed") if landed.exists() else None
        self.district = District(self.engine, home, name="north")
        if aside is not None:
            landed.rmdir()
            aside.rename(landed)

    @property
    def settings(self) -> Settings:
        """As they are read now."""
        return load_settings(home=self.home)

    @property
    def backups(self) -> Path:
        """Where moments lie."""
        return self.settings.backup_dir

    def set(self, more: str) -> None:
        """Write the settings, with `more` after them."""
        self.write(
            "edupulse.toml",
            f'[tenants.north]\ntimezone = "America/New_York"\nfirst_week = {FIRST_WEEK}\n'
            f'landing = "north/landing"\n{more}',
        )

    def write(self, name: str, content: str) -> Path:
        """Write a file of the home."""
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
        return path

    def __call__(self, *words: str, code: int = 0, home: Path | None = None) -> Result:
        """A command, which has to end with this code."""
        done = CliRunner().invoke(cli.main, [*words, "--home", str(home or self.home)])
        assert done.exit_code == code, (done.output, done.exception)
        assert "Traceback" not in done.output
        return done


def make_home(home: Path, template: Path) -> None:
    """Make the home from an empty database of this version: three students loaded, and a file that was refused."""
    home.mkdir()
    shutil.copy(template, home / "edupulse.db")
    put_mlflow_store(home / "mlflow" / "mlflow.db")
    made = BackedUp(home)
    made.write(MODEL, "a model")
    made.set("")
    made.district.land(1, students=STUDENTS, attendance_records=ATTENDANCE, grades=b"\xff\x00not a table")
    made.district.run("students", "attendance_records", "grades")
    made.engine.dispose()


def students(home: Path) -> list[str]:
    """The last names of the students in the database of a home."""
    with closing(sqlite3.connect(home / "edupulse.db")) as connection:
        return [name for (name,) in connection.execute("SELECT last_name FROM students ORDER BY 1")]


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its content."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def flip(path: Path) -> None:
    """Change one byte of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o600)
    path.write_bytes(bytes(data))
