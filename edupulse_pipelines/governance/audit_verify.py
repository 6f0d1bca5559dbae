"""Whether the record of changes is whole, and the tables say what it says: `verify` recomputes every link and content.

A link is bound to the one before, to its change and to the change's entries; an entry to the rows that were written
and to the hashes of those that were replaced. So what is found is: a change, an entry or an image that was edited,
removed or added; a row that was edited, removed or added by whoever went around the triggers. A chain that was made
anew as a whole, or cut at its end, is in order in itself: it is found by its head only, against one that was noted
before (`Anchor`).

Rows of change 0, from before the record began, are counted and not hashed. Of tables that are on record by reference
the content of a change can be compared until one of its rows is replaced; then its rows are counted. Nothing found
quotes a value. How rows are hashed is said in `schema.row_contents` and `storage.changes`.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.errors import ConfigurationError
from edupulse_pipelines.schema.row_contents import contents_hash, from_image, row_bytes, row_key, student_of
from edupulse_pipelines.schema.tables import AUDITED, STATEMENTS_OF_A_CHANGE, TABLES
from edupulse_pipelines.storage import changes
from edupulse_pipelines.storage.bulk import hash_of_copy
from edupulse_pipelines.storage.work import Work

_HASHED_BY_SERVER = 4_000_000
"""Rows of one statement up to which the server hashes them; it holds their bytes in one value of at most 1 GB."""
_WRITES = {"before", "insert", "update", "write"}
_WRONG = {
    "not on record": "rows of it that are not on record",
    "missing": "{} of the rows that it wrote are missing",
    "too many": "{} of the rows that it wrote are too many",
    "changed": "rows are not as it wrote them",
}
"""What is said of a verdict that is a finding."""
_ANCHOR = re.compile(r"^(\d+):([0-9a-f]{64})$")

Key = tuple[str, int]
"""A district and a `change_id`."""


@dataclass(frozen=True)
class Anchor:
    """A head of the chain as it was noted once: the number of the link and the link."""

    number: int
    link: str

    def __str__(self) -> str:
        return f"{self.number}:{self.link}"

    @classmethod
    def of(cls, text: str) -> Anchor:
        """The anchor as it is written; ConfigurationError for another text."""
        found = _ANCHOR.match(text.strip())
        if found is None:
            raise ConfigurationError(f"{text!r} is no anchor: a number, a colon and 64 hexadecimal digits.")
        return cls(int(found[1]), found[2])


@dataclass(frozen=True)
class Finding:
    """Something that is not as it was recorded. change: number of the change; rows: how many it is about."""

    said: str
    table: str | None = None
    change: int | None = None
    rows: int | None = None

    @property
    def in_words(self) -> str:
        """Table, change and what is wrong; never a value."""
        where = [self.table] if self.table else []
        where += [f"change {self.change}"] if self.change is not None else []
        return f"{', '.join(where)}: {self.said}" if where else self.said


@dataclass
class Verification:
    """What was looked at and what was found.

    head: of the chain now; None while nothing is on record. uncompared: rows whose change can only be counted, because
    some of what it wrote was erased, replaced in a table without images, or taken out with its month.
    """

    head: Anchor | None = None
    links: int = 0
    entries: int = 0
    rows: int = 0
    images: int = 0
    erased: int = 0
    uncompared: int = 0
    before: int = 0
    findings: list[Finding] = field(default_factory=list)


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
    erased without a new account, or taken out with their month. rows: how many are wrong. columns: that were hashed.
    """

    table: str
    key: Key
    stored: Stored
    verdict: str
    rows: int
    columns: int | None = None


def head(connection: Connection) -> Anchor | None:
    """The head of the chain; None while nothing is on record."""
    row = connection.execute(
        sa.select(changes.changes.c.link_number, changes.changes.c.link)
        .where(changes.changes.c.link_number.is_not(None))
        .order_by(changes.changes.c.link_number.desc())
        .limit(1)
    ).first()
    return None if row is None else Anchor(row.link_number, row.link)


