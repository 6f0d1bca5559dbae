"""A restored PostgreSQL that is not to be read yet: its server lets in nobody but the keeper and the administrator.

The administrator is the role `postgres`, by the socket alone: as it, the users of this machine come in whose the data
folder and the restored home are, who may read and change the files themselves.

Said in the data folder's own `postgresql.auto.conf`, which goes before every other configuration file, so it holds
wherever the server is started. Paths of two files are in it, so a closed folder is opened before it is moved. SQLite
homes are closed by `storage.closed`.
"""

from __future__ import annotations

import pwd
from pathlib import Path

from edupulse_pipelines.whole_files import write_whole

_HBA = "pg_hba.closed.conf"
_IDENT = "pg_ident.closed.conf"
_AUTO = "postgresql.auto.conf"
_MARK = "# closed by a restore"


def close(data: Path, home: Path, because: str, keeper: str = "edupulse_keeper") -> None:
    """Have a server over the data folder let in the keeper and `postgres` alone. `because`: why, for who reads it."""
    hba, ident = data / _HBA, data / _IDENT
    users = sorted({_name(place.stat().st_uid) for place in (data, home)} | {"postgres"})
    write_whole(ident, "".join(f'closed "{user}" postgres\n' for user in users), owner=data.stat())
    write_whole(
        hba,
        f"# {' '.join(because.split())}\n"
        "# `edupulse backup open` takes this file away.\n"
        "local all postgres peer map=closed\n"
        f"local all {keeper} scram-sha-256\n"
        f"hostssl all {keeper} all scram-sha-256\n",
        owner=data.stat(),
    )
    auto = data / _AUTO
    lines = _without_ours(auto)
    for name, place in (("hba_file", hba), ("ident_file", ident)):
        quoted = str(place).replace("'", "''")
        lines.append(f"{name} = '{quoted}' {_MARK}\n")
    _write(auto, lines)


def open_again(data: Path) -> None:
    """Let the server go by its own `pg_hba.conf` again once it is restarted: no reload changes which file it is."""
    auto = data / _AUTO
    _write(auto, _without_ours(auto))
    (data / _HBA).unlink(missing_ok=True)
    (data / _IDENT).unlink(missing_ok=True)


def why(data: Path) -> str | None:
    """Why it is closed; None for one that is open, or not there."""
    try:
        first = (data / _HBA).read_text(encoding="utf-8").splitlines()[0]
    except FileNotFoundError:
        return None
    return first.removeprefix("# ")


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:  # a user whom this machine does not know by name comes in by none
        return "postgres"


def _write(auto: Path, lines: list[str]) -> None:
    """Write the configuration as a whole, the data folder's owner's: what a kill cut off would be another one."""
    write_whole(auto, "".join(lines), owner=auto.parent.stat())


def _without_ours(auto: Path) -> list[str]:
    if not auto.exists():
        return []
    lines = auto.read_text(encoding="utf-8").splitlines(keepends=True)
    return [line for line in lines if _MARK not in line]
