"""The standby: a second server that replays what the primary writes, how far it is behind, and its promotion.

It is made by PostgreSQL's own `pg_basebackup`, with a replication slot that keeps WAL for it on the primary. Clients
whose URL names both servers and says `target_session_attrs=read-write` find whichever takes writes. Whether the old
primary is really gone is looked at in `fence`: promotion refuses while anything answers at its address.
"""

from __future__ import annotations

import contextlib
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.errors import (
    ConfigurationError,
    DatabaseRefused,
    DatabaseUnavailable,
    PermanentError,
)
from edupulse_pipelines.operations.postgresql_server import Programs, hand_over, programs_for, server_major, server_user
from edupulse_pipelines.operations.recovery.fence import why_not_promoted
from edupulse_pipelines.programs import environment
from edupulse_pipelines.settings import STANDBY_URL, Settings, conninfo_of, password_of, places_of
from edupulse_pipelines.sizes_in_words import in_bytes
from edupulse_pipelines.storage.database import Database

_PROMOTION_SECONDS = 60
_PRIMARY = "The primary's URL"
Slot = Literal["active", "idle", "missing", "lost"]


@dataclass(frozen=True)
class Standby:
    """How the standby is. primary_answers: whether it could be asked; without it lags and slot are not known.

    connected: whether it receives; None where the role that asks may not see that. slot_bytes: WAL that the slot holds
    back on the primary. lag_bytes: WAL that it has not replayed; lag_seconds: how long the newest replayed change
    waited, 0 with nothing left to replay. in_recovery: of the standby itself; False once it was promoted, None where it
    was not asked or does not answer.
    """

    primary_answers: bool
    slot: Slot | None = None
    slot_bytes: int | None = None
    connected: bool | None = False
    lag_bytes: int | None = None
    lag_seconds: float | None = None
    in_recovery: bool | None = None


@dataclass(frozen=True)
class Made:
    """A standby's data folder that was filled, and the line that starts it."""

    folder: Path
    slot: str
    start: str


def create_standby(settings: Settings, primary: Database, folder: Path, url: str) -> Made:
    """Fill an empty folder with a standby of the primary, which keeps WAL for it in a slot from now on.

    url: of the primary, by a role with REPLICATION, which the standby uses as well; its password goes into the folder.
    PermanentError, and nothing stays, for a folder that is not empty, a slot that another standby uses, and for what
    the server refuses.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise PermanentError(f"{folder} is not empty: a standby needs a folder of its own. Nothing was done.")
    slot = settings.standby.slot_name
    with primary.unchecked_work() as work, work.reading() as connection:
        major = server_major(connection)
        there = _slot(connection, slot)
        if connection.scalar(sa.text("SELECT pg_is_in_recovery()")):
            raise PermanentError("The server that the URL reaches is a standby itself: name the primary.")
    if there is not None and there.active:
        raise PermanentError(
            f"The slot {slot} is in use by another standby: give this one a slot of its own ([standby] slot)."
        )
    if there is not None and there.wal_status == "lost":
        raise PermanentError(
            f"The slot {slot} is broken: the server has thrown away what it was to keep. Drop it "
            f"(SELECT pg_drop_replication_slot('{slot}')) and create the standby again."
        )
    programs = programs_for(major, settings.programs_dir)
    existed = folder.exists()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    # Of two servers the one that takes writes: after a promotion the first may be the standby itself.
    conninfo = conninfo_of(url, _PRIMARY, with_database=False, left_out=(), to_primary=True)
    making = ["--create-slot"] if there is None else []
    try:
        _base_backup(programs, folder, [*making, f"--slot={slot}", f"--dbname={conninfo}"], password_of(url))
    except BaseException:
        shutil.rmtree(folder)
        if existed:
            folder.mkdir(mode=0o700)
        if there is None:
            _drop_slot(primary, slot)
        raise
    start = f"{shlex.quote(str(programs.path('pg_ctl')))} start -D {shlex.quote(str(folder))} -l {folder.name}.log"
    return Made(folder, slot, start)


def standby_state(settings: Settings, primary: Database, standby: Database | None) -> Standby:
    """How the standby is, asked of both servers; neither has to answer."""
    in_recovery = None
    if standby is not None:
        with contextlib.suppress(DatabaseUnavailable), standby.unchecked_work() as work, work.reading() as connection:
            in_recovery = bool(connection.scalar(sa.text("SELECT pg_is_in_recovery()")))
    try:
        with primary.unchecked_work() as work, work.reading() as connection:
            return _seen_by_primary(connection, settings.standby.slot_name, in_recovery)
    except DatabaseUnavailable:
        return Standby(primary_answers=False, in_recovery=in_recovery)


def trouble_with_standby(settings: Settings, state: Standby) -> list[str]:
    """What is wrong, in words, beyond the thresholds of `[standby]`; empty when all is well."""
    limits, slot = settings.standby, settings.standby.slot_name
    if state.in_recovery is False:
        return ["The standby was promoted: it is a primary of its own now. Make a new standby."]
    if not state.primary_answers:
        return ["The primary does not answer; if it is gone for good: `edupulse backup standby promote`."]
    said = []
    if state.slot == "missing":
        said.append(
            f"The slot {slot} is gone: nothing keeps WAL for the standby, which stops when it falls behind. Create the "
            "standby again."
        )
    elif state.slot == "lost":
        said.append(
            f"The slot {slot} is broken: the primary has thrown away WAL that the standby still needs. Drop the slot, "
            "empty the standby's folder and create it again."
        )
    elif state.connected is None:
        said.append(
            "Whether the standby is connected, and how far it is behind, cannot be seen by this role: "
            "GRANT pg_monitor TO it, or name the role that copies in EDUPULSE_BACKUP_URL."
        )
    elif not state.connected:
        said.append(f"The standby is not connected; the slot {slot} keeps WAL for it. Start it.")
    if state.slot_bytes is not None and state.slot_bytes > limits.max_slot_bytes:
        said.append(
            f"The slot {slot} holds back {in_bytes(state.slot_bytes)} of WAL on the primary (max_slot_bytes): "
            "start the standby, or drop the slot before that disk is full."
        )
    if state.lag_bytes is not None and state.lag_bytes > limits.max_lag_bytes:
        said.append(f"The standby is {in_bytes(state.lag_bytes)} of WAL behind (max_lag_bytes).")
    if state.lag_seconds is not None and state.lag_seconds > limits.max_lag_seconds:
        said.append(f"The standby is {state.lag_seconds:,.0f} seconds behind (max_lag_seconds).")
    return said


def promote_standby(settings: Settings, standby_url: str, *, force: bool = False) -> None:
    """Make the standby a primary, and wait until it takes writes.

    PermanentError, and nothing was done, while anything answers at the primary's address or nobody can tell whether
    something does (unless `force`), for a server that is no standby (any more), and for a role that may not.
    """
    if not force and (why := why_not_promoted(settings.database_url, standby_url)) is not None:
        raise PermanentError(why)
    try:
        with Database(standby_url).unchecked_work() as work, work.outside_transactions() as connection:
            if not connection.scalar(sa.text("SELECT pg_is_in_recovery()")):
                raise PermanentError("This server is no standby: it takes writes already. Nothing was done.")
            done = connection.scalar(sa.text(f"SELECT pg_promote(true, {_PROMOTION_SECONDS})"))
            if not done:
                raise PermanentError(
                    f"The standby was told to become a primary, and was not within {_PROMOTION_SECONDS} s."
                )
    except DatabaseUnavailable as error:
        raise PermanentError(
            f"The standby does not answer, so it cannot be promoted: start it first. {error}"
        ) from None
    except DatabaseRefused as error:
        raise PermanentError(
            "The role may not promote: as a superuser of the standby, or granted by one on the primary beforehand "
            f"(GRANT EXECUTE ON FUNCTION pg_promote TO …). {error}"
        ) from None


def standby_url_or_refuse(given: str | None) -> str:
    """The standby's URL; ConfigurationError where none is set, or where it names more than one server."""
    if given is None:
        raise ConfigurationError(f"{STANDBY_URL} names the standby itself (postgresql://…); it is not set.")
    if len(places_of(given, STANDBY_URL)) > 1:
        raise ConfigurationError(f"{STANDBY_URL} names several servers; it has to be the standby alone.")
    return given


