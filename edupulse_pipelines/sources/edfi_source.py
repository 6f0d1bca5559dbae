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

from edupulse_pipelines.schema.answers import answer
from edupulse_pipelines.schema.source_formats import COLUMNS_WITHOUT_EFFECT, EDFI
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.sources.dates import day_reader
from edupulse_pipelines.sources.decimals import with_point
from edupulse_pipelines.sources.edfi_xml import Bundle, Element, File
from edupulse_pipelines.sources.names import snake_case
from edupulse_pipelines.sources.records import archive_schema

ROWS_PER_TABLE = 50_000
NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)")
_MOST_OTHERS = 20  # names of elements that are counted by themselves


class EdfiSource:
    """A table's records out of the bundle; the subclasses give `columns` and `tables`.

    Beyond RecordSource: `notes`, what was done to rows that are there, by kind; and `snapshot`, whether what is not in
    the source no longer exists, which no Ed-Fi file says. Each line number is used once: where a file holds several
    elements on a line, the later ones count on from it, and so do the lines of a second file of the same interchange.
    """

    table: ClassVar[str]
    columns: ClassVar[tuple[str, ...]]
    snapshot = False

    def __init__(self, bundle: Bundle, main: list[File], tenant: TenantSettings, delivered_on: dt.date | None) -> None:
        self.bundle = bundle
        self.main = main
        self.profile = tenant.profile
        self._day = day_reader(tenant)
        self.delivered_on = delivered_on.isoformat() if delivered_on is not None else None
        self._others: Counter[str] = Counter()
        self.header = list(self.columns)
        self.source_format = EDFI.named(f" {bundle.version}")
        self.unknown_columns: list[str] = []
        self.left_out: dict[str, int] = {}
        self.notes: dict[str, int] = {}
        if columns := tenant.profile.columns.get(self.table):
            self.note(COLUMNS_WITHOUT_EFFECT, len(columns))  # the format names its columns itself
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

    def date(self, element: Element, *path: str) -> str | None:
        """The date at the path in ISO form; what is not understood as one stays as it is."""
        text = element.text(*path)
        return None if text is None else self._day(text)

    def number(self, element: Element, *path: str) -> str | None:
        """The number at the path with a decimal point."""
        text = element.text(*path)
        return None if text is None else with_point(text, self.profile)

    def answer(self, element: Element, *path: str) -> bool | None:
        """Yes or no at the path; None where there is neither. A text that is neither is counted."""
        text = element.text(*path)
        understood = None if text is None else answer(text)
        if text is not None and understood is None:
            self.note(f"not_understood_{snake_case(path[-1])}")
        return understood

    def leave_out(self, reason: str, count: int = 1) -> None:
        """Count entries that are no records of the table."""
        self.left_out[reason] = self.left_out.get(reason, 0) + count

    def note(self, kind: str, count: int = 1) -> None:
        """Count what was done to rows that are there."""
        self.notes[kind] = self.notes.get(kind, 0) + count
