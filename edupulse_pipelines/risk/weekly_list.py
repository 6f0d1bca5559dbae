"""Whom to talk to first: the students of one scored week at medium risk or above, by school, with the stored reasons.

Reads what scoring has stored, and computes no score and no reason. It names students: it is made when a person asks
for it, and never goes into a log, metadata or an error. How it looks on a page is in `telling.list_page`; how it is
printed or written to a file is the command's business.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.errors import PermanentError
from edupulse_pipelines.features.schools import School, schools_on
from edupulse_pipelines.risk.book.learned_label import learned_another_label
from edupulse_pipelines.risk.book.records import model_records
from edupulse_pipelines.risk.statuses import RULE
from edupulse_pipelines.schema.delivery import GRADE_CODE
from edupulse_pipelines.schema.sqlalchemy_tables import predictions, student_features, students
from edupulse_pipelines.schema.tables import RISK_CATEGORIES
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.storage.work import Work
from edupulse_pipelines.weeks import feature_date, week_start

LISTED_CATEGORIES = RISK_CATEGORIES[1:]
"""Categories whose students are on the list: all but the lowest."""
NO_SCHOOL = "No school known"
"""The heading of students whose school nobody has sent."""
_NAMED_AT_MOST = 12
"""So many schools, or grades, are named in an error."""


@dataclass(frozen=True)
class ListedStudent:
    """One line of the list."""

    number: str
    """The student's number within the district."""
    first_name: str
    last_name: str
    grade: str | None
    """0 (kindergarten) to 12, or the code of another grade; None: not known."""
    school: School | None
    category: str
    score: float | None
    """The calibrated probability of an adverse event; None: none could be learned yet."""
    confidence: float | None
    """None without a probability."""
    rule_score: float | None
    """The graded score, where the rule scored: what students of one category without a probability are sorted by."""
    reasons: tuple[str, ...]
    """What raises the risk, heaviest first; where nothing does, the factor that weighs most."""
    recommendations: tuple[str, ...]
    """What to do about the reasons, in their order, each once."""
    strengths: tuple[str, ...]
    """What is recorded of the student and lowers the risk."""
    model_version: str
    rescored: bool
    """Whether the score is hindsight: of a model that may have been trained on this very week."""

    @property
    def school_title(self) -> str:
        """The school's name, or that none is known."""
        return NO_SCHOOL if self.school is None else self.school.title


@dataclass(frozen=True)
class WeeklyList:
    """The list of one week, sorted by school (none known: last), risk (highest first) and student number.

    Risk: by category, then by probability (none known: last), then by the rule's score.
    """

    tenant: str
    week: dt.date
    """Monday."""
    students: tuple[ListedStudent, ...]
    scored: int
    """Students who were scored, at the schools and in the grades that were asked for."""
    not_scored: int
    """Students enrolled at the week's end, there too, who were not: little is known yet, or the grade is not scored."""
    other_label: bool
    """Whether a model that scored learned another label than the one the settings name now."""
    kinds: tuple[str, ...] = ()
    """What scored (`model_type`): one, or several where students were scored at different times."""

    @property
    def without_probability(self) -> bool:
        """Whether somebody on the list has a category and no probability."""
        return any(student.score is None for student in self.students)

    @property
    def by_rule(self) -> bool:
        """Whether the rule made the list, and no model."""
        return self.kinds == (RULE,)

    @property
    def by_category(self) -> dict[str, int]:
        """How many students are in each of the listed categories, the highest first."""
        counts = dict.fromkeys(reversed(LISTED_CATEGORIES), 0)
        for student in self.students:
            counts[student.category] += 1
        return counts

    @property
    def by_school(self) -> list[tuple[School | None, list[ListedStudent]]]:
        """The students of each school, in the order of the list."""
        groups: dict[School | None, list[ListedStudent]] = {}
        for student in self.students:
            groups.setdefault(student.school, []).append(student)
        return list(groups.items())

    @property
    def model_versions(self) -> list[str]:
        """The models that scored the students on the list."""
        return sorted({student.model_version for student in self.students})


