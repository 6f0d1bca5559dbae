"""`edupulse quarantine …` as an engineer types it, on both databases: look, mend, replay."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from edupulse_pipelines import cli
from edupulse_pipelines.storage.engine import create_engine, writing
from edupulse_pipelines_tests import forked
from edupulse_pipelines_tests.conftest import Scene
from edupulse_pipelines_tests.ingest.district import FIRST_WEEK, SECRET, STUDENT_HEADER, District

STUDENTS = f"{STUDENT_HEADER}\nZQ1,ZQ,ZQ,2010-02-03\nZQ2,ZQ,ZQ,2010-02-04\n"
DAYS = """district_id,date,status,note
ZQ1,2025-09-02,present,
ZQ1,2025-09-03,here,ZQ\x1b[2J
ZQ3,2025-09-03,absent,
ZQ2,2025-09-04,absent
"""


class House:
    """A home with one district, whose attendance file left three of its four rows in quarantine."""

    def __init__(self, home: Path, url: str, engine: sa.Engine) -> None:
        self.home = home
        self.url = url
        self.district = District(engine, home, name="north")
        self.toml = home / "edupulse.toml"
        self.toml.write_text(self.tenant("north"), encoding="utf-8")

    @staticmethod
    def tenant(name: str, more: str = "") -> str:
        return (
            f'[tenants.{name}]\ntimezone = "America/New_York"\nfirst_week = {FIRST_WEEK}\n'
            f'landing = "{name}/landing"\n{more}'
        )

    def __call__(self, *words: object, code: int = 0) -> Result:
        done = CliRunner(env={"EDUPULSE_DATABASE_URL": self.url}).invoke(
            cli.main, ["quarantine", *map(str, words), "--home", str(self.home)]
        )
        assert done.exit_code == code, done.output
        assert "Traceback" not in done.output
        return done

    def json(self, *words: object, code: int = 0) -> dict[str, Any]:
        return json.loads(self(*words, "--json", code=code).stdout.splitlines()[-1])

    def days(self) -> list[tuple[str, str, str]]:
        rows = self.district.rows("attendance_records", "district_id", "date", "status")
        return [(number, str(day), status) for number, day, status in rows]


def _load(engine: sa.Engine, folder: Path) -> None:
    district = District(engine, folder, name="north")
    district.land(1, students=STUDENTS, attendance_records=DAYS)
    district.run("students", "attendance_records")


@pytest.fixture
def scene() -> Scene:
    return _load


@pytest.fixture
def house(tmp_path: Path, database_url: str, engine: sa.Engine) -> House:
    return House(tmp_path, database_url, engine)


def mend(path: Path, **by_line: dict[str, str]) -> Path:
    """Change cells of an exported CSV: `line_3={"status": "present"}` is the row of line 3 of its file."""
    with path.open(encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        row.update(by_line.get(f"line_{row['_line']}", {}))
    with path.open("w", encoding="utf-8", newline="") as stream:
        sheet = csv.DictWriter(stream, rows[0])
        sheet.writeheader()
        sheet.writerows(rows)
    return path


MENDED: dict[str, dict[str, str]] = {
    "line_3": {"status": "tardy"},
    "line_4": {"district_id": "ZQ2"},
    "line_5": {"_raw_line": "ZQ2,2025-09-04,absent,"},
}


def test_list_counts_by_table_reason_and_file_and_says_what_to_do(house: House) -> None:
    said = house("list").output
    for words in ("3 rows", "values:status", "2025-09-08/attendance_records.csv", "not one of those", "profile"):
        assert words in said
    assert SECRET not in said
    assert "unknown_student" not in house("list", "--reason", "values").output
    found = house.json("list")
    assert (found["tenant"], found["open"]) == ("north", 3)
    assert {tuple(row["reasons"]): row["open"] for row in found["rows"]} == {
        ("too_few_fields",): 1,
        ("unknown_student",): 1,
        ("values:status",): 1,
    }
    assert set(found["reasons"]["values:status"]) == {"meaning", "fix", "heals"}


def test_show_gives_values_to_who_asks_for_them_alone(house: House) -> None:
    assert "Say which rows" in house("show", "--values", code=2).output
    for hidden in (house("show"), house("show", "--reason", "values", "--no-values"), house("show", "--json")):
        assert SECRET not in hidden.output
        assert "values:status" in hidden.output
    shown = house("show", "--values", "--file", "attendance_records.csv", "--line", 3).output
    assert "Student records" in shown
    assert "▸ status" in shown
    assert "ZQ1" in shown
    assert "\x1b" not in shown  # a value does not command the terminal
    assert "unknown_student" not in shown
    assert "1 of 3 rows" in house("show", "--limit", 1).output
    (row,) = house.json("show", "--values", "--line", 3)["rows"]
    assert row["raw"]["status"] == "here"
    assert house.json("show", row["id"])["matching"] == 1


def test_rows_are_exported_mended_and_replayed_with_a_trace(house: House) -> None:
    out = house.home / "mend"
    exported = house("export", "--out", out).output
    assert "quarantine replay --tenant north" in exported
    path = mend(out / "attendance_records.csv", **MENDED)
    assert house.json("replay", path, "--check")["corrections"] == {"read": 3, "corrected": 3, "unchanged": 0}
    assert house.json("list")["corrected"] == 0
    said = house("replay", path).output
    assert "3 corrections recorded" in said
    assert "run --tenant north" in said
    assert SECRET not in exported + said
    assert house.days() == [
        ("ZQ1", "2025-09-02", "present"),
        ("ZQ1", "2025-09-03", "tardy"),
        ("ZQ2", "2025-09-03", "absent"),
        ("ZQ2", "2025-09-04", "absent"),
    ]
    assert house.json("list")["open"] == 0
    (replay,) = house.json("list", "--all")["replays"]
    assert (replay["rows"], replay["corrected"]) == (3, 3)
    assert replay["run_id"].startswith("replay-")
    trace = house("show", "--all", "--line", 3, "--values").output
    assert "corrected to tardy" in trace
    assert replay["run_id"] in trace
    (manifest,) = [file for file in house.district.manifest() if file["table_name"] == "attendance_records"]
    assert (manifest["rows_inserted"], manifest["rows_quarantined"]) == (4, 0)
    assert house.district.marks("weekly_activity")  # the next run knows what to recompute
    assert "Nothing is in quarantine" in house("replay", path).output  # once more: no error, no change


def test_what_stays_is_said_with_its_reason_and_is_no_failure(house: House) -> None:
    house("export", "--out", house.home)
    path = mend(house.home / "attendance_records.csv", line_3={"status": "late"}, line_5=MENDED["line_5"])
    answer = house.json("replay", path)
    assert answer["corrections"] == {"read": 3, "corrected": 2, "unchanged": 1}
    assert answer["tables"] == {"attendance_records": {"tried": 3, "loaded": 1, "still_quarantined": 2}}
    assert answer["still"] == {"attendance_records": {"unknown_student": 1, "values:status": 1}}
    again = house("replay", "--table", "attendance_records").output
    assert "values:status 1" in again
    assert "not one of those" in again


def test_a_mended_rule_frees_the_rows_without_any_file(house: House) -> None:
    house.toml.write_text(
        house.tenant("north", '[tenants.north.profile.codes.attendance_records.status]\nhere = "present"\n'),
        encoding="utf-8",
    )
    assert house.json("replay")["tables"]["attendance_records"]["loaded"] == 1
    assert ("ZQ1", "2025-09-03", "present") in house.days()


def test_one_line_that_cannot_be_taken_stops_the_replay(house: House) -> None:
    out = house.home / "rows.csv"
    house("export", "--out", out, "--table", "attendance_records")
    mend(out, line_3={"status": "tardy"}, line_4={"_file": "2025-09-15/attendance_records.csv"})
    said = house("replay", out, code=1).output
    assert "rows.csv line 3: changed_identity" in said
    assert "Nothing was recorded" in said
    assert house.json("list")["corrected"] == 0
    assert len(house.days()) == 1
    assert "is there already" in house("export", "--out", out, code=1).output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["list", "--table", "predictions"], "Invalid value"),
        (["list", "--tenant", "south"], "there are: north"),
        (["show", "ZQ"], "Invalid value"),
        (["export"], "--out"),
        (["replay", "missing.csv"], "does not exist"),
        (["replay", "--check"], "needs the files"),
    ],
)
def test_wrong_usage(house: House, words: list[str], said: str) -> None:
    assert said in house(*words, code=2).output


def test_of_several_tenants_one_is_named(house: House) -> None:
    with house.toml.open("a", encoding="utf-8") as toml:
        toml.write(house.tenant("south"))
    both = house("list").output
    assert "north  3 rows" in both
    assert "south  0 rows" in both
    for words in (["list", "--json"], ["show"], ["export", "--out", "x"], ["replay"]):
        assert "--tenant" in house(*words, code=2).output
    assert house.json("export", "--out", house.home / "none", "--tenant", "south")["files"] == {}
    house("export", "--out", house.home / "rows.csv", "--tenant", "north")
    assert "other_tenant" in house("replay", house.home / "rows.csv", "--tenant", "south", code=1).output


def test_an_empty_postgresql_database_is_an_error_that_names_the_command(tmp_path: Path, postgresql_url: str) -> None:
    house = House(tmp_path, postgresql_url, engine=None)  # type: ignore[arg-type]
    for words in (["list"], ["list", "--json"], ["show"], ["export", "--out", tmp_path / "out"], ["replay"]):
        assert "The database is empty: run `edupulse db upgrade` first" in house(*words, code=1).output
    models = CliRunner(env={"EDUPULSE_DATABASE_URL": postgresql_url}).invoke(
        cli.main, ["model", "list", "--home", str(tmp_path)]
    )
    assert (models.exit_code, "run `edupulse db upgrade` first" in models.output) == (1, True)
    engine = create_engine(postgresql_url)
    assert sa.inspect(engine).get_table_names() == []
    engine.dispose()


@pytest.mark.parametrize("empty_database_url", ["sqlite"], indirect=True)
def test_an_empty_file_has_no_quarantine_and_stays_empty(
    tmp_path: Path, empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = House(tmp_path, empty_database_url, engine=None)  # type: ignore[arg-type]
    assert house.json("list")["open"] == 0
    assert "No row" in house("show").output
    assert "nothing was written" in house("export", "--out", tmp_path / "out").output
    assert "Nothing is in quarantine" in house("replay").output
    (tmp_path / "rows.csv").write_text("_quarantine_id,_file,_line\n", encoding="utf-8")
    assert "nothing has been loaded" in house("replay", tmp_path / "rows.csv", code=1).output
    engine = create_engine(empty_database_url)
    assert sa.inspect(engine).get_table_names() == []
    engine.dispose()
    house.toml.unlink()
    assert "no tenant" in house("list", code=2).output


def test_two_replays_at_once_load_every_row_once(house: House) -> None:
    house("export", "--out", house.home)
    path = mend(house.home / "attendance_records.csv", **MENDED)
    environment = {**os.environ, "EDUPULSE_DATABASE_URL": house.url}
    command = ("quarantine", "replay", path, "--json", "--home", house.home)
    both = [forked.edupulse(*command, environment=environment) for _ in range(2)]
    answers = []
    for ended in [replay.finish() for replay in both]:
        assert ended.returncode == 0, ended.stderr
        answers.append(json.loads(ended.stdout.splitlines()[-1]))
    assert sum(count["loaded"] for answer in answers for count in answer["tables"].values()) == 3
    assert len(house.days()) == 4
    assert house.json("list", "--all")["open"] == 0


def test_a_locked_database_is_said(
    house: House, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    if engine.dialect.name != "sqlite":
        pytest.skip("PostgreSQL waits for a row, not for the database")
    house("export", "--out", house.home)
    path = mend(house.home / "attendance_records.csv", **MENDED)
    monkeypatch.setattr("edupulse_pipelines.storage.engine.LOCK_TIMEOUT_SECONDS", 0.1)
    with writing(engine):
        assert house.json("list")["open"] == 3  # reading does not wait
        assert "locked" in house("replay", path, code=1).output
    assert house.json("replay", path)["corrections"]["corrected"] == 3


def _drop(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE quarantined_records")


def _another_version(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")


@pytest.mark.parametrize(("harm", "said"), [(_drop, "refused a statement"), (_another_version, "db upgrade")])
def test_a_database_that_is_not_ours_is_said_in_words(
    house: House, engine: sa.Engine, harm: Callable[[sa.Engine], None], said: str
) -> None:
    harm(engine)
    assert said in house("list", code=1).output
