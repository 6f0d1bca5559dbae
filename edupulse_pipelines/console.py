"""What a person sees of a run: steps as they finish, then what was found. Drawing only; the figures come from the run.

On a terminal with a moving line for the running step; elsewhere plain lines, and a sign of life every ten seconds.
"""

from __future__ import annotations

import datetime as dt
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from edupulse_pipelines.orchestration.assets.risk import NotDue
from edupulse_pipelines.orchestration.execution import StepProgress

NAME_WIDTH = 24
STEPS = 14
CATEGORY_STYLES = {"low": "green", "medium": "yellow", "high": "dark_orange", "critical": "red"}
METRICS = (
    ("auc_roc", "AUC (ROC)"),
    ("precision", "precision"),
    ("recall", "recall"),
    ("f1_score", "F1"),
    ("k10", "precision, top 10 % of the list"),
)
BAR_WIDTH = 30
GENERATING = "landing files"


def console(*, to_stderr: bool = False) -> Console:
    """The console of a command; with `--json` people's text goes to stderr and stdout holds the JSON alone."""
    stream = sys.stderr if to_stderr else sys.stdout
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="replace")  # a mark that the terminal cannot show must not stop a run
    made = Console(file=stream, highlight=False)
    if not made.is_terminal:
        made = Console(file=stream, highlight=False, width=120)
    return made


class ConsoleProgress(StepProgress):
    """Draws the steps of a run: one line for each that is done, and one that moves for the running one."""

    def __init__(self, on: Console) -> None:
        super().__init__()
        self._console = on
        self._began = 0.0
        self._done = 0
        self._asset = ""
        self._bar: Progress | None = None
        self._task: Any = None
        self._spoke_at = 0.0

    def __enter__(self) -> ConsoleProgress:
        if self._console.is_terminal:
            self._bar = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                TextColumn("[dim]{task.fields[said]}"),
                TimeElapsedColumn(),
                console=self._console,
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task("starting", total=None, said="")
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def started(self, asset: str, log: Any) -> None:
        """Name the step on the moving line."""
        self.begin(asset, f"step {self._done + 1} of {STEPS}")

    def begin(self, asset: str, said: str = "") -> None:
        """Name what is being done on the moving line."""
        self._asset, self._began = asset, time.monotonic()
        self._spoke_at = self._began
        if self._bar is not None:
            self._bar.reset(self._task, total=None, description=f"{asset:<{NAME_WIDTH}}", said=said)

    def advanced(self, done: int, total: int, unit: str = "rows") -> None:
        """Move the bar; elsewhere a line every ten seconds."""
        said = f"{done:,} of {total:,} {unit}"
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=max(total, 1), said=said)
        elif time.monotonic() - self._spoke_at >= self.seconds_between_lines:
            self._spoke_at = time.monotonic()
            self._console.print(f"    {self._asset:<{NAME_WIDTH}} {said}", soft_wrap=True)

    def finished(self, asset: str, report: Any) -> None:
        """One line: what the step did, and how long it took."""
        super().finished(asset, report)
        self._done += 1
        mark, said = describe(asset, report)
        seconds = time.monotonic() - self._began
        self._line(mark, asset, said, seconds)

    def failed(self, asset: str, message: str) -> None:
        """One line: the step stopped. Why comes with the summary."""
        self._line("[red]✗[/]", asset, "[red]stopped[/]", time.monotonic() - self._began)

    def _line(self, mark: str, asset: str, said: str, seconds: float) -> None:
        self._console.print(f"  {mark} {asset:<{NAME_WIDTH}} {said} [dim]{seconds:.1f} s[/]", soft_wrap=True)


