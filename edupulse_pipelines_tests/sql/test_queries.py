"""Every query in sql/queries returns the expected rows on both databases, for the same data."""

from __future__ import annotations

import csv
import datetime as dt
import uuid
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from edupulse_pipelines.cli.output.weekly_list import list_as_csv, list_as_table
from edupulse_pipelines.features import update_weekly_activity
from edupulse_pipelines.risk.samples.feedback import feedback_measures, verdicts
from edupulse_pipelines.risk.telling.list_page import list_page
from edupulse_pipelines.risk.weekly_list import weekly_list
from edupulse_pipelines.schema import sqlalchemy_tables as tables
from edupulse_pipelines.settings import FeedbackSettings
from edupulse_pipelines.storage.work import Work
from edupulse_pipelines.weeks import week_start
from edupulse_pipelines_tests.risk.listed import district, fill

QUERIES = Path(__file__).parents[2] / "sql" / "queries"
TODAY = dt.date.today()
NOW = dt.datetime.now(dt.UTC)
THIS_WEEK = week_start(TODAY)
SUNDAY = THIS_WEEK - dt.timedelta(days=1)


def identifier(number: int) -> uuid.UUID:
    return uuid.UUID(int=number)


@pytest.fixture
def filled(engine: sa.Engine) -> sa.Engine:
    """Two tenants; three students with two weeks of predictions by two models, attendance, and feedback."""
    students = [("north", 1, "A-1", 9), ("north", 2, "A-2", None), ("north", 3, "A-3", 9), ("south", 4, "A-1", 1)]
    with engine.begin() as connection:
        connection.execute(
            tables.students.insert(),
            [
                {
                    "id": identifier(number),
                    "tenant_id": tenant,
                    "district_id": district_id,
                    "first_name": "F",
                    "last_name": "L",
                    "grade_level": grade,
                    "date_of_birth": dt.date(2010, 1, 1),
                    "enrollment_date": dt.date(2020, 1, 1),
                    "delivered_on": TODAY,
                }
                for tenant, number, district_id, grade in students
            ],
        )
        connection.execute(
            tables.model_metadata.insert(),
            [
                {"id": identifier(90 + n), "tenant_id": t, "model_version": v}
                for n, (t, v) in enumerate([("north", "m1"), ("north", "m2"), ("south", "m1")])
            ],
        )

        def prediction(
            number: int, tenant: str, student: int, weeks_ago: int, model: str, score: float, category: str
        ) -> dict[str, Any]:
            return {
                "id": identifier(number),
                "tenant_id": tenant,
                "student_id": identifier(student),
                "feature_date": SUNDAY - dt.timedelta(weeks=weeks_ago),
                "prediction_date": NOW - dt.timedelta(weeks=weeks_ago),
                "risk_score": score,
                "risk_category": category,
                "confidence": 0.8,
                "model_version": model,
                "risk_factors": [{"factor": "f", "description": f"because {number}"}, {"factor": "g"}],
            }

        connection.execute(
            tables.predictions.insert(),
            [
                prediction(101, "north", 1, 1, "m1", 0.9, "critical"),
                prediction(102, "north", 1, 0, "m2", 0.3, "medium"),  # better now: not on the current list
                prediction(103, "north", 2, 1, "m1", 0.1, "low"),
                prediction(104, "north", 2, 0, "m1", 0.55, "high"),
                prediction(105, "north", 2, 0, "m2", 0.6, "high"),  # the same week by a newer model: id breaks the tie
                prediction(106, "north", 3, 1, "m1", 0.8, "critical"),  # no newer one: still current, not of this week
                prediction(107, "south", 4, 0, "m1", 0.7, "high"),
            ],
        )
        connection.execute(
            tables.student_features.insert(),
            [
                {"tenant_id": tenant, "student_id": identifier(student), "feature_date": SUNDAY}
                for tenant, student, *_ in students
            ],
        )
        connection.execute(
            tables.training_feedback.insert(),
            [
                {
                    "id": identifier(200 + number),
                    "tenant_id": "north",
                    "prediction_id": identifier(number),
                    "record_key": f"hash:{number}#{occurrence}",
                    "feedback_type": verdict,
                    "delivered_on": TODAY,
                    "created_at": NOW - dt.timedelta(days=age),
                }
                for occurrence, (number, verdict, age) in enumerate(
                    [
                        (101, "true_positive", 1),
                        (106, "true_positive", 2),
                        (105, "false_positive", 0),
                        (103, "true_negative", 40),
                    ]
                )
            ],
        )
        day = THIS_WEEK - dt.timedelta(days=7)
        statuses = [
            ("present", 1, 0),
            ("tardy", 1, 1),
            ("absent", 1, 2),
            ("excused", 3, 0),
            ("present", 3, 6),
            ("absent", 2, 0),
        ]
        connection.execute(
            tables.attendance_records.insert(),
            [
                {
                    "id": uuid.uuid4(),
                    "tenant_id": "north",
                    "student_id": identifier(student),
                    "date": day + dt.timedelta(days=offset),
                    "status": status,
                    "delivered_on": TODAY,
                }
                for status, student, offset in statuses
            ]
            + [
                {
                    "id": uuid.uuid4(),
                    "tenant_id": "north",
                    "student_id": identifier(1),
                    "date": TODAY - dt.timedelta(days=80),
                    "status": "absent",
                    "delivered_on": TODAY,
                }
            ],
        )
        connection.execute(
            tables.pending_updates.insert(),
            [
                {
                    "id": uuid.uuid4(),
                    "tenant_id": "north",
                    "stage": "weekly_activity",
                    "week_start": week_start(one),
                }
                for one in (day, TODAY - dt.timedelta(days=80))
            ],
        )
    update_weekly_activity(Work(engine, "north"))
    return engine


