"""What an asset says about itself after a run: numbers for each week, a table over the weeks, a plot.

A run over many weeks writes each week's own numbers on that week's materialization, so that Dagster's plots over
partitions are true; the table and the plot, which span the run, are written once, on the newest week.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from dagster import AssetCheckResult, AssetExecutionContext, MaterializeResult, MetadataValue

from edupulse_pipelines.orchestration.checks import table
from edupulse_pipelines.orchestration.partitions import weeks_of
from edupulse_pipelines.weeks import WEEK

Number = int | float | str | None
WEEKS_IN_PLOT = 26
ROWS_OF_WEEK = "dagster/partition_row_count"
ROWS_OF_TABLE = "dagster/row_count"


def write_week_metadata(
    context: AssetExecutionContext,
    by_week: Mapping[dt.date, Mapping[str, Number]],
    *,
    rows: str,
    plots: Mapping[str, str | None] | None = None,
) -> None:
    """Attach `by_week` (numbers by week; all weeks the same names) to the materializations of this run's weeks.

    `rows` names the number that is the week's row count. `plots` are markdown by name, from `charts`.
    """
    weeks = weeks_of(context)
    for week in weeks:
        numbers = {name: value for name, value in by_week.get(week, {}).items() if value is not None}
        if rows in numbers:
            numbers[ROWS_OF_WEEK] = numbers[rows]
        if numbers:
            context.add_asset_metadata(numbers, partition_key=week.isoformat())
    newest: dict[str, MetadataValue] = {name: MetadataValue.md(text) for name, text in (plots or {}).items() if text}
    listed = [{"week": str(week), **by_week[week]} for week in weeks if week in by_week]
    if len(listed) > 1:
        newest["by_week"] = table(listed)
    if newest:
        context.add_asset_metadata(newest, partition_key=weeks[-1].isoformat())


def plotted(weeks: Sequence[dt.date]) -> tuple[dt.date, dt.date]:
    """First and last week of a plot for a run over `weeks`: a run of one week shows it beside the weeks before."""
    return min(*weeks, max(weeks) - (WEEKS_IN_PLOT - 1) * WEEK), max(weeks)


def totals(by_week: Mapping[dt.date, Mapping[str, Number]], names: Sequence[str]) -> dict[str, int]:
    """The sums over the run's weeks of the named numbers, under `run_<name>`."""
    return {f"run_{name}": sum(int(numbers.get(name) or 0) for numbers in by_week.values()) for name in names}


def unknown_rates(tenant: str, without_calendar: int, in_doubt: int, by_period: int) -> str | None:
    """What is said of weeks (how many of each kind) without attendance rates; None when there are none.

    They come of recording absences only: no calendar says on which days, something could not be read, or absences are
    by period and nobody has said how many there are.
    """
    told = [
        f"attendance rates unknown for {weeks} {'week' if weeks == 1 else 'weeks'}: {why}"
        for weeks, why in (
            (without_calendar, f"no instructional calendar; declare [tenants.{tenant}.calendar]"),
            (
                in_doubt,
                "attendance that could not be read may be absences; mend its rows (edupulse quarantine) or files",
            ),
            (
                by_period,
                "absences are by period; declare how many a day has, "
                f"sessions_per_day under [tenants.{tenant}.attendance]",
            ),
        )
        if weeks
    ]
    return "; ".join(told) or None


def materialized(
    row_count: int | None = None, *, check_results: Sequence[AssetCheckResult] = (), **metadata: Any
) -> MaterializeResult:
    """The result of an asset: what is true of the whole table, and the verdicts of its checks."""
    kept = {name: value for name, value in metadata.items() if value is not None}
    if row_count is not None:
        kept[ROWS_OF_TABLE] = row_count
    return MaterializeResult(metadata=kept, check_results=list(check_results))
