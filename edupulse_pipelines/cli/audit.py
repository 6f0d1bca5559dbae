"""`edupulse audit`: every change on record - whether the record is whole, what it says of a row, and of a run."""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path
from typing import Any

import click

from edupulse_pipelines.cli.answers import print_json
from edupulse_pipelines.cli.database import owners_database
from edupulse_pipelines.cli.home import settings_of
from edupulse_pipelines.cli.options import command, day_given, json_option, tenant_option, words_given
from edupulse_pipelines.cli.tenants import chosen_tenant
from edupulse_pipelines.errors import PermanentError
from edupulse_pipelines.schema.tables import AUDITED, TABLES
from edupulse_pipelines.storage.database import database_of


@click.group()
def audit() -> None:
    """Every change on record: who, when, in which run, what it was and what it became.

    \b
    Whether it is whole:   edupulse audit verify
    One record:            edupulse audit history students --key 12345
                           edupulse audit history attendance_records --student 12345 --date 2025-10-06
    One run:               edupulse audit changes --run RUN
    What is old:           edupulse audit retire

    `docs/privacy.md` says what the record proves, and what it does not.
    """


@audit.command("verify")
@click.option(
    "--since", metavar="NUMBER:LINK", help="Look only at what came after this head of the chain, which is trusted."
)
@click.option(
    "--anchor",
    "anchors",
    metavar="NUMBER:LINK",
    multiple=True,
    help="A head that was noted once, which the chain has to hold; repeatable.",
)
@click.option("--table", "tables", type=click.Choice(AUDITED), multiple=True, help="Compare only this; repeatable.")
@json_option
@command
def audit_verify(
    since: str | None, anchors: tuple[str, ...], tables: tuple[str, ...], as_json: bool, home: Path | None
) -> None:
    """Recompute the chain of changes, and compare what the tables hold with what is on record. Exit 1 when they differ.

    It names table, change and count, never a value. A chain that was made anew as a whole, or cut at its end, is in
    order in itself: give a head that was noted before (`--anchor`; runs note it in Dagster and in their summary).
    On PostgreSQL as the owner of the tables: by the keeper's URL (EDUPULSE_KEEPER_URL) where there are roles.
    """
    from edupulse_pipelines.cli.output.drawing import console
    from edupulse_pipelines.governance.audit_verify import Anchor, verify
    from edupulse_pipelines.storage.engine import file_of, is_absent
    from edupulse_pipelines.storage.work import EVERY_TENANT

    trusted = Anchor.of(since) if since else None
    noted = [Anchor.of(text) for text in anchors]
    settings = settings_of(home)
    if is_absent(settings.database_url):
        raise PermanentError(f"There is no database at {file_of(settings.database_url)}: nothing to verify.")
    with owners_database(settings).work(EVERY_TENANT) as work:
        found = verify(work, since=trusted, anchors=noted, tables=tables or None)
        on_sqlite = work.dialect == "sqlite"
    if as_json:
        counts = ("links", "entries", "rows", "images", "erased", "uncompared", "before")
        findings = [
            {"table": one.table, "change": one.change, "rows": one.rows, "finding": one.said} for one in found.findings
        ]
        print_json(
            {"head": str(found.head) if found.head else None}
            | {name: getattr(found, name) for name in counts}
            | {"findings": findings}
        )
    else:
        on = console()
        for finding in found.findings:
            on.print(finding.in_words, markup=False, soft_wrap=True)
        on.print(
            f"{found.links:,} links, {found.entries:,} entries, {found.rows:,} rows and {found.images:,} images: "
            + (f"{len(found.findings):,} findings." if found.findings else "as recorded.")
        )
        if found.before:
            on.print(f"{found.before:,} rows are of change 0, from before changes were on record: counted, not hashed.")
        if found.uncompared:
            on.print(f"{found.uncompared:,} rows are of changes of which a part was replaced or taken out: counted.")
        if found.erased:
            on.print(f"{found.erased:,} images are erased.")
        on.print(f"Head: {found.head or 'none yet'}", markup=False, soft_wrap=True)
        if on_sqlite:
            on.print(
                "In one SQLite file this shows accidents and clumsy hands: whoever may write the file may also make "
                "rows, record and chain anew. Only a head that is kept elsewhere shows that."
            )
    sys.exit(1 if found.findings else 0)


