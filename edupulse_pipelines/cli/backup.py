"""`edupulse backup …`: moments of a home, whether they can be relied on, and bringing a home back from one."""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from edupulse_pipelines.cli.answers import answer, command_to_type, print_json
from edupulse_pipelines.cli.database import owners_database
from edupulse_pipelines.cli.drill import drill
from edupulse_pipelines.cli.home import settings_of
from edupulse_pipelines.cli.options import command, json_option, words_given
from edupulse_pipelines.cli.standby import standby
from edupulse_pipelines.settings import Settings
from edupulse_pipelines.sizes_in_words import in_bytes

if TYPE_CHECKING:
    from edupulse_pipelines.operations.backup.after_restore import Looked
    from edupulse_pipelines.operations.backup.restoring import Plan


@click.group()
def backup() -> None:
    """Backups of the home and its database, and the way back.

    \b
    First:          edupulse backup setup           (what has to be there, once)
                    edupulse backup create
    Every day:      the job `backup` in Dagster, or edupulse backup create
    Look:           edupulse backup status | list
                    edupulse backup verify          (reads all of it)
    Bring back:     edupulse backup restore --to FOLDER
    Prove it:       edupulse backup drill           (the job `recovery_drill`, monthly)
    Second server:  edupulse backup standby create | status | promote

    A moment is what database, models, raw archive and settings were at one time. A home on SQLite can be brought back
    to each of its moments, one on PostgreSQL to any time in between.
    """


backup.add_command(drill)
backup.add_command(standby)

from_option = click.option(
    "--from",
    "folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The folder with the backups.  [default: [backup] folder, else <home>/backups]",
)


@backup.command("setup")
@json_option
@command
def setup(as_json: bool, home: Path | None) -> None:
    """Make what backups need, and say what a person has to do. Safe to repeat; exit 1 while something is missing.

    On SQLite that is the folder. On PostgreSQL it is Barman's configuration, the slot, and that WAL arrives.
    """
    from edupulse_pipelines.operations.backup.preparing import prepare

    prepared = prepare(settings_of(home))
    if as_json:
        print_json(prepared.facts())
    else:
        for sentence in prepared.done:
            click.echo(sentence)
        for sentence in prepared.left:
            click.echo(f"To do: {sentence}")
        for where, lines in prepared.lines.items():
            click.echo(f"\nTo paste {where}:\n")
            for line in lines:
                click.echo(f"  {line}")
    sys.exit(1 if prepared.left else 0)


@backup.command("create")
@click.option(
    "--full", is_flag=True, help="Read every file again; on PostgreSQL take a full base backup, no increment."
)
@click.option("--dump", is_flag=True, help="Also a logical dump of a PostgreSQL, for another major version.")
@json_option
@command
def create(full: bool, dump: bool, as_json: bool, home: Path | None) -> None:
    """Take a moment of now, and throw away those that are older than `[backup] retention`. Loads go on meanwhile.

    Exit 1 also when the moment was taken and archives of the home are damaged: they are named, and in the moment as
    they are.
    """
    from edupulse_pipelines.cli.output.drawing import counted
    from edupulse_pipelines.operations.backup.taking import take_moment

    settings = settings_of(home)
    taken = take_moment(settings, owners_database(settings), full=full, dump=dump, tell=_telling(as_json))
    moment = taken.moment
    facts = {**moment.facts(), "retired": list(taken.retired), "freed_bytes": taken.freed}
    sentence = (
        f"Moment {moment.id}: {counted(len(moment.files), 'file')}, {in_bytes(moment.bytes)}, of which "
        f"{in_bytes(moment.new_bytes)} are new; schema {moment.schema_revision}, audit head "
        f"{_short(moment.audit_head)}."
    )
    if taken.retired:
        sentence += f"\nThrown away: {counted(len(taken.retired), 'older moment')}, {in_bytes(taken.freed)}."
    for name in moment.damaged:
        sentence += f"\nDamaged in the home: {name}."
    if taken.trouble is not None:
        sentence += f"\n{taken.trouble}"
    answer(sentence, {**facts, "trouble": taken.trouble}, as_json)
    sys.exit(1 if moment.damaged or taken.trouble else 0)


