"""`edupulse enrollments …`: enrolments that a delivery has opened by mistake."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from zoneinfo import ZoneInfo

import click

from edupulse_pipelines.cli.answers import answer, command_to_type
from edupulse_pipelines.cli.database import works_in
from edupulse_pipelines.cli.options import command, json_option, tenant_option, words_given
from edupulse_pipelines.cli.tenants import chosen_tenant
from edupulse_pipelines.settings import load_settings

_DATE = click.DateTime(formats=["%Y-%m-%d"])


@click.group()
def enrollments() -> None:
    """Enrolments: taking back one that a delivery has opened by mistake.

    \b
    A wrong entry date:  edupulse enrollments take-back NUMBER 2052-08-25 --reason "mistyped year"
    At a school:         edupulse enrollments take-back NUMBER 2052-08-25 --school NUMBER --reason "…"
    """


@enrollments.command("take-back")
@click.argument("number")
@click.argument("entry", type=_DATE)
@click.option("--school", help="The school's number, where the enrolment has one.")
@click.option("--reason", callback=words_given, required=True, help="Why; kept with the enrolment.")
@tenant_option("the only one there is")
@json_option
@command
def enrollments_take_back(
    number: str,
    entry: dt.datetime,
    school: str | None,
    reason: str,
    tenant_name: str | None,
    as_json: bool,
    home: Path | None,
) -> None:
    """Take back the enrolment of the student with this NUMBER that begins on this ENTRY date.

    It has no effect any more, as if no delivery had opened it. A later delivery that says the date again brings it
    back, so correct it in the source system too.
    """
    from edupulse_pipelines.ingest.take_back import take_back_enrolment

    settings = load_settings(home=home)
    tenant = chosen_tenant(settings, tenant_name)
    today = dt.datetime.now(ZoneInfo(tenant.timezone)).date()
    with works_in(settings) as works:
        take_back_enrolment(works(tenant.name), number, entry.date(), school, reason, today)
    sentence = (
        "Taken back. Features and predictions of the student are brought up to date by\n  "
        f"{command_to_type(f'run --tenant {tenant.name} --all', home)}"
    )
    answer(sentence, {"tenant": tenant.name, "taken_back": 1}, as_json)
