"""The list of a week as one HTML page to be printed and handed to a counsellor; its template lies beside this module.

The page needs nothing else: the style is inside, and its Content-Security-Policy allows that style and nothing more, so
no script, picture or request could run even if somebody's name held one. Who is on the list is in `weekly_list`.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
from importlib.resources import files

from edupulse_pipelines.risk.telling.label_words import adverse_events
from edupulse_pipelines.risk.weekly_list import LISTED_CATEGORIES, NO_SCHOOL, WeeklyList
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.weeks import feature_date

KINDERGARTEN = "K"
"""How people write grade 0."""
UNKNOWN_GRADE = "not known"


def list_page(listed: WeeklyList, tenant: TenantSettings, made_at: dt.datetime) -> str:
    """The page. `made_at`: when the list was asked for (aware, in the tenant's zone), printed on it."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    folder = files(__package__)
    style = folder.joinpath("list_page.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    # Blocks leave no empty lines behind.
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(folder.joinpath("list_page.html").read_text(encoding="utf-8"))
    page = template.render(
        listed=listed,
        schools=[(NO_SCHOOL if school is None else school.title, school, there) for school, there in listed.by_school],
        first_day=_in_words(listed.week),
        last_day=_in_words(feature_date(listed.week)),
        made=f"{_in_words(made_at)} at {made_at:%H:%M}",
        lowest=LISTED_CATEGORIES[0],
        events=adverse_events(tenant.label),
        horizon=_horizon(tenant.label.weeks),
        rescored=any(student.rescored for student in listed.students),
        grade=grade_in_words,
        percent=percent,
        counts=counts_in_words,
        policy=f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'",
        style=Markup(style),
    )
    return page.rstrip("\n") + "\n"


def grade_in_words(grade: str | None) -> str:
    """A grade as people write it."""
    return UNKNOWN_GRADE if grade is None else KINDERGARTEN if grade == "0" else grade


def percent(share: float) -> str:
    """A share of 1 as a whole percentage; what is not certain is never told as 0 or 100."""
    rounded = round(100 * share)
    if rounded == 0 and share > 0:
        return "<1%"
    return ">99%" if rounded == 100 and share < 1 else f"{rounded}%"


def counts_in_words(by_category: dict[str, int]) -> str:
    """`3 critical, 9 high`, without the categories that nobody is in."""
    return ", ".join(f"{count:,} {category}" for category, count in by_category.items() if count)


def _in_words(day: dt.date) -> str:
    return f"{day:%A}, {day.day} {day:%B %Y}"


def _horizon(weeks: int | None) -> str:
    if weeks is None:
        return "until the student leaves"
    return f"within {weeks} week{'' if weeks == 1 else 's'}"
