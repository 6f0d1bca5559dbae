"""The manifest: which files have been landed, what became of each, and the account of its rows (`ingested_files`).

Every query and every change of that table is here, but for those about full snapshots (`snapshots`). Entries are
identified by tenant, table, delivery, file name and the content's hash: a file that is delivered again with another
content has an entry of its own, and the earlier one becomes `superseded`. What is in a file, and what becomes of it, is
decided in `sources` and `ingest`.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.schema.sqlalchemy_tables import ingested_files, quarantined_records
from edupulse_pipelines.schema.tables import ACCOUNTS, ARCHIVED, ERASED_STUDENT, LOADED, REFUSED, SUPERSEDED, WITHDRAWN
from edupulse_pipelines.storage.ids import new_ids
from edupulse_pipelines.storage.work import Work

_FILE = ("tenant_id", "table_name", "delivered_on", "file_name")
_IDENTITY = (*_FILE, "sha256")
_column = ingested_files.c


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One file of one delivery as the manifest has it; the fields are the columns of `ingested_files`."""

    id: uuid.UUID
    tenant_id: str
    table_name: str
    delivered_on: dt.date
    file_name: str
    sha256: str
    status: str
    reason: str | None
    detail: str | None
    unknown_columns: list[str] | None
    source_format: str | None
    left_out: dict[str, int] | None
    snapshot: dict[str, str] | None
    loaded_at: dt.datetime | None
    run_id: str | None
    rows_read: int
    rows_inserted: int
    rows_updated: int
    rows_unchanged: int
    rows_quarantined: int
    rows_deleted: int
    rows_by_week: dict[str, int] | None
    rows_erased: int
    archive_sha256: str | None
    """Hash of the archive; None for one that was written before archives had one."""

    @property
    def is_loaded(self) -> bool:
        """Whether its rows have been merged or counted."""
        return self.status == LOADED


_CONTENT = tuple(_column[name] for name in ("id", "sha256", "status", "landed_state"))
_ENTRY = tuple(_column[field.name] for field in fields(Entry))


def _entry(row: sa.Row[Any]) -> Entry:
    return Entry(**row._mapping)


def _of_table(work: Work, table: str, *statuses: str) -> sa.ColumnElement[bool]:
    return sa.and_(_column.tenant_id == work.tenant, _column.table_name == table, _column.status.in_(statuses))


# Deliveries


def deliveries(
    connection: Connection, work: Work, table: str, delivered_on: dt.date | None = None
) -> dict[dt.date, list[Entry]]:
    """The archived and loaded files of a table by delivery, in order of file name; of one name the newest content."""
    query = (
        sa.select(*_ENTRY)
        .where(_of_table(work, table, ARCHIVED, LOADED))
        .order_by(_column.delivered_on, _column.file_name, _column.archived_at, _column.sha256)
    )
    if delivered_on is not None:
        query = query.where(_column.delivered_on == delivered_on)
    newest: dict[tuple[dt.date, str], Entry] = {}
    for row in connection.execute(query):
        newest[row.delivered_on, row.file_name] = _entry(row)
    by_delivery: dict[dt.date, list[Entry]] = {}
    for (day, _), entry in newest.items():
        by_delivery.setdefault(day, []).append(entry)
    return by_delivery


def delivery(connection: Connection, work: Work, table: str, delivered_on: dt.date) -> list[Entry]:
    """The archived and loaded files of one delivery of a table; none when nothing of it counts."""
    return deliveries(connection, work, table, delivered_on).get(delivered_on, [])


def newest_loaded(connection: Connection, work: Work, table: str) -> dt.date | None:
    """The date of the newest loaded delivery of a table."""
    return connection.scalar(sa.select(sa.func.max(_column.delivered_on)).where(_of_table(work, table, LOADED)))


def loaded_between(
    connection: Connection, work: Work, table: str, first: dt.date, last: dt.date
) -> list[tuple[dt.date, int]]:
    """(delivery, rows read) of each loaded file of a table that was delivered from `first` to `last`, both included."""
    query = sa.select(_column.delivered_on, _column.rows_read).where(
        _of_table(work, table, LOADED), _column.delivered_on.between(first, last)
    )
    return [(row.delivered_on, row.rows_read) for row in connection.execute(query)]


