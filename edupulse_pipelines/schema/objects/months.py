"""The functions that make months of partitioned tables on PostgreSQL, so that a role without DDL rights can load rows.

Their text is `months.sql`. Those for who writes rows (`FOR_WRITERS`) are SECURITY DEFINER: they work as the owner of
the tables, for a role that may insert into the table and has been given the right to call them. So they take nothing on
trust: the table must be one that the declaration partitions, a month is named by its first day, the table of a month
being built must be one that they have made, every row of it must be of the month and of the district that the
transaction is for (`app.tenant`), and names are resolved in our schema and nowhere else. The others do no more than
their caller may do.

`storage.months` calls them where rows are written, `operations.partitions` where months are made ahead, detached and
attached; who waits for whom is decided in these two and in `storage.turns`.
"""

from __future__ import annotations

import json
from pathlib import Path

from edupulse_pipelines.schema.objects.declared import DeclaredObject
from edupulse_pipelines.schema.objects.guards import functions_of
from edupulse_pipelines.schema.tables import RECORD_TABLES, TABLES

FOR_WRITERS = (
    "edupulse_month_make(text, date)",
    "edupulse_month_start(text)",
    "edupulse_month_end(text, text, date)",
    "edupulse_month_place(text, text[], date[], date[])",
    "edupulse_month_unclaimed(text, boolean)",
    "edupulse_month_hold_default(text)",
    "edupulse_audit_built(text, text, bigint, text)",
    *(f"{name}_as_recorded(timestamp with time zone)" for name in RECORD_TABLES),
)
"""The functions that who writes rows has to be able to call; nobody else but the owner may call any of ours."""


def month_functions(schema: str) -> list[DeclaredObject]:
    """The functions, in an order in which they can be made; `schema` (quoted where that is needed) holds the tables."""
    partitioned = {table.name: table.partition_by_month for table in TABLES.values() if table.partition_by_month}
    text = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8").strip()
    return functions_of(text.replace("{schema}", schema).replace("{partitioned}", json.dumps(partitioned)))
