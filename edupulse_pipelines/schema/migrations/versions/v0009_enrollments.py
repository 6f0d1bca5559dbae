"""Schools and enrolments: tables for what districts send, and each student's interval becomes an enrolment.

Where a student's entry date was never sent (`field_deliveries` has null for it) the enrolment is an assumed one, which
begins with the first recorded event; its vectors are marked from there. Days of weekly activity are made anew, as only
those of an enrolment count. Rows of the other tables stay as they are.
"""

from __future__ import annotations

from edupulse_pipelines.schema.migrations.scripts import run_script

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables, and fill them from what is known of the students."""
    run_script(__file__)


def downgrade() -> None:
    """Not offered: versions before this one know one interval a student; restore a backup instead."""
    raise RuntimeError("0009 cannot be undone; restore a backup instead")
