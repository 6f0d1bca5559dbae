"""What the weekly job and `edupulse db maintain` do: months ahead, upkeep of tables and indexes, and a measurement."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from edupulse_pipelines.errors import DatabaseBusy
from edupulse_pipelines.operations import partitions
from edupulse_pipelines.operations.upkeep import postgresql, sqlite
from edupulse_pipelines.operations.upkeep.findings import LogSetting, Statement, log_settings, slow_statements
from edupulse_pipelines.operations.upkeep.growth import Forecast, Point, forecasts, growth, history, point_of, remember
from edupulse_pipelines.operations.upkeep.sizes import Sizes, measure
from edupulse_pipelines.operations.upkeep.tasks import Task, Upkeep
from edupulse_pipelines.settings import Settings
from edupulse_pipelines.settings.maintenance import MaintenanceSettings
from edupulse_pipelines.storage.turns import end_upkeep, take_upkeep
from edupulse_pipelines.storage.work import Work


@dataclass
class DatabaseState:
    """What was measured, and what it means. Growth is in bytes a day, by area and by table, of those that are known.

    statements: None where nobody counts them. before: the measurements on record, the oldest first.
    """

    sizes: Sizes
    before: list[Point]
    area_growth: dict[str, float]
    table_growth: dict[str, float]
    forecasts: list[Forecast]
    log_settings: list[LogSetting]
    statements: list[Statement] | None
    notes: list[str] = field(default_factory=list)

    @property
    def facts(self) -> dict[str, Any]:
        """As `--json` tells it."""
        return {
            "measured_at": self.sizes.at.isoformat(),
            "sizes": self.sizes.areas,
            "growth_per_day": {name: round(rate) for name, rate in self.area_growth.items()},
            "table_sizes": {
                table.name: {
                    "table_bytes": table.table_bytes,
                    "index_bytes": table.index_bytes,
                    "rows": table.rows,
                    "growth_per_day": round(self.table_growth[table.name]) if table.name in self.table_growth else None,
                }
                for table in self.sizes.tables or ()
            },
            "disks": {
                one.disk: {
                    "free": one.free,
                    "total": one.total,
                    "used_per_day": None if one.per_day is None else round(one.per_day),
                    "days_until_full": None if one.days is None else round(one.days, 1),
                }
                for one in self.forecasts
            },
            "log_settings": [vars(one) for one in self.log_settings],
            "slow_statements": None if self.statements is None else [vars(one) for one in self.statements],
        }


def keep_up(
    work: Work,
    limits: MaintenanceSettings,
    today: dt.date,
    *,
    dry_run: bool = False,
    hears: Callable[[Task], None] = lambda task: None,
) -> Upkeep:
    """Make months ahead, and do what tables and indexes need; or say what would be done, and why.

    `work` is the owner's, or does what its role may: the rest is in `Upkeep.refused`. DatabaseBusy where another upkeep
    of the same database is under way, or the partitioned table was in use for an hour; what is done by then stays.
    """
    months = partitions.planned(work, today) if dry_run else partitions.maintain(work, today)
    upkeep = Upkeep(months)
    with work.outside_transactions() as connection:
        if connection.dialect.name == "sqlite":
            sqlite.keep_up(connection, limits, upkeep, dry_run=dry_run, hears=hears)
            return upkeep
        if not dry_run and not take_upkeep(connection):
            raise DatabaseBusy("Another maintenance of this database is under way; let it end, and try again.")
        try:
            postgresql.keep_up(connection, limits, upkeep, dry_run=dry_run, hears=hears)
        finally:
            if not dry_run and not connection.invalidated:
                end_upkeep(connection)
    return upkeep


def state_of(work: Work, loaders: Work, settings: Settings, at: dt.datetime, *, keep: bool = True) -> DatabaseState:
    """Measure the database and the home, and compare with what is on record.

    work: of whoever may see most of the server, the keeper. loaders: of the pipelines, whose statements the server's
    log would hold. keep: add the measurement to those on record.
    """
    notes: list[str] = []
    with work.outside_transactions() as connection:
        sizes = measure(connection, settings, at)
        statements = slow_statements(connection, notes)
    with loaders.outside_transactions() as connection:
        settings_of_the_log = log_settings(connection)
    before = [point for point in history(settings.home) if point.at.date() < at.date()]
    now = point_of(sizes)
    if keep:
        try:
            remember(settings.home, now)
        except OSError as error:
            notes.append(f"The sizes are not kept for comparison: {settings.home} {error.strerror}.")
    area_growth, table_growth = growth(before, now)
    return DatabaseState(
        sizes=sizes,
        before=before,
        area_growth=area_growth,
        table_growth=table_growth,
        forecasts=forecasts(before, sizes),
        log_settings=settings_of_the_log,
        statements=statements,
        notes=[*sizes.notes, *notes],
    )
