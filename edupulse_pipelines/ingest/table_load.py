"""The loading of one table in one run: what its deliveries share, and the transaction each of them has.

Nothing is read, judged or written here.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy.engine import Connection

from edupulse_pipelines.ingest.archived_file import archive_path
from edupulse_pipelines.ingest.delivered_rows import DeliveredRows
from edupulse_pipelines.ingest.marks import Marks
from edupulse_pipelines.ingest.references import Students
from edupulse_pipelines.ingest.writers.choice import writer_of
from edupulse_pipelines.ingest.writers.outcomes import Target, Writer
from edupulse_pipelines.schema.declaration import Record
from edupulse_pipelines.schema.delivery import DELIVERED
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.storage.manifest import Entry
from edupulse_pipelines.storage.turns import take_turn
from edupulse_pipelines.storage.work import Work

Progress = Callable[[int, int], None]
"""Called with rows done and rows in all."""


@dataclass
class TableLoad:
    """One table of one tenant, while its deliveries are loaded or its quarantine is replayed.

    total: rows of all deliveries, for `progress`; merged: whether a delivery has been merged (and not only counted);
    warnings: counted by name. open_again: deliveries whose rows another one has freed from quarantine, and
    `reopened`, the manifest's ids of their files.
    """

    work: Work
    raw_dir: Path
    tenant: TenantSettings
    table: str
    progress: Progress | None = None
    total: int = 0
    merged: bool = False
    warnings: Counter[str] = field(default_factory=Counter)
    open_again: set[dt.date] = field(default_factory=set)
    reopened: set[uuid.UUID] = field(default_factory=set)
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

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction in which nobody else loads this table of this tenant: a second load waits for the first."""
        with self.work.writing() as connection:
            take_turn(connection, self.work, [self.table])
            yield connection

    def students(self, connection: Connection) -> Students:
        """The students that rows can name; read once in a run, because students are loaded before."""
        if self._students is None:
            name_students = self.record.refers_to != "predictions"
            self._students = Students.of(connection, self.work) if name_students else Students.none()
        return self._students

    def marks(self, connection: Connection) -> Marks:
        """Marks to collect while a delivery is written."""
        return Marks(self.work, self.students(connection))

    def writer(self, connection: Connection, rows: DeliveredRows, marks: Marks) -> Writer[Any]:
        """The writer of a delivery in its transaction."""
        target = Target(connection, self.work, self.tenant, rows, self.students(connection), marks, self.warnings)
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
