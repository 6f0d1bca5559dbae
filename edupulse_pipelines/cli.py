"""The `edupulse` command: what to type, and how it ends. The work is done elsewhere and imported when a command runs.

Exit codes: 0 done, 1 the work failed, 2 wrong usage. An error a person can act on is one message, never a traceback.
"""

from __future__ import annotations

import datetime as dt
import functools
import json
import logging
import os
import shlex
import shutil
import sys
import time
import uuid
import warnings
from collections.abc import Callable, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edupulse_pipelines import __version__
from edupulse_pipelines.errors import ConfigurationError, EduPulseError
from edupulse_pipelines.schema.tables import RECORD_TABLES
from edupulse_pipelines.settings import Settings, TenantSettings, load_settings, quiet_libraries
from edupulse_pipelines.weeks import WEEK, last_closed_week, week_start, weeks_between

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console
    from sqlalchemy.engine import Engine

    from edupulse_pipelines.ingest.landing import Delivery
    from edupulse_pipelines.risk.book.champion import ChampionChange
    from edupulse_pipelines.risk.book.mirror import ModelRow
    from edupulse_pipelines.risk.book.registry import Registry

DEFAULT_SEED = 20260901
ATTENDANCE = "attendance_records"
"""The one table that is partitioned by month."""
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
    summary = _run(settings, tenant, plan, rescore=False, on=on, started=started, home=home)
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
    tenants = _tenants(settings, tenant_name, as_json=as_json)
    for tenant in tenants:
        if day is not None:
            _refuse_week(tenant, week_start(day))
    on = console.console(to_stderr=as_json)
    failed = 0
    for tenant in tenants:
        try:
            plan = _plan(tenant, week=week_start(day) if day else None, every_week=every_week)
            summary = _run(settings, tenant, plan, rescore=rescore, on=on, started=time.monotonic(), home=home)
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
def quarantine() -> None:
    """Rows that were not loaded: what is wrong with them, and how to bring them in.

    \b
    Look:           edupulse quarantine list
    Mend the rows:  edupulse quarantine export --out mend   (edit mend/<table>.csv)
                    edupulse quarantine replay mend/*.csv
    Or the rule:    edit edupulse.toml (a code the profile does not map, say), then
                    edupulse quarantine replay
    """


table_option = click.option(
    "--table", "tables", type=click.Choice(RECORD_TABLES), multiple=True, help="Only rows of this table; repeatable."
)


def tenant_option(said: str) -> Callable[[_Command], _Command]:
    """`--tenant`, and what happens without it."""
    return click.option("--tenant", "tenant_name", help=f"The tenant.  [default: {said}]")


def selection_options(function: _Command) -> _Command:
    """Which rows a quarantine command is about: `--table`, `--reason`, `--file`."""
    for option in (
        click.option(
            "--file", "files", multiple=True, metavar="[DATE/]NAME", help="Only rows of this file; repeatable."
        ),
        click.option(
            "--reason",
            "reasons",
            multiple=True,
            metavar="RULE[:COLUMN]",
            help="Only rows with this reason; repeatable.",
        ),
        table_option,
    ):
        function = option(function)
    return function


