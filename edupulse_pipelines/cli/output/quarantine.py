"""Rows in quarantine: counts and reasons, single rows, exported files, corrections, and what a replay loaded.

Values of students are drawn by `show_row` alone, for an engineer who asked for them.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.markup import escape

from edupulse_pipelines.cli.output.drawing import (
    NAME_WIDTH,
    counted,
    day_in_words,
    moment_in_words,
    printable,
    table_of_figures,
)

if TYPE_CHECKING:
    from edupulse_pipelines.ingest.corrections import CorrectionCounts
    from edupulse_pipelines.ingest.export import ExportedFile
    from edupulse_pipelines.ingest.quarantine import Replay, Tally

REASONS_PER_TABLE = 5
FILES_PER_REASON = 5


def show_quarantine(
    on: Console, tenant: str, tallies: Sequence[Tally], replays: Sequence[Replay] | None, zone: str
) -> None:
    """Counts of quarantined rows by table, reason and file, and what the reasons mean; no row's content.

    With `replays` (not None) also what became of closed rows, in times of `zone`.
    """
    waiting = sum(tally.open for tally in tallies)
    oldest = min((tally.oldest for tally in tallies if tally.oldest), default=None)
    since = f", the oldest since {day_in_words(oldest.astimezone(ZoneInfo(zone)))}" if oldest else ""
    on.print(f"[bold]{tenant}[/]  {counted(waiting, 'row')} in quarantine{since}")
    mended = sum(tally.corrected for tally in tallies)
    if mended:
        on.print(f"  [dim]{mended:,} of them corrected, and not replayed yet[/]")
    if not tallies:
        return
    on.print()
    columns = ("open",) if replays is None else ("open", "replayed", "superseded")
    listed = table_of_figures("Table, reason, file", *columns)

    def line(name: str, rows: Collection[Tally], style: str = "") -> None:
        figures = (sum(getattr(tally, column) for tally in rows) for column in columns)
        listed.add_row(name, *(f"{figure:,}" if figure else "[dim]0[/]" for figure in figures), style=style)

    for table, of_table in _grouped(tallies, lambda tally: [tally.table]).items():
        line(f"[bold]{table}[/]", of_table)
        for reason, of_reason in _grouped(of_table, lambda tally: tally.reasons).items():
            line(f"  {escape(reason)}", of_reason)
            files = _grouped(of_reason, lambda tally: [tally.file_name])
            for file, of_file in list(files.items())[:FILES_PER_REASON]:
                line(f"    {escape(file)}", of_file, style="dim")
            if len(files) > FILES_PER_REASON:
                listed.add_row(f"    and {counted(len(files) - FILES_PER_REASON, 'more file')}", style="dim")
    on.print(listed)
    if any(len(tally.reasons) > 1 for tally in tallies):
        on.print("  [dim]a row with several reasons counts under each of them[/]")
    if replays:
        on.print()
        on.print("[bold]Replayed[/]")
        for replay in replays:
            fixed = f", {replay.corrected:,} corrected" if replay.corrected else ""
            run = f" by run {replay.run_id}" if replay.run_id else ""
            on.print(
                f"  {replay.table:<{NAME_WIDTH}} {counted(replay.rows, 'row')}{fixed} "
                f"[dim]{moment_in_words(replay.replayed_at, zone)}{run}[/]",
                soft_wrap=True,
            )
    on.print()
    show_reasons(on, sorted({reason for tally in tallies if tally.open for reason in tally.reasons}))


def _grouped(tallies: Sequence[Tally], keys: Callable[[Tally], Sequence[str]]) -> dict[str, list[Tally]]:
    """The tallies under each of their keys, the key with most open rows first."""
    groups: dict[str, list[Tally]] = {}
    for tally in tallies:
        for key in keys(tally):
            groups.setdefault(key, []).append(tally)
    return dict(sorted(groups.items(), key=lambda item: (-sum(tally.open for tally in item[1]), item[0])))


def show_reasons(on: Console, codes: Sequence[str]) -> None:
    """What the rules behind these codes mean, and how to mend them."""
    from edupulse_pipelines.schema.reasons import reason_for

    reasons = {reason.spelling: reason for code in codes if (reason := reason_for(code)) is not None}
    for spelling, reason in reasons.items():
        on.print(f"[bold]{escape(spelling)}[/]  {escape(reason.meaning)}", soft_wrap=True)
        on.print(f"    [dim]{escape(reason.fix)}[/]", soft_wrap=True)


def show_row(on: Console, row: Any, zone: str, *, values: bool, canonical: Callable[[str], str]) -> None:
    """One quarantined row: where it is from, what is wrong, what became of it; with `values` also what stands in it.

    `canonical` gives our name of a file's column; columns that a reason names are marked.
    """
    where = f"[bold]{escape(row.file_name)} line {row.line_number}[/]"
    on.print(f"{where}  [dim]{row.table_name}  {row.id}[/]", soft_wrap=True)
    trace = [f"in quarantine since {moment_in_words(row.quarantined_at, zone)}"]
    trace += [f"corrected {moment_in_words(row.corrected_at, zone)}"] if row.corrected_at else []
    by = f" by run {row.replay_run_id}" if row.replay_run_id else ""
    trace += [f"replayed {moment_in_words(row.replayed_at, zone)}{by}"] if row.replayed_at else []
    trace += [f"its file was replaced {moment_in_words(row.superseded_at, zone)}"] if row.superseded_at else []
    on.print(f"  [yellow]{escape(', '.join(row.reasons))}[/]  [dim]{escape('; '.join(trace))}[/]", soft_wrap=True)
    if not values:
        return
    named = {reason.partition(":")[2] for reason in row.reasons}
    fields = row.raw if isinstance(row.raw, dict) else {f"field {n}": text for n, text in enumerate(row.raw, start=1)}
    after = row.corrected or {}
    for name in dict.fromkeys([*fields, *after]):
        mark = "[yellow]▸[/]" if canonical(name) in named else " "
        was, now = fields.get(name, ""), after.get(name)
        changed = f" [dim]corrected to[/] {escape(printable(now))}" if now is not None and now != was else ""
        on.print(f"  {mark} {escape(printable(name)):<{NAME_WIDTH}} {escape(printable(was))}{changed}", soft_wrap=True)


def show_exported(on: Console, files: Sequence[ExportedFile], replay: str) -> None:
    """The CSVs that were written, and the command that takes them back."""
    for file in files:
        misfits = f", {file.misfits:,} of them in _raw_line" if file.misfits else ""
        on.print(f"  [green]✓[/] {escape(str(file.path))}  {counted(file.rows, 'row')}{misfits}", soft_wrap=True)
    on.print(
        "[yellow]![/] These files hold student records. Only you can read them; remove them when you are done.",
        soft_wrap=True,
    )
    on.print("Mend the cells (as text, columns and row order as you like; delete lines you do not mend), then:")
    on.print(f"  {replay} {' '.join(shlex.quote(str(file.path)) for file in files)}", markup=False, soft_wrap=True)


def show_corrections(on: Console, counts: CorrectionCounts, *, recorded: bool) -> None:
    """What edited CSVs say: rows and columns, no values."""
    done = "recorded" if recorded else "found; nothing is recorded"
    on.print(
        f"{counted(counts.read, 'row')} read: [bold]{counted(counts.corrected, 'correction')}[/] {done}, "
        f"{counts.unchanged:,} unchanged"
    )
    for table, columns in counts.columns.items():
        changed = ", ".join(f"{name} {rows:,}" for name, rows in columns.items())
        on.print(f"  [dim]{table}: {escape(changed)}[/]", soft_wrap=True)
    if counts.replaced:
        on.print(f"  [dim]{counted(counts.replaced, 'earlier correction')} replaced[/]")


def show_replay(on: Console, counts: Mapping[str, Any], left: Mapping[str, Mapping[str, int]]) -> None:
    """What a replay loaded, and why the rest could not be; `left` are open rows by table and reason."""
    shown = table_of_figures("Replayed", "tried", "loaded", "still in quarantine")
    for table, count in counts.items():
        still = f"[yellow]{count.still_quarantined:,}[/]" if count.still_quarantined else "[dim]0[/]"
        shown.add_row(table, f"{count.tried:,}", f"{count.loaded:,}", still)
    on.print(shown)
    for table, reasons in left.items():
        if counts[table].still_quarantined:
            why = ", ".join(f"{reason} {rows:,}" for reason, rows in list(reasons.items())[:REASONS_PER_TABLE])
            on.print(f"  [yellow]![/] {table}: {escape(why)}", soft_wrap=True)
    show_reasons(on, [reason for reasons in left.values() for reason in reasons])
