"""What every source of records gives, whatever its format: a header, and Arrow tables of rows as they came.

Only the agreement between `sources` and `ingest` lives here; the formats are in the modules beside this one, and
what becomes of the rows is `ingest`'s.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Protocol

import pyarrow as pa

LINE_NUMBER = "_line_number"
"""Line of the source on which the row begins (the first line of the file is 1)."""
PROBLEM = "_problem"
"""What is wrong with a row that does not fit the header, as a reason code; null otherwise."""
FIELDS = "_fields"
"""The fields of a row with a problem, as a JSON list: it does not fit the header's columns."""
SYSTEM_COLUMNS = (LINE_NUMBER, PROBLEM, FIELDS)


class RefusedFile(Exception):
    """The file cannot be read as the table it is for.

    `reason` is a code, `problem` says it in words, and `detail` is the problem with what the sender can do about it.
    """

    def __init__(self, reason: str, problem: str, advice: str = "") -> None:
        detail = f"{problem}; {advice}" if advice else problem
        super().__init__(detail)
        self.reason = reason
        self.problem = problem
        self.detail = detail


class RecordSource(Protocol):
    """The rows that one landed file (or bundle of files) has for one table.

    What cannot be read at all raises RefusedFile: in the constructor when the header tells, in `batches` otherwise.
    """

    source_format: str
    """What the file was read as, such as `csv, gzip` or `OneRoster 1.2`; at most 50 characters."""
    header: list[str]
    """The column names, as the archive keeps them: a CSV's own ones, before any renaming."""
    unknown_columns: list[str]
    """Columns that the landing contract of the table does not know."""
    left_out: dict[str, int]
    """Entries of the source that are no records of the table, by reason; complete when `batches` is exhausted."""
    instructional_days: list[dt.date]
    """The days of instruction that the source's own calendar names, ascending; empty for nearly every source."""

    def batches(self) -> Iterator[pa.Table]:
        """The rows in the order of the source, in tables of `archive_schema(header)`; to be iterated once."""
        ...


def archive_schema(header: list[str]) -> pa.Schema:
    """The columns of `RecordSource.batches`: SYSTEM_COLUMNS, then the header's, all text (an empty field is null)."""
    return pa.schema(
        [
            pa.field(LINE_NUMBER, pa.int64(), nullable=False),
            pa.field(PROBLEM, pa.string()),
            pa.field(FIELDS, pa.string()),
            *(pa.field(name, pa.string()) for name in header),
        ]
    )
