"""What a person sees: a run's steps as they finish, what was found, the quarantine. Drawing only.

On a terminal with a moving line for the running step; elsewhere plain lines, and a sign of life every ten seconds.
Values of students are drawn by `show_row` alone, for an engineer who asked for them.
"""

from __future__ import annotations

import datetime as dt
import shlex
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from edupulse_pipelines.orchestration.progress import Pace, StepProgress

if TYPE_CHECKING:
    from edupulse_pipelines.ingest.corrections import CorrectionCounts, ExportedFile
    from edupulse_pipelines.ingest.quarantine import Replay, Tally
    from edupulse_pipelines.risk.book.mirror import Difference
    from edupulse_pipelines.storage.months import StoredMonth

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
REASONS_PER_TABLE = 5
FILES_PER_REASON = 5
CODES_PER_COLUMN = 10
MONTHS_SHOWN = 20
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
        super().started(asset, log)
        self.begin(asset, f"step {self._done + 1} of {STEPS}")

    def begin(self, asset: str, said: str = "") -> None:
        """Name what is being done on the moving line."""
        self._asset, self._began, self._pace = asset, time.monotonic(), Pace()
        if self._bar is not None:
            self._bar.reset(self._task, total=None, description=f"{asset:<{NAME_WIDTH}}", said=said)

    def advanced(self, done: int, total: int, unit: str = "rows") -> None:
        """Move the bar; elsewhere a line every ten seconds."""
        super().advanced(done, total, unit)
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total or None, said=self._pace.in_words(unit))

    def line(self, said: str) -> None:
        """Every ten seconds: to the step's log, and off a terminal also here."""
        super().line(said)
        if self._bar is None:
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
        broken = [week for week in report.weeks if week.reason == "model_unavailable"]
        if broken:
            parts.append(f"[red]{_n(len(broken), 'week')} not scored: {escape(broken[-1].detail)}[/]")
        return ("[red]✗[/]" if broken else good if scored else nothing), " · ".join(parts)
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
    from edupulse_pipelines.orchestration.assets.risk import NotDue

    if isinstance(report, NotDue):
        return "[green]✓[/]", f"[dim]not due before the week of {report.next_week}[/]"
    trained = [outcome for outcome in report if outcome.status == "trained"]
    if trained:
        newest = trained[-1]
        auc = (newest.metrics or {}).get("auc_roc")
        shown = f", newest AUC {auc:.2f}" if auc is not None else ""
        promoted = sum(outcome.promoted for outcome in trained)
        passed = f", {promoted} promoted" if promoted else ", [yellow]none promoted[/]"
        return "[green]✓[/]", f"{_n(len(trained), 'model')} trained{passed}{shown} ({newest.kind})"
    if report and report[-1].status == "unchanged":
        return "[green]✓[/]", "[dim]data and settings unchanged; nothing to train[/]"
    reason = report[-1].reason if report else "no week to train for"
    return "[yellow]![/]", f"no model: {escape(reason)}"


def headline(on: Console, tenant: str, weeks: Sequence[dt.date]) -> None:
    """What is about to run."""
    span = f"{_day(weeks[0])} - {_day(weeks[-1] + dt.timedelta(days=6))}"
    on.print()
    on.print(f"[bold]{tenant}[/]  [dim]{_n(len(weeks), 'week')}, {span}[/]")


def show_summary(on: Console, summary: Mapping[str, Any], look: str) -> None:
    """What the run found: accounts, quarantine, model beside the rule, risk categories; then what went wrong.

    `look` is the command that shows the quarantine.
    """
    on.print()
    _show_accounts(on, summary["tables"])
    _show_quarantine(on, summary["quarantine_reasons"], summary["unmapped_codes"], look)
    _show_model(on, summary["model"])
    _show_risk(on, summary["predictions"])
    explained = tuple(f"{table}:" for table in summary["quarantine_reasons"])
    for warning in summary["warnings"]:
        if explained and warning.startswith(explained) and " quarantined" in warning:
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


def _show_quarantine(
    on: Console,
    reasons: Mapping[str, Mapping[str, int]],
    unmapped: Mapping[str, Mapping[str, Mapping[str, int]]],
    look: str,
) -> None:
    """The commonest reasons of each table, the codes that no profile maps, and where to go on from here."""
    if not reasons:
        return
    why = _table("Quarantined, by reason", "rows")
    for table, counted in reasons.items():
        for number, (reason, rows) in enumerate(list(counted.items())[:REASONS_PER_TABLE]):
            why.add_row(f"{table if number == 0 else '':<{NAME_WIDTH}}{reason}", f"{rows:,}")
        if len(counted) > REASONS_PER_TABLE:
            why.add_row(f"{'':<{NAME_WIDTH}}[dim]and {_n(len(counted) - REASONS_PER_TABLE, 'more reason')}[/]")
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
    if model.get("promoted") is False:
        on.print(f"  [yellow]not champion, so it scores nobody:[/] {escape(model['reason'])}")
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


