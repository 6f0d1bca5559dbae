"""The asset checks of deliveries as a whole: what waits, dates of long ago, snapshots that lack much, unusual sizes.

Each verdict is a pure function of what a step found. Whether single rows are right, and whether all are accounted for,
is checked in `checks`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dagster import AssetCheckResult, AssetCheckSeverity, AssetCheckSpec, AssetKey

from edupulse_pipelines.orchestration.checks import counted, table
from edupulse_pipelines.schema.delivery import DELIVERED
from edupulse_pipelines.schema.reasons import only_waits
from edupulse_pipelines.settings import TenantSettings

if TYPE_CHECKING:
    from edupulse_pipelines.ingest.accounts import DeliveryCounts
    from edupulse_pipelines.ingest.sizes import UnusualSize
    from edupulse_pipelines.storage.snapshots import Snapshot

WAITING_ROWS = "waiting_rows"
NO_EVENT_TOO_OLD = "no_event_too_old"
REMOVALS_BELIEVED = "removals_believed"
USUAL_SIZE = "usual_size"


def delivery_check_specs(asset: AssetKey, tenant: TenantSettings, name: str) -> list[AssetCheckSpec]:
    """The checks of the record asset `name` that are about its deliveries as a whole; the first one is blocking."""
    specs = [
        AssetCheckSpec(
            REMOVALS_BELIEVED,
            asset=asset,
            blocking=True,
            description=(
                f"No full snapshot lacks more than {tenant.max_taken_back:.0%} of the records there are "
                "(`max_taken_back`; always five): such a snapshot takes nothing back, and what is downstream waits, "
                "until a fuller one is delivered or a person says yes with `edupulse run --accept-removals`."
            ),
        ),
        AssetCheckSpec(
            WAITING_ROWS,
            asset=asset,
            description=(
                f"At most {tenant.max_waiting:.0%} of a delivery's rows (`max_waiting`) wait for something that may "
                "still come, most often for a student. They load by themselves when it does. A warning; nothing stops."
            ),
        ),
        AssetCheckSpec(
            USUAL_SIZE,
            asset=asset,
            description=(
                "No delivery has less than half, or more than twice, the rows of the last eight deliveries of its "
                "weekday (their median; with fewer than four nothing is said). A warning; nothing stops."
            ),
        ),
    ]
    if DELIVERED[name].record.event_date is not None:
        specs.append(
            AssetCheckSpec(
                NO_EVENT_TOO_OLD,
                asset=asset,
                description=(
                    f"No stored record is of an event before {tenant.no_event_before} (`earliest_date`). Rows that are "
                    "delivered with such a date are quarantined; those stored before that was so stay, and are counted "
                    "here. A warning; nothing stops."
                ),
            )
        )
    return specs


def removals_believed(snapshots: Sequence[Snapshot], max_taken_back: float) -> AssetCheckResult:
    """Passed where no snapshot lacks more than it may; else an error with the numbers of each."""
    doubtful = [
        (snapshot.delivered_on, snapshot.removals)
        for snapshot in snapshots
        if snapshot.removals is not None and not snapshot.removals.believed
    ]
    metadata: dict[str, Any] = {
        "snapshots": len(snapshots),
        "not_believed": len(doubtful),
        "max_taken_back": max_taken_back,
    }
    if not doubtful:
        return AssetCheckResult(
            check_name=REMOVALS_BELIEVED,
            passed=True,
            metadata=metadata,
            description="No snapshot lacks much" if snapshots else "No snapshot was delivered",
        )
    metadata["doubtful"] = table(
        [
            {
                "delivery": str(day),
                "lacks": removals.gone,
                "of": removals.gone + removals.held,
                "holds": removals.held,
            }
            for day, removals in doubtful
        ]
    )
    day, removals = doubtful[-1]
    return AssetCheckResult(
        check_name=REMOVALS_BELIEVED,
        passed=False,
        metadata=metadata,
        description=(
            f"The snapshot of {day} lacks {removals.gone:,} of {removals.gone + removals.held:,} records, more than "
            f"{max_taken_back:.0%}: nothing was taken back. Deliver it again in full, or say that they are gone with "
            f"`edupulse run --accept-removals {day}`"
        ),
    )


def waiting_rows(deliveries: Sequence[DeliveryCounts], max_waiting: float) -> AssetCheckResult:
    """Passed where at most `max_waiting` of each delivery's rows wait for something; else a warning."""
    waiting = sum(delivery.waiting for delivery in deliveries)
    worst = max(deliveries, key=_share_of_waiting, default=None)
    worst_share = _share_of_waiting(worst) if worst is not None else 0.0
    metadata: dict[str, Any] = {
        "waiting": waiting,
        "worst_share": round(worst_share, 6),
        "max_waiting": max_waiting,
    }
    if worst is None or worst_share <= max_waiting:
        verdict = (
            f"{counted(waiting, 'row')} waiting (at most {worst_share:.1%} of a delivery)"
            if waiting
            else "No row waits"
        )
        return AssetCheckResult(check_name=WAITING_ROWS, passed=True, metadata=metadata, description=verdict)
    reasons = sorted(reason for reason in worst.reasons if only_waits([reason]))
    return AssetCheckResult(
        check_name=WAITING_ROWS,
        passed=False,
        severity=AssetCheckSeverity.WARN,
        metadata=metadata,
        description=(
            f"{worst_share:.1%} of the rows of delivery {worst.delivered_on} wait for something, more than "
            f"{max_waiting:.1%}: {', '.join(reasons)}"
        ),
    )


def usual_size(unusual: Sequence[UnusualSize], deliveries: int) -> AssetCheckResult:
    """Passed where each of so many deliveries has about as many rows as those before it; else a warning."""
    metadata: dict[str, Any] = {"deliveries": deliveries, "unusual": len(unusual)}
    if unusual:
        metadata["sizes"] = table(
            [{"delivery": str(one.delivered_on), "rows": one.rows, "usual": float(one.usual)} for one in unusual]
        )
        newest = unusual[-1]
        verdict = (
            f"Delivery {newest.delivered_on} has {counted(newest.rows, 'row')}; those of its weekday before it had "
            f"about {newest.usual:,.0f}"
        )
    else:
        verdict = "No delivery is much smaller or larger than those before it"
    return AssetCheckResult(
        check_name=USUAL_SIZE,
        passed=not unusual,
        severity=AssetCheckSeverity.WARN,
        metadata=metadata,
        description=verdict,
    )


def no_event_too_old(rows: int, earliest: dt.date) -> AssetCheckResult:
    """Passed without a stored record of an event before `earliest`; else a warning that counts them."""
    return AssetCheckResult(
        check_name=NO_EVENT_TOO_OLD,
        passed=not rows,
        severity=AssetCheckSeverity.WARN,
        metadata={"rows": rows, "earliest_date": earliest.isoformat()},
        description=(
            f"{counted(rows, 'stored record')} of events before {earliest}: have the district correct their dates or "
            "take them back, or set an earlier `earliest_date`"
            if rows
            else f"No stored record of an event before {earliest}"
        ),
    )


def _share_of_waiting(delivery: DeliveryCounts) -> float:
    return delivery.waiting / delivery.read if delivery.read else 0.0
