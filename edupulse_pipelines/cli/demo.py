"""`edupulse demo` and `edupulse generate`: a synthetic district, run or only written."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edupulse_pipelines.cli.answers import own_name, print_json
from edupulse_pipelines.cli.home import settings_of
from edupulse_pipelines.cli.options import Command, command, json_option
from edupulse_pipelines.cli.weekly_job import planned_weeks, run_plan
from edupulse_pipelines.sources import DEFAULT_SEED
from edupulse_pipelines.weeks import last_closed_week

if TYPE_CHECKING:
    from rich.console import Console

GENERATING = "landing files"


def district_options(function: Command) -> Command:
    """What the commands that make a synthetic district take: `--students`, `--weeks`, `--seed`."""
    positive = click.IntRange(1)
    for option in (
        click.option(
            "--seed", type=int, default=DEFAULT_SEED, show_default=True, help="The same seed makes the same district."
        ),
        click.option(
            "--weeks", type=positive, default=36, show_default=True, help="School weeks, up to the last closed one."
        ),
        click.option("--students", type=positive, default=500, show_default=True, help="Students of the district."),
    ):
        function = option(function)
    return function


@click.command()
@district_options
@json_option
@command
def demo(students: int, weeks: int, seed: int, as_json: bool, home: Path | None) -> None:
    """A synthetic district, run from its files to its predictions.

    Makes landing files and an edupulse.toml with tenant `demo` in the home, runs every week through the Dagster
    assets, and shows what was found. Asked for another size or seed, or in a new week, it replaces the
    demo's data, and only those.
    """
    from edupulse_pipelines.cli import demo_home
    from edupulse_pipelines.cli.output.drawing import console
    from edupulse_pipelines.cli.output.summary import show_where_to_look
    from edupulse_pipelines.storage.database import database_of

    started = time.monotonic()
    on = console(to_stderr=as_json)
    before = settings_of(home, make=True)
    if not before.database_url.startswith("sqlite"):
        database_of(before).ensure_current()  # before a file is written
    asked = demo_home.demo_district(students, weeks, seed)
    on.print(f"[bold]EduPulse demo[/]  [dim]{asked}[/]")
    on.print(f"in {before.home}", style="dim", markup=False, soft_wrap=True)
    with _generating(on, weeks) as progress:
        settings = demo_home.prepare(before, asked, notice=on.print, progress=progress)
    tenant = settings.tenant(demo_home.TENANT)
    plan = planned_weeks(tenant, week=None, every_week=True)
    summary = run_plan(settings, tenant, plan, rescore=False, on=on, started=started, home=home)
    if summary["success"]:
        show_where_to_look(on, own_name(), home)
    if as_json:
        print_json(summary)
    sys.exit(0 if summary["success"] else 1)


@click.command()
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="An empty or new folder.")
@district_options
@json_option
@command
def generate(out: Path, students: int, weeks: int, seed: int, as_json: bool, home: Path | None) -> None:
    """Landing files of a synthetic district, and nothing else: OUT/<date>/<table>.csv."""
    from edupulse_pipelines.cli.demo_home import TIMEZONE
    from edupulse_pipelines.cli.output.drawing import console
    from edupulse_pipelines.sources.synthetic_district import first_week, generate_district

    started = time.monotonic()
    on = console(to_stderr=as_json)
    last_week = last_closed_week(TIMEZONE)
    with _generating(on, weeks) as progress:
        summary = generate_district(
            out, students=students, weeks=weeks, seed=seed, last_week=last_week, progress=progress
        )
    start = first_week(weeks, last_week)
    on.print(f"{weeks} deliveries in {out}. To run them, an edupulse.toml needs:", soft_wrap=True)
    on.print(
        f'\n\\[tenants.demo]\ntimezone = "{TIMEZONE}"\nfirst_week = {start}\nlanding = "{out.absolute()}"',
        soft_wrap=True,
    )
    if as_json:
        rows = {str(name): int(count) for name, count in getattr(summary, "rows", {}).items()}
        print_json(
            {
                "out": str(out),
                "weeks": weeks,
                "students": students,
                "seed": seed,
                "first_week": start.isoformat(),
                "rows": rows,
                "seconds": round(time.monotonic() - started, 2),
            }
        )


@contextmanager
def _generating(on: Console, weeks: int) -> Iterator[Callable[[int, int], None]]:
    """Progress of writing a synthetic district."""
    from edupulse_pipelines.cli.output.steps import ConsoleProgress

    with ConsoleProgress(on) as progress:
        progress.begin(GENERATING)
        yield lambda done, total: progress.advanced(done, total, "weeks written")
