"""The data dictionary as Markdown: what a district may deliver, and every table with its columns and rules.

`python -m edupulse_pipelines.schema.dictionary` writes `docs/data-dictionary.md`; a test keeps it equal. Plain text,
no database.
"""

from __future__ import annotations

import sys
from pathlib import Path

from edupulse_pipelines.schema.declaration import Column, Table
from edupulse_pipelines.schema.delivery import DELIVERED
from edupulse_pipelines.schema.tables import TABLES

_HEAD = """# Data dictionary

Generated from `edupulse_pipelines/schema/tables.py` by `make sql`; do not edit.

PII: *direct* identifies a student by itself, *indirect* together with other facts.

## What a district delivers

Files are `<landing>/<delivery date>/<table>.csv` (or several `<table>-<part>.csv`), UTF-8, with a header row. Columns
in bold are required. An optional column that is absent leaves the stored value; an empty field clears it.
"""


def dictionary() -> str:
    """The whole document."""
    parts = [_HEAD]
    for name, contract in DELIVERED.items():
        parts.append(f"### {name}.csv\n\n| column | type | rule | meaning |\n|---|---|---|---|")
        for column in contract.columns:
            title = f"**{column.name}**" if column.name in contract.required else column.name
            parts.append(f"| {title} | {column.type} | {_rule(column)} | {column.comment} |")
        parts.append("")
    parts.append("## Tables\n")
    parts.extend(_table(table) for table in TABLES.values())
    return "\n".join(parts).rstrip() + "\n"


def _table(table: Table) -> str:
    lines = [
        f"### {table.name}\n\n{table.comment}\n",
        "| column | type | NULL | rule | PII | meaning |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {column.name} | {column.type} | {'yes' if column.nullable else ''} | {_rule(column)} "
        f"| {column.pii if column.pii != 'none' else ''} | {column.comment} |"
        for column in table.columns
    ]
    lines.append(f"\n- Primary key: {', '.join(table.primary_key)}.")
    for unique in table.uniques:
        text = ", ".join(f"{name} (NULL counts as -1)" if name == unique.coalesce else name for name in unique.columns)
        lines.append(f"- Unique: {text}{f', where {unique.where}' if unique.where else ''}.")
    lines += [f"- {', '.join(key.columns)} → {key.table} ({', '.join(key.references)})." for key in table.foreign_keys]
    for name, reason in table.dropped_indexes.items():
        lines.append(f"- Not made, though in the seed: `{name}` ({reason}).")
    return "\n".join(lines) + "\n"


def _rule(column: Column) -> str:
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