def show_models(on: Console, tenant: str, models: Sequence[Mapping[str, Any]]) -> None:
    """The models of a tenant, one a line; what `edupulse model list` says."""
    if not models:
        on.print(f"[bold]{tenant}[/]  no model yet")
        return
    listed = _table(f"Models of {tenant}", "data through", "type", "AUC", "top 10 %", "")
    listed.columns[2].justify = listed.columns[5].justify = "left"
    for one in models:
        state = "[dim]not promoted[/]"
        if one["champion"]:
            state = "[bold green]champion[/]"
        elif one["set_aside"]:
            state = "[red]gone from MLflow[/]"
        elif one["promoted"]:
            state = "promoted"
        figures = ["[dim]-[/]" if one[name] is None else f"{one[name]:.3f}" for name in ("auc_roc", "precision_at_k10")]
        listed.add_row(escape(one["version"]), one["data_through"] or "", one["type"] or "", *figures, state)
    on.print(listed)


def show_model_facts(on: Console, facts: Mapping[str, Any], zone: str) -> None:
    """One model beside the rule, where it lies in MLflow, and the decisions about it, in times of `zone`."""
    _show_model(on, {"version": facts["version"], "metrics": facts["metrics"]})
    mlflow = facts["mlflow"]
    for name, value in (
        ("type", facts["type"]),
        ("data through", facts["data_through"]),
        ("champion", "yes" if facts["champion"] else "no"),
        ("data hash", facts["data_hash"]),
        ("MLflow run", mlflow.get("run_id")),
        ("MLflow version", facts["registry_version"] or ("gone" if facts["set_aside"] else None)),
    ):
        if value:
            on.print(f"  {name:<{NAME_WIDTH}}{escape(str(value))}", soft_wrap=True)
    for one in facts["decisions"]:
        when = dt.datetime.fromisoformat(one["decided_at"]).astimezone(ZoneInfo(zone))
        verdict = "[green]promoted[/]" if one["promoted"] else "[yellow]not promoted[/]"
        before = f" [dim]after {escape(one['previous_version'])}[/]" if one["previous_version"] else ""
        on.print()
        on.print(f"[bold]{when:%Y-%m-%d %H:%M}[/]  {one['kind']}: {verdict}{before}", soft_wrap=True)
        on.print(f"  {escape(one['reason'])}", soft_wrap=True)


def show_differences(on: Console, tenant: str, found: Sequence[Difference], apply: str) -> None:
    """What MLflow and the table disagree about, and what becomes of it; `apply` is the command that mends."""
    if not found:
        on.print(
            f"[bold]{tenant}[/]  [green]✓[/] MLflow and model_metadata agree, and every model's files are as logged."
        )
        return
    on.print(f"[bold]{tenant}[/]  {_n(len(found), 'difference')}")
    for one in found:
        mark = {True: "[green]✓[/]", False: "[red]✗[/]", None: "[yellow]![/]"}[one.mended]
        on.print(f"  {mark} {escape(one.said)}", soft_wrap=True)
        then = one.outcome or (f"would {one.mending}" if one.mending else "only a person can mend this, in MLflow")
        on.print(f"      [dim]{escape(then)}[/]", soft_wrap=True)
    if any(one.mended is None and one.mending for one in found):
        on.print(f"  [dim]to mend:[/] {escape(apply)}", soft_wrap=True)


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


def show_quarantine(
    on: Console, tenant: str, tallies: Sequence[Tally], replays: Sequence[Replay] | None, zone: str
) -> None:
    """Counts of quarantined rows by table, reason and file, and what the reasons mean; no row's content.

    With `replays` (not None) also what became of closed rows, in times of `zone`.
    """
    waiting = sum(tally.open for tally in tallies)
    oldest = min((tally.oldest for tally in tallies if tally.oldest), default=None)
    since = f", the oldest since {_day(oldest.astimezone(ZoneInfo(zone)))}" if oldest else ""
    on.print(f"[bold]{tenant}[/]  {_n(waiting, 'row')} in quarantine{since}")
    mended = sum(tally.corrected for tally in tallies)
    if mended:
        on.print(f"  [dim]{mended:,} of them corrected, and not replayed yet[/]")
    if not tallies:
        return
    on.print()
    columns = ("open",) if replays is None else ("open", "replayed", "superseded")
    listed = _table("Table, reason, file", *columns)

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
                listed.add_row(f"    and {_n(len(files) - FILES_PER_REASON, 'more file')}", style="dim")
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
                f"  {replay.table:<{NAME_WIDTH}} {_n(replay.rows, 'row')}{fixed} "
                f"[dim]{_moment(replay.replayed_at, zone)}{run}[/]",
                soft_wrap=True,
            )
    on.print()
    show_reasons(on, sorted({reason for tally in tallies if tally.open for reason in tally.reasons}))


def _grouped(tallies: Sequence[Tally], keys: Callable[[Tally], Sequence[str]]) -> dict[str, list[Tally]]:
    """The tallies under each of their keys, the key with most open rows first."""
    found: dict[str, list[Tally]] = {}
    for tally in tallies:
        for key in keys(tally):
            found.setdefault(key, []).append(tally)
    return dict(sorted(found.items(), key=lambda item: (-sum(tally.open for tally in item[1]), item[0])))