def loaded_deliveries(connection: Connection, work: Work) -> list[tuple[str, dt.date, int]]:
    """(table, delivery, rows read of its largest file) of every delivery with a loaded file."""
    query = (
        sa.select(_column.table_name, _column.delivered_on, sa.func.max(_column.rows_read))
        .where(_column.tenant_id == work.tenant, _column.status == LOADED)
        .group_by(_column.table_name, _column.delivered_on)
    )
    return [(table, day, rows) for table, day, rows in connection.execute(query)]


def rows_delivered(connection: Connection, work: Work, table: str) -> dict[dt.date, int]:
    """The rows of each loaded delivery of a table; a copy of a file within it has none of its own."""
    contents = (
        sa.select(_column.delivered_on, _column.sha256, sa.func.max(_column.rows_read).label("rows"))
        .where(_of_table(work, table, LOADED))
        .group_by(_column.delivered_on, _column.sha256)
        .subquery()
    )
    query = sa.select(contents.c.delivered_on, sa.func.sum(contents.c.rows)).group_by(contents.c.delivered_on)
    return {day: int(rows) for day, rows in connection.execute(query)}


def weeks_delivered(connection: Connection, work: Work, table: str) -> dict[dt.date, dict[dt.date, int] | None]:
    """By loaded delivery of a table its rows by the week (Monday) they are dated in; None where that is not known."""
    query = sa.select(_column.delivered_on, _column.rows_by_week).where(_of_table(work, table, LOADED))
    by_delivery: dict[dt.date, dict[dt.date, int] | None] = {}
    for day, rows_by_week in connection.execute(query):
        known = by_delivery.setdefault(day, {})
        if known is None or rows_by_week is None:
            by_delivery[day] = None
            continue
        for monday, rows in rows_by_week.items():
            week = dt.date.fromisoformat(monday)
            known[week] = known.get(week, 0) + rows
    return by_delivery


def loaded_files(connection: Connection, work: Work, table: str) -> list[Entry]:
    """The loaded files of a table, oldest delivery first, in order of file name."""
    query = sa.select(*_ENTRY).where(_of_table(work, table, LOADED)).order_by(_column.delivered_on, _column.file_name)
    return [_entry(row) for row in connection.execute(query)]


def newest_source_format(connection: Connection, work: Work, table: str) -> str | None:
    """What the first file of the newest loaded delivery of a table was read as."""
    query = (
        sa.select(_column.source_format)
        .where(_of_table(work, table, LOADED))
        .order_by(_column.delivered_on.desc(), _column.file_name)
        .limit(1)
    )
    return connection.scalar(query)


@dataclass(frozen=True)
class Content:
    """The content that counts of a file; `landed_state`: how the file system described it when it was compared last."""

    id: uuid.UUID
    sha256: str
    status: str
    landed_state: str | None


def current_contents(connection: Connection, work: Work) -> dict[tuple[str, dt.date, str], Content]:
    """By table, delivery and file name the content that some run saw last, refused ones included."""
    query = (
        sa.select(*(_column[name] for name in ("table_name", "delivered_on", "file_name")), *_CONTENT)
        .where(_column.tenant_id == work.tenant, _column.status.in_((ARCHIVED, LOADED, REFUSED)))
        .order_by(_column.archived_at, _column.sha256)
    )
    return {(table, day, name): Content(*content) for table, day, name, *content in connection.execute(query)}


def note_landed(connection: Connection, described: Mapping[uuid.UUID, str]) -> None:
    """Note how the file system describes landed files whose content is that of these entries."""
    connection.execute(
        ingested_files.update()
        .where(_column.id == sa.bindparam("entry"))
        .values(landed_state=sa.bindparam("described")),
        [{"entry": entry, "described": text} for entry, text in described.items()],
    )


