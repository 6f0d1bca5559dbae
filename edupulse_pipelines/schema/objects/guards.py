"""Row-level security on PostgreSQL, as far as it belongs to the schema: on for every table of districts.

`edupulse_guard` (in `guards.sql`) turns it on for a table and its partitions, by force, so that the owner needs a
policy too, and gives the owner one that shows every row. Without further roles nothing changes for a database whose one
user owns the tables. Who else sees which rows is decided by the policies of roles, which `edupulse db roles` makes
(`governance.access`): their names are in the settings, and none of them is part of the schema.
"""

from __future__ import annotations

import re
from pathlib import Path

from edupulse_pipelines.schema.objects.declared import DeclaredObject
from edupulse_pipelines.schema.statement_files import statements
from edupulse_pipelines.schema.tables import TABLES

OWNER_POLICY = "edupulse_owner"
"""The name of the policy that shows the tables' owner every row."""
POLICY_PREFIX = "edupulse_"
"""How the names of our policies begin."""
GUARDED = tuple(name for name, table in TABLES.items() if table.tenant_owned)
"""The tables whose rows belong to districts."""
_HEAD = re.compile(r"FUNCTION (\w+\(.*?\)) RETURNS", re.DOTALL)


def functions_of(text: str) -> list[DeclaredObject]:
    """The functions that one of our SQL files makes, in its order."""
    return [function_of(statement) for statement in statements(text)]


def function_of(statement: str) -> DeclaredObject:
    """The function that a statement makes; its arguments may be on several lines."""
    head = _HEAD.search(statement)
    assert head is not None
    name = " ".join(head.group(1).split()).replace("( ", "(").replace(" )", ")")
    return DeclaredObject(kind="function", name=name, table=None, statement=statement)


def guard_functions(schema: str) -> list[DeclaredObject]:
    """The functions that guard tables; `schema` (quoted where that is needed) holds the tables."""
    text = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8").strip()
    return functions_of(text.replace("{schema}", schema))


def guard(table: str) -> DeclaredObject:
    """What guards a table of districts with all its partitions."""
    return DeclaredObject(
        kind="guard", name=f"guard of {table}", table=table, statement=f"SELECT edupulse_guard('{table}')"
    )
