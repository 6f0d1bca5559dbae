"""A primary to drill with: a district's rows and a champion with predictions, in a home of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import sqlalchemy as sa

from edupulse_pipelines.operations.recovery.drill import drill
from edupulse_pipelines.operations.recovery.drills import Drill
from edupulse_pipelines.risk.book.registry import Registry
from edupulse_pipelines.settings import BackupSettings, Settings, TenantSettings
from edupulse_pipelines.storage.database import Database
from edupulse_pipelines.storage.engine import create_engine
from edupulse_pipelines.storage.versions import upgrade
from edupulse_pipelines.storage.work import Work
from edupulse_pipelines_tests.ingest.district import ATTENDANCE_HEADER, STUDENT_HEADER, District
from edupulse_pipelines_tests.operations.recovery.copies import ARCHIVING, Copies, ask
from edupulse_pipelines_tests.prepared import put_mlflow_store
from edupulse_pipelines_tests.risk.district import made_up_district, write
from edupulse_pipelines_tests.risk.registered import recorded
from edupulse_pipelines_tests.servers import new_server

STUDENTS = f"{STUDENT_HEADER}\nZQ1,ZQann,ZQlee,2010-01-01\nZQ2,ZQray,ZQmoss,2010-01-02\n"
ATTENDANCE = f"{ATTENDANCE_HEADER}\nZQ1,2025-09-02,present\nZQ2,2025-09-02,absent\n"
CHAMPION = "2025-01-06-abc"


@dataclass
class Primary:
    """A server with a database of ours, its home, and the copies that were made of it."""

    copies: Copies
    settings: Settings
    engine: sa.Engine
    registry: Registry

    def drill(self, **changes: object) -> Drill:
        """A drill with these settings changed; the roles of a database with one user."""
        settings = self.settings.model_copy(update=changes)
        return drill(settings, Database(settings.database_url), self.registry)


def filled(home: Path, url: str, *, champion: bool = True) -> tuple[Settings, sa.Engine, Registry]:
    """A home whose database has two districts, one of them with a champion."""
    engine = create_engine(url)
    upgrade(engine)
    north = District(engine, home, name="north")
    north.land(1, students=STUDENTS, attendance_records=ATTENDANCE)
    north.run("students", "attendance_records")
    registry = Registry(put_mlflow_store(home / "mlflow" / "mlflow.db"), home / "mlflow" / "artifacts")
    south = TenantSettings(
        name="south", timezone="UTC", first_week=made_up_district(count=1, weeks=1).weeks[0], landing=home / "south"
    )
    if champion:
        work = Work(engine, south.name)
        write(cast("sa.Engine", SimpleNamespace(begin=work.writing)), south, made_up_district(count=14, weeks=6))
        recorded(engine, registry, south, CHAMPION)
        with work.writing() as connection:
            connection.exec_driver_sql("UPDATE model_metadata SET is_active = true")
    settings = Settings(
        home=home,
        database_url=url,
        tracking_uri=registry.tracking_uri,
        config_path=home / "edupulse.toml",
        tenants={tenant.name: tenant for tenant in (north.tenant, south)},
    )
    return settings, engine, registry


@contextmanager
def primary_of(kind: str) -> Iterator[Primary]:
    """A primary on a server of this kind, its base backup taken before most of its rows were written.

    The home lies beside the server, whose user has to reach what is restored into it.
    """
    with new_server(kind, settings=ARCHIVING) as server:
        home = server.data.parent / "home"
        home.mkdir(mode=0o711)
        ask(server, "CREATE DATABASE edupulse")
        copies = Copies.of(server)
        settings, engine, registry = filled(home, server.url("edupulse"))
        settings = settings.model_copy(update={"backup": BackupSettings(programs=str(server.programs.folder))})
        try:
            yield Primary(copies, settings, engine, registry)
        finally:
            engine.dispose()
