"""What each role may do with which table: the privileges and the policies of row-level security, and who differs.

All of it is derived from the declaration (`tenant_owned`, `access`) and the names of the roles:

- The loader reads and writes the rows of the district that `app.tenant` names in its transaction; without one there are
  no rows for it, and none can be written. The setting guards against a mistake of the pipelines and not against a
  person, who may set it to anything.
- So the policy of each analyst, and each auditor, names its district itself: nothing that they can set matters.
- Nobody has a privilege on a partition, where the policies of its table would not hold.

`let_in` makes it so and changes nothing that is so already, because a policy is changed under a lock that keeps every
reader out; `deviations` says what is otherwise. Both work as the owner. The owner's own policy is the schema's
(`schema.objects.guards`); who the roles are is `roles`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.governance.role_names import RoleNames, fitting
from edupulse_pipelines.schema.objects.guards import GUARDED, OWNER_POLICY, POLICY_PREFIX
from edupulse_pipelines.schema.objects.months import FOR_WRITERS
from edupulse_pipelines.schema.tables import TABLES
from edupulse_pipelines.storage.sql_names import quoted

OF_TRANSACTION = "tenant_id = (SELECT nullif(current_setting('app.tenant', true), ''))"
"""The rows of the district that the transaction is for. After a transaction the setting is an empty text, not NULL."""
_WRITES = "SELECT, INSERT, UPDATE, DELETE"
_ALEMBIC = "alembic_version"


@dataclass(frozen=True)
class Policy:
    """Which rows of a table a role sees (`rows`, a condition), and may leave behind where it writes."""

    table: str
    name: str
    role: str
    rows: str
    writes: bool

    @property
    def statements(self) -> tuple[str, str]:
        """What makes it, whatever stands there under its name."""
        command = "ALL" if self.writes else "SELECT"
        check = f" WITH CHECK ({self.rows})" if self.writes else ""
        return (
            f"DROP POLICY IF EXISTS {quoted(self.name)} ON {self.table}",
            f"CREATE POLICY {quoted(self.name)} ON {self.table} FOR {command} TO {quoted(self.role)}"
            f" USING ({self.rows}){check}",
        )


@dataclass(frozen=True)
class Grant:
    """What a role may do with a table."""

    table: str
    role: str
    privileges: str

    @property
    def statements(self) -> tuple[str, str]:
        """What gives it that and nothing else."""
        return (
            f"REVOKE ALL ON {self.table} FROM {quoted(self.role)}",
            f"GRANT {self.privileges} ON {self.table} TO {quoted(self.role)}",
        )


def literal(text: str) -> str:
    """A text as a constant of PostgreSQL, as it is read whatever the settings of the session."""
    return "'" + text.replace("'", "''") + "'"


def policies(names: RoleNames) -> Iterator[Policy]:
    """Every policy of the roles, table by table."""
    for table in GUARDED:
        yield Policy(table, f"{POLICY_PREFIX}loader", names.loader, OF_TRANSACTION, writes=_writes(table))
        for tenant in names.tenants:
            kind, role = ("analyst", names.analyst(tenant))
            if TABLES[table].access == "audit":
                kind, role = ("auditor", names.auditor(tenant))
            name = fitting(f"{POLICY_PREFIX}{kind}_{tenant}")
            yield Policy(table, name, role, f"tenant_id = {literal(tenant)}", writes=False)


def grants(names: RoleNames) -> Iterator[Grant]:
    """Every privilege of the roles on a table."""
    yield Grant(_ALEMBIC, names.loader, "SELECT")
    for table in GUARDED:
        yield Grant(table, names.loader, _WRITES if _writes(table) else "SELECT")
        of = names.auditor if TABLES[table].access == "audit" else names.analyst
        for tenant in names.tenants:
            yield Grant(table, of(tenant), "SELECT")


def _writes(table: str) -> bool:
    return TABLES[table].access == "rows"


def statements(names: RoleNames) -> list[str]:
    """All of it as the owner's statements, for somebody to read and to run by hand; they may be repeated."""
    written = [f"SELECT edupulse_guard({literal(table)})" for table in GUARDED]
    for grant in grants(names):
        written += grant.statements
    written += [f"GRANT EXECUTE ON FUNCTION {function} TO {quoted(names.loader)}" for function in FOR_WRITERS]
    for policy in policies(names):
        written += policy.statements
    return written


