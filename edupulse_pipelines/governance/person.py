"""Who is asked about: a student's numbers, names and ids, and the rows of tables that are about the student.

A student may have several numbers (`student_merges`) and may be in the quarantine or the archive only. Rows that name
the student nowhere but in what they hold are found by `ErasedKeys` of the student, as if the student had been erased:
what an inspection shows is then what an erasure takes away.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.governance.archives import archives, names_in
from edupulse_pipelines.governance.register import NUMBER_COLUMNS, STORED_TABLES, student_column
from edupulse_pipelines.ingest.erased_rows import names_key, prediction_key, record_key
from edupulse_pipelines.ingest.names import folded
from edupulse_pipelines.schema.delivery import SOURCE_RECORD
from edupulse_pipelines.schema.sqlalchemy_tables import ingested_files, metadata, predictions, students
from edupulse_pipelines.schema.tables import TABLES
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.sources.blanks import trimmed
from edupulse_pipelines.storage import changes
from edupulse_pipelines.storage.erased import ErasedKeys, key_for
from edupulse_pipelines.storage.numbers import joined_numbers
from edupulse_pipelines.storage.work import Work

_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class Person:
    """A student who is asked about. `keys`: recognises the rows of files that are about the student."""

    number: str
    numbers: tuple[str, ...]
    ids: tuple[uuid.UUID, ...]
    names: tuple[tuple[str, str], ...]
    """(first name, last name) as stored; of several numbers, of each."""
    predictions: tuple[uuid.UUID, ...]
    keys: ErasedKeys
    file_names: tuple[str, ...] = field(default=())
    """Names of landed files that hold the student's number or last name."""
    columns: tuple[str, ...] = field(default=())
    """Headers that no table knows and that hold the student's number or last name."""
    other_names: tuple[tuple[str, str], ...] = field(default=())
    """Names that were stored or delivered under the numbers at other times."""

    @property
    def every_name(self) -> tuple[tuple[str, str], ...]:
        """The names of now and of other times."""
        return self.names + self.other_names

    def is_named_in(self, text: str) -> bool:
        """Whether a text holds one of the numbers, or a last name of any time, as words of it."""
        words = words_of(text)
        if any(words_of(number) <= words for number in self.numbers):
            return True
        return any(words_of(last) <= words for _, last in self.every_name if words_of(last))


def words_of(text: str) -> set[str]:
    """The words of a text, compared as people do."""
    return {folded(word) for word in _WORD.findall(text)}


def find_person(connection: Connection, work: Work, raw_dir: Path, tenant: TenantSettings, number: str) -> Person:
    """Whoever the number is of; without ids and names when no student is stored under it."""
    return find_people(connection, work, raw_dir, tenant, [number])[0]


def find_people(
    connection: Connection, work: Work, raw_dir: Path, tenant: TenantSettings, numbers: Sequence[str]
) -> list[Person]:
    """Whoever the numbers are of, in their order, each as `find_person` finds them."""
    joined = joined_numbers(connection, work)
    found = [_stored_person(connection, work, raw_dir.parent, joined, trimmed(number)) for number in numbers]
    named = _names_of(connection, work, raw_dir, tenant, found) if found else {}
    return [_with_keys(connection, work, person, named) for person in found]


def _stored_person(connection: Connection, work: Work, home: Path, joined: Mapping[str, str], number: str) -> Person:
    """A person by what is stored under the number of now, with keys that know of nobody."""
    current = joined.get(number, number)
    of_person = (current, *(old for old, new in joined.items() if new == current))
    table = students.c
    rows = connection.execute(
        sa.select(table.id, table.first_name, table.last_name).where(
            table.tenant_id == work.tenant, table.district_id.in_(of_person)
        )
    ).all()
    ids = tuple(row.id for row in rows)
    scored = connection.scalars(sa.select(predictions.c.id).where(predictions.c.student_id.in_(ids))) if ids else ()
    names = tuple(dict.fromkeys((row.first_name, row.last_name) for row in rows))
    return Person(number, of_person, ids, names, tuple(scored), key_for(home, work.tenant))


