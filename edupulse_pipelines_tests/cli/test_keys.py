"""`edupulse keys`, as it is typed, and every command that the runbook "Rotate keys" tells people to type."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from edupulse_pipelines.encryption import operators_key
from edupulse_pipelines.encryption.keyring import KeyRing, is_encrypted
from edupulse_pipelines_tests.cli.house import House
from edupulse_pipelines_tests.encryption.rings import identity

PAGE = Path(__file__).parents[2] / "docs" / "operating.md"


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> House:
    """On SQLite: nothing here depends on the database."""
    from edupulse_pipelines.storage.engine import create_engine

    path = tmp_path / "home" / "edupulse.db"
    path.parent.mkdir()
    path.write_bytes(Path(request.getfixturevalue("_sqlite_template")).read_bytes())
    engine: sa.Engine = create_engine(f"sqlite:///{path}")
    request.addfinalizer(engine.dispose)
    return House(path.parent, f"sqlite:///{path}", engine, monkeypatch)


def name_key_file(house: House) -> Path:
    with (house.home / "edupulse.toml").open("a", encoding="utf-8") as stream:
        stream.write('\n[encryption]\nkey_file = "../operator.key"\n')
    return house.home.parent / "operator.key"


def archives(house: House) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in house.home.rglob("*.parquet")}


def commands() -> list[list[str]]:
    """The commands of the runbook, in order, without `edupulse`."""
    text = PAGE.read_text(encoding="utf-8").partition("\n## Rotate keys\n")[2].partition("\n## ")[0]
    lines = [line for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    inline = re.findall(r"`(edupulse keys [^`]*--[^`]*)`", text)
    return [shlex.split(line, comments=True)[1:] for line in [*lines, *inline] if line.startswith("edupulse ")]


def test_every_command_of_the_runbook(house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    key_file = name_key_file(house)
    asked = commands()
    assert [words[1] for words in asked] == ["new", "apply", "check", "check", "rotate", "check", "create", "rotate"]
    identities = set()
    for words in asked:
        house(*words)
        identities.add(key_file.read_text(encoding="utf-8"))
    assert len(identities) == 2
    assert all(is_encrypted(path) for path in archives(house))
    assert "AGE-SECRET-KEY-1" in (tmp_path / "operator.key.retired").read_text(encoding="utf-8")
    # The last one wrote the new key to a file of its own, and the settings are to name that from now on.
    said = house("keys", "check", code=1)
    assert "north.age is encrypted to another key than the one from" in said.output
    monkeypatch.setenv("EDUPULSE_KEY", (tmp_path / "operator-new.key").read_text(encoding="utf-8"))
    house("keys", "check", "--thorough")
    house.district.land(2, attendance_records="district_id,date,status\n1001,2025-09-09,present\n")
    house.district.run("attendance_records")
    assert all(is_encrypted(path) for path in archives(house))


def test_rotation_writes_the_small_files_and_nothing_else(house: House) -> None:
    key_file = name_key_file(house)
    house("keys", "new")
    house("keys", "apply")
    before = archives(house)
    small = {path: path.read_bytes() for path in (house.home / "keys").glob("*.age")}
    old = key_file.read_text(encoding="utf-8").split()[-1]
    done = json.loads(house("keys", "rotate", "--json").stdout)
    assert done["data_keys"] == len(small) == 1
    assert archives(house) == before
    assert all(path.read_bytes() != content for path, content in small.items())
    assert old not in key_file.read_text(encoding="utf-8")
    assert old in Path(done["retired"]).read_text(encoding="utf-8")
    assert (key_file.stat().st_mode & 0o777, Path(done["retired"]).stat().st_mode & 0o777) == (0o600, 0o600)
    counts = json.loads(house("keys", "check", "--json").stdout)
    assert counts["files"] == {"north": {"encrypted": len(before), "plain": 0}}
    assert counts["troubles"] == []


@pytest.mark.parametrize("step", range(1, 6))
def test_a_rotation_that_is_stopped_is_finished_by_saying_it_again(
    house: House, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    name_key_file(house)
    house("keys", "new")
    house("keys", "apply")
    before = archives(house)
    write, calls = operators_key.write_whole, []

    def stopped(path: Path, content: bytes | str, *, mode: int = 0o600) -> None:
        calls.append(path)
        if len(calls) == step:
            raise RuntimeError
        write(path, content, mode=mode)

    with monkeypatch.context() as patched:
        patched.setattr(operators_key, "write_whole", stopped)
        house("keys", "rotate", code=1 if step <= 4 else 0)
    house("keys", "check", "--thorough")  # nothing is closed meanwhile
    house("keys", "rotate")
    house("keys", "check", "--thorough")
    assert archives(house) == before


def test_new_replaces_no_key(house: House, tmp_path: Path) -> None:
    assert "Name the file to write" in house("keys", "new", code=2).output
    key_file = name_key_file(house)
    said = " ".join(house("keys", "check", code=1).output.split())
    assert f"The key file {key_file} is not there: `edupulse keys new` makes it. If it was made once" in said
    house("keys", "new")
    text = key_file.read_text(encoding="utf-8")
    assert "operator.key is there already" in house("keys", "new", code=1).output
    house("keys", "apply")
    key_file.unlink()
    assert "restore that file" in house("keys", "new", code=1).output.replace("\n", " ")
    assert "operator.key is not there" in house("keys", "apply", code=1).output.replace("\n", " ")
    assert "operator.key is not there" in house("keys", "check", code=1).output.replace("\n", " ")
    key_file.write_text(text, encoding="utf-8")
    house("keys", "check")
    done = json.loads(house("keys", "new", "--output", str(tmp_path / "another.key"), "--json").stdout)
    assert done["public_key"].startswith("age1")


def test_without_a_key_nothing_is_applied(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Nothing is encrypted: no key is set" in house("keys", "apply", code=2).output
    assert json.loads(house("keys", "check", "--json").stdout)["on"] is False
    monkeypatch.setenv("EDUPULSE_KEY", identity())
    house("keys", "apply")
    assert "name a file for the new one by --to" in house("keys", "rotate", code=2).output.replace("\n", " ")
    monkeypatch.delenv("EDUPULSE_KEY")
    assert "is encrypted to another key" not in house("keys", "check", code=1).output
    assert "No key is set" in house("keys", "check", code=1).output


def test_open_writes_in_plain_what_was_given_out(house: House, tmp_path: Path) -> None:
    name_key_file(house)
    house("keys", "new")
    said = house(
        "privacy", "inspect", "1001", "--out", str(tmp_path / "sealed"), "--recipient", "them", "--purpose", "asked",
        "--legal-basis", "FERPA",
    )  # fmt: skip
    assert "keys open" in said.output
    assert (tmp_path / "sealed" / "index.html.age").is_file()
    house("keys", "open", str(tmp_path / "sealed"), "--output", str(tmp_path / "plain"))
    assert "Ann" in (tmp_path / "plain" / "index.html").read_text(encoding="utf-8")
    assert (tmp_path / "plain" / "index.html").stat().st_mode & 0o777 == 0o600
    house("keys", "open", str(tmp_path / "sealed" / "index.html.age"), "--output", str(tmp_path / "one.html"))
    again = house("keys", "open", str(tmp_path / "sealed"), "--output", str(tmp_path / "plain"), code=1)
    assert "is there already" in again.output
    nothing = house("keys", "open", str(tmp_path / "one.html"), "--output", str(tmp_path / "x"), code=1)
    assert "holds nothing that is encrypted" in nothing.output.replace("\n", " ")


def test_a_rotation_that_cannot_open_a_key_changes_none(house: House) -> None:
    key_file = name_key_file(house)
    house("keys", "new")
    house("keys", "apply")
    foreign = KeyRing(house.home, given=identity())
    foreign.key_for_writing("south")
    before = key_file.read_bytes(), (house.home / "keys" / "north.age").read_bytes()
    assert "south.age is encrypted to another key" in house("keys", "rotate", code=1).output
    assert (key_file.read_bytes(), (house.home / "keys" / "north.age").read_bytes()) == before


def test_a_full_disk_leaves_every_file_plain_or_encrypted_and_apply_goes_on(
    house: House, small_disk: Callable[[int], Path]
) -> None:
    """The raw archive lies on a disk that has room for a part of it, and the backups on another one."""
    house("backup", "create")
    disk = small_disk(20_000)
    for name in ("raw", "backups"):
        folder = (house.home / name).rename(house.home / "aside")
        shutil.copytree(folder, disk / name)
        (house.home / name).symlink_to(disk / name)
        shutil.rmtree(folder)
    name_key_file(house)
    house("keys", "new")
    plain = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in disk.rglob("*.parquet")}
    used = shutil.disk_usage(disk).used >> 10
    for room in (0, 8):
        small_disk(used + room)
        said = " ".join(house("keys", "apply", code=1).output.split())
        named = re.search(r"No space is left on the disk of (\S+)\. Free some and run again", said)
        assert named is not None, said
        assert Path(named[1]).resolve().is_relative_to(disk)  # and not of the home, which is elsewhere
        for path, digest in plain.items():
            assert is_encrypted(path) or hashlib.sha256(path.read_bytes()).hexdigest() == digest
        assert not list(disk.rglob("*.tmp"))
    small_disk(20_000)
    house("keys", "apply")
    house("keys", "check", "--thorough")
    assert all(is_encrypted(path) for path in plain)
    house("backup", "verify")
