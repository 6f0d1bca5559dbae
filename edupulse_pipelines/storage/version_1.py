"""A database of version 1.0: what one looks like, where its tables go when it is adopted, and how far that has come.

Version 1.0 is the schema of the seed's documentation: one district a database, no `tenant_id`, no revision of ours.
`edupulse db adopt` (`operations.adoption`) moves its tables to the schema `v1_0` (SQLite: `v1_0_…`), where they stay
until `--finish`. Everybody else is told what the database is (`refuse_version_1`), as nothing else works with it.

What has been adopted is kept beside the old tables, and goes with them: `adoption` (while rows are still brought over
`adoption_under_way`) says for which district, `adopted_batches` what has become of each batch of rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.errors import PermanentError, SchemaBehind
from edupulse_pipelines.schema import migrations
from edupulse_pipelines.schema.declaration import TENANT
from edupulse_pipelines.schema.tables import TABLES
from edupulse_pipelines.storage.sql_names import quoted

SCHEMA = "v1_0"
"""The schema that the old tables go to; on SQLite, which has none, the beginning of their names, before a `_`."""
STUDENTS = "students"
UNDER_WAY, ADOPTED, BATCHES = "adoption_under_way", "adoption", "adopted_batches"
ALEMBIC = "alembic_version"
OLD_TABLES: dict[str, tuple[str, ...]] = {
    STUDENTS: (
        "id",
        "district_id",
        "first_name",
        "last_name",
        "grade_level",
        "date_of_birth",
        "gender",
        "ethnicity",
        "socioeconomic_status",
        "gpa",
        "attendance_rate",
        "parent_contact",
        "enrollment_date",
        "student_metadata",
        "created_at",
        "updated_at",
    ),
    "attendance_records": ("id", "student_id", "date", "status", "period", "created_at"),
    "grades": (
        "id",
        "student_id",
        "course_id",
        "course_name",
        "grade_value",
        "grade_letter",
        "submission_date",
        "assignment_type",
        "created_at",
    ),
    "discipline_incidents": (
        "id",
        "student_id",
        "incident_date",
        "severity_level",
        "incident_type",
        "description",
        "resolution",
        "created_at",
    ),
    "student_features": (
        "student_id",
        "feature_date",
        "attendance_rate",
        "gpa_current",
        "discipline_incidents",
        "feature_vector",
        "created_at",
    ),
    "model_metadata": (
        "id",
        "model_version",
        "model_type",
        "training_date",
        "performance_metrics",
        "hyperparameters",
        "is_active",
        "created_at",
    ),
    "predictions": (
        "id",
        "student_id",
        "prediction_date",
        "risk_score",
        "risk_category",
        "confidence",
        "risk_factors",
        "model_version",
        "created_at",
    ),
    "training_feedback": (
        "id",
        "prediction_id",
        "outcome_date",
        "outcome_type",
        "feedback_type",
        "educator_notes",
        "created_at",
    ),
}
"""The tables of version 1.0 with their columns, in an order in which their rows can be brought over."""


class Adopted(NamedTuple):
    """For which district the old tables are, or were, adopted; when that began, and when all was here (None: not yet).

    Both moments are ISO texts in UTC.
    """

    tenant: str
    begun_at: str
    adopted_at: str | None


def old_name(dialect_name: str, table: str) -> str:
    """The name, as SQL has it, of an old table that has been moved."""
    return f"{SCHEMA}.{quoted(table)}" if dialect_name == "postgresql" else quoted(f"{SCHEMA}_{table}")


def is_version_1(connection: Connection) -> bool:
    """Whether there are students without a district, made by no revision of ours."""
    names = columns_of(connection, STUDENTS)
    if not names or TENANT in names:
        return False
    revision = migrations.current(connection)
    # Version 1.0 could have a revision of its own kind: its documentation names Alembic.
    return revision is None or not migrations.knows(revision)


def refuse_version_1(connection: Connection) -> None:
    """SchemaBehind for a database of version 1.0, and for one that is being adopted; says what to do."""
    if is_version_1(connection):
        raise SchemaBehind(
            "This is a database of version 1.0, which nothing but `edupulse db adopt --tenant NAME` works with: it "
            "brings its rows over (see first what would come of them, with --dry-run). Nothing was changed."
        )
    if UNDER_WAY in moved_tables(connection):
        raise SchemaBehind(
            "This database of version 1.0 is being adopted, and not all of its rows are here: run `edupulse db adopt "
            "--tenant NAME` again, which goes on from where it stopped. Nothing was changed."
        )


def differences_from_version_1(connection: Connection) -> list[str]:
    """What a database lacks of version 1.0, in words; empty when it is one."""
    lacking = []
    for table, wanted in OLD_TABLES.items():
        names = columns_of(connection, table)
        if not names:
            lacking.append(f"the table {table}")
        elif TENANT in names:
            lacking.append(f"a table {table} without {TENANT}")
        else:
            lacking += [f"the column {table}.{name}" for name in wanted if name not in names]
    return lacking


def columns_of(connection: Connection, table: str, *, moved: bool = False) -> dict[str, str]:
    """The columns of a table with their types, as the catalog has them; none when there is no such table.

    moved: of the old table that has been moved.
    """
    if connection.dialect.name == "sqlite":
        name = f"{SCHEMA}_{table}" if moved else table  # found in whatever case it is written
        query = sa.text("SELECT lower(name), lower(type) FROM pragma_table_info(:name)")
        rows = connection.execute(query, {"name": name})
        return dict(map(tuple, rows))
    query = sa.text(
        "SELECT attname, format_type(atttypid, NULL) FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid"
        " JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.relname = :name AND c.relkind IN ('r', 'p') AND attnum > 0 AND NOT attisdropped"
        " AND n.nspname = CASE WHEN :moved THEN :schema ELSE current_schema() END ORDER BY attnum"
    )
    rows = connection.execute(query, {"name": table, "moved": moved, "schema": SCHEMA})
    return dict(map(tuple, rows))


def moved_tables(connection: Connection) -> set[str]:
    """The old tables that have been moved, by their old names, and what is kept of the adoption.

    Read from the catalog, which every role may: to the schema itself only its owner is let in.
    """
    if connection.dialect.name == "sqlite":
        names = connection.scalars(sa.text("SELECT name FROM sqlite_master WHERE type = 'table'")).all()
        return {name.removeprefix(f"{SCHEMA}_") for name in names if name.startswith(f"{SCHEMA}_")}
    query = sa.text(
        "SELECT relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = :schema AND c.relkind IN ('r', 'p')"
    )
    return set(connection.scalars(query, {"schema": SCHEMA}))


def other_schemas(connection: Connection) -> list[str]:
    """The schemas with tables of version 1.0 where this connection does not look for tables; none on SQLite."""
    if connection.dialect.name == "sqlite":
        return []
    query = sa.text(
        "SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'district_id' AND NOT a.attisdropped"
        " WHERE c.relname = :name AND c.relkind IN ('r', 'p') AND n.nspname <> :moved"
        " AND n.nspname IS DISTINCT FROM current_schema() AND NOT EXISTS (SELECT FROM pg_attribute t"
        " WHERE t.attrelid = c.oid AND t.attname = :tenant AND NOT t.attisdropped) ORDER BY 1"
    )
    return list(connection.scalars(query, {"name": STUDENTS, "tenant": TENANT, "moved": SCHEMA}))


def refuse_while_old_tables_stand(connection: Connection, what: str) -> None:
    """PermanentError while the tables of version 1.0 still hold what `what` (`Erasing`, say) would take away."""
    if STUDENTS in moved_tables(connection):
        raise PermanentError(
            f"{what} has to wait: the tables of version 1.0 still stand beside those of now, and hold the same "
            "students. Run `edupulse db adopt --finish` first, which drops them."
        )


def all_tables(connection: Connection) -> list[str]:
    """The tables where ours are, or will be."""
    if connection.dialect.name == "sqlite":
        query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
        return [name for name in connection.scalars(sa.text(query)) if not name.startswith(f"{SCHEMA}_")]
    return list(
        connection.scalars(
            sa.text(
                "SELECT relname FROM pg_class WHERE relnamespace = CAST(current_schema() AS regnamespace)"
                " AND relkind IN ('r', 'p') ORDER BY relname"
            )
        )
    )


def partitions_of(connection: Connection, table: str) -> list[str]:
    """The partitions of a table, and theirs; none on SQLite."""
    if connection.dialect.name == "sqlite":
        return []
    query = sa.text(
        "SELECT c.relname FROM pg_partition_tree(CAST(quote_ident(:name) AS regclass)) t"
        " JOIN pg_class c ON c.oid = t.relid WHERE t.level > 0 ORDER BY c.relname"
    )
    return list(connection.scalars(query, {"name": table}))


def move_old_tables(connection: Connection) -> None:
    """Move the old tables, and what else has the name of a table of ours, out of the way.

    Rows, keys, indexes and references go with them; nothing is in the way (`refuse_what_is_in_the_way`). The
    transaction is the caller's, and no statement here ends it.
    """
    going = [name for name in all_tables(connection) if plain_name(connection, name) in {*OLD_TABLES, *TABLES, ALEMBIC}]
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET LOCAL lock_timeout = '10s'")  # an application that still uses them
        connection.exec_driver_sql(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
        for name in going:
            for part in partitions_of(connection, name):
                connection.exec_driver_sql(f"ALTER TABLE {quoted(part)} SET SCHEMA {SCHEMA}")
            connection.exec_driver_sql(f"ALTER TABLE {quoted(name)} SET SCHEMA {SCHEMA}")
        connection.exec_driver_sql("SET LOCAL lock_timeout = DEFAULT")
    else:
        # Otherwise ON DELETE CASCADE of the old tables would point at the new students.
        connection.exec_driver_sql("PRAGMA legacy_alter_table = OFF")
        for name in going:
            _rename(connection, name, old_name("sqlite", plain_name(connection, name)))
        _refuse_references_to_new_tables(connection, [plain_name(connection, name) for name in going])
        _rename_indexes(connection)


def plain_name(connection: Connection, name: str) -> str:
    """A table's name as the database compares it: SQLite does not tell `Students` from `students`."""
    return name.lower() if connection.dialect.name == "sqlite" else name


