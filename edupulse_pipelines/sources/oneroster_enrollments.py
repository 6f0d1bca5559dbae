"""Schools and enrolments of a OneRoster bundle: `schools` and `enrollments`.

- `schools`: the orgs of type school, by `sourcedId`.
- `enrollments`, 1.2: the roles as a student (roles.csv), which name an org and the days; a role of the type primary is
  the main school. Where a role has no beginDate, that of the student's classes at the school counts.
- `enrollments`, 1.1: a student's classes at one school together (enrollments.csv): from the earliest beginDate on. A
  class ends with its term and the student stays, so there is an exit only when the last of them has ended by the day of
  the delivery. The school that users.csv calls primary is the main one.
- A role or class that is `inactive` and has no endDate ends on the day of the delivery. A closed account (`enabledUser`
  false, status `inactive`) ends what its user is enrolled in, as in `oneroster_students`.
- What gives no first day is no enrolment and is left out, counted. A bundle lists what is going on, so that what it no
  longer lists is history and not taken back. What a delta's `tobedeleted` leaves without any row at a school ends on
  the day of the delivery. Roles that contradict each other about one enrolment are counted, and believed in what they
  share.
"""

from __future__ import annotations

import datetime as dt
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pyarrow as pa

from edupulse_pipelines.schema.answers import answer
from edupulse_pipelines.schema.source_formats import ONEROSTER
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.sources.dates import day_reader
from edupulse_pipelines.sources.names import snake_case
from edupulse_pipelines.sources.oneroster_csv import DELTA, SOURCED_ID, STATUS, TO_BE_DELETED, Bundle
from edupulse_pipelines.sources.records import SYSTEM_COLUMNS, archive_schema

_STUDENT = "student"
_INACTIVE = "inactive"
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
Key = tuple[str, str]
"""Student and school, as the bundle names them."""
Facts = tuple[str | None, bool | None]
"""The exit of an enrolment, and whether it is at the main school."""


class _Rows:
    """Records made one by one; `snapshot`: nothing that is not listed is taken back."""

    table: ClassVar[str]
    columns: ClassVar[tuple[str, ...]]
    snapshot = False

    def __init__(self, bundle: Bundle, tenant: TenantSettings, delivered_on: dt.date | None) -> None:
        self._bundle = bundle
        self._delivered_on = delivered_on.isoformat() if delivered_on is not None else None
        self.source_format = ONEROSTER.named(f" {bundle.version}")
        self.header = list(self.columns)
        self.unknown_columns: list[str] = []
        self.left_out: dict[str, int] = {}
        self.notes: dict[str, int] = {}
        self.instructional_days: list[dt.date] = []

    def batches(self) -> Iterator[pa.Table]:
        """The rows in tables of `archive_schema(header)`; to be iterated once."""
        rows = list(self._rows())
        for name, count in sorted(self._bundle.contradictions.items()):
            self.notes[f"contradicting_{snake_case(name)}"] = count
        if not rows:
            return
        schema = archive_schema(self.header)
        columns = [[row.get(name) for row in rows] for name in (*SYSTEM_COLUMNS, *self.header)]
        yield pa.Table.from_arrays(
            [pa.array(values, field_.type) for values, field_ in zip(columns, schema, strict=True)], schema=schema
        )

    def _rows(self) -> Iterator[dict[str, Any]]:
        """The rows by column, with their line."""
        raise NotImplementedError

    def _leave_out(self, reason: str) -> None:
        self.left_out[reason] = self.left_out.get(reason, 0) + 1


