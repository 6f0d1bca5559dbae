"""What the name of a landed file says: which table it is for, however people and systems write it.

Names are blind to case. A table is known by its name, in the singular too, and by usual words for it; a part may follow
(`grades-north.csv`), or a date or number (`Attendance 2026-09-07.csv`). And how a name is told outside of the database
(`name_outside`). What is in a file is not looked at here.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, NamedTuple

from edupulse_pipelines.schema.tables import RECORD_TABLES

Kind = Literal["csv", "gzip", "workbook", "zip"]
_USUAL_WORDS = {
    "attendance_records": ("attendance", "attendances"),
    "discipline_incidents": ("discipline", "incident", "incidents", "behavior", "behaviour", "behaviors", "behaviours"),
    "training_feedback": ("feedback",),
    "enrollments": ("enrolment", "enrolments"),
}
"""Beside the tables' own names."""
_WORDS = {
    word: table for table in RECORD_TABLES for word in (table, table.removesuffix("s"), *_USUAL_WORDS.get(table, ()))
}
_NAMED = re.compile(
    rf"(?P<word>{'|'.join(sorted(_WORDS, key=len, reverse=True))})"
    r"(-[^/]+|[_ ]*\(?[0-9][^/]*)?"
)
_PLAIN = re.compile(r"[a-z0-9_.-]+(/[a-z0-9_.-]+)*")
_ENDINGS: tuple[tuple[str, Kind], ...] = (
    (".csv", "csv"), (".tsv", "csv"), (".txt", "csv"),
    (".csv.gz", "gzip"), (".tsv.gz", "gzip"), (".txt.gz", "gzip"),
    (".xlsx", "workbook"), (".zip", "zip"),
)  # fmt: skip


class FileName(NamedTuple):
    """What a name says: what kind of file it is, and the table; None for the table when it says none."""

    kind: Kind
    table: str | None


def name_outside(name: str, number: int) -> str:
    """A file's name as it may leave the database and the landing folder; `file 2` for one that may hold anything.

    Names are written by people, and some write a student's into them. So events, metadata, checks, logs and messages
    have a name only when it is made of small letters, digits, `_`, `.` and `-` (and `/` before what is packed in a
    file); else they have its number. It is for the caller to say what is counted.
    """
    return name if _PLAIN.fullmatch(name) else f"file {number}"


def path_outside(path: Path, folder: Path) -> str:
    """A path in a folder as it may leave the landing folder: names within the folder as `name_outside` tells them.

    Counted is the place in the order of names of what lies beside it.
    """
    told = folder
    for below in path.relative_to(folder).parts:
        beside = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
        told /= name_outside(below, beside.index(below) + 1 if below in beside else len(beside) + 1)
        folder /= below
    return str(told)


def read_name(name: str) -> FileName | None:
    """What the name of a file (without folders) says; None for a file of another kind."""
    lowered = name.lower()
    for ending, kind in _ENDINGS:
        if lowered.endswith(ending):
            return FileName(kind, table_named(lowered.removesuffix(ending)))
    return None


def table_named(text: str) -> str | None:
    """The table that a name without ending, or the title of a sheet, is for."""
    match = _NAMED.fullmatch(_in_words(text))
    return None if match is None else _WORDS[match["word"]]


def _in_words(text: str) -> str:
    """In small letters, with `_` between words: `Attendance Records` and `Attendance-Records` are one table's name."""
    plain = " ".join(text.lower().split())
    joined = re.sub(r"[ -]", "_", plain)
    return joined if joined in _WORDS else _with_name_joined(plain)


def _with_name_joined(text: str) -> str:
    """The text with the blanks of a table's name at its beginning as `_`."""
    for word in sorted(_WORDS, key=len, reverse=True):
        spaced = word.replace("_", " ")
        if "_" in word and text.startswith(spaced):
            return word + text.removeprefix(spaced)
    return text
