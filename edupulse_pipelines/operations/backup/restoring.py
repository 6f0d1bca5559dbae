"""Restoring a home, its files or its database, into a place where there is nothing yet. The live home is only read.

What is to be restored is decided and told first (`plan_restore`): which moment, how much WAL, how much space. Then
files and database are written and compared with the manifest, and the home is opened only when `after_restore` has
looked at it: until then it is closed.
"""

from __future__ import annotations

import datetime as dt
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from edupulse_pipelines.errors import ConfigurationError, DiskFull, EduPulseError, PermanentError
from edupulse_pipelines.full_disk import full_disk_in_words, is_full
from edupulse_pipelines.operations.backup import base_backups, closed_server
from edupulse_pipelines.operations.backup.barman_restore import RESTORE_AGAIN, take_away
from edupulse_pipelines.operations.backup.contents import Contents
from edupulse_pipelines.operations.backup.key_copies import bring_keys
from edupulse_pipelines.operations.backup.moments import (
    DATABASE,
    DUMP,
    MLFLOW,
    SERVER_FOLDER,
    SETTINGS,
    Moment,
    StoredFile,
    Unreadable,
    all_moments,
    ring_of,
)
from edupulse_pipelines.operations.backup.targets import Target
from edupulse_pipelines.schema.migrations import head, knows
from edupulse_pipelines.settings import Settings, load_settings
from edupulse_pipelines.sizes_in_words import in_bytes
from edupulse_pipelines.storage import closed
from edupulse_pipelines.storage.sqlite_files import move_paths_of_mlflow, sqlite_trouble

DATA_FOLDER = f"{SERVER_FOLDER}/data"
"""In the restored home: the data folder of a PostgreSQL."""
RESTORED = "restored.json"
"""In a restored home: the moment that it was brought back from, and the time of that."""
STOPPED_HALFWAY = (
    "It is being restored, or a restore of it was stopped. Take the folder away and restore again, or wait until the "
    "restore is done."
)
_SPARE_BYTES = 64 << 20
Part = Literal["all", "files", "database"]
Told = Callable[[str], None]


@dataclass(frozen=True)
class Wanted:
    """How far back: of `time`, `change` and `point` at most one; without any as far forward as there is."""

    time: dt.datetime | None = None
    change: str | None = None
    """The number of a change on record, or the id of a run: everything before it."""
    point: str | None = None
    """The id of a moment, or the name of a restore point."""


@dataclass(frozen=True)
class Plan:
    """What a restore would do. moment: whose files, and on SQLite whose database."""

    to: Path
    part: Part
    moment: Moment
    chosen: str
    """Why this moment, in a sentence."""
    files: tuple[StoredFile, ...]
    target: Target | None = None
    database: base_backups.RestorePlan | None = None
    unreadable: tuple[Unreadable, ...] = ()
    newest: Moment | None = field(default=None, compare=False)
    """The newest moment that can be read."""

    @property
    def bytes_needed(self) -> int:
        """The space that it takes."""
        of_database = self.database.bytes_needed or 0 if self.database is not None else 0
        return sum(file.size for file in self.files) + of_database

    @property
    def sentences(self) -> list[str]:
        """What is told before it begins."""
        told = [self.chosen, f"{len(self.files):,} files, {in_bytes(self.bytes_needed)}, into {self.to}."]
        if self.database is not None:
            told.insert(1, self.database.sentence)
        told += [f"Moment {one.id} cannot be read: {one.why}" for one in self.unreadable]
        told += [f"When it was taken, {name} was not as the database has it." for name in self.moment.damaged]
        return told


def plan_restore(settings: Settings, to: Path, wanted: Wanted, part: Part = "all") -> Plan:
    """What a restore would do; nothing is written.

    PermanentError for a target that is not empty or is in use, without a moment that far back, for one that a newer
    version made, or when there is no room. ConfigurationError for a place that a restore must not go to.
    """
    to = to.expanduser().absolute()
    _demand_empty(settings, to)
    if wanted.time is not None and wanted.time > dt.datetime.now(dt.UTC):
        raise PermanentError(f"{_time(wanted.time)} is still to come. For the newest there is, leave --time out.")
    there, unreadable = all_moments(settings)
    if not there:
        raise PermanentError(_no_moment(settings, unreadable))
    newest = there[-1]
    if newest.database == "postgresql" and part != "files":
        if not settings.database_url.startswith("postgresql"):
            raise ConfigurationError(
                "The backups are of a PostgreSQL: name it in EDUPULSE_DATABASE_URL, as it was. It need not answer; "
                "its name and its user are asked of the copy. `--only files` goes without."
            )
        base_backups.demand_free(settings, to / DATA_FOLDER)
        target = _target(settings, wanted)
        moment, chosen = _of_postgresql(there, wanted, target)
        database = base_backups.restore_plan(settings, target)
    else:
        target, database = None, None
        moment, chosen = _of_sqlite(settings, there, wanted)
    _refuse_newer(moment)
    files = tuple(file for file in moment.files if _belongs(file.name, part))
    plan = Plan(to, part, moment, chosen, files, target, database, tuple(unreadable), newest)
    _demand_room(plan)
    return plan


