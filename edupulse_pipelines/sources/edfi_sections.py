"""The period that an Ed-Fi section is taught in, and its school, for attendance that is recorded by section.

A period is the number that the name of the class period has (`Period 3`, `03 - Traditional`): of the event itself,
else of the section in the MasterSchedule interchange. A section without one gets a number of its own, made from what
identifies it: the same in every delivery, whatever other sections there are.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict

from edupulse_pipelines.sources.edfi_xml import Bundle, Element

MASTER_SCHEDULE = "MasterSchedule"
_OFFERING = ("CourseOfferingReference", "CourseOfferingIdentity")
_SESSION = (*_OFFERING, "SessionReference", "SessionIdentity")
_WHERE_THE_SECTION_IS_TAUGHT = {
    "course": ((*_OFFERING, "LocalCourseCode"), ("LocalCourseCode",)),
    "school": (
        (*_SESSION, "SchoolReference", "SchoolIdentity", "SchoolId"),
        (*_OFFERING, "SchoolReference", "SchoolIdentity", "SchoolId"),
        ("SchoolReference", "SchoolIdentity", "SchoolId"),
        ("SchoolId",),
    ),
    "session": ((*_SESSION, "SessionName"), ("SessionName",), ("Term",)),
    "year": ((*_SESSION, "SchoolYear"), ("SchoolYear",)),
}
"""Where the parts of a section's identity stand beside its identifier, in the data standards from 3 on."""
_IDENTIFIERS = ("SectionIdentifier", "UniqueSectionCode")
_NAMES = (("ClassPeriodReference", "ClassPeriodIdentity", "ClassPeriodName"), ("ClassPeriodName",))
_OWN_NUMBERS_FROM = 1_000
"""Class periods have numbers below; sections without one have theirs from here on."""
_OWN_NUMBERS = 2**31 - 1 - _OWN_NUMBERS_FROM


class Sections:
    """The periods of a bundle's sections; `period` answers for an event of attendance by section."""

    def __init__(self, bundle: Bundle) -> None:
        self._taught: defaultdict[str, list[tuple[dict[str, str], int]]] = defaultdict(list)
        self._known: dict[tuple[str, tuple[tuple[str, str], ...]], str] = {}
        for file in bundle.files(MASTER_SCHEDULE):
            for section in file.elements("Section"):
                identifier, number = _identifier(section), _number(section)
                if identifier is not None and number is not None:
                    self._taught[identifier].append((_where(section), number))

    def period(self, event: Element) -> str:
        """The period of the section the event is about."""
        number = _number(event)
        if number is not None:
            return str(number)
        sections = event.all("SectionReference", "SectionIdentity")
        identifier = _identifier(sections[0]) if sections else None
        if identifier is None:
            return _own_number(event.reference("SectionReference") or "", ())
        where = _where(sections[0])
        key = (identifier, tuple(where.items()))
        if key not in self._known:
            periods = {
                number
                for taught, number in self._taught[identifier]
                if all(taught.get(name, text) == text for name, text in where.items())
            }
            self._known[key] = str(periods.pop()) if len(periods) == 1 else _own_number(*key)
        return self._known[key]

    @staticmethod
    def school(event: Element) -> str | None:
        """The school of the event or, where it names none, of the section that it is about."""
        sections = event.all("SectionReference", "SectionIdentity")
        return event.school or (_where(sections[0]).get("school") if sections else None)


def _identifier(section: Element) -> str | None:
    return next((text for name in _IDENTIFIERS if (text := section.text(name)) is not None), None)


def _where(section: Element) -> dict[str, str]:
    found = {
        part: next((text for path in paths if (text := section.text(*path)) is not None), None)
        for part, paths in _WHERE_THE_SECTION_IS_TAUGHT.items()
    }
    return {part: text for part, text in found.items() if text is not None}


def _number(element: Element) -> int | None:
    """The number in the name of the class period, the lowest of several; None where a name has none, or two."""
    numbers = [re.findall(r"[0-9]+", name) for path in _NAMES for name in element.texts(*path)]
    periods = [int(of_name[0]) for of_name in numbers if len(of_name) == 1 and len(of_name[0]) <= 3]
    return min(periods, default=None)


def _own_number(identifier: str, where: tuple[tuple[str, str], ...]) -> str:
    text = "\x1f".join((identifier, *(f"{name}={value}" for name, value in where)))
    digest = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])
    return str(_OWN_NUMBERS_FROM + digest % _OWN_NUMBERS)
