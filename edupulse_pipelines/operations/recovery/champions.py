"""Whether models come back: each district's champion opened from restored files, ten students scored as before.

`noted_champions` scores by the live model and the live rows of the drill's moment, `compare_champions` by the restored
files and the restored rows. Nothing is written, and scores of students are compared, never told.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
from sqlalchemy.engine import Connection

from edupulse_pipelines.errors import EduPulseError, ModelArtifactError
from edupulse_pipelines.risk.book.model_files import check_unchanged, read_model
from edupulse_pipelines.risk.book.records import ModelRecord, load_recorded, trained_models
from edupulse_pipelines.risk.book.registry import Registry
from edupulse_pipelines.risk.models.model import RiskModel
from edupulse_pipelines.risk.rounding import DIGITS
from edupulse_pipelines.risk.samples.cohorts import feature_weeks, read_week
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.storage.work import Work

STUDENTS = 10
FetchFolder = Callable[[str, Path], bool]
"""(name of a folder below the home, folder to put its files into): whether the newest moment has any."""


@dataclass(frozen=True)
class Champion:
    """A district's champion, and what it said of some students of one week (a Monday).

    scores: by student's id, or None where the live model could not be asked (`why`).
    """

    tenant: str
    record: ModelRecord
    week: dt.date | None
    scores: Mapping[str, float] | None
    why: str = ""


def noted_champions(
    connection: Connection, work: Work, tenants: Iterable[TenantSettings], registry: Registry
) -> list[Champion]:
    """The champions of the districts, as the connection's transaction sees them, with their scores."""
    found = []
    for tenant in tenants:
        of_tenant = replace(work, tenant=tenant.name)
        record = next((one for one in trained_models(connection, of_tenant) if one.is_active), None)
        if record is None:
            continue
        weeks = feature_weeks(connection, of_tenant, dt.date.max - dt.timedelta(days=14))
        week = weeks[-1] if weeks else None
        try:
            model = load_recorded(registry, tenant.name, record)
            scores = None if week is None else scores_of(connection, of_tenant, tenant, week, model)
            found.append(Champion(tenant.name, record, week, scores))
        except EduPulseError as error:
            found.append(Champion(tenant.name, record, week, None, str(error)))
    return found


def scores_of(
    connection: Connection, work: Work, tenant: TenantSettings, week: dt.date, model: RiskModel
) -> dict[str, float]:
    """What the model says of the first `STUDENTS` of the week's cohort, by their number in the district."""
    read = read_week(connection, work, tenant, week)
    cohort = read[read["in_cohort"].to_numpy(bool)].sort_values("district_id", kind="stable", ignore_index=True)
    if cohort.empty:
        return {}
    part = cohort.iloc[:STUDENTS]
    scores = np.round(model.probabilities(part), DIGITS)
    return dict(zip(part["student_id"].astype(str), scores.tolist(), strict=True))


@dataclass(frozen=True)
class ChampionsFound:
    """What came of it: models that were opened, students whose numbers are the same, what is wrong, what is not proven.

    wrong: makes the drill fail. unproven: could not be looked at, with why.
    """

    opened: int
    students: int
    wrong: tuple[str, ...]
    unproven: tuple[str, ...]


def compare_champions(
    connection: Connection,
    work: Work,
    noted: Iterable[Champion],
    tenants: Mapping[str, TenantSettings],
    *,
    home: Path,
    files_from: dt.datetime | None,
    fetch: FetchFolder,
    folder: Path,
) -> ChampionsFound:
    """Open each champion from restored files and score the restored students by it.

    home: where the live files lie. files_from: the time of the moment that has the files; None without any. folder: for
    the files, below which each model gets one of its own.
    """
    opened = students = 0
    wrong, unproven = [], []
    for champion in noted:
        label = f"Champion {champion.record.model_version} of {champion.tenant}"
        name = folder_in_home(champion.record, home)
        if name is None:
            unproven.append(f"{label}: its files are not kept in the home, so no moment has them.")
            continue
        if files_from is None:
            wrong.append(f"{label}: there is no moment, so its files are in no backup.")
            continue
        to = folder / champion.tenant
        try:
            if not fetch(name, to):
                if champion.record.trained_at > files_from:
                    unproven.append(f"{label} was trained after the newest moment, which does not have it yet.")
                else:
                    wrong.append(f"{label}: its files are not in the newest moment.")
                continue
            check_unchanged(label, to, champion.record.artifact_sha256)
            model = read_model(label, to)
        except ModelArtifactError as error:
            wrong.append(f"From the newest moment: {error}")
            continue
        opened += 1
        if champion.scores is None or champion.week is None:
            unproven.append(f"{label} was opened; nothing to compare its scores with. {champion.why}".strip())
            continue
        tenant = tenants[champion.tenant]
        again = scores_of(connection, replace(work, tenant=tenant.name), tenant, champion.week, model)
        same = sum(again.get(student) == score for student, score in champion.scores.items())
        students += same
        if same != len(champion.scores) or len(again) != same:
            wrong.append(f"{label}: of {len(champion.scores)} students only {same} get the same score.")
    return ChampionsFound(opened, students, tuple(wrong), tuple(unproven))


def folder_in_home(record: ModelRecord, home: Path) -> str | None:
    """Where a model's files lie, as a name below the home; None where they lie elsewhere."""
    uri = record.mlflow.artifact_uri if record.mlflow else None
    if not uri:
        return None
    parts = urlsplit(uri)
    if parts.scheme not in ("", "file"):
        return None
    path = Path(unquote(parts.path))
    return path.relative_to(home).as_posix() if path.is_relative_to(home) else None
