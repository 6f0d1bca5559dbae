"""Bulk ingest: monthly partitions of attendance on PostgreSQL, records taken back, corrections of quarantined rows.

The statements lie beside this module, one file a dialect, as they were when the step was released. On SQLite every new
column is the last one of its table, so that adding it needs no copy of the table.
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns and the table, and move attendance into a partitioned table of the same name."""
    connection = op.get_bind()
    script = Path(__file__).with_name(f"v0002_bulk_ingest.{connection.dialect.name}.sql").read_text(encoding="utf-8")
    for statement in script.split("\n\n--;\n\n"):
        # PostgreSQL's driver reads a percent sign as the beginning of a parameter.
        connection.exec_driver_sql(
            statement.replace("%", "%%") if connection.dialect.name == "postgresql" else statement
        )


def downgrade() -> None:
    """Not offered: corrections and deletions would be lost; restore a backup instead."""
    raise RuntimeError("0002 cannot be undone without losing corrections and deletions; restore a backup instead")
