"""The triggers and functions that keep changes on record on PostgreSQL, derived from the declaration of the tables.

Of each audited table: before a statement it gets its `change_id` (`edupulse_audit_begin`); a row that an update changes
in an audited column, and one that is deleted, goes to `audit_images` as it was; after the statement one row of
`audit_entries` says what was done, with the hash of the rows written. The first entry of a transaction writes its row
of `audit_changes`, and a trigger that is deferred to the end of the transaction makes its link in the chain.

Triggers for rows are cloned to partitions by PostgreSQL. Those for statements are not, and do not fire where a
partition is named: `edupulse_audit_guard` puts them on each, when it is attached. Functions that hold for every table
are in `audit.sql`. How SQLite keeps the record is in `audit_sqlite`; who reads and checks it is `governance`.
"""

from __future__ import annotations

import json
from pathlib import Path

from edupulse_pipelines.schema.declaration import Table
from edupulse_pipelines.schema.objects.declared import DeclaredObject
from edupulse_pipelines.schema.objects.guards import function_of
from edupulse_pipelines.schema.row_contents import (
    CHANGE_OF_INSERT,
    contents_hash,
    differs,
    image_of,
    row_bytes,
    row_key,
    student_of,
)
from edupulse_pipelines.schema.statement_files import statements
from edupulse_pipelines.schema.tables import AUDITED, STATEMENTS_OF_A_CHANGE, TABLES

_CHAIN_LOCK = 0x61756469745F6368
"""Key of the advisory lock under which links are made: `audit_ch`."""
AUDIT_TABLES = ("audit_changes", "audit_entries", "audit_images")
SEQUENCE = DeclaredObject(
    kind="sequence",
    name="audit_changes_number",
    table=None,
    statement="CREATE SEQUENCE IF NOT EXISTS audit_changes_number",
)


def audit_functions(schema: str) -> list[DeclaredObject]:
    """Every function, in an order in which they can be made; `schema` (quoted where needed) holds the tables."""
    by_month = {name: TABLES[name] for name in AUDITED if TABLES[name].partition_by_month}
    text = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8").strip()
    for word, value in {
        "schema": schema,
        "statements": str(STATEMENTS_OF_A_CHANGE),
        "lock": str(_CHAIN_LOCK),
        "default": CHANGE_OF_INSERT,
        "columns": json.dumps({name: len(table.audited_columns) for name, table in by_month.items()}),
        "bytes": json.dumps({name: row_bytes(table.audited_columns, "r") for name, table in by_month.items()}),
        "triggers": json.dumps({name: _statement_triggers(table, "@") for name, table in by_month.items()}),
    }.items():
        text = text.replace(f"{{{word}}}", value)
    made = [*statements(text)]
    for name in AUDITED:
        made += [_row_function(TABLES[name], schema), _statement_function(TABLES[name], schema)]
    return [function_of(statement) for statement in made]


def audit_triggers(name: str) -> list[DeclaredObject]:
    """The triggers of a declared table; of the record itself those that keep it as it is."""
    table = TABLES[name]
    if name in AUDIT_TABLES:
        made = _keeping_triggers(name)
    elif table.audit == "none":
        return []
    else:
        made = [*_statement_triggers(table, name), *_row_triggers(table)]
    return [
        DeclaredObject(
            kind="trigger", name=statement.rpartition(" TRIGGER ")[2].split()[0], table=name, statement=statement
        )
        for statement in made
    ]


def partition_guards() -> list[DeclaredObject]:
    """What puts the triggers of statements on the partitions that are there."""
    return [
        DeclaredObject(
            kind="call",
            name=f"edupulse_audit_guard {name}",
            table=None,
            statement=(
                f"SELECT edupulse_audit_guard('{name}', CAST(c.relname AS text))\n"
                f"FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid\n"
                f"WHERE i.inhparent = CAST('{name}' AS regclass)"
            ),
        )
        for name in AUDITED
        if TABLES[name].partition_by_month
    ]


def _keeping_triggers(name: str) -> list[str]:
    made = [
        f"CREATE OR REPLACE TRIGGER tr_{name}_fixed_{part} BEFORE {events}\n"
        f"ON {name} FOR EACH {each} EXECUTE FUNCTION edupulse_audit_fixed()"
        for part, events, each in (
            ("inserts", "INSERT", "STATEMENT"),
            ("rows", "UPDATE OR DELETE", "ROW"),
            ("truncate", "TRUNCATE", "STATEMENT"),
        )
    ]
    if name == "audit_changes":
        made.append(
            f"DROP TRIGGER IF EXISTS tr_{name}_link ON {name};\n"  # a constraint trigger cannot be replaced
            f"CREATE CONSTRAINT TRIGGER tr_{name}_link AFTER INSERT\n"
            f"ON {name} DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION edupulse_audit_link()"
        )
    return made


def _statement_triggers(table: Table, on: str) -> list[str]:
    """The triggers of statements, on the table or a partition of it."""
    by_reference = table.audit == "reference"
    function = f"EXECUTE FUNCTION edupulse_audit_statement_{table.name}()"
    head = f"CREATE OR REPLACE TRIGGER tr_{table.name}_audit"
    added, removed = "NEW TABLE AS added", "OLD TABLE AS removed"
    return [
        f"{head}_begin BEFORE INSERT OR UPDATE OR DELETE\n"
        f"ON {on} FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_begin()",
        f"{head}_inserted AFTER INSERT\nON {on} REFERENCING {added} FOR EACH STATEMENT {function}",
        f"{head}_updated AFTER UPDATE\n"
        f"ON {on} REFERENCING {f'{removed} ' if by_reference else ''}{added} FOR EACH STATEMENT {function}",
        f"{head}_deleted AFTER DELETE\n"
        f"ON {on} {f'REFERENCING {removed} ' if by_reference else ''}FOR EACH STATEMENT {function}",
        f"{head}_truncate BEFORE TRUNCATE\n"
        f"ON {on} FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_refuse_truncate()",
    ]


