"""The folder that is given out: new, and each of its files for its owner alone.

What stands in the files is made by `inspection`, `research` and `aggregates`; that they were given, by `disclosures`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from edupulse_pipelines.errors import PermanentError


def check_empty(out: Path) -> None:
    """PermanentError for a folder that holds something, or is none."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise PermanentError(f"{out} is not an empty folder: name another one.")


def write_files(out: Path, contents: Mapping[str, bytes]) -> dict[str, str]:
    """Write files (by their path below `out`) for their owner alone; the SHA-256 of each by its path.

    PermanentError when they cannot be written.
    """
    hashes = {}
    try:
        for name, data in contents.items():
            path = out / name
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
                stream.write(data)
            hashes[name] = hashlib.sha256(data).hexdigest()
    except OSError as error:
        raise PermanentError(f"{out} cannot be written: {error.strerror}.") from None
    return hashes
