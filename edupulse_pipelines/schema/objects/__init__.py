"""What is replaced and not migrated: comments, functions, triggers and row-level security, declared as they are today.

`edupulse db upgrade` puts every declared object into the database each time, whatever was there (`apply_objects`), and
takes away those of ours that are declared no more; `edupulse db check` compares them. A version in `migrations/` holds
structure only: it meets a database without our triggers, and does not mention comments, functions or triggers.

Why not `alembic_utils`, the library for this: it writes each change of an object into a new version, so that versions
would go on carrying objects; it knows PostgreSQL only, where our triggers are on SQLite too; and it has no comments.

`declared` says what an object is; `comments`, `triggers`, `guards` (row-level security), `months` (functions),
`audit`, `audit_sqlite` and `as_recorded` declare; `function_names` says which functions are ours. Tables, keys and
indexes are not here: they are derived by `sqlalchemy_tables` and changed by versions.
"""

from __future__ import annotations

import hashlib

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.schema.objects import audit_sqlite
from edupulse_pipelines.schema.objects.as_recorded import recorded_functions
from edupulse_pipelines.schema.objects.audit import SEQUENCE, audit_functions, audit_triggers, partition_guards
from edupulse_pipelines.schema.objects.comments import comments_on
from edupulse_pipelines.schema.objects.declared import DeclaredObject
from edupulse_pipelines.schema.objects.function_names import FUNCTION_NAMES
from edupulse_pipelines.schema.objects.guards import GUARDED, guard, guard_functions
from edupulse_pipelines.schema.objects.months import month_functions
from edupulse_pipelines.schema.objects.triggers import PREFIX as TRIGGER_PREFIX
from edupulse_pipelines.schema.objects.triggers import REFUSE_FUNCTION, TOUCH_FUNCTION, refusing_triggers, touch_trigger
from edupulse_pipelines.schema.tables import TABLES

_WITHOUT_PARAMETERS = {"no_parameters": True}
"""A percent sign in a statement is text, not the beginning of a parameter."""


def declared_objects(dialect_name: str, schema: str = "public") -> list[DeclaredObject]:
    """Every object of a database of this dialect, each after those that it needs.

    schema: where the tables are, on PostgreSQL; quoted where its name needs that.
    """
    postgresql = dialect_name == "postgresql"
    objects = (
        [SEQUENCE, TOUCH_FUNCTION, REFUSE_FUNCTION, *guard_functions(schema), *audit_functions(schema)]
        if postgresql
        else []
    )
    for name, table in TABLES.items():
        if postgresql:
            objects += comments_on(name)
        if table.touched_at:
            objects.append(touch_trigger(name, dialect_name))
        if table.append_only:
            objects += refusing_triggers(name, dialect_name)
        objects += audit_triggers(name) if postgresql else audit_sqlite.audit_triggers(name)
        if postgresql and name in GUARDED:
            objects.append(guard(name))
    if not postgresql:
        return objects
    return [*objects, *month_functions(schema), *recorded_functions(schema), *partition_guards()]


def apply_objects(connection: Connection) -> None:
    """Put every declared object into a database whose tables are today's, and drop those of ours that are not declared.

    The transaction is the caller's. Another set of arguments makes another function; what a function returns cannot be
    changed, so give that one another name.
    """
    objects = declared_objects(connection.dialect.name, tables_schema(connection))
    if connection.dialect.name == "postgresql":
        drop_triggers(connection, keep={declared.name for declared in objects if declared.kind == "trigger"})
    else:
        drop_triggers(connection)
    for declared in objects:
        connection.exec_driver_sql(declared.statement, execution_options=_WITHOUT_PARAMETERS)
    if connection.dialect.name == "postgresql":
        functions = {declared.name for declared in objects if declared.kind == "function"}
        # Now and not first: until a trigger is replaced it may call a function that is declared no more.
        _drop_functions(connection, keep=functions)
        _give_to_owner(connection, functions)
        _keep_from_everybody(connection, functions)
    _record(connection, fingerprint(connection.dialect.name))