def describe(asset: str, report: Any) -> tuple[str, str]:
    """Mark and text (rich markup) of a finished step."""
    good, nothing, look = "[green]✓[/]", "[dim]-[/]", "[yellow]![/]"
    if asset.startswith("raw_"):
        if not report.files:
            return nothing, "[dim]not delivered[/]"
        refused = sum(file.status == "refused" for file in report.files)
        rows = sum(file.rows for file in report.files)
        said = f"{_n(len(report.files), 'file')}, {_n(rows, 'row')}"
        known = sum(file.status == "known" for file in report.files)
        said += f" [dim]({known:,} known already)[/]" if known else ""
        return (look, f"{said} [red]{refused} refused[/]") if refused else (good, said)
    if asset == "weekly_activity":
        return (
            (good, f"{_n(report.recomputed, 'student-week')} recomputed")
            if report.recomputed
            else (good, "[dim]up to date[/]")
        )
    if asset == "student_features":
        if not report.computed:
            return good, "[dim]up to date[/]"
        parts = [f"{_n(report.computed, 'vector')}"]
        parts += [
            f"{getattr(report, name):,} {name}"
            for name in ("inserted", "updated", "unchanged", "deleted")
            if getattr(report, name)
        ]
        return good, " · ".join(parts)
    if asset == "risk_model":
        return _training(report)
    if asset == "predictions":
        scored = [week for week in report.weeks if week.status == "scored"]
        without = sum(week.reason == "no_model" for week in report.weeks)
        parts = [f"{_n(sum(week.scored for week in scored), 'score')} over {_n(len(scored), 'week')}"]
        parts += [f"[dim]{_n(without, 'week')} before the first model[/]"] if without else []
        return (good if scored else nothing), " · ".join(parts)
    return _records(report)


def _records(report: Any) -> tuple[str, str]:
    if not report.deliveries and not report.replayed:
        return "[dim]-[/]", "[dim]nothing to load[/]"
    names = ("inserted", "updated", "unchanged", "quarantined")
    sums = {name: sum(getattr(delivery, name) for delivery in report.deliveries) for name in names}
    parts = [_n(sum(delivery.read for delivery in report.deliveries), "row")]
    parts += [f"{sums[name]:,} {name}" for name in names[:3] if sums[name]]
    parts += [f"[yellow]{sums['quarantined']:,} quarantined[/]"] if sums["quarantined"] else []
    parts += [f"{report.replayed:,} replayed from quarantine"] if report.replayed else []
    return ("[yellow]![/]" if sums["quarantined"] else "[green]✓[/]"), " · ".join(parts)


def _training(report: Any) -> tuple[str, str]:
    if isinstance(report, NotDue):
        return "[green]✓[/]", f"[dim]not due before the week of {report.next_week}[/]"
    trained = [outcome for outcome in report if outcome.status == "trained"]
    if trained:
        newest = trained[-1]
        auc = (newest.metrics or {}).get("auc_roc")
        shown = f", newest AUC {auc:.2f}" if auc is not None else ""
        return "[green]✓[/]", f"{_n(len(trained), 'model')} trained{shown}"
    if report and report[-1].status == "unchanged":
        return "[green]✓[/]", "[dim]data and settings unchanged; nothing to train[/]"
    reason = report[-1].reason if report else "no week to train for"
    return "[yellow]![/]", f"no model: {escape(reason)}"


def headline(on: Console, tenant: str, weeks: Sequence[dt.date]) -> None:
    """What is about to run."""
    span = f"{_day(weeks[0])} - {_day(weeks[-1] + dt.timedelta(days=6))}"
    on.print()
    on.print(f"[bold]{tenant}[/]  [dim]{_n(len(weeks), 'week')}, {span}[/]")


def show_summary(on: Console, summary: Mapping[str, Any]) -> None:
    """What the run found: accounts, quarantine, model beside the rule, risk categories; then what went wrong."""
    on.print()
    _show_accounts(on, summary["tables"])
    _show_quarantine(on, summary["quarantine_reasons"])
    _show_model(on, summary["model"])
    _show_risk(on, summary["predictions"])
    explained = tuple(f"{table}:" for table in summary["quarantine_reasons"])
    for warning in summary["warnings"]:
        if explained and warning.startswith(explained):
            continue  # the table of reasons has said it
        on.print(f"[yellow]![/] {escape(warning)}", soft_wrap=True)
    for error in summary["errors"]:
        on.print(f"[red]✗ {escape(error)}[/]", soft_wrap=True)
    if summary["errors"]:
        on.print()
    students = _n(summary["students"], "student")
    state = "[green]Done[/]" if summary["success"] else "[red]Failed[/]"
    on.print(f"{state}: {_n(summary['weeks'], 'week')}, {students}, {summary['seconds']:.1f} s.")


