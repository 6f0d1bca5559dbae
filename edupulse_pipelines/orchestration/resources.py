"""What the assets work with: the database, the model registry, and whoever watches the run. All can be swapped.

They are plain objects and not `ConfigurableResource`s on purpose: Dagster shows a resource's configuration in its UI
and stores it with every run, and a database URL holds a password. Opening them costs, so it happens in the
step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dagster import ResourceDefinition

from edupulse_pipelines.orchestration.progress import Progress
from edupulse_pipelines.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from edupulse_pipelines.risk.book.registry import Registry
    from edupulse_pipelines.storage.work import Work


class Database:
    """The house's database. Gives `Work`s; opening it gives an empty SQLite file its schema.

    Subclass it, and give the object to `build_defs(settings, database=…)`, to work with another database.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._schema_checked = False

    @contextmanager
    def engine(self) -> Iterator[Engine]:
        """An engine for the length of the block. DatabaseUnavailable and SchemaBehind say what is wrong in words."""
        from edupulse_pipelines.storage.engine import create_engine, reachable
        from edupulse_pipelines.storage.versions import ensure_current

        engine = create_engine(self._url)
        try:
            with reachable(engine):
                if not self._schema_checked:
                    ensure_current(engine)
                    self._schema_checked = True
                yield engine
        finally:
            engine.dispose()

    @contextmanager
    def work(self, tenant: str, run_id: str | None = None) -> Iterator[Work]:
        """Work for the tenant of this name in the run, for the length of the block.

        DatabaseUnavailable, DatabaseUnusable and SchemaBehind say in words what is wrong with the database.
        """
        from edupulse_pipelines.storage.work import Work

        with self.engine() as engine:
            yield Work(engine, tenant, run_id)

    def check(self) -> None:
        """Open the database once, for a command that wants to hear what is wrong before it begins; raises like `work`.

        An empty SQLite file gets its schema.
        """
        with self.engine():
            pass


class ModelRegistry:
    """The MLflow tracking store and registry; `open()` connects."""

    def __init__(self, tracking_uri: str, artifact_root: Path) -> None:
        self._tracking_uri = tracking_uri
        self._artifact_root = artifact_root

    def open(self) -> Registry:
        """The registry as the `risk` room knows it; it connects when it is first asked something."""
        from edupulse_pipelines.risk.book.registry import Registry

        return Registry(self._tracking_uri, self._artifact_root)


def database_of(settings: Settings) -> Database:
    """The database that the settings name; the one place that makes it of them."""
    return Database(settings.database_url)


def default_resources(settings: Settings) -> Mapping[str, object]:
    """The resources of a real run, by the names that the assets ask for them."""
    database, registry, progress = (
        database_of(settings),
        ModelRegistry(settings.tracking_uri, settings.mlflow_dir / "artifacts"),
        Progress(),
    )
    kind = "SQLite file in the home" if settings.database_url.startswith("sqlite") else "PostgreSQL"
    return {
        "database": _described(database, f"The tables ({kind}). EDUPULSE_DATABASE_URL names another one."),
        "registry": _described(
            registry, "MLflow's tracking store and model registry. MLFLOW_TRACKING_URI names another one."
        ),
        "progress": _described(progress, "Hears how far a step is; here it writes to the log."),
    }


def _described(value: object, description: str) -> ResourceDefinition:
    return ResourceDefinition(resource_fn=lambda _context: value, description=description)
