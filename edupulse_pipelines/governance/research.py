"""A de-identified data set for research: who a student is cannot be read from it, nor by joining it with another one.

Codes are random and of this release alone, never made of the data; the list of codes and numbers is sealed with a key
that is printed nowhere and lies beside it for its owner. Each student's weeks are moved by a secret whole number of
weeks. Numbers, names, contacts and free text (PII class `direct`) are left out; what could single somebody out together
is made coarser by declared ladders (`anonymity`), until everybody looks like at least `k` - 1 others.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import os
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.encryption.keyring import data_key_for
from edupulse_pipelines.errors import PermanentError
from edupulse_pipelines.governance import disclosures
from edupulse_pipelines.governance.aggregates import FOLDER, check_name, check_new
from edupulse_pipelines.governance.anonymity import ANY, Anonymous, Ladder, anonymous, closeness, diversity
from edupulse_pipelines.governance.disclosures import Circumstances
from edupulse_pipelines.governance.released_files import written_files
from edupulse_pipelines.schema.sqlalchemy_tables import metadata, students, weekly_activity
from edupulse_pipelines.schema.tables import TABLES
from edupulse_pipelines.storage.work import Work
from edupulse_pipelines.weeks import WEEK
from edupulse_pipelines.whole_files import put_in_place, to_disk

_MOST_WEEKS_MOVED = 26
_UNKNOWN = "not recorded"
_GRADES = (range(0, 6), range(6, 9), range(9, 13))  # elementary, middle, high school


def _grade_band(grade: str) -> str:
    if grade == _UNKNOWN:
        return grade
    band = next(band for band in _GRADES if int(grade) in band)
    return f"{band[0]}-{band[-1]}"


def _as_it_is(value: str) -> str:
    return value


def _any(_value: str) -> str:
    return ANY


def _years(width: int) -> Any:
    def coarse(year: str) -> str:
        first = int(year) // width * width
        return f"{first}-{first + width - 1}"

    return coarse


LADDERS = (
    Ladder("grade_level", (("as it is", _as_it_is), ("elementary, middle, high", _grade_band), ("left out", _any))),
    Ladder(
        "born", (("year", _as_it_is), ("2 years", _years(2)), ("5 years", _years(5)), ("left out", _any)),
    ),
    Ladder("gender", (("as it is", _as_it_is), ("left out", _any))),
    Ladder("ethnicity", (("as it is", _as_it_is), ("left out", _any))),
    Ladder("socioeconomic_status", (("as it is", _as_it_is), ("left out", _any))),
)  # fmt: skip
"""How what could single a student out together with other facts is made coarser."""
QUASI = tuple(ladder.column for ladder in LADDERS)
SENSITIVE = ("exit_type", "risk_category")
"""What is told of a student and is nobody's business when it is known whose it is."""
_WEEKLY = tuple(
    column.name
    for column in TABLES["weekly_activity"].columns
    if column.pii == "indirect" and column.type in ("integer", "number")
)


@dataclass(frozen=True)
class Exported:
    """What was written: students, rows that were dropped, what k is, and the hash of each file."""

    students: int
    suppressed: int
    k: int
    files: dict[str, str]


