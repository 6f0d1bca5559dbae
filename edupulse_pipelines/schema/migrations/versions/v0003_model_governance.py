"""Model governance: evaluations in long form, promotion decisions, proposals for review, the reviewer of a verdict.

The statements lie beside this module, one file a dialect, as they were when the step was released. On SQLite every new
column is the last one of its table, so that adding it needs no copy of the table.
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables and the column."""
    connection = op.get_bind()
    written = Path(__file__).with_name(f"v0003_model_governance.{connection.dialect.name}.sql")
    script = written.read_text(encoding="utf-8")
    for statement in script.split("\n\n--;\n\n"):
        # PostgreSQL's driver reads a percent sign as the beginning of a parameter.
        connection.exec_driver_sql(
            statement.replace("%", "%%") if connection.dialect.name == "postgresql" else statement
        )


def downgrade() -> None:
    """Not offered: decisions and evaluations would be lost; restore a backup instead."""
    raise RuntimeError("0003 cannot be undone without losing decisions and evaluations; restore a backup instead")
