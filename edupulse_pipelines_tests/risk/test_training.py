from __future__ import annotations

import datetime as dt
import io
import json
import re
import shutil
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa

from edupulse_pipelines.errors import EduPulseError, RegistryUnavailable
from edupulse_pipelines.risk import training
from edupulse_pipelines.risk.book.champion import rollback
from edupulse_pipelines.risk.book.mirror import differences
from edupulse_pipelines.risk.book.records import trained_models
from edupulse_pipelines.risk.book.registry import Registry
from edupulse_pipelines.risk.book.reproduction import reproduce
from edupulse_pipelines.risk.judging.leakage import record_features
from edupulse_pipelines.risk.judging.promotion import Decision
from edupulse_pipelines.risk.models.tuning import TUNING_FOLDS
from edupulse_pipelines.risk.samples.cohorts import read_cohort
from edupulse_pipelines.risk.training import train_risk_models
from edupulse_pipelines.schema.sqlalchemy_tables import (
    model_evaluations,
    model_metadata,
    promotion_decisions,
    student_features,
    students,
    weekly_activity,
)
from edupulse_pipelines.settings import (
    AuditSettings,
    CohortSettings,
    LabelSettings,
    PromotionSettings,
    TenantSettings,
    TrainingSettings,
)
from edupulse_pipelines.weeks import WEEK, feature_date
from edupulse_pipelines_tests.risk.district import (
    District,
    made_up_district,
    tenant_settings,
    week,
    work_of,
    write,
    write_features,
)
from edupulse_pipelines_tests.risk.judging.test_evaluation import SEED_KEYS
from edupulse_pipelines_tests.risk.samples.test_assembly import modules, stored, taught

LAST = week(25)
QUICK = TrainingSettings(candidates=("logistic",), tuning_fits=0)
"""One candidate without a search: what these tests are about does not depend on it."""
LENIENT = PromotionSettings(capacity=0.6, certainty=0.5, calibration_error=0.5)
"""Among the first tenths of this made-up district nearly everybody has an event, whatever orders it."""

one_database = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
"""For what has nothing to do with SQL: a training takes seconds."""
mostly_one_database = pytest.mark.parametrize(
    "database_url", ["sqlite", pytest.param("postgresql", marks=pytest.mark.heavy)], indirect=True
)
"""For what follows from the same data, hash and model on both databases, which the first test of this file compares."""


@pytest.fixture(scope="session")
def district() -> District:
    return made_up_district(count=60)


