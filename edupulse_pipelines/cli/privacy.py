"""`edupulse privacy`: what is held of a student, what was given out of it, its erasure, and the end of its time."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edupulse_pipelines.cli.answers import answer, command_to_type, print_json
from edupulse_pipelines.cli.database import owners_database
from edupulse_pipelines.cli.home import settings_of
from edupulse_pipelines.cli.options import command, day_given, json_option, tenant_option, words_given
from edupulse_pipelines.cli.tenants import chosen_tenant, chosen_tenants
from edupulse_pipelines.settings import Settings, TenantSettings
from edupulse_pipelines.storage.database import database_of
from edupulse_pipelines.weeks import today_in

if TYPE_CHECKING:
    from edupulse_pipelines.storage.work import Work

_TENANT = tenant_option("the only one there is")


@click.group()
def privacy() -> None:
    """A student's data: what is held and where, what was given out, and erasing it."""


@contextmanager
def _working(home: Path | None, tenant_name: str | None) -> Iterator[tuple[Settings, TenantSettings, Work]]:
    settings = settings_of(home)
    tenant = chosen_tenant(settings, tenant_name)
    with database_of(settings).work(tenant.name) as work:
        yield settings, tenant, work


@privacy.command("places")
@json_option
@command
def places(as_json: bool, home: Path | None) -> None:
    """Every place where a student's data can lie, how it is inspected, and how it is erased."""
    from edupulse_pipelines.governance.register import PLACES

    if as_json:
        print_json({"places": [vars(place) for place in PLACES]})
        return
    for place in PLACES:
        click.echo(f"{place.name}\n  holds: {place.holds}\n  inspected: {place.inspected}\n  erased: {place.erased}")


@privacy.command("inspect")
@click.argument("student")
@click.option(
    "--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="An empty folder, or a new one."
)
@click.option(
    "--recipient", callback=words_given, default="the student's family", show_default=True, help="To whom it is given."
)
@click.option(
    "--purpose", callback=words_given, default="inspection of education records", show_default=True, help="What for."
)
@click.option(
    "--legal-basis", callback=words_given, default="FERPA, 34 CFR 99.10", show_default=True, help="On what legal basis."
)
@_TENANT
@json_option
@command
def inspect(
    student: str,
    out: Path,
    recipient: str,
    purpose: str,
    legal_basis: str,
    tenant_name: str | None,
    as_json: bool,
    home: Path | None,
) -> None:
    """Write everything that is held of STUDENT (the number) into a folder: a page to read and print, and CSVs.

    Nothing of another student is in it. A text that may name one is held back and lies in `not-for-release`, for you
    to redact. The files are for their owner alone; the giving out is recorded.
    """
    from edupulse_pipelines.governance.disclosures import Circumstances
    from edupulse_pipelines.governance.inspection import NOT_FOR_RELEASE
    from edupulse_pipelines.governance.inspection import inspect as write

    with _working(home, tenant_name) as (settings, tenant, work):
        circumstances = Circumstances(recipient=recipient, purpose=purpose, legal_basis=legal_basis)
        written = write(work, settings.raw_dir, tenant, student, out, circumstances)
    facts = {"tenant": tenant.name, "rows": written.counts, "held_back": written.held_back, "out": str(out)}
    rows = sum(written.counts.values())
    sentence = f"Wrote {rows:,} rows to {out}; begin with index.html." + _encrypted(out)
    if written.held_back:
        sentence += (
            f"\n{written.held_back:,} texts may name another student: they are in {NOT_FOR_RELEASE}/to-redact.csv. "
            "Take that folder away before you hand over the rest."
        )
    answer(sentence, facts, as_json)


