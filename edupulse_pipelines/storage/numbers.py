"""What is known of students' numbers beside whose they are: those in dispute, and those that people have joined.

Kept in `disputed_numbers` and `student_merges`. When a number is in dispute is decided in `ingest.identity`; what
joining two numbers does to their records, in `ingest.joining`.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.schema.sqlalchemy_tables import disputed_numbers, student_merges
from edupulse_pipelines.storage.ids import new_ids
from edupulse_pipelines.storage.work import Work

_dispute = disputed_numbers.c
_merge = student_merges.c


@dataclass(frozen=True)
class Span:
    """Deliveries from `since` on, up to and without `until`; without an end where that is None."""

    since: dt.date
    until: dt.date | None

    def __contains__(self, day: dt.date) -> bool:
        return self.since <= day and (self.until is None or day < self.until)


Disputes = Mapping[str, tuple[Span, ...]]
"""By number the deliveries in which nobody can say whose it is."""


def disputes(connection: Connection, work: Work) -> Disputes:
    """The numbers in dispute."""
    query = (
        sa.select(_dispute.district_id, _dispute.since, _dispute.until)
        .where(_dispute.tenant_id == work.tenant)
        .order_by(_dispute.district_id, _dispute.since)
    )
    found: dict[str, tuple[Span, ...]] = {}
    for number, since, until in connection.execute(query):
        found[number] = (*found.get(number, ()), Span(since, until))
    return found


def write_disputes(connection: Connection, work: Work, spans: Disputes) -> None:
    """Make the disputes of these numbers exactly these."""
    for number, of_number in spans.items():
        mine = sa.and_(_dispute.tenant_id == work.tenant, _dispute.district_id == number)
        connection.execute(disputed_numbers.delete().where(mine))
        if of_number:
            connection.execute(
                disputed_numbers.insert(),
                [
                    {"tenant_id": work.tenant, "district_id": number, "since": span.since, "until": span.until}
                    for span in of_number
                ],
            )


@dataclass(frozen=True)
class Merge:
    """Two numbers that a person has joined."""

    id: uuid.UUID
    old_number: str
    new_number: str
    reason: str
    merged_by: str | None
    merged_at: dt.datetime
    undone_at: dt.datetime | None
    in_force: bool
    moved: dict[str, Any] | None


def merges(connection: Connection, work: Work) -> list[Merge]:
    """Every joining of the tenant, those that were taken back included, oldest first."""
    columns = (_merge[name] for name in Merge.__dataclass_fields__)
    query = sa.select(*columns).where(_merge.tenant_id == work.tenant).order_by(_merge.merged_at, _merge.id)
    return [Merge(**row._mapping) for row in connection.execute(query)]


def joined_numbers(connection: Connection, work: Work) -> dict[str, str]:
    """By each number that was given up the number of the joined child."""
    return {merge.old_number: merge.new_number for merge in merges(connection, work) if merge.in_force}


def numbers_of(connection: Connection, work: Work, number: str) -> set[str]:
    """The number, and those that have been joined with it."""
    joined = joined_numbers(connection, work)
    current = joined.get(number, number)
    return {number, current, *(old for old, new in joined.items() if new == current)}


def note_merge(connection: Connection, work: Work, old: str, new: str, reason: str, moved: Mapping[str, Any]) -> None:
    """Note that a person has joined two numbers, and what has moved besides the records."""
    connection.execute(
        student_merges.insert().values(
            id=new_ids(1)[0],
            tenant_id=work.tenant,
            old_number=old,
            new_number=new,
            reason=reason,
            merged_by=work.actor,
            in_force=True,
            moved=dict(moved),
        )
    )


def note_undone(connection: Connection, work: Work, merge: Merge) -> None:
    """Note that a joining has been taken back."""
    connection.execute(
        student_merges.update()
        .where(_merge.id == merge.id)
        .values(in_force=False, undone_by=work.actor, undone_at=dt.datetime.now(dt.UTC))
    )


def spans(days: Iterable[tuple[dt.date, bool]]) -> tuple[Span, ...]:
    """The spans of a number that on these days (ascending) was delivered for its child (True) or another one."""
    found: list[Span] = []
    since: dt.date | None = None
    for day, is_owner in days:
        if is_owner and since is not None:
            found.append(Span(since, day))
            since = None
        elif not is_owner and since is None:
            since = day
    return (*found, Span(since, None)) if since is not None else tuple(found)
