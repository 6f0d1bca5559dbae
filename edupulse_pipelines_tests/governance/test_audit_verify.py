"""What somebody changes around the record of changes is found by `verify`, and named by table, change and count."""

from __future__ import annotations

import dataclasses
import datetime as dt
from pathlib import Path

import pytest
import sqlalchemy as sa

from edupulse_pipelines.governance.audit_verify import Anchor, Verification, verify
from edupulse_pipelines.schema.declaration import Column
from edupulse_pipelines.schema.tables import TABLES
from edupulse_pipelines.storage.work import Work
from edupulse_pipelines_tests.conftest import Scene
from edupulse_pipelines_tests.governance.tampering import past_triggers
from edupulse_pipelines_tests.ingest.district import SECRET, STUDENT_HEADER, District

NAMES = ("Ada", "Ben", "Cyd", "Dov")


def _students(*names: str) -> str:
    rows = [f"{number},{SECRET}{name},{SECRET},2010-01-0{number + 1}" for number, name in enumerate(names)]
    return "\n".join([STUDENT_HEADER, *rows, ""])


def _attendance(day: dt.date, status: str = "present") -> str:
    return "\n".join(["district_id,date,status", *(f"{number},{day},{status}" for number in range(len(NAMES))), ""])


def _load(engine: sa.Engine, folder: Path) -> None:
    made = District(engine, folder)
    first = dt.date(2025, 9, 2)
    made.land(1, students=_students(*NAMES), attendance_records=_attendance(first))
    made.run("students", "enrollments", "attendance_records")
    made.land(2, students=_students("Adam", *NAMES[1:]), attendance_records=_attendance(first, "absent"))
    made.run("students", "enrollments", "attendance_records")


@pytest.fixture
def scene() -> Scene:
    return _load


@pytest.fixture
def district(engine: sa.Engine, tmp_path: Path) -> District:
    """A district of four students and two weeks: the second one corrects a name and a day, and repeats the rest."""
    return District(engine, tmp_path)


def _found(work: Work, **options: object) -> list[str]:
    said = [finding.in_words for finding in verify(work, **options).findings]  # type: ignore[arg-type]
    assert SECRET not in "".join(said)
    return said


def _verified(work: Work) -> Verification:
    found = verify(work)
    assert found.findings == []
    return found


def test_what_the_pipelines_do_is_in_order(district: District) -> None:
    found = _verified(district.work)
    assert found.links > 4 and found.entries >= found.links
    corrected = verify(district.work, tables=["students", "attendance_records"])
    assert corrected.images == 1 + 4  # the name, and four days
    assert found.uncompared == found.before == found.erased == 0
    assert found.head is not None and found.head.number == found.links


def test_a_delivery_that_says_the_same_writes_nothing_about_its_records(district: District) -> None:
    def on_record() -> list[tuple]:
        with district.engine.connect() as connection:
            query = "SELECT table_name, operation, rows FROM audit_entries WHERE table_name IN {} ORDER BY 1, 2, 3"
            tables = "('students', 'enrollments', 'enrollment_statements', 'attendance_records')"
            return [tuple(row) for row in connection.exec_driver_sql(query.format(tables))]

    before = on_record()
    district.land(
        3, students=_students("Adam", *NAMES[1:]), attendance_records=_attendance(dt.date(2025, 9, 2), "absent")
    )
    done = district.run("students", "enrollments", "attendance_records", weeks=[dt.date(2025, 9, 15)])
    assert done["attendance_records"].delivery.unchanged == 4
    assert on_record() == before
    _verified(district.work)


def test_who_when_and_which_run(district: District) -> None:
    with Work(district.engine, "lakeside", run_id="run-7", actor="ada").writing() as connection:
        connection.exec_driver_sql("UPDATE students SET gender = 'x'")
    with district.engine.connect() as connection:
        change = connection.execute(sa.text("SELECT * FROM audit_changes ORDER BY link_number DESC")).first()
    assert change is not None
    assert (change.tenant_id, change.actor, change.run_id) == ("lakeside", "ada", "run-7")
    _verified(district.work)


@pytest.mark.parametrize("wrong", ["rolled back", "a savepoint"])
def test_what_is_rolled_back_was_not(district: District, wrong: str) -> None:
    before = _verified(district.work).head
    with pytest.raises(ZeroDivisionError), district.work.writing() as connection:
        with connection.begin_nested() as savepoint:
            connection.exec_driver_sql("UPDATE students SET gender = 'x'")
            if wrong == "a savepoint":
                savepoint.rollback()
        if wrong == "rolled back":
            raise ZeroDivisionError
        connection.exec_driver_sql("UPDATE students SET ethnicity = 'x'")
        raise ZeroDivisionError
    assert _verified(district.work).head == before
    with district.work.writing() as connection:
        with connection.begin_nested() as savepoint:
            connection.exec_driver_sql("UPDATE students SET gender = 'x'")
            savepoint.rollback()
        connection.exec_driver_sql("UPDATE students SET ethnicity = 'x'")
    _verified(district.work)


