"""Finding the first change of a run: in the live database, or where that is gone in the newest moment's."""

from __future__ import annotations

import tempfile
from pathlib import Path

import sqlalchemy as sa

from edupulse_pipelines.errors import EduPulseError
from edupulse_pipelines.operations.backup.contents import Contents
from edupulse_pipelines.operations.backup.moments import DATABASE, Moment, ring_of
from edupulse_pipelines.settings import Settings
from edupulse_pipelines.storage.database import Database
from edupulse_pipelines.storage.engine import is_absent


def first_change_of_run(settings: Settings, newest: Moment, run: str) -> int | None:
    """The number of the first change of a run; None where no database that can be asked has one."""
    if not is_absent(settings.database_url):
        try:
            if (found := _first_change(Database(settings.database_url, for_keeper=True), run)) is not None:
                return found
        except (EduPulseError, sa.exc.SQLAlchemyError):
            pass  # damaged, or another version's: the moment is asked
    stored = newest.file(DATABASE)
    if stored is None:
        return None
    with tempfile.TemporaryDirectory(prefix="edupulse-moment-") as folder:
        copy = Path(folder) / "database"
        Contents(settings.backup_dir, ring_of(settings)).write_to(stored.sha256, copy)
        return _first_change(Database(f"sqlite:///{copy}"), run)


def _first_change(database: Database, run: str) -> int | None:
    with database.unchecked_work() as work, work.reading() as connection:
        if "audit_changes" not in sa.inspect(connection).get_table_names():
            return None
        query = sa.text("SELECT min(id) FROM audit_changes WHERE run_id = :run")
        return connection.scalar(query, {"run": run})
