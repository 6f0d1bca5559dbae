"""The rule's rows of `model_metadata`: which rule a row is, and the one without labels, which is there from the start.

What the rule is, is said in `models.baseline`. Its row holds the whole of it. One that has learned which probability
belongs to a score is made by a training, in `stand_in`.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from edupulse_pipelines.risk.book.learned_label import label_hash_of, learned_another_label
from edupulse_pipelines.risk.book.records import ModelRecord, model_records, write_record
from edupulse_pipelines.risk.models.baseline import uncalibrated_rule
from edupulse_pipelines.risk.models.tuning import sample_rows
from edupulse_pipelines.risk.samples.assembly import UNKNOWN, Samples, Usable
from edupulse_pipelines.risk.statuses import RULE
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.storage.work import Work
from edupulse_pipelines.weeks import WEEK

_CALIBRATION = "calibration"


def is_rule_of(record: ModelRecord, tenant: TenantSettings) -> bool:
    """Whether a row is the rule of the tenant's label and thresholds now, with a calibration or without."""
    stored = record.hyperparameters.get(RULE)
    if record.model_type != RULE or not isinstance(stored, dict) or learned_another_label(record, tenant):
        return False
    return {name: value for name, value in stored.items() if name != _CALIBRATION} == definition_of(tenant)


def definition_of(tenant: TenantSettings) -> dict[str, Any]:
    """The tenant's rule as JSON, without what can be learned of it."""
    return uncalibrated_rule(tenant).rule.definition()


def rule_version(tenant: TenantSettings, learned: dict[str, Any] | None, data_through: dt.date | None) -> str:
    """The model version of a rule: by what it is, after the week that it knew, if it knew any."""
    said = json.dumps([definition_of(tenant), label_hash_of(tenant), learned], sort_keys=True)
    name = f"{RULE}-{hashlib.sha256(said.encode()).hexdigest()[:8]}"
    return name if data_through is None else f"{data_through:%Y-%m-%d}-{name}"


def present_rule(connection: sa.Connection, work: Work, tenant: TenantSettings) -> ModelRecord | None:
    """The row of the tenant's rule as it is before any outcome is known; None where it is not there yet."""
    version = rule_version(tenant, None, None)
    return next((record for record in model_records(connection, work) if record.model_version == version), None)


def rule_without_labels(connection: sa.Connection, work: Work, tenant: TenantSettings) -> ModelRecord:
    """`present_rule`; written where it is not there yet."""
    found = present_rule(connection, work, tenant)
    if found is not None:
        return found
    record = ModelRecord(
        model_version=rule_version(tenant, None, None),
        model_type=RULE,
        trained_at=dt.datetime.now(dt.UTC),
        metrics={},
        hyperparameters={"model_type": RULE, RULE: uncalibrated_rule(tenant).rule.as_json()},
        label_hash=label_hash_of(tenant),
    )
    write_record(connection, work, record)
    return record


def labelled_rows(samples: Samples, usable: Usable, point: dt.date) -> NDArray[np.int64]:
    """The rows, ascending, from which a rule learns its probabilities: all whose outcome is known by the week `point`.

    Also of the weeks that a model leaves out between training and validation: nothing is validated on them here. At
    most `max_training_rows`, a random part of more.
    """
    matrix, horizon = samples.matrix, samples.tenant.label.weeks
    if horizon is None:
        rows = np.union1d(usable.training, usable.validation)
    else:
        passed = np.array([monday + horizon * WEEK <= point for monday in matrix.weeks], dtype=bool)
        rows = np.flatnonzero(passed[matrix.week] & (usable.outcome != UNKNOWN))
    return rows[sample_rows(len(rows), samples.tenant.training.max_training_rows)]
