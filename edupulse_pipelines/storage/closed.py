"""A home that was restored and is not to be read yet: the file beside its SQLite database that says so, and why.

`Database` refuses to open it, except for the keeper, who mends or opens it. Whether a PostgreSQL is closed is decided
by who its server lets in; that is not here.
"""

from __future__ import annotations

from pathlib import Path

from edupulse_pipelines.errors import PermanentError

_SUFFIX = ".closed"


def marker(database: Path) -> Path:
    """The file that closes a SQLite database."""
    return database.with_name(database.name + _SUFFIX)


def close(database: Path, because: str) -> None:
    """Close it, before or after it is there. `because`: a sentence for whoever tries to open it."""
    marker(database).write_text(f"{because}\n", encoding="utf-8")


def open_again(database: Path) -> None:
    """Let everybody read it who may read the file."""
    marker(database).unlink(missing_ok=True)


def why(database: Path) -> str | None:
    """Why it is closed; None for one that is open."""
    try:
        return marker(database).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError):
        return "Nobody can read why."


def demand_open(database: Path) -> None:
    """PermanentError, which says why, for a database that is closed."""
    if (told := why(database)) is not None:
        raise PermanentError(f"{database} is closed. {told}")
