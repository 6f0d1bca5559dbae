"""How everything that is shown to a person is drawn: the console, tables of figures, dates and counts in words.

What is shown lies in the modules beside this one, a subject each.
"""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Sequence
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

NAME_WIDTH = 24


def console(*, to_stderr: bool = False) -> Console:
    """The console of a command; with `--json` people's text goes to stderr and stdout holds the JSON alone."""
    stream = sys.stderr if to_stderr else sys.stdout
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="replace")  # a mark that the terminal cannot show must not stop a run
    made = Console(file=stream, highlight=False)
    if not made.is_terminal:
        made = Console(file=stream, highlight=False, width=120)
    return made


def show_lines(on: Console, title: str, lines: Sequence[str]) -> None:
    """A titled list."""
    on.print(f"[bold]{title}[/]")
    for line in lines:
        on.print(Padding(escape(line), (0, 0, 0, 2)))


def table_of_figures(title: str, *columns: str) -> Table:
    """An empty table: a column for names, headed by the title, and a column for each kind of figure."""
    made = Table(box=None, pad_edge=False, padding=(0, 2), header_style="dim")
    made.add_column(f"[bold not dim]{title}[/]", min_width=NAME_WIDTH, no_wrap=True)
    for name in columns:
        made.add_column(name, justify="right", no_wrap=True)
    return made


def printable(text: str) -> str:
    """A value that a terminal can show as it is: control characters, which could command it, are spelled out."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def moment_in_words(moment: dt.datetime, zone: str) -> str:
    """A moment as the clocks of the zone say it: 9 Mar 2026 14:05."""
    local = moment.astimezone(ZoneInfo(zone))
    return f"{day_in_words(local)} {local:%H:%M}"


def day_in_words(day: dt.date) -> str:
    """A day as people write it: 9 Mar 2026."""
    return f"{day.day} {day:%b %Y}"


def counted(count: int, unit: str) -> str:
    """A number and its unit, in the plural where it is one: 1 row, 1,200 rows."""
    return f"{count:,} {unit}{'' if count == 1 else 's'}"
