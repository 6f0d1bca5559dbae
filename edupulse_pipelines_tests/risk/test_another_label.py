"""A district names another rule of absence: its model scores on, is marked, and is compared with nothing any more."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest
import sqlalchemy as sa

from edupulse_pipelines.risk.book.learned_label import label_hash_of, learned_another_label
from edupulse_pipelines.risk.book.records import ModelRecord, trained_models
from edupulse_pipelines.risk.book.registry import Registry
from edupulse_pipelines.risk.health import health_series
from edupulse_pipelines.risk.telling.model_card import OTHER_LABEL, marked
from edupulse_pipelines.risk.weekly import score_and_measure, train_when_due
from edupulse_pipelines.schema.sqlalchemy_tables import model_evaluations
from edupulse_pipelines.settings import AttendanceSettings, LabelSettings, TenantSettings
from edupulse_pipelines_tests.risk.district import made_up_district, tenant_settings, week, work_of, write
from edupulse_pipelines_tests.risk.test_training import LENIENT, QUICK

LAST = week(25)


def models(engine: sa.Engine, tenant: TenantSettings) -> list[ModelRecord]:
    with engine.connect() as connection:
        return trained_models(connection, work_of(connection, tenant))


@pytest.mark.usefixtures("without_plot")
def test_after_a_change_of_the_label(engine: sa.Engine, registry: Registry) -> None:
    before = tenant_settings(label=LabelSettings(attendance_below=0.9), training=QUICK, promotion=LENIENT)
    write(engine, before, made_up_district(count=60))
    work = work_of(engine, before)
    assert train_when_due(work, before, [week(21)], registry).outcomes[0].promoted
    (old,) = models(engine, before)
    assert old.label_hash == label_hash_of(before) and not learned_another_label(old, before)
    # The next training would be due in week 29, and nothing asks for one.
    assert train_when_due(work, before, [week(22)], registry).outcomes == []

    now = before.model_copy(update={"label": LabelSettings()})
    assert learned_another_label(old, now)
    # It goes on scoring; what became of its predictions is not held against the new label.
    measured = score_and_measure(work, now, [week(13), week(22), week(23)], registry)
    assert [one.standing for one in measured.report.weeks] == ["rule", "champion", "champion"]
    assert {one.model_version for one in measured.report.weeks[1:]} == {old.model_version}
    with engine.connect() as connection:
        matured = health_series(connection, work, now)
        evaluated = connection.scalars(
            sa.select(model_evaluations.c.scope).where(model_evaluations.c.tenant_id == now.name).distinct()
        ).all()
    assert set(matured["scope"]) == {"health"}
    assert "matured" not in evaluated

    training = train_when_due(work, now, [week(24)], registry)
    assert training.points == [week(24)], "the first week after the change"
    assert training.because == "The champion learned another label than the one that the settings name now."
    (outcome,) = training.outcomes
    assert outcome.status == "trained" and outcome.decision is not None
    numbers = outcome.decision.numbers
    assert (numbers["champion_compared"], numbers["champion_learned_another_label"]) == (False, True)
    assert numbers["precision_at_capacity"]["champion"] is None
    assert f"The champion {old.model_version} learned another label, so it was not compared." in outcome.reason
    _, new = models(engine, now)
    assert new.label_hash == label_hash_of(now) != old.label_hash
    assert not learned_another_label(new, now)
    # Once it is done, nothing is due any more.
    assert train_when_due(work, now, [LAST], registry).outcomes == []


def test_a_label_is_recognised_by_what_it_says() -> None:
    federal = tenant_settings()
    assert label_hash_of(federal) == label_hash_of(tenant_settings(label=LabelSettings(rule="federal")))
    others = [
        tenant_settings(label=LabelSettings(rule="california")),
        tenant_settings(label=LabelSettings(attendance_below=0.9)),
        tenant_settings(label=LabelSettings(rule=False)),
        tenant_settings(label=LabelSettings(horizon_weeks=9)),
        tenant_settings(attendance=AttendanceSettings(absent_day="any")),
    ]
    assert len({label_hash_of(one) for one in (federal, *others)}) == 1 + len(others)
    # Of a rate of sessions the day rule says nothing.
    rate = LabelSettings(attendance_below=0.9)
    days = tenant_settings(label=rate, attendance=AttendanceSettings(absent_day="any"))
    assert label_hash_of(days) == label_hash_of(tenant_settings(label=rate))


def test_of_a_model_from_before_labels_were_hashed_its_settings_say_the_label() -> None:
    settings = {"horizon_weeks": 8, "attendance_below": 0.9, "failing_below": 60.0, "serious_severity": 4}
    settings |= {"incident_count": 3, "exit_types": ["dropped_out", "failed"]}
    old = ModelRecord(
        model_version="v1",
        model_type="logistic",
        trained_at=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
        metrics={},
        hyperparameters={"settings": {"label": settings}},
    )
    assert not learned_another_label(old, tenant_settings(label=LabelSettings(attendance_below=0.9)))
    assert learned_another_label(old, tenant_settings())
    unknown = replace(old, hyperparameters={"settings": {"label": {"rule": "atlantis"}}})
    assert learned_another_label(unknown, tenant_settings())
    # A row that says nothing of its label is taken as it is.
    assert not learned_another_label(replace(old, hyperparameters={}), tenant_settings())


def test_a_card_is_marked_below_its_title() -> None:
    assert marked("# Risk model v1\n\nSchool district", OTHER_LABEL, as_html=False) == (
        f"# Risk model v1\n\n**{OTHER_LABEL}**\n\nSchool district"
    )
    page = marked("<main>\n<h1>Risk model v1</h1>\n<p>School</p>", "<b>", as_html=True)
    assert page == "<main>\n<h1>Risk model v1</h1>\n<p><strong>&lt;b&gt;</strong></p>\n<p>School</p>"
