"""The manifest keeps the hash of every archive, so that one that has lost a bit is noticed before its rows are judged.

NULL for the archives that are there already: they get one when they are next read.
"""

from __future__ import annotations

from edupulse_pipelines.schema.migrations.scripts import run_script

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    run_script(__file__)


def downgrade() -> None:
    """Not offered: restore a backup instead."""
    raise RuntimeError("0008 cannot be undone; restore a backup instead")
