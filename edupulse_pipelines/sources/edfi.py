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
- `schools`: School of the EducationOrganization interchange. `enrollments`: each StudentSchoolAssociation of the
  StudentEnrollment interchange is one; a bundle lists what is known now, so what it does not list is not taken back.
- `attendance_records`: StudentSchoolAttendanceEvent, the worst event of a student's day at a school (absent, excused,
  tardy, present), and StudentSectionAttendanceEvent, the worst of a period there (`edfi_sections`). Beside an event of
  the whole day those of sections are left out that are no worse: they would count twice.
- `discipline_incidents`: one row per incident and perpetrator, severity by `edfi_incidents`.
- `grades`: StudentGradebookEntry with its GradebookEntry. Work that is exempt, returned or not graded yet is no grade.
- days of instruction: see `edfi_attendance`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import cast

from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.sources.edfi_attendance import CALENDAR, EdfiAttendance
from edupulse_pipelines.sources.edfi_grades import EdfiGrades
from edupulse_pipelines.sources.edfi_incidents import EdfiIncidents
from edupulse_pipelines.sources.edfi_schools import EdfiEnrollments, EdfiSchools
from edupulse_pipelines.sources.edfi_students import ENROLLMENT, EdfiStudents
from edupulse_pipelines.sources.edfi_xml import Bundle, Open
from edupulse_pipelines.sources.records import RecordSource, RefusedFile

INTERCHANGES_BY_TABLE = {
    "students": ("Student", "StudentParent"),
    "schools": ("EducationOrganization",),
    "enrollments": (ENROLLMENT,),
    "attendance_records": ("StudentAttendance",),
    "discipline_incidents": ("StudentDiscipline",),
    "grades": ("StudentGradebook",),
}
"""The interchanges that hold a table's records; a bundle without one of them has nothing for the table."""
WITHOUT_RECORDS = {"attendance_records": CALENDAR}
"""The interchange that says something about a table though it holds none of its records: here the school days."""


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
            "students": EdfiStudents,
            "schools": EdfiSchools,
            "enrollments": EdfiEnrollments,
            "attendance_records": EdfiAttendance,
            "discipline_incidents": EdfiIncidents,
            "grades": EdfiGrades,
        }[table](bundle, main, tenant, delivered_on),
    )
