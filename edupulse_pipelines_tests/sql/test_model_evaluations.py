from __future__ import annotations

import datetime as dt
from pathlib import Path

import sqlalchemy as sa

from edupulse_pipelines.risk.book.decisions import record_measures
from edupulse_pipelines.risk.judging.evaluation import Measure
from edupulse_pipelines.schema.sqlalchemy_tables import model_metadata
from edupulse_pipelines.storage.work import Work

QUERY = Path(__file__).parents[2] / "sql" / "queries" / "model_evaluations.sql"


def test_the_latest_figures_stand_beside_everybodys(engine: sa.Engine) -> None:
    older, newer = dt.date(2025, 2, 23), dt.date(2025, 3, 2)
    with engine.begin() as connection:
        connection.execute(
            sa.insert(model_metadata),
            [
                {"tenant_id": tenant, "model_version": version, "is_active": active}
                for tenant, version, active in (("north", "m1", True), ("north", "m2", False), ("south", "m1", False))
            ],
        )
        for week, rate in ((newer, 0.4), (older, 0.9)):  # written in another order than the weeks'
            record_measures(
                connection,
                Work(connection.engine, "north"),
                "m1",
                "additive",
                "week",
                week,
                [
                    Measure("false_negative_rate", "capacity", "", rate, 100),
                    Measure("false_negative_rate", "capacity", "gender=F", rate + 0.25, 60),
                    Measure("false_negative_rate", "capacity", "gender=X", None, None),
                    Measure("auc_roc", "", "", None, 100),
                ],
            )
        record_measures(
            connection,
            Work(connection.engine, "north"),
            "m1",
            "rule",
            "week",
            older,
            [Measure("auc_roc", "", "", 0.6, 90)],
        )
        record_measures(
            connection,
            Work(connection.engine, "north"),
            "m2",
            "boosting",
            "validation",
            newer,
            [Measure("precision_at", "k10", "", 0.5, 10), Measure("precision_at", "k10", "grade_level=9", 0.25, 5)],
        )
        record_measures(
            connection,
            Work(connection.engine, "south"),
            "m1",
            "additive",
            "week",
            newer,
            [Measure("base_rate", "", "", 0.1, 7)],
        )
        rows = connection.exec_driver_sql(QUERY.read_text(encoding="utf-8")).mappings().all()
    found = [
        (
            *(row[name] for name in ("tenant_id", "model_version")),
            bool(row["is_active"]),
            *(row[name] for name in ("candidate", "metric", "parameter", "subgroup", "value", "samples")),
            None if row["difference"] is None else round(row["difference"], 6),
            row["standing"],
        )
        for row in rows
    ]
    small = "too few students to show"
    assert found == [
        ("north", "m1", True, "additive", "auc_roc", None, None, None, 100, None, "not defined"),
        ("north", "m1", True, "additive", "false_negative_rate", "capacity", None, 0.4, 100, None, "measured"),
        ("north", "m1", True, "additive", "false_negative_rate", "capacity", "gender=F", 0.65, 60, 0.25, "measured"),
        ("north", "m1", True, "additive", "false_negative_rate", "capacity", "gender=X", None, None, None, small),
        ("north", "m1", True, "rule", "auc_roc", None, None, 0.6, 90, None, "measured"),
        ("north", "m2", False, "boosting", "precision_at", "k10", None, 0.5, 10, None, "measured"),
        ("north", "m2", False, "boosting", "precision_at", "k10", "grade_level=9", 0.25, 5, -0.25, "measured"),
        ("south", "m1", False, "additive", "base_rate", None, None, 0.1, 7, None, "measured"),
    ]
    assert {str(row["as_of_date"]) for row in rows if row["candidate"] == "additive"} == {str(newer)}
