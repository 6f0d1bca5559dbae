from __future__ import annotations

import datetime as dt
import re
import uuid

import numpy as np
import pytest
import sqlalchemy as sa

from edupulse_pipelines.errors import RegistryUnavailable
from edupulse_pipelines.risk.cohorts import read_cohort
from edupulse_pipelines.risk.promotion import Decision
from edupulse_pipelines.risk.registry import Registry, registry_differences
from edupulse_pipelines.risk.training import train_risk_models
from edupulse_pipelines.schema.sqlalchemy_tables import model_metadata, students, weekly_activity
from edupulse_pipelines.settings import (
    CohortSettings,
    LabelSettings,
    PromotionSettings,
    TenantSettings,
    TrainingSettings,
)
from edupulse_pipelines.weeks import WEEK
from edupulse_pipelines_tests.risk.district import (
    District,
    made_up_district,
    tenant_settings,
    week,
    write,
    write_features,
)
from edupulse_pipelines_tests.risk.test_evaluation import SEED_KEYS

LAST = week(25)
QUICK = TrainingSettings(candidates=("logistic",), tuning_fits=0)
"""One candidate without a search: what these tests are about does not depend on it."""
LENIENT = PromotionSettings(capacity=0.3, certainty=0.5, calibration_error=0.5)
"""Among the first tenth of this made-up district nearly everybody has an event, whatever orders it."""


@pytest.fixture(scope="session")
def district() -> District:
    return made_up_district(count=60)


