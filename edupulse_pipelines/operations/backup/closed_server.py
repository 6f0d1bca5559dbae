"""A restored PostgreSQL that is not to be read yet: its server lets in nobody but the keeper and the administrator.

Said in the data folder's own `postgresql.auto.conf`, which goes before every other configuration file, so it holds
wherever the server is started. SQLite homes are closed by `storage.closed`.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

_HBA = "pg_hba.closed.conf"
_AUTO = "postgresql.auto.conf"
_MARK = "# closed by a restore"


def close(data: Path, because: str, keeper: str = "edupulse_keeper") -> None:
    """Have a server over the data folder let in the keeper and `postgres` alone. `because`: why, for who reads it."""
    hba = data / _HBA
    hba.write_text(
        f"# {because}\n"
        "# `edupulse backup open` takes this file away.\n"
        "local all postgres peer\n"
        f"local all {keeper} scram-sha-256\n"
        f"hostssl all {keeper} all scram-sha-256\n",
        encoding="utf-8",
    )
    auto = data / _AUTO
    lines = _without_ours(auto)
    place = str(hba).replace("'", "''")
    auto.write_text("".join([*lines, f"hba_file = '{place}' {_MARK}\n"]), encoding="utf-8")
    for path in (hba, auto):
        path.chmod(0o600)
        state = data.stat()
        if os.geteuid() == 0:
            os.chown(path, state.st_uid, state.st_gid)


def open_again(data: Path) -> None:
    """Let the server go by its own `pg_hba.conf` again, when it is started or its configuration is loaded again."""
    auto = data / _AUTO
    state = auto.stat()
    temporary = auto.with_name(f"{_AUTO}.tmp")
    temporary.write_text("".join(_without_ours(auto)), encoding="utf-8")
    shutil.copymode(auto, temporary)
    if os.geteuid() == 0:
        os.chown(temporary, state.st_uid, state.st_gid)
    temporary.replace(auto)
    (data / _HBA).unlink(missing_ok=True)


def why(data: Path) -> str | None:
    """Why it is closed; None for one that is open, or not there."""
    try:
        first = (data / _HBA).read_text(encoding="utf-8").splitlines()[0]
    except FileNotFoundError:
        return None
    return first.removeprefix("# ")


def _without_ours(auto: Path) -> list[str]:
    if not auto.exists():
        return []
    lines = auto.read_text(encoding="utf-8").splitlines(keepends=True)
    return [line for line in lines if _MARK not in line]
