"""Killed at any point, a run leaves nothing half done: the next one ends as if nothing had happened.

Week 1 is loaded; the run over weeks 2 and 3 is killed (`kill -9`) and run again. What stands in every table
then, ids and moments aside, is what stands there after a run that was never killed.
"""

from __future__ import annotations

import copy
import datetime as dt
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import sqlalchemy as sa

from edupulse_pipelines.features.store import update_student_features
from edupulse_pipelines.features.weekly_activity import update_weekly_activity
from edupulse_pipelines.ingest.archive import archive_files
from edupulse_pipelines.ingest.changed_files import SETTLED_SECONDS
from edupulse_pipelines.ingest.load import load_records
from edupulse_pipelines.ingest.validation import Expectations
from edupulse_pipelines.schema.sqlalchemy_tables import model_metadata, predictions, students
from edupulse_pipelines.schema.tables import RECORD_TABLES
from edupulse_pipelines.settings import load_settings
from edupulse_pipelines.sources.synthetic_district import first_week, generate_district
from edupulse_pipelines.storage.engine import create_engine
from edupulse_pipelines.storage.ids import new_ids
from edupulse_pipelines.storage.versions import upgrade
from edupulse_pipelines.storage.work import Work
from edupulse_pipelines.weeks import WEEK, last_closed_week
from edupulse_pipelines_tests.conftest import BACKENDS, _create_database, _drop_database
from edupulse_pipelines_tests.ingest.conftest import _judge
from edupulse_pipelines_tests.ingest.district import ATTENDANCE_HEADER, FIRST_WEEK, STUDENT_HEADER, District
from edupulse_pipelines_tests.ingest.interruptions import Child, Command, Job, Kill, State, start, state

GRADES = "district_id,course_id,submission_date,grade_value,source_record_id"
INCIDENTS = "district_id,incident_date,severity_level,source_record_id"
ENROLLMENTS = "district_id,school_id,entry_date,exit_date"
FEEDBACK = "district_id,prediction_date,feedback_type,educator_notes"

LANDING: dict[int, dict[str, str]] = {
    1: {
        "students": f"{STUDENT_HEADER},gpa\nZQ1,ZQa,ZQ,2010-01-01,3\nZQ2,ZQb,ZQ,2010-01-01,\nZQ3,ZQc,ZQ,2010-01-01,2\n",
        "attendance_records": f"{ATTENDANCE_HEADER}\nZQ1,2025-09-02,absent\nZQ2,2025-09-02,present\n"
        "ZQ9,2025-09-02,present\nZQ3,2025-09-02,?\n",
        "grades": f"{GRADES}\nZQ1,ZQm,2025-09-02,50,r1\nZQ1,ZQm,2025-09-02,60,\nZQ2,ZQm,2025-09-02,101,r2\n",
        "discipline_incidents": f"{INCIDENTS}\nZQ1,2025-09-02,1,i1\n",
        "schools": "school_id,name\n1,ZQ north\n2,ZQ south\n",
        "enrollments": f"{ENROLLMENTS}\nZQ1,1,2025-09-01,\nZQ2,1,2025-09-01,\n",
    },
    2: {
        # A correction, a new student, and a line that is cut.
        "students": f"{STUDENT_HEADER},gpa\nZQ1,ZQa,ZQ,2010-01-01,1\nZQ4,ZQd,ZQ,2010-01-01,4\nZQ5,ZQ\n",
        # New and corrected rows, a repeat, a conflict, a student of week 3, earlier months, a second part.
        "attendance_records": f"{ATTENDANCE_HEADER},period\nZQ1,2025-09-02,excused,\nZQ1,2025-09-09,present,1\n"
        "ZQ1,2025-09-09,present,01\nZQ2,2025-09-09,absent,\nZQ2,2025-09-09,tardy,\nZQ8,2025-09-09,absent,2\n"
        "ZQ4,2025-09-10,here,\nZQ1,2025-08-29,absent,\n"
        "ZQ1,2025-07-01,tardy,\nZQ2,2025-07-01,tardy,\nZQ3,2025-07-01,tardy,\nZQ4,2025-07-01,tardy,\n",
        "attendance_records__b": f"{ATTENDANCE_HEADER}\nZQ3,2025-09-10,tardy\nZQ4,2025-09-11,present\n",
        "grades": f"{GRADES}\nZQ1,ZQm,2025-09-02,55,r1\nZQ1,ZQm,2025-09-09,70,\nZQ1,ZQm,2025-09-09,70,\n"
        "ZQ2,ZQm,2025-09-09,120,r3\nZQ8,ZQm,2025-09-09,80,r4\n",
        "discipline_incidents": f"{INCIDENTS}\nZQ1,2025-09-09,2,i1\nZQ8,2025-09-09,5,i2\nZQ2,2026-09-09,1,i3\n",
        # A transfer, a school and a student of week 3.
        "enrollments": f"{ENROLLMENTS}\nZQ1,1,2025-09-01,2025-09-10\nZQ1,2,2025-09-10,\nZQ3,3,2025-09-08,\n"
        "ZQ8,2,2025-09-08,\n",
        "training_feedback": f"{FEEDBACK}\nZQ1,2025-09-07,true_positive,ZQ\nZQ2,2025-09-08,false_positive,ZQ\n"
        "ZQ3,2025-09-07,true_positive,ZQ\nZQ1,2025-09-07,true_positive\n",
    },
    3: {
        "students": f"{STUDENT_HEADER}\nZQ8,ZQh,ZQ,2010-01-01\nZQ9,ZQi,ZQ,2010-01-01\nZQ2,ZQb,ZQx,2010-01-01\n",
        "attendance_records": f"{ATTENDANCE_HEADER}\nZQ2,2025-09-09,absent\nZQ1,2025-09-17,present\n"
        "ZQ9,2025-09-17,present\n",
        "grades": f"{GRADES}\nZQ1,ZQm,2025-09-02,55,r1\nZQ8,ZQm,2025-09-16,90,r5\n",
        # Refused: the file does not say whose grades these are.
        "grades__b": "course_id,submission_date\nZQm,2025-09-16\n",
        "training_feedback": f"{FEEDBACK}\nZQ1,2025-09-07,false_negative,ZQ\n",
        "schools": "school_id,name\n1,ZQ north\n3,ZQ east\n",
    },
}
WEEKS = [FIRST_WEEK + WEEK, FIRST_WEEK + 2 * WEEK]