@pytest.fixture
def promoting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gate that lets everybody through: for what happens after it. `test_promotion` tests the gate."""
    monkeypatch.setattr("edupulse_pipelines.risk.training.decide", lambda **_: Decision(True, {}))


@pytest.fixture
def tenant(engine: sa.Engine, district: District) -> TenantSettings:
    tenant = tenant_settings(training=QUICK, promotion=LENIENT)
    write(engine, tenant, district)
    return tenant


def contradictions(engine: sa.Engine, tenant: TenantSettings, registry: Registry) -> list[str]:
    """What MLflow and `model_metadata` disagree about."""
    return [difference.sentence for difference in differences(work_of(engine, tenant), registry)]


def rows_of(engine: sa.Engine, tenant: TenantSettings) -> list[sa.Row]:
    """The models; rules that stand in for one are tested in `test_stand_in`."""
    with engine.connect() as connection:
        return connection.execute(
            sa.select(model_metadata)
            .where(model_metadata.c.tenant_id == tenant.name, model_metadata.c.model_type != "rule")
            .order_by(model_metadata.c.training_date)
        ).all()


@pytest.mark.usefixtures("without_plot")
def test_a_model_is_trained_recorded_and_made_champion(
    engine: sa.Engine, tenant: TenantSettings, registry: Registry, across_databases: dict[str, object]
) -> None:
    done: list[tuple[int, int]] = []
    outcomes = train_risk_models(
        work_of(engine, tenant, "run-7"), tenant, [LAST, week(21)], registry, progress=lambda *at: done.append(at)
    )
    assert done == [(1, 2), (2, 2)]
    assert [(one.data_through, one.status, one.promoted) for one in outcomes] == [
        (week(21), "trained", True),
        (LAST, "trained", False),
    ]
    assert "is not below the champion's" in outcomes[-1].reason
    newest = outcomes[-1]
    assert newest.model_version is not None and newest.model_version.startswith("2025-02-24-")
    assert newest.metrics is not None
    assert list(newest.metrics) == [*SEED_KEYS, "baseline", "unseen_students"]
    assert list(newest.metrics["baseline"]) == SEED_KEYS
    assert newest.metrics["auc_roc"] > 0.6

    first, second = rows_of(engine, tenant)
    assert (first.is_active, second.is_active) == (True, False)
    assert second.model_type == "logistic"
    assert second.performance_metrics == newest.metrics
    assert second.data_through == LAST
    assert registry.champion(tenant.name) == outcomes[0].model_version
    assert contradictions(engine, tenant, registry) == []

    # Training as-of + horizon <= validation as-of, and every horizon has passed.
    training, validation = (
        [dt.date.fromisoformat(one) for one in second.hyperparameters[f"{part}_weeks"]]
        for part in ("training", "validation")
    )
    assert max(training) + 8 * WEEK <= min(validation)
    assert max(validation) + 8 * WEEK <= LAST

    # The registered model is the one that was evaluated, and the same on both databases.
    model = registry.load_model(tenant.name, newest.model_version, second.registry_version)
    assert model.coefficients == second.hyperparameters["coefficients"]
    found = (
        newest.model_version,
        newest.metrics,
        second.hyperparameters["coefficients"],
        second.data_hash,
    )
    assert across_databases.setdefault("model", found) == found


def test_what_mlflow_shows(engine: sa.Engine, tenant: TenantSettings, registry: Registry, district: District) -> None:
    (outcome,) = train_risk_models(work_of(engine, tenant, "run-7"), tenant, [LAST], registry)
    import mlflow

    client = mlflow.MlflowClient(registry.tracking_uri)
    run = client.get_run(outcome.run_id)
    assert client.get_experiment(run.info.experiment_id).name == f"edupulse/{tenant.name}"
    assert run.info.status == "FINISHED"
    assert run.data.tags["status"] == "trained"
    assert run.data.tags["edupulse.run_id"] == "run-7"
    assert run.data.tags["model_version"] == outcome.model_version
    assert run.data.params["data_through"] == LAST.isoformat()
    assert {"auc_roc", "baseline.auc_roc", "precision_at_k5", "baseline.precision_at_k20"} <= set(run.data.metrics)
    assert outcome.calibration_plot is not None
    assert {file.path for file in client.list_artifacts(outcome.run_id)} >= {
        "calibration.png",
        "settings.json",
        "coefficients.json",
    }
    (number,) = registry.model_versions(tenant.name)[str(outcome.model_version)]
    version = client.get_model_version(f"edupulse-{tenant.name}", number)
    assert version.tags["data_through"] == LAST.isoformat()
    info = mlflow.models.get_model_info(f"models:/edupulse-{tenant.name}/{version.version}")
    assert info.signature.inputs.input_names()[0] == "attendance_rate_1w"
    assert info.flavors["sklearn"]["serialization_format"] == "skops"
    # Candidates, the rule among them, are children; all figures are one table, with what is not shown left empty.
    children = {
        child.info.run_name: child
        for child in client.search_runs([run.info.experiment_id], f"tags.`mlflow.parentRunId` = '{outcome.run_id}'")
    }
    assert {name: child.data.metrics.get("auc_roc") for name, child in children.items()} == {
        **dict.fromkeys(tenant.training.candidates),
        **{name: metrics["auc_roc"] for name, metrics in outcome.candidates.items()},
    }
    assert [name for name, child in children.items() if child.data.tags["chosen"] == "true"] == [outcome.kind]
    table = mlflow.artifacts.load_text(f"runs:/{outcome.run_id}/evaluations.json")
    stored = pd.DataFrame(recorded(engine, tenant)["model_evaluations"])
    figures = pd.read_json(io.StringIO(table), orient="split", convert_dates=False)
    key = ["candidate", "scope", "as_of", "metric", "parameter", "subgroup"]
    expected = stored.assign(as_of=stored.as_of_date.astype(str)).set_index(key)[["value", "samples"]].sort_index()
    pd.testing.assert_frame_equal(
        figures.set_index(key).sort_index().astype(float), expected.astype(float), check_index_type=False, atol=1e-9
    )
    shown = mlflow.artifacts.load_text(f"runs:/{outcome.run_id}/settings.json") + table
    shown += str(run.data) + str([child.data for child in children.values()])
    assert not any(f"'{one}'" in shown for one in district.students.district_id)


@mostly_one_database
@pytest.mark.usefixtures("without_plot", "promoting")
def test_unchanged_data_are_not_trained_again(
    engine: sa.Engine, tenant: TenantSettings, registry: Registry, district: District
) -> None:
    points = [week(21), LAST]
    first = train_risk_models(work_of(engine, tenant), tenant, points, registry)
    again = train_risk_models(work_of(engine, tenant), tenant, points, registry)
    assert [one.status for one in again] == ["unchanged", "unchanged"]
    assert [(one.model_version, one.metrics, one.promoted) for one in again] == [
        (one.model_version, one.metrics, one.promoted) for one in first
    ]
    assert len(rows_of(engine, tenant)) == 2

    forced = train_risk_models(work_of(engine, tenant), tenant, [LAST], registry, force=True)
    assert [(one.status, one.model_version) for one in forced] == [("trained", first[-1].model_version)]
    assert forced[0].metrics == first[-1].metrics
    assert len(rows_of(engine, tenant)) == 2
    assert contradictions(engine, tenant, registry) == []

    other_label = tenant.model_copy(update={"label": LabelSettings(failing_below=65)})
    assert [one.status for one in train_risk_models(work_of(engine, other_label), other_label, [LAST], registry)] == [
        "trained"
    ]

    # A late correction of an early week: the older point's model is new, yet the champion stays the one with newer
    # data.
    district = District(district.students, district.activity.copy(), district.courses, district.weeks)
    early = (district.activity.week_start == week(4)) & (district.activity.sessions_absent > 0)
    district.activity.loc[early, ["sessions_absent", "unexcused_absences"]] = 0
    write_features(engine, tenant, district)
    (corrected,) = train_risk_models(work_of(engine, other_label), other_label, [week(21)], registry)
    assert (corrected.status, corrected.promoted) == ("trained", True)
    assert "newer data" in corrected.reason
    active = [row.data_through for row in rows_of(engine, tenant) if row.is_active]
    assert active == [LAST]
    assert contradictions(engine, tenant, registry) == []


@mostly_one_database
@pytest.mark.usefixtures("without_plot")
def test_later_weeks_do_not_change_an_earlier_model(engine: sa.Engine, registry: Registry, district: District) -> None:
    """Trained at week 21 with 26 weeks stored, or with 22: the same data, the same version."""
    whole, short = tenant_settings(training=QUICK), tenant_settings(training=QUICK)
    write(engine, whole, district)
    ended = district.students.exit_date.map(lambda day: day if isinstance(day, dt.date) and day < week(22) else None)
    people = district.students.assign(exit_date=ended)
    people["exit_type"] = people.exit_type.where(people.exit_date.notna(), None)
    known = people[people.enrollment_date < week(22)].assign(
        student_id=[type(one)(int=one.int ^ 1) for one in people[people.enrollment_date < week(22)].student_id]
    )
    renamed = dict(zip(people[people.enrollment_date < week(22)].student_id, known.student_id, strict=True))
    cut = [
        frame[frame.week_start < week(22)].assign(student_id=lambda one: one.student_id.map(renamed))
        for frame in (district.activity, district.courses)
    ]
    write(engine, short, District(known, *cut, district.weeks[:22]))
    (one,) = train_risk_models(work_of(engine, whole), whole, [week(21)], registry)
    (other,) = train_risk_models(work_of(engine, short), short, [week(21)], registry)
    assert (one.model_version, one.metrics) == (other.model_version, other.metrics)


@pytest.mark.parametrize(
    ("point", "sections", "words"),
    [
        (week(3), {}, "no week has both"),
        (week(15), {}, "at least 9 are needed"),
        (LAST, {"training": TrainingSettings(minimum_train_per_class=5_000)}, "Training up to .* at least 5000"),
        (LAST, {"training": TrainingSettings(minimum_validation_per_class=5_000)}, "Validation up to .* at least 5000"),
        (
            LAST,
            {
                "label": LabelSettings(
                    attendance_below=None, failing_below=0.001, serious_severity=None, incident_count=None
                )
            },
            "with",
        ),
        (LAST, {"cohort": CohortSettings(minimum_weeks_of_data=90)}, "no week has both"),
    ],
    ids=["too early", "one horizon", "few to train", "few to validate", "rare event", "nobody"],
)
def test_too_little_is_no_model_with_a_reason(
    engine: sa.Engine, registry: Registry, point: dt.date, sections: dict, words: str
) -> None:
    district = made_up_district(count=30)
    if "label" in sections:
        district = District(
            district.students.assign(exit_type=None, exit_date=None),
            *[district.activity, district.courses],
            district.weeks,
        )
    tenant = tenant_settings(**sections)
    write(engine, tenant, district)
    (outcome,) = train_risk_models(work_of(engine, tenant), tenant, [point], registry)
    assert (outcome.status, outcome.model_version, outcome.metrics, outcome.promoted) == ("no_model", None, None, False)
    assert rows_of(engine, tenant) == []
    assert re.search(words, outcome.reason)
    import mlflow

    run = mlflow.MlflowClient(registry.tracking_uri).get_run(outcome.run_id)
    assert (run.data.tags["status"], run.data.tags["reason"]) == ("no_model", outcome.reason)
    (again,) = train_risk_models(work_of(engine, tenant), tenant, [point], registry)
    assert (again.status, again.run_id) == ("no_model", outcome.run_id)
    assert contradictions(engine, tenant, registry) == []


def test_a_district_without_features_has_no_model(engine: sa.Engine, registry: Registry) -> None:
    (outcome,) = train_risk_models(work_of(engine, tenant_settings()), tenant_settings(), [LAST], registry)
    assert outcome.status == "no_model"
    assert train_risk_models(work_of(engine, tenant_settings()), tenant_settings(), [], registry) == []


@pytest.mark.usefixtures("without_plot")
def test_a_domain_that_is_not_sent_leaves_a_model(engine: sa.Engine, registry: Registry) -> None:
    tenant = tenant_settings(training=QUICK)
    write(engine, tenant, made_up_district(attendance=False))
    (outcome,) = train_risk_models(work_of(engine, tenant), tenant, [LAST], registry)
    assert outcome.status == "trained"
    (row,) = rows_of(engine, tenant)
    assert row.hyperparameters["coefficients"]["attendance_rate_4w"] == 0.0
    assert row.hyperparameters["coefficients"]["missing:attendance_rate_4w"] == 0.0


@pytest.mark.usefixtures("without_plot")
def test_a_model_below_the_gate_is_recorded_but_not_champion(
    engine: sa.Engine, tenant: TenantSettings, registry: Registry
) -> None:
    strict = tenant.model_copy(update={"promotion": LENIENT.model_copy(update={"minimum_auc": 0.999})})
    (outcome,) = train_risk_models(work_of(engine, strict), strict, [LAST], registry)
    assert (outcome.status, outcome.promoted) == ("trained", False)
    assert "below 0.999" in outcome.reason
    (row,) = rows_of(engine, tenant)
    assert not row.is_active
    assert str(registry.champion(tenant.name)).startswith(f"{LAST}-rule-")
    assert contradictions(engine, tenant, registry) == []


@pytest.mark.usefixtures("without_plot", "promoting")
def test_differences_between_registry_and_table_are_found_and_an_alias_is_not_moved_back_silently(
    engine: sa.Engine, tenant: TenantSettings, registry: Registry
) -> None:
    train_risk_models(work_of(engine, tenant), tenant, [week(21), LAST], registry)
    first, second = rows_of(engine, tenant)
    registry.set_champion(tenant.name, "1")
    moved = [
        f"MLflow's champion is {first.model_version}, but the active model in model_metadata is {second.model_version}."
    ]
    assert contradictions(engine, tenant, registry) == moved
    assert train_risk_models(work_of(engine, tenant), tenant, [LAST], registry)[0].status == "unchanged"
    assert contradictions(engine, tenant, registry) == moved
    registry.set_champion(tenant.name, "2")
    with engine.begin() as connection:
        row = {"tenant_id": tenant.name, "model_version": "2020-01-06-00000000", "is_active": False}
        connection.execute(sa.insert(model_metadata).values(id=uuid.uuid4(), **row))
    assert contradictions(engine, tenant, registry) == [
        "Model 2020-01-06-00000000 is in model_metadata, but not registered in MLflow.",
    ]


@one_database
@pytest.mark.usefixtures("without_plot")
def test_a_row_that_could_not_be_written_is_noticed_and_repaired(
    engine: sa.Engine, tenant: TenantSettings, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_arguments: object, **_options: object) -> None:
        raise RuntimeError("the database went away")

    with monkeypatch.context() as patch:
        patch.setattr("edupulse_pipelines.risk.training.write_record", broken)
        with pytest.raises(RuntimeError):
            train_risk_models(work_of(engine, tenant), tenant, [LAST], registry)
    assert len(contradictions(engine, tenant, registry)) == 1  # the alias comes last
    train_risk_models(work_of(engine, tenant), tenant, [LAST], registry)
    assert contradictions(engine, tenant, registry) == []


def test_an_mlflow_that_does_not_answer_is_said(
    engine: sa.Engine, tenant: TenantSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    registry = Registry("http://127.0.0.1:9", tmp_path)
    with pytest.raises(RegistryUnavailable, match="MLflow at"):
        train_risk_models(work_of(engine, tenant), tenant, [LAST], registry)


def test_the_matrix_is_ordered_by_week_and_number(engine: sa.Engine, tenant: TenantSettings) -> None:
    weeks = [week(number) for number in range(12)]
    with engine.connect() as connection:
        matrix = read_cohort(connection, work_of(connection, tenant), tenant, weeks)
    assert matrix.weeks == tuple(weeks[3:])
    assert list(matrix.population.district_ids) == sorted(matrix.population.district_ids)
    for i in range(len(matrix.weeks)):
        part = matrix.student[matrix.offsets[i] : matrix.offsets[i + 1]]
        assert (np.diff(part) > 0).all()


def test_one_changed_number_changes_the_hash(engine: sa.Engine, tenant: TenantSettings) -> None:
    with engine.connect() as connection:
        matrix = read_cohort(connection, work_of(connection, tenant), tenant, [week(5)])
        outcome = np.zeros(len(matrix.student), dtype=np.int8)
        rows = np.arange(len(outcome))
        before = matrix.digest(rows, outcome)
        assert read_cohort(connection, work_of(connection, tenant), tenant, [week(5)]).digest(rows, outcome) == before
    outcome[3] = 1
    assert matrix.digest(rows, outcome) != before
    outcome[3] = 0
    matrix.values[3, 2] += 1e-6
    assert matrix.digest(rows, outcome) != before


@pytest.mark.usefixtures("without_plot")
def test_nothing_is_written_to_the_records(engine: sa.Engine, tenant: TenantSettings, registry: Registry) -> None:
    def counts() -> list[int]:
        with engine.connect() as connection:
            return [
                connection.scalar(sa.select(sa.func.count()).select_from(one)) for one in (students, weekly_activity)
            ]

    before = counts()
    train_risk_models(work_of(engine, tenant), tenant, [LAST], registry)
    assert counts() == before


def recorded(engine: sa.Engine, tenant: TenantSettings) -> dict[str, list[dict[str, Any]]]:
    """Everything that training writes of models."""
    with engine.connect() as connection:
        return {
            table.name: [
                dict(row)
                for row in connection.execute(
                    sa.select(table)
                    .where(table.c.tenant_id == tenant.name, table.c.model_version.not_like("%rule-%"))
                    .order_by(*table.primary_key.columns)
                ).mappings()
            ]
            for table in (model_metadata, model_evaluations, promotion_decisions)
        }


# What is written of a training.


@pytest.mark.usefixtures("without_plot")
def test_every_figure_is_written_in_long_form(engine: sa.Engine, tenant: TenantSettings, registry: Registry) -> None:
    with engine.begin() as connection:
        for number, gender in enumerate(["F", "M", None]):
            mine = students.c.district_id.like(f"%{number}")
            connection.execute(
                sa.update(students).where(students.c.tenant_id == tenant.name, mine).values(gender=gender)
            )
        connection.execute(
            sa.update(students)
            .where(students.c.tenant_id == tenant.name, students.c.district_id.like("%3_"))
            .values(gender="F")
        )
    *_, newest = train_risk_models(work_of(engine, tenant), tenant, [week(21), LAST], registry)
    assert newest.metrics is not None
    (row,) = [one for one in rows_of(engine, tenant) if one.model_version == newest.model_version]
    validation = [dt.date.fromisoformat(one) for one in row.hyperparameters["validation_weeks"]]
    frame = pd.DataFrame(recorded(engine, tenant)["model_evaluations"])
    frame = frame[frame.model_version == newest.model_version]
    assert {(one.scope, one.candidate) for one in frame.itertuples()} == {
        ("validation", "logistic"),
        ("validation", "rule"),
        ("validation", "champion"),
        ("week", "logistic"),
        ("week", "rule"),
        ("unseen_students", "logistic"),
    }
    assert set(frame[frame.scope != "week"].as_of_date) == {feature_date(validation[-1])}
    assert set(frame[frame.scope == "week"].as_of_date) == {feature_date(one) for one in validation}

    everybody = frame[(frame.scope == "validation") & (frame.subgroup == "") & (frame.parameter == "")]
    figures = everybody.set_index(["candidate", "metric"])["value"]
    assert figures["logistic", "auc_roc"] == pytest.approx(newest.metrics["auc_roc"], abs=1e-6)
    assert figures["rule", "auc_roc"] == pytest.approx(newest.metrics["baseline"]["auc_roc"], abs=1e-6)
    unseen = frame[(frame.scope == "unseen_students") & (frame.metric == "auc_roc")]["value"].tolist()
    assert unseen == pytest.approx([newest.metrics["unseen_students"]["auc_roc"]], abs=1e-6)

    of_groups = frame[frame.subgroup != ""]
    assert set(of_groups.scope) == {"validation"}
    # The few boys would be everybody less the others; all are in one grade, which is nothing to compare.
    assert set(of_groups.subgroup) == {"gender=F and smaller groups", "gender=not recorded"}
    assert (of_groups.samples % (10 * len(validation)) == 0).all()
    assert (of_groups.value.dropna() == of_groups.value.dropna().round(2)).all()


@pytest.mark.usefixtures("without_plot")
def test_subgroups_are_those_that_the_settings_name(
    engine: sa.Engine, tenant: TenantSettings, registry: Registry
) -> None:
    """What is audited decides about a promotion, so other settings are another training."""
    with engine.begin() as connection:
        for number, facts in enumerate([{"english_learner": True}, {"english_learner": False}]):
            mine = sa.and_(students.c.tenant_id == tenant.name, students.c.district_id.like(f"%{number}"))
            connection.execute(sa.update(students).where(mine).values(student_metadata=facts))
    (before,) = train_risk_models(work_of(engine, tenant), tenant, [LAST], registry)
    other = tenant.model_copy(update={"audit": AuditSettings(subgroups=("metadata.english_learner",))})
    (after,) = train_risk_models(work_of(engine, tenant), other, [LAST], registry)
    assert (after.status, after.model_version == before.model_version) == ("trained", False)
    found = recorded(engine, tenant)
    named = {
        one["subgroup"]
        for one in found["model_evaluations"]
        if one["model_version"] == after.model_version and one["subgroup"]
    }
    # Those who learn English and those who do not are too few to be named, and the others would tell of them.
    assert not any(value in name for name in named for value in ("true", "false"))
    audited = {one["model_version"]: one["numbers"]["fairness"]["audited"] for one in found["promotion_decisions"]}
    assert audited == {
        before.model_version: ["gender", "ethnicity", "socioeconomic_status", "grade_level"],
        after.model_version: ["metadata.english_learner"],
    }


@one_database
@pytest.mark.usefixtures("without_plot")
def test_the_decision_is_written_with_its_numbers_and_comes_out_the_same_again(
    engine: sa.Engine, tenant: TenantSettings, registry: Registry
) -> None:
    (outcome,) = train_risk_models(work_of(engine, tenant, "run-9"), tenant, [LAST], registry)
    before = recorded(engine, tenant)
    (decision,) = before["promotion_decisions"]
    assert outcome.decision is not None
    assert (decision["kind"], decision["model_version"], decision["run_id"]) == (
        "gate", outcome.model_version, "run-9"
    )  # fmt: skip
    assert (decision["promoted"], outcome.reason.startswith(decision["reason"])) == (outcome.promoted, True)
    assert decision["previous_version"] is None
    assert decision["numbers"] == json.loads(json.dumps(outcome.decision.numbers))
    assert decision["numbers"]["leakage"]["passed"] is True
    assert decision["numbers"]["champion_compared"] is False

    (again,) = train_risk_models(work_of(engine, tenant, "run-9"), tenant, [LAST], registry, force=True)
    assert (again.model_version, again.metrics, again.promoted, again.reason) == (
        outcome.model_version, outcome.metrics, outcome.promoted, outcome.reason
    )  # fmt: skip
    after = recorded(engine, tenant)
    assert [one["numbers"] for one in after["promotion_decisions"]] == [decision["numbers"]] * 2

    def figures(found: dict[str, list[dict[str, Any]]]) -> list[tuple[Any, ...]]:
        noted = ("evaluated_at", "change_id")
        return [tuple(v for k, v in one.items() if k not in noted) for one in found["model_evaluations"]]

    assert figures(after) == figures(before)
    assert [row["is_active"] for row in after["model_metadata"]] == [outcome.promoted]
    assert contradictions(engine, tenant, registry) == []


@one_database
@pytest.mark.usefixtures("without_plot")
def test_a_model_can_be_made_again_from_its_record(
    engine: sa.Engine, tenant: TenantSettings, registry: Registry, district: District
) -> None:
    (outcome,) = train_risk_models(work_of(engine, tenant), tenant, [LAST], registry)
    assert outcome.model_version is not None
    before = recorded(engine, tenant)
    found = reproduce(work_of(engine, tenant), tenant, outcome.model_version, registry)
    assert (found.same_data, found.same_settings, found.reproduced) == (True, True, True)
    assert found.largest_difference is not None and found.largest_difference <= 1e-6
    assert "fitted again" in found.sentence

    other = tenant.model_copy(update={"promotion": PromotionSettings(capacity=0.2)})
    refused = reproduce(work_of(engine, other), other, outcome.model_version, registry)
    assert (refused.same_data, refused.same_settings, refused.reproduced) == (True, False, False)
    assert "the settings are not those" in refused.sentence

    changed = District(district.students, district.activity.copy(), district.courses, district.weeks)
    changed.activity.loc[changed.activity.week_start == week(4), ["sessions_absent", "unexcused_absences"]] = 0
    write_features(engine, tenant, changed)
    refused = reproduce(work_of(engine, tenant), tenant, outcome.model_version, registry)
    assert (refused.same_data, refused.largest_difference, refused.reproduced) == (False, None, False)
    assert "the data are not those" in refused.sentence
    with pytest.raises(EduPulseError, match=f"{tenant.name} has no model 2020-01-06-00000000"):
        reproduce(work_of(engine, tenant), tenant, "2020-01-06-00000000", registry)
    assert recorded(engine, tenant) == before


@one_database
@pytest.mark.usefixtures("without_plot")
def test_a_part_of_a_large_district_can_be_made_again(
    engine: sa.Engine, tenant: TenantSettings, registry: Registry
) -> None:
    """Whole students train, and the same ones again, also those of an earlier point of the same call."""
    tenant = tenant.model_copy(update={"training": QUICK.model_copy(update={"max_training_rows": 160})})
    outcomes = train_risk_models(work_of(engine, tenant), tenant, [week(22), LAST], registry)
    assert [one.status for one in outcomes] == ["trained", "trained"]
    rows = rows_of(engine, tenant)
    assert [row.hyperparameters["training_rows"] <= 160 for row in rows] == [True, True]
    assert rows[-1].hyperparameters["training_rows"] < rows[-1].hyperparameters["rows_that_could_train"]
    for row in rows:
        assert reproduce(work_of(engine, tenant), tenant, row.model_version, registry).reproduced


@one_database
@pytest.mark.usefixtures("without_plot")
def test_until_exit_groups_that_have_ended_train_and_the_newest_validates(
    engine: sa.Engine, registry: Registry
) -> None:
    ended = [(name, taught(0, 5, pass_=8, fail=3, early=(3, 4))) for name in "abc"]
    district = modules({**dict(ended), "d": taught(6, 11, pass_=8, fail=3, early=(9,))})
    # What would be noise otherwise, of which no model with signs learns anything: who leaves badly was absent more.
    badly = district.students.student_id[district.students.exit_type != "completed"]
    district.activity.loc[district.activity.student_id.isin(badly), "sessions_absent"] += 1
    tenant = stored(engine, district, training=QUICK)
    early, one_part, outcome = train_risk_models(
        work_of(engine, tenant), tenant, [week(3), week(8), week(11)], registry
    )
    assert early.reason == (
        f"Up to the week of {week(3)} no week has both students with at least 1 weeks of data and whose outcomes are "
        "known."
    )
    assert one_part.reason.startswith(f"Up to the week of {week(8)} no group has ended that began")
    assert [one.status for one in (early, one_part, outcome)] == ["no_model", "no_model", "trained"], outcome.reason
    assert outcome.leakage is not None and outcome.leakage["passed"]
    (row,) = rows_of(engine, tenant)
    training, validation = (row.hyperparameters[f"{part}_weeks"] for part in ("training", "validation"))
    assert training == [week(number).isoformat() for number in range(5)]
    assert validation == [week(number).isoformat() for number in range(6, 11)]
    assert row.hyperparameters["settings"]["label"]["horizon_weeks"] == "exit"
    assert reproduce(work_of(engine, tenant), tenant, row.model_version, registry).reproduced


@one_database
@pytest.mark.usefixtures("without_plot")
def test_every_candidate_copes_with_a_domain_that_is_not_sent(engine: sa.Engine, registry: Registry) -> None:
    every = TrainingSettings(tuning_fits=3 * TUNING_FOLDS)  # each candidate once
    tenant = tenant_settings(training=every)
    write(engine, tenant, made_up_district(count=40, attendance=False))
    (outcome,) = train_risk_models(work_of(engine, tenant), tenant, [LAST], registry)
    assert set(outcome.candidates) == {"logistic", "additive", "boosting", "averaged", "rule"}
    assert outcome.model_version is not None
    assert reproduce(work_of(engine, tenant), tenant, outcome.model_version, registry).reproduced


# Bad input.


@one_database
@pytest.mark.parametrize(
    ("absent", "words"),
    [(0, r"there are 0 with and \d+ without"), (1, r"there are \d+ with and 0 without")],
    ids=["nobody", "everybody"],
)
def test_one_class_only_is_no_model(engine: sa.Engine, registry: Registry, absent: int, words: str) -> None:
    district = made_up_district(count=30)
    # Of who has left nothing is recorded, so that nothing happens.
    district.students = district.students[district.students.exit_date.isna()]
    kept = district.activity.student_id.isin(district.students.student_id)
    district.activity = district.activity[kept].assign(sessions_present=4, sessions_absent=absent)
    district.courses = district.courses[district.courses.student_id.isin(district.students.student_id)]
    label = LabelSettings(attendance_below=0.99, failing_below=None, serious_severity=None, incident_count=None)
    district.activity = district.activity.assign(sessions_tardy=0, sessions_excused=0)
    tenant = tenant_settings(label=label, training=QUICK)
    write(engine, tenant, district)
    (outcome,) = train_risk_models(work_of(engine, tenant), tenant, [LAST], registry)
    assert outcome.status == "no_model"
    assert re.search(words, outcome.reason), outcome.reason
    assert recorded(engine, tenant) == {"model_metadata": [], "model_evaluations": [], "promotion_decisions": []}
    assert registry.champion(tenant.name) is None


@one_database
@pytest.mark.usefixtures("without_plot")
@pytest.mark.parametrize("what", ["constant", "no grades"])
def test_what_tells_nothing_weighs_nothing(engine: sa.Engine, registry: Registry, what: str) -> None:
    district = made_up_district(count=60)
    if what == "constant":
        district.activity["sessions_tardy"] = 0
        names = ["tardy_rate_4w", "tardy_rate_ytd"]
    else:
        district.activity = district.activity.assign(grade_count=0, grade_mean=None, grade_lowest=None)
        district.courses = district.courses[:0]
        names = ["grade_mean_4w", "grade_mean_ytd", "grade_count_4w", "classmates_ahead", "missing:grade_mean_4w"]
    tenant = tenant_settings(training=QUICK)
    write(engine, tenant, district)
    (outcome,) = train_risk_models(work_of(engine, tenant), tenant, [LAST], registry)
    assert outcome.status == "trained"
    (row,) = rows_of(engine, tenant)
    weights = row.hyperparameters["coefficients"]
    assert {name: weights[name] for name in names} == dict.fromkeys(names, 0.0)
    assert any(weights.values())


@one_database
@pytest.mark.usefixtures("without_plot")
def test_a_district_of_twelve_students(engine: sa.Engine, registry: Registry) -> None:
    """Too few for the gate to be sure of anything: trained or not, there is a reason, and nothing breaks."""
    tenant = tenant_settings(training=QUICK)
    write(engine, tenant, made_up_district(count=12))
    outcomes = train_risk_models(
        work_of(engine, tenant), tenant, [week(number) for number in (15, 18, 21, 25)], registry
    )
    assert [(one.status, one.promoted) for one in outcomes] == [
        ("no_model", False),
        ("no_model", False),
        ("trained", False),
        ("trained", False),
    ]
    assert all(one.reason for one in outcomes)
    assert str(registry.champion(tenant.name)).startswith(f"{LAST}-rule-")
    of_groups = [one for one in recorded(engine, tenant)["model_evaluations"] if one["subgroup"]]
    assert of_groups == []


@one_database
@pytest.mark.usefixtures("without_plot")
def test_a_week_without_a_cohort_is_left_out(engine: sa.Engine, tenant: TenantSettings, registry: Registry) -> None:
    with engine.begin() as connection:
        connection.execute(
            sa.delete(student_features).where(
                student_features.c.tenant_id == tenant.name,
                student_features.c.feature_date.in_([feature_date(week(6)), feature_date(week(16))]),
            )
        )
    (outcome,) = train_risk_models(work_of(engine, tenant), tenant, [LAST], registry)
    assert outcome.status == "trained"
    (row,) = rows_of(engine, tenant)
    used = row.hyperparameters["training_weeks"] + row.hyperparameters["validation_weeks"]
    assert week(5).isoformat() in used
    assert not {week(6).isoformat(), week(16).isoformat()} & set(used)
    # Weeks without any data add nothing that is known.
    (later,) = train_risk_models(work_of(engine, tenant), tenant, [week(40)], registry)
    assert (later.status, later.model_version) == ("unchanged", outcome.model_version)


@one_database
@pytest.mark.usefixtures("without_plot", "promoting")
@pytest.mark.parametrize("broken", ["log_model", "set_champion"])
def test_a_registry_that_goes_away_leaves_everything_as_it_was(
    engine: sa.Engine, tenant: TenantSettings, registry: Registry, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    (first,) = train_risk_models(work_of(engine, tenant), tenant, [week(21)], registry)
    before = recorded(engine, tenant)

    def away(*_arguments: object, **_options: object) -> None:
        raise RegistryUnavailable("MLflow does not answer.")

    with monkeypatch.context() as patch:
        patch.setattr(registry, broken, away)
        with pytest.raises(RegistryUnavailable):
            train_risk_models(work_of(engine, tenant), tenant, [LAST], registry)
    assert recorded(engine, tenant) == before
    assert registry.champion(tenant.name) == first.model_version
    (again,) = train_risk_models(work_of(engine, tenant), tenant, [LAST], registry)
    assert (again.status, registry.champion(tenant.name)) == ("trained", again.model_version)
    assert len(recorded(engine, tenant)["promotion_decisions"]) == 2


@one_database
@pytest.mark.usefixtures("without_plot", "promoting")
def test_a_leak_is_never_promoted(
    engine: sa.Engine, tenant: TenantSettings, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the gate's numbers say."""

    def leaky(frames: Any, weeks: Any) -> pd.DataFrame:
        found = record_features(frames, weeks)
        return found.assign(absences_of_the_year=float(frames.activity["sessions_absent"].sum()))

    monkeypatch.setattr("edupulse_pipelines.risk.training.record_features", leaky)
    (outcome,) = train_risk_models(work_of(engine, tenant), tenant, [LAST], registry)
    assert (outcome.status, outcome.promoted) == ("trained", False)
    assert outcome.leakage is not None and not outcome.leakage["passed"]
    assert outcome.reason.startswith("Not promoted. Leak: features moved")
    assert "absences_of_the_year" in outcome.reason
    (row,) = rows_of(engine, tenant)
    assert (row.is_active, row.promoted) == (False, False)
    assert row.hyperparameters["leakage"]["passed"] is False
    (decision,) = recorded(engine, tenant)["promotion_decisions"]
    assert (decision["promoted"], decision["numbers"]["leakage"]["passed"]) == (False, False)
    assert registry.champion(tenant.name) != outcome.model_version


