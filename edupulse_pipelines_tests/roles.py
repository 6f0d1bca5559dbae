"""A PostgreSQL role as an administrator makes it for the weekly work: it reads and writes rows, and owns nothing.

The grants are the ones that docs/operating.md tells to give. Needs a server on which roles may be created.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.engine import Engine


@contextmanager
def loader_role(owner: Engine) -> Iterator[str]:
    """The URL of `owner`'s database for a new role without rights but those on rows; the role is gone afterwards."""
    name, password = f"edupulse_loader_{uuid.uuid4().hex[:8]}", uuid.uuid4().hex
    with owner.begin() as connection:
        schema = connection.scalar(sa.text("SELECT current_schema()"))
        connection.exec_driver_sql(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")
        # PostgreSQL before 15 lets everybody make tables in `public`.
        connection.exec_driver_sql(f"REVOKE CREATE ON SCHEMA {schema} FROM PUBLIC")
        connection.exec_driver_sql(f"GRANT USAGE ON SCHEMA {schema} TO {name}")
        connection.exec_driver_sql(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {name}")
    try:
        yield owner.url.set(username=name, password=password).render_as_string(hide_password=False)
    finally:
        with owner.begin() as connection:
            connection.exec_driver_sql(f"DROP OWNED BY {name}")
            connection.exec_driver_sql(f"DROP ROLE {name}")
