"""What is over by a district's periods, and taking it away: on both databases, by the room's own steps."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import uuid
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from edupulse_pipelines.errors import ConfigurationError, PermanentError
from edupulse_pipelines.features.store import update_student_features
from edupulse_pipelines.features.weekly_activity import update_weekly_activity
from edupulse_pipelines.governance import archives, erasure, holds, retention
from edupulse_pipelines.governance.audit_verify import verify
from edupulse_pipelines.governance.certificates import NO_BACKUPS, Certificate
from edupulse_pipelines.governance.retention import execute, proposed, years_after
from edupulse_pipelines.operations.partitions import attach_month, detach_month
from edupulse_pipelines.schema.sqlalchemy_tables import metadata, model_metadata, predictions, training_feedback
from edupulse_pipelines.settings.retention import RetentionSettings
from edupulse_pipelines.storage.ids import new_ids
from edupulse_pipelines.storage.work import EVERY_TENANT, Work
from edupulse_pipelines_tests.conftest import Scene
from edupulse_pipelines_tests.governance import canaries
from edupulse_pipelines_tests.ingest.district import FIRST_WEEK, District

NUMBERS = ("ZQgone1", "ZQgone2", "ZQheld3", "ZQhere4", "ZQmute5")
"""Left for good with a kind, and without; left and on hold; enrolled; nobody says anything of an exit."""
STUDENTS = "district_id,first_name,last_name,date_of_birth,enrollment_date,exit_date,exit_type\n" + "".join(
    f"{number},ZQ{number[-1]},ZQname{number[-1]},2010-01-0{number[-1]},2025-09-01,{left}\n"
    for number, left in zip(
        NUMBERS, ("2025-09-19,completed", "2025-09-19,", "2025-09-19,completed", ",", ","), strict=True
    )
)
ATTENDANCE = "district_id,date,status\n" + "".join(
    f"{number},2025-09-0{day},{'absent' if day == 3 else 'present'}\n" for number in NUMBERS for day in (2, 3)
)
BAD_ROWS = "ZQgone1,2025-09-04,ZQgone1-status\nZQhere4,2025-09-04,ZQhere4-status\nZQgone1,ZQday,present\n"
GRADES = "district_id,course_id,submission_date,grade_value,source_record_id\n" + "".join(
    f"{number},m,2025-09-03,7{number[-1]}.137,{number}-g\n" for number in NUMBERS
)
INCIDENTS = "district_id,incident_date,severity_level,description,source_record_id\n" + "".join(
    f"{number},2025-09-03,2,ZQwords of {number},{number}-i\n" for number in NUMBERS
)
LEFT = dt.date(2025, 9, 19)
A_YEAR_ON = dt.date(2026, 9, 19)


def _load(engine: sa.Engine, folder: Path) -> None:
    district = District(engine, folder)
    district.land(1, students=STUDENTS, attendance_records=ATTENDANCE + BAD_ROWS)
    district.land(2, grades=GRADES, discipline_incidents=INCIDENTS)
    district.run()
    compute(district)
    predict(district)


@pytest.fixture
def scene() -> Scene:
    return _load


def made(engine: sa.Engine, folder: Path, **periods: Any) -> District:
    """The district of the scene, with these periods."""
    return District(engine, folder, retention=RetentionSettings.model_validate(periods))


def compute(district: District) -> None:
    update_weekly_activity(district.work, FIRST_WEEK)
    update_student_features(district.work, FIRST_WEEK)


def predict(district: District) -> None:
    """A prediction of everybody, with an educator's verdict."""
    with district.work.writing() as connection:
        connection.execute(model_metadata.insert().values(tenant_id=district.tenant.name, model_version="1"))
        of = metadata.tables["students"].c
        students = connection.execute(sa.select(of.id, of.district_id)).all()
        ids = dict(zip(students, new_ids(len(students)), strict=True))
        connection.execute(
            predictions.insert(),
            [
                {
                    "id": identifier,
                    "tenant_id": district.tenant.name,
                    "student_id": student.id,
                    "feature_date": dt.date(2025, 9, 7),
                    "risk_score": 0.5,
                    "risk_category": "medium",
                    "confidence": 0.5,
                    "risk_factors": [],
                    "model_version": "1",
                }
                for student, identifier in ids.items()
            ],
        )
    verdicts = "".join(f"{one},true_positive,ZQnote on {who.district_id},,\n" for who, one in ids.items())
    # Two children's predictions are named by the child and the day as well.
    verdicts += "".join(f",true_negative,ZQnote on {number},{number},2025-09-07\n" for number in ("ZQgone1", "ZQhere4"))
    header = "prediction_id,feedback_type,educator_notes,district_id,prediction_date"
    district.land(3, training_feedback=f"{header}\n{verdicts}")
    district.run("training_feedback")


