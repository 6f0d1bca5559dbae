"""What retention has taken away: of whom, by table, and the certificates. Nothing has been taken away before."""

from __future__ import annotations

from edupulse_pipelines.schema.migrations.scripts import run_script

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables."""
    run_script(__file__)


def downgrade() -> None:
    """Not offered: what was taken away would come back with the next delivery; restore a backup instead."""
    raise RuntimeError("0013 cannot be undone; restore a backup instead")
