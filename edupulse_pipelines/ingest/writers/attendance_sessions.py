"""Writing attendance of sessions that some deliveries name the school of and some do not: session by session.

What was said of such a session is kept in `attendance_statements`, and its records are made of that again with every
row about it (`session_statements` has the rules); also when it turns out later that the student was enrolled at several
schools on that day. All other attendance is written by column, in `attendance_changes`.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.ingest.frames import Mask
from edupulse_pipelines.ingest.references import Students
from edupulse_pipelines.ingest.writers.attendance_changes import KEY, place_of, staged_sessions, stored_records
from edupulse_pipelines.ingest.writers.attendance_rows import (
    FIELD_TYPES,
    FIELDS,
    PER_FIELD,
    TABLE,
    Rows,
    as_dates,
    empty_fields,
)
from edupulse_pipelines.ingest.writers.field_dates import EPOCH, NEVER, days_of_fields, field_deliveries
from edupulse_pipelines.ingest.writers.outcomes import INSERTED, UNCHANGED, UPDATED, Outcomes
from edupulse_pipelines.ingest.writers.session_statements import NO_SCHOOL, Said, Session
from edupulse_pipelines.schema.delivery import FIELD_DELIVERIES
from edupulse_pipelines.schema.sqlalchemy_tables import attendance_records, attendance_statements, enrollments
from edupulse_pipelines.schema.tables import TABLES
from edupulse_pipelines.storage.bulk import Place, copy_rows, read_rows, stage, update_rows
from edupulse_pipelines.storage.ids import id_texts, new_id_bytes
from edupulse_pipelines.storage.snapshots import snapshots
from edupulse_pipelines.storage.work import Work

Key = tuple[int, int, int]
"""Student (position among the students known), day since 1970 and period (-1: daily) of a session."""
_COLUMNS = [TABLES[TABLE].column(name) for name in FIELDS]
_JSON = {column.name for column in _COLUMNS if column.type == "json"}
_FOREVER = (dt.date(9999, 12, 31) - EPOCH).days


class SeveralSchools:
    """On which days each student is enrolled at several schools, by the enrolments that name one."""

    def __init__(self, connection: Connection, work: Work) -> None:
        table = enrollments.c
        query = sa.select(table.student_id, table.school_id, table.entry_date, table.exit_date).where(
            table.tenant_id == work.tenant, table.school_id.is_not(None), table.deleted_on.is_(None)
        )
        types = {"student": pa.string(), "school": pa.string(), "entry": pa.date32(), "exit": pa.date32()}
        rows = read_rows(connection, query, types)
        by_student: defaultdict[str, list[tuple[int, int, str]]] = defaultdict(list)
        entry, left = (rows[name].cast(pa.int32()).to_pylist() for name in ("entry", "exit"))
        for student, school, first, end in zip(
            rows["student"].to_pylist(), rows["school"].to_pylist(), entry, left, strict=True
        ):
            by_student[student].append((first, _FOREVER if end is None else end, school))
        self.spans = {student: spans for student, all_ in by_student.items() if (spans := _overlaps(all_))}
        """By student (id as the database writes it) the spans of days: first, and first after it."""

    def hold(self, student: str, day: int) -> bool:
        """Whether the student was enrolled at several schools on this day since 1970."""
        return any(first <= day < end for first, end in self.spans.get(student, ()))


def _overlaps(enrolled: list[tuple[int, int, str]]) -> list[tuple[int, int]]:
    return [
        (max(first, other_first), min(end, other_end))
        for number, (first, end, school) in enumerate(enrolled)
        for other_first, other_end, other in enrolled[:number]
        if school != other and max(first, other_first) < min(end, other_end)
    ]


@dataclass
class _Stored:
    """A record as it is stored, by its id."""

    id: str
    school: str
    said: Said


@dataclass
class _Changes:
    """What has to be written, session by session."""

    gone: list[tuple[str, int]] = field(default_factory=list)
    changed: list[tuple[str, Key, str, Said]] = field(default_factory=list)
    confirmed: list[tuple[str, Key, str, Said]] = field(default_factory=list)
    new: list[tuple[Key, str, Said]] = field(default_factory=list)
    statements: dict[Key, Session] = field(default_factory=dict)


class SessionWriter:
    """Writes the sessions that rows with and without a school are about, in the transaction of a delivery."""

    def __init__(self, connection: Connection, work: Work, students: Students) -> None:
        self._connection = connection
        self._work = work
        self._students = students
        self._several: SeveralSchools | None = None
        any_statement = sa.select(attendance_statements.c.tenant_id).where(
            attendance_statements.c.tenant_id == work.tenant
        )
        self.any_stored = connection.scalar(any_statement.limit(1)) is not None
        """Whether there is anything in `attendance_statements`."""

    @property
    def several(self) -> SeveralSchools:
        """The students' enrolments at several schools, read when they are first asked for."""
        if self._several is None:
            self._several = SeveralSchools(self._connection, self._work)
        return self._several

    @cached_property
    def _days_of_snapshots(self) -> list[int]:
        """The days of the snapshots, which take records back as no row does: each may come to be disbelieved."""
        every = snapshots(self._connection, self._work, TABLE)
        return [(snapshot.delivered_on - EPOCH).days for snapshot in every]

    def concerned(self, rows: Rows, stored: pa.Table) -> Mask:
        """Which of the rows are about sessions that have to be looked at here.

        stored: the records of the sessions of these rows, as `stored_records` gives them.
        """
        mine = rows.beside_others()
        if len(stored):
            at = stored["position"].to_numpy()
            other = rows.names_school[at] != stored["school_id"].is_valid().to_numpy()
            if self.any_stored:
                other |= np.isin(at, self._with_statement(rows))
            mine[at[other]] = True
        return mine

    def _with_statement(self, rows: Rows) -> Any:
        """The positions of rows whose session has a statement."""
        staged = staged_sessions(self._connection, rows, self._students)
        query = sa.select(staged.c.position).join_from(staged, attendance_statements, _same_session(staged))
        return read_rows(self._connection, query, {"position": pa.int64()})["position"].to_numpy()

    def write(self, place: Place, rows: Rows, day: int) -> tuple[Outcomes, Mask]:
        """Write rows of a delivery of this day; what became of each, and which take back a record that is not there.

        place: where the records of these rows are, or will be.
        """
        outcomes: Outcomes = np.full(len(rows), UNCHANGED, dtype=np.int8)
        unknown = np.zeros(len(rows), dtype=np.bool_)
        sessions, stored = self._sessions(place, rows)
        made = {key: session.records() for key, session in sessions.items()}
        schools, deleted = rows.school.to_pylist(), rows.deleted.tolist()
        values = {field_: column.to_pylist() for field_, column in rows.fields.items()}
        carried = {field_: np.broadcast_to(rows.carries(field_), len(rows)).tolist() for field_ in FIELDS}
        for number, key in enumerate(_keys(rows)):
            session, school = sessions[key], schools[number] or NO_SCHOOL
            if deleted[number]:
                unknown[number] = not session.take_back(school, day)
            else:
                said = {field_: values[field_][number] for field_ in FIELDS}
                session.give(school, said, [field_ for field_ in FIELDS if carried[field_][number]], day)
            after = session.records()
            if len(after) > len(made[key]):
                outcomes[number] = INSERTED
            elif not _same_records(made[key], after):
                outcomes[number] = UPDATED
            made[key] = after
        changes = _Changes()
        for key, session in sessions.items():
            self._compare(key, session, stored.get(key, []), changes)
        self._write(place, changes)
        return outcomes, unknown

    def make_anew(self, sessions: Rows) -> None:
        """Make the records of these sessions again, whose students may be enrolled otherwise; the rows say nothing."""
        place = place_of(TABLE, sessions)
        known, stored = self._sessions(place, sessions)
        changes = _Changes()
        for key, session in known.items():
            self._compare(key, session, stored.get(key, []), changes)
        self._write(place, changes)

    def _sessions(self, place: Place, rows: Rows) -> tuple[dict[Key, Session], dict[Key, list[_Stored]]]:
        """The sessions of the rows as they are known so far, and their records."""
        keys = _keys(rows)
        stored: dict[Key, list[_Stored]] = defaultdict(list)
        found = stored_records(self._connection, place, rows, self._students)
        seen: set[str] = set()
        for at, record in zip(found["position"].to_pylist(), _records(found), strict=True):
            if record.id not in seen:
                seen.add(record.id)
                stored[keys[at]].append(record)
        sessions = self._stated(rows, keys) if self.any_stored else {}
        for key in keys:
            if key not in sessions:
                sessions[key] = Session(
                    {record.school: replace(record.said, deleted=NEVER) for record in stored.get(key, [])},
                    {
                        record.school: record.said.deleted
                        for record in stored.get(key, [])
                        if record.said.deleted not in (NEVER, *self._days_of_snapshots)
                    },
                )
            student = self._students.texts(np.array([key[0]]))[0].as_py()
            sessions[key].at_several = self.several.hold(student, key[1])
        return sessions, stored

    def _stated(self, rows: Rows, keys: list[Key]) -> dict[Key, Session]:
        """What is stored of what was said of the sessions of these rows."""
        staged = staged_sessions(self._connection, rows, self._students)
        said = attendance_statements.c.said
        query = sa.select(staged.c.position, sa.cast(said, sa.Text()) if self._work.dialect == "postgresql" else said)
        found = read_rows(
            self._connection,
            query.join_from(staged, attendance_statements, _same_session(staged)),
            {"position": pa.int64(), "said": pa.string()},
        )
        return {
            keys[at]: Session.of_json(text, _COLUMNS, at_several=False)
            for at, text in zip(found["position"].to_pylist(), found["said"].to_pylist(), strict=True)
        }

    def _compare(self, key: Key, session: Session, stored: list[_Stored], changes: _Changes) -> None:
        """Take note of what has to be written of one session."""
        if session.is_mixed:
            changes.statements[key] = session
        wanted = session.records()
        free = {record.school: record for record in stored}
        kept = {school: free.pop(school) for school in wanted if school in free}
        for school in wanted:
            if school not in kept and free:
                kept[school] = free.pop(min(free))
        changes.gone += [(record.id, key[1]) for record in free.values()]
        for school, said in wanted.items():
            before = kept.get(school)
            # A snapshot may have taken the record back, which no row says.
            gone = [record.said.deleted for record in (stored if before is None else [before])]
            if gone and min(gone) > said.delivered:
                said.deleted = max(said.deleted, *gone)
            if before is None:
                changes.new.append((key, school, said))
                continue
            entry = (before.id, key, school, said)
            if before.school != school or not _same(before.said, said):
                changes.changed.append(entry)
            elif (before.said.delivered, before.said.days) != (said.delivered, said.days):
                changes.confirmed.append(entry)

    # Writing

    def _write(self, place: Place, changes: _Changes) -> None:
        """Write it: what is no more first, so that nothing new meets it."""
        table = sa.table(place.table, sa.column("id", attendance_records.c.id.type), sa.column("date", sa.Date()))
        for identifier, day in changes.gone:
            this = sa.and_(table.c.id == uuid.UUID(identifier), table.c.date == EPOCH + dt.timedelta(days=day))
            self._connection.execute(sa.delete(table).where(this))
        if changes.changed:
            ids, keys, schools, said = zip(*changes.changed, strict=True)
            columns = self._columns(keys, schools, said)
            rows = pa.table({"id": pa.array(ids, pa.string()), **columns})
            update_rows(
                self._connection, attendance_records, rows.drop_columns(["student_id", "period"]), place=place, key=KEY
            )
        if changes.confirmed:
            ids, keys, schools, said = zip(*changes.confirmed, strict=True)
            columns = self._columns(keys, schools, said)
            bookkeeping = ("date", "delivered_on", *((FIELD_DELIVERIES,) if PER_FIELD else ()))
            rows = pa.table({"id": pa.array(ids, pa.string()), **{one: columns[one] for one in bookkeeping}})
            update_rows(self._connection, attendance_records, rows, place=place, key=KEY)
        if changes.new:
            keys, schools, said = zip(*changes.new, strict=True)
            new = {
                "id": id_texts(new_id_bytes(len(keys)), self._work.dialect),
                "tenant_id": pa.array([self._work.tenant] * len(keys), pa.string()),
                **self._columns(keys, schools, said),
            }
            copy_rows(self._connection, place.table, pa.table(new))
        self._state(changes.statements)

    def _columns(self, keys: tuple[Key, ...], schools: tuple[str, ...], said: tuple[Said, ...]) -> dict[str, pa.Array]:
        """The columns of records of these sessions."""
        student, day, period = (np.array(column, dtype=np.int64) for column in zip(*keys, strict=True))
        fields = {name: pa.array([one.values[name] for one in said], type_) for name, type_ in FIELD_TYPES.items()}
        delivered = np.array([one.delivered for one in said], dtype=np.int64)
        deleted = np.array([one.deleted for one in said], dtype=np.int64)
        columns = {
            "student_id": self._students.texts(student),
            "date": as_dates(day),
            "period": pa.array(period, pa.int32(), mask=period < 0),
            "school_id": pa.array([school or None for school in schools], pa.string()),
            "delivered_on": as_dates(delivered),
            "deleted_on": pa.array(deleted.astype(np.int32), mask=deleted == NEVER).cast(pa.date32()),
            **fields,
        }
        if PER_FIELD:
            days = {name: np.array([one.days[name] for one in said], dtype=np.int64) for name in FIELDS}
            columns[FIELD_DELIVERIES] = field_deliveries(days, delivered, empty_fields(fields))
        return columns

    def _state(self, sessions: Mapping[Key, Session]) -> None:
        """Keep what was said of these sessions."""
        if not sessions:
            return
        self.any_stored = True
        student, day, period = (np.array(column, dtype=np.int64) for column in zip(*sessions, strict=True))
        count = len(sessions)
        rows = {
            "tenant_id": pa.array([self._work.tenant] * count, pa.string()),
            "student_id": self._students.texts(student),
            "date": as_dates(day),
            "period": pa.array(period, pa.int32()),
            "said": pa.array([session.as_json() for session in sessions.values()], pa.string()),
            "at_several": pa.array([session.at_several for session in sessions.values()], pa.bool_()),
        }
        keys = {name: rows[name] for name in ("student_id", "date", "period")}
        types = attendance_statements.c
        declared = {name: types[name].type.compile(dialect=self._connection.dialect) for name in keys}
        stage(self._connection, "staged_sessions", declared, pa.table(keys))
        staged = sa.table("staged_sessions", *map(sa.column, keys))
        replaced = sa.exists(sa.select(1).select_from(staged).where(_same_session(staged)))
        self._connection.execute(sa.delete(attendance_statements).where(replaced))
        copy_rows(self._connection, attendance_statements.name, pa.table(rows))


