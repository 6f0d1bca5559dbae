"""The `edupulse` command: what to type, and how it ends. The work is done elsewhere and imported when a command runs.

Exit codes: 0 done, 1 the work failed, 2 wrong usage. An error a person can act on is one message, never a traceback.
"""

from __future__ import annotations

import datetime as dt
import functools
import json
import logging
import os
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edupulse_pipelines import __version__
from edupulse_pipelines.errors import ConfigurationError, EduPulseError
from edupulse_pipelines.settings import Settings, TenantSettings, load_settings, quiet_libraries
from edupulse_pipelines.weeks import WEEK, last_closed_week, week_start, weeks_between

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from edupulse_pipelines.ingest.landing import Delivery

DEFAULT_SEED = 20260901
_Command = TypeVar("_Command", bound=Callable[..., Any])


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="edupulse")
def main() -> None:
    """From a school district's weekly files to validated tables, features and explained risk predictions.

    \b
    Try it:         edupulse demo
    Your own data:  write <home>/edupulse.toml, land files in <landing>/<date>/<table>.csv, then
                    edupulse run --all
    Look at it:     edupulse dev

    The home is --home, else EDUPULSE_HOME, else ./.edupulse. The database is EDUPULSE_DATABASE_URL, else
    SQLite in the home.

    Exit codes: 0 done, 1 the work failed, 2 wrong usage.
    """
    quiet_libraries()


def command(function: _Command) -> _Command:
    """What every command has: `--home`, errors in words, exit codes."""

    @click.option(
        "--home",
        type=click.Path(file_okay=False, path_type=Path),
        help="Where landing, raw archive, SQLite files and models lie.  [default: EDUPULSE_HOME, else ./.edupulse]",
    )
    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        warnings.filterwarnings("ignore")  # libraries' notices to programmers
        logging.getLogger("alembic").setLevel(logging.WARNING)
        try:
            return function(*args, **kwargs)
        except EduPulseError as error:
            _say_error(str(error))
            sys.exit(error.exit_code)
        except KeyboardInterrupt:
            _say_error("Interrupted. What had been merged stays; running again goes on from there.")
            sys.exit(1)

    return guarded  # type: ignore[return-value]


json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object as the last line, for scripts."
)


def district_options(function: _Command) -> _Command:
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


@main.command()
@district_options
@json_option
@command
def demo(students: int, weeks: int, seed: int, as_json: bool, home: Path | None) -> None:
    """A synthetic district, run from its files to its predictions.

    Makes landing files and an edupulse.toml with tenant `demo` in the home, runs every week through the Dagster
    assets, and shows what was found. Asked for another size or seed, or in a new week, it replaces the
    demo's data, and only those.
    """
    from edupulse_pipelines import console
    from edupulse_pipelines import demo as demo_district

    started = time.monotonic()
    on = console.console(to_stderr=as_json)
    before = load_settings(home=home)
    asked = demo_district.demo_district(students, weeks, seed)
    on.print(f"[bold]EduPulse demo[/]  [dim]{asked}[/]")
    on.print(f"in {before.home}", style="dim", markup=False, soft_wrap=True)
    with _generating(on, weeks) as progress:
        settings = demo_district.prepare(before, asked, notice=on.print, progress=progress)
    tenant = settings.tenant(demo_district.TENANT)
    plan = _plan(tenant, week=None, every_week=True)
    summary = _run(settings, tenant, plan, rescore=False, on=on, started=started)
    if summary["success"]:
        console.show_where_to_look(on, _own_name(), home)
    if as_json:
        _print_json(summary)
    sys.exit(0 if summary["success"] else 1)