def refuse_what_is_in_the_way(connection: Connection) -> None:
    """PermanentError when `v1_0` is taken, or what is no table (a view, say) has the name of one that is made here."""
    if taken := moved_tables(connection):
        raise PermanentError(
            f"{old_name(connection.dialect.name, sorted(taken)[0])} is there already, where the tables of version 1.0 "
            "would go. Rename it. Nothing was changed."
        )
    if connection.dialect.name == "sqlite":
        query = "SELECT name, type FROM sqlite_master WHERE type <> 'table'"
    else:
        query = (
            "SELECT relname, CASE relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'S' THEN"
            " 'sequence' WHEN 'f' THEN 'foreign table' WHEN 'c' THEN 'type' ELSE 'index' END FROM pg_class"
            " WHERE relnamespace = CAST(current_schema() AS regnamespace) AND relkind NOT IN ('r', 'p', 't')"
        )
    for name, kind in connection.exec_driver_sql(query):
        if plain_name(connection, name) in TABLES:
            raise PermanentError(
                f"There is a {kind} {name}, which has the name of a table that is made here: rename it, or drop it, "
                "first. Nothing was changed."
            )


def _rename(connection: Connection, name: str, new: str) -> None:
    """Rename a table of SQLite; PermanentError where a view or trigger does not let it, which need not be about it."""
    try:
        connection.exec_driver_sql(f"ALTER TABLE {quoted(name)} RENAME TO {new}")
    except sa.exc.OperationalError as error:
        if not str(error.orig).startswith("error in "):
            raise
        raise PermanentError(
            f"SQLite renames no table while a view or a trigger is broken ({error.orig}): drop that one, or mend it, "
            "first. Nothing was changed."
        ) from None