@privacy.command("disclosures")
@click.option("--student", help="Only what was given out about the student of this number.")
@_TENANT
@json_option
@command
def disclosures(student: str | None, tenant_name: str | None, as_json: bool, home: Path | None) -> None:
    """What of students' data was given out: who, when, to whom, what for, and the SHA-256 of each file.

    Of a student whose numbers have been joined it tells what was given out under each of them.
    """
    from edupulse_pipelines.governance.disclosures import disclosures as lines_of
    from edupulse_pipelines.governance.disclosures import disclosures_about

    with _working(home, tenant_name) as (settings, tenant, work), work.reading() as connection:
        if student is None:
            lines = lines_of(connection, work)
        else:
            lines = disclosures_about(connection, work, settings.raw_dir.parent, student)
    if as_json:
        print_json({"tenant": tenant.name, "disclosures": [_told(vars(line)) for line in lines]})
        return
    for line in lines:
        counted = ", ".join(f"{name} {count:,}" for name, count in line.counts.items())
        at = line.disclosed_at.astimezone(dt.UTC)
        click.echo(
            f"{at:%Y-%m-%d %H:%M} UTC  {line.kind}  by {line.disclosed_by} to {line.recipient}: {line.purpose} "
            f"({line.legal_basis}); {len(line.files)} files: {counted}"
        )
        for name, digest in line.files.items():
            click.echo(f"  {digest}  {name}")
    if not lines:
        click.echo("Nothing was given out.")


def _told(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value.isoformat() if isinstance(value, dt.datetime) else value if _is_plain(value) else str(value)
        for name, value in values.items()
    }


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | bool | int | dict | list)


@privacy.command("export")
@click.option("--research", "research_name", metavar="NAME", help="A de-identified data set under this name.")
@click.option("--aggregates", "aggregates_name", metavar="NAME", help="Counts and rates of students under this name.")
@click.option(
    "--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="An empty folder, or a new one."
)
@click.option("--recipient", callback=words_given, required=True, help="To whom it is given.")
@click.option("--purpose", callback=words_given, required=True, help="What for.")
@click.option("--legal-basis", callback=words_given, required=True, help="On what legal basis.")
@click.option("--k", type=click.IntRange(min=10), default=10, show_default=True, help="Students who must look alike.")
@click.option(
    "--max-suppressed",
    type=click.FloatRange(0, 1),
    default=0.05,
    show_default=True,
    help="Share of the students that a data set may leave out.",
)
@click.option(
    "--by",
    "tables",
    multiple=True,
    default=("grade_level,gender", "grade_level,ethnicity"),
    show_default=True,
    help="What students are counted by, parted by commas, the last for rates; repeatable.",
)
@click.option("--week", metavar="DATE", help="Any day of the week to count in.  [default: the last closed]")
@_TENANT
@json_option
@command
def export(
    research_name: str | None,
    aggregates_name: str | None,
    out: Path,
    k: int,
    max_suppressed: float,
    tables: tuple[str, ...],
    week: str | None,
    tenant_name: str | None,
    as_json: bool,
    home: Path | None,
    **circumstances: str,
) -> None:
    """Write a data set for research without who is who, or counts from which no small one can be worked out.

    A data set has random codes, weeks moved by a secret number for each student, and no number, name, contact or text;
    what singles students out together is made coarser until each looks like at least k - 1 others. Counts below k are
    hidden, with as many others as it takes, also together with every earlier release. Both are recorded.
    \f
    Its parameters are its options: click gives each of them by itself.
    """
    from edupulse_pipelines.governance import aggregates, research
    from edupulse_pipelines.governance.disclosures import Circumstances
    from edupulse_pipelines.weeks import last_closed_week, week_start

    if (research_name is None) == (aggregates_name is None):
        raise click.UsageError("One of --research and --aggregates names what is exported.")
    given = Circumstances(**circumstances)
    day = day_given(week, "--week")
    with _working(home, tenant_name) as (settings, tenant, work):
        if research_name is not None:
            made = research.export(work, settings.home, research_name, out, k, max_suppressed, given)
            sentence = f"Wrote {made.students:,} students to {out}; {made.suppressed:,} are left out; k is {made.k}."
            facts: dict[str, Any] = {"students": made.students, "suppressed": made.suppressed, "k": made.k}
        else:
            monday = last_closed_week(tenant.timezone) if day is None else week_start(day)
            split = [table.split(",") for table in tables]
            published = aggregates.publish(work, settings.home, str(aggregates_name), out, monday, split, k, given)
            sentence = f"Wrote {published.published:,} counts to {out}; {published.hidden:,} more are hidden."
            facts = {"published": published.published, "hidden": published.hidden}
    answer(sentence + _encrypted(out), {"tenant": tenant.name, "out": str(out), **facts}, as_json)


