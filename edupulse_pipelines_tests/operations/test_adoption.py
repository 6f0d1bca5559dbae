"""A database of version 1.0 comes over with every row accounted for, wherever it is stopped; others are refused."""

from __future__ import annotations

import datetime as dt
import json
import re
import shlex
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from edupulse_pipelines import cli
from edupulse_pipelines.errors import DiskFull, PermanentError, SchemaBehind
from edupulse_pipelines.governance.audit_verify import verify
from edupulse_pipelines.governance.erasure import Erased, erase
from edupulse_pipelines.governance.role_names import RoleNames
from edupulse_pipelines.ingest.archive import archive_files
from edupulse_pipelines.ingest.load import load_records, replay_quarantine
from edupulse_pipelines.operations.adoption import adopt as adopting
from edupulse_pipelines.operations.adoption import finish as finishing
from edupulse_pipelines.operations.adoption import records
from edupulse_pipelines.operations.adoption.adopt import Adoption, adopt, dry_run
from edupulse_pipelines.operations.adoption.extracts import shortest
from edupulse_pipelines.operations.partitions import detach_month
from edupulse_pipelines.risk.book.shown import shown_model
from edupulse_pipelines.settings import Settings, load_settings
from edupulse_pipelines.storage.database import Database
from edupulse_pipelines.storage.engine import create_engine
from edupulse_pipelines.storage.version_1 import OLD_TABLES
from edupulse_pipelines.storage.work import Work
from edupulse_pipelines.weeks import week_of_delivery
from edupulse_pipelines_tests.ingest.interruptions import Command, Kill, start
from edupulse_pipelines_tests.operations.version_1 import CREATED, Version1, ddl, district
from edupulse_pipelines_tests.roles import drop_roles

SETTINGS = '[tenants.riverside]\ntimezone = "America/Chicago"\nfirst_week = 2024-09-02\n'
EXPECTED = {
    "students": (4, 3, 0, 1),
    "attendance_records": (13, 6, 1, 6),
    "grades": (4, 3, 0, 1),
    "discipline_incidents": (3, 2, 0, 1),
    "student_features": (2, 0, 0, 0),
    "model_metadata": (1, 1, 0, 0),
    "predictions": (6, 3, 0, 3),
    "training_feedback": (2, 1, 0, 1),
}
"""By table the rows read, kept, repeated and quarantined of `district`."""
REASONS = {
    "students": {"future_date": 1},
    "attendance_records": {
        "conflicting_duplicate": 2,
        "future_date": 1,
        "range:period": 1,
        "required:district_id": 1,
        "required:status": 1,
    },
    "grades": {"required:district_id": 1},
    "discipline_incidents": {"required:severity_level": 1},
    "predictions": {"later_prediction": 1, "required:district_id": 1, "required:risk_score": 1},
    "training_feedback": {"unknown_prediction": 1},
}


class House:
    """A home with one district, beside a database of version 1.0."""

    def __init__(self, home: Path, url: str) -> None:
        self.home, self.url = home, url
        home.mkdir(exist_ok=True)
        (home / "edupulse.toml").write_text(SETTINGS, encoding="utf-8")
        self.engine = create_engine(url)
        self.settings: Settings = load_settings(home=home)
        self.tenant = self.settings.tenants["riverside"]

    def adopt(self) -> Adoption:
        return adopt(Database(self.url), self.settings, self.tenant)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.exec_driver_sql(query)]

    def count(self, table: str) -> int:
        return int(self.rows(f"SELECT count(*) FROM {table}")[0][0])

    def old(self, table: str) -> str:
        return f"v1_0.{table}" if self.engine.dialect.name == "postgresql" else f"v1_0_{table}"

    def __call__(self, *words: str, code: int = 0) -> Result:
        runner = CliRunner(env={"EDUPULSE_DATABASE_URL": self.url})
        done = runner.invoke(cli.main, [*words, "--home", str(self.home)])
        assert done.exit_code == code, done.output
        assert "Traceback" not in done.output
        return done


@pytest.fixture
def house(empty_database_url: str, tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path / "home", empty_database_url)
    yield made
    made.engine.dispose()


def _counted(done: Adoption) -> dict[str, tuple[int, int, int, int]]:
    return {table: (of.read, of.kept, of.repeated, of.quarantined) for table, of in done.report.items()}


def _catalog(house: House) -> dict[str, list[tuple[Any, ...]]]:
    """Every table with its rows, as texts."""
    names = sa.inspect(house.engine).get_table_names()
    return {name: sorted(house.rows(f'SELECT * FROM "{name}"'), key=str) for name in names}


