"""OneRoster CSV bundles (1.1, 1.2.0, 1.2.1) as records: `students`, `schools`, `enrollments` and `grades`, no others.

Values become canonical where the standard says what they mean; what only the district can map (grade levels beside KG
and 01 to 12, a scoreStatus of its own) stays as it is, and the profile maps it or validation quarantines the row.
Nothing is validated or stored here, and nothing is dropped without being counted in `left_out`. How a bundle is read is
in `oneroster_csv`, what `students` and `grades` share in `oneroster_source`; `schools` and
`enrollments` are in `oneroster_enrollments`.

Mapping (column names as in the 1EdTech CSV binding):

- `students`: users with the role student, in roles.csv (1.2) or in users.csv (1.1), in the order of users.csv. The
  number is `identifier`, else `sourcedId`. Where two students have the same number both rows stay as they are, to be
  quarantined, and their results name them by `sourcedId`, which no student has: nothing is attributed by a guess.
- enrolment is that of the student role (1.1: of the enrollments as a student): from the earliest beginDate to the last
  endDate, which is exclusive as our `exit_date`; while one of them is open there is no exit. OneRoster has no reason
  of leaving: the exit type is `other` once the date has come.
- `grades`: results, by way of lineItems, classes, courses and categories. The grade is the score's place between
  resultValueMin and -Max, in percent. Results that are exempt, not submitted, submitted or graded in part are no
  grades, and no zeros, whatever score they carry.
- bulk: what is not listed no longer exists (`snapshot`). Delta: `tobedeleted` takes a record back.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import cast

from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.sources.oneroster_csv import Bundle, Files
from edupulse_pipelines.sources.oneroster_enrollments import OneRosterEnrollments, OneRosterSchools
from edupulse_pipelines.sources.oneroster_grades import OneRosterGrades
from edupulse_pipelines.sources.oneroster_students import OneRosterStudents
from edupulse_pipelines.sources.records import RecordSource

_SOURCES = {
    "students": OneRosterStudents,
    "schools": OneRosterSchools,
    "enrollments": OneRosterEnrollments,
    "grades": OneRosterGrades,
}
MAIN_FILES = {
    OneRosterStudents.table: (OneRosterStudents.main_file,),
    OneRosterSchools.table: ("orgs.csv",),
    OneRosterEnrollments.table: ("roles.csv", "enrollments.csv"),
    OneRosterGrades.table: (OneRosterGrades.main_file,),
}
"""The file whose rows, and lines, are a table's records; of several the first that there is."""


def open_bundle(
    files: Files,
    table: str,
    tenant: TenantSettings,
    delivered_on: dt.date | None = None,
    earlier: Sequence[Files] = (),
) -> RecordSource:
    """The records that a bundle has for `table`; `files` by base name.

    `delivered_on` tells an exit that has come from one that is announced. `earlier`: the bundles delivered before,
    oldest first, in which a delta's rows find what has not changed; without them they may not find their student.
    RefusedFile `missing_file`, `missing_column`, `duplicate_column` and what reading CSV raises, with file and column.
    """
    bundle = Bundle(files, earlier, tenant.profile, max_columns=tenant.files.max_columns)
    return cast(RecordSource, _SOURCES[table](bundle, tenant, delivered_on))
