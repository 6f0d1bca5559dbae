"""What was delivered of attendance and could not be read, by week and student: there nobody can be said to have come.

Where a district records absences only, whoever has no record was there. A row in quarantine, an absence that a source
tells in a form that is left out, and a refused file may be such a record. What follows from the doubt is in
`features.instruction`.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.ingest import quarantine
from edupulse_pipelines.ingest.validation import DISPUTED_NUMBER, UNKNOWN_SCHOOL
from edupulse_pipelines.schema.delivery import DELIVERED, STUDENT_NUMBER
from edupulse_pipelines.schema.reasons import WAITING
from edupulse_pipelines.schema.source_formats import NOT_SENT, format_of
from edupulse_pipelines.schema.sqlalchemy_tables import attendance_records, students
from edupulse_pipelines.schema.tables import RECORD_TABLES
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.sources.blanks import trimmed_rows
from edupulse_pipelines.sources.profiles import apply_profile, canonical_names
from edupulse_pipelines.sources.records import LINE_NUMBER, PROBLEM
from edupulse_pipelines.storage import manifest
from edupulse_pipelines.storage.bulk import as_text
from edupulse_pipelines.storage.numbers import joined_numbers
from edupulse_pipelines.storage.work import Work
from edupulse_pipelines.weeks import week_of_delivery, week_start, weeks_between

_TABLE = attendance_records.name
_DAY = "date"
_PACKED = (".xml", ".zip")
_OF_NOBODY = WAITING - {DISPUTED_NUMBER, UNKNOWN_SCHOOL}
"""Reasons of rows that wait for somebody who is not known; under a disputed number, or at an unknown school, somebody
is."""

Doubt = Mapping[dt.date, frozenset[str] | None]
"""By week (Monday) the students in doubt, as the database writes their ids; None: every student."""


def attendance_in_doubt(work: Work, tenant: TenantSettings) -> Doubt:
    """The student-weeks of which something was delivered about attendance that has not been read.

    A row in quarantine counts for the student and the week it names, for every student where it names none, and for
    its delivery's week where it has no usable day; one that only waits for its student counts for nobody. Absences
    that a file leaves out count for every student and the weeks up to its delivery's; a refused file for that week.
    """
    everybody: set[dt.date] = set()
    named: defaultdict[dt.date, set[str]] = defaultdict(set)
    with work.reading() as connection:
        files = manifest.loaded_files(connection, work, _TABLE)
        for file in files:
            week = week_of_delivery(file.delivered_on)
            source_format, left_out = format_of(file.source_format), file.left_out or {}
            if any(source_format.leaves_absences_out(reason) for reason in left_out):
                everybody.update(weeks_between(min(tenant.first_week, week), week))
            elif NOT_SENT in left_out:
                everybody.add(week)
        everybody.update(
            week_of_delivery(file.delivered_on)
            for file in manifest.refused(connection, work)
            if file.table_name == _TABLE or _may_be_of_any_table(file)
        )
        converted = {file.sha256: format_of(file.source_format).converted for file in files}
        for week, number in _quarantined(connection, work, tenant, converted):
            if number is None:
                everybody.add(week)
            else:
                named[week].add(number)
        ids = _ids(connection, work, set().union(*named.values()))
    doubt: dict[dt.date, frozenset[str] | None] = dict.fromkeys(everybody)
    for week, numbers in named.items():
        known = frozenset(ids[number] for number in numbers if number in ids)
        if known and week not in everybody:
            doubt[week] = known
    return doubt


def _may_be_of_any_table(file: manifest.Entry) -> bool:
    """Whether the file was too damaged to say what it holds; it is then entered under the first table."""
    return file.table_name == RECORD_TABLES[0] and file.file_name.lower().endswith(_PACKED)


def _quarantined(
    connection: Connection, work: Work, tenant: TenantSettings, converted: Mapping[str, bool]
) -> Iterator[tuple[dt.date, str | None]]:
    """Week and student number of the rows in quarantine; no number for a row that names no student."""
    joined = joined_numbers(connection, work)
    by_file: defaultdict[str, list[sa.Row[Any]]] = defaultdict(list)
    for row in quarantine.open_rows(connection, work, _TABLE):
        if not _OF_NOBODY.issuperset(row.reasons):
            by_file[row.file_hash].append(row)
    for sha256, rows in by_file.items():
        fields = _canonical([row.corrected or row.raw for row in rows], tenant, converted=converted.get(sha256, False))
        for row, of_row in zip(rows, fields, strict=True):
            number = of_row.get(STUDENT_NUMBER)
            yield _week(row, of_row.get(_DAY)), joined.get(number or "", number)


def _canonical(rows: list[Any], tenant: TenantSettings, *, converted: bool) -> list[dict[str, str | None]]:
    """Student number and day of rows as they came, in canonical form; nothing of one that does not fit its header."""
    found = sorted({name for row in rows if isinstance(row, dict) for name in row})
    ours = found if converted else canonical_names(found, _TABLE, tenant.profile)
    names = {known: name for name, known in zip(found, ours, strict=True) if known in DELIVERED[_TABLE].column_names}
    columns: dict[str, Any] = {
        known: [(row.get(name) or None) if isinstance(row, dict) else None for row in rows]
        for known, name in names.items()
    }
    table = pa.table(
        {LINE_NUMBER: list(range(len(rows))), PROBLEM: pa.nulls(len(rows), pa.string())}
        | {name: pa.array(texts, pa.string()) for name, texts in columns.items()}
    )
    canonical, _, _ = apply_profile(
        trimmed_rows(table)[0],
        _TABLE,
        tenant.profile,
        zone=ZoneInfo(tenant.timezone),
        converted=converted,
        named=True,
    )
    wanted = [name for name in (STUDENT_NUMBER, _DAY) if name in canonical.column_names]
    return canonical.select(wanted).to_pylist() if wanted else [{} for _ in rows]


def _week(row: sa.Row[Any], day: str | None) -> dt.date:
    """The week of the row's day; its delivery's where it has none, or one that is not believed."""
    of_delivery = week_of_delivery(row.delivered_on)
    if day is None or any(code.partition(":")[2] == _DAY for code in row.reasons):
        return of_delivery
    try:
        return min(week_start(dt.date.fromisoformat(day)), of_delivery)
    except ValueError:
        return of_delivery


def _ids(connection: Connection, work: Work, numbers: set[str]) -> dict[str, str]:
    """The ids of the students with these numbers."""
    if not numbers:
        return {}
    column = students.c
    query = sa.select(column.district_id, as_text(column.id)).where(column.tenant_id == work.tenant)
    return {number: identifier for number, identifier in connection.execute(query) if number in numbers}
