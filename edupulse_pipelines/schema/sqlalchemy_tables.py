"""The declared tables as SQLAlchemy Core tables, with every constraint named. No DDL is run from here.

`GUID`, `Timestamp` and the JSON types behave alike on PostgreSQL and SQLite: a UUID object, an aware UTC datetime and a
Python value go in and come out.
"""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import sqlalchemy as sa
import sqlalchemy.ext.compiler
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Dialect
from sqlalchemy.types import CHAR, TypeDecorator, TypeEngine

from edupulse_pipelines.schema.declaration import NULL_AS, Column, Table
from edupulse_pipelines.schema.row_contents import CHANGE_OF_INSERT, OPEN_CHANGE
from edupulse_pipelines.schema.tables import TABLES


class GUID(TypeDecorator[uuid.UUID]):
    """A UUID: native on PostgreSQL, 32 hexadecimal characters on SQLite."""

    impl = CHAR(32)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(postgresql.UUID(as_uuid=True))
        return dialect.type_descriptor(CHAR(32))

    def process_bind_param(self, value: uuid.UUID | str | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        value = value if isinstance(value, uuid.UUID) else uuid.UUID(value)
        return value if dialect.name == "postgresql" else value.hex

    def process_result_value(self, value: Any, dialect: Dialect) -> uuid.UUID | None:
        if value is None or isinstance(value, uuid.UUID):
            return value
        return uuid.UUID(value)


class Timestamp(TypeDecorator[dt.datetime]):
    """A moment: TIMESTAMPTZ on PostgreSQL, UTC text on SQLite; always an aware UTC datetime in Python."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: dt.datetime | None, dialect: Dialect) -> dt.datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a moment needs a time zone")
        value = value.astimezone(dt.UTC)
        return value if dialect.name == "postgresql" else value.replace(tzinfo=None)

    def process_result_value(self, value: dt.datetime | None, dialect: Dialect) -> dt.datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value.astimezone(dt.UTC)


class _UuidDefault(sa.sql.expression.FunctionElement[uuid.UUID]):
    """Core PostgreSQL's random UUID (no extension needed), and the same on SQLite."""

    inherit_cache = True
    type = GUID()


@sa.ext.compiler.compiles(_UuidDefault, "postgresql")
def _uuid_postgresql(_element: _UuidDefault, _compiler: Any, **_options: Any) -> str:
    return "gen_random_uuid()"


@sa.ext.compiler.compiles(_UuidDefault, "sqlite")
def _uuid_sqlite(_element: _UuidDefault, _compiler: Any, **_options: Any) -> str:
    return "(lower(hex(randomblob(16))))"


class _ChangeDefault(sa.sql.expression.FunctionElement[int]):
    """The number of the statement that inserts, which the audit's triggers have made; 0 where there is none."""

    inherit_cache = True
    type = sa.BigInteger()


@sa.ext.compiler.compiles(_ChangeDefault, "postgresql")
def _change_postgresql(_element: _ChangeDefault, _compiler: Any, **_options: Any) -> str:
    return CHANGE_OF_INSERT


@sa.ext.compiler.compiles(_ChangeDefault, "sqlite")
def _change_sqlite(_element: _ChangeDefault, _compiler: Any, **_options: Any) -> str:
    return OPEN_CHANGE


class _ChangeServerDefault(_ChangeDefault):
    """The same where a statement says nothing of it; SQLite's defaults cannot ask, so there it is 0."""

    inherit_cache = True


@sa.ext.compiler.compiles(_ChangeServerDefault, "postgresql")
def _change_server_postgresql(_element: _ChangeServerDefault, _compiler: Any, **_options: Any) -> str:
    return CHANGE_OF_INSERT


@sa.ext.compiler.compiles(_ChangeServerDefault, "sqlite")
def _change_server_sqlite(_element: _ChangeServerDefault, _compiler: Any, **_options: Any) -> str:
    return "0"


_SERVER_DEFAULTS: dict[str, Any] = {
    "uuid": _UuidDefault(),
    "now": sa.text("CURRENT_TIMESTAMP"),
    "today": sa.text("CURRENT_DATE"),
    "empty_object": sa.text("'{}'"),
    "empty_list": sa.text("'[]'"),
    "false": sa.false(),
    "zero": sa.text("0"),
    "change": _ChangeServerDefault(),
}


def _column_type(column: Column) -> TypeEngine[Any]:
    if column.type == "guid":
        return GUID()
    if column.type == "text":
        return sa.String(column.length) if column.length else sa.Text()
    if column.type == "integer":
        return sa.BigInteger() if (column.maximum or 0) > 2**31 else sa.Integer()
    if column.type == "number":
        return sa.Double()
    if column.type == "date":
        return sa.Date()
    if column.type == "timestamp":
        return Timestamp()
    if column.type == "boolean":
        return sa.Boolean()
    if column.exact_text:
        return sa.JSON(none_as_null=True)
    return sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")


def _part(columns: tuple[str, ...]) -> str:
    """The part of a name that tells what it is on; the tenant goes without saying."""
    return "_".join(name for name in columns if name != "tenant_id") or columns[0]


def _checks(table: Table, column: Column) -> list[sa.CheckConstraint]:
    checks = []
    # A range as wide as the type itself is the type's business, not a constraint's.
    bounds = []
    if column.minimum is not None:
        bounds.append(f"{column.name} >= {column.minimum:g}")
    if column.maximum is not None and column.maximum < 2**31 - 1:
        bounds.append(f"{column.name} <= {column.maximum:g}")
    if bounds:
        checks.append(sa.CheckConstraint(" AND ".join(bounds), name=f"ck_{table.name}_{column.name}_range"))
    if column.values:
        allowed = ", ".join(f"'{value}'" for value in column.values)
        checks.append(sa.CheckConstraint(f"{column.name} IN ({allowed})", name=f"ck_{table.name}_{column.name}_values"))
    return checks


def _build(table: Table, metadata: sa.MetaData) -> sa.Table:
    built = sa.Table(
        table.name,
        metadata,
        *(
            sa.Column(
                column.name,
                _column_type(column),
                nullable=column.nullable,
                # SQLite's own default cannot ask which change is open; statements made by SQLAlchemy do.
                default=_ChangeDefault() if column.default == "change" else None,
                server_default=_SERVER_DEFAULTS[column.default] if column.default else None,
                comment=column.comment,
            )
            for column in table.columns
        ),
        sa.PrimaryKeyConstraint(*table.primary_key, name=f"pk_{table.name}"),
        *(check for column in table.columns for check in _checks(table, column)),
        *(sa.CheckConstraint(check.condition, name=f"ck_{table.name}_{check.name}") for check in table.checks),
        *(
            sa.ForeignKeyConstraint(
                key.columns,
                [f"{key.table}.{name}" for name in key.references],
                name=f"fk_{table.name}_{key.table}",
                # RESTRICT, not the seed's CASCADE: a complete history does not vanish with a row; erasing a student
                # is an explicit, audited procedure.
                ondelete="RESTRICT",
            )
            for key in table.foreign_keys
        ),
        *(
            sa.UniqueConstraint(*unique.columns, name=f"uq_{table.name}_{_part(unique.columns)}")
            for unique in table.uniques
            if not unique.coalesce and unique.where is None
        ),
        comment=table.comment,
        postgresql_partition_by=f"RANGE ({table.partition_by_month})" if table.partition_by_month else None,
    )
    for unique in table.uniques:
        if not unique.coalesce and unique.where is None:
            continue
        parts = [
            sa.func.coalesce(built.c[name], sa.text(NULL_AS[table.column(name).type]))
            if name in unique.coalesce
            else built.c[name]
            for name in unique.columns
        ]
        predicate = sa.text(unique.where) if unique.where else None
        sa.Index(
            f"uq_{table.name}_{_part(unique.columns) if unique.where is None else unique.where}",
            *parts,
            unique=True,
            postgresql_where=predicate,
            sqlite_where=predicate,
        )
    for index in table.indexes:
        sa.Index(f"ix_{table.name}_{_part(index.columns)}", *(built.c[name] for name in index.columns))
    return built


metadata = sa.MetaData()
_built = {name: _build(table, metadata) for name, table in TABLES.items()}

students = _built["students"]
schools = _built["schools"]
enrollments = _built["enrollments"]
enrollment_statements = _built["enrollment_statements"]
attendance_records = _built["attendance_records"]
attendance_statements = _built["attendance_statements"]
grades = _built["grades"]
discipline_incidents = _built["discipline_incidents"]
student_features = _built["student_features"]
model_metadata = _built["model_metadata"]
predictions = _built["predictions"]
training_feedback = _built["training_feedback"]
model_evaluations = _built["model_evaluations"]
promotion_decisions = _built["promotion_decisions"]
review_proposals = _built["review_proposals"]
ingested_files = _built["ingested_files"]
accepted_removals = _built["accepted_removals"]
quarantined_records = _built["quarantined_records"]
disputed_numbers = _built["disputed_numbers"]
student_merges = _built["student_merges"]
instructional_days = _built["instructional_days"]
weekly_activity = _built["weekly_activity"]
weekly_course_grades = _built["weekly_course_grades"]
pending_updates = _built["pending_updates"]
step_accounts = _built["step_accounts"]
disclosures = _built["disclosures"]
erasures = _built["erasures"]
erased_keys = _built["erased_keys"]
legal_holds = _built["legal_holds"]
retention_removals = _built["retention_removals"]
retention_certificates = _built["retention_certificates"]
