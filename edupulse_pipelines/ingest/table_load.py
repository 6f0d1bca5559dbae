"""The loading of one table in one run: what its deliveries share, the transaction each has, what has been counted.

A step that is tried again begins with what its earlier tries have counted (`read_accounts`); each transaction keeps
what it counts together with what it writes.

No row of a delivery is read, judged or written here.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy.engine import Connection

from edupulse_pipelines.ingest.accounts import DeliveryCounts
from edupulse_pipelines.ingest.archived_file import archive_path
from edupulse_pipelines.ingest.delivered_rows import DeliveredRows
from edupulse_pipelines.ingest.frames import Piece
from edupulse_pipelines.ingest.marks import Marks
from edupulse_pipelines.ingest.references import Students
from edupulse_pipelines.ingest.student_enrolments import follow_events
from edupulse_pipelines.ingest.validation import Reasons, validate
from edupulse_pipelines.ingest.writers.choice import writer_of
from edupulse_pipelines.ingest.writers.outcomes import Target, Writer
from edupulse_pipelines.progress import Progress
from edupulse_pipelines.schema.declaration import Record
from edupulse_pipelines.schema.delivery import DELIVERED, FIRST_DELIVERED_ON
from edupulse_pipelines.schema.tables import TABLES
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.storage import step_accounts
from edupulse_pipelines.storage.manifest import Entry
from edupulse_pipelines.storage.turns import take_turn
from edupulse_pipelines.storage.work import Work


@dataclass
class TableLoad:
    """One table of one tenant, while its deliveries are loaded or its quarantine is replayed.

    total: rows of all deliveries, for `progress`; merged: whether a delivery has been merged (and not only counted).
    accounts: of the deliveries that the run has looked at; replayed: rows that it has loaded out of quarantine;
    warnings: counted by name; waiting: snapshots that take nothing back yet. open_again: deliveries whose rows another
    one has freed from quarantine, and `reopened`, the manifest's ids of their files. raised: numbers of which it has to
    be settled whose they are.
    """

    work: Work
    raw_dir: Path
    tenant: TenantSettings
    table: str
    progress: Progress | None = None
    total: int = 0
    merged: bool = False
    accounts: dict[dt.date, DeliveryCounts] = field(default_factory=dict)
    replayed: int = 0
    warnings: Counter[str] = field(default_factory=Counter)
    waiting: set[dt.date] = field(default_factory=set)
    open_again: set[dt.date] = field(default_factory=set)
    reopened: set[uuid.UUID] = field(default_factory=set)
    raised: set[str] = field(default_factory=set)
    _done: int = 0
    _students: Students | None = None

    @property
    def record(self) -> Record:
        """What the declaration says of the table's records."""
        return DELIVERED[self.table].record

    @property
    def weighted(self) -> bool:
        """Whether grade points go beyond 4."""
        return self.tenant.grading_scale == "weighted"

    def judged(self, pieces: Sequence[Piece]) -> list[Reasons]:
        """For each piece the reasons by row, under the settings of now."""
        return validate(pieces, self.table, weighted=self.weighted, earliest=self.tenant.no_event_before)

    @property
    def keeps_first_delivery(self) -> bool:
        """Whether it matters which delivery was the first to hold a record."""
        return self.record.first_delivery is not None or FIRST_DELIVERED_ON in TABLES[self.table].column_names

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction in which nobody else loads this table of this tenant: a second load waits for the first.

        What has been counted beside the accounts of deliveries is kept with it.
        """
        with self.work.writing() as connection:
            take_turn(connection, self.work, [self.table])
            before = self._noted()
            yield connection
            noted = self._noted()
            if noted != before:
                step_accounts.keep(connection, self.work, self.table, noted)

    def _noted(self) -> dict[str, Any]:
        return {
            "replayed": self.replayed,
            "warnings": dict(self.warnings),
            "waiting": sorted(day.isoformat() for day in self.waiting),
        }

    def read_accounts(self) -> None:
        """Begin with what earlier tries of this run's step have counted."""
        with self.work.reading() as connection:
            kept = step_accounts.read(connection, self.work, self.table)
        noted = kept.pop(step_accounts.WHOLE, {})
        self.replayed = noted.get("replayed", 0)
        self.warnings = Counter(noted.get("warnings", {}))
        self.waiting = {dt.date.fromisoformat(day) for day in noted.get("waiting", [])}
        for part, account in kept.items():
            delivered_on = dt.date.fromisoformat(part)
            self.accounts[delivered_on] = DeliveryCounts.from_json(delivered_on, account)

    def keep_account(
        self, connection: Connection, counts: DeliveryCounts, files: Collection[Entry], *, again: bool
    ) -> None:
        """Keep what the run has counted of a delivery, in the transaction that has written it.

        files: the delivery's, as they were before. The run's first account of a delivery stands. When it is merged
        `again`, because rows of it have been freed from quarantine, those that are loaded now have been replayed.
        """
        was_loaded = all(file.is_loaded for file in files)
        if again or counts.delivered_on in self.accounts:
            if not was_loaded:
                self.replayed += max(0, sum(file.rows_quarantined for file in files) - counts.quarantined)
            return
        self.accounts[counts.delivered_on] = counts
        # Of a delivery that was loaded before, and has no row that waits, another try counts the same.
        if counts.quarantined or not was_loaded:
            part = counts.delivered_on.isoformat()
            step_accounts.keep(connection, self.work, self.table, counts.as_json(), part)

    def students(self, connection: Connection) -> Students:
        """The students that rows can name; read once in a run, because students are loaded before."""
        if self._students is None:
            none = self.record.about_predictions
            self._students = Students.none() if none else Students.of(connection, self.work)
        return self._students

    def marks(self, connection: Connection) -> Marks:
        """Marks to collect while a delivery is written."""
        return Marks(self.work, self.students(connection))

    def leave(self, connection: Connection, marks: Marks) -> None:
        """When everything is written: let assumed enrolments follow the events, and leave the marks."""
        if self.record.event_date is not None and self.record.about_students:
            follow_events(connection, self.work, marks)
        marks.write(connection)

    def writer(self, connection: Connection, rows: DeliveredRows, marks: Marks) -> Writer[Any]:
        """The writer of a delivery in its transaction."""
        target = Target(
            connection, self.work, self.tenant, rows, self.students(connection), marks, self.warnings, self.raised
        )
        return writer_of(self.table)(target)

    def make_room(self, rows: DeliveredRows) -> None:
        """What the delivery's rows need before its transaction begins."""
        writer_of(self.table).make_room(self.work, self.tenant, rows)

    def archive_of(self, file: Entry) -> Path:
        """Where the archive of one of the table's files lies."""
        return archive_path(self.raw_dir, self.work.tenant, self.table, file.delivered_on, file.file_name, file.sha256)

    def advance(self, rows: int) -> None:
        """So many rows more are done."""
        self._done += rows
        if self.progress is not None and rows:
            self.progress(min(self._done, self.total), self.total)