@quarantine.command("list")
@tenant_option("all, one after another")
@selection_options
@click.option("--all", "closed", is_flag=True, help="Also rows that were replayed, or whose file was replaced.")
@json_option
@command
def quarantine_list(
    tenant_name: str | None,
    tables: tuple[str, ...],
    reasons: tuple[str, ...],
    files: tuple[str, ...],
    closed: bool,
    as_json: bool,
    home: Path | None,
) -> None:
    """How many rows are in quarantine, by table, reason and file, and what to do about it. No row's content."""
    from edupulse_pipelines import console
    from edupulse_pipelines.ingest import quarantine as rows
    from edupulse_pipelines.schema.reasons import reason_for
    from edupulse_pipelines.storage.work import Work

    settings = load_settings(home=home)
    tenants = _tenants(settings, tenant_name, as_json=as_json)
    selection = rows.Selection(tables, reasons, files, closed=closed)
    with _filled_database(settings) as engine:
        for tenant in tenants:
            tallies: list[rows.Tally] = []
            replays: list[rows.Replay] | None = [] if closed else None
            if engine is not None:
                with engine.connect() as connection:
                    tallies = rows.tallies(connection, Work(engine, tenant.name), selection)
                    replays = rows.replays(connection, Work(engine, tenant.name), selection) if closed else None
            if not as_json:
                console.show_quarantine(console.console(), tenant.name, tallies, replays, tenant.timezone)
                continue
            known = {
                code: {"meaning": reason.meaning, "fix": reason.fix, "heals": reason.heals}
                for code in sorted({code for tally in tallies for code in tally.reasons})
                if (reason := reason_for(code)) is not None
            }
            oldest = min((tally.oldest for tally in tallies if tally.oldest), default=None)
            _print_json(
                {
                    "tenant": tenant.name,
                    "open": sum(tally.open for tally in tallies),
                    "corrected": sum(tally.corrected for tally in tallies),
                    "oldest": oldest.isoformat() if oldest else None,
                    "rows": [
                        {**vars(tally), "oldest": tally.oldest.isoformat() if tally.oldest else None}
                        for tally in tallies
                    ],
                    "reasons": known,
                    "replays": [
                        {**vars(replay), "replayed_at": replay.replayed_at.isoformat()} for replay in replays or []
                    ],
                }
            )


@quarantine.command("show")
@tenant_option("the only one there is")
@selection_options
@click.option("--line", "lines", type=click.IntRange(1), multiple=True, help="Only this line of the file; repeatable.")
@click.argument("ids", metavar="[ID]...", type=click.UUID, nargs=-1)
@click.option("--all", "closed", is_flag=True, help="Also rows that were replayed, or whose file was replaced.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="At most so many rows.")
@click.option(
    "--values/--no-values",
    default=None,
    help="Whether to show what stands in the rows.  [default: on a terminal only]",
)
@json_option
@command
def quarantine_show(
    tenant_name: str | None,
    tables: tuple[str, ...],
    reasons: tuple[str, ...],
    files: tuple[str, ...],
    lines: tuple[int, ...],
    ids: tuple[uuid.UUID, ...],
    closed: bool,
    limit: int,
    values: bool | None,
    as_json: bool,
    home: Path | None,
) -> None:
    """Single rows as they came, with their reasons and what became of them.

    This is the one command that shows student records: name the rows you need. Into a file or a log it
    writes none, unless --values asks for them.
    """
    from edupulse_pipelines import console
    from edupulse_pipelines.ingest import quarantine as rows
    from edupulse_pipelines.storage.work import Work

    shown = sys.stdout.isatty() if values is None else values
    if shown and not (tables or reasons or files or lines or ids):
        raise click.UsageError("Say which rows: an ID, --table, --reason, --file or --line (or --no-values).")
    settings = load_settings(home=home)
    tenant = _one_tenant(settings, tenant_name)
    selection = rows.Selection(tables, reasons, files, lines, ids, closed=closed or bool(ids))
    on = console.console(to_stderr=as_json)
    found: list[dict[str, Any]] = []
    total = 0
    with _filled_database(settings) as engine:
        if engine is not None:
            with engine.connect() as connection:
                total = sum(
                    tally.open + tally.replayed + tally.superseded
                    for tally in rows.tallies(connection, Work(engine, tenant.name), selection)
                )
                if shown and total and not as_json:
                    on.print("[yellow]![/] Student records: for your eyes, not for tickets, mails or logs.")
                for row in rows.selected(connection, Work(engine, tenant.name), selection, limit):
                    if as_json:
                        found.append(_row_facts(row, values=shown))
                        continue
                    on.print()
                    console.show_row(
                        on,
                        row,
                        tenant.timezone,
                        values=shown,
                        canonical=functools.partial(tenant.profile.canonical_name, row.table_name),
                    )
    if as_json:
        _print_json({"tenant": tenant.name, "matching": total, "rows": found})
    elif not total:
        on.print("No row in quarantine matches.")
    elif total > limit:
        on.print(f"\n[dim]{limit:,} of {total:,} rows; --limit shows more.[/]")
    if total and not shown and not as_json:
        on.print("\n[dim]Their values are left out; --values shows them.[/]")


@quarantine.command("export")
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="A folder, or one .csv for rows of one table."
)
@tenant_option("the only one there is")
@selection_options
@json_option
@command
def quarantine_export(
    out: Path,
    tenant_name: str | None,
    tables: tuple[str, ...],
    reasons: tuple[str, ...],
    files: tuple[str, ...],
    as_json: bool,
    home: Path | None,
) -> None:
    """Write rows to CSVs that can be mended in a spreadsheet, one for each table. Only you can read them.

    Each line says which row it is (_quarantine_id, _file, _line: leave them as they are) and why it is here; then come
    the columns of its file. A row that does not fit the header of its file stands in _raw_line as a whole: mend
    it there, or fill in the columns. Comma, UTF-8. Where a spreadsheet would take a cell for a formula it has an
    apostrophe in front, which replay takes away again.
    """
    from edupulse_pipelines import console
    from edupulse_pipelines.ingest import quarantine as rows
    from edupulse_pipelines.ingest.corrections import ExportedFile, export_rows
    from edupulse_pipelines.storage.work import Work

    settings = load_settings(home=home)
    tenant = _one_tenant(settings, tenant_name)
    on = console.console(to_stderr=as_json)
    written: list[ExportedFile] = []
    with _filled_database(settings) as engine:
        if engine is not None:
            with console.ConsoleProgress(on) as progress:
                progress.begin("export")
                selection = rows.Selection(tables, reasons, files)
                written = export_rows(
                    Work(engine, tenant.name), settings.raw_dir, tenant, selection, out, progress.advanced
                )
    if written:
        console.show_exported(on, written, _to_type(f"quarantine replay --tenant {tenant.name}", home))
    else:
        on.print("No row in quarantine matches; nothing was written.")
    if as_json:
        _print_json(
            {
                "tenant": tenant.name,
                "files": {
                    file.table: {"path": str(file.path), "rows": file.rows, "misfits": file.misfits} for file in written
                },
            }
        )


