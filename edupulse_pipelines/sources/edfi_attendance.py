"""Attendance of an Ed-Fi bundle, which has exceptions only, and the school days that its calendars name."""

from __future__ import annotations

import datetime as dt
from array import array
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress

import numpy as np
import pyarrow as pa

from edupulse_pipelines.schema.source_formats import NOT_SENT
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.sources.edfi_sections import Sections
from edupulse_pipelines.sources.edfi_source import ROWS_PER_TABLE, EdfiSource
from edupulse_pipelines.sources.edfi_xml import Bundle, Element, File
from edupulse_pipelines.sources.records import archive_schema

CALENDAR = "EducationOrgCalendar"
_DAY, _SECTION = "StudentSchoolAttendanceEvent", "StudentSectionAttendanceEvent"
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
_WORST_FIRST = ("absent", "excused", "tardy", "present")
_DAYS_OF_INSTRUCTION = ("instructional day", "make-up day", "student late arrival/early dismissal")
"""CalendarEvents that their descriptors define as a day, if an abbreviated one, on which students are taught."""
_CALENDARS_OF_SOME = ("student specific", "iep", "staff")
_FEWEST_DAYS = 20


class EdfiAttendance(EdfiSource):
    """The worst event of a student's day or period at a school.

    A year's events are held as numbers, 32 bytes each, for that.
    """

    table = "attendance_records"
    columns = ("district_id", "date", "status", "period", "school_id")

    def __init__(self, bundle: Bundle, main: list[File], tenant: TenantSettings, delivered_on: dt.date | None) -> None:
        super().__init__(bundle, main, tenant, delivered_on)
        self._sections = Sections(bundle)
        self.instructional_days = self._instructional_days(bundle.files(CALENDAR))

    def tables(self) -> Iterator[pa.Table]:
        """The events, the worst one of a student's day, or of a period of it."""
        if not self.main:
            # A calendar alone says when there was school, and nothing of who was there.
            self.leave_out(NOT_SENT)
        columns = [_Coded() for _ in self.header]
        # The known statuses are the first ones, the worst of them 0.
        for status in _WORST_FIRST:
            columns[2].place(status)
        lines = array("q")
        for _, line, event in self.elements(_DAY, _SECTION):
            category = event.code("AttendanceEvent", "AttendanceEventCategory")
            lines.append(line)
            columns[0].add(event.student)
            columns[1].add(self.date(event, "AttendanceEvent", "EventDate"))
            columns[2].add(_ATTENDANCE.get(category.lower(), category) if category else None)
            of_section = event.name == _SECTION
            columns[3].add(self._sections.period(event) if of_section else None)
            columns[4].add(self._sections.school(event) if of_section else event.school)
        codes = [np.frombuffer(column.codes, dtype=np.int32) for column in columns]
        again, covered = _said_already(*codes)
        for reason, dropped in (("second_event_of_the_day", again), ("section_event_of_an_event_of_the_day", covered)):
            if count := int(dropped.sum()):
                self.leave_out(reason, count)
        kept = ~(again | covered)
        numbers = np.frombuffer(lines, dtype=np.int64)[kept]
        texts = [pa.array(column.texts, pa.string()) for column in columns]
        for start in range(0, len(numbers), ROWS_PER_TABLE):
            part = slice(start, start + ROWS_PER_TABLE)
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
        contradicting: set[tuple[str, ...]] = set()
        days: defaultdict[tuple[str, ...], set[str]] = defaultdict(set)
        for file in files:
            keys: dict[str, tuple[str, ...]] = {}
            for element in file.elements("Calendar", "CalendarDate"):
                if element.name == "Calendar":
                    key = _calendar_key(element)
                    kind = (element.code("CalendarType") or "").lower()
                    if types.setdefault(key, kind) != kind:
                        contradicting.add(key)
                    if element.identifier:
                        keys[element.identifier] = key
                elif any(event.lower() in _DAYS_OF_INSTRUCTION for event in element.codes("CalendarEvent")):
                    identity = element.all("CalendarReference", "CalendarIdentity")
                    reference = element.reference("CalendarReference")
                    key = _calendar_key(identity[0]) if identity else (file.name, reference or "")
                    days[key].add(self.date(element, "Date") or "")
            for reference, key in keys.items():
                days[key] |= days.pop((file.name, reference), set())
        school_days: set[dt.date] = set()
        for key, dates in days.items():
            why_not = _why_not(types.get(key), len(dates))
            if key in contradicting:
                why_not = "days_of_a_contradicting_calendar"
            if why_not is not None:
                self.note(why_not, len(dates))
                continue
            for text in dates:
                with suppress(ValueError):
                    school_days.add(dt.date.fromisoformat(text))
        return sorted(school_days)


def _why_not(kind: str | None, days: int) -> str | None:
    """Why a calendar of this type with so many days is no school's; None for one that is."""
    if kind is None:
        return "days_of_an_undeclared_calendar"
    if kind in _CALENDARS_OF_SOME:
        return "days_of_a_calendar_of_some"
    return "days_of_too_short_a_calendar" if days < _FEWEST_DAYS else None


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


def _said_already(
    student: np.ndarray, day: np.ndarray, status: np.ndarray, period: np.ndarray, school: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Which events another one says already: of the same day or period, and of a section on a day that has an event.

    Per student, day, school and period the worst known event stays, the first of several. An event that names no school
    is of the one that the student's others of the day name, if that is one. Beside an event of the whole day
    those of sections stay that are worse than it: what it covers would count twice. An event without student or date,
    or with a status nobody knows, stays whatever else is said of the day.
    """
    clear = (student >= 0) & (day >= 0) & (status >= 0) & (status < len(_WORST_FIRST))
    places = np.flatnonzero(clear)
    at = _with_the_only_school(student[places], day[places], school[places])
    # Stable, so that the first of equals comes first; an event of the whole day comes before those of its periods.
    ascending = np.lexsort((status[places], period[places], at, day[places], student[places]))
    order, at = places[ascending], at[ascending]
    new_day = np.ones(len(order), dtype=bool)
    new_day[1:] = (np.diff(student[order]) != 0) | (np.diff(day[order]) != 0) | (np.diff(at) != 0)
    same_session = np.zeros(len(order), dtype=bool)
    same_session[1:] = ~new_day[1:] & (np.diff(period[order]) == 0)
    first_of_day = np.maximum.accumulate(np.where(new_day, np.arange(len(order)), 0))
    of_a_section = (period[order] >= 0) & ~same_session
    beside_the_day = of_a_section & (period[order][first_of_day] < 0) & (status[order] >= status[order][first_of_day])
    again, covered = np.zeros(len(student), dtype=bool), np.zeros(len(student), dtype=bool)
    again[order[same_session]] = True
    covered[order[beside_the_day]] = True
    return again, covered


def _with_the_only_school(student: np.ndarray, day: np.ndarray, school: np.ndarray) -> np.ndarray:
    """The school of each event; of one without that of the student's others of the day, if these name one only."""
    silent = school < 0
    if not silent.any() or silent.all():
        return school
    _, of_event = np.unique(np.column_stack([student, day]), axis=0, return_inverse=True)
    of_event = of_event.reshape(-1)
    lowest = np.full(of_event.max() + 1, np.iinfo(np.int64).max)
    highest = np.full(of_event.max() + 1, -1)
    np.minimum.at(lowest, of_event[~silent], school[~silent])
    np.maximum.at(highest, of_event[~silent], school[~silent])
    only = np.where(lowest == highest, highest, -1)
    return np.where(silent, only[of_event], school)