def restore(settings: Settings, plan: Plan, tell: Told = lambda _: None) -> None:
    """Do what was planned. The home is closed then (`storage.closed`): `after_restore` opens it.

    ContentDamaged, which names it, for a file that is not what the manifest says; OSError as the disk raises it. What
    has been written by then stays, closed: take it away.
    """
    plan.to.mkdir(mode=0o700, parents=True, exist_ok=True)
    closed.close(plan.to / DATABASE, STOPPED_HALFWAY)
    contents = Contents(settings.backup_dir, ring_of(settings))
    tell(f"{len(plan.files):,} files …")
    for file in plan.files:
        contents.write_to(file.sha256, plan.to / file.name)
    if plan.part != "database":
        bring_keys(settings, plan.to)
        told = {"moment": plan.moment.id, "at": plan.moment.at.isoformat(), "from": str(settings.backup_dir)}
        (plan.to / RESTORED).write_text(f"{json.dumps(told)}\n", encoding="utf-8")
    for name in (DATABASE, MLFLOW):
        stored = plan.to / name
        if stored.exists() and (trouble := sqlite_trouble(stored)) is not None:
            raise PermanentError(f"{stored} is damaged: {trouble}.")
    if (plan.to / MLFLOW).exists():
        move_paths_of_mlflow(plan.to / MLFLOW, Path(plan.moment.home).as_uri(), plan.to.as_uri())
        move_paths_of_mlflow(plan.to / MLFLOW, plan.moment.home, str(plan.to))
    if plan.target is not None:
        tell("Database …")
        (plan.to / SERVER_FOLDER).mkdir(mode=0o700)
        base_backups.restore_database(settings, plan.to / DATA_FOLDER, plan.target)
        closed_server.close(plan.to / DATA_FOLDER, plan.to, STOPPED_HALFWAY)


