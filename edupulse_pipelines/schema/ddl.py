"""The whole schema as SQL text, per dialect: tables, indexes, comments and the triggers that keep `updated_at`.

`python -m edupulse_pipelines.schema.ddl` writes `sql/schema/*.sql`; a test keeps the files equal to what this makes.
Runs nothing against a database; `migrations` does.
"""

from __future__ import annotations

import sys
from pathlib import Path

from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.schema import CreateIndex, CreateTable, SetColumnComment, SetTableComment

from edupulse_pipelines.schema.sqlalchemy_tables import metadata
from edupulse_pipelines.schema.tables import TABLES

DIALECTS: dict[str, Dialect] = {"postgresql": postgresql.dialect(), "sqlite": sqlite.dialect()}

_TOUCH_FUNCTION = """CREATE FUNCTION edupulse_touch_updated_at() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END
$$"""


def statements(dialect_name: str) -> list[str]:
    """The statements, in order and without a closing semicolon, that make the schema in an empty database."""
    dialect = DIALECTS[dialect_name]
    made: list[str] = []
    if dialect_name == "postgresql":
        made.append(_TOUCH_FUNCTION)
    for name, declared in TABLES.items():
        table = metadata.tables[name]
        made.append(str(CreateTable(table).compile(dialect=dialect)).strip())
        made.extend(
            str(CreateIndex(index).compile(dialect=dialect)).strip()
            for index in sorted(table.indexes, key=lambda index: str(index.name))
        )
        if dialect_name == "postgresql" and declared.partition_by_month:
            # Months are made by `storage.months`; what no month claims lands here and raises an alert.
            made.append(f"CREATE TABLE {name}_default PARTITION OF {name} DEFAULT")
        if dialect_name == "postgresql":
            made.append(str(SetTableComment(table).compile(dialect=dialect)).strip())
            made.extend(str(SetColumnComment(column).compile(dialect=dialect)).strip() for column in table.columns)
        if declared.touched_at:
            made.append(_touch_trigger(name, dialect_name))
    return ["\n".join(line.rstrip() for line in statement.expandtabs(4).splitlines()) for statement in made]


_BOOKKEEPING = {"id", "tenant_id", "delivered_on", "field_deliveries", "created_at", "updated_at"}
"""Columns whose change does not make a row a changed record."""


def _touch_trigger(table: str, dialect_name: str) -> str:
    columns = ", ".join(name for name in TABLES[table].column_names if name not in _BOOKKEEPING)
    if dialect_name == "postgresql":
        return (
            f"CREATE TRIGGER tr_{table}_updated_at BEFORE UPDATE OF {columns}\n"
            f"ON {table} FOR EACH ROW EXECUTE FUNCTION edupulse_touch_updated_at()"
        )
    # SQLite cannot change NEW; it updates the row once more, in a column that this trigger does not watch.
    return (
        f"CREATE TRIGGER tr_{table}_updated_at AFTER UPDATE OF {columns}\n"
        f"ON {table} FOR EACH ROW\n"
        f"BEGIN\n"
        f"    UPDATE {table} SET updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') WHERE rowid = NEW.rowid;\n"
        f"END"
    )


def script(dialect_name: str) -> str:
    """The schema as one readable file."""
    title = {"postgresql": "PostgreSQL", "sqlite": "SQLite"}[dialect_name]
    head = f"-- The schema of EduPulse on {title}.\n"
    head += "-- Generated from edupulse_pipelines/schema/tables.py by `make sql`; do not edit.\n\n"
    return head + "\n\n".join(f"{statement};" for statement in statements(dialect_name)) + "\n"


def write_scripts(folder: Path) -> None:
    """Write `<dialect>.sql` for each dialect into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in DIALECTS:
        (folder / f"{name}.sql").write_text(script(name), encoding="utf-8")


if __name__ == "__main__":
    write_scripts(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("sql/schema"))
