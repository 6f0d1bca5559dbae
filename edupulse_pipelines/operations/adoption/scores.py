"""Models and predictions of version 1.0: nobody delivers them, so that they are judged and written here.

No model of version 1.0 is active or chosen again, as there are no files of it. A prediction belongs to the school week
(Monday to Sunday, in the district's time zone) in which it was made; of two of one model for a student in a week the
newest is kept, and the others go to quarantine, with what educators said of them (`records`, by `unknown_prediction`).
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.ingest import quarantine
from edupulse_pipelines.ingest.earlier_records import CREATED_AT, ID, moment_texts
from edupulse_pipelines.ingest.quarantine import BadRow
from edupulse_pipelines.ingest.validation import FUTURE_DATE, LATER_PREDICTION, UNKNOWN_STUDENT
from edupulse_pipelines.operations.adoption.accounts import Counts, batches_done, enter_batch, take_turn
from edupulse_pipelines.operations.adoption.extracts import (
    OldDatabase,
    OldRows,
    extracted,
    moment_of,
    moments,
    plain_reading,
    shortest,
)
from edupulse_pipelines.operations.adoption.records import Advanced
from edupulse_pipelines.risk.book.records import write_adopted
from edupulse_pipelines.schema.delivery import STUDENT_NUMBER
from edupulse_pipelines.schema.sqlalchemy_tables import students
from edupulse_pipelines.schema.tables import LOADED, RISK_CATEGORIES
from edupulse_pipelines.storage.bulk import copy_rows
from edupulse_pipelines.storage.ids import new_ids
from edupulse_pipelines.storage.manifest import Entry
from edupulse_pipelines.storage.sql_names import quoted
from edupulse_pipelines.storage.version_1 import STUDENTS
from edupulse_pipelines.storage.work import Work
from edupulse_pipelines.weeks import WEEK, feature_date, week_start

MODELS, PREDICTIONS = "model_metadata", "predictions"
UNKNOWN_MODEL = "unknown, v1.0"
"""The type of a model that predictions name and version 1.0 does not have; the version where they name none."""
MADE_MODELS = "models_made"
UNDATED = ""
_ALL = "all"
_VERSION_LENGTH = 50
_TEXTS_IN_A_QUERY = 1_000
_DAYS_APART = range(-2, 3)
"""By how many days the one in a text and the one in the district differ at most, whatever the time zones."""

Row = dict[str, Any]


# Models


def models_query(old: OldDatabase) -> tuple[str, list[str]]:
    """The query for every model, and the names of its columns."""
    names = [ID, "model_version", "model_type", "training_date", "performance_metrics", "hyperparameters", CREATED_AT]
    return _query(old, MODELS, {name: old.text(MODELS, name) for name in names}, "1 = 1")


def unknown_models_query(old: OldDatabase) -> tuple[str, list[str]]:
    """The query for versions, as they are called here, that predictions name and no model has, with their first one."""
    first = old.text(PREDICTIONS, "prediction_date")
    query = (
        f"SELECT p.model_version, p.first FROM (SELECT {_VERSION} AS model_version, min({first}) AS first"
        f" FROM {old.name(PREDICTIONS)} o WHERE length({_VERSION}) <= {_VERSION_LENGTH} GROUP BY 1) p"
        f" WHERE NOT EXISTS (SELECT 1 FROM {old.name(MODELS)} o WHERE {_VERSION} = p.model_version) ORDER BY 1"
    )
    return query, ["model_version", "first"]


def version_of(row: Row) -> str:
    """What the version of a model or a prediction is called here: one that names none has a name, too."""
    return row["model_version"] or UNKNOWN_MODEL


_VERSION = f"coalesce(nullif(o.model_version, ''), '{UNKNOWN_MODEL}')"
"""`version_of` in SQL."""


def bring_models(work: Work, old: OldDatabase, advanced: Advanced) -> None:
    """Write the models, and one for each version that only predictions name."""
    with work.reading() as connection:
        if batches_done(connection, MODELS):
            return
        plain_reading(connection)
        rows = _read(connection, *models_query(old))
        unknown = _read(connection, *unknown_models_query(old))
        counts = foretold_models(connection, old)
    now = dt.datetime.now(dt.UTC)
    first_of_its_name = {version_of(row): row for row in reversed(rows)}
    written = [
        {
            "id": uuid.UUID(row[ID]),
            "model_version": name,
            "model_type": row["model_type"],
            "training_date": _at(row["training_date"]) or _at(row[CREATED_AT]) or now,
            "performance_metrics": _object(row["performance_metrics"]),
            "hyperparameters": _object(row["hyperparameters"]),
            "created_at": _at(row[CREATED_AT]) or now,
        }
        for name, row in reversed(first_of_its_name.items())
    ]
    written += [
        {
            "id": new_ids(1)[0],
            "model_version": version_of(row),
            "model_type": UNKNOWN_MODEL,
            "training_date": _at(row["first"]) or now,
            "performance_metrics": {},
            "hyperparameters": {},
            "created_at": _at(row["first"]) or now,
        }
        for row in unknown
    ]
    with work.writing() as connection:
        take_turn(connection, MODELS, _ALL)
        write_adopted(connection, work, written)
        enter_batch(connection, MODELS, _ALL, counts)
    advanced(counts.read)


def foretold_models(connection: Connection, old: OldDatabase) -> Counts:
    """What becomes of the models: of those that are called the same here the first is kept; and which are made."""
    query = f"SELECT count(*), count(DISTINCT {_VERSION}) FROM {old.name(MODELS)} o"
    models, names = connection.exec_driver_sql(query).one()
    counts = Counts(read=models, kept=names, repeated=models - names)
    made, _ = unknown_models_query(old)
    if unknown := len(connection.exec_driver_sql(made).all()):
        counts.others[MADE_MODELS] = unknown
    return counts


def _object(text: str | None) -> dict[str, Any]:
    """A JSON object; anything else under the name `value`, so that it is kept."""
    if text is None:
        return {}
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        value = text
    return value if isinstance(value, dict) else {"value": value}


# Predictions


@dataclass(frozen=True)
class PredictionBatch:
    """The predictions of one school week (a Monday), or those without a moment (None)."""

    week: dt.date | None
    no_moments: tuple[str, ...] = ()
    """Of those without: what they have in its place, on SQLite."""

    @property
    def name(self) -> str:
        """As the account has it."""
        return UNDATED if self.week is None else self.week.isoformat()

    def condition(self, dialect: str) -> str:
        """The condition on rows that may be of it, whatever the time zone."""
        day = _day_of(dialect)
        if self.week is None:
            if len(self.no_moments) > _TEXTS_IN_A_QUERY:
                return "1 = 1"
            texts = ", ".join("'" + text.replace("'", "''") + "'" for text in ("", *self.no_moments))
            return f"{day} = ''" + (f" OR o.prediction_date IN ({texts})" if self.no_moments else "")
        first, last = self.week - dt.timedelta(days=2), self.week + WEEK + dt.timedelta(days=1)
        if dialect == "postgresql":
            return f"o.prediction_date >= DATE '{first}' AND o.prediction_date < DATE '{last + dt.timedelta(days=1)}'"
        return f"{day} BETWEEN '{first}' AND '{last}'"


def _day_of(dialect: str) -> str:
    """The day (UTC) of a prediction as text; empty where there is none."""
    if dialect == "postgresql":
        return (
            "CASE WHEN o.prediction_date > TIMESTAMP '0001-02-01' AND o.prediction_date < TIMESTAMP '9999-11-30'"
            " THEN to_char(o.prediction_date, 'YYYY-MM-DD') ELSE '' END"
        )
    pattern = "-".join(("[0-9]" * 4, "[0-9]" * 2, "[0-9]" * 2))
    return f"CASE WHEN o.prediction_date GLOB '{pattern}*' THEN substr(o.prediction_date, 1, 10) ELSE '' END"


def prediction_batches(connection: Connection, old: OldDatabase) -> list[PredictionBatch]:
    """The school weeks that may have predictions, and what has no moment."""
    weeks: set[dt.date] = set()
    undated = False
    day_of = _day_of(old.dialect)
    days = connection.exec_driver_sql(f"SELECT DISTINCT {day_of} FROM {old.name(PREDICTIONS)} o").scalars()
    for text in days:
        try:
            day = dt.date.fromisoformat(text)
        except ValueError:
            undated = True
            continue
        weeks |= {week_start(day + dt.timedelta(days=offset)) for offset in _DAYS_APART}
    no_moments: list[str] = []
    if old.dialect == "sqlite":  # a text may begin like a moment, and be none
        query = (
            f"SELECT DISTINCT o.prediction_date FROM {old.name(PREDICTIONS)} o"
            f" WHERE typeof(o.prediction_date) = 'text' AND {day_of} <> ''"
        )
        no_moments = [text for text in connection.exec_driver_sql(query).scalars() if moment_of(text) is None]
    dated = map(PredictionBatch, sorted(weeks))
    return [*dated, *([PredictionBatch(None, tuple(no_moments))] if undated or no_moments else [])]


@dataclass
class Judged:
    """A batch: rows to write, and those to hold, each with its reasons."""

    good: list[Row]
    bad: list[tuple[Row, list[str]]]

    @property
    def counts(self) -> Counts:
        """Its account."""
        counts = Counts(len(self.good) + len(self.bad), len(self.good), quarantined=len(self.bad))
        for _, codes in self.bad:
            counts.reasons.update(codes)
        return counts


def judged_predictions(
    connection: Connection, old: OldDatabase, batch: PredictionBatch, there: Container[str], zone: ZoneInfo
) -> Judged:
    """The predictions of a batch, judged. `there`: by number the students who are, or would be, here."""
    columns = {
        STUDENT_NUMBER: f"coalesce(s.district_id, {old.id_text(PREDICTIONS, 'student_id')})",
        **{
            name: old.text(PREDICTIONS, name)
            for name in ("prediction_date", "risk_score", "risk_category", "confidence", "risk_factors")
        },
        "model_version": old.text(PREDICTIONS, "model_version"),
        CREATED_AT: old.text(PREDICTIONS, CREATED_AT),
    }
    rows = _read(connection, *_query(old, PREDICTIONS, {ID: "", **columns}, batch.condition(old.dialect)))
    judged = Judged([], [])
    newest: dict[tuple[str, str], Row] = {}
    for row in rows:
        moment = _at(row["prediction_date"])
        day = None if moment is None else moment.astimezone(zone).date()
        if (None if day is None else week_start(day)) != batch.week:
            continue  # another batch has it
        codes = _reasons(row, day, there, zone)
        if codes:
            judged.bad.append((row, codes))
            continue
        key = (row[STUDENT_NUMBER], version_of(row))
        before = newest.setdefault(key, row)
        if before is not row:
            earlier, newest[key] = sorted((before, row), key=_age)
            judged.bad.append((earlier, [LATER_PREDICTION]))
    judged.good = list(newest.values())
    return judged


def _age(row: Row) -> tuple[str, str, str]:
    return row["prediction_date"], row[CREATED_AT] or "", row[ID]


def _reasons(row: Row, day: dt.date | None, there: Container[str], zone: ZoneInfo) -> list[str]:
    """Why a prediction cannot be kept, in the words of the loader."""
    codes = [
        f"required:{name}"
        for name in (STUDENT_NUMBER, "prediction_date", "risk_score", "risk_category", "confidence")
        if row[name] is None
    ]
    if row[STUDENT_NUMBER] is not None and row[STUDENT_NUMBER] not in there:
        codes.append(UNKNOWN_STUDENT)
    for name in ("risk_score", "confidence"):
        if row[name] is not None:
            try:
                within = 0 <= float(row[name]) <= 1
            except ValueError:
                codes.append(f"type:{name}")
                continue
            codes += [] if within else [f"range:{name}"]
    if row["risk_category"] is not None and row["risk_category"] not in RISK_CATEGORIES:
        codes.append("values:risk_category")
    if len(row["model_version"] or "") > _VERSION_LENGTH:
        codes.append("length:model_version")
    if row["risk_factors"] is not None and not _is_json(row["risk_factors"]):
        codes.append("type:risk_factors")
    created = _at(row[CREATED_AT])
    if day is not None and created is not None and day > created.astimezone(zone).date():
        codes.append(FUTURE_DATE)
    return codes


def _is_json(text: str) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


def bring_predictions(work: Work, old: OldDatabase, zone: ZoneInfo, delivered_on: dt.date, advanced: Advanced) -> None:
    """Write the predictions that are not here yet, week by week, each in a transaction with its account."""
    with work.reading() as connection:
        plain_reading(connection)
        done = batches_done(connection, PREDICTIONS)
        batches = [batch for batch in prediction_batches(connection, old) if batch.name not in done]
        query = sa.select(students.c.district_id, students.c.id).where(students.c.tenant_id == work.tenant)
        there = {row.district_id: row.id for row in connection.execute(query)}
    for batch in batches:
        with work.reading() as connection:
            plain_reading(connection)
            judged = judged_predictions(connection, old, batch, there, zone)
        if not judged.good and not judged.bad:
            continue
        with work.writing() as connection:
            take_turn(connection, PREDICTIONS, batch.name)
            if judged.good:
                copy_rows(connection, PREDICTIONS, _table(work, judged.good, batch, there))
            _hold(connection, work, batch, judged, delivered_on)
            enter_batch(connection, PREDICTIONS, batch.name, judged.counts)
        advanced(judged.counts.read)


def _table(work: Work, rows: list[Row], batch: PredictionBatch, there: Mapping[str, uuid.UUID]) -> pa.Table:
    assert batch.week is not None
    postgresql = work.dialect == "postgresql"
    count = len(rows)

    def id_of(value: uuid.UUID) -> str:
        return str(value) if postgresql else value.hex

    def texts(name: str) -> pa.Array:
        now = dt.datetime.now(dt.UTC)
        stamps = [_at(row[name]) or now for row in rows]
        return moment_texts(pa.array(stamps, pa.timestamp("us", "UTC")), work.dialect)

    return pa.table(
        {
            "id": pa.array([id_of(uuid.UUID(row[ID])) for row in rows], pa.string()),
            "tenant_id": pa.array([work.tenant] * count, pa.string()),
            "student_id": pa.array([id_of(there[row[STUDENT_NUMBER]]) for row in rows], pa.string()),
            "feature_date": pa.array([feature_date(batch.week)] * count, pa.date32()),
            "prediction_date": texts("prediction_date"),
            "risk_score": pa.array([float(shortest(row["risk_score"])) for row in rows], pa.float64()),
            "risk_category": pa.array([row["risk_category"] for row in rows], pa.string()),
            "confidence": pa.array([float(shortest(row["confidence"])) for row in rows], pa.float64()),
            "risk_factors": pa.array([row["risk_factors"] for row in rows], pa.string()),
            "model_version": pa.array([version_of(row) for row in rows], pa.string()),
            "rescored": pa.array([0 if not postgresql else False] * count),
            "created_at": texts(CREATED_AT),
        }
    )


def _hold(connection: Connection, work: Work, batch: PredictionBatch, judged: Judged, delivered_on: dt.date) -> None:
    """Put the rows that are not kept into quarantine, as they came."""
    name = f"version-1.0-{batch.name or 'undated'}"
    entry = Entry(
        id=new_ids(1)[0],
        tenant_id=work.tenant,
        table_name=PREDICTIONS,
        delivered_on=delivered_on,
        file_name=name,
        sha256=uuid.uuid5(uuid.NAMESPACE_OID, f"{PREDICTIONS}/{name}").hex * 2,
        status=LOADED,
        reason=None,
        detail=None,
        unknown_columns=None,
        source_format=OldRows.source_format,
        left_out=None,
        snapshot=None,
        loaded_at=None,
        run_id=None,
        rows_read=0,
        rows_inserted=0,
        rows_updated=0,
        rows_unchanged=0,
        rows_quarantined=0,
        rows_deleted=0,
        rows_by_week=None,
        rows_erased=0,
        archive_sha256=None,
    )
    bad = {
        line: BadRow({name: value or "" for name, value in row.items()}, codes)
        for line, (row, codes) in enumerate(judged.bad, start=1)
    }
    if bad:
        quarantine.hold(connection, work, entry, bad)


# Reading


def _query(old: OldDatabase, table: str, columns: Mapping[str, str], condition: str) -> tuple[str, list[str]]:
    chosen = {**columns, ID: old.id_text(table, ID)}
    listed = ", ".join(f"{value} AS {quoted(name)}" for name, value in chosen.items())
    source = f"{old.name(table)} o"
    if STUDENT_NUMBER in columns:
        source += f" LEFT JOIN {old.name(STUDENTS)} s ON s.id = o.student_id"
    return f"SELECT {listed} FROM {source} WHERE {condition} ORDER BY o.id", list(chosen)


def _read(connection: Connection, query: str, header: list[str]) -> list[Row]:
    with extracted(connection, query, header) as extract:
        rows = extract.table()
    for name in ("prediction_date", CREATED_AT, "training_date", "first"):
        if name in header:
            rows = rows.set_column(header.index(name), name, moments(rows[name]))
    found: list[Row] = rows.to_pylist()
    return found


def _at(text: str | None) -> dt.datetime | None:
    return None if text is None else dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)
