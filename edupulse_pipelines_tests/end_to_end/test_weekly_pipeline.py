"""The command as a district's engineer types it, from landed files to predictions, on both databases."""

from __future__ import annotations

import csv
import datetime as dt
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from edupulse_pipelines.cli import main
from edupulse_pipelines.ingest.writers import attendance
from edupulse_pipelines.sources.synthetic_district import first_week, generate_district
from edupulse_pipelines.storage import months, versions
from edupulse_pipelines.storage.engine import create_engine
from edupulse_pipelines.storage.work import Work
from edupulse_pipelines.weeks import last_closed_week, week_of_delivery
from edupulse_pipelines_tests.prepared import put_mlflow_store
from edupulse_pipelines_tests.roles import loader_role

TENANT = "springfield"
TABLES = ("students", "attendance_records", "grades", "discipline_incidents")


mostly_sqlite = pytest.mark.parametrize(
    "empty_database_url", ["sqlite", pytest.param("postgresql", marks=pytest.mark.heavy)], indirect=True
)
"""For what is told and taken along, whatever the database: the rooms hold on both what the tables say of it."""


@dataclass
class District:
    """A home with a synthetic district, and the command over it."""

    home: Path
    url: str
    deliveries: list[dt.date]

    def run(self, *words: str) -> Result:
        # MLflow leaves the URI of the home that ran before in the environment of this process.
        environment = {"EDUPULSE_DATABASE_URL": self.url, "MLFLOW_TRACKING_URI": None}
        return CliRunner(env=environment).invoke(main, [*words, "--home", str(self.home)])

    def summary(self, *words: str) -> dict[str, Any]:
        result = self.run("run", "--tenant", TENANT, *words, "--json")
        return json.loads(result.stdout.strip().splitlines()[-1])

    def folder(self, delivered_on: dt.date) -> Path:
        return self.home / "landing" / TENANT / delivered_on.isoformat()

    def query(self, text: str, **values: object) -> list[tuple[Any, ...]]:
        engine = create_engine(self.url)
        with Work(engine, TENANT).reading() as connection:
            rows = [tuple(row) for row in connection.execute(sa.text(text), values)]
        engine.dispose()
        return rows


def make_district(home: Path, url: str, students: int, weeks: int) -> District:
    last = last_closed_week("UTC")
    generate_district(home / "landing" / TENANT, students=students, weeks=weeks, last_week=last)
    home.joinpath("edupulse.toml").write_text(
        f'[tenants.{TENANT}]\ntimezone = "UTC"\nfirst_week = {first_week(weeks, last)}\n'
        # What is chosen by a longer search is the business of the risk room's tests.
        f'[tenants.{TENANT}.training]\ncandidates = ["logistic"]\n',
        encoding="utf-8",
    )
    put_mlflow_store(home / "mlflow" / "mlflow.db")
    return District(home, url, sorted(dt.date.fromisoformat(path.name) for path in home.glob(f"landing/{TENANT}/*")))


@pytest.fixture
def district(tmp_path: Path, empty_database_url: str) -> Iterator[District]:
    """Twenty students, four weeks, a database without rows: on SQLite not even with tables, which a run makes."""
    made = make_district(tmp_path / "home", empty_database_url, students=20, weeks=4)
    if not empty_database_url.startswith("sqlite"):
        assert made.run("db", "upgrade").exit_code == 0
    yield made


