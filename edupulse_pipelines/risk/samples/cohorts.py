"""Who can be scored, and the matrix a model sees: feature vectors of many weeks, assembled once, in a fixed order.

The order is by week and `district_id` (compared as text, not by the database's collation), so that the same data give
the same matrix on every database. Puts together the stored vectors, the standing among classmates and what the
tenant's settings let a model see of `student_metadata`; computes no feature itself; `features` does.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa
from numpy.typing import NDArray

from edupulse_pipelines.errors import ConfigurationError
from edupulse_pipelines.features.definitions import FEATURE_NAMES, MODEL_FEATURES_BY_NAME, STANDING_NAMES, YEAR_DAYS
from edupulse_pipelines.features.enrolment import read_students
from edupulse_pipelines.features.standing import read_standing
from edupulse_pipelines.features.store import read_features
from edupulse_pipelines.risk.rounding import DIGITS
from edupulse_pipelines.risk.samples.subgroups import read_subgroups
from edupulse_pipelines.schema.delivery import GRADE_CODE
from edupulse_pipelines.schema.sqlalchemy_tables import student_features, students
from edupulse_pipelines.settings import CohortSettings, TenantSettings
from edupulse_pipelines.storage.bulk import ID, as_text, positions
from edupulse_pipelines.storage.work import Work
from edupulse_pipelines.weeks import feature_date, week_start

# A clock, not a trait: in a district's first year every student has the same value, and next month's lies outside of
# everything trained on (as an input it raises the validation loss of a made-up district of 120 students by a quarter).
# It decides about the cohort and the confidence instead.
NOT_INPUTS = frozenset({"weeks_of_data"})
RECORD_FEATURES: tuple[str, ...] = (*(name for name in FEATURE_NAMES if name not in NOT_INPUTS), *STANDING_NAMES)
"""What every tenant's model may see; the tenant's declared metadata inputs come after them."""

# Vectors are read a few weeks at a time: their JSON is ten times the size of the numbers in it.
_WEEKS_PER_READ = 8
NEVER = dt.date.max
"""The week in which an outcome is known that will never be."""


def model_features(tenant: TenantSettings) -> tuple[str, ...]:
    """The inputs of the tenant's models, in order; ConfigurationError for a name that is no feature."""
    chosen = tenant.inputs.record
    if unknown := sorted(set(chosen or ()) - set(RECORD_FEATURES)):
        raise ConfigurationError(
            f"[tenants.{tenant.name}.inputs] record: {unknown[0]} is no feature of the record "
            f"(there are: {', '.join(RECORD_FEATURES)})."
        )
    return (*(name for name in RECORD_FEATURES if chosen is None or name in chosen), *tenant.inputs.metadata)


def directions(names: Sequence[str]) -> dict[str, int]:
    """The known sign of each input's effect; 0 for what a tenant declared."""
    return {
        name: MODEL_FEATURES_BY_NAME[name].risk_direction if name in MODEL_FEATURES_BY_NAME else 0 for name in names
    }


def _columns(tenant: TenantSettings) -> tuple[str, ...]:
    """Everything that is assembled: a rule or an earlier model may ask for more than the tenant's models see now."""
    return (*RECORD_FEATURES, *YEAR_DAYS, *tenant.inputs.metadata)


@dataclass(frozen=True)
class Population:
    """The students on record as a cohort needs them, sorted by `district_id` as text; arrays of equal length."""

    district_ids: NDArray[np.object_]
    group: NDArray[np.int64]
    """Position in `groups`."""
    groups: tuple[str, ...]
    """The values of the `group_by` keys, joined by `/`; one empty name where there are no groups."""
    starts: dict[str, dt.date | None]
    """First day of teaching per group, where the settings give one."""
    left: NDArray[np.datetime64]
    """The day on which each left for good; NaT while enrolled."""
    metadata: NDArray[np.float64]
    """Shape (students, declared metadata inputs); NaN where missing or not among the declared values."""
    asked_for: NDArray[np.bool_]
    """Who can be in a cohort: whose grade is one of ours or not known, or has a code that the settings name."""

    def positions(self, district_ids: NDArray[np.object_]) -> NDArray[np.int64]:
        """Where these students (all of them on record) stand."""
        return np.searchsorted(self.district_ids, district_ids) if len(district_ids) else np.empty(0, np.int64)


