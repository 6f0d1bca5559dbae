"""Setting Barman up: its configuration is written, what it needs is looked at, and what another user has to do is said.

Every check asks for one thing and is safe to repeat. What is missing comes as lines to paste, for the administrator of
the server (SQL), for its configuration, and for the user of this machine who runs the receiver.
"""

from __future__ import annotations

import shutil
import socket
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from edupulse_pipelines.errors import ConfigurationError, EduPulseError
from edupulse_pipelines.operations.backup.barman import (
    LEAST_VERSION,
    barman_program,
    barman_version,
    configuration_of,
)
from edupulse_pipelines.operations.backup.barman_backups import FIRST_WITH_INCREMENTS, failed_checks, wal_state
from edupulse_pipelines.operations.backup.barman_configuration import (
    copying_role,
    copying_url,
    slot_of,
    write_configuration,
)
from edupulse_pipelines.operations.postgresql_server import server_major
from edupulse_pipelines.settings import BACKUP_URL, Settings, is_loopback, places_of
from edupulse_pipelines.sizes_in_words import in_bytes
from edupulse_pipelines.storage.database import Database
from edupulse_pipelines.storage.replication import demand_replication

_FUNCTIONS = (
    "pg_backup_start(text, boolean)",
    "pg_backup_stop(boolean)",
    "pg_switch_wal()",
    "pg_create_restore_point(text)",
)
"""What the role that copies has to be let do; `edupulse db roles` grants it."""
_SLOT_KEEPS = "20GB"
"""What is proposed for `max_slot_wal_keep_size`: as much WAL as the server keeps while nobody fetches it."""


@dataclass(frozen=True)
class Check:
    """One thing that backups need: whether it is there, and in a sentence what was found."""

    name: str
    ok: bool
    what: str


@dataclass
class BarmanSetup:
    """What was found; `lines` are to be pasted, each block with who pastes it where."""

    changed: bool = False
    """Whether the configuration is another than before."""
    checks: list[Check] = field(default_factory=list)
    lines: dict[str, list[str]] = field(default_factory=dict)

    @property
    def ready(self) -> bool:
        """Whether backups can be taken now."""
        return all(check.ok for check in self.checks)

    def _add(self, name: str, ok: bool, what: str, where: str = "", *lines: str) -> None:
        self.checks.append(Check(name, ok, what))
        if not ok and where:
            self.lines.setdefault(where, []).extend(line for line in lines if line not in self.lines.get(where, []))


AS_ADMINISTRATOR = "as an administrator of the server, in psql"
IN_HBA = "in the server's pg_hba.conf (then: SELECT pg_reload_conf();)"
IN_CRONTAB = "in the crontab of the user who runs EduPulse (crontab -e)"
AS_THIS_USER = "as the user who runs EduPulse"


def set_up_barman(settings: Settings) -> BarmanSetup:
    """Write Barman's configuration, and look at all that it needs. Safe to repeat; nothing on the server is changed.

    ConfigurationError without Barman.
    """
    found = BarmanSetup()
    version = barman_version(settings)
    told = ".".join(map(str, version))
    if version[:2] < LEAST_VERSION:
        least = ".".join(map(str, LEAST_VERSION))
        raise ConfigurationError(f"{barman_program(settings)} is Barman {told}; {least} or later is needed.")
    found._add("version", True, f"Barman {told}")
    rsync = shutil.which("rsync")
    found._add("rsync", rsync is not None, "rsync, by which Barman restores", "as root", "apt-get install rsync")
    server = _look_at_server(settings, found)
    if server is None:
        return found
    try:
        found.changed = write_configuration(settings)
    except ConfigurationError as error:
        found._add("programs", False, str(error))
        return found
    _look_at_receiver(settings, found)
    _look_at_space(settings, found, server)
    return found


