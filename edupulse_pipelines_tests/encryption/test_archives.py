"""Parquet with modular encryption: written and read as plain is, and told apart from it by its first bytes."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from edupulse_pipelines.encryption.archives import (
    archive_schema_of,
    encryption_for,
    is_encrypted_archive,
    opened_archive,
    rows_in_archive,
)
from edupulse_pipelines.encryption.keyring import KeyRing, use_keys
from edupulse_pipelines.errors import EncryptedFileDamaged, KeyUnusable
from edupulse_pipelines_tests.encryption.rings import home_with_key, identity, settings_at

_ROWS = pa.table({"_line": list(range(5_000)), "name": [f"secret {row % 700}" for row in range(5_000)]})


@pytest.fixture
def ring(tmp_path: Path) -> KeyRing:
    return home_with_key(tmp_path / "home")


def _written(home: Path, name: str = "grades.csv.0123456789abcdef.parquet") -> Path:
    path = home / "raw" / "springfield" / "grades" / "2026-01-05" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        path.open("wb") as stream,
        pq.ParquetWriter(stream, _ROWS.schema, store_schema=False, **encryption_for(path)) as writer,
    ):
        for begin in range(0, len(_ROWS), 1_000):
            writer.write_table(_ROWS.slice(begin, 1_000))
        writer.add_key_value_metadata({"edupulse.sha256": '"secret hash"'})
    return path


def test_plain_and_encrypted_are_read_side_by_side(ring: KeyRing) -> None:
    use_keys(settings_at(ring.home, None))
    plain = _written(ring.home, "plain.parquet")  # there before there was a key
    use_keys(settings_at(ring.home, ring.key_file))
    sealed = _written(ring.home)
    assert (is_encrypted_archive(sealed), is_encrypted_archive(plain)) == (True, False)
    assert b"secret" not in sealed.read_bytes()
    for path in (sealed, plain):
        assert rows_in_archive(path) == 5_000
        assert archive_schema_of(path).metadata == {b"edupulse.sha256": b'"secret hash"'}
        with opened_archive(path) as archive:
            assert archive.num_row_groups == 5
            assert archive.metadata.row_group(1).column(0).statistics.min == 1_000
            assert archive.read_row_group(3, columns=["_line"])["_line"].to_pylist() == list(range(3_000, 4_000))
            assert archive.read().equals(_ROWS)


def test_two_files_have_two_keys(ring: KeyRing) -> None:
    assert _written(ring.home).read_bytes()[4:400] != _written(ring.home, "again.parquet").read_bytes()[4:400]


@pytest.mark.parametrize("place", [100, 0.5, -60, -3])
def test_a_flipped_byte_is_told(ring: KeyRing, place: float) -> None:
    path = _written(ring.home)
    content = bytearray(path.read_bytes())
    content[int(len(content) * place) if place == 0.5 else int(place)] ^= 1
    path.write_bytes(content)
    with (
        pytest.raises(EncryptedFileDamaged, match=r"0123456789abcdef\.parquet is damaged or cut off"),
        opened_archive(path) as archive,
    ):
        archive.read()


@pytest.mark.parametrize("cut", [4, 10, 2_000])
def test_a_truncated_file_is_told(ring: KeyRing, cut: int) -> None:
    path = _written(ring.home)
    path.write_bytes(path.read_bytes()[:-cut])
    for look in (archive_schema_of, rows_in_archive):
        with pytest.raises(EncryptedFileDamaged, match="is damaged or cut off"):
            look(path)


def test_without_the_key_and_with_another_one(ring: KeyRing, tmp_path: Path) -> None:
    path = _written(ring.home)
    use_keys(settings_at(ring.home, None))
    with pytest.raises(KeyUnusable, match=r"parquet is encrypted, and no key is set: name the operator's in"):
        archive_schema_of(path)
    another = tmp_path / "another.key"
    another.write_text(identity(), encoding="utf-8")
    use_keys(settings_at(ring.home, another))
    with pytest.raises(KeyUnusable, match=r"springfield\.age is encrypted to another key"):
        archive_schema_of(path)
    use_keys(settings_at(ring.home, ring.key_file))
    ring.path_of("springfield").unlink()
    with pytest.raises(KeyUnusable, match=r"springfield\.age is gone"):
        archive_schema_of(path)


def test_the_key_of_another_time_is_told_apart_from_damage(ring: KeyRing) -> None:
    path = _written(ring.home)
    ring.path_of("springfield").unlink()
    path.rename(ring.home / "aside")
    assert ring.key_for_writing("springfield") is not None
    (ring.home / "aside").rename(path)
    with pytest.raises(KeyUnusable, match=r"encrypted with another key than .*springfield\.age"):
        rows_in_archive(path)


def test_errors_of_others_in_the_block_stay_what_they_are(ring: KeyRing) -> None:
    path = _written(ring.home)
    with pytest.raises(OSError, match="full") as raised, opened_archive(path):
        raise OSError(28, "full")
    assert raised.value.errno == 28


def test_a_file_outside_of_a_home_is_plain(tmp_path: Path) -> None:
    assert encryption_for(tmp_path / "x.parquet") == {}
