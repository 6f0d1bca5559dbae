"""Leaving rows that have been taken away out of an archive, whether it is being written or has been there before.

A row is left out when its number is an erased student's, when it takes back or judges what was recorded of one, and,
where it has no number that can be read, when it holds the number or the two names next to each other. Headers that name
an erased student become `column 7`. Who has been erased is known by keyed hashes alone (`storage.erased`).

Of students whose rows of a table retention has taken away, a row of that table is left out when it is dated up to the
day of that, or has no date that can be read and was delivered by then. So a child who comes back has new rows.
"""

from __future__ import annotations

import datetime as dt
import itertools
import uuid
from collections.abc import Callable, Collection, Iterator

import numpy as np
import orjson
import pyarrow as pa

from edupulse_pipelines.ingest.names import folded
from edupulse_pipelines.schema.delivery import DELIVERED, SOURCE_RECORD, STUDENT_NUMBER
from edupulse_pipelines.settings import ProfileSettings
from edupulse_pipelines.sources.blanks import trimmed
from edupulse_pipelines.sources.dates import date_parser
from edupulse_pipelines.sources.profiles import canonical_names
from edupulse_pipelines.sources.records import FIELDS, LINE_NUMBER, PROBLEM, RefusedFile
from edupulse_pipelines.storage.erased import ErasedKeys

PREDICTION = "prediction_id"
"""The column by which a verdict names what it is about."""
PREDICTION_DATE = "prediction_date"
"""The column by which a verdict that names a student says which prediction it is about."""
NAMES = ("first_name", "last_name")


def names_key(first: str, last: str) -> str:
    """Two names as they are hashed together; letters are compared as people do."""
    return f"{folded(trimmed(first))}|{folded(trimmed(last))}"


def record_key(table: str, source_id: str) -> str:
    """A source's own id of a record as it is hashed."""
    return f"{table}|{trimmed(source_id)}"


def prediction_key(text: str) -> str:
    """The id of a prediction as it is hashed, however it is written."""
    try:
        return str(uuid.UUID(trimmed(text)))
    except ValueError:
        return trimmed(text)


