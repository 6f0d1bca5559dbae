"""For tests that write students straight into the database: the enrolments that their deliveries would open."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from edupulse_pipelines.schema.sqlalchemy_tables import enrollments, students
from edupulse_pipelines.storage.ids import new_ids


def enrol(connection: sa.Connection, tenant: str) -> None:
    """Let every student of the tenant have the one enrolment that `enrollment_date` and `exit_date` speak of."""
    table = students.c
    connection.execute(sa.delete(enrollments).where(enrollments.c.tenant_id == tenant))
    found = connection.execute(
        sa.select(table.id, table.enrollment_date, table.exit_date, table.exit_type, table.delivered_on).where(
            table.tenant_id == tenant
        )
    ).all()
    rows: list[dict[str, Any]] = [
        {
            "id": one,
            "tenant_id": tenant,
            "student_id": row.id,
            "entry_date": row.enrollment_date,
            "exit_date": row.exit_date,
            "exit_type": row.exit_type,
            "origin": "student",
            "first_delivered_on": row.delivered_on,
            "delivered_on": row.delivered_on,
        }
        for one, row in zip(new_ids(len(found)), found, strict=True)
    ]
    if rows:
        connection.execute(sa.insert(enrollments), rows)