def restored_from(home: Path) -> dt.datetime | None:
    """The time of the moment that a home was brought back from; None for one that was not, or where nobody can tell."""
    try:
        return dt.datetime.fromisoformat(json.loads((home / RESTORED).read_text(encoding="utf-8"))["at"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextmanager
def whole_or_nothing(plan: Plan) -> Iterator[None]:
    """For the block, which restores and looks: a full disk takes all of it away, so that it can be restored again.

    DiskFull then says which disk, and how much is needed there.
    """
    was_there = plan.to.exists()
    try:
        yield
    except Exception as error:
        full = full_disk_in_words(error, [plan.to], RESTORE_AGAIN)
        if full is None and isinstance(error, DiskFull):
            full = str(error) if RESTORE_AGAIN in str(error) else f"{error} {RESTORE_AGAIN}"
        if full is None and isinstance(error, EduPulseError) and is_full(plan.to):  # a server that ended for it
            full = f"No space is left on the disk of {plan.to} ({error}). {RESTORE_AGAIN}"
        if full is None:
            raise
        take_away(plan.to, was_there)
        raise DiskFull(f"{full} It takes {in_bytes(plan.bytes_needed)} in {plan.to}.") from None


# Which moment


def _of_sqlite(settings: Settings, there: list[Moment], wanted: Wanted) -> tuple[Moment, str]:
    """The moment that is restored, and why. PermanentError when there is none that far back."""
    if wanted.point is not None:
        moment = next((one for one in there if wanted.point in (one.id, one.restore_point)), None)
        if moment is None:
            known = ", ".join(one.id for one in there[-5:])
            raise PermanentError(f"There is no moment {wanted.point!r}. The newest are: {known}.")
        return moment, f"The moment {moment.id}, of {_time(moment.at)}."
    if wanted.change is not None:
        number, what = _change(settings, there, wanted.change)
        before = [one for one in there if one.last_change is None or one.last_change < number]
        if not before:
            raise PermanentError(f"Every moment already holds {what}: the oldest is {there[0].id}.")
        return before[-1], (
            f"The newest moment before {what}: {before[-1].id}, of {_time(before[-1].at)}. What was changed between "
            "the two is lost as well: a SQLite home can be brought back to its moments only."
        )
    if wanted.time is not None:
        before = [one for one in there if one.at <= wanted.time]
        if not before:
            raise PermanentError(f"There is no moment before {_time(wanted.time)}: the oldest is {there[0].id}.")
        return before[-1], (
            f"The newest moment before {_time(wanted.time)}: {before[-1].id}, of {_time(before[-1].at)}. What was "
            "changed between the two is lost as well."
        )
    return there[-1], f"The newest moment: {there[-1].id}, of {_time(there[-1].at)}."


def _of_postgresql(there: list[Moment], wanted: Wanted, target: Target) -> tuple[Moment, str]:
    """Whose files go with a database at this target: the first moment from then on, which has all that rows name."""
    if wanted.point is not None:
        named = [one for one in there if wanted.point in (one.id, one.restore_point)]
        if named:
            return named[0], f"Files of the moment {named[0].id}."
    time = target.time
    later = [one for one in there if time is not None and one.at >= time]
    moment = later[0] if later else there[-1]
    if later or time is None:
        return moment, f"Files of the moment {moment.id}, of {_time(moment.at)}."
    return moment, (
        f"Files of the newest moment, {moment.id}, of {_time(moment.at)}: archives of what was loaded since are in no "
        "moment. Their deliveries are named at the end."
    )


def _target(settings: Settings, wanted: Wanted) -> Target:
    if wanted.change is not None:
        return base_backups.target_before_change(settings, wanted.change)
    if wanted.time is not None:
        return Target.at(wanted.time)
    if wanted.point is not None:
        names = {moment.id: moment.restore_point for moment in all_moments(settings)[0]}
        return Target.named(names.get(wanted.point) or wanted.point)
    return Target.latest()


def _change(settings: Settings, there: list[Moment], asked: str) -> tuple[int, str]:
    """The number of the change, and what to call it: by the live database, else by the newest moment's."""
    from edupulse_pipelines.operations.backup.changes_on_record import first_change_of_run

    if asked.isdecimal():
        return int(asked), f"change {asked}"
    number = first_change_of_run(settings, there[-1], asked)
    if number is None:
        raise PermanentError(
            f"No change of a run {asked!r} is on record, in the database or in the newest moment. `edupulse audit "
            "changes` lists changes; restore by --time, or by --point one of `edupulse backup list`."
        )
    return number, f"the run {asked}, whose first change is {number},"


# What stands against it


def _demand_empty(settings: Settings, to: Path) -> None:
    """PermanentError unless the target is an empty folder, or none yet, apart from the live home and the backups."""
    if to.exists() and not to.is_dir():
        raise PermanentError(f"{to} is a file: a restore needs a folder that is empty, or not there yet.")
    real = to.resolve()
    for what, folder in (("home", settings.home), ("backups", settings.backup_dir)):
        place = folder.resolve()
        if real == place or place in real.parents:
            if real == place and not (real.is_dir() and any(real.iterdir())):
                continue
            raise PermanentError(
                f"{to} is in the {what} ({folder}): a restore never writes there. Name another folder."
            )
    if closed.marker(to / DATABASE).exists():
        unfinished = closed.why(to / DATABASE) == STOPPED_HALFWAY
        what = "a restore that is not finished: take it away" if unfinished else "a restored home that is closed"
        raise PermanentError(f"{to} holds {what}. Or name another folder.")
    if (to / "postmaster.pid").exists() or (to / DATA_FOLDER / "postmaster.pid").exists():
        raise PermanentError(f"{to} is in use: a PostgreSQL server runs in it. Name another folder.")
    if to.is_dir() and any(to.iterdir()):
        raise PermanentError(f"{to} is not empty: a restore needs a folder that is empty, or not there yet.")


def _demand_room(plan: Plan) -> None:
    place = next(folder for folder in (plan.to, *plan.to.parents) if folder.exists())
    free = shutil.disk_usage(place).free
    if free < plan.bytes_needed + _SPARE_BYTES:
        raise DiskFull(
            f"It takes {in_bytes(plan.bytes_needed)}, and the disk of {place} has {in_bytes(free)} free. "
            "Nothing was written."
        )


def _refuse_newer(moment: Moment) -> None:
    if moment.schema_revision is not None and not knows(moment.schema_revision):
        raise PermanentError(
            f"The moment {moment.id} has schema revision {moment.schema_revision}, which this version ({head()}) does "
            f"not know: version {moment.package_version} of the package took it. Install that version, or a newer one, "
            "and restore with it."
        )


def _no_moment(settings: Settings, unreadable: list[Unreadable]) -> str:
    if unreadable:
        return f"No moment can be read. {unreadable[-1].why}"
    return (
        f"There is no moment in {settings.backup_dir}. `edupulse backup create` takes one; backups that lie elsewhere "
        "are named by --from."
    )


def _belongs(name: str, part: Part) -> bool:
    if name.startswith(DUMP):
        return False
    if part == "all":
        return True
    return (name == DATABASE) == (part == "database")


def _time(moment: dt.datetime) -> str:
    return f"{moment.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S} UTC"


def restored_settings(plan: Plan, database_url: str | None = None) -> Settings:
    """The settings of the restored home: those that came with it, and its own places, whatever the environment says.

    database_url: of the restored database, where it is not the SQLite file in it.
    """
    if not (plan.to / SETTINGS).is_file():
        raise ConfigurationError(f"The moment {plan.moment.id} holds no edupulse.toml: restored, and not looked at.")
    update = {"database_url": database_url or f"sqlite:///{plan.to / DATABASE}"}
    if (plan.to / MLFLOW).exists():
        update["tracking_uri"] = f"sqlite:///{plan.to / MLFLOW}"
    return load_settings(home=plan.to).model_copy(update=update)
