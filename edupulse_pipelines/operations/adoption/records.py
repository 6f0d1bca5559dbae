"""Records of version 1.0: archived and loaded batch by batch, with the judge, the writers and the quarantine of a load.

A batch is what has the same month of its event; two rows of one record have the same day, so they are in one batch. All
of them are one delivery, of the day on which version 1.0 created its last row. Students, each of whom is there once,
are delivered on the day they were created: what is not known of an enrolment begins there.
"""

from __future__ import annotations

import datetime as dt
import re
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy.engine import Connection

from edupulse_pipelines.encryption.archives import rows_in_archive
from edupulse_pipelines.ingest.accounts import DeliveryCounts
from edupulse_pipelines.ingest.archived_file import archive_path, hash_of_archive, write_archive
from edupulse_pipelines.ingest.delivered_rows import ArchivedContent, DeliveredRows
from edupulse_pipelines.ingest.delivery import Delivery, pieces_of
from edupulse_pipelines.ingest.earlier_records import CREATED_AT
from edupulse_pipelines.ingest.erased_rows import ErasedRows
from edupulse_pipelines.ingest.frames import Piece
from edupulse_pipelines.ingest.merging import merge
from edupulse_pipelines.ingest.references import Students, guid
from edupulse_pipelines.ingest.table_load import TableLoad
from edupulse_pipelines.ingest.validation import MISSING_PREDICTION, UNKNOWN_PREDICTION, Reasons, validate
from edupulse_pipelines.operations.adoption.accounts import Counts, batches_done, enter_batch, take_turn
from edupulse_pipelines.operations.adoption.extracts import (
    Extract,
    OldDatabase,
    OldRows,
    extract_of,
    extracted,
    moments,
    plain_reading,
    record_query,
)
from edupulse_pipelines.schema.delivery import DELIVERED, STUDENT_NUMBER
from edupulse_pipelines.schema.tables import ARCHIVED
from edupulse_pipelines.settings import Settings, TenantSettings
from edupulse_pipelines.sources.blanks import trimmed_column
from edupulse_pipelines.storage import manifest
from edupulse_pipelines.storage.erased import ErasedKeys, read_erased
from edupulse_pipelines.storage.version_1 import STUDENTS
from edupulse_pipelines.storage.work import Work

UNDATED = ""
"""The batch of rows whose date is none."""
ASSUMED_ENTRIES = "assumed_entries"
"""Among the other counts: students whose enrolment begins with their first recorded event, or with their creation."""
_MONTH = re.compile(r"\d{4}-\d\d")
Opening = Callable[[Connection], AbstractContextManager[Extract]]
Advanced = Callable[[int], None]
"""Told of rows that are done."""


@dataclass(frozen=True)
class Batch:
    """Some rows of a table: its name, and the day of the delivery that they are part of."""

    name: str
    delivered_on: dt.date
    open: Opening
    """Reads its rows, in a transaction."""


def event_batches(connection: Connection, old: OldDatabase, table: str, delivered_on: dt.date) -> list[Batch]:
    """The batches of a table of events; of one without a date of its own a single one."""
    date = DELIVERED[table].record.event_date
    if date is None:
        conditions = {"all": "1 = 1"}
    else:
        months = connection.exec_driver_sql(
            f"SELECT DISTINCT {_month_of(old.dialect, date)} FROM {old.name(table)} o ORDER BY 1"
        ).scalars()
        conditions = {month: _within(old.dialect, date, month) for month in months}

    def opening(condition: str) -> Opening:
        return lambda reading: extracted(reading, *record_query(old, table, condition))

    return [Batch(name, delivered_on, opening(condition)) for name, condition in conditions.items()]


def _month_of(dialect: str, date: str) -> str:
    column = f'o."{date}"'
    if dialect == "postgresql":
        return (
            f"CASE WHEN {column} BETWEEN DATE '0001-01-01' AND DATE '9999-11-30'"
            f" THEN to_char({column}, 'YYYY-MM') ELSE '{UNDATED}' END"
        )
    return f"CASE WHEN {column} GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-*' THEN substr({column}, 1, 7) ELSE '' END"


