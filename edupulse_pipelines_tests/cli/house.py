"""A home with one district of three students, and what is typed there."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from edupulse_pipelines import cli
from edupulse_pipelines_tests.ingest.district import ATTENDANCE_HEADER, FIRST_WEEK, STUDENT_HEADER, District

STUDENTS = f"{STUDENT_HEADER}\n1001,Ann,Lee,2010-01-01\n1002,Bertram,Ray,2010-01-02\n1003,Cleo,Moss,2010-01-03\n"
ATTENDANCE = f"{ATTENDANCE_HEADER}\n1001,2025-09-02,present\n1002,2025-09-02,absent\n1003,2025-09-02,gone\n"


def load(engine: sa.Engine, home: Path) -> None:
    """What is in the home of a `House`: one delivery, loaded. As a `scene` it is loaded once."""
    district = District(engine, home, name="north")
    district.land(1, students=STUDENTS, attendance_records=ATTENDANCE)
    district.run("students", "attendance_records")


class House:
    """A home with one district of three students."""

    def __init__(self, home: Path, url: str, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        self.home = home
        monkeypatch.setenv("EDUPULSE_DATABASE_URL", url)
        self.district = District(engine, home, name="north")
        home.joinpath("edupulse.toml").write_text(
            f'[tenants.north]\ntimezone = "America/New_York"\nfirst_week = {FIRST_WEEK}\nlanding = "north/landing"\n',
            encoding="utf-8",
        )
        if not any(self.district.landing.iterdir()):
            load(engine, home)

    def __call__(self, *words: str, code: int = 0) -> Result:
        done = CliRunner().invoke(cli.main, [*words, "--home", str(self.home)])
        assert done.exit_code == code, done.output
        assert "Traceback" not in done.output
        return done
