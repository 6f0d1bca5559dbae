"""The whole schema as SQL text, per dialect: tables and indexes, and with each table the objects declared on it.

`python -m edupulse_pipelines.schema.ddl` writes `sql/schema/*.sql`; a test keeps the files equal to what this makes.
Runs nothing against a database; `migrations` does.
"""

from __future__ import annotations

import sys
from itertools import takewhile
from pathlib import Path

from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.schema import CreateIndex, CreateTable

from edupulse_pipelines.schema.objects import declared_objects
from edupulse_pipelines.schema.objects.audit_sqlite import index_of_changes
from edupulse_pipelines.schema.sqlalchemy_tables import metadata
from edupulse_pipelines.schema.tables import AUDITED, TABLES

DIALECTS: dict[str, Dialect] = {"postgresql": postgresql.dialect(), "sqlite": sqlite.dialect()}


def statements(dialect_name: str, schema: str = "public") -> list[str]:
    """The statements, in order and without a closing semicolon, that make the schema in an empty database.

    schema: where the tables are to be, on PostgreSQL; the session has to make tables there.
    """
    objects = declared_objects(dialect_name, schema)
    before_tables = list(takewhile(lambda declared: declared.table is None, objects))
    script = [declared.statement for declared in before_tables]
    for name in TABLES:
        script += _structure(name, dialect_name)
        script += [declared.statement for declared in objects if declared.table == name]
    script += [declared.statement for declared in objects[len(before_tables) :] if declared.table is None]
    return ["\n".join(line.rstrip() for line in statement.expandtabs(4).splitlines()) for statement in script]


def _structure(name: str, dialect_name: str) -> list[str]:
    """The statements that make a table with its indexes; on PostgreSQL also the default one of its partitions."""
    dialect, table = DIALECTS[dialect_name], metadata.tables[name]
    structure = [str(CreateTable(table).compile(dialect=dialect)).strip()]
    structure += [
        str(CreateIndex(index).compile(dialect=dialect)).strip()
        for index in sorted(table.indexes, key=lambda index: str(index.name))
    ]
    if dialect_name == "postgresql" and TABLES[name].partition_by_month:
        # Months are structure by `storage.months`; what no month claims lands here and raises an alert.
        structure.append(f"CREATE TABLE {name}_default PARTITION OF {name} DEFAULT")
    if dialect_name == "sqlite" and name in AUDITED:
        structure.append(index_of_changes(name))
    return structure


def script(dialect_name: str) -> str:
    """The schema as one readable file."""
    title = {"postgresql": "PostgreSQL", "sqlite": "SQLite"}[dialect_name]
    head = f"-- The schema of EduPulse on {title}.\n"
    head += "-- Generated from edupulse_pipelines/schema/ by `make sql`; do not edit.\n\n"
    return head + "\n\n".join(f"{statement};" for statement in statements(dialect_name)) + "\n"


def write_scripts(folder: Path) -> None:
    """Write `<dialect>.sql` for each dialect into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in DIALECTS:
        (folder / f"{name}.sql").write_text(script(name), encoding="utf-8")


if __name__ == "__main__":
    write_scripts(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("sql/schema"))
