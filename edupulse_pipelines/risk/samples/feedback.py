"""Educators' verdicts: the latest one of each prediction, as labels, as figures of a model, and whom to ask about.

Reads `training_feedback`, `predictions` and `students`; writes `review_proposals` only. How verdicts are loaded is in
`ingest`, training on them in `training`, the same figures as SQL in `sql/queries/feedback_performance.sql`.

Definitions. A *verdict* is a feedback row with a feedback type; of several on one prediction the latest counts, by
outcome date (else the delivery's), delivery and id, and the others stay in the table. A true positive or false negative
says that the event happened, a false positive or true negative that it did not. *Prevented*: a false positive whose
outcome type is one of `tenant.feedback.prevented`; the student was flagged and helped, and it did not happen. What
would have happened nobody knows, so that is neither right nor wrong. *Flagged*: category high or critical.
"""

from __future__ import annotations

import csv
import datetime as dt
import hashlib
import heapq
import io
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.dialects import postgresql, sqlite

from edupulse_pipelines.risk.judging.evaluation import Measure, wilson
from edupulse_pipelines.risk.rounding import DIGITS
from edupulse_pipelines.schema.sqlalchemy_tables import (
    predictions,
    review_proposals,
    student_features,
    students,
    training_feedback,
)
from edupulse_pipelines.schema.tables import FEEDBACK_TYPES
from edupulse_pipelines.settings import FeedbackSettings, ProfileSettings, TenantSettings
from edupulse_pipelines.storage.ids import new_ids
from edupulse_pipelines.storage.work import Work
from edupulse_pipelines.weeks import WEEK, feature_date, week_start

FLAGGED_CATEGORIES = ("high", "critical")
HAPPENED = ("true_positive", "false_negative")
"""The verdicts that say that the event happened."""
CENSORED = -1
"""Label of a student of whom nobody knows what would have happened without help."""

VERDICT_COLUMNS = (
    "prediction_id",
    "district_id",
    "feature_date",
    "model_version",
    "score",
    "flagged",
    "feedback_type",
    "outcome_type",
    "said_on",
    "known_on",
    "drawn_from",
    "drawn",
    "week_flagged",
)
REVIEW_COLUMNS = ("prediction_id", "district_id", "feature_date", "model_version", "proposed_at")
TEMPLATE_COLUMNS = (
    "prediction_id",
    "district_id",
    "prediction_date",
    "model_version",
    "feedback_type",
    "outcome_type",
    "outcome_date",
    "educator_notes",
    "reviewer",
)
"""Columns of the file that educators fill in; those of a landed `training_feedback`."""


def known_by(week: dt.date) -> dt.date:
    """The last delivery date that belongs to the school week of Monday `week`, or to an earlier one."""
    return week + WEEK


