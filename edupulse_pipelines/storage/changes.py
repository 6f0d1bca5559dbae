"""The change that a transaction makes on record: what the pipelines add to the work of the database's own triggers.

On PostgreSQL the triggers of `schema.objects.audit` do it all, but for months that are built apart: their loader
hashes what it sends (`SentRows`). On SQLite a `Work` opens a change when it begins to write (`open_change`) and closes
it at the end (`close_change`): its entries, the hashes of the rows it wrote and of those it replaced, and its link in
the chain. Who reads and checks the record is `governance`.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import Connection

from edupulse_pipelines.schema.row_contents import OPEN_CHANGE
from edupulse_pipelines.schema.sqlalchemy_tables import metadata
from edupulse_pipelines.schema.tables import AUDITED, STATEMENTS_OF_A_CHANGE, TABLES

FIELD, ENTRY = "\x1f", "\x1e"
"""What parts the fields of a link's text, and begins each of its entries."""
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)

changes = metadata.tables["audit_changes"]
entries = metadata.tables["audit_entries"]
images = metadata.tables["audit_images"]


# The chain, on both databases


def link_of(previous: str, change: Any, written: Iterable[Any]) -> str:
    """The link of a change: SHA-256 of the link before, of its row and of its entries (rows of the tables)."""
    text = FIELD.join(
        (
            previous,
            str(change.link_number),
            str(change.id),
            change.tenant_id,
            _moment(change.changed_at),
            change.actor,
            change.database_user,
            change.run_id or "",
            "" if change.transaction_id is None else str(change.transaction_id),
            _moment(change.linked_at),
        )
    )
    return _sha256(text + entries_text(written))


def first_link(written: Iterable[Any]) -> str:
    """What the first link is bound to: the entries of change 0, the rows that were there before the record began."""
    return _sha256(entries_text(written))


def newest_link(connection: Connection) -> Any:
    """`link_number` and `link` of the newest change that has one; None while none has."""
    linked = sa.select(changes.c.link_number, changes.c.link).where(changes.c.link_number.is_not(None))
    return connection.execute(linked.order_by(changes.c.link_number.desc()).limit(1)).first()


def entries_text(written: Iterable[Any]) -> str:
    """Entries as a link binds them; `replaced` is the database's text."""
    ordered = sorted(written, key=lambda row: (row.change_id, row.tenant_id, row.table_name, row.operation))
    return "".join(
        ENTRY
        + FIELD.join(
            "" if value is None else str(value)
            for value in (
                row.change_id,
                row.tenant_id,
                row.table_name,
                row.operation,
                row.rows,
                row.columns,
                row.content,
                row.images,
                row.replaced,
            )
        )
        for row in ordered
    )


def images_hash(replaced: Iterable[tuple[int, str | None]]) -> str:
    """The hash of images, each by its `written_by` and `hash`; its key is in the row, which `hash` is made of."""
    ordered = sorted((written_by, hash_ or "") for written_by, hash_ in replaced)
    return _sha256("\n".join(f"{written_by}:{hash_}" for written_by, hash_ in ordered))


def read_entries() -> sa.Select[Any]:
    """Every entry, with `replaced` as text."""
    return sa.select(
        *(column for column in entries.c if column.name != "replaced"),
        sa.cast(entries.c.replaced, sa.Text()).label("replaced"),
    )


