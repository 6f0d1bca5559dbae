"""The tables of records as they were known at a moment: rows of today, and images of what has been replaced since.

A row counts as known at a moment when the change that wrote it had been committed, and the one that replaced it had
not. PostgreSQL has a function for each table, such as `students_as_recorded('2026-01-31 18:00+00')`; SQLite has no
functions, so there the same is a query (`recorded_rows`). Rows of change 0, from before changes were on record, count
as always known; erased rows are not there.
"""

from __future__ import annotations

from edupulse_pipelines.schema.objects.declared import DeclaredObject
from edupulse_pipelines.schema.row_contents import from_image
from edupulse_pipelines.schema.tables import RECORD_TABLES, STATEMENTS_OF_A_CHANGE, TABLES


def recorded_functions(schema: str) -> list[DeclaredObject]:
    """The functions, which need the tables to be there."""
    made = []
    for name in RECORD_TABLES:
        head = f"{name}_as_recorded(moment timestamp with time zone)"
        statement = f"""CREATE OR REPLACE FUNCTION {head} RETURNS SETOF {name}
LANGUAGE sql STABLE SET search_path = {schema}, pg_temp AS $$
    SELECT r.* FROM {name} r WHERE {_known("r.change_id", "moment")}
    UNION ALL
    SELECT r.*
    FROM audit_images i CROSS JOIN LATERAL jsonb_populate_record(CAST(NULL AS {name}), i.image) r
    WHERE i.table_name = '{name}' AND {_replaced_since("moment")}
$$"""
        made.append(DeclaredObject(kind="function", name=head, table=None, statement=statement))
    return made


def recorded_rows(table: str, dialect_name: str) -> str:
    """A query for the rows of a table as they were known at the moment `:moment`; its columns in declared order.

    table: one of which images are kept (`audit` is `whole`).
    """
    columns = TABLES[table].columns
    names = ", ".join(column.name for column in columns)
    if dialect_name == "postgresql" and table in RECORD_TABLES:
        return f"SELECT {names} FROM {table}_as_recorded(:moment)"
    values = ", ".join(f"{from_image(column, 'i.image', dialect_name)} AS {column.name}" for column in columns)
    return (
        f"SELECT {names} FROM {table} r WHERE {_known('r.change_id', ':moment')} UNION ALL SELECT {values}"
        f" FROM audit_images i WHERE i.table_name = '{table}' AND {_replaced_since(':moment')}"
    )


def _known(change_id: str, moment: str) -> str:
    known = f"{change_id} / {STATEMENTS_OF_A_CHANGE} IN (SELECT id FROM audit_changes WHERE linked_at <= {moment})"
    return f"({change_id} = 0 OR {known})"


def _replaced_since(moment: str) -> str:
    return f"i.image IS NOT NULL AND {_known('i.written_by', moment)} AND NOT {_known('i.replaced_by', moment)}"