def _names_of(
    connection: Connection, work: Work, raw_dir: Path, tenant: TenantSettings, people: Sequence[Person]
) -> dict[str, set[tuple[str, str]]]:
    """By number the names that students had in earlier versions of their rows, and in the rows as delivered."""
    names: dict[str, set[tuple[str, str]]] = {number: set() for person in people for number in person.numbers}
    images = changes.images.c
    for person in people:
        mine = sa.and_(
            images.tenant_id == work.tenant,
            images.table_name == students.name,
            images.student_id.in_(person.ids),
            images.image.is_not(None),
        )
        for image in connection.scalars(sa.select(images.image).where(mine)):
            names[person.numbers[0]].add((image.get("first_name") or "", image.get("last_name") or ""))
    for archive in archives(connection, work, raw_dir):
        if archive.table == students.name:
            for number, first, last in names_in(archive, names.keys(), people[0].keys, tenant):
                names[number].add((first, last))
    return names


def _with_keys(
    connection: Connection, work: Work, person: Person, named: Mapping[str, Collection[tuple[str, str]]]
) -> Person:
    """The person with the names of other times, what is named after them, and keys that recognise their rows."""
    had = {pair for number in person.numbers for pair in named[number] if any(pair)}
    person = replace(person, other_names=tuple(sorted(had.difference(person.names))))
    files, columns = _named_after(connection, work, person)
    keys = person.keys
    hashes = {
        *(keys.hash_of("student", one) for one in person.numbers),
        *(keys.hash_of("name", names_key(*pair)) for pair in person.every_name),
        *(keys.hash_of("prediction", prediction_key(str(one))) for one in person.predictions),
        *(keys.hash_of("record", record_key(name, source)) for name, source in _source_records(connection, person)),
        *(keys.hash_of("file", name) for name in files),
        *(keys.hash_of("column", name) for name in columns),
    }
    return replace(person, keys=keys.with_hashes(hashes), file_names=tuple(files), columns=tuple(columns))


def together(people: Sequence[Person]) -> Person:
    """Several people as one, for what is done with all of them at once."""
    first = people[0]
    return Person(
        "",
        tuple(number for one in people for number in one.numbers),
        tuple(identifier for one in people for identifier in one.ids),
        tuple(names for one in people for names in one.names),
        tuple(scored for one in people for scored in one.predictions),
        first.keys.with_hashes({value for one in people for value in one.keys.hashes}),
        tuple(dict.fromkeys(name for one in people for name in one.file_names)),
        tuple(dict.fromkeys(name for one in people for name in one.columns)),
        tuple(names for one in people for names in one.other_names),
    )


def rows_about(name: str, person: Person) -> sa.ColumnElement[bool]:
    """The condition on rows of a table of `STORED_TABLES` that are about the student. The tenant is the caller's."""
    table = metadata.tables[name]
    column = student_column(TABLES[name])
    if name == students.name:
        return table.c.id.in_(person.ids)
    if column == "student_id":
        return table.c.student_id.in_(person.ids)
    if column == "prediction_id":
        scored = sa.select(predictions.c.id).where(predictions.c.student_id.in_(person.ids))
        return table.c.prediction_id.in_(scored)
    return sa.or_(*(table.c[one].in_(person.numbers) for one in NUMBER_COLUMNS if one in table.c))


def _source_records(connection: Connection, person: Person) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name in STORED_TABLES:
        table = metadata.tables[name]
        if SOURCE_RECORD not in table.c or not person.ids:
            continue
        query = sa.select(table.c[SOURCE_RECORD]).where(rows_about(name, person), table.c[SOURCE_RECORD].is_not(None))
        found += [(name, source) for source in connection.scalars(query)]
    return found


def _named_after(connection: Connection, work: Work, person: Person) -> tuple[list[str], list[str]]:
    """Names of landed files, and unknown headers, that hold the student's number or last name."""
    column = ingested_files.c
    query = sa.select(column.file_name, column.unknown_columns).where(column.tenant_id == work.tenant)
    files: dict[str, None] = {}
    columns: dict[str, None] = {}
    for name, unknown in connection.execute(query):
        if person.is_named_in(name):
            files[name] = None
        columns.update({header: None for header in unknown or () if person.is_named_in(header)})
    return list(files), list(columns)
