"""The months that a table is partitioned by, and what lies in its default partition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from edupulse_pipelines.cli.output.drawing import counted, table_of_figures

if TYPE_CHECKING:
    from edupulse_pipelines.storage.months import StoredMonth

MONTHS_SHOWN = 20


def show_partitions(on: Console, table: str, months: Sequence[StoredMonth], default: Mapping[str, int]) -> None:
    """The months of a partitioned table, and what lies in the default partition."""
    if months:
        listed = table_of_figures(table, "rows, about", "MiB")
        for month in months:
            detached = "" if month.attached else " [yellow]detached[/]"
            listed.add_row(f"{month.month:%Y-%m}{detached}", f"{month.rows:,}", f"{month.bytes / (1 << 20):,.1f}")
        on.print(listed)
    else:
        on.print(f"[bold]{table}[/] has no month yet.")
    if not default:
        on.print("The default partition is empty.")
        return
    on.print(f"[yellow]![/] {counted(sum(default.values()), 'row')} in the default partition:")
    for name, rows in list(default.items())[:MONTHS_SHOWN]:
        on.print(f"  {name}  {counted(rows, 'row')}")
    if len(default) > MONTHS_SHOWN:
        on.print(f"  and {counted(len(default) - MONTHS_SHOWN, 'more month')}")
    on.print("  [dim]`edupulse db maintain` moves them into months of their own. What is dated before 1970 or ahead[/]")
    on.print("  [dim]of now stays, until the district corrects the date.[/]")