@audit.command("retire")
@click.option("--execute", is_flag=True, help="Take it out; without it only count.")
@click.option("--reason", callback=words_given, help="Why; it is printed with what has left.")
@click.option("--approved-by", callback=words_given, help="Who approved: another person than who executes it.")
@json_option
@command
def audit_retire(execute: bool, reason: str | None, approved_by: str | None, as_json: bool, home: Path | None) -> None:
    """Take out of the record what is older than the districts' `audit_years`; without --execute only count it.

    Earlier versions of a district's rows are emptied when its years are over; changes and links, which hold no
    student, leave when the years of every district are. On PostgreSQL as the owner of the tables: by the keeper's URL.
    """
    from edupulse_pipelines.cli.output.drawing import console
    from edupulse_pipelines.governance.audit_years import retire
    from edupulse_pipelines.operations.backup.moments import last_backup
    from edupulse_pipelines.storage.work import EVERY_TENANT

    settings = settings_of(home)
    years = {name: tenant.audit_years for name, tenant in settings.tenants.items()}
    today = dt.datetime.now(dt.UTC).date()
    with owners_database(settings).work(EVERY_TENANT) as work:
        found = retire(
            work,
            settings.home,
            years,
            today,
            reason=reason,
            approved_by=approved_by,
            execute=execute,
            last_backup=last_backup(settings),
        )
    last = str(found.last) if found.last else None
    if as_json:
        facts = {name: getattr(found, name) for name in ("executed", "images", "changes", "keeps_all")}
        before = {name: day.isoformat() for name, day in found.before.items()}
        certificate = str(found.certificate) if found.certificate else None
        print_json(facts | {"last": last, "before": before, "certificate": certificate})
        return
    on = console()
    done = "have left" if execute else "would leave (--execute)"
    for name, day in found.before.items():
        images = found.images.get(name, 0)
        on.print(f"{name}: earlier versions from before {day}: {images:,} {done}.", markup=False, soft_wrap=True)
    if found.last:
        on.print(f"Changes up to link {last}: {found.changes:,} {done}.", markup=False, soft_wrap=True)
    if found.keeps_all:
        names = ", ".join(found.keeps_all)
        on.print(f"No change leaves: {names} sets no `audit_years`.", markup=False, soft_wrap=True)
    if found.certificate:
        on.print(f"Certificate: {found.certificate}", markup=False, soft_wrap=True)
    if not found.before:
        on.print("No district sets `audit_years`: nothing leaves.")


@audit.command("history")
@click.argument("table", metavar="TABLE", type=click.Choice(AUDITED))
@click.option("--key", help="Of students the number; of others the record's key, its id at the source, or its id here.")
@click.option("--student", help="Number of the student whose records are meant.")
@click.option("--date", "date_text", metavar="DATE", help="Only records of this day.")
@click.option("--column", help="Only changes of this column.")
@tenant_option("the only one there is")
@json_option
@command
def audit_history(
    table: str,
    key: str | None,
    student: str | None,
    date_text: str | None,
    column: str | None,
    tenant_name: str | None,
    as_json: bool,
    home: Path | None,
) -> None:
    """The versions of a record, oldest first: who wrote each, when, in which run, and what became of which column.

    It prints students' values: for your eyes, not for tickets, mails or logs.
    """
    from edupulse_pipelines.cli.output.drawing import console
    from edupulse_pipelines.governance.audit_history import record_history

    if column is not None and column not in TABLES[table].column_names:
        raise click.BadParameter(f"{table} has no column {column!r}.", param_hint="--column")
    day = day_given(date_text, "--date")
    settings = settings_of(home)
    tenant = chosen_tenant(settings, tenant_name)
    with database_of(settings).work(tenant.name) as work:
        found = record_history(work, table, key=key, student=student, day=day)
    shown = {row: [_facts(version, column) for version in versions] for row, versions in found.items()}
    if as_json:
        print_json({"tenant": tenant.name, "table": table, "records": shown})
    else:
        on = console()
        for row, versions in shown.items():
            on.print(f"{table} {row}", markup=False, soft_wrap=True)
            for version in versions:
                on.print(f"  {_sentence(version)}", markup=False, soft_wrap=True)
        if not shown:
            on.print("Nothing on record, and nothing stored.")
    sys.exit(0 if shown else 1)