def _is_day(dialect: str, date: str) -> str:
    """The condition on rows whose date is one, so that it is the first one and not the least text."""
    if dialect == "postgresql":
        return f"{_month_of(dialect, date)} <> '{UNDATED}'"
    return f'date(o."{date}", \'+0 days\') = o."{date}"'  # which makes the 1st of March of the 30th of February


def _within(dialect: str, date: str, month: str) -> str:
    """The condition on rows of a month, such that an index on the date serves."""
    column = f'o."{date}"'
    if not _MONTH.fullmatch(month):
        return f"{_month_of(dialect, date)} = '{UNDATED}'"
    if dialect == "postgresql":
        return f"{column} >= DATE '{month}-01' AND {column} < DATE '{month}-01' + INTERVAL '1 month'"
    return f"{column} >= '{month}-' AND {column} < '{month}.'"  # a point comes after the hyphen


def student_batches(connection: Connection, old: OldDatabase, delivered_on: dt.date, zone: ZoneInfo) -> list[Batch]:
    """The students by the day they are delivered on; `delivered_on` where the day of their creation is not known.

    One without a date of enrolment is delivered on the day of the first event, where that is later: the enrolment then
    begins with it.
    """
    with extracted(connection, *record_query(old, STUDENTS, "1 = 1")) as extract:
        rows = extract.table()
    if not len(rows):
        return []
    created = moments(rows[CREATED_AT]).combine_chunks().cast(pa.timestamp("us"))
    local = pc.local_timestamp(pc.assume_timezone(created, "UTC").cast(pa.timestamp("us", zone.key)))
    days = local.to_numpy(zero_copy_only=False).astype("datetime64[D]")
    last = np.datetime64(delivered_on, "D")
    days = np.where(np.isnat(days) | (days > last), last, days)
    silent = np.flatnonzero(rows["enrollment_date"].combine_chunks().is_null().to_numpy(zero_copy_only=False))
    if len(silent):
        first = _first_events(connection, old)
        numbers = rows[STUDENT_NUMBER].combine_chunks().to_pylist()
        for row in silent.tolist():
            days[row] = min(max(days[row], first.get(numbers[row], days[row])), last)
    days = _together(rows[STUDENT_NUMBER], days)

    def opening(day: np.datetime64) -> Opening:
        return lambda _connection: extract_of(rows.filter(pa.array(days == day)))

    return [Batch(str(day), day.astype(dt.date), opening(day)) for day in np.unique(days)]


def _together(numbers: pa.ChunkedArray, days: np.ndarray) -> np.ndarray:
    """The days; of students whose numbers differ in blanks alone, and are one here, the last of theirs for all.

    Delivered on different days, the later one would change the earlier one's record instead of contradicting it.
    """
    trimmed = trimmed_column(numbers)
    if trimmed is None:
        return days
    encoded = trimmed.combine_chunks().dictionary_encode()
    codes = encoded.indices.fill_null(len(encoded.dictionary)).to_numpy()
    latest = np.full(len(encoded.dictionary) + 1, days.min())
    np.maximum.at(latest, codes, days)
    return latest[codes]


def _first_events(connection: Connection, old: OldDatabase) -> dict[str, np.datetime64]:
    """By number of a student without a date of enrolment the day of the first event that version 1.0 has."""
    found: dict[str, np.datetime64] = {}
    for table, contract in DELIVERED.items():
        date = contract.record.event_date
        if date is None or not contract.record.about_students:
            continue
        day = old.text(table, date)
        rows = connection.exec_driver_sql(
            f"SELECT s.district_id, min({day}) FROM {old.name(table)} o"
            f" JOIN {old.name(STUDENTS)} s ON s.id = o.student_id"
            f" WHERE s.enrollment_date IS NULL AND {_is_day(old.dialect, date)} GROUP BY 1"
        )
        for number, text in rows:
            first = np.datetime64(text, "D")
            found[number] = min(first, found.get(number, first))
    return found


