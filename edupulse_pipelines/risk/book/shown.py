"""The model that a summary or an asset's page shows: its version, its figures, and why it is not champion."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from edupulse_pipelines.schema import sqlalchemy_tables as tables
from edupulse_pipelines.storage.work import Work


def active_model(connection: sa.Connection, work: Work) -> dict[str, Any] | None:
    """`version` and `metrics` of the tenant's active model, or None."""
    rows = tables.model_metadata
    query = sa.select(rows.c.model_version, rows.c.performance_metrics).where(
        rows.c.tenant_id == work.tenant, rows.c.is_active
    )
    found = connection.execute(query).one_or_none()
    return None if found is None else {"version": found[0], "metrics": found[1]}


def shown_model(connection: sa.Connection, work: Work) -> dict[str, Any] | None:
    """The model that a summary shows: the champion or, without one, the newest model that did not pass the gate.

    `version`, `metrics`, `promoted`, and `reason` where it was not. None when there is no model at all.
    """
    active = active_model(connection, work)
    if active is not None:
        return {"version": active["version"], "metrics": active["metrics"], "promoted": True, "reason": ""}
    rows, decisions = tables.model_metadata, tables.promotion_decisions
    newest = connection.execute(
        sa.select(rows.c.model_version, rows.c.performance_metrics)
        .where(rows.c.tenant_id == work.tenant)
        .order_by(rows.c.training_date.desc(), rows.c.model_version.desc())
        .limit(1)
    ).one_or_none()
    if newest is None:
        return None
    reason = connection.execute(
        sa.select(decisions.c.reason)
        .where(decisions.c.tenant_id == work.tenant, decisions.c.model_version == newest[0])
        .order_by(decisions.c.decided_at.desc(), decisions.c.id.desc())
        .limit(1)
    ).scalar()
    return {"version": newest[0], "metrics": newest[1], "promoted": False, "reason": reason or ""}