def weekly_list(
    work: Work,
    tenant: TenantSettings,
    week: dt.date | None = None,
    *,
    schools: Collection[str] = (),
    grades: Collection[str] = (),
) -> WeeklyList:
    """The list of the week that begins on the Monday `week`; by default of the newest one that has predictions.

    `schools`: only students of these, by number or name in any case; NO_SCHOOL: those of whom none is known. `grades`:
    only these, as `ListedStudent.grade` has them. PermanentError for a week without predictions, and for a school or
    grade of which nobody is enrolled at the week's end; it names no student. Of several predictions of a student for
    the week the latest counts. A student who has left by the week's end, or whose record was deleted, is not on the
    list.
    """
    with work.reading() as connection:
        week = _scored_week(connection, work, week)
        everybody = _enrolled(connection, work, week)
        records = {record.model_version: record for record in model_records(connection, work)}
    there = _of_schools(everybody, schools, week)
    there = _of_grades(there, grades, week)
    scored = [student for student in there if student.category is not None]
    listed = [student.listed() for student in scored if student.category in LISTED_CATEGORIES]
    versions = {student.model_version for student in listed}
    return WeeklyList(
        tenant.name,
        week,
        tuple(sorted(listed, key=_place)),
        scored=len(scored),
        not_scored=len(there) - len(scored),
        other_label=any(learned_another_label(records[version], tenant) for version in versions),
        kinds=tuple(sorted({str(records[student.model_version].model_type) for student in scored})),  # type: ignore[index]
    )


def _place(student: ListedStudent) -> tuple[bool, str, str, int, bool, float, float, str]:
    school = student.school
    by_school = (True, "", "") if school is None else (False, school.name or school.number, school.number)
    by_risk = (-RISK_CATEGORIES.index(student.category), student.score is None, -(student.score or 0.0))
    return *by_school, *by_risk, -(student.rule_score or 0.0), student.number


@dataclass(frozen=True)
class _Enrolled:
    """A student who is enrolled at the week's end, scored or not."""

    number: str
    first_name: str
    last_name: str
    grade: str | None
    school: School | None
    category: str | None
    score: float | None
    confidence: float | None
    rule_score: float | None
    factors: Any
    model_version: str | None
    rescored: bool | None

    def listed(self) -> ListedStudent:
        """As the list has a student who was scored."""
        assert self.category is not None and self.model_version is not None
        factors = _told(self.factors)
        reasons = [factor for factor in factors if factor.get("direction") == "raises"] or factors[:1]
        return ListedStudent(
            self.number,
            self.first_name,
            self.last_name,
            self.grade,
            self.school,
            self.category,
            self.score,
            self.confidence,
            self.rule_score,
            _distinct(reasons, "description"),
            _distinct(reasons, "recommendation"),
            _distinct([factor for factor in factors if factor.get("protective") is True], "description"),
            self.model_version,
            bool(self.rescored),
        )


def _told(factors: Any) -> list[Mapping[str, Any]]:
    """The stored factors; none where there is no list of them."""
    return [factor for factor in factors if isinstance(factor, dict)] if isinstance(factors, list) else []


def _distinct(factors: Sequence[Mapping[str, Any]], name: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(str(factor[name]) for factor in factors if factor.get(name)))


def _scored_week(connection: Connection, work: Work, week: dt.date | None) -> dt.date:
    """The week that is asked for, or the newest one; PermanentError where it has no predictions."""
    table = predictions.c
    of_tenant = table.tenant_id == work.tenant
    count, first, last = connection.execute(
        sa.select(
            sa.func.count(sa.distinct(table.feature_date)),
            sa.func.min(table.feature_date),
            sa.func.max(table.feature_date),
        ).where(of_tenant)
    ).one()
    if not count:
        raise PermanentError(
            f"{work.tenant} has no predictions yet: `edupulse run` makes them, once there are enough weeks of data."
        )
    if week is None:
        return week_start(last)
    if not connection.scalar(sa.select(sa.exists().where(of_tenant, table.feature_date == feature_date(week)))):
        raise PermanentError(
            f"{work.tenant} has no predictions for the week of {week}. There are some for {count} week(s), of "
            f"{week_start(first)} to {week_start(last)}."
        )
    return week