@quarantine.command("replay")
@click.argument(
    "edited", metavar="[FILE.csv]...", type=click.Path(exists=True, dir_okay=False, path_type=Path), nargs=-1
)
@tenant_option("the only one there is")
@table_option
@click.option("--as-typed", is_flag=True, help="Take also cells that read as if a spreadsheet had rewritten them.")
@click.option("--check", "check_only", is_flag=True, help="Only read the files and say what they would correct.")
@json_option
@command
def quarantine_replay(
    edited: tuple[Path, ...],
    tenant_name: str | None,
    tables: tuple[str, ...],
    as_typed: bool,
    check_only: bool,
    as_json: bool,
    home: Path | None,
) -> None:
    """Record what was mended in exported CSVs, then try to load every row in quarantine again.

    All rows are tried under the rules and the profile of today, not only the mended ones. What loads leaves
    quarantine and keeps its entry there: when, by which run, corrected or not. A CSV with a line that cannot be
    taken is refused as a whole. Exit 0 also when rows stay in quarantine.
    """
    from edupulse_pipelines import console
    from edupulse_pipelines.ingest import quarantine as rows
    from edupulse_pipelines.ingest.corrections import CorrectionCounts, read_edited, record_corrections
    from edupulse_pipelines.ingest.load import replay_quarantine
    from edupulse_pipelines.storage.work import Work

    if check_only and not edited:
        raise click.UsageError("--check needs the files to read.")
    started = time.monotonic()
    settings = load_settings(home=home)
    tenant = _one_tenant(settings, tenant_name)
    on = console.console(to_stderr=as_json)
    run_id = f"replay-{uuid.uuid4()}"
    corrections = CorrectionCounts()
    counts: dict[str, Any] = {}
    left: dict[str, dict[str, int]] = {}
    with _filled_database(settings) as engine:
        if engine is None and edited:
            raise EduPulseError("The database is empty: nothing has been loaded, so there is no row to correct.")
        if engine is not None:
            with _libraries_to_log(settings), console.ConsoleProgress(on) as progress:
                if edited:
                    progress.begin("corrections")
                    corrections = record_corrections(
                        Work(engine, tenant.name, run_id),
                        settings.raw_dir,
                        tenant,
                        read_edited(edited),
                        as_typed=as_typed,
                        check_only=check_only,
                        advanced=progress.advanced,
                    )
                    console.show_corrections(on, corrections, recorded=not check_only)
                if not check_only:
                    progress.begin("replay")
                    counts = replay_quarantine(
                        Work(engine, tenant.name, run_id), settings.raw_dir, tenant, tables=list(tables) or None
                    )
            counts = {table: count for table, count in counts.items() if count.tried}
            with engine.connect() as connection:
                for tally in rows.tallies(connection, Work(engine, tenant.name), rows.Selection(tuple(counts))):
                    for reason in tally.reasons:
                        of_table = left.setdefault(tally.table, {})
                        of_table[reason] = of_table.get(reason, 0) + tally.open
    left = {table: dict(sorted(found.items(), key=lambda item: (-item[1], item[0]))) for table, found in left.items()}
    loaded = sum(count.loaded for count in counts.values())
    if counts:
        console.show_replay(on, counts, left)
    elif not check_only:
        on.print("Nothing is in quarantine.")
    if loaded:
        on.print("\nFeatures and predictions of the students concerned are brought up to date by")
        on.print(f"  {_to_type(f'run --tenant {tenant.name} --all', home)}", markup=False, soft_wrap=True)
    if as_json:
        _print_json(
            {
                "tenant": tenant.name,
                "corrections": {name: getattr(corrections, name) for name in ("read", "corrected", "unchanged")},
                "tables": {
                    table: {name: getattr(count, name) for name in ("tried", "loaded", "still_quarantined")}
                    for table, count in counts.items()
                },
                "still": left,
                "run_id": run_id if counts else None,
                "seconds": round(time.monotonic() - started, 2),
            }
        )