def test_one_of_each_thing_comes_over_as_what_it_becomes(house: House) -> None:
    district(house.url).write()
    before = _catalog(house)
    told = dry_run(Database(house.url), house.tenant)
    assert _catalog(house) == before
    assert not (house.home / "raw").exists()
    done = house.adopt()
    assert _counted(done) == EXPECTED
    assert {table: dict(of.reasons) for table, of in done.report.items() if of.reasons} == REASONS
    assert {table: of.as_json() for table, of in told.report.items()} == {
        table: of.as_json() for table, of in done.report.items()
    }
    assert done.report["students"].others == {"assumed_entries": 2}
    assert done.report["student_features"].recomputed == 2
    assert Database(house.url).check() == []
    with Database(house.url).work("riverside") as work:
        assert verify(work).findings == []
    _expect_kept_as_it_was(house, before)
    _expect_enrolments(house)
    _expect_models_and_predictions(house)
    stages = {stage for (stage,) in house.rows("SELECT DISTINCT stage FROM pending_updates")}
    assert {"weekly_activity", "student_features"} <= stages
    with pytest.raises(PermanentError, match="has been adopted for riverside"):
        house.adopt()


def _expect_kept_as_it_was(house: House, before: dict[str, list[tuple[Any, ...]]]) -> None:
    for table in OLD_TABLES:
        assert sorted(house.rows(f"SELECT * FROM {house.old(table)}"), key=str) == before[table]
        if table in ("student_features", "model_metadata"):
            continue
        created = house.rows(f"SELECT id, created_at FROM {table}")
        ids = {str(id_).replace("-", "") for (id_,) in house.rows(f"SELECT id FROM {house.old(table)}")}
        assert {str(id_).replace("-", "") for id_, _ in created} <= ids
        assert {str(moment)[:19] for _, moment in created} == {f"{CREATED:%Y-%m-%d %H:%M:%S}"}
    assert house.rows("SELECT gpa, attendance_rate FROM students WHERE district_id = 'S1'") == [(3.48, 0.48)]
    keys = [key for (key,) in house.rows("SELECT record_key FROM grades ORDER BY record_key")]
    assert sorted(key.partition("#")[2] for key in keys) == ["0", "0", "1"]  # the same work twice, and another
    said = house.rows("SELECT description FROM discipline_incidents")
    assert said == [('Threw a "ball", then\nleft.',)] * 2


def _expect_enrolments(house: House) -> None:
    query = (
        "SELECT s.district_id, CAST(e.entry_date AS text), e.origin, e.school_id FROM enrollments e"
        " JOIN students s ON s.id = e.student_id ORDER BY 1"
    )
    assert house.rows(query) == [
        ("S1", "2024-09-02", "student", None),
        ("S2", "2024-09-10", "assumed", None),  # the first event
        ("S3", "2025-01-10", "assumed", None),  # none: the day it was created
    ]


def _expect_models_and_predictions(house: House) -> None:
    models = house.rows("SELECT model_version, model_type, is_active, promoted FROM model_metadata ORDER BY 1")
    assert [(version, kind) for version, kind, *_ in models] == [
        ("gone", "unknown, v1.0"),
        ("unknown, v1.0", "unknown, v1.0"),
        ("v1", "gru"),
    ]
    assert not any(active or promoted for *_, active, promoted in models)
    query = (
        "SELECT s.district_id, p.model_version, CAST(p.feature_date AS text), p.risk_score FROM predictions p"
        " JOIN students s ON s.id = p.student_id ORDER BY 1, 2"
    )
    assert house.rows(query) == [
        ("S1", "gone", "2024-10-13", 0.48),
        ("S1", "v1", "2024-10-13", 0.52),  # the newer of two
        ("S3", "unknown, v1.0", "2024-10-13", 0.48),
    ]
    assert house.rows("SELECT p.risk_score FROM training_feedback f JOIN predictions p ON p.id = f.prediction_id") == [
        (0.52,)
    ]


def test_what_is_delivered_and_replayed_afterwards_meets_the_rows_that_came_over(house: House) -> None:
    old = district(house.url)
    old.write()
    house.adopt()
    landed = house.tenant.landing / "2025-01-20"
    landed.mkdir(parents=True)
    grade = "S1,MATH,Mathematics,87.1,{},2024-10-04,test\n"
    header = "district_id,course_id,course_name,grade_value,grade_letter,submission_date,assignment_type\n"
    (landed / "grades.csv").write_text(header + grade.format("") * 2 + grade.format("B"), encoding="utf-8")
    (landed / "attendance_records.csv").write_text(
        "district_id,date,status\nS1,2024-09-03,absent\nS2,2025-01-11,present\n", encoding="utf-8"
    )
    week = week_of_delivery(dt.date(2025, 1, 20))
    with Database(house.url).work("riverside") as work:
        counts = {}
        for table in ("grades", "attendance_records"):
            archive_files(work, house.settings.raw_dir, house.tenant, table, [week])
            (counts[table],) = load_records(work, house.settings.raw_dir, house.tenant, table, [week]).deliveries
        assert (counts["grades"].unchanged, counts["grades"].inserted) == (3, 0)
        assert (counts["attendance_records"].updated, counts["attendance_records"].inserted) == (1, 1)
        with work.reading() as connection:
            assert shown_model(connection, work) is None  # not one that is nowhere, as if it had been trained now
        replayed = replay_quarantine(work, house.settings.raw_dir, house.tenant)
        assert sum(of.loaded for of in replayed.values()) == 0  # all of them are as wrong as before
        _expect_erased_only_after_finish(house, work)