def verdicts(
    connection: sa.Connection, work: Work, through: dt.date | None = None, *, superseded: bool = False
) -> pd.DataFrame:
    """The latest verdict of each prediction that has one: `VERDICT_COLUMNS`, oldest first.

    `through`: only what deliveries of this date or earlier brought (`known_by` gives it for a school week).
    `superseded`: also those that a later one replaced, for callers who ask what was known by several dates. Verdicts
    that were taken back are left out. `score` is the risk score; `said_on` the outcome's date, else the delivery's;
    `known_on` the date of the newest delivery that held the verdict. Of a prediction that was drawn for review:
    `drawn_from` unflagged students of the week `drawn` were drawn, and the model flagged `week_flagged` others of that
    week; else NaN.
    """
    verdict, prediction, proposal = training_feedback.c, predictions.c, review_proposals.c
    said_on = sa.func.coalesce(verdict.outcome_date, verdict.delivered_on)
    newest = sa.func.row_number().over(
        partition_by=verdict.prediction_id, order_by=(said_on.desc(), verdict.delivered_on.desc(), verdict.id.desc())
    )
    query = sa.select(
        verdict.id,
        verdict.prediction_id,
        verdict.feedback_type,
        verdict.outcome_type,
        verdict.delivered_on,
        said_on.label("said_on"),
        newest.label("place"),
    ).where(
        verdict.tenant_id == work.tenant,
        verdict.deleted_on.is_(None),
        verdict.feedback_type.is_not(None),
    )
    if through is not None:
        query = query.where(verdict.delivered_on <= through)
    latest = query.subquery()
    drawn = (
        sa.select(prediction.feature_date, prediction.model_version, sa.func.count().label("drawn"))
        .join_from(review_proposals, predictions, prediction.id == proposal.prediction_id)
        .where(proposal.tenant_id == work.tenant)
        .group_by(prediction.feature_date, prediction.model_version)
        .subquery()
    )
    flagged = (
        sa.select(prediction.feature_date, prediction.model_version, sa.func.count().label("flagged"))
        .join_from(predictions, students, students.c.id == prediction.student_id)
        .where(
            prediction.tenant_id == work.tenant,
            prediction.feature_date.in_(sa.select(proposal.feature_date).where(proposal.tenant_id == work.tenant)),
            prediction.risk_category.in_(FLAGGED_CATEGORIES),
            *_enrolled(),
        )
        .group_by(prediction.feature_date, prediction.model_version)
        .subquery()
    )
    rows = connection.execute(
        sa.select(
            latest.c.prediction_id,
            students.c.district_id,
            prediction.feature_date,
            prediction.model_version,
            prediction.risk_score,
            prediction.risk_category.in_(FLAGGED_CATEGORIES),
            latest.c.feedback_type,
            latest.c.outcome_type,
            latest.c.said_on,
            latest.c.delivered_on,
            proposal.drawn_from,
            sa.case((proposal.id.is_not(None), drawn.c.drawn)),
            # No row of `flagged` means that nobody was.
            sa.case((proposal.id.is_not(None), sa.func.coalesce(flagged.c.flagged, 0))),
        )
        .join_from(latest, predictions, prediction.id == latest.c.prediction_id)
        .join(students, students.c.id == prediction.student_id)
        .outerjoin(review_proposals, proposal.prediction_id == prediction.id)
        .outerjoin(drawn, _same_week(drawn))
        .outerjoin(flagged, _same_week(flagged))
        .where(*(() if superseded else (latest.c.place == 1,)))
        .order_by(latest.c.said_on, latest.c.delivered_on, latest.c.id)
    ).all()
    frame = pd.DataFrame(rows, columns=list(VERDICT_COLUMNS), dtype=object)
    numbers = ("score", "drawn_from", "drawn", "week_flagged")
    return frame.astype(dict.fromkeys(numbers, np.float64) | {"flagged": np.bool_})


def verdict_labels(verdicts: pd.DataFrame, settings: FeedbackSettings | None = None) -> pd.DataFrame:
    """What the verdicts say of each student and week: `district_id`, `week` (Monday), `label` (int8), so sorted.

    1: the event happened; 0: it did not; CENSORED: prevented, to be left out of training. Of verdicts on several
    models' predictions of one student and week the latest counts.
    """
    label = _happened(verdicts).astype(np.int8)
    label[_prevented(verdicts, settings)] = CENSORED
    frame = pd.DataFrame(
        {
            "district_id": verdicts["district_id"],
            "week": pd.Series([week_start(day) for day in verdicts["feature_date"]], dtype=object),
            "label": label,
        }
    )
    # Oldest first, as `verdicts` has them.
    frame = frame.drop_duplicates(["district_id", "week"], keep="last")
    return frame.sort_values(["week", "district_id"], ignore_index=True)


