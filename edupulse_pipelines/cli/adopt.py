"""`edupulse db adopt`: a database of version 1.0 brought along, or what would come of it, or its old tables dropped."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edupulse_pipelines.cli.answers import command_to_type, print_json
from edupulse_pipelines.cli.database import owners_database, role_names
from edupulse_pipelines.cli.home import settings_of
from edupulse_pipelines.cli.options import command, json_option
from edupulse_pipelines.settings import Settings

if TYPE_CHECKING:
    from edupulse_pipelines.operations.adoption.adopt import Adoption


@click.command("adopt")
@click.option("--tenant", "tenant_name", help="The district whose database it is, as edupulse.toml has it.")
@click.option("--dry-run", is_flag=True, help="Say what would become of the rows, and change nothing.")
@click.option(
    "--finish", "finishing", is_flag=True, help="Drop the old tables; wants a backup from after the adoption."
)
@json_option
@command
def db_adopt(tenant_name: str | None, dry_run: bool, finishing: bool, as_json: bool, home: Path | None) -> None:
    """Bring along a database of version 1.0, which is one district's.

    Its tables go to the schema v1_0 (SQLite: v1_0_...), the tables of now are made, and rows come over in batches, with
    their ids: every row is kept, a repeat of another one, or in quarantine with its reason. Whoever stops it runs the
    same command again. Other commands wait until it is done. Nothing is dropped before --finish.
    """
    if finishing and (tenant_name or dry_run):
        raise click.UsageError("--finish stands alone: the database knows whom it was adopted for.")
    if not finishing and tenant_name is None:
        raise click.UsageError("Say whose database it is: --tenant NAME.")
    settings = settings_of(home, make=True)
    if finishing:
        _finish(settings, as_json)
        return
    assert tenant_name is not None
    tenant = settings.tenant(tenant_name)
    database = owners_database(settings)
    from edupulse_pipelines.operations.adoption import adopt as adoption

    if dry_run:
        done = adoption.dry_run(database, tenant)
    else:
        from edupulse_pipelines.cli.output.drawing import console
        from edupulse_pipelines.cli.output.steps import ConsoleProgress
        from edupulse_pipelines.cli.weekly_job import libraries_to_log
        from edupulse_pipelines.governance.access import let_in_if_there

        names = role_names(settings)
        with libraries_to_log(settings), ConsoleProgress(console(to_stderr=as_json)) as progress:
            progress.begin("adopt")
            done = adoption.adopt(
                database,
                settings,
                tenant,
                lambda connection: let_in_if_there(connection, names),
                progress.advanced,
            )
    if as_json:
        print_json({"tenant": tenant.name, "dry_run": dry_run, **_facts(done)})
    else:
        _show(done, tenant.name, home, dry_run=dry_run)


def _facts(done: Adoption) -> dict[str, Any]:
    return {
        "resumed": done.resumed,
        "tables": {table: counts.as_json() for table, counts in done.report.items()},
        "total": done.total.as_json(),
        "left": {"tables": done.tables, "moved": done.moved, "columns": done.columns, "views": done.views},
    }


def _show(done: Adoption, tenant: str, home: Path | None, *, dry_run: bool) -> None:
    from edupulse_pipelines.cli.output.drawing import console, counted, show_lines, table_of_figures

    on = console()
    title = f"{tenant}, version 1.0" + (": what would become of it" if dry_run and not done.resumed else "")
    figures = table_of_figures(title, "read", "kept", "repeated", "quarantined", "recomputed")
    for table, counts in {**done.report, "all": done.total}.items():
        numbers = (counts.read, counts.kept, counts.repeated, counts.quarantined, counts.recomputed)
        figures.add_row(table, *(f"{number:,}" for number in numbers))
    on.print(figures)
    lines = [
        f"{table}: {code}  {count:,}"
        for table, counts in done.report.items()
        for code, count in sorted(counts.reasons.items())
    ]
    if lines:
        show_lines(on, "Reasons for quarantine", lines)
    others = [
        f"{_OTHERS.get(name, name)}: {count:,}"
        for counts in done.report.values()
        for name, count in sorted(counts.others.items())
    ]
    if others:
        show_lines(on, "Also", others)
    stays = [
        *(f"table {name}, where it is" for name in done.tables),
        *(f"table {name}, in v1_0: it is none of version 1.0, and has the name of one of ours" for name in done.moved),
        *(f"{table}.{name}, in v1_0" for table, names in done.columns.items() for name in names),
        *(f"{name}, which reads tables of version 1.0 and keeps them from being dropped" for name in done.views),
    ]
    if stays:
        show_lines(on, f"Stays behind ({counted(len(stays), 'thing')})", stays)
    if dry_run:
        on.print("Nothing was changed." if not done.resumed else "It has begun; these rows are here.")
        return
    on.print(
        f"All rows are here. Next: {command_to_type(f'run --tenant {tenant}', home)} computes features and scores; "
        f"{command_to_type('db adopt --finish', home)} drops the old tables, once there is a backup."
    )


_OTHERS = {
    "assumed_entries": "students whose entry is assumed, as version 1.0 has none",
    "models_made": "models made because only predictions name them",
}


def _finish(settings: Settings, as_json: bool) -> None:
    from edupulse_pipelines.operations.adoption.finish import finish

    done = finish(owners_database(settings), lambda: _last_backup(settings))
    if as_json:
        print_json({"tenant": done.tenant, "dropped": done.rows, "left": done.left})
        return
    click.echo(f"The tables of version 1.0 are gone; {sum(done.rows.values()):,} rows of theirs are accounted for.")
    for name in done.left:
        click.echo(f"{name} stays in v1_0: it is no table of version 1.0.")


def _last_backup(settings: Settings) -> dt.datetime | None:
    """When the newest backup was begun, also one that this home was brought back from; None without any."""
    from edupulse_pipelines.operations.backup.moments import newest_moment
    from edupulse_pipelines.operations.backup.restoring import restored_from

    newest = newest_moment(settings)
    return restored_from(settings.home) if newest is None else newest.at