@backup.command("list")
@from_option
@json_option
@command
def list_moments(folder: Path | None, as_json: bool, home: Path | None) -> None:
    """The moments that there are, oldest first. Exit 1 when the manifest of one cannot be read."""
    from edupulse_pipelines.cli.output.backups import show_moments
    from edupulse_pipelines.cli.output.drawing import console
    from edupulse_pipelines.operations.backup.moments import all_moments

    settings = _settings(home, folder)
    there, unreadable = all_moments(settings)
    if as_json:
        print_json(
            {
                "folder": str(settings.backup_dir),
                "moments": [moment.facts() for moment in there],
                "unreadable": [one._asdict() for one in unreadable],
            }
        )
    elif not there and not unreadable:
        click.echo(f"There is no moment in {settings.backup_dir}: `edupulse backup create` takes one.")
    else:
        show_moments(console(), there)
        for one in unreadable:
            click.echo(f"{one.id}: {one.why}")
    sys.exit(1 if unreadable else 0)


@backup.command("verify")
@click.option("--point", help="Only this moment, by its id.")
@from_option
@json_option
@command
def verify(point: str | None, folder: Path | None, as_json: bool, home: Path | None) -> None:
    """Read every byte of the backups and compare it with what was written. Exit 1 when something is not as it was."""
    from edupulse_pipelines.cli.output.drawing import counted
    from edupulse_pipelines.operations.backup.verifying import verify as read_all

    found = read_all(_settings(home, folder), point, _telling(as_json))
    if as_json:
        print_json(vars(found))
    else:
        for finding in found.findings:
            click.echo(finding)
        of_database = f", {counted(found.base_backups, 'base backup')}" if found.base_backups else ""
        click.echo(
            f"Read {counted(found.contents, 'content')} ({in_bytes(found.bytes)}) of {counted(found.moments, 'moment')}"
            f"{of_database}: {counted(len(found.findings), 'finding') if found.findings else 'as they were written'}."
        )
    sys.exit(1 if found.findings else 0)


@backup.command("status")
@json_option
@command
def status(as_json: bool, home: Path | None) -> None:
    """How old the newest moment is, how much would be lost now, and what to mend. Exit 1 when there is something."""
    from edupulse_pipelines.cli.output.drawing import counted
    from edupulse_pipelines.operations.backup.standing import standing

    found = standing(settings_of(home))
    if as_json:
        print_json(found.facts())
    else:
        click.echo(f"{counted(found.moments, 'moment')} in {found.folder}, {in_bytes(found.stored_bytes)}.")
        if found.newest is not None:
            click.echo(f"The newest: {found.newest.id}, {_age(found.age_seconds)} old.")
            click.echo(f"Lost if the home were lost now: the work of {_age(found.rpo_seconds)}.")
        for sentence in found.warnings:
            click.echo(f"To mend: {sentence}")
        for sentence in (*found.notes, *(found.newest.left_out if found.newest else ())):
            click.echo(f"Note: {sentence}")
    sys.exit(1 if found.warnings else 0)


