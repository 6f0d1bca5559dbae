"""Earlier versions of a student's rows, which the record of changes keeps (`audit_images`): found, shown, emptied.

Those of quarantined rows and of the manifest name the student in what they hold, as the rows themselves do. What the
versions of any one record are is in `audit_history`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.governance.audit_history import values_of
from edupulse_pipelines.governance.person import Person
from edupulse_pipelines.governance.quarantined import rows_recognised
from edupulse_pipelines.governance.register import NUMBER_COLUMNS, STORED_TABLES, student_column
from edupulse_pipelines.schema.tables import STATEMENTS_OF_A_CHANGE, TABLES
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.storage import changes
from edupulse_pipelines.storage.erased import ErasedKeys
from edupulse_pipelines.storage.work import Work

_WITHOUT_STUDENT_ID = (
    "quarantined_records",
    "ingested_files",
    *(name for name in STORED_TABLES if name != "students" and student_column(TABLES[name]) != "student_id"),
)
"""The tables whose versions stand without a student's id, and may be about a student."""
_IDS_AT_ONCE = 500


@dataclass(frozen=True)
class EarlierVersion:
    """A row as it was. until: when it was replaced or removed; None where nothing on record did it."""

    id: UUID
    table: str
    until: dt.datetime | None
    values: dict[str, Any]


def earlier_versions(
    connection: Connection, work: Work, person: Person, keys: ErasedKeys, tenant: TenantSettings
) -> Iterator[EarlierVersion]:
    """The versions of rows about the student, and of those that `keys` recognises; emptied ones are left out."""
    images, made = changes.images, changes.changes
    query = (
        sa.select(images.c.id, images.c.table_name, images.c.student_id, images.c.image, made.c.linked_at)
        .join(made, made.c.id == images.c.replaced_by // STATEMENTS_OF_A_CHANGE, isouter=True)
        .where(images.c.tenant_id == work.tenant, images.c.image.is_not(None))
        .order_by(images.c.table_name, made.c.link_number, images.c.id)
    )
    mine = query.where(sa.or_(images.c.student_id.in_(person.ids), images.c.table_name.in_(_WITHOUT_STUDENT_ID)))
    quarantined = []
    for row in connection.execute(mine).all():
        version = EarlierVersion(row.id, row.table_name, row.linked_at, values_of(row.table_name, row.image))
        if row.table_name == "quarantined_records":
            quarantined.append(version)
        elif row.student_id in person.ids or _names(version, person, keys):
            yield version
    looked_at = [SimpleNamespace(**version.values, version=version) for version in quarantined]
    recognised = {row.version.id for row in rows_recognised(connection, work, looked_at, keys, tenant)}
    yield from (
        version
        for version in quarantined
        if version.id in recognised or _of_erased_file(version.values["file_name"].partition("/")[2], keys)
    )


def empty_versions(connection: Connection, versions: list[EarlierVersion]) -> int:
    """Empty versions, and whatever this transaction has replaced itself; how many."""
    emptied = 0
    for start in range(0, len(versions), _IDS_AT_ONCE):
        some = [version.id for version in versions[start : start + _IDS_AT_ONCE]]
        emptied += changes.empty_images(connection, changes.images.c.id.in_(some))
    return emptied + changes.empty_images(connection, changes.replaced_here(connection))


def _names(version: EarlierVersion, person: Person, keys: ErasedKeys) -> bool:
    """Whether a version of a row that no student's id stands beside is about the student."""
    values = version.values
    if version.table == "ingested_files":
        return _of_erased_file(values["file_name"], keys) or any(
            keys.has("column", name) for name in values["unknown_columns"] or ()
        )
    if "prediction_id" in values:
        return values["prediction_id"] in {str(one) for one in person.predictions}
    return any(values.get(name) in person.numbers for name in NUMBER_COLUMNS)


def _of_erased_file(name: str, keys: ErasedKeys) -> bool:
    return keys.file_name(name) != name