def _look_at_server(settings: Settings, found: BarmanSetup) -> dict[str, Any] | None:
    """What the server is set to; None where the role that copies cannot connect."""
    import sqlalchemy as sa

    role = copying_role(settings)
    statement = sa.text(
        "SELECT current_setting('wal_level') AS wal_level, "
        "current_setting('max_wal_senders')::int AS senders, current_setting('max_replication_slots')::int AS slots, "
        "current_setting('max_slot_wal_keep_size') AS keeps, current_setting('summarize_wal', true) AS summaries, "
        "(SELECT count(*) FROM pg_replication_slots WHERE slot_name <> :slot) AS other_slots, "
        "r.rolname, r.rolreplication, r.rolbypassrls, "
        "pg_size_bytes(current_setting('wal_segment_size')) AS segment_bytes, "
        "(SELECT sum(pg_database_size(oid)) FROM pg_database)::bigint AS bytes, "
        "(SELECT string_agg(spcname, ', ' ORDER BY spcname) FROM pg_tablespace WHERE spcname NOT LIKE 'pg\\_%') "
        "AS tablespaces "
        "FROM pg_roles r WHERE r.rolname = current_user"
    )
    rights = sa.text(
        "SELECT p FROM unnest(CAST(:functions AS text[])) AS p WHERE NOT has_function_privilege(p, 'EXECUTE') "
        "UNION ALL SELECT r FROM unnest(ARRAY['pg_read_all_data', 'pg_monitor', 'pg_checkpoint']) AS r "
        "WHERE NOT pg_has_role(r, 'USAGE')"
    )
    try:
        with Database(copying_url(settings)).unchecked_work() as work, work.reading() as connection:
            server = dict(connection.execute(statement, {"slot": slot_of(settings)}).mappings().one())
            server["major"] = server_major(connection)
            missing = list(connection.execute(rights, {"functions": list(_FUNCTIONS)}).scalars())
    except EduPulseError as error:
        found._add("connection", False, f"The role that copies cannot connect: {error}")
        if not isinstance(error, ConfigurationError):  # a URL that is wrong is mended where it is set
            _say_how_to_connect(found, copying_url(settings), role)
        return None
    found._add("connection", True, f"{server['rolname']} connects to PostgreSQL {server['major']}")
    _look_at_replication(settings, found, server["rolname"])
    replicates = server["rolreplication"] and server["rolbypassrls"] and not missing
    grants = [f'ALTER ROLE "{server["rolname"]}" REPLICATION BYPASSRLS;', *_grants(server["rolname"])]
    lacks = ", ".join([*([] if server["rolreplication"] else ["REPLICATION"]), *missing])
    found._add(
        "role",
        bool(replicates),
        f"{server['rolname']} may copy" if replicates else f"{server['rolname']} may not copy: it lacks {lacks}",
        AS_ADMINISTRATOR,
        *grants,
    )
    _look_at_settings(found, server)
    if server["tablespaces"]:
        found._add(
            "tablespaces",
            True,
            f"Tablespaces ({server['tablespaces']}) are copied, and restored to FOLDER.tablespaces; the drill refuses "
            "them on this machine",
        )
    return server


def _look_at_replication(settings: Settings, found: BarmanSetup, role: str) -> None:
    """The second way that the role connects: WAL comes by it, and `pg_hba.conf` has lines of its own for it."""
    url = copying_url(settings)
    try:
        demand_replication(url, BACKUP_URL)
    except EduPulseError as error:
        lines = [line for line in _hba(url, role) if " replication " in line]
        found._add("replication", False, f"{role} cannot connect for replication: {error}", IN_HBA, *lines)
        return
    found._add("replication", True, f"{role} connects for replication")


def _say_how_to_connect(found: BarmanSetup, url: str, role: str) -> None:
    found.lines.setdefault(AS_ADMINISTRATOR, []).extend(
        [
            # Of psql; all roles at once: edupulse db roles
            f"SELECT 'CREATE ROLE \"{role}\"' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') \\gexec",
            f'ALTER ROLE "{role}" LOGIN REPLICATION BYPASSRLS;',
            f"\\password {role}",
        ]
    )
    found.lines.setdefault(IN_HBA, []).extend(_hba(url, role))
    places = [
        f"{'*' if not host or host.startswith('/') else host}:{port}" for host, port in places_of(url, BACKUP_URL)
    ]
    found.lines.setdefault(AS_THIS_USER, []).extend(
        [
            f"# PASSWORD is the role's, with a \\ before each : and \\ in it; or give it in the URL of {BACKUP_URL}.",
            *(f"echo '{place}:*:{role}:PASSWORD' >> ~/.pgpass && chmod 600 ~/.pgpass" for place in places),
        ]
    )


