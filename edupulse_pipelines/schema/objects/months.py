"""The functions that make months of partitioned tables on PostgreSQL, so that a role without DDL rights can load rows.

Their text is `months.sql`. Those for who writes rows (`edupulse_month_make`, `_start`, `_end`, `_place`) are SECURITY
DEFINER: they work as the owner of the tables, for any role that may insert into the table. So they take nothing on
trust: the table must be one that the declaration partitions, a month is named by its first day, the table of a month
being built must be one that they have made, and names are resolved in our schema and nowhere else. The others do no
more than their caller may do.

`storage.months` calls them where rows are written, `operations.partitions` where months are made ahead, detached and
attached; who waits for whom is decided in these two and in `storage.turns`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from edupulse_pipelines.schema.objects.declared import DeclaredObject
from edupulse_pipelines.schema.statement_files import statements
from edupulse_pipelines.schema.tables import TABLES

_HEAD = re.compile(r"FUNCTION (\w+\(.*?\)) RETURNS")


def month_functions(schema: str) -> list[DeclaredObject]:
    """The functions, in an order in which they can be made; `schema` (quoted where that is needed) holds the tables."""
    partitioned = {table.name: table.partition_by_month for table in TABLES.values() if table.partition_by_month}
    text = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8").strip()
    text = text.replace("{schema}", schema).replace("{partitioned}", json.dumps(partitioned))
    functions = []
    for statement in statements(text):
        head = _HEAD.search(statement)
        assert head is not None
        functions.append(DeclaredObject(kind="function", name=head.group(1), table=None, statement=statement))
    return functions
