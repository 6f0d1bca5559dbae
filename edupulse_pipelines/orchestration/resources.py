"""What the assets work with: the database, the model registry, and whoever watches the run. All can be swapped.

Dagster shows the configuration of a resource in its UI. Seen there with Dagster 1.13: of a value that comes from an
environment variable (`EnvVar`) the variable's name, of any other the value with its password. So URLs are configured by
the name of their variable, or are a SQLite file's; any other stays in a plain object, of which nothing is shown.
Opening them costs, so it happens in the step.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dagster import ConfigurableResource, EnvVar, InitResourceContext, ResourceDefinition
from pydantic import Field

from edupulse_pipelines.orchestration.progress import Progress
from edupulse_pipelines.settings import Settings, normalise_database_url
from edupulse_pipelines.storage.database import Database, database_of

if TYPE_CHECKING:
    from edupulse_pipelines.risk.book.registry import Registry


class ModelRegistry:
    """The MLflow tracking store and registry; `open()` connects."""

    def __init__(self, tracking_uri: str, artifact_root: Path) -> None:
        self._tracking_uri = tracking_uri
        self._artifact_root = artifact_root

    def open(self) -> Registry:
        """The registry as the `risk` room knows it; it connects when it is first asked something."""
        from edupulse_pipelines.risk.book.registry import Registry

        return Registry(self._tracking_uri, self._artifact_root)


class DatabaseAtUrl(ConfigurableResource):
    """The tables of the house. EDUPULSE_DATABASE_URL names another database than the SQLite file in the home."""

    url: str = Field(description="Any spelling of a PostgreSQL or SQLite URL.")

    def create_resource(self, context: InitResourceContext) -> Database:
        """The database as the assets get it; it is opened in the step."""
        return Database(self.url)


class RegistryAtUri(ConfigurableResource):
    """MLflow's tracking store and model registry. MLFLOW_TRACKING_URI names another one than that in the home."""

    tracking_uri: str = Field(description="As MLflow takes it.")
    artifact_root: str = Field(description="Folder for the files of models, where no server keeps them.")

    def create_resource(self, context: InitResourceContext) -> ModelRegistry:
        """The registry as the assets get it; it connects in the step."""
        return ModelRegistry(self.tracking_uri, Path(self.artifact_root))


def default_resources(settings: Settings) -> Mapping[str, object]:
    """The resources of a real run, by the names that the assets ask for them."""
    artifacts = settings.mlflow_dir / "artifacts"
    url = _configured("EDUPULSE_DATABASE_URL", settings.database_url, normalise_database_url)
    uri = _configured("MLFLOW_TRACKING_URI", settings.tracking_uri, lambda value: value)
    return {
        "database": DatabaseAtUrl(url=url) if url else _unshown(database_of(settings)),
        "registry": RegistryAtUri(tracking_uri=uri, artifact_root=str(artifacts))
        if uri
        else _unshown(ModelRegistry(settings.tracking_uri, artifacts)),
        "progress": _unshown(Progress(), "Hears how far a step is; here it writes to the log."),
    }


def _configured(variable: str, value: str, normalise: Callable[[str], str]) -> str | None:
    """What Dagster may show and store of a setting; None when nothing of it.

    The name of the environment variable that holds it, or the value where no password can be in it. A URL with a
    host that a program put into the settings itself is in no variable and may hold a password.
    """
    given = os.environ.get(variable)
    if given and normalise(given) == value:
        return EnvVar(variable)
    return value if value.startswith("sqlite") else None


def _unshown(value: object, description: str | None = None) -> ResourceDefinition:
    return ResourceDefinition(resource_fn=lambda _context: value, description=description)
