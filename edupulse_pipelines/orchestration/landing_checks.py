"""The asset check of a landing folder as a whole: whether everything that was landed has been read.

What lies there is found in `ingest.left_alone`; the verdict is a pure function of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagster import AssetCheckResult, AssetCheckSeverity, AssetCheckSpec, AssetKey

from edupulse_pipelines.orchestration.checks import counted, table

if TYPE_CHECKING:
    from edupulse_pipelines.ingest.left_alone import LeftAlone

EVERYTHING_READ = "everything_read"
_MOST_SHOWN = 50


def landing_check_spec(asset: AssetKey) -> AssetCheckSpec:
    """The check, on the raw asset of the first table."""
    return AssetCheckSpec(
        EVERYTHING_READ,
        asset=asset,
        description=(
            "Every file of the week's deliveries is one that somebody understands, and beside the deliveries lies "
            "nothing. A warning that names what was left alone; an error where nothing was read of a delivery, or of "
            "something that looks like one."
        ),
    )


def everything_read(left: LeftAlone) -> AssetCheckResult:
    """Passed when nothing was left alone; an error where nothing at all was read of something."""
    if not left.names and not left.unread:
        return AssetCheckResult(
            check_name=EVERYTHING_READ, passed=True, metadata={"left_alone": 0}, description="Everything was read"
        )
    listed = [{"name": name} for name in (left.names or left.unread)[:_MOST_SHOWN]]
    return AssetCheckResult(
        check_name=EVERYTHING_READ,
        passed=False,
        severity=AssetCheckSeverity.ERROR if left.unread else AssetCheckSeverity.WARN,
        metadata={"left_alone": len(left.names), "unread": len(left.unread), "names": table(listed)},
        description=left.advice or f"{counted(len(left.names), 'name')} left alone, first {left.names[0]}",
    )
