"""The quarantined rows of a student. They name the student in what they hold, so each is looked at."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.ingest.erased_rows import ErasedRows
from edupulse_pipelines.schema.source_formats import format_of
from edupulse_pipelines.schema.sqlalchemy_tables import ingested_files, quarantined_records
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.storage.erased import ErasedKeys
from edupulse_pipelines.storage.work import Work


def quarantined_rows(
    connection: Connection, work: Work, keys: ErasedKeys, tenant: TenantSettings
) -> Iterator[sa.Row[Any]]:
    """The rows of `quarantined_records` that `keys` recognises, as they came or as a person corrected them."""
    column = quarantined_records.c
    query = sa.select(quarantined_records).where(column.tenant_id == work.tenant)
    rows = connection.execute(query.order_by(column.table_name, column.delivered_on, column.line_number)).all()
    return rows_recognised(connection, work, rows, keys, tenant)


def rows_recognised(
    connection: Connection, work: Work, rows: Iterable[Any], keys: ErasedKeys, tenant: TenantSettings
) -> Iterator[Any]:
    """Those of the rows that `keys` recognises; `rows`: of `quarantined_records`, or with the same attributes."""
    converted_files = files_converted(connection, work)
    filters: dict[tuple[object, ...], ErasedRows] = {}
    for row in rows:
        converted = row.file_hash in converted_files
        for said in (row.raw, row.corrected):
            if not said:
                continue
            header = tuple(said) if isinstance(said, dict) else ()
            # Of an earlier version the day is a text, as JSON has it.
            day = dt.date.fromisoformat(str(row.delivered_on))
            place = (row.table_name, day, header, converted)
            if place not in filters:
                filters[place] = ErasedRows(
                    keys,
                    row.table_name,
                    list(header),
                    tenant.profile,
                    converted=converted,
                    delivered_on=day,
                )
            if _is_of(filters[place], said):
                yield row
                break


def files_converted(connection: Connection, work: Work) -> set[str]:
    """The hashes of the files whose rows a converter has written, so that they have our names of columns."""
    files = ingested_files.c
    query = sa.select(files.sha256, files.source_format).where(files.tenant_id == work.tenant)
    return {row.sha256 for row in connection.execute(query) if format_of(row.source_format).converted}


def _is_of(rows: ErasedRows, said: Any) -> bool:
    if isinstance(said, dict):
        texts = {
            name: pa.array([str(value) if value not in (None, "") else None], pa.string())
            for name, value in said.items()
        }
        return bool(rows.among(pa.table(texts)).any()) if texts else False
    return isinstance(said, list) and rows.names_one([None if field is None else str(field) for field in said])