def export(
    work: Work, home: Path, name: str, out: Path, k: int, max_suppressed: float, circumstances: Circumstances
) -> Exported:
    """Write the data set, and record that it was given out.

    PermanentError when there is nobody, the name was used, `out` holds something, or no coarsening reaches `k` with at
    most the share `max_suppressed` of the students dropped; then nothing is written.
    """
    check_name(name)
    kept = home / FOLDER / work.tenant / f"{name}.crosswalk"
    check_new(kept, out)
    with work.reading() as connection:
        people = _people(connection, work)
        if not people:
            raise PermanentError("There are no students to export.")
        ids, rows = [person[0] for person in people], [person[2] for person in people]
        found = anonymous(rows, LADDERS, k, max_suppressed)
        if found is None:
            raise PermanentError(
                f"No coarsening makes every student look like {k - 1} others with at most {max_suppressed:.0%} of the "
                f"{len(rows):,} students left out. Nothing was written. Allow more to be left out, or publish counts "
                "(--aggregates)."
            )
        codes = _codes(len(found.kept))
        moved = {ids[number]: _moved() for number in found.kept}
        code_of = {ids[number]: code for number, code in zip(found.kept, codes, strict=True)}
        weekly = _weekly(connection, work, code_of, moved)
    order = sorted(range(len(codes)), key=lambda place: codes[place])
    told = [{"code": codes[place], **found.rows[place]} for place in order]
    texts = {
        "students.csv": _csv(["code", *QUASI, *SENSITIVE], told),
        "weekly.csv": _csv(["code", "week", *_WEEKLY], sorted(weekly, key=lambda row: (row["code"], row["week"]))),
        "report.json": json.dumps(_report(found, len(rows)), indent=2) + "\n",
    }
    sealed = _sealed(
        name,
        {
            "name": name,
            "crosswalk": [
                {"code": code_of[ids[number]], "number": people[number][1], "weeks": moved[ids[number]]}
                for number in found.kept
            ],
        },
    )
    counts = {"students": len(told), "suppressed": found.suppressed, "k": found.k, "weeks": len(weekly)}
    contents = {name: text.encode() for name, text in texts.items()}
    with (
        written_files(out, contents, data_key_for(home, work.tenant)) as files,
        written_files(kept.parent, sealed),
        work.writing() as connection,
    ):
        disclosures.record(connection, work, "research", circumstances, files, counts)
    return Exported(len(told), found.suppressed, found.k, files)


def unseal(home: Path, tenant: str, name: str) -> dict[str, Any]:
    """The list of codes and numbers of a release; PermanentError without its file or key, or when it was changed."""
    from cryptography.fernet import Fernet, InvalidToken

    path = home / FOLDER / tenant / f"{name}.crosswalk"
    try:
        opened: dict[str, Any] = json.loads(
            Fernet(path.with_suffix(".key").read_bytes().strip()).decrypt(path.read_bytes())
        )
    except (OSError, ValueError, InvalidToken):
        raise PermanentError(f"{path} cannot be opened: it or its key is gone, or was changed.") from None
    return opened


def releases_with(home: Path, tenant: str, numbers: Collection[str]) -> list[str]:
    """The releases whose list of codes holds one of these numbers; those that cannot be opened are left out."""
    lists = {name: _opened(home, tenant, name) for name in _releases(home, tenant)}
    return [name for name, rows in lists.items() if rows and any(row["number"] in numbers for row in rows)]


def closed_releases(home: Path, tenant: str) -> list[str]:
    """The releases whose list of codes cannot be opened: the key is kept elsewhere, or was thrown away."""
    return [name for name in _releases(home, tenant) if _opened(home, tenant, name) is None]


def _releases(home: Path, tenant: str) -> list[str]:
    return [path.stem for path in sorted((home / FOLDER / tenant).glob("*.crosswalk"))]


def _opened(home: Path, tenant: str, name: str) -> list[dict[str, Any]] | None:
    try:
        rows: list[dict[str, Any]] = unseal(home, tenant, name)["crosswalk"]
    except PermanentError:
        return None
    return rows


def forget(home: Path, tenant: str, numbers: Collection[str]) -> int:
    """Take these numbers out of the list of codes of every release that can be opened; how many lists held one."""
    from cryptography.fernet import Fernet

    held = releases_with(home, tenant, numbers)
    for name in held:
        path = home / FOLDER / tenant / f"{name}.crosswalk"
        content = unseal(home, tenant, name)
        content["crosswalk"] = [row for row in content["crosswalk"] if row["number"] not in numbers]
        sealed = Fernet(path.with_suffix(".key").read_bytes().strip()).encrypt(json.dumps(content).encode())
        temporary = path.with_suffix(".tmp")
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:
            stream.write(sealed)
            to_disk(stream)
        put_in_place(temporary, path)
    return len(held)


