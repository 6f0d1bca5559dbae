"""A restored PostgreSQL that is not to be read yet: its server lets in nobody but the keeper and the administrator.

Said in the data folder's own `postgresql.auto.conf`, which goes before every other configuration file, so it holds
wherever the server is started. The path of the file is in it, so a closed folder is opened before it is moved. SQLite
homes are closed by `storage.closed`.
"""

from __future__ import annotations

import os
from pathlib import Path

_HBA = "pg_hba.closed.conf"
_AUTO = "postgresql.auto.conf"
_MARK = "# closed by a restore"


def close(data: Path, because: str, keeper: str = "edupulse_keeper") -> None:
    """Have a server over the data folder let in the keeper and `postgres` alone. `because`: why, for who reads it."""
    hba = data / _HBA
    hba.write_text(
        f"# {' '.join(because.split())}\n"
        "# `edupulse backup open` takes this file away.\n"
        "local all postgres peer\n"
        f"local all {keeper} scram-sha-256\n"
        f"hostssl all {keeper} all scram-sha-256\n",
        encoding="utf-8",
    )
    auto = data / _AUTO
    lines = _without_ours(auto)
    place = str(hba).replace("'", "''")
    _give(hba, data)
    _write(auto, [*lines, f"hba_file = '{place}' {_MARK}\n"])


def open_again(data: Path) -> None:
    """Let the server go by its own `pg_hba.conf` again, when it is started or its configuration is loaded again."""
    auto = data / _AUTO
    _write(auto, _without_ours(auto))
    (data / _HBA).unlink(missing_ok=True)


def why(data: Path) -> str | None:
    """Why it is closed; None for one that is open, or not there."""
    try:
        first = (data / _HBA).read_text(encoding="utf-8").splitlines()[0]
    except FileNotFoundError:
        return None
    return first.removeprefix("# ")


def _write(auto: Path, lines: list[str]) -> None:
    """Write the configuration as a whole or not at all: what a kill has cut off would be another one."""
    temporary = auto.with_name(f"{_AUTO}.tmp")
    with temporary.open("w", encoding="utf-8") as stream:
        stream.writelines(lines)
        stream.flush()
        os.fsync(stream.fileno())
    _give(temporary, auto.parent)
    temporary.replace(auto)


def _give(path: Path, data: Path) -> None:
    """Have it belong to whom the data folder belongs to, and be read by nobody else."""
    path.chmod(0o600)
    if os.geteuid() == 0:
        state = data.stat()
        os.chown(path, state.st_uid, state.st_gid)


def _without_ours(auto: Path) -> list[str]:
    if not auto.exists():
        return []
    lines = auto.read_text(encoding="utf-8").splitlines(keepends=True)
    return [line for line in lines if _MARK not in line]
