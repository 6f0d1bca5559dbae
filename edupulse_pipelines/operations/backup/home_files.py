"""Which files of a home belong to a moment, and where they lie.

All of the home but for what is not ours to keep (landing folders), what is made again (logs, locks, unfinished files,
the drill's folder), the server of a restored PostgreSQL, backups, also those in a folder that the settings no longer
name, the data keys, which lie beside the moments (`key_copies`), and the operator's keys, also those of before.
Databases of SQLite among them are copied as databases.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edupulse_pipelines.encryption.keyring import KEYS_FOLDER
from edupulse_pipelines.encryption.operators_key import RETIRED
from edupulse_pipelines.operations.backup.moments import MLFLOW, SERVER_FOLDER, SETTINGS
from edupulse_pipelines.settings import Settings
from edupulse_pipelines.storage.engine import file_of
from edupulse_pipelines.storage.sqlite_files import is_sqlite

WORK = "backup-work"
"""In the home: where a moment's databases are copied before they are encrypted."""
DUMP_WORK = "dump-work"
"""In the home: where a dump lies in plain before it is encrypted, and while it is restored."""
_NO_PART = ("logs", "drill", SERVER_FOLDER, KEYS_FOLDER, WORK, DUMP_WORK)
_DEFAULT_BACKUPS = "backups"
_UNFINISHED = (".tmp", ".lock")
_BESIDE_A_DATABASE = ("-wal", "-shm", "-journal")


@dataclass(frozen=True)
class HomeFile:
    """A file that belongs to a moment: its name there, where it lies, and whether it is a SQLite database."""

    name: str
    path: Path
    is_database: bool


def mlflow_file(settings: Settings) -> Path | None:
    """MLflow's store where it is a SQLite file."""
    return _sqlite_file(settings.tracking_uri)


def home_files(settings: Settings) -> Iterator[HomeFile]:
    """The files of the home but for the database and MLflow's store, in order of name; settings first."""
    if settings.config_path.is_file():
        yield HomeFile(SETTINGS, settings.config_path, is_database=False)
    left_out = {path.absolute() for path in _left_out(settings)}
    for path in _below(settings.home, left_out, top=True):
        name = path.relative_to(settings.home).as_posix()
        if name in (SETTINGS, MLFLOW):
            continue
        yield HomeFile(name, path, is_sqlite(path))


def home_bytes(settings: Settings) -> int:
    """The bytes of what a moment of this home copies, with the database where that is a SQLite file."""
    paths = [file.path for file in home_files(settings)]
    paths += [file for url in (settings.database_url, settings.tracking_uri) if (file := _sqlite_file(url)) is not None]
    return sum(path.stat().st_size for path in paths if path.is_file())


def _sqlite_file(url: str) -> Path | None:
    return file_of(url) if url.startswith("sqlite:") else None


def other_backups(settings: Settings) -> list[Path]:
    """The folders of backups in the home that `[backup] folder` does not name: nothing is thrown away there."""
    left_out = {path.absolute() for path in _left_out(settings)} - {settings.home.absolute() / _DEFAULT_BACKUPS}
    left_out.add(settings.backup_dir.absolute())
    return list(_backups_below(settings.home, left_out, top=True)) if settings.home.is_dir() else []


def not_covered(settings: Settings) -> tuple[str, ...]:
    """What a moment of this home does not hold, in sentences."""
    sentences = ["Landing folders are the districts' own, and are not copied."]
    others = [folder.relative_to(settings.home).as_posix() for folder in other_backups(settings)]
    if others:
        sentences.append(f"Earlier backups in the home are left out: {', '.join(others)}.")
    uri = settings.tracking_uri
    if uri.startswith("http"):
        sentences.append("MLflow is a server elsewhere: whoever runs it backs it up.")
    elif mlflow_file(settings) is None:
        sentences.append("MLflow's database is on a server: a base backup has it if it is on the same one as ours.")
    if settings.backup.dagster == "leave":
        sentences.append("Dagster's record of runs is left out ([backup] dagster).")
    key_file = settings.encryption.key_file
    if key_file is not None:
        sentences.append("The operator's key is left out: keep it elsewhere, nothing encrypted is read without it.")
    return tuple(sentences)


def _left_out(settings: Settings) -> Iterator[Path]:
    """Folders and files of the home that are no part of a moment, or are copied on their own."""
    home = settings.home
    yield home / "landing"
    yield from (tenant.landing for tenant in settings.tenants.values())
    yield settings.backup_dir
    yield home / _DEFAULT_BACKUPS
    yield settings.drill_dir
    yield from (home / name for name in _NO_PART)
    if settings.backup.dagster == "leave":
        yield settings.dagster_home
    if settings.encryption.key_file is not None:
        yield settings.encryption.key_file
        yield settings.encryption.key_file.with_name(f"{settings.encryption.key_file.name}{RETIRED}")
    for url in (settings.database_url, settings.tracking_uri):
        file = _sqlite_file(url)
        if file is not None:
            yield file
            yield file.with_name(f"{file.name}.closed")
            yield from (file.with_name(file.name + end) for end in _BESIDE_A_DATABASE)


def _below(folder: Path, left_out: set[Path], *, top: bool) -> Iterator[Path]:
    """The files below a folder. Of links only folders of the home itself are followed: `raw` on another disk, say."""
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    databases = {entry.name for entry in entries if entry.name.endswith(".db")}
    for entry in entries:
        path = folder / entry.name
        if path.absolute() in left_out or entry.name.endswith(_UNFINISHED):
            continue
        if any(entry.name.endswith(end) and entry.name.removesuffix(end) in databases for end in _BESIDE_A_DATABASE):
            continue
        try:
            if entry.is_dir(follow_symlinks=top):
                if not _holds_backups(path):
                    yield from _below(path, left_out, top=False)
            elif entry.is_file(follow_symlinks=False):
                yield path
        except FileNotFoundError:  # gone since the folder was read
            continue


def _holds_backups(folder: Path) -> bool:
    """Whether it is a folder of backups, by what `backup setup` and `backup create` make in one."""
    if (folder / "barman" / "barman.conf").is_file():
        return True
    return all((folder / name).is_dir() for name in ("moments", "files"))


def _backups_below(folder: Path, left_out: set[Path], *, top: bool) -> Iterator[Path]:
    """The folders of backups below a folder, followed as files are."""
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        path = folder / entry.name
        try:
            if path.absolute() in left_out or not entry.is_dir(follow_symlinks=top):
                continue
            if _holds_backups(path):
                yield path
            else:
                yield from _backups_below(path, left_out, top=False)
        except FileNotFoundError:  # gone since the folder was read
            continue
