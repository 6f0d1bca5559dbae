"""MLflow: one experiment and one registered model per tenant; what is logged and registered there, and read back.

How the connection is opened is in `mlflow_connection`, how a model's files are checked and loaded in `model_files`,
what a run holds beside its model in `run_contents`. Writes no student: parameters, metrics, settings, datasets and
plots hold counts and rates, and the input example is made of medians. Whether MLflow and `model_metadata` agree is
asked in `mirror`; who is champion is decided in `champion`.
"""

from __future__ import annotations

import contextlib
import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from edupulse_pipelines.errors import ModelArtifactError
from edupulse_pipelines.risk.book.code_revision import git_revision
from edupulse_pipelines.risk.book.mlflow_connection import FLUENT, MlflowConnection, missing_is_none
from edupulse_pipelines.risk.book.mlflow_pages import server_of, version_page
from edupulse_pipelines.risk.book.model_files import check_unchanged, downloaded, fetched, folder_sha256, read_model
from edupulse_pipelines.risk.book.run_contents import (
    VALIDATION,
    RunContents,
    log_candidates,
    log_datasets,
    log_metrics,
    parameter,
)
from edupulse_pipelines.risk.models.model import RiskModel
from edupulse_pipelines.risk.models.sklearn_private import SKOPS_TRUSTED_TYPES

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import RunInfo

CHAMPION = "champion"
RECORD_DOCUMENT = "model_metadata.json"
"""The run's artifact from which a lost row of `model_metadata` is written again."""
CARD_DOCUMENTS = {"markdown": "model_card.md", "html": "model_card.html"}
_REQUIREMENTS = ("scikit-learn", "numpy", "pandas", "skops")
_LONGEST_NOTE = 5000
_NOTE_TAG = "mlflow.note.content"
_GIT_TAG = "mlflow.source.git.commit"
# Without them MLflow names the program that runs us.
_SOURCE_TAGS = {"mlflow.source.name": "edupulse_pipelines", "mlflow.source.type": "JOB"}
# Of the tags of a training, those that its candidates have, too.
_TAGS_OF_CANDIDATES = ("tenant", "as_of", "data_through", "model_version", "data_hash", "settings_hash", "git_revision")
_TEXT_DOCUMENTS = (".md", ".html", ".txt")
_NO_TAG = "without a model_version tag"


@dataclass(frozen=True)
class LoggedRun:
    """One MLflow run, and the registered version it made, if it made one."""

    run_id: str | None = None
    registry_version: str | None = None
    registered_model: str | None = None
    model_id: str | None = None
    """MLflow's id of the logged model that the version is made of."""
    artifact_sha256: str | None = None
    """See `folder_sha256`."""
    artifact_uri: str | None = None
    """Where the model's files lie, so that they are found even when MLflow's database is lost."""

    def as_record(self) -> dict[str, str | None]:
        """By the names that `edupulse model show --json` prints."""
        return {
            "run_id": self.run_id,
            "registered_model": self.registered_model,
            "registry_version": self.registry_version,
            "model_id": self.model_id,
            "artifact_sha256": self.artifact_sha256,
            "artifact_uri": self.artifact_uri,
        }


