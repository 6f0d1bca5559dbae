"""The feature vector: a pure function of enrolment, weekly activity and the school calendar.

Training and scoring use the same code, for one week or many. A vector looks at the last eight school weeks, so a week
costs the same in June as in October. Neither the database nor the clock is read here; what each feature means is
written in `definitions`, and what looks at the whole school year or at classmates is in `standing`.

The activity of a batch of students is laid on a dense grid [school weeks x students], and shifted copies of the grid
are combined. Every sum is a chain of additions in a fixed order, so that a vector is the same to its last bit whichever
other weeks or students are computed with it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pandas as pd

from edupulse_pipelines.features.definitions import (
    DOMAINS,
    FEATURE_NAMES,
    GRADE_POINTS,
    LOOKBACK_WEEKS,
    RECENT_WEEKS,
)
from edupulse_pipelines.features.enrolment import Intervals, of_frame
from edupulse_pipelines.features.school_calendar import SchoolCalendar
from edupulse_pipelines.weeks import feature_date

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]

DECIMALS = 6
"""Every number of a vector is rounded to this many decimals: what is stored equals what is computed."""

ATTENDANCE_WEEKS, ACADEMIC_WEEKS, BEHAVIORAL_WEEKS = (
    tuple(f"{domain}_week_{number}" for number in range(1, RECENT_WEEKS + 1)) for domain in DOMAINS
)
"""Columns of the vector's three lists, oldest week first: attendance rate, grade points, incidents."""

TREND_COLUMNS = tuple(f"trend_{domain}" for domain in DOMAINS)
"""Slopes per school week of the three lists."""

VECTOR_COLUMNS: tuple[str, ...] = (
    "student_id",
    "feature_date",
    "attendance_rate",
    "gpa_current",
    "discipline_incidents",
    "data_quality",
    *ATTENDANCE_WEEKS,
    *ACADEMIC_WEEKS,
    *BEHAVIORAL_WEEKS,
    *TREND_COLUMNS,
    *FEATURE_NAMES,
)
"""Columns of `feature_vectors`; `weeks_of_data` is one of the named features."""

ACTIVITY_MEASURES: tuple[str, ...] = (
    "sessions_present",
    "sessions_absent",
    "sessions_tardy",
    "sessions_excused",
    "unexcused_absences",
    "grade_count",
    "grade_mean",
    "grade_lowest",
    "incident_count",
    "severity_highest",
)
"""Columns of weekly activity that a vector is made of."""

STATUSES = ("present", "tardy", "absent", "excused")
"""Statuses of attendance, in the order in which `attendance_rate` takes their sessions."""

_ABSENT_IS_ZERO = frozenset(ACTIVITY_MEASURES) - {"grade_lowest"}
_CELLS_PER_BATCH = 150_000
"""Grid cells (students x weeks) worked on at a time: keeps the working set near the processor's cache."""
_ROWS_WRITTEN_AT_ONCE = 200
_RECENT = range(RECENT_WEEKS)
_BEFORE = range(RECENT_WEEKS, 2 * RECENT_WEEKS)
_LOOKBACK = range(LOOKBACK_WEEKS)


def attendance_rate(present: Any, tardy: Any, absent: Any, excused: Any) -> Floats:
    """Share of recorded sessions attended: present and tardy are, absent and excused are not; NaN without sessions.

    The one definition of the attendance rate. Takes numbers or arrays of one shape, gives an array of that shape.
    """
    attended = np.asarray(present, dtype=np.float64) + tardy
    return _share(attended, attended + absent + excused)


def grade_points(mean_grade: Any) -> Floats:
    """Grade points (4.0 scale, unweighted; `definitions.GRADE_POINTS`) of a mean grade in percent; NaN stays NaN."""
    lowest = np.array([grade for grade, _ in GRADE_POINTS])
    points = np.array([0.0, *(value for _, value in GRADE_POINTS)])
    # A mean of exactly 90 may come out as 89.99999999999999.
    grade = np.round(np.asarray(mean_grade, dtype=np.float64), DECIMALS)
    return np.where(np.isnan(grade), np.nan, points[np.searchsorted(lowest, np.nan_to_num(grade), side="right")])


