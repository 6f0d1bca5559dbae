"""Writing students: records that are about themselves, and what their rows say of entry and exit.

The merging itself is in `records`; what becomes of entries and exits is in `ingest.student_enrolments`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from edupulse_pipelines.ingest.frames import Integers, Piece
from edupulse_pipelines.ingest.names import Identity
from edupulse_pipelines.ingest.student_enrolments import (
    Statements,
    bring_up_to_date,
    mark_all_enrolments,
)
from edupulse_pipelines.ingest.validation import ANOTHER_CHILD, Reasons
from edupulse_pipelines.ingest.writers.enrollments import EXIT_BEFORE_ENROLLMENT, exits_before
from edupulse_pipelines.ingest.writers.outcomes import QUARANTINED, Outcomes, Target
from edupulse_pipelines.ingest.writers.records import PieceMerge, PreparedRecords, RecordWriter
from edupulse_pipelines.sources.profiles import MISSING_DATE_OF_BIRTH


class StudentMerge(PieceMerge):
    """The merge of one piece of students."""

    removed_or_back: list[str]
    """Ids of the students that the piece took back, or that it holds again."""

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
        """New students: their enrolments leave the marks."""
        self.target.marks.students_arrived(len(columns["id"]))

    def mark_changed(self, old: dict[str, Any], new: dict[str, Any]) -> None:
        """A student who is taken back, or there again: everything since the first enrolment is stale."""
        if old["deleted_on"] != new["deleted_on"]:
            self.removed_or_back.append(old["id"])


class StudentWriter(RecordWriter):
    """Writes one delivery of students, and counts what is odd about them and no reason to refuse a row."""

    merge = StudentMerge

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self._statements = Statements()
        self._removed_or_back: list[str] = []

    def write(self, prepared: PreparedRecords) -> Outcomes:
        """As every record; warns of exits before the enrolment and of dates of birth that stand for none."""
        places: Integers = np.flatnonzero(prepared.good())
        self._warn(EXIT_BEFORE_ENROLLMENT, exits_before(prepared.piece, places, "enrollment_date"))
        self._warn_of_births(prepared.piece, places)
        outcomes = super().write(prepared)
        # What is refused (another child's row) says nothing of this student.
        self._statements.add(prepared.piece, places[outcomes[places] != QUARANTINED])
        return outcomes

    def merged(self, piece: Piece, rows: Integers, references: pa.Array | None) -> tuple[Outcomes, Reasons]:
        """As every record; takes note of who was taken back, or came back."""
        merge = StudentMerge(self.target, piece, rows, references)
        merge.removed_or_back = self._removed_or_back
        return merge.run()

    def close(self) -> None:
        """Let the enrolments follow from what the rows said."""
        connection, work, marks = self.target.connection, self.target.work, self.target.marks
        changed = self._statements.keep(connection, work, self.target.rows.delivered_on)
        bring_up_to_date(connection, work, marks, changed)
        mark_all_enrolments(connection, marks, self._removed_or_back)

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
