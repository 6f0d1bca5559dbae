"""Taking away what is over: rows of students who left so long ago that the district's periods have ended.

A student's exit is the end of the last enrolment; of who is enrolled, or of whom nobody has said when they left,
nothing is ever over. A legal hold wins. `students` takes everything of a student along, as an erasure does; every other
table loses the student's rows, with what is computed of them, in the database, in the archives, in refused files, in
kept bundles and in the quarantine. What is landed again leaves them out (`storage.removals`, `storage.erased`).

`proposed` counts and changes nothing. `execute` can be stopped at any moment and said again; it ends with a
certificate (`certificates`).
"""

from __future__ import annotations

import datetime as dt
import hashlib
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.errors import ConfigurationError
from edupulse_pipelines.features.enrolment import COMPUTED_FROM, read_students
from edupulse_pipelines.governance import archives, certificates, erasure
from edupulse_pipelines.governance.approval import two_people
from edupulse_pipelines.governance.audit_restate import recorded, restate
from edupulse_pipelines.governance.certificates import Certificate, Journal
from edupulse_pipelines.governance.earlier_versions import earlier_versions, empty_versions
from edupulse_pipelines.governance.holds import held_numbers
from edupulse_pipelines.governance.obstacles import KeptBack, demand_attached
from edupulse_pipelines.governance.person import Person, find_people, together
from edupulse_pipelines.governance.register import STORED_TABLES, student_column
from edupulse_pipelines.governance.taking_away import (
    delete_quarantined,
    mend_bundles,
    quarantined_lines,
    remove_refused,
    remove_unfinished,
    restate_accounts,
    rewritten_without,
)
from edupulse_pipelines.ingest.archived_file import hash_of_archive
from edupulse_pipelines.ingest.erased_rows import names_key, prediction_key
from edupulse_pipelines.schema.sqlalchemy_tables import metadata, predictions, students, training_feedback
from edupulse_pipelines.schema.tables import RECORD_TABLES, TABLES
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.settings.retention import RETAINED
from edupulse_pipelines.storage.bulk import id_batches, uuids
from edupulse_pipelines.storage.erased import ErasedKeys, key_for, note_erased, read_erased
from edupulse_pipelines.storage.months import PARTITIONED
from edupulse_pipelines.storage.numbers import joined_numbers
from edupulse_pipelines.storage.removals import begin_removal, drop_unfinished, end_removal, removed_before
from edupulse_pipelines.storage.rewriting import demand_rewriting, overwrite_deleted, rewrite
from edupulse_pipelines.storage.turns import take_turn
from edupulse_pipelines.storage.version_1 import refuse_while_old_tables_stand
from edupulse_pipelines.storage.work import Work
from edupulse_pipelines.whole_files import put_in_place

WHOLE = "students"
"""The table whose period is that of everything."""
_COMPUTED = ("student_features", "weekly_activity", "weekly_course_grades")
_ROWS: Mapping[str, tuple[str, ...]] = {
    "attendance_records": ("attendance_records", "attendance_statements"),
    "grades": ("grades",),
    "discipline_incidents": ("discipline_incidents",),
    "predictions": ("training_feedback", "review_proposals", "predictions"),
    "training_feedback": ("training_feedback",),
}
"""By table with a period the tables whose rows go, those that refer to others first."""
_ROSTER_MEMBERS: Mapping[str, tuple[str, ...]] = {"grades": ("results.csv",)}
"""The members of a OneRoster bundle that rows of a table are made of."""
_AT_ONCE = 200
"""Students who are erased in one transaction."""
_MEANWHILE = "Meanwhile a student has come back, or was put on hold: nothing was taken away. Say it again."


@dataclass(frozen=True)
class Over:
    """What is over in one district: by table (of `RETAINED`) the students and how many rows it has of them."""

    as_of: dt.date
    students: dict[str, list[uuid.UUID]] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    on_hold: int = 0
    """Students of whom something would be over, and who are on legal hold."""
    exit_unknown: int = 0
    """Students on record who are not enrolled, and of whom nobody has said when they left."""

    def __bool__(self) -> bool:
        return any(self.students.values())

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """By table how many students and rows; no student is named."""
        return {name: {"students": len(ids), "rows": self.rows[name]} for name, ids in self.students.items() if ids}


def years_after(day: dt.date, years: int) -> dt.date:
    """The same day so many years later; March 1 for a leap day that is not there."""
    try:
        return day.replace(year=day.year + years)
    except ValueError:
        return dt.date(day.year + years, 3, 1)


def proposed(work: Work, tenant: TenantSettings, as_of: dt.date) -> Over:
    """What is over on a day; nothing changes."""
    with work.reading() as connection:
        return _over(connection, work, tenant, as_of)


