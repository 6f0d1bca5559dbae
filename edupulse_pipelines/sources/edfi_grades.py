"""Gradebook grades of an Ed-Fi bundle, as percentages of the points that could be had."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import pyarrow as pa

from edupulse_pipelines.sources.edfi_source import NUMBER, EdfiSource
from edupulse_pipelines.sources.edfi_xml import Element
from edupulse_pipelines.sources.names import snake_case

_ISO_DATE = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:Z|[+-][0-9]{2}:[0-9]{2})?")
_NOT_GRADED = ("exempt", "not submitted", "submitted", "returned")


class _Assignment(NamedTuple):
    """What the GradebookEntry element says."""

    identifier: str
    course: str | None
    due: str | None
    assigned: str | None
    kind: str | None
    points: str | None


class EdfiGrades(EdfiSource):
    """StudentGradebookEntry elements, streamed; the entries they refer to are read before."""

    table = "grades"
    columns = (
        "district_id", "source_record_id", "course_id", "course_name", "grade_value", "grade_letter", "submission_date",
        "assignment_type", "assignment_id", "due_date",
    )  # fmt: skip

    def tables(self) -> Iterator[pa.Table]:
        """The entries that are a grade."""
        return self.batched(self._rows())

    def _rows(self) -> Iterator[tuple[int, dict[str, str | None]]]:
        assignments: dict[str, _Assignment] = {}
        references: dict[tuple[str, str], str] = {}
        contradicting: set[str] = set()
        for file in self.main:
            sections: dict[str, Element] = {}
            entries: list[Element] = []
            for element in file.elements("GradebookEntry", "SectionReference"):
                if element.name == "GradebookEntry":
                    entries.append(element)
                elif element.identifier:
                    sections[element.identifier] = element
            for element in entries:
                assignment = _assignment(self, element, sections)
                if assignments.setdefault(assignment.identifier, assignment) != assignment:
                    contradicting.add(assignment.identifier)
                if element.identifier:
                    references[file.name, element.identifier] = assignment.identifier
        # Of what is told in two ways nothing is believed.
        for told_twice in contradicting:
            del assignments[told_twice]
        if contradicting:
            self.note("contradicting_gradebook_entries", len(contradicting))
        for file, line, element in self.elements("StudentGradebookEntry", "GradebookEntry", "SectionReference"):
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
            self.leave_out(snake_case(status))
            return None
        if status is None and value is None and letter is None:
            self.leave_out("not_graded")
            return None
        if status is not None and status.lower() != "graded":
            value = status  # nobody knows whether such a grade counts: the profile may say it, or it is quarantined
        elif (
            value is not None and NUMBER.fullmatch(value) and float(value) > 100 and self.profile.extra_credit == "cap"
        ):
            value = "100"
            self.note("capped_at_100")
        return {
            "district_id": entry.student,
            "source_record_id": f"{identifier}-{entry.student}" if identifier and entry.student else None,
            "course_id": assignment.course if assignment else None,
            "course_name": assignment.course if assignment else None,
            "grade_value": value,
            "grade_letter": letter,
            "submission_date": self._date(entry, assignment),
            "assignment_type": assignment.kind if assignment else None,
            "assignment_id": identifier,
            "due_date": assignment.due if assignment else None,
        }

    def _value(self, entry: Element, assignment: _Assignment | None) -> str | None:
        """NumericGradeEarned, which is in percent; else the points earned of those there are."""
        value = self.number(entry, "NumericGradeEarned")
        points = self.number(entry, "PointsEarned")
        if value is not None or points is None:
            return value
        most = assignment.points if assignment else None
        if not (NUMBER.fullmatch(points) and most and NUMBER.fullmatch(most) and float(most) > 0):
            return f"{points} of {most or '?'} points"  # no number, so that validation says so
        return f"{100 * float(points) / float(most):.10g}"

    def _date(self, entry: Element, assignment: _Assignment | None) -> str | None:
        """The day it was handed in; else it was due, unless that is still to come; else it was assigned."""
        fulfilled = self.date(entry, "DateFulfilled")
        if fulfilled or assignment is None:
            return fulfilled
        due = assignment.due
        if due and assignment.assigned and self.delivered_on and due > self.delivered_on:
            return assignment.assigned
        return due or assignment.assigned


def _assignment(source: EdfiSource, element: Element, sections: Mapping[str, Element]) -> _Assignment:
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
        due=source.date(element, "DueDate"),
        assigned=source.date(element, "DateAssigned"),
        kind=kind if 0 < len(kind) <= 50 else None,
        points=source.number(element, "MaxPoints"),
    )


def _assignment_id(element: Element) -> str:
    """GradebookEntryIdentifier; before data standard 4, which has none, a digest of section, title and date."""
    identifier = element.text("GradebookEntryIdentifier")
    if identifier is not None:
        return identifier
    parts = (
        element.text("SectionReference", "SectionIdentity", "SectionIdentifier"),
        element.text("GradebookEntryTitle"),
        _without_zone(element.text("DateAssigned")),
    )
    return hashlib.blake2b("\x1f".join(part or "" for part in parts).encode(), digest_size=12).hexdigest()


def _without_zone(text: str | None) -> str | None:
    """The text of a date as the digest of an assignment has it, which must stay the same for ever."""
    match = _ISO_DATE.fullmatch(text) if text else None
    return match[1] if match else text