class OneRosterSchools(_Rows):
    """The orgs that are schools, in the order of orgs.csv."""

    table = "schools"
    columns = ("school_id", "name")

    def __init__(self, bundle: Bundle, tenant: TenantSettings, delivered_on: dt.date | None) -> None:
        super().__init__(bundle, tenant, delivered_on)
        self._main = bundle.needed("orgs.csv", SOURCED_ID, "name", "type")

    def _rows(self) -> Iterator[dict[str, Any]]:
        for row in self._main.all_rows([SOURCED_ID, "name", "type", STATUS]).to_pylist():
            system = {name: row[name] for name in SYSTEM_COLUMNS}
            if row["_problem"] is not None:
                yield system
            elif _code(row[STATUS]) == TO_BE_DELETED:
                self._leave_out("to_be_deleted")
            elif _code(row["type"]) != "school":
                self._leave_out("not_a_school")
            else:
                yield {**system, "school_id": row[SOURCED_ID], "name": row["name"]}


@dataclass
class _Attendance:
    """What the rows about one student at one school say."""

    begins: list[str] = field(default_factory=list)
    ends: list[str | None] = field(default_factory=list)
    roles: list[tuple[str | None, str | None, str | None]] = field(default_factory=list)
    """Begin, end and type of each role (1.2)."""


