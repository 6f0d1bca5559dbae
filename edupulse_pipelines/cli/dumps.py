"""`edupulse backup dump` and `restore-dump`: rows and roles as SQL knows them, for another PostgreSQL."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from edupulse_pipelines.cli.answers import answer
from edupulse_pipelines.cli.home import settings_of
from edupulse_pipelines.cli.options import command, json_option
from edupulse_pipelines.errors import ConfigurationError
from edupulse_pipelines.settings import checked_database_url
from edupulse_pipelines.sizes_in_words import in_bytes

jobs_option = click.option(
    "--jobs", type=click.IntRange(1, 64), default=2, show_default=True, help="How many tables at a time."
)


@click.command("dump")
@click.option(
    "--to", "folder", required=True, type=click.Path(path_type=Path), help="The folder that is made; not there yet."
)
@jobs_option
@json_option
@command
def dump(folder: Path, jobs: int, as_json: bool, home: Path | None) -> None:
    """Dump the database and the server's roles, without passwords, for a server of another major version.

    PostgreSQL only, as the role that copies. In a home with a key it is encrypted. It is no way back to a time:
    `edupulse backup create` is.
    """
    from edupulse_pipelines.operations.backup.dumps import take_dump

    taken = take_dump(settings_of(home), folder, jobs=jobs)
    facts = {
        "folder": str(taken.folder),
        "server_version": taken.server_version,
        "taken_at": taken.taken_at.isoformat(),
        "size_bytes": taken.size_bytes,
        "encrypted": taken.encrypted,
    }
    sentence = (
        f"{taken.folder}: {len(taken.files):,} files, {in_bytes(taken.size_bytes)}, of PostgreSQL "
        f"{taken.server_version}{', encrypted with the key of the home' if taken.encrypted else ''}."
    )
    answer(sentence, facts, as_json)


@click.command("restore-dump")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--to", "url", required=True, help="postgresql://… of an empty database, as a superuser, no password.")
@jobs_option
@json_option
@command
def restore_dump(folder: Path, url: str, jobs: int, as_json: bool, home: Path | None) -> None:
    """Restore the dump in FOLDER into an empty database, on a server of its version or a later one.

    The password comes from ~/.pgpass, since every user of the machine sees a command line. Roles get none: set them
    by hand. Whoever was erased since the dump was taken is in it: it stays closed to all but superusers and the keeper
    where somebody was, or nobody can know. Exit 1 then, and where something about roles is left for a person.
    """
    from sqlalchemy.engine import make_url

    from edupulse_pipelines.operations.backup.from_dump import restore_from_folder

    target = checked_database_url(url, "--to")
    if not target.startswith("postgresql"):
        raise ConfigurationError("--to: a dump goes into PostgreSQL.")
    if make_url(target).password:
        raise ConfigurationError("--to holds a password, which every user of this machine sees: put it into ~/.pgpass.")
    done = restore_from_folder(settings_of(home), folder, target, jobs=jobs)
    said = ["The dump is restored. `edupulse db check` compares it.", *(f"To do: {one}." for one in done.roles)]
    if done.not_known:
        said.append(done.not_known)
    if done.closed:
        said.append(f"It is closed. {done.closed}")
    facts = {"left": done.roles, "closed": done.closed, "not_known": done.not_known}
    answer("\n".join(said), facts, as_json)
    sys.exit(1 if done.roles or done.closed else 0)