def state(district: District) -> dict[str, list[tuple[Any, ...]]]:
    """Everything a run leaves that means something: no ids, no moments."""
    return {
        "accounts": district.query(
            "SELECT table_name, delivered_on, file_name, status, rows_read, rows_inserted, rows_updated,"
            " rows_unchanged, rows_quarantined FROM ingested_files"
            " ORDER BY table_name, delivered_on, file_name"
        ),
        "quarantine": district.query(
            "SELECT table_name, file_name, line_number, CAST(reasons AS TEXT) FROM quarantined_records"
            " WHERE replayed_at IS NULL ORDER BY table_name, file_name, line_number"
        ),
        "activity": district.query(
            "SELECT s.district_id, w.week_start, w.sessions_present, w.sessions_absent, w.sessions_tardy,"
            " w.sessions_excused, w.unexcused_absences, w.grade_count, w.grade_mean, w.grade_lowest, w.incident_count,"
            " w.severity_highest"
            " FROM weekly_activity w JOIN students s ON s.id = w.student_id ORDER BY s.district_id, w.week_start"
        ),
        "features": [
            (number, str(day), rate, points, json.dumps(json.loads(vector), sort_keys=True))
            for number, day, rate, points, vector in district.query(
                "SELECT s.district_id, f.feature_date, f.attendance_rate, f.gpa_current, CAST(f.feature_vector AS TEXT)"
                " FROM student_features f JOIN students s ON s.id = f.student_id ORDER BY s.district_id, f.feature_date"
            )
        ],
        "models": [
            (version, active, json.dumps(json.loads(metrics), sort_keys=True))
            for version, active, metrics in district.query(
                "SELECT model_version, is_active, CAST(performance_metrics AS TEXT) FROM model_metadata"
                " ORDER BY model_version"
            )
        ],
        "predictions": [
            (number, str(day), score, category, confidence, rule_score, json.loads(factors))
            for number, day, score, category, confidence, rule_score, factors in district.query(
                "SELECT s.district_id, p.feature_date, p.risk_score, p.risk_category, p.confidence, p.rule_score,"
                " CAST(p.risk_factors AS TEXT) FROM predictions p JOIN students s ON s.id = p.student_id"
                " ORDER BY s.district_id, p.feature_date, p.model_version"
            )
        ],
    }


def comparable(found: dict[str, list[tuple[Any, ...]]]) -> dict[str, list[list[Any]]]:
    """Dates as text and truth as numbers: the two drivers differ in these alone."""
    return {
        name: [
            [
                str(value) if isinstance(value, dt.date) else int(value) if isinstance(value, bool) else value
                for value in row
            ]
            for row in rows
        ]
        for name, rows in found.items()
    }


@pytest.mark.usefixtures("runs_in_memory")
def test_both_databases_end_with_the_same_accounts_features_metrics_and_predictions(
    tmp_path: Path, postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attendance, "BULK_ROWS", 200)
    apart: list[str] = []
    start_bulk = months.start_bulk
    monkeypatch.setattr(months, "start_bulk", lambda *given: apart.append(start_bulk(*given)) or apart[-1])
    owner = create_engine(postgresql_url)
    versions.upgrade(owner)
    with loader_role(owner) as url:
        _compare_the_databases(tmp_path, {"sqlite": f"sqlite:///{tmp_path / 'end.db'}", "postgresql": url})
    with owner.connect() as connection:
        stored = months.stored_months(connection, "attendance_records")
    owner.dispose()
    assert apart and len(stored) >= len(apart)


def _compare_the_databases(folder: Path, urls: dict[str, str]) -> None:
    ends = {}
    for name, url in urls.items():
        district = make_district(folder / name, url, students=80, weeks=18)
        summary = district.summary("--all")
        assert summary["success"], summary["errors"]
        assert summary["weeks"] == 18
        assert summary["students"] == 80
        assert summary["model"] is not None
        assert summary["predictions"]["scored"] > 0
        for account in summary["tables"].values():
            assert account["read"] == sum(account[key] for key in ("inserted", "updated", "unchanged", "quarantined"))
        ends[name] = comparable(state(district))
        assert any(vector[4] for vector in ends[name]["features"])
        # A second run takes as long as the first; the rooms' tests repeat theirs on both databases.
        (_let_two_students_leave if name == "sqlite" else _run_again)(district, summary, ends[name])
    for part, rows in ends["sqlite"].items():
        assert rows == ends["postgresql"][part], f"{part} differ between the databases"
    assert all(factors for *_, factors in ends["sqlite"]["predictions"])


def _run_again(district: District, before: dict[str, Any], end: dict[str, list[list[Any]]]) -> None:
    """Nothing is loaded twice, no other model is trained, and every number stays."""
    again = district.summary("--all")
    assert again["success"], again["errors"]
    for account in again["tables"].values():
        assert account["inserted"] == account["updated"] == 0
    assert again["model"] == before["model"]
    after = comparable(state(district))
    assert after["features"] == end["features"]
    assert after["predictions"] == end["predictions"]


