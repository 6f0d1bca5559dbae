"""The one runner of a version's statements, which lie beside the version's module in one file a dialect."""

from __future__ import annotations

from pathlib import Path

from alembic import op

from edupulse_pipelines.schema.statement_files import statements


def run_script(version_module: str) -> None:
    """Execute the statements of `<version>.<dialect>.sql` beside the module that says `run_script(__file__)`."""
    connection = op.get_bind()
    script = Path(version_module).with_suffix(f".{connection.dialect.name}.sql").read_text(encoding="utf-8")
    for statement in statements(script):
        # Without parameters a percent sign is a percent sign.
        connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
