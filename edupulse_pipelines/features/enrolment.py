"""Who of a tenant is enrolled when: the students as arrays, with the intervals in which each of them is enrolled.

This is the one place that decides which rows of `enrollments` have an effect. A student is enrolled from an entry on,
and no longer on the exit; anywhere in the district is enrolled, so a student's intervals are the union over the
schools: a transfer ends none, and what touches or overlaps is one. Beside enrolments that are sent themselves there are
those that deliveries of students speak of, and assumed ones:

- Each of these ends at the latest where the next one begins, and so does a sent one where the next at the same school
  begins. An assumed one holds until the first that was said begins, and not at all if that is no later.
- Once a district sends enrolments, later deliveries of students open none; those opened before hold until the first
  sent enrolment of the same student begins. So does an assumed one that was opened before any was sent for the student:
  what nobody has said is not taken for an absence.

Of a time of which retention has taken records of a student away nothing is computed any more: the student counts as
not enrolled up to that day.

All of it is computed from what is stored, so the order in which deliveries are loaded has no say. A deleted student
counts as never enrolled. Which students have enough data to be scored is decided in `risk`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.schema.sqlalchemy_tables import enrollments, students, weekly_activity
from edupulse_pipelines.schema.tables import EXIT_TYPES, RECORD_TABLES, TABLES
from edupulse_pipelines.storage.bulk import (
    DAY,
    ID,
    OBJECT,
    Bytes,
    as_text,
    days,
    id_batches,
    plain,
    positions,
    read_arrays,
    uuids,
)
from edupulse_pipelines.storage.removals import removed_through
from edupulse_pipelines.storage.work import Work

Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]
Days = npt.NDArray[np.datetime64]

COMPUTED_FROM = tuple(name for name in RECORD_TABLES if TABLES[name].record.domain is not None)  # type: ignore[union-attr]
"""The tables whose records weekly activity and feature vectors are computed from."""
OPEN = np.datetime64("9999-12-31", "D")
"""The end of an interval that has none."""
_SPAN = 10_000_000
"""More days than lie between any two dates: keeps the days of different students apart in one number."""


def preference(is_primary: npt.NDArray[np.object_]) -> Integers:
    """By enrolment its place among several of a day: 0 the main one, 2 another one, 1 where nobody says (None)."""
    return np.array([1 if main is None else 0 if main else 2 for main in is_primary.tolist()], dtype=np.int64)


@dataclass(frozen=True)
class Intervals:
    """The days of enrolment of several people (by position): disjoint intervals, in order, with a gap between them."""

    offsets: Integers
    """Those of person i are offsets[i] to offsets[i + 1]."""
    starts: Days
    """The first day of each."""
    ends: Days
    """The first day after it; `OPEN` where it has no end."""
    how: npt.NDArray[np.object_]
    """Why it ended, of `EXIT_TYPES`; None where nobody says."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, selection: Any) -> Intervals:
        chosen = np.arange(len(self))[selection]
        counts = np.diff(self.offsets)[chosen]
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        rows = np.arange(offsets[-1]) + np.repeat(self.offsets[:-1][chosen] - offsets[:-1], counts)
        return Intervals(offsets, self.starts[rows], self.ends[rows], self.how[rows])

    def after(self, through: Days) -> Intervals:
        """What of the intervals lies after a day of each person's own; NaT: all of it."""
        through = through[self.owner]
        starts = np.where(np.isnat(through), self.starts, np.maximum(self.starts, through + np.timedelta64(1, "D")))
        kept = self.ends > starts
        offsets = np.searchsorted(self.owner[kept], np.arange(len(self) + 1)).astype(np.int64)
        return Intervals(offsets, starts[kept], self.ends[kept], self.how[kept])

    @cached_property
    def owner(self) -> Integers:
        """The person of each interval."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    def hold(self, day: Any) -> Booleans:
        """Who is enrolled on a day (`numpy.datetime64`)."""
        enrolled = np.zeros(len(self), dtype=np.bool_)
        enrolled[self.owner[(self.starts <= day) & (self.ends > day)]] = True
        return enrolled

    def layers(self, grid: Days) -> list[tuple[Integers, Integers]]:
        """The intervals on a grid of ascending days: per layer, by person, the first day in it and the first after it.

        Both are positions in `grid`, and equal where the interval of the layer holds none of its days or there is none
        (then both are its length). The first layer has the earliest interval that holds any of the days, and so on;
        there are as many layers as anybody has intervals.
        """
        first, after = (np.searchsorted(grid, edge, side="left") for edge in (self.starts, self.ends))
        holds = after > first
        owner, first, after = self.owner[holds], first[holds], after[holds]
        rank = np.arange(len(owner)) - np.searchsorted(owner, owner)
        layers = []
        for number in range(int(rank.max(initial=0)) + 1):
            here = rank == number
            edges = [np.full(len(self), len(grid), dtype=np.int64) for _ in range(2)]
            for edge, values in zip(edges, (first, after), strict=True):
                edge[owner[here]] = values[here]
            layers.append((edges[0], edges[1]))
        return layers


def joined(
    count: int, person: Integers, starts: Days, ends: Days, how: npt.NDArray[np.object_], weight: Integers | None = None
) -> Intervals:
    """The intervals of `count` people out of pieces in any order, which may touch and overlap; empty ones are left out.

    `how`: why a piece ended. Of several that end a common interval on one day that with the lowest `weight` says why,
    and of these the first name.
    """
    kept = ends > starts
    person, starts, ends, how = person[kept], starts[kept], ends[kept], how[kept]
    order = np.lexsort((ends, starts, person))
    person, starts, ends, how = person[order], starts[order], ends[order], how[order]
    # Days of different people never meet: the highest end so far is that of the same person, or lower than any start.
    apart = person * _SPAN
    begin, end = apart + starts.astype(np.int64), apart + ends.astype(np.int64)
    reached = np.maximum.accumulate(end) if len(end) else end
    is_first = np.r_[True, begin[1:] > reached[:-1]] if len(begin) else np.empty(0, dtype=np.bool_)
    first = np.flatnonzero(is_first)
    last = np.r_[first[1:], len(person)][: len(first)] - 1
    owner = person[first]
    until = (reached[last] - owner * _SPAN).astype("datetime64[D]") if len(first) else ends[:0]
    reason = np.full(len(first), None, dtype=object)
    if len(first):
        interval = np.cumsum(is_first) - 1
        weights = np.zeros(len(person), dtype=np.int64) if weight is None else weight[kept][order]
        closing = np.flatnonzero((ends == until[interval]) & (ends != OPEN))
        for row in closing[np.lexsort((_names(how[closing]), weights[closing], interval[closing]))][::-1].tolist():
            reason[interval[row]] = how[row]
    offsets = np.searchsorted(owner, np.arange(count + 1)).astype(np.int64)
    return Intervals(offsets, starts[first], until, reason)


def _names(how: npt.NDArray[np.object_]) -> Integers:
    """The place of each way of leaving among `EXIT_TYPES`; after them where nobody says."""
    place = {name: number for number, name in enumerate(EXIT_TYPES)}
    return np.array([place.get(name, len(place)) for name in how.tolist()], dtype=np.int64)


def of_frame(people: pd.DataFrame) -> tuple[pd.Index, Intervals]:
    """The distinct people of a frame with one row for each interval of each of them, and their intervals.

    people: student_id (any hashable), enrollment_date, exit_date (dates or datetimes; missing: no end), and exit_type
    where it is known. Intervals of one student may touch and overlap.
    """
    person, index = pd.factorize(people["student_id"])
    starts, ends = (days_of(people[name]) for name in ("enrollment_date", "exit_date"))
    ends = np.where(np.isnat(ends), OPEN, ends)
    how = people["exit_type"].to_numpy(object) if "exit_type" in people else np.full(len(people), None, dtype=object)
    return pd.Index(index), joined(len(index), person.astype(np.int64), starts, ends, how)


def _codes(texts: npt.NDArray[np.object_]) -> Integers:
    """A number for each text; the same for the same text."""
    return pd.factorize(texts)[0].astype(np.int64)


def days_of(column: pd.Series[Any]) -> Days:
    """A column of dates or datetimes as days; missing is NaT."""
    values = column.to_numpy()
    if values.dtype == object:
        return np.array([None if day is None or day is pd.NaT else day for day in values], dtype="datetime64[D]")
    return values.astype("datetime64[D]")


@dataclass(frozen=True)
class Students:
    """Students by position, in the order of their ids."""

    ids: Bytes
    """The database's text of the id."""
    enrolled: Intervals

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, selection: Any) -> Students:
        return Students(self.ids[selection], self.enrolled[selection])

    def frame(self) -> pd.DataFrame:
        """As `feature_vectors` takes them: a row an interval; `student_id` is the position."""
        enrolled = self.enrolled
        left = np.where(enrolled.ends == OPEN, np.datetime64("NaT", "D"), enrolled.ends)
        return pd.DataFrame(
            {
                "student_id": enrolled.owner,
                "enrollment_date": enrolled.starts.astype("datetime64[s]"),
                "exit_date": left.astype("datetime64[s]"),
                "exit_type": enrolled.how,
            }
        )

    @property
    def left(self) -> Days:
        """The day on which each of them left for good; NaT while enrolled, and for who never was."""
        left = np.full(len(self), np.datetime64("NaT", "D"))
        some = np.diff(self.enrolled.offsets) > 0
        ends = self.enrolled.ends[self.enrolled.offsets[1:][some] - 1]
        left[some] = np.where(ends == OPEN, np.datetime64("NaT", "D"), ends)
        return left

    def enrolled_on(self, day: Any) -> Booleans:
        """Which of them are enrolled on a day (`numpy.datetime64`)."""
        return self.enrolled.hold(day)


