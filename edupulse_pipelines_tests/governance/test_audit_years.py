"""What is on record for longer than districts want leaves it, and what stays is proven as before; both databases."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from edupulse_pipelines.errors import ConfigurationError
from edupulse_pipelines.governance.audit_verify import Anchor, verify
from edupulse_pipelines.governance.audit_years import Retired, retire
from edupulse_pipelines.schema.sqlalchemy_tables import metadata
from edupulse_pipelines.storage import changes
from edupulse_pipelines.storage.work import EVERY_TENANT, Work
from edupulse_pipelines_tests.conftest import Scene
from edupulse_pipelines_tests.governance.tampering import past_triggers
from edupulse_pipelines_tests.ingest.district import ATTENDANCE_HEADER, SECRET, STUDENT_HEADER, District

IN_2020 = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
TODAY = dt.date(2026, 11, 27)
ASKED = {"reason": "the years are over", "approved_by": "another person", "execute": True}


def _students(*names: str) -> str:
    return "\n".join([STUDENT_HEADER, *(f"{n},{SECRET}{name},{SECRET},2010-01-01" for n, name in enumerate(names)), ""])


def _attendance(status: str, day: int = 2) -> str:
    return f"{ATTENDANCE_HEADER}\n0,2025-09-0{day},{status}\n1,2025-09-0{day},{status}\n"


def _load(engine: sa.Engine, folder: Path) -> None:
    made = District(engine, folder)
    made.land(1, students=_students("Ada", "Ben"), attendance_records=_attendance("present"))
    made.run("students", "enrollments", "attendance_records")
    made.land(2, students=_students("Adam", "Ben"), attendance_records=_attendance("absent"))
    made.run("students", "enrollments", "attendance_records")
    _make_old(engine)
    made.land(3, students=_students("Adam", "Benno"), attendance_records=_attendance("tardy", 3))
    made.run("students", "enrollments", "attendance_records")


@pytest.fixture
def scene() -> Scene:
    return _load


@pytest.fixture
def district(engine: sa.Engine, tmp_path: Path) -> District:
    """What was delivered twice, and corrected, is on record since 2019; something later since today."""
    return District(engine, tmp_path)


def _make_old(engine: sa.Engine) -> None:
    """Say of all that is on record that it was committed in 2019, and make its links again."""
    zone = "+00" if engine.dialect.name == "postgresql" else ".000000"  # as each stores a moment
    past_triggers(engine, f"UPDATE audit_changes SET linked_at = '2019-03-05 00:00:00{zone}'")
    with engine.connect() as connection:
        rows = connection.execute(sa.select(changes.changes).order_by(changes.changes.c.link_number)).all()
        entries = connection.execute(changes.read_entries()).all()
    previous, statements = changes.first_link([entry for entry in entries if entry.change_id == 0]), []
    for row in rows:
        of_change = [entry for entry in entries if entry.change_id // 1048576 == row.id]
        previous = changes.link_of(previous, row, of_change)
        statements.append(f"UPDATE audit_changes SET link = '{previous}' WHERE id = {row.id}")
    past_triggers(engine, *statements)


def _every(district: District) -> Work:
    return Work(district.engine, EVERY_TENANT)


def _retired(district: District, years: dict[str, int | None] | None = None, **asked: Any) -> Retired:
    home = district.raw.parent
    return retire(_every(district), home, {"lakeside": 5} if years is None else years, TODAY, **asked)


def _count(district: District, table: str, *where: Any) -> int:
    with district.engine.connect() as connection:
        query = sa.select(sa.func.count()).select_from(metadata.tables[table]).where(*where)
        return connection.scalar(query) or 0


def test_what_is_older_than_its_years_leaves_and_the_rest_is_proven_as_before(district: District) -> None:
    before = verify(_every(district))
    assert before.findings == [] and before.uncompared == 0
    old_head = before.head
    counted = _retired(district)
    assert not counted.executed and counted.changes > 3 and counted.images["lakeside"] >= 3
    assert verify(_every(district)).head == old_head
    rows = {table: _count(district, table) for table in ("students", "attendance_records", "ingested_files")}

    done = _retired(district, **ASKED)
    assert (done.executed, done.images, done.changes, done.last) == (
        True,
        counted.images,
        counted.changes,
        counted.last,
    )
    after = verify(_every(district))
    assert after.findings == [] and after.uncompared == 0
    assert 0 < after.links < before.links and after.before > 0
    assert {table: _count(district, table) for table in rows} == rows
    assert _count(district, "audit_changes", changes.changes.c.linked_at < IN_2020) == 0
    assert f"{SECRET}Ada'" not in str(_images(district)) and f"{SECRET}Ben'" in str(_images(district))

    assert done.certificate is not None
    written = done.certificate.read_bytes()
    assert json.loads(written)["last_link_removed"] == str(done.last)
    with district.engine.connect() as connection:
        noted = connection.scalars(sa.select(metadata.tables["audit_entries"].c.images)).all()
    assert hashlib.sha256(written).hexdigest() in noted
    # Heads that were noted: from the one that left last on they are told apart, before that nobody can.
    assert old_head is not None and done.last is not None
    assert verify(_every(district), anchors=[old_head, done.last]).findings == []
    with pytest.raises(ConfigurationError, match="has been retired"):
        verify(_every(district), anchors=[Anchor(1, "0" * 64)])
    wrong = Anchor(done.last.number, "0" * 64)
    assert "was made anew" in verify(_every(district), anchors=[wrong]).findings[0].said


def _images(district: District) -> list[Any]:
    with district.engine.connect() as connection:
        return list(connection.scalars(sa.select(metadata.tables["audit_images"].c.image)))


def test_it_goes_on_and_can_be_done_again(district: District) -> None:
    _retired(district, **ASKED)
    district.land(4, students=_students("Adam", "Bennet"), attendance_records=_attendance("excused"))
    district.run("students", "enrollments", "attendance_records")
    found = verify(_every(district))
    assert found.findings == [] and found.uncompared == 0
    again = _retired(district, **ASKED)
    assert (again.changes, again.images, again.certificate) == (0, {}, None)
    assert verify(_every(district)).head == found.head


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("DELETE FROM attendance_records WHERE date = '2025-09-02'", "are missing"),
        ("UPDATE attendance_records SET status = 'excused' WHERE date = '2025-09-03'", "not as it wrote them"),
        ("DELETE FROM audit_entries WHERE operation = 'before' AND table_name = 'students'", "does not fit"),
        ("UPDATE audit_entries SET content = '00' WHERE table_name = 'audit_changes'", "does not fit"),
        ("DELETE FROM audit_entries WHERE table_name = 'audit_changes'", "missing before it"),
    ],
)
def test_what_is_done_past_the_triggers_is_found_after_it_too(district: District, statement: str, said: str) -> None:
    _retired(district, **ASKED)
    past_triggers(district.engine, statement)
    assert [finding for finding in verify(_every(district)).findings if said in finding.said]


def test_nothing_leaves_before_the_years_of_every_district_are_over_nor_without_two_people(district: District) -> None:
    before = verify(_every(district)).head
    assert _retired(district, {"lakeside": None}, **ASKED).before == {}
    assert _retired(district, {"lakeside": 10}, **ASKED).images == {}
    for asked in ({"approved_by": None}, {"approved_by": _every(district).actor}, {"reason": None}):
        with pytest.raises(ConfigurationError):
            _retired(district, **ASKED | asked)
    assert verify(_every(district)).head == before
    # Another district that keeps all: its changes stay, and only what is held of students leaves.
    with Work(district.engine, "north").writing() as connection:
        school = {"school_id": "1", "name": "a", "first_delivered_on": TODAY, "delivered_on": TODAY}
        connection.execute(metadata.tables["schools"].insert().values(tenant_id="north", **school))
    done = _retired(district, **ASKED)
    assert (done.keeps_all, done.last, done.changes) == (("north",), None, 0)
    assert done.images["lakeside"] >= 3
    found = verify(_every(district))
    assert found.findings == [] and found.uncompared == 0 and found.erased == sum(done.images.values())


def test_nobody_takes_out_what_is_not_on_record_as_leaving(district: District) -> None:
    for table in ("audit_images", "audit_entries", "audit_changes"):
        with pytest.raises(sa.exc.DatabaseError, match="is only added to"), district.engine.begin() as connection:
            connection.execute(metadata.tables[table].delete())
    _retired(district, **ASKED)
    for table in ("audit_images", "audit_entries", "audit_changes"):
        with pytest.raises(sa.exc.DatabaseError, match="is only added to"), district.engine.begin() as connection:
            connection.execute(metadata.tables[table].delete())
