"""Reading a OneRoster bundle: its manifest, its CSV files by column name, and the lists the files refer to.

Columns are found by name, whatever their case and order; extra ones are not looked at, and a byte order mark is no
obstacle, for real exporters differ from the standard in all of this. What the columns mean is known by `oneroster`.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import BinaryIO

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from edupulse_pipelines.schema.answers import NO, YES, answer
from edupulse_pipelines.settings import FilesSettings, ProfileSettings
from edupulse_pipelines.sources.blanks import trimmed, trimmed_rows
from edupulse_pipelines.sources.canonical_csv import DELIMITERS
from edupulse_pipelines.sources.csv_rows import Row
from edupulse_pipelines.sources.csv_text import CsvText
from edupulse_pipelines.sources.records import FIELDS, LINE_NUMBER, PROBLEM, SYSTEM_COLUMNS, RefusedFile

Open = Callable[[], BinaryIO]
Files = Mapping[str, Open]

_BLOCK = 1 << 20
BULK = "bulk"
DELTA = "delta"
TO_BE_DELETED = "tobedeleted"
SOURCED_ID = "sourcedId"
STATUS = "status"


class BundleFile(CsvText):
    """One CSV of a bundle, to be read by column name; every RefusedFile names it.

    The standard has UTF-8 and commas. A file that has not is read as the profile says, else refused.
    """

    def __init__(self, name: str, open_file: Open, profile: ProfileSettings, max_columns: int) -> None:
        self.name = name
        try:
            declared = profile.encoding not in ("auto", "utf-8") and not _is_utf_8(open_file)
            encoding = profile.encoding if declared else "utf-8"
            super().__init__(open_file, encoding, max_columns=max_columns, block_bytes=8 << 20)
            self.delimiter, first = self._first_row(profile.delimiter)
        except RefusedFile as refusal:
            raise self._refused(refusal) from None
        if first.problem is not None:
            raise RefusedFile("malformed_header", f"{name}: line 1: the header row is not valid CSV")
        self._names = [trimmed(field).casefold() for field in first.fields]
        # The reader below needs names that differ; an extension may have two of one name.
        self.header = [str(place) for place in range(len(self._names))]

    def _first_row(self, declared: str) -> tuple[str, Row]:
        """The delimiter and the header row: with commas, unless there are none in it."""
        candidates = DELIMITERS if declared == "auto" else (DELIMITERS[0], declared)
        rows = {delimiter: self.read_header(delimiter) for delimiter in candidates}
        separates = (delimiter for delimiter, row in rows.items() if row.problem is None and len(row.fields) > 1)
        chosen = next(separates, DELIMITERS[0])
        return chosen, rows[chosen]

    def has(self, column: str) -> bool:
        """Whether the file has a column of this name."""
        return column.casefold() in self._names

    def require(self, *columns: str) -> None:
        """RefusedFile `missing_column` or `duplicate_column` unless the file has each of the columns, once."""
        for column in columns:
            count = self._names.count(column.casefold())
            if count == 0:
                raise RefusedFile("missing_column", f"{self.name}: line 1: column {column} is missing")
            if count > 1:
                raise RefusedFile("duplicate_column", f"{self.name}: line 1: column {column} occurs more than once")

    def rows(self, columns: Sequence[str], *, some: bool = False) -> Iterator[pa.Table]:
        """The rows in file order, in tables of SYSTEM_COLUMNS and `columns`; null where the file lacks the column.

        `some`: RefusedFile `no_rows` where there is none.
        """
        places = [self._names.index(name.casefold()) if self.has(name) else None for name in columns]
        try:
            count = 0
            for batch in self.batches():
                count += len(batch)
                nothing = pa.nulls(len(batch), pa.string())
                rows = pa.table(
                    {name: batch.column(name) for name in SYSTEM_COLUMNS}
                    | {
                        name: nothing if place is None else batch.column(len(SYSTEM_COLUMNS) + place)
                        for name, place in zip(columns, places, strict=True)
                    }
                )
                yield trimmed_rows(rows)[0]
            if some and not count:
                # Taken at its word, a file that holds all there is would take back every record.
                raise RefusedFile("no_rows", "a header and no row; where nothing is, it is `absent` in manifest.csv")
        except RefusedFile as refusal:
            raise self._refused(refusal) from None

    def all_rows(self, columns: Sequence[str]) -> pa.Table:
        """All rows of the file, as `rows` gives them, in one table."""
        schema = pa.schema(
            [(LINE_NUMBER, pa.int64()), (PROBLEM, pa.string()), (FIELDS, pa.string())]
            + [(name, pa.string()) for name in columns]
        )
        return pa.concat_tables([schema.empty_table(), *(batch.cast(schema) for batch in self.rows(columns))])

    def _refused(self, refusal: RefusedFile) -> RefusedFile:
        if refusal.reason == "encoding":
            advice = "OneRoster asks for UTF-8; save it so, or declare its encoding in the tenant's profile"
            return RefusedFile("encoding", f"{self.name}: {refusal.problem}", advice)
        return RefusedFile(refusal.reason, f"{self.name}: {refusal.detail}")


def _is_utf_8(open_file: Open) -> bool:
    """Whether all bytes are UTF-8 text, which has no NUL as UTF-16 has."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    with open_file() as stream:
        try:
            while data := stream.read(_BLOCK):
                if b"\0" in data:
                    return False
                decoder.decode(data)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False
    return True


