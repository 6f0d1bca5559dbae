"""Who may do what with whose rows: every role, table, partition and operation, tried by logging in as the role.

What is expected is said here in a few sentences (`expected`), and not read from what makes the policies.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from edupulse_pipelines.governance.role_names import RoleNames
from edupulse_pipelines.operations.partitions import detach_month
from edupulse_pipelines.schema.objects.guards import GUARDED
from edupulse_pipelines.schema.tables import TABLES
from edupulse_pipelines.storage import months
from edupulse_pipelines.storage.engine import create_engine
from edupulse_pipelines.storage.work import EVERY_TENANT, Work
from edupulse_pipelines_tests.governance.two_districts import DAY, NORTH, SOUTH, Rows, another_row, fill, insert_into
from edupulse_pipelines_tests.roles import roles_of

ATTENDANCE = "attendance_records"
MONTH, DEFAULT, DETACHED = f"{ATTENDANCE}_y2025m09", f"{ATTENDANCE}_default", f"{ATTENDANCE}_y2025m10"
PARTITIONS = (MONTH, DEFAULT, DETACHED)
RELATIONS = (*GUARDED, *PARTITIONS)
OPERATIONS = ("SELECT", "INSERT", "UPDATE", "MOVE", "DELETE", "TRUNCATE")
"""MOVE gives a row to the other district."""
Outcome = Literal["done", "nothing", "refused"]
"""Done, or stopped by another rule than one of access; no row was seen; refused for want of a right or by a policy."""
CASES = {"own": (NORTH, NORTH), "other": (SOUTH, NORTH), "other, and named": (SOUTH, SOUTH), "none": (NORTH, "")}
"""Whose row is meant, and the district that the transaction says it is for, seen from the north."""
ROLES = ("loader", "analyst", "auditor", "keeper", "owner", "backup")


def expected(role: str, relation: str, operation: str, case: str) -> Outcome:
    """What has to become of it."""
    if role == "owner":  # the keeper, who has become it
        return "refused" if _is_kept(relation, operation) else "done"
    if role == "backup":
        return "done" if operation == "SELECT" else "refused"
    if relation in PARTITIONS or role == "keeper" or operation == "TRUNCATE":
        return "refused"
    audit = TABLES[relation].access == "audit"
    if role in ("analyst", "auditor"):
        if operation != "SELECT" or audit != (role == "auditor"):
            return "refused"
        return "done" if case in ("own", "none") else "nothing"  # whatever they set
    assert role == "loader"
    if audit and operation != "SELECT":
        return "refused"
    if case in ("own", "other, and named"):  # the loader works for every district, one at a time
        return "refused" if operation == "MOVE" else "done"
    return "refused" if operation == "INSERT" else "nothing"


def _is_kept(relation: str, operation: str) -> bool:
    """Whether triggers keep the owner from it, too: the record of changes is only added to, no table is truncated."""
    if relation == DETACHED:
        return False
    table = TABLES[ATTENDANCE if relation in PARTITIONS else relation]
    if table.access == "audit":
        # An image that has been erased, as this one, may be erased again, which changes nothing.
        return operation in ("UPDATE", "MOVE", "DELETE", "TRUNCATE") and (table.name, operation) != (
            "audit_images",
            "UPDATE",
        )
    if operation == "MOVE":
        return table.audit != "none"
    # Of a table that others refer to PostgreSQL says so before it asks a trigger; one that rows are only added to says
    # that, whoever asks.
    referred_to = {key.table for other in TABLES.values() for key in other.foreign_keys}
    says_otherwise = table.append_only or table.name in referred_to
    return operation == "TRUNCATE" and table.audit != "none" and not says_otherwise


@dataclass
class Districts:
    """The database with roles: `logins` by what the role is for."""

    admin: Engine
    names: RoleNames
    rows: Rows
    logins: dict[str, Engine]

    @property
    def role_of(self) -> dict[str, str]:
        names = self.names
        return {
            "loader": names.loader,
            "analyst": names.analyst(NORTH),
            "auditor": names.auditor(NORTH),
            "keeper": names.keeper,
            "owner": names.owner,
            "backup": names.backup,
        }


@pytest.fixture(scope="module")
def districts(module_database_url: str) -> Iterator[Districts]:
    admin = create_engine(module_database_url)
    with admin.begin() as connection:
        rows = fill(connection)
    work = Work(admin, EVERY_TENANT)
    months.ensure_months(work, ATTENDANCE, [DAY.replace(day=1), DAY.replace(month=10, day=1)])
    detach_month(work, ATTENDANCE, DAY.replace(month=10))
    with admin.begin() as connection:
        for tenant in (NORTH, SOUTH):
            for name, day in ((DEFAULT, DAY.replace(year=2031)), (DETACHED, DAY.replace(month=10))):
                row = another_row(TABLES[ATTENDANCE], tenant, rows) | {"date": day}
                connection.execute(insert_into(name, row), row)
    with roles_of(admin, NORTH, SOUTH) as (names, urls):
        found = Districts(admin, names, rows, {})
        found.logins = {
            role: create_engine(urls[names.keeper], role=names.owner) if role == "owner" else create_engine(urls[name])
            for role, name in found.role_of.items()
        }
        yield found
        for engine in found.logins.values():
            engine.dispose()
    admin.dispose()


def outcome(connection: Connection, rows: Rows, relation: str, operation: str, case: str) -> Outcome:
    """What becomes of one operation; nothing of it stays."""
    whose, said = CASES[case]
    with connection.begin_nested() as savepoint:
        connection.execute(sa.select(sa.func.set_config("app.tenant", said, True)))
        try:
            with connection.begin_nested():
                result = _attempt(connection, rows, relation, operation, whose)
        except sa.exc.DBAPIError as error:
            # Rules of the data (a row that is named elsewhere, a key that is taken) come after those of access.
            if error.orig.pgcode not in ("42501", "0A000") and not error.orig.pgcode.startswith("23"):
                raise
            result = "refused" if error.orig.pgcode == "42501" else "done"
        savepoint.rollback()
    return result


def _attempt(connection: Connection, rows: Rows, relation: str, operation: str, whose: str) -> Outcome:
    table = TABLES[ATTENDANCE if relation in PARTITIONS else relation]
    if operation == "INSERT":
        row = another_row(table, whose, rows)
        if relation == DEFAULT:
            row["date"] = DAY.replace(year=2031)
        return "done" if connection.execute(insert_into(relation, row), row).rowcount else "nothing"
    statement = {
        "SELECT": f"SELECT 1 FROM {relation} WHERE tenant_id = :whose",
        "UPDATE": f"UPDATE {relation} SET tenant_id = tenant_id WHERE tenant_id = :whose",
        "MOVE": f"UPDATE {relation} SET tenant_id = :else WHERE tenant_id = :whose",
        "DELETE": f"DELETE FROM {relation} WHERE tenant_id = :whose",
        "TRUNCATE": f"TRUNCATE {relation}",
    }[operation]
    result = connection.execute(sa.text(statement), {"whose": whose, "else": SOUTH if whose == NORTH else NORTH})
    if operation == "TRUNCATE":
        return "done"
    return "done" if (result.first() is not None if operation == "SELECT" else result.rowcount) else "nothing"


@pytest.mark.parametrize("role", ROLES)
def test_a_role_does_with_whose_rows_what_it_may(districts: Districts, role: str) -> None:
    wrong = {}
    with districts.logins[role].connect() as connection:
        assert connection.scalar(sa.text("SELECT current_user")) == districts.role_of[role]
        for relation in RELATIONS:
            for operation in OPERATIONS:
                for case in CASES:
                    found = outcome(connection, districts.rows, relation, operation, case)
                    if found != expected(role, relation, operation, case):
                        wrong[relation, operation, case] = found
    assert wrong == {}


def test_the_matrix_is_large_enough() -> None:
    assert len(ROLES) * len(RELATIONS) * len(OPERATIONS) * len(CASES) >= 600


_TRIED = [role for role in ROLES if role != "backup"]
"""Those for whom there are policies."""


def test_each_policy_is_needed_for_its_own_cells(districts: Districts) -> None:
    """Without it, and with nothing else changed, cells of its role and its table come out otherwise, and only these."""
    useless = {}
    with districts.admin.connect() as connection:
        policies = connection.execute(
            sa.text("SELECT tablename, policyname, CAST(roles[1] AS text) FROM pg_policies WHERE schemaname = 'public'")
        ).all()
        role_named = {name: role for role, name in districts.role_of.items()}
        for relation, policy, of in policies:
            if of == districts.names.analyst(SOUTH) or of == districts.names.auditor(SOUTH):
                continue  # seen from the north
            with connection.begin_nested() as savepoint:
                connection.exec_driver_sql(f'DROP POLICY "{policy}" ON {relation}')
                changed = {role for role in _TRIED if _is_changed(connection, districts, role, relation)}
                savepoint.rollback()
            if changed != {role_named[of]}:
                useless[relation, policy] = changed
    assert len(policies) >= 100
    assert useless == {}


def _is_changed(connection: Connection, districts: Districts, role: str, relation: str) -> bool:
    with connection.begin_nested() as savepoint:
        connection.exec_driver_sql(f'SET LOCAL SESSION AUTHORIZATION "{districts.role_of[role]}"')
        found = any(
            outcome(connection, districts.rows, relation, operation, case) != expected(role, relation, operation, case)
            for operation in ("SELECT", "INSERT")
            for case in CASES
        )
        savepoint.rollback()
    return found
