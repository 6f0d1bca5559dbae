"""What must stand in the tables: the rules of loading once more, in plain Python, row by row, all deliveries at once.

Nothing here is taken from the loader, and nothing is fast. A delivery is what has landed under one date; every rule
looks at all of them together, so the order in which they are loaded has no say. Values are those the fuzz sends: no
local codes, no other formats (their tests are with the profiles).
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

# By table: column, type, whether a row must have it, longest text or range or set of values.
COLUMNS: dict[str, dict[str, tuple[str, bool, Any]]] = {
    "students": {
        "district_id": ("text", True, 50),
        "first_name": ("text", True, 100),
        "last_name": ("text", True, 100),
        "date_of_birth": ("date", True, None),
        "gender": ("text", False, 10),
        "grade_level": ("integer", False, (0, 12)),
        "gpa": ("number", False, (0, 4)),
        "enrollment_date": ("date", False, None),
        "exit_date": ("date", False, None),
        "exit_type": ("set", False, ("completed", "transferred", "dropped_out", "failed", "other")),
        "student_metadata": ("json", False, None),
    },
    "enrollments": {
        "district_id": ("text", True, 50),
        "school_id": ("text", False, 50),
        "entry_date": ("date", True, None),
        "exit_date": ("date", False, None),
        "exit_type": ("set", False, ("completed", "transferred", "dropped_out", "failed", "other")),
        "grade_level": ("integer", False, (0, 12)),
        "is_primary": ("boolean", False, None),
    },
    "attendance_records": {
        "district_id": ("text", True, 50),
        "date": ("date", True, None),
        "status": ("set", True, ("present", "absent", "tardy", "excused")),
        "period": ("integer", False, (0, 10**18)),
        "school_id": ("text", False, 50),
    },
    "grades": {
        "district_id": ("text", True, 50),
        "source_record_id": ("text", False, 100),
        "course_id": ("text", True, 50),
        "grade_value": ("number", False, (0, 100)),
        "grade_letter": ("text", False, 2),
        "submission_date": ("date", True, None),
        "assignment_id": ("text", False, 100),
        "due_date": ("date", False, None),
    },
    "discipline_incidents": {
        "district_id": ("text", True, 50),
        "source_record_id": ("text", False, 100),
        "incident_date": ("date", True, None),
        "severity_level": ("integer", True, (1, 5)),
        "resolution": ("text", False, 200),
    },
}
TELL_NO_RECORDS_APART = {"assignment_id", "due_date"}
"""Columns that may say anything of a record without an id of its own."""
HAPPENED = {
    "students": "date_of_birth",
    "attendance_records": "date",
    "grades": "submission_date",
    "discipline_incidents": "incident_date",
}
"""The date that cannot lie after the delivery."""
REQUIRED = {table: tuple(name for name, rule in columns.items() if rule[1]) for table, columns in COLUMNS.items()}
EARLIEST = dt.date(2023, 9, 1)
"""Two years before the first week."""
DELETED = "_deleted"
YES = ("true", "TRUE", "True", "yes", "Yes", "YES", "y", "Y", "t", "T", "1")
FLAGS = (*YES, "false", "FALSE", "False", "no", "No", "NO", "n", "N", "f", "F", "0")
WAITS = {"unknown_student", "unknown_record"}


@dataclass(frozen=True)
class Line:
    """One row of a file: its text, and what a reader of RFC 4180 makes of it. A blank line has neither."""

    text: str
    fields: tuple[str, ...] | None = None
    problem: str | None = None

    @property
    def is_row(self) -> bool:
        """Whether it has a value at all, be it one that cannot be read."""
        return self.problem is not None or any(value.strip() for value in self.fields or ())


@dataclass(frozen=True)
class File:
    """One file of a delivery, `refused` when its header is not one that can be read."""

    table: str
    part: str
    header: tuple[str, ...]
    lines: tuple[Line, ...]
    newline: str = "\n"
    bom: bool = False
    refused: bool = False

    @property
    def name(self) -> str:
        """As `District.land` wants it."""
        return f"{self.table}__{self.part}" if self.part else self.table

    @property
    def content(self) -> bytes:
        """The bytes that land."""
        text = self.newline.join([",".join(self.header), *(line.text for line in self.lines), ""])
        return (b"\xef\xbb\xbf" if self.bom else b"") + text.encode()


Landing = dict[dt.date, list[File]]


@dataclass
class Row:
    """One row of a delivery, and what is wrong with it."""

    day: dt.date
    file: File
    line: int
    values: dict[str, str | None]
    """The fields that the file carries; the empty one is None."""
    reasons: set[str] = field(default_factory=set)
    readable: bool = True
    repeat: bool = False
    key: Any = None
    unsettled: bool = False
    """Whether it takes back a record of a session with several: whether it finds one depends on what is there."""

    @property
    def takes_back(self) -> bool:
        return self.values.get(DELETED) in YES

    @property
    def good(self) -> bool:
        return not self.reasons and not self.repeat


@dataclass
class Expected:
    """tables: rows as tuples of (number, columns …, delivered_on, deleted_on); held: reasons by line of each file that
    was delivered once; read: rows of each file; unsettled: files with rows that may be held or not."""

    tables: dict[str, list[tuple[Any, ...]]]
    held: dict[tuple[dt.date, str], dict[int, set[str]]]
    read: dict[tuple[dt.date, str], int]
    unsettled: set[tuple[dt.date, str]]


def expected(landing: Landing) -> Expected:
    """What must come of these deliveries."""
    contents = Counter(file.content for files in landing.values() for file in files)
    rows = {table: [row for day in sorted(landing) for row in _delivery(day, table, landing[day])] for table in COLUMNS}
    tables: dict[str, list[tuple[Any, ...]]] = {}
    known: set[str | None] = set()
    for table, of_table in rows.items():
        if table != "students":
            for row in of_table:
                by_id = table == "grades" and row.takes_back and row.values.get("source_record_id")
                number = row.values.get("district_id")
                if row.readable and number is not None and number not in known and not by_id:
                    row.reasons.add("unknown_student")
        if table == "attendance_records":
            tables[table] = _fold_sessions(of_table, tables.get("enrollments", []))
        else:
            tables[table] = _fold(table, of_table)
        if table == "students":
            known = {row[0] for row in tables[table]}
    held: dict[tuple[dt.date, str], dict[int, set[str]]] = {}
    read = {}
    unsettled = {(row.day, row.file.name) for row in rows["attendance_records"] if row.unsettled}
    for day, files in landing.items():
        for file in files:
            if file.refused:
                continue
            read[day, file.name] = sum(line.is_row for line in file.lines)
            if contents[file.content] == 1:
                held[day, file.name] = {
                    row.line: row.reasons
                    for row in rows[file.table]
                    if row.day == day and row.file is file and row.reasons
                }
    return Expected(tables, held, read, unsettled)


# One delivery


def _delivery(day: dt.date, table: str, files: Iterable[File]) -> list[Row]:
    """The rows of one table in one delivery, judged by themselves and beside each other."""
    rows: list[Row] = []
    seen: set[bytes] = set()
    for file in sorted(
        (file for file in files if file.table == table and not file.refused), key=lambda file: file.part
    ):
        if file.content not in seen:  # a copy says nothing of its own
            seen.add(file.content)
            rows += _rows(day, file)
    for row in rows:
        if row.readable:
            row.reasons |= _judge(table, row)
    versions: dict[Any, dict[Any, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row.readable:
            row.key, content = _key(table, row)
            versions[row.key][content].append(row)
    for key, by_content in versions.items():
        for of_content in by_content.values():
            for number, row in enumerate(of_content):
                if len(by_content) > 1:
                    row.reasons.add("conflicting_duplicate")
                if key[0] == "content":
                    row.key = (*key, number)  # the same work twice is two records
                else:
                    row.repeat = number > 0
    return rows


def _rows(day: dt.date, file: File) -> Iterable[Row]:
    line_number = 2
    for line in file.lines:
        if line.problem is not None:
            yield Row(day, file, line_number, {}, {line.problem}, readable=False)
        elif line.fields is not None and line.is_row:
            values = {name: value.strip() or None for name, value in zip(file.header, line.fields, strict=True)}
            yield Row(day, file, line_number, values)
        line_number += 1 + line.text.count("\n")


def _key(table: str, row: Row) -> tuple[Any, Any]:
    """Which record the row is about, and everything it says of it."""
    says = tuple(
        (name, _spelled(table, name, text)) for name in COLUMNS[table] if (text := row.values.get(name)) is not None
    )
    content = (says, "true" if row.takes_back else row.values.get(DELETED))
    given = row.values.get
    if table == "students" and given("district_id"):
        return ("key", given("district_id")), content
    if table == "enrollments" and given("district_id") and given("entry_date"):
        return ("key", given("district_id"), given("school_id"), given("entry_date")), content
    if table == "attendance_records" and given("district_id") and given("date"):
        period = given("period")
        session = ("key", given("district_id"), given("date"), period and _spelled(table, "period", period))
        return (*session, given("school_id") or ""), content
    if table == "discipline_incidents":  # one may concern several students
        if given("source_record_id") and given("district_id"):
            return ("key", given("source_record_id"), given("district_id")), content
        return ("content", says), content
    if given("source_record_id"):
        return ("key", given("source_record_id")), content
    says = tuple(said for said in says if said[0] not in TELL_NO_RECORDS_APART)
    return ("content", says), (says, content[1])


def _spelled(table: str, name: str, text: str) -> str:
    """`07` and `7` are the same number, `Yes` and `1` the same answer."""
    if COLUMNS[table][name][0] == "boolean":
        return str(text in YES)
    if COLUMNS[table][name][0] in ("integer", "number") and _is_number(text, COLUMNS[table][name][0]):
        return f"{float(text):.15g}"
    return text


def judge(_expectations: Any, frame: pd.DataFrame) -> dict[str, list[tuple[str, list[int]]]]:
    """What Great Expectations would say of the values, as `Expectations.judge` says it: a call of theirs is slow."""
    table = next(table for table, columns in COLUMNS.items() if columns.keys() <= set(frame.columns))
    wrong: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for name, (kind, required, limit) in [*COLUMNS[table].items(), (DELETED, ("set", False, FLAGS))]:
        for position, text in enumerate(frame[name].tolist()):
            code = _wrong(kind, limit, text) if isinstance(text, str) else "required" if required else None
            if code is not None:
                wrong[name][f"{code}:{name}"].append(position)
    wrong["key:versions"]["conflicting_duplicate"] = (frame["key:versions"] > 1).to_numpy().nonzero()[0].tolist()
    return {name: list(by_code.items()) for name, by_code in wrong.items()}


def _judge(table: str, row: Row) -> set[str]:
    """The rules for one row; of one that takes back a record that it names, only the name is looked at."""
    reasons = set()
    needed = {
        "students": ("district_id",),
        "enrollments": ("district_id", "entry_date"),
        "attendance_records": ("district_id", "date"),
        "discipline_incidents": ("source_record_id", "district_id"),
    }.get(table, ("source_record_id",))
    further = {"enrollments": ("school_id",), "attendance_records": ("period", "school_id")}
    names = (*needed, *further.get(table, ()))
    only = names if row.takes_back and all(row.values.get(name) for name in needed) else tuple(COLUMNS[table])
    for name in only:
        kind, required, limit = COLUMNS[table][name]
        text = row.values.get(name)
        if text is None:
            if required:
                reasons.add(f"required:{name}")
        elif (code := _wrong(kind, limit, text)) is not None:
            reasons.add(f"{code}:{name}")
        elif name == HAPPENED.get(table) and dt.date.fromisoformat(text) > row.day:
            reasons.add("future_date")
        elif name == HAPPENED.get(table) and table != "students" and dt.date.fromisoformat(text) < EARLIEST:
            reasons.add("too_old")
    if row.values.get(DELETED) not in (None, *FLAGS):
        reasons.add(f"values:{DELETED}")
    return reasons


def _wrong(kind: str, limit: Any, text: str) -> str | None:
    if kind == "text":
        return "length" if len(text) > limit else None
    if kind == "set":
        return None if text in limit else "values"
    if kind == "date":
        return None if _is_date(text) else "type"
    if kind == "boolean":
        return None
    if kind == "json":
        try:
            return None if isinstance(json.loads(text), dict) else "type"
        except ValueError:
            return "type"
    if not _is_number(text, kind):
        return "type"
    return None if limit[0] <= float(text) <= limit[1] else "range"


def _is_date(text: str) -> bool:
    try:
        return dt.date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _is_number(text: str, kind: str) -> bool:
    pattern = r"[+-]?\d+" if kind == "integer" else r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"
    return text.isascii() and re.fullmatch(pattern, text) is not None


# All deliveries


def _fold(table: str, rows: list[Row], *, key: Any = None) -> list[tuple[Any, ...]]:
    """The records: for each field the newest delivery that carries it; rows that take back nothing wait.

    key: given when all of the rows are about one record; then those that name a school come after those that do not.
    """
    records: dict[Any, list[Row]] = defaultdict(list)
    for row in rows if key is None else sorted(rows, key=lambda row: (row.day, row.key[-1])):  # by day
        if row.good:
            records[row.key if key is None else key].append(row)
    made = []
    for of_key in records.values():
        says = [row for row in of_key if not row.takes_back]
        back = [row.day for row in of_key if row.takes_back]
        if not says:
            for row in of_key:
                row.reasons.add("unknown_record")
            continue
        stored: dict[str, Any] = dict.fromkeys(COLUMNS[table])
        for row in says:
            for name in COLUMNS[table]:
                text = row.values.get(name)
                if name == "school_id" and table == "attendance_records" and text is None:
                    continue  # once named it stays
                if name in row.values and not (name == "enrollment_date" and text is None):
                    stored[name] = None if text is None else _typed(COLUMNS[table][name][0], text)
        if table == "students" and stored["enrollment_date"] is None:
            stored["enrollment_date"] = says[0].day
        deleted_on = back[-1] if back and back[-1] > says[-1].day else None
        made.append((*stored.values(), says[-1].day, deleted_on))
    return sorted(made, key=repr)


def _fold_sessions(rows: list[Row], enrolments: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Attendance: rows without a school are about the record of the one school there is, where there is one only."""
    sessions: dict[Any, list[Row]] = defaultdict(list)
    for row in rows:
        if row.good:
            sessions[row.key[:-1]].append(row)
    made = []
    for (_, number, date, _), of_session in sessions.items():
        day = dt.date.fromisoformat(str(date))
        at = {
            school
            for student, school, entry, left, *_, deleted_on in enrolments
            if student == number and school and not deleted_on and entry <= day and (left is None or day < left)
        }
        newest = {row.key[-1]: row.day for row in of_session if not row.takes_back}  # by day
        named = [school for school in newest if school]
        apart = len(at) > 1 or len(named) > 1 or (len(named) == 1 and newest.get("") == newest[named[0]])
        record = {school: school if apart or not named else named[0] for school in newest}
        if newest and not apart:
            record |= {row.key[-1]: named[0] if named else "" for row in of_session if not named or not row.key[-1]}
        for row in of_session:
            row.unsettled = row.takes_back and len({other.key[-1] for other in of_session}) > 1
        for school in sorted({record[school] for school in newest}):
            mine = [row for row in of_session if record.get(row.key[-1]) == school]
            made += _fold("attendance_records", mine, key=("key", number, date, school))
        for row in of_session:
            if row.key[-1] not in record and row.takes_back:
                row.reasons.add("unknown_record")
    return sorted(made, key=repr)


