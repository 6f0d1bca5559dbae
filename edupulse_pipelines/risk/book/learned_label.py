"""Which label a model learned, and whether it is the one that the tenant's settings name now.

A label is recognised by a hash of its definition: the settings of the label, what its rule of absence says, and what
makes a day one of absence. A model that learned another label goes on scoring until the next training, which is due at
once; its figures are about another event, so they are not compared with those of the present one.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from edupulse_pipelines.risk.book.records import ModelRecord
from edupulse_pipelines.settings import DayRule, LabelSettings, TenantSettings


def label_definition(label: LabelSettings, absent_day: DayRule) -> dict[str, Any]:
    """Everything that decides whether an event happened, as JSON; the day rule only where days are counted."""
    rule = label.absence_rule
    return {
        "label": label.model_dump(mode="json"),
        "absence_rule": None if rule is None else rule.as_json(),
        "absent_day": None if rule is None else absent_day,
    }


def label_hash_of(tenant: TenantSettings) -> str:
    """Hash of the definition of the tenant's label."""
    return _hash(label_definition(tenant.label, tenant.absent_day))


def learned_another_label(record: ModelRecord, tenant: TenantSettings) -> bool:
    """Whether the model learned another label than the tenant's; False where the record does not say what it learned.

    Of a model from before labels were hashed, the settings that it keeps say it: all of these had an attendance rate.
    """
    learned = record.label_hash
    if learned is None:
        settings = record.hyperparameters.get("settings")
        if not isinstance(settings, dict) or "label" not in settings:
            return False
        try:
            learned = _hash(label_definition(LabelSettings.model_validate(settings["label"]), "half"))
        except ValueError:  # settings of a version that is not known: then no label of this one
            return True
    return learned != label_hash_of(tenant)


def _hash(definition: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(definition, sort_keys=True).encode()).hexdigest()
