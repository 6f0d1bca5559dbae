"""Adopting a database of version 1.0 from end to end, resumably; and saying beforehand what would come of it.

The move of the old tables, the making of ours and the note for whom it is done are one transaction. Then rows come over
in batches, a transaction each with its account, so that whoever stops it at whatever statement has either the database
as it was, or one that the same command goes on with. The last transaction leaves the marks to compute everything.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.errors import PermanentError
from edupulse_pipelines.operations.adoption import accounts, records, scores
from edupulse_pipelines.operations.adoption.accounts import Counts, Report
from edupulse_pipelines.operations.adoption.conditions import (
    moved_counts,
    refuse_another_tenant,
    refuse_what_is_no_version_1,
)
from edupulse_pipelines.operations.adoption.extracts import OldDatabase, last_moment, plain_reading
from edupulse_pipelines.operations.adoption.records import ASSUMED_ENTRIES, Kept
from edupulse_pipelines.progress import Progress
from edupulse_pipelines.schema.sqlalchemy_tables import enrollments
from edupulse_pipelines.settings import Settings, TenantSettings
from edupulse_pipelines.storage.database import Database
from edupulse_pipelines.storage.pending import leave_marks
from edupulse_pipelines.storage.version_1 import (
    ALEMBIC,
    OLD_TABLES,
    STUDENTS,
    UNDER_WAY,
    adopted_for,
    all_tables,
    analyse_old_tables,
    begin_adoption,
    end_adoption,
    move_old_tables,
    moved_tables,
    plain_name,
    views_of_old_tables,
)
from edupulse_pipelines.storage.work import Work
from edupulse_pipelines.weeks import week_of_delivery, week_start

FEATURES = "student_features"
_ORDER = (STUDENTS, "attendance_records", "grades", "discipline_incidents", "training_feedback")
"""The tables of records, each after those that its rows refer to; verdicts come after the predictions."""


@dataclass
class Adoption:
    """What came, or would come, of the rows, by table; and what stays behind.

    tables: further tables, which stay as they are where they are; moved: further ones, whose names are ours, in `v1_0`;
    columns: by table those that nothing here knows, in `v1_0`; views: those that read an old table, and go on to.
    resumed: whether an earlier run had begun.
    """

    report: Report
    tables: list[str] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)
    columns: dict[str, list[str]] = field(default_factory=dict)
    views: list[str] = field(default_factory=list)
    resumed: bool = False

    @property
    def total(self) -> Counts:
        """Of all tables."""
        return accounts.total(self.report.values())


def dry_run(database: Database, tenant: TenantSettings) -> Adoption:
    """What would become of the rows of each table; nothing is changed. PermanentError as `adopt`."""
    with database.unchecked_work(tenant.name) as work, work.reading(steady=True) as connection:
        refuse_another_tenant(connection, tenant.name)
        if adopted_for(connection) is not None:
            return Adoption(accounts.report(connection), resumed=True, **_left(connection, moved=True))
        refuse_what_is_no_version_1(connection)
        plain_reading(connection)
        old = OldDatabase.of(connection, moved=False)
        delivered_on = _last_creation(connection, old, tenant, dt.datetime.now(dt.UTC))
        report = _foretold(connection, old, tenant, delivered_on)
        return Adoption(report, **_left(connection, moved=False))


def _foretold(connection: Connection, old: OldDatabase, tenant: TenantSettings, delivered_on: dt.date) -> Report:
    from edupulse_pipelines.ingest.references import Students

    kept = Kept(Students.none())
    report: Report = {}
    for table in _ORDER[:-1]:
        report[table] = records.foretell(connection, tenant, old, table, delivered_on, kept)
    report[scores.MODELS] = scores.foretold_models(connection, old)
    zone = ZoneInfo(tenant.timezone)
    report[scores.PREDICTIONS] = Counts()
    there = kept.students.numbers
    predictions: list[bytes] = []
    for batch in scores.prediction_batches(connection, old):
        judged = scores.judged_predictions(connection, old, batch, there, zone)
        report[scores.PREDICTIONS].add(judged.counts)
        predictions += [uuid.UUID(row["id"]).bytes for row in judged.good]
    kept.predictions = frozenset(predictions)
    table = _ORDER[-1]
    report[table] = records.foretell(connection, tenant, old, table, delivered_on, kept)
    count = _rows(connection, old, FEATURES)
    report[FEATURES] = Counts(read=count, recomputed=count)
    return {table: report[table] for table in OLD_TABLES}


def _rows(connection: Connection, old: OldDatabase, table: str) -> int:
    return int(connection.exec_driver_sql(f"SELECT count(*) FROM {old.name(table)}").scalar_one())


def _last_creation(connection: Connection, old: OldDatabase, tenant: TenantSettings, begun: dt.datetime) -> dt.date:
    """The local day on which version 1.0 created its last row before the adoption began; that day where none is known.

    So it is the same whenever the adoption goes on.
    """
    moments = (last_moment(connection, old, table, begun) for table in _ORDER)
    last = max((moment for moment in moments if moment is not None), default=begun)
    return last.astimezone(ZoneInfo(tenant.timezone)).date()


def _left(connection: Connection, *, moved: bool) -> dict[str, Any]:
    """What stays behind: further tables and columns, for `Adoption`."""
    from edupulse_pipelines.schema.tables import TABLES

    ours = {*TABLES, ALEMBIC}
    old = OldDatabase.of(connection, moved=moved)
    names = [plain_name(connection, name) for name in all_tables(connection)]
    mine = moved_tables(connection) if moved else names
    return {
        "tables": sorted(name for name in names if name not in ours and not _is_ours(name)),
        "moved": sorted(name for name in mine if name in ours and name not in OLD_TABLES and name != ALEMBIC),
        "columns": old.left_columns(),
        "views": views_of_old_tables(connection, moved=moved),
    }


def _is_ours(name: str) -> bool:
    """Whether it is a partition of a table of ours, or of version 1.0."""
    return name.startswith("attendance_records_")


def adopt(
    database: Database,
    settings: Settings,
    tenant: TenantSettings,
    then: Callable[[Connection], object] | None = None,
    progress: Progress | None = None,
) -> Adoption:
    """Adopt the database for a tenant, or go on with that; what came of each table's rows.

    then: as in `Database.upgrade`. PermanentError for a database that is no whole one of version 1.0, is adopted for
    another tenant, or has been adopted already; then nothing has changed.
    """
    resumed = _begin(database, tenant, then)
    with database.unchecked_work(tenant.name) as work:
        with work.reading() as connection:
            plain_reading(connection)
            old = OldDatabase.of(connection, moved=True)
            state = adopted_for(connection)
            assert state is not None
            delivered_on = _last_creation(connection, old, tenant, dt.datetime.fromisoformat(state.begun_at))
            rows = sum(moved_counts(connection).values())
            done = accounts.total(accounts.report(connection).values()).read

        def advanced(count: int) -> None:
            nonlocal done
            done += count
            if progress is not None:
                progress(done, rows)

        _bring_over(work, settings, tenant, old, delivered_on, advanced)
        _end(work, old, delivered_on)
        with work.reading() as connection:
            return Adoption(accounts.report(connection), resumed=resumed, **_left(connection, moved=True))


def _begin(database: Database, tenant: TenantSettings, then: Callable[[Connection], object] | None) -> bool:
    """Move the old tables and make ours, in one transaction; whether that had been done before."""
    with database.unchecked_work(tenant.name) as work, work.reading() as connection:
        refuse_another_tenant(connection, tenant.name)
        if UNDER_WAY in moved_tables(connection):
            return True
        refuse_what_is_no_version_1(connection)

    def first(connection: Connection) -> None:
        refuse_what_is_no_version_1(connection)  # again: another process may have been faster
        move_old_tables(connection)
        begin_adoption(connection, tenant.name, dt.datetime.now(dt.UTC).isoformat(timespec="seconds"))

    database.upgrade(then, first)
    with database.unchecked_work(tenant.name) as work, work.writing() as connection:
        analyse_old_tables(connection)
    return False


def _bring_over(
    work: Work,
    settings: Settings,
    tenant: TenantSettings,
    old: OldDatabase,
    delivered_on: dt.date,
    advanced: records.Advanced,
) -> None:
    """Bring over what is not here yet. Takes six arguments: whose rows they are, from where and to where."""
    for table in _ORDER[:-1]:
        records.bring_over(work, settings, tenant, old, table, delivered_on, advanced)
    scores.bring_models(work, old, advanced)
    scores.bring_predictions(work, old, ZoneInfo(tenant.timezone), delivered_on, advanced)
    records.bring_over(work, settings, tenant, old, _ORDER[-1], delivered_on, advanced)


def _end(work: Work, old: OldDatabase, delivered_on: dt.date) -> None:
    """Check that every row is accounted for, mark everything to be computed, and let the others in."""
    with work.writing() as connection:
        accounts.take_turn(connection, FEATURES, "all")
        features = _rows(connection, old, FEATURES)
        accounts.enter_batch(connection, FEATURES, "all", Counts(read=features, recomputed=features))
        assumed = connection.scalar(
            sa.select(sa.func.count())
            .select_from(enrollments)
            .where(enrollments.c.tenant_id == work.tenant, enrollments.c.origin == "assumed")
        )
        if assumed:
            noted = Counts()
            noted.others[ASSUMED_ENTRIES] = assumed
            accounts.enter_batch(connection, STUDENTS, ASSUMED_ENTRIES, noted)
        found = accounts.report(connection)
        for table, count in moved_counts(connection).items():
            if found[table].read != count:
                raise PermanentError(
                    f"{table} of version 1.0 has {count:,} rows, and {found[table].read:,} were read: something else "
                    "still writes to it. Stop that, and have a backup restored of before; nothing was dropped."
                )
        _mark(connection, work, delivered_on)
        end_adoption(connection, dt.datetime.now(dt.UTC).isoformat())


def _mark(connection: Connection, work: Work, delivered_on: dt.date) -> None:
    """Everybody's features are to be computed from the first enrolment on, or the first week that has records."""
    first = [connection.scalar(sa.select(sa.func.min(enrollments.c.entry_date)))]
    weeks = [week_start(day) for day in first if day is not None]
    if weeks:
        start = min(*weeks, week_of_delivery(delivered_on))
        leave_marks(connection, work, [("student_features", None, start)])