def rows(engine: sa.Engine, name: str) -> list[dict[str, Any]]:
    path = QUERIES / f"{name}.sql"
    if not path.exists():
        path = QUERIES / f"{name}.{engine.dialect.name}.sql"
    with engine.connect() as connection:
        found = connection.exec_driver_sql(path.read_text(encoding="utf-8")).mappings().all()
    return [dict(row) for row in found]


def test_current_risk_lists_each_student_by_the_latest_prediction(filled: sa.Engine) -> None:
    found = [(row["tenant_id"], row["district_id"], row["risk_score"]) for row in rows(filled, "current_risk")]
    assert found == [("north", "A-3", 0.8), ("north", "A-2", 0.6), ("south", "A-1", 0.7)]


def test_weekly_list_goes_by_grade_level_and_names_the_main_factor(filled: sa.Engine) -> None:
    found = [
        (row["tenant_id"], row["grade_level"], row["district_id"], row["risk_category"], row["main_factor"])
        for row in rows(filled, "weekly_list_by_grade_level")
    ]
    assert found == [
        ("north", 9, "A-1", "medium", "because 102"),
        ("north", None, "A-2", "high", "because 105"),
        ("south", 1, "A-1", "high", "because 107"),
    ]


def test_weekly_list_by_school_is_what_the_command_prints(engine: sa.Engine) -> None:
    tenant = district()
    fill(engine, tenant.name)
    listed = weekly_list(Work(engine, tenant.name), tenant).students
    found = rows(engine, "weekly_list_by_school")
    assert {row["tenant_id"] for row in found} == {tenant.name}
    assert [
        (row["school_id"], row["school_name"], row["district_id"], row["risk_category"], row["risk_score"])
        for row in found
    ] == [
        (
            student.school and student.school.number,
            student.school and student.school.name,
            student.number,
            student.category,
            student.score,
        )
        for student in listed
    ]
    assert [(row["main_reason"], row["recommendation"]) for row in found] == [
        (next(iter(student.reasons), None), next(iter(student.recommendations), None)) for student in listed
    ]
    assert len(found) == 7