def _row_triggers(table: Table) -> list[str]:
    changes = f"{differs(table.audited_columns, 'postgresql')} OR OLD.change_id IS DISTINCT FROM NEW.change_id"
    made = [
        f"CREATE OR REPLACE TRIGGER tr_{table.name}_audit_row BEFORE UPDATE\n"
        f"ON {table.name} FOR EACH ROW WHEN ({changes})\n"
        f"EXECUTE FUNCTION edupulse_audit_row_{table.name}()"
    ]
    if table.audit == "whole":
        made.append(
            f"CREATE OR REPLACE TRIGGER tr_{table.name}_audit_removed BEFORE DELETE\n"
            f"ON {table.name} FOR EACH ROW EXECUTE FUNCTION edupulse_audit_row_{table.name}()"
        )
    return made


def _row_function(table: Table, schema: str) -> str:
    refusal = """
    IF TG_OP = 'UPDATE' AND OLD.tenant_id IS DISTINCT FROM NEW.tenant_id THEN
        RAISE insufficient_privilege
            USING MESSAGE = 'a row does not go from one district to another: delete it and insert another';
    END IF;"""
    if column := table.partition_by_month:
        refusal += f"""
    IF TG_OP = 'UPDATE' AND OLD.{column} IS DISTINCT FROM NEW.{column} THEN
        RAISE feature_not_supported
            USING MESSAGE = 'the {column} of a row is not changed: delete it and insert another';
    END IF;"""
    image = ""
    if table.audit == "whole":
        image = f"""
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt, hash)
    VALUES (OLD.tenant_id, '{table.name}', {row_key(table, "OLD")}, {student_of(table, "OLD")}, OLD.change_id, number,
        {image_of(table, "OLD", "postgresql")},
        encode(salt, 'hex'), encode(sha256(salt
        || {row_bytes(table.audited_columns, "OLD")}), 'hex'));"""
    return f"""CREATE OR REPLACE FUNCTION edupulse_audit_row_{table.name}() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
DECLARE
    number constant bigint := edupulse_audit_number(TG_OP);
    salt constant bytea := uuid_send(gen_random_uuid());
BEGIN
    IF TG_TABLE_SCHEMA <> current_schema() THEN
        RAISE insufficient_privilege USING MESSAGE = 'no table of ours';
    END IF;{refusal}{image}
    IF TG_OP = 'UPDATE' THEN
        NEW.change_id := number;
        RETURN NEW;
    END IF;
    RETURN OLD;
END
$$"""


def _statement_function(table: Table, schema: str) -> str:
    name, count = table.name, len(table.audited_columns)
    before = ""
    key = " AND ".join(f"a.{column} = r.{column}" for column in table.primary_key)
    if table.audit == "whole":
        images = "edupulse_audit_images(number, piece.tenant_id)"
        of_update = f"CASE TG_OP WHEN 'UPDATE' THEN {images} END, NULL"
        deleted = f"""
        FOR piece IN SELECT tenant_id, count(*) AS rows FROM audit_images WHERE replaced_by = number GROUP BY 1 LOOP
            PERFORM edupulse_audit_record(
                number, piece.tenant_id, '{name}', 'delete', piece.rows, {count}, NULL, {images}, NULL
            );
        END LOOP;"""
    else:
        of_update = "NULL, gone"
        before = f"""
        IF TG_OP = 'UPDATE' THEN
            SELECT jsonb_object_agg(change_id, rows) INTO gone FROM (
                SELECT r.change_id, count(*) AS rows FROM removed r JOIN added a ON {key}
                WHERE a.change_id = number AND a.tenant_id = piece.tenant_id GROUP BY 1
            ) counted;
        END IF;"""
        deleted = f"""
        FOR piece IN
            SELECT tenant_id, CAST(sum(rows) AS bigint) AS rows, jsonb_object_agg(change_id, rows) AS gone
            FROM (SELECT tenant_id, change_id, count(*) AS rows FROM removed GROUP BY 1, 2) counted GROUP BY 1
        LOOP
            PERFORM edupulse_audit_record(
                number, piece.tenant_id, '{name}', 'delete', piece.rows, NULL, NULL, NULL, piece.gone
            );
        END LOOP;"""
    return f"""CREATE OR REPLACE FUNCTION edupulse_audit_statement_{name}() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
DECLARE
    number constant bigint := edupulse_audit_number(TG_OP);
    piece record;
    gone jsonb;
BEGIN
    IF TG_TABLE_SCHEMA <> current_schema() THEN
        RAISE insufficient_privilege USING MESSAGE = 'no table of ours';
    END IF;
    IF TG_OP = 'DELETE' THEN{deleted}
        RETURN NULL;
    END IF;
    FOR piece IN
        SELECT tenant_id, change_id, count(*) AS rows, {contents_hash("sent")} AS content
        FROM (
            SELECT r.tenant_id, r.change_id,
        {row_bytes(table.audited_columns, "r")} AS sent
            FROM added r WHERE TG_OP = 'INSERT' OR r.change_id = number
            OFFSET 0 -- so that the bytes are made once, and not again for the hash
        ) written
        GROUP BY 1, 2
    LOOP{before}
        PERFORM edupulse_audit_record(
            piece.change_id, piece.tenant_id, '{name}', lower(TG_OP), piece.rows, {count}, piece.content,
            {of_update}
        );
    END LOOP;
    RETURN NULL;
END
$$"""