def execute(
    work: Work,
    raw_dir: Path,
    tenant: TenantSettings,
    as_of: dt.date,
    *,
    reason: str,
    approved_by: str | None,
    last_backup: str | None = None,
) -> Certificate | None:
    """Take away what is over, and sign it off; None when nothing is, and nothing was left to finish.

    last_backup: as the certificate names it; None where no backup is on record.

    ConfigurationError when nobody else has approved, or the district has set no period; PermanentError when the role
    may not rewrite tables, rows lie in a month that was taken out, or a student has come back or was put on hold.
    """
    approver = two_people(work, approved_by)
    if not tenant.retention.is_set:
        raise ConfigurationError(f"[tenants.{tenant.name}.retention] sets no period: nothing is ever over.")
    home = raw_dir.parent
    with work.reading() as connection:
        refuse_while_old_tables_stand(connection, "Retention")
        demand_rewriting(connection, erasure.TOUCHED)
        over = _over(connection, work, tenant, as_of)
        for name in (WHOLE, *PARTITIONED):
            demand_attached(connection, work, over.students.get(name, []))
        journal = certificates.open_journal(connection, work, home)
    if not over and journal is None:
        return None
    journal = journal or Journal.new()
    with work.writing() as connection:
        certificates.begin(connection, work, home, journal, reason, approver)
        for table in RETAINED[1:]:
            drop_unfinished(connection, work, table, over.students.get(table, []))
    run = _Run(work, raw_dir, tenant, as_of, journal, reason, approver)
    for table in RETAINED[1:]:
        if over.students.get(table):
            run.take_rows(table, over.students[table])
    whole = over.students.get(WHOLE, [])
    for start in range(0, len(whole), _AT_ONCE):
        run.take_whole(whole[start : start + _AT_ONCE])
    rewrite(work, erasure.TOUCHED)
    facts = {
        "last_backup": last_backup or certificates.NO_BACKUPS,
        "on_hold": over.on_hold,
        "exit_unknown": over.exit_unknown,
        "remains": list(erasure.remains(work, home)),
    }
    return certificates.sign(work, home, tenant.retention, as_of, journal, reason, approver, facts)


def _over(connection: Connection, work: Work, tenant: TenantSettings, as_of: dt.date) -> Over:
    people = read_students(connection, work, without_deleted=True, as_recorded=True)
    table = students.c
    query = sa.select(table.id, table.district_id).where(table.tenant_id == work.tenant)
    number_of = {row.id: row.district_id for row in connection.execute(query)}
    joined = joined_numbers(connection, work)
    held = {joined.get(number, number) for number in held_numbers(connection, work)}
    enrolled = people.enrolled
    has_any = enrolled.offsets[1:] > enrolled.offsets[:-1]
    # Who has no interval gets that of somebody else, and has not left either way.
    newest = enrolled.how[enrolled.offsets[1:] - 1].tolist() if len(enrolled.how) else [None] * len(people)
    found: dict[str, list[uuid.UUID]] = {name: [] for name in RETAINED}
    on_hold = 0
    for identifier, left, how in zip(uuids(people.ids), people.left.tolist(), newest, strict=True):
        names = [] if left is None else _tables_over(tenant, left, how, as_of)
        if names and number_of[identifier] in held:
            on_hold += 1
            continue
        for name in names:
            found[name].append(identifier)
    ids = {name: _not_done(connection, work, name, wanted) for name, wanted in found.items() if wanted}
    return Over(
        as_of,
        {name: of_table for name, of_table in ids.items() if of_table},
        {name: sum(_counts(connection, work, name, of_table).values()) for name, of_table in ids.items()},
        on_hold,
        int((~has_any).sum()),
    )


def _tables_over(tenant: TenantSettings, left: dt.date, how: str | None, as_of: dt.date) -> list[str]:
    """The tables in which the rows of a student who left on a day are over; only `WHOLE` where everything is."""
    over = [
        name
        for name in RETAINED
        if (years := tenant.retention.years(name, how)) is not None and years_after(left, years) <= as_of
    ]
    return [WHOLE] if WHOLE in over else over


def _not_done(connection: Connection, work: Work, name: str, ids: Sequence[uuid.UUID]) -> list[uuid.UUID]:
    """Those of the students whose rows have not been taken away before, or of whom there are new ones."""
    if name == WHOLE:
        return list(ids)
    done = removed_before(connection, work, name)
    again: set[uuid.UUID] = set()
    for batch in id_batches([one for one in ids if one in done]):
        of = _student_of(name)
        again.update(connection.scalars(of.where(_mine(work, name, batch))))
    return [one for one in ids if one not in done or one in again]


def _student_of(name: str) -> sa.Select[tuple[uuid.UUID]]:
    """Whose rows a table has."""
    table = metadata.tables[name]
    if "student_id" in table.c:
        return sa.select(table.c.student_id).distinct()
    return sa.select(predictions.c.student_id).distinct().join(table, table.c.prediction_id == predictions.c.id)


