"""`edupulse list`: the list of a week for counsellors, on the terminal or as a file. It is the way to get one."""

from __future__ import annotations

import datetime as dt
import os
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import click

from edupulse_pipelines.cli.answers import print_json
from edupulse_pipelines.cli.database import works_in
from edupulse_pipelines.cli.home import settings_of
from edupulse_pipelines.cli.options import command, day_given, json_option, tenant_option
from edupulse_pipelines.cli.tenants import chosen_tenant
from edupulse_pipelines.errors import PermanentError
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.sources.grade_codes import grade_level
from edupulse_pipelines.weeks import week_start

if TYPE_CHECKING:
    from edupulse_pipelines.risk.weekly_list import WeeklyList

TABLE, CSV, HTML = "table", "csv", "html"


@click.command("list")
@tenant_option("the only one there is")
@click.option("--school", "schools", multiple=True, help="Only students of this school, by number or name; repeatable.")
@click.option("--grade", "grades", multiple=True, help="Only this grade (K, 9, a code such as PK); repeatable.")
@click.option(
    "--week",
    metavar="ANY-DATE",
    help="The week that contains this date (YYYY-MM-DD).  [default: the newest one with predictions]",
)
@click.option(
    "--format",
    "form",
    type=click.Choice([TABLE, CSV, HTML]),
    default=TABLE,
    show_default=True,
    help="A table to read here, a CSV for a spreadsheet, or a page to print.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="Write it to this file, which only you can read; one that is there is replaced.  [default: print it]",
)
@json_option
@command
def weekly_list(
    tenant_name: str | None,
    schools: tuple[str, ...],
    grades: tuple[str, ...],
    week: str | None,
    form: str,
    output: Path | None,
    as_json: bool,
    home: Path | None,
) -> None:
    """Whom to talk to first: a week's students at medium risk or above, with reasons and what to do.

    Sorted by school, then by risk. A student's school is that of the enrolment at the week's end. It names students:
    for those who work with them, not for tickets, mails or logs. With --json it prints counts alone, and the list only
    goes to --output.
    """
    from edupulse_pipelines.risk.weekly_list import weekly_list as list_of_week

    day = day_given(week, "--week")
    if output == Path("-"):  # as elsewhere, what would be printed
        output = None
    settings = settings_of(home)
    tenant = chosen_tenant(settings, tenant_name)
    with works_in(settings) as works:
        listed = list_of_week(
            works(tenant.name), tenant, day and week_start(day), schools=schools, grades=[*map(_grade, grades)]
        )
    if output is not None:
        _write(output, _as_text(listed, tenant, form), mark=form == CSV)
    elif not as_json:
        _print(listed, tenant, form)
    if as_json:
        print_json(_facts(listed, form, output))
    elif output is not None:
        count = len(listed.students)
        click.echo(f"{count:,} student{'' if count == 1 else 's'}. Written to {output}, which only you can read.")


def _grade(text: str) -> str:
    """The grade as the list has it: `K`, `09` and `PK` as people and formats write them."""
    level, code = grade_level(text.strip(), ())
    return code or level or text


def _as_text(listed: WeeklyList, tenant: TenantSettings, form: str) -> str:
    from edupulse_pipelines.cli.output.weekly_list import list_as_csv, list_as_table
    from edupulse_pipelines.risk.telling.list_page import list_page

    if form == CSV:
        return list_as_csv(listed)
    if form == HTML:
        return list_page(listed, tenant, dt.datetime.now(ZoneInfo(tenant.timezone)))
    return list_as_table(listed)


def _print(listed: WeeklyList, tenant: TenantSettings, form: str) -> None:
    from edupulse_pipelines.cli.output.drawing import console
    from edupulse_pipelines.cli.output.weekly_list import show_list

    if form == TABLE:
        show_list(console(), listed)
    else:
        click.echo(_as_text(listed, tenant, form), nl=False)


def _write(path: Path, text: str, *, mark: bool) -> None:
    """Put the text into a file for its owner alone, in the place of one that is there; all of it or nothing.

    `mark`: begin with the mark by which spreadsheets know UTF-8.
    """
    try:
        if path.exists() and not stat.S_ISREG(path.stat().st_mode):
            raise PermanentError(f"{path} is no file that could be written: name another one.")
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:50]}.")  # 0600
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8-sig" if mark else "utf-8", newline="") as stream:
                stream.write(text)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise PermanentError(f"{path} cannot be written: {error.strerror}.") from None


def _facts(listed: WeeklyList, form: str, output: Path | None) -> dict[str, Any]:
    """What `--json` says: counts, and no student."""
    return {
        "tenant": listed.tenant,
        "week": listed.week.isoformat(),
        "listed": len(listed.students),
        "scored": listed.scored,
        "not_scored": listed.not_scored,
        "by_category": listed.by_category,
        "by_school": [
            {"school_id": school and school.number, "name": school and school.name, "listed": len(there)}
            for school, there in listed.by_school
        ],
        "model_versions": listed.model_versions,
        "format": form,
        "path": None if output is None else str(output),
    }
