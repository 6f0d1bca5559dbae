"""What deliveries say of a session (a student, a day, a period) with and without its school, and its records.

Rows that name a school are about that school's record. Rows that name none are about the same record where one school
is possible, and about one of their own where several are: where deliveries name several, where one and the same
delivery is the newest to hold both kinds of row, or where the student was enrolled at several schools on that day. A
school that was named stays named. All of it follows from what was said, so that the order of deliveries has no say.

Plain Python, for the few sessions that need it; reading and writing them is in `attendance_sessions`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from edupulse_pipelines.ingest.writers.field_dates import EPOCH, NEVER
from edupulse_pipelines.schema.declaration import Column

NO_SCHOOL = ""
"""Stands for the school of rows that name none."""


@dataclass
class Said:
    """What some deliveries say of a session: each field as the newest of them that carried it has it.

    delivered: day of the newest of them; days: by field, of the newest that carried it (`NEVER`: none); deleted: of the
    delivery that took the record back, `NEVER` while it stands. Days are counted from 1970.
    """

    delivered: int
    values: dict[str, Any]
    days: dict[str, int]
    deleted: int = NEVER

    def with_row(self, values: Mapping[str, Any], carried: Collection[str], day: int) -> Said:
        """The same with one more row, of a delivery of this day."""
        newer = {name for name in carried if day >= self.days[name]}
        return Said(
            max(self.delivered, day),
            {name: values[name] if name in newer else value for name, value in self.values.items()},
            {name: day if name in newer else of_field for name, of_field in self.days.items()},
            self.deleted,
        )

    def beside(self, silent: Said) -> Said:
        """This one together with what rows that name no school say."""
        older = {name for name, day in self.days.items() if silent.days[name] > day}
        return Said(
            max(self.delivered, silent.delivered),
            {name: (silent if name in older else self).values[name] for name in self.values},
            {name: (silent if name in older else self).days[name] for name in self.days},
        )


@dataclass
class Session:
    """What is said of one session, by school; and by school the newest delivery with a row that takes a record back."""

    said: dict[str, Said] = field(default_factory=dict)
    taken_back: dict[str, int] = field(default_factory=dict)
    at_several: bool = False
    """Whether the student was enrolled at several schools on that day."""

    @property
    def is_mixed(self) -> bool:
        """Whether rows of both kinds have spoken of it."""
        schools = {*self.said, *self.taken_back}
        return NO_SCHOOL in schools and len(schools) > 1

    def give(self, school: str, values: Mapping[str, Any], carried: Collection[str], day: int) -> None:
        """Add one row of a delivery of this day."""
        before = self.said.get(school)
        if before is None:
            before = Said(day, dict.fromkeys(values), dict.fromkeys(values, NEVER))
        self.said[school] = before.with_row(values, carried, day)

    def take_back(self, school: str, day: int) -> bool:
        """Add a row that takes a record back; False, and nothing is added, when there is no such record."""
        if self.record_of(school) is None:
            return False
        self.taken_back[school] = max(day, self.taken_back.get(school, NEVER))
        return True

    def record_of(self, school: str) -> str | None:
        """The school of the record that rows naming this school are about; None when there is none."""
        named = [name for name in self.said if name]
        if self.at_several or len(named) > 1:
            return school if school in self.said else None
        if not named:
            return NO_SCHOOL if self.said else None
        (one,) = named
        silent = self.said.get(NO_SCHOOL)
        if silent is not None and silent.delivered == self.said[one].delivered:
            return school if school in self.said else None
        return one if school in (one, NO_SCHOOL) else None

    def records(self) -> dict[str, Said]:
        """The records that the session has, by their school."""
        made: dict[str, Said] = {}
        for school in sorted(self.said, reverse=True):  # who names no school comes last
            record = self.record_of(school)
            assert record is not None
            said = self.said[school]
            made[record] = made[record].beside(said) if record in made else replace(said, deleted=NEVER)
        for school, day in self.taken_back.items():
            record = self.record_of(school)
            if record is not None and day > made[record].delivered:
                made[record].deleted = max(made[record].deleted, day)
        return made

    def as_json(self) -> str:
        """As it is stored."""
        said = {
            school: {
                "delivered_on": _date(of_school.delivered),
                **{
                    name: [value, _date(of_school.days[name])]
                    for name, value in of_school.values.items()
                    if of_school.days[name] != NEVER
                },
            }
            for school, of_school in self.said.items()
        }
        back = {school: _date(day) for school, day in self.taken_back.items()}
        return orjson.dumps({"said": said, **({"taken_back": back} if back else {})}).decode()

    @classmethod
    def of_json(cls, text: str, columns: Collection[Column], *, at_several: bool) -> Session:
        """The reverse of `as_json`; `columns`: the fields."""
        stored = orjson.loads(text)
        said = {}
        for school, of_school in stored["said"].items():
            values, days = {}, {}
            for column in columns:
                value, date = of_school.get(column.name, (None, None))
                is_date = column.type == "date" and value is not None
                values[column.name] = dt.date.fromisoformat(value) if is_date else value
                days[column.name] = NEVER if date is None else _day(date)
            said[school] = Said(_day(of_school["delivered_on"]), values, days)
        return cls(said, {school: _day(date) for school, date in stored.get("taken_back", {}).items()}, at_several)


def _date(day: int) -> str:
    return (EPOCH + dt.timedelta(days=day)).isoformat()


def _day(date: str) -> int:
    return (dt.date.fromisoformat(date) - EPOCH).days
