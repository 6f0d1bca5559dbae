"""What the roles of PostgreSQL are called, and how the keeper connects, which no weekly run is told."""

from __future__ import annotations

import os

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from edupulse_pipelines.settings.database_url import checked_database_url
from edupulse_pipelines.settings.section import Section

KEEPER_URL = "EDUPULSE_KEEPER_URL"
"""The environment variable with the URL of the role that may become the owner of the tables."""


class RolesSettings(Section):
    """`[roles]`: the names of the roles that `edupulse db roles` makes."""

    prefix: str = Field("edupulse", max_length=40, pattern=r"^[a-z][a-z0-9_]*$")
    """What every name begins with; two installations on one server need two."""


class _Keeper(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="EDUPULSE_", extra="ignore", env_ignore_empty=True)

    keeper_url: str | None = Field(None, repr=False)


def keeper_url() -> str | None:
    """The URL that the keeper, or an administrator, connects by; None where the one user of the database owns it all.

    ConfigurationError for one that names no database. It is no part of `Settings`, which the weekly run is made of.
    """
    given = _Keeper().keeper_url
    return None if given is None else checked_database_url(given, KEEPER_URL)


def forget_keeper() -> None:
    """Take the keeper's URL from the environment of this process, and so from all that it starts."""
    os.environ.pop(KEEPER_URL, None)
