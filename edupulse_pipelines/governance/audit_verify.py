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

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.errors import ConfigurationError, PermanentError
from edupulse_pipelines.governance.audit_contents import Beginning, Key, OnRecord, compare_contents, on_record
from edupulse_pipelines.schema.row_contents import from_image, row_bytes, row_key, student_of
from edupulse_pipelines.schema.tables import AUDITED, STATEMENTS_OF_A_CHANGE, TABLES
from edupulse_pipelines.storage import changes
from edupulse_pipelines.storage.work import Work

_WRONG = {
    "not on record": "rows of it that are not on record",
    "missing": "rows that it wrote are missing",
    "too many": "there are more rows than it wrote",
    "changed": "rows are not as it wrote them",
    "unproven": "some of its rows were erased, and nothing proves what is left: it was not as recorded then",
}
"""What is said of a verdict that is a finding."""
_ANCHOR = re.compile(r"^(\d+):([0-9a-f]{64})$")


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
        """Table, change, what is wrong and of how many; never a value."""
        where = [self.table] if self.table else []
        where += [f"change {self.change}"] if self.change is not None else []
        said = f"{self.said} ({self.rows:,})" if self.rows is not None else self.said
        return f"{', '.join(where)}: {said}" if where else said


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


def head(connection: Connection) -> Anchor | None:
    """The head of the chain; None while nothing is on record."""
    row = changes.newest_link(connection)
    return None if row is None else Anchor(row.link_number, row.link)


def verify(
    work: Work, *, since: Anchor | None = None, anchors: Iterable[Anchor] = (), tables: Sequence[str] | None = None
) -> Verification:
    """Recompute the links of the chain, and what the changes wrote into the tables, in one snapshot.

    since: a head that is trusted; links up to it, and what they wrote, are left out. anchors: heads noted before, which
    the chain has to hold. tables: whose contents are compared; the links are those of all. The role has to see the rows
    of every district: PermanentError for one that does not. ConfigurationError for a head that has been retired.
    """
    found = Verification()
    with work.reading(steady=True) as connection:
        _demand_sight(connection)
        found.head = head(connection)
        record = on_record(connection)
        for anchor in [*([since] if since else []), *anchors]:
            _verify_anchor(connection, found, anchor, record.beginning)
        wanted = _verify_links(connection, found, record, since)
        for table in tables or AUDITED:
            _verify_images(connection, found, table, record, wanted)
            _verify_contents(connection, found, table, record, wanted)
    return found


def _demand_sight(connection: Connection) -> None:
    """PermanentError for a role that does not see every row: to it nothing would look like everything in order."""
    if connection.dialect.name == "postgresql" and not connection.scalar(
        sa.text(
            "SELECT rolsuper OR rolbypassrls OR pg_has_role(relowner, 'USAGE') FROM pg_roles, pg_class"
            " WHERE rolname = current_user AND pg_class.oid = CAST('audit_changes' AS regclass)"
        )
    ):
        raise PermanentError(
            "The role does not see the rows of every district, so it cannot verify the record: "
            "name the keeper's database URL in EDUPULSE_KEEPER_URL for this command."
        )


# The chain


def _verify_links(
    connection: Connection, found: Verification, record: OnRecord, since: Anchor | None
) -> set[int] | None:
    """Recompute the links; the changes whose contents are to be compared, None for all of them."""
    table, written, beginning = changes.changes, record.of_change(), record.beginning
    unlinked = connection.scalars(sa.select(table.c.id).where(table.c.link.is_(None) | table.c.link_number.is_(None)))
    found.findings += [Finding("it has no link in the chain", change=number) for number in unlinked]
    for number in sorted(written.keys() - beginning.known - {0}):
        found.findings.append(
            Finding("there are entries of it and no change", change=number, rows=len(written[number]))
        )
    if since is not None:
        # Where it is not the one in the chain that is found already; what comes after is bound to the one in the chain.
        there = connection.scalar(sa.select(table.c.link).where(table.c.link_number == since.number))
        previous, place = there or since.link, since.number
    else:
        previous, place = beginning.link or changes.first_link(written.get(0, ())), beginning.number
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


def _verify_anchor(connection: Connection, found: Verification, anchor: Anchor, beginning: Beginning) -> None:
    if anchor.number < beginning.number:
        raise ConfigurationError(
            f"Link {anchor.number} has been retired: the record begins after link {beginning.number}; give a later one."
        )
    link = connection.scalar(sa.select(changes.changes.c.link).where(changes.changes.c.link_number == anchor.number))
    if anchor.number == beginning.number:
        link = beginning.link
    if link is None:
        found.findings.append(
            Finding(f"link {anchor.number}, which was noted, is not in the chain: its end was cut off")
        )
    elif link != anchor.link:
        found.findings.append(Finding(f"link {anchor.number} is another than was noted: the chain was made anew"))


