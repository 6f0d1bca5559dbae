"""The record of changes: its tables, and in every audited table the number of what wrote each row.

Rows that are there stay as they are: they are of change 0, and counted by table and district. Months that are detached
get the column when they are brought back.
"""

from __future__ import annotations

from edupulse_pipelines.schema.migrations.scripts import run_script

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables and the columns, and count what is there."""
    run_script(__file__)


def downgrade() -> None:
    """Not offered: the record of changes would be lost; restore a backup instead."""
    raise RuntimeError("0012 cannot be undone; restore a backup instead")
