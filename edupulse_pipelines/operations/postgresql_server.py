"""A PostgreSQL server of our own over a folder of this machine: finding its programs, making, starting and stopping it.

The recovery drill starts restored copies with it, and the tests their servers. It listens on a socket in a folder of
its own, and on no network unless told to. Knows nothing of what the databases hold, nor how a folder was filled.
"""

from __future__ import annotations

import os
import pwd
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from edupulse_pipelines.errors import ConfigurationError, PermanentError
from edupulse_pipelines.programs import environment

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

USUAL_FOLDERS = ("/usr/lib/postgresql/{major}/bin", "/usr/pgsql-{major}/bin", "/usr/local/pgsql/bin")
"""Where distributions put the server's programs, of which few are on PATH."""
USUAL_USERS = ("postgres", "nobody")
LONGEST_SOCKET_PATH = 107
"""Bytes that Linux allows for the path of a socket."""


@dataclass(frozen=True)
class Programs:
    """The programs of one major version of the server: `folder` holds `postgres`, `initdb`, `pg_ctl` and the others."""

    folder: Path
    major: int

    def path(self, name: str) -> Path:
        """The program's path; ConfigurationError where the folder has none of that name."""
        found = self.folder / name
        if not os.access(found, os.X_OK):
            raise ConfigurationError(f"{self.folder} has no program {name} of PostgreSQL {self.major}.")
        return found

    def has(self, name: str) -> bool:
        """Whether there is a program of that name."""
        return os.access(self.folder / name, os.X_OK)


def programs_for(major: int, folder: Path | None = None) -> Programs:
    """The programs of the server's major version: in `folder` where one is given, else where they usually are.

    A data folder can be started by its own major version alone. ConfigurationError names where was looked.
    """
    usual = [Path(pattern.format(major=major)) for pattern in USUAL_FOLDERS]
    on_path = shutil.which("postgres")
    places = [folder] if folder is not None else [*usual, *([Path(on_path).parent] if on_path else [])]
    for place in places:
        if major_of(place) == major:
            return Programs(place, major)
    looked = ", ".join(map(str, places))
    raise ConfigurationError(
        f"The server programs of PostgreSQL {major} (initdb, pg_ctl, postgres) are not on this machine: looked in "
        f"{looked}. Install the package of that version, or name the folder of its programs in [backup] programs."
    )


def major_of(folder: Path) -> int | None:
    """The major version of the server's programs in the folder; None where there are none."""
    program = folder / "postgres"
    if not os.access(program, os.X_OK):
        return None
    asked = [str(program), "--version"]
    told = subprocess.run(asked, capture_output=True, text=True, check=False, env=environment()).stdout
    found = re.search(r"\b(\d+)(?:\.\d+|devel|beta\d|rc\d)", told)
    return int(found.group(1)) if found else None


def server_major(connection: Connection) -> int:
    """The major version of the PostgreSQL server that a connection is to."""
    driver: Any = connection.connection.driver_connection
    return int(driver.server_version) // 10_000  # 150004 is 15.4


def data_major(data: Path) -> int:
    """The major version of the server that a data folder is of. OSError for a folder that is none."""
    return int((data / "PG_VERSION").read_text(encoding="ascii").split(".")[0])


def server_user(*places: Path) -> str | None:
    """Who is to run a server over a folder where we are root, whom PostgreSQL refuses; None where we are not.

    places: the folder, and others that may say whose it is to be: the first that there is and that is not root's. None,
    too, where they are all root's and no usual user is there.
    """
    if os.geteuid() != 0:
        return None
    for place in places:
        if place.exists() and (owner := place.stat().st_uid) != 0:
            return pwd.getpwuid(owner).pw_name
    names = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in USUAL_USERS if name in names), None)


def _home_of(user: str | None) -> dict[str, str]:
    """The variable that names a user's folder; nothing for the user of this process.

    A standby's connection looks there for a certificate of its own, and ends when it may not look into ours.
    """
    if user is None:
        return {}
    return {"HOME": pwd.getpwnam(user).pw_dir}


def hand_over(place: Path, user: str | None, *, below: bool = True) -> None:
    """Give a file or folder, with all that is below it, to a user; None leaves it as it is. Links are not followed."""
    if user is None:
        return
    entry = pwd.getpwnam(user)
    os.chown(place, entry.pw_uid, entry.pw_gid, follow_symlinks=False)
    for parent, folders, files in os.walk(place) if below else ():
        for name in (*folders, *files):
            os.chown(Path(parent, name), entry.pw_uid, entry.pw_gid, follow_symlinks=False)