@dataclass(frozen=True)
class RegisteredVersion:
    """One version of a tenant's registered model."""

    registry_version: str
    model_version: str | None
    """As in `model_metadata`; None for a version that somebody registered by hand."""
    run_id: str | None
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The model version, or what to call a version that has none."""
        return self.model_version or f"(version {self.registry_version}, {_NO_TAG})"


class Registry:
    """The MLflow tracking server and model registry at `tracking_uri`.

    `artifact_root` is where artifacts of a database-backed store (`sqlite://…`, `postgresql://…`) go; a tracking server
    (`http://…`) keeps its own. Every method raises RegistryUnavailable when MLflow does not answer, and
    RegistryRefused when it does and another try would end the same way.
    """

    def __init__(self, tracking_uri: str, artifact_root: Path | None = None) -> None:
        self.tracking_uri = tracking_uri
        self.artifact_root = artifact_root
        self._connection = MlflowConnection(tracking_uri)

    @staticmethod
    def model_name(tenant_name: str) -> str:
        """The registered model of a tenant."""
        return f"edupulse-{tenant_name}"

    @staticmethod
    def experiment_name(tenant_name: str) -> str:
        """The experiment of a tenant."""
        return f"edupulse/{tenant_name}"

    def log_model(self, tenant_name: str, model: RiskModel, contents: RunContents, *, run_name: str) -> LoggedRun:
        """Log a run with its model and register the model's new version.

        The tags get `git_revision`, those of the version `artifact_sha256` as well; `contents.record` is stored with
        the run. The version has no alias yet: see `champion`.
        """
        tags = {"git_revision": git_revision(), **contents.tags}
        description = _note(contents.description)
        with self._run(tenant_name, run_name, replace(contents, tags=tags)) as (client, info):
            import mlflow

            run_id = info.run_id
            inputs = log_datasets(client, run_id, tenant_name, contents.datasets)
            for name, table in contents.tables.items():
                mlflow.log_table(table, name)
            example = pd.DataFrame([model.typical], columns=model.features, dtype="float64")
            signature = mlflow.models.infer_signature(example, model.pipeline.predict_proba(example))
            logged = mlflow.sklearn.log_model(
                model.pipeline,
                name=re.sub(r"[^\w -]", "-", run_name),
                signature=signature,
                input_example=example,
                pip_requirements=[f"{name}=={metadata.version(name)}" for name in _REQUIREMENTS],
                pyfunc_predict_fn="predict_proba",
                serialization_format="skops",
                skops_trusted_types=SKOPS_TRUSTED_TYPES,
                model_type=model.kind,
                tags={key: str(value) for key, value in tags.items()},
            )
            for context, measured in contents.metrics.items():
                log_metrics(client, run_id, measured, inputs.get(context), model_id=logged.model_id)
            shared = {key: tags[key] for key in _TAGS_OF_CANDIDATES if key in tags}
            log_candidates(client, info.experiment_id, contents.candidates, inputs, {**_SOURCE_TAGS, **shared})
            with downloaded(logged.model_uri) as folder:
                sha256 = folder_sha256(folder)
            location = str(client.get_logged_model(logged.model_id).artifact_location)
            if contents.record is not None:
                kept = {
                    "tenant": tenant_name,
                    "model_version": tags.get("model_version", run_name),
                    "artifact_sha256": sha256,
                    **contents.record,
                }
                mlflow.log_text(_json(kept), RECORD_DOCUMENT)
            if description:
                client.set_tag(run_id, _NOTE_TAG, description)
            name = self._registered_model(client, tenant_name)
            registered = client.create_model_version(
                name,
                logged.model_uri,
                run_id=run_id,
                tags={**tags, "artifact_sha256": sha256},
                model_id=logged.model_id,
                description=description or None,
            )
        return LoggedRun(run_id, str(registered.version), name, logged.model_id, sha256, location)

    def log_no_model(
        self,
        tenant_name: str,
        *,
        run_name: str,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        documents: Mapping[str, Any],
    ) -> LoggedRun:
        """Record a training that gave no model: a run without a model, its reason among the tags."""
        with self._run(tenant_name, run_name, RunContents(params, tags, documents=documents)) as (_, info):
            return LoggedRun(info.run_id)

    def find_run(self, tenant_name: str, tags: Mapping[str, str]) -> str | None:
        """The id of the newest run of the tenant with all these tags, if there is one."""
        with self._connection.answering() as client:
            experiment = client.get_experiment_by_name(self.experiment_name(tenant_name))
            if experiment is None:
                return None
            wanted = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
            runs = client.search_runs([experiment.experiment_id], wanted, max_results=1)
            return runs[0].info.run_id if runs else None

    def has_deleted_experiment(self, tenant_name: str) -> bool:
        """Whether the tenant's experiment is there and deleted, so that no training can be logged."""
        with self._connection.answering() as client:
            experiment = client.get_experiment_by_name(self.experiment_name(tenant_name))
            return experiment is not None and experiment.lifecycle_stage == "deleted"

    def restore_experiment(self, tenant_name: str) -> None:
        """Bring the tenant's deleted experiment back, with its runs."""
        with self._connection.answering() as client:
            experiment = client.get_experiment_by_name(self.experiment_name(tenant_name))
            if experiment is not None and experiment.lifecycle_stage == "deleted":
                client.restore_experiment(experiment.experiment_id)

    def has_registered_model(self, tenant_name: str) -> bool:
        """Whether the tenant's registered model is there, with or without versions."""
        with self._connection.answering() as client, missing_is_none():
            client.get_registered_model(self.model_name(tenant_name))
            return True
        return False

    def make_registered_model(self, tenant_name: str) -> None:
        """Make the tenant's registered model, without versions, unless it is there."""
        with self._connection.answering() as client:
            self._registered_model(client, tenant_name)

    def page(self, recorded: LoggedRun | None) -> str | None:
        """The link to a registered version, in MLflow's view of model training; None for what is not registered."""
        if recorded is None or recorded.registered_model is None or recorded.registry_version is None:
            return None
        return version_page(server_of(self.tracking_uri), recorded.registered_model, recorded.registry_version)

    def set_champion(self, tenant_name: str, registry_version: str) -> None:
        """Point the `champion` alias at a registered version."""
        with self._connection.answering() as client:
            client.set_registered_model_alias(self.model_name(tenant_name), CHAMPION, registry_version)

    def remove_champion(self, tenant_name: str) -> None:
        """Take the `champion` alias away; nothing happens when there is none."""
        with self._connection.answering() as client, missing_is_none():
            client.delete_registered_model_alias(self.model_name(tenant_name), CHAMPION)

    def champion(self, tenant_name: str) -> str | None:
        """The model version (as in `model_metadata`) that the `champion` alias points at; None without one."""
        version = self.champion_version(tenant_name)
        return None if version is None else version.name

    def champion_version(self, tenant_name: str) -> RegisteredVersion | None:
        """The version that the `champion` alias points at; None without one."""
        with self._connection.answering() as client:
            with missing_is_none():
                return _registered(client.get_model_version_by_alias(self.model_name(tenant_name), CHAMPION))
            return None

    def tag_version(self, tenant_name: str, registry_version: str, tags: Mapping[str, str]) -> None:
        """Set tags of a registered version."""
        with self._connection.answering() as client:
            for key, value in tags.items():
                client.set_model_version_tag(self.model_name(tenant_name), registry_version, key, value)

    def versions(self, tenant_name: str) -> list[RegisteredVersion]:
        """The registered versions of a tenant, oldest first; deleted ones are not among them."""
        with self._connection.answering() as client:
            versions: list[RegisteredVersion] = []
            token: str | None = None
            while True:
                page = client.search_model_versions(f"name = '{self.model_name(tenant_name)}'", page_token=token)
                versions += [_registered(version) for version in page]
                token = page.token
                if not token:
                    break
        return sorted(versions, key=lambda version: int(version.registry_version))

    def model_versions(self, tenant_name: str) -> dict[str, list[str]]:
        """The registered versions of a tenant: model version (as in `model_metadata`) to registry versions."""
        by_name: dict[str, list[str]] = {}
        for version in self.versions(tenant_name):
            by_name.setdefault(version.name, []).append(version.registry_version)
        return dict(sorted(by_name.items()))

    def load_model(
        self,
        tenant_name: str,
        model_version: str,
        registry_version: str | None = None,
        artifact_sha256: str | None = None,
    ) -> RiskModel:
        """The registered model of a model version; `registry_version` (as recorded) saves the search for it.

        The files are compared with `artifact_sha256` (as recorded in `model_metadata`), else with the version's tag; a
        model that was logged without either is taken as it is. Only types that were reviewed are loaded, whatever the
        artifact says about itself. ModelArtifactError when the version or its files are gone or are not those that
        were logged: there is no substitute for a model.
        """
        with self._checked(tenant_name, model_version, registry_version, artifact_sha256) as (label, folder):
            return read_model(label, folder)

    def verify_model(
        self,
        tenant_name: str,
        model_version: str,
        registry_version: str | None = None,
        artifact_sha256: str | None = None,
    ) -> None:
        """ModelArtifactError unless the registered model's files are there and are those that were logged."""
        with self._checked(tenant_name, model_version, registry_version, artifact_sha256):
            pass

    def restore_version(
        self,
        tenant_name: str,
        model_version: str,
        recorded: LoggedRun,
        *,
        params: Mapping[str, Any],
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        record: Mapping[str, Any],
    ) -> LoggedRun:
        """Register a model again whose registered version is gone, from its files; what to record about it.

        `recorded` is what was recorded of it. While MLflow still has the run and its model, the new version
        is made of them; when they are gone too (a lost database), the files are logged again into a new run, with
        `params`, `metrics`, `tags` and `record`. ModelArtifactError when the files are gone or were changed.
        """
        label = f"Model {model_version} of {tenant_name}"
        with self._connection.answering() as client:
            source = self._logged_model(client, recorded)
            locations = [source[1]] if source else []
            if recorded.artifact_uri:
                locations.append(recorded.artifact_uri)
            if not locations:
                raise ModelArtifactError(
                    f"{label} is not in MLflow any more, and where its files lie was not recorded."
                )
            with fetched(label, locations[0]) as folder:
                sha256 = check_unchanged(label, folder, recorded.artifact_sha256)
                model = read_model(label, folder)
            if source is None:
                contents = RunContents(
                    params, {**tags, "restored": "from its files"}, {VALIDATION: metrics}, record=record
                )
                return self.log_model(tenant_name, model, contents, run_name=model_version)
            model_id, location, run_id = source
            name = self._registered_model(client, tenant_name)
            registered = client.create_model_version(
                name,
                f"models:/{model_id}",
                run_id=run_id,
                tags={**tags, "artifact_sha256": sha256, "restored": "from its run"},
                model_id=model_id,
            )
        return LoggedRun(run_id, str(registered.version), name, model_id, sha256, location)

    def facts_of(self, tenant_name: str, registry_version: str) -> LoggedRun:
        """What to record about a registered version."""
        with self._connection.answering() as client:
            registered = client.get_model_version(self.model_name(tenant_name), registry_version)
            model_id, location = _model_id(registered), None
            if model_id:
                with missing_is_none():
                    location = str(client.get_logged_model(model_id).artifact_location)
            sha256 = registered.tags.get("artifact_sha256")
            return LoggedRun(
                registered.run_id or "", str(registered.version), registered.name, model_id, sha256, location
            )

    def run_document(self, run_id: str, name: str) -> str | None:
        """The text of a run's artifact; None when the run or the artifact is not there."""
        with (
            self._connection.answering() as client,
            missing_is_none(),
            downloaded(client.get_run(run_id).info.artifact_uri, name) as folder,
        ):
            return (folder / name).read_text(encoding="utf-8")
        return None

    @contextlib.contextmanager
    def _checked(
        self, tenant_name: str, model_version: str, registry_version: str | None, artifact_sha256: str | None
    ) -> Iterator[tuple[str, Path]]:
        """The name of a model for messages, and a copy of its files, which are those that were logged."""
        if registry_version is None:
            versions = self.model_versions(tenant_name).get(model_version)
            if not versions:
                raise ModelArtifactError(f"Model {model_version} of {tenant_name} is not registered in MLflow.")
            registry_version = versions[-1]
        name = self.model_name(tenant_name)
        label = f"Model {model_version} of {tenant_name} ({name}, version {registry_version})"
        with self._connection.answering() as client:
            registered = None
            with missing_is_none():
                registered = client.get_model_version(name, registry_version)
            if registered is None:
                raise ModelArtifactError(f"{label} cannot be loaded from MLflow: it is not registered any more.")
            source = client.get_model_version_download_uri(name, registry_version)
            # A copy: what was checked is what is loaded, and a removed or replaced artifact is noticed.
            with fetched(label, source) as folder:
                expected = artifact_sha256 or registered.tags.get("artifact_sha256")
                check_unchanged(label, folder, expected)
                yield label, folder

    @staticmethod
    def _logged_model(client: MlflowClient, recorded: LoggedRun) -> tuple[str, str, str] | None:
        """Id, place and run of the logged model, as long as MLflow has them and the run is not deleted."""
        with missing_is_none():
            run = client.get_run(str(recorded.run_id))
            if run.info.lifecycle_stage != "active":
                return None
            made = run.outputs.model_outputs if run.outputs else []
            model_id = recorded.model_id or (made[0].model_id if made else None)
            if model_id:
                return model_id, str(client.get_logged_model(model_id).artifact_location), run.info.run_id
        return None

    @contextlib.contextmanager
    def _run(self, tenant_name: str, run_name: str, contents: RunContents) -> Iterator[tuple[MlflowClient, RunInfo]]:
        """One MLflow run with its parameters, tags, documents and figures; the caller adds the rest inside.

        The run is FAILED when that fails.
        """
        with self._connection.answering() as client, FLUENT:
            import mlflow

            experiment_id = self._experiment(client, tenant_name)
            shown = _SOURCE_TAGS | {key: str(value) for key, value in contents.tags.items()}
            if shown.get("git_revision"):
                shown[_GIT_TAG] = shown["git_revision"].removesuffix("-dirty")
            with mlflow.start_run(experiment_id=experiment_id, run_name=run_name, tags=shown) as run:
                mlflow.log_params({name: parameter(value) for name, value in contents.params.items()})
                for name, document in contents.documents.items():
                    as_it_is = isinstance(document, str) and name.endswith(_TEXT_DOCUMENTS)
                    mlflow.log_text(document if as_it_is else _json(document), name)
                for name, png in contents.figures.items():
                    self._log_bytes(png, name)
                yield client, run.info

    @staticmethod
    def _log_bytes(content: bytes, name: str) -> None:
        import mlflow

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / Path(name).name
            path.write_bytes(content)
            mlflow.log_artifact(str(path), str(Path(name).parent) if "/" in name else None)

    def _registered_model(self, client: MlflowClient, tenant_name: str) -> str:
        """The name of the tenant's registered model, made when it is not there yet."""
        from mlflow.exceptions import MlflowException

        name = self.model_name(tenant_name)
        try:
            client.create_registered_model(
                name, description=f"Risk of an adverse event, school district {tenant_name}."
            )
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        return name

    def _experiment(self, client: MlflowClient, tenant_name: str) -> str:
        """Id of the tenant's experiment, made when it is not there yet."""
        experiment = client.get_experiment_by_name(self.experiment_name(tenant_name))
        if experiment is not None:
            return str(experiment.experiment_id)
        location = None
        if self.artifact_root is not None and not self.tracking_uri.startswith("http"):
            location = (self.artifact_root.absolute() / tenant_name).as_uri()
        return client.create_experiment(self.experiment_name(tenant_name), artifact_location=location)


def _registered(version: Any) -> RegisteredVersion:
    tags = dict(version.tags)
    return RegisteredVersion(str(version.version), tags.get("model_version"), version.run_id or None, tags)


def _model_id(version: Any) -> str | None:
    """Id of the logged model that a version is made of; the database keeps it in the source alone."""
    named = re.fullmatch(r"models:/(m-[^/]+)", version.source or "")
    return version.model_id or (named[1] if named else None)


def _json(document: Any) -> str:
    return json.dumps(document, indent=2, sort_keys=True)


def _note(description: str) -> str:
    if len(description) <= _LONGEST_NOTE:
        return description
    return description[: _LONGEST_NOTE - 2].rpartition("\n")[0] + "\n…"
