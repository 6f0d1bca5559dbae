"""Students of an Ed-Fi bundle: who they are, and their enrolments where the bundle has that interchange."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
import pyarrow as pa

from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.sources.edfi_source import TRUE, EdfiSource
from edupulse_pipelines.sources.edfi_xml import Bundle, Element, File

ENROLLMENT = "StudentEnrollment"
_GRADE_LEVELS = {
    f"{ordinal} grade": str(level)
    for level, ordinal in enumerate(
        ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "eleventh",
         "twelfth"), start=1
    )
} | {"kindergarten": "0"}  # fmt: skip

_EXIT_TYPES = {
    "graduated": "completed",
    "completed": "completed",
    "transferred": "transferred",
    "dropout": "dropped_out",
}
"""ExitWithdrawType. The rest is `other`: the end of a school year is no completion, and a withdrawal may be any."""
_RACES = {
    "american indian - alaska native": "American Indian or Alaska Native",
    "asian": "Asian",
    "black - african american": "Black or African American",
    "native hawaiian - pacific islander": "Native Hawaiian or Other Pacific Islander",
    "white": "White",
}
_NO_RACE = ("choose not to respond",)
_NO_SEX = ("not selected",)


@dataclass
class _Enrollment:
    """What the StudentEnrollment interchange says of one student."""

    entries: list[tuple[str, bool, str | None, str | None]] = field(default_factory=list)
    """EntryDate, whether it is the primary school, grade level, school."""
    exits: list[tuple[str, str | None]] = field(default_factory=list)
    """ExitWithdrawDate and -Type of the associations that have ended."""
    sex: str | None = None
    races: list[str] = field(default_factory=list)
    hispanic: bool | None = None

    def add(self, element: Element) -> None:
        """Take in one association of the student."""
        if element.name == "StudentSchoolAssociation":
            primary = element.text("PrimarySchool") in TRUE
            self.entries.append(
                (element.date("EntryDate") or "", primary, element.code("EntryGradeLevel"), element.school)
            )
            if left := element.date("ExitWithdrawDate"):
                self.exits.append((left, element.code("ExitWithdrawType")))
            return
        # A student may have one such association with the district and one with the school: what is said first, stays.
        self.sex = self.sex or element.code("Sex")
        self.races = self.races or _races(element)
        if self.hispanic is None and (text := element.text("HispanicLatinoEthnicity")):
            self.hispanic = text.lower() in TRUE

    @property
    def latest(self) -> tuple[str, bool, str | None, str | None] | None:
        """The association that began last; of several on that day the primary school's."""
        return max(self.entries, key=lambda entry: entry[:2], default=None)

    @property
    def end(self) -> tuple[str, str | None] | None:
        """Date and type of the last exit, when no association goes on."""
        return max(self.exits, key=lambda left: left[0]) if len(self.exits) == len(self.entries) > 0 else None


def _races(element: Element) -> list[str]:
    """The races, whether each stands in an element of its own or in one within it."""
    races = element.codes("Race") + element.codes("Race", "Race")
    return sorted({_RACES.get(race.lower(), race) for race in races if race.lower() not in _NO_RACE})


class EdfiStudents(EdfiSource):
    """Student elements, beside what the StudentEnrollment interchange says of them."""

    columns = ("district_id", "first_name", "last_name", "date_of_birth", "gender", "student_metadata")

    def __init__(self, bundle: Bundle, main: list[File], tenant: TenantSettings, delivered_on: dt.date | None) -> None:
        super().__init__(bundle, main, tenant, delivered_on)
        self._enrollment_files = bundle.files(ENROLLMENT)
        if self._enrollment_files:
            self.header += ["grade_level", "ethnicity", "enrollment_date", "exit_date", "exit_type"]

    def tables(self) -> Iterator[pa.Table]:
        """The students, in the order of the file."""
        return self.batched(self._rows())

    def _rows(self) -> Iterator[tuple[int, dict[str, str | None]]]:
        enrollments: defaultdict[str, _Enrollment] = defaultdict(_Enrollment)
        for file in self._enrollment_files:
            for element in file.elements(
                "StudentSchoolAssociation", "StudentEducationOrganizationAssociation", "StudentDemographic"
            ):
                if number := element.student:
                    enrollments[number].add(element)
        described: set[str] = set()
        for _, line, student in self.elements("Student"):
            number = student.text("StudentUniqueId")
            if number is not None:
                described.add(number)
            yield line, self._row(student, number, enrollments.get(number or "", _Enrollment()))
        if unknown := len(enrollments.keys() - described):
            self.note("enrollment_without_student", unknown)

    def _row(self, student: Element, number: str | None, enrollment: _Enrollment) -> dict[str, str | None]:
        sex = enrollment.sex or student.code("Sex") or student.code("BirthData", "BirthSex")
        latest, end = enrollment.latest, enrollment.end
        ethnicity = None
        if enrollment.hispanic:
            ethnicity = "Hispanic"
        elif enrollment.races:
            ethnicity = enrollment.races[0] if len(enrollment.races) == 1 else "Two or more"
        level = latest[2] if latest else None
        return {
            "district_id": number,
            "first_name": student.text("Name", "FirstName"),
            "last_name": student.text("Name", "LastSurname"),
            "date_of_birth": student.date("BirthData", "BirthDate"),
            "gender": None if sex is None or sex.lower() in _NO_SEX else sex,
            "grade_level": _GRADE_LEVELS.get(level.lower(), level) if level else None,
            "ethnicity": ethnicity,
            "enrollment_date": min((entry[0] for entry in enrollment.entries if entry[0]), default=None),
            "exit_date": end[0] if end else None,
            "exit_type": _EXIT_TYPES.get((end[1] or "").lower(), "other") if end else None,
            "student_metadata": _json(
                {
                    "middle_name": student.text("Name", "MiddleName"),
                    "suffix": student.text("Name", "GenerationCodeSuffix"),
                    "preferred_first_name": student.text("Name", "PreferredFirstName"),
                    "preferred_last_name": student.text("Name", "PreferredLastSurname"),
                    "citizenship": student.code("Citizenship", "CitizenshipStatus"),
                    "school": latest[3] if latest else None,
                    "races": enrollment.races or None,
                    "hispanic": enrollment.hispanic,
                }
            ),
        }


def _json(facts: Mapping[str, Any]) -> str:
    """The facts that are known, as a JSON object."""
    return orjson.dumps({name: value for name, value in facts.items() if value is not None}).decode()