def _row_facts(row: Any, *, values: bool) -> dict[str, Any]:
    """A quarantined row for `--json`."""
    names = ["id", "table_name", "file_name", "line_number", "reasons", "quarantined_at", "run_id"]
    names += [
        "corrected_at",
        "replayed_at",
        "replay_run_id",
        "superseded_at",
        *(["raw", "corrected"] if values else []),
    ]
    facts = {name: getattr(row, name) for name in names}
    return {
        name: value.isoformat() if isinstance(value, dt.datetime) else str(value) if name == "id" else value
        for name, value in facts.items()
    }


@main.group()
def model() -> None:
    """The risk models of a tenant: which there are, how good they are, and which one is champion.

    \b
    Look:           edupulse model list
                    edupulse model show            (the champion, or a VERSION)
                    edupulse model card --html --out card.html
    Decide:         edupulse model promote VERSION --reason "…"
                    edupulse model rollback --reason "…"
    Check:          edupulse model sync            (--apply mends)
                    edupulse model reproduce VERSION
    Ask educators:  edupulse model reviews --out reviews.csv
    """


version_argument = click.argument("version", metavar="[VERSION]", required=False)
reason_option = click.option(
    "--reason", required=True, help="Why, for those who read the decision later. Name no student."
)


@model.command("list")
@tenant_option("all, one after another")
@json_option
@command
def model_list(tenant_name: str | None, as_json: bool, home: Path | None) -> None:
    """Every model, oldest first: what it knew, how good it was on held-out weeks, and whether it is champion."""
    from edupulse_pipelines import console
    from edupulse_pipelines.risk.book import mirror

    settings = load_settings(home=home)
    tenants = _tenants(settings, tenant_name, as_json=as_json)
    with _filled_database(settings) as engine:
        for tenant in tenants:
            rows = mirror.model_rows(engine, tenant.name) if engine is not None else []
            if as_json:
                _print_json({"tenant": tenant.name, "models": [_model_facts(row) for row in rows]})
            else:
                console.show_models(console.console(), tenant.name, [_model_facts(row) for row in rows])


