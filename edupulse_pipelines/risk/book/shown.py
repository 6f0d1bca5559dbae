"""The model that a summary or an asset's page shows: its version, its figures, and why it is not champion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from edupulse_pipelines.risk.book.decisions import decisions
from edupulse_pipelines.risk.book.records import ModelRecord, model_records
from edupulse_pipelines.risk.statuses import RULE
from edupulse_pipelines.storage.work import Work

if TYPE_CHECKING:
    from edupulse_pipelines.risk.book.registry import Registry


def active_model(connection: sa.Connection, work: Work) -> dict[str, Any] | None:
    """`version` and `metrics` of the tenant's active model, or None."""
    return _active(model_records(connection, work))


def shown_model(connection: sa.Connection, work: Work) -> dict[str, Any] | None:
    """The model that a summary shows: the champion or, without one, the model that was trained last.

    A rule that stands in is none: what made the lists is said beside it. `version`, `metrics`, `promoted`, and `reason`
    where it is not champion. None when there is no model at all, or none but those of version 1.0, which nobody trained
    here.
    """
    records = [row for row in model_records(connection, work) if row.data_through is not None or not row.set_aside]
    active = _active(records)
    if active is not None:
        return {**active, "promoted": True, "reason": ""}
    models = [record for record in records if record.model_type != RULE]
    if not models:
        return None
    newest = max(models, key=lambda record: (record.trained_at, record.model_version))
    decided = decisions(connection, work, newest.model_version)
    reason = decided[-1].reason if decided else ""
    return {"version": newest.model_version, "metrics": dict(newest.metrics), "promoted": False, "reason": reason}


def champion_page(connection: sa.Connection, work: Work, registry: Registry) -> str | None:
    """The link to the active model in MLflow; None without one, and for a model that is not registered."""
    pages = (registry.page(record.mlflow) for record in model_records(connection, work) if record.is_active)
    return next(pages, None)


def _active(records: list[ModelRecord]) -> dict[str, Any] | None:
    return next(
        ({"version": record.model_version, "metrics": dict(record.metrics)} for record in records if record.is_active),
        None,
    )
