from __future__ import annotations

import datetime as dt

import pytest
import sqlalchemy as sa

from edupulse_pipelines.risk.book.decisions import decisions, record_decision, record_measures
from edupulse_pipelines.risk.judging.evaluation import Measure
from edupulse_pipelines.schema.sqlalchemy_tables import model_evaluations, model_metadata
from edupulse_pipelines.storage.work import Work


def _model(connection: sa.Connection, tenant: str, version: str) -> None:
    connection.execute(sa.insert(model_metadata).values(tenant_id=tenant, model_version=version))


def test_decisions_are_kept_in_order_with_their_numbers(engine: sa.Engine) -> None:
    numbers = {"auc_roc": {"value": 0.8123456789, "minimum": 0.7, "passed": True}, "against": {"champion": None}}
    with engine.begin() as connection:
        for tenant, version in (("north", "m1"), ("north", "m2"), ("south", "m1")):
            _model(connection, tenant, version)
        record_decision(
            connection,
            Work(connection.engine, "north", "r"),
            "m1",
            kind="gate",
            promoted=True,
            reason="Promoted.",
            numbers=numbers,
        )
        record_decision(
            connection,
            Work(connection.engine, "north"),
            "m2",
            kind="promote",
            promoted=True,
            reason="known better",
            previous_version="m1",
        )
        record_decision(
            connection,
            Work(connection.engine, "north"),
            "m1",
            kind="rollback",
            promoted=True,
            reason="m2 was not",
            numbers={},
        )
        record_decision(connection, Work(connection.engine, "south"), "m1", kind="gate", promoted=False, reason="no")
    with engine.connect() as connection:
        found = decisions(connection, Work(connection.engine, "north"))
        assert decisions(connection, Work(connection.engine, "north"), "m2") == [found[1]]
        assert [one.reason for one in decisions(connection, Work(connection.engine, "south"))] == ["no"]
        assert decisions(connection, Work(connection.engine, "west")) == []
    assert [(one.model_version, one.kind, one.previous_version) for one in found] == [
        ("m1", "gate", None),
        ("m2", "promote", "m1"),
        ("m1", "rollback", None),
    ]
    assert (found[0].promoted, found[0].reason, found[0].run_id) == (True, "Promoted.", "r")
    assert found[0].numbers == numbers
    assert found[1].numbers == {}
    assert found[0].decided_at.tzinfo is not None
    with engine.begin() as connection, pytest.raises(sa.exc.IntegrityError):
        record_decision(
            connection, Work(connection.engine, "north"), "unknown", kind="gate", promoted=False, reason="no such model"
        )


def test_measures_replace_those_of_the_same_key_and_no_others(engine: sa.Engine) -> None:
    sunday = dt.date(2025, 3, 2)
    first = [
        Measure("auc_roc", "", "", 0.7, 100),
        Measure("precision_at", "k10", "", None, 100),
        Measure("base_rate", "", "gender=X", None, None),
    ]
    with engine.begin() as connection:
        _model(connection, "north", "m1")
        record_measures(connection, Work(connection.engine, "north"), "m1", "additive", "validation", sunday, first)
        record_measures(connection, Work(connection.engine, "north"), "m1", "rule", "validation", sunday, first[:1])
        record_measures(
            connection,
            Work(connection.engine, "north"),
            "m1",
            "additive",
            "validation",
            sunday,
            [Measure("auc_roc", "", "", 0.8, 120), Measure("psi", "grade_mean_8w", "", float("nan"), 5)],
        )
        record_measures(connection, Work(connection.engine, "north"), "m1", "additive", "validation", sunday, [])
        with pytest.raises(ValueError, match="two measures"):
            record_measures(
                connection, Work(connection.engine, "north"), "m1", "additive", "week", sunday, first[:1] * 2
            )
    table = model_evaluations.c
    with engine.connect() as connection:
        found = connection.execute(
            sa.select(table.candidate, table.metric, table.parameter, table.subgroup, table.value, table.samples)
            .where(table.tenant_id == "north", table.as_of_date == sunday)
            .order_by(table.candidate, table.metric, table.parameter)
        ).all()
    assert [tuple(row) for row in found] == [
        ("additive", "auc_roc", "", "", 0.8, 120),
        ("additive", "base_rate", "", "gender=X", None, None),
        ("additive", "precision_at", "k10", "", None, 100),
        ("additive", "psi", "grade_mean_8w", "", None, 5),
        ("rule", "auc_roc", "", "", 0.7, 100),
    ]