def show_reasons(on: Console, codes: Sequence[str]) -> None:
    """What the rules behind these codes mean, and how to mend them."""
    from edupulse_pipelines.schema.reasons import reason_for

    known = {reason.spelling: reason for code in codes if (reason := reason_for(code)) is not None}
    for spelling, reason in known.items():
        on.print(f"[bold]{escape(spelling)}[/]  {escape(reason.meaning)}", soft_wrap=True)
        on.print(f"    [dim]{escape(reason.fix)}[/]", soft_wrap=True)


def show_row(on: Console, row: Any, zone: str, *, values: bool, canonical: Callable[[str], str]) -> None:
    """One quarantined row: where it is from, what is wrong, what became of it; with `values` also what stands in it.

    `canonical` gives our name of a file's column; columns that a reason names are marked.
    """
    where = f"[bold]{escape(row.file_name)} line {row.line_number}[/]"
    on.print(f"{where}  [dim]{row.table_name}  {row.id}[/]", soft_wrap=True)
    trace = [f"in quarantine since {_moment(row.quarantined_at, zone)}"]
    trace += [f"corrected {_moment(row.corrected_at, zone)}"] if row.corrected_at else []
    by = f" by run {row.replay_run_id}" if row.replay_run_id else ""
    trace += [f"replayed {_moment(row.replayed_at, zone)}{by}"] if row.replayed_at else []
    trace += [f"its file was replaced {_moment(row.superseded_at, zone)}"] if row.superseded_at else []
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
        on.print(f"  [green]✓[/] {escape(str(file.path))}  {_n(file.rows, 'row')}{misfits}", soft_wrap=True)
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
        f"{_n(counts.read, 'row')} read: [bold]{_n(counts.corrected, 'correction')}[/] {done}, "
        f"{counts.unchanged:,} unchanged"
    )
    for table, columns in counts.columns.items():
        changed = ", ".join(f"{name} {rows:,}" for name, rows in columns.items())
        on.print(f"  [dim]{table}: {escape(changed)}[/]", soft_wrap=True)
    if counts.replaced:
        on.print(f"  [dim]{_n(counts.replaced, 'earlier correction')} replaced[/]")


def show_replay(on: Console, counts: Mapping[str, Any], left: Mapping[str, Mapping[str, int]]) -> None:
    """What a replay loaded, and why the rest could not be; `left` are open rows by table and reason."""
    shown = _table("Replayed", "tried", "loaded", "still in quarantine")
    for table, count in counts.items():
        still = f"[yellow]{count.still_quarantined:,}[/]" if count.still_quarantined else "[dim]0[/]"
        shown.add_row(table, f"{count.tried:,}", f"{count.loaded:,}", still)
    on.print(shown)
    for table, reasons in left.items():
        if counts[table].still_quarantined:
            why = ", ".join(f"{reason} {rows:,}" for reason, rows in list(reasons.items())[:REASONS_PER_TABLE])
            on.print(f"  [yellow]![/] {table}: {escape(why)}", soft_wrap=True)
    show_reasons(on, [reason for reasons in left.values() for reason in reasons])


def show_partitions(on: Console, table: str, months: Sequence[StoredMonth], default: Mapping[str, int]) -> None:
    """The months of a partitioned table, and what lies in the default partition."""
    if months:
        listed = _table(table, "rows, about", "MiB")
        for month in months:
            said = "" if month.attached else " [yellow]detached[/]"
            listed.add_row(f"{month.month:%Y-%m}{said}", f"{month.rows:,}", f"{month.bytes / (1 << 20):,.1f}")
        on.print(listed)
    else:
        on.print(f"[bold]{table}[/] has no month yet.")
    if not default:
        on.print("The default partition is empty.")
        return
    on.print(f"[yellow]![/] {_n(sum(default.values()), 'row')} in the default partition:")
    for name, rows in list(default.items())[:MONTHS_SHOWN]:
        on.print(f"  {name}  {_n(rows, 'row')}")
    if len(default) > MONTHS_SHOWN:
        on.print(f"  and {_n(len(default) - MONTHS_SHOWN, 'more month')}")
    on.print("  [dim]`edupulse db maintain` moves them into months of their own. What is dated before 1970 or ahead[/]")
    on.print("  [dim]of now stays, until the district corrects the date.[/]")


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


def printable(text: str) -> str:
    """A value that a terminal can show as it is: control characters, which could command it, are spelled out."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def _moment(moment: dt.datetime, zone: str) -> str:
    local = moment.astimezone(ZoneInfo(zone))
    return f"{_day(local)} {local:%H:%M}"


def _day(day: dt.date) -> str:
    return f"{day.day} {day:%b %Y}"


def _n(count: int, unit: str) -> str:
    return f"{count:,} {unit}{'' if count == 1 else 's'}"