def accounts(
    connection: Connection, work: Work, table: str, delivered_on: Collection[dt.date]
) -> dict[dt.date, dict[str, int]]:
    """The account of each delivery from the first to the last of `delivered_on`, and what is in quarantine.

    `ACCOUNTS` are sums over the delivery's loaded files, with those of erased students among the rows read;
    `in_quarantine` counts the rows that the database holds for these files, neither replayed nor superseded.
    """
    if not delivered_on:
        return {}
    row = quarantined_records.c
    held = (
        sa.select(row.file_hash, sa.func.count().label("held"))
        .where(
            row.tenant_id == work.tenant,
            row.table_name == table,
            row.replayed_at.is_(None),
            row.superseded_at.is_(None),
        )
        .group_by(row.file_hash)
        .subquery()
    )
    query = (
        sa.select(
            _column.delivered_on,
            *(sa.func.sum(_column[f"rows_{name}"]) for name in ACCOUNTS),
            sa.func.sum(sa.func.coalesce(held.c.held, 0)),
            sa.func.sum(_column.rows_erased),
        )
        .select_from(ingested_files.outerjoin(held, held.c.file_hash == _column.sha256))
        .where(_of_table(work, table, LOADED), _column.delivered_on.between(min(delivered_on), max(delivered_on)))
        .group_by(_column.delivered_on)
    )
    names = (*ACCOUNTS, "in_quarantine", ERASED_STUDENT)
    of_days = {day: dict(zip(names, map(int, sums), strict=True)) for day, *sums in connection.execute(query)}
    return {day: account | {"read": account["read"] + account[ERASED_STUDENT]} for day, account in of_days.items()}


# Landing and archiving


def entry(connection: Connection, identity: Mapping[str, Any]) -> Entry | None:
    """The entry of this identity (tenant_id, table_name, delivered_on, file_name, sha256)."""
    row = connection.execute(sa.select(*_ENTRY).where(_is(identity, _IDENTITY))).one_or_none()
    return None if row is None else _entry(row)


def _is(identity: Mapping[str, Any], names: Iterable[str]) -> sa.ColumnElement[bool]:
    return sa.and_(*(_column[name] == identity[name] for name in names))


def enter(connection: Connection, identity: Mapping[str, Any], before: Entry | None, values: Mapping[str, Any]) -> None:
    """Write the entry of this identity, unless another run has come first since `before` was read."""
    mine = _is(identity, _IDENTITY)
    row = connection.execute(sa.select(_column.id, _column.status).where(mine)).one_or_none()
    if row is None:
        try:
            with connection.begin_nested():
                connection.execute(ingested_files.insert().values(id=new_ids(1)[0], **identity, **values))
            return
        except sa.exc.IntegrityError:
            row = connection.execute(sa.select(_column.id, _column.status).where(mine)).one()
    overtaken = row.status in (ARCHIVED, LOADED) and (before is None or before.status != row.status)
    if not overtaken:
        connection.execute(ingested_files.update().where(_column.id == row.id).values(**values))


def with_content(connection: Connection, work: Work, table: str, sha256: str) -> list[Entry]:
    """The files of a table with this content that have been archived, whatever became of them later."""
    query = sa.select(*_ENTRY).where(_of_table(work, table, ARCHIVED, LOADED, SUPERSEDED), _column.sha256 == sha256)
    return [_entry(row) for row in connection.execute(query)]


def note_archive(connection: Connection, entry: Entry, archive_sha256: str | None) -> None:
    """Keep the hash of an archive that has been made again, or had none."""
    connection.execute(ingested_files.update().where(_column.id == entry.id).values(archive_sha256=archive_sha256))


def note_snapshot(connection: Connection, entry: Entry, snapshot: dict[str, str] | None) -> None:
    """Change the days of a snapshot, which a delivery may say after its file was loaded; it is then loaded again."""
    if snapshot != entry.snapshot:
        status = ARCHIVED if snapshot is not None else entry.status
        connection.execute(
            ingested_files.update().where(_column.id == entry.id).values(snapshot=snapshot, status=status)
        )


def supersede_unloaded(connection: Connection, identity: Mapping[str, Any]) -> None:
    """Close the other contents of a file that never reached the tables: they have no rows to answer for."""
    connection.execute(
        ingested_files.update()
        .where(_is(identity, _FILE), _column.sha256 != identity["sha256"], _column.status.in_((ARCHIVED, REFUSED)))
        .values(status=SUPERSEDED)
    )


