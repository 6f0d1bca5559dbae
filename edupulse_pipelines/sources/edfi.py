"""Ed-Fi interchange XML (any data standard from 3 on) as records: students, attendance, incidents and gradebook grades.

Which interchange a file is, its root element says, never its name. Files are streamed element by element; a document
type declaration is refused, so that no entity is ever expanded. Codes that only the district can map (a descriptor of
its own) stay as they are, in the column they keep from being known: the profile maps them, or validation quarantines
the row. Nothing is validated or stored here, and what no rule below names is counted in `left_out`.

Mapping, with descriptors shortened to what stands after `#` (source of the element names and descriptors: the Ed-Fi
Data Standard, v3 to v6, its `Descriptors/` and `Samples/`):

- `students`: Student, with StudentSchoolAssociation and StudentEducationOrganizationAssociation (from data standard 6
  on also StudentDemographic) of the StudentEnrollment interchange, where the bundle has it. Enrolment begins with the
  first EntryDate; it has ended when every association has an ExitWithdrawDate, with the last of them. The grade level
  is that of the latest entry. Without that interchange the columns it fills are absent, so that stored values stay.
- `attendance_records`: StudentSchoolAttendanceEvent, the worst event of a student's day (absent, excused, tardy,
  present). Attendance by section is left out: it names no period, and beside daily attendance it would count twice.
- `discipline_incidents`: one row per incident and perpetrator, severity by `_severity`.
- `grades`: StudentGradebookEntry with its GradebookEntry. Work that is exempt, returned or not graded yet is no grade.
- days of instruction: see `_instructional_days`.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, cast

import numpy as np
import orjson
import pyarrow as pa

from edupulse_pipelines.schema.source_formats import EDFI
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.sources.edfi_xml import Bundle, Element, File, Open
from edupulse_pipelines.sources.records import RecordSource, RefusedFile, archive_schema

INTERCHANGES_BY_TABLE = {
    "students": ("Student", "StudentParent"),
    "attendance_records": ("StudentAttendance",),
    "discipline_incidents": ("StudentDiscipline",),
    "grades": ("StudentGradebook",),
}
"""The interchanges that hold a table's records; a bundle without one of them has nothing for the table."""

_ENROLLMENT = "StudentEnrollment"
_CALENDAR = "EducationOrgCalendar"
WITHOUT_RECORDS = {"attendance_records": _CALENDAR}
"""The interchange that says something about a table though it holds none of its records: here the school days."""
_ROWS_PER_TABLE = 50_000
_MOST_OTHERS = 20  # names of elements that are counted by themselves
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)")
_TRUE = ("true", "1")

_ATTENDANCE = {
    "unexcused absence": "absent",
    "excused absence": "excused",
    "tardy": "tardy",
    # A part of the day was attended, as with a tardy.
    "partial": "tardy",
    "early departure": "tardy",
    "present": "present",
    "in attendance": "present",
}
_NOT_IN_ATTENDANCE = frozenset(("SchoolReference", "SessionReference"))
_WORST_FIRST = ("absent", "excused", "tardy", "present")

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

_SEVERITY = {"state offense": 4, "school code of conduct": 3, "school violation": 2, "other": 1}
"""Ed-Fi has no severity; these are its four BehaviorDescriptors. See `_severity` for what makes an incident graver."""
_MAJOR, _CRITICAL = 4, 5

_OFFENDER = "perpetrator"
_NO_OFFENDERS = ("victim", "witness", "reporter")
_NOT_GRADED = ("exempt", "not submitted", "submitted", "returned")

_DAYS_OF_INSTRUCTION = ("instructional day", "make-up day", "student late arrival/early dismissal")
"""CalendarEvents that their descriptors define as a day, if an abbreviated one, on which students are taught."""
_CALENDARS_OF_SOME = ("student specific", "iep", "staff")
_FEWEST_DAYS = 20