def test_without_probabilities_lists_go_by_category_and_the_rules_score(engine: sa.Engine) -> None:
    tenant = district()
    fill(engine, tenant.name)
    table = tables.predictions
    with engine.begin() as connection:
        connection.execute(sa.update(tables.model_metadata).values(model_type="rule"))
        # Within a category the other way round than the probabilities were; two students are equal.
        for number, score in ((101, 3.25), (102, 2.5), (103, 1.25), (104, 1.5), (105, 3.0), (109, 3.5), (111, 2.5)):
            of_row = table.c.id == identifier(number)
            connection.execute(
                sa.update(table).where(of_row).values(risk_score=None, confidence=None, rule_score=score)
            )
    listed = weekly_list(Work(engine, tenant.name), tenant)
    assert (listed.without_probability, listed.by_rule, listed.scored) == (True, True, 8)
    found = [row["district_id"] for row in rows(engine, "weekly_list_by_school")]
    assert found == [student.number for student in listed.students]
    # Elm Street (0103, 0104), North <High> (0101 critical, 0102 and 0111 equal), the one without a name, none known.
    assert found == ["0104", "0103", "0101", "0102", "0111", "0109", "0105"]
    current = [(row["district_id"], row["risk_score"], row["rule_score"]) for row in rows(engine, "current_risk")]
    assert [one for one in current if one[0] != "0108"] == [
        ("0109", None, 3.5),
        ("0101", None, 3.25),
        ("0105", None, 3.0),
        ("0102", None, 2.5),
        ("0111", None, 2.5),
    ]
    by_grade = [row["district_id"] for row in rows(engine, "weekly_list_by_grade_level")]
    assert by_grade == ["0104", "0101", "0103", "0102", "0111", "0109", "0105"]
    page = list_page(listed, tenant, dt.datetime(2025, 3, 10, 8, tzinfo=dt.UTC))
    assert "Made by the district's rule, without probabilities" in page.replace("&#39;", "'")
    assert "%</span>" not in page
    assert "Made by the rule, without probabilities" in list_as_table(listed)
    header, first, *_ = list_as_csv(listed).splitlines()
    cells = dict(zip(header.split(","), next(csv.reader([first])), strict=False))
    assert (cells["risk_score"], cells["confidence"], cells["risk_category"]) == ("", "", "medium")


def test_the_lists_by_school_and_by_grade_level_name_the_same_students(engine: sa.Engine) -> None:
    fill(engine, district().name)
    by_school, by_grade = (
        [row["district_id"] for row in rows(engine, name)]
        for name in ("weekly_list_by_school", "weekly_list_by_grade_level")
    )
    assert sorted(by_school) == sorted(by_grade)


def test_attendance_trends_count_tardy_as_attended(filled: sa.Engine) -> None:
    found = [
        (
            row["grade_level"],
            str(row["week"]),
            row["total_records"],
            row["attended_count"],
            row["excused_count"],
            float(row["attendance_rate"]),
        )
        for row in rows(filled, "attendance_trends")
    ]
    week = str(THIS_WEEK - dt.timedelta(days=7))
    assert found == [(9, week, 5, 3, 1, 0.6), (None, week, 1, 0, 0, 0.0)]


def test_attendance_of_unknown_sessions_has_no_rate(filled: sa.Engine) -> None:
    rows_of = tables.weekly_activity
    with filled.begin() as connection:
        connection.execute(
            sa.update(rows_of).where(rows_of.c.student_id != identifier(1)).values(sessions_basis="unknown")
        )
    found = [(row["total_records"], row["attendance_rate"]) for row in rows(filled, "attendance_trends")]
    assert [(total, rate and round(float(rate), 3)) for total, rate in found] == [(5, 0.667), (1, None)]


def test_deleted_students_and_verdicts_are_in_no_list(filled: sa.Engine) -> None:
    with filled.begin() as connection:
        for table, deleted in ((tables.students, [1, 3]), (tables.training_feedback, [301, 306])):
            ids = [identifier(number) for number in deleted]
            connection.execute(sa.update(table).where(table.c.id.in_(ids)).values(deleted_on=TODAY))
    assert [row["district_id"] for row in rows(filled, "current_risk")] == ["A-2", "A-1"]
    assert [row["district_id"] for row in rows(filled, "weekly_list_by_grade_level")] == ["A-2", "A-1"]
    assert [row["grade_level"] for row in rows(filled, "attendance_trends")] == [None]
    assert [row["model_version"] for row in rows(filled, "model_performance")] == ["m2"]


def test_model_performance_counts_recent_verdicts(filled: sa.Engine) -> None:
    found = [
        (row["model_version"], row["feedback_type"], row["feedback_count"], float(row["avg_predicted_risk"]))
        for row in rows(filled, "model_performance")
    ]
    assert found == [("m1", "true_positive", 2, 0.85), ("m2", "false_positive", 1, 0.6)]