class ErasedRows:
    """The filter of one file's rows; `count` is how many it has left out."""

    def __init__(
        self,
        erased: ErasedKeys,
        table: str,
        header: list[str],
        profile: ProfileSettings,
        *,
        converted: bool,
        delivered_on: dt.date,
        lines: Collection[int] = (),
    ) -> None:
        """`header`: the file's own; `converted`: a converter has written it, so that it has our names.

        delivered_on: of the file's delivery.

        lines: of rows that are an erased student's, whatever stands in them. Takes eight arguments, because what a row
        says is known by its table, its header and the profile.
        """
        self._lines = list(lines)
        self._erased = erased
        self._table = table
        self._removed = erased.removed_from(table)
        contract = DELIVERED.get(table)  # there is none for quarantined predictions of version 1.0
        record = None if contract is None else contract.record
        self._event_date = None if record is None else record.event_date
        if record is not None and record.about_predictions:
            self._event_date = PREDICTION_DATE
        self._date_of = _iso if converted or profile.iso_dates else date_parser(profile.date_format)
        self._delivered_on = delivered_on
        self.count = 0
        canonical = header
        if not converted and contract is not None:
            try:
                canonical = canonical_names(header, table, profile)
            except RefusedFile:  # two columns have one name under the profile of now; the first one counts
                canonical = header
        self._named = {ours: theirs for theirs, ours in reversed(list(zip(header, canonical, strict=True)))}
        self.header = [
            f"column {place}" if name and erased.has("column", name) else name
            for place, name in enumerate(header, start=1)
        ]
        self._renames = dict(zip(header, self.header, strict=True))
        self.changes_header = self.header != header

    def keep(self, rows: pa.Table) -> pa.Table:
        """The rows without those of erased students, under the header of now."""
        gone = self.among(rows)
        self.count += int(gone.sum())
        return self._renamed(rows.filter(pa.array(~gone)) if gone.any() else rows)

    def among(self, rows: pa.Table) -> np.ndarray:
        """Which rows are of erased students: shape (rows,), boolean."""
        if not self._erased or not len(rows):
            return np.zeros(len(rows), dtype=np.bool_)
        gone = self._flags(rows, STUDENT_NUMBER, lambda text: self._erased.has("student", trimmed(text)))
        gone |= self._flags(rows, PREDICTION, lambda text: self._erased.has("prediction", prediction_key(text)))
        gone |= self._flags(
            rows, SOURCE_RECORD, lambda text: self._erased.has("record", record_key(self._table, text))
        ) & ~self._flags(rows, STUDENT_NUMBER, lambda text: bool(trimmed(text)))
        if self._lines:
            gone |= np.isin(rows[LINE_NUMBER].to_numpy(), self._lines)
        if PROBLEM in rows.column_names and rows[PROBLEM].null_count < len(rows):
            for place, fields in enumerate(rows[FIELDS].to_pylist()):
                gone[place] |= fields is not None and self.names_one(orjson.loads(fields))
        if all(name in self._named for name in NAMES):
            nameless = ~self._flags(rows, STUDENT_NUMBER, lambda text: bool(trimmed(text)))
            for place in np.flatnonzero(nameless & ~gone).tolist():
                first, last = (rows[self._named[name]][place].as_py() or "" for name in NAMES)
                gone[place] = self._erased.has("name", names_key(first, last))
        return gone | self._removed_among(rows)

    @property
    def name_columns(self) -> list[str]:
        """The file's own columns that hold a student's number and names, those that it has."""
        return [self._named[name] for name in (STUDENT_NUMBER, *NAMES) if name in self._named]

    def numbers_in(self, rows: pa.Table) -> set[str]:
        """The numbers of erased students that stand in the rows' own column of numbers."""
        column = self._named.get(STUDENT_NUMBER)
        if column not in rows.column_names:
            return set()
        texts = {trimmed(text) for text in rows[column].unique().to_pylist() if text is not None}
        return {text for text in texts if self._erased.has("student", text)}

    def names_beside(self, rows: pa.Table, numbers: Collection[str]) -> Iterator[tuple[str, str, str]]:
        """(number, first name, last name) of the rows that have one of these numbers, and both columns of names."""
        if not all(name in self._named for name in NAMES):
            return
        for place in np.flatnonzero(self._flags(rows, STUDENT_NUMBER, lambda text: trimmed(text) in numbers)).tolist():
            number, first, last = (trimmed(rows[column][place].as_py() or "") for column in self.name_columns)
            yield number, first, last

    def _removed_among(self, rows: pa.Table) -> np.ndarray:
        """Which rows retention has taken away from students who are still on record."""
        gone = self._flags(rows, STUDENT_NUMBER, lambda text: trimmed(text) in self._removed)
        for place in np.flatnonzero(gone).tolist():
            through = self._removed[trimmed(rows[self._named[STUDENT_NUMBER]][place].as_py())]
            gone[place] = self._day(rows, place) <= through
        return gone

    def _day(self, rows: pa.Table, place: int) -> dt.date:
        """The day of a row's event; of its delivery where it has none, or none that can be read."""
        named = self._named.get(self._event_date or "")
        text = rows[named][place].as_py() if named in rows.column_names else None
        day = self._date_of(trimmed(text)) if text else None
        return self._delivered_on if day is None else dt.date.fromisoformat(day)

    def _renamed(self, rows: pa.Table) -> pa.Table:
        if not self.changes_header:
            return rows
        return rows.rename_columns([self._renames.get(name, name) for name in rows.column_names])

    def _flags(self, rows: pa.Table, column: str, says: Callable[[str], bool]) -> np.ndarray:
        """The rows whose text in this column (by our name) is one of which it says so; each distinct text once."""
        flags = np.zeros(len(rows), dtype=np.bool_)
        if column not in self._named or self._named[column] not in rows.column_names:
            return flags
        encoded = rows[self._named[column]].combine_chunks().dictionary_encode()
        if isinstance(encoded, pa.ChunkedArray):
            encoded = encoded.combine_chunks()
        distinct = encoded.dictionary.to_pylist()
        verdicts = np.array([text is not None and says(text) for text in distinct] + [False], dtype=np.bool_)
        codes = encoded.indices.fill_null(len(distinct)).to_numpy(zero_copy_only=False)
        flags[:] = verdicts[codes]
        return flags

    def names_one(self, fields: list[str | None]) -> bool:
        """Whether one of the fields of a row that fits no header is an erased number, or two of them are the names."""
        texts = [trimmed(field or "") for field in fields]
        through = (self._removed[text] for text in texts if text in self._removed)
        if any(self._delivered_on <= day for day in through):
            return True
        pairs = itertools.pairwise(texts)
        return any(text and self._erased.has("student", text) for text in texts) or any(
            self._erased.has("name", names_key(*pair)) or self._erased.has("name", names_key(*reversed(pair)))
            for pair in pairs
            if all(pair)
        )


def _iso(text: str) -> str | None:
    try:
        return dt.date.fromisoformat(text).isoformat()
    except ValueError:
        return None