BULK_ROWS = 3
"""Of a new month, so that July is built apart and August is not."""

# Where the run is killed: what the point is called, and which of the points of that name.
POINTS: dict[str, tuple[str, int]] = {
    "archive_file_not_yet_in_place": (r"^before (replace|rename|link) of \.parquet", 3),
    "archive_file_without_manifest_row": (r"^after (replace|rename|link) of \.parquet", 3),
    "manifest_row_before_commit": (r"^before COMMIT of ingested_files$", 5),
    "archived_but_not_loaded": (r"^between archive and load of attendance_records", 1),
    "keys_staged": (r"^(after COPY|at a row of INSERT) staged_", -1),
    "some_rows_of_a_table": (r"^(after COPY|after INSERT|at a row of INSERT) attendance_records", 2),
    "all_rows_of_a_table": (r"^(after COPY|after INSERT|at a row of INSERT) grades", -1),
    "records_corrected": (r"^(after|at a row of) UPDATE (students|grades)", -1),
    "quarantine_kept": (r"^after (INSERT|COPY) quarantined_records", 2),
    "quarantine_replayed": (r"^after UPDATE quarantined_records", 1),
    "marks_written": (r"^(after COPY|after INSERT|at a row of INSERT) pending_updates", -1),
    "account_entered": (r"^after UPDATE ingested_files", -1),
    "before_commit": (r"^before COMMIT of .*attendance_records", -1),
    "between_two_deliveries": (r"^after COMMIT of .*attendance_records", 1),
    "after_the_last_commit_of_a_table": (r"^after COMMIT of .*attendance_records", -1),
    "between_two_tables": (r"^after the load of grades", 1),
}
# SQLite has neither COPY nor partitions.
POINTS_OF_POSTGRESQL: dict[str, tuple[str, int]] = {
    "rows_fed_to_copy": (r"^during COPY attendance_records", -1),
    "partition_not_yet_attached": (r"^before CALL edupulse_month_(make|place)", 1),
    "partition_made_ahead": (r"^after COMMIT of (?!.*ingested_files).*attendance_records", 1),
    "month_filled_apart": (r"^before CALL edupulse_month_end", -1),
    "month_attached": (r"^after CALL edupulse_month_place", -1),
}


