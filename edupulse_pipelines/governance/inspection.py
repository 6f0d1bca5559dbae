"""Everything that is held of one student, written for the student's family: CSVs, and a page to read and print.

Nothing of another student is in it. A text that names one is held back, and written beside the rest into
`not-for-release/`, for a person to redact. What is held is found by `person`, `kept_files` and `quarantined`, as an
erasure finds it; the giving out is recorded in `disclosures`.
"""

from __future__ import annotations

import base64
import csv
import datetime as dt
import hashlib
import io
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.encryption.keyring import data_key_for
from edupulse_pipelines.errors import PermanentError
from edupulse_pipelines.governance import archives, disclosures, kept_files
from edupulse_pipelines.governance.delivered_columns import is_written_by_people, read_as
from edupulse_pipelines.governance.disclosures import Circumstances
from edupulse_pipelines.governance.earlier_versions import earlier_versions
from edupulse_pipelines.governance.others import OtherStudents
from edupulse_pipelines.governance.person import Person, find_person, rows_about
from edupulse_pipelines.governance.quarantined import files_converted, quarantined_rows
from edupulse_pipelines.governance.register import PLACES, STORED_TABLES, Place
from edupulse_pipelines.governance.released_files import check_empty, written_files
from edupulse_pipelines.ingest.archive import told_names
from edupulse_pipelines.ingest.archived_file import archived_header
from edupulse_pipelines.ingest.spreadsheets import guarded
from edupulse_pipelines.schema.declaration import Column, Table
from edupulse_pipelines.schema.reasons import REASONS
from edupulse_pipelines.schema.sqlalchemy_tables import metadata
from edupulse_pipelines.schema.tables import RECORD_TABLES, TABLES
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.sources.file_names import name_outside
from edupulse_pipelines.sources.records import LINE_NUMBER, SYSTEM_COLUMNS
from edupulse_pipelines.storage.work import Work

HELD_BACK = "[held back: it names another student]"
FOR_THE_DISTRICT = "[held back: the district decides whether it is told]"
NOT_FOR_RELEASE = "not-for-release"
"""The folder beside what is given out, for whoever redacts."""
_NOT_IN_WORDS = {"tenant_id", "record_key", "feature_vector", "moved"}
"""Columns that tell a reader nothing, beside identifiers and bookkeeping; they are in the CSVs."""
_DECIDED_BY_THE_DISTRICT = {("legal_holds", column) for column in ("reason", "placed_by", "released_by")}
"""(table, column) of what is about the student and not given out unless the district wants it to be."""
_IDENTITY = {"first_name", "last_name", "district_id", "old_number", "new_number"}
"""Columns that hold who the student is; they are given out as they are."""
_WHICH_ROW = (
    "table_name", "until", "incident_date", "date", "submission_date", "entry_date", "feature_date", "outcome_date",
    "delivered_on", "file", "line", "line_number", "id",
)  # fmt: skip
"""Columns that say to whoever redacts which row it is."""
_FIELDS = "fields"
"""The column of a line that cannot be told apart by column."""

Row = dict[str, Any]


@dataclass
class Sheet:
    """The rows of one place that are given out: a CSV, and a section of the page."""

    name: str
    title: str
    about: str
    columns: list[str]
    meanings: dict[str, str]
    rows: list[Row] = field(default_factory=list)
    left_to_the_csv: Collection[str] = ()
    delivered: bool = False
    """Whether they are rows of files, as the district sent them."""

    @property
    def shown(self) -> list[str]:
        """The columns that the page has; those that no row fills are left to the CSV."""
        return [
            name
            for name in self.columns
            if name not in self.left_to_the_csv and any(row.get(name) not in (None, "") for row in self.rows)
        ]


@dataclass(frozen=True)
class Inspection:
    """What was written: how many rows by sheet, how many texts were held back, and the hash of each file."""

    counts: dict[str, int]
    held_back: int
    files: dict[str, str]


