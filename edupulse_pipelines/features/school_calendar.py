"""The school calendar of a tenant: which weeks had school, and since when attendance, grades and incidents are sent.

It is read from what was delivered, not from a list of holidays: a week is a school week when the district sent anything
for it, even about a student who has been deleted since. It reads the manifest and weekly activity. The days on which
there is instruction are in `instruction`.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.features.definitions import DOMAINS
from edupulse_pipelines.schema.delivery import TABLE_OF_DOMAIN
from edupulse_pipelines.schema.sqlalchemy_tables import weekly_activity
from edupulse_pipelines.storage import manifest
from edupulse_pipelines.storage.history import first_known, known_from
from edupulse_pipelines.storage.work import Work
from edupulse_pipelines.weeks import week_of_delivery


@dataclass(frozen=True)
class SchoolCalendar:
    """Weeks are Mondays.

    weeks: the school weeks, ascending, up to the newest delivered one. A week belongs when a loaded file with rows
    was delivered for it, or any record is dated in it.
    domain_since: per domain the first week in which it is known: that of its first delivery (even one without rows), or
    of the history that one of its deliveries carried (`known_from`); None when the district never sent it. Before that
    week the domain is missing, not zero. A single row's date decides nothing.
    last_delivered_week: the week of the newest delivery; records dated after it wait for the next one.
    """

    weeks: tuple[dt.date, ...]
    domain_since: dict[str, dt.date | None]
    last_delivered_week: dt.date | None


def school_calendar(connection: Connection, work: Work, first_week: dt.date | None = None) -> SchoolCalendar:
    """The calendar as the database has it now; index look-ups only, so it costs the same all year.

    Weeks before `first_week` (the tenant's, a Monday) are no school weeks, whatever an old-dated row says.
    """
    files = manifest.loaded_deliveries(connection, work)
    last_delivered = max((week_of_delivery(delivered_on) for _, delivered_on, _ in files), default=None)
    weeks = {week_of_delivery(delivered_on) for _, delivered_on, rows_read in files if rows_read}
    weeks.update(activity_weeks(connection, work))

    since = {domain: _known_since(connection, work, domain) for domain in DOMAINS}
    return SchoolCalendar(
        weeks=tuple(
            sorted(
                week for week in weeks if last_delivered is not None and (first_week or week) <= week <= last_delivered
            )
        ),
        domain_since=since,
        last_delivered_week=last_delivered,
    )


def distinct_days(
    connection: Connection, column: sa.ColumnElement[Any], *where: sa.ColumnElement[bool]
) -> list[dt.date]:
    """The distinct values of an indexed date column, ascending.

    Steps from value to value through the index (one seek each), where DISTINCT would read every row of the table.
    """
    days = []
    after = sa.bindparam("after", type_=sa.Date())
    following = sa.select(sa.func.min(column)).where(*where, column > after)
    day = connection.execute(sa.select(sa.func.min(column)).where(*where)).scalar()
    while day is not None:
        days.append(day)
        day = connection.execute(following, {"after": day}).scalar()
    return days


def activity_weeks(connection: Connection, work: Work) -> list[dt.date]:
    """The weeks with a row of weekly activity, ascending."""
    return distinct_days(connection, weekly_activity.c.week_start, weekly_activity.c.tenant_id == work.tenant)


def _known_since(connection: Connection, work: Work, domain: str) -> dt.date | None:
    """The first week in which the domain is known, by the deliveries of its table; None when there is none."""
    deliveries = manifest.weeks_delivered(connection, work, TABLE_OF_DOMAIN[domain])
    noted = first_known(deliveries)
    unnoted = min((week_of_delivery(day) for day, rows in deliveries.items() if rows is None), default=None)
    if unnoted is None:
        return noted
    # What these files held was not noted; what is stored of the weeks up to the first of them stands for it.
    recorded = known_from(unnoted, _recorded(connection, work, domain, until=unnoted))
    return recorded if noted is None else min(recorded, noted)


def _recorded(connection: Connection, work: Work, domain: str, until: dt.date) -> dict[dt.date, int]:
    """Records of the domain in weekly activity, by week, those of weeks after `until` left out."""
    table = weekly_activity.c
    records = {
        "attendance": table.sessions_present + table.sessions_absent + table.sessions_tardy + table.sessions_excused,
        "academic": table.grade_count,
        "behavioral": table.incident_count,
    }[domain]
    query = (
        sa.select(table.week_start, sa.func.sum(records))
        .where(table.tenant_id == work.tenant, table.week_start <= until, records > 0)
        .group_by(table.week_start)
    )
    return {week: int(count) for week, count in connection.execute(query)}
