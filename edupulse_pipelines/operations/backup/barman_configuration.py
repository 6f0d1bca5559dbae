"""Barman's configuration, written from the settings: streaming only, no archive command on the server.

`conninfo` is how Barman connects, as the role that copies. A password is in no file of Barman's and on no command line:
it comes from `~/.pgpass`, or from a file of its own beside the configuration when `EDUPULSE_BACKUP_URL` holds one.
"""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from edupulse_pipelines.errors import PermanentError
from edupulse_pipelines.operations.backup.barman import configuration_of, home_of
from edupulse_pipelines.operations.postgresql_server import Programs, major_of, programs_for, server_major
from edupulse_pipelines.settings import BACKUP_URL, Settings, backup_url, conninfo_of
from edupulse_pipelines.storage.database import Database
from edupulse_pipelines.whole_files import write_whole


def copying_role(settings: Settings) -> str:
    """The role that copies the database; `edupulse db roles` makes it."""
    return f"{settings.roles.prefix}_backup"


def slot_of(settings: Settings) -> str:
    """The replication slot that keeps WAL on the server until it has arrived here."""
    return f"barman_{settings.backup.server}"


def copying_url(settings: Settings) -> str:
    """The URL of the role that copies; PermanentError for SQLite, which has neither base backups nor WAL."""
    from sqlalchemy.engine import make_url

    if make_url(settings.database_url).get_backend_name() != "postgresql":
        raise PermanentError("The database is SQLite: it is copied as a file, and has neither base backups nor WAL.")
    given = backup_url()
    if given is not None:
        return given
    url = make_url(settings.database_url).set(username=copying_role(settings), password="")
    return url.render_as_string(hide_password=False).replace(":@", "@", 1)


def conninfo(settings: Settings, *, replication: bool = False) -> str:
    """How libpq connects as the role that copies, without a password; `replication`: for the stream of WAL."""
    url, passfile = copying_url(settings), _password_file(settings)
    return conninfo_of(url, BACKUP_URL, passfile=passfile, with_database=not replication)


def live_major(settings: Settings) -> int:
    """The major version of the running server; DatabaseUnavailable where it does not answer."""

    with Database(copying_url(settings)).unchecked_work() as work, work.reading() as connection:
        return server_major(connection)


def programs_of(settings: Settings, major: int | None = None) -> Programs:
    """The programs of a major version, by default the running server's; ConfigurationError names where was looked."""
    wanted = major or live_major(settings)
    folder = settings.programs_dir
    # The folder of the settings is for the server; another version, a dump's target say, is where it usually is.
    return programs_for(wanted, folder if folder is not None and major_of(folder) in (wanted, None) else None)


def write_configuration(settings: Settings) -> bool:
    """Write Barman's configuration; whether that changed anything. It asks the server for its version."""
    home = home_of(settings)
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    home.chmod(0o700)
    changed = _write_password(settings)
    return _replace(configuration_of(settings), _text(settings)) or changed


def _text(settings: Settings) -> str:
    backup = settings.backup
    home = home_of(settings)
    lines = [
        "; Written by `edupulse backup setup` from [backup] of edupulse.toml, which is the place to change it.",
        "[barman]",
        f"barman_home = {home}",
        f"barman_lock_directory = {home}",
        f"barman_user = {pwd.getpwuid(os.geteuid()).pw_name}",
        f"configuration_files_directory = {home / 'conf.d'}",
        f"log_file = {home / 'barman.log'}",
        "log_level = INFO",
        "",
        f"[{backup.server}]",
        f"description = EduPulse {backup.server}",
        f"conninfo = {conninfo(settings)}",
        f"streaming_conninfo = {conninfo(settings, replication=True)}",
        "backup_method = postgres",
        "streaming_archiver = on",
        f"slot_name = {slot_of(settings)}",
        "create_slot = auto",
        # Otherwise the copy begins at the server's next checkpoint, which may be minutes away.
        "immediate_checkpoint = true",
        f"path_prefix = {programs_of(settings).folder}",
        f"retention_policy = {backup.retention}",
        f"minimum_redundancy = {backup.keep_at_least}",
    ]
    if backup.compression != "none":
        lines += [
            f"backup_compression = {backup.compression}",
            "backup_compression_format = tar",
            f"compression = {backup.compression}",
        ]
    if backup.gpg_key is not None:
        if backup.compression == "none":
            # What is encrypted has to be one file.
            lines += ["backup_compression = none", "backup_compression_format = tar"]
        lines += ["encryption = gpg", f"encryption_key_id = {backup.gpg_key}"]
        if backup.passphrase_command is not None:
            lines += [f"encryption_passphrase_command = {backup.passphrase_command}"]
    return "\n".join(lines) + "\n"


def _password_file(settings: Settings) -> Path:
    return home_of(settings) / "passfile"


def _write_password(settings: Settings) -> bool:
    """Write the password of `EDUPULSE_BACKUP_URL`, if it holds one, where libpq and nobody else reads it."""
    from sqlalchemy.engine import make_url

    url = make_url(copying_url(settings))
    if not url.password:
        return False
    escaped = (part.replace("\\", "\\\\").replace(":", "\\:") for part in (url.username or "*", str(url.password)))
    return _replace(_password_file(settings), f"*:*:*:{':'.join(escaped)}\n")


def _replace(path: Path, text: str) -> bool:
    """Give the file this content, for its owner alone; whether it had another."""
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        path.chmod(0o600)
        return False
    write_whole(path, text)
    return True