def read_population(connection: sa.Connection, work: Work, tenant: TenantSettings) -> Population:
    """The tenant's students, without the deleted ones."""
    table = students.c
    needs_metadata = bool(tenant.cohort.group_by or tenant.inputs.metadata)
    rows = connection.execute(
        sa.select(
            table.district_id,
            table.student_metadata[GRADE_CODE].as_string().label(GRADE_CODE),
            as_text(table.id).label("student_id"),
            *((table.student_metadata,) if needs_metadata else ()),
        ).where(table.tenant_id == work.tenant, table.deleted_on.is_(None))
    ).all()
    rows = sorted(rows, key=lambda row: row.district_id)
    enrolled = read_students(connection, work)
    place_of = positions(np.array([row.student_id.encode() for row in rows], dtype=ID), enrolled.ids)
    told = [row.student_metadata if needs_metadata else None for row in rows]
    described: list[dict[str, Any]] = [facts if isinstance(facts, dict) else {} for facts in told]
    group_of = [tenant.cohort.group_of(facts) for facts in described]
    groups = sorted(set(group_of)) or [()]
    place = {group: number for number, group in enumerate(groups)}
    metadata = np.full((len(rows), len(tenant.inputs.metadata)), np.nan)
    for column, (name, kind) in enumerate(tenant.inputs.metadata.items()):
        order = None if kind == "number" else {value: float(rank) for rank, value in enumerate(kind)}
        metadata[:, column] = [_number(facts.get(name), order) for facts in described]
    names = tuple("/".join(group) for group in groups)
    return Population(
        district_ids=_objects([row.district_id for row in rows]),
        group=np.array([place[group] for group in group_of], dtype=np.int64),
        groups=names,
        starts={name: tenant.cohort.start_of(group) for name, group in zip(names, groups, strict=True)},
        left=np.append(enrolled.left, np.datetime64("NaT", "D"))[place_of],
        metadata=metadata,
        asked_for=np.array([row.grade_code in (None, *tenant.cohort.grade_codes) for row in rows], dtype=np.bool_),
    )


@dataclass(frozen=True)
class FeatureMatrix:
    """The cohort's features of several weeks. Rows are ordered by week, then `district_id`."""

    features: tuple[str, ...]
    """The columns of `values`."""
    weeks: tuple[dt.date, ...]
    """The Mondays that have a cohort, ascending."""
    offsets: NDArray[np.int64]
    """Row range of week i: offsets[i] to offsets[i + 1]."""
    values: NDArray[np.float64]
    """Shape (rows, features), NaN = missing, rounded to 6 decimals."""
    student: NDArray[np.int64]
    """Per row, the position of the student in the population."""
    weeks_of_data: NDArray[np.float64]
    """Per row, school weeks since enrolment."""
    quality: NDArray[np.float64]
    """Per row, the share of the last weeks' data that is there."""
    population: Population
    audit: dict[str, NDArray[np.object_]]
    """What the settings audit, per student of the population; see `subgroups.read_subgroups`."""
    share: float = 1.0
    """Of the students on record, how many were taken."""

    @property
    def week(self) -> NDArray[np.int64]:
        """Per row, the position of its week in `weeks`."""
        return np.repeat(np.arange(len(self.weeks)), np.diff(self.offsets))

    def frame(self, rows: NDArray[np.int64]) -> pd.DataFrame:
        """The feature columns of some rows."""
        return pd.DataFrame(self.values[rows], columns=list(self.features))

    def subgroups(self, rows: NDArray[np.int64]) -> dict[str, NDArray[np.object_]]:
        """What the settings audit, of some rows."""
        return {name: values[self.student[rows]] for name, values in self.audit.items()}

    def digest(self, rows: NDArray[np.int64], outcome: NDArray[np.int8]) -> str:
        """SHA-256 of some rows (ascending): dates, `district_id`s, rounded features and outcomes, on any database."""
        digest = hashlib.sha256("\n".join(self.features).encode())
        week = self.week[rows]
        for number in np.unique(week):
            of_week = rows[week == number]
            digest.update(feature_date(self.weeks[number]).isoformat().encode())
            digest.update("\n".join(self.population.district_ids[self.student[of_week]]).encode())
            values = self.values[of_week].astype("<f8", copy=False)
            values[np.isnan(values)] = np.nan  # one bit pattern for every missing value
            digest.update(values.tobytes())
            digest.update(outcome[of_week].astype("<i1").tobytes())
        return digest.hexdigest()