_INDEX = re.compile(r"(CREATE\s+(?:UNIQUE\s+)?INDEX\s+)(?:\"(?:[^\"]|\"\")*\"|`[^`]*`|\[[^]]*\]|'[^']*'|[^\s(]+)", re.I)
_INDEXES_OF_OURS = ("ix_", "uq_")
"""How names of indexes of ours begin; SQLAlchemy names those of others so, too."""


def _rename_indexes(connection: Connection) -> None:
    """Give indexes of moved tables that may have the name of one of ours another one: on SQLite a file has each once.

    They are made anew, as SQLite renames none.
    """
    query = sa.text(
        "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL AND instr(tbl_name, :prefix) = 1"
    )
    for name, made in connection.execute(query, {"prefix": f"{SCHEMA}_"}).all():
        if name.lower().startswith(_INDEXES_OF_OURS):
            begin = _INDEX.match(made)
            assert begin is not None
            connection.exec_driver_sql(f"DROP INDEX {quoted(name)}")
            connection.exec_driver_sql(
                begin[1] + quoted(f"{SCHEMA}_{name}") + made[begin.end() :],
                execution_options={"no_parameters": True},
            )


def _refuse_references_to_new_tables(connection: Connection, moved: Iterable[str]) -> None:
    for name in moved:
        query = sa.text('SELECT "table" FROM pragma_foreign_key_list(:name)')
        for target in connection.scalars(query, {"name": f"{SCHEMA}_{name}"}):
            if target.lower() in OLD_TABLES:
                raise PermanentError(
                    f"This SQLite leaves references of {SCHEMA}_{name} at {target} when that is renamed, and they would"
                    " delete rows with those of the new table. Nothing was changed."
                )