def _expect_erased_only_after_finish(house: House, work: Work) -> None:
    def erased(*, execute: bool) -> Erased:
        raw, tenant = house.settings.raw_dir, house.tenant
        return erase(work, raw, tenant, "S1", reason="asked for", approved_by="somebody", execute=execute)

    with pytest.raises(PermanentError, match=r"tables of version 1\.0 still stand"):
        erased(execute=False)
    finishing.finish(Database(house.url), lambda: dt.datetime.now(dt.UTC) + dt.timedelta(seconds=1))
    assert erased(execute=True).counts["quarantined_records"] == 1  # the prediction that was not kept
    said = [raw if isinstance(raw, str) else json.dumps(raw) for (raw,) in house.rows(_RAW)]
    assert said
    assert not [text for text in said if "S1" in text]


_RAW = "SELECT raw FROM quarantined_records"


def test_the_old_tables_go_with_a_backup_and_equal_counts(house: House) -> None:
    district(house.url).write(["CREATE TABLE lunches (id INTEGER PRIMARY KEY)", "CREATE TABLE schools (id INTEGER)"])
    database = Database(house.url)
    with pytest.raises(SchemaBehind, match=r"version 1\.0"):
        finishing.finish(database, lambda: None)
    done = house.adopt()
    assert (done.tables, done.moved) == (["lunches"], ["schools"])
    early = CREATED
    late = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=1)
    for backup in (None, early):
        with pytest.raises(PermanentError, match="no backup from after the adoption"):
            finishing.finish(database, lambda backup=backup: backup)
    with house.engine.begin() as connection:
        connection.exec_driver_sql(f"DELETE FROM {house.old('training_feedback')}")
    with pytest.raises(PermanentError, match="not equal"):
        finishing.finish(database, lambda: late)
    with house.engine.begin() as connection:  # the counts are right again, and a row that was kept is not here
        connection.exec_driver_sql(
            f"INSERT INTO {house.old('training_feedback')} (id) VALUES ('{uuid.uuid4().hex}'), ('{uuid.uuid4().hex}')"
        )
    with pytest.raises(PermanentError, match="not equal"):
        finishing.finish(database, lambda: late)
    with house.engine.begin() as connection:
        connection.exec_driver_sql(f"DELETE FROM {house.old('training_feedback')}")
        copied = ", ".join(("id", "prediction_id"))
        other = f"'{uuid.uuid4().hex}'"
        value = f"CAST({other} AS uuid)" if connection.dialect.name == "postgresql" else other
        connection.exec_driver_sql(
            f"INSERT INTO {house.old('training_feedback')} ({copied})"
            f" SELECT id, prediction_id FROM training_feedback UNION ALL SELECT {value}, prediction_id"
            " FROM training_feedback"
        )
    finished = finishing.finish(database, lambda: late)
    assert finished.rows == {table: read for table, (read, *_) in EXPECTED.items()}
    assert finished.left == ["schools"]
    assert database.check() == []
    assert house.count(house.old("schools")) == 0
    with pytest.raises(PermanentError, match="nothing to finish"):
        finishing.finish(database, lambda: late)


def test_what_a_change_on_record_removed_since_does_not_keep_the_old_tables(house: House) -> None:
    """A record that went, and a month that was taken out."""
    old = Version1(house.url)
    student = old.student("S1")
    for day in ("2024-09-03", "2024-10-04", "2024-11-04"):
        old.add("attendance_records", student_id=student, date=dt.date.fromisoformat(day), status="present")
    old.write()
    house.adopt()
    with Database(house.url).work("riverside") as work:
        with work.writing() as connection:
            connection.exec_driver_sql("DELETE FROM attendance_records WHERE date = '2024-10-04'")
        if work.dialect == "postgresql":
            detach_month(work, "attendance_records", dt.date(2024, 11, 1))
    late = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=1)
    assert finishing.finish(Database(house.url), lambda: late).rows["attendance_records"] == 3
    assert house.count("attendance_records") == (1 if house.engine.dialect.name == "postgresql" else 2)


def test_models_and_predictions_of_the_same_name_are_one_model(house: House) -> None:
    """NULL, an empty text and the name that both are given; a model that is called so, too."""
    old = Version1(house.url)
    student = old.student("S1")
    for week, version in enumerate((None, "", "unknown, v1.0", "gone", "")):
        moment = dt.datetime(2024, 10, 8, 15, tzinfo=dt.UTC) + dt.timedelta(weeks=week)
        values = {"risk_score": 0.5, "risk_category": "medium", "confidence": 0.9, "model_version": version}
        old.add("predictions", student_id=student, prediction_date=moment, **values)
    old.write()
    told = dry_run(Database(house.url), house.tenant)
    done = house.adopt()
    assert {table: of.as_json() for table, of in told.report.items()} == {
        table: of.as_json() for table, of in done.report.items()
    }
    assert done.report["model_metadata"].others == {"models_made": 2}
    versions = "SELECT model_version, count(*) FROM predictions GROUP BY 1 ORDER BY 1"
    assert house.rows(versions) == [("gone", 1), ("unknown, v1.0", 4)]


