"""Educators' feedback: how it names its prediction, and what happens when the prediction is not there yet."""

from __future__ import annotations

import datetime as dt
import uuid

import sqlalchemy as sa

from edupulse_pipelines.schema.sqlalchemy_tables import model_metadata, predictions, students
from edupulse_pipelines_tests.ingest.district import SECRET, District

SUNDAY = dt.date(2025, 9, 7)


def predict(district: District, number: str, version: str, *, sunday: dt.date, made: dt.datetime) -> uuid.UUID:
    """One prediction of a model that is made known as needed."""
    identifier = uuid.uuid4()
    tenant = district.tenant.name
    with district.engine.begin() as connection:
        versions = connection.scalars(sa.select(model_metadata.c.model_version)).all()
        if version not in versions:
            connection.execute(model_metadata.insert().values(id=uuid.uuid4(), tenant_id=tenant, model_version=version))
        student = connection.scalar(sa.select(students.c.id).where(students.c.district_id == number))
        connection.execute(
            predictions.insert().values(
                id=identifier,
                tenant_id=tenant,
                student_id=student,
                feature_date=sunday,
                prediction_date=made,
                risk_score=0.5,
                risk_category="high",
                confidence=0.5,
                model_version=version,
            )
        )
    return identifier


def test_feedback_finds_its_prediction(district: District) -> None:
    district.enrol("ZQ1", "ZQ2")
    # 03:30 UTC on Tuesday is still Monday evening in New York.
    evening = dt.datetime(2025, 9, 9, 3, 30, tzinfo=dt.UTC)
    older = predict(district, "ZQ1", "v1", sunday=SUNDAY, made=evening)
    newer = predict(district, "ZQ1", "v2", sunday=SUNDAY, made=evening + dt.timedelta(minutes=1))
    header = "prediction_id,district_id,prediction_date,model_version,feedback_type,educator_notes"
    rows = [
        f"{older},,,,true_positive,ZQa",
        f"{older.hex.upper()},ZQ9,,,true_positive,ZQb",  # the id is enough
        ",ZQ1,2025-09-08,v1,true_positive,ZQc",
        ",ZQ1,2025-09-08,,true_positive,ZQd",  # the latest of the day
        ",ZQ1,2025-09-07,,true_positive,ZQe",  # the Sunday that it was made for
        ",ZQ1,2025-09-09,,true_positive,ZQf",  # the UTC day is nobody's day
        ",ZQ1,2025-09-08,v3,true_positive,ZQg",
        ",ZQ2,2025-09-08,,true_positive,ZQh",
        f"{uuid.uuid4()},,,,true_positive,ZQi",
        "ZQ-1,,,,true_positive,ZQj",
        ",,,,true_positive,ZQk",
        ",ZQ1,,,true_positive,ZQl",
        f"{older},,,,maybe,ZQm",
        f"{older},,,,true_positive,ZQa",  # said twice: kept twice
    ]
    district.land(2, training_feedback="\n".join([header, *rows]))
    loaded = district.run("training_feedback")["training_feedback"]
    found = dict(district.rows("training_feedback", "educator_notes", "prediction_id"))
    assert found == {"ZQa": older, "ZQb": older, "ZQc": older, "ZQd": newer, "ZQe": newer}
    assert loaded.counts == (14, 6, 0, 0, 8)
    assert district.reasons("training_feedback") == {
        7: ["unknown_prediction"],
        8: ["unknown_prediction"],
        9: ["unknown_prediction"],
        10: ["unknown_prediction"],
        11: ["type:prediction_id", "unknown_prediction"],
        12: ["required:prediction_id"],
        13: ["required:prediction_id"],
        14: ["values:feedback_type"],
    }


def test_feedback_waits_for_its_prediction(district: District) -> None:
    district.enrol("ZQ1")
    district.land(
        1,
        training_feedback="district_id,prediction_date,feedback_type\nZQ1,2025-09-07,true_positive\nZQ7,2025-09-07,\n",
    )
    assert district.run("training_feedback")["training_feedback"].counts == (2, 0, 0, 0, 2)
    made = predict(district, "ZQ1", "v1", sunday=SUNDAY, made=dt.datetime(2025, 9, 8, 12, tzinfo=dt.UTC))
    loaded = district.run("training_feedback")["training_feedback"]
    assert loaded.report.replayed == 1
    assert district.rows("training_feedback", "prediction_id", "delivered_on") == [(made, dt.date(2025, 9, 8))]
    assert len(district.quarantine()) == 1
    assert district.run("training_feedback")["training_feedback"].counts == (2, 0, 0, 1, 1)


def test_feedback_needs_a_way_to_name_its_prediction(district: District) -> None:
    district.land(1, training_feedback=f"district_id,feedback_type\n{SECRET}1,true_positive\n")
    (refused,) = district.run("training_feedback")["training_feedback"].archive.refused
    assert refused.reason == "missing_column"
    assert "prediction_id, or district_id together with prediction_date" in str(refused.detail)


def test_an_unknown_column_of_a_known_name_is_no_identity(district: District) -> None:
    """`source_record_id` is not in the contract of this table, so that its length and sense are nobody's promise."""
    district.enrol("ZQ1")
    made = predict(district, "ZQ1", "v1", sunday=SUNDAY, made=dt.datetime(2025, 9, 8, 12, tzinfo=dt.UTC))
    long = "x" * 300
    district.land(
        1, training_feedback=f"prediction_id,source_record_id,outcome_type\n{made},{long},ZQa\n{made},{long},ZQb\n"
    )
    loaded = district.run("training_feedback")["training_feedback"]
    assert loaded.counts == (2, 2, 0, 0, 0)
    assert loaded.archive.files[0].unknown_columns == ["source_record_id"]
