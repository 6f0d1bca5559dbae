"""`edupulse privacy`, as it is typed; and every command that the runbooks of `docs/privacy.md` tell people to type."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from edupulse_pipelines.errors import ConfigurationError
from edupulse_pipelines.governance.disclosures import Circumstances
from edupulse_pipelines.schema.sqlalchemy_tables import metadata
from edupulse_pipelines.weeks import feature_date, last_closed_week
from edupulse_pipelines_tests.cli.house import House, load
from edupulse_pipelines_tests.conftest import Scene
from edupulse_pipelines_tests.ingest.district import STUDENT_HEADER
from edupulse_pipelines_tests.roles import roles_of

PAGE = Path(__file__).parents[2] / "docs" / "privacy.md"
EXITS = (
    "district_id,first_name,last_name,date_of_birth,enrollment_date,exit_date,exit_type\n"
    "1001,Ann,Lee,2010-01-01,2020-09-01,2021-06-18,completed\n"
    "1002,Bertram,Ray,2010-01-02,2020-09-01,2021-06-18,\n1003,Cleo,Moss,2010-01-03,2020-09-01,,\n"
)


@pytest.fixture
def scene() -> Scene:
    return load


@pytest.fixture
def house(tmp_path: Path, database_url: str, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> House:
    return House(tmp_path, database_url, engine, monkeypatch)


def commands(begin: str, end: str | None = None) -> list[list[str]]:
    """The commands of a part of the page, in order, without `edupulse`."""
    text = PAGE.read_text(encoding="utf-8")
    text = text[text.index(begin) : text.index(end) if end is not None else None]
    blocks = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    lines = [line.strip() for block in blocks for line in block.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith("edupulse ")]


def test_every_command_of_the_runbooks_does_what_it_is_told_for(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with (house.home / "edupulse.toml").open("a", encoding="utf-8") as stream:
        stream.write("\n[tenants.north.retention]\nattendance_records = { completed = 3, otherwise = 4 }\n")
    house.district.land(2, students=EXITS.replace("1001,Ann,Lee,2010-01-01,2020-09-01,2021-06-18,completed\n", ""))
    house.district.run("students")
    asked = commands("### A parent asks")
    named = {words[1] for words in asked}
    assert named >= {"inspect", "disclosures", "erase", "hold", "holds", "release", "retention", "list"}
    said = {" ".join(words[:2]) + (" --execute" if "--execute" in words else ""): house(*words) for words in asked}
    assert (tmp_path / "for-the-family" / "index.html").is_file()
    assert (tmp_path / "what-is-held" / "index.html").is_file()
    assert "Would be erased" in said["privacy erase"].output
    assert "Erased:" in said["privacy erase --execute"].output
    assert "of 1 students" in said["privacy retention"].output
    assert "Signed off:" in said["privacy retention --execute"].output
    assert "inspection" in said["privacy disclosures"].output
    assert house.district.rows("students", "district_id") == ["1002", "1003"]
    assert house.district.rows("attendance_records", "district_id") == []
    names = ("Ann", "Lee", "2010-01-01", "Bertram")
    assert not [name for name in names for result in said.values() if name in result.output]


def test_every_export_of_the_page_is_written(house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    people = "".join(f"2{number:03},First{number},Last{number},2010-01-01,9\n" for number in range(60))
    house.district.land(2, students=f"{STUDENT_HEADER},grade_level\n{people}")
    house.district.run("students")
    # The export counts in the last closed week, whenever that is.
    vectors, of = metadata.tables["student_features"], metadata.tables["students"].c
    with house.district.engine.begin() as connection:
        day = feature_date(last_closed_week(house.district.tenant.timezone))
        rows = connection.execute(sa.select(of.tenant_id, of.id.label("student_id"))).mappings().all()
        connection.execute(vectors.insert(), [{**row, "feature_date": day} for row in rows])
    asked = commands("## Research export", "## Runbooks")
    assert {option for words in asked for option in words} >= {"--research", "--aggregates"}
    for words in asked:
        assert words[:2] == ["privacy", "export"]
        house(*words)
        out = tmp_path / words[words.index("--out") + 1]
        assert (out / ("students.csv" if "--research" in words else "counts.csv")).is_file()
    assert len(json.loads(house("privacy", "disclosures", "--json").stdout)["disclosures"]) == len(asked)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_what_the_page_says_of_a_leak_ends_it(
    house: House, engine: sa.Engine, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = PAGE.read_text(encoding="utf-8")
    text = text[text.index("### A leak is suspected") : text.index("## Every change on record")]
    (statements,) = re.findall(r"```sql\n(.*?)```", text, re.DOTALL)
    with roles_of(engine, "north") as (names, urls):
        analyst = names.analyst("north")
        with (house.home / "edupulse.toml").open("a", encoding="utf-8") as stream:
            stream.write(f'[roles]\nprefix = "{names.prefix}"\n')
        monkeypatch.setenv("EDUPULSE_KEEPER_URL", database_url)
        with sa.create_engine(urls[analyst], poolclass=sa.NullPool).connect() as leak:
            assert leak.scalar(sa.text("SELECT count(*) FROM students")) == 3
            with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                for statement in statements.replace("edupulse_analyst_springfield", analyst).split(";"):
                    if statement.strip():
                        connection.exec_driver_sql(statement)
                connection.exec_driver_sql(f'GRANT UPDATE ON students TO "{analyst}"')
            with pytest.raises(sa.exc.OperationalError):
                leak.scalar(sa.text("SELECT count(*) FROM students"))
        asked = commands("### A leak is suspected", "## Every change on record")
        assert [words[:2] for words in asked] == [
            ["db", "check"],
            ["db", "roles"],
            ["privacy", "disclosures"],
            ["audit", "verify"],
        ]
        check, roles, disclosures, verify = asked
        assert "UPDATE on students" in " ".join(house(*check, code=1).output.split())
        house(*roles)
        house(*check)
        house(*disclosures)
        house(*verify)
        with pytest.raises(sa.exc.OperationalError, match="not permitted to log in"):
            sa.create_engine(urls[analyst]).connect()


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


def test_what_was_given_out_is_told_under_every_number_of_a_child_with_the_hash_of_each_file(
    house: House, tmp_path: Path
) -> None:
    house("privacy", "inspect", "1001", "--out", str(tmp_path / "before"))
    house("students", "merge", "1001", "1002", "--reason", "one child")
    house("privacy", "inspect", "1001", "--out", str(tmp_path / "after"))
    for number in ("1001", " 1002 "):
        told = json.loads(house("privacy", "disclosures", "--student", number, "--json").stdout)["disclosures"]
        assert len(told) == 2
    said = house("privacy", "disclosures", "--student", "1001").output
    digest = hashlib.sha256((tmp_path / "after" / "index.html").read_bytes()).hexdigest()
    assert f"  {digest}  index.html" in said.splitlines()
    assert re.search(r"\d\d:\d\d UTC  inspection", said)
    assert "Nothing was given out" in house("privacy", "disclosures", "--student", "1003").output


@pytest.mark.parametrize("option", ["--recipient", "--purpose", "--legal-basis"])
def test_who_gets_it_and_why_has_to_be_said(house: House, tmp_path: Path, option: str) -> None:
    out = tmp_path / "out"
    assert option in house("privacy", "inspect", "1001", "--out", str(out), option, " ", code=2).output
    given = {"recipient": "a parent", "purpose": "asked", "legal_basis": "a law"}
    for text in ("", " \n"):
        with pytest.raises(ConfigurationError, match=option):
            Circumstances(**given | {option[2:].replace("-", "_"): text})
    with pytest.raises(ConfigurationError, match="at most 255"):
        Circumstances(**given | {"recipient": "x" * 256})
    assert not out.exists()
    assert "Nothing was given out" in house("privacy", "disclosures").output


def test_a_reason_that_is_kept_has_to_be_said_and_the_command_for_it_can_be_typed(house: House) -> None:
    for words in (
        ("privacy", "hold", "1001", "--reason", " "),
        ("privacy", "erase", "1001", "--reason", ""),
        ("privacy", "erase", "1001", "--reason", "asked", "--approved-by", " ", "--execute"),
        ("students", "merge", "1001", "1002", "--reason", ""),
    ):
        assert "say something" in house(*words, code=2).output
    assert "Nobody is on hold" in house("privacy", "holds").output
    (line,) = re.findall(r"To erase: .*", house("privacy", "erase", "1001", "--reason", "asked").output)
    assert "--reason …" in line and "--approved-by …" in line


def test_whoever_reads_the_first_lines_only_gets_no_error(house: House) -> None:
    typed = (
        f"{shlex.quote(sys.executable)} -m edupulse_pipelines.cli privacy places --home {shlex.quote(str(house.home))}"
    )
    # The reader is gone before the first line is written.
    done = subprocess.run(["bash", "-c", f"{typed} | true"], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("", "")
