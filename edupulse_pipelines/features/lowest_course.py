"""In which course a student's lowest recent grades are, for whoever is to help there. Reads, and stores nothing."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.features.definitions import RECENT_WEEKS
from edupulse_pipelines.features.school_calendar import activity_weeks
from edupulse_pipelines.schema.sqlalchemy_tables import grades, weekly_course_grades
from edupulse_pipelines.storage.bulk import id_batches
from edupulse_pipelines.storage.work import Work
from edupulse_pipelines.weeks import feature_date


def lowest_courses(
    connection: Connection, work: Work, week: dt.date, student_ids: Sequence[uuid.UUID]
) -> dict[uuid.UUID, str]:
    """By student the course of the lowest grade in the four school weeks up to the Monday `week`, by its title, or by
    its identifier where no title was sent; of courses with the same grade the first by identifier.

    Students without a grade in these weeks are absent.
    """
    weeks = [monday for monday in activity_weeks(connection, work) if monday <= week][-RECENT_WEEKS:]
    found: dict[uuid.UUID, str] = {}
    if not weeks:
        return found
    weekly, graded = weekly_course_grades.c, grades.c
    for ids in id_batches(student_ids):
        lowest = connection.execute(
            sa.select(weekly.student_id, weekly.course_id, sa.func.min(weekly.grade_lowest))
            .where(weekly.tenant_id == work.tenant, weekly.student_id.in_(ids), weekly.week_start.in_(weeks))
            .group_by(weekly.student_id, weekly.course_id)
        ).all()
        best: dict[uuid.UUID, tuple[float, str]] = {}
        for student, course, grade in lowest:
            place = (float(grade), str(course))
            best[student] = min(best.get(student, place), place)
        titles = connection.execute(
            sa.select(graded.student_id, graded.course_id, sa.func.max(graded.course_name))
            .where(
                graded.tenant_id == work.tenant,
                graded.student_id.in_(ids),
                graded.submission_date.between(weeks[0], feature_date(week)),
                graded.course_name.is_not(None),
            )
            .group_by(graded.student_id, graded.course_id)
        ).all()
        title_of = {(student, course): title for student, course, title in titles}
        for student, (_, course) in best.items():
            found[student] = title_of.get((student, course)) or course
    return found
