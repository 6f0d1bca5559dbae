from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import mlflow
import numpy as np
import pandas as pd
import pytest
import requests
from mlflow.exceptions import MlflowException

from edupulse_pipelines.errors import ModelArtifactError, RegistryUnavailable
from edupulse_pipelines.risk.book.code_revision import git_revision
from edupulse_pipelines.risk.book.registry import RECORD_DOCUMENT, Registry
from edupulse_pipelines.risk.book.run_contents import LoggedCandidate, LoggedDataset
from edupulse_pipelines_tests.risk.district import tenant_settings
from edupulse_pipelines_tests.risk.registered import fitted, logged, sample

VERSION = "2025-02-24-abcdef12"


def files_of(uri: str | None) -> Path:
    """The folder of a model's files."""
    assert uri is not None
    return Path(url2pathname(urlsplit(uri).path)) if "://" in uri else Path(uri)


@pytest.mark.parametrize("kind", ["logistic", "additive", "boosting"])
def test_every_kind_of_model_comes_back_as_it_was(registry: Registry, kind: str) -> None:
    tenant = tenant_settings()
    run, _ = logged(registry, tenant, VERSION, kind=kind)
    frame, *_ = sample(seed=9)
    model = registry.load_model(tenant.name, VERSION, run.registry_version, run.artifact_sha256)
    assert model.kind == kind
    assert np.array_equal(model.log_odds(frame), fitted(kind).log_odds(frame))
    assert np.array_equal(model.contributions(frame), fitted(kind).contributions(frame))
    assert model.typical == fitted(kind).typical


def test_what_a_person_finds_in_mlflow(registry: Registry) -> None:
    tenant = tenant_settings()
    run, _ = logged(
        registry,
        tenant,
        VERSION,
        documents={"model_card.html": "<h1>Card</h1>", "plots/notes.json": {"b": 2}},
        datasets=[
            LoggedDataset("training", "labelled student-weeks", "a" * 64, ["x", "y"], {"samples": 900, "events": 90}),
            LoggedDataset("validation", "labelled student-weeks", "b" * 64, ["x", "y"], {"samples": 300, "events": 20}),
        ],
        description="# Risk model\n\nIntended for lists of students to support.",
    )
    client = mlflow.MlflowClient(registry.tracking_uri)
    found = client.get_run(run.run_id)
    assert found.info.run_name == VERSION
    assert found.data.tags["tenant"] == tenant.name
    assert found.data.tags["git_revision"] == git_revision()
    assert found.data.tags["mlflow.note.content"].startswith("# Risk model")
    assert found.data.metrics == {"auc_roc": 0.8}
    inputs = {one.tags[0].value: one.dataset for one in found.inputs.dataset_inputs}
    assert set(inputs) == {"training", "validation"}
    assert (inputs["training"].name, inputs["training"].digest) == ("labelled student-weeks", "a" * 36)
    assert json.loads(inputs["training"].profile) == {"samples": 900, "events": 90}
    assert json.loads(inputs["training"].source)["sha256"] == "a" * 64
    assert found.data.tags["mlflow.source.name"] == "edupulse_pipelines"
    version = client.get_model_version(f"edupulse-{tenant.name}", run.registry_version)
    assert version.tags["artifact_sha256"] == run.artifact_sha256
    assert version.description.startswith("# Risk model")
    model = client.get_logged_model(run.model_id)
    assert (model.name, model.model_type) == (VERSION, "logistic")
    assert {one.key: one.value for one in model.metrics} == {"auc_roc": 0.8}
    assert model.tags["data_through"] == "2025-02-24"
    # Texts are stored as they are, everything else as JSON; folders stay.
    assert registry.run_document(run.run_id, "model_card.md") == "# Card\n"
    assert registry.run_document(run.run_id, "model_card.html") == "<h1>Card</h1>"
    assert json.loads(registry.run_document(run.run_id, "plots/notes.json") or "") == {"b": 2}
    record = json.loads(registry.run_document(run.run_id, RECORD_DOCUMENT) or "")
    assert (record["tenant"], record["model_version"], record["artifact_sha256"]) == (
        tenant.name,
        VERSION,
        run.artifact_sha256,
    )
    assert registry.run_document(run.run_id, "nothing.md") is None
    assert registry.run_document("0" * 32, "model_card.md") is None


def test_two_datasets_of_one_digest_stay_two(registry: Registry) -> None:
    tenant = tenant_settings()
    both = [LoggedDataset(context, "student-weeks", "a" * 64, ["x"], {}) for context in ("training", "validation")]
    run, _ = logged(registry, tenant, VERSION, datasets=both)
    inputs = mlflow.MlflowClient(registry.tracking_uri).get_run(run.run_id).inputs.dataset_inputs
    assert {one.dataset.name for one in inputs} == {"student-weeks, training", "student-weeks, validation"}


