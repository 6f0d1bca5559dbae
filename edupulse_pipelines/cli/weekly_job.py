"""The weekly job as `run` and `demo` run it: which weeks, what to say of the landing folder, and the run drawn.

The job itself is `orchestration.execution`.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edupulse_pipelines.cli.answers import command_to_type
from edupulse_pipelines.errors import LandingError
from edupulse_pipelines.settings import Settings, TenantSettings
from edupulse_pipelines.weeks import WEEK, last_closed_week, week_of_delivery, weeks_between

if TYPE_CHECKING:
    from rich.console import Console

    from edupulse_pipelines.ingest.landing import Delivery


@dataclass(frozen=True)
class Plan:
    """Which weeks of a tenant to run, and what to say about the landing folder first."""

    weeks: list[dt.date]
    """From the first to the last, one run; empty when there is nothing to do."""
    with_delivery: list[dt.date]
    notices: list[str]
    unread: str = ""
    """What is wrong when something was landed and nothing can be read of it; else empty."""


def accept_removals(settings: Settings, tenant: TenantSettings, deliveries: Sequence[dt.date]) -> None:
    """Record that what the snapshots of these deliveries take back is really gone; LandingError for one not landed."""
    from edupulse_pipelines.ingest.landing import landed_deliveries
    from edupulse_pipelines.storage import snapshots
    from edupulse_pipelines.storage.database import database_of

    if not deliveries:
        return
    landed = {delivery.delivered_on for delivery in landed_deliveries(tenant)}
    missing = [day for day in deliveries if day not in landed]
    if missing:
        raise LandingError(f"{tenant.name}: there is no delivery of {missing[0]} in {tenant.landing}.")
    with database_of(settings).work(tenant.name) as work, work.writing() as connection:
        snapshots.accept_removals(connection, work, deliveries)


def planned_weeks(
    tenant: TenantSettings, *, week: dt.date | None, every_week: bool, accepted: Sequence[dt.date] = ()
) -> Plan:
    """The weeks (Mondays) of a run, with those of the deliveries whose removals are `accepted`.

    LandingError for a landing folder that is missing or holds what cannot be.
    """
    from edupulse_pipelines.ingest.landing import ignored_folders, landed_deliveries
    from edupulse_pipelines.ingest.left_alone import left_alone

    closed = last_closed_week(tenant.timezone)
    deliveries = landed_deliveries(tenant)
    landed = sorted({delivery.week for delivery in deliveries if delivery.week <= closed})
    if every_week:
        weeks = list(weeks_between(landed[0], landed[-1])) if landed else []
    else:
        chosen = week or closed
        wanted = {chosen, *map(week_of_delivery, accepted)} & set(landed)
        weeks = list(weeks_between(min(wanted), max(wanted))) if wanted else []
    notices = _landing_notices(deliveries, ignored_folders(tenant), weeks, closed)
    if not weeks:
        asked = "" if every_week else f" for the week {week_in_words(week or closed)}"
        span = f" Landed weeks: {landed[0]} to {landed[-1]} (--week, or --all)." if landed and not every_week else ""
        notices.append(f"{tenant.name}: there is no delivery{asked} in {tenant.landing}.{span}")
    unread = left_alone(tenant, weeks).advice
    return Plan(weeks, [week for week in weeks if week in landed], notices, unread)


def late_weeks(settings: Settings, tenant: TenantSettings, plan: Plan) -> Plan:
    """Where nothing was delivered for the week: the newest earlier one with a landed file that has changed, if any.

    The run of that week takes along the changed files of the weeks before it.
    """
    from edupulse_pipelines.ingest.changed_files import changed_weeks
    from edupulse_pipelines.storage.database import database_of

    with database_of(settings).work(tenant.name) as work:
        changed = changed_weeks(work, tenant, last_closed_week(tenant.timezone), settings.home)
    return Plan(changed[-1:], changed[-1:], plan.notices) if changed else plan


def _landing_notices(
    deliveries: Sequence[Delivery], ignored: Sequence[str], weeks: Sequence[dt.date], closed: dt.date
) -> list[str]:
    """What a person would want to know about the landing folder before the run."""
    notices = []
    waiting = [delivery.delivered_on for delivery in deliveries if delivery.week > closed]
    if waiting:
        notices.append(f"Waiting until its week closes: delivery {', '.join(map(str, waiting))}.")
    unknown = [
        f"{delivery.delivered_on}/{name}"
        for delivery in deliveries
        if delivery.week in set(weeks)
        for name in delivery.unknown_files
    ]
    if unknown:
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        notices.append(f"Not a table's file, left alone: {', '.join(unknown[:5])}{more}.")
    if ignored:
        notices.append(f"Not a delivery date, left alone: {', '.join(ignored[:5])}{' …' if len(ignored) > 5 else ''}.")
    return notices


def run_plan(
    settings: Settings,
    tenant: TenantSettings,
    plan: Plan,
    *,
    rescore: bool,
    on: Console,
    started: float,
    home: Path | None,
) -> dict[str, Any]:
    """Run the plan, drawing it; the summary."""
    from rich.markup import escape

    from edupulse_pipelines.cli.output.steps import ConsoleProgress
    from edupulse_pipelines.cli.output.summary import headline, show_summary
    from edupulse_pipelines.orchestration.execution import run_weekly_job
    from edupulse_pipelines.orchestration.recorded_runs import RunOutcome
    from edupulse_pipelines.orchestration.summary import summarise
    from edupulse_pipelines.storage.database import database_of

    for notice in plan.notices:
        on.print(f"[yellow]![/] {escape(notice)}", soft_wrap=True)
    database = database_of(settings)
    database.ensure_current()  # before the first step: one message, not fourteen failed steps
    if not plan.weeks:
        if plan.unread:
            on.print(f"[red]✗[/] {escape(plan.unread)}", soft_wrap=True)
        errors = [plan.unread] if plan.unread else []
        return summarise(database, tenant, RunOutcome(weeks=[], success=not errors, errors=errors))
    headline(on, tenant.name, plan.weeks)
    with libraries_to_log(settings), ConsoleProgress(on) as progress:
        outcome = run_weekly_job(
            settings, tenant, plan.weeks, plan.with_delivery, rescore=rescore, database=database, progress=progress
        )
    summary = {**summarise(database, tenant, outcome), "seconds": round(time.monotonic() - started, 2)}
    show_summary(on, summary, look=command_to_type(f"quarantine list --tenant {tenant.name}", home))
    return summary


@contextmanager
def libraries_to_log(settings: Settings) -> Iterator[None]:
    """What libraries write to stderr while a run is drawn goes to a file in the home."""
    log = settings.home / "logs" / "run.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as stream, redirect_stderr(stream):
        yield


def week_in_words(week: dt.date) -> str:
    """The first and the last day of a school week."""
    return f"{week} to {week + WEEK - dt.timedelta(days=1)}"