class Bundle:
    """The files of a bundle by the standard's names, and what its manifest says of them.

    `earlier`: the bundles delivered before, oldest first. A delta names only what has changed: what its rows refer to
    stands in them. A file that is no delta is complete, and nothing older counts beside it.
    """

    def __init__(
        self,
        files: Files,
        earlier: Sequence[Files] = (),
        profile: ProfileSettings | None = None,
        *,
        max_columns: int = FilesSettings().max_columns,
    ) -> None:
        self._profile = profile or ProfileSettings()
        self._max_columns = max_columns
        self.contradictions: dict[str, int] = {}
        """By list (without `.csv`): objects that several rows describe differently, since they were asked for."""
        self._open = {name.casefold(): open_file for name, open_file in files.items()}
        self._opened: dict[str, BundleFile] = {}
        self._earlier = [Bundle(older, profile=profile, max_columns=max_columns) for older in earlier]
        self._manifest: dict[str, str] = {}
        manifest = self.file("manifest.csv")
        if manifest is not None:
            manifest.require("propertyName", "value")
            rows = manifest.all_rows(["propertyName", "value"])
            for name, value in zip(rows["propertyName"].to_pylist(), rows["value"].to_pylist(), strict=True):
                if name and value:
                    self._manifest[name.strip().casefold()] = value.strip().casefold()

    @property
    def version(self) -> str:
        """The version the manifest names; without one, what the files look like."""
        named = re.fullmatch(r"[0-9]+(\.[0-9]+){1,2}", self._manifest.get("oneroster.version", ""))
        return named[0] if named else "1.2" if "roles.csv" in self._open else "1.1"

    def mode(self, name: str) -> str:
        """What the manifest says the file is: BULK, DELTA or `absent`; empty when it does not say."""
        return self._manifest.get("file." + name.removesuffix(".csv").casefold(), "")

    def file(self, name: str) -> BundleFile | None:
        """The file of this name; None when the bundle lacks it."""
        key = name.casefold()
        if key not in self._opened and key in self._open:
            self._opened[key] = BundleFile(name, self._open[key], self._profile, self._max_columns)
        return self._opened.get(key)

    def needed(self, name: str, *columns: str) -> BundleFile:
        """The file of this name with these columns; RefusedFile `missing_file` or `missing_column`."""
        file = self.file(name)
        if file is None:
            raise RefusedFile("missing_file", f"{name} is missing")
        file.require(*columns)
        return file

    def has(self, name: str, *columns: str, needed: bool = False) -> bool:
        """Whether `listed` would find the file, here or in an earlier bundle; RefusedFile when a column is missing.

        `needed`: a bundle without the file is refused, unless what refers to it is a delta, which may leave it out.
        """
        files = [file for bundle in (*self._earlier, self) if (file := bundle.file(name)) is not None]
        for file in files:
            file.require(*columns)
        if not files and needed:
            raise RefusedFile("missing_file", f"{name} is missing")
        return bool(files)

    def listed(
        self, name: str, columns: Sequence[str], *, before: bool = False, any_of: Sequence[str] = ()
    ) -> pa.Table:
        """What is on the list of this name now, by `sourcedId`: columns `sourcedId` and `columns`, no rows without one.

        Rows that cannot be read name nothing and are passed over; what refers to them is then not found. `before`: what
        was on it before this bundle. Several rows for one object are one if they say the same (`_agreed`).
        """
        names = [SOURCED_ID, *columns]
        pieces: list[pa.Table] = []
        for bundle in self._earlier if before else (*self._earlier, self):
            file = bundle.file(name)
            if file is None:
                continue
            if bundle.mode(name) != DELTA:
                pieces = []
            rows = file.all_rows(list(dict.fromkeys([*names, STATUS])))
            pieces.append(rows.filter(pc.and_(rows[PROBLEM].is_null(), rows[SOURCED_ID].is_valid())))
        if not pieces:
            return pa.table({column: pa.array([], pa.string()) for column in names})
        rows = pa.concat_tables(pieces)
        if len(pieces) > 1:
            number = np.repeat(np.arange(len(pieces)), [len(piece) for piece in pieces])
            newest = pd.Series(number).groupby(rows[SOURCED_ID].to_pandas().to_numpy()).transform("max").to_numpy()
            rows = rows.filter(pa.array(number == newest))
        return self._agreed(name, rows.filter(pc.invert(to_be_deleted(rows[STATUS]))).select(names), any_of)

    def _agreed(self, name: str, rows: pa.Table, any_of: Sequence[str]) -> pa.Table:
        """One row for each object: equal rows are one, and what only one of several says counts.

        An object of which they say different things is not on the list, and counted in `contradictions`. With
        `any_of`, columns of answers in which a yes of one row counts, it is, and only what they agree on is known.
        """
        several = rows[SOURCED_ID].to_pandas().duplicated(keep=False).to_numpy()
        if not several.any():
            return rows
        frame = rows.filter(pa.array(several)).to_pandas().astype(object)
        for column in any_of:
            answers = [answer(text) if isinstance(text, str) else None for text in frame[column]]
            frame[column] = pd.Series(
                [
                    text if understood is None else (YES if understood else NO)[0]
                    for text, understood in zip(frame[column], answers, strict=True)
                ],
                frame.index,
                dtype=object,
            )
            yes = frame[column].eq(YES[0]).groupby(frame[SOURCED_ID]).transform("any")
            frame.loc[yes, column] = YES[0]
        groups = frame.groupby(SOURCED_ID, sort=False)
        merged = groups.first()
        contradicting = groups.nunique() > 1
        doubtful = contradicting.any(axis=1)
        merged = merged.mask(contradicting) if any_of else merged[~doubtful]
        merged = merged.reset_index()[frame.columns]
        if count := int(doubtful.sum()):
            listed = name.removesuffix(".csv")
            self.contradictions[listed] = max(self.contradictions.get(listed, 0), count)
        one = pa.Table.from_pandas(merged, schema=rows.schema, preserve_index=False)
        return pa.concat_tables([rows.filter(pa.array(~several)), one])