def bring_over(
    work: Work,
    settings: Settings,
    tenant: TenantSettings,
    old: OldDatabase,
    table: str,
    delivered_on: dt.date,
    advanced: Advanced,
) -> None:
    """Load the batches of a table that are not here yet, each in a transaction of its own with its account.

    Takes seven arguments: whose rows they are, from where and to where.
    """
    with work.reading() as connection:
        plain_reading(connection)
        batches = batches_of(connection, old, table, delivered_on, ZoneInfo(tenant.timezone))
        done = batches_done(connection, table)
    load = TableLoad(work, settings.raw_dir, tenant, table)
    for batch in batches:
        if batch.name in done:
            continue
        if table == STUDENTS:  # each batch brings students that the marks of the next one count
            load = TableLoad(work, settings.raw_dir, tenant, table)
        advanced(_bring_batch(load, batch))
    if table == STUDENTS and work.dialect == "postgresql":
        with work.writing() as connection:  # every row that comes now is looked up among them
            for name in (STUDENTS, "enrollments", "enrollment_statements"):
                connection.exec_driver_sql(f"ANALYZE {name}")


def batches_of(
    connection: Connection, old: OldDatabase, table: str, delivered_on: dt.date, zone: ZoneInfo
) -> list[Batch]:
    """The batches of a table of records."""
    if table == STUDENTS:
        return student_batches(connection, old, delivered_on, zone)
    return event_batches(connection, old, table, delivered_on)


def _bring_batch(load: TableLoad, batch: Batch) -> int:
    """Archive a batch and load it; how many rows it has."""
    work = load.work
    with work.reading() as connection:
        plain_reading(connection)
        erased = read_erased(connection, work, load.raw_dir.parent)
        with batch.open(connection) as extract:
            file_name = f"version-1.0-{batch.name or 'undated'}.csv"
            identity = {
                "tenant_id": work.tenant,
                "table_name": load.table,
                "delivered_on": batch.delivered_on,
                "file_name": file_name,
                "sha256": extract.sha256,
            }
            path = archive_path(load.raw_dir, work.tenant, load.table, batch.delivered_on, file_name, extract.sha256)
            filter_ = ErasedRows(
                erased,
                load.table,
                extract.header,
                load.tenant.profile,
                converted=True,
                delivered_on=batch.delivered_on,
            )
            _archive(path, load.table, extract, filter_)
            size = extract.size
    count = rows_in_archive(path)
    values: dict[str, Any] = {
        "size_bytes": size,
        "run_id": None,
        "archived_at": dt.datetime.now(dt.UTC),
        "status": ARCHIVED,
        "rows_read": count,
        "reason": None,
        "detail": None,
        "unknown_columns": [],
        "source_format": OldRows.source_format,
        "left_out": None,
        "snapshot": None,
        "archive_sha256": hash_of_archive(path),
        "rows_erased": filter_.count,
    }
    with work.writing() as connection:
        take_turn(connection, load.table, batch.name)
        manifest.enter(connection, identity, manifest.entry(connection, identity), values)
        entry = manifest.entry(connection, identity)
    assert entry is not None
    rows = DeliveredRows(load.table, batch.delivered_on, [_content(file_name, path, count)], load.tenant)
    load.make_room(rows)
    with load.writing() as connection:
        take_turn(connection, load.table, batch.name)
        counts = merge(connection, load, Delivery(batch.delivered_on, [entry], rows, pieces_of(load, rows)), rows)
        enter_batch(connection, load.table, batch.name, _counted(counts))
    return count


def _archive(path: Path, table: str, extract: Extract, erased: ErasedRows) -> None:
    facts = {"sha256": extract.sha256, "read_with": {}}
    write_archive(path, OldRows(table, extract), facts, None, lambda: None, erased)


