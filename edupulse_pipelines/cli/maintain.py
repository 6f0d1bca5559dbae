"""`edupulse db maintain`: the upkeep of the database by command, as the weekly job does it."""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path

import click

from edupulse_pipelines.cli.answers import print_json
from edupulse_pipelines.cli.database import owners_database, works_in
from edupulse_pipelines.cli.home import settings_of
from edupulse_pipelines.cli.options import command, json_option


@click.command("maintain")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and why; change nothing.")
@json_option
@command
def maintain(dry_run: bool, as_json: bool, home: Path | None) -> None:
    """Keep the database well, and say how large it is and when its disk will be full. Safe to repeat.

    On PostgreSQL: months made ahead, and rows moved out of the default partition; leftovers of interrupted index builds
    dropped; tables and partitions vacuumed and analysed, and indexes built anew, where they need it by [maintenance].
    As the keeper (EDUPULSE_KEEPER_URL) where there are roles. On SQLite: statistics, the write-ahead log written back,
    the file written anew where much of it is free. It keeps nobody from reading or writing rows.

    Exit 1 when something was needed and could not be done: it says why, and what to do.
    """
    from edupulse_pipelines.cli.output.drawing import console
    from edupulse_pipelines.cli.output.upkeep import show_state, show_task, show_upkeep
    from edupulse_pipelines.errors import SchemaBehind
    from edupulse_pipelines.operations.upkeep.maintenance import keep_up, state_of
    from edupulse_pipelines.storage.work import EVERY_TENANT

    settings = settings_of(home, make=True)
    now = dt.datetime.now(dt.UTC)
    on = console(to_stderr=as_json)
    with works_in(settings) as loaders, owners_database(settings).works_if_filled() as owners:
        if owners is None:
            raise SchemaBehind("The database that EDUPULSE_KEEPER_URL names is empty.")
        work = owners(EVERY_TENANT)
        done = keep_up(
            work,
            settings.maintenance,
            now.date(),
            dry_run=dry_run,
            hears=lambda task: None if as_json else show_task(on, task),
        )
        state = state_of(work, loaders(EVERY_TENANT), settings, now, keep=not dry_run)
    if as_json:
        months = {
            table: {
                "made": of_table.made,
                "moved": {f"{month:%Y-%m}": rows for month, rows in sorted(of_table.moved.items())},
                "left": of_table.left,
            }
            for table, of_table in done.months.items()
        }
        facts = {
            "partitioned": bool(months),
            "tables": months,
            "dry_run": dry_run,
            "tasks": [result.facts for result in done.results],
            "invalid_indexes": done.invalid,
            **state.facts,
            "notes": [*done.notes, *state.notes],
        }
        print_json(facts)
    else:
        show_upkeep(on, done)
        show_state(on, state, settings.maintenance.days_until_full)
    sys.exit(1 if done.not_done else 0)