def test_a_model_without_a_name_is_the_one_of_predictions_without_one(house: House) -> None:
    old = Version1(house.url)
    student = old.student("S1")
    old.add("model_metadata", model_version="", model_type="gru")
    old.add("model_metadata", model_version="unknown, v1.0", model_type=None)
    moment = dt.datetime(2024, 10, 8, 15, tzinfo=dt.UTC)
    values = {"risk_score": 0.5, "risk_category": "medium", "confidence": 0.9, "model_version": None}
    old.add("predictions", student_id=student, prediction_date=moment, **values)
    old.write()
    done = house.adopt()
    assert _counted(done)["model_metadata"] == (2, 1, 1, 0)
    assert house.rows("SELECT model_version, model_type FROM model_metadata") == [("unknown, v1.0", "gru")]
    late = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=1)
    assert finishing.finish(Database(house.url), lambda: late).rows["model_metadata"] == 2


def test_wherever_it_is_stopped_the_database_is_as_it_was_or_goes_on(house: House) -> None:
    """An error before ever later statements; the first ones are in the transaction that moves the tables."""
    district(house.url).write()
    before = _catalog(house)
    count, stops_at = 0, 0

    class Stopped(Exception):
        pass

    def stop(*_: Any) -> None:
        nonlocal count
        count += 1
        if count == stops_at:
            raise Stopped

    sa.event.listen(sa.Engine, "before_cursor_execute", stop)
    try:
        stops = iter((25, 40, 60, 300))
        tries, step = 0, 60
        while True:
            tries += 1
            count, stops_at = 0, next(stops, 0) or step
            step += 9 * tries
            try:
                done = house.adopt()
                break
            except Stopped:
                count = -(10**9)
                moved = house.old("students").removeprefix("v1_0.") not in _catalog(house) and "students" in before
                if house.rows(_HAS_TENANT[house.engine.dialect.name]) == [(0,)]:
                    assert _catalog(house) == before
                else:
                    assert moved or house.count(house.old("students")) == len(before["students"])
                    with pytest.raises(SchemaBehind, match="being adopted"):
                        Database(house.url).ensure_current()
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", stop)
    assert tries > 5
    assert done.resumed
    assert _counted(done) == EXPECTED
    assert Database(house.url).check() == []


def test_on_a_full_disk_it_says_so_and_goes_on_once_there_is_room(small_disk: Callable[[int], Path]) -> None:
    """Too little for the tables of now, and then for all that is archived and written."""
    folder = small_disk(600)
    house = House(folder / "home", f"sqlite:///{folder / 'old.db'}")
    district(house.url).write()
    before = _catalog(house)
    full = 0
    for kib in (600, *range(2_100, 10_000, 400)):
        house.engine.dispose()
        small_disk(kib)
        try:
            done = house.adopt()
            break
        except DiskFull as error:
            full += 1
            assert "No space is left on the disk of" in str(error)
        if kib == 600:
            assert _catalog(house) == before
    assert full >= 2
    assert _counted(done) == EXPECTED
    assert Database(house.url).check() == []
    house.engine.dispose()


_HAS_TENANT = {
    "sqlite": "SELECT count(*) FROM pragma_table_info('students') WHERE name = 'tenant_id'",
    "postgresql": "SELECT count(*) FROM information_schema.columns WHERE table_schema = 'public'"
    " AND table_name = 'students' AND column_name = 'tenant_id'",
}


@pytest.mark.heavy
def test_killed_before_and_after_a_commit_it_goes_on(house: House, tmp_path: Path) -> None:
    district(house.url).write()
    before = _catalog(house)
    command = Command(("db", "adopt", "--tenant", "riverside", "--home", str(house.home)), house.url)
    assert start(command, tmp_path / "first", Kill("before COMMIT")).join() == -9
    assert _catalog(house) == before
    assert start(command, tmp_path / "second", Kill("after COMMIT", 4)).join() == -9
    assert "being adopted" in house("quarantine", "list", code=1).output
    facts = json.loads(house("db", "adopt", "--tenant", "riverside", "--json").output.splitlines()[-1])
    assert facts["resumed"]
    assert {table: of["kept"] for table, of in facts["tables"].items()} == {
        table: kept for table, (_, kept, *_) in EXPECTED.items()
    }


@pytest.mark.parametrize(
    "words",
    [
        ("run", "--all"),
        ("db", "upgrade"),
        ("db", "current"),
        ("db", "check"),
        ("db", "maintain"),
        ("quarantine", "list"),
        ("model", "list"),
        ("audit", "verify"),
        ("privacy", "disclosures"),
    ],
    ids=" ".join,
)
def test_other_commands_say_what_the_database_is(tmp_path: Path, words: tuple[str, ...]) -> None:
    house = House(tmp_path / "home", f"sqlite:///{tmp_path / 'old.db'}")
    district(house.url).write()
    house.tenant.landing.joinpath("2025-01-20").mkdir(parents=True)
    before = _catalog(house)
    assert "db adopt --tenant NAME" in " ".join(house(*words, code=1).output.split())
    assert _catalog(house) == before
    house.engine.dispose()