def _content(name: str, path: Path, rows: int) -> ArchivedContent:
    return ArchivedContent(name, path, rows, {}, converted=True, has_ids=True)


def _counted(counts: DeliveryCounts) -> Counts:
    return Counts(
        counts.read,
        counts.inserted + counts.updated,
        counts.unchanged,
        counts.quarantined,
        reasons=Counter(counts.reasons),
    )


# What would come of it


@dataclass
class Kept:
    """What would be here of the rows that others refer to: students by number, ids of predictions."""

    students: Students
    predictions: frozenset[bytes] = frozenset()


def foretell(
    connection: Connection, tenant: TenantSettings, old: OldDatabase, table: str, delivered_on: dt.date, kept: Kept
) -> Counts:
    """What would become of the rows of a table; of students, `kept` is told who would be here. Nothing is changed."""
    counts = Counts()
    numbers: list[str] = []
    ids: list[pa.Array] = []
    with tempfile.TemporaryDirectory(prefix="edupulse-") as folder:
        path = Path(folder) / "batch.parquet"
        for batch in batches_of(connection, old, table, delivered_on, ZoneInfo(tenant.timezone)):
            with batch.open(connection) as extract:
                nobody = _nobody(table, extract.header, tenant, batch.delivered_on)
                _archive(path, table, extract, nobody)
            count = rows_in_archive(path)
            rows = DeliveredRows(table, batch.delivered_on, [_content(path.name, path, count)], tenant)
            for piece in rows.pieces():
                good = _judge(piece, tenant, kept, counts)
                if table == STUDENTS:
                    column = piece.column(STUDENT_NUMBER)
                    numbers += column.take(column.texts).filter(pa.array(good)).to_pylist()
                    assert piece.earlier is not None
                    ids.append(piece.earlier.ids[good])
    if table == STUDENTS:
        texts = [row.tobytes().hex() for of_piece in ids for row in of_piece]
        kept.students = Students(pa.array(numbers, pa.string()), pa.array(texts, pa.string()))
    return counts


def _nobody(table: str, header: list[str], tenant: TenantSettings, delivered_on: dt.date) -> ErasedRows:
    """The filter that leaves nobody out."""
    keys = ErasedKeys(b"", tenant.name)
    return ErasedRows(keys, table, header, tenant.profile, converted=True, delivered_on=delivered_on)


def _judge(piece: Piece, tenant: TenantSettings, kept: Kept, counts: Counts) -> np.ndarray:
    """Count what would become of a piece's rows; which of them would be kept."""
    weighted = tenant.grading_scale == "weighted"
    (reasons,) = validate([piece], piece.table, weighted=weighted, earliest=tenant.no_event_before)
    contract = DELIVERED[piece.table].record
    if contract.about_students:
        kept.students.resolve(piece, reasons)
    elif contract.about_predictions:
        _resolve_predictions(piece, kept.predictions, reasons)
    good = ~piece.repeat
    good[list(reasons)] = False
    counts.read += len(piece)
    counts.quarantined += len(reasons)
    counts.kept += int(good.sum())
    counts.repeated += len(piece) - len(reasons) - int(good.sum())
    counts.reasons.update(code for codes in reasons.values() for code in codes)
    if piece.table == STUDENTS and (assumed := int((good & (piece.column("enrollment_date").codes < 0)).sum())):
        counts.others[ASSUMED_ENTRIES] += assumed
    return good


def _resolve_predictions(piece: Piece, there: frozenset[bytes], reasons: Reasons) -> None:
    column = piece.column("prediction_id")
    texts = column.texts.to_pylist()
    known = np.array([(found := guid(text)) is not None and found.bytes in there for text in texts], dtype=np.bool_)
    for row in np.flatnonzero(~column.where_value(known)).tolist():
        reasons.setdefault(row, []).append(MISSING_PREDICTION if column.codes[row] < 0 else UNKNOWN_PREDICTION)