def _mine(work: Work, name: str, ids: Collection[uuid.UUID]) -> sa.ColumnElement[bool]:
    """The condition on rows of a table that are about these students."""
    table = metadata.tables[name]
    of_tenant = table.c.tenant_id == work.tenant
    if name == WHOLE:
        return sa.and_(of_tenant, table.c.id.in_(ids))
    if "student_id" in table.c:
        return sa.and_(of_tenant, table.c.student_id.in_(ids))
    scored = predictions.c
    of_them = sa.select(scored.id).where(scored.tenant_id == work.tenant, scored.student_id.in_(ids))
    return sa.and_(of_tenant, table.c.prediction_id.in_(of_them))


def _tables_of(name: str) -> tuple[str, ...]:
    """The tables that lose rows with the period of one of them; of students, those that name them by their id."""
    if name != WHOLE:
        return _ROWS[name]
    by_id = ("student_id", "prediction_id")
    return (WHOLE, *(one for one in STORED_TABLES if student_column(TABLES[one]) in by_id))


def _counts(connection: Connection, work: Work, name: str, ids: Sequence[uuid.UUID]) -> dict[str, int]:
    """By table how many rows there are of these students where the period of `name` is over."""
    counts = {}
    for one in _tables_of(name):
        query = sa.select(sa.func.count()).select_from(metadata.tables[one])
        counts[one] = sum(connection.scalar(query.where(_mine(work, one, part))) or 0 for part in id_batches(ids))
    return counts


