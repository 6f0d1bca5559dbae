"""The record of changes, as it is asked for: `audit verify`, `history`, `changes`, `retire`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from edupulse_pipelines.cli import main
from edupulse_pipelines.storage.work import Work
from edupulse_pipelines_tests.cli.test_students import House, house  # noqa: F401 - a fixture
from edupulse_pipelines_tests.ingest.test_identity import ANNA, attendance, students


def test_the_record_is_verified_and_read(house: House, engine: sa.Engine) -> None:  # noqa: F811
    house.district.land(1, students=students(f"1005,{ANNA}"), attendance_records=attendance("1005", "2025-09-02"))
    house.district.run("students", "attendance_records")
    with Work(engine, "north", run_id="run-7", actor="ada").writing() as connection:
        connection.execute(sa.text("UPDATE students SET gpa = 3.25"))
    whole = json.loads(house("audit", "verify", "--json").output.splitlines()[-1])
    assert whole["findings"] == [] and whole["links"] == int(whole["head"].partition(":")[0])
    assert "as recorded" in house("audit", "verify", "--anchor", whole["head"], "--table", "students").output
    assert "is no anchor" in house("audit", "verify", "--anchor", "7", code=2).output
    told = house("audit", "history", "students", "--key", "1005", "--column", "gpa", "--json").output
    (versions,) = json.loads(told.splitlines()[-1])["records"].values()
    assert [version["values"] for version in versions] == [{"gpa": 2.0}, {"gpa": 3.25}]
    assert (versions[1]["by"], versions[1]["run"]) == ("ada", "run-7")
    assert versions[1]["differences"] == {"gpa": {"before": 2.0, "after": 3.25}}
    days = house("audit", "history", "attendance_records", "--student", "1005", "--date", "2025-09-02").output
    assert "status='absent'" in days
    assert "Nothing on record" in house("audit", "history", "students", "--key", "7", code=1).output
    assert "has no column" in house("audit", "history", "students", "--key", "7", "--column", "x", code=2).output
    changes = json.loads(house("audit", "changes", "--run", "run-7", "--json").output.splitlines()[-1])["changes"]
    assert {(change["by"], change["table"], change["rows"]) for change in changes} == {("ada", "students", 1)}
    operations = {"sqlite": ["replace", "write"], "postgresql": ["update"]}[engine.dialect.name]
    assert sorted(change["operation"] for change in changes) == operations
    shown = house("audit", "changes", "--run", "run-7").output
    assert "students" in shown
    assert [int(line.split()[0]) for line in shown.splitlines() if " rows" in line or " row" in line] == [
        one["change"] for one in changes
    ]
    assert "Nothing on record" in house("audit", "changes", "--run", "nobody-knows", code=1).output
    assert "No district sets `audit_years`" in house("audit", "retire").output
    config = house.home / "edupulse.toml"
    config.write_text(config.read_text(encoding="utf-8").replace("[tenants.north]", "[tenants.north]\naudit_years = 3"))
    kept = json.loads(house("audit", "retire", "--json").output.splitlines()[-1])
    assert (kept["executed"], kept["images"], kept["changes"], kept["last"]) == (False, {}, 0, None)
    assert "Say why" in house("audit", "retire", "--execute", code=2).output
    if engine.dialect.name == "sqlite":
        with engine.begin() as connection:
            connection.execute(sa.text("UPDATE students SET gpa = 4"))
        assert "students, change 0" in house("audit", "verify", code=1).output


def test_history_is_asked_by_what_a_person_knows(house: House) -> None:  # noqa: F811
    house.district.land(1, students=students(f"1005,{ANNA}"))
    house.district.run("students")
    house("privacy", "hold", "1005", "--reason", "a lawsuit")
    assert "a lawsuit" in house("audit", "history", "legal_holds", "--student", " 1005 ").output
    assert "students.csv" in house("audit", "history", "ingested_files", "--key", "students.csv").output
    assert "its id" in house("audit", "history", "quarantined_records", "--student", "1005", code=2).output
    assert "Nothing on record" in house("audit", "history", "model_metadata", "--key", "v1", code=1).output
    assert "computed from the records" in house("audit", "history", "student_features", "--key", "1", code=2).output
    assert ": empty" in house("audit", "history", "students", "--key", " 1005", "--column", "exit_date").output
    assert "1 rows" not in house("audit", "changes").output


@pytest.mark.parametrize("words", [("audit", "verify"), ("backup", "create"), ("run",)])
def test_a_home_that_is_not_there_is_not_made(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = CliRunner().invoke(main, [*words, "--home", str(tmp_path / "no" / "home")])
    assert done.exit_code in (1, 2)
    assert "There is no " in done.output
    assert not (tmp_path / "no").exists()
