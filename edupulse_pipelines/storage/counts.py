"""How many rows a tenant has in a table, and of events before some day; deleted records are not counted."""

from __future__ import annotations

import datetime as dt

import sqlalchemy as sa

from edupulse_pipelines.schema import sqlalchemy_tables as tables
from edupulse_pipelines.schema.tables import TABLES
from edupulse_pipelines.storage.work import Work


def row_count(connection: sa.Connection, work: Work, table: str) -> int:
    """Rows of the work's tenant in `table`, without deleted records."""
    counted = tables.metadata.tables[table]
    query = sa.select(sa.func.count()).select_from(counted).where(counted.c.tenant_id == work.tenant)
    if "deleted_on" in counted.c:
        query = query.where(counted.c.deleted_on.is_(None))
    return connection.execute(query).scalar_one()


def rows_before(connection: sa.Connection, work: Work, table: str, day: dt.date) -> int:
    """Records of the work's tenant in `table` whose event lies before `day`, without deleted ones."""
    record = TABLES[table].record
    if record is None or record.event_date is None:
        return 0
    stored = tables.metadata.tables[table].c
    query = sa.select(sa.func.count()).where(
        stored.tenant_id == work.tenant, stored[record.event_date] < day, stored.deleted_on.is_(None)
    )
    return connection.execute(query).scalar_one()
