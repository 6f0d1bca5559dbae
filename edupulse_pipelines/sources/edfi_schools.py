"""Schools of an Ed-Fi bundle (School), and the enrolments of students at them (StudentSchoolAssociation)."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from edupulse_pipelines.sources.edfi_source import EdfiSource
from edupulse_pipelines.sources.edfi_students import exit_type_of
from edupulse_pipelines.sources.grade_codes import grade_level


class EdfiSchools(EdfiSource):
    """School elements of the EducationOrganization interchange."""

    table = "schools"
    columns = ("school_id", "name", "level", "lowest_grade", "highest_grade")

    def tables(self) -> Iterator[pa.Table]:
        """The schools, in the order of the file."""
        return self.batched(self._rows())

    def _rows(self) -> Iterator[tuple[int, dict[str, str | None]]]:
        for _, line, school in self.elements("School"):
            codes = school.codes("GradeLevel") + school.codes("GradeLevel", "GradeLevel")
            levels = [level or code or text for text in codes for level, code in [grade_level(text, ())]]
            numbers = sorted((level for level in levels if level.isdecimal()), key=int)
            others = [level for level in levels if not level.isdecimal()]
            categories = school.codes("SchoolCategory") or school.codes("SchoolCategory", "SchoolCategory")
            yield (
                line,
                {
                    "school_id": school.text("SchoolId"),
                    "name": school.text("NameOfInstitution"),
                    "level": categories[0] if categories else None,
                    # What lies outside of 0 to 12 (preschool, say) has no place in an order.
                    "lowest_grade": numbers[0] if numbers and not others else None,
                    "highest_grade": numbers[-1] if numbers and not others else None,
                },
            )


class EdfiEnrollments(EdfiSource):
    """StudentSchoolAssociation elements of the StudentEnrollment interchange."""

    table = "enrollments"
    columns = ("district_id", "school_id", "entry_date", "exit_date", "exit_type", "grade_level", "is_primary")

    def tables(self) -> Iterator[pa.Table]:
        """The enrolments, in the order of the file."""
        return self.batched(self._rows())

    def _rows(self) -> Iterator[tuple[int, dict[str, str | None]]]:
        for _, line, element in self.elements("StudentSchoolAssociation"):
            left, given = self.date(element, "ExitWithdrawDate"), element.code("EntryGradeLevel")
            # A known code that is no grade (ungraded, say) is kept with the student; here it is no level.
            level, _code = (None, None) if given is None else grade_level(given, self.profile.grade_levels)
            primary = self.answer(element, "PrimarySchool")
            yield (
                line,
                {
                    "district_id": element.student,
                    "school_id": element.school,
                    "entry_date": self.date(element, "EntryDate"),
                    "exit_date": left,
                    "exit_type": exit_type_of(element.code("ExitWithdrawType")) if left else None,
                    "grade_level": level,
                    "is_primary": None if primary is None else str(primary).lower(),
                },
            )
