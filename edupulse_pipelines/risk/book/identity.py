"""By what a training is recognised: its data, its settings, and the model version made of both.

Two trainings with the same hashes would give the same model, so the second is not done. Reads no table.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from edupulse_pipelines.risk.book.learned_label import label_definition
from edupulse_pipelines.risk.models.model import MODEL_REVISION
from edupulse_pipelines.risk.samples.assembly import Samples, Usable
from edupulse_pipelines.risk.samples.cohorts import model_features
from edupulse_pipelines.settings import TenantSettings


@dataclass(frozen=True)
class Identity:
    """One data-through week's training."""

    data_through: dt.date
    """Monday of the newest week whose data it may use."""
    data_hash: str
    settings_hash: str

    @property
    def model_version(self) -> str:
        """The name of the model that it makes."""
        both = hashlib.sha256(f"{self.data_hash}{self.settings_hash}".encode()).hexdigest()
        return f"{self.data_through:%Y-%m-%d}-{both[:8]}"


def identity_of(tenant: TenantSettings, point: dt.date, samples: Samples, usable: Usable) -> Identity:
    """The identity of a training with data through the week `point` (Monday) on what `usable` says."""
    return Identity(point, data_hash_of(samples, usable), settings_hash_of(tenant))


def settings_of_model(tenant: TenantSettings) -> dict[str, Any]:
    """What, besides the data, decides the model and whether it is promoted; as JSON."""
    return {
        "model_revision": MODEL_REVISION,
        "features": list(model_features(tenant)),
        **label_definition(tenant.label, tenant.absent_day),
        "cohort": tenant.cohort.model_dump(mode="json"),
        "inputs": tenant.inputs.model_dump(mode="json"),
        "rule": tenant.rule.model_dump(mode="json"),
        "feedback": tenant.feedback.model_dump(mode="json"),
        "training": tenant.training.model_dump(
            mode="json",
            include={
                "minimum_train_per_class",
                "minimum_validation_per_class",
                "candidates",
                "tuning_fits",
                "max_training_rows",
            },
        ),
        "promotion": tenant.promotion.model_dump(mode="json"),
        "audit": tenant.audit.model_dump(mode="json"),
        "high": tenant.categories.high,
    }


def settings_hash_of(tenant: TenantSettings) -> str:
    """Hash of the settings that decide a model; a recorded model with another one answers another question."""
    return hashlib.sha256(json.dumps(settings_of_model(tenant), sort_keys=True).encode()).hexdigest()


def data_hash_of(samples: Samples, usable: Usable) -> str:
    """Hash of the ordered training and validation samples: dates, district ids, rounded features, outcomes."""
    digest = hashlib.sha256()
    for part, rows in (("training", usable.training), ("validation", usable.validation)):
        digest.update(part.encode())
        digest.update(samples.matrix.digest(rows, usable.outcome).encode())
    return digest.hexdigest()
