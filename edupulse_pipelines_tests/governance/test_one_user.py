"""A PostgreSQL database with one user, who makes and owns the tables: nothing has to be set up, and nothing is missing.

And a database of an earlier release, with rights on its partitions and no row-level security, after `db upgrade`.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from edupulse_pipelines.features import update_student_features, update_weekly_activity
from edupulse_pipelines.governance.access import deviations, open_relations
from edupulse_pipelines.governance.role_names import RoleNames
from edupulse_pipelines.ingest.writers import attendance
from edupulse_pipelines.operations.partitions import attach_month, detach_month, maintain
from edupulse_pipelines.storage import months, versions
from edupulse_pipelines.storage.engine import create_engine
from edupulse_pipelines.storage.work import EVERY_TENANT, Work
from edupulse_pipelines_tests.ingest.district import ATTENDANCE_HEADER, STUDENT_HEADER, District

SEPTEMBER, OCTOBER = dt.date(2025, 9, 1), dt.date(2025, 10, 1)
TABLE = "attendance_records"


@pytest.fixture
def owner(postgresql_url: str) -> Iterator[Engine]:
    """An engine of a user that is no superuser, owns an empty database, and is not there afterwards."""
    admin = create_engine(postgresql_url)
    name, password = f"edupulse_solo_{uuid.uuid4().hex[:8]}", uuid.uuid4().hex
    with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")
        connection.exec_driver_sql(f"ALTER DATABASE {admin.url.database} OWNER TO {name}")
        connection.exec_driver_sql(f"ALTER SCHEMA public OWNER TO {name}")
    made = create_engine(admin.url.set(username=name, password=password).render_as_string(hide_password=False))
    yield made
    made.dispose()
    with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f"ALTER DATABASE {admin.url.database} OWNER TO CURRENT_USER")
        connection.exec_driver_sql(f"DROP OWNED BY {name}; DROP ROLE {name}")
    admin.dispose()


def test_one_user_does_it_all(owner: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attendance, "BULK_ROWS", 10)
    versions.upgrade(owner)
    versions.ensure_current(owner)
    everybody = Work(owner, EVERY_TENANT)
    maintain(everybody, SEPTEMBER)
    for name in ("north", "south"):
        district = District(owner, tmp_path / name, name=name)
        numbers = [f"ZQ{number}" for number in range(5)]
        people = "\n".join([STUDENT_HEADER, *(f"{number},ZQ,ZQ,2010-01-01" for number in numbers), ""])
        for week in (1, 2, 6):
            days = [SEPTEMBER + dt.timedelta(days=7 * week - 7 + day) for day in range(5)]
            lines = [f"{number},{day},present" for number in numbers for day in days]
            district.land(week, students=people, attendance_records="\n".join([ATTENDANCE_HEADER, *lines, ""]))
        assert district.run()[TABLE].counts == (75, 75, 0, 0, 0)
        assert district.run()[TABLE].counts == (75, 0, 0, 75, 0)
        assert update_weekly_activity(district.work).inserted
        assert update_student_features(district.work).inserted
    assert detach_month(everybody, TABLE, SEPTEMBER).name == f"{TABLE}_y2025m09"
    attach_month(everybody, TABLE, SEPTEMBER)
    with owner.connect() as connection:
        assert set(months.partitions(connection, TABLE)) >= {SEPTEMBER, OCTOBER}
        assert connection.execute(sa.text(f"SELECT tenant_id, count(*) FROM {TABLE} GROUP BY 1 ORDER BY 1")).all() == [
            ("north", 75),
            ("south", 75),
        ]
        assert open_relations(connection) == []
        assert deviations(connection, RoleNames("edupulse_of_nobody", ("north",))) == []
    versions.upgrade(owner)
    assert versions.check(owner) == []


def test_an_upgrade_guards_the_tables_and_months_that_were_there(owner: Engine) -> None:
    """A later version's UPDATE has to find its rows, also where somebody has dropped the owner's policy."""
    versions.upgrade(owner)
    work = Work(owner, EVERY_TENANT)
    months.ensure_months(work, TABLE, [SEPTEMBER, OCTOBER])
    detach_month(work, TABLE, OCTOBER)
    relations = ("students", TABLE, f"{TABLE}_y2025m09", f"{TABLE}_y2025m10", f"{TABLE}_default")
    with owner.begin() as connection:
        for name in relations:
            connection.exec_driver_sql(f"ALTER TABLE {name} NO FORCE ROW LEVEL SECURITY, DISABLE ROW LEVEL SECURITY")
            connection.exec_driver_sql(f"GRANT SELECT ON {name} TO PUBLIC")
            connection.exec_driver_sql(f"DROP POLICY edupulse_owner ON {name}")
        assert open_relations(connection) == sorted(relations)
    assert "missing: policy students edupulse_owner" in versions.check(owner)
    versions.upgrade(owner)
    assert versions.check(owner) == []
    with owner.connect() as connection:
        assert open_relations(connection) == []
        given = (
            "SELECT relname FROM pg_class c, aclexplode(c.relacl) a WHERE a.grantee = 0 AND relname LIKE 'att%%_rec%%'"
        )
        assert connection.exec_driver_sql(given).scalars().all() == [TABLE]