@model.command("show")
@version_argument
@tenant_option("the only one there is")
@json_option
@command
def model_show(version: str | None, tenant_name: str | None, as_json: bool, home: Path | None) -> None:
    """One model beside the simple rule, and every decision about it.  VERSION defaults to the champion."""
    from edupulse_pipelines import console
    from edupulse_pipelines.risk.judging.promotion import decisions

    with _models(home, tenant_name) as (_, tenant, engine):
        row = _model_row(engine, tenant, version)
        with engine.connect() as connection:
            decided = [
                {
                    "decided_at": one.decided_at.isoformat(),
                    "kind": one.kind,
                    "promoted": one.promoted,
                    "previous_version": one.previous_version,
                    "reason": one.reason,
                    "numbers": one.numbers,
                    "run_id": one.run_id,
                }
                for one in decisions(connection, tenant.name, row.model_version)
            ]
        facts = {
            "tenant": tenant.name,
            **_model_facts(row),
            "metrics": row.performance_metrics,
            "data_hash": row.hyperparameters.get("data_hash"),
            "settings_hash": row.hyperparameters.get("settings_hash"),
            "mlflow": row.mlflow,
            "decisions": decided,
        }
    if as_json:
        _print_json(facts)
    else:
        console.show_model_facts(console.console(), facts, tenant.timezone)


@model.command("card")
@version_argument
@tenant_option("the only one there is")
@click.option("--html", "as_html", is_flag=True, help="The page with the plots instead of the markdown text.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write it to a file.")
@json_option
@command
def model_card(
    version: str | None, tenant_name: str | None, as_html: bool, out: Path | None, as_json: bool, home: Path | None
) -> None:
    """The model card: intended use, data, figures by subgroup, limits.  VERSION defaults to the champion."""
    from edupulse_pipelines.risk.book.registry import CARD_DOCUMENTS

    form = "html" if as_html else "markdown"
    with _models(home, tenant_name) as (settings, tenant, engine):
        row = _model_row(engine, tenant, version)
        run = row.mlflow.get("run_id")
        card = _registry(settings).run_document(run, CARD_DOCUMENTS[form]) if run else None
    if card is None:
        raise EduPulseError(f"MLflow holds no card of model {row.model_version} ({CARD_DOCUMENTS[form]} of its run).")
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(card, encoding="utf-8")
    if as_json:
        facts = {"tenant": tenant.name, "version": row.model_version, "format": form}
        _print_json({**facts, "path": str(out)} if out else {**facts, "card": card})
    else:
        click.echo(f"Written to {out}." if out else card, nl=out is not None)


@model.command("promote")
@click.argument("version")
@tenant_option("the only one there is")
@reason_option
@json_option
@command
def model_promote(version: str, tenant_name: str | None, reason: str, as_json: bool, home: Path | None) -> None:
    """Make a model champion, whatever the promotion gate said. Recorded with your reason.

    Promoted models with newer data than this one do not score any more. Weeks that are scored already keep their
    predictions.
    """
    from edupulse_pipelines.risk.book.champion import make_champion

    with _models(home, tenant_name) as (settings, tenant, engine):
        change = make_champion(engine, tenant, _registry(settings), version, kind="promote", reason=reason)
    _say_change(tenant.name, change, as_json)


@model.command("rollback")
@tenant_option("the only one there is")
@reason_option
@json_option
@command
def model_rollback(tenant_name: str | None, reason: str, as_json: bool, home: Path | None) -> None:
    """Make the champion before this one champion again. Recorded with your reason; repeat to go back further."""
    from edupulse_pipelines.risk.book.champion import rollback

    with _models(home, tenant_name) as (settings, tenant, engine):
        change = rollback(engine, tenant, _registry(settings), reason=reason)
    _say_change(tenant.name, change, as_json)