def executed(district: District, as_of: dt.date = A_YEAR_ON, **changes: Any) -> Certificate | None:
    asked = {"reason": "the period is over", "approved_by": "another person", **changes}
    return execute(district.work, district.raw, district.tenant, as_of, **asked)


def whose(district: District, table: str) -> set[str]:
    """The numbers of the students whose rows a table has."""
    return set(district.rows(table, "district_id"))


def judged(district: District) -> set[str]:
    return {text.rpartition(" ")[2] for text in district.rows("training_feedback", "educator_notes")}


def outside_landing(district: District, *needles: str) -> dict[str, set[str]]:
    """Where a text is found in a file of the home outside of landing."""
    home = district.raw.parent
    found = canaries.in_files(home, needles)
    return {name: here for name, here in found.items() if not (home / name).is_relative_to(district.landing)}


COMPUTED = ("weekly_activity", "weekly_course_grades", "student_features")


def test_years_count_from_the_exit_and_who_left_unknown_when_is_never_over(engine: sa.Engine, tmp_path: Path) -> None:
    district = made(engine, tmp_path, grades={"completed": 1}, discipline_incidents=1)
    holds.place(district.work, "ZQheld3", "a lawsuit")
    before = proposed(district.work, district.tenant, A_YEAR_ON - dt.timedelta(days=1))
    assert (bool(before), before.on_hold) == (False, 0)
    over = proposed(district.work, district.tenant, A_YEAR_ON)
    # Of who left without a kind grades are kept: `completed` alone has a period.
    assert over.counts == {"grades": {"students": 1, "rows": 1}, "discipline_incidents": {"students": 2, "rows": 2}}
    assert over.on_hold == 1
    late = proposed(district.work, district.tenant, dt.date(2099, 1, 1))
    assert late.counts == over.counts
    assert "ZQ" not in repr(over.counts)
    assert years_after(dt.date(2024, 2, 29), 1) == dt.date(2025, 3, 1)


