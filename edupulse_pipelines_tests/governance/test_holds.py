"""Legal holds: of a student who is there, under whichever number, and with a reason."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from edupulse_pipelines.errors import ConfigurationError, PermanentError
from edupulse_pipelines.governance import holds
from edupulse_pipelines.schema.sqlalchemy_tables import student_merges
from edupulse_pipelines_tests.governance import canaries
from edupulse_pipelines_tests.governance.test_erasure import erasing
from edupulse_pipelines_tests.ingest.district import STUDENT_HEADER, District

NUMBER = canaries.NUMBER


@pytest.fixture
def district(engine: sa.Engine, tmp_path: Path) -> District:
    """A district of one student, who had another number before."""
    made = District(engine, tmp_path)
    made.land(1, students=f"{STUDENT_HEADER}\n{NUMBER},Zqfirsta,Zqlasta,2009-02-27\n")
    made.run("students")
    joined = {"old_number": "ZQ-old", "new_number": NUMBER, "reason": "moved", "in_force": True}
    with made.work.writing() as connection:
        connection.execute(student_merges.insert().values(tenant_id=made.tenant.name, **joined))
    return made


def test_a_hold_is_of_a_student_who_is_there_and_says_why(district: District) -> None:
    with pytest.raises(PermanentError, match="No student is stored"):
        holds.place(district.work, "ZQ-nobody", "a lawsuit")
    with pytest.raises(ConfigurationError, match="Say why"):
        holds.place(district.work, NUMBER, "  ")
    with district.work.reading() as connection:
        assert holds.holds(connection, district.work) == []


@pytest.mark.parametrize(("placed", "released"), [("ZQ-old", NUMBER), (NUMBER, " ZQ-old ")])
def test_it_holds_and_ends_under_each_of_the_numbers(district: District, placed: str, released: str) -> None:
    holds.place(district.work, placed, "a lawsuit")
    for number in ("ZQ-old", NUMBER):
        with pytest.raises(PermanentError, match="legal hold"):
            erasing(district, number)
        with pytest.raises(PermanentError, match="already"):
            holds.place(district.work, number, "again")
    holds.release(district.work, released)
    assert erasing(district, NUMBER).executed
    with pytest.raises(PermanentError, match="No student is stored"):
        holds.place(district.work, NUMBER, "too late: nothing of the number is stored again")


@pytest.mark.parametrize("changes", [{"approved_by": "  "}, {"reason": " "}])
def test_blanks_are_neither_a_person_nor_a_reason(district: District, changes: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError):
        erasing(district, **changes)
