"""Base backups as Barman takes and lists them, restore points, and how WAL arrives.

How a folder is filled from them is in `barman_restore`, how they are verified in `barman_verify`.
"""

from __future__ import annotations

import ast
import datetime as dt
import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from edupulse_pipelines.errors import ConfigurationError, DatabaseBusy, DiskFull, EduPulseError, PermanentError
from edupulse_pipelines.file_locks import if_free, only_one
from edupulse_pipelines.operations.backup.barman import (
    ask_barman,
    demand_configuration,
    home_of,
    server_folder,
    tell_barman,
)
from edupulse_pipelines.operations.backup.barman_configuration import copying_url, slot_of
from edupulse_pipelines.operations.backup.wal import Gap, read_wal
from edupulse_pipelines.operations.postgresql_server import server_major
from edupulse_pipelines.settings import Settings
from edupulse_pipelines.storage.database import Database
from edupulse_pipelines.whole_files import write_whole

ARRIVAL_SECONDS = 300
"""How long is waited for WAL that the server has closed to arrive here."""
_PAUSE_SECONDS = 0.3
FIRST_WITH_INCREMENTS = 17
_POINT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:+-]{0,62}")
_READABLE, _GIVEN_UP = "DONE", "FAILED"
_SEE_THE_RECEIVER = "See whether the receiver runs (`edupulse backup status`)."
_ASKED_EVERY_SECONDS = 5.0
"""How often the server is asked for the slot while WAL is awaited."""


@dataclass(frozen=True)
class BaseBackup:
    """A finished copy of the server's data folder; times have a time zone."""

    id: str
    kind: Literal["full", "incremental"]
    begin: dt.datetime
    end: dt.datetime
    size_bytes: int
    """What it takes on the disk: of an increment, only what had changed."""
    begin_wal: str
    end_wal: str
    """The names of the WAL segments that it begins and ends in; it cannot be used without all of them."""
    timeline: int
    server_version: int
    """The major version of PostgreSQL."""
    parent: str | None = None
    """The id of the backup that an increment builds on."""
    data_bytes: int = 0
    """The size of the data folder that it restores to."""
    packed: bool = False
    """Whether it is compressed or encrypted, so that restoring unpacks it first."""
    tablespaces: tuple[str, ...] = ()
    """The names of tablespaces outside the data folder."""
    begin_lsn: str = "0/0"
    """Where in WAL it begins."""
    system_id: str | None = None
    """What the server that it is of was called by `initdb`, and whoever is copied from it; None where nobody knows."""


_INFO = "-backup.info"
"""How the file ends that Barman keeps of each backup: a `key=value` a line."""


@dataclass(frozen=True)
class RestorePoint:
    """A named place in WAL, and when it was made."""

    name: str
    wal: str
    lsn: str
    time: dt.datetime


@dataclass(frozen=True)
class WalState:
    """How WAL arrives."""

    newest_segment: str | None
    received_at: dt.datetime | None
    """When WAL was last written here."""
    age_seconds: float | None
    """How much would be lost now, in seconds: nothing while all that the server has written is here, else how long ago
    WAL last arrived. None when none was ever received."""
    receiving: bool
    """Whether the receiver is connected to the server."""
    slot: Literal["active", "idle", "missing", "lost", "unknown"]
    """`lost`: the server has thrown away what the slot was to keep; `unknown`: the server does not answer."""
    slot_bytes_behind: int | None
    gaps: tuple[Gap, ...]
    another_server: str | None = None
    """That the server is not the one that the newest base backup is of, in words."""


def base_backups(settings: Settings) -> list[BaseBackup]:
    """The finished base backups that can be restored, oldest first; none where another tool than Barman takes them."""
    if settings.backup.restore_command is not None:
        return []
    demand_configuration(settings)
    found = []
    for backup_id, noted in sorted(_noted(settings).items()):
        if noted.get("status") == _READABLE:
            try:
                found.append(_of_notes(backup_id, noted))
            except (KeyError, ValueError, SyntaxError, TypeError):  # of a Barman that notes it in another way
                found.append(_described(settings, backup_id))
    return found


def without_their_wal(settings: Settings) -> dict[str, str]:
    """Base backups that Barman has given up because WAL that they need is missing, with its words, by their ids."""
    found = {}
    for backup_id in _listed(settings, _GIVEN_UP):
        told = tell_barman(settings, "show-backup", settings.backup.server, backup_id).told[settings.backup.server]
        if "WAL file is missing" in (error := str(told.get("error"))):
            found[backup_id] = error
    return found


