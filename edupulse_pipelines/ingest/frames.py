"""A delivery's rows in pieces that are cheap to judge and to write: distinct values and, for each row, which it has.

A week of attendance has millions of rows and a few thousand distinct values: everything that looks at a value looks at
it once. Also the identity of each row within its delivery and across deliveries (`fingerprints`, `Identities`).
Nothing is judged here.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from edupulse_pipelines.ingest.earlier_records import Earlier
from edupulse_pipelines.schema.answers import answer
from edupulse_pipelines.schema.delivery import DELETED, DELETED_VALUES, DELIVERED, SOURCE_RECORD, STUDENT_NUMBER
from edupulse_pipelines.schema.expectations import TYPE_PATTERNS, numeric

Integers = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]
Hashes = npt.NDArray[np.uint64]


@dataclass
class Coded:
    """One column of a piece: the distinct texts, and for each row the position of its own (-1: the empty field)."""

    texts: pa.Array
    codes: Codes

    @classmethod
    def of(cls, column: pa.ChunkedArray | pa.Array) -> Coded:
        """The column taken apart."""
        if isinstance(column, pa.ChunkedArray):
            column = column.combine_chunks()
        if isinstance(column, pa.ChunkedArray):  # more than one chunk would fit in no array
            column = pa.concat_arrays(column.chunks)
        if not pa.types.is_dictionary(column.type):
            column = column.dictionary_encode()
        codes = column.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32, copy=False)
        return cls(column.dictionary.cast(pa.string()), codes)

    @classmethod
    def empty(cls, count: int) -> Coded:
        """A column that the file does not have."""
        return cls(pa.array([], pa.string()), np.full(count, -1, dtype=np.int32))

    def where_value(self, per_value: Mask) -> Mask:
        """For each row whether `per_value` holds for its value; False for the empty field."""
        # The place after the last value stands for the empty field: code -1 picks it.
        return np.append(per_value, False)[self.codes]

    def take(self, per_value: pa.Array) -> pa.Array:
        """`per_value` for each row; null for the empty field."""
        return per_value.take(pa.array(self.codes, pa.int32(), mask=self.codes < 0))


@dataclass
class Piece:
    """Some consecutive rows of one table's delivery.

    start: position of the first row in the delivery; file: for each row the number of its file in the delivery;
    line_numbers: its line there; readable: False for a row that does not fit its header (`problems`, by row of the
    piece); columns: those of the contract that a file of the piece has; present: per file number the columns it has.
    """

    table: str
    start: int
    file: npt.NDArray[np.int32]
    line_numbers: Integers
    problems: dict[int, str]
    columns: dict[str, Coded]
    present: dict[int, frozenset[str]]
    given_reasons: dict[int, list[str]] = field(default_factory=dict)
    """Reasons (by row of the piece) found while the tenant's profile was applied."""
    delivered_on: str = ""
    versions: npt.NDArray[np.int32] = field(default_factory=lambda: np.empty(0, dtype=np.int32))
    """Number of different rows that the delivery holds for the row's key."""
    repeat: Mask = field(default_factory=lambda: np.empty(0, dtype=np.bool_))
    """Whether an earlier row of the delivery already says exactly this about the same key."""
    as_came: dict[str, Coded] = field(default_factory=dict)
    """The columns with blanks around some values, as they came; `columns` has them trimmed."""
    earlier: Earlier | None = None
    """Ids and moments of creation, of rows that were records of version 1.0."""
    silent: Mask | None = None
    """Whether a row says nothing of its own, because the delivery names its child under another number as well."""
    occurrence: dict[int, int] = field(default_factory=dict)
    """For rows without a key, by row of the piece: how many earlier rows have this content, where there are any."""

    def __len__(self) -> int:
        return len(self.line_numbers)

    @property
    def nbytes(self) -> int:
        """Bytes that the piece takes."""
        columns = sum(column.texts.nbytes + column.codes.nbytes for column in self.columns.values())
        return int(self.file.nbytes + self.line_numbers.nbytes + columns)

    @property
    def readable(self) -> Mask:
        """Whether each row fits its header."""
        readable = np.ones(len(self), dtype=np.bool_)
        if self.problems:
            readable[list(self.problems)] = False
        return readable

    def column(self, name: str) -> Coded:
        """The column, empty where no file has it."""
        return self.columns.get(name) or Coded.empty(len(self))

    @property
    def deleted(self) -> Mask:
        """Whether each row takes its record back."""
        if DELETED not in self.columns:
            return np.zeros(len(self), dtype=np.bool_)
        flags = self.columns[DELETED]
        return flags.where_value(pc.is_in(flags.texts, pa.array(DELETED_VALUES)).to_numpy(zero_copy_only=False))

    def names_its_record(self) -> Mask:
        """Whether each row says which record it is."""
        contract = DELIVERED[self.table]
        named = self.readable
        for name in contract.naming_columns:
            if contract.must_name(name):
                named &= self.column(name).codes >= 0
        return named


