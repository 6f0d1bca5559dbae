"""`edupulse backup standby`: a second server that follows the primary, and takes its place."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

import click

from edupulse_pipelines.cli.answers import answer, print_json
from edupulse_pipelines.cli.home import settings_of
from edupulse_pipelines.cli.options import command, json_option
from edupulse_pipelines.errors import ConfigurationError
from edupulse_pipelines.settings import Settings, standby_url
from edupulse_pipelines.storage.database import Database


@click.group()
def standby() -> None:
    """A second server that replays what the primary writes, and takes its place when it is gone.

    \b
    Make one:        edupulse backup standby create FOLDER
    How is it:       edupulse backup standby status
    Take the place:  edupulse backup standby promote

    PostgreSQL only. EDUPULSE_STANDBY_URL names the standby itself; a EDUPULSE_DATABASE_URL that names both servers and
    says target_session_attrs=read-write finds whichever takes writes. The runbook is in `docs/operating.md`.
    """


@standby.command("create")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@json_option
@command
def create(folder: Path, as_json: bool, home: Path | None) -> None:
    """Fill an empty FOLDER with a standby of the primary, and keep WAL for it in a slot from now on.

    To be run on the standby's machine, by a role with REPLICATION (EDUPULSE_BACKUP_URL, else the backup role).
    The role's password goes into the folder, which is for its owner alone. It is started by you; the line is printed.
    """
    from edupulse_pipelines.operations.backup.barman_configuration import copying_url
    from edupulse_pipelines.operations.recovery.standby import create_standby

    settings = _on_postgresql(home)
    url = copying_url(settings)
    made = create_standby(settings, Database(url), folder.absolute(), url)
    sentence = (
        f"{made.folder} is a standby; the slot {made.slot} keeps WAL for it. Look at its configuration, and start "
        f"it as the server's user:\n  {made.start}"
    )
    answer(sentence, {"folder": str(made.folder), "slot": made.slot, "start": made.start}, as_json)


@standby.command("status")
@json_option
@command
def status(as_json: bool, home: Path | None) -> None:
    """How far the standby is behind, in bytes and seconds, and how its slot is. Exit 1 beyond what [standby] allows."""
    from edupulse_pipelines.operations.backup.barman_configuration import copying_url
    from edupulse_pipelines.operations.recovery.standby import standby_state, trouble_with_standby

    settings = _on_postgresql(home)
    its_url = standby_url()
    primary = Database(copying_url(settings))
    state = standby_state(settings, primary, None if its_url is None else Database(its_url))
    trouble = trouble_with_standby(settings, state)
    if as_json:
        print_json(asdict(state) | {"slot_name": settings.standby.slot_name, "trouble": trouble})
    else:
        for sentence in trouble:
            click.echo(sentence)
        if not trouble:
            seconds = "unknown" if state.lag_seconds is None else f"{state.lag_seconds:,.1f}"
            size = "unknown" if state.lag_bytes is None else f"{state.lag_bytes:,}"
            click.echo(f"The standby follows: {size} bytes and {seconds} seconds behind.")
    sys.exit(1 if trouble else 0)


@standby.command("promote")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--force", is_flag=True, help="Also while the primary answers, or nobody can tell.")
@json_option
@command
def promote(yes: bool, force: bool, as_json: bool, home: Path | None) -> None:
    """Make the standby the primary. It asks, and refuses unless the primary is seen to be gone.

    What the old primary has not sent is lost; when it comes back it must not be started as it is: make it a standby
    of the new one. By EDUPULSE_STANDBY_URL, as a superuser or a role that may execute pg_promote.
    """
    from edupulse_pipelines.operations.recovery.standby import promote_standby, standby_url_or_refuse

    settings = _on_postgresql(home)
    url = standby_url_or_refuse(standby_url())
    if not yes:
        click.confirm(
            "The old primary must be gone for good, or two servers take writes. Make the standby the primary?",
            abort=True,
            err=True,
        )
    promote_standby(settings, url, force=force)
    answer(
        "The standby is the primary now. Clients whose URL names both servers with target_session_attrs=read-write go "
        "there by themselves. Take a full backup (`edupulse backup create --full`), and make a new standby.",
        {"promoted": True},
        as_json,
    )


def _on_postgresql(home: Path | None) -> Settings:
    settings = settings_of(home)
    if not settings.database_url.startswith("postgresql"):
        raise ConfigurationError("A standby is for PostgreSQL; this home keeps its database in a SQLite file.")
    return settings
