"""Whether a recorded model can be made again from its record alone: fitted once more, and the scores compared.

Changes nothing, in the database or in MLflow.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np
import sqlalchemy as sa

from edupulse_pipelines.risk.book.identity import data_hash_of, settings_hash_of
from edupulse_pipelines.risk.book.records import ModelRecord, load_recorded, model_record, scorers
from edupulse_pipelines.risk.book.registry import Registry
from edupulse_pipelines.risk.book.rules import is_rule_of, labelled_rows
from edupulse_pipelines.risk.models.baseline import calibrated_rule, rule_of
from edupulse_pipelines.risk.models.model import fit_candidate
from edupulse_pipelines.risk.rounding import DIGITS
from edupulse_pipelines.risk.samples.assembly import Samples, Usable, read_samples
from edupulse_pipelines.risk.samples.cohorts import directions, model_features
from edupulse_pipelines.risk.statuses import RULE
from edupulse_pipelines.schema.sqlalchemy_tables import erasures
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.storage.work import Work

_ERASED = "Students have been erased since it was trained, and a model that learned from them cannot be made again."


@dataclass(frozen=True)
class Reproduction:
    """What fitting a recorded model again came to."""

    model_version: str
    same_data: bool
    same_settings: bool
    largest_difference: float | None
    """Between the recorded model's probabilities on the validation rows and those of the refitted one."""
    sentence: str

    @property
    def reproduced(self) -> bool:
        """Whether the record gives the model."""
        return self.largest_difference is not None and self.largest_difference <= 10**-DIGITS


def reproduce(
    work: Work, tenant: TenantSettings, model_version: str, registry: Registry, records: Work | None = None
) -> Reproduction:
    """Fit a model again from its record (data-through week, candidate, configuration, seed), and compare the scores.

    records: where features and outcomes are read; without it where the model is. EduPulseError when there is no such
    model; ModelArtifactError when its files are gone.
    """
    with work.reading() as connection:
        record = model_record(scorers(connection, work), model_version, work.tenant)
    if record.data_through is None:
        sentence = f"The rule {model_version} has learned nothing: it is what its row says."
        return Reproduction(model_version, True, is_rule_of(record, tenant), 0.0, sentence)
    newest = dt.date.fromisoformat(record.hyperparameters.get("samples_read_for", f"{record.data_through}"))
    records = records or work
    with records.reading() as connection:
        samples = read_samples(connection, records, tenant, newest, maximum_rows=4 * tenant.training.max_training_rows)
    usable = samples.at(record.data_through)
    same_settings = record.settings_hash == settings_hash_of(tenant)
    same_data = record.data_hash == data_hash_of(samples, usable)
    if not (same_settings and same_data):
        parts = (("the settings", same_settings), ("the data", same_data))
        changed = " and ".join(name for name, same in parts if not same)
        gone = "" if same_data or not _erased_since(work, record) else f" {_ERASED}"
        return Reproduction(
            model_version,
            same_data,
            same_settings,
            None,
            f"Model {model_version} cannot be made again: {changed} are not those it was trained with.{gone}",
        )
    if record.model_type == RULE:
        return _of_rule(tenant, record, samples, usable)
    candidate = record.hyperparameters["candidate"]
    rows = samples.rows_to_fit(usable)
    model, _ = fit_candidate(
        candidate["kind"],
        samples.matrix.frame(rows)[list(model_features(tenant))],
        usable.outcome[rows],
        samples.matrix.student[rows],
        candidate["config"],
        directions(model_features(tenant)),
        samples.course_groups(rows),
    )
    frame = samples.matrix.frame(usable.validation)
    original = load_recorded(registry, work.tenant, record)
    difference = float(np.abs(model.probabilities(frame) - original.probabilities(frame)).max(initial=0.0))
    return Reproduction(
        model_version,
        True,
        True,
        difference,
        f"Model {model_version} was fitted again: on {len(frame):,} student-weeks its probabilities differ by at most "
        f"{difference:.1e}.",
    )


def _of_rule(tenant: TenantSettings, record: ModelRecord, samples: Samples, usable: Usable) -> Reproduction:
    """Learn once more which probability belongs to a score of the rule."""
    assert record.data_through is not None
    rows = labelled_rows(samples, usable, record.data_through)
    frame, student = samples.matrix.frame(rows), samples.matrix.student[rows]
    again = calibrated_rule(tenant, frame, usable.outcome[rows], student, samples.course_groups(rows))
    recorded = rule_of(record.hyperparameters[RULE])
    difference = float(np.abs(again.probabilities(frame) - recorded.probabilities(frame)).max(initial=0.0))
    return Reproduction(
        record.model_version,
        True,
        True,
        difference,
        f"The rule {record.model_version} learned its probabilities again: on {len(frame):,} student-weeks they differ "
        f"by at most {difference:.1e}.",
    )


def _erased_since(work: Work, record: ModelRecord) -> bool:
    """Whether any student has been erased, or rows have been taken away by retention, since the model was trained."""
    query = sa.select(erasures.c.id).where(erasures.c.tenant_id == work.tenant, erasures.c.begun_at > record.trained_at)
    with work.reading() as connection:
        return connection.execute(query.limit(1)).first() is not None
