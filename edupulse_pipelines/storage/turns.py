"""Who may change a table's records: one transaction at a time for each table of a tenant, the others wait.

Also what touches rows that a load may be about to free (corrections of quarantined rows) takes its turn.
"""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy.engine import Connection


def take_turn(connection: Connection, tenant: str, tables: Iterable[str]) -> None:
    """Wait until nobody else changes records of these tables; the turn ends with the transaction.

    In one order of tables whatever the order given, so that two who wait for each other cannot be. SQLite has one
    writer anyway.
    """
    if connection.dialect.name == "postgresql":
        for table in sorted(tables):
            name = f"load/{tenant}/{table}"
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(name, 0))))
