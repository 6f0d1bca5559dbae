"""The triggers that keep changes on record on SQLite, derived from the declaration of the tables.

A row that an update changes in an audited column, and one that is deleted, goes to `audit_images` as it was, and an
updated row gets the `change_id` of the change that is open (`row_contents.OPEN_CHANGE`), 0 where none is: then somebody
else than the pipelines wrote into the file. `storage.changes` opens and closes the change of a transaction, counts and
hashes what it wrote, and makes its link: SQLite has no triggers for statements and no SHA-256.
"""

from __future__ import annotations

from edupulse_pipelines.schema.declaration import Table
from edupulse_pipelines.schema.objects.declared import DeclaredObject
from edupulse_pipelines.schema.row_contents import OPEN_CHANGE, differs, image_of, row_key, student_of
from edupulse_pipelines.schema.tables import STATEMENTS_OF_A_CHANGE, TABLES

_RETIRED_THROUGH = (
    "coalesce((SELECT CAST(json_extract(replaced, '$.link_number') AS INTEGER) FROM audit_entries"
    " WHERE table_name = 'audit_changes' ORDER BY change_id DESC LIMIT 1), 0)"
)
"""The number of the last link that has been put on record as leaving (`edupulse audit retire`); 0: none has."""
_ONLY_ADDED_TO = "SELECT RAISE(ABORT, '{} is only added to')"


def audit_triggers(name: str) -> list[DeclaredObject]:
    """The triggers of a declared table; of the record itself those that keep it as it is."""
    table = TABLES[name]
    if name.startswith("audit_"):
        made = _keeping_triggers(table)
    else:
        made = [] if table.audit == "none" else _row_triggers(table)
    return [
        DeclaredObject(kind="trigger", name=statement.split()[2], table=name, statement=statement) for statement in made
    ]


def _row_triggers(table: Table) -> list[str]:
    head = f"CREATE TRIGGER tr_{table.name}_audit"
    columns = ", ".join(column.name for column in table.audited_columns)
    keep = f"    {_image(table)};\n" if table.audit == "whole" else ""
    made = [
        f"{head}_row AFTER UPDATE OF {columns}\n"
        f"ON {table.name} FOR EACH ROW WHEN {differs(table.audited_columns, 'sqlite')}\n"
        f"BEGIN\n"
        f"{keep}"
        f"    UPDATE {table.name} SET change_id = {OPEN_CHANGE} WHERE rowid = NEW.rowid;\n"
        f"END",
    ]
    if keep:
        made.append(f"{head}_removed AFTER DELETE\nON {table.name} FOR EACH ROW\nBEGIN\n{keep}END")
    return made


def _image(table: Table) -> str:
    return (
        "INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt)\n"
        f"    VALUES (OLD.tenant_id, '{table.name}', {row_key(table, 'OLD')}, {student_of(table, 'OLD')},"
        f" OLD.change_id, {OPEN_CHANGE},\n"
        f"        {image_of(table, 'OLD', 'sqlite')}, lower(hex(randomblob(16))))"
    )


def _keeping_triggers(table: Table) -> list[str]:
    """What is on record stays: an open change and its entries may be filled in, an image hashed once and erased."""
    name = table.name
    retired = f"IN (SELECT id FROM audit_changes WHERE link_number <= {_RETIRED_THROUGH})"
    if name == "audit_changes":
        allowed = "OLD.link IS NULL"
        removable = f"OLD.link IS NULL OR OLD.link_number <= {_RETIRED_THROUGH}"
    elif name == "audit_entries":
        # Written when the change is closed, and then by a change that has no link yet.
        allowed = "0"
        of_before = f"OLD.change_id = 0 AND {_RETIRED_THROUGH} > 0"
        removable = f"OLD.change_id / {STATEMENTS_OF_A_CHANGE} {retired} OR ({of_before})"
    else:
        fixed = " AND ".join(
            f"OLD.{column} IS NEW.{column}" for column in ("id", "tenant_id", "table_name", "written_by", "replaced_by")
        )
        kept = " AND ".join(f"OLD.{column} IS NEW.{column}" for column in ("row_key", "student_id", "image", "salt"))
        hashed = f"OLD.hash IS NULL AND {fixed} AND {kept}"
        erased = f"NEW.image IS NULL AND NEW.salt IS NULL AND OLD.hash IS NEW.hash AND {fixed}"
        allowed = f"({hashed}) OR ({erased})"
        removable = f"OLD.replaced_by / {STATEMENTS_OF_A_CHANGE} {retired}"
    refusal = _ONLY_ADDED_TO.format(name)
    return [
        f"CREATE TRIGGER tr_{name}_fixed_{event.lower()} BEFORE {event}\n"
        f"ON {name} FOR EACH ROW WHEN NOT ({condition})\n"
        f"BEGIN\n    {refusal};\nEND"
        for event, condition in (("UPDATE", allowed), ("DELETE", removable))
    ]


def index_of_changes(name: str) -> str:
    """The index by which the rows that a change wrote are found when it is closed."""
    return f"CREATE INDEX ix_{name}_change_id ON {name} (change_id)"