DEEDS = {
    "a row edited": (
        "UPDATE students SET last_name = 'Eve' WHERE district_id = '1'",
        "students, change",
        "rows are not as it wrote them",
    ),
    "a day edited": (
        "UPDATE attendance_records SET status = 'present'",
        "attendance_records, change",
        "rows are not as it wrote them",
    ),
    "a row deleted": (
        "DELETE FROM attendance_records WHERE student_id IN (SELECT id FROM students WHERE district_id = '2')",
        "attendance_records, change",
        "rows that it wrote are missing (1)",
    ),
    "a row added": (
        "INSERT INTO instructional_days (tenant_id, date, delivered_on)"
        " VALUES ('lakeside', '2025-09-02', '2025-09-08')",
        "instructional_days, change 0",
        "rows that nothing on record has written",
    ),
    "a row added to a change": (
        "INSERT INTO enrollment_statements (tenant_id, student_id, said, first_delivered_on, delivered_on, change_id)"
        " SELECT tenant_id, student_id, 'x', first_delivered_on, delivered_on, change_id FROM enrollment_statements"
        " WHERE student_id IN (SELECT id FROM students WHERE district_id = '2')",
        "enrollment_statements, change",
        "there are more rows than it wrote (1)",
    ),
    "an image edited": (
        "UPDATE audit_images SET image = (SELECT image FROM audit_images WHERE table_name = 'students')",
        "attendance_records, change",
        "images are not as they were recorded",
    ),
    "an image removed": (
        "DELETE FROM audit_images WHERE table_name = 'students'",
        "students, change",
        "what it replaced is gone",
    ),
    "an entry edited": (
        "UPDATE audit_entries SET rows = rows + 1 WHERE operation = 'delete' OR images IS NOT NULL",
        "change",
        "its link does not fit",
    ),
    "an image emptied": (
        "UPDATE audit_images SET image = NULL, salt = NULL, row_key = '', student_id = NULL"
        " WHERE table_name = 'students'",
        "students, change",
        "emptied by no erasure",
    ),
    "a change edited": (
        "UPDATE audit_changes SET actor = 'mallory' WHERE link_number = 2",
        "change",
        "its link does not fit",
    ),
    "a link removed": ("DELETE FROM audit_changes WHERE link_number = 2", "change", "link 2 of the chain is missing"),
}


@pytest.mark.parametrize("deed", DEEDS)
def test_what_is_done_past_the_triggers_is_found(district: District, deed: str) -> None:
    _verified(district.work)
    statement, where, said = DEEDS[deed]
    past_triggers(district.engine, statement)
    assert [finding for finding in _found(district.work) if finding.startswith(where) and said in finding]


def test_who_empties_an_image_does_not_free_the_other_rows_of_its_change(district: District) -> None:
    past_triggers(
        district.engine,
        "UPDATE audit_images SET image = NULL, salt = NULL, row_key = '', student_id = NULL"
        " WHERE table_name = 'students'",
        "UPDATE students SET gender = 'z' WHERE district_id = '2'",
    )
    assert [said for said in _found(district.work) if "nothing proves what is left" in said]


def test_an_entry_from_before_a_column_was_added_is_compared_without_it(
    district: District, monkeypatch: pytest.MonkeyPatch
) -> None:
    _verified(district.work)
    table = TABLES["students"]
    added = Column(name="shoe_size", type="text", nullable=True, comment="A column of a later version.")
    later = dataclasses.replace(table, columns=(*table.columns[:-1], added, table.columns[-1]))
    with district.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE students ADD COLUMN shoe_size TEXT")
    monkeypatch.setitem(TABLES, "students", later)
    found = _verified(district.work)
    assert found.uncompared == 0 and found.images > 0
    past_triggers(district.engine, "UPDATE students SET gender = 'z'")
    assert "students" in " ".join(_found(district.work))


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_row_does_not_go_from_one_district_to_another(district: District) -> None:
    with pytest.raises(sa.exc.DBAPIError, match="does not go from one district"), district.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE students SET tenant_id = 'elsewhere'")
    _verified(district.work)


def test_an_end_that_is_cut_off_is_found_against_an_anchor_and_not_before(district: District) -> None:
    old = _verified(district.work).head
    assert old is not None
    with district.work.writing() as connection:
        connection.exec_driver_sql("UPDATE students SET gender = 'x'")
    head = _verified(district.work).head
    assert head is not None and head.number == old.number + 1
    last = f"(SELECT id * 1048576 FROM audit_changes WHERE link_number = {head.number})"
    past_triggers(
        district.engine,
        "UPDATE students SET gender = NULL, change_id = (SELECT min(written_by) FROM audit_images i"
        f" WHERE i.row_key = CAST(students.id AS text) AND i.replaced_by >= {last})",
        f"DELETE FROM audit_images WHERE replaced_by >= {last}",
        f"DELETE FROM audit_entries WHERE change_id >= {last}",
        f"DELETE FROM audit_changes WHERE link_number = {head.number}",
    )
    assert _found(district.work) == []
    assert _found(district.work, anchors=[old]) == []
    assert _found(district.work, anchors=[head]) == [
        f"link {head.number}, which was noted, is not in the chain: its end was cut off"
    ]
    with district.work.writing() as connection:  # another link takes its place
        connection.exec_driver_sql("UPDATE students SET gender = 'y'")
    assert "was made anew" in " ".join(_found(district.work, anchors=[head]))


def test_only_what_comes_after_a_head_that_is_trusted_is_looked_at(district: District) -> None:
    since = _verified(district.work).head
    assert since is not None
    past_triggers(district.engine, "UPDATE audit_changes SET actor = 'mallory' WHERE link_number = 2")
    assert _found(district.work)
    with district.work.writing() as connection:
        connection.exec_driver_sql("UPDATE students SET gender = 'x'")
    found = verify(district.work, since=since)
    assert found.findings == [] and found.links == 1
    # What names no change on record is seen all the same.
    columns = "tenant_id, date, delivered_on, change_id"
    past_triggers(
        district.engine,
        f"INSERT INTO instructional_days ({columns}) VALUES ('lakeside', '2025-09-02', '2025-09-02', 0)",
    )
    assert _found(district.work, since=since) == [
        "instructional_days, change 0: rows that nothing on record has written (1)"
    ]
    assert Anchor.of(str(since)) == since
    wrong = _found(district.work, since=Anchor(since.number, "0" * 64), tables=["students"])
    assert wrong == [f"link {since.number} is another than was noted: the chain was made anew"]