@backup.command("restore")
@click.option(
    "--to",
    required=True,
    help="The folder that becomes a home: empty, or not there yet. Or the URL of an empty database, for a dump.",
)
@click.option("--time", "time", help="As it was at this time, such as 2026-03-09T06:00+01:00; without an offset UTC.")
@click.option("--before-change", "change", help="As it was before a change on record (its number) or a run (its id).")
@click.option("--point", help="As it was at a moment (its id), or at a restore point of PostgreSQL (its name).")
@click.option("--only", "part", type=click.Choice(["files", "database"]), help="Restore no more than this.")
@from_option
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@json_option
@command
def restore(
    to: str,
    time: str | None,
    change: str | None,
    point: str | None,
    part: str | None,
    folder: Path | None,
    dry_run: bool,
    as_json: bool,
    home: Path | None,
) -> None:
    """Bring a home back, as far as there is or as far as is said, into a folder of its own. The live home is only read.

    On SQLite --time and --before-change mean the newest moment before. What is said first: which backup, how much WAL,
    how much space. Afterwards the schema, the models and the archive are compared with what the database says, whoever
    was erased since is erased again, and the deliveries to land again are named. Exit 1 when something is not in order.
    \f
    Its parameters are its options: click gives each of them by itself.
    """
    from edupulse_pipelines.operations.backup import restoring
    from edupulse_pipelines.operations.backup.after_restore import look_after
    from edupulse_pipelines.operations.backup.taking import undisturbed

    if not to.strip():
        raise click.BadParameter("it is empty: name a folder.", param_hint="--to")
    if "://" in to:
        if not to.startswith("postgresql"):
            raise click.BadParameter(
                "only a PostgreSQL is filled by its URL, from a dump; a SQLite home is brought back into a folder.",
                param_hint="--to",
            )
        _restore_dump(_settings(home, folder), to, (time, change, part), point, as_json)
        return
    if sum(given is not None for given in (time, change, point)) > 1:
        raise click.UsageError("Only one of --time, --before-change and --point says how far back.")
    settings = _settings(home, folder)
    wanted = restoring.Wanted(_time_given(time), change, point)
    plan = restoring.plan_restore(settings, Path(to), wanted, part or "all")  # type: ignore[arg-type]
    for sentence in plan.sentences:
        click.echo(sentence, err=as_json)
    facts: dict[str, Any] = {
        "to": str(plan.to),
        "moment": plan.moment.id,
        "at": plan.moment.at.isoformat(),
        "chosen": plan.chosen,
        "files": len(plan.files),
        "bytes_needed": plan.bytes_needed,
        "database": plan.moment.database,
        "restored": not dry_run,
    }
    if dry_run:
        if as_json:
            print_json(facts)
        return
    tell = _telling(as_json)
    with undisturbed(settings), restoring.whole_or_nothing(plan):
        restoring.restore(settings, plan, tell)
        looked = look_after(settings, plan, tell)
    if as_json:
        print_json({**facts, **vars(looked), "in_order": looked.is_in_order})
    else:
        _say_looked(plan, looked)
    sys.exit(0 if looked.is_in_order else 1)


@backup.command("open")
@click.option("--reason", callback=words_given, required=True, help="Why it may be read now; name no student.")
@click.option(
    "--with-erased",
    is_flag=True,
    help="Also where students are in it who were erased, or nobody can see whether they are.",
)
@json_option
@command
def open_home(reason: str, with_erased: bool, as_json: bool, home: Path | None) -> None:
    """Open a home that a restore has left closed, once everybody who was erased since has been erased again.

    It looks for them first, by the notes of erasures that the restore has brought along; exit 1 while one is there.
    """
    from edupulse_pipelines.operations.backup.opening import open_closed

    opened = open_closed(settings_of(home), reason, with_erased=with_erased)
    remaining = opened.remaining
    facts = {
        "open": True,
        "noted_in": str(opened.noted_in),
        "erased_students_in_it": None if remaining.not_known else remaining.students,
        "erasures": list(remaining.erasures),
        "not_known": remaining.not_known,
    }
    answer(f"Open. {remaining.sentence} Who opened it and why stands in {opened.noted_in}.", facts, as_json)


def _settings(home: Path | None, folder: Path | None) -> Settings:
    """The settings of the home, with the backups where `--from` says."""
    settings = settings_of(home)
    if folder is None:
        return settings
    return settings.model_copy(update={"backup": settings.backup.model_copy(update={"folder": str(folder.absolute())})})