def add_verdicts(engine: sa.Engine) -> None:
    """Later verdicts on two predictions, prevented ones, an entry without a verdict, and random reviews."""
    later = [
        (101, "false_positive", "Attended", {"outcome_date": TODAY}),  # supersedes the true positive
        (106, "false_positive", " Helped", {"outcome_date": TODAY - dt.timedelta(days=90)}),  # older than the other
        (104, "false_positive", " Helped", {}),
        (105, None, None, {"outcome_date": TODAY}),
        (102, "false_negative", "prevented", {}),  # what happened was not prevented
        (108, "true_negative", None, {}),  # 109, drawn with it, is unanswered: 108 stands for 5, 102 for 30
    ]
    with engine.begin() as connection:
        connection.execute(
            tables.predictions.insert(),
            [
                {
                    "id": identifier(number),
                    "tenant_id": "north",
                    "student_id": identifier(student),
                    "feature_date": SUNDAY - dt.timedelta(weeks=1),
                    "risk_score": 0.1,
                    "risk_category": "low",
                    "confidence": 0.8,
                    "model_version": "m2",
                }
                for number, student in ((108, 3), (109, 2))
            ],
        )
        connection.execute(
            tables.training_feedback.insert(),
            [
                {
                    "id": identifier(400 + occurrence),
                    "tenant_id": "north",
                    "prediction_id": identifier(number),
                    "record_key": f"hash:later#{occurrence}",
                    "feedback_type": kind,
                    "outcome_type": outcome,
                    "outcome_date": None,
                    "delivered_on": TODAY,
                    "created_at": NOW,
                }
                | values
                for occurrence, (number, kind, outcome, values) in enumerate(later)
            ],
        )
        connection.execute(
            tables.review_proposals.insert(),
            [
                {
                    "id": identifier(500 + number),
                    "tenant_id": "north",
                    "prediction_id": identifier(number),
                    "feature_date": SUNDAY - dt.timedelta(weeks=weeks_ago),
                    "drawn_from": drawn_from,
                }
                for number, weeks_ago, drawn_from in ((102, 0, 30), (103, 1, 10), (108, 1, 10), (109, 1, 10))
            ],
        )


def test_model_performance_counts_the_latest_verdict_and_keeps_prevented_apart(filled: sa.Engine) -> None:
    add_verdicts(filled)
    found = [
        (row["model_version"], row["feedback_type"], row["feedback_count"], row["prevented_count"])
        for row in rows(filled, "model_performance")
    ]
    assert found == [
        ("m1", "false_positive", 2, 1),
        ("m1", "true_positive", 1, 0),
        ("m2", "false_negative", 1, 0),
        ("m2", "false_positive", 1, 0),
        ("m2", "true_negative", 1, 0),
    ]


def test_feedback_performance_is_what_the_package_measures(filled: sa.Engine) -> None:
    add_verdicts(filled)
    found = {row["model_version"]: row for row in rows(filled, "feedback_performance")}
    assert {row["tenant_id"] for row in found.values()} == {"north"}
    counts = ("verdicts", "flagged_right", "flagged_wrong", "prevented", "missed", "unflagged_right", "reviews")
    assert [found["m1"][name] for name in counts] == [4, 1, 1, 1, 0, 1, 1]
    assert [found["m2"][name] for name in counts] == [3, 0, 1, 0, 1, 1, 2]
    assert float(found["m2"]["missed_share_of_unflagged"]) == 0.857
    with filled.connect() as connection:
        measured = feedback_measures(verdicts(connection, Work(connection.engine, "north")))
    assert set(measured) == set(found)
    for version, measures in measured.items():
        values = {(measure.metric, measure.parameter): measure.value for measure in measures}
        for column, metric in (
            ("precision_of_flagged", "verdict_precision"),
            ("prevented_share_of_flagged", "verdict_prevented_share"),
            ("missed_share_of_unflagged", "verdict_false_omission_rate"),
        ):
            said = found[version][column]
            assert (said is None) == (values[metric, ""] is None), column
            assert said is None or round(float(said), 3) == round(float(values[metric, ""] or 0), 3), column


def test_queries_call_prevented_what_the_settings_do() -> None:
    listed = "IN (" + ", ".join(f"'{word}'" for word in FeedbackSettings().prevented) + ")"
    for path in (*QUERIES.glob("model_performance.*"), *QUERIES.glob("feedback_performance*")):
        assert listed in path.read_text(encoding="utf-8"), path.name


def test_every_query_is_run_and_says_what_it_answers() -> None:
    names = {path.name.partition(".")[0] for path in QUERIES.glob("*.sql")}
    assert names == {
        "current_risk",
        "weekly_list_by_grade_level",
        "weekly_list_by_school",
        "attendance_by_school",
        "attendance_trends",
        "model_performance",
        "feedback_performance",
        "model_evaluations",
        "chronic_absence",
    }
    for path in QUERIES.glob("*.sql"):
        assert path.read_text(encoding="utf-8").startswith("-- "), path.name
