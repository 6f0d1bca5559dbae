"""What was decided about each model, and every figure that was measured of it: two tables that are only added to.

`promotion_decisions`: of the gate, and of people. `model_evaluations`: figures in long form. Decides nothing:
`judging.promotion` does, or a person.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from edupulse_pipelines.risk.judging.evaluation import Measure
from edupulse_pipelines.schema.sqlalchemy_tables import model_evaluations, promotion_decisions
from edupulse_pipelines.schema.tables import DecisionKind
from edupulse_pipelines.storage.ids import new_ids
from edupulse_pipelines.storage.work import Work


@dataclass(frozen=True)
class RecordedDecision:
    """One row of `promotion_decisions`."""

    model_version: str
    kind: DecisionKind
    promoted: bool
    previous_version: str | None
    reason: str
    numbers: dict[str, Any]
    decided_at: dt.datetime
    run_id: str | None


def record_decision(
    connection: sa.Connection,
    work: Work,
    model_version: str,
    *,
    kind: DecisionKind,
    promoted: bool,
    reason: str,
    numbers: Mapping[str, Any] | None = None,
    previous_version: str | None = None,
) -> None:
    """Add one decision: of the gate, with its numbers, or of a person, who gives a reason. Never overwrites one.

    `previous_version` is the champion before. The model needs its row in `model_metadata`.
    """
    connection.execute(
        sa.insert(promotion_decisions).values(
            id=new_ids(1)[0],
            tenant_id=work.tenant,
            model_version=model_version,
            kind=kind,
            promoted=promoted,
            previous_version=previous_version,
            reason=reason,
            numbers=dict(numbers or {}),
            decided_at=dt.datetime.now(dt.UTC),
            run_id=work.run_id,
        )
    )


def decisions(connection: sa.Connection, work: Work, model_version: str | None = None) -> list[RecordedDecision]:
    """The tenant's decisions, or those about one model, newest last."""
    table = promotion_decisions.c
    wanted = table.tenant_id == work.tenant
    if model_version is not None:
        wanted &= table.model_version == model_version
    rows = connection.execute(
        sa.select(
            table.model_version,
            table.kind,
            table.promoted,
            table.previous_version,
            table.reason,
            table.numbers,
            table.decided_at,
            table.run_id,
        )
        .where(wanted)
        # Ids are time-ordered: they tell apart what was decided in the same moment.
        .order_by(table.decided_at, table.id)
    )
    return [RecordedDecision(*row) for row in rows]


def champion_before(connection: sa.Connection, work: Work, model_version: str) -> str | None:
    """The champion before `model_version`, by the newest decision that made it champion, but for rollbacks to it."""
    table = promotion_decisions.c
    return connection.execute(
        sa.select(table.previous_version)
        .where(
            table.tenant_id == work.tenant,
            table.model_version == model_version,
            table.promoted,
            table.kind != "rollback",
            table.previous_version.is_not(None),
            table.previous_version != model_version,
        )
        .order_by(table.decided_at.desc(), table.id.desc())
        .limit(1)
    ).scalar()


def record_measures(
    connection: sa.Connection,
    work: Work,
    model_version: str,
    candidate: str,
    scope: str,
    as_of_date: dt.date,
    measures: Sequence[Measure],
) -> None:
    """Write figures to `model_evaluations`, in place of those with the same key; `as_of_date` is a week's Sunday.

    ValueError when two of `measures` have the same metric, parameter and subgroup.
    """
    keys = {(measure.metric, measure.parameter, measure.subgroup) for measure in measures}
    if len(keys) < len(measures):
        raise ValueError("two measures have the same metric, parameter and subgroup")
    if not measures:
        return
    table = model_evaluations
    insert = (postgresql if work.dialect == "postgresql" else sqlite).insert(table)
    statement = insert.on_conflict_do_update(
        index_elements=list(table.primary_key.columns),
        set_={name: insert.excluded[name] for name in ("value", "samples", "evaluated_at")},
    )
    now = dt.datetime.now(dt.UTC)
    connection.execute(
        statement,
        [
            {
                "tenant_id": work.tenant,
                "model_version": model_version,
                "candidate": candidate,
                "scope": scope,
                "as_of_date": as_of_date,
                "metric": measure.metric,
                "parameter": measure.parameter,
                "subgroup": measure.subgroup,
                "value": None if measure.value is None or not math.isfinite(measure.value) else float(measure.value),
                "samples": measure.samples,
                "evaluated_at": now,
            }
            for measure in measures
        ],
    )