def changed_sessions(connection: Connection, work: Work) -> list[tuple[str, dt.date, int]]:
    """Student (id as the database writes it), date and period of the sessions whose records enrolments have overtaken.

    When they were made it was thought otherwise of the student, about being at several schools on that day.
    """
    table = attendance_statements.c
    of_tenant = sa.select(table.student_id, table.date, table.period, table.at_several).where(
        table.tenant_id == work.tenant
    )
    if connection.scalar(of_tenant.limit(1)) is None:
        return []
    several = SeveralSchools(connection, work)
    types = {"student": pa.string(), "date": pa.date32(), "period": pa.int64(), "at_several": pa.bool_()}
    stage(
        connection,
        "staged_several",
        {"student_id": table.student_id.type.compile(dialect=connection.dialect)},
        pa.table({"student_id": pa.array(sorted(several.spans), pa.string())}),
    )
    staged = sa.table("staged_several", sa.column("student_id", table.student_id.type))
    maybe = sa.or_(table.at_several, table.student_id.in_(sa.select(staged.c.student_id)))
    found = read_rows(connection, of_tenant.where(maybe), types)
    return [
        (student, day, period)
        for student, day, period, then in zip(*(found[name].to_pylist() for name in types), strict=True)
        if several.hold(student, (day - EPOCH).days) != then
    ]