def take_base_backup(settings: Settings, *, full: bool = False) -> BaseBackup:
    """Take one now: an increment where server and settings allow it and there is a full one, unless `full`.

    It waits until the WAL that it needs has arrived, so what it gives can be restored. PermanentError, in words, for
    what Barman refuses; DatabaseBusy while another one is taken.
    """
    if settings.backup.restore_command is not None:
        raise ConfigurationError(
            "[backup] restore_command is set: base backups are taken by the tool that it calls, not by Barman."
        )
    with _alone(settings):
        _demand_same_server(settings)
        _demand_receiver(settings)
        parent = None if full else _parent(settings)
        arguments = ["backup", "--wait", "--wait-timeout", str(ARRIVAL_SECONDS)]
        if parent is not None:
            arguments += ["--incremental", parent]
        # Barman takes no backup before it has seen that WAL arrives.
        if not read_wal(settings).archived and not _archive_now(settings):
            raise PermanentError(" ".join(["No WAL arrives.", *failed_checks(settings)]))
        try:
            answer = tell_barman(settings, *arguments, settings.backup.server)
        except DiskFull:
            raise
        except PermanentError as error:
            raise PermanentError(" ".join([str(error), *failed_checks(settings)])) from None
        taken = answer.told.get("backup_id")
        status = answer.told.get("status")
        if taken is None or status not in (_READABLE, "WAITING_FOR_WALS"):
            raise PermanentError(f"Barman took no base backup: {answer.complaint}. Its log is {home_of(settings)}.")
        found = next((backup for backup in base_backups(settings) if backup.id == taken), None)
    if found is None:
        raise PermanentError(
            f"The base backup {taken} is copied, but the WAL that it needs has not arrived within {ARRIVAL_SECONDS} "
            f"seconds, so it cannot be restored yet. {_slot_gone(settings) or _SEE_THE_RECEIVER}"
        )
    return found


def make_restore_point(settings: Settings, name: str, *, wait: bool = True) -> RestorePoint:
    """Name the present place in WAL, and see that it arrives (unless `wait` is False: `await_restore_point` does).

    PermanentError for a name that is taken. Where another tool than Barman archives WAL, the segment is closed here.
    """
    import sqlalchemy as sa

    if not _POINT_NAME.fullmatch(name):
        raise PermanentError(f"{name[:70]!r} is no name for a restore point: letters, digits and _ . : + -, up to 63.")
    settings.backup_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    if settings.backup.restore_command is None:
        _demand_same_server(settings)
        _demand_receiver(settings)
    with only_one(settings.backup_dir / "restore-points.lock"):
        points = restore_points(settings)
        if any(point.name == name for point in points):
            raise PermanentError(f"There is a restore point {name!r} already; a restore would end at the first one.")
        statement = sa.text(
            "SELECT CAST(lsn AS text), pg_walfile_name(lsn), clock_timestamp() "
            "FROM pg_create_restore_point(:name) AS lsn"
        )
        with Database(copying_url(settings)).unchecked_work() as work, work.writing() as connection:
            lsn, wal, made_at = connection.execute(statement, {"name": name}).one()
            if settings.backup.restore_command is not None:
                connection.execute(sa.text("SELECT pg_switch_wal()"))
        point = RestorePoint(name, wal, lsn, made_at.astimezone(dt.UTC))
        _write_points(settings, [*points, point])
    if wait and settings.backup.restore_command is None:
        await_restore_point(settings, point)
    return point


def await_restore_point(settings: Settings, point: RestorePoint) -> None:
    """Wait until the WAL of a restore point has arrived: here, or where the server's own archiver takes it.

    PermanentError when it has not within `ARRIVAL_SECONDS`. A server without an archiver of its own has WAL fetched by
    a tool that nobody here can ask: then nobody waits.
    """
    if settings.backup.restore_command is None:
        if not _archive_now(settings, point.wal):
            raise PermanentError(
                f"The restore point {point.name!r} is made, but its WAL {point.wal} has not arrived within "
                f"{ARRIVAL_SECONDS} seconds. {_SEE_THE_RECEIVER}"
            )
        return
    deadline = time.monotonic() + ARRIVAL_SECONDS
    while (asked := _ask_server(settings)) is None or not _has_archived(asked, point.wal):
        if time.monotonic() > deadline:
            raise PermanentError(
                f"The restore point {point.name!r} is made, but the server has not archived its WAL {point.wal} within "
                f"{ARRIVAL_SECONDS} seconds: see its archive_command, and pg_stat_archiver."
            )
        time.sleep(_PAUSE_SECONDS)


