"""Doing what the triggers of the tables refuse, or would put on record: as a superuser or whoever has the file can."""

from __future__ import annotations

import sqlalchemy as sa

from edupulse_pipelines.schema.objects import apply_objects


def past_triggers(engine: sa.Engine, *statements: str) -> None:
    """Do this past every trigger, and leave the triggers as they were."""
    with engine.begin() as connection:
        if engine.dialect.name == "sqlite":
            # Whoever has the file drops the triggers, and makes them again.
            for name in connection.scalars(sa.text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).all():
                connection.exec_driver_sql(f"DROP TRIGGER {name}")
        else:
            connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
        for statement in statements:
            connection.exec_driver_sql(statement)
        if engine.dialect.name == "sqlite":
            apply_objects(connection)
