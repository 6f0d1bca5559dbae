"""Quarantined rows as a spreadsheet has them: the columns of an exported CSV, and what a spreadsheet does to cells.

An exported CSV has one line a row: four columns that say which row it is, then the columns of the row's own file. A row
that does not fit its file's header stands as a whole in `_raw_line`. What a spreadsheet does to cells on its own is
told apart from what a person has typed. Writing such files is in `export`, reading them back in `corrections`.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
import re
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.errors import EncryptedFileDamaged
from edupulse_pipelines.ingest.archived_file import archive_path, archived_header
from edupulse_pipelines.schema.delivery import DELIVERED
from edupulse_pipelines.schema.sqlalchemy_tables import quarantined_records
from edupulse_pipelines.sources.csv_rows import MALFORMED_ROW
from edupulse_pipelines.storage.work import Work

ID, FILE, LINE, REASONS, RAW_LINE = "_quarantine_id", "_file", "_line", "_reasons", "_raw_line"
IDENTITY = (ID, FILE, LINE, REASONS)
NUL_SHOWN = "␀"
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_PLAIN_NEGATIVE = re.compile(r"-[0-9]+(\.[0-9]+)?")
_ISO_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_SCIENTIFIC = re.compile(r"[+-]?[0-9]([.,][0-9]+)?[eE][+-]?[0-9]+")


def own_header(
    connection: Connection, work: Work, raw_dir: Path, table: str, day: dt.date, file_name: str, file_hash: str
) -> list[str]:
    """The columns of a file: from its archive, else from a row of it, else the landing contract's."""
    path = archive_path(raw_dir, work.tenant, table, day, file_name.partition("/")[2], file_hash)
    with suppress(OSError, pa.ArrowException, EncryptedFileDamaged):  # gone or damaged
        return archived_header(path)
    columns = quarantined_records.c
    for raw in connection.scalars(
        sa.select(columns.raw)
        .where(
            columns.tenant_id == work.tenant,
            columns.table_name == table,
            columns.file_hash == file_hash,
            sa.cast(columns.raw, sa.Text).startswith("{"),
        )
        .limit(1)
    ):
        return list(raw)
    return list(DELIVERED[table].column_names)


def as_loaded(row: Any) -> dict[str, str]:
    """What a replay would load: the correction, else the row as it came; empty for one that fits no header."""
    if row.corrected is not None:
        return row.corrected
    return row.raw if isinstance(row.raw, dict) else {}


def raw_line(row: Any) -> str:
    """A row that does not fit its header, as one line of CSV; a NUL, which no spreadsheet shows, as a sign."""
    fields = [str(value).replace("\0", NUL_SHOWN) for value in row.raw]
    if MALFORMED_ROW in row.reasons and len(fields) == 1:
        return fields[0]
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(fields)
    return line.getvalue()


def guarded(text: str) -> str:
    """A text that a spreadsheet would run as a formula gets an apostrophe; `unguarded` takes exactly that away."""
    return f"'{text}" if _FORMULA.match(text) and not _PLAIN_NEGATIVE.fullmatch(text) else text


def unguarded(text: str) -> str:
    """The text without the apostrophe that `guarded` has put before it."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def rewritten_by_spreadsheet(before: str, after: str) -> bool:
    """Whether `after` is `before` with something lost, as a spreadsheet shows and saves what it takes for a number.

    Lost zeros (`007`, `3.50`), digits (`1.23E+11`), the ISO form of a date, and letters that became `?`.
    """
    if before == after or not before or not after:
        return False
    if len(before) == len(after) and "?" in after:
        return all(old == new or (new == "?" and ord(old) > 127) for old, new in zip(before, after, strict=True))
    date = _ISO_DATE.fullmatch(before)
    if date is not None and not _ISO_DATE.fullmatch(after):
        year, month, day = map(int, date.groups())
        numbers = [int(digits) for digits in re.findall("[0-9]+", after)[:4]]
        return day in numbers and {*numbers} <= {year, year % 100, month, day}
    if before.isdigit() and len(before) > 11 and _SCIENTIFIC.fullmatch(after):
        return True
    try:
        return len(after) < len(before) and Decimal(before) == Decimal(after.replace(",", "."))
    except InvalidOperation:
        return False


def breaks_folded(text: str) -> str:
    """Spreadsheets rewrite line breaks inside cells; that is no change."""
    return text.replace("\r\n", "\n").replace("\r", "\n")