def _has_archived(asked: dict[str, Any], wal: str) -> bool:
    """Whether the server has put a segment away; it does so in their order."""
    if asked["archive_mode"] == "off":
        return True
    last = re.match(r"[0-9A-F]{24}", asked["last_archived_wal"] or "")
    return last is not None and last[0][8:] >= wal[8:]


def restore_points(settings: Settings) -> list[RestorePoint]:
    """The restore points that were made here, oldest first."""
    path = _points_file(settings)
    try:
        entries = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
        times = [dt.datetime.fromisoformat(entry["time"]).astimezone(dt.UTC) for entry in entries]
        return [RestorePoint(**{**entry, "time": at}) for entry, at in zip(entries, times, strict=True)]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise PermanentError(f"{path} cannot be read ({type(error).__name__}): move it away.") from None


def wal_state(settings: Settings) -> WalState:
    """How WAL arrives now. It asks the server, and answers also when that does not."""
    asked = _ask_server(settings)
    if settings.backup.restore_command is not None:
        return _state_of_archiver(asked)
    wal = read_wal(settings)
    newest = wal.segments[-1] if wal.segments else None
    received = max((segment.written_at for segment in wal.segments[-2:]), default=None)
    begin = min((backup.begin_wal for backup in base_backups(settings)), key=wal.number_of, default=None)
    age = None if received is None else max(0.0, (dt.datetime.now(dt.UTC) - received).total_seconds())
    slot: Literal["active", "idle", "missing", "lost", "unknown"] = "unknown"
    behind = None
    if asked is not None:
        slot = "missing" if asked["wal_status"] is None else "active" if asked["active"] else "idle"
        slot = "lost" if asked["wal_status"] == "lost" else slot
        behind = asked["behind"]
        if asked["all_here"] and age is not None:
            age = 0.0
    return WalState(
        newest_segment=newest.name if newest else None,
        received_at=received,
        age_seconds=age,
        receiving=bool(asked and asked["receiving"]),
        slot=slot,
        slot_bytes_behind=behind,
        gaps=wal.gaps(begin) if begin is not None else (),
        another_server=_another_server(settings, asked),
    )


def _listed(settings: Settings, status: str) -> list[str]:
    """The ids of backups in a state, oldest first."""
    return sorted(backup_id for backup_id, noted in _noted(settings).items() if noted.get("status") == status)


def _noted(settings: Settings) -> dict[str, dict[str, str]]:
    """What Barman has noted of each backup, by its id: read where Barman keeps it, since to ask it takes half a second.

    One that goes meanwhile is left out.
    """
    found = {}
    for path in server_folder(settings).glob(f"meta/*{_INFO}"):
        with suppress(FileNotFoundError):
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            found[path.name.removesuffix(_INFO)] = dict(line.split("=", 1) for line in lines if "=" in line)
    return found


def _of_notes(backup_id: str, noted: dict[str, str]) -> BaseBackup:
    """A backup as Barman has noted it; KeyError or ValueError for notes of another form."""
    known = {key: None if value == "None" else value for key, value in noted.items()}

    def text(key: str) -> str:
        value = known[key]
        if value is None:
            raise ValueError(key)
        return value

    spaces = known["tablespaces"]
    return BaseBackup(
        id=backup_id,
        kind="incremental" if known["parent_backup_id"] else "full",
        begin=dt.datetime.fromisoformat(text("begin_time")),
        end=dt.datetime.fromisoformat(text("end_time")),
        size_bytes=int(text("deduplicated_size")),
        begin_wal=text("begin_wal"),
        end_wal=text("end_wal"),
        timeline=int(text("timeline")),
        server_version=int(text("version")) // 10_000,
        parent=known["parent_backup_id"],
        data_bytes=int(known["cluster_size"] or text("deduplicated_size")),
        packed=bool(known["compression"] or known["encryption"]),
        tablespaces=tuple(str(space[0]) for space in ast.literal_eval(spaces)) if spaces else (),
        begin_lsn=text("begin_xlog"),
        system_id=known["systemid"],
    )


