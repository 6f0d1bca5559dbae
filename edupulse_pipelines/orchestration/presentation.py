"""How all assets look in the UI: group, kinds, owners, description, tags, column schema. The one place for it."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from dagster import (
    AssetsDefinition,
    AssetSpec,
    BetaWarning,
    CodeReferencesMetadataValue,
    LocalFileCodeReference,
    map_asset_specs,
    with_source_code_references,
)

from edupulse_pipelines.orchestration.code_versions import logic_of
from edupulse_pipelines.orchestration.table_schemas import raw_schema, table_schema
from edupulse_pipelines.schema.delivery import DELIVERED
from edupulse_pipelines.schema.tables import RECORD_TABLES, TABLES
from edupulse_pipelines.settings import Settings

DATA_ENGINEERING = "team:data-engineering"
MACHINE_LEARNING = "team:machine-learning"

_STUDENTS_BESIDE = (
    "Rows of a student who is not known yet are quarantined as `unknown_student`, and load by themselves once the "
    "student arrives."
)
_RECORDS = {
    "students": (
        "One row per student: demographics and enrolment, as the newest delivery has them. `gpa` and `attendance_rate` "
        "are the district's own undated snapshots: stored, never used as features."
    ),
    "schools": "The district's schools, as the newest delivery has them.",
    "enrollments": (
        "Since when and until when each student is enrolled, and where: one row per student, school and entry. Beside "
        "those that the district sends are those that an `enrollment_date` of a student has opened, and those assumed "
        f"where nobody has said when a student came. {_STUDENTS_BESIDE}"
    ),
    "attendance_records": (
        "One row per student, day and, where the district records them, period and school. Rows with and without the "
        "school are one record where only one school is possible. The largest table: it is read, checked and merged in "
        f"chunks. {_STUDENTS_BESIDE}"
    ),
    "grades": (
        "Graded work, one row per student and assignment. A changed score is an update where the district sends "
        f"`source_record_id`, and a new row where it does not. {_STUDENTS_BESIDE}"
    ),
    "discipline_incidents": (
        "Behavioural incidents with their severity, 1 to 5. The free-text description never leaves this table. "
        f"{_STUDENTS_BESIDE}"
    ),
    "training_feedback": (
        "Educators' verdicts on predictions, attached to their prediction by a foreign key. The latest one wins over "
        "the derived label in the next training; what was prevented is left out."
    ),
}
_MERGED = (
    "\n\n"
    "Good rows are merged in one transaction per delivery: for each record the newest delivery wins, whatever the "
    "order of the runs, and a repeated run changes nothing. Bad rows go to `quarantined_records` with file, line and "
    "every reason. Both checks stop what is downstream when they fail as errors; the good rows stay."
)
_DERIVED = {
    "weekly_activity": (
        "One row per student and school week: sessions by status, unexcused absences, days enrolled, present, absent "
        "and excused (made of sessions by the district's day rule), grade count, mean and lowest, incidents and the "
        "highest severity (and the same by course in `weekly_course_grades`). A row counts in the "
        "week of its own date. Where the district records only absences, everybody else is counted as present on the "
        "days of its calendar; a week without a calendar has no attendance rate.\n\n"
        "Only the student-weeks that a merge has touched are recomputed, so a late correction of an old week costs "
        "little. Stops when a delivery of the week has a file that could not be read."
    ),
    "student_features": (
        "The feature vector of every enrolled student at the week's end: the last four school weeks of attendance, "
        "grades and incidents, their trends, and the named features that the model uses. A pure function of "
        "`weekly_activity` up to the week; the same code serves training and scoring.\n\n"
        "Weeks without school are gaps, not zeros; a domain that the district does not send is missing. Only vectors "
        "whose activity changed, in that week or up to eight school weeks before, differ."
    ),
    "risk_model": (
        "Calibrated candidates on documented features (logistic regression, a glass-box additive model, monotone "
        "boosting), tuned inside the training window, split by time, proven free of leaks, and measured beside the "
        "simple rule. The best of them becomes champion only if it passes the promotion gate; every number of the "
        "decision is kept. Logged to MLflow and mirrored in `model_metadata`; the `champion` alias is `is_active`.\n\n"
        "The weekly job trains when there is no model yet, the newest is `retrain_weeks` old, its inputs or scores "
        "have drifted, or enough verdicts have come in; the training job asks for it now. With too few labels, or "
        "labels of one class, no model is made, and the reason is recorded."
    ),
    "predictions": (
        "One risk score per student of the cohort, week and model: score, category, confidence, and the model's own "
        "contributions as risk factors, largest first. A model never scores a week it was trained or validated on, "
        "unless asked to `rescore`.\n\n"
        "Students with fewer school weeks of data than the cohort asks for are counted as insufficient data, not "
        "scored."
    ),
}
_DERIVED_PLACE = {
    "weekly_activity": ("features", "weekly_activity"),
    "student_features": ("features", "student_features"),
    "risk_model": ("model", "model_metadata"),
    "predictions": ("predictions", "predictions"),
}


@dataclass(frozen=True)
class Look:
    """What the UI shows of one asset, apart from its tenant."""

    group: str
    kinds: frozenset[str]
    owner: str
    description: str
    metadata: dict[str, Any]


def present(assets: Iterable[AssetsDefinition], settings: Settings) -> Sequence[AssetsDefinition]:
    """The same assets with everything that the UI shows about them."""
    database = "sqlite" if settings.database_url.startswith("sqlite") else "postgres"

    def dressed(spec: AssetSpec) -> AssetSpec:
        tenant, name = spec.key.path
        look = look_of(name, database)
        return spec.replace_attributes(
            group_name=look.group,
            kinds={*look.kinds},
            owners=[look.owner],
            description=look.description,
            tags={**spec.tags, "edupulse/tenant": tenant},
            metadata={**spec.metadata, **look.metadata, "dagster/code_references": _code_references(name)},
        )

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BetaWarning)  # code references
        return cast("Sequence[AssetsDefinition]", with_source_code_references(map_asset_specs(dressed, assets)))


def _code_references(name: str) -> CodeReferencesMetadataValue:
    """Where the logic of an asset stands; `with_source_code_references` adds the step that calls it."""
    return CodeReferencesMetadataValue(
        code_references=[
            LocalFileCodeReference(file_path=str(logic_of(name)), label="/".join(logic_of(name).parts[-2:]))
        ]
    )


def look_of(name: str, database: str) -> Look:
    """The look of the asset called `name` (without its tenant) over a `sqlite` or `postgres` database."""
    if name.startswith("raw_"):
        table = TABLES[name.removeprefix("raw_")]
        return Look(
            group="raw",
            kinds=frozenset({"csv", "parquet"}),
            owner=DATA_ENGINEERING,
            description=(
                f"The landed files of the week (`<delivery date>/{table.name}.csv`, packed or not, or what a OneRoster "
                "or Ed-Fi bundle holds of it), archived exactly as they came: text in Parquet with the line numbers; "
                "the manifest has file name and SHA-256. A file known by its hash is not archived twice. Nothing is "
                "interpreted here; a file that cannot be read, or lacks a required column, is refused, and named by "
                "the check."
            ),
            metadata={"dagster/column_schema": raw_schema(DELIVERED[table.name])},
        )
    if name in RECORD_TABLES:
        group, table, description = "records", TABLES[name], _RECORDS[name] + _MERGED
    else:
        group, stored_in = _DERIVED_PLACE[name]
        table, description = TABLES[stored_in], _DERIVED[name]
    learned = group in ("model", "predictions")
    kinds = {"model": {"scikitlearn", "mlflow"}, "features": {database, "pandas"}}.get(group, {database})
    return Look(
        group=group,
        kinds=frozenset(kinds),
        owner=MACHINE_LEARNING if learned else DATA_ENGINEERING,
        description=description,
        metadata={"dagster/column_schema": table_schema(table), "dagster/table_name": table.name},
    )
