"""`edupulse quarantine …`: rows that were not loaded, looked at, exported, corrected and replayed."""

from __future__ import annotations

import datetime as dt
import functools
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edupulse_pipelines.cli.answers import command_to_type, print_json
from edupulse_pipelines.cli.database import works_if_filled
from edupulse_pipelines.cli.home import settings_of
from edupulse_pipelines.cli.options import Command, command, json_option, table_option, tenant_option
from edupulse_pipelines.cli.tenants import chosen_tenant, chosen_tenants
from edupulse_pipelines.cli.weekly_job import libraries_to_log
from edupulse_pipelines.errors import PermanentError

if TYPE_CHECKING:
    from edupulse_pipelines.ingest.load import ReplayCounts
    from edupulse_pipelines.ingest.quarantine import Replay, Tally
    from edupulse_pipelines.storage.work import Work


@click.group()
def quarantine() -> None:
    """Rows that were not loaded: what is wrong with them, and how to bring them in.

    \b
    Look:           edupulse quarantine list
    Mend the rows:  edupulse quarantine export --out mend   (edit mend/<table>.csv)
                    edupulse quarantine replay mend/*.csv
    Or the rule:    edit edupulse.toml (a code the profile does not map, say), then
                    edupulse quarantine replay
    """


def selection_options(function: Command) -> Command:
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
    from edupulse_pipelines.cli.output.drawing import console
    from edupulse_pipelines.cli.output.quarantine import show_quarantine
    from edupulse_pipelines.ingest import quarantine as rows

    settings = settings_of(home)
    tenants = chosen_tenants(settings, tenant_name, as_json=as_json)
    selection = rows.Selection(tables, reasons, files, closed=closed)
    with works_if_filled(settings) as works:
        for tenant in tenants:
            tallies: list[rows.Tally] = []
            replays: list[rows.Replay] | None = [] if closed else None
            if works is not None:
                work = works(tenant.name)
                with work.reading() as connection:
                    tallies = rows.tallies(connection, work, selection)
                    replays = rows.replays(connection, work, selection) if closed else None
            if as_json:
                print_json({"tenant": tenant.name, **_quarantine_facts(tallies, replays or [])})
            else:
                show_quarantine(console(), tenant.name, tallies, replays, tenant.timezone)