# Asking the primary


def _seen_by_primary(connection: Connection, slot: str, in_recovery: bool | None) -> Standby:
    kept = _slot(connection, slot)
    if kept is None:
        return Standby(primary_answers=True, slot="missing", in_recovery=in_recovery)
    state: Slot = "lost" if kept.wal_status == "lost" else "active" if kept.active else "idle"
    row = connection.execute(
        sa.text(
            "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn) AS bytes,"
            " extract(epoch FROM replay_lag) AS seconds, state"
            " FROM pg_stat_replication WHERE pid = :pid"
        ),
        {"pid": kept.active_pid},
    ).first()
    connected: bool | None = row is not None and row.state in ("streaming", "catchup")
    if row is not None and row.state is None:
        connected = None  # it is there, and what it does is for roles with pg_read_all_stats
    lag_bytes = None if row is None or row.bytes is None else int(row.bytes)
    # With nothing left to replay the server says nothing of how long it took.
    waited = None if row is None or row.seconds is None else float(row.seconds)
    lag_seconds = 0.0 if lag_bytes == 0 else waited
    behind = None if kept.bytes is None else int(kept.bytes)
    return Standby(
        primary_answers=True,
        slot=state,
        slot_bytes=behind,
        connected=connected,
        lag_bytes=behind if connected is False else lag_bytes,
        lag_seconds=lag_seconds,
        in_recovery=in_recovery,
    )


def _slot(connection: Connection, name: str) -> Any:
    return connection.execute(
        sa.text(
            "SELECT active, active_pid, wal_status, CASE WHEN pg_is_in_recovery() THEN NULL"
            " ELSE pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn) END AS bytes"
            " FROM pg_replication_slots WHERE slot_name = :name"
        ),
        {"name": name},
    ).first()


def _drop_slot(primary: Database, slot: str) -> None:
    """Drop the slot that a base backup had made before it failed, if it got that far."""
    with primary.unchecked_work() as work, work.outside_transactions() as connection:
        there = _slot(connection, slot)
        if there is not None and not there.active:
            connection.execute(sa.text("SELECT pg_drop_replication_slot(:slot)"), {"slot": slot})


# Programs and addresses


def _base_backup(programs: Programs, folder: Path, arguments: list[str], secrets: Mapping[str, str]) -> None:
    ended = subprocess.run(
        [
            programs.path("pg_basebackup"),
            f"--pgdata={folder}",
            "--write-recovery-conf",
            "--wal-method=stream",
            "--checkpoint=fast",
            "--no-password",
            *arguments,
        ],
        capture_output=True,
        text=True,
        check=False,
        env={**environment(), **secrets},
        stdin=subprocess.DEVNULL,
    )
    if ended.returncode != 0:
        lines = [line for line in ended.stderr.splitlines() if "error" in line.lower() or "fatal" in line.lower()]
        raise PermanentError(f"pg_basebackup failed, and nothing of it stays: {(lines or [ended.stderr.strip()])[-1]}")
    hand_over(folder, server_user(folder))
