"""What deliveries are believed to say: rows by week, snapshots, numbers in dispute or joined; incidents by student.

From which week on a domain is known is decided by the rows by week of each file, so every vector is computed again. An
incident's key gains the student, without a new id, so that data delivered again is unchanged. On SQLite the new columns
are the last ones of their tables, so that adding them needs no copy of them.
"""

from __future__ import annotations

import hashlib

import sqlalchemy as sa
from alembic import op

from edupulse_pipelines.schema.migrations.scripts import run_script

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add columns and tables; give incidents keys with their student."""
    run_script(__file__)
    connection = op.get_bind()
    # Made again with the other declared objects: a key that is spelled otherwise is no changed record.
    of_table = " ON discipline_incidents" if connection.dialect.name == "postgresql" else ""
    connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS tr_discipline_incidents_updated_at{of_table}")
    incidents, students = (
        sa.table(name, sa.column("id"), *map(sa.column, columns))
        for name, columns in (
            ("discipline_incidents", ("student_id", "record_key", "source_record_id")),
            ("students", ("district_id",)),
        )
    )
    keyed = (
        sa.select(incidents.c.id, incidents.c.source_record_id, students.c.district_id)
        .join(students, students.c.id == incidents.c.student_id)
        .where(incidents.c.record_key.like("id:%"), incidents.c.source_record_id.is_not(None))
    )
    rows = connection.execute(keyed).all()
    if not rows:
        return
    write = incidents.update().where(incidents.c.id == sa.bindparam("incident")).values(record_key=sa.bindparam("key"))
    # A new key may be the old one of a row that is still to come, and both are unique.
    connection.execute(write, [{"incident": row.id, "key": f"new:{place}"} for place, row in enumerate(rows)])
    connection.execute(
        write, [{"incident": row.id, "key": _key(row.source_record_id, row.district_id)} for row in rows]
    )


def _key(source: str, number: str) -> str:
    """As `ingest.frames.student_record_key` had it in this version."""
    key = f"id:{source}:{number}"
    if ":" not in number and len(key) <= 110:
        return key
    return "id#" + hashlib.blake2b(f"{len(source)}:{source}:{number}".encode(), digest_size=16).hexdigest()


def downgrade() -> None:
    """Not offered: versions before this one do not read these columns; restore a backup instead."""
    raise RuntimeError("0006 cannot be undone; restore a backup instead")
