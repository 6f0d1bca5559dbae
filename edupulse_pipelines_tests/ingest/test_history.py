"""No delivery reaches back before the facts it brings: sixty children's made-up histories, delivery by delivery."""

from __future__ import annotations

import datetime as dt
import random
from dataclasses import dataclass, field

import pytest

from edupulse_pipelines.features import update_student_features, update_weekly_activity
from edupulse_pipelines.weeks import WEEK
from edupulse_pipelines_tests.ingest.district import ATTENDANCE_HEADER, STUDENT_HEADER, District, delivery_day
from edupulse_pipelines_tests.repeated import mostly_on_sqlite


@dataclass
class Child:
    """What a source system says of a child, delivery by delivery, and which of it is new."""

    number: str
    rng: random.Random
    said: set[tuple[str, str]] = field(default_factory=set)
    """Column and value of everything said so far."""
    row: tuple[str, str] = ("", "")
    """Entry and exit as the newest delivery of students has them."""
    facts: set[str] = field(default_factory=set)
    """The days that the newest delivery speaks of for the first time, or says otherwise than before."""

    def change(self, today: dt.date, dates: bool) -> None:
        """Now and then the child leaves, comes again, moves or is corrected; `dates`: whether any are sent."""
        entry, left = self.row
        if dates and self.rng.random() < 0.6:
            day = today + dt.timedelta(days=self.rng.randint(-20, 6))
            kind = self.rng.choice(["enters", "leaves", "stays", "moves"])
            if kind in ("enters", "moves"):
                left = "" if kind == "enters" else left
                entry = str(day)
            elif kind == "leaves":
                left = str(day)
            else:
                left = ""
        before = self.row
        self.row = (entry, left)
        self.facts = {day for day in self.row if day and ("students", day) not in self.said}
        if before[1] != left:
            self.facts |= {day for day in (before[1], left) if day}
        self.said |= {("students", day) for day in self.row if day}


def vectors(district: District) -> dict[tuple[str, dt.date], str]:
    update_weekly_activity(district.work, district.tenant.first_week)
    update_student_features(district.work, district.tenant.first_week)
    found = district.rows("student_features", "district_id", "feature_date", "feature_vector", "attendance_rate")
    return {(number, sunday): repr(values) for number, sunday, *values in found}


@pytest.mark.usefixtures("quick_judge")
@mostly_on_sqlite("seed", [1, 2])
def test_a_later_delivery_changes_no_vector_of_a_week_before_its_facts(district: District, seed: int) -> None:
    rng = random.Random(seed)
    children = [Child(f"ZQ{number}", random.Random(f"{seed} {number}")) for number in range(60)]
    before: dict[tuple[str, dt.date], str] = {}
    changed = 0
    for number in range(1, 7):
        today = delivery_day(number)
        for child in children:
            child.change(today, dates=number > 1 or child.rng.random() < 0.5)
        files = {
            "students": "\n".join(
                [f"{STUDENT_HEADER},enrollment_date,exit_date"]
                + [f"{child.number},ZQa,ZQ{child.number},2010-01-01,{','.join(child.row)}" for child in children]
            ),
            "attendance_records": "\n".join(
                [ATTENDANCE_HEADER]
                + [f"{child.number},{today - dt.timedelta(days=day)},{rng.choice(['present', 'absent'])}"
                   for child in children for day in (6, 4)]
            ),
        }  # fmt: skip
        if number >= 4:  # from now on the district sends enrolments, of half of the children
            rows = []
            for child in children[::2]:
                entry = str(today - dt.timedelta(days=child.rng.randint(0, 15)))
                rows.append(f"{child.number},{child.rng.choice('12')},{entry},")
                child.facts.add(entry)
            files["enrollments"] = "\n".join(["district_id,school_id,entry_date,exit_date", *rows])
        district.land(number, **files)
        district.run(weeks=[delivery_day(0) + (number - 1) * WEEK])
        after = vectors(district)
        for (of, sunday), vector in before.items():
            child = children[int(of[2:])]
            if not child.facts or str(sunday) < min(child.facts):
                assert after.get((of, sunday)) == vector, (number, of, sunday, child)
            else:
                changed += after.get((of, sunday)) != vector
        before = after
    assert changed > 10, "the facts reach back so seldom that this shows nothing"
