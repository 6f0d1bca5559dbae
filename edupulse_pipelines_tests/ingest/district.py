"""A small district for the tests of this room: lands files, runs the room's steps, and looks at what became of them.

Every value of a student in these tests contains `ZQ`, so that one look tells whether a message leaks one. After every
run the account of every delivery and of every file is checked: no test has to ask for it.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from edupulse_pipelines.ingest.archive import ArchiveReport, archive_files, refused_files
from edupulse_pipelines.ingest.landing import landed_deliveries
from edupulse_pipelines.ingest.load import DeliveryCounts, LoadReport, load_records
from edupulse_pipelines.schema.sqlalchemy_tables import metadata
from edupulse_pipelines.schema.tables import RECORD_TABLES
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.storage.ids import new_ids
from edupulse_pipelines.storage.work import Work
from edupulse_pipelines.weeks import WEEK

FIRST_WEEK = dt.date(2025, 9, 1)
SECRET = "ZQ"
"""Part of every student's value in these tests."""

STUDENT_HEADER = "district_id,first_name,last_name,date_of_birth"
ATTENDANCE_HEADER = "district_id,date,status"


def delivery_day(number: int) -> dt.date:
    """The Monday on which week `number` (from 1) is delivered."""
    return FIRST_WEEK + number * WEEK


def balanced(account: DeliveryCounts) -> bool:
    """Whether every row that was read is accounted for."""
    accounted = account.inserted + account.updated + account.unchanged + account.quarantined
    return account.read == accounted + account.erased_student


@dataclass
class Loaded:
    """What one run did to one table."""

    archive: ArchiveReport
    report: LoadReport

    @property
    def delivery(self) -> DeliveryCounts:
        """The only delivery of the run."""
        (only,) = self.report.deliveries
        return only

    @property
    def counts(self) -> tuple[int, int, int, int, int]:
        """(read, inserted, updated, unchanged, quarantined) over the deliveries of the run."""
        names = ("read", "inserted", "updated", "unchanged", "quarantined")
        read, inserted, updated, unchanged, quarantined = (
            sum(getattr(delivery, name) for delivery in self.report.deliveries) for name in names
        )
        return read, inserted, updated, unchanged, quarantined


