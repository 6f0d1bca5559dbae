"""The `edupulse` command: what to type, and how it ends. One module for each group of commands; drawing is `output`.

The work is done in other rooms, which are imported when a command runs.
Exit codes: 0 done, 1 the work failed, 2 wrong usage. An error a person can act on is one message, never a traceback.
"""

from __future__ import annotations

from pathlib import Path

import click

from edupulse_pipelines import __version__
from edupulse_pipelines.cli import (
    adopt,
    audit,
    backup,
    db,
    demo,
    dev,
    dumps,
    enrollments,
    keys,
    model,
    privacy,
    quarantine,
    run,
    students,
    weekly_list,
)
from edupulse_pipelines.cli.options import home_option
from edupulse_pipelines.settings import quiet_libraries


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="edupulse")
@home_option
@click.pass_context
def main(context: click.Context, home: Path | None) -> None:
    """From a school district's weekly files to validated tables, features and explained risk predictions.

    \b
    Try it:         edupulse demo
    Your own data:  write <home>/edupulse.toml, land files in <landing>/<date>/<table>.csv, then
                    edupulse run --all
    Look at it:     edupulse dev

    The home is --home (here or after the command), else EDUPULSE_HOME, else ./.edupulse. The database is
    EDUPULSE_DATABASE_URL, else SQLite in the home.

    Exit codes: 0 done, 1 the work failed, 2 wrong usage.
    """
    context.obj = home
    quiet_libraries()


for part in (
    demo.demo,
    demo.generate,
    run.run,
    weekly_list.weekly_list,
    dev.dev,
    quarantine.quarantine,
    students.students,
    enrollments.enrollments,
    model.model,
    privacy.privacy,
    audit.audit,
    keys.keys,
    backup.backup,
    db.db,
):
    main.add_command(part)
db.db.add_command(adopt.db_adopt)
backup.backup.add_command(dumps.dump)
backup.backup.add_command(dumps.restore_dump)
