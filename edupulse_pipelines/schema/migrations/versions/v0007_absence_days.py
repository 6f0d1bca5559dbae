"""Minutes of attendance, days of attendance beside the sessions of a week, and the label that a model learned.

Rows of weekly activity that are there have no days yet (NULL, never 0), and say so in `days_basis`; by that the next
run finds and computes them, but for weeks whose attendance was taken out of the table since. On SQLite attendance
becomes a new table, because the range of the minutes is a constraint.
"""

from __future__ import annotations

from edupulse_pipelines.schema.migrations.scripts import run_script

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns and mark the weeks."""
    run_script(__file__)


def downgrade() -> None:
    """Not offered: versions before this one do not read these columns; restore a backup instead."""
    raise RuntimeError("0007 cannot be undone; restore a backup instead")
