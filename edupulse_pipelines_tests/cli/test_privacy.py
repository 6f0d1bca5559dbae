"""`edupulse privacy`, as it is typed; and every command that the runbooks of `docs/privacy.md` tell people to type."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import sqlalchemy as sa

from edupulse_pipelines_tests.cli.house import House

PAGE = Path(__file__).parents[2] / "docs" / "privacy.md"


@pytest.fixture
def house(tmp_path: Path, database_url: str, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> House:
    return House(tmp_path, database_url, engine, monkeypatch)


def runbooks() -> list[list[str]]:
    """The commands of the runbooks of a student's data, in order, without `edupulse`."""
    text = PAGE.read_text(encoding="utf-8")
    text = text[text.index("### A parent asks") :]
    blocks = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line.startswith("edupulse ")]
    return [shlex.split(line)[1:] for line in lines]


def test_every_command_of_the_runbooks_does_what_it_is_told_for(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = [words for words in runbooks() if words[0] in ("privacy", "quarantine", "students")]
    assert {words[1] for words in asked} >= {"inspect", "disclosures", "erase", "hold", "holds", "release", "list"}
    said = {" ".join(words[:2]) + (" --execute" if "--execute" in words else ""): house(*words) for words in asked}
    assert (tmp_path / "for-the-family" / "index.html").is_file()
    assert (tmp_path / "what-is-held" / "index.html").is_file()
    assert "Would be erased" in said["privacy erase"].output
    assert "Erased:" in said["privacy erase --execute"].output
    assert "inspection" in said["privacy disclosures"].output
    assert house.district.rows("students", "district_id") == ["1002", "1003"]
    names = ("Ann", "Lee", "2010-01-01")
    assert not [name for name in names for result in said.values() if name in result.output]


def test_what_is_refused_is_said_and_changes_nothing(house: House) -> None:
    erase = ("privacy", "erase", "1001", "--reason", "asked", "--json")
    assert "two people" in house(*erase, "--execute", code=2).output
    house("privacy", "hold", "1001", "--reason", "a lawsuit")
    assert "1001" in house("privacy", "holds").output
    assert json.loads(house("privacy", "holds", "--json").stdout)["holds"][0]["in_force"]
    assert "legal hold" in house(*erase, "--approved-by", "another", "--execute", code=1).output
    house("privacy", "release", "1001")
    assert "not on hold" in house("privacy", "release", "1001", code=1).output
    assert "Nothing is held" in house("privacy", "erase", "2000", "--reason", "asked", code=1).output
    assert "Nothing was given out" in house("privacy", "disclosures").output
    assert len(house.district.rows("students", "district_id")) == 3


def test_the_places_are_told(house: House) -> None:
    told = json.loads(house("privacy", "places", "--json").stdout)["places"]
    assert [place["name"] for place in told][:2] == ["landing", "raw archive"]
    assert "raw archive" in house("privacy", "places").output


EXITS = (
    "district_id,first_name,last_name,date_of_birth,enrollment_date,exit_date,exit_type\n"
    "1001,Ann,Lee,2010-01-01,2020-09-01,2021-06-18,completed\n"
    "1002,Bertram,Ray,2010-01-02,2020-09-01,2021-06-18,\n1003,Cleo,Moss,2010-01-03,2020-09-01,,\n"
)


def test_retention_is_counted_and_taken_away_by_two_people(house: House) -> None:
    house.district.land(2, students=EXITS)
    house.district.run("students")
    assert "no period is set" in house("privacy", "retention").output
    with (house.home / "edupulse.toml").open("a", encoding="utf-8") as stream:
        stream.write("\n[tenants.north.retention]\nattendance_records = { completed = 3, otherwise = 4 }\n")
    house("privacy", "hold", "1002", "--reason", "a lawsuit")
    said = house("privacy", "retention").output
    assert "north: over on" in said and "of 1 students" in said and "students are on legal hold" in said
    told = json.loads(house("privacy", "retention", "--json").stdout)["tenants"]["north"]
    assert (told["over"], told["on_hold"]) == ({"attendance_records": {"students": 1, "rows": 1}}, 1)
    assert len(house.district.rows("attendance_records", "date")) == 2
    execute = ("privacy", "retention", "--execute")
    assert "--reason" in house(*execute, "--approved-by", "another", code=2).output
    assert "two people" in house(*execute, "--reason", "over", code=2).output
    assert len(house.district.rows("attendance_records", "date")) == 2
    taken = house(*execute, "--reason", "over", "--approved-by", "another", "--json")
    facts = json.loads(taken.stdout)
    assert facts["executed"] and facts["certificate"]["rows"]["attendance_records"] == 1
    assert json.loads(Path(facts["file"]).read_text(encoding="utf-8")) == facts["certificate"]
    assert house.district.rows("attendance_records", "district_id") == ["1002"]
    assert "Nothing is over" in house(*execute, "--reason", "over", "--approved-by", "another").output
    names = ("Ann", "Lee", "1001", "Bertram", "1002")
    assert not [name for name in names if name in said + taken.output]
