"""The formats that districts deliver, and what each means for the rows made from it. Plain data.

The manifest keeps of each file what it was read as, such as `csv, gzip` or `OneRoster 1.2`: the format's name with how
it was packed, or with its version. `SourceFormat.named` makes that text and `format_of` reads it back; no other place
looks into it. Reading the formats is in `sources`.
"""

from __future__ import annotations

from dataclasses import dataclass

NOT_SENT = "not_sent"
"""Among the entries that a source leaves out: it speaks of the table and has no file of its records, so that nothing of
them is known."""
COLUMNS_WITHOUT_EFFECT = "profile_columns_without_effect"
"""Note of a source whose format names its columns itself: the profile's `columns` of the table do nothing there."""


@dataclass(frozen=True)
class SourceFormat:
    """One format.

    converted: rows are made from it by a converter, so that they have canonical columns, dates and numbers, and the
    tenant's profile is not applied again. exceptions_only: its attendance has only what deviates from being present.
    has_ids: its rows were records of version 1.0, and have their ids and moments of creation beside the columns of the
    contract. read_by: raised when a converter reads more of the format than before, so that files are read again.
    no_absences: of the entries about attendance that a converter leaves out, those that tell of no absence from school
    that is not told by a row.
    """

    name: str
    converted: bool
    exceptions_only: bool = False
    has_ids: bool = False
    read_by: int = 1
    no_absences: tuple[str, ...] = ()

    def named(self, detail: str = "") -> str:
        """What a file of this format was read as; `detail` is a version, or how it was packed (`, gzip`)."""
        return f"{self.name}{detail}"[:50]

    def leaves_absences_out(self, reason: str) -> bool:
        """Whether entries that were left out for this reason may have told of absences."""
        return self.exceptions_only and "attendance" in reason and reason not in self.no_absences


CSV = SourceFormat("csv", converted=False)
WORKBOOK = SourceFormat("Excel", converted=False)
ONEROSTER = SourceFormat("OneRoster", converted=True, read_by=2)
EDFI = SourceFormat(
    "Ed-Fi",
    converted=True,
    exceptions_only=True,
    read_by=2,
    no_absences=(
        "section_attendance_taken_event",
        "student_intervention_attendance_event",
        "student_program_attendance_event",
    ),
)
VERSION_1 = SourceFormat("EduPulse", converted=True, has_ids=True)
"""A table of a database of version 1.0 that was adopted."""
_BY_NAME = {source_format.name: source_format for source_format in (CSV, WORKBOOK, ONEROSTER, EDFI, VERSION_1)}


def format_of(text: str | None) -> SourceFormat:
    """The format of what the manifest says a file was read as; a file of the first release, which says none, is CSV."""
    return CSV if text is None else _BY_NAME[text.partition(" ")[0].rstrip(",")]
