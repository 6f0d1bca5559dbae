"""The operator's identity: made anew, and replaced by another one. What it opens, the data keys, is in `keyring`.

Replacing it writes the small files of the data keys again and nothing else. It may be stopped at any moment: until it
has ended, both identities are at hand, and saying it again finishes it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edupulse_pipelines.encryption.keyring import (
    KeyRing,
    identities_in,
    open_data_key,
    seal_data_key,
)
from edupulse_pipelines.errors import ConfigurationError, KeyUnusable, PermanentError
from edupulse_pipelines.file_locks import only_one
from edupulse_pipelines.settings import ENCRYPTION_KEY
from edupulse_pipelines.whole_files import make_folder, write_new, write_whole

if TYPE_CHECKING:
    from pyrage import x25519

_UNDER_WAY = "# a rotation is under way: `edupulse keys rotate` finishes it"
RETIRED = ".retired"
"""Behind the name of a key file: the identities that it had before."""


@dataclass(frozen=True)
class Rotated:
    """What a rotation did: data keys written again, the new public key, and where old and new identity lie."""

    data_keys: int
    public_key: str
    key_file: Path
    retired: Path | None


def new_identity(ring: KeyRing, target: Path | None) -> tuple[Path, str]:
    """Write a new identity to a file for its owner alone; where it lies, and its public key.

    target: the file; by default the one that the settings name. ConfigurationError when none is named, PermanentError
    when the file is there, or the home has data keys that an earlier identity opens.
    """
    path = target or ring.key_file
    if path is None:
        raise ConfigurationError("Name the file to write in [encryption] key_file, or by --output.")
    if path == ring.key_file and ring.names():
        raise PermanentError(
            f"{ring.folder} holds keys that the identity of {path} was made for: restore that file. A new identity "
            "could not open them."
        )
    identity = _generate()
    _write_new(path, _text_of(identity))
    return path, str(identity.to_public())


def rotate(ring: KeyRing, target: Path | None = None) -> Rotated:
    """Encrypt every data key to a new identity, in the home and where its backups keep them.

    target: a file for it, which is made when it is not there; the settings then have to name it. By default the file of
    the settings holds the new identity from then on, and the old one goes to `<file>.retired`, for backups of before.
    KeyUnusable when a data key cannot be opened: then none has been changed.
    """
    with only_one(ring.folder / "rotation.lock"):
        if target is not None:
            return _rotate_to(ring, target)
        if ring.key_file is None:
            raise ConfigurationError(
                f"The identity is in {ENCRYPTION_KEY}: name a file for the new one by --to, and set {ENCRYPTION_KEY} "
                "to what it holds afterwards."
            )
        return _rotate_in_place(ring, ring.key_file)


def _rotate_to(ring: KeyRing, target: Path) -> Rotated:
    if target == ring.key_file:
        raise ConfigurationError(f"{target} is the file that the settings name: leave --to out.")
    old = ring.identities()
    if not target.exists():
        _write_new(target, _text_of(_generate()))
    new = identities_in(target.read_text(encoding="utf-8"), str(target))[0]
    written = _seal_again(ring, [new, *old], new)
    return Rotated(written, str(new.to_public()), target, None)


def _rotate_in_place(ring: KeyRing, key_file: Path) -> Rotated:
    identities = ring.identities()
    if _UNDER_WAY not in key_file.read_text(encoding="utf-8"):
        identities = [_generate(), *identities]
        _check_all_open(ring, identities)
        _replace(key_file, f"{_UNDER_WAY}\n" + "".join(map(_text_of, identities)))
    new, *old = identities
    written = _seal_again(ring, identities, new)
    retired = key_file.with_name(f"{key_file.name}{RETIRED}")
    before = retired.read_text(encoding="utf-8") if retired.exists() else ""
    _replace(retired, before + "".join(_text_of(one) for one in old if str(one) not in before))
    _replace(key_file, _text_of(new))
    written += _seal_again(ring, identities, new)  # a district's key that another process has made meanwhile
    return Rotated(written, str(new.to_public()), key_file, retired)


def _seal_again(ring: KeyRing, identities: list[x25519.Identity], new: x25519.Identity) -> int:
    """Write every data key, also those that backups keep, encrypted to `new`; how many of the home were not."""
    _check_all_open(ring, identities)
    written = 0
    for path in _small_files(ring):
        try:
            open_data_key(path, [new], "")
        except KeyUnusable:
            content = open_data_key(path, identities, ring.source)
            try:
                write_whole(path, seal_data_key(content, new), mode=0o660)
            except OSError as error:
                raise PermanentError(
                    f"{path} cannot be written ({error.strerror}): mend that, and say it again, which finishes it."
                ) from None
            written += path.parent == ring.folder
    return written


def _small_files(ring: KeyRing) -> list[Path]:
    return [*map(ring.path_of, ring.names()), *ring.copied()]


def _check_all_open(ring: KeyRing, identities: list[x25519.Identity]) -> None:
    for path in _small_files(ring):
        open_data_key(path, identities, ring.source)


def _generate() -> x25519.Identity:
    from pyrage import x25519

    return x25519.Identity.generate()


def _text_of(identity: x25519.Identity) -> str:
    """An identity as `age-keygen` writes it."""
    made = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    return f"# created: {made}\n# public key: {identity.to_public()}\n{identity}\n"


def _write_new(path: Path, text: str) -> None:
    try:
        make_folder(path.parent)
        written = write_new(path, text)
    except OSError as error:
        raise PermanentError(f"{path} cannot be written: {error.strerror}.") from None
    if not written:
        raise PermanentError(f"{path} is there already: it may be the key of something. Name another file.")


def _replace(path: Path, text: str) -> None:
    try:
        write_whole(path, text)
    except OSError as error:
        raise PermanentError(
            f"{path} cannot be written ({error.strerror}): write the new identity elsewhere, by --to."
        ) from None


def public_keys(identities: Iterable[x25519.Identity]) -> list[str]:
    """The public keys of identities, which may be shown."""
    return [str(one.to_public()) for one in identities]
