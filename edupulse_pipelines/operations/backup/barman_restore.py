"""Filling an empty folder with a data folder that replays to a target when a server is started over it.

By Barman, or by the command of `[backup] restore_command`. What stands against it is told before anything is written: a
folder that is in use, a target that is out of reach, missing WAL, too little space. No server is started here.
"""

from __future__ import annotations

import datetime as dt
import re
import shutil
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edupulse_pipelines.errors import DiskFull, EduPulseError, PermanentError
from edupulse_pipelines.full_disk import full_disk_in_words
from edupulse_pipelines.operations.backup.barman import ask_barman, barman_version, tell_barman
from edupulse_pipelines.operations.backup.barman_backups import BaseBackup, base_backups, restore_points
from edupulse_pipelines.operations.backup.barman_configuration import copying_url, programs_of
from edupulse_pipelines.operations.backup.targets import Target
from edupulse_pipelines.operations.backup.wal import Gap, Reached, Segment, end_of_target, read_wal
from edupulse_pipelines.operations.postgresql_server import data_major, hand_over, server_user
from edupulse_pipelines.programs import environment
from edupulse_pipelines.settings import Settings
from edupulse_pipelines.sizes_in_words import in_bytes
from edupulse_pipelines.storage.database import Database

RESTORE_AGAIN = "What was restored is taken away again: free some and restore again."
"""After a restore that a full disk has ended."""
_CLOCKS_APART = dt.timedelta(minutes=10)
"""How far the clock of the server may be from the one here, by which a segment is dated."""
_FIRST_WITH_PARTIAL = (3, 19)
"""The first Barman that takes the segment along which is still being filled."""
_WRITTEN_BY_SERVER = ("postmaster.pid", "PG_VERSION")
_LIMITS = ("max_connections", "max_worker_processes", "max_wal_senders", "max_prepared_xacts", "max_locks_per_xact")
"""A server ends a recovery with smaller limits than those that the WAL was written under."""
_LIMIT_SETTINGS = {"max_prepared_xacts": "max_prepared_transactions", "max_locks_per_xact": "max_locks_per_transaction"}


@dataclass(frozen=True)
class RestorePlan:
    """What a restore would do, known before it starts."""

    target: Target
    backup: BaseBackup | None
    """None where `[backup] restore_command` chooses."""
    wal_segments: int | None
    wal_bytes: int | None
    """The WAL to replay, unpacked; None where it is not ours to know."""
    bytes_needed: int | None
    """The space that the restored folder takes at first, WAL and what is unpacked or combined beside it included."""
    quiet_since: Target | None = None
    """The time that was asked for, where nothing was committed after it: then the newest change is what was meant."""

    @property
    def sentence(self) -> str:
        """The same in words."""
        if self.backup is None or self.wal_bytes is None or self.bytes_needed is None:
            return f"The database, to {self.target.sentence}, by [backup] restore_command, which chooses the backup."
        where = self.target.sentence
        if self.quiet_since is not None:
            where = f"{self.quiet_since.sentence}, after which nothing was committed"
        return (
            f"The database, to {where}: base backup {self.backup.id} ({self.backup.kind}, finished "
            f"{self.backup.end.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S} UTC), {self.wal_segments:,} segments of WAL "
            f"({in_bytes(self.wal_bytes)}) to replay, {in_bytes(self.bytes_needed)} of space."
        )


