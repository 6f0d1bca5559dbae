"""Counts and rates of a district's students for whoever may not see students: small ones hidden, not to be worked out.

Each release is kept in `<home>/releases/<tenant>`, so that every later one is checked together with it. What is hidden
is decided in `suppression`. A rate is published where both its counts are, so it tells nothing that they do not.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.encryption.keyring import data_key_for
from edupulse_pipelines.errors import ConfigurationError, PermanentError
from edupulse_pipelines.governance import disclosures
from edupulse_pipelines.governance.disclosures import Circumstances
from edupulse_pipelines.governance.released_files import check_empty, written_files
from edupulse_pipelines.governance.suppression import (
    ALL,
    CannotBeHidden,
    Cell,
    Release,
    Snapshot,
    changes_between,
    counted,
    suppress,
)
from edupulse_pipelines.schema.sqlalchemy_tables import predictions, student_features, students
from edupulse_pipelines.storage.work import Work
from edupulse_pipelines.weeks import feature_date

FOLDER = "releases"
DIMENSIONS = ("grade_level", "gender", "ethnicity", "socioeconomic_status", "risk_category")
"""By what students can be counted."""
NOT_RECORDED = "not recorded"
HIDDEN = "hidden"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,59}")
_MOST_DIMENSIONS = 3  # of one table; more make cells that nobody could publish


@dataclass(frozen=True)
class Published:
    """What was written: counts that are published and hidden, and the hash of each file."""

    published: int
    hidden: int
    files: dict[str, str]


def publish(
    work: Work,
    home: Path,
    name: str,
    out: Path,
    week: dt.date,
    tables: Sequence[Sequence[str]],
    k: int,
    circumstances: Circumstances,
) -> Published:
    """Write the counts of the students of a week (its Monday) by the tables' dimensions, and record the release.

    Of each table's last dimension also rates: the share that a value has of the students who are alike in the others.
    PermanentError when the week has no students, the name was used, `out` holds something, or, with what earlier
    releases have told, no choice of hidden counts leaves `k` values to each of them. Takes eight arguments: a release
    is named, of a week, by tables, for a purpose.
    """
    check_name(name)
    _check_tables(tables)
    kept = home / FOLDER / work.tenant / f"{name}.json"
    check_new(kept, out)
    day = feature_date(week)
    with work.reading() as connection:
        people = _people(connection, work, day)
        if not people:
            raise PermanentError(f"There are no students in the week of {week}; run it first.")
        counts = counted(list(people.values()), tables)
        earlier, past = _before(connection, work, kept.parent, day, people)
    try:
        release = suppress(counts, k, earlier, past)
    except CannotBeHidden:
        raise PermanentError(
            "With what earlier releases have told, a count of few students could be worked out whatever else is hidden:"
            " nothing was written. Count by fewer dimensions, or by those of the earlier releases."
        ) from None
    text = _csv(release, tables)
    contents = {"counts.csv": text.encode(), "README.txt": _about(work.tenant, week, k, release).encode()}
    with (
        written_files(out, contents, data_key_for(home, work.tenant)) as files,
        written_files(kept.parent, {kept.name: _kept(day, release)}),
        work.writing() as connection,
    ):
        disclosures.record(
            connection,
            work,
            "aggregates",
            circumstances,
            files,
            {"published": len(release.published), "hidden": len(release.hidden), "students": len(people)},
        )
    return Published(len(release.published), len(release.hidden), files)


def check_name(name: str) -> None:
    """ConfigurationError for what cannot be the name of a release."""
    if not _NAME.fullmatch(name):
        raise ConfigurationError("A release is named by small letters, digits, _ and -, at most 60.")


def check_new(kept: Path, out: Path) -> None:
    """PermanentError for a release whose name was used, and for a folder that holds something."""
    if kept.exists():
        raise PermanentError(f"There is a release of this name already ({kept}): choose another one.")
    check_empty(out)


def _check_tables(tables: Sequence[Sequence[str]]) -> None:
    for table in tables:
        unknown = [name for name in table if name not in DIMENSIONS]
        if unknown or not table or len(set(table)) != len(table) or len(table) > _MOST_DIMENSIONS:
            raise ConfigurationError(
                f"--by: up to {_MOST_DIMENSIONS} different ones of {', '.join(DIMENSIONS)}, parted by commas."
            )


def _before(
    connection: Connection, work: Work, folder: Path, day: dt.date, people: Mapping[Any, Mapping[str, str]]
) -> tuple[list[Release], list[Snapshot]]:
    """The earlier releases: those about the same people as now, and those of other moments, in order of their days.

    What was published of the same day and is not so any more is of another moment.
    """
    same: list[Release] = []
    others: dict[dt.date, list[Release]] = {}
    for path in sorted(folder.glob("*.json")):
        of_day, release = _read(path)
        if of_day == day and not _put_right(release, people):
            same.append(release)
        else:
            others.setdefault(of_day, []).append(release)
    days = sorted(others)
    of_days = {one: people if one == day else _people(connection, work, one) for one in days}
    past = []
    for number, one in enumerate(days):
        # From the last one on to now. Later weeks may have been told before this one: then it goes back.
        after = of_days[days[number + 1]] if number + 1 < len(days) else people
        changes = changes_between(of_days[one], after) + sum(_put_right(told, of_days[one]) for told in others[one])
        past.append(Snapshot(tuple(others[one]), changes))
    return same, past


def _put_right(release: Release, people: Mapping[Any, Mapping[str, str]]) -> int:
    """By how much the counts of a release differ from what they would be now, all together."""
    names = {name for cell in release.published for name, _ in cell}
    now = counted(list(people.values()), [sorted(names)])
    return sum(abs(count - now.get(cell, 0)) for cell, count in release.published.items())


def _people(connection: Connection, work: Work, day: dt.date) -> dict[Any, dict[str, str]]:
    """By id the students with a vector of the week, each with the value of every dimension."""
    of, vector, scored = students.c, student_features.c, predictions.c
    newest = (
        sa.select(scored.student_id, sa.func.max(scored.prediction_date).label("newest"))
        .where(scored.tenant_id == work.tenant, scored.feature_date == day)
        .group_by(scored.student_id)
        .subquery()
    )
    query = (
        sa.select(of.id, of.grade_level, of.gender, of.ethnicity, of.socioeconomic_status, scored.risk_category)
        .select_from(
            students.join(student_features, vector.student_id == of.id)
            .outerjoin(newest, newest.c.student_id == of.id)
            .outerjoin(
                predictions,
                sa.and_(
                    scored.student_id == of.id,
                    scored.feature_date == day,
                    scored.prediction_date == newest.c.newest,
                ),
            )
        )
        .where(of.tenant_id == work.tenant, vector.feature_date == day)
    )
    people: dict[Any, dict[str, str]] = {}
    for row in connection.execute(query):
        people[row.id] = {name: _value(getattr(row, name)) for name in DIMENSIONS}
    return people


def _value(value: Any) -> str:
    return NOT_RECORDED if value in (None, "") else str(value).strip() or NOT_RECORDED


def _csv(release: Release, tables: Sequence[Sequence[str]]) -> str:
    names = sorted({name for table in tables for name in table})
    text = io.StringIO()
    sheet = csv.writer(text, lineterminator="\r\n")
    sheet.writerow([*names, "students", "of", "rate"])
    for cell in sorted({*release.published, *release.hidden}, key=lambda one: (len(one), one)):
        values = dict(cell)
        row = [*(values.get(name, ALL) for name in names), release.published.get(cell, HIDDEN)]
        sheet.writerow([*row, *_rate(release, cell, tables)])
    return text.getvalue()


def _rate(release: Release, cell: Cell, tables: Sequence[Sequence[str]]) -> tuple[str, str]:
    """Of how many students a count is a part, and which: the value's share of who is alike but for a last dimension.

    Empty where the count is no such part; hidden with either count, because with the other one it would tell it.
    """
    named = dict(cell)
    last = next((table[-1] for table in tables if table[-1] in named and set(named) <= set(table)), None)
    if last is None:
        return "", ""
    whole = tuple(part for part in cell if part[0] != last)
    if whole not in release.published:
        return HIDDEN, HIDDEN
    of = release.published[whole]
    if cell not in release.published:
        return str(of), HIDDEN
    return str(of), f"{release.published[cell] / of:.4f}" if of else ""


def _about(tenant: str, week: dt.date, k: int, release: Release) -> str:
    return (
        f"Counts of students of the school district {tenant} in the week of {week}, and rates: the share (rate) that "
        "they are of some more students (of).\n\n"
        f"{ALL}: whatever the value. Counts of 1 to {k - 1} students are hidden, and more of them where a hidden one "
        f"could be worked out: of {len(release.hidden)} hidden counts each has at least {k} values that fit all that "
        "is published, here and in earlier releases, also when it is known how many students came, left or changed "
        "between them. A rate is hidden where one of its two counts is.\n"
    )


def _kept(day: dt.date, release: Release) -> bytes:
    document = {
        "feature_date": day.isoformat(),
        "published": [[list(map(list, cell)), count] for cell, count in release.published.items()],
        "hidden": [list(map(list, cell)) for cell in sorted(release.hidden)],
    }
    return json.dumps(document).encode()


def _read(path: Path) -> tuple[dt.date, Release]:
    """An earlier release, with the day that it is about."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        day = dt.date.fromisoformat(document["feature_date"])
        published = {_cell(cell): count for cell, count in document["published"]}
        return day, Release(published, frozenset(map(_cell, document["hidden"])))
    except (OSError, ValueError, KeyError, TypeError):
        raise PermanentError(f"{path} is damaged; without it nobody knows what was published. Restore it.") from None


def _cell(parts: Sequence[Sequence[str]]) -> Cell:
    return tuple((name, value) for name, value in parts)