@dataclass
class Scene:
    """A district with week 1 loaded and weeks 2 and 3 landed; each test gets a copy of it."""

    district: District
    folder: Path
    copy_database: Callable[[], str]
    expected: State = field(default_factory=State)
    points: list[str] = field(default_factory=list)

    def copy(self) -> District:
        """The same district over a copy of the database and of the archive."""
        copied = copy.copy(self.district)
        copied.raw = self.folder / f"raw-{uuid.uuid4().hex}"
        shutil.copytree(self.district.raw, copied.raw)
        copied.engine = create_engine(self.copy_database())
        return copied

    def run(self, district: District, *kills: Kill) -> Child:
        """Weeks 2 and 3 in a process of its own."""
        child = start(
            Job.of(district, WEEKS, bulk_rows=BULK_ROWS), self.folder / uuid.uuid4().hex, *kills, judge=_judge
        )
        child.join()
        return child

    def place(self, pattern: str, which: int) -> tuple[int, str]:
        """The number and the name of a point of the run: of those that match, the one numbered `which`."""
        matching = [(number, name) for number, name in enumerate(self.points, start=1) if re.search(pattern, name)]
        assert len(matching) >= abs(which), f"the run has no such point: {pattern}"
        return matching[which - 1 if which > 0 else which]

    def check_killed_at(self, number: int, name: str) -> None:
        """Kill the run at its point `number`, run it again, and compare."""
        district = self.copy()
        killed = self.run(district, Kill("", number))
        assert (killed.process.exitcode, killed.points[-1]) == (-9, name), killed.told
        retried = self.run(district)
        assert retried.process.exitcode == 0, f"after a kill at point {number}, {name}: {retried.told}"
        assert_same(state_of(district), self.expected, f"killed at point {number}, {name}")
        district.check_accounts({})
        district.engine.dispose()


def state_of(district: District) -> State:
    return state(district.engine, district.raw, district.tenant.name)


def assert_same(found: State, expected: State, when: str) -> None:
    """Table by table, so that a failure names the table."""
    for table, rows in expected.tables.items():
        assert found.tables[table] == rows, f"{when}: {table}"
    assert found.archive == expected.archive, when


def _predict(made: District) -> None:
    """Predictions for two students, for the feedback to be about."""
    tenant = made.tenant.name
    with made.engine.begin() as connection:
        connection.execute(model_metadata.insert().values(id=new_ids(1)[0], tenant_id=tenant, model_version="v1"))
        for student in connection.scalars(
            sa.select(students.c.id).where(students.c.district_id.in_(["ZQ1", "ZQ2"]))
        ).all():
            connection.execute(
                predictions.insert().values(
                    id=new_ids(1)[0],
                    tenant_id=tenant,
                    student_id=student,
                    feature_date=dt.date(2025, 9, 7),
                    prediction_date=dt.datetime(2025, 9, 8, 12, tzinfo=dt.UTC),
                    risk_score=0.5,
                    risk_category="high",
                    confidence=0.5,
                    model_version="v1",
                )
            )


