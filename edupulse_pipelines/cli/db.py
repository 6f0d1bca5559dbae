"""`edupulse db …`: the schema of the database, its roles, and the months that attendance is partitioned by."""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edupulse_pipelines.cli.answers import answer, command_to_type, print_json
from edupulse_pipelines.cli.database import database_with_schema, keepers_database, owners_database, role_names
from edupulse_pipelines.cli.home import settings_of
from edupulse_pipelines.cli.maintain import maintain
from edupulse_pipelines.cli.options import command, json_option
from edupulse_pipelines.schema.tables import ATTENDANCE_RECORDS
from edupulse_pipelines.storage.database import database_of

if TYPE_CHECKING:
    from edupulse_pipelines.governance.role_names import RoleNames
    from edupulse_pipelines.governance.roles import Made


@click.group()
def db() -> None:
    """The database: its schema, and on PostgreSQL its roles and the months that attendance is partitioned by.

    \b
    Schema:         edupulse db upgrade | current | check
    Version 1.0:    edupulse db adopt --tenant NAME [--dry-run]     (then: edupulse db adopt --finish)
    Roles:          edupulse db roles [--print]
    Upkeep:         edupulse db maintain [--dry-run]    (so does the job maintenance, weekly)
    Months:         edupulse db partitions
    Archive one:    edupulse db detach-month 2024-09    (dump its table, then empty it)
                    edupulse db attach-month 2024-09    (and back)
    """


@db.command("upgrade")
@json_option
@command
def db_upgrade(as_json: bool, home: Path | None) -> None:
    """Bring the database to the schema that this version needs. Safe to repeat.

    A database that a newer version made is refused, and stays as it is.
    On PostgreSQL as the role that owns the tables, or is to own them: the keeper's URL (EDUPULSE_KEEPER_URL) where
    there are roles. These are let in to new tables.
    """
    from edupulse_pipelines.governance.access import let_in_if_there

    settings = settings_of(home, make=True)
    names = role_names(settings)
    before, head = owners_database(settings).upgrade(lambda connection: let_in_if_there(connection, names))
    sentence = f"Already at {head}." if before == head else f"Upgraded from {before or 'empty'} to {head}."
    answer(sentence, {"before": before, "current": head, "head": head}, as_json)


@db.command("current")
@json_option
@command
def db_current(as_json: bool, home: Path | None) -> None:
    """The schema revision of the database, and the one that this version needs. Exit 1 when they differ.

    Also when the revision is right, but the functions, triggers and comments are another version's, and when a newer
    version made the database. A SQLite file that is not there is not made.
    """
    state = database_of(settings_of(home)).state()
    behind = ""
    if state.revision != state.head:
        behind = f" This version needs {state.head}: run `edupulse db upgrade`."
    elif not state.has_current_objects:
        behind = " Functions, triggers and comments are another version's: run `edupulse db upgrade`."
    facts = {"current": state.revision, "head": state.head, "objects_are_current": state.has_current_objects}
    answer(f"{state.revision or 'No schema.'}{behind}", facts, as_json)
    sys.exit(1 if behind else 0)


@db.command("check")
@json_option
@command
def db_check(as_json: bool, home: Path | None) -> None:
    """Compare the database with the declared tables, constraints, indexes and triggers. Exit 1 when they differ.

    Also when only its revision, or what `db upgrade` applied last, is another version's.
    On PostgreSQL also functions, comments, row-level security, and what roles may do with tables; the role needs the
    CREATE privilege on the database.
    """
    from edupulse_pipelines.cli.output.drawing import console, counted, show_lines
    from edupulse_pipelines.governance.access import deviations

    settings = settings_of(home)
    names = role_names(settings)
    differences = owners_database(settings).check(lambda connection: deviations(connection, names))
    if differences and not as_json:
        show_lines(console(), counted(len(differences), "difference"), differences)
    else:
        answer("The database is as declared.", {"differences": differences}, as_json)
    sys.exit(1 if differences else 0)


@db.command("roles")
@click.option("--print", "as_script", is_flag=True, help="Print the SQL, and do nothing.")
@json_option
@command
def db_roles(as_script: bool, as_json: bool, home: Path | None) -> None:
    """Make the roles of PostgreSQL, and let each in to the rows that are its own. Safe to repeat.

    Connects by EDUPULSE_KEEPER_URL, else EDUPULSE_DATABASE_URL: at first as an administrator, later as the keeper. What
    the connection may not do is printed to be pasted, and the exit code is 1. No role gets a password.
    """
    from edupulse_pipelines.governance import roles

    settings = settings_of(home)
    names = role_names(settings)
    if as_script:
        click.echo(roles.script(names), nl=False)
        return
    with keepers_database(settings).unchecked_work() as work:
        made = roles.make_roles(work, names)
    if as_json:
        print_json(
            {
                "roles": list(made.roles),
                "has_tables": made.has_tables,
                "changed": made.changed,
                "left": [statement for statement, _ in made.left],
                "former": [{"role": role, "statements": roles.dropping(role)} for role in made.former],
            }
        )
    else:
        _show_roles(names, made)
    sys.exit(1 if made.left else 0)


