"""What the sources of all Ed-Fi tables share: streaming elements, making batches, counting what is left out.

The tables are in the modules beside this one, the XML in `edfi_xml`.
"""

from __future__ import annotations

import datetime as dt
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import ClassVar

import pyarrow as pa

from edupulse_pipelines.schema.source_formats import EDFI
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.sources.edfi_xml import Bundle, Element, File
from edupulse_pipelines.sources.records import archive_schema

ROWS_PER_TABLE = 50_000
NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)")
TRUE = ("true", "1")
_MOST_OTHERS = 20  # names of elements that are counted by themselves


class EdfiSource:
    """A table's records out of the bundle; the subclasses give `columns` and `tables`.

    Beyond RecordSource: `notes`, what was done to rows that are there, by kind; and `snapshot`, whether what is not in
    the source no longer exists, which no Ed-Fi file says. Each line number is used once: where a file holds several
    elements on a line, the later ones count on from it, and so do the lines of a second file of the same interchange.
    """

    columns: ClassVar[tuple[str, ...]]
    snapshot = False

    def __init__(self, bundle: Bundle, main: list[File], tenant: TenantSettings, delivered_on: dt.date | None) -> None:
        self.bundle = bundle
        self.main = main
        self.profile = tenant.profile
        self.delivered_on = delivered_on.isoformat() if delivered_on is not None else None
        self._others: Counter[str] = Counter()
        self.header = list(self.columns)
        self.source_format = EDFI.named(f" {bundle.version}")
        self.unknown_columns: list[str] = []
        self.left_out: dict[str, int] = {}
        self.notes: dict[str, int] = {}
        self.instructional_days: list[dt.date] = []

    def batches(self) -> Iterator[pa.Table]:
        """The rows in the order of the source, in tables of `archive_schema(header)`; to be iterated once."""
        yield from self.tables()
        for place, (name, count) in enumerate(self._others.most_common()):
            self.leave_out(snake_case(name) if place < _MOST_OTHERS else "other_elements", count)

    def tables(self) -> Iterator[pa.Table]:
        """The rows in tables of `archive_schema(header)`."""
        raise NotImplementedError

    def elements(self, *names: str, without: frozenset[str] = frozenset()) -> Iterator[tuple[File, int, Element]]:
        """Top-level elements of the main files: file, line number, element. All others are counted as left out."""
        offset = last = 0
        for file in self.main:
            reading = file.elements(*names, others=self._others, without=without)
            for element in reading:
                last = max(offset + element.line, last + 1)
                yield file, last, element
            offset = max(offset + reading.lines, last)

    def batched(self, rows: Iterable[tuple[int, dict[str, str | None]]]) -> Iterator[pa.Table]:
        """Rows as Arrow tables; each is its line number and its fields by column."""
        schema = archive_schema(self.header)
        lines: list[int] = []
        fields: list[dict[str, str | None]] = []

        def table() -> pa.Table:
            nothing = pa.nulls(len(lines), pa.string())
            columns = [pa.array([row[name] for row in fields], pa.string()) for name in self.header]
            return pa.Table.from_arrays([pa.array(lines, pa.int64()), nothing, nothing, *columns], schema=schema)

        for line, row in rows:
            lines.append(line)
            fields.append(row)
            if len(lines) == ROWS_PER_TABLE:
                yield table()
                lines, fields = [], []
        if lines:
            yield table()

    def leave_out(self, reason: str, count: int = 1) -> None:
        """Count entries that are no records of the table."""
        self.left_out[reason] = self.left_out.get(reason, 0) + count

    def note(self, kind: str, count: int = 1) -> None:
        """Count what was done to rows that are there."""
        self.notes[kind] = self.notes.get(kind, 0) + count


def snake_case(text: str) -> str:
    """A name or code as a reason: `Not Submitted` is `not_submitted`, and so is `NotSubmitted`."""
    return re.sub(r"[^0-9a-z]+", "_", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", text).lower()).strip("_")[:60]