_NO_DAYS: Days = np.empty(0, "datetime64[D]")
NOBODY = Students(
    np.empty(0, ID), Intervals(np.zeros(1, dtype=np.int64), _NO_DAYS, _NO_DAYS, np.empty(0, dtype=object))
)


def read_students(
    connection: Connection, work: Work, *, without_deleted: bool = False, as_recorded: bool = False
) -> Students:
    """Every student of the tenant with the intervals of enrolment; a deleted one has none, or is left out.

    as_recorded: also the intervals of a time of which retention has taken records away.
    """
    table = students.c
    ids, deleted = read_arrays(
        connection,
        sa.select(as_text(table.id), as_text(table.deleted_on)).where(table.tenant_id == work.tenant),
        ID,
        DAY,
    )
    order = np.argsort(ids)
    ids, deleted = ids[order], deleted[order] != b""
    if without_deleted:
        ids, deleted = ids[~deleted], deleted[~deleted]
    rows = _Rows.read(connection, work, ids)
    enrolled = rows.take(~deleted[rows.person]).intervals(len(ids))
    if not as_recorded:
        enrolled = enrolled.after(_through(connection, work, ids))
    return Students(ids, enrolled)


def _through(connection: Connection, work: Work, ids: Bytes) -> Days:
    """By student the day up to which records have been taken away; NaT where none have."""
    of, through = removed_through(connection, work, COMPUTED_FROM)
    days_ = np.full(len(ids) + 1, np.datetime64("NaT", "D"))  # one more for who is not asked for
    days_[positions(of, ids)] = through
    return days_[:-1]


