"""Who may read what is written under the home: its owner alone, or also the group that the settings name.

The umask of the process decides the mode of what is made from now on, by us and by every library we call; whatever
starts a process of ours calls `keep_private` first. What the umask cannot decide is set right afterwards: homes of
earlier releases, and what a library makes with modes of its own or another process (Dagster's web server) has made.

`landing/` is the senders' business: nothing here touches it, and the home lets them pass.
"""

from __future__ import annotations

import atexit
import grp
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edupulse_pipelines.errors import ConfigurationError
from edupulse_pipelines.settings import Settings

_ARCHIVE, _STORES = "raw", ("dagster", "mlflow", "logs")
"""Folders of the home that are ours alone. In the stores others make files too (see above), in the archive nobody."""
_watched: set[Path] = set()


def keep_private(settings: Settings, *, make: bool = False) -> None:
    """Have this process write for the home's owner alone (or the group), and close what lies open in the home.

    `make`: make the home when there is none. ConfigurationError for a group that this user cannot give files to.
    """
    group = _group(settings)
    os.umask(0o077 if group is None else 0o007)
    home = settings.home
    if make:
        missing = [folder for folder in home.parents if not folder.exists()]
        home.parent.mkdir(parents=True, exist_ok=True)
        for folder in missing:  # senders pass through them to the landing folder
            folder.chmod(0o711)
        with suppress(FileExistsError):
            home.mkdir()
            home.chmod(0o711)
    if not home.is_dir():
        return
    _let_pass(home, group)
    for path in home.glob("edupulse.db*"):
        _close(path, group)
    if _is_open(home / _ARCHIVE, group):
        _close_all(home / _ARCHIVE, group)
    _close_stores(home, group)
    if home not in _watched:
        _watched.add(home)
        atexit.register(_close_stores, home, group)


def homes_in_use() -> list[Path]:
    """The homes that this process keeps private."""
    return sorted(_watched)


@contextmanager
def as_senders_write() -> Iterator[None]:
    """For the block, others may read what is made: files that stand in for what a district's own system sends."""
    before = os.umask(0o022)
    try:
        yield
    finally:
        os.umask(before)


def _group(settings: Settings) -> int | None:
    name = settings.permissions.group
    if name is None:
        return None
    try:
        group = grp.getgrnam(name).gr_gid
    except KeyError:
        raise ConfigurationError(
            f"{settings.config_path}: [permissions] group: this machine knows no group {name!r}."
        ) from None
    if os.geteuid() != 0 and group not in {os.getegid(), *os.getgroups()}:
        raise ConfigurationError(
            f"{settings.config_path}: [permissions] group: this user is no member of {name!r}, so its files cannot "
            "belong to that group."
        )
    return group


def _let_pass(home: Path, group: int | None) -> None:
    """Others may go through the home to their landing folder, and not look around in it."""
    state = home.stat()
    mode = stat.S_IMODE(state.st_mode)
    if mode & stat.S_ISVTX or (group is None and not mode & 0o066):  # shared by many, or closed well enough
        return
    _set(home, state, 0o711 if group is None else 0o2771, group)


def _close_stores(home: Path, group: int | None) -> None:
    for name in _STORES:
        _close_all(home / name, group)


def _close_all(folder: Path, group: int | None) -> None:
    _close(folder, group)
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            _close(Path(parent, name), group)


def _is_open(path: Path, group: int | None) -> bool:
    """Whether a folder has another mode or group than it is to have."""
    try:
        state = path.lstat()
    except OSError:
        return False
    wrong_group = group is not None and state.st_gid != group
    return wrong_group or stat.S_IMODE(state.st_mode) != _wanted(state, group)


def _close(path: Path, group: int | None) -> None:
    try:
        state = path.lstat()
    except OSError:  # gone meanwhile
        return
    if stat.S_ISREG(state.st_mode) or stat.S_ISDIR(state.st_mode):
        _set(path, state, _wanted(state, group), group)


def _wanted(state: os.stat_result, group: int | None) -> int:
    if stat.S_ISDIR(state.st_mode):
        return 0o700 if group is None else 0o2770
    return 0o600 if group is None else 0o660


def _set(path: Path, state: os.stat_result, mode: int, group: int | None) -> None:
    """Give a file of this user mode and group; another user's is left alone, and so is one that has gone."""
    if state.st_uid != os.geteuid():
        return
    with suppress(FileNotFoundError, PermissionError):
        if group is not None and state.st_gid != group:
            os.chown(path, -1, group)
        elif stat.S_IMODE(state.st_mode) == mode:
            return
        path.chmod(mode)
