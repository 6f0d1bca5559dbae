"""Loading one record table: its deliveries in order, each judged and brought into the table with its account.

A delivery walks through the room in one direction: the manifest says which are due, `delivery` reads and judges them,
`merging` has them written (`writers`), keeps their bad rows (`quarantine`) and enters the account (`storage.manifest`).
Rows that waited for something are tried again before and after (`replay`), and full snapshots take back what they no
longer hold (`snapshots`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from pathlib import Path

from edupulse_pipelines.ingest.accounts import DeliveryCounts, LoadReport, ReplayCounts
from edupulse_pipelines.ingest.delivery import due, judged
from edupulse_pipelines.ingest.identity import reclaim, settle
from edupulse_pipelines.ingest.merging import deliver, deliver_again
from edupulse_pipelines.ingest.padded_numbers import names_students, settle_padded_numbers
from edupulse_pipelines.ingest.replay import replay
from edupulse_pipelines.ingest.session_schools import follow_enrolments
from edupulse_pipelines.ingest.snapshots import SNAPSHOT_WAITS, apply_waiting
from edupulse_pipelines.ingest.table_load import Progress, TableLoad
from edupulse_pipelines.ingest.validation import UNKNOWN_RECORD, failed_expectations
from edupulse_pipelines.schema.tables import RECORD_TABLES
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.storage.work import Work

__all__ = ["DeliveryCounts", "LoadReport", "ReplayCounts", "load_records", "replay_quarantine"]


def load_records(
    work: Work,
    raw_dir: Path,
    tenant: TenantSettings,
    table: str,
    weeks: Iterable[dt.date],
    progress: Progress | None = None,
) -> LoadReport:
    """Try the waiting rows of `table` again, then merge its archived deliveries for `weeks` (Mondays), oldest first.

    Deliveries of earlier weeks that were archived and never merged, because their run stopped before, are taken along.

    Attendance follows what enrolments have said meanwhile of students at several schools.

    A delivery whose files are all known by content is only counted again. Each delivery is one transaction: rows,
    manifest, quarantine and marks of what has to be recomputed come together or not at all; two loads of one table
    wait for each other. `progress` gets rows done and rows in all. PermanentError when an archive is gone.

    The report is of all that the work's run has done: an earlier try of its step is counted in.
    """
    load = TableLoad(work, raw_dir, tenant, table, progress)
    load.read_accounts()
    if names_students(table):
        with load.writing() as connection:
            settle_padded_numbers(connection, work)
    deliveries = due(load, set(weeks))
    load.total = sum(delivery.count for delivery in deliveries)
    reclaim(load)
    follow_enrolments(load)
    # First, because one content may also be in a delivery that is merged now, and would close the entry they share.
    replay(load)
    for delivery in judged(load, deliveries):
        deliver(load, delivery)
    deliver_again(load)
    settle(load)
    apply_waiting(load)
    if load.merged:
        # What waiting rows take back may have come with one of these deliveries, whichever was loaded first.
        replay(load, only=UNKNOWN_RECORD)
    return _report(load)


def _report(load: TableLoad) -> LoadReport:
    accounts = [counts for _, counts in sorted(load.accounts.items())]
    for counts in accounts:
        counts.failed_expectations = failed_expectations(load.table, counts.reasons, weighted=load.weighted)
    warnings = {**load.warnings, **({SNAPSHOT_WAITS: len(load.waiting)} if load.waiting else {})}
    return LoadReport(accounts, load.replayed, warnings)


def replay_quarantine(
    work: Work, raw_dir: Path, tenant: TenantSettings, tables: Iterable[str] | None = None
) -> dict[str, ReplayCounts]:
    """Try every open row of the tables again, with its correction, under the rules and the profile of now.

    Students come first: what waits for them is tried after them. What is loaded leaves quarantine with a trace and
    marks what has to be recomputed.
    """
    wanted = set(RECORD_TABLES if tables is None else tables)
    return {table: _replayed(TableLoad(work, raw_dir, tenant, table)) for table in RECORD_TABLES if table in wanted}


def _replayed(load: TableLoad) -> ReplayCounts:
    reclaim(load)
    counts = replay(load, every=True)
    settle(load)
    return counts
