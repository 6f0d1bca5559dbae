"""Predictions of the rule: a score of its own, and no probability before one could be learned.

SQLite cannot take a NOT NULL away, so that the table is made again, and with it those that name its rows. No row and
no value changes.
"""

from __future__ import annotations

from edupulse_pipelines.schema.migrations.scripts import run_script

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, and let probability and confidence be unknown together."""
    run_script(__file__)


def downgrade() -> None:
    """Not offered: versions before this one know no prediction without a probability; restore a backup instead."""
    raise RuntimeError("0014 cannot be undone; restore a backup instead")
