"""The comments of tables and columns, on PostgreSQL; SQLite has none."""

from __future__ import annotations

from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import SetColumnComment, SetTableComment

from edupulse_pipelines.schema.objects.declared import DeclaredObject
from edupulse_pipelines.schema.sqlalchemy_tables import metadata


def comments_on(table_name: str) -> list[DeclaredObject]:
    """The comment of a declared table, then those of its columns, as PostgreSQL takes them."""
    table = metadata.tables[table_name]
    elements: list[tuple[str, SetTableComment | SetColumnComment]] = [
        (table_name, SetTableComment(table)),
        *((f"{table_name}.{column.name}", SetColumnComment(column)) for column in table.columns),
    ]
    return [
        DeclaredObject(
            kind="comment",
            name=name,
            table=table_name,
            statement=str(element.compile(dialect=postgresql.dialect())).strip(),
        )
        for name, element in elements
    ]
