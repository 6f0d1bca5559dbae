"""The triggers that keep `updated_at`, those that refuse changes, and the functions that they call on PostgreSQL."""

from __future__ import annotations

from edupulse_pipelines.schema.objects.declared import DeclaredObject
from edupulse_pipelines.schema.tables import TABLES

PREFIX = "tr_"
"""How the names of our triggers begin."""

_SAME_RECORD = {"id", "tenant_id"}
"""Columns whose change does not make a row a changed record, beside those of bookkeeping."""

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


REFUSE_FUNCTION = DeclaredObject(
    kind="function",
    name="edupulse_refuse_change()",
    table=None,
    statement="""CREATE OR REPLACE FUNCTION edupulse_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of % are added and never changed or removed', TG_TABLE_NAME USING ERRCODE = '23001';
END
$$""",
)


def refusing_triggers(table: str, dialect_name: str) -> list[DeclaredObject]:
    """The triggers that refuse to change or remove a row of a table that is only added to."""
    if dialect_name == "postgresql":
        # After a row and not before it: what the policies of the table refuse is then refused by them.
        events = {"row": "AFTER UPDATE OR DELETE", "statement": "BEFORE TRUNCATE"}
        return [
            DeclaredObject(
                kind="trigger",
                name=f"{PREFIX}{table}_append_only_{each}",
                table=table,
                statement=(
                    f"CREATE OR REPLACE TRIGGER {PREFIX}{table}_append_only_{each} {event}\n"
                    f"ON {table} FOR EACH {each.upper()} EXECUTE FUNCTION edupulse_refuse_change()"
                ),
            )
            for each, event in events.items()
        ]
    return [
        DeclaredObject(
            kind="trigger",
            name=f"{PREFIX}{table}_no_{event.lower()}",
            table=table,
            statement=(
                f"CREATE TRIGGER {PREFIX}{table}_no_{event.lower()} BEFORE {event}\n"
                f"ON {table} FOR EACH ROW\n"
                f"BEGIN\n"
                f"    SELECT RAISE(ABORT, 'rows of {table} are added and never changed or removed');\n"
                f"END"
            ),
        )
        for event in ("UPDATE", "DELETE")
    ]


def touch_trigger(table: str, dialect_name: str) -> DeclaredObject:
    """The trigger that sets `updated_at` of a declared table when a row of it becomes another record."""
    name = f"{PREFIX}{table}_updated_at"
    columns = ", ".join(
        column.name for column in TABLES[table].columns if not column.bookkeeping and column.name not in _SAME_RECORD
    )
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
