"""Full snapshots: a record that a snapshot of its days no longer holds is marked as taken back, never removed.

A snapshot is believed when what it no longer holds is little (`max_taken_back`), or when a person has accepted it; one
that is not believed takes nothing back. Neither does one of which a row is still in quarantine, or a file could not be
read: that row may be the record that seems to be missing. What a delivery says of its snapshots is read in `landing`.

Whether a snapshot is believed depends on the deliveries that there are, and not on the order in which they are loaded:
one that seemed to lack little is looked at again when an older delivery comes late, and what it took back then stands
again. Rows that say `_deleted` are taken at their word, however many.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.ingest import quarantine
from edupulse_pipelines.ingest.marks import Marks
from edupulse_pipelines.ingest.table_load import TableLoad
from edupulse_pipelines.schema.sqlalchemy_tables import enrollments, metadata
from edupulse_pipelines.storage import manifest
from edupulse_pipelines.storage.bulk import read_rows
from edupulse_pipelines.storage.snapshots import (
    Removals,
    Snapshot,
    accepted_deliveries,
    note_removals,
    snapshots,
)

SNAPSHOT_WAITS = "snapshot_waits"
"""A warning: snapshots that take nothing back yet, because rows of theirs are in quarantine."""
ALWAYS_BELIEVED = 5
"""So many records may vanish however few there are."""


def apply(connection: Connection, load: TableLoad, delivered_on: dt.date, marks: Marks) -> int:
    """Apply this delivery's snapshot and every later one: a late delivery may hold what a later one no longer had.

    Also those that were not believed so far: what they lack may have come back. How many records this delivery's own
    took back; what others did is added to their accounts.
    """
    every = snapshots(connection, load.work, load.table)
    waiting = [one.delivered_on for one in every if one.removals is None or not one.removals.believed]
    first = min([delivered_on, *waiting])
    accepted = accepted_deliveries(connection, load.work)
    own = 0
    for snapshot in every:
        if snapshot.delivered_on < first:
            continue
        if _is_incomplete(connection, load, snapshot.delivered_on):
            load.waiting.add(snapshot.delivered_on)
            continue
        count = _apply_one(connection, load, snapshot, every, accepted, marks)
        if snapshot.delivered_on == delivered_on:
            own += count
        else:
            files = manifest.delivery(connection, load.work, load.table, snapshot.delivered_on)
            manifest.add_deleted(connection, files[0], count)
    return own


def apply_waiting(load: TableLoad) -> None:
    """Apply the newest snapshot and those not believed so far: what was in their way may have been taken away since.

    Nothing to do where a delivery has been merged in this run, because each merged delivery has done so.
    """
    if load.merged:
        return
    with load.work.reading() as connection:
        newest = max((one.delivered_on for one in snapshots(connection, load.work, load.table)), default=None)
        files = [] if newest is None else manifest.delivery(connection, load.work, load.table, newest)
    if newest is None or not files:
        return
    with load.writing() as connection:
        marks = load.marks(connection)
        manifest.add_deleted(connection, files[0], apply(connection, load, newest, marks))
        load.leave(connection, marks)


def _is_incomplete(connection: Connection, load: TableLoad, day: dt.date) -> bool:
    """Whether a file of the delivery is refused or not loaded, or a row of it in quarantine."""
    refused = manifest.refused(connection, load.work, load.table)
    return any(file.delivered_on == day for file in refused) or any(
        not file.is_loaded or quarantine.open_count(connection, load.work, load.table, file.sha256)
        for file in manifest.delivery(connection, load.work, load.table, day)
    )


def _apply_one(
    connection: Connection,
    load: TableLoad,
    snapshot: Snapshot,
    every: Sequence[Snapshot],
    accepted: Collection[dt.date],
    marks: Marks,
) -> int:
    """Take back what the snapshot lacks, if it is believed; else let stand again what it had taken back.

    How many records it has taken back, negative for those that stand again.
    """
    stored = metadata.tables[load.table]
    lacking = [stored.c.tenant_id == load.work.tenant, stored.c.delivered_on < snapshot.delivered_on]
    if load.record.event_date is not None:
        lacking.append(stored.c[load.record.event_date].between(snapshot.first, snapshot.last))
    if "origin" in stored.c:
        lacking.append(stored.c.origin == "sent")  # the others follow from records of other tables
    deleted_on = stored.c.deleted_on
    # What was taken back before it, by an earlier snapshot or a row that says so, does not vanish with this one.
    gone = _count(connection, [*lacking, sa.or_(deleted_on.is_(None), deleted_on >= snapshot.delivered_on)])
    # A yes to a later snapshot of these days is a yes to what this one no longer holds.
    said_yes = any(
        other.delivered_on in accepted and other.delivered_on >= snapshot.delivered_on and other.covers(snapshot)
        for other in every
    )
    limit = max(ALWAYS_BELIEVED, load.tenant.max_taken_back * (gone + snapshot.rows))
    if load.record.event_date is None and not snapshot.rows:
        limit = 0  # some days may be without a record; a district without anybody is a mistake
    removals = Removals(gone, snapshot.rows, believed=said_yes or gone <= limit)
    if removals != snapshot.removals:
        note_removals(connection, load.work, load.table, snapshot.delivered_on, removals)
    if not removals.believed:
        was_believed = snapshot.removals is not None and snapshot.removals.believed
        standing = [*lacking, deleted_on == snapshot.delivered_on]
        return -_mark(connection, load, standing, None, marks) if was_believed else 0
    # The earliest snapshot that lacks a record gives the date, whichever was loaded first.
    others = [other.delivered_on for other in every if other.delivered_on > snapshot.delivered_on]
    if others:
        later = deleted_on.in_(others)
        connection.execute(stored.update().where(*lacking, later).values(deleted_on=snapshot.delivered_on))
    return _mark(connection, load, [*lacking, deleted_on.is_(None)], snapshot.delivered_on, marks)


def _count(connection: Connection, records: list[sa.ColumnElement[bool]]) -> int:
    return int(connection.scalar(sa.select(sa.func.count()).where(*records)) or 0)


def _mark(
    connection: Connection,
    load: TableLoad,
    records: list[sa.ColumnElement[bool]],
    deleted_on: dt.date | None,
    marks: Marks,
) -> int:
    """Give the records this `deleted_on`, and mark what that makes stale; how many they are."""
    stored = metadata.tables[load.table]
    count = _count(connection, records)
    if count:
        _mark_stale(connection, load, records, marks)
        connection.execute(stored.update().where(*records).values(deleted_on=deleted_on))
    return count


def _mark_stale(connection: Connection, load: TableLoad, records: list[sa.ColumnElement[bool]], marks: Marks) -> None:
    """Mark what depends on the records: the weeks of their events; of students and enrolments, all since."""
    stored, record = metadata.tables[load.table], load.record
    if record.about_predictions or record.describes_only:
        return
    if record.event_date is not None:
        touched_rows = sa.select(stored.c.student_id, stored.c[record.event_date])
    elif record.counts_from is not None:
        touched_rows = sa.select(stored.c.student_id, stored.c[record.counts_from])
    else:  # the students themselves
        of_student = stored.join(enrollments, enrollments.c.student_id == stored.c.id)
        touched_rows = sa.select(stored.c.id, enrollments.c.entry_date).select_from(of_student)
    touched = read_rows(
        connection, touched_rows.where(*records), {"student": pa.string(), "date": pa.date32()}
    ).combine_chunks()
    dates, of_students = touched["date"].combine_chunks(), touched["student"].combine_chunks()
    if record.event_date is not None:
        marks.add_dated("weekly_activity", dates, of_students)
    else:
        marks.add_enrolments(dates, of_students)
