"""Who can be scored, and the matrix a model sees: feature vectors of many weeks, assembled once, in a fixed order.

The order is by week and `district_id` (compared as text, not by the database's collation), so that the same data give
the same matrix on every database. Computes no feature; `features` does.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import sqlalchemy as sa
from numpy.typing import NDArray

from edupulse_pipelines.features.definitions import FEATURE_NAMES
from edupulse_pipelines.features.store import read_features
from edupulse_pipelines.schema.sqlalchemy_tables import student_features
from edupulse_pipelines.settings import CohortSettings, TenantSettings
from edupulse_pipelines.weeks import feature_date, week_start

# A clock, not a trait: in a district's first year every student has the same value, and next month's lies outside of
# everything trained on (as an input it raises the validation loss of a made-up district of 120 students by a quarter).
# It decides about the cohort and the confidence instead.
NOT_INPUTS = frozenset({"weeks_of_data"})
MODEL_FEATURES: tuple[str, ...] = tuple(name for name in FEATURE_NAMES if name not in NOT_INPUTS)

# Vectors are read a few weeks at a time: their JSON is ten times the size of the numbers in it.
_WEEKS_PER_READ = 8
_DIGITS = 6


@dataclass(frozen=True)
class FeatureMatrix:
    """The cohort's feature vectors of several weeks. Rows are ordered by week, then `district_id`."""

    weeks: tuple[dt.date, ...]
    """The Mondays that have a cohort, ascending."""
    offsets: NDArray[np.int64]
    """Row range of week i: offsets[i] to offsets[i + 1]."""
    values: NDArray[np.float64]
    """Shape (rows, MODEL_FEATURES), NaN = missing, rounded to 6 decimals."""
    student: NDArray[np.int64]
    """Per row, the position of the student in `district_ids`."""
    district_ids: NDArray[np.object_]
    """The tenant's student numbers that occur, sorted as text."""

    def rows(self, weeks: Sequence[dt.date]) -> NDArray[np.int64]:
        """Row numbers of the given weeks, in order; weeks without a cohort have none."""
        position = {week: i for i, week in enumerate(self.weeks)}
        ranges = [
            np.arange(self.offsets[i], self.offsets[i + 1]) for i in (position[w] for w in weeks if w in position)
        ]
        return np.concatenate(ranges) if ranges else np.empty(0, dtype=np.int64)

    def frame(self, rows: NDArray[np.int64]) -> pd.DataFrame:
        """The feature columns of some rows."""
        return pd.DataFrame(self.values[rows], columns=list(MODEL_FEATURES))

    def digest(self, week_position: int, outcome: NDArray[np.int8]) -> bytes:
        """SHA-256 of one week: date, `district_id`s, rounded features and outcomes, whatever the database."""
        rows = slice(self.offsets[week_position], self.offsets[week_position + 1])
        digest = hashlib.sha256(feature_date(self.weeks[week_position]).isoformat().encode())
        digest.update("\n".join(self.district_ids[self.student[rows]]).encode())
        values = self.values[rows].astype("<f8", copy=True)
        values[np.isnan(values)] = np.nan  # one bit pattern for every missing value
        digest.update(values.tobytes())
        digest.update(outcome[rows].astype("<i1").tobytes())
        return digest.digest()


def cohort_of(vectors: pd.DataFrame, settings: CohortSettings) -> NDArray[np.bool_]:
    """Which rows of `read_features` have enough weeks of data to be scored; the others are insufficient data."""
    return vectors["weeks_of_data"].to_numpy(float) >= settings.minimum_weeks_of_data


def feature_weeks(connection: sa.Connection, tenant_id: str, through: dt.date) -> list[dt.date]:
    """The weeks (Mondays, ascending, up to `through`) for which feature vectors are stored."""
    column = student_features.c.feature_date
    found = connection.scalars(
        sa.select(column)
        .distinct()
        .where(student_features.c.tenant_id == tenant_id, column <= feature_date(through))
        .order_by(column)
    )
    return [week_start(day) for day in found]


def read_cohort(connection: sa.Connection, tenant: TenantSettings, weeks: Sequence[dt.date]) -> FeatureMatrix:
    """The cohort's feature matrix of `weeks` (ascending Mondays); weeks without a cohort are left out."""
    kept: list[dt.date] = []
    sizes: list[int] = []
    values: list[NDArray[np.float64]] = []
    numbers: list[NDArray[np.object_]] = []
    for start in range(0, len(weeks), _WEEKS_PER_READ):
        chunk = list(weeks[start : start + _WEEKS_PER_READ])
        vectors = read_features(connection, tenant.name, chunk)
        vectors = vectors[cohort_of(vectors, tenant.cohort)]
        for week in chunk:
            one = vectors[vectors["feature_date"] == feature_date(week)]
            if one.empty:
                continue
            number = one["district_id"].to_numpy(object)
            order = np.argsort(number, kind="stable")
            kept.append(week)
            sizes.append(len(one))
            numbers.append(number[order])
            # Adding 0 turns -0.0 into 0.0: equal numbers, one bit pattern.
            values.append(np.round(one[list(MODEL_FEATURES)].to_numpy(np.float64)[order], _DIGITS) + 0.0)
    if not kept:
        return FeatureMatrix(
            (), np.zeros(1, np.int64), np.empty((0, len(MODEL_FEATURES))), np.empty(0, np.int64), np.empty(0, object)
        )
    district_ids, student = np.unique(np.concatenate(numbers), return_inverse=True)
    return FeatureMatrix(
        tuple(kept),
        np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        np.concatenate(values),
        student,
        district_ids,
    )
