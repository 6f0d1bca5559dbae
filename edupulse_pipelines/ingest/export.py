"""Writing quarantined rows to CSVs that a person mends in a spreadsheet: UTF-8 with a mark, commas, CRLF.

What stands in such a file is said in `spreadsheets`; reading it back is in `corrections`.
"""

from __future__ import annotations

import csv
import datetime as dt
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.errors import PermanentError
from edupulse_pipelines.ingest.quarantine import Selection, selected
from edupulse_pipelines.ingest.spreadsheets import IDENTITY, RAW_LINE, as_loaded, guarded, own_header, raw_line
from edupulse_pipelines.progress import Progress
from edupulse_pipelines.schema.sqlalchemy_tables import quarantined_records
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.storage.work import Work

_ROWS_BETWEEN_REPORTS = 1_000


@dataclass(frozen=True)
class ExportedFile:
    """One CSV that was written."""

    table: str
    path: Path
    rows: int
    misfits: int
    """Rows that do not fit their file's header: they are in `_raw_line`."""


def export_rows(
    work: Work,
    raw_dir: Path,
    tenant: TenantSettings,
    selection: Selection,
    out: Path,
    advanced: Progress | None = None,
) -> list[ExportedFile]:
    """Write the selected open rows to CSVs that only their owner can read; one a table, `<out>/<table>.csv`.

    An `out` that ends in `.csv` is the file itself, for rows of one table. Nothing is overwritten, and memory does not
    grow with the rows. `advanced(rows written, rows in all)`. PermanentError when a file is there, cannot be
    written, or would have to hold two tables.
    """
    selection = replace(selection, closed=False)
    with work.reading() as connection:
        files_by_table = _files_by_table(connection, work, selection)
        paths = _targets(out, list(files_by_table))
        total = sum(rows for files in files_by_table.values() for rows, _ in files.values())
        written: list[ExportedFile] = []
        for table, files in files_by_table.items():
            headers = [own_header(connection, work, raw_dir, table, *file) for file in files]
            columns = list(dict.fromkeys(name for header in headers for name in header))
            misfits = sum(count for _, count in files.values())
            with _new_file(paths[table]) as stream:
                sheet = csv.writer(stream, lineterminator="\r\n")
                sheet.writerow([*IDENTITY, *([RAW_LINE] if misfits else []), *map(guarded, columns)])
                done = sum(file.rows for file in written)
                rows = 0
                for row in selected(connection, work, replace(selection, tables=(table,))):
                    sheet.writerow(_line_out(row, columns, with_raw_line=bool(misfits)))
                    rows += 1
                    if advanced is not None and rows % _ROWS_BETWEEN_REPORTS == 0:
                        advanced(done + rows, total)
            written.append(ExportedFile(table, paths[table], rows, misfits))
    return written


def _files_by_table(
    connection: Connection, work: Work, selection: Selection
) -> dict[str, dict[tuple[dt.date, str, str], tuple[int, int]]]:
    """By table and (delivery, file name, hash) how many rows are selected, and how many of them fit no header."""
    columns = quarantined_records.c
    misfit = sa.cast(columns.raw, sa.Text).startswith("[")
    query = (
        sa.select(
            columns.table_name,
            columns.delivered_on,
            columns.file_name,
            columns.file_hash,
            sa.func.count(),
            sa.func.count(sa.case((misfit, 1))),
        )
        .where(selection.of(work))
        .group_by(columns.table_name, columns.delivered_on, columns.file_name, columns.file_hash)
        .order_by(columns.table_name, columns.delivered_on, columns.file_name, columns.file_hash)
    )
    by_table: dict[str, dict[tuple[dt.date, str, str], tuple[int, int]]] = {}
    for table, day, name, file_hash, rows, misfits in connection.execute(query):
        by_table.setdefault(table, {})[day, name, file_hash] = (rows, misfits)
    return by_table


def _targets(out: Path, tables: list[str]) -> dict[str, Path]:
    """Where each table's CSV goes, none of which exists."""
    if out.suffix.lower() == ".csv":
        if len(tables) > 1:
            raise PermanentError(
                f"One CSV holds one table, and these rows are of {', '.join(tables)}: name a folder, or one --table."
            )
        paths = dict.fromkeys(tables, out)
    else:
        paths = {table: out / f"{table}.csv" for table in tables}
    there = [path for path in paths.values() if path.exists()]
    if there:
        raise PermanentError(
            f"{there[0]} is there already, and may hold somebody's corrections: name another place, or remove it."
        )
    return paths


@contextmanager
def _new_file(path: Path) -> Iterator[TextIO]:
    """A new file that only its owner can read, removed again when the block raises."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise PermanentError(f"{path} cannot be written: {error.strerror}.") from None
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8-sig", newline="") as stream:
            yield stream
    except OSError as error:
        path.unlink(missing_ok=True)
        raise PermanentError(f"{path} cannot be written: {error.strerror}.") from None
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _line_out(row: sa.Row, columns: list[str], *, with_raw_line: bool) -> list[str]:
    values = as_loaded(row)
    cells = [str(row.id), guarded(row.file_name), str(row.line_number), "; ".join(row.reasons)]
    if with_raw_line:
        cells.append(guarded(raw_line(row)) if isinstance(row.raw, list) else "")
    return cells + [guarded(values.get(name, "")) for name in columns]