def _show_roles(names: RoleNames, made: Made) -> None:
    click.echo(
        f"{names.owner} owns the tables, {names.keeper} may become it, {names.loader} is the pipelines, {names.backup} "
        "copies."
    )
    for tenant in names.tenants:
        click.echo(f"{tenant}: {names.analyst(tenant)} reads, {names.auditor(tenant)} reads the record of changes.")
    if made.has_tables:
        click.echo("Their rights and policies are as they should be.")
    elif not made.left:
        click.echo(
            "There are no tables yet: `edupulse db upgrade` (version 1.0: `db adopt`) makes them and lets the roles in."
        )
    if made.former:
        from edupulse_pipelines.governance.roles import dropping

        click.echo(
            "\nThese roles are of districts that are no longer in the settings. They stay, and still log in and read "
            "the rows of their district, as long as there are any. To end one, as a superuser:\n"
        )
        for role in made.former:
            click.echo(f"{dropping(role)}")
        click.echo("")
    if made.left:
        click.echo("\nThis connection may not do the following; a superuser has to, and then this command again:\n")
        for statement, reason in made.left:
            click.echo(f"-- {reason}\n{statement};\n")
    else:
        click.echo("None of them gets a password here: \\password NAME in psql, or another way in pg_hba.conf.")


@db.command("partitions")
@json_option
@command
def db_partitions(as_json: bool, home: Path | None) -> None:
    """The months of attendance with rows and size, detached ones too, and what lies in the default partition."""
    from edupulse_pipelines.cli.output.drawing import console
    from edupulse_pipelines.cli.output.months import show_partitions
    from edupulse_pipelines.storage import months

    with database_with_schema(home) as work, work.reading() as connection:
        partitioned = months.is_partitioned(connection)
        tables = months.PARTITIONED if partitioned else {}
        stored = {table: months.stored_months(connection, table) for table in tables}
        default = {table: months.default_months(connection, table) for table in tables}
    if as_json:
        listed = {
            table: {
                "months": [{**vars(month), "month": f"{month.month:%Y-%m}"} for month in stored[table]],
                "default": default[table],
            }
            for table in tables
        }
        print_json({"partitioned": partitioned, "tables": listed})
        return
    if not partitioned:
        click.echo("On SQLite attendance is one table; there are no partitions.")
    for table in tables:
        show_partitions(console(), table, stored[table], default[table])


def _month(_context: click.Context, _parameter: click.Parameter, text: str) -> dt.date:
    try:
        return dt.datetime.strptime(text, "%Y-%m").date()
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a month like 2024-09.") from None


db.add_command(maintain)
month_argument = click.argument("month", metavar="YYYY-MM", callback=_month)


@db.command("detach-month")
@month_argument
@json_option
@command
def db_detach_month(month: dt.date, as_json: bool, home: Path | None) -> None:
    """Take a month of attendance out of the pipelines' sight, into a table of its own, for archiving.

    Waits for loads that are under way. What has been computed from the month (weekly activity, features, predictions)
    stays. Dump the table, then TRUNCATE it: while it stands, rows of the month that are delivered go to quarantine
    (`detached_month`). DROP it, and the month is like one that never was.
    """
    from edupulse_pipelines.operations.partitions import detach_month

    with database_with_schema(home, as_owner=True) as work:
        detached = detach_month(work, ATTENDANCE_RECORDS.name, month)
    sentence = f"{month:%Y-%m} is now the table {detached.name}. Dump it, then TRUNCATE it; do not drop it."
    answer(sentence, {"month": f"{month:%Y-%m}", "table": detached.name, "attached": False}, as_json)


@db.command("attach-month")
@month_argument
@json_option
@command
def db_attach_month(month: dt.date, as_json: bool, home: Path | None) -> None:
    """Bring back a month of attendance that was detached; its rows are checked again.

    The table has to be there with its rows: restore it from its dump first. The next weekly job computes the weeks of
    the month again.
    """
    from edupulse_pipelines.operations.partitions import attach_month

    with database_with_schema(home, as_owner=True) as work:
        attached = attach_month(work, ATTENDANCE_RECORDS.name, month)
    sentence = (
        f"{month:%Y-%m} is back. Rows of the month that wait in quarantine: "
        f"{command_to_type(f'quarantine replay --table {ATTENDANCE_RECORDS.name}', home)}"
    )
    answer(sentence, {"month": f"{month:%Y-%m}", "table": attached.name, "attached": True}, as_json)
