"""What is shown of a student: all of it, and nothing of another; on both databases."""

from __future__ import annotations

import csv
import datetime as dt
import json
import uuid
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from edupulse_pipelines.errors import PermanentError
from edupulse_pipelines.governance.disclosures import Circumstances, disclosures
from edupulse_pipelines.governance.holds import place, release
from edupulse_pipelines.governance.inspection import FOR_THE_DISTRICT, HELD_BACK, inspect
from edupulse_pipelines.ingest.joining import join
from edupulse_pipelines.schema.sqlalchemy_tables import metadata
from edupulse_pipelines.settings import ProfileSettings
from edupulse_pipelines.storage.erased import key_for
from edupulse_pipelines_tests.conftest import Scene
from edupulse_pipelines_tests.ingest.district import STUDENT_HEADER, District

CIRCUMSTANCES = Circumstances(recipient="a parent", purpose="asked", legal_basis="a law")
INCIDENTS = (
    "district_id,incident_date,severity_level,description,source_record_id\n"
    "1001,2025-09-02,2,Ann pushed Bertram in the hall,i1\n"
    "1001,2025-09-03,1,Ann came late,i2\n"
    "1002,2025-09-02,2,Bertram was pushed by Ann,i3\n"
)


def _load(engine: sa.Engine, folder: Path) -> None:
    made = District(engine, folder)
    students = f"{STUDENT_HEADER}\n1001,Ann,Lee,2010-01-01\n1002,Bertram,Ray,2010-01-02\n"
    made.land(1, students=students, discipline_incidents=INCIDENTS)
    made.land(2, students=f"{STUDENT_HEADER},=cmd\n1001,Ann,Lee,2010-01-01,=1+1\n1001,Ann,Leigh,2010-01-01,\n")
    made.run()


@pytest.fixture
def scene(request: pytest.FixtureRequest) -> Scene | None:
    return _load if "district" in request.fixturenames else None


@pytest.fixture
def district(engine: sa.Engine, tmp_path: Path) -> District:
    """Ann (1001) and Bertram (1002), each with incidents, one of which names both."""
    return District(engine, tmp_path)


