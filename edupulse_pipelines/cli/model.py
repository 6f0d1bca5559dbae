"""`edupulse model …`: the risk models of a tenant, what is known of them, and people's decisions about them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edupulse_pipelines.cli.answers import answer, command_to_type, print_json
from edupulse_pipelines.cli.database import works_if_filled, works_in
from edupulse_pipelines.cli.home import settings_of
from edupulse_pipelines.cli.options import command, json_option, tenant_option
from edupulse_pipelines.cli.tenants import chosen_tenant, chosen_tenants
from edupulse_pipelines.errors import PermanentError
from edupulse_pipelines.settings import Settings, TenantSettings

if TYPE_CHECKING:
    from edupulse_pipelines.risk.book.champion import ChampionChange
    from edupulse_pipelines.risk.book.records import ModelRecord
    from edupulse_pipelines.risk.book.registry import Registry
    from edupulse_pipelines.storage.work import Work


@click.group()
def model() -> None:
    """The risk models of a tenant: which there are, how good they are, and which one is champion.

    \b
    Look:           edupulse model list
                    edupulse model show            (the champion, or a VERSION)
                    edupulse model card --html --out card.html
    Decide:         edupulse model promote VERSION --reason "…"
                    edupulse model rollback --reason "…"
    Check:          edupulse model sync            (--apply mends)
                    edupulse model reproduce VERSION
    Ask educators:  edupulse model reviews --out reviews.csv
    """


version_argument = click.argument("version", metavar="[VERSION]", required=False)


reason_option = click.option(
    "--reason", required=True, help="Why, for those who read the decision later. Name no student."
)


@model.command("list")
@tenant_option("all, one after another")
@json_option
@command
def model_list(tenant_name: str | None, as_json: bool, home: Path | None) -> None:
    """Every model, oldest first: what it knew, how good it was on held-out weeks, and whether it is champion."""
    from edupulse_pipelines.cli.output.drawing import console
    from edupulse_pipelines.cli.output.models import show_models

    settings = settings_of(home)
    tenants = chosen_tenants(settings, tenant_name, as_json=as_json)
    with works_if_filled(settings) as works:
        for tenant in tenants:
            rows = _model_records(works(tenant.name)) if works is not None else []
            if as_json:
                print_json({"tenant": tenant.name, "models": [_model_facts(row, tenant) for row in rows]})
            else:
                show_models(console(), tenant.name, [_model_facts(row, tenant) for row in rows])


@model.command("show")
@version_argument
@tenant_option("the only one there is")
@json_option
@command
def model_show(version: str | None, tenant_name: str | None, as_json: bool, home: Path | None) -> None:
    """One model beside the simple rule, and every decision about it.  VERSION defaults to the champion."""
    from edupulse_pipelines.cli.output.drawing import console
    from edupulse_pipelines.cli.output.models import show_model_facts
    from edupulse_pipelines.risk.book.decisions import decisions

    with _models(home, tenant_name) as (settings, tenant, work):
        row = _model_record(work, version)
        with work.reading() as connection:
            decided = [
                {
                    "decided_at": decision.decided_at.isoformat(),
                    "kind": decision.kind,
                    "promoted": decision.promoted,
                    "previous_version": decision.previous_version,
                    "reason": decision.reason,
                    "numbers": decision.numbers,
                    "run_id": decision.run_id,
                }
                for decision in decisions(connection, work, row.model_version)
            ]
        facts = {
            "tenant": tenant.name,
            **_model_facts(row, tenant),
            "metrics": row.metrics,
            "data_hash": row.data_hash,
            "settings_hash": row.settings_hash,
            "mlflow": _mlflow_facts(row),
            "mlflow_page": _registry(settings).page(row.mlflow),
            "decisions": decided,
        }
    if as_json:
        print_json(facts)
    else:
        show_model_facts(console(), facts, tenant.timezone)


@model.command("card")
@version_argument
@tenant_option("the only one there is")
@click.option("--html", "as_html", is_flag=True, help="The page with the plots instead of the markdown text.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write it to a file.")
@json_option
@command
def model_card(
    version: str | None, tenant_name: str | None, as_html: bool, out: Path | None, as_json: bool, home: Path | None
) -> None:
    """The model card: intended use, data, figures by subgroup, limits.  VERSION defaults to the champion.

    A card of a model that learned another label than the settings name now says so below its title.
    """
    from edupulse_pipelines.risk.book.learned_label import learned_another_label
    from edupulse_pipelines.risk.book.registry import CARD_DOCUMENTS
    from edupulse_pipelines.risk.telling.model_card import OTHER_LABEL, marked

    form = "html" if as_html else "markdown"
    with _models(home, tenant_name) as (settings, tenant, work):
        row = _model_record(work, version)
        run = row.mlflow.run_id if row.mlflow else None
        card = _registry(settings).run_document(run, CARD_DOCUMENTS[form]) if run else None
    if card is None:
        raise PermanentError(f"MLflow holds no card of model {row.model_version} ({CARD_DOCUMENTS[form]} of its run).")
    other_label = learned_another_label(row, tenant)
    if other_label:
        card = marked(card, OTHER_LABEL, as_html=as_html)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(card, encoding="utf-8")
    if as_json:
        facts = {"tenant": tenant.name, "version": row.model_version, "format": form, "other_label": other_label}
        print_json({**facts, "path": str(out)} if out else {**facts, "card": card})
    else:
        click.echo(f"Written to {out}." if out else card, nl=out is not None)


@model.command("promote")
@click.argument("version")
@tenant_option("the only one there is")
@reason_option
@json_option
@command
def model_promote(version: str, tenant_name: str | None, reason: str, as_json: bool, home: Path | None) -> None:
    """Make a model champion, whatever the promotion gate said. Recorded with your reason.

    Promoted models with newer data than this one do not score any more. Weeks that are scored already keep their
    predictions.
    """
    from edupulse_pipelines.risk.book.champion import make_champion

    with _models(home, tenant_name) as (settings, tenant, work):
        change = make_champion(work, _registry(settings), version, kind="promote", reason=reason)
    _say_change(tenant.name, change, as_json)


@model.command("rollback")
@tenant_option("the only one there is")
@reason_option
@json_option
@command
def model_rollback(tenant_name: str | None, reason: str, as_json: bool, home: Path | None) -> None:
    """Make the champion before this one champion again. Recorded with your reason; repeat to go back further."""
    from edupulse_pipelines.risk.book.champion import rollback

    with _models(home, tenant_name) as (settings, tenant, work):
        change = rollback(work, _registry(settings), reason=reason)
    _say_change(tenant.name, change, as_json)


@model.command("sync")
@tenant_option("all, one after another")
@click.option("--apply", "apply", is_flag=True, help="Mend what differs; without it nothing changes.")
@click.option(
    "--from",
    "source",
    type=click.Choice(["table", "registry"]),
    default="table",
    show_default=True,
    help="Which side is right where they contradict each other: model_metadata, or MLflow.",
)
@json_option
@command
def model_sync(tenant_name: str | None, apply: bool, source: str, as_json: bool, home: Path | None) -> None:
    """Compare MLflow with the table of models, and check the files of every model. Exit 1 when something differs.

    Models that are gone from one side come back from the other: a row from the record of the run, a registered
    version from the files. What cannot come back is set aside and never chosen again. Nothing is deleted.
    """
    from edupulse_pipelines.cli.output.drawing import console
    from edupulse_pipelines.cli.output.models import show_differences
    from edupulse_pipelines.risk.book import mirror

    settings = settings_of(home)
    tenants = chosen_tenants(settings, tenant_name, as_json=as_json)
    left = 0
    with works_in(settings) as works:
        for tenant in tenants:
            work, registry = works(tenant.name), _registry(settings)
            differences = mirror.sync(work, registry, apply=apply, source=source)  # type: ignore[arg-type]
            left += sum(difference.mended is not True for difference in differences)
            if as_json:
                print_json(
                    {
                        "tenant": tenant.name,
                        "applied": apply,
                        "differences": [
                            {"said" if name == "sentence" else name: value for name, value in vars(difference).items()}
                            for difference in differences
                        ],
                    }
                )
            else:
                show_differences(
                    console(),
                    tenant.name,
                    differences,
                    command_to_type(f"model sync --tenant {tenant.name} --apply", home),
                )
    sys.exit(1 if left else 0)


@model.command("reproduce")
@click.argument("version")
@click.option(
    "--as-recorded",
    is_flag=True,
    help="From the records as they were known when it was trained, whatever has been delivered since.",
)
@tenant_option("the only one there is")
@json_option
@command
def model_reproduce(version: str, as_recorded: bool, tenant_name: str | None, as_json: bool, home: Path | None) -> None:
    """Fit a model again from its record, and compare the scores. Exit 1 when they differ. Changes nothing.

    With --as-recorded features and outcomes are computed again, in a database of their own, from the records as they
    were known then: it takes as long as computing them did. A student who has been erased since is not among them.
    """
    from edupulse_pipelines.governance.past_records import past_records
    from edupulse_pipelines.risk.book.records import model_record, scorers
    from edupulse_pipelines.risk.book.reproduction import reproduce

    with _models(home, tenant_name) as (settings, tenant, work):
        if as_recorded:
            with work.reading() as connection:
                record = model_record(scorers(connection, work), version, work.tenant)
            with past_records(work, tenant, record.trained_at) as records:
                reproduction = reproduce(work, tenant, version, _registry(settings), records)
        else:
            reproduction = reproduce(work, tenant, version, _registry(settings))
    answer(
        reproduction.sentence,
        {"tenant": tenant.name, **vars(reproduction), "reproduced": reproduction.reproduced},
        as_json,
    )
    sys.exit(0 if reproduction.reproduced else 1)


@model.command("reviews")
@tenant_option("the only one there is")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A new CSV for educators to fill in; it names students.",
)
@json_option
@command
def model_reviews(tenant_name: str | None, out: Path | None, as_json: bool, home: Path | None) -> None:
    """Students drawn at random for review who have no verdict yet: how many, or a CSV to fill in.

    They were not flagged; what educators say of them is how misses become known. Fill in feedback_type
    (true_negative or false_negative), land the file as training_feedback. Only you can read it.
    """
    from edupulse_pipelines.risk.samples.feedback import open_reviews, review_template

    with _models(home, tenant_name) as (_, tenant, work), work.reading() as connection:
        reviews = open_reviews(connection, work)
    count = len(reviews)
    if out is not None and count:
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            # "x": verdicts that somebody has filled in already must not be lost.
            with os.fdopen(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(review_template(reviews, tenant.profile))
        except FileExistsError:
            raise PermanentError(f"{out} exists already; name a new file.") from None
    written = out if count else None
    sentence = f"{count:,} open review{'' if count == 1 else 's'}."
    if written:
        sentence += f" Written to {written}: fill it in, and land it as training_feedback-reviews.csv."
    facts = {"tenant": tenant.name, "open": count, "path": str(written) if written else None}
    answer(sentence, facts, as_json)


def _registry(settings: Settings) -> Registry:
    from edupulse_pipelines.risk.book.registry import Registry

    return Registry(settings.tracking_uri, settings.mlflow_dir / "artifacts")


@contextmanager
def _models(home: Path | None, tenant_name: str | None) -> Iterator[tuple[Settings, TenantSettings, Work]]:
    """What a command about one tenant's models needs."""
    settings = settings_of(home)
    tenant = chosen_tenant(settings, tenant_name)
    with works_in(settings) as works:
        yield settings, tenant, works(tenant.name)


