"""Full snapshots: a record that a snapshot of its days no longer holds is marked as taken back, never removed.

A snapshot of which a row is still in quarantine takes nothing back: that row may be the record that seems to be
missing. Reading `manifest.json` is in `landing`; when snapshots are applied is in `load`.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.ingest.marks import Marks
from edupulse_pipelines.ingest.merge import mark_weeks
from edupulse_pipelines.schema.sqlalchemy_tables import metadata
from edupulse_pipelines.storage.bulk import read_rows
from edupulse_pipelines.storage.work import Work

EVENT_DATES = {
    "attendance_records": "date",
    "grades": "submission_date",
    "discipline_incidents": "incident_date",
}
"""The date by which a record belongs to the days of a snapshot; the other tables are whole or not at all."""


def take_back_vanished(
    connection: Connection, work: Work, table: str, snapshot_on: dt.date, days: dict[str, Any], marks: Marks
) -> int:
    """Mark the records within `days` (`from`, `to`, ISO) that no delivery since `snapshot_on` has held; how many.

    Records that are marked already only get the newer date, so that the result does not depend on the order in which
    snapshots are loaded.
    """
    stored = metadata.tables[table]
    gone = [stored.c.tenant_id == work.tenant, stored.c.delivered_on < snapshot_on]
    event = EVENT_DATES.get(table)
    if event is not None:
        gone.append(stored.c[event].between(dt.date.fromisoformat(days["from"]), dt.date.fromisoformat(days["to"])))
    newly = [*gone, stored.c.deleted_on.is_(None)]
    count = int(connection.scalar(sa.select(sa.func.count()).select_from(stored).where(*newly)) or 0)
    if count:
        student, date = ("student_id", event) if event is not None else ("id", "enrollment_date")
        if table != "training_feedback":
            touched = read_rows(
                connection,
                sa.select(stored.c[student], stored.c[date]).where(*newly),
                {"student": pa.string(), "date": pa.date32()},
            ).combine_chunks()
            mark_weeks(
                marks,
                "student_features" if event is None else "weekly_activity",
                touched["date"].combine_chunks(),
                touched["student"].combine_chunks(),
            )
    connection.execute(
        stored.update()
        .where(*gone, sa.or_(stored.c.deleted_on.is_(None), stored.c.deleted_on < snapshot_on))
        .values(deleted_on=snapshot_on)
    )
    return count
