"""Erasing a student from every place of the register, and keeping them away when a file of theirs is landed again.

An erasure is dry unless it is to be executed. It can be stopped at any moment and said again: what names the student is
noted first (as keyed hashes), and every later step finds by itself what is left to do. The archive's files and all rows
change together, in one transaction whose end moves the rewritten files into place; then tables are rewritten, so that
nothing is left in the bytes of their files.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.errors import PermanentError
from edupulse_pipelines.governance import archives, kept_files, research
from edupulse_pipelines.governance.approval import given_reason, two_people
from edupulse_pipelines.governance.archives import Archive
from edupulse_pipelines.governance.audit_restate import recorded, restate
from edupulse_pipelines.governance.earlier_versions import earlier_versions, empty_versions
from edupulse_pipelines.governance.obstacles import KeptBack, demand_erasable
from edupulse_pipelines.governance.person import Person, find_person, rows_about
from edupulse_pipelines.governance.quarantined import quarantined_rows
from edupulse_pipelines.governance.register import BY_CONTENT, STORED_TABLES
from edupulse_pipelines.governance.taking_away import (
    delete_quarantined,
    mend_bundles,
    quarantined_lines,
    remove_refused,
    remove_unfinished,
    restate_accounts,
    rewritten_without,
)
from edupulse_pipelines.ingest.archived_file import archive_facts, archive_path
from edupulse_pipelines.risk.judging.suppression import SMALLER_GROUPS
from edupulse_pipelines.schema.sqlalchemy_tables import (
    erased_keys,
    erasures,
    ingested_files,
    metadata,
    model_evaluations,
    promotion_decisions,
    quarantined_records,
)
from edupulse_pipelines.schema.tables import RECORD_TABLES
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.storage.erased import ErasedKeys, forget_noted, note_erased, read_erased
from edupulse_pipelines.storage.ids import new_ids
from edupulse_pipelines.storage.rewriting import demand_rewriting, overwrite_deleted, rewrite
from edupulse_pipelines.storage.turns import take_turn
from edupulse_pipelines.storage.version_1 import refuse_while_old_tables_stand
from edupulse_pipelines.storage.work import Work
from edupulse_pipelines.whole_files import put_in_place

TOUCHED = (*STORED_TABLES, *BY_CONTENT, model_evaluations.name, promotion_decisions.name)
"""The tables that an erasure takes rows from, or changes them in."""
REMAINS = (
    "The district's landing folder holds what the district sent, until the district clears it away.",
    "Backups hold the student until they are thrown away.",
    "Models that were trained with the rows stay until they are replaced; they hold no row of the student.",
    "Files that somebody had written by a command lie where they were put; see `edupulse privacy disclosures`.",
    "A dump of a month that was taken out holds the student until it is thrown away.",
)
_ON_POSTGRESQL = (
    "The server's write-ahead log holds what was deleted until it has been recycled, and its catalog of statistics "
    "until the next autovacuum of pg_statistic."
)

_CLOSED = (
    "Lists of codes that cannot be opened without their key may hold the student; put the key beside the list and say "
    "the erasure again, or throw the key away. Of the releases:"
)


@dataclass
class Erased:
    """What was found, or taken away, by place; `executed`: whether it was."""

    executed: bool
    counts: Counter[str] = field(default_factory=Counter)
    remains: tuple[str, ...] = REMAINS


def erase(
    work: Work,
    raw_dir: Path,
    tenant: TenantSettings,
    number: str,
    *,
    reason: str,
    approved_by: str | None,
    execute: bool,
) -> Erased:
    """Erase the student of this number, or with `execute` False only count what an erasure would take away.

    PermanentError when nothing is held under the number, when the student is on hold or has rows in a month that was
    taken out, when tables of version 1.0 still stand, or the role may not rewrite tables; ConfigurationError without a
    reason, or when nobody else approves.
    """
    given_reason(reason)
    home = raw_dir.parent
    with work.reading() as connection:
        person = find_person(connection, work, raw_dir, tenant, number)
        before = _begun(connection, work, person)
        found = _count(connection, work, raw_dir, tenant, person)
        if not found and before is not None and before.done_at is not None:
            raise PermanentError(f"A student of this number was erased on {before.done_at:%Y-%m-%d}.")
        if not found and before is None:
            raise PermanentError("Nothing is held under this number; nothing was erased.")
        refuse_while_old_tables_stand(connection, "Erasing")
        demand_rewriting(connection, TOUCHED)
        demand_erasable(connection, work, person)
    if not execute:
        return Erased(False, found, remains(work, home))
    approver = two_people(work, approved_by)
    with work.writing() as connection:
        take_turn(connection, work, RECORD_TABLES)
        # Asked again: a load may have brought rows meanwhile, and somebody may have placed a hold.
        person = find_person(connection, work, raw_dir, tenant, number)
        demand_erasable(connection, work, person)
        begun = begin(connection, work, home, person, reason, approver)
    counts = take_away(work, raw_dir, tenant, person, [begun])
    rewrite(work, TOUCHED)
    with work.writing() as connection:
        note_done(connection, [begun.id], counts)
    return Erased(True, counts, remains(work, home))


def note_done(connection: Connection, ids: Collection[uuid.UUID], counts: Mapping[str, int] | None = None) -> None:
    """Note that these erasures are done, and what they have taken away."""
    values = {"done_at": dt.datetime.now(dt.UTC), "counts": dict(counts or {})}
    connection.execute(erasures.update().where(erasures.c.id.in_(ids)).values(**values))


def remains(work: Work, home: Path) -> tuple[str, ...]:
    """What an erasure leaves, in sentences."""
    left = (*REMAINS, _ON_POSTGRESQL) if work.dialect == "postgresql" else REMAINS
    closed = research.closed_releases(home, work.tenant)
    return (*left, f"{_CLOSED} {', '.join(closed)}.") if closed else left


def _begun(connection: Connection, work: Work, person: Person) -> sa.Row | None:
    """The erasure of the student that was begun, or is done."""
    named = [person.keys.hash_of("student", number) for number in (person.number, *person.numbers)]
    query = (
        sa.select(erasures.c.id, erasures.c.done_at)
        .join(erased_keys, erased_keys.c.erasure_id == erasures.c.id)
        .where(erasures.c.tenant_id == work.tenant, erased_keys.c.key_hash.in_(named))
    )
    return connection.execute(query.limit(1)).one_or_none()


def _count(connection: Connection, work: Work, raw_dir: Path, tenant: TenantSettings, person: Person) -> Counter[str]:
    """What is held of the student, by place; places that hold nothing are left out."""
    found: Counter[str] = Counter()
    for name in STORED_TABLES:
        table = metadata.tables[name]
        mine = sa.and_(table.c.tenant_id == work.tenant, rows_about(name, person))
        found[name] = connection.scalar(sa.select(sa.func.count()).select_from(table).where(mine)) or 0
    found["quarantined_records"] = sum(1 for _ in quarantined_rows(connection, work, person.keys, tenant))
    found["earlier versions"] = sum(1 for _ in earlier_versions(connection, work, person, person.keys, tenant))
    for archive in archives.archives(connection, work, raw_dir):
        rows = archives.rows_of(archive, person.keys, tenant)
        if rows is not None:
            found["archived rows"] += len(rows)
            found["archived files"] += 1
    for name, paths in (
        ("refused files", kept_files.refused_files(work.tenant, raw_dir)),
        ("kept bundles", kept_files.kept_bundles(work.tenant, raw_dir)),
    ):
        found[name] = sum(kept_files.mentions(path, person) is not False for path in paths)
    found["releases"] = len(research.releases_with(raw_dir.parent, work.tenant, person.numbers))
    found["file names"], found["columns"] = len(person.file_names), len(person.columns)
    return +found


@dataclass(frozen=True)
class Begun:
    """An erasure that has been noted. `hashes`: all that it is noted by; `is_new`: it was not begun before."""

    id: uuid.UUID
    hashes: frozenset[str]
    is_new: bool


def begin(
    connection: Connection,
    work: Work,
    home: Path,
    person: Person,
    reason: str,
    approved_by: str,
    hashes: Collection[str] | None = None,
) -> Begun:
    """Note what names the student, so that no file archived from now on brings a row. The turn is the caller's.

    hashes: what of the person's keys is noted; by default all of them.
    """
    before = _begun(connection, work, person)
    erasure = before.id if before is not None else new_ids(1)[0]
    values = {
        "reason": reason,
        "erased_by": work.actor,
        "approved_by": approved_by,
        "begun_at": dt.datetime.now(dt.UTC),
        "done_at": None,
    }
    if before is None:
        number_hash = person.keys.hash_of("student", person.numbers[0])
        connection.execute(
            erasures.insert().values(id=erasure, tenant_id=work.tenant, number_hash=number_hash, counts={}, **values)
        )
    else:
        connection.execute(erasures.update().where(erasures.c.id == erasure).values(**values))
    noted = connection.scalars(sa.select(erased_keys.c.key_hash).where(erased_keys.c.erasure_id == erasure))
    wanted = frozenset(person.keys.hashes if hashes is None else hashes) | set(noted)
    note_erased(connection, work, home, erasure, wanted)
    return Begun(erasure, wanted, before is None)


def take_away(
    work: Work,
    raw_dir: Path,
    tenant: TenantSettings,
    person: Person,
    begun: Sequence[Begun],
    *,
    before: Callable[[Connection], None] | None = None,
    after: Callable[[Connection, Counter[str]], None] | None = None,
) -> Counter[str]:
    """Take a student, or several as one person, out of files and tables; how much, by place.

    begun: their erasures. before, after: called in the transaction that deletes the rows, at its beginning and its end.
    The tables are left to be rewritten. KeptBack when something stands against it after all: nothing has gone then, and
    an erasure that was not begun before is as if it had never been noted.
    """
    try:
        return _take_away(work, raw_dir, tenant, person, begun, before, after)
    except KeptBack:
        with work.writing() as connection:
            for one in begun:
                if one.is_new:
                    forget_noted(connection, work, raw_dir.parent, one.id)
                    connection.execute(erasures.delete().where(erasures.c.id == one.id))
        raise


def _take_away(
    work: Work,
    raw_dir: Path,
    tenant: TenantSettings,
    person: Person,
    begun: Sequence[Begun],
    before: Callable[[Connection], None] | None,
    after: Callable[[Connection, Counter[str]], None] | None,
) -> Counter[str]:
    taken: Counter[str] = Counter()
    keys = person.keys.with_hashes(value for one in begun for value in one.hashes)
    with work.reading() as connection:
        # Of everybody: an erasure that was stopped may have given files other names.
        kept = archives.archives(connection, work, raw_dir, read_erased(connection, work, raw_dir.parent))
        lines = quarantined_lines(connection, work, tenant, keys)
    with rewritten_without(kept, keys, tenant, lines) as rewritten, work.writing() as connection:
        take_turn(connection, work, RECORD_TABLES)
        demand_erasable(connection, work, person)
        if before is not None:
            before(connection)
        taken["unfinished files"] = remove_unfinished(work, raw_dir)
        taken["refused files"] = remove_refused(work, raw_dir, person)
        taken["kept bundles"] = mend_bundles(work, raw_dir, tenant, person)
        taken["releases"] = research.forget(raw_dir.parent, work.tenant, person.numbers)
        overwrite_deleted(connection)
        as_recorded = recorded(connection, work.tenant)
        taken["changes not as recorded"] = len(as_recorded.wrong)
        versions = list(earlier_versions(connection, work, person, keys, tenant))
        opened = delete_quarantined(connection, work, tenant, keys)
        taken["quarantined_records"] = opened.pop(("", ""), 0)
        taken.update(restate_accounts(connection, kept, rewritten, opened))
        taken["columns"] = _rename_columns(connection, work, keys, kept, rewritten)
        taken.update(_delete_rows(connection, work, person))
        _forget_small_groups(connection, work)
        for path, temporary in rewritten.items():
            put_in_place(temporary, path)
        taken["file names"] = _rename_files(connection, work, raw_dir, keys)
        taken["earlier versions"] = len(versions)
        empty_versions(connection, versions)
        if after is not None:
            after(connection, +taken)
        restate(connection, as_recorded)
    return +taken


def _rename_files(connection: Connection, work: Work, raw_dir: Path, keys: ErasedKeys) -> int:
    """Give files another name whose own names the student: in the manifest, in the quarantine, and in the archive."""
    column, quarantined = ingested_files.c, quarantined_records.c
    query = sa.select(column.id, column.table_name, column.delivered_on, column.file_name, column.sha256)
    renamed = 0
    for row in connection.execute(query.where(column.tenant_id == work.tenant)).all():
        name = keys.file_name(row.file_name)
        if name == row.file_name:
            continue
        renamed += 1
        connection.execute(ingested_files.update().where(column.id == row.id).values(file_name=name))
        connection.execute(
            quarantined_records.update()
            .where(
                quarantined.tenant_id == work.tenant,
                quarantined.file_name == f"{row.delivered_on}/{row.file_name}",
            )
            .values(file_name=f"{row.delivered_on}/{name}")
        )
        of_file = (raw_dir, work.tenant, row.table_name, row.delivered_on)
        there = archive_path(*of_file, row.file_name, row.sha256)
        if there.exists():
            there.replace(archive_path(*of_file, name, row.sha256))
    return renamed


def _rename_columns(
    connection: Connection, work: Work, keys: ErasedKeys, kept: list[Archive], rewritten: dict[Path, Path]
) -> int:
    """Call unknown columns that name the student by their place in the file: in the manifest and in the quarantine."""
    renamed = 0
    for archive in kept:
        unknown = archive.entry.unknown_columns if archive.entry is not None else None
        if archive.entry is None or not any(keys.has("column", name) for name in unknown or ()):
            continue
        renamed += 1
        told = archive_facts(rewritten.get(archive.path, archive.path)).get("unknown_columns")
        mine = ingested_files.c.id == archive.entry.id
        connection.execute(ingested_files.update().where(mine).values(unknown_columns=told))
        column = quarantined_records.c
        of_file = sa.and_(
            column.tenant_id == work.tenant,
            column.table_name == archive.table,
            column.file_hash == archive.entry.sha256,
        )
        for row in connection.execute(sa.select(column.id, column.raw, column.corrected).where(of_file)).all():
            values = {"raw": _renamed(row.raw, keys), "corrected": _renamed(row.corrected, keys)}
            connection.execute(quarantined_records.update().where(column.id == row.id).values(**values))
    return renamed


def _renamed(said: Any, keys: ErasedKeys) -> Any:
    """A quarantined row under the header of now; its columns stand in the order of the file."""
    if not isinstance(said, dict):
        return said
    return {
        f"column {place}" if keys.has("column", name) else name: value
        for place, (name, value) in enumerate(said.items(), start=1)
    }


def _delete_rows(connection: Connection, work: Work, person: Person) -> dict[str, int]:
    """Delete the rows of every table that are about the student, those that refer to others first."""
    deleted = {}
    for name in reversed(STORED_TABLES):
        table = metadata.tables[name]
        mine = sa.and_(table.c.tenant_id == work.tenant, rows_about(name, person))
        deleted[name] = connection.execute(table.delete().where(mine)).rowcount
    return deleted


def _forget_small_groups(connection: Connection, work: Work) -> None:
    """Take away names of groups too small to show, which earlier versions stored (without a figure)."""
    column = model_evaluations.c
    connection.execute(
        model_evaluations.delete().where(
            column.tenant_id == work.tenant,
            column.subgroup != "",
            column.samples.is_(None),
            sa.not_(column.subgroup.endswith(f"={SMALLER_GROUPS}", autoescape=True)),
        )
    )
    decision = promotion_decisions.c
    query = sa.select(decision.id, decision.numbers).where(decision.tenant_id == work.tenant)
    for row in connection.execute(query).all():
        rates = (row.numbers or {}).get("false_negative_rate") or {}
        told = [f"{name.partition('=')[0]}={SMALLER_GROUPS}" for name in rates.get("suppressed", [])]
        if told != rates.get("suppressed", []):
            numbers = {**row.numbers, "false_negative_rate": {**rates, "suppressed": sorted(set(told))}}
            connection.execute(promotion_decisions.update().where(decision.id == row.id).values(numbers=numbers))
