"""The steps of a run as they finish, one line each: what the step did, and how long it took.

On a terminal with a moving line for the running step; elsewhere plain lines, and a sign of life every ten seconds.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from edupulse_pipelines.cli.output.drawing import NAME_WIDTH, counted
from edupulse_pipelines.orchestration.progress import Pace
from edupulse_pipelines.orchestration.progress import Progress as StepProgress
from edupulse_pipelines.risk.statuses import MODEL_UNAVAILABLE, SCORED, TRAINED, UNCHANGED, made_by
from edupulse_pipelines.schema.tables import KNOWN, RECORD_TABLES

STEPS = 2 * len(RECORD_TABLES) + 4
"""Of a weekly run: each table's files and rows, then activity, features, model and predictions."""


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

    def __enter__(self) -> ConsoleProgress:
        if self._console.is_terminal:
            self._bar = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                TextColumn("[dim]{task.fields[text]}"),
                TimeElapsedColumn(),
                console=self._console,
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task("starting", total=None, text="")
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def started(self, asset: str, log: Any) -> None:
        """Name the step on the moving line."""
        super().started(asset, log)
        self.begin(asset, f"step {self._done + 1} of {STEPS}")

    def begin(self, asset: str, text: str = "") -> None:
        """Name what is being done on the moving line."""
        self._asset, self._began, self._pace = asset, time.monotonic(), Pace()
        if self._bar is not None:
            self._bar.reset(self._task, total=None, description=f"{asset:<{NAME_WIDTH}}", text=text)

    def advanced(self, done: int, total: int, unit: str = "rows") -> None:
        """Move the bar; elsewhere a line every ten seconds."""
        super().advanced(done, total, unit)
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total or None, text=self._pace.in_words(unit))

    def line(self, text: str) -> None:
        """Every ten seconds: to the step's log, and off a terminal also here."""
        super().line(text)
        if self._bar is None:
            self._console.print(f"    {self._asset:<{NAME_WIDTH}} {text}", soft_wrap=True)

    def finished(self, asset: str, report: Any) -> None:
        """One line: what the step did, and how long it took."""
        super().finished(asset, report)
        self._done += 1
        mark, text = describe(asset, report)
        self._line(mark, asset, text, self._elapsed())

    def delayed(self, asset: str, message: str) -> None:
        """One line: what was in the way, and that the step begins again after a pause."""
        self._line("[yellow]![/]", asset, f"[yellow]will be tried again[/] {escape(message)}", self._elapsed())

    def failed(self, asset: str, message: str) -> None:
        """One line: the step stopped. Why comes with the summary."""
        self._line("[red]✗[/]", asset, "[red]stopped[/]", self._elapsed())

    def _elapsed(self) -> float:
        return time.monotonic() - self._began

    def _line(self, mark: str, asset: str, text: str, seconds: float) -> None:
        self._console.print(f"  {mark} {asset:<{NAME_WIDTH}} {text} [dim]{seconds:.1f} s[/]", soft_wrap=True)


def describe(asset: str, report: Any) -> tuple[str, str]:
    """Mark and text (rich markup) of a finished step."""
    good, nothing, look = "[green]✓[/]", "[dim]-[/]", "[yellow]![/]"
    if asset.startswith("raw_"):
        if not report.files:
            return nothing, "[dim]not delivered[/]"
        refused = len(report.refused)
        rows = sum(file.rows for file in report.files)
        text = f"{counted(len(report.files), 'file')}, {counted(rows, 'row')}"
        known_already = sum(file.status == KNOWN for file in report.files)
        text += f" [dim]({known_already:,} known already)[/]" if known_already else ""
        return (look, f"{text} [red]{refused} refused[/]") if refused else (good, text)
    if asset == "weekly_activity":
        return (
            (good, f"{counted(report.recomputed, 'student-week')} recomputed")
            if report.recomputed
            else (good, "[dim]up to date[/]")
        )
    if asset == "student_features":
        if not report.computed:
            return good, "[dim]up to date[/]"
        parts = [f"{counted(report.computed, 'vector')}"]
        parts += [
            f"{getattr(report, name):,} {name}"
            for name in ("inserted", "updated", "unchanged", "deleted")
            if getattr(report, name)
        ]
        return good, " · ".join(parts)
    if asset == "risk_model":
        return _training(report)
    if asset == "predictions":
        scored = [week for week in report.weeks if week.status == SCORED]
        parts = [f"{counted(sum(week.scored for week in scored), 'score')} over {counted(len(scored), 'week')}"]
        parts += [f"[dim]{made}[/]" for made in _made_by(scored)]
        broken = [week for week in report.weeks if week.detail]
        if broken:
            unscored = sum(week.reason == MODEL_UNAVAILABLE for week in broken)
            how = "not scored" if unscored else "scored by the next best"
            parts.append(f"[red]{counted(len(broken), 'week')} {how}: {escape(broken[-1].detail)}[/]")
        return ("[red]✗[/]" if broken else good if scored else nothing), " · ".join(parts)
    return _records(report)


def _made_by(scored: Sequence[Any]) -> list[str]:
    """What made the lists, in the order of the weeks: how many by which kind; weeks without anybody to score apart."""
    made = Counter(made_by(week.kind, week.probabilities) for week in scored if week.scored)
    parts = [f"{counted(weeks, 'week')} by {name}" for name, weeks in made.items()]
    nobody = sum(not week.scored for week in scored)
    return parts + ([f"{counted(nobody, 'week')} with too little data"] if nobody else [])


def _records(report: Any) -> tuple[str, str]:
    if not report.deliveries and not report.replayed:
        return "[dim]-[/]", "[dim]nothing to load[/]"
    names = ("inserted", "updated", "unchanged", "quarantined")
    sums = {name: sum(getattr(delivery, name) for delivery in report.deliveries) for name in names}
    parts = [counted(sum(delivery.read for delivery in report.deliveries), "row")]
    parts += [f"{sums[name]:,} {name}" for name in names[:3] if sums[name]]
    waiting = sum(delivery.waiting for delivery in report.deliveries)
    bad = sums["quarantined"] - waiting
    parts += [f"[yellow]{bad:,} quarantined[/]"] if bad else []
    parts += [f"{waiting:,} waiting"] if waiting else []
    parts += [f"{report.replayed:,} replayed from quarantine"] if report.replayed else []
    return ("[yellow]![/]" if bad else "[green]✓[/]"), " · ".join(parts)


def _training(report: Any) -> tuple[str, str]:
    if report.next_due is not None:
        return "[green]✓[/]", f"[dim]not due before the week of {report.next_due}[/]"
    trained = [outcome for outcome in report.outcomes if outcome.status == TRAINED]
    if trained:
        newest = trained[-1]
        auc = (newest.metrics or {}).get("auc_roc")
        shown = f", newest AUC {auc:.2f}" if auc is not None else ""
        promoted = sum(outcome.promoted for outcome in trained)
        passed = f", {promoted} promoted" if promoted else ", [yellow]none promoted[/]"
        return "[green]✓[/]", f"{counted(len(trained), 'model')} trained{passed}{shown} ({newest.kind})"
    if report.outcomes and report.outcomes[-1].status == UNCHANGED:
        return "[green]✓[/]", "[dim]data and settings unchanged; nothing to train[/]"
    reason = report.outcomes[-1].reason if report.outcomes else "no week to train for"
    return "[yellow]![/]", f"no model: {escape(reason)}"