def _let_two_students_leave(district: District, before: dict[str, Any], _end: dict[str, list[list[Any]]]) -> None:
    """One who turns out to have left breaks no week, and an exit on the last day there is, is none."""
    newest = district.deliveries[-1]
    (number, *where), (other, *elsewhere) = district.query(
        "SELECT s.district_id, e.school_id, e.entry_date FROM students s JOIN enrollments e ON e.student_id = s.id"
        " WHERE e.origin = 'sent' AND s.id IN (SELECT student_id FROM predictions) AND s.id IN (SELECT student_id"
        " FROM enrollments WHERE origin = 'sent' GROUP BY student_id HAVING count(*) = 1 AND count(exit_date) = 0)"
        " ORDER BY s.district_id LIMIT 2"
    )
    left = newest - dt.timedelta(days=3)
    _land_enrolment(district, "exits", [number, *where, left, "transferred"])
    # Open ends are often written as the last day there is.
    _land_enrolment(district, "open", [other, *elsewhere, "9999-12-31", ""])
    after = district.summary()
    assert after["success"], after["errors"]
    assert after["predictions"]["scored"] == before["predictions"]["scored"] - 1


@pytest.mark.usefixtures("runs_in_memory")
def test_week_by_week_ends_where_all_at_once_does(tmp_path: Path) -> None:
    together = make_district(tmp_path / "together", f"sqlite:///{tmp_path / 'together.db'}", students=20, weeks=3)
    assert together.summary("--all")["success"]
    apart = make_district(tmp_path / "apart", f"sqlite:///{tmp_path / 'apart.db'}", students=20, weeks=3)
    for delivered_on in apart.deliveries:
        summary = apart.summary("--week", str(week_of_delivery(delivered_on)))
        assert summary["success"], summary["errors"]
        assert summary["weeks"] == 1
    one, other = comparable(state(together)), comparable(state(apart))
    assert one["activity"] == other["activity"]
    assert one["features"] == other["features"]


@pytest.mark.usefixtures("runs_in_memory")
def test_a_refused_file_stops_the_features_but_not_the_other_tables_and_the_next_run_goes_on(
    district: District,
) -> None:
    newest = district.deliveries[-1]
    path = district.folder(newest) / "grades.csv"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("submission_date", "handed_in", 1), encoding="utf-8")
    result = district.run("run", "--all")
    assert result.exit_code == 1
    assert f"{newest}/grades.csv" in result.output
    assert "submission_date" in result.output
    attendance = district.query("SELECT COUNT(*) FROM attendance_records WHERE delivered_on = :day", day=str(newest))
    assert attendance[0][0] > 0
    assert district.query("SELECT rows_read FROM ingested_files WHERE status = 'refused'") == [(0,)]
    assert district.query("SELECT COUNT(*) FROM student_features") == [(0,)]

    path.write_text(text, encoding="utf-8")
    assert district.run("run", "--all").exit_code == 0
    assert district.query("SELECT COUNT(*) FROM ingested_files WHERE status = 'refused'") == [(0,)]
    assert district.query("SELECT COUNT(*) FROM student_features")[0][0] > 0


@pytest.mark.usefixtures("runs_in_memory")
def test_too_many_bad_rows_stop_what_is_downstream_and_the_next_run_catches_up(district: District) -> None:
    newest = district.deliveries[-1]
    path = district.folder(newest) / "attendance_records.csv"
    text = path.read_text(encoding="utf-8")
    header, *rows = text.splitlines()
    bad = [row.replace("present", "there") if number % 3 == 0 else row for number, row in enumerate(rows)]
    path.write_text("\n".join([header, *bad]) + "\n", encoding="utf-8")
    summary = district.summary("--all")
    assert not summary["success"]
    account = summary["tables"]["attendance_records"]
    assert account["quarantined"] > 0.05 * len(rows)
    assert account["read"] == sum(account[key] for key in ("inserted", "updated", "unchanged", "quarantined"))
    merged = district.query("SELECT COUNT(*) FROM attendance_records WHERE delivered_on = :day", day=str(newest))[0][0]
    assert merged > 0, "the good rows stay"
    assert district.query("SELECT COUNT(*) FROM pending_updates")[0][0] > 0, "what is stale is remembered"
    assert district.query("SELECT COUNT(*) FROM weekly_activity") == [(0,)]

    path.write_text(text, encoding="utf-8")
    assert district.summary("--all")["success"]
    assert district.query("SELECT COUNT(*) FROM pending_updates") == [(0,)]
    sessions = "SELECT SUM(sessions_present + sessions_absent + sessions_tardy + sessions_excused) FROM weekly_activity"
    assert district.query(sessions) == district.query("SELECT COUNT(*) FROM attendance_records")