def as_numbers(texts: pa.Array, type_: str) -> npt.NDArray[np.float64]:
    """The numbers that texts are written as; NaN where one is not written as a number (`NaN`, `1,5`, `inf`)."""
    written = pc.match_substring_regex(texts, TYPE_PATTERNS[type_].replace(r"\Z", r"\z")).fill_null(False)
    # Arrow reads no leading plus and no bare point, so the few odd spellings go through Python.
    return np.array(
        [float(text) if fits else np.nan for text, fits in zip(texts.to_pylist(), written.to_pylist(), strict=True)],
        dtype=np.float64,
    )


def canonical_texts(texts: pa.Array, table: str, name: str) -> list[str]:
    """Distinct values in one spelling: `07` and `7` are the same number, `Yes` and `1` the same answer."""
    column = next(column for column in DELIVERED[table].columns if column.name == name)
    plain: list[str] = texts.to_pylist()
    if not numeric(column):
        if name == DELETED:
            return ["true" if text in DELETED_VALUES else text for text in plain]
        if column.type == "boolean":
            return [{True: "true", False: "false", None: text}[answer(text)] for text in plain]
        return plain
    numbers = as_numbers(texts, column.type)
    return [text if np.isnan(number) else f"{number:.15g}" for text, number in zip(plain, numbers, strict=True)]


def _hashes(texts: Iterable[str]) -> Hashes:
    return pd.util.hash_array(np.array(list(texts), dtype=object)).astype(np.uint64)


def _mixed(into: Hashes, column: Hashes) -> Hashes:
    """The hashes of rows with those of one more of their columns mixed in.

    The order in which columns are mixed in counts, and one whose hash is 0 changes the result too. The multiplier is
    that of the generator splitmix64.
    """
    mixed: Hashes = (into ^ column) * np.uint64(0xBF58476D1CE4E5B9)
    return mixed ^ (mixed >> np.uint64(29))


def fingerprints(piece: Piece) -> npt.NDArray[Any]:
    """Per row: `keyed` (it says which record it is), `usable`, and `key` and `content` as 64-bit hashes.

    Rows that could not be read have neither. Equal hashes of different keys would quarantine a row too many, and of
    different contents of one key take a conflict for a repeat: with 64 bits, less than once in a billion deliveries.
    A row without a key of its own has its content, `_deleted` aside, for a key; its content is what identifies it.
    """
    contract = DELIVERED[piece.table]
    count = len(piece)
    prints = np.zeros(count, dtype=[("key", "u8"), ("content", "u8"), ("keyed", "?"), ("usable", "?")])
    prints["usable"] = piece.readable
    prints["keyed"] = piece.names_its_record()
    key = np.full(count, 1, dtype=np.uint64)
    content = np.full(count, 2, dtype=np.uint64)
    unkeyed = np.full(count, 3, dtype=np.uint64)
    for position, (name, declared) in enumerate(zip(contract.column_names, contract.columns, strict=True)):
        if name not in piece.columns:
            continue
        column = piece.columns[name]
        # The column's place in the contract is part of the hash: an absent column and an empty field are the same.
        per_value = _hashes(f"{position}\x1f{text}" for text in canonical_texts(column.texts, piece.table, name))
        there = column.codes >= 0
        hashes = np.append(per_value, np.uint64(0))[column.codes]
        if name in contract.naming_columns:
            key = np.where(there, _mixed(key, hashes), key)
        content = np.where(there & (declared.identifies | prints["keyed"]), _mixed(content, hashes), content)
        if name != DELETED and declared.identifies:
            unkeyed = np.where(there, _mixed(unkeyed, hashes), unkeyed)
    prints["key"] = np.where(prints["keyed"], key, unkeyed)
    prints["content"] = content
    return prints


