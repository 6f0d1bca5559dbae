"""Logical dumps: all rows and roles as SQL knows them, for a server of another major version.

A dump is a folder: `database` (pg_dump's directory format, several tables at a time), `roles.sql` (every role, without
passwords), and `dump.json`, written last, with the size and SHA-256 of each file. In a home with a key the files are
encrypted by age with the home's (`….age`), and the sizes and hashes are those in plain; PostgreSQL's programs work in
a folder of the home, as private as the database. It is no way back to a time: that is what base backups and WAL are
for.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edupulse_pipelines.encryption.keyring import HOME_KEY, key_ring
from edupulse_pipelines.errors import DiskFull, EncryptedFileDamaged, KeyUnusable, PermanentError, TransientError
from edupulse_pipelines.file_locks import if_free
from edupulse_pipelines.full_disk import full_disk_in_words, is_full
from edupulse_pipelines.hashing import hash_of_file
from edupulse_pipelines.operations.backup.barman_configuration import (
    copying_url,
    live_major,
    programs_of,
)
from edupulse_pipelines.operations.backup.home_files import DUMP_WORK
from edupulse_pipelines.operations.postgresql_server import Programs, server_major
from edupulse_pipelines.programs import environment
from edupulse_pipelines.settings import Settings, conninfo_of, password_of
from edupulse_pipelines.sizes_in_words import in_bytes
from edupulse_pipelines.storage.database import Database

if TYPE_CHECKING:
    from edupulse_pipelines.encryption.keyring import DataKey

_LIST = "dump.json"
_ROLES = "roles.sql"
_DATABASE = "database"
_ENCRYPTED = ".age"
_EXISTS = re.compile(r'role "[^"]*" already exists')
_MEMBER = re.compile(r"is already a member of role")
_FULL = re.compile(r"No space left on device|Disk quota exceeded")


@dataclass(frozen=True)
class Dump:
    """A finished dump. files: size and SHA-256 of each in plain, by its path in the folder."""

    folder: Path
    server_version: int
    """The major version of the server that it is of."""
    taken_at: dt.datetime
    files: dict[str, tuple[int, str]] = field(repr=False)
    encrypted: bool = False

    @property
    def size_bytes(self) -> int:
        """What it takes on the disk, in plain."""
        return sum(size for size, _ in self.files.values())


def take_dump(settings: Settings, to: Path, *, jobs: int = 2, plain: bool = False) -> Dump:
    """Dump the database and the server's roles into a new folder, as the role that copies.

    It shows one moment, whatever is written meanwhile, and is encrypted in a home with a key. plain: not this one,
    because who asks for it encrypts it. PermanentError for a folder that is there already, and in the words of
    `pg_dump` where it fails; DiskFull; TransientError while another dump is in plain in the home; KeyUnusable. Then the
    folder is not there.
    """
    to = to.expanduser().absolute()
    if to.exists():
        raise PermanentError(f"{to} is there already: a dump makes a folder of its own.")
    key = None if plain else key_ring(settings).key_for_writing(HOME_KEY)
    work = to.with_name(f".{to.name}.unfinished")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True, mode=0o700)
    try:
        if key is None:
            dump = _dumped(settings, work, jobs)
        else:
            with plain_folder(settings) as folder:
                dump = replace(_dumped(settings, folder, jobs), encrypted=True)
                _encrypt(dump, folder, work, key)
        dump = replace(dump, folder=to)
        told = {**asdict(dump), "taken_at": dump.taken_at.isoformat()}
        del told["folder"]
        (work / _LIST).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
        (work / _LIST).chmod(0o600)
        work.rename(to)
    except (OSError, PermanentError) as error:
        if not (is_full(work) or isinstance(error, DiskFull) or full_disk_in_words(error, [work])):
            raise
        place = f"on the disk of {to.parent}" if is_full(work) else "for the dump"
        because = f" ({error})" if isinstance(error, PermanentError) else ""
        written = sum(path.stat().st_size for path in work.rglob("*") if path.is_file())
        raise DiskFull(
            f"No space is left {place}{because}, when the dump was {in_bytes(written)}. It is taken away again: "
            "free some and dump again."
        ) from None
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return dump


def _dumped(settings: Settings, folder: Path, jobs: int) -> Dump:
    """Fill an empty folder with a dump, but for the list of its files."""
    programs, url = programs_of(settings), copying_url(settings)
    _run(programs, "pg_dump", url, "--format=directory", f"--jobs={jobs}", f"--file={folder / _DATABASE}")
    _run(programs, "pg_dumpall", url, "--roles-only", "--no-role-passwords", f"--file={folder / _ROLES}")
    for path in folder.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
    return Dump(folder, live_major(settings), dt.datetime.now(dt.UTC), _hashes(folder))


def _encrypt(dump: Dump, plain: Path, to: Path, key: DataKey) -> None:
    """Write each file of a dump encrypted, and take it away in plain."""
    from edupulse_pipelines.encryption.files import encrypt_file

    for name in dump.files:
        target = to / f"{name}{_ENCRYPTED}"
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        encrypt_file(plain / name, target, key)
        (plain / name).unlink()


@contextmanager
def plain_folder(settings: Settings) -> Iterator[Path]:
    """An empty folder for a dump in plain, taken away at the end of the block: in the home, as private as the database.

    One at a time: what a killed process has left there is thrown away by the next, and TransientError is for one that
    another process is in. Where the home is not there, or not ours to write in, it is one of the system's temporary
    folders.
    """
    if not os.access(settings.home, os.W_OK):
        with tempfile.TemporaryDirectory(prefix="edupulse-dump-") as name:
            yield Path(name)
        return
    folder = settings.home / DUMP_WORK
    with if_free(folder.with_suffix(".lock")) as free:
        if not free:
            raise TransientError("Another dump is being taken or restored in this home: try again when it is done.")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def opened_dump(settings: Settings, folder: Path) -> Iterator[Dump]:
    """The dump in a folder, its files to be read in plain: as they lie there, or decrypted into a folder of the block.

    settings: whose key opens it. PermanentError names what is missing, cut or changed; KeyUnusable.
    """
    dump = _read_list(folder)
    if not dump.encrypted:
        yield _compared(dump)
        return
    ring = key_ring(settings)
    if not ring.is_on:
        raise KeyUnusable(
            f"{folder} is encrypted, and no key is set: name the operator's in [encryption] key_file or EDUPULSE_KEY."
        )
    from edupulse_pipelines.encryption.files import decrypt_file

    with plain_folder(settings) as plain:
        for name in dump.files:
            source = folder / f"{name}{_ENCRYPTED}"
            (plain / name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                decrypt_file(source, plain / name, ring)
            except (FileNotFoundError, EncryptedFileDamaged) as error:
                state = "is missing" if isinstance(error, FileNotFoundError) else "is damaged or cut off"
                raise PermanentError(f"{source} {state}: this dump cannot be used, take another.") from None
        yield _compared(replace(dump, folder=plain))


def _read_list(folder: Path) -> Dump:
    path = folder / _LIST
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        files = {name: (int(size), str(digest)) for name, (size, digest) in told["files"].items()}
        if any(Path(name).is_absolute() or ".." in Path(name).parts for name in files):
            raise ValueError
        taken_at, encrypted = dt.datetime.fromisoformat(told["taken_at"]), bool(told.get("encrypted"))
        return Dump(folder, int(told["server_version"]), taken_at, files, encrypted)
    except FileNotFoundError:
        raise PermanentError(f"{path} is not there: {folder} is no finished dump.") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise PermanentError(f"{path} cannot be read ({type(error).__name__}): it is damaged.") from None


def _compared(dump: Dump) -> Dump:
    """The dump, whose files are what was dumped; PermanentError otherwise."""
    there = _hashes(dump.folder)
    for name, expected in dump.files.items():
        if there.get(name) != expected:
            state = "is not what was dumped" if name in there else "is missing"
            raise PermanentError(f"{dump.folder / name} {state}: this dump cannot be used, take another.")
    return dump


def taken_at(folder: Path) -> dt.datetime:
    """When the dump in a folder had been taken; PermanentError for what is none."""
    return _read_list(folder).taken_at


def restore_dump(
    settings: Settings, folder: Path, url: str, *, jobs: int = 2, begin: Callable[[], None] = lambda: None
) -> list[str]:
    """Restore a dump into an empty database; what could not be done about roles, a sentence each.

    begin: called when it is sure that the dump fits, before anything is written.

    url: of the database, on a server of the dump's major version or a later one, as a superuser: rows of districts are
    written past their policies. Roles that are there already stay as they are but for what the dump says of them;
    passwords are set by hand. PermanentError, before anything is written, for a damaged dump, a database that is not
    empty and an older server; KeyUnusable for one that is encrypted with another key; and in the words of `pg_restore`,
    after which the database is to be dropped.
    """
    with opened_dump(settings, folder) as dump:
        _demand_fit(dump, url)
        begin()
        return _restored(settings, dump, url, jobs)


def _demand_fit(dump: Dump, url: str) -> None:
    import sqlalchemy as sa

    with Database(url).unchecked_work() as work, work.reading() as connection:
        major = server_major(connection)
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


def _restored(settings: Settings, dump: Dump, url: str, jobs: int) -> list[str]:
    with Database(url).unchecked_work() as work, work.reading() as connection:
        major = server_major(connection)
    programs = programs_of(settings, major)
    left = _restore_roles(programs, url, dump.folder / _ROLES)
    try:
        _run(programs, "pg_restore", url, f"--jobs={jobs}", "--exit-on-error", str(dump.folder / _DATABASE))
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
            found[path.relative_to(folder).as_posix()] = (path.stat().st_size, hash_of_file(path))
    return found
