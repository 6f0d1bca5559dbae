"""Landed files that are kept byte for byte beside the archive: refused ones, and the bundles that rows were made of.

Encrypted by age where the home has a key, under the name that they have in plain. Archives are in `archived_file`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edupulse_pipelines.encryption.files import decrypted_copy, encrypt_file, encrypt_stream
from edupulse_pipelines.encryption.keyring import DataKey, data_key_for_file
from edupulse_pipelines.ingest.archived_file import temporary_beside
from edupulse_pipelines.sources.landed_files import LandedFile
from edupulse_pipelines.whole_files import new_file, put_in_place, to_disk


def keep(file: LandedFile, target: Path) -> None:
    """Keep the bytes a landed file came as. KeyUnusable when they are to be encrypted and the key cannot be had."""
    target.parent.mkdir(parents=True, exist_ok=True)
    key = data_key_for_file(target)
    temporary = temporary_beside(target)
    try:
        with new_file(temporary, 0o666) as kept:
            if key is None:
                file.keep_in(kept)
            else:
                # In plain it has no name: nothing of it is left when the process is killed.
                with tempfile.TemporaryFile(dir=target.parent) as plain:
                    file.keep_in(plain)
                    plain.seek(0)
                    encrypt_stream(plain, kept, key)
            to_disk(kept)
        put_in_place(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def encrypt_kept(file: Path, target: Path) -> None:
    """Encrypt a file, in its place, that will lie at `target` in a raw archive; left as it is without a key."""
    key = data_key_for_file(target)
    if key is not None:
        _encrypt(file, file, key)


def encrypted_copy(path: Path) -> Path | None:
    """What a kept file is encrypted, under a temporary name beside it; None without a key."""
    key = data_key_for_file(path)
    if key is None:
        return None
    temporary = temporary_beside(path)
    _encrypt(path, temporary, key)
    return temporary


def _encrypt(source: Path, target: Path, key: DataKey) -> None:
    """Encrypted, it is for whom it was for in plain: a group of the machine may share the home."""
    mode = source.stat().st_mode & 0o777
    encrypt_file(source, target, key)
    target.chmod(mode)


@contextmanager
def readable_copy(path: Path) -> Iterator[Path]:
    """A path at which a kept file can be read in plain; a copy that this takes is removed in the end.

    KeyUnusable and EncryptedFileDamaged as `encryption.files` raises them.
    """
    with decrypted_copy(path, temporary_beside(path)) as copy:
        yield copy