@dataclass(frozen=True)
class _Run:
    """One execution: what every step of it shares."""

    work: Work
    raw_dir: Path
    tenant: TenantSettings
    as_of: dt.date
    journal: Journal
    reason: str
    approver: str

    def take_rows(self, name: str, ids: Sequence[uuid.UUID]) -> None:
        """Take these students' rows of one table away, and what is computed of them."""
        work, home = self.work, self.raw_dir.parent
        with work.writing() as connection:
            take_turn(connection, work, RECORD_TABLES)
            ids = self._still_over(connection, name, ids)
            if not ids:
                return
            begin_removal(connection, work, name, ids, self.as_of)
            if name not in COMPUTED_FROM:
                judged = self._predictions(connection, ids, only_judged=True)
                before = certificates.noted_keys(connection, self.journal)
                if judged or before:
                    note_erased(connection, work, home, self.journal.id, before | judged)
        with work.reading() as connection:
            keys = self._keys(connection, name, ids)
            delivered = name if name in COMPUTED_FROM else training_feedback.name
            kept = [one for one in archives.archives(connection, work, self.raw_dir) if one.table == delivered]
            lines = quarantined_lines(connection, work, self.tenant, keys)
            crowd = self._crowd(connection, ids)
        with rewritten_without(kept, keys, self.tenant, lines) as rewritten, work.writing() as connection:
            take_turn(connection, work, RECORD_TABLES)
            if self._still_over(connection, name, ids) != ids:
                raise KeptBack(_MEANWHILE)
            if name in PARTITIONED:
                demand_attached(connection, work, ids)
            remove_unfinished(work, self.raw_dir)
            remove_refused(work, self.raw_dir, crowd, (delivered,))
            if name in COMPUTED_FROM:
                mend_bundles(work, self.raw_dir, self.tenant, crowd, _ROSTER_MEMBERS.get(name, ()))
            overwrite_deleted(connection)
            as_recorded = recorded(connection, work.tenant)
            versions = [
                version
                for version in earlier_versions(connection, work, crowd, keys, self.tenant)
                if version.table in (*_ROWS[name], "quarantined_records")
            ]
            opened = delete_quarantined(connection, work, self.tenant, keys)
            self.journal.add_rows("quarantined_records", opened.pop(("", ""), 0))
            was = {archive.path: archive.entry.archive_sha256 for archive in kept if archive.entry is not None}
            restate_accounts(connection, kept, rewritten, opened)
            for path, temporary in rewritten.items():
                self.journal.add_archive(was.get(path), hash_of_archive(temporary))
            for table in (*_ROWS[name], *(_COMPUTED if name in COMPUTED_FROM else ())):
                self._delete(connection, table, ids)
            end_removal(connection, work, name, ids, dt.datetime.now(dt.UTC))
            self.journal.add_students(name, len(ids))
            self.journal.add_rows("earlier versions", len(versions))
            self.journal.add_rows("changes not as recorded", len(as_recorded.wrong))
            certificates.keep(connection, self.journal)
            for path, temporary in rewritten.items():
                put_in_place(temporary, path)
            empty_versions(connection, versions)
            restate(connection, as_recorded)

    def take_whole(self, ids: Sequence[uuid.UUID]) -> None:
        """Erase these students from every place."""
        work, home = self.work, self.raw_dir.parent
        with work.writing() as connection:
            take_turn(connection, work, RECORD_TABLES)
            ids = self._still_over(connection, WHOLE, ids)
            people = self._people(connection, ids)
            begun = [
                erasure.begin(
                    connection, work, home, person, self.reason, self.approver, self._noted(connection, person)
                )
                for person in people
            ]
        if not people:
            return
        crowd = together(people)

        def before(connection: Connection) -> None:
            if self._still_over(connection, WHOLE, ids) != ids:
                raise KeptBack(_MEANWHILE)
            for table in _tables_of(WHOLE):
                self._digest(connection, table, crowd.ids)

        def after(connection: Connection, taken: Mapping[str, int]) -> None:
            for place, count in taken.items():
                self.journal.add_rows(place, count)
            self.journal.add_students(WHOLE, len(people))
            certificates.keep(connection, self.journal)
            erasure.note_done(connection, [one.id for one in begun])

        erasure.take_away(work, self.raw_dir, self.tenant, crowd, begun, before=before, after=after)

    def _still_over(self, connection: Connection, name: str, ids: Sequence[uuid.UUID]) -> list[uuid.UUID]:
        """Those of the students who have not come back meanwhile, and are not on hold."""
        over = set(_over(connection, self.work, self.tenant, self.as_of).students.get(name, ()))
        return [one for one in ids if one in over]

    def _people(self, connection: Connection, ids: Sequence[uuid.UUID]) -> list[Person]:
        query = sa.select(students.c.district_id).where(students.c.id.in_(ids)).order_by(students.c.district_id)
        return find_people(connection, self.work, self.raw_dir, self.tenant, connection.scalars(query).all())

    def _noted(self, connection: Connection, person: Person) -> set[str]:
        """What of a student's keys is noted for good: of predictions those with a verdict, and no records."""
        hash_of = person.keys.hash_of
        return {
            *(hash_of("student", number) for number in person.numbers),
            *(hash_of("file", name) for name in person.file_names),
            *(hash_of("column", name) for name in person.columns),
            *(hash_of("name", names_key(*pair)) for pair in person.every_name),
            *self._predictions(connection, person.ids, only_judged=True),
        }

    def _keys(self, connection: Connection, name: str, ids: Sequence[uuid.UUID]) -> ErasedKeys:
        """What recognises the rows that are to go, and no others."""
        removed = {name: read_erased(connection, self.work, self.raw_dir.parent).removed[name]}
        hashes = () if name in COMPUTED_FROM else self._predictions(connection, ids)
        return key_for(self.raw_dir.parent, self.work.tenant).only(hashes, removed)

    def _predictions(self, connection: Connection, ids: Sequence[uuid.UUID], *, only_judged: bool = False) -> set[str]:
        """What the students' predictions, or those of them with a verdict, are recognised by."""
        keys = key_for(self.raw_dir.parent, self.work.tenant)
        found: set[str] = set()
        for batch in id_batches(list(ids)):
            query = sa.select(predictions.c.id).where(_mine(self.work, predictions.name, batch))
            if only_judged:
                query = query.where(predictions.c.id.in_(sa.select(training_feedback.c.prediction_id)))
            found |= {keys.hash_of("prediction", prediction_key(str(one))) for one in connection.scalars(query)}
        return found

    def _crowd(self, connection: Connection, ids: Sequence[uuid.UUID]) -> Person:
        """The students as one person."""
        numbers = [
            number
            for batch in id_batches(list(ids))
            for number in connection.scalars(sa.select(students.c.district_id).where(students.c.id.in_(batch)))
        ]
        return together(find_people(connection, self.work, self.raw_dir, self.tenant, numbers))

    def _delete(self, connection: Connection, name: str, ids: Sequence[uuid.UUID]) -> None:
        self._digest(connection, name, ids)
        table = metadata.tables[name]
        for batch in id_batches(list(ids)):
            self.journal.add_rows(
                name, connection.execute(table.delete().where(_mine(self.work, name, batch))).rowcount
            )

    def _digest(self, connection: Connection, name: str, ids: Sequence[uuid.UUID]) -> None:
        """Note the hash of the keys of the students' rows in a table: it proves which rows went, and tells none."""
        table = metadata.tables[name]
        keys: list[str] = []
        for batch in id_batches(list(ids)):
            query = sa.select(*table.primary_key.columns).where(_mine(self.work, name, batch))
            keys += ["|".join(map(str, row)) for row in connection.execute(query)]
        if keys:
            digest = hashlib.sha256("\n".join(sorted(keys)).encode()).hexdigest()
            self.journal.hashes.setdefault(name, []).append(digest)