@pytest.mark.parametrize(
    ("name", "date"),
    [("attendance_records", "date"), ("grades", "submission_date"), ("discipline_incidents", "incident_date")],
)
def test_rows_of_a_table_go_everywhere_and_do_not_come_back(
    engine: sa.Engine, tmp_path: Path, name: str, date: str
) -> None:
    gone = {"ZQgone1", "ZQgone2"}
    district = made(engine, tmp_path, **{name: 1})
    holds.place(district.work, "ZQheld3", "a lawsuit")
    others = [one for one in ("attendance_records", "grades", "discipline_incidents") if one != name]
    kept = {one: district.rows(one, "district_id") for one in ("students", "enrollments", *others)}
    values = district.rows(name, "district_id", date)
    assert whose(district, name) == set(NUMBERS)
    assert gone < whose(district, "weekly_activity")
    certificate = executed(district)
    assert certificate is not None

    def check() -> None:
        assert whose(district, name) == set(NUMBERS) - gone
        assert [row for row in values if row[0] not in gone] == district.rows(name, "district_id", date)
        assert {one: district.rows(one, "district_id") for one in kept} == kept
        for table in COMPUTED:
            assert not gone & whose(district, table), table
        assert whose(district, "student_features") == set(NUMBERS) - gone
        for row in district.quarantine(name, everything=True):
            assert row["raw"]["district_id"] not in gone
        archived = {Path(path).parent.parent.name for path in outside_landing(district, *gone) if "parquet" in path}
        assert name not in archived and "students" in archived
        district.check_accounts({})

    check()
    # Landed again under another date, computed again for everybody, every archive made again, tried again.
    district.land(4, **{name: {"attendance_records": ATTENDANCE + BAD_ROWS, "grades": GRADES}.get(name, INCIDENTS)})
    done = district.run(name)[name]
    rows = {"attendance_records": 6}.get(name, 2)
    assert done.report.deliveries[-1].erased_student == rows
    with engine.begin() as connection:
        for stage in ("weekly_activity", "student_features"):
            connection.execute(
                metadata.tables["pending_updates"]
                .insert()
                .values(tenant_id=district.tenant.name, stage=stage, week_start=FIRST_WEEK)
            )
    compute(district)
    check()
    for path in district.raw.rglob("*.parquet"):
        path.unlink()
    district.run()
    compute(district)
    check()
    assert not proposed(district.work, district.tenant, A_YEAR_ON)
    assert executed(district) is None


def test_a_child_who_comes_back_has_new_rows_and_they_are_over_after_the_next_exit(
    engine: sa.Engine, tmp_path: Path
) -> None:
    district = made(engine, tmp_path, grades=1)
    executed(district)
    again = STUDENTS.splitlines()[0] + "\nZQgone1,ZQ1,ZQname1,2010-01-01,2026-10-05,,\n"
    district.land(
        dt.date(2026, 10, 12),
        students=again,
        grades=f"{GRADES.splitlines()[0]}\nZQgone1,m,2026-10-06,90,new\nZQgone1,m,2025-09-03,71.137,ZQgone1-g\n",
    )
    district.run("students", "grades")
    graded = district.rows("grades", "district_id", "submission_date")
    assert [day for number, day in graded if number == "ZQgone1"] == [dt.date(2026, 10, 6)]
    compute(district)
    assert ("ZQgone1", dt.date(2026, 10, 11)) in district.rows("student_features", "district_id", "feature_date")
    assert not proposed(district.work, district.tenant, dt.date(2099, 1, 1)).counts.get("grades", {}).get("rows")
    district.land(dt.date(2026, 11, 2), students=again.replace("2026-10-05,,", "2026-10-05,2026-10-30,completed"))
    district.run("students")
    assert proposed(district.work, district.tenant, dt.date(2027, 10, 30)).counts == {
        "grades": {"students": 1, "rows": 1}
    }


def test_predictions_go_with_their_verdicts_and_are_not_made_again(engine: sa.Engine, tmp_path: Path) -> None:
    district = made(engine, tmp_path, predictions=1)
    certificate = executed(district)
    assert certificate is not None
    left = {"ZQhere4", "ZQmute5"}
    assert whose(district, "predictions") == judged(district) == left
    assert whose(district, "grades") == whose(district, "student_features") == set(NUMBERS)
    assert outside_landing(district, "ZQnote on ZQgone1", "ZQnote on ZQheld3") == {}
    # What was said of a prediction that is gone is left out when it is landed again, and lies in no quarantine.
    said = (district.landing / "2025-09-22" / "training_feedback.csv").read_text(encoding="utf-8")
    district.land(5, training_feedback=said)
    district.run("training_feedback")
    assert district.quarantine() == [row for row in district.quarantine() if row["table_name"] != "training_feedback"]
    assert judged(district) == left


def test_verdicts_alone_go_and_their_predictions_stay(engine: sa.Engine, tmp_path: Path) -> None:
    district = made(engine, tmp_path, training_feedback={"completed": 1})
    executed(district)
    assert judged(district) == {"ZQgone2", "ZQhere4", "ZQmute5"}
    assert whose(district, "predictions") == set(NUMBERS)
    for path in district.raw.rglob("*.parquet"):
        path.unlink()
    district.run()
    assert judged(district) == {"ZQgone2", "ZQhere4", "ZQmute5"}


