"""The small files of the data keys as backups keep them: `<backups>/keys/NAME.age`, beside the moments and in none.

One copy of each, so that another identity of the operator opens every moment (`keys rotate` writes them again), and a
district is unreadable once its file is gone here and in the home. What is encrypted with which key is in `encryption`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from edupulse_pipelines.encryption.keyring import (
    HOME_KEY,
    KEYS_FOLDER,
    RAW,
    DataKey,
    KeyRing,
    key_ring,
    read_data_key,
)
from edupulse_pipelines.errors import KeyUnusable
from edupulse_pipelines.settings import Settings
from edupulse_pipelines.whole_files import make_folder, write_new, write_whole

_TRIED = 5
"""So many encrypted files are tried before a key is called another one: one may be damaged."""


def keep_keys(settings: Settings) -> list[str]:
    """Copy the data keys of the home beside its moments, and have the home use the key that these need.

    A district's key that the home has lost, and that its archives need, is brought back from there. Which were, and
    which are gone for good, is said in the sentences that are given back. KeyUnusable, before anything else is changed,
    where the home or the copies have lost a key that is needed, or have another one.
    """
    ring = key_ring(settings)
    said: list[str] = []
    if ring.is_on:
        _take_home_key(settings, ring)
        said += _take_lost_keys(settings, ring)
    for name in ring.names():
        _keep(settings, ring, name)
    return said


def not_kept(settings: Settings) -> list[str]:
    """The names of the home's data keys that backups have no copy of yet."""
    ring = key_ring(settings)
    return sorted(set(ring.names()) - {copy.stem for copy in ring.copied()})


def bring_keys(settings: Settings, home: Path) -> None:
    """Write the data keys that backups keep into a restored home."""
    for copy in key_ring(settings).copied():
        target = home / KEYS_FOLDER / copy.name
        make_folder(target.parent, 0o770)
        write_new(target, copy.read_bytes(), mode=0o660)


def _take_lost_keys(settings: Settings, ring: KeyRing) -> Iterator[str]:
    """Bring back the keys of districts that are gone and needed; a sentence for each."""
    raw = settings.home / RAW
    names = [path.name for path in sorted(raw.iterdir()) if path.is_dir()] if raw.is_dir() else []
    for name in names:
        path = ring.path_of(name)
        if path.exists() or not ring.is_needed(name):
            continue
        if ring.copy_of(name) is None:
            yield (
                f"{path} is gone, here and beside the backups: the archives of {name} are in the moment as they are, "
                "and nobody can read them."
            )
            continue
        ring.bring_back(name)
        yield f"{path} was gone, and has been brought back from the backups."


def _take_home_key(settings: Settings, ring: KeyRing) -> None:
    needing = list(islice(_encrypted(settings), _TRIED))
    copy, ours = settings.backup_dir / KEYS_FOLDER / f"{HOME_KEY}.age", ring.path_of(HOME_KEY)
    if needing and not ours.exists() and not copy.exists():
        raise KeyUnusable(
            f"{ours} and {copy} are gone, and backups in {settings.backup_dir} are encrypted with this key: put one of "
            "them back. Where it is lost for good, name another [backup] folder: these backups cannot be read again."
        )
    key = ring.key_for_writing(HOME_KEY)
    assert key is not None
    if needing and not any(_opens(key, path) for path in needing):
        raise KeyUnusable(
            f"The backups in {settings.backup_dir} are encrypted with another key than {ours}: put the file of theirs "
            "there, or name another [backup] folder."
        )


def _encrypted(settings: Settings) -> list[Path]:
    """Manifests that are encrypted, newest first; without any, contents that are."""
    manifests = sorted((settings.backup_dir / "moments").glob("*.json.age"), reverse=True)
    return manifests or sorted(islice((settings.backup_dir / "files").glob("??/*.age"), _TRIED))


def _opens(key: DataKey, path: Path) -> bool:
    import pyrage

    try:
        with path.open("rb") as reader, Path(os.devnull).open("wb") as nowhere:
            pyrage.decrypt_io(reader, nowhere, [pyrage.x25519.Identity.from_str(key.identity)])
    except pyrage.DecryptError as error:
        return "No matching keys" not in str(error)
    except OSError:
        return True  # damaged behind its beginning, which this key opens
    return True


def _keep(settings: Settings, ring: KeyRing, name: str) -> None:
    """Copy a small file; KeyUnusable where the copy that is there holds another key."""
    ours, copy = ring.path_of(name), settings.backup_dir / KEYS_FOLDER / f"{name}.age"
    sealed = ours.read_bytes()
    if copy.exists():
        if not ring.is_on or copy.read_bytes() == sealed:
            return
        if read_data_key(copy, name, ring.identities(), ring.source).id != ring.key(name).id:
            raise KeyUnusable(
                f"{copy} holds another key than {ours}, and earlier moments need it: put it into the home. Where what "
                "it encrypts is not to be read again, take it away."
            )
    make_folder(copy.parent)
    write_whole(copy, sealed)
