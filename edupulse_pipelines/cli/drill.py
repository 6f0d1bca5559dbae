"""`edupulse backup drill`: restore the backups, compare, and take everything away again."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from edupulse_pipelines.cli.answers import print_json
from edupulse_pipelines.cli.database import owners_database
from edupulse_pipelines.cli.home import settings_of
from edupulse_pipelines.cli.options import command, json_option


@click.command("drill")
@click.option("--clean", "only_clean", is_flag=True, help="Only take away what a drill left behind that was killed.")
@json_option
@command
def drill(only_clean: bool, as_json: bool, home: Path | None) -> None:
    """Prove that there is a way back: restore what was backed up on this machine, and compare it. Exit 1 if it differs.

    Notes a hash of every table and partition in a quiet moment, restores to that moment (on PostgreSQL into a server
    that nobody else reaches, and once more to a time before it), compares, verifies the record of changes, and scores
    by the champions from restored files. Nothing of it stays. Loads wait for a moment. On PostgreSQL as the owner of
    the tables: by the keeper's URL (EDUPULSE_KEEPER_URL) where there are roles.
    """
    from edupulse_pipelines.operations.recovery.drill import drill as do_drill
    from edupulse_pipelines.operations.recovery.scratch import clean
    from edupulse_pipelines.risk.book.registry import Registry

    settings = settings_of(home)
    if only_clean:
        removed = clean(settings)
        if as_json:
            print_json({"removed": removed})
        else:
            click.echo("What a drill had left behind is gone." if removed else "No drill left anything behind.")
        return
    registry = Registry(settings.tracking_uri, settings.mlflow_dir / "artifacts")
    tell = (lambda _: None) if as_json else click.echo
    done = do_drill(settings, owners_database(settings), registry, tell=tell)
    if as_json:
        print_json(done.facts())
    else:
        for finding in done.findings:
            click.echo(finding)
        for sentence in done.unproven:
            click.echo(f"Not proven: {sentence}")
        rto = "unknown" if done.rto_seconds is None else f"{done.rto_seconds:,.1f} s"
        rpo = "unknown" if done.rpo_seconds is None else f"{done.rpo_seconds:,.0f} s"
        click.echo(
            f"{'Everything came back' if done.succeeded else 'The drill failed'}: {done.sizes.get('rows', 0):,} rows; "
            f"a restored database answers after {rto}, and what a loss would have cost is {rpo}."
        )
    sys.exit(0 if done.succeeded else 1)