def feature_vectors(
    students: pd.DataFrame, activity: pd.DataFrame, calendar: SchoolCalendar, weeks: Sequence[dt.date]
) -> pd.DataFrame:
    """The vectors of every student enrolled at the end of each of `weeks`.

    students: student_id (any hashable), enrollment_date, exit_date (dates; missing = still enrolled), a row for each
    interval of enrolment of each student.
    activity: student_id, week_start and the `ACTIVITY_MEASURES` of these students, at most one row per student and
    week; rows outside the weeks' look-back are ignored, so any superset will do.
    weeks: Mondays of school weeks; ValueError for a week that is not one.

    Returns `VECTOR_COLUMNS`, NaN where missing, `feature_date` as dates, ordered by week and then as `students`.
    """
    wanted = _positions(calendar, weeks)
    if not len(wanted) or students.empty:
        return _frame([], [], [], {})
    index, intervals = of_frame(students)
    enrolment = _Enrolment(intervals, calendar)
    first = max(0, wanted[0] - LOOKBACK_WEEKS + 1)
    last = wanted[-1]
    rows = _Activity(index, activity, calendar, first, last, enrolment)

    batches = []
    per_batch = max(1, _CELLS_PER_BATCH // (last - first + 1))
    for start in range(0, len(index), per_batch):
        stop = min(start + per_batch, len(index))
        here = enrolment[start:stop]
        enrolled = here.hold(wanted[:, None])
        week, student = np.nonzero(enrolled)
        if len(week):
            grid = _Grid(rows, start, stop, wanted - first)
            values = _values(grid, calendar, wanted, here)
            batches.append((week, student + start, {name: value[enrolled] for name, value in values.items()}))
    week = np.concatenate([batch[0] for batch in batches]) if batches else np.empty(0, dtype=np.int64)
    student = np.concatenate([batch[1] for batch in batches]) if batches else np.empty(0, dtype=np.int64)
    columns = {
        name: np.concatenate([batch[2][name] for batch in batches]) for name in (batches[0][2] if batches else {})
    }
    if len(batches) > 1:
        order = np.argsort(week, kind="stable")
        week, student = week[order], student[order]
        columns = {name: value[order] for name, value in columns.items()}
    sundays = np.array([feature_date(calendar.weeks[position]) for position in wanted], dtype=object)
    return _frame(index.to_numpy()[student], sundays[week], student, columns)


def vector_json(vectors: pd.DataFrame) -> list[str]:
    """The seed's JSON structure of each row of `feature_vectors`, plus the named features; missing values are null."""
    numbers = vectors[[*ATTENDANCE_WEEKS, *ACADEMIC_WEEKS, *TREND_COLUMNS, "data_quality", *FEATURE_NAMES]].to_numpy(
        np.float64
    )
    counts = vectors[[*BEHAVIORAL_WEEKS, "weeks_of_data"]].to_numpy(np.float64)
    written: list[str] = []
    # A few rows at a time: Python objects for a whole district would be slow to make and large.
    for start in range(0, len(vectors), _ROWS_WRITTEN_AT_ONCE):
        here = slice(start, start + _ROWS_WRITTEN_AT_ONCE)
        written.extend(_vector_json(numbers[here].tolist(), _whole_numbers(counts[here]).tolist()))
    return written


def _vector_json(numbers: list[list[float]], counts: list[list[int | None]]) -> list[str]:
    dumps = orjson.dumps  # writes NaN as null; its buffer is larger than what it wrote, decode() copies just that
    academic, trends, quality = RECENT_WEEKS, 2 * RECENT_WEEKS, 2 * RECENT_WEEKS + len(DOMAINS)
    return [
        dumps(
            {
                "attendance": row[:academic],
                "academic": row[academic:trends],
                "behavioral": whole[:-1],
                "trends": row[trends:quality],
                "metadata": {"weeks_of_data": whole[-1], "data_quality": row[quality]},
                "features": dict(zip(FEATURE_NAMES, row[quality + 1 :], strict=True)),
            }
        ).decode()
        for row, whole in zip(numbers, counts, strict=True)
    ]


def _values(grid: _Grid, calendar: SchoolCalendar, wanted: Integers, enrolment: _Enrolment) -> dict[str, Floats]:
    """Every column of the vector as an array [wanted weeks x students of the grid]."""
    sent = {domain: (wanted >= _position_since(calendar, domain))[:, None] for domain in DOMAINS}
    incidents_since = _position_since(calendar, "behavioral")
    incidents_known = [
        enrolment.hold(wanted[:, None] - lag) & (wanted[:, None] - lag >= incidents_since) for lag in _RECENT
    ]

    values, rates = _attendance(grid)
    academic, means = _academic(grid, sent["academic"])
    behavioral, incidents = _behavioral(grid, sent["behavioral"], incidents_known)
    values |= academic | behavioral
    values["weeks_of_data"] = enrolment.weeks_through(wanted[:, None]).astype(np.float64)

    points = [grade_points(mean) for mean in means]
    known_cells = np.zeros(values["weeks_of_data"].shape)
    for names, trend, weekly in zip(
        (ATTENDANCE_WEEKS, ACADEMIC_WEEKS, BEHAVIORAL_WEEKS), TREND_COLUMNS, (rates, points, incidents), strict=True
    ):
        for name, cell in zip(names, reversed(weekly), strict=True):
            values[name] = cell
            known_cells += ~np.isnan(cell)
        values[trend] = _slope(weekly)
    values["data_quality"] = known_cells / (len(DOMAINS) * RECENT_WEEKS)
    values["attendance_rate"] = values["attendance_rate_4w"]
    values["gpa_current"] = grade_points(values["grade_mean_4w"])
    values["discipline_incidents"] = values["incidents_4w"]
    return values


def _attendance(grid: _Grid) -> tuple[dict[str, Floats], list[Floats]]:
    """The domain's features, and the attendance rates of the recent weeks, newest first."""
    weekly = [
        attendance_rate(**{status: grid.week(f"sessions_{status}", lag) for status in STATUSES}) for lag in _RECENT
    ]
    recent = {status: grid.total(f"sessions_{status}", _RECENT) for status in STATUSES}
    sessions = recent["present"] + recent["tardy"] + recent["absent"] + recent["excused"]
    rate = attendance_rate(**recent)
    before = attendance_rate(**{status: grid.total(f"sessions_{status}", _BEFORE) for status in STATUSES})
    return {
        "attendance_rate_1w": weekly[0],
        "attendance_rate_4w": rate,
        "unexcused_rate_4w": _share(recent["absent"], sessions),
        "excused_rate_4w": _share(recent["excused"], sessions),
        "tardy_rate_4w": _share(recent["tardy"], sessions),
        "unexcused_days_4w": np.where(sessions > 0, grid.total("unexcused_absences", _RECENT), np.nan),
        "attendance_change": rate - before,
        "attendance_trend": _slope(weekly),
    }, weekly


def _academic(grid: _Grid, sent: Booleans) -> tuple[dict[str, Floats], list[Floats]]:
    """The domain's features, and the mean grades of the recent weeks, newest first."""
    weekly = [np.where(grid.week("grade_count", lag) > 0, grid.week("grade_mean", lag), np.nan) for lag in _RECENT]
    count, count_before = grid.total("grade_count", _RECENT), grid.total("grade_count", _BEFORE)
    total, total_before = grid.grade_total(_RECENT), grid.grade_total(_BEFORE)
    mean = _share(total, count)
    since = np.full(count.shape, np.nan)
    for lag in reversed(_LOOKBACK):
        since[grid.week("grade_count", lag) > 0] = lag
    return {
        "grade_mean_4w": mean,
        "grade_mean_8w": _share(total + total_before, count + count_before),
        "grade_lowest_4w": _reduce(np.fmin, [grid.week("grade_lowest", lag) for lag in _RECENT]),
        "grade_count_4w": np.where(sent, count, np.nan),
        "grade_change": mean - _share(total_before, count_before),
        "grade_trend": _slope(weekly),
        "weeks_since_grade": since,
    }, weekly


def _behavioral(grid: _Grid, sent: Booleans, known_weeks: list[Booleans]) -> tuple[dict[str, Floats], list[Floats]]:
    """The domain's features, and the incidents of the recent weeks, newest first."""
    weekly = [np.where(known_weeks[lag], grid.week("incident_count", lag), np.nan) for lag in _RECENT]
    severity = _reduce(np.maximum, [grid.week("severity_highest", lag) for lag in _LOOKBACK])
    return {
        "incidents_4w": np.where(sent, grid.total("incident_count", _RECENT), np.nan),
        "incidents_8w": np.where(sent, grid.total("incident_count", _LOOKBACK), np.nan),
        "severity_highest_8w": np.where(sent, severity, np.nan),
        "incidents_trend": _slope(weekly),
    }, weekly


class _Enrolment:
    """In which school weeks (positions in the calendar) each student was enrolled at the week's end."""

    def __init__(self, intervals: Intervals, calendar: SchoolCalendar) -> None:
        sundays = np.array([feature_date(week) for week in calendar.weeks], dtype="datetime64[D]")
        self._layers = intervals.layers(sundays)

    def __getitem__(self, students: slice) -> _Enrolment:
        part = object.__new__(_Enrolment)
        part._layers = [(first[students], after[students]) for first, after in self._layers]
        return part

    def hold(self, week: Any, students: Any = slice(None)) -> Booleans:
        """Whether the students (positions; default all) were enrolled at the end of weeks that broadcast with them."""
        (first, after), *others = self._layers
        enrolled: Booleans = (first[students] <= week) & (after[students] > week)
        for first, after in others:
            enrolled |= (first[students] <= week) & (after[students] > week)
        return enrolled

    def weeks_through(self, week: Any) -> Integers:
        """The number of weeks up to these, themselves included, at whose end the students were enrolled."""
        (first, after), *others = self._layers
        weeks: Integers = np.maximum(np.minimum(week + 1, after) - first, 0)
        for first, after in others:
            weeks += np.maximum(np.minimum(week + 1, after) - first, 0)
        return weeks


class _Activity:
    """The rows of activity that matter, sorted by student, with their place on the grid."""

    def __init__(
        self,
        students: pd.Index,
        activity: pd.DataFrame,
        calendar: SchoolCalendar,
        first: int,
        last: int,
        enrolment: _Enrolment,
    ) -> None:
        self.weeks = last - first + 1
        student = students.get_indexer(pd.Index(activity["student_id"]))
        position = _week_positions(activity["week_start"], calendar.weeks) - first
        keep = (student >= 0) & (position >= 0) & (position < self.weeks)
        # Nothing outside of enrolment counts, so that weeks_of_data and the features speak of the same weeks.
        keep[keep] &= enrolment.hold(position[keep] + first, student[keep])
        student, position = student[keep], position[keep]
        order: Any = slice(None)
        if np.any(student[1:] < student[:-1]):
            order = np.argsort(student, kind="stable")
        self.student = student[order]
        self.position = position[order]
        self.measures: dict[str, Floats] = {
            name: activity[name].to_numpy(dtype=np.float64, na_value=np.nan)[keep][order] for name in ACTIVITY_MEASURES
        }


class _Grid:
    """Activity of one batch of students on a dense grid, asked for by lag: 0 is the wanted week, 1 the one before."""

    def __init__(self, rows: _Activity, start: int, stop: int, wanted: Integers) -> None:
        here = slice(*np.searchsorted(rows.student, (start, stop)))
        shape = (rows.weeks + LOOKBACK_WEEKS, stop - start)  # empty weeks in front: a lag never falls off the grid
        cell = (rows.position[here] + LOOKBACK_WEEKS) * shape[1] + (rows.student[here] - start)
        self._grids: dict[str, Floats] = {}
        for name, measure in rows.measures.items():
            empty = 0.0 if name in _ABSENT_IS_ZERO else np.nan
            grid = np.full(shape[0] * shape[1], empty)
            grid[cell] = np.nan_to_num(measure[here]) if name in _ABSENT_IS_ZERO else measure[here]
            self._grids[name] = grid.reshape(shape)
        contiguous = int(wanted[-1] - wanted[0]) + 1 == len(wanted)
        self._wanted: Any = wanted + LOOKBACK_WEEKS
        if contiguous:
            self._wanted = None
            self._span = (int(wanted[0]) + LOOKBACK_WEEKS, int(wanted[-1]) + LOOKBACK_WEEKS + 1)

    def week(self, measure: str, lag: int) -> Floats:
        """The measure `lag` school weeks before each wanted week, [wanted weeks x students]."""
        grid = self._grids[measure]
        if self._wanted is None:
            return grid[self._span[0] - lag : self._span[1] - lag]
        return grid[self._wanted - lag]

    def total(self, measure: str, lags: Sequence[int]) -> Floats:
        """Sum of the measure over the lags."""
        return _reduce(np.add, [self.week(measure, lag) for lag in lags])

    def grade_total(self, lags: Sequence[int]) -> Floats:
        """Sum of all grades over the lags."""
        return _reduce(np.add, [self.week("grade_mean", lag) * self.week("grade_count", lag) for lag in lags])


def _reduce(operation: np.ufunc, arrays: Sequence[Floats]) -> Floats:
    result = operation(arrays[0], arrays[1])
    for array in arrays[2:]:
        operation(result, array, out=result)
    return result


def _share(part: Floats, whole: Floats) -> Floats:
    """part / whole, NaN where the whole is 0."""
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)


