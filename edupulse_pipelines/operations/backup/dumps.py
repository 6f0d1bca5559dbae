"""Logical dumps: all rows and roles as SQL knows them, for a server of another major version.

A dump is a folder: `database` (pg_dump's directory format, several tables at a time), `roles.sql` (every role, without
passwords), and `dump.json`, written last, with the size and SHA-256 of each file. It is no way back to a time: that is
what base backups and WAL are for.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
import shutil
import subprocess
from dataclasses import asdict, dataclass, field
from pathlib import Path

from edupulse_pipelines.errors import DiskFull, PermanentError
from edupulse_pipelines.operations.backup.barman_configuration import (
    copying_url,
    programs_of,
    server_major,
)
from edupulse_pipelines.operations.postgresql_server import Programs
from edupulse_pipelines.programs import environment
from edupulse_pipelines.settings import Settings, conninfo_of, password_of
from edupulse_pipelines.storage.database import Database

_LIST = "dump.json"
_ROLES = "roles.sql"
_DATABASE = "database"
_EXISTS = re.compile(r'role "[^"]*" already exists')
_MEMBER = re.compile(r"is already a member of role")
_FULL = re.compile(r"No space left on device|Disk quota exceeded")


@dataclass(frozen=True)
class Dump:
    """A finished dump. files: size and SHA-256 of each, by its path in the folder."""

    folder: Path
    server_version: int
    """The major version of the server that it is of."""
    taken_at: dt.datetime
    files: dict[str, tuple[int, str]] = field(repr=False)

    @property
    def size_bytes(self) -> int:
        """What it takes on the disk."""
        return sum(size for size, _ in self.files.values())


def take_dump(settings: Settings, to: Path, *, jobs: int = 2) -> Dump:
    """Dump the database and the server's roles into a new folder, as the role that copies.

    It shows one moment, whatever is written meanwhile. PermanentError for a folder that is there already, and in the
    words of `pg_dump` where it fails; DiskFull; then the folder is not there.
    """
    to = to.expanduser().absolute()
    if to.exists():
        raise PermanentError(f"{to} is there already: a dump makes a folder of its own.")
    programs = programs_of(settings)
    url = copying_url(settings)
    work = to.with_name(f".{to.name}.unfinished")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True, mode=0o700)
    try:
        _run(programs, "pg_dump", url, "--format=directory", f"--jobs={jobs}", f"--file={work / _DATABASE}")
        _run(programs, "pg_dumpall", url, "--roles-only", "--no-role-passwords", f"--file={work / _ROLES}")
        for path in work.rglob("*"):
            path.chmod(0o700 if path.is_dir() else 0o600)
        dump = Dump(to, server_major(settings), dt.datetime.now(dt.UTC), _hashes(work))
        told = {**asdict(dump), "taken_at": dump.taken_at.isoformat()}
        del told["folder"]
        (work / _LIST).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
        (work / _LIST).chmod(0o600)
        work.rename(to)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return dump


def read_dump(folder: Path) -> Dump:
    """The dump in a folder; PermanentError names what is missing, cut or changed."""
    path = folder / _LIST
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        files = {name: (int(size), str(digest)) for name, (size, digest) in told["files"].items()}
        dump = Dump(folder, int(told["server_version"]), dt.datetime.fromisoformat(told["taken_at"]), files)
    except FileNotFoundError:
        raise PermanentError(f"{path} is not there: {folder} is no finished dump.") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PermanentError(f"{path} cannot be read ({type(error).__name__}): it is damaged.") from None
    there = _hashes(folder)
    for name, expected in files.items():
        if there.get(name) != expected:
            state = "is not what was dumped" if name in there else "is missing"
            raise PermanentError(f"{folder / name} {state}: this dump cannot be used, take another.")
    return dump


def restore_dump(settings: Settings, folder: Path, url: str, *, jobs: int = 2) -> list[str]:
    """Restore a dump into an empty database; what could not be done about roles, a sentence each.

    url: of the database, on a server of the dump's major version or a later one, as a superuser: rows of districts are
    written past their policies. Roles that are there already stay as they are but for what the dump says of them;
    passwords are set by hand. PermanentError, before anything is written, for a damaged dump, a database that is not
    empty and an older server; and in the words of `pg_restore`, after which the database is to be dropped.
    """
    import sqlalchemy as sa

    dump = read_dump(folder)
    with Database(url).unchecked_work() as work, work.reading() as connection:
        major = int(connection.execute(sa.text("SHOW server_version_num")).scalar_one()) // 10_000
        there = connection.execute(
            sa.text(
                "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
                "WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'"
            )
        ).scalar_one()
        above_policies = connection.execute(
            sa.text("SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user")
        ).scalar_one()
    if there:
        raise PermanentError(f"The database is not empty ({there:,} tables and indexes): a dump fills an empty one.")
    if major < dump.server_version:
        raise PermanentError(
            f"The dump is of PostgreSQL {dump.server_version}, and the server is {major}, an older one."
        )
    if not above_policies:
        raise PermanentError("This role may not write past row-level security: restore as a superuser.")
    programs = programs_of(settings, major)
    left = _restore_roles(programs, url, folder / _ROLES)
    try:
        _run(programs, "pg_restore", url, f"--jobs={jobs}", "--exit-on-error", str(folder / _DATABASE))
        _run(programs, "psql", url, "--no-psqlrc", "--quiet", "--command=ANALYZE")
    except PermanentError as error:
        raise PermanentError(f"{error} The database is half filled: drop it, and make it again.") from None
    return left


def _restore_roles(programs: Programs, url: str, file: Path) -> list[str]:
    """Make the roles; the server's refusals but for those of roles that are there already."""
    ended = _call(programs, "psql", url, "--no-psqlrc", "--quiet", f"--file={file}")
    said = [line.split("ERROR:", 1)[1].strip() for line in ended.stderr.splitlines() if "ERROR:" in line]
    return [line for line in said if not _EXISTS.search(line) and not _MEMBER.search(line)]


def _run(programs: Programs, program: str, url: str, *arguments: str) -> None:
    ended = _call(programs, program, url, *arguments)
    if ended.returncode == 0:
        return
    # What follows the first line may quote rows.
    errors = [line for line in ended.stderr.splitlines() if "error" in line.lower()] or ended.stderr.splitlines()
    said = errors[0].strip() if errors else f"it ended with code {ended.returncode}"
    if _FULL.search(ended.stderr):
        raise DiskFull(f"No space is left: {said}. Free some and try again.")
    raise PermanentError(f"{said}.")


def _call(programs: Programs, program: str, url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program of PostgreSQL against a database; a password goes by its environment, not on its command line."""
    conninfo = conninfo_of(url, "The URL of the database")
    return subprocess.run(
        [
            programs.path(program),
            f"--dbname={conninfo}",
            "--no-password",
            *arguments,
        ],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env={**environment(), **password_of(url)},
        stdin=subprocess.DEVNULL,
    )


def _hashes(folder: Path) -> dict[str, tuple[int, str]]:
    """Size and SHA-256 of every file but the list of them."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path != folder / _LIST:
            with path.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            found[path.relative_to(folder).as_posix()] = (path.stat().st_size, digest)
    return found