def cohort_of(vectors: pd.DataFrame, settings: CohortSettings) -> NDArray[np.bool_]:
    """Which rows of `read_features` have enough weeks of data to be scored; the others are insufficient data."""
    return vectors["weeks_of_data"].to_numpy(float) >= settings.minimum_weeks_of_data


def feature_weeks(connection: sa.Connection, work: Work, through: dt.date) -> list[dt.date]:
    """The weeks (Mondays, ascending, up to `through`) for which feature vectors are stored."""
    column = student_features.c.feature_date
    sundays = connection.scalars(
        sa.select(column)
        .distinct()
        .where(student_features.c.tenant_id == work.tenant, column <= feature_date(through))
        .order_by(column)
    )
    return [week_start(day) for day in sundays]


def read_weeks(
    connection: sa.Connection, work: Work, tenant: TenantSettings, weeks: Sequence[dt.date]
) -> dict[dt.date, pd.DataFrame]:
    """`read_week` of several weeks (ascending Mondays); cheaper than one by one, because they share a school year."""
    stored = _weeks(connection, work, tenant, weeks, read_population(connection, work, tenant))
    return {week: stored[week] if week in stored else _nobody(tenant) for week in weeks}


def read_week(connection: sa.Connection, work: Work, tenant: TenantSettings, week: dt.date) -> pd.DataFrame:
    """Everybody enrolled at the end of one week: `read_features`, the model's inputs, and `in_cohort`.

    In the cohort: enough weeks of data and, where groups have a start, that many weeks of teaching; whose grade has a
    code instead of a number only where the settings ask for it (`grade_codes`). Ordered by
    `district_id`; no rows for a week without vectors.
    """
    return read_weeks(connection, work, tenant, [week])[week]


def read_cohort(
    connection: sa.Connection,
    work: Work,
    tenant: TenantSettings,
    weeks: Sequence[dt.date],
    *,
    maximum_rows: int | None = None,
) -> FeatureMatrix:
    """The cohort's feature matrix of `weeks` (ascending Mondays); weeks without a cohort are left out.

    `maximum_rows`: where the cohorts hold more rows, only a part of the students is taken, each with all weeks, drawn
    by a hash of the `district_id`: the same ones each time, whatever happened to them. Memory: 8 bytes per feature
    and row. ConfigurationError for subgroups that the settings name and nobody has, before vectors are read.
    """
    population = read_population(connection, work, tenant)
    audit = read_subgroups(connection, work, tenant, population.district_ids)
    chosen = _sampled(connection, work, tenant, weeks, population, maximum_rows)
    kept: list[dt.date] = []
    values: list[NDArray[np.float64]] = []
    student: list[NDArray[np.int64]] = []
    evidence: list[NDArray[np.float64]] = []
    names = _columns(tenant)
    for start in range(0, len(weeks), _WEEKS_PER_READ):
        chunk = list(weeks[start : start + _WEEKS_PER_READ])
        for week, everybody in _weeks(connection, work, tenant, chunk, population).items():
            cohort = everybody[everybody["in_cohort"].to_numpy(bool)]
            place = population.positions(cohort["district_id"].to_numpy(object))
            if chosen is not None:
                cohort, place = cohort[chosen[place]], place[chosen[place]]
            if cohort.empty:
                continue
            kept.append(week)
            student.append(place)
            evidence.append(cohort[["weeks_of_data", "data_quality"]].to_numpy(np.float64))
            # Adding 0 turns -0.0 into 0.0: equal numbers, cohort bit pattern.
            values.append(np.round(cohort[list(names)].to_numpy(np.float64), DIGITS) + 0.0)
    sizes = [len(students_of_week) for students_of_week in student]
    measured = np.concatenate(evidence) if evidence else np.empty((0, 2))
    return FeatureMatrix(
        names,
        tuple(kept),
        np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        np.concatenate(values) if values else np.empty((0, len(names))),
        np.concatenate(student) if student else np.empty(0, np.int64),
        measured[:, 0],
        measured[:, 1],
        population,
        audit,
        1.0 if chosen is None else float(chosen.mean()),
    )


