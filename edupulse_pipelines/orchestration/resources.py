"""What the assets work with: the database, the model registry, and whoever watches the run. All can be swapped.

They are plain objects and not `ConfigurableResource`s on purpose: Dagster shows a resource's configuration in its UI
and stores it with every run, and a database URL holds a password. Opening them costs, so it happens in the
step.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from logging import Logger
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dagster import ResourceDefinition

from edupulse_pipelines.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from edupulse_pipelines.risk.registry import Registry


class Database:
    """The house's database; `engine()` opens it, and gives an empty one its schema."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._schema_checked = False

    @contextmanager
    def engine(self) -> Iterator[Engine]:
        """An engine for the length of the block. DatabaseUnavailable and SchemaBehind say what is wrong in words."""
        from edupulse_pipelines.database import create_engine, reachable
        from edupulse_pipelines.schema.migrations import ensure_current

        engine = create_engine(self._url)
        try:
            with reachable(engine):
                if not self._schema_checked:
                    ensure_current(engine)
                    self._schema_checked = True
                yield engine
        finally:
            engine.dispose()


class ModelRegistry:
    """The MLflow tracking store and registry; `open()` connects."""

    def __init__(self, tracking_uri: str, artifact_root: Path) -> None:
        self._tracking_uri = tracking_uri
        self._artifact_root = artifact_root

    def open(self) -> Registry:
        """The registry as the `risk` room knows it; it connects when it is first asked something."""
        from edupulse_pipelines.risk.registry import Registry

        return Registry(self._tracking_uri, self._artifact_root)


class Progress:
    """Hears what the steps do. This one writes to the step's log; the command line swaps in one that draws."""

    seconds_between_lines = 10.0

    def __init__(self) -> None:
        self._log: Logger | None = None
        self._spoke_at = 0.0

    def started(self, asset: str, log: Logger) -> None:
        """The step of `asset` begins."""
        self._log, self._spoke_at = log, time.monotonic()

    def advanced(self, done: int, total: int, unit: str = "rows") -> None:
        """`done` of `total` units of the running step are finished; says so every ten seconds."""
        if self._log is not None and time.monotonic() - self._spoke_at >= self.seconds_between_lines:
            self._spoke_at = time.monotonic()
            self._log.info(f"{done:,} of {total:,} {unit}")

    def finished(self, asset: str, report: Any) -> None:
        """The room's function returned `report`."""

    def failed(self, asset: str, message: str) -> None:
        """The step of `asset` stops with `message`."""


def default_resources(settings: Settings) -> Mapping[str, object]:
    """The resources of a real run, by the names that the assets ask for them."""
    database, registry, progress = (
        Database(settings.database_url),
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