# Images


def _verify_images(
    connection: Connection, found: Verification, table: str, record: OnRecord, wanted: set[int] | None
) -> None:
    """Compare the images of a table with their own hashes, and their hashes with the entries that bind them."""
    if TABLES[table].audit != "whole":
        return
    bound = {(entry.tenant_id, entry.change_id): entry for entry in record.of_table(table) if entry.images is not None}
    emptied, columns = record.emptied, {key: entry.columns for key, entry in bound.items()}
    for key, images in groupby(_images(connection, table, columns), key=lambda image: (image[0], image[1])):
        number = key[1] // STATEMENTS_OF_A_CHANGE
        if wanted is not None and number not in wanted:
            bound.pop(key, None)
            continue
        of_entry = list(images)
        found.images += len(of_entry)
        if number == 0:
            said = "rows were changed or removed by somebody else than the pipelines"
            found.findings.append(Finding(said, table, number, len(of_entry)))
            continue
        erased = sum(is_erased for *_, is_erased, _ in of_entry)
        found.erased += erased
        if erased > emptied[key[0], table, key[1]]:
            unknown = erased - emptied[key[0], table, key[1]]
            found.findings.append(Finding("images were emptied by no erasure on record", table, number, unknown))
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


def _images(
    connection: Connection, table: str, columns_of: Mapping[Key, int | None]
) -> Iterator[tuple[str, int, int, str | None, bool, bool]]:
    """Every image: district, `replaced_by`, `written_by`, hash, whether it is erased, whether it is as it was made.

    columns_of: by district and `replaced_by`, how many columns were hashed; None: all there are.
    """
    declared, dialect = TABLES[table].audited_columns, connection.dialect.name
    values = ", ".join(f"{from_image(column, 'image', dialect)} AS {column.name}" for column in declared)
    # The key and the student stand beside the image to find it by, and are not in its hash of their own.
    equal = "IS NOT DISTINCT FROM" if dialect == "postgresql" else "IS"
    same = f"i.row_key = {row_key(TABLES[table], 'r')} AND i.student_id {equal} {student_of(TABLES[table], 'r')}"
    if dialect == "postgresql":
        older = {key[1]: count for key, count in columns_of.items() if count is not None and count != len(declared)}
        hashed = row_bytes(declared, "r")
        if older:
            cases = ""
            for count in sorted(set(older.values())):
                numbers = ", ".join(str(change_id) for change_id, its in older.items() if its == count)
                cases += f" WHEN i.replaced_by IN ({numbers}) THEN {row_bytes(declared[:count], 'r')}"
            hashed = f"CASE{cases} ELSE {hashed} END"
        query = f"""SELECT i.tenant_id, i.replaced_by, i.written_by, i.hash, i.image IS NULL, i.image IS NULL OR ({same}
                AND i.hash = encode(sha256(decode(i.salt, 'hex') || {hashed}), 'hex'))
            FROM audit_images i CROSS JOIN LATERAL (SELECT {values}) r WHERE i.table_name = '{table}' ORDER BY 1, 2"""
        yield from connection.exec_driver_sql(query.replace("%", "%%"), execution_options={"yield_per": 5_000})
        return
    names = ", ".join(f"r.{column.name}" for column in declared)
    row = f"SELECT id AS id_, {values} FROM audit_images WHERE table_name = '{table}'"
    rows = connection.exec_driver_sql(
        f"SELECT i.tenant_id, i.replaced_by, i.written_by, i.hash, i.salt, i.image IS NULL, {same}, {names}"
        f" FROM audit_images i JOIN ({row}) r ON r.id_ = i.id ORDER BY 1, 2"
    )
    for tenant, replaced_by, written_by, hash_, salt, is_erased, is_same, *values_of_row in rows:
        count = columns_of.get((tenant, replaced_by)) or len(declared)
        fits = is_erased or (is_same and hash_ == changes.image_line(values_of_row[:count], salt))
        yield tenant, replaced_by, written_by, hash_, bool(is_erased), bool(fits)


# Contents


def _verify_contents(
    connection: Connection, found: Verification, table: str, record: OnRecord, wanted: set[int] | None
) -> None:
    """Compare what the changes wrote into a table with what is there of it, in the table and among the images."""
    for compared in compare_contents(connection, table, record, wanted):
        number = compared.key[1] // STATEMENTS_OF_A_CHANGE
        found.rows += compared.stored.rows
        if number == 0:
            found.before += compared.stored.rows
        elif compared.verdict == "counted":
            found.uncompared += compared.stored.rows - compared.stored.erased
        if compared.verdict in _WRONG:
            said = _WRONG[compared.verdict]
            if compared.verdict == "not on record" and number == 0:
                said = "rows that nothing on record has written"
            found.findings.append(Finding(said, table, number, compared.rows))
