"""The roles of PostgreSQL as `edupulse db roles` makes them, for the length of a test, each with a URL to log in by.

Roles belong to a whole server: those of a test have a prefix of their own and are gone afterwards, when the tables are
their maker's again.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from edupulse_pipelines.governance.role_names import RoleNames
from edupulse_pipelines.governance.roles import make_roles
from edupulse_pipelines.schema.objects.guards import GUARDED
from edupulse_pipelines.storage.work import EVERY_TENANT, Work


@contextmanager
def roles_of(admin: Engine, *tenants: str) -> Iterator[tuple[RoleNames, dict[str, str]]]:
    """Roles for these districts in the database of a superuser's engine: their names, and the URL each logs in by."""
    names = RoleNames(f"edupulse_{uuid.uuid4().hex[:8]}", tenants)
    made = make_roles(Work(admin, EVERY_TENANT), names)
    assert made.left == []
    urls = {}
    with admin.begin() as connection:
        # What PostgreSQL gives everybody is taken away: the roles need nothing but what they have been given.
        database, schema = connection.execute(
            sa.text("SELECT quote_ident(current_database()), quote_ident(current_schema())")
        ).one()
        connection.exec_driver_sql(f"REVOKE ALL ON DATABASE {database} FROM PUBLIC")
        connection.exec_driver_sql(f"REVOKE ALL ON SCHEMA {schema} FROM PUBLIC")
        for role in names.that_log_in:
            password = uuid.uuid4().hex
            connection.exec_driver_sql(f"ALTER ROLE \"{role}\" PASSWORD '{password}'")
            urls[role] = admin.url.set(username=role, password=password).render_as_string(hide_password=False)
    try:
        yield names, urls
    finally:
        drop_roles(admin, names)


def drop_roles(admin: Engine, names: RoleNames) -> None:
    """Take the roles away, and give the tables back to the admin."""
    with admin.begin() as connection:
        connection.exec_driver_sql(f'REASSIGN OWNED BY "{names.owner}" TO CURRENT_USER')
        for role in (*names.that_log_in, names.owner):
            connection.exec_driver_sql(f'DROP OWNED BY "{role}"')
            connection.exec_driver_sql(f'DROP ROLE "{role}"')
        if connection.scalar(sa.text("SELECT to_regclass(:table)"), {"table": GUARDED[0]}) is not None:
            for table in GUARDED:
                connection.execute(sa.select(sa.func.edupulse_guard(table)))


@contextmanager
def loader_role(admin: Engine) -> Iterator[str]:
    """The URL of the database for the loader, which owns nothing and may read and write rows."""
    with roles_of(admin) as (names, urls):
        yield urls[names.loader]
