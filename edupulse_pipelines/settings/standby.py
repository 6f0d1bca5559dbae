"""`[standby]`: what a second server is called, and how far it may be behind; and the URL by which it is looked at."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from edupulse_pipelines.settings.database_url import checked_database_url
from edupulse_pipelines.settings.section import Section

STANDBY_URL = "EDUPULSE_STANDBY_URL"
"""The environment variable with the URL of the standby itself, which alone it names."""


class StandbySettings(Section):
    """`[standby]`: of the installation, not of a district."""

    slot: str | None = Field(None, max_length=63, pattern=r"^[a-z0-9_]+$")
    """The replication slot that keeps WAL for it; naming one says that there is to be a standby."""
    max_lag_bytes: int = Field(256 * 2**20, ge=0)
    """WAL that it has not replayed yet, beyond which the check fails."""
    max_lag_seconds: float = Field(300.0, ge=0)
    """How old the newest change that it has replayed may be while there are newer ones."""
    max_slot_bytes: int = Field(8 * 2**30, ge=0)
    """WAL that the slot holds back on the primary, beyond which the check fails: it fills that disk."""

    @property
    def slot_name(self) -> str:
        """The slot's name, also where none is set."""
        return self.slot or "edupulse_standby"


class _Standby(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="EDUPULSE_", extra="ignore", env_ignore_empty=True)

    standby_url: str | None = Field(None, repr=False)


def standby_url() -> str | None:
    """The URL of the standby; None where nobody named one. ConfigurationError for one that names no database."""
    given = _Standby().standby_url
    return None if given is None else checked_database_url(given, STANDBY_URL)
