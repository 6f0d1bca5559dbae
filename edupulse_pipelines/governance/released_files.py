"""The folder that is given out: new, and each of its files for its owner alone.

What stands in the files is made by `inspection`, `research` and `aggregates`; that they were given, by `disclosures`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from edupulse_pipelines.encryption.files import encrypt_bytes
from edupulse_pipelines.encryption.keyring import DataKey
from edupulse_pipelines.errors import PermanentError


def check_empty(out: Path) -> None:
    """PermanentError for a folder that holds something, or is none."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise PermanentError(f"{out} is not an empty folder: name another one.")


@contextmanager
def written_files(out: Path, contents: Mapping[str, bytes], key: DataKey | None = None) -> Iterator[dict[str, str]]:
    """Write files (by their path below `out`) for their owner alone; the SHA-256 of each by its path.

    key: encrypts each, which then has `.age` behind its name; the hashes are of what is in them, which is what is given
    out.

    They stay when the block, which records that they were given, ends well; otherwise they are removed, with the
    folders that were made for them. PermanentError when they cannot be written.
    """
    hashes: dict[str, str] = {}
    with ExitStack() as made:
        try:
            for name, data in contents.items():
                path = out / (f"{name}.age" if key is not None else name)
                _make_folder(path.parent, made)
                with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
                    made.callback(path.unlink, missing_ok=True)
                    stream.write(data if key is None else encrypt_bytes(data, key))
                hashes[name] = hashlib.sha256(data).hexdigest()
        except OSError as error:
            raise PermanentError(f"{out} cannot be written: {error.strerror}.") from None
        yield hashes
        made.pop_all()


def _make_folder(folder: Path, made: ExitStack) -> None:
    """Make a folder and those above it that are missing; `made` removes them again, when they are empty then."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    for one in reversed(missing):
        one.mkdir(mode=0o700, exist_ok=True)
        made.callback(_remove_empty, one)


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()
