"""The school days that a source's own calendar names, stored beside the records: `instructional_days`.

With them attendance that records exceptions only has a denominator; that is worked out in `features`.
"""

from __future__ import annotations

import datetime as dt

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.ingest.archived_file import archived_instructional_days
from edupulse_pipelines.ingest.table_load import TableLoad
from edupulse_pipelines.schema.sqlalchemy_tables import instructional_days
from edupulse_pipelines.storage.manifest import Entry


def store_instructional_days(
    connection: Connection, load: TableLoad, delivered_on: dt.date, files: list[Entry]
) -> None:
    """Store the school days that the files' sources name, each with the newest delivery that named it."""
    named = {day for file in files for day in archived_instructional_days(load.archive_of(file))}
    if not named:
        return
    tenant, day = load.work.tenant, instructional_days.c
    stored = set(connection.scalars(sa.select(day.date).where(day.tenant_id == tenant)))
    if named & stored:
        connection.execute(
            instructional_days.update()
            .where(day.tenant_id == tenant, day.date.in_(sorted(named & stored)), day.delivered_on < delivered_on)
            .values(delivered_on=delivered_on)
        )
    if named - stored:
        connection.execute(
            instructional_days.insert(),
            [{"tenant_id": tenant, "date": new, "delivered_on": delivered_on} for new in sorted(named - stored)],
        )
