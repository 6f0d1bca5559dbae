"""`edupulse students`: numbers that are one child's, joined and parted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edupulse_pipelines.cli.answers import command_to_type, print_json
from edupulse_pipelines.cli.home import settings_of
from edupulse_pipelines.cli.options import command, json_option, tenant_option, words_given
from edupulse_pipelines.cli.tenants import chosen_tenant
from edupulse_pipelines.storage.database import database_of


@click.group()
def students() -> None:
    """Students' numbers: which are one child's."""


@students.command("merge")
@click.argument("old")
@click.argument("new")
@click.option("--reason", callback=words_given, required=True, help="Why they are one child; kept with the joining.")
@tenant_option("the only one there is")
@json_option
@command
def students_merge(old: str, new: str, reason: str, tenant_name: str | None, as_json: bool, home: Path | None) -> None:
    """Join the child of number OLD to that of NEW, with every record, and whatever is delivered under OLD later.

    The records of both are made anew from the archived deliveries. `students unmerge` takes it back.
    """
    from edupulse_pipelines.ingest.joining import join

    settings = settings_of(home)
    tenant = chosen_tenant(settings, tenant_name)
    with database_of(settings).work(tenant.name) as work:
        join(work, settings.raw_dir, tenant, old, new, reason)
    _say_what_follows("joined", tenant.name, home, as_json=as_json)


@students.command("unmerge")
@click.argument("old")
@tenant_option("the only one there is")
@json_option
@command
def students_unmerge(old: str, tenant_name: str | None, as_json: bool, home: Path | None) -> None:
    """Take back that the number OLD was joined to another one."""
    from edupulse_pipelines.ingest.joining import part

    settings = settings_of(home)
    tenant = chosen_tenant(settings, tenant_name)
    with database_of(settings).work(tenant.name) as work:
        part(work, settings.raw_dir, tenant, old)
    _say_what_follows("parted", tenant.name, home, as_json=as_json)


@students.command("list")
@tenant_option("the only one there is")
@json_option
@command
def students_list(tenant_name: str | None, as_json: bool, home: Path | None) -> None:
    """The numbers that are joined, those in dispute, and those of children who seem to be one.

    It prints students' numbers: for your eyes, not for tickets, mails or logs.
    """
    from edupulse_pipelines.cli.output.drawing import console
    from edupulse_pipelines.ingest.joining import look_alikes
    from edupulse_pipelines.storage import numbers

    settings = settings_of(home)
    tenant = chosen_tenant(settings, tenant_name)
    with database_of(settings).work(tenant.name) as work:
        alike = look_alikes(work)
        with work.reading() as connection:
            joined = [merge for merge in numbers.merges(connection, work) if merge.in_force]
            disputes = numbers.disputes(connection, work)
    if as_json:
        print_json(
            {
                "tenant": tenant.name,
                "joined": [_merge_facts(merge) for merge in joined],
                "disputed": {
                    number: [[span.since.isoformat(), span.until and span.until.isoformat()] for span in spans]
                    for number, spans in disputes.items()
                },
                "alike": alike,
            }
        )
        return
    on = console()
    for merge in joined:
        on.print(f"{merge.old_number} is joined to {merge.new_number}: {merge.reason}", markup=False, soft_wrap=True)
    for number, spans in disputes.items():
        since = ", ".join(str(span.since) + (f" to {span.until}" if span.until else "") for span in spans)
        on.print(f"{number} was delivered for another child ({since})", markup=False, soft_wrap=True)
    for group in alike:
        on.print(f"{', '.join(group)}: the same names and date of birth", markup=False, soft_wrap=True)
    if not (joined or disputes or alike):
        on.print("No number is joined, in dispute, or of a child who has another one too.")


def _say_what_follows(done: str, tenant: str, home: Path | None, *, as_json: bool) -> None:
    from edupulse_pipelines.cli.output.drawing import console

    following = command_to_type(f"run --tenant {tenant} --all", home)
    if as_json:
        print_json({"tenant": tenant, "done": done, "next": following})
        return
    on = console()
    on.print(f"{done.capitalize()}. Features and predictions are brought up to date by")
    on.print(f"  {following}", markup=False, soft_wrap=True)


def _merge_facts(merge: Any) -> dict[str, Any]:
    return {
        "old": merge.old_number,
        "new": merge.new_number,
        "reason": merge.reason,
        "merged_by": merge.merged_by,
        "merged_at": merge.merged_at.isoformat(),
    }
