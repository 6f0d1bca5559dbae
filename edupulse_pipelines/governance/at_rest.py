"""What of a district lies encrypted on the disk, and encrypting what does not.

How is in `encryption`, when something new is encrypted in `ingest` and `released_files`. Moments of a backup have their
own way (`operations`).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from edupulse_pipelines.encryption.archives import archive_schema_of, opened_archive
from edupulse_pipelines.encryption.files import decrypt_stream, shown
from edupulse_pipelines.encryption.keyring import HOME_KEY, KeyRing, is_encrypted
from edupulse_pipelines.errors import EncryptedFileDamaged, KeyUnusable
from edupulse_pipelines.governance import kept_files
from edupulse_pipelines.governance.archives import Archive, archives
from edupulse_pipelines.ingest.archived_file import (
    encrypt_archive,
    hash_of_archive,
    is_encrypted_from,
    share_archive,
    temporary_beside,
)
from edupulse_pipelines.ingest.kept_as_it_came import encrypted_copy
from edupulse_pipelines.progress import Progress
from edupulse_pipelines.schema.tables import RECORD_TABLES
from edupulse_pipelines.storage import manifest
from edupulse_pipelines.storage.turns import take_turn
from edupulse_pipelines.storage.work import Work
from edupulse_pipelines.whole_files import put_in_place

_State = tuple[int, int, int]


@dataclass
class AtRest:
    """The files of a district, or of the home, by what they are; `troubles`: what does not open, in words."""

    name: str
    encrypted: int = 0
    plain: int = 0
    troubles: list[str] = field(default_factory=list)


def at_rest(ring: KeyRing, raw_dir: Path, name: str, *, thorough: bool = False) -> AtRest:
    """What lies in the archive of a district, and whether its key opens it. `thorough`: every byte is read."""
    found = AtRest(name)
    try:
        if ring.path_of(name).exists():
            ring.key(name)
    except KeyUnusable as error:
        found.troubles.append(str(error))
    for path in _files(raw_dir / name) if name != HOME_KEY else ():
        if not is_encrypted(path):
            found.plain += 1
            continue
        found.encrypted += 1
        if found.troubles and not ring.is_on:
            continue
        try:
            _open(ring, path, thorough)
        except (KeyUnusable, EncryptedFileDamaged) as error:
            if str(error) not in found.troubles:
                found.troubles.append(str(error))
    return found


def districts_at_rest(ring: KeyRing, raw_dir: Path) -> list[str]:
    """The districts that have a key or an archive in the home."""
    folders = [path.name for path in raw_dir.iterdir() if path.is_dir()] if raw_dir.is_dir() else []
    return sorted({*folders, *ring.names()} - {HOME_KEY})


def encrypt_all(work: Work, raw_dir: Path, progress: Progress | None = None) -> Counter[str]:
    """Encrypt what lies plain in the district's archive; how many files, by kind.

    Each file is replaced as a whole and its hash restated then, so it may be stopped at any moment and said again.
    Loads and erasures take turns with it. KeyUnusable when the key cannot be had; `progress` hears of files done and
    files in all.
    """
    done: Counter[str] = Counter()
    with work.reading() as connection:
        every = archives(connection, work, raw_dir)
    kept = [*kept_files.refused_files(work.tenant, raw_dir), *kept_files.kept_bundles(work.tenant, raw_dir)]
    total = len(every) + len(kept)
    places: dict[_State, Path] = {}
    for number, archive in enumerate(every, start=1):
        done["archives"] += _encrypt_archive(work, archive, places)
        if progress is not None:
            progress(number, total)
    for number, path in enumerate(kept, start=len(every) + 1):
        done["kept files"] += _encrypt_kept(work, path)
        if progress is not None:
            progress(number, total)
    return done


def _encrypt_archive(work: Work, archive: Archive, places: dict[_State, Path]) -> bool:
    """Whether it was plain. `places`: where the archives lie encrypted that shared their bytes with others before."""
    state = _state(archive.path)
    if state is None:
        return False
    if is_encrypted(archive.path):
        _note_stopped(work, archive)
        return False
    shared = places.get(state)
    if shared is None:
        made = encrypt_archive(archive.path)
    else:
        made = temporary_beside(archive.path)
        share_archive(shared, made)
    if made is None:
        return False
    try:
        with work.writing() as connection:
            take_turn(connection, work, RECORD_TABLES)
            if _state(archive.path) != state:  # rewritten or removed meanwhile, by an erasure or a load
                return False
            made.replace(archive.path)
            if archive.entry is not None and archive.entry.archive_sha256 is not None:
                manifest.note_archive(connection, archive.entry, hash_of_archive(archive.path))
    finally:
        made.unlink(missing_ok=True)
    places[state] = archive.path
    return True


def _note_stopped(work: Work, archive: Archive) -> None:
    """Restate the hash of an archive that was encrypted by somebody who was stopped before the manifest knew."""
    if archive.entry is not None and is_encrypted_from(archive.path, archive.entry.archive_sha256):
        with work.writing() as connection:
            manifest.note_archive(connection, archive.entry, hash_of_archive(archive.path))


def _encrypt_kept(work: Work, path: Path) -> bool:
    state = _state(path)
    if state is None or is_encrypted(path) or path.suffix == ".tmp":
        return False
    made = encrypted_copy(path)
    if made is None:
        return False
    try:
        with work.writing() as connection:
            take_turn(connection, work, RECORD_TABLES)
            if _state(path) != state:
                return False
            put_in_place(made, path)
    finally:
        made.unlink(missing_ok=True)
    return True


def _open(ring: KeyRing, path: Path, thorough: bool) -> None:
    if path.suffix != ".parquet":
        with path.open("rb") as reader, Path(os.devnull).open("wb") as nowhere:
            decrypt_stream(reader, nowhere, ring, shown(path))
        return
    archive_schema_of(path)
    if thorough:
        with opened_archive(path) as archive:
            for _ in archive.iter_batches():
                pass


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix != ".tmp":
            yield path


def _state(path: Path) -> _State | None:
    try:
        state = path.stat()
    except FileNotFoundError:
        return None
    return state.st_ino, state.st_size, state.st_mtime_ns