def _slope(newest_first: Sequence[Floats]) -> Floats:
    """Least-squares slope per school week through the known points; NaN with fewer than two."""
    count, sum_x, sum_y, sum_xx, sum_xy = (np.zeros(newest_first[0].shape) for _ in range(5))
    for x, y in enumerate(reversed(newest_first)):
        is_point = ~np.isnan(y)
        value = np.where(is_point, y, 0.0)
        count += is_point
        sum_x += x * is_point
        sum_xx += x * x * is_point
        sum_y += value
        sum_xy += x * value
    return _share(count * sum_xy - sum_x * sum_y, count * sum_xx - sum_x * sum_x)


def _positions(calendar: SchoolCalendar, weeks: Sequence[dt.date]) -> Integers:
    place = {week: position for position, week in enumerate(calendar.weeks)}
    unknown = sorted({week for week in weeks if week not in place})
    if unknown:
        raise ValueError(f"not a school week: {', '.join(week.isoformat() for week in unknown[:3])}")
    return np.array(sorted({place[week] for week in weeks}), dtype=np.int64)


def _position_since(calendar: SchoolCalendar, domain: str) -> int:
    """Position of the first school week in which the domain is known; beyond the calendar when it was never sent."""
    since = calendar.domain_since.get(domain)
    beyond = len(calendar.weeks) + LOOKBACK_WEEKS
    return beyond if since is None else int(np.searchsorted(_days(calendar.weeks), _days([since])[0]))