@privacy.command("erase")
@click.argument("student")
@click.option("--reason", callback=words_given, required=True, help="Why; it is kept, so name nobody.")
@click.option(
    "--approved-by",
    callback=words_given,
    help="Who approved it: another person than who erases. Needed with --execute.",
)
@click.option("--execute", is_flag=True, help="Erase; without it only what would be erased is counted.")
@_TENANT
@json_option
@command
def erase(
    student: str,
    reason: str,
    approved_by: str | None,
    execute: bool,
    tenant_name: str | None,
    as_json: bool,
    home: Path | None,
) -> None:
    """Erase STUDENT (the number) from every place, and keep the student out of what is landed again.

    Without --execute nothing changes. A legal hold wins. An erasure that was stopped is finished by saying it again.
    It ends with rewriting the tables, which holds each of them for itself: not while a run is under way.
    """
    from edupulse_pipelines.governance.erasure import erase as take_away

    settings = settings_of(home)
    tenant = chosen_tenant(settings, tenant_name)
    with owners_database(settings).work(tenant.name) as work:
        erased = take_away(
            work, settings.raw_dir, tenant, student, reason=reason, approved_by=approved_by, execute=execute
        )
    counts = {name: count for name, count in erased.counts.items() if count}
    if as_json:
        facts = {"tenant": tenant.name, "executed": erased.executed, "places": counts, "remains": erased.remains}
        print_json(facts)
        return
    click.echo("Erased:" if erased.executed else "Would be erased (nothing has changed):")
    for name, count in counts.items():
        click.echo(f"  {count:>8,}  {name.replace('_', ' ')}")
    click.echo("What remains:")
    for sentence in erased.remains:
        click.echo(f"  - {sentence}")
    if not erased.executed:
        again = command_to_type(f"privacy erase … --tenant {tenant.name} --reason … --approved-by … --execute", home)
        click.echo(f"To erase: {again}")


@privacy.command("retention")
@click.option("--execute", is_flag=True, help="Take away what is over; without it that is only counted.")
@click.option("--reason", callback=words_given, help="Why; it is kept, so name nobody. Needed with --execute.")
@click.option(
    "--approved-by",
    callback=words_given,
    help="Who approved it: another person than who executes. Needed with --execute.",
)
@tenant_option("all; with --execute the only one there is")
@json_option
@command
def retention(
    execute: bool,
    reason: str | None,
    approved_by: str | None,
    tenant_name: str | None,
    as_json: bool,
    home: Path | None,
) -> None:
    """Count what is over by the periods of `[tenants.<name>.retention]`, or take it away and sign that off.

    Without --execute nothing changes. Students who are enrolled, or of whom nobody has said when they left, are never
    over; a legal hold wins. Stopped at any moment, it is finished by saying it again. It ends with rewriting the
    tables, which holds each of them for itself: not while a run is under way.
    """
    settings = settings_of(home)
    if not execute:
        _propose(settings, chosen_tenants(settings, tenant_name, as_json=False), as_json, home)
        return
    if not reason:
        raise click.UsageError("--execute needs --reason.")
    from edupulse_pipelines.governance import retention as of_retention
    from edupulse_pipelines.operations.backup.moments import last_backup

    tenant = chosen_tenant(settings, tenant_name)
    with owners_database(settings).work(tenant.name) as work:
        signed = of_retention.execute(
            work,
            settings.raw_dir,
            tenant,
            today_in(tenant.timezone),
            reason=reason,
            approved_by=approved_by,
            last_backup=last_backup(settings),
        )
    if signed is None:
        answer("Nothing is over.", {"tenant": tenant.name, "executed": False, "certificate": None}, as_json)
        return
    facts = {"tenant": tenant.name, "executed": True, "certificate": signed.document, "file": str(signed.path)}
    if as_json:
        print_json(facts)
        return
    click.echo("Taken away:")
    for name, count in signed.document["rows"].items():
        click.echo(f"  {count:>8,}  {name.replace('_', ' ')}")
    click.echo("What remains:")
    for sentence in signed.document["remains"]:
        click.echo(f"  - {sentence}")
    click.echo(f"Signed off: {signed.path} (SHA-256 {signed.sha256})")