def feedback_measures(verdicts: pd.DataFrame, settings: FeedbackSettings | None = None) -> dict[str, list[Measure]]:
    """What educators' verdicts say of each model version, by version.

    - `verdict_count`: verdicts; by feedback type (parameter), where `prevented` stands apart from `false_positive`.
    - `verdict_precision`: of the flagged with a verdict, prevented ones left out, the share for whom it happened.
    - `verdict_prevented_share`: of the flagged with a verdict the share that is prevented.
    - `verdict_recall`: of the students with a verdict for whom it happened, the share that was flagged. Educators
      judge whom they know about, so this flatters; the next two do not.
    - `verdict_false_omission_rate`: of everybody unflagged the share for whom it happened, from the reviews that were
      drawn at random; each stands for drawn_from / drawn students.
    - `verdict_false_negative_rate`: of everybody for whom it happened, in the weeks of those reviews, the share that
      was not flagged. The flagged without a verdict are taken to be like those with one.

    Proportions come with the parameters `low` and `high`, the 95 % interval: Wilson's, of an effective number of
    reviews (Kish; at most the number of students, because a student's weeks are no independent reviews). The
    false-negative rate's joins the bounds of its parts, so it is wider than need be. None: not defined by the data.
    """
    happened, prevented = _happened(verdicts), _prevented(verdicts, settings)
    return {
        str(version): _measures_of(verdicts.loc[rows], happened[rows], prevented[rows])
        for version in sorted(set(verdicts["model_version"]))
        for rows in [(verdicts["model_version"] == version).to_numpy(np.bool_)]
    }


def propose_reviews(connection: sa.Connection, work: Work, tenant: TenantSettings, week: dt.date, seed: int = 0) -> int:
    """Draw `tenant.review.weekly_sample` unflagged students of the week (Monday) for review; how many are new.

    Every unflagged student with a prediction by the model that scored the week last is as likely as any other (fewer
    than the sample: all of them); hindsight (`rescored`) is not asked about. The draw depends on seed, tenant, week,
    model and the students' numbers alone. Once drawn a week stays as it is, whoever is scored later: 0.
    """
    table, proposal = predictions.c, review_proposals.c
    day = feature_date(week)
    if not tenant.review.weekly_sample:
        return 0
    of_week = (table.tenant_id == work.tenant, table.feature_date == day, table.rescored.is_(sa.false()))
    drawn_before = sa.select(proposal.id).where(proposal.tenant_id == work.tenant, proposal.feature_date == day)
    if connection.execute(drawn_before.limit(1)).first() is not None:
        return 0
    version = connection.scalar(
        sa.select(table.model_version).where(*of_week).order_by(table.prediction_date.desc(), table.id.desc()).limit(1)
    )
    if version is None:
        return 0
    unflagged = (
        *of_week,
        table.model_version == version,
        table.risk_category.not_in(FLAGGED_CATEGORIES),
        *_enrolled(),
    )
    joined = sa.join(predictions, students, students.c.id == table.student_id)
    numbers = connection.scalars(sa.select(students.c.district_id).select_from(joined).where(*unflagged)).all()

    # The lowest hashes are a uniform draw that no version of a library changes.
    start = hashlib.sha256("\x1f".join((str(seed), tenant.name, str(day), version, "")).encode())

    def rank(number: str) -> bytes:
        hashed = start.copy()
        hashed.update(number.encode())
        return hashed.digest()

    # Ids are read of the drawn only: a whole district's would take longer than the rest.
    chosen = heapq.nsmallest(tenant.review.weekly_sample, numbers, key=rank)
    drawn = connection.scalars(
        sa.select(table.id).select_from(joined).where(*unflagged, students.c.district_id.in_(chosen))
    ).all()
    if not drawn:
        return 0
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    # Another run that draws at the same time draws the same students.
    written = connection.execute(
        insert(review_proposals)
        .values(
            [
                {
                    "id": identifier,
                    "tenant_id": work.tenant,
                    "prediction_id": prediction,
                    "feature_date": day,
                    "drawn_from": len(numbers),
                }
                for identifier, prediction in zip(new_ids(len(drawn)), drawn, strict=True)
            ]
        )
        .on_conflict_do_nothing(index_elements=["tenant_id", "prediction_id"])
    )
    return written.rowcount


