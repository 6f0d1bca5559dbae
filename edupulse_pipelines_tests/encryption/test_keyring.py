"""The operator's identity and the data keys: made once, told by what is wrong with them."""

from __future__ import annotations

import shutil
import stat
import threading
from pathlib import Path

import pytest

from edupulse_pipelines import whole_files
from edupulse_pipelines.encryption import keyring
from edupulse_pipelines.encryption.archives import encryption_for
from edupulse_pipelines.encryption.keyring import (
    HOME_KEY,
    KeyRing,
    data_key_for,
    data_key_for_file,
    key_ring,
    ring_of,
    use_keys,
)
from edupulse_pipelines.errors import ConfigurationError, KeyUnusable
from edupulse_pipelines.settings import load_settings
from edupulse_pipelines_tests.encryption.rings import home_with_key, identity, settings_at

_TOML = '[encryption]\nkey_file = "operator.key"\n[tenants.springfield]\ntimezone = "UTC"\nfirst_week = 2026-01-05\n'


def test_nothing_is_encrypted_without_a_key(tmp_path: Path) -> None:
    ring = use_keys(settings_at(tmp_path, None))
    assert not ring.is_on
    assert data_key_for(tmp_path, "springfield") is None
    assert not (tmp_path / "keys").exists()
    assert not ring_of(tmp_path / "elsewhere").is_on


def test_a_districts_key_is_made_once_and_is_its_own(tmp_path: Path) -> None:
    ring = home_with_key(tmp_path / "home")
    made = [ring.key_for_writing(name) for name in ("springfield", "shelbyville", HOME_KEY)]
    assert len({key.secret for key in made if key}) == len({key.identity for key in made if key}) == 3
    again = KeyRing(ring.home, ring.key_file)
    assert [again.key(name) for name in ("springfield", "shelbyville", HOME_KEY)] == made
    assert again.names() == ["_home", "shelbyville", "springfield"]
    assert stat.S_IMODE(ring.path_of("springfield").stat().st_mode) & 0o007 == 0
    assert made[0] is not None
    assert made[0].secret.hex() not in repr(made[0])
    assert made[0].secret.hex().encode() not in ring.path_of("springfield").read_bytes()


def test_a_key_is_on_the_disk_with_its_name_before_it_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ring = home_with_key(tmp_path / "home")
    synced: list[tuple[Path, list[str]]] = []

    def noted(folder: Path) -> None:
        synced.append((folder, sorted(path.name for path in folder.iterdir() if path.suffix != ".tmp")))

    monkeypatch.setattr(whole_files, "sync_folder", noted)
    monkeypatch.setattr(keyring, "sync_folder", noted)
    for name in ("springfield", "shelbyville"):
        ring.key_for_writing(name)
    assert synced == [
        (ring.home, ["keys"]),
        (ring.folder, ["springfield.age"]),
        (ring.folder, ["shelbyville.age", "springfield.age"]),
    ]
    KeyRing(ring.home, ring.key_file).key_for_writing("springfield")  # whoever made it may have been stopped in between
    assert len(synced) == 4


def test_a_home_is_the_same_by_whatever_path(tmp_path: Path) -> None:
    home = tmp_path / "disk" / "home"
    ring = home_with_key(home)
    (home / "raw" / "springfield").mkdir(parents=True)
    (tmp_path / "link").symlink_to(home)
    key = ring.key_for_writing("springfield")
    for spelled in (home, tmp_path / "link", tmp_path / "disk" / "x" / ".." / "home", home / "raw" / ".."):
        assert ring_of(spelled) is ring
        assert data_key_for_file(spelled / "raw" / "springfield" / "one.parquet") == key
        assert encryption_for(spelled / "raw" / "springfield" / "one.parquet")
    elsewhere = tmp_path / "larger"
    (home / "raw").rename(elsewhere)
    (home / "raw").symlink_to(elsewhere)
    for raw in (home / "raw", elsewhere):
        assert data_key_for_file(raw / "springfield" / "one.parquet") == key
    use_keys(settings_at(tmp_path / "link", ring.key_file))
    assert ring_of(home).home == tmp_path / "link"


def test_nothing_is_written_plain_into_a_home_that_has_keys(tmp_path: Path) -> None:
    """A copy under another name, a process that was not told of the home, or not of the operator's key."""
    ring = home_with_key(tmp_path / "home")
    ring.key_for_writing("springfield")
    shutil.copytree(ring.home, tmp_path / "copy")
    for name in ("springfield", "shelbyville"):
        with pytest.raises(KeyUnusable, match=r"copy is encrypted .* no key is set here"):
            encryption_for(tmp_path / "copy" / "raw" / name / "one.parquet")
        with pytest.raises(KeyUnusable, match="in plain"):
            data_key_for(tmp_path / "copy", name)
    use_keys(settings_at(ring.home, None))
    with pytest.raises(KeyUnusable, match="in plain"):
        data_key_for_file(ring.home / "raw" / "springfield" / "one.csv")
    assert encryption_for(tmp_path / "another" / "raw" / "springfield" / "one.parquet") == {}
    assert encryption_for(tmp_path / "one.parquet") == {}


