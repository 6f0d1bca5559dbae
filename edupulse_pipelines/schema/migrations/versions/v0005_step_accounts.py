"""Step accounts: what each step of a run has done so far, so that a step that is tried again can tell it in all."""

from __future__ import annotations

from edupulse_pipelines.schema.migrations.scripts import run_script

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table."""
    run_script(__file__)


def downgrade() -> None:
    """Not offered: runs that are under way would lose what they have counted; restore a backup instead."""
    raise RuntimeError("0005 cannot be undone; restore a backup instead")