def _typed(kind: str, text: str) -> Any:
    parse = {
        "integer": int,
        "number": float,
        "date": dt.date.fromisoformat,
        "json": json.loads,
        "boolean": lambda text: text in YES,
    }.get(kind, str)
    return parse(text)


def removals(
    records: Mapping[Any, tuple[dt.date, dt.date | None]],
    snapshots: Mapping[dt.date, int],
    accepted: Collection[dt.date],
    share: float,
) -> dict[Any, dt.date | None]:
    """By record the delivery that took it back, if any; of a table whose snapshots hold everything there is.

    records: the newest delivery that held each, and the delivery with a row that took it back (of no snapshot).
    snapshots: by delivery how many rows it holds. accepted: deliveries to whose removals a person has said yes.
    share: `max_taken_back`.
    """
    deleted = {key: by_row for key, (_, by_row) in records.items()}
    for day, rows in sorted(snapshots.items()):
        lacking = [key for key, (newest, _) in records.items() if newest < day]
        gone = [key for key in lacking if (by := deleted[key]) is None or by >= day]
        limit = max(5, share * (len(gone) + rows)) if rows else 0
        if len(gone) <= limit or any(yes in accepted and yes >= day for yes in snapshots):
            deleted |= {key: day for key in gone if deleted[key] is None}
    return deleted