def _same_session(staged: sa.TableClause) -> sa.ColumnElement[bool]:
    table = attendance_statements.c
    return sa.and_(*(table[name] == staged.c[name] for name in ("student_id", "date", "period")))


def _keys(rows: Rows) -> list[Key]:
    return list(zip(rows.student.tolist(), rows.date.tolist(), rows.period.tolist(), strict=True))


def _records(stored: pa.Table) -> list[_Stored]:
    """Records as `stored_records` gives them."""
    delivered = stored["delivered_on"].cast(pa.int32()).to_numpy().astype(np.int64)
    deleted = stored["deleted_on"].cast(pa.int32()).fill_null(NEVER).to_pylist()
    fields = {name: stored[name].combine_chunks() for name in FIELDS}
    days = dict.fromkeys(FIELDS, delivered)
    if PER_FIELD:
        days = days_of_fields(stored[FIELD_DELIVERIES], FIELDS, delivered, empty_fields(fields))
    values = {name: column.to_pylist() for name, column in fields.items()}
    of_field = {name: column.tolist() for name, column in days.items()}
    return [
        _Stored(
            identifier,
            school or NO_SCHOOL,
            Said(
                of_record,
                {name: values[name][number] for name in FIELDS},
                {name: of_field[name][number] for name in FIELDS},
                deleted[number],
            ),
        )
        for number, (identifier, school, of_record) in enumerate(
            zip(stored["id"].to_pylist(), stored["school_id"].to_pylist(), delivered.tolist(), strict=True)
        )
    ]


def _same_records(before: Mapping[str, Said], after: Mapping[str, Said]) -> bool:
    return before.keys() == after.keys() and all(_same(before[school], after[school]) for school in after)


def _same(before: Said, after: Said) -> bool:
    """Whether a record says the same, whichever deliveries it is from."""
    if (before.deleted == NEVER) != (after.deleted == NEVER):
        return False
    for name, value in after.values.items():
        old = before.values[name]
        if old != value and not (
            name in _JSON and None not in (old, value) and orjson.loads(old) == orjson.loads(value)
        ):
            return False
    return True