def _enrolled(connection: Connection, work: Work, week: dt.date) -> list[_Enrolled]:
    """Everybody who is enrolled at the week's end, which is who has a vector of it, with the latest prediction."""
    day, student, vector = feature_date(week), students.c, student_features.c
    rows = connection.execute(
        sa.select(
            student.id,
            student.district_id,
            student.first_name,
            student.last_name,
            student.grade_level,
            student.student_metadata[GRADE_CODE].as_string().label("grade_code"),
        )
        .select_from(student_features)
        .join(students, sa.and_(student.tenant_id == vector.tenant_id, student.id == vector.student_id))
        .where(vector.tenant_id == work.tenant, vector.feature_date == day, student.deleted_on.is_(None))
    ).all()
    # Put together here: SQLite would look through all predictions for each student.
    latest = _latest_predictions(connection, work, day)
    school_of = schools_on(connection, work, day)
    return [
        _Enrolled(
            row.district_id,
            row.first_name,
            row.last_name,
            row.grade_code if row.grade_level is None else str(row.grade_level),
            school_of.get(row.id),
            *latest.get(row.id, (None,) * 7),
        )
        for row in rows
    ]


def _latest_predictions(connection: Connection, work: Work, day: dt.date) -> dict[uuid.UUID, tuple[Any, ...]]:
    """By student, of the latest prediction for the day, the last seven fields of `_Enrolled`."""
    table = predictions.c
    rows = connection.execute(
        sa.select(
            table.student_id,
            table.risk_category,
            table.risk_score,
            table.confidence,
            table.rule_score,
            # Only of those on the list: the explanations of all would be most of what is read.
            sa.case((table.risk_category.in_(LISTED_CATEGORIES), table.risk_factors)),
            table.model_version,
            table.rescored,
        )
        .where(table.tenant_id == work.tenant, table.feature_date == day)
        .order_by(table.prediction_date, table.id)
    )
    return {student: tuple(values) for student, *values in rows}


def _of_schools(everybody: list[_Enrolled], schools: Collection[str], week: dt.date) -> list[_Enrolled]:
    """The students of the schools that are asked for; PermanentError for one where nobody is."""
    there = {student.school for student in everybody if student.school is not None}
    chosen: set[School | None] = set()
    for asked in schools:
        text = asked.strip().casefold()
        # A number comes first: another school may bear it as its name.
        found: set[School | None] = {school for school in there if school.number.casefold() == text}
        found = found or {school for school in there if school.title.strip().casefold() == text}
        if not found and text == NO_SCHOOL.casefold():
            found = {student.school for student in everybody if student.school is None}
        if not found:
            known = [
                school.number if school.name is None else f"{school.name} ({school.number})"
                for school in sorted(there, key=lambda school: (school.title, school.number))
            ]
            raise PermanentError(
                f"No student is known to be at a school {asked!r} at the end of the week of {week}. {_there_are(known)}"
            )
        chosen |= found
    return [student for student in everybody if not schools or student.school in chosen]


def _of_grades(students_there: list[_Enrolled], grades: Collection[str], week: dt.date) -> list[_Enrolled]:
    """The students of the grades that are asked for; PermanentError for one that nobody is in."""
    there = {student.grade for student in students_there if student.grade is not None}
    for asked in grades:
        if asked not in there:
            known = sorted(there, key=lambda grade: (not grade.isdigit(), int(grade) if grade.isdigit() else 0, grade))
            raise PermanentError(
                f"No student is known to be in grade {asked!r} at the end of the week of {week}. {_there_are(known)}"
            )
    return [student for student in students_there if not grades or student.grade in grades]


def _there_are(known: Sequence[str]) -> str:
    if not known:
        return "None is known of anybody."
    more = f" and {len(known) - _NAMED_AT_MOST} more" if len(known) > _NAMED_AT_MOST else ""
    return f"There are: {', '.join(known[:_NAMED_AT_MOST])}{more}."
