"""Two numbers of one child: joined with every record, whatever is delivered later, and parted again without a trace."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import pytest
import sqlalchemy as sa

from edupulse_pipelines.errors import PermanentError
from edupulse_pipelines.ingest.joining import join, look_alikes, part
from edupulse_pipelines.schema.sqlalchemy_tables import (
    model_metadata,
    predictions,
    student_features,
    training_feedback,
)
from edupulse_pipelines.schema.sqlalchemy_tables import (
    students as students_table,
)
from edupulse_pipelines.storage import numbers
from edupulse_pipelines_tests.ingest.district import District
from edupulse_pipelines_tests.ingest.test_deletions import DAY, weeks
from edupulse_pipelines_tests.ingest.test_identity import GRADES, TABLES, attendance, students

pytestmark = pytest.mark.usefixtures("quick_judge")

ANNA, AGAIN = "ZQanna,ZQalpha,2012-05-01,2", "ZQanna,ZQbeta,2012-05-01,3"
INCIDENTS = "source_record_id,district_id,incident_date,severity_level"
DELIVERIES: dict[int, dict[str, str]] = {
    1: {
        "students": students(f"ZQ1,{ANNA}", "ZQ3,ZQo,ZQp,2011-01-01,1"),
        "attendance_records": attendance("ZQ1", "2025-09-02", "2025-09-03"),
        "grades": f"{GRADES}\ng1,ZQ1,ZQm,2025-09-03,50\n",
        "discipline_incidents": f"{INCIDENTS}\ni1,ZQ1,2025-09-03,2\n",
    },
    2: {
        "students": students(f"ZQ2,{AGAIN}", "ZQ3,ZQo,ZQp,2011-01-01,1"),
        "attendance_records": attendance("ZQ2", "2025-09-03", "2025-09-09"),
        "grades": f"{GRADES}\ng2,ZQ2,ZQm,2025-09-09,60\ng3,ZQ3,ZQm,2025-09-09,70\n",
    },
    3: {
        "students": students(f"ZQ1,{ANNA.replace(',2', ',4')}", f"ZQ2,{AGAIN}"),
        "attendance_records": attendance("ZQ1", "2025-09-16"),
    },
}


@pytest.fixture
def two(district: District) -> District:
    for number in (1, 2):
        district.land(number, **DELIVERIES[number])
    district.run(*TABLES)
    return district


def join_them(district: District, old: str = "ZQ1", new: str = "ZQ2") -> None:
    join(district.work, district.raw, district.tenant, old, new, "moved here and back")


def what_is_there(district: District) -> dict[str, Any]:
    """Everything of both children without ids; of students also those who are deleted."""
    files = ("delivered_on", "table_name", "rows_read", "rows_quarantined")
    return {
        "students": district.rows("students", "district_id", "last_name", "gpa", "delivered_on", "deleted_on"),
        "attendance": district.rows("attendance_records", "district_id", "date", "delivered_on", "deleted_on"),
        "grades": district.rows("grades", "district_id", "record_key", "grade_value", "delivered_on"),
        "incidents": district.rows("discipline_incidents", "district_id", "severity_level", "delivered_on"),
        "files": [tuple(row[name] for name in files) for row in district.manifest()],
        "quarantine": len(district.quarantine()),
    }


def test_every_record_goes_to_the_joined_child(two: District) -> None:
    join_them(two)
    assert two.rows("students", "district_id", "last_name", "gpa", "deleted_on") == [
        ("ZQ1", "ZQalpha", 2, DAY[1]), ("ZQ2", "ZQbeta", 3, None), ("ZQ3", "ZQp", 1, None)
    ]  # fmt: skip
    assert two.rows("attendance_records", "district_id", "date") == [
        ("ZQ2", dt.date(2025, 9, 2)), ("ZQ2", dt.date(2025, 9, 3)), ("ZQ2", dt.date(2025, 9, 9))
    ]  # fmt: skip
    assert two.rows("grades", "district_id", "grade_value") == [("ZQ2", 50), ("ZQ2", 60), ("ZQ3", 70)]
    assert two.rows("discipline_incidents", "district_id") == ["ZQ2"]
    assert {number for number, _ in two.marks("weekly_activity")} >= {"ZQ1", "ZQ2"}
    two.check_accounts({})
    with two.work.reading() as connection:
        (merge,) = numbers.merges(connection, two.work)
    assert (merge.old_number, merge.new_number, merge.reason, merge.in_force) == (
        "ZQ1", "ZQ2", "moved here and back", True
    )  # fmt: skip


def test_it_makes_no_difference_when_it_was_said(two: District) -> None:
    """Before a delivery or after it, and with deliveries in another order: the same tables."""
    join_them(two)
    two.land(3, **DELIVERIES[3])
    two.run(*TABLES, weeks=weeks(3))
    later = District(two.engine, two.raw.parent / "later", name="later")
    for number in (3, 2, 1):
        later.land(number, **DELIVERIES[number])
        later.run(*TABLES, weeks=weeks(number))
    join_them(later)
    join_them(later)  # said again: nothing changes
    assert what_is_there(later) == what_is_there(two)
    # A delivery that names the child under both numbers: the number that stays says how it is.
    assert two.rows("students", "district_id", "gpa")[1] == ("ZQ2", 3)
    assert ("ZQ2", dt.date(2025, 9, 16)) in two.rows("attendance_records", "district_id", "date")
    again = two.run(*TABLES)
    assert all(loaded.counts[1:3] == (0, 0) for loaded in again.values())


def test_parted_again_everything_is_as_it_was(two: District) -> None:
    two.land(3, **DELIVERIES[3])
    two.run(*TABLES)
    before = what_is_there(two)
    join_them(two)
    assert what_is_there(two) != before
    part(two.work, two.raw, two.tenant, "ZQ1")
    assert what_is_there(two) == before
    with pytest.raises(PermanentError, match="joined to no other"):
        part(two.work, two.raw, two.tenant, "ZQ1")


def test_what_cannot_be_joined(two: District) -> None:
    for old, new in (("ZQ1", "ZQ1"), ("ZQ1", "ZQ9"), ("ZQ9", "ZQ1")):
        with pytest.raises(PermanentError):
            join_them(two, old, new)
    join_them(two, "ZQ1", "ZQ2")
    for old, new in (("ZQ1", "ZQ3"), ("ZQ2", "ZQ3"), ("ZQ3", "ZQ1")):
        with pytest.raises(PermanentError):
            join_them(two, old, new)


def test_children_who_seem_to_be_one_are_listed_until_they_are_joined(district: District) -> None:
    district.land(1, students=students(f"0012,{ANNA}", f"12,{ANNA}", f"ZQ5,{AGAIN}"))
    district.run("students")
    assert look_alikes(district.work) == [["0012", "12"]]
    join_them(district, "12", "0012")
    assert look_alikes(district.work) == []


def test_predictions_and_verdicts_go_along_and_back(two: District) -> None:
    with two.engine.begin() as connection:
        ids = dict(
            connection.execute(
                sa.select(students_table.c.district_id, students_table.c.id).where(
                    students_table.c.tenant_id == two.tenant.name
                )
            ).all()
        )
        connection.execute(
            model_metadata.insert().values(id=uuid.uuid4(), tenant_id=two.tenant.name, model_version="m")
        )
        made: dict[tuple[str, int], uuid.UUID] = {}
        for number, week in (("ZQ1", 1), ("ZQ1", 2), ("ZQ2", 2)):
            made[number, week] = uuid.uuid4()
            connection.execute(
                predictions.insert().values(
                    id=made[number, week], tenant_id=two.tenant.name, student_id=ids[number], model_version="m",
                    feature_date=DAY[week] - dt.timedelta(days=1), risk_score=0.5, risk_category="low", confidence=0.5,
                )
            )  # fmt: skip
        connection.execute(
            training_feedback.insert().values(
                id=uuid.uuid4(), tenant_id=two.tenant.name, prediction_id=made["ZQ1", 2], record_key="hash:1",
                delivered_on=DAY[2],
            )
        )  # fmt: skip
        connection.execute(
            student_features.insert().values(
                tenant_id=two.tenant.name, student_id=ids["ZQ1"], feature_date=DAY[1] - dt.timedelta(days=1)
            )
        )
    before = (two.rows("predictions", "district_id", "feature_date"), two.rows("training_feedback", "prediction_id"))
    join_them(two)
    assert [number for number, _ in two.rows("predictions", "district_id", "feature_date")] == ["ZQ1", "ZQ2", "ZQ2"]
    assert two.rows("training_feedback", "prediction_id") == [made["ZQ2", 2]]
    assert two.rows("student_features", "district_id") == []
    part(two.work, two.raw, two.tenant, "ZQ1")
    after = (two.rows("predictions", "district_id", "feature_date"), two.rows("training_feedback", "prediction_id"))
    assert after == before
