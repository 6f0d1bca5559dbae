"""Who may read what is written under the home."""

from __future__ import annotations

from pydantic import Field

from edupulse_pipelines.settings.section import Section


class PermissionsSettings(Section):
    """`[permissions]`: without it everything under the home is for its owner alone; `private_home` sees to it."""

    group: str | None = Field(None, min_length=1)
    """A group of this machine whose members may read and write it too."""