def drop_triggers(connection: Connection, *, keep: set[str] | frozenset[str] = frozenset()) -> None:
    """Drop our triggers from our tables but for those named; a version can then change any column."""
    if connection.dialect.name == "postgresql":
        query = (
            "SELECT t.tgname, c.relname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid"
            " WHERE c.relnamespace = CAST(current_schema() AS regnamespace) AND NOT c.relispartition"
            " AND NOT t.tgisinternal"
        )
    else:
        query = "SELECT name, tbl_name FROM sqlite_master WHERE type = 'trigger'"
    for name, table in connection.exec_driver_sql(query).all():
        if name.startswith(TRIGGER_PREFIX) and table in TABLES and name not in keep:
            on = f" ON {table}" if connection.dialect.name == "postgresql" else ""
            connection.exec_driver_sql(f"DROP TRIGGER {name}{on}")


def tables_schema(connection: Connection) -> str:
    """The schema that tables are made in, quoted where its name needs that; empty on SQLite, which has none."""
    if connection.dialect.name == "sqlite":
        return ""
    return str(connection.scalar(sa.text("SELECT quote_ident(current_schema())")))


def _give_to_owner(connection: Connection, functions: set[str]) -> None:
    """Let functions and the sequence belong to whom the tables belong to, also when a superuser makes them."""
    owner = connection.scalar(
        sa.text(
            "SELECT quote_ident(pg_get_userbyid(relowner)) FROM pg_class"
            " WHERE oid = to_regclass(:table) AND pg_get_userbyid(relowner) <> current_user"
        ),
        {"table": next(iter(TABLES))},
    )
    if owner is not None:
        for name in sorted(functions):
            connection.exec_driver_sql(f"ALTER FUNCTION {name} OWNER TO {owner}")
        connection.exec_driver_sql(f"ALTER SEQUENCE {SEQUENCE.name} OWNER TO {owner}")


def let_the_owner_see_every_row(connection: Connection) -> None:
    """On PostgreSQL, see to it that the tables that are guarded already have their owner's policy.

    Before a version runs: an owner without it updates no row and finds no orphan, and is not told.
    """
    if connection.dialect.name != "postgresql":
        return
    if connection.scalar(sa.text("SELECT to_regprocedure('edupulse_guard(text)')")) is None:
        return
    for name in connection.scalars(
        sa.text(
            "SELECT name FROM unnest(CAST(:names AS text[])) name WHERE to_regclass(quote_ident(name)) IS NOT NULL"
        ),
        {"names": list(GUARDED)},
    ).all():
        connection.execute(sa.select(sa.func.edupulse_guard(name)))


def _keep_from_everybody(connection: Connection, functions: set[str]) -> None:
    """Take from PUBLIC the right to call the functions, which PostgreSQL gives it; roles are given it by name."""
    for name in sorted(functions):
        connection.exec_driver_sql(f"REVOKE EXECUTE ON FUNCTION {name} FROM PUBLIC")


def _drop_functions(connection: Connection, *, keep: set[str]) -> None:
    """Drop the functions of our names but for those kept, which are named with their arguments."""
    functions = connection.scalars(
        sa.text(
            "SELECT proname || '(' || pg_get_function_identity_arguments(oid) || ')' FROM pg_proc"
            " WHERE pronamespace = CAST(current_schema() AS regnamespace) AND prokind = 'f' AND proname = ANY(:names)"
        ),
        {"names": sorted(FUNCTION_NAMES)},
    )
    for function in set(functions) - keep:
        connection.exec_driver_sql(f"DROP FUNCTION {function}")


# Which objects a database has


def fingerprint(dialect_name: str) -> int:
    """A positive number made of all statements, so that a changed object changes it; 0 stands for no objects at all.

    It has 31 bits, because SQLite's `user_version` holds no more (`applied_fingerprint`).
    """
    text = "\n".join(declared.statement for declared in declared_objects(dialect_name))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1 or 1


def applied_fingerprint(connection: Connection) -> int:
    """The fingerprint of the objects that were applied last; 0 when none were.

    A migrated database keeps it where every role may read it and no table is needed: in the comment of Alembic's table
    on PostgreSQL, in `user_version` on SQLite.
    """
    if connection.dialect.name == "sqlite":
        return int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())
    comment = connection.exec_driver_sql("SELECT obj_description(to_regclass('alembic_version'), 'pg_class')").scalar()
    return int(comment.rpartition(" ")[2]) if comment and comment.startswith(_RECORDED) else 0


_RECORDED = "Revision of the schema; declared objects "


def _record(connection: Connection, number: int) -> None:
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(f"PRAGMA user_version = {number}")
    else:
        connection.exec_driver_sql(f"COMMENT ON TABLE alembic_version IS '{_RECORDED}{number}'")
