"""Erasing again whoever was erased before and is back with a restored backup.

Who that is, is known by the keyed hashes in the home and in the database (`storage.erased`), which a restore brings
along from the home that is live, or from the newest backup. What an erasure does is in `erasure`.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.errors import PermanentError
from edupulse_pipelines.governance import archives
from edupulse_pipelines.governance.erasure import erase
from edupulse_pipelines.ingest.archived_file import rewrite_archive
from edupulse_pipelines.schema.sqlalchemy_tables import students
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.storage.erased import noted_keys, read_erased
from edupulse_pipelines.storage.numbers import joined_numbers
from edupulse_pipelines.storage.work import Work

REASON = "Erased before, and back with a restored backup."
APPROVED = "whoever approved the erasure before"


def back_again(connection: Connection, work: Work, raw_dir: Path, tenant: TenantSettings) -> list[str]:
    """The numbers of erased students of whom rows are stored, or are in the raw archive."""
    erased = read_erased(connection, work, raw_dir.parent)
    if not erased.hashes:
        return []
    stored = connection.scalars(sa.select(students.c.district_id).where(students.c.tenant_id == work.tenant))
    joined = joined_numbers(connection, work)
    numbers = {number for number in (*stored, *joined) if erased.has("student", number)}
    for archive in archives.archives(connection, work, raw_dir):
        rows = archives.rows_of(archive, erased, tenant)
        if rows is not None:
            numbers |= archive.filter(erased, tenant).numbers_in(rows)
    # A number that was joined to another one is erased with it.
    return sorted({joined.get(number, number) for number in numbers})


def erase_again(work: Work, raw_dir: Path, tenant: TenantSettings) -> Counter[str]:
    """Erase everybody who is back; how much went, by place, and under `students erased again` how many it were.

    PermanentError when one of them cannot be erased: a legal hold that the backup has, or a month that is taken out.
    """
    with work.reading() as connection:
        numbers = back_again(connection, work, raw_dir, tenant)
    taken: Counter[str] = Counter()
    for number in numbers:
        taken.update(erase(work, raw_dir, tenant, number, reason=REASON, approved_by=APPROVED, execute=True).counts)
    with work.reading() as connection:
        left = len(back_again(connection, work, raw_dir, tenant))
    if left:
        raise PermanentError(f"{left} students who were erased before are still there after they were erased again.")
    taken["students erased again"] = len(numbers)
    return +taken


def take_out_noted(raw_dir: Path, tenant: TenantSettings) -> Counter[str]:
    """Take the rows of erased students out of a district's archives, by the notes in the home alone.

    For archives without their database: what went, as `archived rows` of `archived files`. PermanentError when the key
    of the notes is gone, or one of them is damaged.
    """
    taken: Counter[str] = Counter()
    keys = noted_keys(raw_dir.parent, tenant.name)
    for archive in archives.archives_below(raw_dir, tenant.name):
        rows = archive.filter(keys, tenant)
        rewritten = rewrite_archive(archive.path, rows)
        if rewritten is not None:
            rewritten.replace(archive.path)
            taken["archived rows"] += rows.count
            taken["archived files"] += 1
    return taken