@main.command()
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="An empty or new folder.")
@district_options
@json_option
@command
def generate(out: Path, students: int, weeks: int, seed: int, as_json: bool, home: Path | None) -> None:
    """Landing files of a synthetic district, and nothing else: OUT/<date>/<table>.csv."""
    from edupulse_pipelines import console
    from edupulse_pipelines.demo import TIMEZONE
    from edupulse_pipelines.sources.synthetic_district import first_week, generate_district

    started = time.monotonic()
    on = console.console(to_stderr=as_json)
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
        _print_json(
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


@main.command()
@click.option("--tenant", "tenant_name", help="Only this tenant.  [default: all, one after another]")
@click.option(
    "--week", metavar="ANY-DATE", help="The week that contains this date (YYYY-MM-DD).  [default: the last closed week]"
)
@click.option("--all", "every_week", is_flag=True, help="Every closed week that has a landed delivery, in one run.")
@click.option(
    "--rescore", is_flag=True, help="Score with the active model also weeks it was trained on; the rows are marked."
)
@json_option
@command
def run(
    tenant_name: str | None, week: str | None, every_week: bool, rescore: bool, as_json: bool, home: Path | None
) -> None:
    """The weekly job for landed deliveries: files to predictions.

    Safe to repeat: files that are known by their content are only counted again. A failing tenant does not stop
    the others.
    """
    from edupulse_pipelines import console

    if week is not None and every_week:
        raise click.UsageError("--week and --all exclude each other.")
    day = _date(week)
    settings = load_settings(home=home)
    if not settings.tenants:
        raise ConfigurationError(
            f"There is no {settings.config_path}, so no tenant to run. `edupulse demo` makes one; README.md says "
            "how to write yours."
        )
    tenants = [settings.tenant(tenant_name)] if tenant_name else list(settings.tenants.values())
    if as_json and len(tenants) > 1:
        raise click.UsageError("--json with several tenants needs --tenant.")
    for tenant in tenants:
        if day is not None:
            _refuse_week(tenant, week_start(day))
    on = console.console(to_stderr=as_json)
    failed = 0
    for tenant in tenants:
        try:
            plan = _plan(tenant, week=week_start(day) if day else None, every_week=every_week)
            summary = _run(settings, tenant, plan, rescore=rescore, on=on, started=time.monotonic())
        except EduPulseError as error:
            if len(tenants) == 1:
                raise
            _say_error(str(error) if tenant.name in str(error) else f"{tenant.name}: {error}")
            failed += 1
            continue
        failed += not summary["success"]
        if as_json:
            _print_json(summary)
    if len(tenants) > 1:
        on.print(
            f"{len(tenants) - failed} of {len(tenants)} tenants done."
            + (f" [red]{failed} failed.[/]" if failed else "")
        )
    sys.exit(1 if failed else 0)


@main.command()
@click.option(
    "--dagster-port", type=click.IntRange(1, 65535), default=3000, show_default=True, help="Port of the Dagster UI."
)
@click.option(
    "--mlflow-port", type=click.IntRange(1, 65535), default=5000, show_default=True, help="Port of the MLflow UI."
)
@command
def dev(dagster_port: int, mlflow_port: int, home: Path | None) -> None:
    """The Dagster and the MLflow UI over the home, on this machine only, until Ctrl-C.

    The weekly schedule runs while this does.
    """
    from edupulse_pipelines import console
    from edupulse_pipelines.orchestration.execution import prepare_dagster_home
    from edupulse_pipelines.orchestration.resources import Database
    from edupulse_pipelines.orchestration.servers import Server, development_servers, serve

    settings = load_settings(home=home, placeholder=True)
    on = console.console()
    prepare_dagster_home(settings.dagster_home)
    settings.mlflow_dir.mkdir(parents=True, exist_ok=True)
    with Database(settings.database_url).engine():
        pass  # an empty database gets its schema, one behind is told now rather than in a failed run
    servers = development_servers(settings, dagster_port, mlflow_port)
    on.print(
        f"[dim]Starting over {settings.home}; logs in {settings.home / 'logs'}. Ctrl-C stops both.[/]", soft_wrap=True
    )

    def ready(server: Server) -> None:
        on.print(f"  [green]✓[/] {server.name:<10} {server.url}")

    if settings.tracking_uri.startswith("http"):
        on.print(f"  [dim]-[/] {'MLflow':<10} runs elsewhere (MLFLOW_TRACKING_URI)")
    serve(servers, settings, ready=ready, stopping=lambda: on.print("[dim]Stopping …[/]"))
    on.print("Stopped.")


@main.group()
def db() -> None:
    """The database's schema: bring it up to date, ask where it is, compare it."""


@db.command("upgrade")
@json_option
@command
def db_upgrade(as_json: bool, home: Path | None) -> None:
    """Bring the database to the schema that this version needs. Nothing happens when it is there."""
    from edupulse_pipelines.schema import migrations

    with _engine(home) as engine:
        before, head = migrations.current(engine), migrations.head()
        if before != head:
            migrations.upgrade(engine)
    said = f"Already at {head}." if before == head else f"Upgraded from {before or 'empty'} to {head}."
    _answer(said, {"before": before, "current": head, "head": head}, as_json)


@db.command("current")
@json_option
@command
def db_current(as_json: bool, home: Path | None) -> None:
    """The schema revision of the database, and the one that this version needs. Exit 1 when they differ."""
    from edupulse_pipelines.schema import migrations

    with _engine(home) as engine:
        current, head = migrations.current(engine), migrations.head()
    behind = "" if current == head else f" This version needs {head}: run `edupulse db upgrade`."
    _answer(f"{current or 'No schema.'}{behind}", {"current": current, "head": head}, as_json)
    sys.exit(0 if current == head else 1)


@db.command("check")
@json_option
@command
def db_check(as_json: bool, home: Path | None) -> None:
    """Compare the database with the declared tables, constraints, indexes and triggers. Exit 1 when they differ."""
    from edupulse_pipelines import console
    from edupulse_pipelines.schema import migrations

    with _engine(home) as engine:
        differences = migrations.check(engine)
    if differences and not as_json:
        console.show_lines(console.console(), f"{len(differences)} differences", differences)
    else:
        _answer("The database is as declared.", {"differences": differences}, as_json)
    sys.exit(1 if differences else 0)


@dataclass(frozen=True)
class Plan:
    """Which weeks of a tenant to run, and what to say about the landing folder first."""

    weeks: list[dt.date]
    """From the first to the last, one run; empty when there is nothing to do."""
    with_delivery: list[dt.date]
    notices: list[str]


def _plan(tenant: TenantSettings, *, week: dt.date | None, every_week: bool) -> Plan:
    """The weeks (Mondays) of a run. LandingError for a landing folder that is missing or holds what cannot be."""
    from edupulse_pipelines.ingest.landing import ignored_folders, landed_deliveries

    closed = last_closed_week(tenant.timezone)
    deliveries = landed_deliveries(tenant)
    landed = sorted({delivery.week for delivery in deliveries if delivery.week <= closed})
    if every_week:
        weeks = list(weeks_between(landed[0], landed[-1])) if landed else []
    else:
        chosen = week or closed
        weeks = [chosen] if chosen in landed else []
    notices = _landing_notices(deliveries, ignored_folders(tenant), weeks, closed)
    if not weeks:
        asked = "" if every_week else f" for the week {_week_in_words(week or closed)}"
        known = f" Landed weeks: {landed[0]} to {landed[-1]} (--week, or --all)." if landed and not every_week else ""
        notices.append(f"{tenant.name}: there is no delivery{asked} in {tenant.landing}.{known}")
    return Plan(weeks, [one for one in weeks if one in landed], notices)


def _landing_notices(
    deliveries: Sequence[Delivery], ignored: Sequence[str], weeks: Sequence[dt.date], closed: dt.date
) -> list[str]:
    """What a person would want to know about the landing folder before the run."""
    notices = []
    waiting = [delivery.delivered_on for delivery in deliveries if delivery.week > closed]
    if waiting:
        notices.append(f"Waiting until its week closes: delivery {', '.join(map(str, waiting))}.")
    unknown = [
        f"{one.delivered_on}/{name}" for one in deliveries if one.week in set(weeks) for name in one.unknown_files
    ]
    if unknown:
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        notices.append(f"Not a table's file, left alone: {', '.join(unknown[:5])}{more}.")
    if ignored:
        notices.append(f"Not a delivery date, left alone: {', '.join(ignored[:5])}{' …' if len(ignored) > 5 else ''}.")
    return notices


def _refuse_week(tenant: TenantSettings, week: dt.date) -> None:
    if week > last_closed_week(tenant.timezone):
        raise click.BadParameter(
            f"the week {_week_in_words(week)} is still open in {tenant.timezone}; it can run once its Sunday has "
            "passed.",
            param_hint="--week",
        )
    if week < tenant.first_week:
        raise click.BadParameter(
            f"{tenant.name} begins with the week of {tenant.first_week} (first_week).", param_hint="--week"
        )


def _run(
    settings: Settings, tenant: TenantSettings, plan: Plan, *, rescore: bool, on: Console, started: float
) -> dict[str, Any]:
    """Run the plan, drawing it; the summary."""
    from rich.markup import escape

    from edupulse_pipelines import console
    from edupulse_pipelines.orchestration.execution import RunOutcome, run_weekly_job, summarise
    from edupulse_pipelines.orchestration.resources import Database

    for notice in plan.notices:
        on.print(f"[yellow]![/] {escape(notice)}", soft_wrap=True)
    with Database(settings.database_url).engine():
        pass  # before the first step: down, behind or empty is one message, not fourteen failed steps
    if not plan.weeks:
        return summarise(settings, tenant, RunOutcome(weeks=[]))
    console.headline(on, tenant.name, plan.weeks)
    with _libraries_to_log(settings), console.ConsoleProgress(on) as progress:
        outcome = run_weekly_job(settings, tenant, plan.weeks, plan.with_delivery, rescore=rescore, progress=progress)
    summary = {**summarise(settings, tenant, outcome), "seconds": round(time.monotonic() - started, 2)}
    console.show_summary(on, summary)
    return summary


@contextmanager
def _libraries_to_log(settings: Settings) -> Iterator[None]:
    """What libraries write to stderr while a run is drawn goes to a file in the home."""
    log = settings.home / "logs" / "run.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as stream, redirect_stderr(stream):
        yield


@contextmanager
def _generating(on: Console, weeks: int) -> Iterator[Callable[[int, int], None]]:
    """Progress of writing a synthetic district."""
    from edupulse_pipelines.console import GENERATING, ConsoleProgress

    with ConsoleProgress(on) as progress:
        progress.begin(GENERATING)
        yield lambda done, total: progress.advanced(done, total, "weeks written")


@contextmanager
def _engine(home: Path | None) -> Iterator[Any]:
    """An engine as it is: no schema is made, none is demanded."""
    from edupulse_pipelines.database import create_engine, reachable

    engine = create_engine(load_settings(home=home).database_url)
    try:
        with reachable(engine):
            yield engine
    finally:
        engine.dispose()


def _date(text: str | None) -> dt.date | None:
    try:
        return None if text is None else dt.date.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a date like 2026-03-09.", param_hint="--week") from None


def _week_in_words(week: dt.date) -> str:
    return f"{week} to {week + WEEK - dt.timedelta(days=1)}"


def _own_name() -> str:
    """How this command was called, so that what it suggests can be typed."""
    called = Path(sys.argv[0])
    found = shutil.which("edupulse")
    if found is None or Path(found).resolve() != called.resolve():
        return os.path.relpath(called) if called.name == "edupulse" else "edupulse"
    return "edupulse"


def _answer(said: str, facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        _print_json(facts)
    else:
        click.echo(said)


def _print_json(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def _say_error(message: str) -> None:
    from rich.console import Console
    from rich.markup import escape

    Console(stderr=True, highlight=False).print(f"[red]Error:[/] {escape(message)}", soft_wrap=True)


if __name__ == "__main__":
    main()
