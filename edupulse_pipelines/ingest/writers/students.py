"""Writing students: records that are about themselves, whose enrolment decides from which week on vectors are stale.

The merging itself is in `records`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from edupulse_pipelines.ingest.frames import Integers, Piece
from edupulse_pipelines.ingest.names import Identity
from edupulse_pipelines.ingest.validation import ANOTHER_CHILD
from edupulse_pipelines.ingest.writers.outcomes import Outcomes
from edupulse_pipelines.ingest.writers.records import PieceMerge, PreparedRecords, RecordWriter
from edupulse_pipelines.sources.profiles import MISSING_DATE_OF_BIRTH
from edupulse_pipelines.weeks import week_start

EXIT_BEFORE_ENROLLMENT = "exit_before_enrollment"
_ENROLMENT = ("enrollment_date", "exit_date")


class StudentMerge(PieceMerge):
    """The merge of one piece of students."""

    def refusal(self, place: int, old: dict[str, Any], record: dict[str, Any]) -> str | None:
        """`another_child` for a row whose names and date of birth are all others, unless a person has accepted it."""
        marker = self.target.tenant.profile.missing_date_of_birth
        before, now = Identity.of(old, marker), Identity.of(record, marker)
        if before == now or self.target.rows.is_joined(self.keys[place].as_py()):
            return None
        is_other = before.is_another(now) and not self.target.rows.is_accepted(self.piece, int(self.rows[place]))
        if is_other or self.delivered_on < old["delivered_on"]:
            # Whose the number is depends on all deliveries that name it, and is settled when these are loaded.
            self.target.raised.add(self.keys[place].as_py())
        return ANOTHER_CHILD if is_other else None

    def mark_inserted(self, columns: dict[str, pa.Array]) -> None:
        """New students: each has vectors from the week of enrolment on."""
        self.target.marks.students_arrived(len(columns["id"]))
        self.target.marks.add_dated("student_features", columns["enrollment_date"], columns["id"])

    def mark_changed(self, old: dict[str, Any], new: dict[str, Any]) -> None:
        """A student's vectors are stale from the earliest week in which another enrolment holds."""
        removed_or_back = old["deleted_on"] != new["deleted_on"]
        stale = [
            day
            for name in _ENROLMENT
            if removed_or_back or old[name] != new[name]
            for day in (old[name], new[name])
            if day is not None
        ]
        if stale:
            self.target.marks.add("student_features", week_start(min(stale)), [old["id"]])


class StudentWriter(RecordWriter):
    """Writes one delivery of students, and counts what is odd about them and no reason to refuse a row."""

    merge = StudentMerge

    def write(self, prepared: PreparedRecords) -> Outcomes:
        """As every record; warns of exits before the enrolment and of dates of birth that stand for none."""
        places: Integers = np.flatnonzero(prepared.good())
        self._warn_of_exits(prepared.piece, places)
        self._warn_of_births(prepared.piece, places)
        return super().write(prepared)

    def _warn_of_exits(self, piece: Piece, places: Integers) -> None:
        exits, entries = piece.columns.get("exit_date"), piece.columns.get("enrollment_date")
        if exits is None or entries is None:
            return
        left, came = (
            column.take(column.texts).take(pa.array(places)).to_numpy(zero_copy_only=False)
            for column in (exits, entries)
        )
        both = np.array([a is not None and b is not None for a, b in zip(left, came, strict=True)], dtype=np.bool_)
        # ISO dates compare as text.
        self._warn(EXIT_BEFORE_ENROLLMENT, sum(a < b for a, b in zip(left[both], came[both], strict=True)))

    def _warn_of_births(self, piece: Piece, places: Integers) -> None:
        marker = self.target.tenant.profile.missing_date_of_birth
        if marker == "quarantine" or "date_of_birth" not in piece.columns:
            return
        born = piece.columns["date_of_birth"]
        marked = born.where_value(np.array([text == marker.isoformat() for text in born.texts.to_pylist()], bool))
        self._warn(MISSING_DATE_OF_BIRTH, int(marked[places].sum()))

    def _warn(self, name: str, count: int) -> None:
        if count:
            self.target.warnings[name] += count