@dataclass
class _HeldBack:
    """Texts that name another student, with where they stand."""

    others: OtherStudents
    rows: list[Row] = field(default_factory=list)

    def stored(self, sheet: str, row: Row, column: Column, value: Any) -> Any:
        """A value of a table, or in its place that it is held back. row: says the table where `sheet` does not."""
        if value is not None and (row.get("table_name", sheet), column.name) in _DECIDED_BY_THE_DISTRICT:
            self._hold(sheet, row, column.name, str(value))
            return FOR_THE_DISTRICT
        return self.cell(sheet, row, column.name, value) if column.written_by_people else value

    def delivered(self, sheet: str, row: Row, name: str, column: Column | None, value: Any) -> Any:
        """A value of a file, as `stored`. column: as which the file's column is read; None for one of its own."""
        if column is not None and (column.name in _IDENTITY or not is_written_by_people(column, str(value))):
            return value
        return self.cell(sheet, row, name, value)

    def cell(self, sheet: str, row: Row, column: str, value: Any) -> Any:
        """A text that people have written, as `stored`. row: says which one it is."""
        text = value if isinstance(value, str) else orjson.dumps(value, default=str).decode() if value else ""
        if not text or column in _IDENTITY or not self.others.are_named_in(text):
            return value
        self._hold(sheet, row, column, text)
        return HELD_BACK

    def _hold(self, sheet: str, row: Row, column: str, text: str) -> None:
        self.rows.append({"sheet": sheet, "row": _which_row(row), "column": column, "text": text})


def _which_row(row: Row) -> str:
    """Which row it is, by the columns of it that the CSV has."""
    return ", ".join(f"{name} {in_words(row[name])}" for name in _WHICH_ROW if row.get(name) is not None)


def inspect(
    work: Work, raw_dir: Path, tenant: TenantSettings, number: str, out: Path, circumstances: Circumstances
) -> Inspection:
    """Write everything that is held of the student of this number into the folder `out`, and record it.

    PermanentError when nothing is held under the number, or `out` holds something.
    """
    check_empty(out)
    with work.reading() as connection:
        person = find_person(connection, work, raw_dir, tenant, number)
        held = _HeldBack(OtherStudents(connection, work, person))
        sheets = [*_stored(connection, work, person, held), _quarantine(connection, work, tenant, person, held)]
        sheets.append(_earlier(connection, work, tenant, person, held))
        sheets += _delivered(connection, work, raw_dir, tenant, person, held)
        schools = _schools(connection, work)
    sheets = [sheet for sheet in sheets if sheet.rows]
    if not sheets:
        raise PermanentError("Nothing is held under this number. Nothing was written.")
    elsewhere = _elsewhere(work, raw_dir, person, sheets)
    contents = _contents(sheets, held, _page(work, person, sheets, held, elsewhere, schools))
    counts = {sheet.name: len(sheet.rows) for sheet in sheets}
    with (
        written_files(out, contents, data_key_for(raw_dir.parent, work.tenant)) as written,
        work.writing() as connection,
    ):
        disclosures.record(
            connection,
            work,
            "inspection",
            circumstances,
            {name: digest for name, digest in written.items() if not name.startswith(NOT_FOR_RELEASE)},
            {**counts, "held_back": len(held.rows)},
            person.keys.hash_of("student", person.numbers[0]),
        )
    return Inspection(counts, len(held.rows), written)


def _stored(connection: Connection, work: Work, person: Person, held: _HeldBack) -> list[Sheet]:
    """The rows of every table that are about the student."""
    sheets = []
    for name in STORED_TABLES:
        table, declared = metadata.tables[name], TABLES[name]
        if declared.audit == "none":
            continue  # a queue of what is to be computed says nothing about the student
        sheet = Sheet(
            name,
            name.replace("_", " ").capitalize(),
            declared.comment,
            list(declared.column_names),
            {column.name: column.comment for column in declared.columns},
            left_to_the_csv=_without_meaning(declared),
        )
        query = sa.select(table).where(table.c.tenant_id == work.tenant, rows_about(name, person))
        for stored in connection.execute(query.order_by(*(table.c[key] for key in declared.primary_key))):
            row = dict(stored._mapping)
            sheet.rows.append({key: held.stored(name, row, declared.column(key), value) for key, value in row.items()})
        sheets.append(sheet)
    return sheets


def _without_meaning(table: Table) -> set[str]:
    """Identifiers and bookkeeping: the columns that say nothing about the student."""
    return {
        column.name
        for column in table.columns
        if column.bookkeeping or column.type == "guid" or column.name in _NOT_IN_WORDS
    }


def _quarantine(connection: Connection, work: Work, tenant: TenantSettings, person: Person, held: _HeldBack) -> Sheet:
    """The student's rows that were not loaded."""
    names = ["table_name", "delivered_on", "line_number", "raw", "corrected", "why", "replayed_at", "superseded_at"]
    declared = TABLES["quarantined_records"]
    sheet = Sheet(
        "quarantined_rows",
        "Rows that were not loaded",
        declared.comment,
        names,
        {
            **{name: declared.column(name).comment for name in names if name != "why"},
            "why": "Why the row was not loaded.",
        },
    )
    converted = files_converted(connection, work)
    for row in quarantined_rows(connection, work, person.keys, tenant):
        codes = [REASONS.get(code.partition(":")[0]) for code in row.reasons]
        stored = dict(row._mapping) | {"why": plainly(" ".join(reason.meaning for reason in codes if reason))}
        shown = {name: stored[name] for name in names}
        for name in ("raw", "corrected"):
            shown[name] = _cells(held, sheet.name, shown, shown[name], tenant, row.file_hash in converted)
        sheet.rows.append(shown)
    return sheet


