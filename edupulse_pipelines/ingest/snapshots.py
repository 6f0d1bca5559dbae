"""Full snapshots: a record that a snapshot of its days no longer holds is marked as taken back, never removed.

A snapshot of which a row is still in quarantine, or a file could not be read, takes nothing back: that row may be the
record that seems to be missing. What a delivery says of its snapshots is read in `landing`.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.ingest import quarantine
from edupulse_pipelines.ingest.marks import Marks
from edupulse_pipelines.ingest.table_load import TableLoad
from edupulse_pipelines.schema.sqlalchemy_tables import metadata
from edupulse_pipelines.schema.tables import Stage
from edupulse_pipelines.storage import manifest
from edupulse_pipelines.storage.bulk import read_rows

SNAPSHOT_WAITS = "snapshot_waits"
"""A warning: snapshots that take nothing back yet, because rows of theirs are in quarantine."""


def apply(connection: Connection, load: TableLoad, delivered_on: dt.date, marks: Marks) -> int:
    """Apply this delivery's snapshot and every later one: a late delivery may hold what a later one no longer had.

    How many records this delivery's own took back.
    """
    own = 0
    for day, days in manifest.snapshots(connection, load.work, load.table, since=delivered_on).items():
        if _is_incomplete(connection, load, day):
            load.waiting.add(day)
            continue
        count = _take_back_vanished(connection, load, day, days, marks)
        own += count if day == delivered_on else 0
    return own


def apply_newest(load: TableLoad) -> None:
    """Apply the newest snapshot, should it have had to wait: what was in its way may have been taken away since.

    Nothing to do where a delivery has been merged in this run, because each merged delivery has done so.
    """
    if load.merged:
        return
    with load.work.reading() as connection:
        newest = max(manifest.snapshots(connection, load.work, load.table), default=None)
        files = [] if newest is None else manifest.delivery(connection, load.work, load.table, newest)
    if not files:
        return
    with load.writing() as connection:
        marks = load.marks(connection)
        manifest.add_deleted(connection, files[0], apply(connection, load, files[0].delivered_on, marks))
        marks.write(connection)


def _is_incomplete(connection: Connection, load: TableLoad, day: dt.date) -> bool:
    """Whether a file of the delivery is refused or not loaded, or a row of it in quarantine."""
    refused = manifest.refused(connection, load.work, load.table)
    return any(file.delivered_on == day for file in refused) or any(
        not file.is_loaded or quarantine.open_count(connection, load.work, load.table, file.sha256)
        for file in manifest.delivery(connection, load.work, load.table, day)
    )


def _take_back_vanished(
    connection: Connection, load: TableLoad, snapshot_on: dt.date, days: dict[str, Any], marks: Marks
) -> int:
    """Mark the records within `days` (`from`, `to`, ISO) that no delivery since `snapshot_on` has held; how many.

    Records that are marked already only get the newer date, so that the result does not depend on the order in which
    snapshots are loaded.
    """
    stored = metadata.tables[load.table]
    gone = [stored.c.tenant_id == load.work.tenant, stored.c.delivered_on < snapshot_on]
    event_date = load.record.event_date
    if event_date is not None:
        first, last = (dt.date.fromisoformat(days[end]) for end in ("from", "to"))
        gone.append(stored.c[event_date].between(first, last))
    newly = [*gone, stored.c.deleted_on.is_(None)]
    count = int(connection.scalar(sa.select(sa.func.count()).select_from(stored).where(*newly)) or 0)
    if count:
        _mark_taken_back(connection, load, newly, marks)
    connection.execute(
        stored.update()
        .where(*gone, sa.or_(stored.c.deleted_on.is_(None), stored.c.deleted_on < snapshot_on))
        .values(deleted_on=snapshot_on)
    )
    return count


def _mark_taken_back(
    connection: Connection, load: TableLoad, taken_back: list[sa.ColumnElement[bool]], marks: Marks
) -> None:
    """Mark what taken-back records make stale: the weeks of their events; of students, all since `first_delivery`."""
    stored, record = metadata.tables[load.table], load.record
    if record.about_predictions:
        return
    stage: Stage
    if record.event_date is not None:
        stage, student, date = "weekly_activity", stored.c.student_id, stored.c[record.event_date]
    else:
        assert record.first_delivery is not None  # the declaration wants it where there is no event_date
        stage, student, date = "student_features", stored.c.id, stored.c[record.first_delivery]
    touched = read_rows(
        connection, sa.select(student, date).where(*taken_back), {"student": pa.string(), "date": pa.date32()}
    ).combine_chunks()
    marks.add_dated(stage, touched["date"].combine_chunks(), touched["student"].combine_chunks())
