"""Calling Barman: where its program is, its arguments, and its answers in JSON.

Barman is never imported: its licence is another one, and it may be installed on its own. What its configuration says is
written in `barman_configuration`; what its answers mean is read where they are asked for.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edupulse_pipelines.errors import ConfigurationError, DatabaseBusy, DiskFull, PermanentError
from edupulse_pipelines.full_disk import is_full
from edupulse_pipelines.operations.postgresql_server import programs_for
from edupulse_pipelines.programs import environment
from edupulse_pipelines.settings import Settings
from edupulse_pipelines.sizes_in_words import in_bytes
from edupulse_pipelines.whole_files import write_whole

LEAST_VERSION = (3, 14)
"""The first with what is used here: encryption, increments, `staging_path`."""
_BUSY = re.compile(r"[Aa]nother (?:backup|process|action|archive-wal|cron)\b|is locked")
_FULL = re.compile(r"[Nn]o space left on device|[Dd]isk quota exceeded")


@dataclass(frozen=True)
class Answer:
    """What Barman said: its exit code, and the JSON with its messages in `_ERROR`, `_WARNING` and `_INFO`."""

    code: int
    told: dict[str, Any]
    stderr: str

    @property
    def complaint(self) -> str:
        """Why it failed, on one line."""
        lines = [*self.told.get("_ERROR", []), *self.told.get("_EXCEPTION", [])]
        lines = lines or self.stderr.strip().splitlines()[-1:]
        return "; ".join(" ".join(line.split()) for line in lines) or f"it ended with code {self.code}"


def home_of(settings: Settings) -> Path:
    """The folder of Barman's configuration and of all that it keeps."""
    return settings.backup_dir / "barman"


def configuration_of(settings: Settings) -> Path:
    """The file of Barman's configuration."""
    return home_of(settings) / "barman.conf"


def demand_configuration(settings: Settings) -> Path:
    """The same file; ConfigurationError before `edupulse backup setup`."""
    file = configuration_of(settings)
    if not file.is_file():
        raise ConfigurationError(f"{file} is not there: `edupulse backup setup` writes it.")
    return file


def server_folder(settings: Settings) -> Path:
    """Where Barman keeps the server's base backups and WAL."""
    return home_of(settings) / settings.backup.server


def barman_program(settings: Settings) -> Path:
    """Barman's program; ConfigurationError says where was looked."""
    given = settings.backup.barman
    if given is not None:
        found = shutil.which(Path(given).expanduser())
        if found is None:
            raise ConfigurationError(f"{settings.config_path}: [backup] barman: {given} is no program.")
        return Path(found)
    beside = Path(sys.executable).parent / "barman"
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which("barman")
    if found is None:
        raise ConfigurationError(
            f"Barman is not installed: looked beside {sys.executable} and on the PATH. Install it (`pip install barman`"
            ", or your distribution's package), or name it in [backup] barman."
        )
    return Path(found)


def barman_version(settings: Settings) -> tuple[int, ...]:
    """The version of Barman, (3, 19, 1) say; ConfigurationError where it says none."""
    program = barman_program(settings)
    asked = [str(program), "--version"]
    said = subprocess.run(asked, capture_output=True, text=True, check=False, env=environment()).stdout
    found = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", said.strip())
    if found is None:
        raise ConfigurationError(f"{program} is no Barman: asked for its version it says {said.strip()[:60]!r}.")
    return tuple(int(part) for part in found.groups(default="0"))


def ask_barman(settings: Settings, *arguments: str, seconds: float | None = None) -> Answer:
    """Run a command of Barman and read its answer, whatever its exit code.

    ConfigurationError before `edupulse backup setup`; PermanentError when it takes longer than `seconds`.
    """
    configuration = demand_configuration(settings)
    _move_configuration(settings, configuration)
    command = [str(barman_program(settings)), "-c", str(configuration), "-f", "json", *arguments]
    try:
        ended = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=seconds,
            env=environment(),
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        raise PermanentError(f"`barman {arguments[0]}` has not ended within {seconds:.0f} seconds.") from None
    try:
        told = json.loads(ended.stdout) if ended.stdout.strip() else {}
    except ValueError:
        told = {"_ERROR": ended.stdout.strip().splitlines()[-1:]}
    return Answer(ended.returncode, told, ended.stderr)


def _move_configuration(settings: Settings, configuration: Path) -> None:
    """Let the configuration say where it lies, when backups are read on another machine or in another folder.

    The server may be gone, so it is not asked anything. Its programs are those of the version that was backed up.
    """
    text = configuration.read_text(encoding="utf-8")
    home = home_of(settings)
    before = re.search(r"^barman_home = (.*)$", text, re.MULTILINE)
    prefix = re.search(r"^path_prefix = (.*)$", text, re.MULTILINE)
    user = pwd.getpwuid(os.geteuid()).pw_name
    moved = text
    if before is not None and before[1] != str(home):
        moved = moved.replace(before[1], str(home))
        moved = re.sub(r"^barman_user = .*$", lambda _: f"barman_user = {user}", moved, flags=re.MULTILINE)
    if prefix is not None and not Path(prefix[1]).is_dir() and (major := backed_up_version(settings)) is not None:
        folder = programs_for(major, settings.programs_dir).folder
        moved = re.sub(r"^path_prefix = .*$", lambda _: f"path_prefix = {folder}", moved, flags=re.MULTILINE)
    if moved != text:
        write_whole(configuration, moved)


def backed_up_version(settings: Settings) -> int | None:
    """The major version of the server that the newest base backup is of, as Barman has noted it; None without one."""
    for info in sorted(server_folder(settings).glob("meta/*-backup.info"), reverse=True):
        found = re.search(r"^version=(\d+)$", info.read_text(errors="replace"), re.MULTILINE)
        if found:
            return int(found[1]) // 10_000
    return None


def tell_barman(settings: Settings, *arguments: str, seconds: float | None = None) -> Answer:
    """As `ask_barman`, and an error in Barman's words when it fails: DiskFull, DatabaseBusy, else PermanentError."""
    answer = ask_barman(settings, *arguments, seconds=seconds)
    if answer.code != 0 or "_EXCEPTION" in answer.told:
        log = home_of(settings) / "barman.log"
        said = answer.complaint
        home = home_of(settings)
        if is_full(home):
            free = f"{in_bytes(shutil.disk_usage(home).free)} are free"
            raise DiskFull(
                f"No space is left on the disk of {home} ({free}) for `barman {arguments[0]}`: {said}. Free some and "
                "try again."
            )
        if _FULL.search(said):
            raise DiskFull(f"No space is left for `barman {arguments[0]}`: {said}. Free some and try again.")
        if _BUSY.search(said):
            raise DatabaseBusy(f"`barman {arguments[0]}` has to wait: {said}.")
        raise PermanentError(f"`barman {arguments[0]}` failed: {said}. Its log is {log}.")
    return answer
