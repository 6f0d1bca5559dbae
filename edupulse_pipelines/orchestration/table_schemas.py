"""Dagster column schemas (`dagster/column_schema`) from the declaration of the tables, with constraints and PII."""

from __future__ import annotations

from dagster import TableColumn, TableColumnConstraints, TableConstraints, TableSchema

from edupulse_pipelines.schema.declaration import Column, Table
from edupulse_pipelines.schema.delivery import DeliveredTable

PROVENANCE = (
    TableColumn(name="_line_number", type="integer", description="The row's first line in the file; header = 1."),
    TableColumn(name="_problem", type="string", description="Why the row does not fit the header; else NULL."),
    TableColumn(name="_fields", type="string", description="The fields of such a row, as a JSON list."),
)
"""What the archive adds to the delivered columns (`ingest.archive`)."""


def table_schema(table: Table) -> TableSchema:
    """The columns of a database table, with what the declaration demands of each."""
    single = {unique.columns[0] for unique in table.uniques if len(unique.columns) == 1 and unique.where is None}
    if len(table.primary_key) == 1:
        single.add(table.primary_key[0])
    columns = [
        TableColumn(
            name=column.name,
            type=column.type,
            description=column.comment,
            constraints=TableColumnConstraints(
                nullable=column.nullable, unique=column.name in single, other=_rules(column)
            ),
            tags={} if column.pii == "none" else {"pii": column.pii},
        )
        for column in table.columns
    ]
    return TableSchema(columns=columns, constraints=TableConstraints(other=_table_rules(table)))


def raw_schema(table: DeliveredTable) -> TableSchema:
    """The columns of a table's raw archive: what a file may carry, as text, and where each row stood."""
    delivered = [
        TableColumn(
            name=column.name,
            type="string",
            description=column.comment,
            constraints=TableColumnConstraints(
                other=["the file is refused without it"] if column.name in table.required else []
            ),
            tags={} if column.pii == "none" else {"pii": column.pii},
        )
        for column in table.columns
    ]
    return TableSchema(columns=[*delivered, *PROVENANCE])


def _rules(column: Column) -> list[str]:
    rules = []
    if column.minimum is not None and column.maximum is not None and column.maximum < 2**31 - 1:
        rules.append(f"between {column.minimum:g} and {column.maximum:g}")
    elif column.minimum is not None:
        rules.append(f"at least {column.minimum:g}")
    elif column.maximum is not None:
        rules.append(f"at most {column.maximum:g}")
    if column.maximum_unweighted is not None:
        rules.append(f"at most {column.maximum_unweighted:g} on an unweighted scale")
    if column.values:
        rules.append("one of " + ", ".join(column.values))
    if column.length:
        rules.append(f"at most {column.length} characters")
    return rules


def _table_rules(table: Table) -> list[str]:
    rules = [f"primary key ({', '.join(table.primary_key)})"]
    for unique in table.uniques:
        names = ", ".join(f"coalesce({name}, -1)" if name == unique.coalesce else name for name in unique.columns)
        rules.append(f"unique ({names})" + (f" where {unique.where}" if unique.where else ""))
    rules += [
        f"({', '.join(key.columns)}) references {key.table} ({', '.join(key.references)})" for key in table.foreign_keys
    ]
    return rules