def _show_accounts(on: Console, tables: Mapping[str, Mapping[str, int]]) -> None:
    accounts = _table("Records", "read", "inserted", "updated", "unchanged", "quarantined")
    for name, counts in tables.items():
        cells = [f"{value:,}" if value else "[dim]0[/]" for value in counts.values()]
        if counts["quarantined"]:
            cells[-1] = f"[yellow]{counts['quarantined']:,}[/]"
        accounts.add_row(name, *cells)
    on.print(accounts)
    on.print()


def _show_quarantine(on: Console, reasons: Mapping[str, Mapping[str, int]]) -> None:
    if not reasons:
        return
    why = _table("Quarantined, by reason", "rows")
    for table, counted in reasons.items():
        for number, (reason, rows) in enumerate(counted.items()):
            why.add_row(f"{table if number == 0 else '':<{NAME_WIDTH}}{reason}", f"{rows:,}")
    on.print(why)
    on.print()


def _show_model(on: Console, model: Mapping[str, Any] | None) -> None:
    if model is None:
        on.print("[bold]Model[/]  none yet")
        on.print()
        return
    metrics = model["metrics"]
    rule = metrics.get("baseline") or {}
    beside = _table(f"Model {model['version']}", "model", "simple rule")
    for name, label in METRICS:
        beside.add_row(label, _metric(metrics, name), f"[dim]{_metric(rule, name)}[/]")
    on.print(beside)
    on.print(
        f"  [dim]validated on {_n(int(metrics.get('validation_samples') or 0), 'student-week')}, later than all "
        "it learned from[/]"
    )
    on.print()


def _show_risk(on: Console, predictions: Mapping[str, Any]) -> None:
    if predictions["week"] is None:
        return
    sunday = dt.date.fromisoformat(predictions["week"]) + dt.timedelta(days=6)
    counts = predictions["by_category"]
    if not predictions["scored"]:
        waiting = _n(predictions["insufficient_data"], "student")
        on.print(f"[bold]Risk on {_day(sunday)}[/]  nobody scored; {waiting} with too little data yet")
        on.print()
        return
    most = max([*counts.values(), 1])
    listed = _table(f"Risk on {_day(sunday)}", "students", "")
    listed.columns[2].justify = "left"
    for category, style in CATEGORY_STYLES.items():
        count = counts.get(category, 0)
        bar = "█" * round(BAR_WIDTH * count / most) or ("▏" if count else "")
        listed.add_row(category, f"{count:,}", Text(bar, style=style))
    listed.add_row("[dim]not scored[/]", f"[dim]{predictions['insufficient_data']:,}[/]", "[dim]too little data yet[/]")
    on.print(listed)
    on.print()


def show_where_to_look(on: Console, command: str, home: Path | None) -> None:
    """The commands that open the user interfaces."""
    at = f" --home {home}" if home else ""
    on.print()
    on.print("[bold]Where to look[/]")
    on.print(f"  {command} dev{at}", markup=False, soft_wrap=True)
    on.print(
        "      [dim]the asset graph at http://127.0.0.1:3000, the models at http://127.0.0.1:5000[/]", soft_wrap=True
    )
    on.print(f"  {command} run{at} --all", markup=False, soft_wrap=True)
    on.print("      [dim]every landed week again; nothing changes[/]", soft_wrap=True)


def show_lines(on: Console, title: str, lines: Sequence[str]) -> None:
    """A titled list."""
    on.print(f"[bold]{title}[/]")
    for line in lines:
        on.print(Padding(escape(line), (0, 0, 0, 2)))


def _table(title: str, *columns: str) -> Table:
    made = Table(box=None, pad_edge=False, padding=(0, 2), header_style="dim")
    made.add_column(f"[bold not dim]{title}[/]", min_width=NAME_WIDTH, no_wrap=True)
    for name in columns:
        made.add_column(name, justify="right", no_wrap=True)
    return made


def _metric(metrics: Mapping[str, Any], name: str) -> str:
    value = (metrics.get("precision_at_k") or {}).get(name) if name.startswith("k") else metrics.get(name)
    return "not defined" if value is None else f"{value:.3f}"


def _day(day: dt.date) -> str:
    return f"{day.day} {day:%b %Y}"


def _n(count: int, unit: str) -> str:
    return f"{count:,} {unit}{'' if count == 1 else 's'}"
