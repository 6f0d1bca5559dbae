"""`[drill]`: where the recovery drill restores to, and when it is overdue."""

from __future__ import annotations

from pydantic import Field

from edupulse_pipelines.settings.section import Section


class DrillSettings(Section):
    """`[drill]`: of the installation, not of a district."""

    folder: str | None = Field(None, min_length=1)
    """The scratch folder: it holds two restored copies' worth of space for a while. Default: `drill` in the home."""
    overdue_days: int = Field(40, ge=1, le=3660)
    """After how many days without a drill that succeeded the check fails."""
    most_hours: float = Field(12.0, gt=0, le=168)
    """How long a restored server may replay before the drill gives up."""