def restore_plan(settings: Settings, target: Target) -> RestorePlan:
    """What a restore to the target would take. PermanentError for a target that is known to be out of reach.

    That is one before the oldest backup or after the newest WAL, a name or a transaction that is in no WAL, and one
    that missing WAL stands before. It reads the WAL of the time in question.
    """
    if settings.backup.restore_command is not None:
        return RestorePlan(target, None, None, None, None)
    # What the receiver has finished is not yet where a restore looks for it.
    ask_barman(settings, "archive-wal", settings.backup.server)
    backup = _backup_for(settings, target)
    wal = read_wal(settings)
    ready = wal.from_segment(backup.begin_wal)
    if not ready or ready[-1].number < wal.number_of(backup.end_wal):
        missing = wal.gaps(backup.begin_wal)
        name = missing[0].first if ready and missing else backup.begin_wal
        raise PermanentError(f"The WAL segment {name} is missing, without which base backup {backup.id} is unusable.")
    reached = _reach(settings, target, backup, ready)
    if reached is None:
        raise PermanentError(_out_of_reach(target, ready, wal.gaps(backup.begin_wal)))
    if target.kind == "latest" and ready[-1].number != wal.segments[-1].number:
        gap = wal.gaps(backup.begin_wal)[0]
        raise PermanentError(
            f"The WAL segment {gap.first} is missing, so what came after it cannot be restored: name a time before "
            f"{ready[-1].written_at:%Y-%m-%d %H:%M:%S} UTC to have what there was until then."
        )
    segments = reached.segment.number - ready[0].number + 1
    # Barman copies all segments from the backup on, whatever the target is.
    copied = (ready[-1].number - ready[0].number + 1) * wal.segment_bytes
    staged = backup.data_bytes if backup.packed or backup.kind == "incremental" else 0
    # A server ends in an error where WAL ends before the time that it is to replay to.
    met = target if reached.exactly else Target.latest()
    return RestorePlan(
        met,
        backup,
        segments,
        segments * wal.segment_bytes,
        backup.data_bytes + staged + copied,
        None if reached.exactly else target,
    )


def restore_database(settings: Settings, to: Path, target: Target) -> RestorePlan:
    """Fill the folder, which is empty or not there, with a data folder that replays to the target when it is started.

    It is this user's (where that is root, whom PostgreSQL refuses: the user's to whom the folder, or the one above it,
    belongs, else postgres), mode 700. A server in it ends its recovery at the target and is a primary then. What was
    done is told by the plan. PermanentError, before anything is written, for a folder that is not empty or is a
    server's, and for what `restore_plan` refuses; DiskFull where there is too little space. When it fails later, what
    it has written is taken away again.
    """
    to = to.expanduser().absolute()
    demand_free(settings, to)
    plan = restore_plan(settings, target)
    owner = server_user(to, to.parent)
    was_there = to.exists()
    to.parent.mkdir(parents=True, exist_ok=True)
    _demand_room(plan, to)
    staging = to.with_name(f".{to.name}.staging")
    try:
        to.mkdir(mode=0o700, exist_ok=True)
        if plan.backup is None:
            _by_command(settings, to, target)
        else:
            _by_barman(settings, to, plan, plan.backup, staging)
            if plan.quiet_since is not None and (later := restore_plan(settings, target)).quiet_since is None:
                # Something was committed while it was copied, and may be in the copy.
                take_away(to, was_there=True)
                plan = later
                _by_barman(settings, to, plan, plan.backup or base_backups(settings)[-1], staging)
        _complete_configuration(settings, to)
        for place in (to, _tablespaces_beside(to)):
            if place.exists():
                hand_over(place, owner)
                place.chmod(0o700)
    except BaseException as error:
        take_away(to, was_there)
        if full := full_disk_in_words(error, [to.parent], RESTORE_AGAIN):
            raise DiskFull(full) from None
        raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return plan


# How far


def _backup_for(settings: Settings, target: Target) -> BaseBackup:
    """The newest base backup that was finished before the target."""
    backups = base_backups(settings)
    if not backups:
        raise PermanentError("There is no base backup that can be restored: `edupulse backup create` takes one.")
    time = target.time
    if target.kind == "point":
        made = [point.time for point in restore_points(settings) if point.name == target.point]
        # A name that was made elsewhere is looked for in all the WAL there is.
        time = made[0] if made else backups[0].end
    usable = [backup for backup in backups if time is None or backup.end <= time]
    if not usable:
        raise PermanentError(
            f"No base backup is old enough to go back to {target.sentence}: the oldest, {backups[0].id}, was finished "
            f"at {backups[0].end.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S} UTC."
        )
    return usable[-1]


def _reach(settings: Settings, target: Target, backup: BaseBackup, ready: Sequence[Segment]) -> Reached | None:
    """Where replaying these segments meets the target; None where it does not."""
    if target.kind == "latest":
        return Reached(ready[-1])
    programs = programs_of(settings, backup.server_version)
    looked = ready
    if target.time is not None:
        since = target.time - _CLOCKS_APART
        later = [place for place, segment in enumerate(ready) if segment.written_at >= since]
        looked = ready[later[0] :] if later else ready[-1:]
    if target.kind == "point":
        made = [point.wal for point in restore_points(settings) if point.name == target.point]
        looked = [segment for segment in ready if segment.name in made] or ready
        return end_of_target(looked, settings, programs, point=target.point)
    if target.kind == "transaction":
        return end_of_target(looked, settings, programs, transaction=target.transaction)
    return end_of_target(looked, settings, programs, time=target.time)


