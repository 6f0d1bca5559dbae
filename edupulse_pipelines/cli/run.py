"""`edupulse run`: the weekly job for landed deliveries."""

from __future__ import annotations

import datetime as dt
import sys
import time
from pathlib import Path

import click

from edupulse_pipelines.cli.answers import error_in_words, print_json, say_error
from edupulse_pipelines.cli.home import settings_of
from edupulse_pipelines.cli.options import command, day_given, json_option
from edupulse_pipelines.cli.tenants import chosen_tenants
from edupulse_pipelines.cli.weekly_job import accept_removals, late_weeks, planned_weeks, run_plan, week_in_words
from edupulse_pipelines.errors import EduPulseError
from edupulse_pipelines.settings import TenantSettings, forget_keeper
from edupulse_pipelines.weeks import last_closed_week, week_start


@click.command()
@click.option("--tenant", "tenant_name", help="Only this tenant.  [default: all, one after another]")
@click.option(
    "--week", metavar="ANY-DATE", help="The week that contains this date (YYYY-MM-DD).  [default: the last closed week]"
)
@click.option("--all", "every_week", is_flag=True, help="Every closed week that has a landed delivery, in one run.")
@click.option(
    "--rescore", is_flag=True, help="Score with the active model also weeks it was trained on; the rows are marked."
)
@click.option(
    "--accept-removals",
    "accepted",
    metavar="DELIVERY",
    multiple=True,
    help="What the snapshots of this delivery (YYYY-MM-DD) no longer hold is really gone. May be given several times.",
)
@json_option
@command
def run(
    tenant_name: str | None,
    week: str | None,
    every_week: bool,
    rescore: bool,
    accepted: tuple[str, ...],
    as_json: bool,
    home: Path | None,
) -> None:
    """The weekly job for landed deliveries: files to predictions.

    Safe to repeat: files that are known by their content are only counted again. A failing tenant does not stop
    the others.
    """
    from edupulse_pipelines.cli.output.drawing import console

    if week is not None and every_week:
        raise click.UsageError("--week and --all exclude each other.")
    day = day_given(week, "--week")
    removals = [found for text in accepted if (found := day_given(text, "--accept-removals")) is not None]
    forget_keeper()
    settings = settings_of(home)
    tenants = chosen_tenants(settings, tenant_name, as_json=as_json)
    if removals and len(tenants) > 1:
        raise click.UsageError("--accept-removals is about one district's deliveries: name it with --tenant.")
    on = console(to_stderr=as_json)
    broken = 0 if tenant_name else len(settings.broken_tenants)
    failed = broken
    for tenant in tenants:
        try:
            if day is not None:
                _refuse_week(tenant, week_start(day))
            accept_removals(settings, tenant, removals)
            plan = planned_weeks(
                tenant, week=week_start(day) if day else None, every_week=every_week, accepted=removals
            )
            if not plan.weeks and day is None:
                plan = late_weeks(settings, tenant, plan)
            summary = run_plan(settings, tenant, plan, rescore=rescore, on=on, started=time.monotonic(), home=home)
        except Exception as error:  # whatever it is, it is this district's alone
            if len(tenants) + broken == 1:
                raise
            say_error(_in_words(error, tenant))
            failed += 1
            continue
        failed += not summary["success"]
        if as_json:
            print_json(summary)
    if (count := len(tenants) + broken) > 1:
        on.print(f"{count - failed} of {count} tenants done." + (f" [red]{failed} failed.[/]" if failed else ""))
    sys.exit(1 if failed else 0)


def _in_words(error: Exception, tenant: TenantSettings) -> str:
    """What to say of an error, with the tenant's name."""
    words = error_in_words(error)
    return words if isinstance(error, EduPulseError) and error.tenant is not None else f"{tenant.name}: {words}"


def _refuse_week(tenant: TenantSettings, week: dt.date) -> None:
    if week > last_closed_week(tenant.timezone):
        raise click.BadParameter(
            f"the week {week_in_words(week)} is still open in {tenant.timezone}; it can run once its Sunday has "
            "passed.",
            param_hint="--week",
        )
    if week < tenant.first_week:
        raise click.BadParameter(
            f"{tenant.name} begins with the week of {tenant.first_week} (first_week).", param_hint="--week"
        )
