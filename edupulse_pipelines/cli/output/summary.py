"""What a run found: the accounts of its rows, quarantine, the model, risk categories, and where to look next."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from edupulse_pipelines.cli.output.drawing import NAME_WIDTH, counted, day_in_words, printable, table_of_figures
from edupulse_pipelines.cli.output.models import show_model
from edupulse_pipelines.cli.output.quarantine import REASONS_PER_TABLE
from edupulse_pipelines.risk.book.mlflow_pages import MLFLOW_PORT, start_page

CATEGORY_STYLES = {"low": "green", "medium": "yellow", "high": "dark_orange", "critical": "red"}
BAR_WIDTH = 30
CODES_PER_COLUMN = 10


def headline(on: Console, tenant: str, weeks: Sequence[dt.date]) -> None:
    """What is about to run."""
    span = f"{day_in_words(weeks[0])} - {day_in_words(weeks[-1] + dt.timedelta(days=6))}"
    on.print()
    on.print(f"[bold]{tenant}[/]  [dim]{counted(len(weeks), 'week')}, {span}[/]")


def show_summary(on: Console, summary: Mapping[str, Any], look: str) -> None:
    """What the run found: accounts, quarantine, model beside the rule, risk categories; then what went wrong.

    `look` is the command that shows the quarantine.
    """
    from edupulse_pipelines.orchestration.checks import EXPECTATIONS

    on.print()
    _show_accounts(on, summary["tables"])
    _show_quarantine(on, summary["quarantine_reasons"], summary["unmapped_codes"], look)
    show_model(on, summary["model"])
    _show_risk(on, summary["predictions"])
    if lists := summary["lists"]:
        made = ", ".join(f"{counted(weeks, 'week')} by {name}" for name, weeks in lists.items())
        on.print(f"[bold]Lists[/]  {escape(made)}", soft_wrap=True)
        on.print()
    # Quarantined rows are in the table of reasons already.
    repeated = {
        warned["warning"]
        for warned in summary["warned_checks"]
        if warned["check"] == EXPECTATIONS and warned["asset"] in summary["quarantine_reasons"]
    }
    for warning in summary["warnings"]:
        if warning in repeated:
            continue
        on.print(f"[yellow]![/] {escape(warning)}", soft_wrap=True)
    for error in summary["errors"]:
        on.print(f"[red]✗ {escape(error)}[/]", soft_wrap=True)
    if summary["errors"]:
        on.print()
    students = counted(summary["students"], "student")
    state = "[green]Done[/]" if summary["success"] else "[red]Failed[/]"
    on.print(f"{state}: {counted(summary['weeks'], 'week')}, {students}, {summary['seconds']:.1f} s.")
    if summary["audit_head"]:
        on.print(f"[dim]Changes on record (`audit verify --anchor`): {summary['audit_head']}[/]", soft_wrap=True)


def _show_accounts(on: Console, tables: Mapping[str, Mapping[str, int]]) -> None:
    accounts = table_of_figures("Records", "read", "inserted", "updated", "unchanged", "quarantined", "waiting")
    for name, counts in tables.items():
        cells = [f"{value:,}" if value else "[dim]0[/]" for value in counts.values()]
        if counts["quarantined"] > counts["waiting"]:
            cells[-2] = f"[yellow]{counts['quarantined']:,}[/]"
        accounts.add_row(name, *cells)
    on.print(accounts)
    on.print()


def _show_quarantine(
    on: Console,
    reasons: Mapping[str, Mapping[str, int]],
    unmapped: Mapping[str, Mapping[str, Mapping[str, int]]],
    look: str,
) -> None:
    """The commonest reasons of each table, the codes that no profile maps, and where to go on from here."""
    if not reasons:
        return
    why = table_of_figures("Quarantined, by reason", "rows")
    for table, rows_by_reason in reasons.items():
        for number, (reason, rows) in enumerate(list(rows_by_reason.items())[:REASONS_PER_TABLE]):
            why.add_row(f"{table if number == 0 else '':<{NAME_WIDTH}}{reason}", f"{rows:,}")
        if len(rows_by_reason) > REASONS_PER_TABLE:
            why.add_row(
                f"{'':<{NAME_WIDTH}}[dim]and {counted(len(rows_by_reason) - REASONS_PER_TABLE, 'more reason')}[/]"
            )
    on.print(why)
    for table, columns in unmapped.items():
        for column, codes in columns.items():
            named = ", ".join(
                f"'{printable(code)}' ({rows:,})" for code, rows in list(codes.items())[:CODES_PER_COLUMN]
            )
            more = f" and {len(codes) - CODES_PER_COLUMN:,} more" if len(codes) > CODES_PER_COLUMN else ""
            on.print(
                f"[yellow]![/] {table}.{column}: codes that the profile does not map: {escape(named)}{more}",
                soft_wrap=True,
            )
    on.print(f"  [dim]what they mean, where, and how to mend them:[/] {escape(look)}", soft_wrap=True)
    on.print()


def _show_risk(on: Console, predictions: Mapping[str, Any]) -> None:
    if predictions["week"] is None:
        return
    sunday = dt.date.fromisoformat(predictions["week"]) + dt.timedelta(days=6)
    counts = predictions["by_category"]
    if not predictions["scored"]:
        waiting = counted(predictions["insufficient_data"], "student")
        on.print(f"[bold]Risk on {day_in_words(sunday)}[/]  nobody scored; {waiting} with too little data yet")
        on.print()
        return
    most = max([*counts.values(), 1])
    listed = table_of_figures(f"Risk on {day_in_words(sunday)}", "students", "")
    listed.columns[2].justify = "left"
    for category, style in CATEGORY_STYLES.items():
        count = counts.get(category, 0)
        bar = "█" * round(BAR_WIDTH * count / most) or ("▏" if count else "")
        listed.add_row(category, f"{count:,}", Text(bar, style=style))
    listed.add_row("[dim]not scored[/]", f"[dim]{predictions['insufficient_data']:,}[/]", "[dim]too little data yet[/]")
    on.print(listed)
    if made := predictions.get("made_by"):
        told = ", ".join(name if len(made) == 1 else f"{name} ({count:,})" for name, count in made.items())
        on.print(f"  [dim]made by {escape(told)}[/]", soft_wrap=True)
    on.print()


def show_where_to_look(on: Console, command: str, home: Path | None) -> None:
    """The commands that open the user interfaces and show the week's list."""
    at = f" --home {home}" if home else ""
    on.print()
    on.print("[bold]Where to look[/]")
    on.print(f"  {command} dev{at}", markup=False, soft_wrap=True)
    models = start_page(f"http://127.0.0.1:{MLFLOW_PORT}")
    on.print(f"      [dim]the asset graph at http://127.0.0.1:3000, the models at {models}[/]", soft_wrap=True)
    on.print(f"  {command} list{at}", markup=False, soft_wrap=True)
    on.print("      [dim]this week's students at risk, by school, with reasons and what to do[/]", soft_wrap=True)
    on.print(f"  {command} run{at} --all", markup=False, soft_wrap=True)
    on.print("      [dim]every landed week again; nothing changes[/]", soft_wrap=True)
