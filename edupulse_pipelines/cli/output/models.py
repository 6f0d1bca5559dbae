"""The models of a tenant: the list, one model beside the simple rule, decisions, and differences from MLflow."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.markup import escape

from edupulse_pipelines.cli.output.drawing import NAME_WIDTH, counted, table_of_figures

if TYPE_CHECKING:
    from edupulse_pipelines.risk.book.mirror import Difference

METRICS = (
    ("auc_roc", "AUC (ROC)"),
    ("precision", "precision"),
    ("recall", "recall"),
    ("f1_score", "F1"),
    ("k10", "precision, top 10 % of the list"),
)


def show_model(on: Console, model: Mapping[str, Any] | None) -> None:
    """One model's figures beside those of the simple rule, and why it does not score, where it does not."""
    if model is None:
        on.print("[bold]Model[/]  none yet")
        on.print()
        return
    metrics = model["metrics"]
    rule = metrics.get("baseline") or {}
    beside = table_of_figures(f"Model {model['version']}", "model", "simple rule")
    for name, label in METRICS:
        beside.add_row(label, _metric(metrics, name), f"[dim]{_metric(rule, name)}[/]")
    on.print(beside)
    on.print(
        f"  [dim]validated on {counted(int(metrics.get('validation_samples') or 0), 'student-week')}, later than all "
        "it learned from[/]"
    )
    if model.get("promoted") is False:
        on.print(f"  [yellow]not champion, so the rule scores:[/] {escape(model['reason'])}", soft_wrap=True)
    on.print()


def show_models(on: Console, tenant: str, models: Sequence[Mapping[str, Any]]) -> None:
    """The models of a tenant, one a line; what `edupulse model list` says."""
    if not models:
        on.print(f"[bold]{tenant}[/]  no model yet")
        return
    listed = table_of_figures(f"Models of {tenant}", "data through", "type", "AUC", "top 10 %", "")
    listed.columns[2].justify = listed.columns[5].justify = "left"
    for model in models:
        state = "[dim]not promoted[/]"
        if model["champion"]:
            state = "[bold green]champion[/]"
        elif model["set_aside"]:
            state = "[red]gone from MLflow[/]"
        elif model["promoted"]:
            state = "promoted"
        if model["other_label"]:
            state += "[yellow], another label[/]"
        figures = [
            "[dim]-[/]" if model[name] is None else f"{model[name]:.3f}" for name in ("auc_roc", "precision_at_k10")
        ]
        listed.add_row(escape(model["version"]), model["data_through"] or "", model["type"] or "", *figures, state)
    on.print(listed)


def show_model_facts(on: Console, facts: Mapping[str, Any], zone: str) -> None:
    """One model beside the rule, where it lies in MLflow, and the decisions about it, in times of `zone`."""
    show_model(on, {"version": facts["version"], "metrics": facts["metrics"]})
    mlflow = facts["mlflow"]
    for name, value in (
        ("type", facts["type"]),
        ("data through", facts["data_through"]),
        ("champion", "yes" if facts["champion"] else "no"),
        ("label", "another than the settings name now" if facts["other_label"] else None),
        ("data hash", facts["data_hash"]),
        ("MLflow run", mlflow.get("run_id")),
        ("MLflow version", facts["registry_version"] or ("gone" if facts["set_aside"] else None)),
        ("MLflow page", facts["mlflow_page"]),
    ):
        if value:
            on.print(f"  {name:<{NAME_WIDTH}}{escape(str(value))}", soft_wrap=True)
    for decision in facts["decisions"]:
        when = dt.datetime.fromisoformat(decision["decided_at"]).astimezone(ZoneInfo(zone))
        verdict = "[green]promoted[/]" if decision["promoted"] else "[yellow]not promoted[/]"
        before = f" [dim]after {escape(decision['previous_version'])}[/]" if decision["previous_version"] else ""
        on.print()
        on.print(f"[bold]{when:%Y-%m-%d %H:%M}[/]  {decision['kind']}: {verdict}{before}", soft_wrap=True)
        on.print(f"  {escape(decision['reason'])}", soft_wrap=True)


def show_differences(on: Console, tenant: str, differences: Sequence[Difference], apply: str) -> None:
    """What MLflow and the table disagree about, and what becomes of it; `apply` is the command that mends."""
    if not differences:
        on.print(
            f"[bold]{tenant}[/]  [green]✓[/] MLflow and model_metadata agree, and every model's files are as logged."
        )
        return
    on.print(f"[bold]{tenant}[/]  {counted(len(differences), 'difference')}")
    for difference in differences:
        mark = {True: "[green]✓[/]", False: "[red]✗[/]", None: "[yellow]![/]"}[difference.mended]
        on.print(f"  {mark} {escape(difference.sentence)}", soft_wrap=True)
        then = difference.outcome or (
            f"would {difference.mending}" if difference.mending else "only a person can mend this, in MLflow"
        )
        on.print(f"      [dim]{escape(then)}[/]", soft_wrap=True)
    if any(difference.mended is None and difference.mending for difference in differences):
        on.print(f"  [dim]to mend:[/] {escape(apply)}", soft_wrap=True)


def _metric(metrics: Mapping[str, Any], name: str) -> str:
    value = (metrics.get("precision_at_k") or {}).get(name) if name.startswith("k") else metrics.get(name)
    return "not defined" if value is None else f"{value:.3f}"