def _people(connection: Connection, work: Work) -> list[tuple[Any, str, dict[str, str]]]:
    """(id, number, facts) of every student who stands."""
    scored = metadata.tables["predictions"].c
    newest = (
        sa.select(scored.student_id, sa.func.max(scored.feature_date).label("day"))
        .where(scored.tenant_id == work.tenant)
        .group_by(scored.student_id)
        .subquery()
    )
    categories: dict[Any, str] = {
        row.student_id: row.risk_category
        for row in connection.execute(
            sa.select(scored.student_id, scored.risk_category)
            .join(newest, sa.and_(newest.c.student_id == scored.student_id, newest.c.day == scored.feature_date))
            .order_by(scored.prediction_date)
        )
    }
    columns = students.c
    query = sa.select(students).where(columns.tenant_id == work.tenant, columns.deleted_on.is_(None))
    people = []
    for row in connection.execute(query.order_by(columns.id)):
        facts = {name: _told(getattr(row, name)) for name in (*QUASI, "exit_type") if name != "born"}
        facts |= {"born": str(row.date_of_birth.year), "risk_category": categories.get(row.id, _UNKNOWN)}
        people.append((row.id, row.district_id, {name: facts[name] for name in (*QUASI, *SENSITIVE)}))
    return people


def _told(value: Any) -> str:
    return _UNKNOWN if value in (None, "") else str(value)


def _codes(count: int) -> list[str]:
    codes: set[str] = set()
    while len(codes) < count:
        codes.add(secrets.token_hex(6))
    shuffled = list(codes)
    secrets.SystemRandom().shuffle(shuffled)
    return shuffled


def _moved() -> int:
    return secrets.choice([weeks for weeks in range(-_MOST_WEEKS_MOVED, _MOST_WEEKS_MOVED + 1) if weeks])


def _weekly(
    connection: Connection, work: Work, code_of: Mapping[Any, str], moved: Mapping[Any, int]
) -> list[dict[str, Any]]:
    """The weeks of the students in the data set, each moved by the student's own number of weeks."""
    column = weekly_activity.c
    query = sa.select(column.student_id, column.week_start, *(column[name] for name in _WEEKLY))
    rows = []
    for row in connection.execute(query.where(column.tenant_id == work.tenant)):
        if row.student_id in code_of:
            week: dt.date = row.week_start + moved[row.student_id] * WEEK
            values = {name: getattr(row, name) for name in _WEEKLY}
            rows.append({"code": code_of[row.student_id], "week": week.isoformat(), **values})
    return rows


def _report(found: Anonymous, students_in_all: int) -> dict[str, Any]:
    return {
        "students": len(found.rows),
        "left_out": found.suppressed,
        "of": students_in_all,
        "k": found.k,
        "quasi_identifiers": found.steps,
        "l_diversity": {name: diversity(found.rows, QUASI, name) for name in SENSITIVE},
        "t_closeness": {name: round(closeness(found.rows, QUASI, name), 4) for name in SENSITIVE},
        "weeks": f"each student's weeks are moved by a secret whole number of weeks, at most {_MOST_WEEKS_MOVED}",
    }


def _csv(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    sheet = csv.writer(text, lineterminator="\r\n")
    sheet.writerow(columns)
    sheet.writerows(["" if row[name] is None else row[name] for name in columns] for row in rows)
    return text.getvalue()


def _sealed(name: str, content: dict[str, Any]) -> dict[str, bytes]:
    """The list, encrypted with a key of its own, and the key: what lies in the files of the release's name."""
    from cryptography.fernet import Fernet

    key = Fernet.generate_key()
    return {f"{name}.key": key, f"{name}.crosswalk": Fernet(key).encrypt(json.dumps(content).encode())}
