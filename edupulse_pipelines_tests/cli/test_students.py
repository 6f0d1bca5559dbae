"""What a person decides, as it is typed: `quarantine accept`, `students …`, `run --accept-removals`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from edupulse_pipelines import cli
from edupulse_pipelines.cli.weekly_job import accept_removals, planned_weeks
from edupulse_pipelines.errors import LandingError
from edupulse_pipelines.settings import load_settings
from edupulse_pipelines.storage import snapshots
from edupulse_pipelines_tests.ingest.district import FIRST_WEEK, District, delivery_day
from edupulse_pipelines_tests.ingest.test_identity import ANNA, ZED, attendance, students


class House:
    """A home with one district."""

    def __init__(self, home: Path, url: str, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        self.home = home
        monkeypatch.setenv("EDUPULSE_DATABASE_URL", url)
        self.district = District(engine, home, name="north")
        home.joinpath("edupulse.toml").write_text(
            f'[tenants.north]\ntimezone = "America/New_York"\nfirst_week = {FIRST_WEEK}\nlanding = "north/landing"\n',
            encoding="utf-8",
        )

    def __call__(self, *words: object, code: int = 0) -> Result:
        done = CliRunner().invoke(cli.main, [*map(str, words), "--home", str(self.home)])
        assert done.exit_code == code, done.output
        assert "Traceback" not in done.output
        return done


@pytest.fixture
def house(tmp_path: Path, database_url: str, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> House:
    return House(tmp_path, database_url, engine, monkeypatch)


def test_a_row_is_accepted_and_what_waited_for_it_is_loaded(house: House) -> None:
    house.district.land(1, students=students(f"1005,{ANNA}".replace("ZQ", "")))
    house.district.land(
        2, students=students(f"1005,{ZED}".replace("ZQ", "")), attendance_records=attendance("1005", "2025-09-09")
    )
    house.district.run("students", "attendance_records")
    assert "--file" in house("quarantine", "accept", "--because", "adopted", code=2).output
    assert "matches" in house("quarantine", "accept", "--file", "x.csv", "--because", "adopted", code=1).output
    told = house(
        "quarantine", "accept", "--file", "2025-09-15/students.csv", "--line", 2, "--because", "adopted", "--json"
    ).output
    assert "zed" not in told
    facts = json.loads(told.splitlines()[-1])
    assert (facts["accepted"], facts["still"]) == (1, {})
    assert {table: count["loaded"] for table, count in facts["tables"].items()} == {
        "students": 1, "attendance_records": 1
    }  # fmt: skip
    assert house.district.quarantine() == []
    assert house.district.rows("students", "first_name") == ["zed"]
    assert len(house.district.rows("attendance_records", "date")) == 1


def test_two_numbers_are_joined_listed_and_parted(house: House) -> None:
    house.district.land(1, students=students(f"0012,{ANNA}".replace("ZQ", ""), f"12,{ANNA}".replace("ZQ", "")))
    house.district.run("students")
    assert "0012, 12: the same names and date of birth" in house("students", "list").output
    assert "--reason" in house("students", "merge", 12, "0012", code=2).output
    house("students", "merge", 12, "0012", "--reason", "a spreadsheet")
    listed = json.loads(house("students", "list", "--json").stdout.splitlines()[-1])
    assert [(one["old"], one["new"], one["reason"]) for one in listed["joined"]] == [("12", "0012", "a spreadsheet")]
    assert listed["alike"] == []
    parted = json.loads(house("students", "unmerge", 12, "--json").stdout.splitlines()[-1])
    assert parted["done"] == "parted"
    assert "run --tenant north --all" in parted["next"]
    assert "joined to no other" in house("students", "unmerge", 12, code=1).output
    assert house.district.rows("students", "deleted_on") == [None, None]


def test_removals_are_accepted_by_the_date_of_a_delivery(house: House) -> None:
    house.district.land(1, students=students(f"1005,{ANNA}".replace("ZQ", "")))
    house.district.land(3, students=students(f"1005,{ANNA}".replace("ZQ", "")))
    settings = load_settings(home=house.home)
    tenant = settings.tenant("north")
    with pytest.raises(LandingError, match="no delivery of 2025-09-15"):
        accept_removals(settings, tenant, [delivery_day(2)])
    accept_removals(settings, tenant, [delivery_day(3), delivery_day(3)])
    with house.district.work.reading() as connection:
        assert snapshots.accepted_deliveries(connection, house.district.work) == {delivery_day(3)}
    # The week of the delivery is run, whatever other week is asked for.
    plan = planned_weeks(tenant, week=FIRST_WEEK, every_week=False, accepted=[delivery_day(3)])
    assert (plan.weeks[0], len(plan.weeks)) == (FIRST_WEEK, 3)
    assert "is not a date" in house("run", "--accept-removals", "soon", code=2).output
