"""The initial schema: the seed's eight tables and the five the house needs.

The statements lie beside this module, one file a dialect, as they were when the step was released.
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make every table, index and trigger in an empty database."""
    connection = op.get_bind()
    script = Path(__file__).with_name(f"v0001_initial.{connection.dialect.name}.sql").read_text(encoding="utf-8")
    for statement in script.split("\n\n--;\n\n"):
        connection.exec_driver_sql(statement)


def downgrade() -> None:
    """There is no schema to go back to; drop the database instead of its children's records one by one."""
    raise RuntimeError("0001 is the first revision; there is nothing before it")
