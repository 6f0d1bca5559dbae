"""The model book: what was kept among a model's hyperparameters and is a fact of its own becomes a column.

Data-through week, hashes, the promotion mark and where MLflow keeps the model move out of the JSON of existing rows.
On SQLite the new columns are the last ones of the table, so that adding them needs no copy of it.
"""

from __future__ import annotations

from edupulse_pipelines.schema.migrations.scripts import run_script

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns and move the facts."""
    run_script(__file__)


def downgrade() -> None:
    """Not offered: versions before this one do not read these columns; restore a backup instead."""
    raise RuntimeError("0004 cannot be undone; restore a backup instead")
