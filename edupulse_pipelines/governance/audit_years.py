"""Retiring what is on record for longer than the districts want: earlier versions of rows, then the changes themselves.

What the record holds of students are the images. Those of a district are emptied when its `audit_years` are over, as
after an erasure; changes, entries and links, which hold nobody, are of all districts together, and leave when the years
of each are over. A month leaves as a whole. That it did is itself on record: the entry that says so holds the last link
that left, and the next link is bound to it, so that `audit verify` goes on from there. Rows whose change has left are
still stored and count as of change 0.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.governance import certificates
from edupulse_pipelines.governance.approval import given_reason, two_people
from edupulse_pipelines.governance.audit_contents import Beginning, on_record
from edupulse_pipelines.governance.audit_restate import recorded, restate
from edupulse_pipelines.governance.audit_verify import Anchor, head
from edupulse_pipelines.schema.sqlalchemy_tables import metadata
from edupulse_pipelines.schema.tables import AUDITED, STATEMENTS_OF_A_CHANGE
from edupulse_pipelines.storage import changes
from edupulse_pipelines.storage.rewriting import demand_rewriting, overwrite_deleted, rewrite
from edupulse_pipelines.storage.work import Work

TABLES_OF_THE_RECORD = ("audit_changes", "audit_entries", "audit_images")


@dataclass
class Retired:
    """What leaves, or has left; `executed`: whether it has.

    images: by district. before: by district the day that the kept record begins with. changes: of all districts, up to
    the link `last`, None where none leaves. keeps_all: districts on record that have no number of years, for which
    changes are kept. certificate: the file that says all this, whose hash the chain is bound to.
    """

    executed: bool
    before: dict[str, dt.date]
    images: dict[str, int] = field(default_factory=dict)
    changes: int = 0
    last: Anchor | None = None
    keeps_all: tuple[str, ...] = ()
    certificate: Path | None = None


def retire(
    work: Work,
    home: Path,
    years: Mapping[str, int | None],
    today: dt.date,
    *,
    reason: str | None = None,
    approved_by: str | None = None,
    execute: bool = False,
    last_backup: str | None = None,
) -> Retired:
    """Take out of the record what is over, or only count it.

    work: of no district, as the owner of the tables. years: by district, None where all is kept. last_backup: as the
    certificate names it. PermanentError for a role that may not rewrite tables; ConfigurationError where nobody else
    has approved or no reason is given.
    """
    before = {name: _month(today, kept) for name, kept in years.items() if kept is not None}
    if not execute:
        with work.reading() as connection:
            return _found(connection, before, executed=False)
    told = given_reason(reason)
    approver = two_people(work, approved_by)
    with work.writing() as connection:
        demand_rewriting(connection, TABLES_OF_THE_RECORD)
        overwrite_deleted(connection)
        found = _found(connection, before, executed=True)
        if not found.images and found.last is None:
            return found
        found.certificate, digest = _certificate(home, work, found, told, approver, last_backup)
        proven = recorded(connection, None)
        for name, day in before.items():
            changes.empty_images(connection, _over(name, day))
        changes.note(connection, changes.images.name, "", "detach", sum(found.images.values()), bound=digest)
        if found.last is not None:
            _take_out(connection, found.last)
        restate(connection, proven)
    rewrite(work, TABLES_OF_THE_RECORD)
    return found


def _certificate(
    home: Path, work: Work, found: Retired, reason: str, approved_by: str, last_backup: str | None
) -> tuple[Path, str]:
    """Write what leaves, by whom and why, into a file of the home that is new; its path and its hash."""
    moment = dt.datetime.now(dt.UTC)
    document = {
        "signed_at": moment.isoformat(timespec="seconds"),
        "executed_by": work.actor,
        "approved_by": approved_by,
        "reason": reason,
        "kept_from": {name: day.isoformat() for name, day in found.before.items()},
        "earlier_versions_emptied": found.images,
        "changes_removed": found.changes,
        "last_link_removed": str(found.last) if found.last else None,
        "last_backup": last_backup or certificates.NO_BACKUPS,
    }
    data = (json.dumps(document, indent=2) + "\n").encode()
    path = home / certificates.FOLDER / f"audit-{moment:%Y-%m-%dT%H%M%S.%f}.json"
    certificates.write_certificate(path, data)
    return path, hashlib.sha256(data).hexdigest()


def _month(today: dt.date, years: int) -> dt.date:
    """The first day of the month that many years ago."""
    return dt.date(today.year - years, today.month, 1)


def _found(connection: Connection, before: Mapping[str, dt.date], *, executed: bool) -> Retired:
    table, images = changes.changes.c, changes.images
    found = Retired(executed, dict(before))
    for name, day in before.items():
        counted = sa.select(sa.func.count()).select_from(images).where(images.c.image.is_not(None), _over(name, day))
        if count := connection.scalar(counted):
            found.images[name] = count
    districts = sa.select(changes.entries.c.tenant_id).where(changes.entries.c.tenant_id != "").distinct()
    found.keeps_all = tuple(sorted(set(connection.scalars(districts)) - before.keys()))
    newest = head(connection)
    if found.keeps_all or not before or newest is None:
        return found
    # Links are numbered in the order of their moments; the newest one stays, as the next is bound to it.
    begins = _start(min(before.values()))
    kept = connection.scalar(sa.select(sa.func.min(table.link_number)).where(table.linked_at >= begins))
    last = min(newest.number, kept or newest.number) - 1
    row = connection.execute(sa.select(table.link_number, table.link).where(table.link_number == last)).first()
    if row is not None:
        found.last = Anchor(row.link_number, row.link)
        found.changes = connection.scalar(sa.select(sa.func.count()).where(table.link_number <= last)) or 0
    return found


def _over(name: str, day: dt.date) -> sa.ColumnElement[bool]:
    """The condition on images that they are of a district, and were replaced before a day."""
    table, images = changes.changes.c, changes.images.c
    replaced = sa.select(table.id).where(table.linked_at < _start(day))
    return sa.and_(images.tenant_id == name, (images.replaced_by // STATEMENTS_OF_A_CHANGE).in_(replaced))


def _start(day: dt.date) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(), tzinfo=dt.UTC)


def _take_out(connection: Connection, last: Anchor) -> None:
    """Put on record that links up to `last` leave, and how many rows their changes have left behind; delete them."""
    table = changes.changes.c
    leaving = connection.scalar(sa.select(sa.func.max(table.id)).where(table.link_number <= last.number)) or 0
    kept = connection.scalars(sa.select(table.id).where(sa.or_(table.link_number > last.number, table.link.is_(None))))
    through = max(leaving, on_record(connection).beginning.through)
    beginning = Beginning(last.number, last.link, through, frozenset(kept))
    changes.note_retired(connection, last.number, last.link, through)
    for name in AUDITED:
        for tenant, rows in sorted(_left_behind(connection, name, beginning).items()):
            changes.note(connection, name, tenant, "before", rows)
    changes.delete_retired(connection, last.number)


def _left_behind(connection: Connection, name: str, beginning: Beginning) -> Counter[str]:
    """By district the rows and images of a table that stay and were written before the kept record."""
    stored, images, table = metadata.tables[name].c, changes.images.c, changes.changes.c
    leaving = sa.select(table.id).where(table.link_number <= beginning.number)
    counts: Counter[str] = Counter()
    for tenant, written_by, mine in (
        (stored.tenant_id, stored.change_id, sa.true()),
        (
            images.tenant_id,
            images.written_by,
            sa.and_(images.table_name == name, (images.replaced_by // STATEMENTS_OF_A_CHANGE).not_in(leaving)),
        ),
    ):
        query = sa.select(tenant, written_by, sa.func.count()).where(mine).group_by(tenant, written_by)
        for of_tenant, change_id, rows in connection.execute(query):
            if beginning.is_before(change_id):
                counts[of_tenant] += rows
    return counts
