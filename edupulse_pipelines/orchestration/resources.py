"""What the assets work with: the database, the model registry, and whoever watches the run. All can be swapped.

They are plain objects and not `ConfigurableResource`s on purpose: Dagster shows a resource's configuration in its UI
and stores it with every run, and a database URL holds a password. Opening them costs, so it happens in the
step.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dagster import ResourceDefinition

from edupulse_pipelines.orchestration.progress import Progress
from edupulse_pipelines.settings import Settings
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


def default_resources(settings: Settings) -> Mapping[str, object]:
    """The resources of a real run, by the names that the assets ask for them."""
    database: Database = database_of(settings)
    registry = ModelRegistry(settings.tracking_uri, settings.mlflow_dir / "artifacts")
    kind = "SQLite file in the home" if settings.database_url.startswith("sqlite") else "PostgreSQL"
    return {
        "database": _described(database, f"The tables ({kind}). EDUPULSE_DATABASE_URL names another one."),
        "registry": _described(
            registry, "MLflow's tracking store and model registry. MLFLOW_TRACKING_URI names another one."
        ),
        "progress": _described(Progress(), "Hears how far a step is; here it writes to the log."),
    }


def _described(value: object, description: str) -> ResourceDefinition:
    return ResourceDefinition(resource_fn=lambda _context: value, description=description)
