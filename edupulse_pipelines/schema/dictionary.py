"""The data dictionary as Markdown: every table with its columns and rules.

`python -m edupulse_pipelines.schema.dictionary` writes `docs/data-dictionary.md`; a test keeps it equal. Plain text,
no database.
"""

from __future__ import annotations

import sys
from pathlib import Path

from edupulse_pipelines.schema.declaration import NULL_AS, Column, Table
from edupulse_pipelines.schema.tables import TABLES

_HEAD = """# Data dictionary

Generated from `edupulse_pipelines/schema/tables.py` by `make sql`; do not edit.

PII: *direct* identifies a student by itself, *indirect* together with other facts.

What a district delivers, and how, is in [Sending us your data](sending-data.md).
"""


def dictionary() -> str:
    """The whole document."""
    parts = [_HEAD]
    parts.extend(_table(table) for table in TABLES.values())
    return "\n".join(parts).rstrip() + "\n"


def _table(table: Table) -> str:
    lines = [
        f"## {table.name}\n\n{table.comment}\n",
        "| column | type | NULL | rule | PII | meaning |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {column.name} | {column.type} | {'yes' if column.nullable else ''} | {column_rule(column)} "
        f"| {column.pii if column.pii != 'none' else ''} | {column.comment} |"
        for column in table.columns
    ]
    lines.append(f"\n- Primary key: {', '.join(table.primary_key)}.")
    for unique in table.uniques:
        text = ", ".join(
            f"{name} (NULL counts as {NULL_AS[table.column(name).type]})" if name in unique.coalesce else name
            for name in unique.columns
        )
        lines.append(f"- Unique: {text}{f', where {unique.where}' if unique.where else ''}.")
    lines += [f"- {', '.join(key.columns)} → {key.table} ({', '.join(key.references)})." for key in table.foreign_keys]
    for name, reason in table.dropped_indexes.items():
        lines.append(f"- Not made, though in the seed: `{name}` ({reason}).")
    return "\n".join(lines) + "\n"


def column_rule(column: Column) -> str:
    """The rules of a column in words, for the cell of a table."""
    rules = []
    if column.length is not None:
        rules.append(f"at most {column.length} characters")
    if column.values is not None:
        rules.append("one of " + ", ".join(column.values))
    if column.minimum is not None:
        rules.append(f"≥ {column.minimum:g}")
    if column.maximum is not None and column.maximum < 2**31 - 1:
        rules.append(f"≤ {column.maximum:g}")
    if column.maximum_unweighted is not None:
        rules.append(f"≤ {column.maximum_unweighted:g} on an unweighted scale")
    return "; ".join(rules)


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("docs/data-dictionary.md")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(dictionary(), encoding="utf-8")
