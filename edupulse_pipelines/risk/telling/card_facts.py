"""What a model card is written from: the rows, the candidates, the figures and the decision of a training.

Holds counts, rates and settings, and no student. `reports` gathers it; how a card reads is in `model_card`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edupulse_pipelines.risk.judging.evaluation import Measure
from edupulse_pipelines.settings import (
    AUDIT_COLUMNS,
    CategorySettings,
    CohortSettings,
    DayRule,
    LabelSettings,
    RuleSettings,
)


@dataclass(frozen=True)
class DataFacts:
    """The student-weeks of one part (training or validation)."""

    student_weeks: int
    students: int
    events: int
    first_week: dt.date
    """Sunday of the first as-of week."""
    last_week: dt.date
    weeks: int
    note: str = ""
    """What else is to be known, such as that a part of the students was taken."""


@dataclass(frozen=True)
class CandidateFacts:
    """One candidate: how it did out of fold inside the training window, and on the held-out weeks."""

    kind: str
    tuning_log_loss: float | None
    """Best out-of-fold log loss of its configurations."""
    fits: int
    config: Mapping[str, Any]
    measures: Sequence[Measure] = ()
    chosen: bool = False
    left_out: str = ""
    """Why there is no such model."""


@dataclass(frozen=True)
class CardFacts:
    """Everything a card says; what is empty or None is left out or said to be unknown."""

    tenant: str
    model_version: str
    kind: str
    data_through: dt.date
    """Sunday of the last week that was known."""
    trained_at: dt.datetime
    label: LabelSettings
    cohort: CohortSettings
    categories: CategorySettings
    rule: RuleSettings
    capacity: float
    """Share of each week's cohort that the school can help."""
    training: DataFacts
    validation: DataFacts
    measures: Sequence[Measure]
    """The model on the held-out weeks, for everybody and for subgroups."""
    absent_day: DayRule = "half"
    """What makes a day one of absence."""
    rule_measures: Sequence[Measure] = ()
    champion_measures: Sequence[Measure] = ()
    unseen_measures: Sequence[Measure] = ()
    """The model kind on students who were held out of training as well."""
    candidates: Sequence[CandidateFacts] = ()
    features: Sequence[str] = ()
    metadata_inputs: Sequence[str] = ()
    audited: Sequence[str] = AUDIT_COLUMNS
    """By what subgroups were made, as the settings have it."""
    importance: Mapping[str, float] = field(default_factory=dict)
    """Mean absolute contribution by factor, in log-odds."""
    confidence: str = ""
    """What confidence means, when not as usual."""
    leakage_proof: str = ""
    """The outcome of the leakage proof in words."""
    minimum_subgroup: int = 10
    promoted: bool | None = None
    """None: not decided yet."""
    decision: str = ""
    """The gate's reason."""
    decision_numbers: Mapping[str, Any] = field(default_factory=dict)
    """The gate's figures (`Decision.numbers`), for the intervals."""
    champion_version: str | None = None
    """The champion that it was compared with."""
    data_hash: str = ""
    settings_hash: str = ""
    git_revision: str = ""
    seed: int | None = None
    libraries: Mapping[str, str] = field(default_factory=dict)
    """Versions of the libraries that decide scores."""
    figures: Mapping[str, bytes] = field(default_factory=dict)
    """Title to PNG, shown in the HTML card alone."""
