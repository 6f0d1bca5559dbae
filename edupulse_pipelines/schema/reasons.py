"""Every reason code: why a row is in quarantine, why a file is refused, what a warning counts, and how to mend it.

A row's code is `rule` or `rule:column`; the rule is what is registered here. Plain data, no third-party import: what
gives the codes is in `sources` and `ingest`, and a test holds this registry and them together. The documentation and
the command line read the words from here, so they name no value.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

ReasonKind = Literal["row", "file", "warning"]


@dataclass(frozen=True, kw_only=True)
class Reason:
    """One code: what it means, how to fix it, and what it is about.

    kind: `row` (the row is in quarantine), `file` (the file is refused, no row of it is read), `warning` (the row is
    loaded, and counted). waits: whether a row with it waits for something that may still come, and loads by itself
    then; a row with no other reason is not bad, and is counted apart. column: whether the code names a column,
    `code:column`.
    """

    code: str
    kind: ReasonKind
    meaning: str
    fix: str
    waits: bool = False
    column: bool = False

    @property
    def spelling(self) -> str:
        """The code as it is written in the quarantine, with a place for the column."""
        return f"{self.code}:<column>" if self.column else self.code


_ROW = (
    Reason(
        code="required",
        kind="row",
        column=True,
        meaning="The field is empty, and the column must have a value.",
        fix="Fill the field in the source system and send the row again.",
    ),
    Reason(
        code="type",
        kind="row",
        column=True,
        meaning="The text is not of the column's type: not a date that exists, not a number, not a JSON object, not a "
        "GUID, not yes or no; or it is not in the date format or decimal notation that the profile declares.",
        fix="Correct the value. If the whole column is written in another way, declare `date_format` or `decimal` in "
        "the profile.",
    ),
    Reason(
        code="length",
        kind="row",
        column=True,
        meaning="The text is longer than the column allows.",
        fix="Shorten it, or map it to a shorter value under `codes` in the profile.",
    ),
    Reason(
        code="values",
        kind="row",
        column=True,
        meaning="The value is not one of those the column allows.",
        fix="Send an allowed value, or declare what your codes mean under `codes` in the profile.",
    ),
    Reason(
        code="range",
        kind="row",
        column=True,
        meaning="The number is outside the column's range.",
        fix='Correct the number. A GPA above 4 needs `grading_scale = "weighted"` in the tenant\'s settings.',
    ),
    Reason(
        code="unmapped_code",
        kind="row",
        column=True,
        meaning="The profile maps the codes of this column, and this one is not among them. Nothing is guessed.",
        fix="Add the code to the profile (`codes`, `grade_levels` or `letter_grades`) and run "
        "`edupulse quarantine replay`.",
    ),
    Reason(
        code="conflicting_duplicate",
        kind="row",
        meaning="The delivery holds different rows for one record (same student; same student, day, period and school; "
        "same student, school and entry date; same `source_record_id`, of incidents with the same student). All of "
        "them are held back.",
        fix="If they are one record, send the file again with the row that is right. If they are several, give each an "
        "id or a period of its own (enrolments: the entry date or school that differs): taking a row out would lose a "
        "record. Exact repeats are no conflict.",
    ),
    Reason(
        code="more_than",
        kind="row",
        column=True,
        meaning="The number is more than the one that it is a part of, as minutes missed are of a session's minutes.",
        fix="Correct one of the two numbers in the source.",
    ),
    Reason(
        code="future_date",
        kind="row",
        meaning="The event lies after the date of its delivery.",
        fix="Correct the date, or deliver the row in a folder that is not dated before the event. (Enrolment and exit "
        "may be announced ahead.)",
    ),
    Reason(
        code="too_old",
        kind="row",
        meaning="The event lies before the district's `earliest_date` (by default two years before `first_week`): most "
        "often a year that was typed wrong.",
        fix="Correct the date. If such old events are meant to be loaded, set an earlier `earliest_date` for the "
        "district and run `edupulse quarantine replay`.",
    ),
    Reason(
        code="unknown_student",
        kind="row",
        waits=True,
        meaning="No `students` file has named this student yet.",
        fix="Nothing, if the student arrives with a later `students` file. Otherwise correct `district_id`.",
    ),
    Reason(
        code="unknown_school",
        kind="row",
        waits=True,
        meaning="The row (an enrolment, attendance) names a school that no `schools` file has named yet, in a district "
        "that sends schools.",
        fix="Nothing, if the school arrives with a later `schools` file. Otherwise correct `school_id`, or send the "
        "school.",
    ),
    Reason(
        code="unknown_prediction",
        kind="row",
        waits=True,
        meaning="The verdict is about a prediction that is not there, or not there once.",
        fix="Name the prediction by `prediction_id`, or by `district_id` and `prediction_date` (and `model_version`).",
    ),
    Reason(
        code="unknown_record",
        kind="row",
        waits=True,
        meaning="The row takes back (`_deleted`) a record that has not arrived.",
        fix="Nothing, if the record is still to come. Otherwise correct the key of the row.",
    ),
    Reason(
        code="later_prediction",
        kind="row",
        meaning="Of a database of version 1.0 that was adopted: the same model has made a later prediction for the "
        "student in the same school week, and that one is kept.",
        fix="Nothing: there is one prediction a student, school week and model.",
    ),
    Reason(
        code="moved_student",
        kind="row",
        meaning="The `source_record_id` of a grade belongs to a record of another student. That of an incident may: "
        "one incident is a record of each student it names.",
        fix="Give every record an id of its own. If the record was entered for the wrong student, take it back under "
        "its id (`_deleted`) and send the right one under a new id: the id alone is never moved, so that no record of "
        "the first student is lost.",
    ),
    Reason(
        code="another_child",
        kind="row",
        meaning="First name, last name and date of birth are all others than those of the child who has this number: "
        "another child. The number stays with the child of the oldest delivery.",
        fix="Give the other child a number of its own. If it is the same child (a marriage, a correction), say so with "
        "`edupulse quarantine accept`.",
    ),
    Reason(
        code="disputed_number",
        kind="row",
        waits=True,
        meaning="Another child was delivered under this number (`another_child`), and nobody can say whose record it "
        "is.",
        fix="Nothing here: settle the row of `students`. The records that were delivered under the number since then "
        "load when it is accepted, or has another number.",
    ),
    Reason(
        code="spoilt_number",
        kind="row",
        meaning="The student's number is what a spreadsheet has made of it: an exponent (`1.23E+05`), or a formula "
        '(`="00123"`).',
        fix="Export the numbers as text. The number that was meant is lost; it is not guessed.",
    ),
    Reason(
        code="detached_month",
        kind="row",
        meaning="The month of the row has been taken out of the database, for archiving.",
        fix="Bring the month back with `edupulse db attach-month` and run `edupulse quarantine replay`; or correct the "
        "date, if it is wrong.",
    ),
    Reason(
        code="malformed_row",
        kind="row",
        meaning="The line is not valid CSV: most often a quote that is opened and never closed.",
        fix='Quote fields that hold delimiters, quotes or line breaks, and double the quotes inside (`""`).',
    ),
    Reason(
        code="too_few_fields",
        kind="row",
        meaning="The line has fewer fields than the header.",
        fix="Write every field, also an empty one.",
    ),
    Reason(
        code="too_many_fields",
        kind="row",
        meaning="The line has more fields than the header: most often a delimiter in a text that is not quoted.",
        fix="Quote fields that hold the delimiter.",
    ),
    Reason(
        code="nul_byte",
        kind="row",
        meaning="The line holds a NUL character, which no database takes as text.",
        fix="Remove it in the export.",
    ),
)

_FILE = (
    Reason(
        code="empty_file",
        kind="file",
        meaning="The file is empty: not even a header.",
        fix="Send the header row, or leave the file out.",
    ),
    Reason(
        code="no_rows",
        kind="file",
        meaning="A OneRoster file that manifest.csv calls `bulk`, which holds everything, has a header and no row.",
        fix="Export it again. Where there really is nothing, say `absent` in manifest.csv.",
    ),
    Reason(
        code="not_csv",
        kind="file",
        meaning="The content is of another kind: an Excel workbook, a PDF, an archive under the name of a CSV.",
        fix="Export as CSV, and name packed files `.csv.gz` or `.zip`.",
    ),
    Reason(
        code="missing_file",
        kind="file",
        meaning="The bundle lacks a file that this table needs, or the zip has no file named after a table.",
        fix="Export the bundle whole; name the files in a zip after their tables.",
    ),
    Reason(
        code="malformed_xml",
        kind="file",
        meaning="The XML breaks its own rules on the line that is named, or one entry in it is far too large.",
        fix="Export the file again; a copy may have ended too early.",
    ),
    Reason(
        code="forbidden_xml",
        kind="file",
        meaning="The XML has a document type declaration (DTD), which is never read.",
        fix="Remove the declaration; Ed-Fi files need none.",
    ),
    Reason(
        code="too_many_columns",
        kind="file",
        meaning="The header row has more columns than `max_columns` allows.",
        fix="Deliver fewer columns, or raise `max_columns` in `[tenants.<name>.files]`.",
    ),
    Reason(
        code="malformed_header",
        kind="file",
        meaning="The header row is not valid CSV.",
        fix="Check the quotes in line 1, and the delimiter in the profile.",
    ),
    Reason(
        code="missing_column",
        kind="file",
        meaning="A required column is not in the header.",
        fix="Add the column, or name it under `columns` in the profile if it is called otherwise.",
    ),
    Reason(
        code="duplicate_column",
        kind="file",
        meaning="Two columns have the same name, so nobody knows which one counts.",
        fix="Remove or rename one of them.",
    ),
    Reason(
        code="rename_collision",
        kind="file",
        meaning="Under the profile's `columns` two columns of the file are the same column of ours.",
        fix='Correct `columns` in the profile; the name `""` says that a column is not used.',
    ),
    Reason(
        code="reserved_column",
        kind="file",
        meaning="A column has a name that the archive keeps for itself (such as `_line_number`).",
        fix="Rename the column in the export.",
    ),
    Reason(
        code="encoding",
        kind="file",
        meaning="The bytes are not text in the encoding that is expected.",
        fix="Save as UTF-8, or declare `encoding` in the profile.",
    ),
    Reason(
        code="too_large",
        kind="file",
        meaning="The file, unpacked, is larger than the tenant's limit.",
        fix="Split it into `<table>-<part>.csv`, or raise `max_file_gib` under `files`.",
    ),
    Reason(
        code="compression_bomb",
        kind="file",
        meaning="The file unpacks to far more than data normally does.",
        fix="If it is what it should be, raise `max_compression_ratio` under `files`.",
    ),
    Reason(
        code="corrupt_gzip",
        kind="file",
        meaning="The gzip file is damaged or not complete.",
        fix="Copy it again, or make it anew.",
    ),
    Reason(
        code="corrupt_workbook",
        kind="file",
        meaning="The Excel workbook is damaged, or has a password.",
        fix="Save it again as .xlsx without a password, or as CSV.",
    ),
    Reason(
        code="unclear_sheet",
        kind="file",
        meaning="Which sheet of the workbook is meant is not clear: none of several, or more than one, is named after "
        "the table.",
        fix="Name one sheet after the table, such as `grades`, or leave one sheet only.",
    ),
    Reason(
        code="corrupt_zip",
        kind="file",
        meaning="The zip is damaged, not complete, or packed with a method that cannot be read.",
        fix="Copy it again, or pack it anew with Deflate.",
    ),
    Reason(
        code="encrypted_zip",
        kind="file",
        meaning="The zip has a password.",
        fix="Send it without one, over a channel that is safe.",
    ),
    Reason(
        code="unsafe_zip",
        kind="file",
        meaning="The zip holds a link, one name twice, or a name that leads out of its folder.",
        fix="Pack plain files only.",
    ),
    Reason(
        code="nested_archive",
        kind="file",
        meaning="The zip holds another archive.",
        fix="Deliver the inner archive on its own.",
    ),
)

_WARNING = (
    Reason(
        code="assumed_enrollment",
        kind="warning",
        meaning="No delivery has said since when the student is enrolled. The first recorded event counts as the "
        "entry, or the first delivery if there is no earlier event.",
        fix="Send `enrollment_date` with the students, or send `enrollments`.",
    ),
    Reason(
        code="exit_before_enrollment",
        kind="warning",
        meaning="`exit_date` lies before the entry date, so that the enrolment holds on no day.",
        fix="Correct one of the two dates.",
    ),
    Reason(
        code="missing_date_of_birth",
        kind="warning",
        meaning="The date of birth is not known: the row has the marker of `missing_date_of_birth`.",
        fix="Send the date of birth when it is known; the marker is replaced.",
    ),
    Reason(
        code="lost_zeros",
        kind="warning",
        meaning="Children with the same names and date of birth have numbers that differ only by zeros in front, which "
        "a spreadsheet takes away.",
        fix="`edupulse students list` names them. If two are one child, `edupulse students merge` joins them.",
    ),
    Reason(
        code="snapshot_waits",
        kind="warning",
        meaning="A full snapshot takes nothing back yet: a row of it is in quarantine, or a file of it was refused, "
        "and that may be the record that seems to be missing.",
        fix="Mend the rows and the files of that delivery; then it does.",
    ),
    Reason(
        code="archive_unverified",
        kind="warning",
        meaning="A file's archive is from before archives had a hash, and the file is no longer landed: all its rows "
        "could be read and are as many as they were, but a changed value would not have been noticed.",
        fix="Nothing has to be done; from now on the archive has a hash. To be sure, land that delivery again.",
    ),
)

REASONS: dict[str, Reason] = {reason.code: reason for reason in (*_ROW, *_FILE, *_WARNING)}
"""Every reason by its code (of `rule:column` the rule)."""


WAITING: frozenset[str] = frozenset(reason.code for reason in REASONS.values() if reason.waits)
"""The codes of rows that load by themselves when what they wait for arrives."""


def only_waits(codes: Iterable[str]) -> bool:
    """Whether a row with these codes is not bad: all it needs is something that may still come."""
    return all(code in WAITING for code in codes)


def reason_for(code: str) -> Reason | None:
    """The entry of a code as it is written in the quarantine (`type:date`); None for one that is not registered."""
    return REASONS.get(code.partition(":")[0])