def test_figures_name_the_dataset_they_were_measured_on(registry: Registry) -> None:
    tenant = tenant_settings()
    run, _ = logged(
        registry,
        tenant,
        VERSION,
        metrics={"training": {"training_samples": 900.0}, "validation": {"auc_roc": 0.8}, "": {"seconds": 2.0}},
        datasets=[
            LoggedDataset(context, context, context[0] * 64, ["x"], {}) for context in ("training", "validation")
        ],
    )
    client = mlflow.MlflowClient(registry.tracking_uri)
    of_model = {one.key: one for one in client.get_logged_model(run.model_id).metrics}
    assert {key: (one.dataset_name, one.dataset_digest) for key, one in of_model.items()} == {
        "training_samples": ("training", "t" * 36),
        "auc_roc": ("validation", "v" * 36),
        "seconds": (None, None),
    }
    assert client.get_run(run.run_id).data.metrics == {"training_samples": 900.0, "auc_roc": 0.8, "seconds": 2.0}


def test_candidates_are_children_of_the_run(registry: Registry) -> None:
    tenant = tenant_settings()
    run, _ = logged(
        registry,
        tenant,
        VERSION,
        datasets=[LoggedDataset("validation", "validation weeks", "b" * 64, ["x"], {"samples": 300})],
        candidates=[
            LoggedCandidate("logistic", {"config.C": 0.03}, {"auc_roc": 0.8}, {"chosen": "true"}),
            LoggedCandidate("boosting", {}, {}, {"chosen": "false", "left_out": "it was not reached"}),
        ],
    )
    client = mlflow.MlflowClient(registry.tracking_uri)
    experiment = client.get_experiment_by_name(f"edupulse/{tenant.name}")
    children = {
        child.info.run_name: child
        for child in client.search_runs([experiment.experiment_id], f"tags.`mlflow.parentRunId` = '{run.run_id}'")
    }
    assert set(children) == {"logistic", "boosting"}
    logistic, boosting = children["logistic"], children["boosting"]
    assert (logistic.data.params, logistic.data.metrics) == ({"config.C": "0.03"}, {"auc_roc": 0.8})
    assert logistic.data.tags["model_version"] == VERSION and logistic.data.tags["chosen"] == "true"
    assert boosting.data.tags["left_out"] == "it was not reached"
    assert {child.info.status for child in children.values()} == {"FINISHED"}
    (used,) = logistic.inputs.dataset_inputs
    assert (used.dataset.name, used.tags[0].value) == ("validation weeks", "validation")
    # What looks for trainings finds no candidate.
    assert registry.find_run(tenant.name, {"status": "trained", "model_version": VERSION}) == run.run_id
    assert registry.find_run(tenant.name, {"status": "trained", "candidate": "boosting"}) is None


def test_a_table_is_shown_as_one(registry: Registry) -> None:
    table = pd.DataFrame({"metric": ["auc_roc", "base_rate"], "subgroup": ["", "g=F"], "value": [0.8, None]})
    run, _ = logged(registry, tenant_settings(), VERSION, tables={"evaluations.json": table})
    client = mlflow.MlflowClient(registry.tracking_uri)
    shown = json.loads(client.get_run(run.run_id).data.tags["mlflow.loggedArtifacts"])
    assert shown == [{"path": "evaluations.json", "type": "table"}]
    kept = json.loads(registry.run_document(run.run_id, "evaluations.json") or "")
    assert kept == {
        "columns": ["metric", "subgroup", "value"],
        "data": [["auc_roc", "", 0.8], ["base_rate", "g=F", None]],
    }