@dataclass(frozen=True)
class EnrolmentCounts:
    """How many students on record have what kind of enrolment."""

    assumed: int
    """Of whom nobody has said since when they are enrolled, for some of the time at least."""
    never: int
    """With records, and without any enrolment: nothing is computed for them."""


def count_enrolments(connection: Connection, work: Work) -> EnrolmentCounts:
    """Count the students whose enrolment is assumed, and those with records and without an enrolment."""
    everybody = read_students(connection, work, without_deleted=True)
    rows = _Rows.read(connection, work, everybody.ids).with_their_ends(len(everybody))
    nowhere = everybody.ids[np.diff(everybody.enrolled.offsets) == 0]
    week = weekly_activity.c
    never = 0
    for ids in id_batches(uuids(nowhere)):
        query = sa.select(sa.func.count(sa.distinct(week.student_id)))
        never += connection.scalar(query.where(week.tenant_id == work.tenant, week.student_id.in_(ids))) or 0
    return EnrolmentCounts(len(np.unique(rows.person[rows.assumed])), never)


@dataclass(frozen=True)
class _Rows:
    """Rows of `enrollments` that have been opened in time to have an effect, by column; not those taken back."""

    person: Integers
    """Position of the student."""
    sent: Booleans
    assumed: Booleans
    starts: Days
    ends: Days
    how: npt.NDArray[np.object_]
    school: npt.NDArray[np.object_]
    """Its number; empty where none is named."""
    weight: Integers
    """Its `preference`."""

    @classmethod
    def read(cls, connection: Connection, work: Work, ids: Bytes) -> _Rows:
        """The rows of these students (sorted)."""
        table = enrollments.c
        of, origin, entry, left, how, primary, school, opened, deleted = read_arrays(
            connection,
            sa.select(
                as_text(table.student_id),
                table.origin,
                as_text(table.entry_date),
                as_text(table.exit_date),
                table.exit_type,
                plain(table.is_primary),
                sa.func.coalesce(table.school_id, ""),
                as_text(table.first_delivered_on),
                as_text(table.deleted_on),
            ).where(table.tenant_id == work.tenant),
            ID,
            "S8",
            DAY,
            DAY,
            OBJECT,
            OBJECT,
            OBJECT,
            DAY,
            DAY,
        )
        sent, opened = origin == b"sent", days(opened)
        since = opened[sent].min() if sent.any() else None
        person = positions(of, ids)
        assumed = origin == b"assumed"
        in_time = sent | (True if since is None else opened < since)
        first_sent = np.full(len(ids) + 1, OPEN)  # one more for people who are not asked for
        of_known = sent & (person >= 0)
        np.minimum.at(first_sent, person[of_known], opened[of_known])
        in_time |= assumed & (person >= 0) & (opened < first_sent[person])
        kept = (person >= 0) & (deleted == b"") & in_time
        left = days(left)
        main = preference(primary)
        return cls(person, sent, assumed, days(entry), np.where(np.isnat(left), OPEN, left), how, school, main).take(
            kept
        )

    def take(self, which: Any) -> _Rows:
        """These rows."""
        columns = (self.person, self.sent, self.assumed, self.starts, self.ends, self.how, self.school, self.weight)
        return _Rows(*(column[which] for column in columns))

    def with_their_ends(self, count: int) -> _Rows:
        """The rows that hold on any day, each with the end it really has, for `count` students."""
        rows = self.take(np.lexsort((self.assumed, self.starts, self.person)))
        latest = np.full(len(rows.person), OPEN)
        for said in (np.flatnonzero(~rows.sent & ~rows.assumed), np.flatnonzero(rows.sent)):
            in_order = said[np.lexsort((rows.starts[said], _codes(rows.school[said]), rows.person[said]))]
            one, following = in_order[:-1], in_order[1:]
            same = (rows.person[one] == rows.person[following]) & (rows.school[one] == rows.school[following])
            latest[one[same]] = rows.starts[following[same]]
        for which, before in ((rows.assumed, ~rows.sent & ~rows.assumed), (~rows.sent, rows.sent)):
            first = np.full(count, OPEN)
            np.minimum.at(first, rows.person[before], rows.starts[before])
            latest[which] = np.minimum(latest[which], first[rows.person[which]])
        ends = np.minimum(rows.ends, latest)
        how = rows.how.copy()
        how[ends != rows.ends] = None
        return replace(rows, ends=ends, how=how).take(ends > rows.starts)

    def intervals(self, count: int) -> Intervals:
        """The intervals that the rows make up together, for `count` students."""
        rows = self.with_their_ends(count)
        return joined(count, rows.person, rows.starts, rows.ends, rows.how, rows.weight)
