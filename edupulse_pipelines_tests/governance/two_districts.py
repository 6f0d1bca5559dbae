"""A database of two districts with a row of each in every table, and what may be tried with these rows."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import uuid
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.schema.declaration import Column, Table
from edupulse_pipelines.schema.objects.guards import GUARDED
from edupulse_pipelines.schema.tables import TABLES

NORTH, SOUTH = "north", "south"
DAY = dt.date(2025, 9, 2)
_numbers = itertools.count(1)

Row = dict[str, Any]
Rows = dict[tuple[str, str], Row]
"""By table and district."""


def fill(connection: Connection) -> Rows:
    """Put a row of each district into every table of districts."""
    rows: Rows = {}
    for tenant in (NORTH, SOUTH):
        for name in GUARDED:
            rows[name, tenant] = another_row(TABLES[name], tenant, rows)
            connection.execute(insert_into(name, rows[name, tenant]), rows[name, tenant])
    return rows


def another_row(table: Table, tenant: str, rows: Rows) -> Row:
    """A row that the table takes, with every column that it demands, beside the district's rows that it names."""
    row: Row = {column.name: _value(column) for column in table.columns if not column.nullable and not column.default}
    if "id" in table.column_names:
        # Changes have numbers: here some that none will have that the triggers make.
        row["id"] = uuid.uuid4() if table.column("id").type == "guid" else 1_000_000 + next(_numbers)
    for key in table.foreign_keys:
        named = rows[key.table, tenant]
        row |= {
            column: named[other] for column, other in zip(key.columns, key.references, strict=True) if column in row
        }
    if table.name == "predictions":  # a probability or a rule's score: one of the two must be there
        row["rule_score"] = 0.5
    return row | {"tenant_id": tenant}


def _value(column: Column) -> object:
    number = next(_numbers)
    match column.type:
        case "guid":
            return uuid.uuid4()
        case "text":
            return column.values[0] if column.values else f"ZQ{number}"[: column.length or 50]
        case "integer" | "number":
            return column.minimum or 0
        case "date":
            return DAY
        case "boolean":
            return False
        case _:
            return json.dumps([])


def insert_into(name: str, row: Row) -> sa.TextClause:
    """The statement that puts a row like this into the table of this name (or a partition)."""
    return sa.text(f"INSERT INTO {name} ({', '.join(row)}) VALUES ({', '.join(f':{column}' for column in row)})")