def _moment(moment: dt.datetime) -> str:
    return str((moment - _EPOCH) // dt.timedelta(microseconds=1))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


# A month that is built apart, on PostgreSQL


@dataclass
class SentRows:
    """The rows that were sent to a table which is built apart: how many, and the hash of their bytes, as they come.

    The server orders rows by id; where a later piece has an earlier id, `content` is None and the server hashes itself.
    """

    table: str
    rows: int = 0
    _hash: Any = field(default_factory=hashlib.sha256)
    _last: bytes = b""
    _in_order: bool = True

    @property
    def content(self) -> str | None:
        """The hash of what was sent; None where it was not in order."""
        return self._hash.hexdigest() if self._in_order else None

    def add(self, rows: pa.Table) -> None:
        """Rows as `bulk.copy_binary` sends them, with ids of 16 bytes that ascend. Columns that it lacks are NULL."""
        from edupulse_pipelines.storage.bulk import encoded

        if not len(rows):
            return
        first, last = rows["id"][0].as_py(), rows["id"][-1].as_py()
        self._in_order = self._in_order and first > self._last
        self._last = last
        self.rows += len(rows)
        columns = {}
        for column in TABLES[self.table].audited_columns:
            there = column.name in rows.column_names
            columns[column.name] = rows[column.name] if there else pa.nulls(len(rows), pa.string())
        for part in encoded(pa.table(columns)):
            self._hash.update(part)


# SQLite


@dataclass(frozen=True)
class OpenChange:
    """The change of a transaction on SQLite that has begun and may come to nothing. `changed`: rows changed before."""

    id: int
    changed: int

    @property
    def change_id(self) -> int:
        """What its rows have as `change_id`."""
        return self.id * STATEMENTS_OF_A_CHANGE


def open_change(connection: Connection, tenant: str, actor: str, user: str, run_id: str | None) -> OpenChange | None:
    """Open the change of a transaction that writes; None for a file without a record of changes, and on PostgreSQL."""
    if (
        connection.dialect.name != "sqlite"
        or not connection.exec_driver_sql("SELECT 1 FROM sqlite_master WHERE name = 'audit_changes'").first()
    ):
        return None
    number = (connection.scalar(sa.select(sa.func.max(changes.c.id))) or 0) + 1
    connection.execute(
        changes.insert().values(
            id=number,
            tenant_id=tenant,
            changed_at=dt.datetime.now(dt.UTC),
            actor=actor,
            database_user=user,
            run_id=run_id,
        )
    )
    return OpenChange(number, _rows_changed(connection))


def close_change(connection: Connection, change: OpenChange) -> None:
    """Write the entries of a change and link it to the chain; one that changed no audited row is removed."""
    written: list[Any] = []
    if _rows_changed(connection) > change.changed:
        for name in _tables_written(connection, change):
            written += _written(connection, name, change)
        written += _removed(connection, change)
    if not written and not _entries(connection, change.id):
        connection.execute(sa.delete(changes).where(changes.c.id == change.id))
        return
    if written:
        connection.execute(entries.insert(), written)
    before = newest_link(connection)
    place, previous = (0, first_link(_entries(connection, 0))) if before is None else (before.link_number, before.link)
    row = connection.execute(sa.select(changes).where(changes.c.id == change.id)).one()
    linked = {"link_number": place + 1, "linked_at": dt.datetime.now(dt.UTC)}
    link = link_of(previous, SimpleNamespace(**row._asdict() | linked), _entries(connection, change.id))
    connection.execute(sa.update(changes).where(changes.c.id == change.id).values(link=link, **linked))


def _rows_changed(connection: Connection) -> int:
    driver: Any = connection.connection.driver_connection
    return int(driver.total_changes)


def _entries(connection: Connection, change: int) -> Sequence[Any]:
    first = change * STATEMENTS_OF_A_CHANGE
    query = read_entries().where(entries.c.change_id >= first, entries.c.change_id < first + STATEMENTS_OF_A_CHANGE)
    return connection.execute(query).all()


def _tables_written(connection: Connection, change: OpenChange) -> list[str]:
    """The audited tables that have rows of the change; one statement, because most changes are of one or two tables."""
    asked = " UNION ALL ".join(
        f"SELECT '{name}' WHERE EXISTS (SELECT 1 FROM {name} WHERE change_id = ?1)" for name in AUDITED
    )
    found = set(connection.exec_driver_sql(asked, (change.change_id,)).scalars())
    return [name for name in AUDITED if name in found]


def _written(connection: Connection, name: str, change: OpenChange) -> Iterator[dict[str, Any]]:
    """Of each district the entry for the rows of a table that the change has added or changed, as they are now."""
    columns = [column.name for column in TABLES[name].audited_columns]
    rows = connection.exec_driver_sql(
        f"SELECT tenant_id, {', '.join(columns)} FROM {name} WHERE change_id = ?", (change.change_id,)
    )
    lines: dict[str, list[str]] = {}
    for tenant, *values in rows:
        lines.setdefault(tenant, []).append(row_line(values))
    for tenant, of_tenant in lines.items():
        yield {
            "change_id": change.change_id,
            "tenant_id": tenant,
            "table_name": name,
            "operation": "write",
            "rows": len(of_tenant),
            "columns": len(columns),
            "content": lines_hash(of_tenant),
            "images": None,
        }


def row_line(values: Sequence[Any]) -> str:
    """The audited columns of a row on SQLite as one text, which its hash is made of."""
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"))


def lines_hash(lines: list[str]) -> str:
    """The hash of rows on SQLite."""
    return _sha256("\n".join(sorted(lines)))


def image_line(row: Sequence[Any], salt: str) -> str:
    """The hash of an image on SQLite: of its salt and the audited columns of the row."""
    return _sha256(salt + row_line(row))


def _removed(connection: Connection, change: OpenChange) -> Iterator[dict[str, Any]]:
    """Of each table and district the entry for what the change has replaced or removed."""
    _hash_images(connection, change.change_id)
    replaced: dict[tuple[str, str], list[tuple[int, str | None]]] = {}
    mine = sa.select(images.c.table_name, images.c.tenant_id, images.c.written_by, images.c.hash)
    for name, tenant, written_by, hash_ in connection.execute(mine.where(images.c.replaced_by == change.change_id)):
        replaced.setdefault((name, tenant), []).append((written_by, hash_))
    for (name, tenant), rows in sorted(replaced.items()):
        yield {
            "change_id": change.change_id,
            "tenant_id": tenant,
            "table_name": name,
            "operation": "replace",
            "rows": len(rows),
            "columns": len(TABLES[name].audited_columns),
            "content": None,
            "images": images_hash(rows),
        }


def _hash_images(connection: Connection, change_id: int) -> None:
    """Hash what the open change has replaced or removed so far."""
    from edupulse_pipelines.schema.row_contents import from_image

    mine = (images.c.replaced_by == change_id, images.c.hash.is_(None))
    driver: Any = connection.connection.driver_connection
    for name in connection.scalars(sa.select(images.c.table_name).where(*mine).distinct()).all():
        columns = ", ".join(from_image(column, "image", "sqlite") for column in TABLES[name].audited_columns)
        rows = connection.exec_driver_sql(
            f"SELECT id, salt, {columns} FROM audit_images WHERE replaced_by = ? AND table_name = ? AND hash IS NULL",
            (change_id, name),
        ).all()
        driver.executemany(
            "UPDATE audit_images SET hash = ? WHERE id = ?",
            [(image_line(values, salt), id_) for id_, salt, *values in rows],
        )


# Erasing, on both databases


def replaced_here(connection: Connection) -> sa.ColumnElement[bool]:
    """The condition on images that they were made in this transaction."""
    if connection.dialect.name == "sqlite":
        return images.c.replaced_by == sa.literal_column(OPEN_CHANGE, sa.BigInteger())
    change = sa.func.nullif(sa.func.current_setting("app.audit_change", True), "")
    return images.c.replaced_by // STATEMENTS_OF_A_CHANGE == sa.cast(change, sa.BigInteger())


def empty_images(connection: Connection, which: sa.ColumnElement[bool]) -> int:
    """Empty images of what they hold of a row, and put that on record; how many. Their hashes stay as they are."""
    if connection.dialect.name == "sqlite":
        number = connection.scalar(sa.select(sa.literal_column(OPEN_CHANGE, sa.BigInteger())))
        _hash_images(connection, number or 0)
    held = sa.and_(images.c.image.is_not(None), which)
    emptied: dict[str, dict[str, int]] = {}
    counted = sa.select(images.c.tenant_id, images.c.table_name, images.c.replaced_by, sa.func.count()).where(held)
    for tenant, table, replaced_by, rows in connection.execute(
        counted.group_by(images.c.tenant_id, images.c.table_name, images.c.replaced_by)
    ):
        emptied.setdefault(tenant, {})[f"{table}:{replaced_by}"] = rows
    nothing = {"image": sa.null(), "salt": None, "student_id": None, "row_key": ""}
    connection.execute(images.update().where(held).values(nothing))
    for tenant, rows_of in sorted(emptied.items()):
        note(connection, images.name, tenant, "detach", sum(rows_of.values()), replaced=rows_of)
    return sum(sum(rows_of.values()) for rows_of in emptied.values())


def note(
    connection: Connection,
    table: str,
    tenant: str,
    operation: str,
    rows: int,
    *,
    columns: int | None = None,
    content: str | None = None,
    bound: str | None = None,
    replaced: Mapping[str, int] | None = None,
) -> None:
    """Put an entry on record that no statement makes, as a part of this transaction's change; by the owner alone.

    It takes the columns of an entry, each by its name. bound: a further hash that the link is made of (in `images`).
    """
    if connection.dialect.name == "postgresql":
        facts = sa.null() if replaced is None else sa.literal(replaced, JSONB())
        own = sa.func.edupulse_audit_next()
        record = sa.func.edupulse_audit_record(own, tenant, table, operation, rows, columns, content, bound, facts)
        connection.execute(sa.select(record))
        return
    first = connection.scalar(sa.select(sa.literal_column(OPEN_CHANGE, sa.BigInteger()))) or 0
    connection.execute(
        entries.insert().values(
            change_id=first + 1 + len(_entries(connection, first // STATEMENTS_OF_A_CHANGE)),
            tenant_id=tenant,
            table_name=table,
            operation=operation,
            rows=rows,
            columns=columns,
            content=content,
            images=bound,
            replaced=sa.null() if replaced is None else replaced,
        )
    )


def note_retired(connection: Connection, number: int, link: str, through: int) -> None:
    """Put on record that links up to `number` leave it, with changes up to `through`; then they may be deleted."""
    facts = {"link_number": number, "through_change": through}
    note(connection, changes.name, "", "detach", number, content=link, replaced=facts)


def delete_retired(connection: Connection, number: int) -> int:
    """Delete what `note_retired` has put on record as leaving: images, entries and changes; how many changes."""
    gone = sa.select(changes.c.id).where(changes.c.link_number <= number)
    connection.execute(images.delete().where((images.c.replaced_by // STATEMENTS_OF_A_CHANGE).in_(gone)))
    of_entry = entries.c.change_id // STATEMENTS_OF_A_CHANGE
    connection.execute(entries.delete().where(sa.or_(of_entry.in_(gone), entries.c.change_id == 0)))
    return connection.execute(changes.delete().where(changes.c.link_number <= number)).rowcount
