"""What of a row goes into the record of changes, as expressions of SQL: its bytes, its key, its image.

The triggers that keep the record (`objects.audit`) and whoever checks or reads it say it in the same words. On
PostgreSQL the bytes of a row are those that a binary COPY of its audited columns sends for it, so that a loader can
hash what it sends. Nothing is run here.
"""

from __future__ import annotations

from collections.abc import Sequence

from edupulse_pipelines.schema.declaration import Column, Table
from edupulse_pipelines.schema.tables import STATEMENTS_OF_A_CHANGE

CHANGE_OF_INSERT = "CAST(coalesce(nullif(current_setting('app.audit_insert', true), ''), '0') AS bigint)"
"""PostgreSQL: the `change_id` of rows that the statement under way inserts."""
OPEN_CHANGE = f"coalesce((SELECT id * {STATEMENTS_OF_A_CHANGE} FROM audit_changes WHERE link IS NULL), 0)"
"""SQLite: the `change_id` of rows that are written now. There is one writer; its change has no link before the end."""

_NULL = "'\\xffffffff'::bytea"
_SENT = {
    "guid": (16, "uuid_send"),
    "number": (8, "float8send"),
    "date": (4, "date_send"),
    "timestamp": (8, "timestamptz_send"),
    "boolean": (1, "boolsend"),
}
"""By type of column: the bytes and the function of what binary COPY sends."""
_TYPES = {
    "guid": "uuid",
    "text": "text",
    "number": "double precision",
    "date": "date",
    "timestamp": "timestamptz",
    "boolean": "boolean",
}


def row_bytes(columns: Sequence[Column], row: str) -> str:
    """PostgreSQL: the bytes that a binary COPY of these columns sends for a row. `row`: its alias, or `NEW`, `OLD`."""
    parts = [f"'\\x{len(columns):04x}'::bytea"]
    for column in columns:
        value = f"{row}.{column.name}"
        if column.type in _SENT:
            length, send = _SENT[column.type]
            sent = f"'\\x{length:08x}'::bytea || {send}({value})"
        elif column.type == "integer":
            length, send = (8, "int8send") if (column.maximum or 0) > 2**31 else (4, "int4send")
            sent = f"'\\x{length:08x}'::bytea || {send}({value})"
        elif column.type == "text":
            sent = f"int4send(octet_length({value})) || convert_to({value}, 'UTF8')"
        else:
            send = "json_send" if column.exact_text else "jsonb_send"
            sent = f"int4send(octet_length({send}({value}))) || {send}({value})"
        parts.append(f"coalesce({sent}, {_NULL})" if column.nullable else f"({sent})")
    return "\n        || ".join(parts)


def contents_hash(bytes_of_row: str) -> str:
    """PostgreSQL: the aggregate that makes the hash of rows from the bytes of each."""
    return f"encode(sha256(string_agg({bytes_of_row}, ''::bytea ORDER BY {bytes_of_row})), 'hex')"


def row_key(table: Table, row: str) -> str:
    """The row's key as one text, on both databases."""
    columns = ("id",) if "id" in table.primary_key else table.primary_key
    return " || '|' || ".join(f"CAST({row}.{name} AS text)" for name in columns)


def student_of(table: Table, row: str) -> str:
    """The id of the student that a row is about; NULL where it names none."""
    if table.name == "students":
        return f"{row}.id"
    return f"{row}.student_id" if "student_id" in table.column_names else "NULL"


def image_of(table: Table, row: str, dialect_name: str) -> str:
    """The row as one JSON document, which `from_image` takes apart again without loss."""
    pairs = []
    for column in table.columns:
        value = f"{row}.{column.name}"
        if dialect_name == "sqlite" and column.type == "number":
            value = f"CASE WHEN {value} IS NULL THEN NULL ELSE printf('%!.17g', {value}) END"
        elif dialect_name == "postgresql" and column.exact_text:
            value = f"CAST({value} AS text)"  # JSONB refuses what JSON may hold
        pairs.append(f"'{column.name}', {value}")
    if dialect_name == "sqlite":
        return f"json_object({', '.join(pairs)})"
    halves = [pairs[start : start + 40] for start in range(0, len(pairs), 40)]  # a function takes 100 arguments
    return " || ".join(f"jsonb_build_object({', '.join(half)})" for half in halves)


def from_image(column: Column, image: str, dialect_name: str) -> str:
    """The value of a column in an image; `image`: the expression that has the document."""
    if dialect_name == "sqlite":
        value = f"json_extract({image}, '$.{column.name}')"
        return f"CAST({value} AS REAL)" if column.type == "number" else value
    if column.type == "json":
        text = f"{image} ->> '{column.name}'"
        return f"CAST({text} AS json)" if column.exact_text else f"nullif({image} -> '{column.name}', 'null'::jsonb)"
    if column.type == "integer":
        type_ = "bigint" if (column.maximum or 0) > 2**31 else "integer"
        return f"CAST({image} ->> '{column.name}' AS {type_})"
    if column.type == "text" and column.length:
        return f"CAST({image} ->> '{column.name}' AS varchar({column.length}))"
    return f"CAST({image} ->> '{column.name}' AS {_TYPES[column.type]})"


def differs(columns: Sequence[Column], dialect_name: str) -> str:
    """The condition that an update changes one of these columns, of `OLD` and `NEW`."""
    conditions = []
    for column in columns:
        old, new = f"OLD.{column.name}", f"NEW.{column.name}"
        if dialect_name == "sqlite":
            conditions.append(f"{old} IS NOT {new}")
            continue
        if column.exact_text:  # JSON has no equality
            old, new = f"CAST({old} AS text)", f"CAST({new} AS text)"
        conditions.append(f"{old} IS DISTINCT FROM {new}")
    return " OR ".join(conditions)
