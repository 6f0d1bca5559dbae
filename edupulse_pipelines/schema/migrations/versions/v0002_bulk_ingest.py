"""Bulk ingest: monthly partitions of attendance on PostgreSQL, records taken back, corrections of quarantined rows.

On SQLite every new column is the last one of its table, so that adding it needs no copy of the table.
"""

from __future__ import annotations

from edupulse_pipelines.schema.migrations.scripts import run_script

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns and the table, and move attendance into a partitioned table of the same name."""
    run_script(__file__)


def downgrade() -> None:
    """Not offered: corrections and deletions would be lost; restore a backup instead."""
    raise RuntimeError("0002 cannot be undone without losing corrections and deletions; restore a backup instead")