def every_file(connection: Connection, work: Work, table: str) -> list[Entry]:
    """Every entry of a table, whatever became of it, by delivery and name."""
    query = sa.select(*_ENTRY).where(_column.tenant_id == work.tenant, _column.table_name == table)
    return [_entry(row) for row in connection.execute(query.order_by(_column.delivered_on, _column.file_name))]


def names_by_delivery(connection: Connection, work: Work, table: str) -> dict[dt.date, list[str]]:
    """The names of all files a table was ever landed with, whatever became of them, by delivery and in order."""
    query = (
        sa.select(_column.delivered_on, _column.file_name)
        .where(_column.tenant_id == work.tenant, _column.table_name == table)
        .distinct()
    )
    names: dict[dt.date, list[str]] = {}
    for day, name in connection.execute(query):
        names.setdefault(day, []).append(name)
    return {day: sorted(of_day) for day, of_day in names.items()}


def refused(connection: Connection, work: Work, table: str | None = None) -> list[Entry]:
    """The refused files (of one table) that have been neither replaced nor withdrawn, by delivery and name."""
    query = (
        sa.select(*_ENTRY)
        .where(_column.tenant_id == work.tenant, _column.status == REFUSED)
        .order_by(_column.delivered_on, _column.file_name)
    )
    if table is not None:
        query = query.where(_column.table_name == table)
    return [_entry(row) for row in connection.execute(query)]


def withdraw(connection: Connection, withdrawn: Iterable[Entry]) -> None:
    """Refused files that a person has taken out of the landing folder stop nothing any more."""
    for file in withdrawn:
        connection.execute(ingested_files.update().where(_column.id == file.id).values(status=WITHDRAWN))


# Loading


def loaded_with_content(connection: Connection, work: Work, table: str, sha256: str) -> list[Entry]:
    """The loaded files of a table with this content, in whatever deliveries."""
    query = sa.select(*_ENTRY).where(_of_table(work, table, LOADED), _column.sha256 == sha256)
    return [_entry(row) for row in connection.execute(query)]


def enter_account(
    connection: Connection,
    work: Work,
    file: Entry,
    outcome: Mapping[str, int],
    *,
    rows_by_week: Mapping[str, int] | None,
    confirms_only: bool = False,
) -> None:
    """Enter what became of a file's rows, and that it is loaded.

    `rows_by_week`: its rows by the Monday (ISO) of the week they are dated in. `confirms_only`: its rows were not
    merged one by one, because the newest delivery before it said the same.
    """
    connection.execute(
        ingested_files.update()
        .where(_column.id == file.id)
        .values(
            status=LOADED,
            rows_inserted=outcome.get("inserted", 0),
            rows_updated=outcome.get("updated", 0),
            rows_unchanged=outcome.get("unchanged", 0),
            rows_quarantined=outcome.get("quarantined", 0),
            rows_by_week=rows_by_week,
            confirms_only=confirms_only,
            loaded_at=dt.datetime.now(dt.UTC),
            run_id=work.run_id,
        )
    )


def move_freed(connection: Connection, work: Work, file: Entry, freed: Mapping[str, int]) -> None:
    """Count rows that have left quarantine as what they became, in each loaded delivery of the file's content.

    `freed`: rows by `inserted`, `updated` and `unchanged`. In the other deliveries of the content they are `unchanged`,
    because this one has brought them.
    """
    count = sum(freed.values())
    held = sa.and_(
        _of_table(work, file.table_name, LOADED), _column.sha256 == file.sha256, _column.rows_quarantined >= count
    )
    connection.execute(
        ingested_files.update()
        .where(held, _column.id == file.id)
        .values(
            rows_inserted=_column.rows_inserted + freed.get("inserted", 0),
            rows_updated=_column.rows_updated + freed.get("updated", 0),
            rows_unchanged=_column.rows_unchanged + freed.get("unchanged", 0),
            rows_quarantined=_column.rows_quarantined - count,
        )
    )
    connection.execute(
        ingested_files.update()
        .where(held, _column.id != file.id)
        .values(rows_unchanged=_column.rows_unchanged + count, rows_quarantined=_column.rows_quarantined - count)
    )