def test_the_hash_is_that_of_sha256sum(registry: Registry) -> None:
    tenant = tenant_settings()
    run, _ = logged(registry, tenant, VERSION)
    folder = files_of(run.artifact_uri)
    said = subprocess.run(
        "find . -type f ! -name registered_model_meta | sed 's|^./||' | LC_ALL=C sort | xargs sha256sum | sha256sum",
        shell=True, cwd=folder, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert said.split()[0] == run.artifact_sha256
    # Reading it through MLflow leaves it as it was.
    mlflow.set_tracking_uri(registry.tracking_uri)
    mlflow.artifacts.download_artifacts(f"models:/edupulse-{tenant.name}/{run.registry_version}")
    registry.verify_model(tenant.name, VERSION)


@pytest.mark.parametrize("named", ["the files", "the tag", "both"])
def test_a_changed_model_is_refused(registry: Registry, named: str) -> None:
    tenant = tenant_settings()
    run, _ = logged(registry, tenant, VERSION)
    other, _ = logged(registry, tenant, "2025-03-03-00000000", kind="additive")
    if named in ("the files", "both"):
        shutil.copy(files_of(other.artifact_uri) / "model.skops", files_of(run.artifact_uri) / "model.skops")
    if named in ("the tag", "both"):
        assert run.registry_version and other.artifact_sha256
        registry.tag_version(tenant.name, run.registry_version, {"artifact_sha256": other.artifact_sha256})
    with pytest.raises(ModelArtifactError, match="not the model that was logged") as said:
        registry.load_model(tenant.name, VERSION, run.registry_version, None if named == "the files" else "0" * 64)
    assert VERSION in str(said.value) and "edupulse model sync" in str(said.value)
    if named == "the tag":  # the table's word counts
        registry.load_model(tenant.name, VERSION, run.registry_version, run.artifact_sha256)


def test_what_the_files_say_about_themselves_is_not_trusted(registry: Registry) -> None:
    """A model that asks to be unpickled, without a hash to compare with."""
    tenant = tenant_settings()
    run, _ = logged(registry, tenant, VERSION)
    client = mlflow.MlflowClient(registry.tracking_uri)
    client.delete_model_version_tag(f"edupulse-{tenant.name}", run.registry_version, "artifact_sha256")
    registry.load_model(tenant.name, VERSION)
    (files_of(run.artifact_uri) / "model.skops").write_bytes(b"not a model")
    with pytest.raises(ModelArtifactError, match="cannot be loaded"):
        registry.load_model(tenant.name, VERSION)


@pytest.mark.parametrize("gone", ["file", "folder", "version", "never"])
def test_a_model_that_is_gone_is_said(registry: Registry, gone: str) -> None:
    tenant = tenant_settings()
    run, _ = logged(registry, tenant, VERSION)
    if gone == "file":
        (files_of(run.artifact_uri) / "model.skops").unlink()
    elif gone == "folder":
        shutil.rmtree(files_of(run.artifact_uri))
    elif gone == "version":
        client = mlflow.MlflowClient(registry.tracking_uri)
        client.delete_model_version(f"edupulse-{tenant.name}", run.registry_version)
    version = "2020-01-06-00000000" if gone == "never" else VERSION
    asked = None if gone == "never" else run.registry_version
    with pytest.raises(ModelArtifactError, match=f"Model {version} of {tenant.name}"):
        registry.load_model(tenant.name, version, asked)


def test_a_registry_that_is_down_is_not_a_model_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    registry = Registry("http://127.0.0.1:9", tmp_path)
    with pytest.raises(RegistryUnavailable) as said:
        registry.load_model("north", VERSION, "1")
    assert not isinstance(said.value, ModelArtifactError)


@pytest.mark.parametrize("call", ["log_inputs", "log_batch", "create_model_version"])
def test_a_registry_that_goes_down_in_the_middle_leaves_a_failed_run_and_no_champion(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    tenant = tenant_settings()
    logged(registry, tenant, VERSION)

    def down(*_arguments: object, **_options: object) -> None:
        raise MlflowException("API request to http://elsewhere failed") from requests.exceptions.ConnectionError(
            "refused"
        )

    with monkeypatch.context() as patch:
        patch.setattr(mlflow.MlflowClient, call, down)
        with pytest.raises(RegistryUnavailable, match="API request"):
            logged(
                registry,
                tenant,
                "2025-03-03-00000000",
                datasets=[LoggedDataset("training", "d", "a", ["x"], {})],
                candidates=[LoggedCandidate("logistic", {}, {"auc_roc": 0.8})],
            )
    assert registry.model_versions(tenant.name) == {VERSION: ["1"]}
    assert registry.champion(tenant.name) is None
    client = mlflow.MlflowClient(registry.tracking_uri)
    experiment = client.get_experiment_by_name(f"edupulse/{tenant.name}")
    runs = client.search_runs([experiment.experiment_id])
    assert {run.info.status for run in runs if run.info.run_name == "2025-03-03-00000000"} == {"FAILED"}
    assert {run.info.status for run in runs} == {"FAILED", "FINISHED"}
    logged(registry, tenant, "2025-03-03-00000000")
    assert len(registry.model_versions(tenant.name)) == 2


def test_the_champion_alias_comes_and_goes(registry: Registry) -> None:
    tenant = tenant_settings()
    assert registry.champion(tenant.name) is None
    registry.remove_champion(tenant.name)
    run, _ = logged(registry, tenant, VERSION)
    assert run.registry_version is not None
    registry.set_champion(tenant.name, run.registry_version)
    assert registry.champion(tenant.name) == VERSION
    registry.remove_champion(tenant.name)
    registry.remove_champion(tenant.name)
    assert registry.champion(tenant.name) is None