@mostly_sqlite
def test_no_value_of_a_student_reaches_the_output(district: District) -> None:
    newest = district.folder(district.deliveries[-1])
    with newest.joinpath("attendance_records.csv").open("a", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerow(["SECRET-77", district.deliveries[-1].isoformat(), "wandering", ""])
    result = district.run("run", "--all")
    logged = "".join(
        path.read_text(encoding="utf-8", errors="replace")
        for path in (district.home / "dagster").rglob("*")
        if path.suffix in (".err", ".out", ".log", "") and path.is_file()
    )
    for text in (result.output, logged):
        assert "SECRET-77" not in text
        assert "wandering" not in text


@mostly_sqlite
@pytest.mark.usefixtures("runs_in_memory")
def test_a_week_without_delivery_is_said_and_is_no_failure(district: District) -> None:
    assert district.run("run", "--all").exit_code == 0
    newest = district.folder(district.deliveries[-1])
    for path in newest.iterdir():
        path.unlink()
    newest.rmdir()
    result = district.run("run")
    assert result.exit_code == 0
    assert "no delivery" in result.output.lower()


@mostly_sqlite
@pytest.mark.usefixtures("runs_in_memory")
def test_a_delivery_that_came_after_its_week_was_run_is_not_forgotten(district: District) -> None:
    late_day = district.deliveries[-2]
    late = district.folder(late_day)
    aside = district.home / "aside"
    late.rename(aside)
    assert district.run("run", "--all").exit_code == 0
    aside.rename(late)
    unloaded = f"not loaded by any run yet, or with another content: week of {week_of_delivery(late_day)}"
    earlier = str(week_of_delivery(late_day) - dt.timedelta(days=7))
    assert unloaded in " ".join(district.run("run", "--week", earlier).output.split())
    result = district.run("run")
    assert result.exit_code == 0
    told = " ".join(result.output.split())
    assert f"taken along from earlier weeks: {late_day}/attendance_records.csv" in told
    assert "not loaded" not in told
    assert "taken along" not in district.run("run").output


@mostly_sqlite
@pytest.mark.usefixtures("runs_in_memory")
def test_a_corrected_file_is_taken_along_though_its_name_is_known(district: District) -> None:
    """The header is wrong at first; the correction of the same name comes when nothing else does."""
    grades = district.folder(district.deliveries[1]) / "grades.csv"
    right = grades.read_text(encoding="utf-8")
    grades.write_text(right.replace("submission_date", "handed_in", 1), encoding="utf-8")
    assert district.run("run", "--all").exit_code == 1
    grades.write_text(right, encoding="utf-8")
    newest = district.folder(district.deliveries[-1])
    newest.rename(district.home / "aside")
    result = district.run("run")
    assert result.exit_code == 0, result.output
    assert "Done: 1 week" in result.output
    assert district.query("SELECT COUNT(*) FROM ingested_files WHERE status = 'refused'") == [(0,)]
    before = district.query("SELECT COUNT(*) FROM grades")[0][0]
    assert before == district.query("SELECT SUM(rows_inserted) FROM ingested_files WHERE table_name = 'grades'")[0][0]


def test_a_missing_landing_folder_and_an_early_delivery_are_named(district: District) -> None:
    early = district.folder(dt.date(2001, 1, 1))
    early.mkdir()
    result = district.run("run", "--all")
    assert result.exit_code == 1
    assert str(early) in result.output
    early.rmdir()
    landing = district.home / "landing"
    landing.rename(district.home / "elsewhere")
    result = district.run("run", "--all")
    assert result.exit_code == 1
    assert str(landing / TENANT) in result.output.replace("\n", "")


def test_a_wrong_settings_file_names_the_key(district: District) -> None:
    path = district.home / "edupulse.toml"
    path.write_text(path.read_text(encoding="utf-8") + "max_quarantine = 0.2\n", encoding="utf-8")
    result = district.run("run", "--all")
    assert result.exit_code == 2
    assert "max_quarantine" in result.output
    assert "Traceback" not in result.output


def test_a_database_that_is_down_is_said_without_the_password(tmp_path: Path) -> None:
    district = make_district(
        tmp_path / "home", "postgresql://someone:hushhush@127.0.0.1:9/nowhere", students=5, weeks=2
    )
    result = district.run("run", "--all")
    assert result.exit_code == 1
    assert "does not answer" in result.output
    assert "hushhush" not in result.output
    assert "Traceback" not in result.output


def test_a_schema_behind_head_is_refused_with_the_command_to_run(tmp_path: Path, database_url: str) -> None:
    district = make_district(tmp_path / "home", database_url, students=5, weeks=2)
    engine = create_engine(database_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")
    engine.dispose()
    result = district.run("run", "--all")
    assert result.exit_code == 1
    assert "edupulse db upgrade" in result.output


@pytest.mark.usefixtures("runs_in_memory")
def test_what_a_stopped_run_left_archived_is_loaded_by_the_next_week(tmp_path: Path) -> None:
    district = make_district(tmp_path / "home", f"sqlite:///{tmp_path / 'stopped.db'}", students=12, weeks=3)
    first, second, _ = district.deliveries
    path = district.folder(first) / "students.csv"
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows[::3]:
        row["date_of_birth"] = "someday"
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    stopped = district.summary("--week", str(week_of_delivery(first)))
    assert not stopped["success"]
    assert district.query("SELECT COUNT(*) FROM attendance_records") == [(0,)], "what is downstream did not run"

    summary = district.summary("--week", str(week_of_delivery(second)))
    held = district.query("SELECT COUNT(*) FROM attendance_records WHERE delivered_on = :day", day=str(first))[0][0]
    waiting = district.query(
        "SELECT COUNT(*) FROM quarantined_records WHERE table_name = 'attendance_records' AND delivered_on = :day",
        day=str(first),
    )[0][0]
    assert held > 0 and waiting > 0, "rows of the known students are in, the others wait in quarantine"
    left_over = "SELECT COUNT(*) FROM ingested_files WHERE status = 'archived' AND table_name = 'attendance_records'"
    assert district.query(left_over) == [(0,)]
    assert summary["tables"]["attendance_records"]["read"] > held


def _land_enrolment(district: District, name: str, row: list[Any]) -> None:
    """One more file of enrolments in the newest delivery."""
    path = district.folder(district.deliveries[-1]) / f"enrollments-{name}.csv"
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["district_id", "school_id", "entry_date", "exit_date", "exit_type"])
        writer.writerow(row)


@mostly_sqlite
@pytest.mark.usefixtures("runs_in_memory")
def test_absences_without_a_calendar_have_no_rate_and_with_one_they_do(district: District) -> None:
    for path in district.home.glob(f"landing/{TENANT}/*/attendance_records.csv"):
        header, *lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        path.write_text(header + "".join(line for line in lines if ",present" not in line), encoding="utf-8")
    config = district.home / "edupulse.toml"
    sections = f'[tenants.{TENANT}.attendance]\nrecording = "exceptions"\n'
    config.write_text(config.read_text(encoding="utf-8") + sections, encoding="utf-8")
    summary = district.summary("--all")
    (said,) = [warning for warning in summary["warnings"] if "attendance" in warning]
    assert said.startswith("attendance rates unknown for 4 weeks: no instructional calendar; declare [tenants.")
    known = "SELECT COUNT(attendance_rate), COUNT(*) FROM student_features"
    ((rates, vectors),) = district.query(known)
    assert (rates, vectors > 40) == (0, True)

    monday, today = week_of_delivery(district.deliveries[0]), dt.date.today()
    calendar = f"[tenants.{TENANT}.calendar]\nterms = [{{ start = {monday}, end = {today} }}]\n"
    config.write_text(config.read_text(encoding="utf-8") + calendar, encoding="utf-8")
    assert not [warning for warning in district.summary()["warnings"] if "attendance" in warning]
    assert district.query(known) == [(vectors, vectors)]
    ((lowest, mean),) = district.query("SELECT MIN(attendance_rate), AVG(attendance_rate) FROM student_features")
    assert 0 < lowest < mean < 1
    assert mean > 0.8
