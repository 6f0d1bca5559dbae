"""When the schedule does not ask for a training: whether drift or educators' verdicts do."""

from __future__ import annotations

import sqlalchemy as sa

from edupulse_pipelines.risk.health import health_series, latest_health, retraining_reason
from edupulse_pipelines.risk.samples.feedback import new_verdicts_since
from edupulse_pipelines.risk.training import recorded_models, settings_hash_of
from edupulse_pipelines.settings import TenantSettings


def retraining_due(connection: sa.Connection, tenant: TenantSettings) -> str | None:
    """Why a training is due now, in words; None when nothing asks for one, or there is no model yet.

    Drift counts when it was measured of the newest model: once a challenger was trained because of it and refused, the
    champion's drift waits for the schedule or for verdicts; nearly the same data would give the same answer every week.
    """
    recorded = [
        one for one in recorded_models(connection, tenant.name) if one.settings_hash == settings_hash_of(tenant)
    ]
    if not recorded:
        return None
    newest = max(recorded, key=lambda one: one.trained_at)
    series = health_series(connection, tenant.name)
    measured = latest_health(series[series["model_version"] == newest.model_version])
    return retraining_reason(measured, tenant.training, new_verdicts_since(connection, tenant.name, newest.trained_at))
