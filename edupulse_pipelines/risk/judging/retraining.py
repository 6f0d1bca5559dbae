"""When the schedule does not ask for a training: whether drift, educators' verdicts or a champion's age do.

Reads what `health` measured; trains nothing.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

import sqlalchemy as sa

from edupulse_pipelines.risk.book.identity import settings_hash_of
from edupulse_pipelines.risk.book.looks import challengers_of
from edupulse_pipelines.risk.book.records import trained_models
from edupulse_pipelines.risk.health import health_series, latest_health
from edupulse_pipelines.risk.judging.evaluation import Measure
from edupulse_pipelines.risk.samples.feedback import new_verdicts_since
from edupulse_pipelines.risk.statuses import CHANGED_INPUTS
from edupulse_pipelines.settings import TenantSettings, TrainingSettings
from edupulse_pipelines.storage.work import Work
from edupulse_pipelines.weeks import WEEK


def retraining_due(connection: sa.Connection, work: Work, tenant: TenantSettings, week: dt.date) -> str | None:
    """Why a training is due with data through `week` (Monday), in words; None when nothing asks for one, or there is no
    model yet.

    Drift counts when it was measured of the newest model. Once a challenger was trained because of it and refused, the
    champion's drift waits for the schedule or for verdicts; nearly the same data would give the same answer every week.
    """
    settings_hash = settings_hash_of(tenant)
    recorded = [model for model in trained_models(connection, work) if model.settings_hash == settings_hash]
    if not recorded:
        return None
    if (stale := stale_champion(connection, work, tenant, week)) is not None:
        return stale
    newest = max(recorded, key=lambda model: model.trained_at)
    series = health_series(connection, work, tenant)
    measured = latest_health(series[series["model_version"] == newest.model_version])
    return retraining_reason(measured, tenant.training, new_verdicts_since(connection, work, newest.trained_at))


def stale_champion(connection: sa.Connection, work: Work, tenant: TenantSettings, week: dt.date) -> str | None:
    """That the champion has not been compared for `champion_weeks`, in words; None when it was, or there is none.

    It was last judged on the weeks that the newest model compared with it knew or, without one, on its own. `week`: the
    newest one (Monday).
    """
    champion = next((model for model in trained_models(connection, work) if model.is_active), None)
    if champion is None or champion.data_through is None:
        return None
    judged = max([champion.data_through, *challengers_of(connection, work, champion.model_version).values()])
    weeks = (week - judged) // WEEK
    if weeks < tenant.training.champion_weeks:
        return None
    return (
        f"The champion {champion.model_version} was last judged with data through the week of {judged}, {weeks} weeks "
        f"ago (champion_weeks = {tenant.training.champion_weeks})."
    )


def retraining_reason(measures: Iterable[Measure], settings: TrainingSettings, new_verdicts: int = 0) -> str | None:
    """Why a training is due, in words; None when nothing asks for one. The schedule is the caller's.

    `measures`: the newest week's (`week_health`). Due: a score PSI at or above `retrain_on_drift`, or that of a quarter
    of the inputs, or `retrain_on_feedback` verdicts since the newest model.
    """
    measures = list(measures)
    limit = settings.retrain_on_drift
    reasons = []
    score = next((measure.value for measure in measures if measure.metric == "score_psi"), None)
    if score is not None and score >= limit:
        reasons.append(f"the scores have drifted (PSI {score:.2f}, limit {limit:g})")
    inputs = {
        measure.parameter: measure.value
        for measure in measures
        if measure.metric == "psi" and measure.value is not None
    }
    changed = sorted((name for name, value in inputs.items() if value >= limit), key=lambda name: (-inputs[name], name))
    if changed and len(changed) >= CHANGED_INPUTS * len(inputs):
        named = ", ".join(changed[:3]) + (", …" if len(changed) > 3 else "")
        reasons.append(f"{len(changed)} of {len(inputs)} inputs have drifted ({named})")
    if new_verdicts >= settings.retrain_on_feedback:
        reasons.append(f"educators gave {new_verdicts} verdicts since the newest model")
    if not reasons:
        return None
    sentence = "; ".join(reasons)
    return f"{sentence[0].upper()}{sentence[1:]}."