def _cells(held: _HeldBack, sheet: str, row: Row, said: Any, tenant: TenantSettings, converted: bool) -> Any:
    """A row of the quarantine as it came, with each text looked at that people may have written.

    row: says the table (`table_name`), and which row it is. converted: a converter has written the row's file.
    """
    if isinstance(said, Mapping):
        columns = read_as(list(said), row["table_name"], tenant.profile, converted=converted)
        return {name: held.delivered(sheet, row, name, columns.get(name), value) for name, value in said.items()}
    if isinstance(said, list):
        return [held.cell(sheet, row, "raw", value) for value in said]
    return said


def _earlier(connection: Connection, work: Work, tenant: TenantSettings, person: Person, held: _HeldBack) -> Sheet:
    """The student's rows as they were before they were replaced or removed."""
    sheet = Sheet(
        "earlier_versions",
        "Rows as they were before they changed",
        TABLES["audit_images"].comment,
        ["table_name", "until", "row_as_it_was"],
        {
            "table_name": TABLES["audit_images"].column("table_name").comment,
            "until": "When the row was replaced or removed; empty: not known.",
            "row_as_it_was": "What the row said, each column by its name; empty ones are left out.",
        },
    )
    converted = files_converted(connection, work)
    for version in earlier_versions(connection, work, person, person.keys, tenant):
        if version.table == "ingested_files":
            continue  # its names of files and columns may name others; `manifest` counts them
        row: Row = {"table_name": version.table, "until": version.until}
        declared, which = TABLES[version.table], {**version.values, **row}
        told = {
            name: value
            for name, value in version.values.items()
            if name not in {*_without_meaning(declared), "file_name"} and value is not None
        }
        if version.table == "quarantined_records":
            of_row = {**which, "table_name": version.values["table_name"]}
            was_converted = version.values["file_hash"] in converted
            told |= {
                name: _cells(held, sheet.name, of_row, told.pop(name), tenant, was_converted)
                for name in ("raw", "corrected")
                if name in told
            }
        else:
            told = {name: held.stored(sheet.name, which, declared.column(name), value) for name, value in told.items()}
        sheet.rows.append(row | {"row_as_it_was": told})
    return sheet


def _delivered(
    connection: Connection, work: Work, raw_dir: Path, tenant: TenantSettings, person: Person, held: _HeldBack
) -> list[Sheet]:
    """The rows about the student as the district sent them, a sheet for each table."""
    told = {table: told_names(connection, work, table) for table in RECORD_TABLES}
    sheets: dict[str, Sheet] = {}
    for archive in archives.archives(connection, work, raw_dir):
        rows = archives.rows_of(archive, person.keys, tenant)
        if rows is None:
            continue
        sheet = sheets.setdefault(
            archive.table,
            Sheet(
                f"delivered_{archive.table}",
                f"{archive.table.replace('_', ' ').capitalize()} as they were delivered",
                "What the district sent, row by row, before anything was read from it.",
                ["delivered_on", "file", "line"],
                {
                    "delivered_on": "Date of the delivery.",
                    "file": "Name of the file; its place among the delivery's files where the name may name somebody.",
                    "line": "Line of the file.",
                },
                delivered=True,
            ),
        )
        name = archive.entry.file_name if archive.entry is not None else archive.path.name
        day = archive.delivered_on
        columns = read_as(archived_header(archive.path), archive.table, tenant.profile, converted=archive.converted)
        for values in rows.to_pylist():
            row = {"delivered_on": day, "file": told[archive.table].get((day, name), name_outside(name, 1))}
            row["line"] = values[LINE_NUMBER]
            for column, value in values.items():
                if column not in (LINE_NUMBER, "_problem") and value is not None:
                    called = _FIELDS if column in SYSTEM_COLUMNS else column
                    row[called] = held.delivered(sheet.name, row, column, columns.get(column), value)
                    if called not in sheet.columns:
                        sheet.columns.append(called)
                        sheet.meanings[called] = _meaning(called, columns.get(column))
            sheet.rows.append(row)
    return list(sheets.values())


def _meaning(called: str, column: Column | None) -> str:
    """What a column of a file is. column: as which it is read; None: not at all."""
    if column is not None:
        return column.comment
    if called == _FIELDS:
        return "The fields of a line that cannot be told apart by column, in their order."
    return "A column of the district's own: it is kept and not read."