def let_in(connection: Connection, names: RoleNames) -> int:
    """Give the roles what is theirs on tables that are as declared, as the owner; how many statements that took.

    What is so already stays untouched. The roles have to be there.
    """
    for table in GUARDED:
        connection.execute(sa.select(sa.func.edupulse_guard(table)))
    missing = [
        f"GRANT EXECUTE ON FUNCTION {function} TO {quoted(names.loader)}"
        for function in FOR_WRITERS
        if not connection.scalar(sa.select(sa.func.has_function_privilege(names.loader, function, "EXECUTE")))
    ]
    held = _privileges(connection)
    for grant in grants(names):
        if held.pop((grant.table, grant.role), "") != grant.privileges:
            missing += grant.statements
    ours = {names.loader, *names.of_districts}
    missing += [f"REVOKE ALL ON {table} FROM {quoted(role)}" for table, role in held if role in ours]
    present, wanted = _present(connection), _wanted(connection, names)
    for policy in policies(names):
        if present.pop((policy.table, policy.name), None) != wanted[policy.table, policy.name]:
            missing += policy.statements
    for statement in missing:
        connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
    return len(missing)


def let_in_if_there(connection: Connection, names: RoleNames) -> int:
    """`let_in` where the roles have been made, after an upgrade; a database without roles stays one."""
    return let_in(connection, names) if roles_are_there(connection, names) else 0


def deviations(connection: Connection, names: RoleNames) -> list[str]:
    """What is otherwise than `let_in` makes it, in words; also policies, privileges and views that let others in.

    Of a database without roles only what is open.
    """
    shown = [f"{name} shows its rows to whom no policy lets in" for name in open_relations(connection)]
    if not roles_are_there(connection, names):
        return shown
    held, present, wanted = _privileges(connection), _present(connection), _wanted(connection, names)
    passing = connection.scalars(
        sa.text("SELECT rolname FROM pg_roles WHERE rolname = ANY(:names) AND (rolsuper OR rolbypassrls) ORDER BY 1"),
        {"names": [names.loader, names.keeper, *names.of_districts]},
    )
    shown += [f"{role} passes every policy (SUPERUSER or BYPASSRLS)" for role in passing]
    shown += memberships(connection, names)
    found = [
        f"{grant.role} has {privileges or 'no privilege'} on {grant.table}, not {grant.privileges}"
        for grant in grants(names)
        if (privileges := held.pop((grant.table, grant.role), "")) != grant.privileges
    ]
    ours = {names.loader, *names.of_districts}
    found += [f"{role} has {privileges} on {table}" for (table, role), privileges in held.items() if role in ours]
    for key, policy in wanted.items():
        if key not in present:
            found.append(f"the policy {key[1]} of {key[0]} is missing")
        elif present.pop(key) != policy:
            found.append(f"the policy {key[1]} of {key[0]} is another one")
    found += [f"{table} has a policy {name} that no setting asks for" for table, name in present]
    return found + shown


def memberships(connection: Connection, names: RoleNames) -> list[str]:
    """Roles that could work as the owner or as another role, and must not, each with what ends it."""
    rows = connection.execute(
        sa.text(
            "SELECT member.rolname, role.rolname FROM pg_roles member, pg_roles role"
            " WHERE member.rolname = ANY(:members) AND role.rolname = ANY(:roles) AND member.oid <> role.oid"
            " AND NOT member.rolsuper AND pg_has_role(member.oid, role.oid, 'MEMBER') ORDER BY 1, 2"
        ),
        {
            "members": [names.loader, names.backup, *names.of_districts],
            "roles": [names.owner, names.keeper, names.loader, *names.of_districts],
        },
    )
    return [
        f"The role {member} is a member of {role} and must not be: REVOKE {quoted(role)} FROM {quoted(member)}."
        for member, role in rows
    ]


def roles_are_there(connection: Connection, names: RoleNames) -> bool:
    """Whether all roles that have a privilege on tables are there, and the tables are the owner's."""
    asked = [names.owner, names.loader, *names.of_districts]
    there = connection.scalar(sa.text("SELECT count(*) FROM pg_roles WHERE rolname = ANY(:names)"), {"names": asked})
    owner = connection.scalar(
        sa.text("SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = to_regclass(:table)"), {"table": GUARDED[0]}
    )
    return there == len(asked) and owner == names.owner


def open_relations(connection: Connection) -> list[str]:
    """Tables of districts and partitions whose rows are not guarded, and views that look at them as their owner."""
    rows = connection.execute(sa.text(_OPEN), {"tables": list(GUARDED)})
    return [name for (name,) in rows]


