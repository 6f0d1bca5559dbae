"""Students of an Ed-Fi bundle: who they are, and their enrolments where the bundle has that interchange."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
import pyarrow as pa

from edupulse_pipelines.schema.delivery import GRADE_CODE
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.sources.edfi_contacts import ELEMENTS, parent_contacts
from edupulse_pipelines.sources.edfi_source import EdfiSource
from edupulse_pipelines.sources.edfi_xml import Bundle, Element, File
from edupulse_pipelines.sources.grade_codes import grade_level
from edupulse_pipelines.sources.names import TWO_OR_MORE_RACES

ENROLLMENT = "StudentEnrollment"
CONTACTS = ("StudentParent", "Parent", "StudentContact", "Contact")
"""The interchanges that name parents and other contacts; the first one holds students, too."""
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


def exit_type_of(code: str | None) -> str:
    """Why a student left, of an ExitWithdrawType."""
    return _EXIT_TYPES.get((code or "").lower(), "other")


@dataclass
class _Enrollment:
    """What the StudentEnrollment interchange says of one student."""

    entries: list[tuple[str, bool, str | None, str | None]] = field(default_factory=list)
    """EntryDate, whether it is the primary school, grade level, school."""
    exits: list[tuple[str, str | None]] = field(default_factory=list)
    """ExitWithdrawDate and -Type of the associations that have ended."""
    sexes: set[str] = field(default_factory=set)
    races: set[str] = field(default_factory=set)
    hispanic: set[bool] = field(default_factory=set)

    def add(self, element: Element, source: EdfiSource) -> None:
        """Take in one association of the student."""
        if element.name == "StudentSchoolAssociation":
            primary = source.answer(element, "PrimarySchool") is True
            self.entries.append(
                (source.date(element, "EntryDate") or "", primary, element.code("EntryGradeLevel"), element.school)
            )
            if left := source.date(element, "ExitWithdrawDate"):
                self.exits.append((left, element.code("ExitWithdrawType")))
            return
        # A student may have one such association with the district and one with the school.
        if (sex := element.code("Sex")) is not None:
            self.sexes.add(sex)
        self.races.update(_races(element))
        if (hispanic := source.answer(element, "HispanicLatinoEthnicity")) is not None:
            self.hispanic.add(hispanic)

    @property
    def latest(self) -> tuple[str, bool, str | None, str | None] | None:
        """The association that began last; of several on that day the primary school's."""
        return max(self.entries, key=lambda entry: entry[:2], default=None)

    @property
    def end(self) -> tuple[str, str | None] | None:
        """Date and type of the last exit, when no association goes on."""
        return max(self.exits, key=lambda left: left[0]) if len(self.exits) == len(self.entries) > 0 else None


def _races(element: Element) -> set[str]:
    """The races, whether each stands in an element of its own or in one within it."""
    races = element.codes("Race") + element.codes("Race", "Race")
    return {_RACES.get(race.lower(), race) for race in races if race.lower() not in _NO_RACE}


class EdfiStudents(EdfiSource):
    """Student elements, beside what the StudentEnrollment interchange says of them."""

    table = "students"
    columns = ("district_id", "first_name", "last_name", "date_of_birth", "gender", "student_metadata")

    def __init__(self, bundle: Bundle, main: list[File], tenant: TenantSettings, delivered_on: dt.date | None) -> None:
        super().__init__(bundle, main, tenant, delivered_on)
        self._enrollment_files = bundle.files(ENROLLMENT)
        self._contact_files = bundle.files(*CONTACTS)
        if self._contact_files:
            self.header.append("parent_contact")
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
                    enrollments[number].add(element, self)
        contacts, notes = parent_contacts(self._contact_files)
        for kind, count in notes.items():
            self.note(kind, count)
        described: set[str] = set()
        for _, line, student in self.elements("Student", *ELEMENTS):
            if student.name != "Student":
                continue
            number = student.text("StudentUniqueId")
            if number is not None:
                described.add(number)
            row = self._row(student, number, enrollments.get(number or "", _Enrollment()))
            yield line, row | {"parent_contact": contacts.get(number or "")}
        if unknown := len(enrollments.keys() - described):
            self.note("enrollment_without_student", unknown)

    def _row(self, student: Element, number: str | None, enrollment: _Enrollment) -> dict[str, str | None]:
        sex = next(iter(enrollment.sexes), None) or student.code("Sex") or student.code("BirthData", "BirthSex")
        if len(enrollment.sexes) > 1:
            self.note("contradicting_sex")
            sex = None
        if len(enrollment.hispanic) > 1:
            self.note("contradicting_hispanic_latino_ethnicity")
        hispanic = next(iter(enrollment.hispanic)) if len(enrollment.hispanic) == 1 else None
        latest, end = enrollment.latest, enrollment.end
        races = sorted(enrollment.races)
        ethnicity = None
        if hispanic:
            ethnicity = "Hispanic"
        elif races and len(enrollment.hispanic) < 2:
            ethnicity = races[0] if len(races) == 1 else TWO_OR_MORE_RACES
        given = latest[2] if latest else None
        level, code = (None, None) if given is None else grade_level(given, self.profile.grade_levels)
        return {
            "district_id": number,
            "first_name": student.text("Name", "FirstName"),
            "last_name": student.text("Name", "LastSurname"),
            "date_of_birth": self.date(student, "BirthData", "BirthDate"),
            "gender": None if sex is None or sex.lower() in _NO_SEX else sex,
            "grade_level": level,
            "ethnicity": ethnicity,
            "enrollment_date": min((entry[0] for entry in enrollment.entries if entry[0]), default=None),
            "exit_date": end[0] if end else None,
            "exit_type": exit_type_of(end[1]) if end else None,
            "student_metadata": _json(
                {
                    "middle_name": student.text("Name", "MiddleName"),
                    "suffix": student.text("Name", "GenerationCodeSuffix"),
                    "preferred_first_name": student.text("Name", "PreferredFirstName"),
                    "preferred_last_name": student.text("Name", "PreferredLastSurname"),
                    "citizenship": student.code("Citizenship", "CitizenshipStatus"),
                    "school": latest[3] if latest else None,
                    "races": races or None,
                    "hispanic": hispanic,
                    GRADE_CODE: code,
                }
            ),
        }


def _json(facts: Mapping[str, Any]) -> str:
    """The facts that are known, as a JSON object."""
    return orjson.dumps({name: value for name, value in facts.items() if value is not None}).decode()