def open_reviews(connection: sa.Connection, work: Work) -> pd.DataFrame:
    """The students drawn for review who have no verdict yet: `REVIEW_COLUMNS`, by week and number.

    A feedback row without a feedback type is no verdict. Deleted students are not asked about.
    """
    proposal, prediction, verdict = review_proposals.c, predictions.c, training_feedback.c
    rows = connection.execute(
        sa.select(
            proposal.prediction_id,
            students.c.district_id,
            prediction.feature_date,
            prediction.model_version,
            proposal.proposed_at,
        )
        .join_from(review_proposals, predictions, prediction.id == proposal.prediction_id)
        .join(students, students.c.id == prediction.student_id)
        .where(
            proposal.tenant_id == work.tenant,
            students.c.deleted_on.is_(None),
            ~sa.exists().where(
                verdict.tenant_id == work.tenant,
                verdict.prediction_id == proposal.prediction_id,
                verdict.deleted_on.is_(None),
                verdict.feedback_type.is_not(None),
            ),
        )
    ).all()
    # Sorted here: the databases do not agree on the order of text.
    rows = sorted(rows, key=lambda row: (row.feature_date, row.district_id))
    return pd.DataFrame([tuple(row) for row in rows], columns=list(REVIEW_COLUMNS), dtype=object)


def review_template(reviews: pd.DataFrame, profile: ProfileSettings) -> bytes:
    """A CSV file for educators to fill in and land as `training_feedback`: `TEMPLATE_COLUMNS`, a row per open review.

    Written the way the district writes its files (encoding, delimiter, dates), so that it can be landed as it is. The
    prediction's date is the Sunday it was made for. Scores are not in it: a verdict shall not lean on them. A row that
    is landed without a feedback type is no verdict, and the review stays open.
    """
    text = io.StringIO()
    writer = csv.writer(text, delimiter="," if profile.delimiter == "auto" else profile.delimiter, lineterminator="\n")
    writer.writerow(TEMPLATE_COLUMNS)
    blank = [""] * (len(TEMPLATE_COLUMNS) - 4)
    columns = (reviews[name] for name in ("prediction_id", "district_id", "feature_date", "model_version"))
    for prediction, number, day, version in zip(*columns, strict=True):
        writer.writerow([prediction, number, day.strftime(profile.date_format), version, *blank])
    return text.getvalue().encode("utf-8" if profile.encoding == "auto" else profile.encoding)


def new_verdicts_since(connection: sa.Connection, work: Work, after: dt.datetime) -> int:
    """Predictions on which a verdict was given, changed or taken back after this (aware) moment.

    A delivery that says again what is stored is nothing new.
    """
    verdict = training_feedback.c
    count = connection.scalar(
        sa.select(sa.func.count(sa.distinct(verdict.prediction_id))).where(
            verdict.tenant_id == work.tenant,
            verdict.feedback_type.is_not(None),
            verdict.updated_at > after,
            # Given and taken back since then: nobody has learned from it.
            sa.or_(verdict.deleted_on.is_(None), verdict.created_at <= after),
        )
    )
    return int(count or 0)


def _enrolled() -> tuple[sa.ColumnElement[bool], ...]:
    """Of joined students and predictions: not deleted, and enrolled on the as-of date as far as is known now.

    Whoever was enrolled at the end of a school week has a vector of it, and nobody else.
    """
    vector = student_features.c
    has_vector = sa.exists().where(
        vector.student_id == predictions.c.student_id, vector.feature_date == predictions.c.feature_date
    )
    return students.c.deleted_on.is_(None), has_vector


def _same_week(counts: sa.Subquery) -> sa.ColumnElement[bool]:
    return sa.and_(
        counts.c.feature_date == predictions.c.feature_date, counts.c.model_version == predictions.c.model_version
    )


def _happened(verdicts: pd.DataFrame) -> NDArray[np.bool_]:
    return verdicts["feedback_type"].isin(HAPPENED).to_numpy(np.bool_)


def _prevented(verdicts: pd.DataFrame, settings: FeedbackSettings | None) -> NDArray[np.bool_]:
    words = set((settings or FeedbackSettings()).prevented)
    named = [isinstance(outcome, str) and outcome.strip().casefold() in words for outcome in verdicts["outcome_type"]]
    return (verdicts["feedback_type"] == "false_positive").to_numpy(np.bool_) & np.array(named, dtype=np.bool_)