def open_bundle(
    files: Mapping[str, Open], table: str, tenant: TenantSettings, delivered_on: dt.date | None = None
) -> RecordSource:
    """The records that a bundle of interchange files, by base name, has for `table`.

    `attendance_records` may be opened of a bundle with nothing but a calendar: it then has days of instruction and no
    rows. `delivered_on` keeps work that was graded before it is due from being dated after its delivery. RefusedFile
    `missing_file`, and `malformed_xml` or `forbidden_xml` with file and line, here or in `batches`.
    """
    bundle = Bundle(files)
    wanted = INTERCHANGES_BY_TABLE[table]
    main = bundle.files(*wanted)
    if not main and not (table in WITHOUT_RECORDS and bundle.files(WITHOUT_RECORDS[table])):
        raise RefusedFile("missing_file", f"the bundle has no Interchange{wanted[0]} file, which {table} needs")
    return cast(
        RecordSource,
        {
            "students": _Students,
            "attendance_records": _Attendance,
            "discipline_incidents": _Discipline,
            "grades": _Grades,
        }[table](bundle, main, tenant, delivered_on),
    )


# What is common to the tables


class _Source:
    """A table's records out of the bundle; the subclasses give `columns` and `_tables`.

    Beyond RecordSource: `notes`, what was done to rows that are there, by kind; and `snapshot`, whether what is not in
    the source no longer exists, which no Ed-Fi file says. Each line number is used once: where a file holds several
    elements on a line, the later ones count on from it, and so do the lines of a second file of the same interchange.
    """

    columns: ClassVar[tuple[str, ...]]
    snapshot = False

    def __init__(self, bundle: Bundle, main: list[File], tenant: TenantSettings, delivered_on: dt.date | None) -> None:
        self._bundle = bundle
        self._main = main
        self._profile = tenant.profile
        self._delivered_on = delivered_on.isoformat() if delivered_on is not None else None
        self._others: Counter[str] = Counter()
        self.header = list(self.columns)
        self.source_format = EDFI.named(f" {bundle.version}")
        self.unknown_columns: list[str] = []
        self.left_out: dict[str, int] = {}
        self.notes: dict[str, int] = {}
        self.instructional_days: list[dt.date] = []

    def batches(self) -> Iterator[pa.Table]:
        """The rows in the order of the source, in tables of `archive_schema(header)`; to be iterated once."""
        yield from self._tables()
        for place, (name, count) in enumerate(self._others.most_common()):
            self._leave_out(_snake(name) if place < _MOST_OTHERS else "other_elements", count)

    def _tables(self) -> Iterator[pa.Table]:
        raise NotImplementedError

    def _elements(self, *names: str, without: frozenset[str] = frozenset()) -> Iterator[tuple[File, int, Element]]:
        """Top-level elements of the main files: file, line number, element. All others are counted as left out."""
        offset = last = 0
        for file in self._main:
            reading = file.elements(*names, others=self._others, without=without)
            for element in reading:
                last = max(offset + element.line, last + 1)
                yield file, last, element
            offset = max(offset + reading.lines, last)

    def _batched(self, rows: Iterable[tuple[int, dict[str, str | None]]]) -> Iterator[pa.Table]:
        """Rows as Arrow tables; each is its line number and its fields by column."""
        schema = archive_schema(self.header)
        lines: list[int] = []
        fields: list[dict[str, str | None]] = []

        def table() -> pa.Table:
            nothing = pa.nulls(len(lines), pa.string())
            columns = [pa.array([row[name] for row in fields], pa.string()) for name in self.header]
            return pa.Table.from_arrays([pa.array(lines, pa.int64()), nothing, nothing, *columns], schema=schema)

        for line, row in rows:
            lines.append(line)
            fields.append(row)
            if len(lines) == _ROWS_PER_TABLE:
                yield table()
                lines, fields = [], []
        if lines:
            yield table()

    def _leave_out(self, reason: str, count: int = 1) -> None:
        self.left_out[reason] = self.left_out.get(reason, 0) + count

    def _note(self, kind: str, count: int = 1) -> None:
        self.notes[kind] = self.notes.get(kind, 0) + count