@pytest.fixture
def promoting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gate that lets everybody through: for what happens after it. `test_promotion` tests the gate."""
    monkeypatch.setattr("edupulse_pipelines.risk.training.decide", lambda **_: Decision(True, "Promoted.", {}))


@pytest.fixture
def tenant(engine: sa.Engine, district: District) -> TenantSettings:
    tenant = tenant_settings(training=QUICK, promotion=LENIENT)
    write(engine, tenant, district)
    return tenant


def rows_of(engine: sa.Engine, tenant: TenantSettings) -> list[sa.Row]:
    with engine.connect() as connection:
        return connection.execute(
            sa.select(model_metadata)
            .where(model_metadata.c.tenant_id == tenant.name)
            .order_by(model_metadata.c.training_date)
        ).all()


def test_a_model_is_trained_recorded_and_made_champion(
    engine: sa.Engine, tenant: TenantSettings, registry: Registry, across_databases: dict[str, object]
) -> None:
    done: list[tuple[int, int]] = []
    outcomes = train_risk_models(
        engine, tenant, [LAST, week(21)], registry, progress=lambda *at: done.append(at), run_id="run-7"
    )
    assert done == [(1, 2), (2, 2)]
    assert [(one.data_through, one.status, one.promoted) for one in outcomes] == [
        (week(21), "trained", True),
        (LAST, "trained", False),
    ]
    assert "not above the champion's" in outcomes[-1].reason
    newest = outcomes[-1]
    assert newest.model_version is not None and newest.model_version.startswith("2025-02-24-")
    assert newest.metrics is not None
    assert list(newest.metrics) == [*SEED_KEYS, "baseline", "unseen_students"]
    assert list(newest.metrics["baseline"]) == SEED_KEYS
    assert newest.metrics["auc_roc"] > 0.6
    assert newest.calibration_plot is not None

    first, second = rows_of(engine, tenant)
    assert (first.is_active, second.is_active) == (True, False)
    assert second.model_type == "logistic"
    assert second.performance_metrics == newest.metrics
    assert second.hyperparameters["data_through"] == LAST.isoformat()
    assert registry.champion(tenant.name) == outcomes[0].model_version
    assert registry_differences(engine, tenant, registry) == []

    # Training as-of + horizon <= validation as-of, and every horizon has passed.
    training, validation = (
        [dt.date.fromisoformat(one) for one in second.hyperparameters[f"{part}_weeks"]]
        for part in ("training", "validation")
    )
    assert max(training) + 8 * WEEK <= min(validation)
    assert max(validation) + 8 * WEEK <= LAST

    # The registered model is the one that was evaluated, and the same on both databases.
    model = registry.load_model(tenant.name, newest.model_version, second.hyperparameters["mlflow"]["registry_version"])
    assert model.coefficients == second.hyperparameters["coefficients"]
    found = (
        newest.model_version,
        newest.metrics,
        second.hyperparameters["coefficients"],
        second.hyperparameters["data_hash"],
    )
    assert across_databases.setdefault("model", found) == found


def test_what_mlflow_shows(engine: sa.Engine, tenant: TenantSettings, registry: Registry, district: District) -> None:
    (outcome,) = train_risk_models(engine, tenant, [LAST], registry, run_id="run-7")
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
    assert {file.path for file in client.list_artifacts(outcome.run_id)} >= {
        "calibration.png",
        "settings.json",
        "coefficients.json",
    }
    version = client.get_model_version_by_alias(f"edupulse-{tenant.name}", "champion")
    assert version.tags["data_through"] == LAST.isoformat()
    info = mlflow.models.get_model_info(f"models:/edupulse-{tenant.name}/{version.version}")
    assert info.signature.inputs.input_names()[0] == "attendance_rate_1w"
    assert info.flavors["sklearn"]["serialization_format"] == "skops"
    shown = mlflow.artifacts.load_text(f"runs:/{outcome.run_id}/settings.json") + str(run.data)
    assert not any(f"'{one}'" in shown for one in district.students.district_id)


@pytest.mark.usefixtures("without_plot", "promoting")
def test_unchanged_data_are_not_trained_again(
    engine: sa.Engine, tenant: TenantSettings, registry: Registry, district: District
) -> None:
    points = [week(21), LAST]
    first = train_risk_models(engine, tenant, points, registry)
    again = train_risk_models(engine, tenant, points, registry)
    assert [one.status for one in again] == ["unchanged", "unchanged"]
    assert [(one.model_version, one.metrics, one.promoted) for one in again] == [
        (one.model_version, one.metrics, one.promoted) for one in first
    ]
    assert len(rows_of(engine, tenant)) == 2

    forced = train_risk_models(engine, tenant, [LAST], registry, force=True)
    assert [(one.status, one.model_version) for one in forced] == [("trained", first[-1].model_version)]
    assert forced[0].metrics == first[-1].metrics
    assert len(rows_of(engine, tenant)) == 2
    assert registry_differences(engine, tenant, registry) == []

    other_label = tenant.model_copy(update={"label": LabelSettings(failing_below=65)})
    assert [one.status for one in train_risk_models(engine, other_label, [LAST], registry)] == ["trained"]

    # A late correction of an early week: the older point's model is new, yet the champion stays the one with newer
    # data.
    district = District(district.students, district.activity.copy(), district.courses, district.weeks)
    early = (district.activity.week_start == week(4)) & (district.activity.sessions_absent > 0)
    district.activity.loc[early, ["sessions_absent", "unexcused_absences"]] = 0
    write_features(engine, tenant, district)
    (corrected,) = train_risk_models(engine, other_label, [week(21)], registry)
    assert (corrected.status, corrected.promoted) == ("trained", True)
    assert "newer data" in corrected.reason
    active = [row.hyperparameters["data_through"] for row in rows_of(engine, tenant) if row.is_active]
    assert active == [LAST.isoformat()]
    assert registry_differences(engine, tenant, registry) == []


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
    (one,) = train_risk_models(engine, whole, [week(21)], registry)
    (other,) = train_risk_models(engine, short, [week(21)], registry)
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
    (outcome,) = train_risk_models(engine, tenant, [point], registry)
    assert (outcome.status, outcome.model_version, outcome.metrics, outcome.promoted) == ("no_model", None, None, False)
    assert rows_of(engine, tenant) == []
    assert re.search(words, outcome.reason)
    import mlflow

    run = mlflow.MlflowClient(registry.tracking_uri).get_run(outcome.run_id)
    assert (run.data.tags["status"], run.data.tags["reason"]) == ("no_model", outcome.reason)
    (again,) = train_risk_models(engine, tenant, [point], registry)
    assert (again.status, again.run_id) == ("no_model", outcome.run_id)
    assert registry_differences(engine, tenant, registry) == []


def test_a_district_without_features_has_no_model(engine: sa.Engine, registry: Registry) -> None:
    (outcome,) = train_risk_models(engine, tenant_settings(), [LAST], registry)
    assert outcome.status == "no_model"
    assert train_risk_models(engine, tenant_settings(), [], registry) == []


@pytest.mark.usefixtures("without_plot")
def test_a_domain_that_is_not_sent_leaves_a_model(engine: sa.Engine, registry: Registry) -> None:
    tenant = tenant_settings(training=QUICK)
    write(engine, tenant, made_up_district(attendance=False))
    (outcome,) = train_risk_models(engine, tenant, [LAST], registry)
    assert outcome.status == "trained"
    (row,) = rows_of(engine, tenant)
    assert row.hyperparameters["coefficients"]["attendance_rate_4w"] == 0.0
    assert row.hyperparameters["coefficients"]["missing:attendance_rate_4w"] == 0.0


@pytest.mark.usefixtures("without_plot")
def test_a_model_below_the_gate_is_recorded_but_not_champion(
    engine: sa.Engine, tenant: TenantSettings, registry: Registry
) -> None:
    strict = tenant.model_copy(update={"promotion": LENIENT.model_copy(update={"minimum_auc": 0.999})})
    (outcome,) = train_risk_models(engine, strict, [LAST], registry)
    assert (outcome.status, outcome.promoted) == ("trained", False)
    assert "below 0.999" in outcome.reason
    (row,) = rows_of(engine, tenant)
    assert not row.is_active
    assert registry.champion(tenant.name) is None
    assert registry_differences(engine, tenant, registry) == []


@pytest.mark.usefixtures("without_plot", "promoting")
def test_differences_between_registry_and_table_are_found(
    engine: sa.Engine, tenant: TenantSettings, registry: Registry
) -> None:
    train_risk_models(engine, tenant, [week(21), LAST], registry)
    first, second = rows_of(engine, tenant)
    registry.set_champion(tenant.name, "1")
    assert registry_differences(engine, tenant, registry) == [
        f"MLflow's champion is {first.model_version}, but the active model in model_metadata is {second.model_version}."
    ]
    registry.set_champion(tenant.name, "2")
    with engine.begin() as connection:
        row = {"tenant_id": tenant.name, "model_version": "2020-01-06-00000000", "is_active": False}
        connection.execute(sa.insert(model_metadata).values(id=uuid.uuid4(), **row))
    assert registry_differences(engine, tenant, registry) == [
        "Model 2020-01-06-00000000 is in model_metadata, but not registered in MLflow.",
    ]


@pytest.mark.usefixtures("without_plot")
def test_a_row_that_could_not_be_written_is_noticed_and_repaired(
    engine: sa.Engine, tenant: TenantSettings, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_arguments: object, **_options: object) -> None:
        raise RuntimeError("the database went away")

    with monkeypatch.context() as patch:
        patch.setattr("edupulse_pipelines.risk.training._write_row", broken)
        with pytest.raises(RuntimeError):
            train_risk_models(engine, tenant, [LAST], registry)
    assert len(registry_differences(engine, tenant, registry)) == 1  # the alias comes last
    train_risk_models(engine, tenant, [LAST], registry)
    assert registry_differences(engine, tenant, registry) == []


def test_an_mlflow_that_does_not_answer_is_said(engine: sa.Engine, tenant: TenantSettings, tmp_path) -> None:
    (tmp_path / "file").write_text("not a folder")
    registry = Registry(f"sqlite:///{tmp_path}/file/mlflow.db", tmp_path)
    with pytest.raises(RegistryUnavailable, match="MLflow at"):
        train_risk_models(engine, tenant, [LAST], registry)


def test_the_matrix_is_ordered_by_week_and_number(engine: sa.Engine, tenant: TenantSettings) -> None:
    weeks = [week(number) for number in range(12)]
    with engine.connect() as connection:
        matrix = read_cohort(connection, tenant, weeks)
    assert matrix.weeks == tuple(weeks[3:])
    assert list(matrix.population.district_ids) == sorted(matrix.population.district_ids)
    for i in range(len(matrix.weeks)):
        part = matrix.student[matrix.offsets[i] : matrix.offsets[i + 1]]
        assert (np.diff(part) > 0).all()


def test_one_changed_number_changes_the_hash(engine: sa.Engine, tenant: TenantSettings) -> None:
    with engine.connect() as connection:
        matrix = read_cohort(connection, tenant, [week(5)])
        outcome = np.zeros(len(matrix.student), dtype=np.int8)
        rows = np.arange(len(outcome))
        before = matrix.digest(rows, outcome)
        assert read_cohort(connection, tenant, [week(5)]).digest(rows, outcome) == before
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
    train_risk_models(engine, tenant, [LAST], registry)
    assert counts() == before
