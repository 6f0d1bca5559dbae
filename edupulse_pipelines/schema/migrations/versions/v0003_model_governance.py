"""Model governance: evaluations in long form, promotion decisions, proposals for review, the reviewer of a verdict.

On SQLite every new column is the last one of its table, so that adding it needs no copy of the table.
"""

from __future__ import annotations

from edupulse_pipelines.schema.migrations.scripts import run_script

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables and the column."""
    run_script(__file__)


def downgrade() -> None:
    """Not offered: decisions and evaluations would be lost; restore a backup instead."""
    raise RuntimeError("0003 cannot be undone without losing decisions and evaluations; restore a backup instead")