def test_on_postgresql_other_commands_say_it_too(postgresql_url: str, tmp_path: Path) -> None:
    house = House(tmp_path / "home", postgresql_url)
    district(house.url).write()
    for words in (("db", "upgrade"), ("db", "check"), ("quarantine", "list")):
        assert "db adopt --tenant NAME" in " ".join(house(*words, code=1).output.split())
    house.engine.dispose()


def test_without_a_row_there_is_nothing_to_bring(house: House) -> None:
    Version1(house.url).write()
    assert dry_run(Database(house.url), house.tenant).total.read == 0
    assert house.adopt().total.read == 0
    assert Database(house.url).check() == []


def test_of_version_1_in_name_only(house: House) -> None:
    Version1(house.url).write(["DROP TABLE training_feedback", "ALTER TABLE grades DROP COLUMN course_name"])
    before = _catalog(house)
    for asked in (lambda: dry_run(Database(house.url), house.tenant), house.adopt):
        with pytest.raises(PermanentError, match=r"in name only: it lacks .*grades.course_name.*training_feedback"):
            asked()
    assert _catalog(house) == before


def test_no_database_of_version_1(database_url: str, tmp_path: Path) -> None:
    house = House(tmp_path / "home", database_url)
    with pytest.raises(PermanentError, match=r"no database of version 1\.0"):
        house.adopt()
    house.engine.dispose()


def test_one_database_is_one_tenants(house: House) -> None:
    district(house.url).write()
    house.adopt()
    another = house.tenant.model_copy(update={"name": "hillside"})
    with pytest.raises(PermanentError, match=r"adopted for riverside: one of version 1.0 is one district's"):
        adopt(Database(house.url), house.settings, another)


def test_further_tables_and_columns_stay_and_are_told(house: House) -> None:
    old = Version1(house.url)
    old.student("S1", exit_date=dt.date(2024, 12, 20), nickname="Bo")
    old.write(
        [
            "ALTER TABLE students ADD COLUMN exit_date DATE",
            "ALTER TABLE students ADD COLUMN nickname TEXT",
            "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)",
            "INSERT INTO alembic_version VALUES ('ae1027a6acf')",  # its own revisions, as its documentation has them
            "CREATE TABLE lunches (id INTEGER PRIMARY KEY, student_id"
            f" {'UUID' if house.engine.dialect.name == 'postgresql' else 'CHAR(32)'} REFERENCES students(id))",
        ]
    )
    done = house.adopt()
    assert done.tables == ["lunches"]
    assert done.columns == {"students": ["nickname"]}
    assert house.rows("SELECT CAST(exit_date AS text), school_id FROM enrollments") == [("2024-12-20", None)]
    late = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=1)
    with pytest.raises(PermanentError, match=r"lunches refers to a table of version 1\.0"):
        finishing.finish(Database(house.url), lambda: late)


def test_what_belongs_to_old_tables_goes_with_them_or_is_told(house: House) -> None:
    """Indexes named as SQLAlchemy names them, triggers, sequences; a view, which goes on reading the old tables."""
    old = Version1(house.url)
    student = old.student("S1")
    old.add("attendance_records", student_id=student, date=dt.date(2024, 9, 3), status="present")
    further = [
        "CREATE INDEX ix_students_grade_level ON students (grade_level)",
        "CREATE UNIQUE INDEX \"ix_schools, all\" ON grades (id) WHERE course_id <> 'x'",
        "CREATE VIEW days AS SELECT s.district_id, a.date FROM students s JOIN attendance_records a"
        " ON a.student_id = s.id",
    ]
    if house.engine.dialect.name == "sqlite":
        further += [
            "CREATE TRIGGER touched AFTER UPDATE OF gpa ON students BEGIN"
            " UPDATE students SET updated_at = CURRENT_TIMESTAMP WHERE id = new.id; END",
        ]
    else:
        further += [
            "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END'",
            "CREATE TRIGGER touched BEFORE UPDATE ON students FOR EACH ROW EXECUTE FUNCTION touch()",
            "CREATE SEQUENCE numbers OWNED BY students.grade_level",
        ]
    old.write(further)
    done = house.adopt()
    assert (done.tables, done.views) == ([], ["days"])
    assert house.count("days") == 1
    assert Database(house.url).check() == []
    late = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=1)
    with pytest.raises(PermanentError, match=r"days reads a table of version 1\.0"):
        finishing.finish(Database(house.url), lambda: late)
    with house.engine.begin() as connection:
        connection.exec_driver_sql("DROP VIEW days")
    assert finishing.finish(Database(house.url), lambda: late).left == []


@pytest.mark.parametrize(
    ("further", "told"),
    [
        (["CREATE VIEW weekly_activity AS SELECT id FROM students"], "a view weekly_activity, which has the name"),
        (
            ["CREATE TABLE gone (x INTEGER)", "CREATE VIEW broken AS SELECT x FROM gone", "DROP TABLE gone"],
            "renames no table while a view or a trigger is broken .*broken",
        ),
    ],
)
def test_what_is_in_the_way_is_named(tmp_path: Path, further: list[str], told: str) -> None:
    house = House(tmp_path / "home", f"sqlite:///{tmp_path / 'old.db'}")
    Version1(house.url).write(further)
    with pytest.raises(PermanentError, match=told):
        house.adopt()
    with pytest.raises(SchemaBehind, match=r"a database of version 1\.0"):
        Database(house.url).ensure_current()
    house.engine.dispose()