def _out_of_reach(target: Target, ready: Sequence[Segment], gaps: Sequence[Gap]) -> str:
    """Why the target cannot be reached, in words."""
    until = f"{ready[-1].written_at:%Y-%m-%d %H:%M:%S} UTC"
    if gaps:
        after = f"the WAL segment {gaps[0].first} is missing; the one before it was written until {until}"
    else:
        after = f"the newest WAL here was written at {until}"
    if target.kind == "point":
        return f"No restore point {target.point!r} is in the WAL that can be replayed ({after})."
    if target.kind == "transaction":
        return f"Transaction {target.transaction} is not in the WAL that can be replayed ({after})."
    return f"{target.sentence} is out of reach: {after}."


# Where to


def demand_free(settings: Settings, to: Path) -> None:
    """PermanentError for a folder that a restore must not go to."""
    if to.is_symlink() or (to.exists() and not to.is_dir()):
        raise PermanentError(f"{to} is not a folder: a restore fills one that is empty or not there yet.")
    real = to.resolve()
    copies = settings.backup_dir.resolve()
    if real == copies or copies in real.parents:
        raise PermanentError(f"{to} lies among the backups: nothing is restored there.")
    live = _live_folder(settings)
    if live is not None and (real == live or live in real.parents):
        raise PermanentError(f"{to} is, or lies in, the data folder of the running server: nothing is restored there.")
    if any((to / name).exists() for name in _WRITTEN_BY_SERVER):
        raise PermanentError(f"{to} holds a PostgreSQL server: a restore fills a folder that is empty or not there.")
    if to.exists() and any(to.iterdir()):
        raise PermanentError(f"{to} is not empty: a restore fills a folder that is empty or not there.")
    spaces = _tablespaces_beside(to)
    if spaces.exists():
        raise PermanentError(f"{spaces} is there already, where tablespaces would go: restore elsewhere.")


def _live_folder(settings: Settings) -> Path | None:
    """The data folder of the running server where that is this machine's; None where it does not answer."""
    import sqlalchemy as sa

    url = sa.engine.make_url(copying_url(settings))
    host = url.host or str(url.query.get("host", "")) or "localhost"
    ours = {"localhost", "127.0.0.1", "::1", socket.gethostname(), socket.getfqdn()}
    if not host.startswith(("/", "@")) and host not in ours:
        return None
    try:
        with Database(copying_url(settings)).unchecked_work() as work, work.reading() as connection:
            return Path(connection.execute(sa.text("SHOW data_directory")).scalar_one()).resolve()
    except EduPulseError:
        return None


def _demand_room(plan: RestorePlan, to: Path) -> None:
    if plan.bytes_needed is None:
        return
    free = shutil.disk_usage(to.parent).free
    if free < plan.bytes_needed:
        raise DiskFull(
            f"Restoring takes {in_bytes(plan.bytes_needed)}, and {to.parent} has {in_bytes(free)} free. "
            "Nothing was written."
        )


def take_away(to: Path, was_there: bool) -> None:
    """Take away what was written into the folder, and the folder if it was not there before."""
    for child in to.iterdir() if to.is_dir() else ():
        if child.is_dir() and not child.is_symlink():
            shutil.rmtree(child, ignore_errors=True)
        else:
            child.unlink(missing_ok=True)
    shutil.rmtree(_tablespaces_beside(to), ignore_errors=True)
    if not was_there and to.is_dir():
        shutil.rmtree(to, ignore_errors=True)


def _tablespaces_beside(to: Path) -> Path:
    return to.with_name(f"{to.name}.tablespaces")


# By whom


