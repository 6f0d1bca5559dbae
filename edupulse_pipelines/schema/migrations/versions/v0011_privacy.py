"""What is known of disclosures, erasures and legal holds; and how many rows of a file belong to erased students.

Nobody has been erased before: every file has 0.
"""

from __future__ import annotations

from edupulse_pipelines.schema.migrations.scripts import run_script

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables and the column."""
    run_script(__file__)


def downgrade() -> None:
    """Not offered: who has been erased would come back with the next delivery; restore a backup instead."""
    raise RuntimeError("0011 cannot be undone; restore a backup instead")
