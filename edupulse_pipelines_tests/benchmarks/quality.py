"""How good the scores are: on real learners beside a plain model's, on a synthetic district beside the best possible.

`open_university`: the deliveries are loaded as the weekly job loads them. For each week the candidates learn from one
set of presentations and are tested on a later one; the cohort, the label and the plain models' figures are those of
the data's yardstick. Everything is chosen on the training presentation: the features, and the candidate (the one with
the lowest log loss on courses left out, summed over the weeks). `synthetic_district`: what was generated is loaded the
same way; the candidates are trained at the last week and validated on later weeks than they learned from. The best
possible score is the true probability given the hidden state, which no file tells; see `sources.best_score`.
"""

from __future__ import annotations

import argparse
import datetime as dt
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa
from numpy.typing import NDArray

from edupulse_pipelines.features.store import update_student_features
from edupulse_pipelines.features.weekly_activity import update_weekly_activity
from edupulse_pipelines.ingest.archive import archive_files
from edupulse_pipelines.ingest.landing import landed_deliveries
from edupulse_pipelines.ingest.load import load_records
from edupulse_pipelines.risk.judging.evaluation import evaluate, listed
from edupulse_pipelines.risk.models.baseline import calibrated_rule, uncalibrated_rule
from edupulse_pipelines.risk.models.tuning import Tuned, tune
from edupulse_pipelines.risk.samples.assembly import Samples, Usable, read_samples
from edupulse_pipelines.risk.samples.cohorts import (
    FeatureMatrix,
    directions,
    feature_weeks,
    model_features,
    read_cohort,
)
from edupulse_pipelines.risk.samples.labels import labels
from edupulse_pipelines.schema.tables import RECORD_TABLES
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.sources.best_score import BestScores, best_scores
from edupulse_pipelines.sources.synthetic_district import generate_district, school_weeks
from edupulse_pipelines.storage.engine import create_engine
from edupulse_pipelines.storage.versions import upgrade
from edupulse_pipelines.storage.work import Work
from edupulse_pipelines.weeks import WEEK, week_start

OULAD = Path(__file__).parents[3] / "shared" / "data" / "oulad"
TRAINED_ON, TESTED_ON = "2013B", "2013J"
TEACHING_WEEKS = (4, 8, 12, 16, 20)
STARTS = {"2013B": "2013-02-04", "2013J": "2013-10-07", "2014B": "2014-02-03", "2014J": "2014-10-06"}
QUALIFICATIONS = (
    "No Formal quals",
    "Lower Than A Level",
    "A Level or Equivalent",
    "HE Qualification",
    "Post Graduate Qualification",
)
STANDING_IN_CLASS = (
    "grade_mean_ytd",
    "grade_lowest_ytd",
    "classmates_ahead",
    "classmates_ahead_in_due_work",
    "grade_count_vs_class",
    "grade_count_4w_vs_class",
    "no_grade_yet",
    "weeks_since_grade_vs_class",
)
"""What the open-university models see of the record: on courses of 2013B left out, better than everything there is."""
FIGURES = ("auc", "ap", "p5", "p10", "p20", "brier", "ece", "auc_seen", "ece_seen")
"""AUC, average precision, precision at the top 5, 10 and 20 percent, Brier score, calibration error; of everybody in
the test, and of the modules that were in training."""
COHORTS = {4: 7692, 8: 7473, 12: 7321, 16: 7082, 20: 6908}
"""Students of the test by week: as many as the yardstick has."""
YARDSTICK: dict[int, dict[str, tuple[float | None, ...]]] = {
    4: {
        "rule": (0.674, 0.605, 0.854, 0.854, 0.695, 0.216, 0.051, 0.740, 0.043),
        "logistic": (0.694, 0.636, 0.896, 0.784, 0.675, 0.262, 0.166, 0.776, 0.050),
        "boosting": (0.687, 0.608, 0.816, 0.724, 0.649, 0.264, 0.177, 0.770, 0.066),
    },
    8: {
        "rule": (0.742, 0.672, 0.911, 0.907, 0.702, 0.211, 0.058, 0.768, 0.039),
        "logistic": (0.776, 0.708, 0.920, 0.862, 0.722, 0.212, 0.134, 0.829, 0.044),
        "boosting": (0.777, 0.699, 0.922, 0.821, 0.693, 0.210, 0.123, 0.828, 0.049),
    },
    12: {
        "rule": (0.771, 0.707, 0.899, 0.903, 0.791, 0.206, 0.071, 0.790, 0.037),
        "logistic": (0.790, 0.722, 0.921, 0.874, 0.779, 0.201, 0.115, 0.826, 0.040),
        "boosting": (0.804, 0.743, 0.937, 0.915, 0.815, 0.189, 0.105, 0.826, 0.056),
    },
    16: {
        "rule": (0.796, 0.730, 0.920, 0.927, 0.808, 0.197, 0.068, 0.808, 0.041),
        "logistic": (0.848, 0.794, 0.966, 0.924, 0.855, 0.151, 0.056, 0.873, 0.026),
        "boosting": (0.832, 0.779, 0.986, 0.953, 0.831, 0.188, 0.137, 0.875, 0.054),
    },
    20: {
        "rule": (0.808, 0.747, 0.962, 0.956, 0.813, 0.188, 0.065, 0.816, 0.042),
        "logistic": (0.899, 0.864, 0.986, 0.975, 0.949, 0.111, 0.017, 0.904, 0.018),
        "boosting": (0.898, 0.863, 0.986, 0.978, 0.953, 0.118, 0.053, 0.905, 0.045),
    },
}
"""`FIGURES` of plain models, from the yardstick beside the data (tested on 2013J)."""
GOALS = ("auc", "p10", "ece")
DISTRICT_WEEKS = 36
DISTRICT_LAST = dt.date(2026, 6, 8)
DISTRICT_SEED = 20260901
FUTURES = 200
MOST_WEEKS = 4