def _weeks(
    connection: sa.Connection, work: Work, tenant: TenantSettings, weeks: Sequence[dt.date], population: Population
) -> dict[dt.date, pd.DataFrame]:
    """`read_week` of several weeks; those without vectors are absent."""
    vectors = read_features(connection, work, weeks)
    standing = read_standing(connection, work, tenant, weeks)
    by_week: dict[dt.date, pd.DataFrame] = {}
    for week in weeks:
        rows = vectors[vectors["feature_date"] == feature_date(week)]
        if rows.empty:
            continue
        place = population.positions(rows["district_id"].to_numpy(object))
        inputs = standing.of(week, rows["student_id"].to_numpy(object))
        declared = pd.DataFrame(population.metadata[place], columns=list(tenant.inputs.metadata), index=inputs.index)
        rows = pd.concat([rows.reset_index(drop=True), inputs, declared], axis=1)
        taught = _weeks_of_teaching(population, place, week)
        enough = cohort_of(rows, tenant.cohort) & (taught >= tenant.cohort.minimum_weeks_of_data)
        rows["in_cohort"] = enough & population.asked_for[place]
        by_week[week] = rows
    return by_week


def _weeks_of_teaching(population: Population, place: NDArray[np.int64], week: dt.date) -> NDArray[np.float64]:
    """Calendar weeks since the group's start, the week itself included; infinite where no start is given."""
    of_group = np.array(
        [
            math.inf if start is None else (week - week_start(start)).days // 7 + 1
            for start in (population.starts[name] for name in population.groups)
        ]
    )
    return of_group[population.group[place]]


def _sampled(
    connection: sa.Connection,
    work: Work,
    tenant: TenantSettings,
    weeks: Sequence[dt.date],
    population: Population,
    maximum_rows: int | None,
) -> NDArray[np.bool_] | None:
    """Which students to take; None for all of them."""
    if maximum_rows is None or not weeks or len(population.district_ids) * len(weeks) <= maximum_rows:
        return None
    column = student_features.c.feature_date
    rows = connection.scalar(
        sa.select(sa.func.count()).where(
            student_features.c.tenant_id == work.tenant,
            column.between(feature_date(weeks[0]), feature_date(weeks[-1])),
        )
    )
    if not rows or rows <= maximum_rows:
        return None
    drawn = [
        int.from_bytes(hashlib.sha256(f"{tenant.name}/{district_id}".encode()).digest()[:8]) / 2**64
        for district_id in population.district_ids
    ]
    return np.array(drawn) < maximum_rows / rows


def _nobody(tenant: TenantSettings) -> pd.DataFrame:
    columns = ("district_id", "student_id", "feature_date", "data_quality", "weeks_of_data", *_columns(tenant))
    empty: Mapping[str, Any] = {name: pd.Series(dtype=object) for name in (*columns, "in_cohort")}
    return pd.DataFrame(empty)


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _number(value: Any, order: Mapping[str, float] | None) -> float:
    if order is not None:
        return order.get(_text(value), math.nan)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return math.nan
    try:
        return float(value)
    except ValueError:
        return math.nan


def _objects(values: Sequence[Any]) -> NDArray[np.object_]:
    made = np.empty(len(values), dtype=object)
    made[:] = values
    return made