def test_students_go_as_a_whole_and_are_known_as_erased(engine: sa.Engine, tmp_path: Path) -> None:
    district = made(engine, tmp_path, students=1)
    holds.place(district.work, "ZQheld3", "a lawsuit")
    certificate = executed(district)
    assert certificate is not None
    needles = ("ZQgone1", "ZQgone2", "ZQname1", "ZQname2")
    assert outside_landing(district, *needles) == {}
    assert canaries.in_tables(engine, needles) == {}
    assert whose(district, "students") == {"ZQheld3", "ZQhere4", "ZQmute5"}
    district.land(4, students=STUDENTS, grades=GRADES)
    district.run()
    assert outside_landing(district, *needles) == {}
    assert canaries.in_tables(engine, needles) == {}
    with pytest.raises(Exception, match="was erased on"):
        erasure.erase(
            district.work, district.raw, district.tenant, "ZQgone1", reason="r", approved_by="b", execute=True
        )


def test_the_certificate_says_what_went_by_whom_and_is_never_changed(engine: sa.Engine, tmp_path: Path) -> None:
    district = made(engine, tmp_path, grades=1, discipline_incidents={"completed": 2})
    grades = metadata.tables["grades"]
    of = metadata.tables["students"].c
    with engine.connect() as connection:
        keys = connection.scalars(
            sa.select(grades.c.id)
            .join(metadata.tables["students"], of.id == grades.c.student_id)
            .where(of.district_id.in_(NUMBERS[:3]))
        ).all()
    first = executed(district)
    assert first is not None
    assert first.document["students"] == {"grades": 3}
    assert first.document["rows"]["grades"] == 3
    expected = hashlib.sha256("\n".join(sorted(map(str, keys))).encode()).hexdigest()
    assert first.document["hashes"]["grades"] == [expected]
    assert first.document["years_after_exit"] == {"grades": {"otherwise": 1}, "discipline_incidents": {"completed": 2}}
    assert (first.document["executed_by"], first.document["approved_by"]) == (district.work.actor, "another person")
    assert first.document["last_backup"] == NO_BACKUPS == "unknown: no backups on record"
    assert first.document["previous_certificate_sha256"] is None
    ((was, now),) = first.document["archives"]
    assert now in {row["archive_sha256"] for row in district.manifest()} and was != now
    second = executed(district, dt.date(2027, 9, 19))
    assert second is not None
    assert second.document["previous_certificate_sha256"] == first.sha256
    for one in (first, second):
        data = one.path.read_bytes()
        assert one.path.stat().st_mode & 0o777 == 0o600
        assert (hashlib.sha256(data).hexdigest(), json.loads(data)) == (one.sha256, one.document)
        assert b"ZQ" not in data
    table = metadata.tables["retention_certificates"]
    with engine.connect() as connection:
        stored = connection.execute(sa.select(table).order_by(table.c.signed_at)).mappings().all()
    assert [(row["sha256"], row["document"]) for row in stored] == [
        (one.sha256, one.document) for one in (first, second)
    ]
    for statement in ("UPDATE retention_certificates SET reason = 'x'", "DELETE FROM retention_certificates"):
        with pytest.raises(sa.exc.DBAPIError, match="never changed or removed"), engine.begin() as connection:
            connection.exec_driver_sql(statement)


def test_it_takes_two_people_and_a_period(engine: sa.Engine, tmp_path: Path) -> None:
    district = made(engine, tmp_path, grades=1)
    before = district.rows("grades", "district_id")
    for approved_by in (None, "", district.work.actor, district.work.actor.upper()):
        with pytest.raises(ConfigurationError, match="two people"):
            executed(district, approved_by=approved_by)
    assert district.rows("grades", "district_id") == before
    district.tenant = district.tenant.model_copy(update={"retention": RetentionSettings()})
    with pytest.raises(ConfigurationError, match="sets no period"):
        executed(district)


