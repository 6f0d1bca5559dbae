"""What a database says about its own tables: columns, constraints, indexes, triggers, functions, comments, policies.

Two databases with equal catalogs have the same schema. Alembic's comparison misses CHECK constraints, triggers and
partitions. Which catalog is expected, and on which connections both are read, is the business of `storage.versions`.
"""

from __future__ import annotations

import re

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.schema.objects.function_names import FUNCTION_NAMES
from edupulse_pipelines.schema.objects.guards import OWNER_POLICY, POLICY_PREFIX

Catalog = dict[str, str]
"""`kind table name` (of functions: `function name arguments`) -> definition."""

_TEXT = re.compile(r"'(?:[^']|'')*'::character varying")
_ARRAY_OF_TEXTS = re.compile(rf"\(ARRAY\[({_TEXT.pattern}(?:, {_TEXT.pattern})*)\]\)::text\[\]")


def read_catalog(connection: Connection) -> Catalog:
    """The catalog of the schema that new tables go to, without the schema's own name.

    Partitions are left out, and functions that do not have one of our names; so are the policies of ours that say what
    roles see, because roles are no part of the schema.
    """
    if connection.dialect.name == "sqlite":
        rows = connection.exec_driver_sql("SELECT type, tbl_name, name, sql FROM sqlite_master WHERE sql IS NOT NULL")
        return {f"{kind} {table} {name}": " ".join(sql.split()) for kind, table, name, sql in rows}
    schema = str(connection.scalar(sa.text("SELECT current_schema()")))
    rows = connection.execute(
        sa.text(_POSTGRESQL),
        {
            "schema": schema,
            "functions": sorted(FUNCTION_NAMES),
            "owner_policy": OWNER_POLICY,
            "our_policies": POLICY_PREFIX,
        },
    )
    # Settings of ours begin with `app.`, which a schema may be called, too.
    qualified = re.compile(rf"(?<!setting\(')(?<!config\(')(?<!MESSAGE = '){re.escape(schema)}\.")
    return {key: _ARRAY_OF_TEXTS.sub(_each_cast, qualified.sub("", definition)) for key, definition in rows}


def _each_cast(array: re.Match[str]) -> str:
    """An array of texts as PostgreSQL writes it once it has read its own writing: so it is in a restored dump."""
    return f"ARRAY[{_TEXT.sub(lambda text: f'({text[0]})::text', array[1])}]"


def differences(expected: Catalog, actual: Catalog) -> list[str]:
    """What is missing, differs or should not be there, in words; tables and functions that are not ours are ignored."""
    own = {_owner(key) for key in expected}
    return [
        *(f"missing: {key}" for key in sorted(expected.keys() - actual.keys())),
        *(f"differs: {key}" for key in sorted(expected.keys() & actual.keys()) if expected[key] != actual[key]),
        *(
            f"unexpected: {key}"
            for key in sorted(actual.keys() - expected.keys())
            if _owner(key) in own or key.startswith("function ")
        ),
    ]


def _owner(key: str) -> str:
    """The table (or function) that an entry of a catalog is about."""
    return key.split(" ")[1]


_POSTGRESQL = """
SELECT 'column ' || c.relname || ' ' || a.attname,
       format_type(a.atttypid, a.atttypmod) || ' ' || a.attnotnull::text
           || ' ' || coalesce(pg_get_expr(d.adbin, d.adrelid), '')
FROM pg_class c
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relnamespace = CAST(:schema AS regnamespace) AND c.relkind IN ('r', 'p') AND NOT c.relispartition
UNION ALL
SELECT 'constraint ' || c.relname || ' ' || k.conname, pg_get_constraintdef(k.oid)
FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
WHERE c.relnamespace = CAST(:schema AS regnamespace) AND NOT c.relispartition AND k.contype <> 'n'
UNION ALL
SELECT 'index ' || c.relname || ' ' || i.relname, pg_get_indexdef(i.oid)
FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class c ON c.oid = x.indrelid
WHERE c.relnamespace = CAST(:schema AS regnamespace) AND NOT c.relispartition
UNION ALL
SELECT 'trigger ' || c.relname || ' ' || t.tgname, pg_get_triggerdef(t.oid)
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
WHERE c.relnamespace = CAST(:schema AS regnamespace) AND NOT c.relispartition AND NOT t.tgisinternal
UNION ALL
SELECT 'comment ' || c.relname || ' ' || coalesce(a.attname, '(table)'), d.description
FROM pg_description d
JOIN pg_class c ON c.oid = d.objoid AND d.classoid = CAST('pg_class' AS regclass)
LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.objsubid AND d.objsubid > 0
WHERE c.relnamespace = CAST(:schema AS regnamespace) AND c.relkind IN ('r', 'p') AND NOT c.relispartition
UNION ALL
SELECT 'security ' || c.relname || ' rows', concat_ws(' ', c.relrowsecurity, c.relforcerowsecurity)
FROM pg_class c
WHERE c.relnamespace = CAST(:schema AS regnamespace) AND c.relkind IN ('r', 'p') AND NOT c.relispartition
UNION ALL
SELECT 'policy ' || c.relname || ' ' || p.polname,
       concat_ws(
           ' | ', p.polcmd, p.polpermissive, pg_get_expr(p.polqual, c.oid), pg_get_expr(p.polwithcheck, c.oid),
           CASE WHEN p.polroles = ARRAY[c.relowner] THEN 'the owner' ELSE array_to_string(p.polroles, ' ') END
       )
FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid
WHERE c.relnamespace = CAST(:schema AS regnamespace) AND NOT c.relispartition
  AND (p.polname = :owner_policy OR NOT starts_with(p.polname, :our_policies))
UNION ALL
SELECT 'function ' || p.proname || ' (' || pg_get_function_identity_arguments(p.oid) || ')',
       concat_ws(
           E'\\n', pg_get_function_result(p.oid), l.lanname, p.provolatile, p.prosecdef,
           replace(array_to_string(p.proconfig, ' '), quote_ident(:schema), 'the schema'), p.prosrc
       )
FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
WHERE p.pronamespace = CAST(:schema AS regnamespace) AND p.prokind = 'f' AND p.proname = ANY(:functions)
"""