def _snake(text: str) -> str:
    """A name or code as a reason: `Not Submitted` is `not_submitted`, and so is `NotSubmitted`."""
    return re.sub(r"[^0-9a-z]+", "_", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", text).lower()).strip("_")[:60]


# Students


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
            primary = element.text("PrimarySchool") in _TRUE
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
            self.hispanic = text.lower() in _TRUE

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


class _Students(_Source):
    """Student elements, beside what the StudentEnrollment interchange says of them."""

    columns = ("district_id", "first_name", "last_name", "date_of_birth", "gender", "student_metadata")

    def __init__(self, bundle: Bundle, main: list[File], tenant: TenantSettings, delivered_on: dt.date | None) -> None:
        super().__init__(bundle, main, tenant, delivered_on)
        self._enrollment_files = bundle.files(_ENROLLMENT)
        if self._enrollment_files:
            self.header += ["grade_level", "ethnicity", "enrollment_date", "exit_date", "exit_type"]

    def _tables(self) -> Iterator[pa.Table]:
        return self._batched(self._rows())

    def _rows(self) -> Iterator[tuple[int, dict[str, str | None]]]:
        enrollments: defaultdict[str, _Enrollment] = defaultdict(_Enrollment)
        for file in self._enrollment_files:
            for element in file.elements(
                "StudentSchoolAssociation", "StudentEducationOrganizationAssociation", "StudentDemographic"
            ):
                if number := element.student:
                    enrollments[number].add(element)
        described: set[str] = set()
        for _, line, student in self._elements("Student"):
            number = student.text("StudentUniqueId")
            if number is not None:
                described.add(number)
            yield line, self._row(student, number, enrollments.get(number or "", _Enrollment()))
        if unknown := len(enrollments.keys() - described):
            self._note("enrollment_without_student", unknown)

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


# Attendance


class _Attendance(_Source):
    """The worst event of each student's day. A year's events are held as numbers, 24 bytes each, for that."""

    columns = ("district_id", "date", "status")

    def __init__(self, bundle: Bundle, main: list[File], tenant: TenantSettings, delivered_on: dt.date | None) -> None:
        super().__init__(bundle, main, tenant, delivered_on)
        self.instructional_days = self._instructional_days(bundle.files(_CALENDAR))

    def _tables(self) -> Iterator[pa.Table]:
        columns = [_Coded() for _ in self.header]
        # The known statuses are the first ones, the worst of them 0.
        for status in _WORST_FIRST:
            columns[2].place(status)
        lines = array("q")
        for _, line, event in self._elements("StudentSchoolAttendanceEvent", without=_NOT_IN_ATTENDANCE):
            category = event.code("AttendanceEvent", "AttendanceEventCategory")
            lines.append(line)
            columns[0].add(event.student)
            columns[1].add(event.date("AttendanceEvent", "EventDate"))
            columns[2].add(_ATTENDANCE.get(category.lower(), category) if category else None)
        codes = [np.frombuffer(column.codes, dtype=np.int32) for column in columns]
        kept = _worst_of_the_day(*codes)
        if dropped := len(lines) - int(kept.sum()):
            self._leave_out("second_event_of_the_day", dropped)
        numbers = np.frombuffer(lines, dtype=np.int64)[kept]
        texts = [pa.array(column.texts, pa.string()) for column in columns]
        for start in range(0, len(numbers), _ROWS_PER_TABLE):
            part = slice(start, start + _ROWS_PER_TABLE)
            nothing = pa.nulls(len(numbers[part]), pa.string())
            fields = [
                words.take(pa.array(places[part], mask=places[part] < 0))
                for words, places in zip(texts, [column[kept] for column in codes], strict=True)
            ]
            yield pa.Table.from_arrays(
                [pa.array(numbers[part]), nothing, nothing, *fields], schema=archive_schema(self.header)
            )

    def _instructional_days(self, files: list[File]) -> list[dt.date]:
        """The days on which some school teaches, of the calendars that are one.

        A calendar is one when the bundle declares it (Calendar), with a type that is not for some students or the staff
        (CalendarType Student Specific, IEP, Staff), and when it names at least 20 days of instruction: fewer are no
        school year's calendar but an exception to one. Days of other calendars are counted in `notes`.
        """
        types: dict[tuple[str, ...], str] = {}
        days: defaultdict[tuple[str, ...], set[str]] = defaultdict(set)
        for file in files:
            keys: dict[str, tuple[str, ...]] = {}
            for element in file.elements("Calendar", "CalendarDate"):
                if element.name == "Calendar":
                    key = _calendar_key(element)
                    types[key] = (element.code("CalendarType") or "").lower()
                    if element.identifier:
                        keys[element.identifier] = key
                elif any(event.lower() in _DAYS_OF_INSTRUCTION for event in element.codes("CalendarEvent")):
                    identity = element.all("CalendarReference", "CalendarIdentity")
                    reference = element.reference("CalendarReference")
                    key = _calendar_key(identity[0]) if identity else (file.name, reference or "")
                    days[key].add(element.date("Date") or "")
            for reference, key in keys.items():
                days[key] |= days.pop((file.name, reference), set())
        school_days: set[dt.date] = set()
        for key, dates in days.items():
            if key not in types:
                self._note("days_of_an_undeclared_calendar", len(dates))
            elif types[key] in _CALENDARS_OF_SOME:
                self._note("days_of_a_calendar_of_some", len(dates))
            elif len(dates) < _FEWEST_DAYS:
                self._note("days_of_too_short_a_calendar", len(dates))
            else:
                for text in dates:
                    with suppress(ValueError):
                        school_days.add(dt.date.fromisoformat(text))
        return sorted(school_days)


def _calendar_key(element: Element) -> tuple[str, ...]:
    return (element.text("CalendarCode") or "", element.school or "", element.text("SchoolYear") or "")


class _Coded:
    """A column of texts as numbers: each distinct text once; -1 for none."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.codes = array("i")
        self._places: dict[str, int] = {}

    def place(self, text: str) -> int:
        place = self._places.get(text)
        if place is None:
            place = self._places[text] = len(self.texts)
            self.texts.append(text)
        return place

    def add(self, text: str | None) -> None:
        self.codes.append(-1 if text is None else self.place(text))


def _worst_of_the_day(student: np.ndarray, day: np.ndarray, status: np.ndarray) -> np.ndarray:
    """Which events stay: per student and day the worst known one, the first of several; and every one that is unclear.

    An event without student or date, or with a status nobody knows, stays whatever else is said of the day.
    """
    clear = (student >= 0) & (day >= 0) & (status >= 0) & (status < len(_WORST_FIRST))
    places = np.flatnonzero(clear)
    # Stable, so that the first of equals comes first.
    order = places[np.lexsort((status[places], day[places], student[places]))]
    again = np.zeros(len(order), dtype=bool)
    again[1:] = (np.diff(student[order]) == 0) & (np.diff(day[order]) == 0)
    kept = np.ones(len(student), dtype=bool)
    kept[order[again]] = False
    return kept


# Discipline


class _IncidentKey(NamedTuple):
    school: str
    identifier: str


@dataclass
class _Incident:
    """What the DisciplineIncident element says."""

    date: str | None
    location: str | None
    detail: str | None
    behaviors: list[str]
    aggravated: bool
    """A weapon was involved, or it was reported to law enforcement."""


@dataclass
class _Offense:
    """One student's part in one incident."""

    line: int
    student: str | None
    key: _IncidentKey | None
    reference: str | None
    behaviors: list[str]
    details: list[str]
    weapon: bool
    unknown_participation: str | None


class _Discipline(_Source):
    """One row per incident and student who did it; held in memory, because the parts refer to one another."""

    columns = (
        "district_id", "source_record_id", "incident_date", "severity_level", "incident_type", "description",
        "resolution",
    )  # fmt: skip

    def _tables(self) -> Iterator[pa.Table]:
        return self._batched(self._rows())

    def _rows(self) -> Iterator[tuple[int, dict[str, str | None]]]:
        incidents: dict[_IncidentKey, _Incident] = {}
        keys: dict[tuple[str, str], _IncidentKey] = {}
        associations: list[tuple[File, int, Element]] = []
        actions: list[tuple[File, Element]] = []
        for file, line, element in self._elements(
            "DisciplineIncident",
            "StudentDisciplineIncidentBehaviorAssociation",
            "StudentDisciplineIncidentAssociation",  # of data standard 3, offenders and others alike
            "StudentDisciplineIncidentNonOffenderAssociation",
            "StaffDisciplineIncidentAssociation",
            "DisciplineAction",
        ):
            if element.name == "DisciplineIncident":
                key = _IncidentKey(element.school or "", element.text("IncidentIdentifier") or "")
                incidents[key] = _incident(element)
                if element.identifier:
                    keys[file.name, element.identifier] = key
                for outsider in element.all("DisciplineIncidentExternalParticipant"):
                    self._leave_out_participants("external", outsider)
            elif element.name == "DisciplineAction":
                actions.append((file, element))
            elif element.name == "StaffDisciplineIncidentAssociation":
                self._leave_out_participants("staff", element)
            elif element.name == "StudentDisciplineIncidentNonOffenderAssociation":
                self._leave_out_participants("student", element)
            else:
                associations.append((file, line, element))
        offenses = self._offenses(associations, keys)
        taken = self._actions(actions, associations, keys)
        for offense in offenses:
            incident = incidents.get(offense.key) if offense.key else None
            yield offense.line, _offense_row(offense, incident, taken.get((offense.key, offense.student), []))

    def _leave_out_participants(self, who: str, element: Element) -> None:
        for code in _participation(element) or [""]:
            has_a_name = code.lower() in (_OFFENDER, *_NO_OFFENDERS)
            self._leave_out(f"{who}_{code.lower() if has_a_name else 'participant'}")

    def _offenses(
        self, associations: list[tuple[File, int, Element]], keys: Mapping[tuple[str, str], _IncidentKey]
    ) -> list[_Offense]:
        """The parts of offenders, in file order; several behaviours of a student in one incident are one part."""
        offenses: list[_Offense] = []
        by_key: dict[tuple[_IncidentKey, str], _Offense] = {}
        for file, line, element in associations:
            codes = _participation(element)
            folded = {code.lower() for code in codes}
            # An association with a behaviour is an offender's by its definition; a code need not be given.
            offender = not codes or _OFFENDER in folded
            if not offender and folded <= set(_NO_OFFENDERS):
                self._leave_out_participants("student", element)
                continue
            key = _incident_key(element, file, keys)
            behaviors = element.codes("Behavior") + element.codes("Behavior", "Behavior")
            details = element.texts("BehaviorDetailedDescription") + element.texts(
                "Behavior", "BehaviorDetailedDescription"
            )
            weapon = bool(element.all("Weapon"))
            earlier = by_key.get((key, element.student)) if key and element.student else None
            if earlier is not None and offender and earlier.unknown_participation is None:
                self._leave_out("further_behavior_of_the_incident")
                earlier.behaviors += [behavior for behavior in behaviors if behavior not in earlier.behaviors]
                earlier.details += [detail for detail in details if detail not in earlier.details]
                earlier.weapon |= weapon
                continue
            offense = _Offense(
                line=line,
                student=element.student,
                key=key,
                reference=element.reference("DisciplineIncidentReference"),
                behaviors=behaviors,
                details=details,
                weapon=weapon,
                unknown_participation=None if offender else codes[0],
            )
            offenses.append(offense)
            if key and element.student:
                by_key.setdefault((key, element.student), offense)
        return offenses

    def _actions(
        self,
        actions: list[tuple[File, Element]],
        associations: list[tuple[File, int, Element]],
        keys: Mapping[tuple[str, str], _IncidentKey],
    ) -> dict[tuple[_IncidentKey | None, str | None], list[tuple[str, bool]]]:
        """What was done about each part: in words, and whether it is an expulsion."""
        by_reference = {
            (file.name, element.identifier): (_incident_key(element, file, keys), element.student)
            for file, _, element in associations
            if element.identifier
        }
        taken: defaultdict[tuple[_IncidentKey | None, str | None], list[tuple[str, bool]]] = defaultdict(list)
        for file, action in actions:
            parts: list[tuple[_IncidentKey | None, str | None]] = []
            for name in ("StudentDisciplineIncidentBehaviorAssociation", "StudentDisciplineIncidentAssociation"):
                for reference in action.all(f"{name}Reference"):
                    identities = reference.all(f"{name}Identity")
                    if identities:
                        parts += [
                            (_incident_key(identity, file, keys), identity.student or action.student)
                            for identity in identities
                        ]
                    elif "ref" in reference.attributes:
                        parts.append(by_reference.get((file.name, reference.attributes["ref"]), (None, None)))
            if not parts and action.all("DisciplineIncidentReference"):
                parts.append((_incident_key(action, file, keys), action.student))
            words = ", ".join(filter(None, [" and ".join(action.codes("Discipline")), _days(action)]))
            expulsion = any(code.lower().startswith("expulsion") for code in action.codes("Discipline"))
            for part in dict.fromkeys(parts):
                taken[part].append((words, expulsion))
            if not parts or (None, None) in parts:
                self._note("action_without_incident")
        return taken


def _incident(element: Element) -> _Incident:
    return _Incident(
        date=element.date("IncidentDate"),
        location=element.code("IncidentLocation"),
        detail=element.text("Behavior", "BehaviorDetailedDescription"),
        behaviors=element.codes("Behavior", "Behavior"),
        aggravated=bool(element.all("Weapon")) or element.text("ReportedToLawEnforcement") in _TRUE,
    )


def _participation(element: Element) -> list[str]:
    return element.codes("DisciplineIncidentParticipationCode") + element.codes("StudentParticipationCode")


def _incident_key(element: Element, file: File, keys: Mapping[tuple[str, str], _IncidentKey]) -> _IncidentKey | None:
    """The incident an element refers to: by an XML id of the same file, or by its natural key."""
    for identity in element.all("DisciplineIncidentReference", "DisciplineIncidentIdentity"):
        return _IncidentKey(identity.school or "", identity.text("IncidentIdentifier") or "")
    reference = element.reference("DisciplineIncidentReference")
    return keys.get((file.name, reference)) if reference else None


def _days(action: Element) -> str | None:
    length = action.text("ActualDisciplineActionLength") or action.text("DisciplineActionLength")
    return f"{length} {'day' if length in ('1', '1.0') else 'days'}" if length else None


def _offense_row(
    offense: _Offense, incident: _Incident | None, actions: list[tuple[str, bool]]
) -> dict[str, str | None]:
    behaviors = offense.behaviors or (incident.behaviors if incident else [])
    details = offense.details or ([incident.detail] if incident and incident.detail else [])
    location = f"location: {incident.location}" if incident and incident.location else None
    school, identifier = offense.key or ("", offense.reference or "")
    graver = offense.weapon or bool(incident and incident.aggravated) or any(expulsion for _, expulsion in actions)
    return {
        "district_id": offense.student,
        "source_record_id": "-".join(filter(None, [school, identifier, offense.student])) or None,
        "incident_date": incident.date if incident else None,
        "severity_level": f"participation {offense.unknown_participation}"
        if offense.unknown_participation
        else _severity(behaviors, graver=graver),
        "incident_type": "; ".join(behaviors) or None,
        "description": "; ".join([*details, *filter(None, [location])]) or None,
        "resolution": "; ".join(words for words, _ in actions if words) or None,
    }


def _severity(behaviors: list[str], *, graver: bool) -> str | None:
    """1 to 5 by the gravest behaviour: State Offense 4, School Code of Conduct 3, School Violation 2, Other 1.

    `graver` (a weapon, an expulsion or a report to law enforcement) makes a state offense 5 and everything else 4. A
    behaviour of the district's own stays in words: its profile may map it (`codes` of `severity_level`).
    """
    levels = [_SEVERITY.get(behavior.lower()) for behavior in behaviors]
    unknown = next((behavior for behavior, level in zip(behaviors, levels, strict=True) if level is None), None)
    if unknown is not None or not levels:
        return unknown
    level = max(level for level in levels if level is not None)
    if graver:
        level = _CRITICAL if level >= _MAJOR else _MAJOR
    return str(level)


# Grades


class _Assignment(NamedTuple):
    """What the GradebookEntry element says."""

    identifier: str
    course: str | None
    due: str | None
    assigned: str | None
    kind: str | None
    points: str | None


class _Grades(_Source):
    """StudentGradebookEntry elements, streamed; the entries they refer to are read before."""

    columns = (
        "district_id", "source_record_id", "course_id", "course_name", "grade_value", "grade_letter", "submission_date",
        "assignment_type",
    )  # fmt: skip

    def _tables(self) -> Iterator[pa.Table]:
        return self._batched(self._rows())

    def _rows(self) -> Iterator[tuple[int, dict[str, str | None]]]:
        assignments: dict[str, _Assignment] = {}
        references: dict[tuple[str, str], str] = {}
        for file in self._main:
            sections: dict[str, Element] = {}
            entries: list[Element] = []
            for element in file.elements("GradebookEntry", "SectionReference"):
                if element.name == "GradebookEntry":
                    entries.append(element)
                elif element.identifier:
                    sections[element.identifier] = element
            for element in entries:
                assignment = _assignment(element, sections)
                assignments[assignment.identifier] = assignment
                if element.identifier:
                    references[file.name, element.identifier] = assignment.identifier
        for file, line, element in self._elements("StudentGradebookEntry", "GradebookEntry", "SectionReference"):
            if element.name != "StudentGradebookEntry":
                continue
            identities = element.all("GradebookEntryReference", "GradebookEntryIdentity")
            reference = element.reference("GradebookEntryReference") or ""
            identifier = _assignment_id(identities[0]) if identities else references.get((file.name, reference))
            row = self._row(element, identifier, assignments.get(identifier or ""))
            if row is not None:
                yield line, row

    def _row(
        self, entry: Element, identifier: str | None, assignment: _Assignment | None
    ) -> dict[str, str | None] | None:
        letter = entry.text("LetterGradeEarned")
        value = self._value(entry, assignment)
        status = entry.code("SubmissionStatus")
        if status is not None and status.lower() in _NOT_GRADED:
            self._leave_out(_snake(status))
            return None
        if status is None and value is None and letter is None:
            self._leave_out("not_graded")
            return None
        if status is not None and status.lower() != "graded":
            value = status  # nobody knows whether such a grade counts: the profile may say it, or it is quarantined
        elif (
            value is not None
            and _NUMBER.fullmatch(value)
            and float(value) > 100
            and self._profile.extra_credit == "cap"
        ):
            value = "100"
            self._note("capped_at_100")
        return {
            "district_id": entry.student,
            "source_record_id": f"{identifier}-{entry.student}" if identifier and entry.student else None,
            "course_id": assignment.course if assignment else None,
            "course_name": assignment.course if assignment else None,
            "grade_value": value,
            "grade_letter": letter,
            "submission_date": self._date(entry, assignment),
            "assignment_type": assignment.kind if assignment else None,
        }

    def _value(self, entry: Element, assignment: _Assignment | None) -> str | None:
        """NumericGradeEarned, which is in percent; else the points earned of those there are."""
        value = entry.text("NumericGradeEarned")
        points = entry.text("PointsEarned")
        if value is not None or points is None:
            return value
        most = assignment.points if assignment else None
        if not (_NUMBER.fullmatch(points) and most and _NUMBER.fullmatch(most) and float(most) > 0):
            return f"{points} of {most or '?'} points"  # no number, so that validation says so
        return f"{100 * float(points) / float(most):.10g}"

    def _date(self, entry: Element, assignment: _Assignment | None) -> str | None:
        """The day it was handed in; else it was due, unless that is still to come; else it was assigned."""
        fulfilled = entry.date("DateFulfilled")
        if fulfilled or assignment is None:
            return fulfilled
        due = assignment.due
        if due and assignment.assigned and self._delivered_on and due > self._delivered_on:
            return assignment.assigned
        return due or assignment.assigned


def _assignment(element: Element, sections: Mapping[str, Element]) -> _Assignment:
    section = element
    if reference := element.reference("SectionReference"):
        section = Element("", {}, 0)
        section.children = [sections[reference]] if reference in sections else []
    course = section.text(
        "SectionReference", "SectionIdentity", "CourseOfferingReference", "CourseOfferingIdentity", "LocalCourseCode"
    )
    title = element.text("Title") or element.text("GradebookEntryTitle") or ""
    # Without a type the title says it: `Assignment 3` is an Assignment, `Unit 1 Test` a Unit Test.
    kind = element.code("GradebookEntryType") or re.sub(r"\s*#?\b[0-9]+\b[.:]?", "", title).strip()
    return _Assignment(
        identifier=_assignment_id(element),
        # Where no section is named there is still the source's own name of it.
        course=course or element.text("SourceSectionIdentifier"),
        due=element.date("DueDate"),
        assigned=element.date("DateAssigned"),
        kind=kind if 0 < len(kind) <= 50 else None,
        points=element.text("MaxPoints"),
    )


def _assignment_id(element: Element) -> str:
    """GradebookEntryIdentifier; before data standard 4, which has none, a digest of section, title and date."""
    identifier = element.text("GradebookEntryIdentifier")
    if identifier is not None:
        return identifier
    parts = (
        element.text("SectionReference", "SectionIdentity", "SectionIdentifier"),
        element.text("GradebookEntryTitle"),
        element.date("DateAssigned"),
    )
    return hashlib.blake2b("\x1f".join(part or "" for part in parts).encode(), digest_size=12).hexdigest()