def _days(days: Sequence[dt.date]) -> Integers:
    return np.array([day.toordinal() for day in days], dtype=np.int64)


def _week_positions(weeks: pd.Series[Any], calendar_weeks: Sequence[dt.date]) -> Integers:
    """Position in the calendar of each value of a column of Mondays; far outside when it is no school week."""
    codes, distinct = pd.factorize(weeks)
    place = {week.toordinal(): position for position, week in enumerate(calendar_weeks)}
    outside = -(2**31)
    positions = np.array([*(place.get(week.toordinal(), outside) for week in distinct), outside], dtype=np.int64)
    return positions[codes]


def _whole_numbers(values: Floats) -> npt.NDArray[np.object_]:
    """Counts as Python integers, None where missing."""
    has_value = ~np.isnan(values)
    whole = np.where(has_value, values, 0).astype(np.int64).astype(object)
    whole[~has_value] = None
    return whole


def _frame(ids: Any, sundays: Any, student: Any, columns: Mapping[str, Floats]) -> pd.DataFrame:
    data: dict[str, Any] = {}
    for name in VECTOR_COLUMNS:
        if name == "student_id":
            data[name] = ids
        elif name == "feature_date":
            data[name] = np.asarray(sundays, dtype=object)
        else:
            # + 0.0 turns -0.0, which JSON on PostgreSQL does not keep, into 0.0
            data[name] = np.round(columns[name], DECIMALS) + 0.0 if columns else np.empty(0)
    return pd.DataFrame(data)