def _measures_of(verdicts: pd.DataFrame, happened: NDArray[np.bool_], prevented: NDArray[np.bool_]) -> list[Measure]:
    """The measures of one model version."""
    flagged = verdicts["flagged"].to_numpy(np.bool_)
    kinds = np.where(prevented, "prevented", verdicts["feedback_type"].to_numpy(dtype=object))
    figures = [_measure("verdict_count", "", len(verdicts), len(verdicts))]
    figures += [
        _measure("verdict_count", kind, int((kinds == kind).sum()), len(verdicts))
        for kind in (*FEEDBACK_TYPES, "prevented")
    ]
    judged = flagged & ~prevented
    figures += _proportion("verdict_precision", happened[judged])
    figures += _proportion("verdict_prevented_share", prevented[flagged])
    figures += _proportion("verdict_recall", flagged[happened])
    return figures + _missed(verdicts, happened, judged, flagged | prevented)


def _missed(
    verdicts: pd.DataFrame, happened: NDArray[np.bool_], judged: NDArray[np.bool_], aside: NDArray[np.bool_]
) -> list[Measure]:
    """The rates among everybody unflagged, from the reviews drawn at random.

    `judged`: flagged with a verdict that counts; `aside`: not among the unflagged with one.
    """
    reviewed = verdicts["drawn_from"].notna().to_numpy(np.bool_) & ~aside
    sample = verdicts[reviewed]
    count = len(sample)
    weight = (sample["drawn_from"] / sample["drawn"]).to_numpy(np.float64)
    missed = happened[reviewed]
    # Kish's effective size; a student who was drawn in several weeks counts once.
    size = min(weight.sum() ** 2 / (weight**2).sum(), sample["district_id"].nunique()) if count else 0.0
    rate = float((weight * missed).sum() / weight.sum()) if count else None
    low, high = _interval(rate, size)
    figures = _with_interval("verdict_false_omission_rate", rate, low, high, count)

    weeks = sample.drop_duplicates("feature_date")
    same_weeks = judged & verdicts["feature_date"].isin(weeks["feature_date"]).to_numpy(np.bool_)
    answers, hits = int(same_weeks.sum()), int(happened[same_weeks].sum())
    listed, everybody = float(weeks["week_flagged"].sum()), float(weeks["drawn_from"].sum())
    right = hits / answers if answers else None
    right_low, right_high = _interval(right, answers)
    if not listed:
        right = right_low = right_high = 0.0
    false_negative_rate: tuple[float | None, float | None, float | None] = (None, None, None)
    if rate is not None and right is not None:
        # What was seen with certainty bounds what is estimated.
        least_hits, least_missed = min(float(hits), listed), float(missed.sum())
        false_negative_rate = (
            _share(rate * everybody, right * listed),
            _share(max(low * everybody, least_missed), max(right_high * listed, least_hits)),
            _share(max(high * everybody, least_missed), max(right_low * listed, least_hits)),
        )
    return figures + _with_interval("verdict_false_negative_rate", *false_negative_rate, count + answers)


def _share(part: float, rest: float) -> float | None:
    return part / (part + rest) if part + rest > 0 else None


def _proportion(metric: str, yes: NDArray[np.bool_]) -> list[Measure]:
    share = float(yes.mean()) if len(yes) else None
    return _with_interval(metric, share, *_interval(share, len(yes)), len(yes))


def _interval(share: float | None, size: float) -> tuple[float, float]:
    """The 95 % interval of a share seen in so many samples; everything when there are none."""
    if share is None or not size:
        return 0.0, 1.0
    low, high = wilson(share, size)
    return float(low), float(high)


def _with_interval(
    metric: str, value: float | None, low: float | None, high: float | None, samples: int
) -> list[Measure]:
    if value is None:
        low = high = None
    return [
        _measure(metric, "", value, samples),
        _measure(metric, "low", low, samples),
        _measure(metric, "high", high, samples),
    ]


def _measure(metric: str, parameter: str, value: Any, samples: int) -> Measure:
    return Measure(metric, parameter, "", None if value is None else round(float(value), DIGITS), samples)
