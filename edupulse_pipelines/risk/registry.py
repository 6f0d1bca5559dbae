"""MLflow: one experiment and one registered model per tenant, and whether they agree with `model_metadata`.

The only module that imports mlflow, and only when a `Registry` is first used (the import takes seconds). Writes no
student: parameters, metrics, settings and plots hold counts and rates, and the input example is made of medians.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import sqlalchemy as sa

from edupulse_pipelines.errors import RegistryUnavailable
from edupulse_pipelines.risk.model import MODEL_TYPE, RiskModel
from edupulse_pipelines.schema.sqlalchemy_tables import model_metadata
from edupulse_pipelines.settings import TenantSettings, quiet_libraries

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHAMPION = "champion"
# Reviewed: a dtype is a description of numbers and runs nothing. Everything else in the pipeline is on skops' own list.
SKOPS_TRUSTED_TYPES = ["numpy.dtype"]
_REQUIREMENTS = ("scikit-learn", "numpy", "pandas", "skops")
_LONGEST_PARAMETER = 500

# MLflow's fluent functions read the tracking URI from the process, not from a client.
_FLUENT = threading.RLock()


@dataclass(frozen=True)
class LoggedRun:
    """One MLflow run, and the registered version it made, if it made one."""

    run_id: str
    registry_version: str | None = None


class Registry:
    """The MLflow tracking server and model registry at `tracking_uri`.

    `artifact_root` is where artifacts of a database-backed store (`sqlite://…`, `postgresql://…`) go; a tracking server
    (`http://…`) keeps its own. Every method raises RegistryUnavailable when MLflow does not answer.
    """

    def __init__(self, tracking_uri: str, artifact_root: Path | None = None) -> None:
        self.tracking_uri = tracking_uri
        self.artifact_root = artifact_root
        self._client: MlflowClient | None = None

    @staticmethod
    def model_name(tenant_name: str) -> str:
        """The registered model of a tenant."""
        return f"edupulse-{tenant_name}"

    @staticmethod
    def experiment_name(tenant_name: str) -> str:
        """The experiment of a tenant."""
        return f"edupulse/{tenant_name}"

    def log_model(
        self,
        tenant_name: str,
        model: RiskModel,
        *,
        run_name: str,
        params: Mapping[str, Any],
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        documents: Mapping[str, Any],
        figures: Mapping[str, bytes],
    ) -> LoggedRun:
        """Log a run with its model and register the model's new version.

        `documents` are stored as JSON and `figures` (PNG bytes) as they are, by file name. `tags` go on the run and
        on the version. The version has no alias yet: see `set_champion`.
        """
        with self._run(tenant_name, run_name, params, metrics, tags, documents, figures) as (client, run_id):
            import mlflow

            example = pd.DataFrame([model.typical], columns=model.features, dtype="float64")
            signature = mlflow.models.infer_signature(example, model.pipeline.predict_proba(example))
            logged = mlflow.sklearn.log_model(
                model.pipeline,
                name="model",
                signature=signature,
                input_example=example,
                pip_requirements=[f"{name}=={version(name)}" for name in _REQUIREMENTS],
                pyfunc_predict_fn="predict_proba",
                serialization_format="skops",
                skops_trusted_types=SKOPS_TRUSTED_TYPES,
                model_type=MODEL_TYPE,
            )
            name = self._registered_model(client, tenant_name)
            registered = client.create_model_version(
                name, logged.model_uri, run_id=run_id, tags=dict(tags), model_id=logged.model_id
            )
        return LoggedRun(run_id, str(registered.version))

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
        with self._run(tenant_name, run_name, params, {}, tags, documents, {}) as (_, run_id):
            return LoggedRun(run_id)

    def find_run(self, tenant_name: str, tags: Mapping[str, str]) -> str | None:
        """The id of the newest run of the tenant with all these tags, if there is one."""
        with self._answering() as client:
            experiment = client.get_experiment_by_name(self.experiment_name(tenant_name))
            if experiment is None:
                return None
            wanted = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
            runs = client.search_runs([experiment.experiment_id], wanted, max_results=1)
            return runs[0].info.run_id if runs else None

    def set_champion(self, tenant_name: str, registry_version: str) -> None:
        """Point the `champion` alias at a registered version."""
        with self._answering() as client:
            client.set_registered_model_alias(self.model_name(tenant_name), CHAMPION, registry_version)

    def champion(self, tenant_name: str) -> str | None:
        """The model version (as in `model_metadata`) that the `champion` alias points at; None without one."""
        with self._answering() as client:
            from mlflow.exceptions import MlflowException

            try:
                found = client.get_model_version_by_alias(self.model_name(tenant_name), CHAMPION)
            except MlflowException as error:
                if error.error_code in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
                    return None
                raise
            return found.tags.get("model_version", f"(version {found.version}, without a model_version tag)")

    def model_versions(self, tenant_name: str) -> dict[str, list[str]]:
        """The registered versions of a tenant: model version (as in `model_metadata`) to registry versions."""
        with self._answering() as client:
            found: dict[str, list[str]] = {}
            token: str | None = None
            while True:
                page = client.search_model_versions(f"name = '{self.model_name(tenant_name)}'", page_token=token)
                for one in page:
                    name = one.tags.get("model_version", f"(version {one.version}, without a model_version tag)")
                    found.setdefault(name, []).append(str(one.version))
                token = page.token
                if not token:
                    break
        return {name: sorted(versions, key=int) for name, versions in sorted(found.items())}

    def load_model(self, tenant_name: str, model_version: str, registry_version: str | None = None) -> RiskModel:
        """The registered model of a model version; `registry_version` (as recorded) saves the search for it.

        RegistryUnavailable when it is not registered or its artifact is gone: there is no substitute for a model.
        """
        if registry_version is None:
            registered = self.model_versions(tenant_name).get(model_version)
            if not registered:
                raise RegistryUnavailable(f"Model {model_version} of {tenant_name} is not registered in MLflow.")
            registry_version = registered[-1]
        name = self.model_name(tenant_name)
        with self._answering() as client:
            import mlflow

            try:
                # Not through the cache of the process: a removed or replaced artifact must be noticed.
                source = client.get_model_version_download_uri(name, registry_version)
                pipeline = mlflow.sklearn.load_model(source)
            except Exception as error:
                raise RegistryUnavailable(
                    f"Model {model_version} of {tenant_name} ({name}, version {registry_version}) cannot be "
                    f"loaded from MLflow: "
                    f"{_first_line(error)}. Restore its artifact, or train again."
                ) from error
        return RiskModel(pipeline)

    @contextlib.contextmanager
    def _run(
        self,
        tenant_name: str,
        run_name: str,
        params: Mapping[str, Any],
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        documents: Mapping[str, Any],
        figures: Mapping[str, bytes],
    ) -> Iterator[tuple[MlflowClient, str]]:
        """One MLflow run with everything but a model; the caller adds that inside. Failed inside: the run is FAILED."""
        with self._answering() as client, _FLUENT:
            import mlflow

            experiment = client.get_experiment_by_name(self.experiment_name(tenant_name))
            experiment_id = experiment.experiment_id if experiment else self._create_experiment(client, tenant_name)
            with mlflow.start_run(experiment_id=experiment_id, run_name=run_name, tags=dict(tags)) as run:
                mlflow.log_params({name: _parameter(value) for name, value in params.items()})
                if metrics:
                    mlflow.log_metrics(dict(metrics))
                for name, document in documents.items():
                    mlflow.log_text(json.dumps(document, indent=2, sort_keys=True), name)
                for name, png in figures.items():
                    self._log_bytes(png, name)
                yield client, run.info.run_id

    @staticmethod
    def _log_bytes(content: bytes, name: str) -> None:
        import tempfile

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

    def _create_experiment(self, client: MlflowClient, tenant_name: str) -> str:
        location = None
        if self.artifact_root is not None and not self.tracking_uri.startswith("http"):
            location = (self.artifact_root.absolute() / tenant_name).as_uri()
        return client.create_experiment(self.experiment_name(tenant_name), artifact_location=location)

    @contextlib.contextmanager
    def _answering(self) -> Iterator[MlflowClient]:
        """The client, with MLflow's own failures turned into RegistryUnavailable."""
        client_type, failures = _mlflow()
        import mlflow

        try:
            with _FLUENT:
                mlflow.set_tracking_uri(self.tracking_uri)
                mlflow.set_registry_uri(self.tracking_uri)
                if self._client is None:
                    self._prepare_store()
                    self._client = client_type(tracking_uri=self.tracking_uri, registry_uri=self.tracking_uri)
            yield self._client
        except failures as error:
            raise RegistryUnavailable(
                f"MLflow at {_without_password(self.tracking_uri)} failed: {_first_line(error)}"
            ) from error

    def _prepare_store(self) -> None:
        if self.tracking_uri.startswith("sqlite:///"):
            Path(self.tracking_uri.removeprefix("sqlite:///")).absolute().parent.mkdir(parents=True, exist_ok=True)