def test_a_hold_that_is_placed_meanwhile_wins(
    engine: sa.Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    district = made(engine, tmp_path, grades=1)
    listed = archives.archives

    def held_meanwhile(*given: Any) -> Any:
        found = listed(*given)
        holds.place(district.work, "ZQgone1", "a lawsuit")
        return found

    with monkeypatch.context() as patch:
        patch.setattr(archives, "archives", held_meanwhile)
        with pytest.raises(PermanentError, match="put on hold"):
            executed(district)
    assert whose(district, "grades") == set(NUMBERS)
    certificate = executed(district)
    assert certificate is not None and certificate.document["students"] == {"grades": 2}
    assert whose(district, "grades") == {"ZQgone1", "ZQhere4", "ZQmute5"}
    # Of who is on hold nothing is left out, either.
    district.land(4, grades=GRADES)
    assert district.run("grades")["grades"].report.deliveries[-1].erased_student == 2


@pytest.mark.parametrize("step", ["together", "rewritten_without"])
def test_a_hold_on_one_of_those_who_go_as_a_whole_wins_at_any_moment(
    engine: sa.Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    district = made(engine, tmp_path, students=1)
    where = retention if step == "together" else erasure
    does = getattr(where, step)

    def held_meanwhile(*given: Any) -> Any:
        holds.place(district.work, "ZQgone1", "a lawsuit")
        return does(*given)

    with monkeypatch.context() as patch:
        patch.setattr(where, step, held_meanwhile)
        with pytest.raises(PermanentError, match="legal hold"):
            executed(district)
    assert whose(district, "students") == set(NUMBERS)
    # Of who is on hold, and of the others, nothing is left out of what is sent meanwhile.
    district.land(4, grades=GRADES.replace(".137", ".251"))
    assert district.run("grades")["grades"].report.deliveries[-1].erased_student == 0
    certificate = executed(district)
    assert certificate is not None and certificate.document["students"] == {"students": 2}
    assert whose(district, "students") == {"ZQgone1", "ZQhere4", "ZQmute5"}


@pytest.mark.parametrize("name", ["attendance_records", "students"])
def test_a_month_that_was_taken_out_has_to_be_brought_back_first(engine: sa.Engine, tmp_path: Path, name: str) -> None:
    if engine.dialect.name == "sqlite":
        pytest.skip("there are no months to take out")
    district = made(engine, tmp_path, **{name: 1})
    upkeep = Work(engine, EVERY_TENANT)
    detach_month(upkeep, "attendance_records", FIRST_WEEK)
    with pytest.raises(PermanentError, match="attach-month attendance_records 2025-09`"):
        executed(district)
    assert district.rows("erasures", "id") == district.rows("retention_removals", "table_name") == []
    assert whose(district, "grades") == set(NUMBERS)
    attach_month(upkeep, "attendance_records", FIRST_WEEK)
    assert executed(district) is not None
    assert whose(district, "attendance_records") == {"ZQhere4", "ZQmute5"}


def test_what_lies_under_an_earlier_name_goes_with_the_rows_of_a_table(engine: sa.Engine, tmp_path: Path) -> None:
    district = District(engine, tmp_path, retention=RetentionSettings(grades=1))
    district.land(1, students=STUDENTS, grades=GRADES)
    district.land(2, grades__bad="what,ever\nZQname1,ZQcell\n")
    district.run()
    district.land(3, students=STUDENTS.replace("ZQname1", "ZQmarried"))
    district.run()
    assert outside_landing(district, "ZQcell")
    executed(district)
    assert outside_landing(district, "ZQcell") == {}


STEPS = {
    "grades": ("rewritten_without", "restate_accounts", "end_removal", "rewrite", "sign"),
    "students": ("together", "rewrite", "sign"),
}


@pytest.mark.parametrize(("name", "step"), [(name, step) for name, steps in STEPS.items() for step in steps])
def test_what_was_stopped_is_finished_with_all_it_has_taken_away(
    engine: sa.Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, step: str
) -> None:
    district = made(engine, tmp_path, **{name: 1})

    def killed(*_given: object, **_named: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        where = retention.certificates if step == "sign" else retention
        patch.setattr(where, step, killed)
        with pytest.raises(KeyboardInterrupt):
            executed(district)
    assert not list(district.raw.rglob("*.tmp"))
    district.land(4, grades=GRADES)
    district.run("grades")
    certificate = executed(district)
    assert certificate is not None
    assert certificate.document["students"] == {name: 3}
    assert certificate.document["rows"]["grades"] == 3
    assert whose(district, "grades") == {"ZQhere4", "ZQmute5"}
    # A file of the landing folder alone still has them.
    assert not [path for path in outside_landing(district, "ZQgone1-g") if "grades" in path]
    district.check_accounts({})
    assert executed(district) is None
    assert uuid.UUID(certificate.document["certificate"]) == certificate.id


@pytest.mark.parametrize("name", ["grades", "students"])
def test_earlier_versions_go_too_and_the_record_of_changes_stays_whole(
    engine: sa.Engine, tmp_path: Path, name: str
) -> None:
    district = made(engine, tmp_path, **{name: 1})
    needles = ("71.137", "ZQwords of ZQgone1")
    district.land(
        4,
        grades=GRADES.replace(".137", ".251"),
        discipline_incidents=INCIDENTS.replace("ZQwords of", "ZQother words of"),
    )
    district.run("grades", "discipline_incidents")
    compute(district)

    def found_in(*needles: str) -> dict[str, set[str]]:
        return {table: here for table, here in canaries.in_tables(engine, needles).items() if table != "pg_stats"}

    assert found_in(*needles) == {"audit_images": set(needles)}
    certificate = executed(district)
    assert certificate is not None
    assert certificate.document["rows"]["earlier versions"] >= 3
    # What the period of one table ends stays in the versions of the others.
    kept = {"audit_images": {needles[1]}} if name == "grades" else {}
    assert found_in(*needles, "71.251") == kept
    assert found_in("74.137") == {"audit_images": {"74.137"}}
    verified = verify(district.work)
    assert (verified.findings, verified.uncompared) == ([], 0)


def test_refused_files_of_the_table_and_kept_bundles_lose_the_rows(engine: sa.Engine, tmp_path: Path) -> None:
    district = made(engine, tmp_path, grades=1)
    folder = district.landing / "2025-10-06"
    folder.mkdir()
    (folder / "grades-unreadable.csv").write_text("what,ever\nZQgone1,ZQcell\n", encoding="utf-8")
    (folder / "attendance_records-unreadable.csv").write_text("what,ever\nZQgone1,ZQcell\n", encoding="utf-8")
    members = canaries.roster()
    members["users.csv"] = members["users.csv"].replace(canaries.NUMBER, "ZQgone1")
    members["results.csv"] = (
        "sourcedId,status,dateLastModified,lineItemSourcedId,studentSourcedId,scoreStatus,score,scoreDate,comment\n"
        "ZQr1,,,l1,ZQgone1,fully graded,71.137,2025-09-03,\nZQr2,,,l1,other1,fully graded,80,2025-09-03,\n"
    )
    (folder / "roster.zip").write_bytes(canaries.zipped(members))
    district.run()
    assert {path.parent.parent.name for path in district.raw.rglob("*.refused")} == {"grades", "attendance_records"}
    executed(district)
    assert {path.parent.parent.name for path in district.raw.rglob("*.refused")} == {"attendance_records"}
    (bundle,) = (district.raw / district.tenant.name / "originals").rglob("*.zip")
    kept = b"".join(canaries.contents(bundle.read_bytes()))
    assert b"ZQr2" in kept and b"ZQr1" not in kept
    assert b"ZQgone1" in kept, "the roster itself is the table of students', which is not over"
    assert training_feedback.name not in proposed(district.work, district.tenant, A_YEAR_ON).counts