def _by_barman(settings: Settings, to: Path, plan: RestorePlan, backup: BaseBackup, staging: Path) -> None:
    arguments = ["restore", "--no-get-wal", "--no-retry"]
    target = plan.target
    if target.kind == "time":
        assert target.time is not None
        arguments += ["--target-time", target.time.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M:%S.%f+00:00")]
    elif target.kind == "transaction":
        assert target.transaction is not None
        # WAL has the last 32 bits of the number.
        arguments += ["--target-xid", str(target.transaction % (1 << 32)), "--exclusive"]
    elif target.kind == "point":
        assert target.point is not None
        arguments += ["--target-name", target.point]
    if target.kind != "latest":
        arguments += ["--target-action", "promote"]
    partial = barman_version(settings)[:2] >= _FIRST_WITH_PARTIAL
    if partial:
        arguments += ["--partial-wal"]
    if backup.packed or backup.kind == "incremental":
        staging.mkdir(mode=0o700, exist_ok=True)
        arguments += ["--staging-path", str(staging), "--staging-location", "local"]
    for name in backup.tablespaces:
        arguments += ["--tablespace", f"{name}:{_tablespaces_beside(to) / name}"]
    tell_barman(settings, *arguments, settings.backup.server, backup.id, str(to))
    if target.kind == "latest":
        # Without a target Barman leaves the folder as after a crash: a server would go on in the timeline of the one
        # that it is a copy of.
        _append(to / "postgresql.auto.conf", "restore_command = '/bin/false'")
        (to / "recovery.signal").touch(mode=0o600)


def _by_command(settings: Settings, to: Path, target: Target) -> None:
    """Let the installation's own tool fill the folder."""
    command = settings.backup.restore_command
    assert command is not None
    value = ""
    if target.kind == "time":
        assert target.time is not None
        value = target.time.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M:%S.%f+00")
    elif target.kind == "transaction":
        assert target.transaction is not None
        value = str(target.transaction % (1 << 32))
    elif target.kind == "point":
        value = target.point or ""
    told = {
        "EDUPULSE_RESTORE_FOLDER": str(to),
        "EDUPULSE_RESTORE_KIND": target.kind,
        "EDUPULSE_RESTORE_TARGET": value,
    }
    ended = subprocess.run(
        ["/bin/sh", "-c", command],
        env={**environment(), **told},
        cwd=settings.config_path.parent if settings.config_path.parent.is_dir() else "/",
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if ended.returncode != 0:
        said = (ended.stderr.strip() or ended.stdout.strip()).splitlines()
        raise PermanentError(
            f"[backup] restore_command ended with {ended.returncode}: {said[-1] if said else 'it said nothing'}."
        )
    if not (to / "PG_VERSION").exists():
        raise PermanentError(f"[backup] restore_command ended well, but {to} is no data folder of PostgreSQL.")
    if not (to / "recovery.signal").exists() and (to / "backup_label").exists():
        raise PermanentError(
            f"[backup] restore_command ended well, but {to} has no recovery.signal: a server would go on in the "
            "timeline of the one that it is a copy of. Have the command ask for a recovery."
        )


def _complete_configuration(settings: Settings, to: Path) -> None:
    """Give a data folder what keeps its server from starting or from writing: distributions keep files elsewhere."""
    _append(
        to / "postgresql.auto.conf",
        # Nobody follows a restored server, and its WAL is not the live one's.
        "synchronous_standby_names = ''",
        "archive_command = '/bin/false'" if settings.backup.restore_command is not None else "",
    )
    major = data_major(to)
    if not (to / "postgresql.conf").exists():
        control = _control(settings, to, major)
        limits = [f"{_LIMIT_SETTINGS.get(name, name)} = {control[name]}" for name in _LIMITS if name in control]
        (to / "postgresql.conf").write_text("\n".join(limits) + "\n")
    if not (to / "pg_hba.conf").exists():
        (to / "pg_hba.conf").write_text(
            "# Who is the server's user on this machine, through the socket.\nlocal all all peer\n"
        )
    (to / "pg_ident.conf").touch()


def _control(settings: Settings, to: Path, major: int) -> dict[str, str]:
    """The limits that the server had, by the names of `pg_controldata`."""
    program = programs_of(settings, major).path("pg_controldata")
    said = subprocess.run([program, "-D", to], capture_output=True, text=True, check=False, env=environment()).stdout
    return dict(re.findall(r"^(\w+) setting:\s+(\w+)$", said, re.MULTILINE))


def _append(path: Path, *lines: str) -> None:
    with path.open("a", encoding="utf-8") as stream:
        stream.writelines(f"{line}\n" for line in lines if line)