def test_sqlite_does_not_tell_capitals_in_names(tmp_path: Path) -> None:
    house = House(tmp_path / "home", f"sqlite:///{tmp_path / 'old.db'}")
    with house.engine.begin() as connection:
        for statement in ddl("sqlite"):
            capitals = statement.replace("TABLE students", "TABLE Students").replace("student_id", "Student_ID")
            connection.exec_driver_sql(capitals.replace("REAL", "Real"))
        connection.exec_driver_sql(
            "INSERT INTO students (id, district_id, first_name, last_name, date_of_birth, gpa, created_at)"
            f" VALUES ('{uuid.uuid4().hex}', 'S1', 'A', 'B', '2012-01-01', 3.48, '2025-01-10 12:00:00')"
        )
    assert _counted(house.adopt())["students"] == (1, 1, 0, 0)
    assert Database(house.url).check() == []
    house.engine.dispose()


def test_tables_in_another_schema(postgresql_url: str, tmp_path: Path) -> None:
    """Where the role looks first they are adopted, and ours are made there; elsewhere it is said where they are."""
    house = House(tmp_path / "home", postgresql_url)
    with house.engine.begin() as connection:
        connection.exec_driver_sql("CREATE SCHEMA app")
    there = House(tmp_path / "there", f"{postgresql_url}&options=-csearch_path%3Dapp,public")
    old = Version1(there.url)
    old.student("S1")
    old.write()
    with pytest.raises(PermanentError, match="one in the schema app: have the role look there first"):
        house.adopt()
    assert _counted(there.adopt())["students"] == (1, 1, 0, 0)
    assert there.rows("SELECT district_id FROM app.students") == [("S1",)]
    assert Database(there.url).check() == []
    house.engine.dispose()
    there.engine.dispose()


def test_students_whose_numbers_differ_in_blanks_contradict_each_other(house: House) -> None:
    """Created on different days they would else be one who was corrected, with two children's records."""
    old = Version1(house.url)
    one, other = old.student("S1"), old.student(" S1", created_at=CREATED - dt.timedelta(days=30))
    old.student("S2", created_at=CREATED - dt.timedelta(days=30))
    for student in (one, other):
        old.add("attendance_records", student_id=student, date=dt.date(2024, 9, 3), status="present")
    old.write()
    told = dry_run(Database(house.url), house.tenant)
    done = house.adopt()
    assert _counted(done) == _counted(told)
    assert _counted(done)["students"] == (3, 1, 0, 2)
    assert done.report["students"].reasons == {"conflicting_duplicate": 2}
    assert done.report["attendance_records"].reasons == {"unknown_student": 2}
    assert house.count("students") == 1


def test_a_day_is_that_of_the_last_row_whatever_else_is_in_created_at(house: House) -> None:
    """What is no moment, and a clock that was ahead, are passed over; it is the same day when the adoption goes on."""
    old = Version1(house.url)
    sqlite = house.engine.dialect.name == "sqlite"
    student = old.student("S1", created_at="unknown" if sqlite else "infinity")
    for day, created in (("2024-09-03", "2099-01-01 00:00:00"), ("2024-09-04", "2025-01-10 17:00:00")):
        values = {"date": dt.date.fromisoformat(day), "status": "present", "created_at": created}
        old.add("attendance_records", student_id=student, **values)
    if sqlite:  # the later of the two, in another time zone
        values = {"date": dt.date(2024, 9, 5), "status": "present", "created_at": "2025-01-10T23:30:00-06:00"}
        old.add("attendance_records", student_id=student, **values)
    old.write()
    house.adopt()
    days = {str(day) for (day,) in house.rows("SELECT delivered_on FROM ingested_files")}
    assert days == {"2025-01-10"}


def test_what_begins_like_a_date_and_is_none_is_accounted_for(tmp_path: Path) -> None:
    """On SQLite: of predictions, which come by weeks; of events, the first of which an enrolment begins with."""
    house = House(tmp_path / "home", f"sqlite:///{tmp_path / 'old.db'}")
    old = Version1(house.url)
    student = old.student("S1", enrollment_date=None, created_at="2024-08-01 12:00:00")
    old.student("", created_at=CREATED)
    values = {"risk_score": 0.5, "risk_category": "low", "confidence": 0.9, "model_version": "v1"}
    texts = ("2024-10-08 at noon", "2024-13-45", "2024-02-30 12:00:00", "it's", None, "2024-10-08T23:00:00-12:00")
    for text in texts:
        old.add("predictions", student_id=student, prediction_date=text, **values)
    for text in ("2024-00-10", "2024-02-30", "2024-09-12"):
        old.add("attendance_records", student_id=student, date=text, status="present")
    old.write()
    told = dry_run(Database(house.url), house.tenant)
    done = house.adopt()
    assert _counted(done) == _counted(told)
    assert _counted(done)["predictions"] == (6, 1, 0, 5)
    assert done.report["predictions"].reasons == {"required:prediction_date": 5}
    assert _counted(done)["attendance_records"] == (3, 1, 0, 2)
    assert house.rows("SELECT entry_date FROM enrollments") == [("2024-09-12",)]
    house.engine.dispose()