def _quarantine_facts(tallies: Sequence[Tally], replays: Sequence[Replay]) -> dict[str, Any]:
    """What `quarantine list --json` says of a tenant's quarantine; no row's content."""
    from edupulse_pipelines.schema.reasons import reason_for

    codes = sorted({code for tally in tallies for code in tally.reasons})
    oldest = min((tally.oldest for tally in tallies if tally.oldest), default=None)
    return {
        "open": sum(tally.open for tally in tallies),
        "corrected": sum(tally.corrected for tally in tallies),
        "oldest": oldest.isoformat() if oldest else None,
        "rows": [{**vars(tally), "oldest": tally.oldest.isoformat() if tally.oldest else None} for tally in tallies],
        "reasons": {
            code: {"meaning": reason.meaning, "fix": reason.fix, "heals": reason.waits}
            for code in codes
            if (reason := reason_for(code)) is not None
        },
        "replays": [{**vars(replay), "replayed_at": replay.replayed_at.isoformat()} for replay in replays],
    }


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

    It shows student records, so name the rows you need. Into a file or a log it writes none, unless --values asks for
    them.
    \f
    Its parameters are its options: click gives each of them by itself.
    """
    from edupulse_pipelines.cli.output.drawing import console
    from edupulse_pipelines.cli.output.quarantine import show_row
    from edupulse_pipelines.ingest import quarantine as rows

    shown = sys.stdout.isatty() if values is None else values
    if shown and not (tables or reasons or files or lines or ids):
        raise click.UsageError("Say which rows: an ID, --table, --reason, --file or --line (or --no-values).")
    settings = settings_of(home)
    tenant = chosen_tenant(settings, tenant_name)
    selection = rows.Selection(tables, reasons, files, lines, ids, closed=closed or bool(ids))
    on = console(to_stderr=as_json)
    facts: list[dict[str, Any]] = []
    total = 0
    with works_if_filled(settings) as works:
        if works is not None:
            work = works(tenant.name)
            with work.reading() as connection:
                tallies = rows.tallies(connection, work, selection)
                total = sum(tally.open + tally.replayed + tally.superseded for tally in tallies)
                if shown and total and not as_json:
                    on.print("[yellow]![/] Student records: for your eyes, not for tickets, mails or logs.")
                for row in rows.selected(connection, work, selection, limit):
                    if as_json:
                        facts.append(_row_facts(row, values=shown))
                        continue
                    on.print()
                    canonical = functools.partial(tenant.profile.canonical_name, row.table_name)
                    show_row(on, row, tenant.timezone, values=shown, canonical=canonical)
    if as_json:
        print_json({"tenant": tenant.name, "matching": total, "rows": facts})
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
    from edupulse_pipelines.cli.output.drawing import console
    from edupulse_pipelines.cli.output.quarantine import show_exported
    from edupulse_pipelines.cli.output.steps import ConsoleProgress
    from edupulse_pipelines.ingest import quarantine as rows
    from edupulse_pipelines.ingest.export import ExportedFile, export_rows

    settings = settings_of(home)
    tenant = chosen_tenant(settings, tenant_name)
    on = console(to_stderr=as_json)
    written: list[ExportedFile] = []
    with works_if_filled(settings) as works:
        if works is not None:
            with ConsoleProgress(on) as progress:
                progress.begin("export")
                selection = rows.Selection(tables, reasons, files)
                work = works(tenant.name)
                written = export_rows(work, settings.raw_dir, tenant, selection, out, progress.advanced)
    if written:
        show_exported(on, written, command_to_type(f"quarantine replay --tenant {tenant.name}", home))
    else:
        on.print("No row in quarantine matches; nothing was written.")
    if as_json:
        print_json(
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
    from edupulse_pipelines.cli.output.drawing import console
    from edupulse_pipelines.cli.output.quarantine import show_corrections, show_replay
    from edupulse_pipelines.cli.output.steps import ConsoleProgress
    from edupulse_pipelines.ingest.corrections import CorrectionCounts, read_edited, record_corrections
    from edupulse_pipelines.ingest.load import replay_quarantine

    if check_only and not edited:
        raise click.UsageError("--check needs the files to read.")
    started = time.monotonic()
    settings = settings_of(home)
    tenant = chosen_tenant(settings, tenant_name)
    on = console(to_stderr=as_json)
    run_id = f"replay-{uuid.uuid4()}"
    corrections = CorrectionCounts()
    counts: dict[str, ReplayCounts] = {}
    left: dict[str, dict[str, int]] = {}
    with works_if_filled(settings) as works:
        if works is None and edited:
            raise PermanentError("The database is empty: nothing has been loaded, so there is no row to correct.")
        if works is not None:
            work = works(tenant.name, run_id)
            with libraries_to_log(settings), ConsoleProgress(on) as progress:
                if edited:
                    progress.begin("corrections")
                    corrections = record_corrections(
                        work,
                        settings.raw_dir,
                        tenant,
                        read_edited(edited),
                        as_typed=as_typed,
                        check_only=check_only,
                        advanced=progress.advanced,
                    )
                    show_corrections(on, corrections, recorded=not check_only)
                if not check_only:
                    progress.begin("replay")
                    counts = replay_quarantine(work, settings.raw_dir, tenant, tables=list(tables) or None)
            counts = {table: count for table, count in counts.items() if count.tried}
            left = _open_rows_by_reason(work, tuple(counts))
    if counts:
        show_replay(on, counts, left)
    elif not check_only:
        on.print("Nothing is in quarantine.")
    if any(count.loaded for count in counts.values()):
        on.print("\nFeatures and predictions of the students concerned are brought up to date by")
        on.print(f"  {command_to_type(f'run --tenant {tenant.name} --all', home)}", markup=False, soft_wrap=True)
    if as_json:
        print_json(
            {
                "tenant": tenant.name,
                "corrections": {name: getattr(corrections, name) for name in ("read", "corrected", "unchanged")},
                "tables": _replay_facts(counts),
                "still": left,
                "run_id": run_id if counts else None,
                "seconds": round(time.monotonic() - started, 2),
            }
        )


@quarantine.command("accept")
@tenant_option("the only one there is")
@click.option("--file", "files", multiple=True, metavar="[DATE/]NAME", help="Rows of this file; repeatable.")
@click.option("--line", "lines", multiple=True, type=int, help="Rows on this line; repeatable.")
@click.option("--id", "ids", multiple=True, type=click.UUID, help="The row with this id; repeatable.")
@click.option("--because", required=True, help="Why it is the same child: a marriage, a correction. Kept with the row.")
@json_option
@command
def quarantine_accept(
    tenant_name: str | None,
    files: tuple[str, ...],
    lines: tuple[int, ...],
    ids: tuple[uuid.UUID, ...],
    because: str,
    as_json: bool,
    home: Path | None,
) -> None:
    """Say that rows of students held back as `another_child` name the child who has the number.

    They are loaded, and so is what was delivered under the number since then.
    """
    from edupulse_pipelines.cli.output.drawing import console
    from edupulse_pipelines.cli.output.quarantine import show_replay
    from edupulse_pipelines.ingest import quarantine as rows
    from edupulse_pipelines.ingest.load import replay_quarantine
    from edupulse_pipelines.ingest.validation import ANOTHER_CHILD

    if not (files or ids):
        raise click.UsageError(
            "Say which rows, by --file (and --line) or by --id; `edupulse quarantine show` has them."
        )
    settings = settings_of(home)
    tenant = chosen_tenant(settings, tenant_name)
    counts: dict[str, ReplayCounts] = {}
    with works_if_filled(settings) as works:
        if works is None:
            raise PermanentError("The database is empty: nothing has been loaded, so there is no row to accept.")
        work = works(tenant.name, f"accept-{uuid.uuid4()}")
        selection = rows.Selection(tables=("students",), files=files, lines=lines, ids=ids)
        with work.writing() as connection:
            accepted = rows.accept(connection, work, selection, ANOTHER_CHILD, because)
        if not accepted:
            raise PermanentError("No open row of students with the reason another_child matches.")
        counts = replay_quarantine(work, settings.raw_dir, tenant)
        counts = {table: count for table, count in counts.items() if count.tried}
        left = _open_rows_by_reason(work, tuple(counts))
    if as_json:
        print_json({"tenant": tenant.name, "accepted": accepted, "tables": _replay_facts(counts), "still": left})
    else:
        show_replay(console(), counts, left)


def _replay_facts(counts: Mapping[str, ReplayCounts]) -> dict[str, dict[str, int]]:
    """By table how many rows were tried again, and what became of them."""
    return {
        table: {name: getattr(count, name) for name in ("tried", "loaded", "still_quarantined")}
        for table, count in counts.items()
    }


def _open_rows_by_reason(work: Work, tables: tuple[str, ...]) -> dict[str, dict[str, int]]:
    """How many rows of each table are still in quarantine under each reason, the commonest reason first."""
    from edupulse_pipelines.ingest import quarantine as rows

    left: dict[str, dict[str, int]] = {}
    with work.reading() as connection:
        for tally in rows.tallies(connection, work, rows.Selection(tables)):
            of_table = left.setdefault(tally.table, {})
            for reason in tally.reasons:
                of_table[reason] = of_table.get(reason, 0) + tally.open
    return {
        table: dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0]))) for table, reasons in left.items()
    }


def _row_facts(row: Any, *, values: bool) -> dict[str, Any]:
    """A quarantined row for `--json`."""
    names = ["id", "table_name", "file_name", "line_number", "reasons", "quarantined_at", "run_id"]
    names += ["corrected_at", "replayed_at", "replay_run_id", "superseded_at"]
    names += ["raw", "corrected"] if values else []
    facts = {name: getattr(row, name) for name in names}
    return {
        name: value.isoformat() if isinstance(value, dt.datetime) else str(value) if name == "id" else value
        for name, value in facts.items()
    }
