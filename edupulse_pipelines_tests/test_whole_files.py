"""Files that are there as a whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from edupulse_pipelines.whole_files import make_folder, write_new, write_whole, written_whole

Steps = list[str]


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    """What is asked of the disk, in its order: what is synced, what gets its name."""
    found: Steps = []

    def noted(name: str, does: Callable[..., object], of: Callable[..., str]) -> Callable[..., object]:
        def call(*arguments: object) -> object:
            found.append(f"{name} {of(*arguments)}")
            return does(*arguments)

        return call

    def what(descriptor: int) -> str:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        return "folder" if path.is_dir() else "file"

    monkeypatch.setattr(os, "fsync", noted("sync", os.fsync, what))
    monkeypatch.setattr(Path, "replace", noted("name", Path.replace, lambda _, path: path.name))
    monkeypatch.setattr(os, "link", noted("name", os.link, lambda _, path: path.name))
    return found


def test_a_file_gets_its_name_when_it_is_on_the_disk(tmp_path: Path, steps: Steps) -> None:
    path = tmp_path / "kept"
    path.write_text("before")
    write_whole(path, "after")
    assert path.read_text() == "after"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert steps == ["sync file", "name kept", "sync folder"]
    assert list(tmp_path.iterdir()) == [path]


def test_what_stops_in_the_middle_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    path.write_text("before")
    with pytest.raises(OSError, match="full"), written_whole(path) as stream:
        stream.write(b"af")
        stream.flush()
        raise OSError(errno.ENOSPC, "full")
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("links", [True, False])
def test_a_new_file_replaces_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: Steps, links: bool) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    if not links:
        monkeypatch.setattr(os, "link", none)
    path = tmp_path / "key"
    assert write_new(path, b"first")
    assert steps == ["sync file", "name key", "sync folder"]
    assert not write_new(path, b"second")
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


def test_names_may_be_as_long_as_the_disk_takes(tmp_path: Path) -> None:
    write_whole(tmp_path / ("n" * 255), "all")
    assert (tmp_path / ("n" * 255)).read_text() == "all"


def test_a_new_folder_is_on_the_disk_too(tmp_path: Path, steps: Steps) -> None:
    make_folder(tmp_path / "one" / "two")
    assert stat.S_IMODE((tmp_path / "one" / "two").stat().st_mode) == 0o700
    assert steps == ["sync folder", "sync folder"]
    make_folder(tmp_path / "one" / "two")
    assert len(steps) == 2
