"""Having the database forget what was deleted: tables are written anew, and what is known of their values is, too.

A deleted row stands in the file of its table until that is rewritten, and its values in the statistics until the table
is analysed again. Rare, and slow on large tables: the server holds each table for itself meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.errors import PermanentError
from edupulse_pipelines.storage import engine as engines
from edupulse_pipelines.storage.work import Work

_NOT_OWNED = sa.text(
    "SELECT relname FROM pg_class WHERE relnamespace = CAST(current_schema() AS regnamespace)"
    " AND relname = ANY(:tables) AND NOT pg_has_role(relowner, 'USAGE') ORDER BY relname"
)


def demand_rewriting(connection: Connection, tables: Iterable[str]) -> None:
    """PermanentError when the role may not rewrite one of the tables; on SQLite whoever may write may do it."""
    if connection.dialect.name == "postgresql":
        foreign = list(connection.scalars(_NOT_OWNED, {"tables": list(tables)}))
        if foreign:
            raise PermanentError(
                f"The role does not own {foreign[0]} and others, and only an owner may rewrite a table: name in "
                "EDUPULSE_KEEPER_URL, for this command, the database URL of the keeper or of whoever owns the tables."
            )


def overwrite_deleted(connection: Connection) -> None:
    """From now on in this transaction SQLite writes zeros over what is deleted, whatever it was built with."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA secure_delete = ON")


def rewrite(work: Work, tables: Iterable[str]) -> None:
    """Write the tables anew without what was deleted, and analyse them; outside of any transaction.

    On SQLite it is the whole file, with its write-ahead log. Errors as those of `Work.writing`.
    """
    engine = work._engine
    with engines.reachable(engine), engines.alone(engine) as connection:
        if work.dialect == "postgresql":
            for table in tables:
                connection.exec_driver_sql(f"VACUUM (FULL, ANALYZE) {table}")
            return
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.exec_driver_sql("VACUUM")
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