@one_database
@pytest.mark.usefixtures("without_plot")
def test_a_champion_whose_files_are_gone_is_not_compared_with(
    engine: sa.Engine, tenant: TenantSettings, registry: Registry
) -> None:
    (first,) = train_risk_models(work_of(engine, tenant), tenant, [week(21)], registry)
    assert first.promoted
    with engine.connect() as connection:
        (known,) = trained_models(connection, work_of(connection, tenant))
    shutil.rmtree(Path(known.mlflow.artifact_uri.removeprefix("file://")))
    (outcome,) = train_risk_models(work_of(engine, tenant), tenant, [LAST], registry)
    assert outcome.status == "trained"
    assert outcome.decision is not None
    assert f"The champion {first.model_version} could not be loaded" in outcome.reason
    assert "above the champion" not in outcome.reason
    numbers = recorded(engine, tenant)["promotion_decisions"][-1]["numbers"]
    assert (numbers["champion_version"], numbers["champion_compared"]) == (first.model_version, False)
    assert "champion" not in outcome.candidates


@pytest.mark.usefixtures("without_plot", "promoting")
def test_a_champion_that_a_person_made_meanwhile_stays(
    engine: sa.Engine, tenant: TenantSettings, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first, second) = train_risk_models(work_of(engine, tenant), tenant, [week(20), week(21)], registry)
    assert second.model_version is not None and first.model_version is not None
    judge = training.judge

    def overtaken(*words: Any) -> Any:
        rollback(work_of(engine, tenant), registry, reason="too many flags")
        return judge(*words)

    monkeypatch.setattr(training, "judge", overtaken)
    (late,) = train_risk_models(work_of(engine, tenant), tenant, [LAST], registry)
    assert (late.status, late.promoted) == ("trained", False)
    assert "was changed while this model was trained" in late.reason
    assert [row.model_version for row in rows_of(engine, tenant) if row.is_active] == [first.model_version]
    assert registry.champion(tenant.name) == first.model_version
    assert contradictions(engine, tenant, registry) == []
