"""Whether what is kept is encrypted, and by which key of the operator's; the work is in `encryption`."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from edupulse_pipelines.settings.section import Section

ENCRYPTION_KEY = "EDUPULSE_KEY"
"""The environment variable with the operator's key itself; it goes before `key_file`."""


class EncryptionSettings(Section):
    """`[encryption]`: off without a key."""

    key_file: Path | None = None
    """A file with the operator's age identity (`AGE-SECRET-KEY-1…`), relative to `edupulse.toml`."""

    def beside(self, folder: Path) -> EncryptionSettings:
        """The same with a path that is absolute; a relative one is of `folder`. RuntimeError for an unknown user."""
        if self.key_file is None:
            return self
        return EncryptionSettings(key_file=Path(os.path.normpath(folder / self.key_file.expanduser())))


class _Given(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="EDUPULSE_", extra="ignore", env_ignore_empty=True)

    key: str | None = Field(None, repr=False)


def encryption_key() -> str | None:
    """The operator's key as the environment has it; it is no part of `Settings`, which may be shown."""
    return _Given().key