class District:
    """One tenant with a landing folder."""

    def __init__(self, engine: sa.Engine, folder: Path, *, name: str = "lakeside", **settings: Any) -> None:
        self.engine = engine
        self.raw = folder / "raw"
        self.landing = folder / name / "landing"
        self.landing.mkdir(parents=True, exist_ok=True)
        self.tenant = TenantSettings(
            name=name, timezone="America/New_York", first_week=FIRST_WEEK, landing=self.landing, **settings
        )

    @property
    def work(self) -> Work:
        """Work for this tenant, outside of any run."""
        return Work(self.engine, self.tenant.name)

    def land(self, day: int | dt.date, **files: str | bytes) -> None:
        """Put files into a delivery: `grades=…` is `grades.csv`, `grades__b=…` is `grades-b.csv`."""
        when = delivery_day(day) if isinstance(day, int) else day
        folder = self.landing / when.isoformat()
        folder.mkdir(exist_ok=True)
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            (folder / f"{name.replace('__', '-')}.csv").write_bytes(data)

    def enrol(self, *numbers: str) -> None:
        """Have these students in the table already, without a delivery."""
        rows = [
            {
                "id": identifier,
                "tenant_id": self.tenant.name,
                "district_id": number,
                "first_name": "ZQ",
                "last_name": "ZQ",
                "date_of_birth": dt.date(2010, 1, 1),
                "delivered_on": FIRST_WEEK,
            }
            for number, identifier in zip(numbers, new_ids(len(numbers)), strict=True)
        ]
        with self.engine.begin() as connection:
            connection.execute(metadata.tables["students"].insert(), rows)

    def run(self, *tables: str, weeks: list[dt.date] | None = None) -> dict[str, Loaded]:
        """Archive and load these tables (default: all) for these weeks (default: all that have landed)."""
        wanted = weeks if weeks is not None else sorted({found.week for found in landed_deliveries(self.tenant)})
        done = {}
        for table in tables or RECORD_TABLES:
            done[table] = Loaded(
                archive_files(self.work, self.raw, self.tenant, table, wanted),
                load_records(self.work, self.raw, self.tenant, table, wanted),
            )
        self.check_accounts(done)
        return done

    def check_accounts(self, done: dict[str, Loaded]) -> None:
        """Every row that was read is accounted for, and no message carries a student's value."""
        for loaded in done.values():
            assert all(map(balanced, loaded.report.deliveries)), loaded.report.deliveries
        assert SECRET not in repr(done)
        for file in self.manifest():
            if file["status"] == "loaded":
                accounted = sum(file[f"rows_{name}"] for name in ("inserted", "updated", "unchanged", "quarantined"))
                assert file["rows_read"] == accounted, file
            assert SECRET not in f"{file['reason']} {file['detail']} {file['unknown_columns']}"
        assert SECRET not in " ".join(self.refused())

    def refused(self) -> list[str]:
        """The messages that stop the weeks that have landed."""
        return refused_files(self.work, [FIRST_WEEK + n * WEEK for n in range(20)])

    def rows(self, table: str, *columns: str) -> list[Any]:
        """The tenant's rows of a table, with the student's number: tuples of `columns`, sorted."""
        source = metadata.tables[table]
        students = metadata.tables["students"]
        joined = source
        if table != "students" and "student_id" in source.c:
            joined = source.outerjoin(students, students.c.id == source.c.student_id)
        wanted = [students.c.district_id if name == "district_id" else source.c[name] for name in columns]
        with self.engine.connect() as connection:
            found = connection.execute(
                sa.select(*wanted).select_from(joined).where(source.c.tenant_id == self.tenant.name)
            ).all()
        values = [row[0] if len(columns) == 1 else tuple(row) for row in found]
        return sorted(values, key=repr)

    def quarantine(self, table: str | None = None, *, everything: bool = False) -> list[dict[str, Any]]:
        """The quarantined rows of the tenant by delivery and line; the open ones unless `everything` is asked for."""
        records = metadata.tables["quarantined_records"]
        found = self._all(records, records.c.delivered_on, records.c.file_name, records.c.line_number)
        return [
            row
            for row in found
            if (table is None or row["table_name"] == table)
            and (everything or (row["replayed_at"] is None and row["superseded_at"] is None))
        ]

    def reasons(self, table: str) -> dict[int, list[str]]:
        """The reasons of the open quarantine by line number."""
        return {row["line_number"]: row["reasons"] for row in self.quarantine(table)}

    def manifest(self) -> list[dict[str, Any]]:
        """The manifest of the tenant, oldest entry first."""
        files = metadata.tables["ingested_files"]
        return self._all(files, files.c.delivered_on, files.c.table_name, files.c.file_name, files.c.archived_at)

    def marks(self, stage: str) -> set[tuple[str | None, dt.date]]:
        """What is marked for recomputing: (student's number or None, week)."""
        pending = metadata.tables["pending_updates"]
        students = metadata.tables["students"]
        query = (
            sa.select(students.c.district_id, pending.c.week_start)
            .select_from(pending.outerjoin(students, students.c.id == pending.c.student_id))
            .where(pending.c.tenant_id == self.tenant.name, pending.c.stage == stage)
        )
        with self.engine.connect() as connection:
            return {(number, week) for number, week in connection.execute(query)}

    def forget_marks(self) -> None:
        """Take the marks away, as recomputing would."""
        pending = metadata.tables["pending_updates"]
        with self.engine.begin() as connection:
            connection.execute(pending.delete().where(pending.c.tenant_id == self.tenant.name))

    def _all(self, table: sa.Table, *order: sa.Column[Any]) -> list[dict[str, Any]]:
        with self.engine.connect() as connection:
            query = sa.select(table).where(table.c.tenant_id == self.tenant.name).order_by(*order)
            return [dict(row) for row in connection.execute(query).mappings()]
