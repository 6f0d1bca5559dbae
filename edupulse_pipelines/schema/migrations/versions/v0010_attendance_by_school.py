"""The school of attendance: a column, and part of what tells one record from another.

Rows stay as they are, without a school. Months that are detached get the column when they are brought back.
"""

from __future__ import annotations

from edupulse_pipelines.schema.migrations.scripts import run_script

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, the wider key, and the table of sessions with and without a school."""
    run_script(__file__)


def downgrade() -> None:
    """Not offered: without the school two records of a session would be one; restore a backup instead."""
    raise RuntimeError("0010 cannot be undone; restore a backup instead")
