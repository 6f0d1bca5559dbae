"""Which piece of work a grade is for, and by when it was due. Rows stay as they are, without either."""

from __future__ import annotations

from edupulse_pipelines.schema.migrations.scripts import run_script

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns."""
    run_script(__file__)


def downgrade() -> None:
    """Not offered: versions before this one do not write these columns; restore a backup instead."""
    raise RuntimeError("0015 cannot be undone; restore a backup instead")