def _propose(settings: Settings, tenants: list[TenantSettings], as_json: bool, home: Path | None) -> None:
    """Say of each district what is over."""
    from edupulse_pipelines.governance.retention import proposed

    found = {}
    for tenant in tenants:
        with database_of(settings).work(tenant.name) as work:
            found[tenant.name] = proposed(work, tenant, today_in(tenant.timezone))
    if as_json:
        print_json(
            {
                "executed": False,
                "tenants": {
                    name: {
                        "periods_set": settings.tenant(name).retention.is_set,
                        "as_of": over.as_of.isoformat(),
                        "over": over.counts,
                        "on_hold": over.on_hold,
                        "exit_unknown": over.exit_unknown,
                    }
                    for name, over in found.items()
                },
            }
        )
        return
    for name, over in found.items():
        if not settings.tenant(name).retention.is_set:
            click.echo(f"{name}: no period is set, so nothing is ever over.")
            continue
        click.echo(f"{name}: {'over' if over else 'nothing is over'} on {over.as_of} (nothing has changed)")
        for table, counts in over.counts.items():
            click.echo(f"  {counts['rows']:>8,}  {table.replace('_', ' ')}, of {counts['students']:,} students")
        if over.on_hold:
            click.echo(f"  {over.on_hold:>8,}  students are on legal hold and stay")
        if over.exit_unknown:
            click.echo(f"  {over.exit_unknown:>8,}  students have no enrolment on record: nothing of them is ever over")
        if over:
            again = command_to_type(f"privacy retention --tenant {name} --reason … --approved-by … --execute", home)
            click.echo(f"To take it away: {again}")


@privacy.command("hold")
@click.argument("student")
@click.option("--reason", callback=words_given, required=True, help="Why the data must be kept.")
@_TENANT
@json_option
@command
def hold(student: str, reason: str, tenant_name: str | None, as_json: bool, home: Path | None) -> None:
    """Keep the data of STUDENT (the number), whatever retention or an erasure would take away."""
    from edupulse_pipelines.governance.holds import place

    with _working(home, tenant_name) as (_, tenant, work):
        place(work, student.strip(), reason)
    answer("On hold.", {"tenant": tenant.name, "held": True}, as_json)


@privacy.command("release")
@click.argument("student")
@_TENANT
@json_option
@command
def release(student: str, tenant_name: str | None, as_json: bool, home: Path | None) -> None:
    """End the hold on the data of STUDENT (the number)."""
    from edupulse_pipelines.governance.holds import release as end

    with _working(home, tenant_name) as (_, tenant, work):
        end(work, student.strip())
    answer("Released.", {"tenant": tenant.name, "held": False}, as_json)


@privacy.command("holds")
@_TENANT
@json_option
@command
def holds(tenant_name: str | None, as_json: bool, home: Path | None) -> None:
    """The holds there are and were. It prints students' numbers: for your eyes, not for tickets, mails or logs."""
    from edupulse_pipelines.governance.holds import holds as every

    with _working(home, tenant_name) as (_, tenant, work), work.reading() as connection:
        found = every(connection, work)
    if as_json:
        print_json({"tenant": tenant.name, "holds": [_told(vars(one)) for one in found]})
        return
    for one in found:
        until = f", released {one.released_at:%Y-%m-%d} by {one.released_by}" if one.released_at else ""
        click.echo(f"{one.district_id}: since {one.placed_at:%Y-%m-%d} by {one.placed_by}{until}: {one.reason}")
    if not found:
        click.echo("Nobody is on hold.")


def _encrypted(out: Path) -> str:
    """What to say where the files that were written are encrypted."""
    if next(out.rglob("*.age"), None) is None:
        return ""
    return f"\nThe files are encrypted: `edupulse keys open {out} --output FOLDER` writes them in plain, to hand over."
