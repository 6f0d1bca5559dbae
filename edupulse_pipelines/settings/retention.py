"""How long a district keeps records of students who have left: whole years from the exit, by table and kind of exit."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, model_validator

from edupulse_pipelines.schema.tables import EXIT_TYPES, TABLES
from edupulse_pipelines.settings.section import Section

OTHERWISE = "otherwise"
"""The key of the period for every kind of exit that has none of its own."""
_RECORDS = "the records that they are computed from"
GOES_WITH = {
    "enrollments": "students: they say when the student left",
    "enrollment_statements": "students: they say when the student left",
    "attendance_statements": "attendance_records",
    "weekly_activity": _RECORDS,
    "weekly_course_grades": _RECORDS,
    "student_features": _RECORDS,
    "review_proposals": "predictions",
    "quarantined_records": "the table that they were delivered for",
}
"""Tables about students that have no period, by what takes their rows along."""
_MOST_YEARS = 100


def _by_kind(value: Any) -> Any:
    """`5`, or `{ completed = 5, otherwise = 3 }`, as years by kind of exit."""
    years = value if isinstance(value, dict) else {OTHERWISE: value}
    if not years:
        raise ValueError("no kind of exit has a period")
    for kind, number in years.items():
        if kind not in (*EXIT_TYPES, OTHERWISE):
            there = f"{', '.join(EXIT_TYPES)} and {OTHERWISE}"
            raise ValueError(f"{str(kind)[:40]!r} is no kind of exit; there are {there}")
        if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= _MOST_YEARS:
            raise ValueError(f"{kind}: years are a whole number from 1 to {_MOST_YEARS}")
    return years


Years = Annotated[dict[str, int], BeforeValidator(_by_kind)]
"""By kind of exit (`EXIT_TYPES`, `otherwise`) the years after which rows are over."""


class RetentionSettings(Section):
    """For each table the years after the exit when a student's rows in it are over; a table without any is kept."""

    students: Years | None = None
    """The student as a whole: everything that is held, in every place."""
    attendance_records: Years | None = None
    grades: Years | None = None
    discipline_incidents: Years | None = None
    predictions: Years | None = None
    training_feedback: Years | None = None

    @model_validator(mode="before")
    @classmethod
    def _tables_of_their_own(cls, declared: Any) -> Any:
        """Refuse what is no table, and tables whose rows go with those of another one."""
        if not isinstance(declared, dict):
            return declared
        own = tuple(cls.model_fields)
        for name in declared:
            if name in own:
                continue
            if name in GOES_WITH:
                raise ValueError(f"{name} has no period of its own: its rows go with {GOES_WITH[name]}")
            what = "has no rows that end with a student's time" if name in TABLES else "is no table"
            raise ValueError(f"{str(name)[:60]} {what}; periods are for {', '.join(own)}")
        return declared

    @model_validator(mode="after")
    def _nothing_outlives_what_it_hangs_on(self) -> RetentionSettings:
        for table in RETAINED:
            whole = "predictions" if table == "training_feedback" and self.predictions is not None else "students"
            if table == whole or getattr(self, table) is None or getattr(self, whole) is None:
                continue
            for kind in (*EXIT_TYPES, None):
                mine, longest = self.years(table, kind), self.years(whole, kind)
                if longest is not None and mine is not None and mine > longest:
                    told = kind or "an unknown kind of exit"
                    raise ValueError(
                        f"{table} would be kept longer than {whole} ({told}: {longest} years), which take them along"
                    )
        return self

    def years(self, table: str, exit_type: str | None) -> int | None:
        """After how many years a student's rows in a table (of `RETAINED`) are over; None: they are kept.

        exit_type None: nobody says how the student left. Rows are then over only when they would be for every kind.
        """
        periods: dict[str, int] | None = getattr(self, table)
        if periods is None:
            return None
        if exit_type is not None:
            return periods.get(exit_type, periods.get(OTHERWISE))
        of_each = [periods.get(kind, periods.get(OTHERWISE)) for kind in EXIT_TYPES]
        return None if None in of_each else max(years for years in of_each if years is not None)

    @property
    def is_set(self) -> bool:
        """Whether any table has a period."""
        return any(getattr(self, table) is not None for table in RETAINED)


RETAINED: tuple[str, ...] = tuple(RetentionSettings.model_fields)
"""The tables that a period can be set for, `students` first."""