def test_of_two_adoptions_at_once_one_is_told_of_the_other(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second comes after the first look of the first, after the tables have gone, and between two batches."""
    district(house.url).write()
    database, began = Database(house.url), Database.upgrade

    def overtaken(self: Database, then: Any = None, first: Any = None) -> Any:
        monkeypatch.setattr(Database, "upgrade", began)
        monkeypatch.setattr(adopting, "_bring_over", lambda *_: None)
        monkeypatch.setattr(adopting, "_end", lambda *_: None)
        house.adopt()
        monkeypatch.undo()
        return began(self, then, first)

    monkeypatch.setattr(Database, "upgrade", overtaken)
    with pytest.raises(PermanentError, match="is being adopted for riverside by another process, which began at"):
        house.adopt()
    bring = records._bring_batch

    def overtaken_batch(load: Any, batch: Any) -> int:
        monkeypatch.undo()
        bring(load, batch)
        return bring(load, batch)

    monkeypatch.setattr(records, "_bring_batch", overtaken_batch)
    with pytest.raises(PermanentError, match="Another process is adopting this database, too, and has come first"):
        house.adopt()
    assert _counted(house.adopt()) == EXPECTED
    with database.work("riverside") as work:
        assert verify(work).findings == []


def test_with_roles_the_owner_adopts_and_the_loader_goes_on(
    postgresql_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = House(tmp_path / "home", postgresql_url)
    prefix = f"edupulse_{uuid.uuid4().hex[:8]}"
    (house.home / "edupulse.toml").write_text(f'{SETTINGS}[roles]\nprefix = "{prefix}"\n', encoding="utf-8")
    district(house.url).write()
    names = RoleNames(prefix, ("riverside",))
    try:
        monkeypatch.setenv("EDUPULSE_KEEPER_URL", postgresql_url)
        assert "no tables yet" in house("db", "roles").output
        urls = {}
        with house.engine.begin() as connection:
            for role in (names.keeper, names.loader):
                connection.exec_driver_sql(f"ALTER ROLE \"{role}\" PASSWORD 'of_the_test'")
                url = house.engine.url.set(username=role, password="of_the_test")
                urls[role] = url.render_as_string(hide_password=False)
        house.url = urls[names.loader]
        monkeypatch.setenv("EDUPULSE_KEEPER_URL", urls[names.keeper])
        words = ("db", "adopt", "--tenant", "riverside")
        with house.engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE grades OWNER TO CURRENT_USER")
        for further in (("--dry-run",), ()):
            told = " ".join(house(*words, *further, code=1).output.split())
            assert "grades belongs to the role" in told
            assert f'TO "{names.owner}"' in told
        with house.engine.begin() as connection:
            connection.exec_driver_sql(f'ALTER TABLE grades OWNER TO "{names.owner}"')
        house(*words)
        assert "as they should be" in house("db", "roles").output
        house("db", "check")
        monkeypatch.delenv("EDUPULSE_KEEPER_URL")
        assert "13 rows in quarantine" in house("quarantine", "list", "--tenant", "riverside").output
        with Database(house.url).work("riverside") as work, work.reading() as connection:
            assert connection.scalar(sa.text("SELECT count(*) FROM students")) == 3
        late = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=1)
        assert finishing.finish(Database(urls[names.keeper], names.owner), lambda: late).left == []
    finally:
        drop_roles(house.engine, names)
        house.engine.dispose()


def test_a_foreign_encoding_is_refused(tmp_path: Path) -> None:
    house = House(tmp_path / "home", f"sqlite:///{tmp_path / 'old.db'}")
    old = Version1(house.url)
    student = old.student("S1")
    old.write()
    with house.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE students SET last_name = CAST(? AS TEXT)", (b"M\xfcller",))
    with pytest.raises(PermanentError, match=r"students.last_name holds texts that are not UTF-8, in 1 rows"):
        house.adopt()
    assert student
    house.engine.dispose()


def test_a_database_in_another_encoding_is_refused(postgresql_server: str, tmp_path: Path) -> None:
    server = create_engine(postgresql_server)
    name = f"edupulse_latin_{uuid.uuid4().hex[:12]}"
    url = sa.engine.make_url(postgresql_server).set(database=name).render_as_string(hide_password=False)
    with server.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    house = House(tmp_path / "home", url)
    try:
        Version1(url).write()
        with pytest.raises(PermanentError, match="encoding of this database is LATIN1, and EduPulse needs UTF8"):
            house.adopt()
    finally:
        house.engine.dispose()
        with server.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
        server.dispose()


def test_months_and_partitions_of_postgresql_come_over_by_copy(
    postgresql_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old table may be partitioned, as its documentation proposes; a large month of ours is built apart."""
    from edupulse_pipelines.ingest.writers import attendance

    monkeypatch.setattr(attendance, "BULK_ROWS", 10)
    house = House(tmp_path / "home", postgresql_url)
    old = Version1(house.url)
    students = [old.student(f"S{number}") for number in range(5)]
    old.write(
        [
            "DROP TABLE attendance_records",
            "CREATE TABLE attendance_records (id UUID DEFAULT gen_random_uuid(), student_id UUID REFERENCES students,"
            " date DATE NOT NULL, status VARCHAR(20), period INTEGER, created_at TIMESTAMPTZ DEFAULT now())"
            " PARTITION BY RANGE (date)",
            "CREATE TABLE attendance_records_2024_09 PARTITION OF attendance_records"
            " FOR VALUES FROM ('2024-09-01') TO ('2024-10-01')",
        ]
    )
    with house.engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO attendance_records (student_id, date, status)"
            " SELECT s.id, DATE '2024-09-03' + n, 'present' FROM students s, generate_series(0, 3) n"
        )
    done = house.adopt()
    assert done.report["attendance_records"].kept == 20
    assert done.tables == []
    with Database(house.url).work("riverside") as work:
        assert verify(work).findings == []
    late = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=1)
    assert finishing.finish(Database(house.url), lambda: late).left == []
    assert house.rows("SELECT count(*) FROM pg_namespace WHERE nspname = 'v1_0'") == [(0,)]
    assert len(students) == 5
    house.engine.dispose()


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("0.47999998927116394", "0.48"),
        ("0.48", "0.48"),
        ("3.0", "3"),
        ("87.0999984741211", "87.1"),
        ("0.1234567890123", "0.1234567890123"),
        ("none", "none"),
        ("1e400", "1e400"),
    ],
)
def test_numbers_are_as_short_as_single_precision_has_them(text: str, written: str) -> None:
    assert shortest(text) == written