def move_held(connection: Connection, work: Work, table: str, sha256: str, count: int) -> None:
    """Count rows of a content that were loaded and are in quarantine now, in each of its loaded deliveries.

    They leave what came of them, which is not known row by row: `unchanged` first, then `updated`, then `inserted`.
    """
    for entry in loaded_with_content(connection, work, table, sha256) if count else ():
        left = min(count, entry.rows_read - entry.rows_quarantined)
        moved = {"rows_quarantined": entry.rows_quarantined + left}
        for name in ("rows_unchanged", "rows_updated", "rows_inserted"):
            there = getattr(entry, name)
            moved[name] = there - min(left, there)
            left -= min(left, there)
        connection.execute(ingested_files.update().where(_column.id == entry.id).values(**moved))


def note_rewritten(connection: Connection, file: Entry, rows_erased: int, quarantined: int, archive: str) -> None:
    """Restate a file whose archive has been written again without rows of erased students.

    rows_erased: how many it has left out in all; quarantined: how many of those that left now stood open in quarantine;
    archive: its hash. What had become of the others is not known row by row: they were `unchanged` first, then
    `updated`, then `inserted`.
    """
    gone = rows_erased - file.rows_erased
    values: dict[str, Any] = {
        "rows_erased": rows_erased,
        "rows_read": file.rows_read - gone,
        "rows_quarantined": file.rows_quarantined - quarantined,
        "archive_sha256": archive,
    }
    left = gone - quarantined if file.is_loaded else 0
    for name in ("rows_unchanged", "rows_updated", "rows_inserted"):
        there = getattr(file, name)
        values[name] = there - min(left, there)
        left -= min(left, there)
    connection.execute(ingested_files.update().where(_column.id == file.id).values(**values))


def add_deleted(connection: Connection, file: Entry, count: int) -> None:
    """Count `count` stored records more that this file has taken back."""
    if count:
        connection.execute(
            ingested_files.update().where(_column.id == file.id).values(rows_deleted=_column.rows_deleted + count)
        )


def supersede_replaced(connection: Connection, file: Entry) -> list[Entry]:
    """Close the contents that were loaded under the name of `file` in its delivery before; their entries."""
    query = sa.select(*_ENTRY).where(
        *(_column[name] == getattr(file, name) for name in _FILE),
        _column.sha256 != file.sha256,
        _column.status == LOADED,
    )
    replaced = [_entry(row) for row in connection.execute(query)]
    for entry in replaced:
        connection.execute(ingested_files.update().where(_column.id == entry.id).values(status=SUPERSEDED))
    return replaced


def reopen(connection: Connection, work: Work, table: str, sha256: str, *, but: dt.date) -> list[Entry]:
    """Make the loaded files of this content with rows in quarantine `archived` again, those delivered on `but` aside.

    They are merged anew as a whole. The entries as they were.
    """
    others = sa.and_(
        _of_table(work, table, LOADED),
        _column.sha256 == sha256,
        _column.delivered_on != but,
        _column.rows_quarantined > 0,
    )
    opened = [_entry(row) for row in connection.execute(sa.select(*_ENTRY).where(others))]
    connection.execute(ingested_files.update().where(others).values(status=ARCHIVED))
    return opened


def _confirming(work: Work, table: str) -> sa.ColumnElement[bool]:
    return sa.and_(_column.tenant_id == work.tenant, _column.table_name == table, _column.confirms_only.is_(True))


def next_confirming(connection: Connection, work: Work, table: str, after: dt.date) -> dt.date | None:
    """The first delivery later than `after` that was counted as a confirmation and not merged."""
    query = sa.select(sa.func.min(_column.delivered_on))
    return connection.scalar(query.where(_confirming(work, table), _column.delivered_on > after))


def note_merged(connection: Connection, work: Work, table: str, delivered_on: dt.date) -> None:
    """A delivery that was counted as a confirmation has been merged after all."""
    connection.execute(
        ingested_files.update()
        .where(_confirming(work, table), _column.delivered_on == delivered_on)
        .values(confirms_only=False)
    )