class Identities:
    """What the whole of a delivery says about each of its rows, in file and line order.

    Fed with the fingerprints of one piece after the other (`add`), then asked for each piece (`attach`). Above
    `in_memory` rows the fingerprints wait on disk, in as many parts as are needed to look at one at a time: what is
    kept in memory is only what repeats (8 bytes a row; some 100 where rows have no id of their own).
    """

    def __init__(self, table: str, *, in_memory: int = 4_000_000) -> None:
        self._table = table
        self._in_memory = in_memory
        self._waiting: list[npt.NDArray[Any]] = []
        self._count = 0
        self._parts: list[IO[bytes]] = []
        self._repeat = np.empty(0, dtype=np.int64)
        self._conflicts = np.empty(0, dtype=np.int64)
        self._versions = np.empty(0, dtype=np.int32)
        self._occurrence: dict[int, int] = {}

    _PARTS = 64
    _STORED = np.dtype([("key", "u8"), ("content", "u8"), ("position", "i8"), ("keyed", "?")])

    def add(self, rows: npt.NDArray[Any]) -> None:
        """The fingerprints of the next piece."""
        stored = np.empty(int(rows["usable"].sum()), dtype=self._STORED)
        usable = np.flatnonzero(rows["usable"])
        for name in ("key", "content", "keyed"):
            stored[name] = rows[name][usable]
        stored["position"] = usable + self._count
        self._count += len(rows)
        self._waiting.append(stored)
        if self._parts or sum(map(len, self._waiting)) > self._in_memory:
            self._spill()

    def _spill(self) -> None:
        if not self._parts:
            # Closed in `finish`; they have no names, so that nothing stays behind a process that is killed.
            self._parts = [tempfile.TemporaryFile(prefix="edupulse-") for _ in range(self._PARTS)]  # noqa: SIM115
        rows = np.concatenate(self._waiting)
        self._waiting = []
        part = (rows["key"] >> np.uint64(58)).astype(np.int64)
        order = np.argsort(part, kind="stable")
        bounds = np.searchsorted(part[order], np.arange(self._PARTS + 1))
        for number, file in enumerate(self._parts):
            file.write(rows[order[bounds[number] : bounds[number + 1]]].tobytes())

    def finish(self) -> None:
        """Work out repeats and conflicts, once every piece has been added."""
        findings: list[tuple[Integers, Integers, npt.NDArray[np.int32]]] = []
        if self._parts:
            for file in self._parts:
                file.seek(0)
                findings.append(self._look(np.frombuffer(file.read(), dtype=self._STORED)))
                file.close()
            self._parts = []
        elif self._waiting:
            findings.append(self._look(np.concatenate(self._waiting)))
        self._waiting = []
        if not findings:
            return
        self._repeat = np.sort(np.concatenate([repeat for repeat, _, _ in findings]))
        conflicts = np.concatenate([positions for _, positions, _ in findings])
        order = np.argsort(conflicts)
        self._conflicts = conflicts[order]
        self._versions = np.concatenate([versions for _, _, versions in findings])[order]

    def _look(self, rows: npt.NDArray[Any]) -> tuple[Integers, Integers, npt.NDArray[np.int32]]:
        """Positions that repeat an earlier row; positions in conflict, with the number of versions of their key."""
        ascending = np.sort(rows["key"])
        several = ascending[1:][ascending[1:] == ascending[:-1]]
        if not len(several):  # nearly always, and a sort of numbers is all that it costs
            nothing = np.empty(0, dtype=np.int64)
            return nothing, nothing, np.empty(0, dtype=np.int32)
        rows = rows[np.isin(rows["key"], several)]
        order = np.lexsort((rows["position"], rows["content"], rows["key"]))
        key, content, keyed = rows["key"][order], rows["content"][order], rows["keyed"][order]
        position = rows["position"][order]
        new_key = np.r_[True, key[1:] != key[:-1]]
        new_content = new_key | np.r_[True, content[1:] != content[:-1]]
        repeat = position[~new_content & keyed]
        group = np.cumsum(new_key) - 1
        versions = np.bincount(group, weights=new_content).astype(np.int32)[group]
        unkeyed = ~keyed & ~new_content
        if unkeyed.any():
            first = np.maximum.accumulate(np.where(new_content, np.arange(len(rows)), 0))
            self._occurrence.update(
                zip(position[unkeyed].tolist(), (np.arange(len(rows)) - first)[unkeyed].tolist(), strict=True)
            )
        conflict = versions > 1
        return repeat, position[conflict], versions[conflict]

    def attach(self, piece: Piece) -> Piece:
        """The piece with `versions`, `repeat` and `occurrence`."""
        start, end = piece.start, piece.start + len(piece)
        piece.versions = np.ones(len(piece), dtype=np.int32)
        low, high = np.searchsorted(self._conflicts, (start, end))
        piece.versions[self._conflicts[low:high] - start] = self._versions[low:high]
        piece.repeat = np.zeros(len(piece), dtype=np.bool_)
        low, high = np.searchsorted(self._repeat, (start, end))
        piece.repeat[self._repeat[low:high] - start] = True
        if self._occurrence:
            piece.occurrence = {
                row: self._occurrence[start + row] for row in range(len(piece)) if start + row in self._occurrence
            }
        return piece