class OneRosterEnrollments(_Rows):
    """The enrolments of students at schools, in the order in which the bundle first names them."""

    table = "enrollments"
    columns = ("district_id", "school_id", "entry_date", "exit_date", "is_primary")

    def __init__(self, bundle: Bundle, tenant: TenantSettings, delivered_on: dt.date | None) -> None:
        super().__init__(bundle, tenant, delivered_on)
        self._read_day = day_reader(tenant)
        self._by_roles = bundle.has("roles.csv", "userSourcedId", "role")
        main = "roles.csv" if self._by_roles else "enrollments.csv"
        if not self._by_roles:
            bundle.has(main, "userSourcedId", "role", needed=True)
        self._is_delta = bundle.mode(main) == DELTA

    def _rows(self) -> Iterator[dict[str, Any]]:
        now = self._enrolments(before=False)
        line = 1
        for (number, school, entry), (left, primary) in now.items():
            line += 1
            yield {
                "_line_number": line,
                "district_id": number,
                "school_id": school,
                "entry_date": entry,
                "exit_date": left,
                "is_primary": None if primary is None else str(primary).lower(),
            }
        before = self._enrolments(before=True) if self._is_delta else {}
        there = {(number, school) for number, school, _ in now}
        for number, school, entry in sorted(before.keys() - now.keys()):
            if (number, school) in there:
                continue  # still at the school, by rows with another first day
            line += 1
            left, primary = before[number, school, entry]
            yield {
                "_line_number": line,
                "district_id": number,
                "school_id": school,
                "entry_date": entry,
                "exit_date": _earlier(left, max(entry, self._today)),
                "is_primary": None if primary is None else str(primary).lower(),
            }

    def _enrolments(self, *, before: bool) -> dict[tuple[str, str, str], Facts]:
        """By number, school and entry the exit and whether it is the main school."""
        names = ["identifier", "primaryOrgSourcedId", "enabledUser", STATUS, "dateLastModified"]
        users = self._bundle.listed("users.csv", names, before=before).to_pylist()
        numbers = {row[SOURCED_ID]: row["identifier"] or row[SOURCED_ID] for row in users}
        several = {number for number, count in Counter(numbers.values()).items() if count > 1}
        # Nobody can say which of several people with one number is meant.
        numbers = {user: user if number in several else number for user, number in numbers.items()}
        main_school = {row[SOURCED_ID]: row["primaryOrgSourcedId"] for row in users}
        closed = {row[SOURCED_ID]: self._closed_on(row) for row in users}
        found: dict[tuple[str, str, str], Facts] = {}
        for (user, school), said in self._said(before=before).items():
            number = numbers.get(user, user)
            if said.roles:
                for begin, end, kind in said.roles:
                    entry = begin or min(said.begins, default=None)
                    if entry is None:
                        self._left_out_now("no_begin_date", before=before)
                    else:
                        said_now = (_left_at(entry, end, closed.get(user)), None if kind is None else kind == "primary")
                        key = (number, school, entry)
                        found[key] = self._shared(found[key], said_now, before=before) if key in found else said_now
                continue
            if not said.begins:
                self._left_out_now("no_begin_date", before=before)
                continue
            main, entry = main_school.get(user), min(said.begins)
            left = _left_at(entry, self._left(said.ends), closed.get(user))
            found[number, school, entry] = (left, None if main is None else main == school)
        return found

    def _shared(self, one: Facts, other: Facts, *, before: bool) -> Facts:
        """What two roles with one first day at one school both say."""
        if one != other and not before:
            self.notes["contradicting_roles"] = self.notes.get("contradicting_roles", 0) + 1
        return (one[0] if one[0] == other[0] else None, one[1] if one[1] == other[1] else None)

    @property
    def _today(self) -> str:
        return self._delivered_on or ""

    def _day(self, text: str | None) -> str | None:
        return self._read_day(text) if text else None

    def _end(self, row: dict[str, Any]) -> str | None:
        """The end of a role or class; of an inactive one without an end the day of the delivery."""
        end = self._day(row["endDate"])
        return self._today or None if end is None and _code(row[STATUS]) == _INACTIVE else end

    def _closed_on(self, user: dict[str, Any]) -> str | None:
        """The day on which a closed account was closed: of its last change, else the delivery's. None: it is open."""
        if answer(_code(user["enabledUser"])) is not False and _code(user[STATUS]) != _INACTIVE:
            return None
        changed = self._day(user["dateLastModified"]) or ""
        return changed if _DATE.fullmatch(changed) and changed <= self._today else self._today or None

    def _left(self, ends: list[str | None]) -> str | None:
        """The last day of all classes, when each has one and it has come."""
        told = [end for end in ends if end]
        last = max(told, default="")
        return last if len(told) == len(ends) > 0 and (self._delivered_on or "") >= last else None

    def _left_out_now(self, reason: str, *, before: bool) -> None:
        if not before:
            self._leave_out(reason)

    def _said(self, *, before: bool) -> dict[Key, _Attendance]:
        """What roles.csv and enrollments.csv say of each student at each school."""
        said: dict[Key, _Attendance] = {}
        if self._by_roles:
            names = ["userSourcedId", "role", "roleType", "orgSourcedId", "beginDate", "endDate", STATUS]
            for row in self._bundle.listed("roles.csv", names, before=before).to_pylist():
                if _code(row["role"]) != _STUDENT or not row["userSourcedId"]:
                    continue
                if not row["orgSourcedId"]:
                    self._left_out_now("no_school", before=before)
                else:
                    here = said.setdefault((row["userSourcedId"], row["orgSourcedId"]), _Attendance())
                    here.roles.append((self._day(row["beginDate"]), self._end(row), _code(row["roleType"]) or None))
        names = ["userSourcedId", "role", "schoolSourcedId", "beginDate", "endDate", STATUS]
        for row in self._bundle.listed("enrollments.csv", names, before=before).to_pylist():
            if _code(row["role"]) != _STUDENT or not row["userSourcedId"]:
                continue
            if not row["schoolSourcedId"]:
                if not self._by_roles:
                    self._left_out_now("no_school", before=before)
                continue
            key = (row["userSourcedId"], row["schoolSourcedId"])
            if self._by_roles and key not in said:
                continue  # classes at a school that the student has no role at
            here = said.setdefault(key, _Attendance())
            here.ends.append(self._end(row))
            if begin := self._day(row["beginDate"]):
                here.begins.append(begin)
        return said


def _earlier(day: str | None, other: str) -> str:
    return other if day is None else min(day, other)


def _left_at(entry: str, end: str | None, closed: str | None) -> str | None:
    """The exit of an enrolment: its end or, of a closed account, no later, but not before the entry."""
    return end if closed is None else _earlier(end, max(entry, closed))


def _code(text: str | None) -> str:
    return (text or "").strip().lower()