@audit.command("changes")
@click.option("--run", "run_id", help="Only those of this Dagster run.")
@click.option("--since", "since_text", metavar="DATE", help="Only those from this day on (in the tenant's time).")
@tenant_option("the only one there is")
@json_option
@command
def audit_changes(
    run_id: str | None, since_text: str | None, tenant_name: str | None, as_json: bool, home: Path | None
) -> None:
    """What was changed, change by change: its number, who, when, and how many rows of which table. No values.

    The number is what `edupulse backup restore --before-change` takes.

    Exit 1 when a run is asked for that has changed nothing, or that nobody knows.
    """
    from zoneinfo import ZoneInfo

    from edupulse_pipelines.cli.output.drawing import console
    from edupulse_pipelines.governance.audit_history import changed_tables

    day = day_given(since_text, "--since")
    settings = settings_of(home)
    tenant = chosen_tenant(settings, tenant_name)
    since = dt.datetime.combine(day, dt.time(), ZoneInfo(tenant.timezone)) if day else None
    with database_of(settings).work(tenant.name) as work:
        found = changed_tables(work, run_id=run_id, since=since)
    if as_json:
        changed = [
            _change_facts(one.change) | {"table": one.table, "operation": one.operation, "rows": one.rows}
            for one in found
        ]
        print_json({"tenant": tenant.name, "changes": changed})
        sys.exit(1 if run_id and not found else 0)
    on = console()
    for one in found:
        facts = _change_facts(one.change)
        by = f"{facts['at']} by {facts['by']}" + (f" in run {facts['run']}" if facts["run"] else "")
        on.print(
            f"{facts['change']}  {by}: {one.table}, {one.operation}, {one.rows:,} row{'' if one.rows == 1 else 's'}",
            markup=False,
            soft_wrap=True,
        )
    if not found:
        on.print("Nothing on record.")
    sys.exit(1 if run_id and not found else 0)


def _change_facts(change: Any) -> dict[str, Any]:
    return {
        "change": change.number,
        "at": change.at.isoformat(timespec="seconds") if change.at else None,
        "by": change.actor or None,
        "database_user": change.database_user or None,
        "run": change.run_id,
    }


def _facts(version: Any, column: str | None) -> dict[str, Any]:
    facts = _change_facts(version.change)
    facts["removed"] = version.removed
    values, differences = version.values, version.differences
    if column is not None:
        values = None if values is None else {column: values.get(column)}
        differences = {name: pair for name, pair in differences.items() if name == column}
    facts["differences"] = {name: {"before": old, "after": new} for name, (old, new) in differences.items()}
    facts["values"] = values
    return facts


def _sentence(facts: dict[str, Any]) -> str:
    if facts["change"] == 0:
        when = "before changes were on record, or not by the pipelines"
    else:
        when = f"{facts['at']} by {facts['by']}" + (f" in run {facts['run']}" if facts["run"] else "")
    if facts["removed"]:
        return f"{when}: removed"
    if facts["values"] is None:
        return f"{when}: erased"
    if facts["differences"]:
        return f"{when}: " + ", ".join(
            f"{name} {pair['before']!r} -> {pair['after']!r}" for name, pair in facts["differences"].items()
        )
    listed = ", ".join(f"{name}={value!r}" for name, value in facts["values"].items() if value is not None)
    return f"{when}: {listed or 'empty'}"
