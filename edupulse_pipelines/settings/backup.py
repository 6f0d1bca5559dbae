"""Where backups lie and how the database is copied. What is copied and when is decided in `operations.backup`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from edupulse_pipelines.settings.database_url import checked_database_url
from edupulse_pipelines.settings.section import Section

BACKUP_URL = "EDUPULSE_BACKUP_URL"
"""The environment variable with the URL of the role that copies the database."""


class BackupSettings(Section):
    """`[backup]`: of the installation, not of a district."""

    folder: str | None = Field(None, min_length=1)
    """Where backups lie; another disk, or better another machine's. Default: `backups` in the home."""
    barman: str | None = Field(None, min_length=1)
    """Barman's program. Default: beside the running Python, else on the PATH."""
    server: str = Field("edupulse", max_length=40, pattern=r"^[a-z][a-z0-9_]*$")
    """What Barman calls the server, and the end of its slot's name; two installations on one server need two."""
    programs: str | None = Field(None, min_length=1)
    """The folder with pg_basebackup, pg_receivewal and the rest, of the server's major version."""
    retention: str = Field("RECOVERY WINDOW OF 4 WEEKS", max_length=60)
    """How long Barman keeps what: `RECOVERY WINDOW OF n DAYS|WEEKS|MONTHS` or `REDUNDANCY n`."""
    keep_at_least: int = Field(2, ge=1, le=100)
    """Full base backups that are never thrown away, however old."""
    compression: Literal["none", "gzip", "lz4", "zstd"] = "none"
    """Of base backups and WAL. What is compressed has no increments."""
    gpg_key: str | None = Field(None, min_length=1)
    """The key (fingerprint, or address) that gpg encrypts base backups and WAL to; they have no increments then."""
    passphrase_command: str | None = Field(None, min_length=1)
    """A command that prints the passphrase of that key, for restoring."""
    increments: int = Field(6, ge=0, le=100)
    """How many increments follow a full base backup, where server and settings allow any (PostgreSQL 17)."""
    dagster: Literal["leave", "copy"] = "leave"
    """Dagster's record of runs: left out of moments, or copied into them."""
    max_age_hours: int = Field(26, ge=1, le=8760)
    """A newest moment that is older is told by `edupulse backup status`."""
    restore_command: str | None = Field(None, min_length=1)
    """Instead of Barman: a command that fills the data folder; `docs/backup.md` says what is put into it."""

    @field_validator("retention")
    @classmethod
    def _a_policy_of_barman(cls, value: str) -> str:
        words = value.upper().split()
        number = words[-2] if len(words) == 5 else words[-1] if words else ""
        window = words[:3] == ["RECOVERY", "WINDOW", "OF"] and words[4:] in (["DAYS"], ["WEEKS"], ["MONTHS"])
        redundancy = words[:1] == ["REDUNDANCY"] and len(words) == 2
        if not (window or redundancy) or not number.isdecimal() or int(number) < 1:
            raise ValueError("not RECOVERY WINDOW OF n DAYS (or WEEKS, MONTHS), nor REDUNDANCY n")
        return " ".join(words)

    @field_validator("barman", "folder", "gpg_key", "passphrase_command", "programs")
    @classmethod
    def _on_one_line(cls, value: str | None) -> str | None:
        """They stand in Barman's configuration, where a line ends a value."""
        if value is not None and not value.isprintable():
            raise ValueError("holds a line break or another character that cannot be printed")
        return value


class _Backup(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="EDUPULSE_", extra="ignore", env_ignore_empty=True)

    backup_url: str | None = Field(None, repr=False)


def backup_url() -> str | None:
    """The URL that copies are made by; None where the role and the server follow from the database's URL.

    ConfigurationError for one that names no database.
    """
    given = _Backup().backup_url
    return None if given is None else checked_database_url(given, BACKUP_URL)
