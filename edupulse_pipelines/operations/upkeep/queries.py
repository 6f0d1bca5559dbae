"""The statements of `sql/maintenance/`, by their names: what people can run by hand is what upkeep runs."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

_PACKAGE = Path(__file__).parents[2]
_VERBATIM = {"no_parameters": True}
"""A percent sign in a statement is one; the statements take no parameters."""


@cache
def query(name: str, dialect: str) -> str:
    """The text of a statement, without its semicolon."""
    # Installed, `sql/` lies in the package; in a checkout beside it.
    homes = (_PACKAGE / "sql", _PACKAGE.parent / "sql")
    home = next(home for home in homes if (home / "maintenance").is_dir())
    text = (home / "maintenance" / f"{name}.{dialect}.sql").read_text(encoding="utf-8")
    return text.rstrip().rstrip(";")


def rows_of(connection: Connection, name: str) -> list[dict[str, Any]]:
    """What a statement answers in the dialect of the connection, row by row."""
    return run(connection, query(name, connection.dialect.name))


def run(connection: Connection, statement: str) -> list[dict[str, Any]]:
    """What any statement answers, as it stands."""
    answered: sa.CursorResult[Any] = connection.exec_driver_sql(statement, execution_options=_VERBATIM)
    return [dict(row) for row in answered.mappings()]


def extension_schema(connection: Connection, extension: str) -> str | None:
    """The schema (quoted where needed) of an extension of PostgreSQL in this database; None where it is not made."""
    asked = sa.text(
        "SELECT quote_ident(n.nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace"
        " WHERE e.extname = :extension"
    )
    schema: str | None = connection.scalar(asked, {"extension": extension})
    return schema
