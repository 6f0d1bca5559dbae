"""The folder that a drill works in: one drill at a time, and nothing of it stays, also after a kill.

It holds children's data for as long as the drill lasts: mode 700, and a server in it is reached by a socket in it and
by nothing else. A file in it, `MARK`, says that a drill made it; a folder without that mark is never removed.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from edupulse_pipelines.errors import ConfigurationError, DatabaseBusy, DatabaseUnavailable, PermanentError
from edupulse_pipelines.file_locks import if_free
from edupulse_pipelines.operations.postgresql_server import LONGEST_SOCKET_PATH, FolderServer, Programs, hand_over
from edupulse_pipelines.settings import Settings
from edupulse_pipelines.storage.database import Database

MARK = "edupulse-drill.json"
_OF_THE_DISK = "lost+found"
"""What a file system has in its first folder; a disk of its own may be mounted for drills."""
_PORT = 5432
_ELSEWHERE = "edupulse-drill-"
_POLL_SECONDS = 0.2
_NOT_OF_THE_PRIMARY: Mapping[str, str] = {
    # It must not send, fetch or wait for anything that the primary does, nor load what the primary loads.
    "archive_mode": "off",
    "archive_command": "",
    "archive_library": "",
    "archive_cleanup_command": "",
    "recovery_end_command": "",
    "primary_conninfo": "",
    "primary_slot_name": "",
    "synchronous_standby_names": "",
    "max_logical_replication_workers": "0",
    "shared_preload_libraries": "",
    "session_preload_libraries": "",
    "local_preload_libraries": "",
    "ssl": "off",
    "external_pid_file": "",
    # It answers when its recovery has ended, and not before; so it needs no room for what runs on the primary.
    "hot_standby": "off",
    "recovery_target_action": "promote",
    # Small, and its log quotes no row.
    "shared_buffers": "128MB",
    "huge_pages": "off",
    "max_connections": "20",
    "autovacuum": "off",
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "logging_collector": "off",
    "log_destination": "stderr",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_statement": "none",
    "log_min_duration_statement": "-1",
    "lc_messages": "C",
}
_RECOVERY_LINE = re.compile(r"^\s*(restore_command|recovery_target\w*)\s*=?\s*(.*)$")


class RecoveryEnded(PermanentError):
    """A restored server has ended before its recovery had; the message quotes why."""


@dataclass(frozen=True)
class Scratch:
    """A scratch folder that is ours; each restored copy lies in a folder of its own below it."""

    folder: Path

    def copy(self, name: str) -> Path:
        """The folder of a restored copy, which is not there yet."""
        return self.folder / name

    def remove(self, name: str) -> None:
        """Take a restored copy away; its server has to be stopped."""
        _remove(self.folder / name)

    @property
    def free_bytes(self) -> int:
        """The room that is left on its disk."""
        return shutil.disk_usage(self.folder).free


@contextmanager
def only_drill(settings: Settings) -> Iterator[Scratch]:
    """The scratch folder for the length of the block, empty at its beginning; at its end gone, or empty as it was.

    What an earlier drill left behind is taken away first. DatabaseBusy while another drill is under way,
    ConfigurationError for a folder that holds something else, or that cannot be written to.
    """
    with _locked(settings):
        folder = settings.drill_dir
        _clean(folder)
        mark = {"process": os.getpid(), "begun": time.time(), "was_there": folder.exists()}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o700)
            (folder / MARK).write_text(json.dumps(mark), encoding="utf-8")
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise ConfigurationError(
                f"{folder} cannot be used for a drill ({error.strerror}): [drill] folder."
            ) from None
        try:
            yield Scratch(folder)
        finally:
            _clean(folder)


def clean(settings: Settings) -> bool:
    """Take away what a drill left behind that was killed; whether there was anything. Errors as `only_drill`."""
    with _locked(settings):
        return _clean(settings.drill_dir)


def is_left(settings: Settings) -> bool:
    """Whether a drill is under way, or has left a restored copy behind."""
    return (settings.drill_dir / MARK).exists()


@contextmanager
def _locked(settings: Settings) -> Iterator[None]:
    with if_free(settings.home / "drill.lock") as alone:
        if not alone:
            begun = ""
            with suppress(OSError, ValueError, KeyError):
                noted = json.loads((settings.drill_dir / MARK).read_text(encoding="utf-8"))
                begun = f" (process {noted['process']}, for {(time.time() - noted['begun']) / 60:.0f} minutes)"
            raise DatabaseBusy(f"Another drill is under way{begun}: two at once would share a folder. Try again.")
        yield


def _clean(folder: Path) -> bool:
    if not folder.exists():
        return False
    names = {path.name for path in folder.iterdir()} - {_OF_THE_DISK}
    was_there = not names
    with suppress(OSError, ValueError, AttributeError):
        was_there = bool(json.loads((folder / MARK).read_text(encoding="utf-8")).get("was_there"))
    if names and MARK not in names:
        raise ConfigurationError(
            f"{folder} is not empty and no drill made it (there is no {MARK} in it): nothing was removed. Name another "
            "folder in [drill] folder."
        )
    for data in folder.glob("*/data"):
        _stop(data)
    for link in folder.glob("*/socket"):
        if link.is_symlink() and link.resolve().name.startswith(_ELSEWHERE):  # a socket that did not fit in here
            shutil.rmtree(link.resolve(), ignore_errors=True)
    # The mark goes last: what a kill leaves of the folder is still known as ours.
    for path in sorted(folder.iterdir(), key=lambda path: path.name == MARK):
        if path.name != _OF_THE_DISK:
            _remove(path)
    if not was_there:
        with suppress(OSError):  # empty it is; that it stays is no harm
            folder.rmdir()
    return bool(names)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _stop(data: Path) -> None:
    """End a server that an earlier drill left running over the folder, and nobody else's process of that number."""
    try:
        process = int((data / "postmaster.pid").read_text(encoding="utf-8").split("\n", 1)[0])
        if not Path(f"/proc/{process}/cwd").resolve().samefile(data):
            return
        os.kill(process, 3)  # SIGQUIT: at once; nothing of it is kept
        for _ in range(300):
            os.kill(process, 0)
            time.sleep(0.1)
    except (OSError, ValueError):
        return


