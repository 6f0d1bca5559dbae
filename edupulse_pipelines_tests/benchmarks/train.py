"""One training as the weekly job does it: seconds and memory, at a large district's size.

A made-up district is written into a SQLite file by a process of its own: weekly activity, course grades, and the
feature vectors that the package computes from them. What is measured is `train_risk_models`: vectors and standing,
labels, tuning and fitting all candidates, validation, unseen students, leakage proof, gate, plots, model card, MLflow.
Above `max_training_rows` it fits on a part of the students, which is the default and what a district would get. The
other side is the time that is allowed.
"""

from __future__ import annotations

import argparse
import datetime as dt
import multiprocessing
import resource
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa

from edupulse_pipelines.features.store import update_student_features
from edupulse_pipelines.risk.book.registry import Registry
from edupulse_pipelines.risk.training import train_risk_models
from edupulse_pipelines.schema import sqlalchemy_tables as tables
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.storage.bulk import write_columns
from edupulse_pipelines.storage.engine import create_engine
from edupulse_pipelines.storage.ids import new_ids
from edupulse_pipelines.storage.pending import put_marks
from edupulse_pipelines.storage.versions import upgrade
from edupulse_pipelines.storage.work import Work
from edupulse_pipelines.weeks import WEEK
from edupulse_pipelines_tests.enrolment import enrol

TENANT = "benchmark"
FIRST_WEEK = dt.date(2024, 8, 26)
ALLOWED_SECONDS, ALLOWED_MIB = 600, 4096
COURSES = ("ELA", "MATH", "SCI")
_UNTIL_A_COHORT, _HORIZON = 3, 8


def run(argv: list[str]) -> dict[str, Any]:
    """Measure, print what was seen, return the figures."""
    parser = argparse.ArgumentParser(prog="benchmarks train")
    parser.add_argument("--students", type=int, default=100_000)
    parser.add_argument("--weeks", type=int, default=20, help="as-of weeks whose outcomes are known")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        weeks = _UNTIL_A_COHORT + arguments.weeks + _HORIZON
        # A process of its own: its memory is not the training's.
        writing = multiprocessing.get_context("spawn").Process(target=_write, args=(home, arguments.students, weeks))
        writing.start()
        writing.join()
        if writing.exitcode:
            raise RuntimeError("the district could not be written")
        engine = create_engine(f"sqlite:///{home / 'benchmark.db'}")
        registry = Registry(f"sqlite:///{home / 'mlflow.db'}", home / "artifacts")
        start = time.perf_counter()
        (outcome,) = train_risk_models(
            Work(engine, _tenant().name), _tenant(), [FIRST_WEEK + (weeks - 1) * WEEK], registry
        )
        seconds = time.perf_counter() - start
        engine.dispose()
    peak = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    metrics = outcome.metrics or {}
    print(f"{outcome.status}: {outcome.reason}")
    print(
        f"fitted on {metrics.get('training_samples'):,} student-weeks, validated on {metrics['validation_samples']:,}"
    )
    print(f"ours     {seconds:8.1f} s   peak {peak:,} MiB")
    print(f"allowed  {ALLOWED_SECONDS:8.1f} s   peak {ALLOWED_MIB:,} MiB")
    return {
        "bench": "train",
        "size": arguments.students * arguments.weeks,
        "unit": "seconds",
        "ours": round(seconds, 1),
        "others": {"allowed": ALLOWED_SECONDS},
        "ratios": {"allowed": round(seconds / ALLOWED_SECONDS, 3)},
        "peak_mib": peak,
        "training_samples": metrics.get("training_samples"),
        "validation_samples": metrics.get("validation_samples"),
    }


def _tenant() -> TenantSettings:
    return TenantSettings(name=TENANT, timezone="UTC", first_week=FIRST_WEEK, landing=Path("landing").absolute())


def _write(home: Path, count: int, weeks: int) -> None:
    """Students who differ in one hidden trait, which shows a little in everything."""
    start = time.perf_counter()
    random = np.random.default_rng(7)
    engine = create_engine(f"sqlite:///{home / 'benchmark.db'}")
    upgrade(engine)
    ids = new_ids(count)
    trait = random.normal(size=count)
    mondays = [FIRST_WEEK + number * WEEK for number in range(weeks)]
    with engine.begin() as connection:
        names = [f"{number:07d}" for number in range(count)]
        same = {
            "tenant_id": TENANT,
            "first_name": "A",
            "last_name": "B",
            "date_of_birth": dt.date(2010, 1, 1),
            "enrollment_date": FIRST_WEEK,
            "delivered_on": FIRST_WEEK,
            "student_metadata": {},
        }
        levels = (np.arange(count) % 13).tolist()
        connection.execute(
            sa.insert(tables.students),
            [
                {"id": one, "district_id": name, "grade_level": level, **same}
                for one, name, level in zip(ids, names, levels, strict=True)
            ],
        )
        enrol(connection, TENANT)
        for table in ("grades", "discipline_incidents", "attendance_records"):
            connection.execute(
                sa.insert(tables.ingested_files),
                [
                    {
                        "id": uuid.uuid4(),
                        "tenant_id": TENANT,
                        "table_name": table,
                        "delivered_on": monday + WEEK,
                        "file_name": f"{table}.csv",
                        "sha256": f"{table}{monday}",
                        "size_bytes": 1,
                        "status": "loaded",
                        "rows_read": 1,
                    }
                    for monday in mondays
                ],
            )
    for monday in mondays:
        with engine.begin() as connection:
            _write_week(connection, ids, trait, monday, random)
    with engine.begin() as connection:
        put_marks(connection, Work(engine, TENANT), "student_features", [(None, mondays[0])])
    update_student_features(Work(engine, TENANT), FIRST_WEEK)
    engine.dispose()
    print(f"wrote {count:,} students with {weeks} weeks in {time.perf_counter() - start:.0f} s", file=sys.stderr)


def _write_week(
    connection: sa.Connection,
    ids: list[uuid.UUID],
    trait: np.ndarray,
    monday: dt.date,
    random: np.random.Generator,
) -> None:
    count = len(ids)
    absent = random.binomial(5, np.clip(0.03 - 0.03 * trait, 0.002, 0.6))
    grades = np.clip(np.round(80 + 8 * trait[:, None] + 10 * random.normal(size=(count, len(COURSES)))), 0, 100)
    incidents = (random.random(count) < np.clip(0.01 - 0.01 * trait, 0.0005, 0.3)).astype(int)
    key = {"tenant_id": [TENANT] * count, "student_id": ids, "week_start": [monday] * count}
    zero = [0] * count
    write_columns(
        connection,
        tables.weekly_activity,
        {
            **key,
            "sessions_present": (5 - absent).tolist(),
            "sessions_absent": absent.tolist(),
            "sessions_tardy": zero,
            "sessions_excused": zero,
            "unexcused_absences": absent.tolist(),
            "grade_count": [len(COURSES)] * count,
            "grade_mean": grades.mean(axis=1).tolist(),
            "grade_lowest": grades.min(axis=1).tolist(),
            "incident_count": incidents.tolist(),
            "severity_highest": [2 if one else None for one in incidents.tolist()],
        },
    )
    for number, course in enumerate(COURSES):
        write_columns(
            connection,
            tables.weekly_course_grades,
            {
                **key,
                "course_id": [course] * count,
                "grade_count": [1] * count,
                "grade_mean": grades[:, number].tolist(),
                "grade_lowest": grades[:, number].tolist(),
            },
        )
