"""The home of `edupulse demo`: its district's landing files and settings, made when they are not there yet.

A demo that is in the home already is kept when it is the one asked for, and removed when it is not: files, rows, models
and its history in Dagster. A home whose `edupulse.toml` was not written here is never touched.
"""

from __future__ import annotations

import datetime as dt
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edupulse_pipelines.errors import ConfigurationError, PermanentError
from edupulse_pipelines.private_home import as_senders_write
from edupulse_pipelines.settings import Settings, load_settings
from edupulse_pipelines.weeks import last_closed_week

TENANT = "demo"
TIMEZONE = "America/New_York"
MARKER = "# Written by `edupulse demo`: "


@dataclass(frozen=True)
class DemoDistrict:
    """What makes one demonstration district differ from another."""

    students: int
    weeks: int
    seed: int
    last_week: dt.date

    def __str__(self) -> str:
        return f"{self.students} students, {self.weeks} school weeks to {self.last_week}, seed {self.seed}"


def demo_district(students: int, weeks: int, seed: int) -> DemoDistrict:
    """The district asked for, whose last school week is the last closed one."""
    return DemoDistrict(students, weeks, seed, last_closed_week(TIMEZONE))


def prepare(
    settings: Settings,
    asked: DemoDistrict,
    *,
    notice: Callable[[str], None],
    progress: Callable[[int, int], None] | None = None,
) -> Settings:
    """Bring the home to hold exactly the landing files and settings of `asked`; the settings with the demo tenant.

    `notice` hears what is removed; `progress(weeks written, weeks)`. ConfigurationError for a home that is not ours.
    """
    from edupulse_pipelines.sources.synthetic_district import first_week, generate_district

    path = settings.home / "edupulse.toml"
    if os.environ.get("EDUPULSE_CONFIG") and settings.config_path != path:
        raise ConfigurationError(
            f"EDUPULSE_CONFIG points at {settings.config_path}, but the demo writes its own settings to {path}. "
            "Unset it."
        )
    landing = settings.home / "landing" / TENANT
    written = _written_by_demo(path)
    same = written == str(asked)
    if written is None:
        _refuse_strangers(settings, landing)
    elif not same:
        notice(f"The home holds another demo district ({written}); removing it.")
        forget(settings)
    elif _has_deliveries(landing):
        return load_settings(home=settings.home)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_toml(asked, first_week(asked.weeks, asked.last_week)), encoding="utf-8")
    with as_senders_write():
        generate_district(
            landing,
            students=asked.students,
            weeks=asked.weeks,
            seed=asked.seed,
            last_week=asked.last_week,
            progress=progress,
        )
    return load_settings(home=settings.home)


def forget(settings: Settings) -> None:
    """Remove everything of the demo tenant, and of no other: rows, models, files, and its history in Dagster.

    Not the record of changes, which is only added to: it holds the made-up rows as they were.
    """
    import sqlalchemy as sa

    from edupulse_pipelines.orchestration.homes import dagster_instance
    from edupulse_pipelines.schema import sqlalchemy_tables
    from edupulse_pipelines.schema.tables import TABLES
    from edupulse_pipelines.storage.database import database_of

    with database_of(settings).work(TENANT) as work, work.writing() as connection:
        for table in reversed(sqlalchemy_tables.metadata.sorted_tables):
            if TABLES[table.name].tenant_owned and TABLES[table.name].access != "audit":
                connection.execute(sa.delete(table).where(table.c.tenant_id == TENANT))
    _forget_models(settings)
    for folder in (settings.home / "landing" / TENANT, settings.raw_dir / TENANT):
        shutil.rmtree(folder, ignore_errors=True)
    with dagster_instance(settings) as instance:
        keys = [key for key in instance.all_asset_keys() if key.path[0] == TENANT]
        if keys:
            instance.wipe_assets(keys)


def _forget_models(settings: Settings) -> None:
    """The demo's registered model and runs. MLflow keeps deleted runs in its trash; `mlflow gc` empties it."""
    if (
        settings.tracking_uri.startswith("sqlite:///")
        and not Path(settings.tracking_uri.removeprefix("sqlite:///")).exists()
    ):
        return
    from edupulse_pipelines.settings import quiet_libraries

    quiet_libraries()
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    from edupulse_pipelines.risk.book.registry import Registry

    client = MlflowClient(tracking_uri=settings.tracking_uri, registry_uri=settings.tracking_uri)
    try:
        client.delete_registered_model(Registry.model_name(TENANT))
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise PermanentError("MLflow could not remove the demo's registered model.") from error
    experiment = client.get_experiment_by_name(Registry.experiment_name(TENANT))
    if experiment is not None:
        for run in client.search_runs([experiment.experiment_id], max_results=1000):
            client.delete_run(run.info.run_id)


def _written_by_demo(path: Path) -> str | None:
    """The district that the home's settings describe; None without settings, ConfigurationError for someone's own."""
    if not path.exists():
        return None
    first, _, rest = path.read_text(encoding="utf-8").partition("\n")
    if not first.startswith(MARKER):
        raise ConfigurationError(
            f"{path} was not written by the demo, and stays as it is. "
            "Choose another home: `edupulse demo --home ./demo`."
        )
    others = [
        line for line in rest.splitlines() if line.startswith("[tenants.") and not line.startswith(f"[tenants.{TENANT}")
    ]
    if others:
        raise ConfigurationError(
            f"{path} has tenants beside the demo now ({', '.join(others)}), and stays as it is. "
            "Choose another home: `edupulse demo --home ./demo`."
        )
    return first.removeprefix(MARKER).rstrip(". ")


def _refuse_strangers(settings: Settings, landing: Path) -> None:
    """ConfigurationError when there are files or rows of a tenant `demo` that no settings of the demo belong to."""
    from edupulse_pipelines.storage.counts import row_count
    from edupulse_pipelines.storage.database import database_of

    if _has_deliveries(landing):
        raise ConfigurationError(f"{landing} holds files that the demo did not write. Choose another home with --home.")
    database = database_of(settings)
    with database.work(TENANT) as work, work.reading() as connection:
        if row_count(connection, work, "ingested_files"):
            raise ConfigurationError(
                f"The database {database.shown_url} already holds a tenant "
                f"{TENANT!r} of another home. Use that home, or another database (EDUPULSE_DATABASE_URL)."
            )


def _has_deliveries(landing: Path) -> bool:
    """Whether the folder is there and holds anything but hidden files."""
    return landing.is_dir() and any(not entry.name.startswith(".") for entry in landing.iterdir())


def _toml(district: DemoDistrict, first_week: dt.date) -> str:
    return (
        f"{MARKER}{district}.\n"
        "# The first line lets the demo recognise what it may replace; remove it to make this home your own.\n\n"
        f"[tenants.{TENANT}]\n"
        f'timezone = "{TIMEZONE}"\n'
        f"first_week = {first_week}\n"
    )
