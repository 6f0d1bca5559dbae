"""`edupulse db partitions|maintain|detach-month|attach-month`, as typed, on SQLite and PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from edupulse_pipelines import cli

Edupulse = Callable[..., Result]
ON_POSTGRESQL = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def edupulse(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Edupulse:
    """The command over the test's database."""
    monkeypatch.setenv("EDUPULSE_DATABASE_URL", database_url)
    return lambda *words: CliRunner().invoke(cli.main, ["db", *words, "--home", str(tmp_path)])


def facts(done: Result) -> dict[str, Any]:
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout.splitlines()[-1])


@ON_SQLITE
def test_on_sqlite_there_is_nothing_to_do(edupulse: Edupulse) -> None:
    assert facts(edupulse("partitions", "--json")) == {"partitioned": False, "tables": {}}
    assert "no partitions" in edupulse("partitions").output
    done = facts(edupulse("maintain", "--json"))
    assert (done["partitioned"], done["tables"]) == (False, {})
    for words in (["detach-month", "2024-09"], ["attach-month", "2024-09"]):
        done = edupulse(*words)
        assert (done.exit_code, "one table on SQLite" in done.output) == (1, True)


@ON_POSTGRESQL
def test_a_month_goes_and_comes_back(edupulse: Edupulse, engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO students (tenant_id, district_id, first_name, last_name, date_of_birth, delivered_on)"
            " VALUES ('north', 'ZQ', 'ZQ', 'ZQ', '2010-01-01', '2024-09-09')"
        )
        for day in ("2024-09-02", "2024-09-03", "1924-09-02"):
            connection.exec_driver_sql(
                "INSERT INTO attendance_records (tenant_id, student_id, date, status, delivered_on)"
                f" SELECT tenant_id, id, '{day}', 'present', '2024-09-09' FROM students"
            )
    shown = edupulse("partitions")
    assert shown.exit_code == 0, shown.exception
    for said in ("has no month yet", "3 rows in the default partition", "1924-09  1 row", "edupulse db maintain"):
        assert said in shown.output

    done = facts(edupulse("maintain", "--json"))["tables"]["attendance_records"]
    assert (len(done["made"]), done["moved"], done["left"]) == (4, {"2024-09": 2}, 1)
    assert "0 partitions made, 1 row left there" in edupulse("maintain").output

    listed = facts(edupulse("partitions", "--json"))["tables"]["attendance_records"]
    assert listed["default"] == {"1924-09": 1}
    assert len(listed["months"]) == 4
    oldest = listed["months"][0]
    assert (oldest["month"], oldest["name"], oldest["rows"], oldest["attached"]) == (
        *("2024-09", "attendance_records_y2024m09", 2),
        True,
    )
    assert oldest["bytes"] > 0

    gone = facts(edupulse("detach-month", "2024-09", "--json"))
    assert gone == {"month": "2024-09", "table": "attendance_records_y2024m09", "attached": False}
    assert "2024-09 detached" in edupulse("partitions").output
    again = edupulse("detach-month", "2024-09")
    assert (again.exit_code, "detached already" in again.output) == (1, True)
    back = edupulse("attach-month", "2024-09")
    assert (back.exit_code, "quarantine replay --table attendance_records" in back.output) == (0, True)
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM attendance_records")) == 3


@ON_SQLITE
@pytest.mark.parametrize("month", ["2024", "2024-13", "2024-09-01", "September"])
def test_what_is_no_month_is_wrong_usage(edupulse: Edupulse, month: str) -> None:
    done = edupulse("detach-month", month)
    assert (done.exit_code, "is not a month like 2024-09" in done.output) == (2, True)


def test_an_empty_database_is_said(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli.main, ["db", "partitions", "--home", str(tmp_path)])
    assert (done.exit_code, "edupulse db upgrade" in done.output) == (1, True)
