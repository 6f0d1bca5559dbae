"""Bringing a database to this version's schema (Alembic underneath), on a connection that the caller has opened.

The versions are in `versions/`, structure only; what is replaced as a whole is in `schema.objects` and applied after
them. Who opens the connection, and refuses to work with a database that is behind, is `storage.versions`.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Connection

from edupulse_pipelines.schema.objects import (
    applied_fingerprint,
    apply_objects,
    drop_triggers,
    fingerprint,
    let_the_owner_see_every_row,
)
from edupulse_pipelines.schema.tables import TABLES


class RowsLost(Exception):
    """A version has left a table with fewer rows."""


_LOCK = 0x65647570756C  # "edupul": serialises migrations of one database


def head() -> str:
    """The revision this version of the package needs."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    assert revision is not None
    return revision


def knows(revision: str) -> bool:
    """Whether this version of the package has the revision; one that a newer version made is not known here."""
    return any(script.revision == revision for script in ScriptDirectory.from_config(_config()).walk_revisions())


def current(connection: Connection) -> str | None:
    """The revision the database is at; None for a database without our schema."""
    return MigrationContext.configure(connection).get_current_revision()


def has_current_objects(connection: Connection) -> bool:
    """Whether the objects applied last are those that this version of the package declares."""
    return applied_fingerprint(connection) == fingerprint(connection.dialect.name)


def wait_for_other_upgrades(connection: Connection) -> None:
    """Let upgrades of one database follow each other: on PostgreSQL wait for another, and have later ones wait.

    Until the transaction ends. On SQLite a transaction that writes has waited for the others when it begins.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})


def upgrade(connection: Connection) -> None:
    """Bring the database to `head()` and apply the declared objects, in the connection's transaction.

    The caller has waited for other upgrades, and the database is at a revision that this version knows. RowsLost when
    a table has fewer rows than before: no version takes any away, and under policies of row-level security one that
    sees a part of them would leave the others without a word.
    """
    if current(connection) != head():
        drop_triggers(connection)
        let_the_owner_see_every_row(connection)
        before = _row_counts(connection)
        run_versions(connection, "head")
        after = _row_counts(connection)
        for name, rows in before.items():
            if after.get(name, 0) < rows:
                raise RowsLost(f"{name} has {after.get(name, 0):,} rows after the upgrade, and had {rows:,} before")
    apply_objects(connection)


def _row_counts(connection: Connection) -> dict[str, int]:
    """The rows of each table of ours that is there, but for the queue of what has to be computed."""
    there = sa.inspect(connection).get_table_names()
    names = [name for name in TABLES if name in there and TABLES[name].audit != "none"]
    return {name: int(connection.exec_driver_sql(f"SELECT count(*) FROM {name}").scalar_one()) for name in names}


def run_versions(connection: Connection, to: str) -> None:
    """Run the versions up to the revision `to`, without any declared object."""
    command.upgrade(_config(connection), to)


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    # Alembic interpolates %; a path with one must survive.
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
