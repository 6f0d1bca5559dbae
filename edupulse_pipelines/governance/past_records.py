"""A district's records as they were known at a moment, in a database of their own, with activity and features of them.

The tables are copied as they are on record (`schema.objects.as_recorded`) into a SQLite file in a folder that nobody
else can read and that is gone at the end; then weekly activity and features are computed from them as they always are.
Whatever works on a `Work` can so be asked what it would have said then. What the record of changes does not keep, such
as which delivery held a record last, is as it is now, and what has been erased is not there.
"""

from __future__ import annotations

import datetime as dt
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.errors import ConfigurationError
from edupulse_pipelines.features.store import update_student_features
from edupulse_pipelines.features.weekly_activity import update_weekly_activity
from edupulse_pipelines.governance.audit_history import query_as_recorded
from edupulse_pipelines.ingest.doubt import attendance_in_doubt
from edupulse_pipelines.schema.sqlalchemy_tables import metadata
from edupulse_pipelines.schema.tables import CHANGE_ID, TABLES
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.storage import changes
from edupulse_pipelines.storage.database import Database
from edupulse_pipelines.storage.pending import put_marks
from edupulse_pipelines.storage.work import Work
from edupulse_pipelines.weeks import week_start

COPIED = tuple(
    name
    for name, table in TABLES.items()
    if table.audit == "whole" and table.tenant_owned and name not in ("disclosures", "erasures", "erased_keys")
)
"""The tables that are copied; the others are computed, or say nothing of what was known."""
_ROWS_AT_ONCE = 5_000


@contextmanager
def past_records(work: Work, tenant: TenantSettings, moment: dt.datetime) -> Iterator[Work]:
    """Work over the tenant's records as they were known at the moment, for the length of the block.

    ConfigurationError for a moment from before changes were on record.
    """
    with tempfile.TemporaryDirectory(prefix="edupulse-past-") as folder:
        database = Database(f"sqlite:///{Path(folder) / 'past.db'}")
        database.upgrade()
        with database.work(work.tenant) as past:
            with work.reading(steady=True) as connection, past.writing() as copy:
                _demand_recorded(connection, moment)
                for name in COPIED:
                    _copy(connection, copy, work, name, moment)
                put_marks(copy, past, "weekly_activity", ((None, week) for week in _weeks_with_records(copy)))
            update_weekly_activity(
                past,
                tenant.first_week,
                tenant.attendance,
                tenant.calendar,
                partial(attendance_in_doubt, past, tenant),
                tenant.absent_day,
            )
            update_student_features(past, tenant.first_week)
            yield past


def _weeks_with_records(copy: Connection) -> list[dt.date]:
    """The Mondays of the weeks that any record is of."""
    found: set[dt.date] = set()
    for name, table in TABLES.items():
        if table.record is not None and table.record.event_date is not None:
            days = copy.scalars(sa.select(metadata.tables[name].c[table.record.event_date]).distinct())
            found |= {week_start(day) for day in days if day is not None}
    return sorted(found)


def _demand_recorded(connection: Connection, moment: dt.datetime) -> None:
    first = connection.scalar(sa.select(sa.func.min(changes.changes.c.linked_at)))
    if first is None or moment < first:
        raise ConfigurationError(
            "Changes are on record since " + (f"{first:%Y-%m-%d %H:%M} UTC" if first else "no moment yet") + ": what "
            "was known before nobody can say."
        )


def _copy(connection: Connection, copy: Connection, work: Work, name: str, moment: dt.datetime) -> None:
    found = connection.execute(query_as_recorded(work, name, moment))
    for rows in found.partitions(_ROWS_AT_ONCE):
        # Of the changes nothing is copied.
        copy.execute(metadata.tables[name].insert(), [{**row._mapping, CHANGE_ID: 0} for row in rows])