@dataclass
class FolderServer:
    """A server over the folder `data`; start and stop it, and connect by `url`.

    socket: the folder of its socket, made if need be, and open to the server's user alone. port: names the socket, and
    is the port where `listen` names addresses. settings: of the server, over those of its configuration. user: who runs
    it where we are root, which PostgreSQL refuses; else the owner of `data`, if that is not root. log: its file.
    """

    programs: Programs
    data: Path
    socket: Path
    port: int = 5432
    listen: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
    log: Path | None = None

    def __post_init__(self) -> None:
        """ConfigurationError where the socket's path is longer than a socket's path may be."""
        self.log = self.log or self.data.parent / f"{self.data.name}.log"
        path = self.socket / f".s.PGSQL.{self.port}"
        if len(os.fsencode(path)) > LONGEST_SOCKET_PATH:
            raise ConfigurationError(
                f"{path} is longer than the {LONGEST_SOCKET_PATH} bytes of a socket's path: a shorter folder is needed."
            )

    def initialise(self, *options: str) -> None:
        """Make an empty database cluster in `data`, with the superuser `postgres`; PermanentError where it fails.

        Who reaches the socket is trusted.
        """
        self.data.mkdir(parents=True, exist_ok=True)
        hand_over(self.data, self.run_as())
        arguments = ("--auth=trust", "--encoding=utf8", "--username=postgres", "--pgdata", str(self.data), *options)
        self._run("initdb", arguments)

    def start(self, seconds: int = 60) -> None:
        """Start it, and wait until it answers; PermanentError names its log where it does not within the time.

        That it answers does not say that a recovery has ended: ask `pg_is_in_recovery()`.
        """
        self.socket.mkdir(parents=True, exist_ok=True)
        self.socket.chmod(0o700)
        hand_over(self.socket, self.run_as(), below=False)
        assert self.log is not None
        self.log.touch(mode=0o600)
        hand_over(self.log, self.run_as())
        settings = {
            "listen_addresses": self.listen,
            "unix_socket_directories": str(self.socket),
            "port": str(self.port),
            **self.settings,
        }
        options = " ".join(f"-c {shlex.quote(f'{name}={value}')}" for name, value in settings.items())
        arguments = ("start", "-w", "-t", str(seconds), "-D", str(self.data), "-l", str(self.log), "-o", options)
        self._run("pg_ctl", arguments)

    def stop(self, mode: str = "fast", seconds: int = 60) -> None:
        """Stop it if it runs: `smart`, `fast`, or `immediate`, which is as good as a crash."""
        if self.is_running():
            self._run("pg_ctl", ("stop", "-w", "-t", str(seconds), "-m", mode, "-D", str(self.data)))

    def is_running(self) -> bool:
        """Whether a server runs over the folder."""
        return self._call("pg_ctl", ("status", "-D", str(self.data))).returncode == 0

    def url(self, database: str = "postgres", user: str = "postgres") -> str:
        """The URL of one of its databases, through the socket."""
        host = quote(str(self.socket), safe="")
        return f"postgresql://{quote(user, safe='')}@/{quote(database, safe='')}?host={host}&port={self.port}"

    def run_as(self) -> str | None:
        """The user that its programs run as; None for the one that we are."""
        if os.geteuid() != 0:
            return None
        if self.user is not None:
            return self.user
        if (found := server_user(self.data)) is not None:
            return found
        raise ConfigurationError("PostgreSQL does not run as root, and there is no user postgres to run it as.")

    def _run(self, program: str, arguments: Sequence[str]) -> None:
        ended = self._call(program, arguments)
        if ended.returncode != 0:
            where = f"; its log is {self.log}" if self.log is not None and self.log.exists() else ""
            # The server's own log may hold rows; what pg_ctl and initdb say holds none.
            said = (ended.stderr.strip() or ended.stdout.strip()).splitlines()
            raise PermanentError(
                f"{program} {arguments[0]} failed for the PostgreSQL folder {self.data}: "
                f"{said[-1] if said else 'nothing was said'}{where}."
            )

    def _call(self, program: str, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        name = self.run_as()
        return subprocess.run(
            [self.programs.path(program), *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            user=name,
            group=pwd.getpwnam(name).pw_gid if name else None,
            extra_groups=[] if name else None,
            stdin=subprocess.DEVNULL,
            # A server keeps it for as long as it runs, and gives it to all that it starts.
            env=environment(in_english=False, password=False) | _home_of(name),
        )