# The server over a restored copy


class RestoredServer:
    """A server over a restored copy that nobody else reaches, and that does nothing of what its primary does."""

    def __init__(self, scratch: Scratch, name: str, programs: Programs, database: str, user: str) -> None:
        folder = scratch.folder / name
        self.data = folder / "data"
        self._folder, self._database, self._user = folder, database, user
        socket = folder / "socket"
        if len(os.fsencode(socket / f".s.PGSQL.{_PORT}")) > LONGEST_SOCKET_PATH:
            # Too deep for a socket: it gets a folder elsewhere, which the scratch folder remembers.
            elsewhere = Path(tempfile.mkdtemp(prefix=_ELSEWHERE))
            folder.mkdir(parents=True, exist_ok=True)
            socket.symlink_to(elsewhere)
            socket = elsewhere
        settings = {
            **_NOT_OF_THE_PRIMARY,
            "config_file": str(folder / "postgresql.conf"),
            "hba_file": str(folder / "pg_hba.conf"),
            "ident_file": str(folder / "pg_ident.conf"),
        }
        if programs.major >= 17:
            settings |= {"summarize_wal": "off", "sync_replication_slots": "off"}
        log = folder / "server.log"
        self.server = FolderServer(programs, self.data, socket, port=_PORT, settings=settings, log=log)

    def start(self) -> None:
        """Give the copy to the server's user, and start it; it replays, and answers when it has ended that."""
        (self._folder / "pg_hba.conf").write_text("local all all trust\n", encoding="utf-8")
        (self._folder / "pg_ident.conf").write_text("", encoding="utf-8")
        (self._folder / "postgresql.conf").write_text(self._recovery_lines(), encoding="utf-8")
        self._folder.chmod(0o700)
        self.data.chmod(0o700)
        name = self.server.run_as()
        hand_over(self._folder.parent, name, below=False)  # its user has to get through, and nobody else
        hand_over(self._folder, name)
        self.server.start()

    def _recovery_lines(self) -> str:
        """Of the copy's own configuration what says how far to replay; `postgresql.auto.conf` is read in any case."""
        path = self.data / "postgresql.conf"
        if not path.exists():
            return ""
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        return "".join(f"{line}\n" for line in lines if _RECOVERY_LINE.match(line))

    def wait_until_recovered(self, hours: float) -> None:
        """Wait until its recovery has ended and it is a primary; RecoveryEnded when it ends before that.

        A server that cannot reach its target starts, and dies some seconds later: that it was started says nothing.
        """
        deadline = time.monotonic() + hours * 3600
        while not self._has_recovered():
            if not self.server.is_running():
                raise RecoveryEnded(f"The restored server ended before its recovery had: {self._last_words()}")
            if time.monotonic() > deadline:
                raise RecoveryEnded(f"The restored server was still replaying after {hours:g} hours.")
            time.sleep(_POLL_SECONDS)

    def database(self, role: str | None) -> Database:
        """The restored database."""
        return Database(self.url(), role)

    def url(self, user: str | None = None) -> str:
        """Its URL."""
        return self.server.url(self._database, user or self._user)

    def stop(self) -> None:
        """End it at once."""
        self.server.stop("immediate")

    def _has_recovered(self) -> bool:
        import sqlalchemy as sa

        try:
            with self.database(None).unchecked_work() as work, work.reading() as connection:
                return not connection.scalar(sa.text("SELECT pg_is_in_recovery()"))
        except DatabaseUnavailable:
            return False

    def _last_words(self) -> str:
        """The last fatal line of its log. Nobody but this drill was connected, so it speaks of files and of WAL."""
        log = self.server.log
        assert log is not None
        text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
        fatal = re.findall(r"^.*?\b(?:FATAL|PANIC):\s+(.*)$", text, re.MULTILINE)
        words = [line for line in fatal if "not accepting connections" not in line and "starting up" not in line]
        return words[-1] if words else "its log says nothing of why."