def _model_records(work: Work) -> list[ModelRecord]:
    from edupulse_pipelines.risk.book.records import model_records

    with work.reading() as connection:
        return model_records(connection, work)


def _model_record(work: Work, version: str | None) -> ModelRecord:
    """The record of a model version, or the champion's."""
    rows = _model_records(work)
    record = next((row for row in rows if (row.is_active if version is None else row.model_version == version)), None)
    if record is None:
        missing = "has no champion; name a VERSION" if version is None else f"has no model {version}"
        raise PermanentError(f"{work.tenant} {missing} (`edupulse model list` shows which there are).")
    return record


def _mlflow_facts(record: ModelRecord) -> dict[str, Any]:
    """Where the model is in MLflow, for `--json`; empty when nothing was recorded."""
    facts: dict[str, Any] = dict(record.mlflow.as_record()) if record.mlflow else {}
    return {**facts, "lost": True} if record.set_aside else facts


def _model_facts(row: ModelRecord, tenant: TenantSettings) -> dict[str, Any]:
    from edupulse_pipelines.risk.book.learned_label import learned_another_label

    metrics = row.metrics
    return {
        "version": row.model_version,
        "type": row.model_type,
        "data_through": row.data_through.isoformat() if row.data_through else None,
        "trained_at": row.trained_at.isoformat(),
        "auc_roc": metrics.get("auc_roc"),
        "precision_at_k10": (metrics.get("precision_at_k") or {}).get("k10"),
        "validation_samples": metrics.get("validation_samples"),
        "promoted": row.promoted,
        "champion": row.is_active,
        "set_aside": row.set_aside,
        "registry_version": row.registry_version,
        "other_label": learned_another_label(row, tenant),
    }


def _say_change(tenant_name: str, change: ChampionChange, as_json: bool) -> None:
    sentence = f"The champion of {tenant_name} is {change.model_version}"
    before = change.previous_version
    sentence += f" (before: {before})." if before and before != change.model_version else "."
    if change.withdrawn:
        sentence += f" No longer scoring: {', '.join(change.withdrawn)}."
    answer(sentence, {"tenant": tenant_name, **vars(change), "withdrawn": list(change.withdrawn)}, as_json)