def views_of_old_tables(connection: Connection, *, moved: bool) -> list[str]:
    """The views that read a table of version 1.0, and on SQLite triggers of other tables that name one.

    They stay where they are, and go on reading the old tables, which they keep from being dropped.
    """
    if connection.dialect.name == "sqlite":
        names = [old_name("sqlite", name).strip('"') if moved else name for name in OLD_TABLES]
        pattern = re.compile(rf"\b({'|'.join(names)})\b", re.I)
        listed = "SELECT name, tbl_name, sql FROM sqlite_master WHERE type IN ('view', 'trigger') ORDER BY name"
        found = connection.exec_driver_sql(listed).all()
        return [name for name, of, made in found if pattern.search(made) and not pattern.fullmatch(of)]
    query = sa.text(
        "SELECT DISTINCT CAST(CAST(v.oid AS regclass) AS text) FROM pg_depend d"
        " JOIN pg_rewrite r ON r.oid = d.objid JOIN pg_class v ON v.oid = r.ev_class"
        " JOIN pg_class t ON t.oid = d.refobjid JOIN pg_namespace n ON n.oid = t.relnamespace"
        " WHERE d.classid = CAST('pg_rewrite' AS regclass) AND d.refclassid = CAST('pg_class' AS regclass)"
        " AND v.oid <> t.oid AND t.relname = ANY(:names) AND n.nspname = CASE WHEN :moved THEN :schema ELSE"
        " current_schema() END ORDER BY 1"
    )
    return list(connection.scalars(query, {"names": list(OLD_TABLES), "moved": moved, "schema": SCHEMA}))


def begin_adoption(connection: Connection, tenant: str, begun_at: str) -> None:
    """Keep beside the moved tables for whom they are adopted; nothing of it has come over yet."""
    dialect = connection.dialect.name
    connection.exec_driver_sql(
        f"CREATE TABLE {old_name(dialect, UNDER_WAY)}"
        " (tenant_id VARCHAR(50) NOT NULL, begun_at VARCHAR(40) NOT NULL, adopted_at VARCHAR(40))"
    )
    connection.exec_driver_sql(
        f"CREATE TABLE {old_name(dialect, BATCHES)} (table_name VARCHAR(63) NOT NULL, batch VARCHAR(20) NOT NULL,"
        " rows_read BIGINT NOT NULL, kept BIGINT NOT NULL, repeated BIGINT NOT NULL, quarantined BIGINT NOT NULL,"
        " counts TEXT NOT NULL, PRIMARY KEY (table_name, batch))"
    )
    insert = f"INSERT INTO {old_name(dialect, UNDER_WAY)} (tenant_id, begun_at) VALUES (:tenant, :begun)"
    connection.execute(sa.text(insert), {"tenant": tenant, "begun": begun_at})


def analyse_old_tables(connection: Connection) -> None:
    """Have PostgreSQL know how many rows the moved tables have, so that it reads each batch by its index."""
    if connection.dialect.name == "postgresql":
        for table in OLD_TABLES:
            connection.exec_driver_sql(f"ANALYZE {old_name('postgresql', table)}")


def adopted_for(connection: Connection) -> Adopted | None:
    """What is kept of the adoption of the old tables; None without any."""
    there = moved_tables(connection)
    state = UNDER_WAY if UNDER_WAY in there else ADOPTED if ADOPTED in there else None
    if state is None:
        return None
    name = old_name(connection.dialect.name, state)
    row = connection.execute(sa.text(f"SELECT tenant_id, begun_at, adopted_at FROM {name}")).one()
    return Adopted(*row)


def end_adoption(connection: Connection, adopted_at: str) -> None:
    """All rows are here: from now on the database is like any other."""
    dialect = connection.dialect.name
    connection.execute(
        sa.text(f"UPDATE {old_name(dialect, UNDER_WAY)} SET adopted_at = :moment"), {"moment": adopted_at}
    )
    new = ADOPTED if dialect == "postgresql" else old_name(dialect, ADOPTED)
    connection.exec_driver_sql(f"ALTER TABLE {old_name(dialect, UNDER_WAY)} RENAME TO {new}")


def drop_old_tables(connection: Connection) -> list[str]:
    """Drop the tables of version 1.0 and what was kept of the adoption; the other tables that were moved, which stay.

    What still refers to one of them keeps it from being dropped, and is an error of the database.
    """
    dialect = connection.dialect.name
    there = moved_tables(connection)
    parts: set[str] = set()
    for name in (*reversed(OLD_TABLES), BATCHES, ADOPTED, ALEMBIC):
        if name in there:
            if dialect == "postgresql":
                connection.exec_driver_sql(f"SET LOCAL search_path TO {SCHEMA}")
                parts.update(partitions_of(connection, name))
                connection.exec_driver_sql("SET LOCAL search_path TO DEFAULT")
            connection.exec_driver_sql(f"DROP TABLE {old_name(dialect, name)}")
    left = sorted(there - set(OLD_TABLES) - {BATCHES, ADOPTED, ALEMBIC} - parts)
    if dialect == "postgresql" and not left:
        _drop_schema_if_empty(connection)
    return left


def _drop_schema_if_empty(connection: Connection) -> None:
    """Drop `v1_0`, unless somebody keeps something else in it."""
    try:
        with connection.begin_nested():
            connection.exec_driver_sql(f"DROP SCHEMA {SCHEMA}")
    except sa.exc.InternalError:  # other objects depend on it
        return
