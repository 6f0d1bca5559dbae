"""Opening a home that a restore has left closed: who is in it of those who were erased, and who opened it, and why.

Why a home stays closed is decided in `after_restore`. Whether somebody is back is known by the keyed hashes that the
restore has brought along (`storage.erased`); nobody's number is told, only which erasures theirs were.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import sqlalchemy as sa

from edupulse_pipelines.errors import EduPulseError, PermanentError
from edupulse_pipelines.governance.erased_again import back_again
from edupulse_pipelines.operations.backup import closed_server
from edupulse_pipelines.operations.backup.moments import DATABASE
from edupulse_pipelines.operations.backup.restoring import DATA_FOLDER, STOPPED_HALFWAY
from edupulse_pipelines.settings import Settings
from edupulse_pipelines.storage import closed
from edupulse_pipelines.storage.database import Database
from edupulse_pipelines.storage.erased import FOLDER, ErasedKeys, key_for
from edupulse_pipelines.storage.work import operating_system_user

OPENED = "opened.jsonl"
"""In a restored home: who opened it, when and why, and how many were in it who had been erased."""


@dataclass(frozen=True)
class Remaining:
    """Who is in a restored home of those who were erased: how many, and the ids of their erasures.

    not_known: why that cannot be seen, or not of everybody; None where it can.
    """

    students: int
    erasures: tuple[str, ...]
    noted: int
    """Of how many erasures the home has notes."""
    not_known: str | None = None

    @property
    def sentence(self) -> str:
        """The same in words."""
        sentences = []
        if self.students:
            ids = ", ".join(self.erasures)
            sentences.append(f"{self.students:,} students who were erased are in it again (erasures {ids}).")
        if self.not_known is not None:
            sentences.append(f"Who of {self.noted:,} erasures is in it cannot be seen: {self.not_known}")
        return " ".join(sentences or [f"Nobody is in it of the {self.noted:,} erasures that it has notes of."])


@dataclass(frozen=True)
class Opened:
    """A home that was opened. noted_in: where it stands who did so. remaining: who was in it then."""

    noted_in: Path
    remaining: Remaining


def who_remains(settings: Settings) -> Remaining:
    """Look in the home's database and raw archive for students whose erasures it has notes of. Changes nothing."""
    notes = sorted((settings.home / FOLDER).glob("*/*.json"))
    students = 0
    erasures: set[str] = set()
    why = None
    try:
        for name, of_district in groupby(notes, key=lambda path: path.parent.name):
            if name not in settings.tenants:
                raise PermanentError(f"the settings do not name the district {name}.")
            with _database(settings).work(name) as work, work.reading() as connection:
                numbers = back_again(connection, work, settings.raw_dir, settings.tenants[name])
            students += len(numbers)
            if numbers:
                erasures.update(_erasures_of(numbers, list(of_district), key_for(settings.home, name)))
    except EduPulseError as error:
        why = str(error)
    except OSError as error:
        why = f"{error.filename}: {error.strerror}."
    return Remaining(students, tuple(sorted(erasures)), len(notes), why)


def _erasures_of(numbers: Sequence[str], notes: Sequence[Path], key: ErasedKeys) -> Iterator[str]:
    """The ids of the erasures, by their notes, that any of these students was erased by."""
    for path in notes:
        erased = key.with_hashes(json.loads(path.read_text(encoding="utf-8"))["keys"])
        if any(erased.has("student", number) for number in numbers):
            yield path.stem


def _database(settings: Settings) -> Database:
    """The database that the home was restored with; PermanentError where that is not the one that would be asked."""
    data = settings.home / DATA_FOLDER
    if not data.is_dir():
        return Database(f"sqlite:///{settings.home / DATABASE}", for_keeper=True)
    if settings.database_url.startswith("postgresql"):
        database = Database(settings.database_url)
        with database.unchecked_work() as work, work.reading() as connection:
            folder = connection.scalar(sa.text("SELECT current_setting('data_directory', true)"))
        if folder and Path(folder).resolve() == data.resolve():
            return database
    raise PermanentError(
        f"EDUPULSE_DATABASE_URL names no server over {data}: start one there, and name it as the keeper."
    )


def open_closed(settings: Settings, reason: str, *, with_erased: bool = False) -> Opened:
    """Open a home that a restore has left closed, and note who did so and why.

    PermanentError for one that is not closed, or whose restore was not finished; and, unless `with_erased`, where
    students are in it who were erased, or nobody can see whether they are.
    """
    database, data = settings.home / DATABASE, settings.home / DATA_FOLDER
    because = closed.why(database) or closed_server.why(data)
    if because is None:
        raise PermanentError(f"{settings.home} is not closed.")
    if because == STOPPED_HALFWAY:
        raise PermanentError(f"{settings.home} is not whole. {STOPPED_HALFWAY}")
    remaining = who_remains(settings)
    if (remaining.students or remaining.not_known) and not with_erased:
        raise PermanentError(
            f"{settings.home} stays closed. {remaining.sentence} Erase them again (`edupulse privacy erase`), or "
            "open it all the same: --with-erased."
        )
    noted = settings.home / OPENED
    entry = {
        "opened_at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "opened_by": operating_system_user(),
        "reason": reason,
        "erased_students_in_it": None if remaining.not_known else remaining.students,
        "erasures": list(remaining.erasures),
    }
    with noted.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(entry) + "\n")
    closed.open_again(database)
    if closed_server.why(data) is not None:
        closed_server.open_again(data)
    return Opened(noted, remaining)