def sheet(out: Path, name: str) -> list[dict[str, str]]:
    with out.joinpath(f"{name}.csv").open(encoding="utf-8-sig", newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_text_that_names_another_student_is_held_back_for_redaction(district: District, tmp_path: Path) -> None:
    out = tmp_path / "out"
    written = inspect(district.work, district.raw, district.tenant, " 1001 ", out, CIRCUMSTANCES)
    assert [row["description"] for row in sheet(out, "discipline_incidents")] == [HELD_BACK, "Ann came late"]
    assert [row["description"] for row in sheet(out, "delivered_discipline_incidents")] == [HELD_BACK, "Ann came late"]
    assert [row["text"] for row in sheet(out, "not-for-release/to-redact")] == ["Ann pushed Bertram in the hall"] * 2
    assert written.held_back == 2
    given = "".join(path.read_text(encoding="utf-8-sig") for path in out.glob("*.*"))
    assert not [word for word in ("Bertram", "Ray", "1002", "2010-01-02", "i3") if word in given]
    assert "Ann came late" in given
    with district.work.reading() as connection:
        (line,) = disclosures(connection, district.work)
    assert line.subject_hash == key_for(district.raw.parent, district.tenant.name).hash_of("student", "1001")
    assert not [name for name in line.files if "redact" in name]
    assert (line.recipient, line.counts["held_back"]) == ("a parent", 2)


def test_earlier_versions_are_shown_and_held_back_like_rows(district: District, tmp_path: Path) -> None:
    district.land(3, discipline_incidents=INCIDENTS.replace("pushed Bertram", "pushed him").replace("came", "was"))
    district.run()
    inspect(district.work, district.raw, district.tenant, "1001", tmp_path / "out", CIRCUMSTANCES)
    versions = [row for row in sheet(tmp_path / "out", "earlier_versions") if "incidents" in row["table_name"]]
    said = sorted(json.loads(row["row_as_it_was"])["description"] for row in versions)
    assert said == ["Ann came late", HELD_BACK] and all(row["until"] for row in versions)
    redact = [row["text"] for row in sheet(tmp_path / "out", "not-for-release/to-redact")]
    assert redact.count("Ann pushed Bertram in the hall") == 2  # as it was, and as it was delivered
    given = "".join(path.read_text(encoding="utf-8-sig") for path in tmp_path.joinpath("out").glob("*.*"))
    assert "Bertram" not in given and "1002" not in given


def test_rows_that_were_not_loaded_are_shown_with_the_reason_and_no_formula_runs(
    district: District, tmp_path: Path
) -> None:
    inspect(district.work, district.raw, district.tenant, "1001", tmp_path / "out", CIRCUMSTANCES)
    rows = sheet(tmp_path / "out", "quarantined_rows")
    assert len(rows) == 2
    assert all(row["why"] for row in rows)
    delivered = sheet(tmp_path / "out", "delivered_students")
    assert [row["=cmd"] for row in delivered] == ["", "'=1+1", ""]
    page = tmp_path.joinpath("out", "index.html").read_text(encoding="utf-8")
    assert "Given name." in page
    assert "default-src" in page


def test_who_is_not_there_is_not_shown_and_nothing_is_recorded(district: District, tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="Nothing is held"):
        inspect(district.work, district.raw, district.tenant, "1003", tmp_path / "out", CIRCUMSTANCES)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(PermanentError, match="not an empty folder"):
        inspect(district.work, district.raw, district.tenant, "1001", tmp_path / "full", CIRCUMSTANCES)
    assert not (tmp_path / "out").exists()
    with district.work.reading() as connection:
        assert disclosures(connection, district.work) == []


def test_the_record_of_disclosures_is_only_added_to(district: District, tmp_path: Path) -> None:
    inspect(district.work, district.raw, district.tenant, "1001", tmp_path / "out", CIRCUMSTANCES)
    for statement in ("UPDATE disclosures SET recipient = 'nobody'", "DELETE FROM disclosures"):
        with pytest.raises(sa.exc.DBAPIError), district.engine.begin() as connection:
            connection.execute(sa.text(statement))
    with district.work.reading() as connection:
        assert [line.recipient for line in disclosures(connection, district.work)] == ["a parent"]


HERS = "1001,Anna,Lee,2010-01-01,White,Blue,{}-01-02\n"
PROFILE = {"columns": {"students": {"Pupil No": "district_id", "Origin": "ethnicity", "Seen": "enrollment_date"}}}


def test_a_code_that_is_spelled_like_a_name_is_given_and_a_column_is_told_as_what_it_is_read(
    engine: sa.Engine, tmp_path: Path
) -> None:
    made = District(engine, tmp_path, profile=ProfileSettings.model_validate(PROFILE))
    header = "Pupil No,first_name,last_name,date_of_birth,Origin,house,Seen\n"
    made.land(1, students=f"{header}{HERS.format(2019)}1002,Grace,White,2010-01-02,,,\n1003,April,Blue,2010-01-03,,,\n")
    made.land(2, students=f"{header}{HERS.format(2019).replace('White', 'Asian')}")
    made.land(3, students=f"{header}{HERS.format('April')}")
    made.land(2, grades="district_id,submission_date,course_id,grade_letter\n1001,2025-09-03,White,April\n")
    made.run()
    out = tmp_path / "out"
    inspect(made.work, made.raw, made.tenant, "1001", out, CIRCUMSTANCES)
    assert [row["Origin"] for row in sheet(out, "delivered_students")] == ["White", "Asian", "White"]
    assert {row["house"] for row in sheet(out, "delivered_students")} == {HELD_BACK}  # nobody has said what it holds
    # What is no date although it should be one may be anything.
    assert [row["Seen"] for row in sheet(out, "delivered_students")] == ["2019-01-02", "2019-01-02", HELD_BACK]
    assert [row["course_id"] for row in sheet(out, "delivered_grades")] == ["White"]
    before = [json.loads(row["row_as_it_was"]) for row in sheet(out, "earlier_versions")]
    assert "White" in [row.get("ethnicity") for row in before]
    waiting = [json.loads(row["raw"]) for row in sheet(out, "quarantined_rows") if row["table_name"] == "students"]
    assert [row["Origin"] for row in waiting] and {row["Origin"] for row in waiting} <= {"White", "Asian"}
    assert {row["house"] for row in waiting} == {HELD_BACK}
    meanings = {row["column"]: row["meaning"] for row in sheet(out, "columns") if row["sheet"] == "delivered_students"}
    assert meanings["Pupil No"] == "The student's number within the district."
    assert meanings["Origin"].startswith("Ethnicity as recorded")
    assert "not read" in meanings["house"]
    grades = {row["column"]: row["meaning"] for row in sheet(out, "columns") if row["sheet"] == "delivered_grades"}
    assert grades["district_id"] == "The student's number within the district."


def test_why_numbers_were_joined_is_looked_at_as_a_text_of_people(district: District, tmp_path: Path) -> None:
    district.land(3, students=f"{STUDENT_HEADER}\n1003,Anne,Lee,2010-01-01\n")
    district.run("students")
    join(district.work, district.raw, district.tenant, "1003", "1001", "she is not Bertram")
    inspect(district.work, district.raw, district.tenant, "1001", tmp_path / "out", CIRCUMSTANCES)
    assert [row["reason"] for row in sheet(tmp_path / "out", "student_merges")] == [HELD_BACK]


def test_the_page_is_for_reading(district: District, tmp_path: Path) -> None:
    district.land(3, enrollments="district_id,school_id,entry_date\n1001,2,2025-09-01\n1001,3,2025-10-01\n")
    district.land(3, schools="school_id,name\n2,Riverside School\n3,\n")
    district.run("schools", "enrollments")
    with district.engine.begin() as connection:
        (ann,) = connection.scalars(sa.text("SELECT id FROM students WHERE district_id = '1001'"))
        queue = {"id": uuid.uuid4(), "stage": "weekly_activity", "week_start": dt.date(2025, 9, 1)}
        connection.execute(
            metadata.tables["pending_updates"]
            .insert()
            .values(tenant_id=district.tenant.name, student_id=uuid.UUID(str(ann)), **queue)
        )
    out = tmp_path / "out"
    inspect(district.work, district.raw, district.tenant, "1001", out, CIRCUMSTANCES)
    page = out.joinpath("index.html").read_text(encoding="utf-8")
    assert not [word for word in ("change id", "first delivered on", "record key", "NULL", "`") if word in page]
    assert "<code>quarantined_rows.csv</code>" in page and "2 (Riverside School)" in page
    (landing,) = [line for line in page.splitlines() if line.startswith("<dt>landing")]
    assert "Here: 2025-09-08, 2025-09-15, 2025-09-22." in landing
    assert not (out / "pending_updates.csv").exists()
    assert all("change_id" in sheet(out, name)[0] for name in ("students", "enrollments"))


def test_of_a_hold_the_reason_and_who_placed_it_wait_for_the_district_to_decide(
    district: District, tmp_path: Path
) -> None:
    work = replace(district.work, actor="the registrar")
    place(work, "1001", "a custody case")
    release(work, "1001")
    out = tmp_path / "out"
    inspect(district.work, district.raw, district.tenant, "1001", out, CIRCUMSTANCES)
    (hold,) = sheet(out, "legal_holds")
    assert {hold[name] for name in ("reason", "placed_by", "released_by")} == {FOR_THE_DISTRICT}
    assert hold["placed_at"]
    given = "".join(path.read_text(encoding="utf-8-sig") for path in out.glob("*.*"))
    assert "custody" not in given and "registrar" not in given
    redact = {(row["sheet"], row["column"]): row["text"] for row in sheet(out, "not-for-release/to-redact")}
    assert redact["legal_holds", "reason"] == redact["earlier_versions", "reason"] == "a custody case"
    assert redact["legal_holds", "released_by"] == "the registrar"


def test_whoever_redacts_finds_the_row(district: District, tmp_path: Path) -> None:
    district.land(3, discipline_incidents=INCIDENTS.replace("pushed Bertram", "pushed him"))
    district.run()
    inspect(district.work, district.raw, district.tenant, "1001", tmp_path / "out", CIRCUMSTANCES)
    rows = {row["sheet"]: row["row"] for row in sheet(tmp_path / "out", "not-for-release/to-redact")}
    assert "file discipline_incidents.csv, line 2" in rows["delivered_discipline_incidents"]
    assert rows["earlier_versions"].startswith("table_name discipline_incidents, until 20")
    assert "incident_date 2025-09-02" in rows["earlier_versions"]
    assert {"delivered_on", "file", "line"} <= sheet(tmp_path / "out", "delivered_discipline_incidents")[0].keys()