def test_the_command_says_what_it_would_do_and_does_it(tmp_path: Path) -> None:
    house = House(tmp_path / "home", f"sqlite:///{tmp_path / 'old.db'}")
    district(house.url).write()
    told = house("db", "adopt", "--tenant", "riverside", "--dry-run").output
    assert "Nothing was changed." in told
    assert "attendance_records: conflicting_duplicate  2" in told
    house("db", "adopt", code=2)
    house("db", "adopt", "--finish", "--dry-run", code=2)
    house("db", "adopt", "--tenant", "nowhere", code=2)
    assert "All rows are here." in house("db", "adopt", "--tenant", "riverside").output
    assert "no backup from after the adoption" in " ".join(house("db", "adopt", "--finish", code=1).output.split())
    house.engine.dispose()
    shutil.rmtree(house.home)


def test_a_moment_of_before_the_end_of_an_adoption_is_finished_erased_from_and_opened(tmp_path: Path) -> None:
    """Somebody was erased after `--finish`; the moment has them, and the old tables, in which nobody can be erased."""
    house = House(tmp_path / "home", f"sqlite:///{tmp_path / 'home' / 'edupulse.db'}")
    district(house.url).write()
    house("db", "adopt", "--tenant", "riverside")
    house("backup", "create")
    house("db", "adopt", "--finish")
    number = str(house.rows("SELECT min(district_id) FROM students")[0][0])
    erase_them = ("privacy", "erase", number, "--reason", "asked", "--approved-by", "another", "--execute")
    house(*erase_them)
    there = tmp_path / "back"
    said = " ".join(house("backup", "restore", "--to", str(there), code=1).output.split())
    assert "It is closed." in said
    assert "`edupulse db adopt --finish`" in said
    back = House.__new__(House)
    back.home, back.url = there, f"sqlite:///{there / 'edupulse.db'}"
    refused = back("backup", "open", "--reason", "it is fine", code=1)
    assert "stays closed. 1 students who were erased are in it again" in " ".join(refused.output.split())
    back("db", "adopt", "--finish")
    back(*erase_them)
    back("backup", "open", "--reason", "erased again")
    back.engine = create_engine(back.url)
    assert back.rows(f"SELECT count(*) FROM students WHERE district_id = '{number}'") == [(0,)]
    for one in (house, back):
        one("db", "check")
        one.engine.dispose()


def test_every_command_of_the_runbook_does_what_it_is_told_for(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "operating.md").read_text(encoding="utf-8")
    text = text[text.index("## Adopt version 1.0") : text.index("## Upkeep")]
    lines = [
        line.strip() for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL) for line in block.splitlines()
    ]
    asked = [shlex.split(line)[1:] for line in lines if line.startswith("edupulse ")]
    house = House(tmp_path / "home", f"sqlite:///{tmp_path / 'old.db'}")
    district(house.url).write()
    said = {" ".join(words): house(*words).output for words in asked}
    assert "Nothing was changed." in said["db adopt --tenant riverside --dry-run"]
    assert "All rows are here." in said["db adopt --tenant riverside"]
    assert "as declared" in said["db check"]
    assert "as recorded" in said["audit verify"]
    assert "13 rows in quarantine" in said["quarantine list --tenant riverside"]
    assert "35 rows of theirs are accounted for" in said["db adopt --finish"]
    house.engine.dispose()