def _described(settings: Settings, backup_id: str) -> BaseBackup:
    """A backup as Barman describes it when it is asked."""
    told = tell_barman(settings, "show-backup", settings.backup.server, backup_id).told[settings.backup.server]
    about = told["base_backup_information"]
    parent = told.get("catalog_information", {}).get("parent_backup_id") or told.get("parent_backup_id")
    return BaseBackup(
        id=backup_id,
        kind="incremental" if told.get("backup_type") == "incremental" else "full",
        begin=dt.datetime.fromisoformat(about["begin_time"]),
        end=dt.datetime.fromisoformat(about["end_time"]),
        size_bytes=int(about["backup_size_bytes"]),
        begin_wal=about["begin_wal"],
        end_wal=about["end_wal"],
        timeline=int(about["timeline"]),
        server_version=int(told["postgresql_version"]) // 10_000,
        parent=parent,
        data_bytes=int(told.get("cluster_size_bytes") or about["backup_size_bytes"]),
        packed=bool(about.get("compression") or about.get("encryption")),
        tablespaces=tuple(space["name"] for space in told.get("tablespaces") or ()),
        begin_lsn=about["begin_lsn"],
        system_id=told.get("system_id"),
    )


def _parent(settings: Settings) -> str | None:
    """The backup that an increment can follow now; None where a full one is due."""
    import sqlalchemy as sa

    backup = settings.backup
    if backup.increments == 0 or backup.compression != "none" or backup.gpg_key is not None:
        return None
    taken = {one.id: one for one in base_backups(settings)}
    if not taken:
        return None
    newest = taken[max(taken)]
    chain = [newest]
    while chain[-1].parent in taken:
        chain.append(taken[chain[-1].parent])
    if chain[-1].kind != "full" or len(chain) > backup.increments or any(one.packed for one in chain):
        return None
    with Database(copying_url(settings)).unchecked_work() as work, work.reading() as connection:
        major = server_major(connection)
        if major < FIRST_WITH_INCREMENTS or newest.server_version != major:
            return None
        if connection.execute(sa.text("SHOW summarize_wal")).scalar_one() != "on":
            return None
        # An increment needs a summary of all WAL since its parent; summaries are thrown away after ten days.
        covered = connection.execute(
            sa.text(
                "SELECT coalesce(min(start_lsn) <= CAST(:begin AS pg_lsn), false) FROM pg_available_wal_summaries()"
            ),
            {"begin": newest.begin_lsn},
        ).scalar_one()
    return newest.id if covered else None


def _demand_same_server(settings: Settings) -> None:
    """PermanentError where the server answers and is another one than the newest base backup is of."""
    if (told := _another_server(settings, _ask_server(settings))) is not None:
        raise PermanentError(told)


def _another_server(settings: Settings, asked: dict[str, Any] | None) -> str | None:
    """That the server is not the one that the newest base backup is of; None where it is, or nobody can know."""
    backups = base_backups(settings) if asked is not None else []
    if asked is None or not backups or backups[-1].system_id in (None, asked["system_id"]):
        return None
    return (
        f"This is another server than the one that the base backup {backups[-1].id} is of (system identifier "
        f"{asked['system_id']}, not {backups[-1].system_id}): nothing that it writes can follow those backups. Is "
        "EDUPULSE_DATABASE_URL (or EDUPULSE_BACKUP_URL) the right one? If it is to stay (after pg_upgrade, or filled "
        f"from a dump), give it another name than {settings.backup.server!r} in [backup] server, then `edupulse backup "
        "setup`. The earlier backups stay, under their name."
    )


def _demand_receiver(settings: Settings) -> None:
    """PermanentError where the server answers and nobody fetches its WAL: what is waited for would never arrive."""
    asked = _ask_server(settings)
    if asked is not None and not asked["receiving"]:
        raise PermanentError(
            "Nobody fetches WAL from the server, without which no base backup can be restored: the receiver does not "
            "run. `edupulse backup setup` says how it is started."
        )


def cannot_lead_to_now(settings: Settings, backup: BaseBackup) -> str | None:
    """Why WAL does not lead from a base backup to the server as it is now, in a sentence; None when it does."""
    import sqlalchemy as sa

    if read_wal(settings).gaps(backup.begin_wal):
        return f"WAL is missing since the base backup {backup.id}: another one is taken."
    statement = sa.text(
        "SELECT pg_walfile_name(pg_current_wal_lsn()), "
        "(SELECT CAST(system_identifier AS text) FROM pg_control_system())"
    )
    with Database(copying_url(settings)).unchecked_work() as work, work.reading() as connection:
        major, (segment, system_id) = server_major(connection), connection.execute(statement).one()
    same = backup.system_id in (None, system_id)
    if not same or (major, int(segment[:8], 16)) != (backup.server_version, backup.timeline):
        return f"The base backup {backup.id} is of another server, or of before a promotion: another one is taken."
    return None