def test_two_that_make_a_key_at_once_have_one(tmp_path: Path) -> None:
    ring = home_with_key(tmp_path / "home")
    made: list[bytes] = []

    def make() -> None:
        key = KeyRing(ring.home, ring.key_file).key_for_writing("springfield")
        assert key is not None
        made.append(key.secret)

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 8
    assert len(set(made)) == 1
    assert [path.name for path in ring.folder.iterdir()] == ["springfield.age"]


def test_the_settings_name_the_file_and_the_environment_goes_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "edupulse.toml").write_text(_TOML, encoding="utf-8")
    ring = key_ring(load_settings(home=tmp_path))
    assert ring.key_file == tmp_path / "operator.key"
    given = identity()
    monkeypatch.setenv("EDUPULSE_KEY", given)
    settings = load_settings(home=tmp_path)
    assert given not in repr(settings)
    ring = key_ring(settings)
    assert ring.source == "EDUPULSE_KEY"
    assert [str(one) for one in ring.identities()] == [given]


def test_an_unknown_key_in_the_table_is_wrong_usage(tmp_path: Path) -> None:
    (tmp_path / "edupulse.toml").write_text(_TOML.replace("key_file", "keyfile"), encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"\[encryption\] keyfile"):
        load_settings(home=tmp_path)


@pytest.mark.parametrize("text", ["", "# nothing\n", "password\n", "AGE-SECRET-KEY-1XYZ\n"])
def test_a_file_that_holds_no_identity(tmp_path: Path, text: str) -> None:
    (tmp_path / "operator.key").write_text(text, encoding="utf-8")
    with pytest.raises(KeyUnusable, match=r"operator\.key holds no age identity"):
        KeyRing(tmp_path, tmp_path / "operator.key").key_for_writing("springfield")
    assert not list(tmp_path.glob("keys/*"))


def test_comments_and_several_identities(tmp_path: Path) -> None:
    first, second = identity(), identity()
    (tmp_path / "operator.key").write_text(f"# created: today\n{first}\n\n{second.lower()}\n", encoding="utf-8")
    ring = KeyRing(tmp_path, tmp_path / "operator.key")
    assert [str(one) for one in ring.identities()] == [first, second]
    ring.key_for_writing("springfield")
    assert KeyRing(tmp_path, given=first).key("springfield") == ring.key("springfield")
    with pytest.raises(KeyUnusable):
        KeyRing(tmp_path, given=second).key("springfield")


def test_what_is_said_of_keys_that_do_not_open(tmp_path: Path) -> None:
    ring = home_with_key(tmp_path / "home")
    ring.key_for_writing("springfield")
    path = ring.path_of("springfield")
    with pytest.raises(KeyUnusable, match=r"springfield\.age is encrypted to another key than the one from EDU"):
        KeyRing(ring.home, given=identity()).key("springfield")
    with pytest.raises(KeyUnusable, match=r"No key is set: name the operator's in \[encryption\] key_file"):
        KeyRing(ring.home).key("springfield")
    with pytest.raises(KeyUnusable, match=r"gone\.key is not there"):
        KeyRing(ring.home, tmp_path / "gone.key").key("springfield")
    with pytest.raises(KeyUnusable, match=r"shelbyville\.age is gone"):
        ring.key("shelbyville")
    path.rename(ring.path_of("shelbyville"))
    with pytest.raises(KeyUnusable, match="holds the key of 'springfield'"):
        ring.key("shelbyville")
    ring.path_of("shelbyville").rename(path)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(KeyUnusable, match=r"springfield\.age is damaged: restore it"):
        ring.key("springfield")


def test_a_key_that_is_gone_is_not_made_anew_while_files_need_it(tmp_path: Path) -> None:
    ring = home_with_key(tmp_path / "home")
    kept = ring.home / "raw" / "springfield" / "grades" / "2026-01-05"
    kept.mkdir(parents=True)
    (kept / "plain.parquet").write_bytes(b"PAR1 as before")
    ring.key_for_writing("springfield")
    (kept / "grades.csv.abc.parquet").write_bytes(b"PARE and so on")
    ring.path_of("springfield").unlink()
    with pytest.raises(KeyUnusable, match=r"springfield\.age is gone, and files below .*raw/springfield need it"):
        ring.key_for_writing("springfield")
    (kept / "grades.csv.abc.parquet").unlink()
    assert ring.key_for_writing("springfield") is not None