@pytest.fixture(scope="module", params=BACKENDS)
def scene(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """The scene on SQLite and on PostgreSQL, with what a run that nobody kills makes of it."""
    folder = tmp_path_factory.mktemp("crashes")
    copies: list[str] = []
    if request.param == "sqlite":
        template = folder / "template.db"
        shutil.copy(request.getfixturevalue("_sqlite_template"), template)
        url = f"sqlite:///{template}"

        def copy_database() -> str:
            target = folder / f"{uuid.uuid4().hex}.db"
            shutil.copy(template, target)
            return f"sqlite:///{target}"
    else:
        server = request.getfixturevalue("postgresql_server")
        url = _create_database(server, template=request.getfixturevalue("_postgresql_template"))

        def copy_database() -> str:
            while copies:  # one at a time is enough
                _drop_database(server, copies.pop())
            copies.append(_create_database(server, template=str(sa.engine.make_url(url).database)))
            return copies[-1]

    district = District(create_engine(url), folder)
    for number, landed in LANDING.items():
        district.land(number, **landed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Expectations, "judge", _judge)
        district.run(weeks=[FIRST_WEEK])
    _predict(district)
    time.sleep(SETTLED_SECONDS)  # else which files are read again would depend on the moment
    if request.param == "sqlite":
        with district.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    district.engine.dispose()
    made = Scene(district, folder, copy_database)
    whole = made.copy()
    undisturbed = made.run(whole)
    assert undisturbed.process.exitcode == 0, undisturbed.told
    made.points, made.expected = undisturbed.points, state_of(whole)
    whole.engine.dispose()
    yield made
    if request.param != "sqlite":
        for each in (*copies, url):
            _drop_database(server, each)


def test_the_scene_has_something_of_everything(scene: Scene) -> None:
    """Else the tests below would compare nothing with nothing."""
    for table in (*RECORD_TABLES, "ingested_files", "quarantined_records", "pending_updates"):
        assert len(scene.expected.tables[table]) > 1, table
    waiting = [row for row in scene.expected.tables["quarantined_records"] if "'replayed_at': True" in row]
    assert waiting, "no row was replayed"


@pytest.mark.parametrize("point", POINTS)
def test_a_run_that_is_killed_and_run_again_ends_as_if_nothing_had_happened(scene: Scene, point: str) -> None:
    scene.check_killed_at(*scene.place(*POINTS[point]))


@pytest.mark.parametrize("scene", ["postgresql"], indirect=True)
@pytest.mark.parametrize("point", POINTS_OF_POSTGRESQL)
def test_so_does_one_that_is_killed_where_only_postgresql_comes(scene: Scene, point: str) -> None:
    scene.check_killed_at(*scene.place(*POINTS_OF_POSTGRESQL[point]))


def test_a_run_that_is_killed_again_and_again_gets_there(scene: Scene) -> None:
    """Each attempt is killed a little later in its work than the one before, until one is done before its hour."""
    district = scene.copy()
    step = len(scene.points) // 12
    for attempt in range(1, 100):
        child = scene.run(district, Kill("", attempt * step))
        if child.process.exitcode == 0:
            break
        assert child.process.exitcode == -9, child.told
    assert attempt > 5
    assert_same(state_of(district), scene.expected, f"after {attempt} attempts")
    district.engine.dispose()


@pytest.mark.heavy
def test_there_is_no_point_at_which_a_kill_would_matter(scene: Scene) -> None:
    for number, name in enumerate(scene.points, start=1):
        # Of the record of changes the points are many and alike: they are all before the commit of what it is about.
        if not re.match(r"(before|after|at a row of) (SELECT|BEGIN|\w+ audit_)", name):
            scene.check_killed_at(number, name)


def test_a_run_that_is_killed_before_dagster_hears_of_its_commit_is_run_again(tmp_path: Path) -> None:
    """The rows are there and the asset is not materialized: `edupulse run` does not load them twice."""
    last = last_closed_week("UTC")
    homes = {name: tmp_path / name for name in ("killed", "never_killed")}
    for home in homes.values():
        generate_district(home / "landing" / "lakeside", students=12, weeks=2, last_week=last)
        home.joinpath("edupulse.toml").write_text(
            f'[tenants.lakeside]\ntimezone = "UTC"\nfirst_week = {first_week(2, last)}\n', encoding="utf-8"
        )
    engines = {name: create_engine(f"sqlite:///{home / 'edupulse.db'}") for name, home in homes.items()}

    command = Command(("run", "--all", "--home", str(homes["killed"])), str(engines["killed"].url))
    child = start(command, tmp_path / "first.log", Kill("^after COMMIT of .*attendance_records", 2))
    assert child.join() == -9, child.told
    child = start(command, tmp_path / "second.log")
    assert child.join() == 0, child.told

    # What nobody kills: the rooms one after the other, without Dagster.
    engine = engines["never_killed"]
    upgrade(engine)
    tenant = load_settings(home=homes["never_killed"]).tenant("lakeside")
    work = Work(engine, tenant.name)
    for table in RECORD_TABLES:
        archive_files(work, homes["never_killed"] / "raw", tenant, table, [last - WEEK, last])
        load_records(work, homes["never_killed"] / "raw", tenant, table, [last - WEEK, last])
    update_weekly_activity(work)
    update_student_features(work)

    ends = {name: state(engine, homes[name] / "raw", "lakeside") for name, engine in engines.items()}
    assert ends["never_killed"].tables["student_features"]
    for table in ("model_metadata", "model_evaluations"):  # nobody was scored there, so no rule has a row or figures
        del ends["never_killed"].tables[table]
    assert_same(ends["killed"], ends["never_killed"], "killed after the commit")