def failed_checks(settings: Settings) -> list[str]:
    """What Barman's own checks find wrong, a sentence each; that there are few backups yet is none."""
    told = ask_barman(settings, "check", settings.backup.server).told
    checks = told.get(settings.backup.server, {})
    return [
        f"{name.replace('_', ' ')} failed{': ' + check['hint'] if check['hint'] else ''}."
        for name, check in sorted(checks.items())
        if isinstance(check, dict) and check.get("status") == "FAILED" and not name.startswith("minimum_redundancy")
    ]


def _archive_now(settings: Settings, wal: str | None = None) -> bool:
    """Have the server close its segment, and wait until that, or the one of the given name, has arrived.

    Whether it has in time. Without a name it is for the first one of all, and a change is made for it. PermanentError,
    at once, where the slot has gone meanwhile: then it never arrives.
    """
    tell_barman(settings, "switch-wal", *([] if wal else ["--force"]), settings.backup.server)
    deadline = time.monotonic() + ARRIVAL_SECONDS
    asked = time.monotonic()
    while time.monotonic() < deadline:
        if time.monotonic() - asked > _ASKED_EVERY_SECONDS:
            if (gone := _slot_gone(settings)) is not None:
                raise PermanentError(gone)
            asked = time.monotonic()
        there = read_wal(settings)
        if wal in there.archived if wal else there.archived:
            return True
        if wal in there.finished if wal else there.finished:
            # A failure is no end: `barman cron` may be at it just now.
            ask_barman(settings, "archive-wal", settings.backup.server)
        else:
            time.sleep(_PAUSE_SECONDS)
    return False


def _slot_gone(settings: Settings) -> str | None:
    """That the slot is gone, by which WAL is fetched, and what to do; None where it is there, or nobody can know."""
    asked = _ask_server(settings)
    if asked is None or asked["wal_status"] not in (None, "lost"):
        return None
    state = "is gone" if asked["wal_status"] is None else "is lost: the server has thrown away WAL that it was to keep"
    return (
        f"The replication slot {slot_of(settings)} {state}. WAL since then does not arrive: make the slot again "
        "(`edupulse backup setup`), then take a whole base backup (`edupulse backup create --full`)."
    )


def _ask_server(settings: Settings) -> dict[str, Any] | None:
    """What the server knows of its slot, the receiver and its own archiver; None where it does not answer."""
    import sqlalchemy as sa

    statement = sa.text(
        "SELECT s.active, s.wal_status, pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn) AS behind, "
        "r.pid IS NOT NULL AS receiving, coalesce(r.write_lsn >= pg_current_wal_lsn(), false) AS all_here, "
        "a.last_archived_wal, a.last_archived_time, current_setting('archive_mode') AS archive_mode, "
        "coalesce(a.last_failed_time > a.last_archived_time, a.last_failed_time IS NOT NULL) AS archiver_fails, "
        "(SELECT CAST(system_identifier AS text) FROM pg_control_system()) AS system_id "
        "FROM pg_stat_archiver a LEFT JOIN pg_replication_slots s ON s.slot_name = :slot "
        "LEFT JOIN pg_stat_replication r ON r.pid = s.active_pid"
    )
    try:
        with Database(copying_url(settings)).unchecked_work() as work, work.reading() as connection:
            found = connection.execute(statement, {"slot": slot_of(settings)}).mappings().one()
            return {**found, "behind": None if found["behind"] is None else int(found["behind"])}
    except EduPulseError:
        return None


def _state_of_archiver(asked: dict[str, Any] | None) -> WalState:
    """How WAL is taken away by the server's own archive command, where another tool than Barman keeps it."""
    if asked is None or asked["last_archived_time"] is None:
        return WalState(None, None, None, False, "unknown", None, ())
    archived = asked["last_archived_time"]
    age = max(0.0, (dt.datetime.now(dt.UTC) - archived).total_seconds())
    return WalState(asked["last_archived_wal"], archived, age, not asked["archiver_fails"], "unknown", None, ())


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """Only one base backup at a time; DatabaseBusy, at once, for the second."""
    home = home_of(settings)
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with if_free(home / "base-backup.lock") as free:
        if not free:
            raise DatabaseBusy("Another base backup is being taken; this one was not begun.")
        yield


def _points_file(settings: Settings) -> Path:
    return settings.backup_dir / "restore-points.json"


def _write_points(settings: Settings, points: list[RestorePoint]) -> None:
    entries = [{**asdict(point), "time": point.time.isoformat()} for point in points]
    write_whole(_points_file(settings), json.dumps(entries, indent=1) + "\n")
