"""Parquet of the raw archive, plain or with Parquet's own modular encryption: columns are read one by one either way.

Each file has a random key of its own, which the district's key wraps; the file says which district's key that is.
Footer and every column are encrypted and authenticated (AES-GCM). What stands in the files is in `ingest`.
"""

from __future__ import annotations

import base64
import datetime as dt
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypedDict

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.parquet import encryption as modular

from edupulse_pipelines.encryption.files import shown
from edupulse_pipelines.encryption.keyring import PARQUET_ENCRYPTED, DataKey, data_key_for_file, key_of_path
from edupulse_pipelines.errors import EncryptedFileDamaged, KeyUnusable

_NONCE_BYTES = 12
_KEPT = dt.timedelta(seconds=0)


class ParquetOptions(TypedDict, total=False):
    """What `pq.ParquetWriter` is told besides; nothing where nothing is encrypted."""

    encryption_properties: object


class _Wrapping(modular.KmsClient):
    """Wraps the key of a file with a district's."""

    def __init__(self, key: DataKey, path: Path) -> None:
        super().__init__()
        self._key = key
        self._path = path

    def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> bytes:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = AESGCM(self._key.secret).encrypt(nonce, key_bytes, master_key_identifier.encode())
        return base64.b64encode(nonce + sealed)

    def unwrap_key(self, wrapped_key: bytes, master_key_identifier: str) -> bytes:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        if master_key_identifier != self._key.id:
            raise KeyUnusable(
                f"{shown(self._path)} is encrypted with another key than {self._key.path}: put the key file of its "
                "time there, or land the file's delivery again."
            )
        sealed = base64.b64decode(wrapped_key)
        try:
            return AESGCM(self._key.secret).decrypt(
                sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], master_key_identifier.encode()
            )
        except InvalidTag:
            raise _damaged(self._path) from None


def is_encrypted_archive(path: Path) -> bool:
    """Whether an archive is encrypted; OSError when it cannot be read."""
    with path.open("rb") as stream:
        return stream.read(len(PARQUET_ENCRYPTED)) == PARQUET_ENCRYPTED


def encryption_for(path: Path) -> ParquetOptions:
    """How the archive that will lie at `path` is to be written: encrypted when its home has a key.

    KeyUnusable when the key cannot be had, and for a home that has keys of which this process was told nothing.
    """
    key = data_key_for_file(path)
    if key is None:
        return {}
    factory = modular.CryptoFactory(lambda _config: _Wrapping(key, path))
    properties = factory.file_encryption_properties(
        modular.KmsConnectionConfig(),
        modular.EncryptionConfiguration(
            key.id,
            uniform_encryption=True,
            double_wrapping=False,
            data_key_length_bits=256,
            encryption_algorithm="AES_GCM_V1",
            cache_lifetime=_KEPT,
        ),
    )
    return {"encryption_properties": properties}


@contextmanager
def opened_archive(path: Path) -> Iterator[pq.ParquetFile]:
    """An archive, opened for reading row group by row group.

    Of an encrypted one: KeyUnusable without the right key, EncryptedFileDamaged when something in it was changed or
    cut off, also while it is read. Errors of a plain one are pyarrow's.
    """
    with _in_words(path), pq.ParquetFile(path, decryption_properties=_decryption(path)) as archive:
        yield archive


def archive_schema_of(path: Path) -> pa.Schema:
    """The schema of an archive, with what is said of the whole file. Raises as `opened_archive`."""
    with _in_words(path):
        return pq.read_schema(path, decryption_properties=_decryption(path))


def rows_in_archive(path: Path) -> int:
    """How many rows an archive has, by its own word. Raises as `opened_archive`."""
    with _in_words(path):
        return int(pq.read_metadata(path, decryption_properties=_decryption(path)).num_rows)


def _decryption(path: Path) -> object | None:
    if not is_encrypted_archive(path):
        return None
    place = key_of_path(path)
    if place is None or not place[0].is_on:
        raise KeyUnusable(
            f"{shown(path)} is encrypted, and no key is set: name the operator's in [encryption] key_file or "
            "EDUPULSE_KEY."
        )
    key = place[0].key(place[1])
    factory = modular.CryptoFactory(lambda _config: _Wrapping(key, path))
    return factory.file_decryption_properties(
        modular.KmsConnectionConfig(), modular.DecryptionConfiguration(cache_lifetime=_KEPT)
    )


@contextmanager
def _in_words(path: Path) -> Iterator[None]:
    """pyarrow's errors about an encrypted archive as one that names it."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        if getattr(error, "errno", None) is not None:  # the disk's own
            raise
        with path.open("rb") as stream:
            encrypted = stream.read(len(PARQUET_ENCRYPTED)) == PARQUET_ENCRYPTED
        if not encrypted:
            raise
        raise _damaged(path) from None


def _damaged(path: Path) -> EncryptedFileDamaged:
    return EncryptedFileDamaged(
        f"{shown(path)} is damaged or cut off: nothing of it was taken. Restore it from a backup, or land its delivery "
        "again under its date."
    )