def verify(
    work: Work, *, since: Anchor | None = None, anchors: Iterable[Anchor] = (), tables: Sequence[str] | None = None
) -> Verification:
    """Recompute the links of the chain, and what the changes wrote into the tables, in one snapshot.

    since: a head that is trusted; links up to it, and what they wrote, are left out. anchors: heads noted before, which
    the chain has to hold. tables: whose contents are compared; the links are those of all. The role has to see the rows
    of every district.
    """
    found = Verification()
    with work.reading(steady=True) as connection:
        found.head = head(connection)
        written: dict[int, list[Any]] = defaultdict(list)
        for entry in connection.execute(changes.read_entries()):
            written[entry.change_id // STATEMENTS_OF_A_CHANGE].append(entry)
        wanted = _verify_links(connection, found, written, since)
        for anchor in [*([since] if since else []), *anchors]:
            _verify_anchor(connection, found, anchor)
        for table in tables or AUDITED:
            of_table = [entry for change in written.values() for entry in change if entry.table_name == table]
            _verify_images(connection, found, table, of_table, wanted)
            _verify_contents(connection, found, table, of_table, wanted)
    return found


# The chain


def _verify_links(
    connection: Connection, found: Verification, written: dict[int, list[Any]], since: Anchor | None
) -> set[int] | None:
    """Recompute the links; the changes whose contents are to be compared, None for all of them."""
    table = changes.changes
    unlinked = connection.scalars(sa.select(table.c.id).where(table.c.link.is_(None) | table.c.link_number.is_(None)))
    found.findings += [Finding("it has no link in the chain", change=number) for number in unlinked]
    known = set(connection.scalars(sa.select(table.c.id)))
    for number in sorted(written.keys() - known - {0}):
        found.findings.append(
            Finding("there are entries of it and no change", change=number, rows=len(written[number]))
        )
    previous, place = (changes.first_link(written.get(0, ())), 0) if since is None else (since.link, since.number)
    of_changes = sa.select(table).where(table.c.link_number > place).order_by(table.c.link_number)
    wanted = set()
    for change in connection.execute(of_changes.execution_options(yield_per=5_000)):
        wanted.add(change.id)
        if change.link_number != place + 1:
            last = change.link_number - 1
            missing = f"link {last} of the chain is" if last == place + 1 else f"links {place + 1} to {last} are"
            found.findings.append(Finding(f"{missing} missing before it", change=change.id))
        elif changes.link_of(previous, change, written.get(change.id, ())) != change.link:
            found.findings.append(
                Finding(
                    "its link does not fit: the change, its entries or the link before were changed", change=change.id
                )
            )
        previous, place = change.link, change.link_number
        found.links += 1
        found.entries += len(written.get(change.id, ()))
    return wanted if since is not None else None


def _verify_anchor(connection: Connection, found: Verification, anchor: Anchor) -> None:
    link = connection.scalar(sa.select(changes.changes.c.link).where(changes.changes.c.link_number == anchor.number))
    if link is None:
        found.findings.append(
            Finding(f"link {anchor.number}, which was noted, is not in the chain: its end was cut off")
        )
    elif link != anchor.link:
        found.findings.append(Finding(f"link {anchor.number} is another than was noted: the chain was made anew"))


# Images


def _verify_images(
    connection: Connection, found: Verification, table: str, entries: list[Any], wanted: set[int] | None
) -> None:
    """Compare the images of a table with their own hashes, and their hashes with the entries that bind them."""
    if TABLES[table].audit != "whole":
        return
    bound = {(entry.tenant_id, entry.change_id): entry for entry in entries if entry.images is not None}
    for key, images in groupby(_images(connection, table), key=lambda image: (image[0], image[1])):
        number = key[1] // STATEMENTS_OF_A_CHANGE
        if wanted is not None and number not in wanted:
            bound.pop(key, None)
            continue
        of_entry = list(images)
        found.images += len(of_entry)
        erased = sum(is_erased for *_, is_erased, _ in of_entry)
        found.erased += erased
        edited = sum(not fits for *_, fits in of_entry)
        if edited:
            found.findings.append(Finding("images are not as they were recorded", table, number, edited))
        entry = bound.pop(key, None)
        if entry is None:
            found.findings.append(Finding("images that no entry of it binds", table, number, len(of_entry)))
        elif changes.images_hash((written_by, hash_) for _, _, written_by, hash_, _, _ in of_entry) != entry.images:
            found.findings.append(Finding("images were added, removed or changed", table, number, len(of_entry)))
    for _, change_id in bound:
        number = change_id // STATEMENTS_OF_A_CHANGE
        if wanted is None or number in wanted:
            found.findings.append(Finding("what it replaced is gone", table, number))


def _images(connection: Connection, table: str) -> Iterator[tuple[str, int, int, str | None, bool, bool]]:
    """Every image: district, `replaced_by`, `written_by`, hash, whether it is erased, whether it is as it was made."""
    columns, dialect = TABLES[table].audited_columns, connection.dialect.name
    values = ", ".join(f"{from_image(column, 'image', dialect)} AS {column.name}" for column in columns)
    # The key and the student stand beside the image to find it by, and are not in its hash of their own.
    equal = "IS NOT DISTINCT FROM" if dialect == "postgresql" else "IS"
    same = f"i.row_key = {row_key(TABLES[table], 'r')} AND i.student_id {equal} {student_of(TABLES[table], 'r')}"
    if dialect == "postgresql":
        query = f"""SELECT i.tenant_id, i.replaced_by, i.written_by, i.hash, i.image IS NULL, i.image IS NULL OR ({same}
                AND i.hash = encode(sha256(decode(i.salt, 'hex') || {row_bytes(columns, "r")}), 'hex'))
            FROM audit_images i CROSS JOIN LATERAL (SELECT {values}) r WHERE i.table_name = '{table}' ORDER BY 1, 2"""
        yield from connection.execution_options(yield_per=5_000).exec_driver_sql(query.replace("%", "%%"))
        return
    names = ", ".join(f"r.{column.name}" for column in columns)
    row = f"SELECT id AS id_, {values} FROM audit_images WHERE table_name = '{table}'"
    rows = connection.exec_driver_sql(
        f"SELECT i.tenant_id, i.replaced_by, i.written_by, i.hash, i.salt, i.image IS NULL, {same}, {names}"
        f" FROM audit_images i JOIN ({row}) r ON r.id_ = i.id ORDER BY 1, 2"
    )
    for tenant, replaced_by, written_by, hash_, salt, is_erased, is_same, *values_of_row in rows:
        fits = is_erased or (is_same and hash_ == changes.image_line(values_of_row, salt))
        yield tenant, replaced_by, written_by, hash_, bool(is_erased), bool(fits)


# Contents


def _verify_contents(
    connection: Connection, found: Verification, table: str, entries: list[Any], wanted: set[int] | None
) -> None:
    """Compare what the changes wrote into a table with what is there of it, in the table and among the images."""
    for compared in compare_contents(connection, table, entries, wanted):
        number = compared.key[1] // STATEMENTS_OF_A_CHANGE
        found.rows += compared.stored.rows
        if number == 0:
            found.before += compared.stored.rows
        elif compared.verdict == "counted":
            found.uncompared += compared.stored.rows - compared.stored.erased
        if compared.verdict in _WRONG:
            said = _WRONG[compared.verdict].format(f"{compared.rows:,}")
            if compared.verdict == "not on record" and number == 0:
                said = "rows that nothing on record has written"
            found.findings.append(Finding(said, table, number, compared.rows))


def compare_contents(
    connection: Connection, table: str, entries: list[Any], wanted: set[int] | None = None
) -> Iterator[Comparison]:
    """What each change has written into a table, beside what is there of it.

    entries: all of the table. wanted: numbers of the changes that are looked at; None for all.
    """
    expected = {
        (entry.tenant_id, entry.change_id): entry
        for entry in entries
        if entry.operation in _WRITES and (wanted is None or entry.change_id // STATEMENTS_OF_A_CHANGE in wanted)
    }
    left, restated = _left(entries), _restated(entries)
    counts_only = connection.dialect.name == "sqlite" and TABLES[table].audit == "reference"
    for key, stored in _stored(connection, table, expected, wanted):
        entry, again = expected.pop(key, None), restated.get(key)
        if entry is None:
            yield Comparison(table, key, stored, "not on record", stored.rows)
            continue
        missing = entry.rows - left[key] - stored.rows
        whole = not missing and not left[key] and not stored.erased
        there = stored.rows - stored.erased
        account = entry if whole else again if again is not None and again.rows == there else None
        if missing > 0 and not counts_only:
            yield Comparison(table, key, stored, "missing", missing)
        elif missing < 0:
            yield Comparison(table, key, stored, "too many", -missing)
        elif not whole and again is not None and there > again.rows:
            yield Comparison(table, key, stored, "too many", there - again.rows)
        elif account is None or account.content is None:
            yield Comparison(table, key, stored, "counted", 0, entry.columns)
        elif stored.content == account.content:
            yield Comparison(table, key, stored, "as recorded", 0, entry.columns)
        else:
            yield Comparison(table, key, stored, "changed", stored.rows)
    for key, entry in expected.items():
        if entry.rows - left[key] > 0 and not counts_only:
            yield Comparison(table, key, Stored(0, 0, None), "missing", entry.rows - left[key])


def _restated(entries: list[Any]) -> dict[Key, Any]:
    """By what wrote them, the newest account of rows of which some have been erased."""
    restated: dict[Key, Any] = {}
    for entry in sorted(entries, key=lambda entry: entry.change_id):
        if entry.operation == "restate":
            restated |= {(entry.tenant_id, int(change_id)): entry for change_id in json.loads(entry.replaced)}
    return restated


def _left(entries: list[Any]) -> Counter[Key]:
    """By what wrote them, rows that have left the table without an image: replaced, or gone with their month."""
    left: Counter[Key] = Counter()
    for entry in entries:
        if entry.replaced is not None and entry.operation != "restate":
            sign = -1 if entry.operation == "attach" else 1
            for change_id, rows in json.loads(entry.replaced).items():
                left[(entry.tenant_id, int(change_id))] += sign * rows
    return left


def _stored(
    connection: Connection, table: str, expected: dict[Key, Any], wanted: set[int] | None
) -> Iterator[tuple[Key, Stored]]:
    """What is there of each change."""
    if connection.dialect.name == "sqlite":
        stored = _stored_on_sqlite(connection, table)
    else:
        stored = _stored_on_postgresql(connection, table, expected)
    for key, one in stored:
        if wanted is None or key[1] // STATEMENTS_OF_A_CHANGE in wanted:
            yield key, one


def _stored_on_postgresql(connection: Connection, table: str, expected: dict[Key, Any]) -> Iterator[tuple[Key, Stored]]:
    audited = TABLES[table].audited_columns
    big = {key for key, entry in expected.items() if entry.rows > _HASHED_BY_SERVER}
    # An entry from before a column was added is compared without it: columns are added behind the others.
    older = {key[1]: entry.columns for key, entry in expected.items() if entry.columns not in (None, len(audited))}
    for count in sorted({len(audited), *older.values()}):
        columns = audited[:count]
        numbers = [change_id for change_id, its in older.items() if its == count]
        which = {"numbers": numbers or list(older)}
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
        for tenant, change_id, total, erased, content in rows:
            key = (tenant, change_id)
            if key in big:
                content = _streamed(connection, table, columns, key)  # noqa: PLW2901
            yield key, Stored(total, erased, content)


def _versions(table: str, columns: Sequence[Any]) -> str:
    """Every version of every row: district, what wrote it, and its bytes (NULL where it is erased)."""
    stored = f"SELECT r.tenant_id, r.change_id, {row_bytes(columns, 'r')} AS sent FROM {table} r"
    if TABLES[table].audit != "whole":
        return stored
    values = ", ".join(f"{from_image(column, 'image', 'postgresql')} AS {column.name}" for column in columns)
    return f"""{stored} UNION ALL
        SELECT r.tenant_id_, r.written_by, CASE WHEN r.image IS NOT NULL THEN {row_bytes(columns, "r")} END
        FROM (SELECT tenant_id AS tenant_id_, written_by, image, {values}
              FROM audit_images WHERE table_name = '{table}') r"""


def _streamed(connection: Connection, table: str, columns: Sequence[Any], key: Key) -> str:
    """The hash of what a statement wrote, of the bytes that the server sends for it: any number of rows."""
    names = ", ".join(column.name for column in columns)
    tenant = sa.literal(key[0]).compile(dialect=connection.dialect, compile_kwargs={"literal_binds": True})
    queries = [f"SELECT {names} FROM {table} WHERE change_id = {key[1]} AND tenant_id = {tenant}"]
    if TABLES[table].audit == "whole":
        values = ", ".join(from_image(column, "image", "postgresql") for column in columns)
        queries.append(
            f"SELECT {values} FROM audit_images"
            f" WHERE table_name = '{table}' AND written_by = {key[1]} AND tenant_id = {tenant} AND image IS NOT NULL"
        )
    return hash_of_copy(connection, f"{' UNION ALL '.join(queries)} ORDER BY {columns[0].name}")


def _stored_on_sqlite(connection: Connection, table: str) -> Iterator[tuple[Key, Stored]]:
    columns = TABLES[table].audited_columns
    names = ", ".join(column.name for column in columns)
    query = f"SELECT tenant_id, change_id, 0, {names} FROM {table}"
    if TABLES[table].audit == "whole":
        values = ", ".join(from_image(column, "image", "sqlite") for column in columns)
        # What a change wrote and replaced itself is no part of what it left behind.
        query += (
            f" UNION ALL SELECT tenant_id, written_by, image IS NULL, {values} FROM audit_images"
            f" WHERE table_name = '{table}' AND (written_by <> replaced_by OR written_by = 0)"
        )
    rows = connection.exec_driver_sql(f"SELECT * FROM ({query}) ORDER BY 1, 2")
    for key, versions in groupby(rows, key=lambda row: (row[0], row[1])):
        lines, erased = [], 0
        for _, _, is_erased, *row in versions:
            if is_erased:
                erased += 1
            else:
                lines.append(changes.row_line(row))
        yield key, Stored(len(lines) + erased, erased, changes.lines_hash(lines))
