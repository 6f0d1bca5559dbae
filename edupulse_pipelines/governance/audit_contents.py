"""What changes have written into the tables, beside what is there of it: counts and hashes of rows and of images.

`on_record` reads what was done, in the order of the chain; `compare_contents` compares. Rows of change 0, from before
the record began, and those whose change has been retired since (`audit_years`) are counted together and not hashed.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.schema.row_contents import contents_hash, from_image, row_bytes
from edupulse_pipelines.schema.tables import STATEMENTS_OF_A_CHANGE, TABLES
from edupulse_pipelines.storage import changes
from edupulse_pipelines.storage.bulk import hash_of_copy

_HASHED_BY_SERVER = 4_000_000
"""Rows of one statement up to which the server hashes them; it holds their bytes in one value of at most 1 GB."""
_WRITES = {"before", "insert", "update", "write"}

Key = tuple[str, int]
"""A district and a `change_id`."""


@dataclass(frozen=True)
class Stored:
    """What is there of a change in a table: rows, of these erased ones, and the hash of those that are not."""

    rows: int
    erased: int
    content: str | None


@dataclass(frozen=True)
class Comparison:
    """What a change has written into a table, beside what is there of it.

    verdict: `counted` where the hash cannot be compared, because some of the rows have been replaced without an image,
    or taken out with their month; `unproven` where some have been erased, and nothing accounts for the others. rows:
    how many are wrong. columns: that were hashed.
    """

    table: str
    key: Key
    stored: Stored
    verdict: str
    rows: int
    columns: int | None = None


@dataclass(frozen=True)
class Beginning:
    """Where the record begins: link `number` and all before it have been retired, with their changes.

    link: that link; None while nothing has been retired. through: the highest number of a retired change. known: the
    numbers of the changes that are on record.
    """

    number: int
    link: str | None
    through: int
    known: frozenset[int]

    def is_before(self, change_id: int) -> bool:
        """Whether it is of change 0, or of a change that has been retired."""
        number = change_id // STATEMENTS_OF_A_CHANGE
        return number == 0 or (number <= self.through and number not in self.known)


@dataclass(frozen=True)
class OnRecord:
    """What was done. entries: in the order of the chain, those of change 0 first."""

    entries: list[Any]
    beginning: Beginning

    def of_change(self) -> dict[int, list[Any]]:
        """The entries by the number of their change."""
        found: dict[int, list[Any]] = defaultdict(list)
        for entry in self.entries:
            found[entry.change_id // STATEMENTS_OF_A_CHANGE].append(entry)
        return found

    @cached_property
    def emptied(self) -> Counter[tuple[str, str, int]]:
        """By district, table and what replaced them, how many images have been emptied on record."""
        found: Counter[tuple[str, str, int]] = Counter()
        for entry in self.of_table(changes.images.name):
            for key, rows in json.loads(entry.replaced or "{}").items():
                table, _, change_id = key.partition(":")
                found[entry.tenant_id, table, int(change_id)] += rows
        return found

    def of_table(self, table: str) -> list[Any]:
        """The entries of a table."""
        return [entry for entry in self.entries if entry.table_name == table]


def on_record(connection: Connection) -> OnRecord:
    """Read what was done."""
    table = changes.changes.c
    place: dict[int, int] = {
        row.id: -1 if row.link_number is None else row.link_number
        for row in connection.execute(sa.select(table.id, table.link_number))
    }
    entries = sorted(
        connection.execute(changes.read_entries()).all(),
        key=lambda entry: (place.get(entry.change_id // STATEMENTS_OF_A_CHANGE, 0), entry.change_id),
    )
    retired = [entry for entry in entries if entry.table_name == changes.changes.name]
    facts = json.loads(retired[-1].replaced) if retired else {"link_number": 0, "through_change": 0}
    link = retired[-1].content if retired else None
    beginning = Beginning(facts["link_number"], link, facts["through_change"], frozenset(place))
    return OnRecord(entries, beginning)


def compare_contents(
    connection: Connection,
    table: str,
    record: OnRecord,
    wanted: set[int] | None = None,
    tenant: str | None = None,
) -> Iterator[Comparison]:
    """What each change has written into a table, beside what is there of it.

    wanted: numbers of the changes that are looked at; None for all. What is before the record has change 0; that, and
    what names no change on record, is looked at in any case. tenant: the district that is looked at; None for all.
    """
    entries, beginning = record.of_table(table), record.beginning
    expected: dict[Key, Any] = {}
    for entry in entries:
        if entry.operation in _WRITES:
            change_id = 0 if entry.operation == "before" else entry.change_id
            if _is_wanted(change_id, wanted, beginning) and tenant in (None, entry.tenant_id):
                expected[entry.tenant_id, change_id] = entry
    left, restated = _left(entries, beginning), _restated(entries)
    counts_only = connection.dialect.name == "sqlite" and TABLES[table].audit == "reference"
    found = (
        (key, stored)
        for key, stored in _stored(connection, table, expected, tenant)
        if _is_wanted(key[1], wanted, beginning)
    )
    for key, stored in _folded(found, beginning):
        entry = expected.pop(key, None)
        columns = None if entry is None else entry.columns
        verdict, rows = _verdict(stored, entry, left[key], restated.get(key), counts_only=counts_only)
        yield Comparison(table, key, stored, verdict, rows, columns)
    for key, entry in expected.items():
        if entry.rows - left[key] > 0 and not counts_only:
            yield Comparison(table, key, Stored(0, 0, None), "missing", entry.rows - left[key])


def _is_wanted(change_id: int, wanted: set[int] | None, beginning: Beginning) -> bool:
    number = change_id // STATEMENTS_OF_A_CHANGE
    return wanted is None or number in wanted or number not in beginning.known


def _verdict(stored: Stored, entry: Any, left: int, again: Any, *, counts_only: bool) -> tuple[str, int]:
    """The verdict on what one change has written, and how many rows are wrong.

    left: rows that have left without an image. again: the account of what an erasure has left. counts_only: nothing
    says how many have left.
    """
    if entry is None:  # or a month has come back that was there before the record, and nothing else was
        return ("counted", 0) if stored.rows == -left else ("not on record", stored.rows)
    missing = entry.rows - left - stored.rows
    whole = not missing and not left and not stored.erased
    there = stored.rows - stored.erased
    if missing > 0 and not counts_only:
        return "missing", missing
    if missing < 0:
        return "too many", -missing
    if not whole and again is not None and there > again.rows:
        return "too many", there - again.rows
    account = entry if whole else again if again is not None and again.rows == there else None
    if account is None and stored.erased and not left and there and entry.content is not None:
        return "unproven", there
    if account is None or account.content is None:
        return "counted", 0
    return ("as recorded", 0) if stored.content == account.content else ("changed", stored.rows)


def _folded(found: Iterator[tuple[Key, Stored]], beginning: Beginning) -> Iterator[tuple[Key, Stored]]:
    """The same with what is before the record put together, by district."""
    before: dict[str, Stored] = {}
    for (tenant, change_id), stored in found:
        if not beginning.is_before(change_id):
            yield (tenant, change_id), stored
            continue
        so_far = before.get(tenant, Stored(0, 0, None))
        before[tenant] = Stored(so_far.rows + stored.rows, so_far.erased + stored.erased, None)
    for tenant, stored in before.items():
        yield (tenant, 0), stored


def _restated(entries: list[Any]) -> dict[Key, Any]:
    """By what wrote them, the newest account of rows of which some have been erased."""
    restated: dict[Key, Any] = {}
    for entry in entries:
        if entry.operation == "restate":
            restated |= {(entry.tenant_id, int(change_id)): entry for change_id in json.loads(entry.replaced)}
    return restated


def _left(entries: list[Any], beginning: Beginning) -> Counter[Key]:
    """By what wrote them, rows that have left the table without an image: replaced, or gone with their month.

    Of what is before the record: since it was counted last.
    """
    left: Counter[Key] = Counter()
    for entry in entries:
        if entry.operation == "before":
            left.pop((entry.tenant_id, 0), None)
        elif entry.replaced is not None and entry.operation != "restate":
            sign = -1 if entry.operation == "attach" else 1
            for change_id, rows in json.loads(entry.replaced).items():
                key = (entry.tenant_id, 0 if beginning.is_before(int(change_id)) else int(change_id))
                left[key] += sign * rows
    return left


def _stored(
    connection: Connection, table: str, expected: dict[Key, Any], tenant: str | None
) -> Iterator[tuple[Key, Stored]]:
    """What is there of each change."""
    if connection.dialect.name == "sqlite":
        return _stored_on_sqlite(connection, table, expected, tenant)
    return _stored_on_postgresql(connection, table, expected, tenant)


def _stored_on_postgresql(
    connection: Connection, table: str, expected: dict[Key, Any], tenant: str | None
) -> Iterator[tuple[Key, Stored]]:
    audited = TABLES[table].audited_columns
    big = {key for key, entry in expected.items() if key[1] and entry.rows > _HASHED_BY_SERVER}
    # An entry from before a column was added is compared without it: columns are added behind the others.
    older = {key[1]: entry.columns for key, entry in expected.items() if entry.columns not in (None, len(audited))}
    for count in sorted({len(audited), *older.values()}):
        columns = audited[:count]
        numbers = [change_id for change_id, its in older.items() if its == count]
        which = {"numbers": numbers or list(older), "tenant": tenant}
        only = f"change_id {'= ANY' if numbers else '<> ALL'} (CAST(:numbers AS bigint[]))"
        small = "CASE WHEN change_id <> ALL (CAST(:big AS bigint[])) AND change_id <> 0 THEN sent END"
        hashed = f"CASE WHEN count(*) <= {_HASHED_BY_SERVER} THEN {contents_hash(small)} END"
        rows = connection.execute(
            sa.text(
                f"SELECT tenant_id, change_id, count(*), count(*) - count(sent), {hashed}"
                f" FROM ({_versions(table, columns)} OFFSET 0) versions WHERE {only} GROUP BY 1, 2"
            ),
            which | {"big": sorted({change_id for _, change_id in big})},
        ).all()
        for of_tenant, change_id, total, erased, content in rows:
            key = (of_tenant, change_id)
            if key in big:
                content = _streamed(connection, table, columns, key)  # noqa: PLW2901
            yield key, Stored(total, erased, content)


def _versions(table: str, columns: Sequence[Any]) -> str:
    """Every version of every row: its columns, district, what wrote it, and its bytes (NULL where it is erased)."""
    mine = "(CAST(:tenant AS text) IS NULL OR {} = :tenant)"
    stored = (
        f"SELECT r.tenant_id, r.change_id, {row_bytes(columns, 'r')} AS sent"
        f" FROM {table} r WHERE {mine.format('r.tenant_id')}"
    )
    if TABLES[table].audit != "whole":
        return stored
    values = ", ".join(f"{from_image(column, 'image', 'postgresql')} AS {column.name}" for column in columns)
    return f"""{stored} UNION ALL
        SELECT r.tenant_id_, r.written_by, CASE WHEN r.image IS NOT NULL THEN {row_bytes(columns, "r")} END
        FROM (SELECT tenant_id AS tenant_id_, written_by, image, {values}
              FROM audit_images WHERE table_name = '{table}' AND {mine.format("tenant_id")}) r"""


def _streamed(connection: Connection, table: str, columns: Sequence[Any], key: Key) -> str:
    """The hash of what a statement wrote, of the bytes that the server sends for it: any number of rows."""
    names = ", ".join(column.name for column in columns)
    tenant = sa.literal(key[0]).compile(dialect=connection.dialect, compile_kwargs={"literal_binds": True})
    queries = [f"SELECT {names} FROM {table} WHERE change_id = {key[1]} AND tenant_id = {tenant}"]
    if TABLES[table].audit == "whole":
        values = ", ".join(f"{from_image(column, 'image', 'postgresql')} AS {column.name}" for column in columns)
        queries.append(
            f"SELECT {values} FROM audit_images"
            f" WHERE table_name = '{table}' AND written_by = {key[1]} AND tenant_id = {tenant} AND image IS NOT NULL"
        )
    versions = " UNION ALL ".join(queries)
    return hash_of_copy(connection, f"SELECT {names} FROM ({versions}) r ORDER BY {row_bytes(columns, 'r')}")


def _stored_on_sqlite(
    connection: Connection, table: str, expected: dict[Key, Any], tenant: str | None
) -> Iterator[tuple[Key, Stored]]:
    columns = TABLES[table].audited_columns
    names = ", ".join(column.name for column in columns)
    query = f"SELECT tenant_id AS owner, change_id AS writer, 0, {names} FROM {table}"
    if TABLES[table].audit == "whole":
        values = ", ".join(from_image(column, "image", "sqlite") for column in columns)
        # What a change wrote and replaced itself is no part of what it left behind.
        query += (
            f" UNION ALL SELECT tenant_id, written_by, image IS NULL, {values} FROM audit_images"
            f" WHERE table_name = '{table}' AND (written_by <> replaced_by OR written_by = 0)"
        )
    rows = connection.exec_driver_sql(
        f"SELECT * FROM ({query}) WHERE ?1 IS NULL OR owner = ?1 ORDER BY owner, writer", (tenant,)
    )
    for key, versions in groupby(rows, key=lambda row: (row[0], row[1])):
        # An entry from before a column was added is compared without it.
        count = (expected[key].columns if key in expected else None) or len(columns)
        lines, erased = [], 0
        for _, _, is_erased, *row in versions:
            if is_erased:
                erased += 1
            else:
                lines.append(changes.row_line(row[:count]))
        yield key, Stored(len(lines) + erased, erased, changes.lines_hash(lines))