def to_be_deleted(status: pa.ChunkedArray) -> pa.ChunkedArray:
    """Which rows say that their object no longer exists."""
    return pc.fill_null(pc.equal(folded(status), TO_BE_DELETED), False)


def folded(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Codes without blanks around them, in lower case."""
    return pc.utf8_lower(pc.utf8_trim_whitespace(texts))


def taken(values: pa.Array | pa.ChunkedArray, places: np.ndarray) -> pa.Array | pa.ChunkedArray:
    """The values at the places; null for place -1."""
    return values.take(pa.array(places, mask=places < 0))


class Places:
    """Where each key of a list stands, looked up many times: the hash table is built once. Of equal keys the first."""

    def __init__(self, keys: pa.ChunkedArray) -> None:
        first = keys.to_pandas().drop_duplicates()
        first = first[first.notna()]
        self._index = pd.Index(first.to_numpy(dtype=object))
        self._rows = first.index.to_numpy(dtype=np.int64)

    def of(self, values: pa.ChunkedArray) -> np.ndarray:
        """The row of each value; -1 where it is empty or not on the list."""
        if not len(values) or not len(self._index):
            return np.full(len(values), -1, dtype=np.int64)
        encoded = pc.dictionary_encode(values).unify_dictionaries().combine_chunks()
        if isinstance(encoded, pa.ChunkedArray):
            encoded = encoded.chunk(0)
        places = self._index.get_indexer(encoded.dictionary.to_numpy(zero_copy_only=False))
        # One place more than there are texts: an empty field (-1) looks there.
        rows = np.append(np.where(places >= 0, self._rows[places], -1), -1)
        return rows[pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)]