@model.command("sync")
@tenant_option("all, one after another")
@click.option("--apply", "apply", is_flag=True, help="Mend what differs; without it nothing changes.")
@click.option(
    "--from",
    "source",
    type=click.Choice(["table", "registry"]),
    default="table",
    show_default=True,
    help="Which side is right where they contradict each other: model_metadata, or MLflow.",
)
@json_option
@command
def model_sync(tenant_name: str | None, apply: bool, source: str, as_json: bool, home: Path | None) -> None:
    """Compare MLflow with the table of models, and check the files of every model. Exit 1 when something differs.

    Models that are gone from one side come back from the other: a row from the record of the run, a registered
    version from the files. What cannot come back is set aside and never chosen again. Nothing is deleted.
    """
    from edupulse_pipelines import console
    from edupulse_pipelines.risk.book import mirror

    settings = load_settings(home=home)
    tenants = _tenants(settings, tenant_name, as_json=as_json)
    left = 0
    with _filled_database(settings) as engine:
        if engine is None:
            raise EduPulseError("The database is empty: `edupulse db upgrade` makes its tables.")
        for tenant in tenants:
            found = mirror.sync(engine, tenant, _registry(settings), apply=apply, source=source)  # type: ignore[arg-type]
            left += sum(one.mended is not True for one in found)
            if as_json:
                _print_json({"tenant": tenant.name, "applied": apply, "differences": [vars(one) for one in found]})
            else:
                console.show_differences(
                    console.console(), tenant.name, found, _to_type(f"model sync --tenant {tenant.name} --apply", home)
                )
    sys.exit(1 if left else 0)


@model.command("reproduce")
@click.argument("version")
@tenant_option("the only one there is")
@json_option
@command
def model_reproduce(version: str, tenant_name: str | None, as_json: bool, home: Path | None) -> None:
    """Fit a model again from its record, and compare the scores. Exit 1 when they differ. Changes nothing."""
    from edupulse_pipelines.risk.training import reproduce

    with _models(home, tenant_name) as (settings, tenant, engine):
        found = reproduce(engine, tenant, version, _registry(settings))
    _answer(found.sentence, {"tenant": tenant.name, **vars(found), "reproduced": found.reproduced}, as_json)
    sys.exit(0 if found.reproduced else 1)