_OPEN = r"""
WITH ours AS (
    SELECT c.oid, c.relname, c.relrowsecurity AND c.relforcerowsecurity AS guarded
    FROM pg_class c
    WHERE c.relnamespace = CAST(current_schema() AS regnamespace) AND (
        c.relname = ANY(:tables)
        OR c.relname ~ ('^(' || array_to_string(CAST(:tables AS text[]), '|') || ')_(y\d{4}m\d\d|default)$')
    ) AND c.relkind IN ('r', 'p')
)
SELECT CAST(relname AS text) FROM ours WHERE NOT guarded
UNION
SELECT v.relname FROM pg_class v JOIN pg_rewrite r ON r.ev_class = v.oid
JOIN pg_depend d ON d.objid = r.oid AND d.classid = CAST('pg_rewrite' AS regclass) JOIN ours ON ours.oid = d.refobjid
WHERE v.relkind = 'm'
   OR v.relkind = 'v' AND NOT coalesce(CAST(v.reloptions AS text) ~ 'security_invoker=(true|on|1)', false)
ORDER BY 1
"""


def _privileges(connection: Connection) -> dict[tuple[str, str], str]:
    """By table (a partition too) and role what the role may do, as a grant lists it; the owner's are left out."""
    rows = connection.execute(
        sa.text(
            "SELECT c.relname, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee) END,"
            " string_agg(a.privilege_type, ', ' ORDER BY array_position("
            "  '{SELECT,INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER,MAINTAIN}', a.privilege_type))"
            " FROM pg_class c, aclexplode(c.relacl) a"
            " WHERE c.relnamespace = CAST(current_schema() AS regnamespace) AND c.relkind IN ('r', 'p')"
            " AND a.grantee <> c.relowner GROUP BY 1, 2 ORDER BY 1, 2"
        )
    )
    return {(table, role): privileges for table, role, privileges in rows}


def _present(connection: Connection) -> dict[tuple[str, str], tuple[str, ...]]:
    """By table and name the policies there are, the owner's left out."""
    rows = connection.execute(
        sa.text(
            "SELECT c.relname, p.polname, CAST(p.polcmd AS text), CAST(p.polpermissive AS text),"
            " (SELECT string_agg(CASE r WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(r) END, ' ')"
            "  FROM unnest(p.polroles) r),"
            " coalesce(pg_get_expr(p.polqual, c.oid), ''), coalesce(pg_get_expr(p.polwithcheck, c.oid), '')"
            " FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid"
            " WHERE c.relnamespace = CAST(current_schema() AS regnamespace)"
            " AND c.relname = ANY(:tables) AND p.polname <> :owner ORDER BY 1, 2"
        ),
        {"tables": list(GUARDED), "owner": OWNER_POLICY},
    )
    return {(table, name): tuple(rest) for table, name, *rest in rows}


def _wanted(connection: Connection, names: RoleNames) -> dict[tuple[str, str], tuple[str, ...]]:
    """As `_present` would read the policies of the roles, in the server's own spelling of their conditions."""
    spelt: dict[str, str] = {}
    connection.exec_driver_sql("DROP TABLE IF EXISTS pg_temp.edupulse_spelt")
    connection.exec_driver_sql("CREATE TEMPORARY TABLE edupulse_spelt (tenant_id VARCHAR(50)) ON COMMIT DROP")
    for policy in policies(names):
        if policy.rows not in spelt:
            spelt[policy.rows] = f"spelt_{len(spelt)}"
            connection.exec_driver_sql(
                f"CREATE POLICY {spelt[policy.rows]} ON edupulse_spelt USING ({policy.rows})",
                execution_options={"no_parameters": True},
            )
    rows = connection.execute(
        sa.text(
            "SELECT polname, pg_get_expr(polqual, polrelid) FROM pg_policy"
            " WHERE polrelid = CAST('pg_temp.edupulse_spelt' AS regclass)"
        )
    )
    expressions: dict[str, str] = dict(rows.tuples().all())
    connection.exec_driver_sql("DROP TABLE pg_temp.edupulse_spelt")
    return {
        (policy.table, policy.name): (
            "*" if policy.writes else "r",
            "true",
            policy.role,
            expressions[spelt[policy.rows]],
            expressions[spelt[policy.rows]] if policy.writes else "",
        )
        for policy in policies(names)
    }
