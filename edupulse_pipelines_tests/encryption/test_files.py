"""Files encrypted by age: there and back, and what is said of everything that does not open."""

from __future__ import annotations

import io
import os
import resource
import stat
from pathlib import Path

import pytest

from edupulse_pipelines.encryption.files import (
    decrypt_file,
    decrypt_stream,
    decrypted_copy,
    encrypt_bytes,
    encrypt_file,
    encrypt_stream,
    is_encrypted_file,
    plain_bytes,
)
from edupulse_pipelines.encryption.keyring import HOME_KEY, DataKey, KeyRing
from edupulse_pipelines.errors import EncryptedFileDamaged, KeyUnusable
from edupulse_pipelines_tests.encryption.rings import home_with_key

_CONTENT = os.urandom(300_000)


@pytest.fixture
def ring(tmp_path: Path) -> KeyRing:
    return home_with_key(tmp_path / "home")


def _key(ring: KeyRing, name: str = HOME_KEY) -> DataKey:
    key = ring.key_for_writing(name)
    assert key is not None
    return key


def _encrypted(ring: KeyRing, folder: Path) -> Path:
    plain, sealed = folder / "plain", folder / "sealed"
    plain.write_bytes(_CONTENT)
    encrypt_file(plain, sealed, _key(ring))
    return sealed


def test_a_file_comes_back_as_it_was_for_its_owner_alone(ring: KeyRing, tmp_path: Path) -> None:
    sealed = _encrypted(ring, tmp_path)
    assert is_encrypted_file(sealed)
    assert _CONTENT[:64] not in sealed.read_bytes()
    assert stat.S_IMODE(sealed.stat().st_mode) == 0o600
    decrypt_file(sealed, tmp_path / "back", ring)
    assert (tmp_path / "back").read_bytes() == _CONTENT
    assert stat.S_IMODE((tmp_path / "back").stat().st_mode) == 0o600
    encrypt_file(tmp_path / "back", tmp_path / "back", _key(ring))  # in its own place
    assert is_encrypted_file(tmp_path / "back")


@pytest.mark.parametrize("place", [30, 2_000, 299_990])
def test_a_flipped_byte_leaves_no_file(ring: KeyRing, tmp_path: Path, place: int) -> None:
    sealed = _encrypted(ring, tmp_path)
    content = bytearray(sealed.read_bytes())
    content[place] ^= 1
    sealed.write_bytes(content)
    with pytest.raises((EncryptedFileDamaged, KeyUnusable), match=r"sealed is .*[Rr]estore") as raised:
        decrypt_file(sealed, tmp_path / "back", ring)
    assert not (tmp_path / "back").exists()
    if place > 200:  # behind what is encrypted to the key
        assert raised.type is EncryptedFileDamaged
    assert not list(tmp_path.glob("*.tmp"))


@pytest.mark.parametrize("size", [10, 60, 150_000, 65_536 * 2 + 232])
def test_a_truncated_file_leaves_no_file(ring: KeyRing, tmp_path: Path, size: int) -> None:
    sealed = _encrypted(ring, tmp_path)
    sealed.write_bytes(sealed.read_bytes()[:size])
    with pytest.raises(EncryptedFileDamaged, match="sealed is damaged or cut off"):
        decrypt_file(sealed, tmp_path / "back", ring)
    assert not (tmp_path / "back").exists()


def test_a_foreign_file_names_the_folder_of_the_keys(ring: KeyRing, tmp_path: Path) -> None:
    sealed = _encrypted(home_with_key(tmp_path / "another"), tmp_path)
    with pytest.raises(KeyUnusable, match=r"sealed is encrypted with another key than those in .*home/keys"):
        decrypt_file(sealed, tmp_path / "back", ring)


def test_a_file_that_was_encrypted_to_the_operator_by_hand_opens(ring: KeyRing, tmp_path: Path) -> None:
    import pyrage

    given = pyrage.encrypt(b"by hand", [ring.identities()[0].to_public()])
    written = io.BytesIO()
    decrypt_stream(io.BytesIO(given), written, ring, "it")
    assert written.getvalue() == b"by hand"


def test_errors_of_the_disk_stay_what_they_are(ring: KeyRing) -> None:
    class Full(io.BytesIO):
        def write(self, _data: object) -> int:
            raise OSError(28, "No space left on device")

    sealed = encrypt_bytes(_CONTENT, _key(ring))
    with pytest.raises(OSError, match="No space") as raised:
        decrypt_stream(io.BytesIO(sealed), Full(), ring, "it")
    assert raised.value.errno == 28
    with pytest.raises(OSError, match="No space"):
        encrypt_stream(io.BytesIO(_CONTENT), Full(), _key(ring))


def test_a_file_of_the_archive_is_opened_by_its_districts_key_alone(ring: KeyRing, tmp_path: Path) -> None:
    folder = ring.home / "raw" / "springfield" / "originals" / "2026-01-05"
    folder.mkdir(parents=True)
    (folder / "a.zip").write_bytes(encrypt_bytes(b"ours", _key(ring, "springfield")))
    (folder / "b.zip").write_bytes(encrypt_bytes(b"theirs", _key(ring, "shelbyville")))
    (folder / "c.zip").write_bytes(b"plain")
    assert plain_bytes(folder / "a.zip") == b"ours"
    assert plain_bytes(folder / "c.zip") == b"plain"
    with pytest.raises(KeyUnusable):
        plain_bytes(folder / "b.zip")
    with decrypted_copy(folder / "a.zip", folder / "copy.tmp") as copy:
        assert copy.read_bytes() == b"ours"
    assert not (folder / "copy.tmp").exists()
    with decrypted_copy(folder / "c.zip", folder / "copy.tmp") as copy:
        assert copy == folder / "c.zip"


def test_a_name_that_a_sender_chose_is_not_told(ring: KeyRing, tmp_path: Path) -> None:
    sealed = tmp_path / "Jane Doe.abcdef.refused"
    sealed.write_bytes(encrypt_bytes(b"x" * 100, _key(ring))[:-5])
    with pytest.raises(EncryptedFileDamaged) as raised:
        decrypt_file(sealed, tmp_path / "back", ring)
    assert "Jane" not in str(raised.value)
    assert ".abcdef.refused" in str(raised.value)


def test_memory_stays_flat(ring: KeyRing, tmp_path: Path) -> None:
    plain = tmp_path / "large"
    with plain.open("wb") as stream:
        stream.truncate(96 << 20)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    encrypt_file(plain, tmp_path / "sealed", _key(ring))
    decrypt_file(tmp_path / "sealed", tmp_path / "back", ring)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert (tmp_path / "back").stat().st_size == 96 << 20
    assert grown < 40 << 10  # KiB
