"""The triggers that keep `updated_at`, and the function that they call on PostgreSQL."""

from __future__ import annotations

from edupulse_pipelines.schema.objects.declared import DeclaredObject
from edupulse_pipelines.schema.tables import TABLES

PREFIX = "tr_"
"""How the names of our triggers begin."""

_BOOKKEEPING = {"id", "tenant_id", "first_delivered_on", "delivered_on", "field_deliveries", "created_at", "updated_at"}
"""Columns whose change does not make a row a changed record."""

TOUCH_FUNCTION = DeclaredObject(
    kind="function",
    name="edupulse_touch_updated_at()",
    table=None,
    statement="""CREATE OR REPLACE FUNCTION edupulse_touch_updated_at() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END
$$""",
)


def touch_trigger(table: str, dialect_name: str) -> DeclaredObject:
    """The trigger that sets `updated_at` of a declared table when a row of it becomes another record."""
    name = f"{PREFIX}{table}_updated_at"
    columns = ", ".join(column for column in TABLES[table].column_names if column not in _BOOKKEEPING)
    if dialect_name == "postgresql":
        statement = (
            f"CREATE OR REPLACE TRIGGER {name} BEFORE UPDATE OF {columns}\n"
            f"ON {table} FOR EACH ROW EXECUTE FUNCTION edupulse_touch_updated_at()"
        )
    else:
        # SQLite cannot change NEW; it updates the row once more, in a column that this trigger does not watch.
        statement = (
            f"CREATE TRIGGER {name} AFTER UPDATE OF {columns}\n"
            f"ON {table} FOR EACH ROW\n"
            f"BEGIN\n"
            f"    UPDATE {table} SET updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') WHERE rowid = NEW.rowid;\n"
            f"END"
        )
    return DeclaredObject(kind="trigger", name=name, table=table, statement=statement)