def _look_at_settings(found: BarmanSetup, server: dict[str, Any]) -> None:
    restart = "-- then restart the server"
    found._add(
        "wal_level",
        server["wal_level"] in ("replica", "logical"),
        f"wal_level is {server['wal_level']}",
        AS_ADMINISTRATOR,
        f"ALTER SYSTEM SET wal_level = 'replica';  {restart}",
    )
    enough = server["senders"] >= 4 and server["slots"] > server["other_slots"]
    found._add(
        "senders",
        enough,
        f"max_wal_senders is {server['senders']}, max_replication_slots {server['slots']}",
        AS_ADMINISTRATOR,
        f"ALTER SYSTEM SET max_wal_senders = 10;  {restart}",
        f"ALTER SYSTEM SET max_replication_slots = {server['other_slots'] + 5};  {restart}",
    )
    found._add(
        "max_slot_wal_keep_size",
        server["keeps"] != "-1",
        "max_slot_wal_keep_size is not set: a slot that nobody reads fills the server's disk"
        if server["keeps"] == "-1"
        else f"max_slot_wal_keep_size is {server['keeps']}",
        AS_ADMINISTRATOR,
        f"ALTER SYSTEM SET max_slot_wal_keep_size = '{_SLOT_KEEPS}';  -- what the server's disk can spare",
        "SELECT pg_reload_conf();",
    )
    if server["major"] >= FIRST_WITH_INCREMENTS:
        found._add(
            "summarize_wal",
            server["summaries"] == "on",
            f"summarize_wal is {server['summaries']}"
            + ("" if server["summaries"] == "on" else ": every base backup is a full one"),
            AS_ADMINISTRATOR,
            "ALTER SYSTEM SET summarize_wal = on;",
            "SELECT pg_reload_conf();",
        )


def _look_at_receiver(settings: Settings, found: BarmanSetup) -> None:
    """Whether WAL flows: by the slot, and by Barman's own checks."""
    program, configuration = barman_program(settings), configuration_of(settings)
    cron = f"{program} -q -c {configuration} cron"
    state = wal_state(settings)
    live = state.slot == "active" and state.receiving
    what = {
        "missing": f"the slot {slot_of(settings)} is not there yet; the receiver makes it",
        "idle": "nobody fetches WAL: the receiver does not run",
        "lost": f"the server has thrown WAL away that the slot {slot_of(settings)} was to keep",
    }.get(state.slot, "WAL is streaming")
    lines = [f"* * * * * {cron}"]
    if state.slot == "lost":
        found.lines.setdefault(AS_THIS_USER, []).extend(
            [
                f"{program} -c {configuration} receive-wal --drop-slot {settings.backup.server}",
                f"{program} -c {configuration} receive-wal --create-slot {settings.backup.server}",
                f"{program} -c {configuration} receive-wal --reset {settings.backup.server}",
                "edupulse backup create --full",
            ]
        )
    found._add("receiver", live, what, IN_CRONTAB, *lines)
    if not live:
        return
    # Before the first backup no WAL has been put away yet.
    failed = [sentence for sentence in failed_checks(settings) if not sentence.startswith("wal archive")]
    found._add("barman check", not failed, " ".join(failed) or "Barman's own checks pass")


def _look_at_space(settings: Settings, found: BarmanSetup, server: dict[str, Any]) -> None:
    free = shutil.disk_usage(settings.backup_dir).free
    wanted = 2 * int(server["bytes"])
    found._add(
        "space",
        free >= wanted,
        f"{in_bytes(free)} are free in {settings.backup_dir}; two full base backups take up to {in_bytes(wanted)}",
    )


def _hba(url: str, role: str) -> list[str]:
    """The lines by which the server lets the role in, from this machine as the server sees it."""
    lines = []
    for host, port in places_of(url, BACKUP_URL):
        for what in ("all        ", "replication"):
            if not host or host.startswith("/"):
                lines.append(f'local   {what} "{role}" scram-sha-256')
            else:
                # On this machine nothing is encrypted, and a server need not have a certificate.
                kind = "host   " if is_loopback(host) else "hostssl"
                lines.append(f'{kind} {what} "{role}" {_own_address(host, port)} scram-sha-256')
    return lines


def _own_address(host: str, port: int) -> str:
    """The address that connections to the host come from, as `pg_hba.conf` has it; nothing is sent to find it."""
    with suppress(OSError, UnicodeError):
        family, kind, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as made:
            if made.connect_ex(address) == 0:
                return f"{made.getsockname()[0]}/{32 if family == socket.AF_INET else 128}"
    return "ADDRESS/32"


def _grants(role: str) -> list[str]:
    return [
        f'GRANT pg_read_all_data, pg_monitor, pg_checkpoint TO "{role}";',
        *(f'GRANT EXECUTE ON FUNCTION pg_catalog.{function} TO "{role}";' for function in _FUNCTIONS),
    ]
