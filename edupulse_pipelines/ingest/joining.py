"""Joining two numbers of one child, and taking that back: what a person says with `edupulse students merge`.

From then on every delivery's rows under the number that is given up are read as the joined child's. The records of both
are made anew from all deliveries (`rebuild`), so that it makes no difference when it was said; predictions and the
verdicts on them are moved, and moved back.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.errors import PermanentError
from edupulse_pipelines.ingest.identity import settle
from edupulse_pipelines.ingest.names import NAMED_BY
from edupulse_pipelines.ingest.rebuild import deliveries_naming, rebuild
from edupulse_pipelines.ingest.table_load import TableLoad
from edupulse_pipelines.ingest.take_back import taken_back
from edupulse_pipelines.schema.delivery import DELIVERED
from edupulse_pipelines.schema.sqlalchemy_tables import (
    predictions,
    review_proposals,
    student_features,
    students,
    training_feedback,
)
from edupulse_pipelines.schema.tables import RECORD_TABLES
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.storage import numbers
from edupulse_pipelines.storage.turns import take_turn
from edupulse_pipelines.storage.work import Work

_ABOUT_STUDENTS = tuple(name for name in RECORD_TABLES if DELIVERED[name].record.about_students)


def join(work: Work, raw_dir: Path, tenant: TenantSettings, old: str, new: str, reason: str) -> None:
    """Join the child of number `old` to that of `new`, with every record; saying it again finishes what was begun.

    PermanentError when one of them is not there, or is joined otherwise already.
    """
    with work.reading() as connection:
        joined = numbers.joined_numbers(connection, work)
        ids = _ids(connection, work, (old, new))
    if old == new:
        raise PermanentError("The two numbers are one.")
    if joined.get(old, new) != new:
        raise PermanentError("The old number is joined to another one already; `edupulse students list` shows them.")
    if new in joined or old in joined.values():
        raise PermanentError(
            "One of the numbers is joined to a third one; join that, or take the other joining back first "
            "(`edupulse students list`)."
        )
    if old not in ids or new not in ids:
        raise PermanentError("No student of the district has one of these numbers.")
    for table in ("students", *_ABOUT_STUDENTS):  # before anything is written: every archive has to be there
        deliveries_naming(TableLoad(work, raw_dir, tenant, table), {old, new})
    with work.writing() as connection:
        take_turn(connection, work, RECORD_TABLES)
        if old not in joined:
            moved = _move_predictions(connection, work, ids[old], ids[new])
            numbers.note_merge(connection, work, old, new, reason, moved)
        connection.execute(student_features.delete().where(student_features.c.student_id == ids[old]))
        # Not a student of its own any more; as old as the row, so that no later snapshot seems to lack it.
        connection.execute(
            students.update().where(students.c.id == ids[old]).values(deleted_on=students.c.delivered_on)
        )
    _make_anew(work, raw_dir, tenant, old, new, {new})


def part(work: Work, raw_dir: Path, tenant: TenantSettings, old: str) -> None:
    """Take back that the number `old` was joined to another one. PermanentError when it is not."""
    with work.reading() as connection:
        merge = next((one for one in numbers.merges(connection, work) if one.in_force and one.old_number == old), None)
        ids = {} if merge is None else _ids(connection, work, (old, merge.new_number))
    if merge is None:
        raise PermanentError("The number is joined to no other one; `edupulse students list` shows those that are.")
    new = merge.new_number
    for table in ("students", *_ABOUT_STUDENTS):
        deliveries_naming(TableLoad(work, raw_dir, tenant, table), {old, new})
    with work.writing() as connection:
        take_turn(connection, work, RECORD_TABLES)
        numbers.note_undone(connection, work, merge)
        _move_back(connection, ids[old], merge.moved or {})
    _make_anew(work, raw_dir, tenant, old, new, {old, new})


def look_alikes(work: Work) -> list[list[str]]:
    """The numbers of students who have the same names and date of birth, those joined already aside; sorted."""
    named_by = [students.c[name] for name in NAMED_BY]
    standing = [students.c.tenant_id == work.tenant, students.c.deleted_on.is_(None)]
    several = sa.select(*named_by).where(*standing).group_by(*named_by).having(sa.func.count() > 1).subquery()
    same = sa.and_(*(column == several.c[column.name] for column in named_by))
    query = sa.select(students.c.district_id, *named_by).join(several, same).where(*standing)
    groups: dict[tuple[Any, ...], list[str]] = {}
    with work.reading() as connection:
        for number, *named in connection.execute(query):
            groups.setdefault(tuple(named), []).append(number)
    return sorted(sorted(group) for group in groups.values())


def _make_anew(work: Work, raw_dir: Path, tenant: TenantSettings, old: str, new: str, anew: set[str]) -> None:
    """Make students and records of both numbers anew from every delivery; one transaction a table.

    What a person has taken back of enrolments under either number stays taken back, of whomever it is now.
    """
    with work.reading() as connection:
        of_both = [one for of in taken_back(connection, work, {old, new}).values() for one in of]
    settle(TableLoad(work, raw_dir, tenant, "students"), anew, dict.fromkeys(sorted(anew), of_both))
    for table in _ABOUT_STUDENTS:
        load = TableLoad(work, raw_dir, tenant, table)
        deliveries = deliveries_naming(load, {old, new})
        with load.writing() as connection:
            rebuild(connection, load, {old, new}, deliveries, taken_back_before=dict.fromkeys((old, new), of_both))


def _ids(connection: Connection, work: Work, of: tuple[str, ...]) -> dict[str, uuid.UUID]:
    query = sa.select(students.c.district_id, students.c.id).where(
        students.c.tenant_id == work.tenant, students.c.district_id.in_(of)
    )
    return {row.district_id: row.id for row in connection.execute(query)}


def _move_predictions(connection: Connection, work: Work, old: uuid.UUID, new: uuid.UUID) -> dict[str, Any]:
    """Give the predictions of `old` to `new`; where both have one, only what people said of it. What was moved."""
    of = predictions.c
    query = sa.select(of.id, of.feature_date, of.model_version)
    theirs = {
        (row.feature_date, row.model_version): row.id for row in connection.execute(query.where(of.student_id == new))
    }
    moved: dict[str, Any] = {"predictions": [], "said": []}
    for row in connection.execute(
        sa.select(of.id, of.feature_date, of.model_version).where(of.student_id == old)
    ).all():
        twin = theirs.get((row.feature_date, row.model_version))
        if twin is None:
            connection.execute(predictions.update().where(of.id == row.id).values(student_id=new))
            moved["predictions"].append(str(row.id))
            continue
        for table in (training_feedback, review_proposals):
            has_one = sa.select(table.c.id).where(table.c.prediction_id == twin)
            if table is review_proposals and connection.scalar(has_one.limit(1)) is not None:
                continue
            mine = connection.scalars(sa.select(table.c.id).where(table.c.prediction_id == row.id)).all()
            if mine:
                connection.execute(table.update().where(table.c.id.in_(mine)).values(prediction_id=twin))
                moved["said"] += [[table.name, str(one), str(row.id)] for one in mine]
    return moved


def _move_back(connection: Connection, old: uuid.UUID, moved: Mapping[str, Any]) -> None:
    for text in moved.get("predictions", []):
        connection.execute(predictions.update().where(predictions.c.id == uuid.UUID(text)).values(student_id=old))
    tables = {table.name: table for table in (training_feedback, review_proposals)}
    for name, one, prediction in moved.get("said", []):
        table = tables[name]
        connection.execute(
            table.update().where(table.c.id == uuid.UUID(one)).values(prediction_id=uuid.UUID(prediction))
        )