def _restore_dump(
    settings: Settings, url: str, given: tuple[str | None, ...], point: str | None, as_json: bool
) -> None:
    """Restore the newest dump, or that of a moment, into the empty database of a URL."""
    from edupulse_pipelines.cli.output.drawing import console, show_lines
    from edupulse_pipelines.operations.backup.from_dump import moment_with_dump, restore_from_moment

    if urlsplit(url).password:
        raise click.BadParameter(
            "a password on a command line is seen by every user of the machine: leave it to PGPASSFILE.",
            param_hint="--to",
        )
    if any(given):
        raise click.UsageError("A dump is of its moment: into a database by its URL only --point says which.")
    moment = moment_with_dump(settings, point)
    size = sum(file.size for file in moment.dump)
    click.echo(f"The dump of the moment {moment.id}, {in_bytes(size)}, into an empty database.", err=as_json)
    done = restore_from_moment(settings, moment, url)
    if as_json:
        print_json({"moment": moment.id, **vars(done)})
    else:
        for title, lines in (("Left of the roles", done.roles), ("The schema is not as declared", done.differences)):
            if lines:
                show_lines(console(), title, lines)
        if done.not_known:
            click.echo(done.not_known)
        click.echo(f"Restored. It is closed. {done.closed}" if done.closed else "Restored, and open.")
    sys.exit(1 if done.closed or done.differences else 0)


def _time_given(text: str | None) -> dt.datetime | None:
    if text is None:
        return None
    try:
        time = dt.datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a time like 2026-03-09T06:00+01:00.", param_hint="--time") from None
    return time if time.tzinfo is not None else time.replace(tzinfo=dt.UTC)


def _say_looked(plan: Plan, looked: Looked) -> None:
    from edupulse_pipelines.cli.output.drawing import console, counted, show_lines
    from edupulse_pipelines.operations.backup.restoring import DATA_FOLDER

    as_said = ": every file is as the manifest says" if plan.files else ""
    click.echo(f"Restored into {plan.to}{as_said}.")
    for title, lines in (
        ("The schema is not as declared", looked.differences),
        ("MLflow and the table of models disagree (`edupulse model sync` mends it)", looked.models),
        ("Archives are not as the database has them (land these deliveries again)", looked.archives),
    ):
        if lines:
            show_lines(console(), title, lines)
    if plan.part == "all" and looked.is_in_order:
        click.echo("The schema is as declared; models and archives are as the database has them.")
    if looked.erased:
        count = looked.erased["students erased again"] or looked.erased["erasures since"]
        rows, archives = (
            counted(looked.erased["archived rows"], "row"),
            counted(looked.erased["archived files"], "archive"),
        )
        click.echo(f"Erased again: {counted(count, 'student')}, erased since ({rows} of {archives}).")
    for name, days in (looked.lost or {}).items():
        click.echo(f"{name}: delivered since, and to be landed again: {', '.join(days)}.")
    if looked.lost_unknown_since:
        click.echo(
            f"Which deliveries came after {looked.lost_unknown_since} nobody knows: land again everything that came "
            "since."
        )
    elif plan.part != "files" and not looked.lost:
        click.echo("No delivery has been lost.")
    if looked.not_known:
        click.echo(looked.not_known)
    if looked.key:
        click.echo(looked.key)
    if plan.target is not None:
        moved = "" if looked.closed else ", or move the folder to its place,"
        click.echo(
            f"The database has been replayed, and lies in {plan.to / DATA_FOLDER}: start its server there{moved} and "
            "name it in EDUPULSE_DATABASE_URL."
        )
    if looked.closed:
        click.echo(f"It is closed. {looked.closed}")
    elif plan.part == "all":
        click.echo(f"To use it: {command_to_type('list', plan.to)}, or name it in EDUPULSE_HOME.")


def _telling(as_json: bool) -> Callable[[str], None]:
    return lambda sentence: click.echo(sentence, err=as_json)


def _short(audit_head: str | None) -> str:
    if audit_head is None:
        return "none"
    number, _, link = audit_head.partition(":")
    return f"{number}:{link[:12]}…"


def _age(seconds: float | None) -> str:
    if seconds is None:
        return "an unknown time"
    for unit, scale in (("days", 172_800), ("hours", 7_200), ("minutes", 120)):
        if seconds >= scale:
            divisor = {"days": 86_400, "hours": 3_600, "minutes": 60}[unit]
            return f"{seconds / divisor:,.0f} {unit}"
    return f"{seconds:,.0f} seconds"