def registry_differences(engine: sa.Engine, tenant: TenantSettings, registry: Registry) -> list[str]:
    """What MLflow and `model_metadata` disagree about, in sentences; empty when they agree.

    Compared: the champion alias with the active row, and the model versions both ways. A registered version whose
    training broke off before its row was written shows up here; training again repairs it.
    """
    with engine.connect() as connection:
        rows = connection.execute(
            sa.select(model_metadata.c.model_version, model_metadata.c.is_active)
            .where(model_metadata.c.tenant_id == tenant.name)
            .order_by(model_metadata.c.model_version)
        ).all()
    recorded = [row.model_version for row in rows]
    active = next((row.model_version for row in rows if row.is_active), None)
    champion = registry.champion(tenant.name)
    registered = registry.model_versions(tenant.name)
    differences = []
    if champion != active:
        differences.append(
            f"MLflow's champion is {champion or 'not set'}, "
            f"but the active model in model_metadata is {active or 'not set'}."
        )
    differences += [
        f"Model {one} is in model_metadata, but not registered in MLflow." for one in recorded if one not in registered
    ]
    differences += [
        f"Model {one} is registered in MLflow, but not in model_metadata." for one in registered if one not in recorded
    ]
    return differences


def _mlflow() -> tuple[type[MlflowClient], tuple[type[Exception], ...]]:
    """MLflow's client class and its ways to fail, imported with reporting to third parties and chatter switched off."""
    quiet_libraries()
    # A tracking server that is down should be said within a minute, not after MLflow's default of many retries.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    import mlflow
    import mlflow.sklearn
    from mlflow.exceptions import MlflowException

    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    return mlflow.MlflowClient, (MlflowException, OSError, sa.exc.SQLAlchemyError)


def _parameter(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _LONGEST_PARAMETER else text[: _LONGEST_PARAMETER - 1] + "…"


def _without_password(uri: str) -> str:
    head, separator, tail = uri.rpartition("@")
    if not separator:
        return uri
    scheme, marker, user = head.partition("://")
    return f"{scheme}{marker}{user.partition(':')[0]}:***@{tail}"


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
