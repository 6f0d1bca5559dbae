"""What OneRoster's students and grades share: rows of the main file on their way to records, and who is a student.

The mapping of each table is in `oneroster_students` and `oneroster_grades`, and is told as a whole in `oneroster`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from edupulse_pipelines.schema.answers import NO, YES
from edupulse_pipelines.schema.delivery import DELETED
from edupulse_pipelines.schema.source_formats import COLUMNS_WITHOUT_EFFECT, ONEROSTER
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.sources.dates import day_reader
from edupulse_pipelines.sources.decimals import with_point
from edupulse_pipelines.sources.names import snake_case
from edupulse_pipelines.sources.oneroster_csv import (
    BULK,
    DELTA,
    SOURCED_ID,
    STATUS,
    Bundle,
    folded,
    to_be_deleted,
)
from edupulse_pipelines.sources.records import FIELDS, LINE_NUMBER, PROBLEM, RefusedFile, archive_schema

STUDENT = "student"
"""The role of students."""
TRUE = "true"
NOTHING = pa.scalar(None, pa.string())


class BundleSource:
    """A table's records out of the bundle; the subclasses convert batches of rows of the main file.

    Beyond RecordSource: `snapshot`, whether a record that is not among the rows no longer exists; and `notes`, what was
    done to rows that are there, by kind.
    """

    table: ClassVar[str]
    main_file: ClassVar[str]
    """The file whose rows, and lines, are the records."""
    reads: ClassVar[tuple[str, ...]]
    """The columns of the main file that are used where it has them."""

    def __init__(self, bundle: Bundle, tenant: TenantSettings, delivered_on: dt.date | None) -> None:
        self._bundle = bundle
        self._profile = tenant.profile
        self._day = day_reader(tenant)
        self._today = None if delivered_on is None else delivered_on.isoformat()
        self._main = bundle.needed(self.main_file, SOURCED_ID)
        mode = bundle.mode(self._main.name)
        self._delta = mode == DELTA
        # Without a manifest only the rows can tell, by their status.
        self._takes_back = mode != BULK and self._main.has(STATUS)
        self.snapshot = mode == BULK
        self.header: list[str] = []
        self.source_format = ONEROSTER.named(f" {bundle.version}")
        self.unknown_columns: list[str] = []
        self.left_out: dict[str, int] = {}
        self.notes: dict[str, int] = {}
        # The format names its columns itself.
        self._note(COLUMNS_WITHOUT_EFFECT, len(tenant.profile.columns.get(self.table, {})))
        self.instructional_days: list[dt.date] = []

    def batches(self) -> Iterator[pa.Table]:
        """The rows in the order of the source, in tables of `archive_schema(header)`; to be iterated once."""
        self._prepare()
        for rows in self._main.rows([SOURCED_ID, STATUS, *self.reads], some=self.snapshot):
            records = self._converted(rows)
            if len(records):
                yield records
        for name, count in sorted(self._bundle.contradictions.items()):
            self._note(f"contradicting_{snake_case(name)}", count)

    def _note(self, kind: str, count: int) -> None:
        if count:
            self.notes[kind] = self.notes.get(kind, 0) + count

    def _days(self, texts: pa.ChunkedArray) -> pa.Array:
        """Dates in ISO form where they are understood."""
        return mapped(texts, self._day)

    def _with_points(self, texts: pa.ChunkedArray) -> pa.ChunkedArray:
        """Numbers with a decimal point."""
        return pa.chunked_array([mapped(texts, lambda text: with_point(text, self._profile))])

    def _answers(self, texts: pa.ChunkedArray, column: str) -> tuple[np.ndarray, np.ndarray]:
        """Which texts are a yes, and which are neither yes nor no; the latter are counted by column."""
        yes = among(folded(texts), pa.array(YES)).to_numpy(zero_copy_only=False)
        no = among(folded(texts), pa.array(NO)).to_numpy(zero_copy_only=False)
        unclear = texts.is_valid().to_numpy() & ~yes & ~no
        self._note(f"not_understood_{snake_case(column)}", int(unclear.sum()))
        return yes, unclear

    def _converted(self, rows: pa.Table) -> pa.Table:
        deleted = to_be_deleted(rows[STATUS])
        if not self._takes_back:
            # Of a bulk file such an object is simply not on the list.
            rows = self._without(rows, deleted, "to_be_deleted")
            deleted = pa.chunked_array([np.zeros(len(rows), dtype=bool)])
        rows, deleted = self._records(rows, deleted)
        if not len(rows):
            return archive_schema(self.header).empty_table()
        columns = self._columns(rows, deleted)
        if self._takes_back:
            columns[DELETED] = pc.if_else(deleted, TRUE, NOTHING)
        # A row that could not be read has no fields, only its problem.
        readable = rows[PROBLEM].is_null()
        return pa.Table.from_arrays(
            [
                *(rows[name] for name in (LINE_NUMBER, PROBLEM, FIELDS)),
                *(pc.if_else(readable, columns[name], NOTHING) for name in self.header),
            ],
            schema=archive_schema(self.header),
        )

    def _prepare(self) -> None:
        """Read what the main file refers to."""
        raise NotImplementedError

    def _records(self, rows: pa.Table, deleted: pa.ChunkedArray) -> tuple[pa.Table, pa.ChunkedArray]:
        """The rows that are records, and which of them take theirs back; the others are counted as left out."""
        raise NotImplementedError

    def _columns(self, rows: pa.Table, deleted: pa.ChunkedArray) -> dict[str, Any]:
        """The canonical columns of the rows."""
        raise NotImplementedError

    def _without(self, rows: pa.Table, mask: pa.ChunkedArray, reason: str) -> pa.Table:
        """The rows but for those of the mask, which are counted as left out."""
        if count := pc.sum(mask).as_py():
            self.left_out[reason] = self.left_out.get(reason, 0) + count
            return rows.filter(pc.invert(mask))
        return rows


class Roster:
    """Who is a student: by roles.csv (1.2), or by the role that users.csv gives (1.1)."""

    def __init__(self, bundle: Bundle, *, needed: bool) -> None:
        self._bundle = bundle
        self.by_roles = bundle.has("roles.csv", "userSourcedId", "role")
        bundle.has("users.csv", SOURCED_ID, needed=needed)
        users = bundle.file("users.csv")
        if users is not None and not self.by_roles and not users.has("role"):
            raise RefusedFile(
                "missing_file", "roles.csv is missing, and users.csv has no column role: who is a student is not said"
            )

    def roles(self) -> pa.Table:
        """The roles as a student: userSourcedId, beginDate, endDate, status. Of 1.1 the enrollments as one."""
        name = "roles.csv" if self.by_roles else "enrollments.csv"
        rows = self._bundle.listed(name, ["userSourcedId", "role", "beginDate", "endDate", STATUS])
        return rows.filter(equals(rows["role"], STUDENT))

    def users_with(self, roles: Sequence[str]) -> pa.ChunkedArray:
        """The `sourcedId` of the users who have one of these roles."""
        name, user = ("roles.csv", "userSourcedId") if self.by_roles else ("users.csv", SOURCED_ID)
        rows = self._bundle.listed(name, list(dict.fromkeys([SOURCED_ID, user, "role"]))[1:])
        return rows.filter(among(folded(rows["role"]), pa.array(roles)))[user]

    def students(self, users: pa.Table) -> pa.Table:
        """The users who are students, of a list with `role`."""
        if self.by_roles:
            return users.filter(among(users[SOURCED_ID], self.roles()["userSourcedId"]))
        return users.filter(equals(users["role"], STUDENT))


def mapped(texts: pa.Array | pa.ChunkedArray, rule: Callable[[str], str | None]) -> pa.Array:
    """A rule applied to each distinct text; null stays null."""
    encoded = pc.dictionary_encode(texts)
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.unify_dictionaries().combine_chunks()
        if isinstance(encoded, pa.ChunkedArray):
            encoded = encoded.chunk(0)
    return pa.array([rule(text) for text in encoded.dictionary.to_pylist()], pa.string()).take(encoded.indices)


def equals(texts: pa.Array | pa.ChunkedArray, code: str) -> pa.Array | pa.ChunkedArray:
    """Which texts are this code, whatever their case; False where there is none."""
    return pc.fill_null(pc.equal(folded(texts), code), False)


def among(values: pa.Array | pa.ChunkedArray, value_set: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Which values are among the set; False where there is none."""
    if isinstance(value_set, pa.ChunkedArray):
        value_set = value_set.combine_chunks()
    return pc.is_in(values, value_set=value_set, skip_nulls=True)
