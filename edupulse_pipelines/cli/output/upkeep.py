"""What upkeep did or would do, how large the database is and how it grows, and what somebody should look at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

from edupulse_pipelines.cli.output.drawing import counted, show_lines, table_of_figures
from edupulse_pipelines.sizes_in_words import in_bytes

if TYPE_CHECKING:
    from edupulse_pipelines.operations.upkeep.maintenance import DatabaseState
    from edupulse_pipelines.operations.upkeep.tasks import Task, Upkeep

_TABLES_SHOWN = 10
_STATEMENTS_SHOWN = 5
_MIB = 2**20


def show_task(on: Console, task: Task) -> None:
    """What is being done now."""
    on.print(f"{task.statement}", markup=False, style="dim")


def show_upkeep(on: Console, done: Upkeep) -> None:
    """What was done or would be, what was not and why, and what stands in the way of more."""
    for table, of_table in done.months.items():
        on.print(f"{table}: {of_table.in_words}.")
    on.print(f"Upkeep: {done.in_words}.")
    planned = [result for result in done.results if result.outcome == "planned"]
    if planned:
        show_lines(on, "To do", [f"{one.task.statement}: {one.task.why}." for one in planned])
    if done.not_done:
        show_lines(on, "Not done", [f"{one.task.statement}: {one.task.why}; {one.note}." for one in done.not_done])
    if done.refused:
        on.print(
            f"Only {done.refused[0].task.owner} may do that: give this command the keeper's URL (EDUPULSE_KEEPER_URL), "
            "or paste the lines as that role.",
            markup=False,
        )
    if done.invalid:
        show_lines(on, "Indexes that are not valid", done.invalid)
    _show_notes(on, done.notes)


def show_state(on: Console, state: DatabaseState, fewest_days: int) -> None:
    """Sizes with their growth, disks, what the server's log would hold, and what takes its time."""
    drawn = table_of_figures("size", "MiB", "MiB a week")
    for area, size in state.sizes.areas.items():
        drawn.add_row(area, f"{size / _MIB:,.1f}", _grown(state.area_growth.get(area)))
    largest = sorted(state.sizes.tables or (), key=lambda table: -table.bytes)[:_TABLES_SHOWN]
    for table in largest:
        drawn.add_row(f"  {table.name}", f"{table.bytes / _MIB:,.1f}", _grown(state.table_growth.get(table.name)))
    on.print(drawn)
    for one in state.forecasts:
        days = one.days if one.days is None or one.days >= 1 else 1.0  # 0 days would be now
        when = "" if days is None else f", full in {counted(round(days), 'day')} as it grows now"
        mark = "[yellow]![/] " if one.days is not None and one.days < fewest_days else ""
        on.print(f"{mark}Disk of the {one.disk}: {in_bytes(one.free)} of {in_bytes(one.total)} free{when}.")
    if state.log_settings:
        on.print("[yellow]![/] The server writes rows into its log. As a superuser:")
        for setting in state.log_settings:
            role = f" for {setting.of_role}" if setting.of_role else ""
            on.print(f"  {setting.line}  -- {setting.setting}{role} writes {setting.writes}", markup=False)
        on.print("  SELECT pg_reload_conf();")
    if state.statements:
        slow = table_of_figures("what takes the server's time", "calls", "mean ms", "total s")
        for statement in state.statements[:_STATEMENTS_SHOWN]:
            shown = statement.statement if len(statement.statement) <= 70 else f"{statement.statement[:69]}…"
            slow.add_row(
                shown.replace("[", "\\["),
                f"{statement.calls:,}",
                f"{statement.mean_ms:,.1f}",
                f"{statement.total_ms / 1000:,.1f}",
            )
        on.print(slow)
    _show_notes(on, state.notes)


def _grown(per_day: float | None) -> str:
    return "" if per_day is None else f"{per_day * 7 / _MIB:+,.1f}"


def _show_notes(on: Console, notes: list[str]) -> None:
    for note in notes:
        on.print(f"[yellow]![/] {note.replace('[', chr(92) + '[')}")