Floats = NDArray[np.float64]
Figures = dict[str, float | None]


def run(argv: list[str]) -> dict[str, Any]:
    """Measure, print what was seen, return the figures."""
    parser = argparse.ArgumentParser(prog="benchmarks quality")
    parser.add_argument("--students", type=int, default=2_000, help="of the synthetic district; 0: none")
    parser.add_argument("--futures", type=int, default=FUTURES, help="played for each true probability")
    parser.add_argument("--data", type=Path, default=OULAD, help="folder with landing/open-university")
    parser.add_argument("--train", default=TRAINED_ON, help="presentations to learn from, joined by commas")
    parser.add_argument("--test", default=TESTED_ON, help="presentations to test on")
    arguments = parser.parse_args(argv)
    figures: dict[str, Any] = {"bench": "quality", "size": arguments.students, "unit": "auc_roc"}
    figures |= {"ours": None, "others": {}, "ratios": {}}
    if arguments.data.joinpath("landing", "open-university").is_dir():
        figures |= open_university(arguments.data, arguments.train.split(","), arguments.test.split(","))
    else:
        print(f"open-university: skipped, there are no deliveries in {arguments.data}")
    if arguments.students:
        figures["synthetic_district"] = synthetic_district(arguments.students, futures=arguments.futures)
    figures["peak_mib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    return figures


# Real learners


def open_university_settings(data: Path) -> TenantSettings:
    """The tenant as its yardstick defines label and cohort."""
    return TenantSettings.model_validate(
        {
            "name": "open-university",
            "timezone": "Europe/London",
            "first_week": dt.date(2012, 3, 26),
            "landing": data / "landing" / "open-university",
            "label": {"horizon_weeks": "exit", "exit_types": ["dropped_out", "failed"]},
            "cohort": {
                "group_by": ["module", "presentation"],
                "starts": STARTS,
                "minimum_weeks_of_data": 1,
            },
            "inputs": {
                "record": STANDING_IN_CLASS,
                "metadata": {"num_of_prev_attempts": "number", "highest_education": QUALIFICATIONS},
            },
        }
    )


@dataclass(frozen=True)
class Learners:
    """The cohorts of some teaching weeks, with what became of them; arrays have a row per learner and week."""

    matrix: FeatureMatrix
    outcome: NDArray[np.int8]
    teaching_week: NDArray[np.int64]
    module: NDArray[np.object_]
    presentation: NDArray[np.object_]


def open_university(data: Path, train: Sequence[str], test: Sequence[str]) -> dict[str, Any]:
    """Learn from some presentations, test on others, week by week."""
    tenant = open_university_settings(data)
    with tempfile.TemporaryDirectory() as folder:
        engine, seconds = loaded(tenant, Path(folder))
        _say(f"open-university: loaded in {seconds:.0f} s")
        with engine.connect() as connection:
            learners = read_learners(connection, tenant, [*train, *test])
        engine.dispose()
    return compare(tenant, learners, train, test)


def read_learners(connection: sa.Connection, tenant: TenantSettings, presentations: Sequence[str]) -> Learners:
    """The weeks that are tested, and those around them, of the presentations."""
    taught = sorted({near for week in TEACHING_WEEKS for near in (week - 1, week, week + 1)})
    mondays = sorted(
        {
            week_start(dt.date.fromisoformat(STARTS[one])) + (number - 1) * WEEK
            for one in presentations
            for number in taught
        }
    )
    known = set(feature_weeks(connection, Work(connection.engine, tenant.name), dt.date.max - 2 * WEEK))
    matrix = read_cohort(
        connection, Work(connection.engine, tenant.name), tenant, [monday for monday in mondays if monday in known]
    )
    happened = labels(connection, Work(connection.engine, tenant.name), tenant, matrix.weeks)
    place = np.searchsorted(happened.district_ids, matrix.population.district_ids)[matrix.student]
    groups = [name.split("/") for name in matrix.population.groups]
    group = matrix.population.group[matrix.student]
    return Learners(
        matrix,
        happened.adverse[place, matrix.week].astype(np.int8),
        matrix.values[:, matrix.features.index("teaching_weeks")].astype(np.int64),
        np.array([module for module, _ in groups], dtype=object)[group],
        np.array([presentation for _, presentation in groups], dtype=object)[group],
    )


def compare(tenant: TenantSettings, learners: Learners, train: Sequence[str], test: Sequence[str]) -> dict[str, Any]:
    """Fit on `train` around each week, choose there, then look at `test`."""
    beside = YARDSTICK if list(test) == [TESTED_ON] else {}
    names, matrix = list(model_features(tenant)), learners.matrix
    seen = np.unique(learners.module[np.isin(learners.presentation, train)])
    fitted: dict[int, Tuned] = {}
    found: dict[int, dict[str, Figures]] = {}
    for week in TEACHING_WEEKS:
        # With the weeks before and after, so that the fit does not hang on what happened to be due in one.
        learned = np.flatnonzero(np.isin(learners.presentation, train) & (np.abs(learners.teaching_week - week) <= 1))
        frame = matrix.frame(learned)
        fitted[week] = tune(
            frame[names],
            learners.outcome[learned],
            matrix.student[learned],
            directions=directions(names),
            fits=tenant.training.tuning_fits,
            groups=matrix.population.group[matrix.student[learned]],
        )
        rows = np.flatnonzero(np.isin(learners.presentation, test) & (learners.teaching_week == week))
        if beside and len(rows) != COHORTS[week]:
            raise RuntimeError(f"week {week}: {len(rows)} learners are tested, the yardstick has {COHORTS[week]}")
        scores = {kind: model.probabilities(matrix.frame(rows)) for kind, model in fitted[week].fitted.items()}
        scores["rule"] = calibrated_rule(
            tenant, frame, learners.outcome[learned], matrix.student[learned]
        ).probabilities(matrix.frame(rows))
        in_training = np.isin(learners.module[rows], seen)
        found[week] = {kind: figures_of(score, learners.outcome[rows], in_training) for kind, score in scores.items()}
        found[week]["base"] = {"n": len(rows), "rate": round(float(learners.outcome[rows].mean()), 3)}
    losses = {
        kind: sum(_lowest_loss(one, kind) for one in fitted.values()) for kind in fitted[TEACHING_WEEKS[0]].fitted
    }
    winner = min(losses, key=lambda kind: losses[kind])
    best = {week: _best_of(beside[week]) for week in TEACHING_WEEKS if week in beside}
    _print_weeks(found, fitted, winner, beside)
    met = {
        week: {name: _reached(found[week][winner][name], goal, name) for name, goal in best[week].items()}
        for week in best
    }
    for week, one in met.items():
        words = ", ".join(f"{name} {'met' if good else 'MISSED'}" for name, good in one.items())
        print(f"week {week:2}: {words}")
    ours = float(np.mean([found[week][winner]["auc"] for week in TEACHING_WEEKS]))
    theirs = float(np.mean([one["auc"] for one in best.values()])) if best else None
    return {
        "ours": round(ours, 4),
        "others": {"yardstick_best": round(theirs, 4)} if theirs else {},
        "ratios": {"yardstick_best": round(ours / theirs, 4)} if theirs else {},
        "winner": winner,
        "out_of_fold_log_loss": {kind: round(loss / len(fitted), 4) for kind, loss in losses.items()},
        "weeks": {str(week): {**found[week], "goals_met": met.get(week, {})} for week in TEACHING_WEEKS},
    }


def figures_of(score: Floats, outcome: NDArray[np.int8], seen: NDArray[np.bool_]) -> Figures:
    """`FIGURES` of one cohort."""
    everybody, known = (
        evaluate(score[rows], outcome[rows], np.zeros(int(rows.sum())), training_samples=0)
        for rows in (np.ones(len(score), dtype=bool), seen)
    )
    top = everybody["precision_at_k"]
    return {
        "auc": everybody["auc_roc"],
        "ap": everybody["average_precision"],
        **{f"p{percent}": top[f"k{percent}"] for percent in (5, 10, 20)},
        "brier": everybody["brier_score"],
        "ece": everybody["calibration_error"],
        "auc_seen": known["auc_roc"],
        "ece_seen": known["calibration_error"],
    }


def _lowest_loss(tuned: Tuned, kind: str) -> float:
    return min(trial.log_loss for trial in tuned.trials if trial.kind == kind)


def _best_of(beside: dict[str, tuple[float | None, ...]]) -> dict[str, float]:
    """The best figure that any plain model has, by goal: the highest, or the lowest calibration error."""
    columns = {name: [row[FIGURES.index(name)] or 0.0 for row in beside.values()] for name in GOALS}
    return {name: min(values) if name == "ece" else max(values) for name, values in columns.items()}


def _reached(value: float | None, goal: float, name: str) -> bool:
    """Better, as printed; of the calibration error: no worse."""
    if value is None:
        return False
    return round(value, 3) <= goal if name == "ece" else round(value, 3) > goal


def _print_weeks(
    found: dict[int, dict[str, Figures]],
    fitted: dict[int, Tuned],
    winner: str,
    beside: dict[int, dict[str, tuple[float | None, ...]]],
) -> None:
    print("week  n     rate  side                      " + "".join(f"{name:>9}" for name in FIGURES))
    for week, sides in found.items():
        base = sides["base"]
        head = f"{week:4}  {base['n']:5} {base['rate']:.3f}"
        for kind, one in sides.items():
            if kind == "base":
                continue
            mark = ("*" if kind == winner else " ") + ("+" if kind == fitted[week].kind else " ")
            _print_row(head, f"ours {kind} {mark}", [one[name] for name in FIGURES])
        for kind, row in beside.get(week, {}).items():
            _print_row(head, f"yardstick {kind}", row)
    print("* chosen for all weeks; + what tuning at that week alone would take")


def _print_row(head: str, side: str, values: Sequence[float | None]) -> None:
    print(f"{head}  {side:26}" + "".join("        -" if value is None else f"{value:9.3f}" for value in values))


# The synthetic district


def synthetic_district(students: int, *, weeks: int = DISTRICT_WEEKS, futures: int = FUTURES) -> dict[str, Any]:
    """Train at the last week; the candidates on the validation weeks beside the best possible score."""
    with tempfile.TemporaryDirectory() as folder:
        landing = Path(folder) / "landing"
        generate_district(landing, students=students, weeks=weeks, seed=DISTRICT_SEED, last_week=DISTRICT_LAST)
        tenant = TenantSettings(
            name="synthetic", timezone="UTC", first_week=school_weeks(weeks, DISTRICT_LAST)[0], landing=landing
        )
        engine, seconds = loaded(tenant, Path(folder))
        _say(f"synthetic district: {students} students, {weeks} weeks, loaded in {seconds:.0f} s")
        with engine.connect() as connection:
            samples = read_samples(connection, Work(connection.engine, tenant.name), tenant, DISTRICT_LAST)
        engine.dispose()
    usable, matrix = samples.at(DISTRICT_LAST), samples.matrix
    names = list(model_features(tenant))
    tuned = tune(
        matrix.frame(usable.training)[names],
        usable.outcome[usable.training],
        matrix.student[usable.training],
        directions=directions(names),
        fits=tenant.training.tuning_fits,
    )
    judged = _some(usable.split.validation)
    rows = usable.validation[np.isin(matrix.week[usable.validation], [matrix.weeks.index(week) for week in judged])]
    started = time.perf_counter()
    truth = _true_probabilities(students, weeks, judged, futures)
    rows, probability, again = _matched(matrix, rows, judged, truth)
    _say(f"synthetic district: played {futures} futures of {len(judged)} weeks, {time.perf_counter() - started:.0f} s")
    outcome, week = usable.outcome[rows], matrix.week[rows]
    frame = matrix.frame(rows)
    scores = {kind: model.probabilities(frame) for kind, model in tuned.fitted.items()}
    rule = calibrated_rule(
        tenant,
        matrix.frame(usable.training),
        usable.outcome[usable.training],
        matrix.student[usable.training],
    )
    scores["rule"] = rule.probabilities(frame)
    # `again` is independent of `probability`: a score judged by its own luck would look better than it is.
    table: dict[str, Figures] = {}
    for kind, score in {**scores, "best_possible": probability}.items():
        told = evaluate(score, outcome, week, training_samples=len(usable.training))
        table[kind] = {
            "auc": told["auc_roc"],
            "expected_auc": round(weighted_auc(score, again), 6),
            "p10": told["precision_at_k"]["k10"],
            "brier": told["brier_score"],
            "ece": told["calibration_error"],
        }
    _print_district(table, tuned.kind, usable, judged, len(rows))
    by_week = rule_by_week(samples)
    print(
        "the rule alone, precision at capacity by week (from week "
        f"{tenant.cohort.minimum_weeks_of_data} on, whose outcomes are known): "
        + " ".join(f"{share:.2f}" for share in by_week.values())
    )
    ours, bound = table[tuned.kind], table["best_possible"]
    return {
        "winner": tuned.kind,
        "samples": len(rows),
        "weeks": [one.isoformat() for one in judged],
        "sides": table,
        "gap": _gap(bound["auc"], ours["auc"]),
        "expected_gap": _gap(bound["expected_auc"], ours["expected_auc"]),
        "rule_precision_by_week": {str(week): round(share, 3) for week, share in by_week.items()},
        "rule_precision": round(float(np.mean(list(by_week.values()))), 3),
    }


def rule_by_week(samples: Samples) -> dict[dt.date, float]:
    """Of each week whose outcomes are known the share of events on the list that the rule makes without any label."""
    tenant, matrix = samples.tenant, samples.matrix
    grades = uncalibrated_rule(tenant).grades(matrix.frame(np.arange(len(matrix.student))))
    found = {}
    for number, week in enumerate(matrix.weeks):
        rows = np.flatnonzero(matrix.week == number)
        on_list = listed(grades[rows], np.zeros(len(rows)), tenant.promotion.capacity)
        found[week] = float(on_list @ samples.derived[rows] / on_list.sum())
    return found


def weighted_auc(score: Floats, probability: Floats) -> float:
    """The AUC to expect of `score` where each row is an event with `probability`; ties count half."""
    _, place = np.unique(score, return_inverse=True)
    events, others = np.bincount(place, weights=probability), np.bincount(place, weights=1 - probability)
    wins = events @ (np.cumsum(others) - others / 2)
    return float(wins / (events.sum() * others.sum()))


def _some(weeks: Sequence[dt.date]) -> list[dt.date]:
    """At most `MOST_WEEKS` of the weeks, spread evenly, the first and the last among them."""
    places = np.unique(np.linspace(0, len(weeks) - 1, min(MOST_WEEKS, len(weeks))).round().astype(int))
    return [weeks[place] for place in places]


def _true_probabilities(students: int, weeks: int, as_of: Sequence[dt.date], futures: int) -> tuple[BestScores, Floats]:
    """The best scores, and the same from futures of their own."""

    def played(count: int) -> BestScores:
        return best_scores(
            students=students, weeks=weeks, seed=DISTRICT_SEED, last_week=DISTRICT_LAST, as_of=as_of, futures=count
        )

    # The first futures of a longer play are those of a shorter one, so that the difference is made of the others only.
    first, both = played(futures), played(2 * futures)
    return first, np.clip(2 * both.probability - first.probability, 0, 1)


def _matched(
    matrix: FeatureMatrix, rows: NDArray[np.int64], weeks: Sequence[dt.date], truth: tuple[BestScores, Floats]
) -> tuple[NDArray[np.int64], Floats, Floats]:
    """The rows that have a true probability, and their two probabilities."""
    best, again = truth
    student = pd.Index(best.district_ids).get_indexer(matrix.population.district_ids[matrix.student[rows]])
    column = np.array([weeks.index(matrix.weeks[number]) for number in matrix.week[rows]])
    known = (student >= 0) & ~np.isnan(best.probability[student, column])
    student, column = student[known], column[known]
    return rows[known], best.probability[student, column], again[student, column]


def _gap(bound: float | None, ours: float | None) -> float | None:
    return None if bound is None or ours is None else round(bound - ours, 4)


def _print_district(
    table: dict[str, Figures], winner: str, usable: Usable, weeks: Sequence[dt.date], rows: int
) -> None:
    print(
        f"synthetic district: trained on {len(usable.training)} student-weeks, tested on {rows} of {len(weeks)} of the "
        f"{len(usable.split.validation)} validation weeks ({weeks[0]} to {weeks[-1]})"
    )
    bound = table["best_possible"]
    columns = ("auc", "gap", "expected_auc", "expected_gap", "p10", "brier", "ece")
    print(f"{'side':18}" + "".join(f"{name:>14}" for name in columns))
    for kind, one in table.items():
        shown = {
            **one,
            "gap": _gap(bound["auc"], one["auc"]),
            "expected_gap": _gap(bound["expected_auc"], one["expected_auc"]),
        }
        cells = "".join("             -" if (v := shown[name]) is None else f"{v:14.3f}" for name in columns)
        print(f"{kind + (' *' if kind == winner else ''):18}{cells}")
    print("* chosen by tuning; expected: each student-week an event with its true probability, not as it happened")


# Loading


def loaded(tenant: TenantSettings, home: Path) -> tuple[sa.Engine, float]:
    """A new SQLite home with every landed delivery, its weekly activity and its features; and the seconds it took."""
    started = time.perf_counter()
    engine = create_engine(f"sqlite:///{home / 'edupulse.db'}")
    upgrade(engine)
    weeks = sorted({delivery.week for delivery in landed_deliveries(tenant)})
    work = Work(engine, tenant.name)
    for table in RECORD_TABLES:
        archive_files(work, home / "raw", tenant, table, weeks)
        load_records(work, home / "raw", tenant, table, weeks)
    update_weekly_activity(work, tenant.first_week, tenant.attendance, tenant.calendar, absent_day=tenant.absent_day)
    update_student_features(work, tenant.first_week)
    return engine, time.perf_counter() - started


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
