"""The initial schema: the seed's eight tables and the five the house needs."""

from __future__ import annotations

from edupulse_pipelines.schema.migrations.scripts import run_script

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make every table and index in an empty database."""
    run_script(__file__)


def downgrade() -> None:
    """There is no schema to go back to; drop the database instead of its children's records one by one."""
    raise RuntimeError("0001 is the first revision; there is nothing before it")