def _schools(connection: Connection, work: Work) -> dict[str, str]:
    table = metadata.tables["schools"].c
    query = sa.select(table.school_id, table.name).where(table.tenant_id == work.tenant, table.name.is_not(None))
    return {row.school_id: row.name for row in connection.execute(query)}


def _elsewhere(work: Work, raw_dir: Path, person: Person, sheets: Sequence[Sheet]) -> list[tuple[Place, str]]:
    """What is held in places that cannot be shown row by row, in words."""
    found = {
        "refused files": kept_files.refused_files(work.tenant, raw_dir),
        "kept bundles": kept_files.kept_bundles(work.tenant, raw_dir),
    }
    deliveries = sorted({row["delivered_on"] for sheet in sheets if sheet.delivered for row in sheet.rows})
    told = []
    for place in PLACES:
        words = place.inspected
        if place.name in found:
            said = [kept_files.mentions(path, person) for path in found[place.name]]
            words = f"{words} Here: {said.count(True)} that do, {said.count(None)} that nobody can look into."
        if place.name == "manifest":
            words = f"{words} Here: {len(person.file_names)} files, {len(person.columns)} columns."
        if place.name == "landing":
            words = f"{words} Here: {', '.join(map(str, deliveries)) or 'none'}."
        told.append((place, words))
    return told


# Writing


def _contents(sheets: Sequence[Sheet], held: _HeldBack, page: str) -> dict[str, bytes]:
    """What stands in each file, by its name."""
    texts = {"index.html": page, "columns.csv": _csv(["sheet", "column", "meaning"], _columns(sheets))}
    texts |= {f"{sheet.name}.csv": _csv(sheet.columns, sheet.rows) for sheet in sheets}
    if held.rows:
        texts[f"{NOT_FOR_RELEASE}/to-redact.csv"] = _csv(["sheet", "row", "column", "text"], held.rows)
    return {name: text.encode("utf-8-sig" if name.endswith(".csv") else "utf-8") for name, text in texts.items()}


def _columns(sheets: Sequence[Sheet]) -> list[Row]:
    return [
        {"sheet": sheet.name, "column": name, "meaning": sheet.meanings.get(name, "")}
        for sheet in sheets
        for name in sheet.columns
    ]


def _csv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """What a spreadsheet would run as a formula has an apostrophe in front; what is not known is empty."""
    text = io.StringIO()
    sheet = csv.writer(text, lineterminator="\r\n")
    sheet.writerow(columns)
    for row in rows:
        sheet.writerow([guarded(in_words(row.get(name))) for name in columns])
    return text.getvalue()


def lines(value: Any) -> list[str]:
    """A value as the page shows it: of several facts a line each."""
    if isinstance(value, dict):
        return [f"{name.replace('_', ' ')}: {in_words(one)}" for name, one in value.items()]
    return [in_words(one) for one in value] if isinstance(value, list) else [in_words(value)]


def plainly(text: str) -> str:
    """What a comment of the schema says, without the words of databases."""
    return re.sub(r"(^|[.] )NULL\b", r"\1Empty", text.replace("`", "")).replace("NULL", "empty")


def in_words(value: Any) -> str:
    """A value as it is written for people."""
    if value is None:
        return ""
    if isinstance(value, dict | list):
        return orjson.dumps(value, default=str).decode()
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dt.datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def reasons_of(factors: Any) -> list[str]:
    """The reasons that are stored with a prediction, in words."""
    told = []
    for factor in factors if isinstance(factors, list) else ():
        if isinstance(factor, dict) and factor.get("description"):
            direction = {"raises": "raises the score", "lowers": "lowers the score"}.get(
                factor.get("direction", ""), ""
            )
            told.append(f"{factor['description']}{f' ({direction})' if direction else ''}")
    return told


def _page(
    work: Work,
    person: Person,
    sheets: Sequence[Sheet],
    held: _HeldBack,
    elsewhere: Sequence[tuple[Place, str]],
    schools: Mapping[str, str],
) -> str:
    """The page. It needs nothing else, and its policy lets nothing in it run or be fetched.

    schools: their names by what the district calls them.
    """
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    folder = files(__package__)
    style = folder.joinpath("inspection.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(folder.joinpath("inspection.html").read_text(encoding="utf-8"))
    return template.render(
        tenant=work.tenant,
        person=person,
        sheets=sheets,
        held_back=len(held.rows),
        elsewhere=elsewhere,
        lines=lines,
        plainly=plainly,
        schools=schools,
        reasons=reasons_of,
        made=f"{dt.datetime.now(dt.UTC):%Y-%m-%d %H:%M} UTC",
        policy=f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'",
        style=Markup(style),
    )
