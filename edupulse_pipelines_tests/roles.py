"""A PostgreSQL role as an administrator makes it for the weekly work: it reads and writes rows, and owns nothing.

It gets the grants that docs/operating.md tells to give, read from that page, and nothing else: what PostgreSQL gives
everybody is revoked. Needs a server on which roles may be created.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Engine

_OPERATING = Path(__file__).parents[1] / "docs" / "operating.md"


@contextmanager
def loader_role(owner: Engine) -> Iterator[str]:
    """The URL of `owner`'s database for a new role without rights but those on rows; the role is gone afterwards."""
    name, password = f"edupulse_loader_{uuid.uuid4().hex[:8]}", uuid.uuid4().hex
    with owner.begin() as connection:
        schema, database, role = connection.execute(
            sa.text("SELECT current_schema(), quote_ident(current_database()), quote_ident(current_user)")
        ).one()
        connection.exec_driver_sql(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")
        connection.exec_driver_sql(f"REVOKE ALL ON DATABASE {database} FROM PUBLIC")
        connection.exec_driver_sql(f"REVOKE ALL ON SCHEMA {schema} FROM PUBLIC")
        here = {
            "DATABASE edupulse": f"DATABASE {database}",
            "SCHEMA public": f"SCHEMA {schema}",
            "edupulse_owner": role,
            "edupulse_runs": name,
        }
        documented = re.compile(rf"\b({'|'.join(here)})\b")
        for statement in documented_grants():
            connection.exec_driver_sql(documented.sub(lambda word: here[word[0]], statement))
    try:
        yield owner.url.set(username=name, password=password).render_as_string(hide_password=False)
    finally:
        with owner.begin() as connection:
            connection.exec_driver_sql(f"DROP OWNED BY {name}")
            connection.exec_driver_sql(f"DROP ROLE {name}")


def documented_grants() -> list[str]:
    """The statements of the page that give the role its rights."""
    (block,) = re.findall(r"```sql\n(.*?)```", _OPERATING.read_text(encoding="utf-8"), re.DOTALL)
    return [line.rstrip(";") for line in block.splitlines() if line and not line.startswith("--")]