_KEY_LENGTH = 110
"""So long a stored record key may be."""


def student_record_key(source: str, number: str | None) -> str:
    """The key of what one source record says of one student.

    Readable where that can be told apart and stored; else a hash of both.
    """
    key = f"id:{source}:{number}"
    if ":" not in (number or "") and len(key) <= _KEY_LENGTH:
        return key
    return "id#" + hashlib.blake2b(f"{len(source)}:{source}:{number}".encode(), digest_size=16).hexdigest()


def record_keys(piece: Piece, rows: Integers) -> pa.Array:
    """The key by which each of these rows' records is stored: the student's number, or `id:…` or `hash:…#n`.

    For attendance, whose key is made of columns, there is none.
    """
    contract = DELIVERED[piece.table]
    if contract.natural_key:
        return (
            piece.column(contract.natural_key[0]).take(piece.column(contract.natural_key[0]).texts).take(pa.array(rows))
        )
    identifier = piece.column(SOURCE_RECORD)
    given = pc.binary_join_element_wise(pa.scalar("id"), identifier.texts, ":")
    keys = identifier.take(given).take(pa.array(rows))
    if contract.record.one_per_student:
        numbers = piece.column(STUDENT_NUMBER)
        named = numbers.take(numbers.texts).take(pa.array(rows)).to_pylist()
        sources = identifier.take(identifier.texts).take(pa.array(rows)).to_pylist()
        pairs = zip(sources, named, strict=True)
        keys = pa.array([source and student_record_key(source, number) for source, number in pairs], pa.string())
    without = np.flatnonzero(identifier.codes[rows] < 0)
    if not len(without):
        return keys
    contents = _content_texts(piece, rows[without])
    texts = keys.to_pylist()
    for place, row, text in zip(without.tolist(), rows[without].tolist(), contents, strict=True):
        digest = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
        texts[place] = f"hash:{digest}#{piece.occurrence.get(row, 0)}"
    return pa.array(texts, pa.string())


def former_record_keys(piece: Piece, rows: Integers) -> pa.Array | None:
    """The keys under which records were stored when blanks around values still counted; null where that is the same.

    None when no value of the piece came with any, and for tables whose records are named by columns of their own.
    """
    if not piece.as_came or DELIVERED[piece.table].natural_key:
        return None
    as_came = record_keys(replace(piece, columns=piece.columns | piece.as_came), rows)
    return pc.if_else(pc.equal(record_keys(piece, rows), as_came), pa.scalar(None, pa.string()), as_came)


def _content_texts(piece: Piece, rows: Integers) -> list[str]:
    """All that identifies each row by the contract, but `_deleted`, as one text; absent and empty are the same."""
    parts = []
    for name in (column.name for column in DELIVERED[piece.table].columns if column.identifies):
        if name in piece.columns and name != DELETED:
            column = piece.columns[name]
            spelled = [f"{name}\x1f{text}\x1e" for text in canonical_texts(column.texts, piece.table, name)]
            spelled.append("")
            parts.append([spelled[code] for code in column.codes[rows].tolist()])
    return ["".join(row) for row in zip(*parts, strict=True)] if parts else [""] * len(rows)


def distinct_values(pieces: Iterable[Piece], table: str) -> dict[str, tuple[list[str], bool]]:
    """Per column of the contract: the distinct texts over all pieces (readable rows), and whether any field is empty.

    Numbers are made of the texts in `validation`.
    """
    pieces = list(pieces)
    values: dict[str, tuple[list[str], bool]] = {}
    for column in DELIVERED[table].columns:
        texts: dict[str, None] = {}
        empty = False
        for piece in pieces:
            coded = piece.columns.get(column.name)
            if coded is None:
                empty = True
                continue
            texts.update(dict.fromkeys(coded.texts.to_pylist()))
            empty = empty or bool((coded.codes < 0).any())
        values[column.name] = (list(texts), empty)
    return values