@model.command("reviews")
@tenant_option("the only one there is")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A new CSV for educators to fill in; it names students.",
)
@json_option
@command
def model_reviews(tenant_name: str | None, out: Path | None, as_json: bool, home: Path | None) -> None:
    """Students drawn at random for review who have no verdict yet: how many, or a CSV to fill in.

    They were not flagged; what educators say of them is how misses become known. Fill in feedback_type
    (true_negative or false_negative), land the file as training_feedback. Only you can read it.
    """
    from edupulse_pipelines.risk.samples.feedback import open_reviews, review_template

    with _models(home, tenant_name) as (_, tenant, engine), engine.connect() as connection:
        reviews = open_reviews(connection, tenant.name)
    count = len(reviews)
    if out is not None and count:
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            # "x": verdicts that somebody has filled in already must not be lost.
            with os.fdopen(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(review_template(reviews, tenant.profile))
        except FileExistsError:
            raise EduPulseError(f"{out} exists already; name a new file.") from None
    written = out if count else None
    said = f"{count:,} open review{'' if count == 1 else 's'}."
    if written:
        said += f" Written to {written}: fill it in, and land it as training_feedback-reviews.csv."
    facts = {"tenant": tenant.name, "open": count, "path": str(written) if written else None}
    _answer(said, facts, as_json)


def _registry(settings: Settings) -> Registry:
    from edupulse_pipelines.risk.book.registry import Registry

    return Registry(settings.tracking_uri, settings.mlflow_dir / "artifacts")


@contextmanager
def _models(home: Path | None, tenant_name: str | None) -> Iterator[tuple[Settings, TenantSettings, Engine]]:
    """What a command about one tenant's models needs."""
    settings = load_settings(home=home)
    tenant = _one_tenant(settings, tenant_name)
    with _filled_database(settings) as engine:
        if engine is None:
            raise EduPulseError("The database is empty: `edupulse db upgrade` makes its tables.")
        yield settings, tenant, engine


def _model_row(engine: Engine, tenant: TenantSettings, version: str | None) -> ModelRow:
    """The row of a model version, or the champion's."""
    from edupulse_pipelines.risk.book.mirror import model_rows

    rows = model_rows(engine, tenant.name)
    found = next((row for row in rows if (row.is_active if version is None else row.model_version == version)), None)
    if found is None:
        said = "has no champion; name a VERSION" if version is None else f"has no model {version}"
        raise EduPulseError(f"{tenant.name} {said} (`edupulse model list` shows which there are).")
    return found


def _model_facts(row: ModelRow) -> dict[str, Any]:
    metrics = row.performance_metrics
    return {
        "version": row.model_version,
        "type": row.model_type,
        "data_through": row.hyperparameters.get("data_through"),
        "trained_at": row.training_date.isoformat(),
        "auc_roc": metrics.get("auc_roc"),
        "precision_at_k10": (metrics.get("precision_at_k") or {}).get("k10"),
        "validation_samples": metrics.get("validation_samples"),
        "promoted": bool(row.hyperparameters.get("promoted")),
        "champion": row.is_active,
        "set_aside": row.set_aside,
        "registry_version": row.registry_version,
    }


def _say_change(tenant_name: str, change: ChampionChange, as_json: bool) -> None:
    said = f"The champion of {tenant_name} is {change.model_version}"
    before = change.previous_version
    said += f" (before: {before})." if before and before != change.model_version else "."
    if change.withdrawn:
        said += f" No longer scoring: {', '.join(change.withdrawn)}."
    _answer(said, {"tenant": tenant_name, **vars(change), "withdrawn": list(change.withdrawn)}, as_json)


@main.group()
def db() -> None:
    """The database: its schema, and on PostgreSQL the months that attendance is partitioned by.

    \b
    Schema:         edupulse db upgrade | current | check
    Months:         edupulse db partitions
                    edupulse db maintain                (so does the job maintain_partitions, weekly)
    Archive one:    edupulse db detach-month 2024-09    (dump its table, then empty it)
                    edupulse db attach-month 2024-09    (and back)
    """


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


_NOT_PARTITIONED = "On SQLite attendance is one table; there are no partitions."


@db.command("partitions")
@json_option
@command
def db_partitions(as_json: bool, home: Path | None) -> None:
    """The months of attendance with rows and size, detached ones too, and what lies in the default partition."""
    from edupulse_pipelines import console
    from edupulse_pipelines.storage import months

    with _database_with_schema(home) as engine, engine.connect() as connection:
        partitioned = months.is_partitioned(connection)
        tables = months.PARTITIONED if partitioned else {}
        stored = {table: months.stored_months(connection, table) for table in tables}
        default = {table: months.default_months(connection, table) for table in tables}
    if as_json:
        listed = {
            table: {
                "months": [{**vars(month), "month": f"{month.month:%Y-%m}"} for month in stored[table]],
                "default": default[table],
            }
            for table in tables
        }
        _print_json({"partitioned": partitioned, "tables": listed})
        return
    if not partitioned:
        click.echo(_NOT_PARTITIONED)
    for table in tables:
        console.show_partitions(console.console(), table, stored[table], default[table])


@db.command("maintain")
@json_option
@command
def db_maintain(as_json: bool, home: Path | None) -> None:
    """Make this month and the following ones, and move rows out of the default partition. Safe to repeat."""
    from edupulse_pipelines.storage import months

    with _database_with_schema(home) as engine:
        done = months.maintain(engine, dt.datetime.now(dt.UTC).date())
    facts = {
        table: {
            "made": of_table.made,
            "moved": {f"{month:%Y-%m}": rows for month, rows in sorted(of_table.moved.items())},
            "left": of_table.left,
        }
        for table, of_table in done.items()
    }
    said = "\n".join(f"{table}: {of_table.in_words}." for table, of_table in done.items())
    _answer(said or _NOT_PARTITIONED, {"partitioned": bool(done), "tables": facts}, as_json)


def _month(_context: click.Context, _parameter: click.Parameter, text: str) -> dt.date:
    try:
        return dt.datetime.strptime(text, "%Y-%m").date()
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a month like 2024-09.") from None


month_argument = click.argument("month", metavar="YYYY-MM", callback=_month)


@db.command("detach-month")
@month_argument
@json_option
@command
def db_detach_month(month: dt.date, as_json: bool, home: Path | None) -> None:
    """Take a month of attendance out of the pipelines' sight, into a table of its own, for archiving.

    Waits for loads that are under way. What has been computed from the month (weekly activity, features, predictions)
    stays. Dump the table, then TRUNCATE it: while it stands, rows of the month that are delivered go to quarantine
    (`detached_month`). DROP it, and the month is like one that never was.
    """
    from edupulse_pipelines.storage import months

    with _database_with_schema(home) as engine:
        detached = months.detach_month(engine, ATTENDANCE, month)
    said = f"{month:%Y-%m} is now the table {detached.name}. Dump it, then TRUNCATE it; do not drop it."
    _answer(said, {"month": f"{month:%Y-%m}", "table": detached.name, "attached": False}, as_json)


@db.command("attach-month")
@month_argument
@json_option
@command
def db_attach_month(month: dt.date, as_json: bool, home: Path | None) -> None:
    """Bring back a month of attendance that was detached; its rows are checked again.

    The table has to be there with its rows: restore it from its dump first. The next weekly job computes the weeks of
    the month again.
    """
    from edupulse_pipelines.storage import months

    with _database_with_schema(home) as engine:
        attached = months.attach_month(engine, ATTENDANCE, month)
    said = (
        f"{month:%Y-%m} is back. Rows of the month that wait in quarantine: "
        f"{_to_type(f'quarantine replay --table {ATTENDANCE}', home)}"
    )
    _answer(said, {"month": f"{month:%Y-%m}", "table": attached.name, "attached": True}, as_json)


def _tenants(settings: Settings, name: str | None, *, as_json: bool) -> list[TenantSettings]:
    """The tenant of this name, or all; with `--json` one."""
    if not settings.tenants:
        raise ConfigurationError(
            f"There is no {settings.config_path}, so no tenant. `edupulse demo` makes one; README.md says how to write "
            "yours."
        )
    tenants = [settings.tenant(name)] if name else list(settings.tenants.values())
    if as_json and len(tenants) > 1:
        raise click.UsageError("--json with several tenants needs --tenant.")
    return tenants


def _one_tenant(settings: Settings, name: str | None) -> TenantSettings:
    """The tenant of this name, or the only one."""
    tenants = _tenants(settings, name, as_json=False)
    if len(tenants) > 1:
        raise click.UsageError(f"There are several tenants; --tenant says which ({', '.join(settings.tenants)}).")
    return tenants[0]


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
    console.show_summary(on, summary, look=_to_type(f"quarantine list --tenant {tenant.name}", home))
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
    from edupulse_pipelines.storage.engine import create_engine, reachable

    engine = create_engine(load_settings(home=home).database_url)
    try:
        with reachable(engine):
            yield engine
    finally:
        engine.dispose()


@contextmanager
def _filled_database(settings: Settings) -> Iterator[Engine | None]:
    """An engine over a database at this version's schema; None for an empty one, which stays empty.

    EduPulseError for what the database refuses, without the values it quotes.
    """
    import sqlalchemy as sa

    from edupulse_pipelines.schema.migrations import current, ensure_current
    from edupulse_pipelines.storage.engine import create_engine, reachable

    engine = create_engine(settings.database_url)
    try:
        with reachable(engine):
            if current(engine) is None:
                yield None
            else:
                ensure_current(engine)
                yield engine
    except sa.exc.DBAPIError as error:
        if "locked" in str(error.orig):
            said = "The database is locked: another run has been writing for very long. Try again when it is done."
        else:
            code = getattr(error.orig, "pgcode", None)
            said = (
                f"The database refused a statement ({type(error.orig).__name__}{f', SQLSTATE {code}' if code else ''})."
            )
        raise EduPulseError(said) from None
    finally:
        engine.dispose()


@contextmanager
def _database_with_schema(home: Path | None) -> Iterator[Engine]:
    """An engine over a database at this version's schema; EduPulseError for an empty one."""
    with _filled_database(load_settings(home=home)) as engine:
        if engine is None:
            raise EduPulseError("The database is empty: `edupulse db upgrade` makes its tables.")
        yield engine


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


def _to_type(words: str, home: Path | None) -> str:
    """A command of ours that can be typed as it stands, for the same home."""
    return f"{_own_name()} {words}{f' --home {shlex.quote(str(home))}' if home else ''}"


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
