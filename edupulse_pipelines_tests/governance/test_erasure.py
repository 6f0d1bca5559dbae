"""Erasing a student by the room's own steps, on both databases: accounts, what is landed again, holds, stops."""

from __future__ import annotations

import datetime as dt
import json
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from edupulse_pipelines.errors import ConfigurationError, DeliveryUnfinished, PermanentError
from edupulse_pipelines.governance import erasure, holds
from edupulse_pipelines.governance.audit_verify import verify
from edupulse_pipelines.governance.erasure import Erased, erase
from edupulse_pipelines.governance.register import BY_CONTENT, STORED_TABLES
from edupulse_pipelines.ingest import archive, archived_file
from edupulse_pipelines.operations.partitions import attach_month, detach_month
from edupulse_pipelines.schema.sqlalchemy_tables import metadata
from edupulse_pipelines.sources.landed_files import LandedFile
from edupulse_pipelines.storage import erased, manifest
from edupulse_pipelines.storage.work import EVERY_TENANT, Work
from edupulse_pipelines_tests.conftest import Scene
from edupulse_pipelines_tests.governance import canaries
from edupulse_pipelines_tests.governance.tampering import past_triggers
from edupulse_pipelines_tests.ingest.district import ATTENDANCE_HEADER, STUDENT_HEADER, District, balanced

NUMBER = canaries.NUMBER
STUDENTS = (
    f"{STUDENT_HEADER}\n{NUMBER},{canaries.FIRST},{canaries.LAST},{canaries.BORN}\nother1,Other,Child,2010-01-02\n"
)
ATTENDANCE = (
    f"{ATTENDANCE_HEADER}\n{NUMBER},2025-09-02,absent\nother1,2025-09-02,present\n{NUMBER},2025-09-03,{canaries.BAD}\n"
)
MORE = f"{ATTENDANCE_HEADER}\n{NUMBER},2025-09-09,present\nother1,2025-09-09,tardy\n\n{NUMBER}\n"
GRADES = (
    "district_id,course_id,submission_date,grade_value,source_record_id\n"
    f"{NUMBER},m,2025-09-03,{canaries.GRADE},ZQ7741-g\nother1,m,2025-09-03,88,g2\n"
)


def _load(engine: sa.Engine, folder: Path) -> None:
    made = District(engine, folder)
    made.land(1, students=STUDENTS, attendance_records=ATTENDANCE, grades=GRADES)
    made.land(2, attendance_records=MORE)
    made.run()


@pytest.fixture
def scene() -> Scene:
    return _load


@pytest.fixture
def district(engine: sa.Engine, tmp_path: Path) -> District:
    """A district with the canary and another child, loaded."""
    return District(engine, tmp_path)


def erasing(district: District, number: str = NUMBER, **changes: Any) -> Erased:
    asked = {"reason": "asked", "approved_by": "another person", "execute": True, **changes}
    return erase(district.work, district.raw, district.tenant, number, **asked)


def held(district: District) -> list[str]:
    """Where the canary is found outside of landing: files and tables. SQLite's log is a part of its file."""
    files = canaries.in_files(district.raw.parent)
    outside = [name for name in files if not (district.raw.parent / name).is_relative_to(district.landing)]
    return [*dict.fromkeys(name.removesuffix("-wal") for name in outside), *canaries.in_tables(district.engine)]


def accounts(district: District) -> list[tuple[str, int, int, int]]:
    return [
        (row["table_name"], row["rows_read"], row["rows_quarantined"], row["rows_erased"])
        for row in sorted(district.manifest(), key=lambda row: (row["table_name"], row["delivered_on"]))
    ]


def test_everything_of_the_student_goes_and_all_else_stays(district: District) -> None:
    others = district.rows("attendance_records", "date", "status")
    ids = canaries.ids_of(district.engine, district.tenant.name)
    assert {"students", "attendance_records", "grades"} <= set(canaries.in_tables(district.engine, ids))
    done = erasing(district)
    assert (canaries.in_tables(district.engine, ids), canaries.in_files(district.raw.parent, ids)) == ({}, {})
    assert done.executed
    assert done.counts["archived rows"] == 6
    assert done.counts["quarantined_records"] == 2
    assert held(district) == []
    assert district.rows("students", "last_name") == ["Child"]
    assert set(district.rows("attendance_records", "date", "status")) < set(others)
    assert accounts(district) == [
        ("attendance_records", 1, 0, 2),
        ("attendance_records", 1, 0, 2),
        ("grades", 1, 0, 1),
        ("students", 1, 0, 1),
    ]
    district.check_accounts({})


def test_what_is_landed_again_leaves_the_student_out_and_accounts_for_it(district: District) -> None:
    erasing(district)
    district.land(3, students=STUDENTS, attendance_records=MORE.replace("09-09", "09-16"), grades=GRADES)
    done = district.run()
    assert held(district) == []
    for table, count in (("students", 1), ("attendance_records", 2), ("grades", 1)):
        account = done[table].report.deliveries[-1]
        assert account.erased_student == count
        assert balanced(account)
    for path in district.raw.rglob("*.parquet"):
        path.unlink()
    district.run()
    assert len(list(district.raw.rglob("*.parquet"))) == 7
    assert held(district) == []
    # Who has been erased is known by the home as well: a database of before does not bring anybody back.
    with district.engine.begin() as connection:
        connection.execute(metadata.tables["erased_keys"].delete())
    district.land(4, students=STUDENTS)
    district.run("students")
    assert held(district) == []


def test_without_execute_nothing_changes(district: District) -> None:
    before = held(district), accounts(district)
    found = erasing(district, execute=False, approved_by=None)
    assert not found.executed
    assert found.counts["students"] == 1
    assert (held(district), accounts(district)) == before
    assert not (district.raw.parent / erased.FOLDER).exists()


def test_it_takes_two_people_and_a_student_who_is_there_once_and_not_on_hold(district: District) -> None:
    before = held(district)
    for approved_by in (None, "", district.work.actor, district.work.actor.upper()):
        with pytest.raises(ConfigurationError, match="two people"):
            erasing(district, approved_by=approved_by)
    with pytest.raises(PermanentError, match="Nothing is held"):
        erasing(district, "nobody")
    holds.place(district.work, NUMBER, "a lawsuit")
    with pytest.raises(PermanentError, match="legal hold"):
        erasing(district)
    with pytest.raises(PermanentError, match="on hold already"):
        holds.place(district.work, NUMBER, "again")
    assert set(held(district)) == {*before, "legal_holds"}
    holds.release(district.work, NUMBER)
    erasing(district)
    assert held(district) == []
    with pytest.raises(PermanentError, match="was erased on 20"):
        erasing(district)


def test_earlier_versions_are_emptied_and_the_chain_stays_whole(district: District) -> None:
    corrected = STUDENTS.replace(canaries.LAST, "Married").replace("Other", "Another")
    district.land(3, students=corrected, grades=GRADES.replace(canaries.GRADE, "7.5").replace("88", "89"))
    district.run()
    audit_images = metadata.tables["audit_images"]

    def versions() -> list[tuple[str, bool]]:
        with district.engine.connect() as connection:
            rows = connection.execute(sa.select(audit_images.c.table_name, audit_images.c.image))
            return sorted(
                (row.table_name, row.image is not None) for row in rows if row.table_name in ("students", "grades")
            )

    assert versions() == [("grades", True)] * 2 + [("students", True)] * 2
    assert erasing(district).counts["earlier versions"] >= 2
    assert held(district) == []
    assert versions().count(("grades", True)) == versions().count(("students", True)) == 1  # the other child's
    assert sum(there for _, there in versions()) == 2
    found = verify(district.work)
    assert found.findings == [] and found.erased > 2
    # What is left of what the student's rows were written with is proven as before.
    assert found.uncompared == 0
    past_triggers(district.engine, "UPDATE grades SET grade_value = 12")
    assert [(finding.table, finding.said) for finding in verify(district.work).findings] == [
        ("grades", "rows are not as it wrote them")
    ]


def test_an_erasure_does_not_make_right_what_somebody_had_edited(district: District) -> None:
    past_triggers(district.engine, "UPDATE attendance_records SET status = 'excused' WHERE date = '2025-09-09'")
    done = erasing(district)
    # What is left of that change can no longer be proven: the erasure counts it, and `verify` goes on finding it.
    assert done.counts["changes not as recorded"] == 1
    with district.engine.connect() as connection:
        counts = connection.scalar(sa.select(metadata.tables["erasures"].c.counts))
    assert counts == dict(done.counts)
    (finding,) = verify(district.work).findings
    assert (finding.table, finding.rows) == ("attendance_records", 1)
    assert "nothing proves what is left" in finding.said


@pytest.mark.parametrize("step", ["restate_accounts", "_forget_small_groups", "_rename_files", "rewrite"])
def test_an_erasure_that_was_stopped_is_finished_by_saying_it_again(
    district: District, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def killed(*_given: object, **_named: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(erasure, step, killed)
        with pytest.raises(KeyboardInterrupt):
            erasing(district)
    # A file that is landed meanwhile brings nothing.
    district.land(3, students=STUDENTS)
    district.run("students")
    assert district.manifest()[-1]["rows_erased"] <= 1
    erasing(district)
    assert held(district) == []
    district.check_accounts({})
    assert not list(district.raw.rglob("*.tmp"))
    with pytest.raises(PermanentError, match="was erased on"):
        erasing(district)


def test_a_load_that_had_read_its_rows_before_does_not_bring_the_student_back(
    district: District, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edupulse_pipelines.ingest import merging

    district.land(3, attendance_records=MORE.replace("09-09", "09-16"))
    merge_confirming = merging.merge_confirming
    done: list[Erased] = []

    def erased_meanwhile(*given: Any) -> None:
        merge_confirming(*given)
        if not done:
            done.append(erasing(district))

    monkeypatch.setattr(merging, "merge_confirming", erased_meanwhile)
    district.run("attendance_records")
    assert done and held(district) == []
    district.check_accounts({})


def test_the_home_says_who_was_erased_by_hashes_and_cannot_do_without_its_key(district: District) -> None:
    erasing(district)
    home = district.raw.parent
    (path,) = (home / erased.FOLDER / district.tenant.name).glob("*.json")
    assert all(len(key) == 64 for key in json.loads(path.read_text(encoding="utf-8"))["keys"])
    assert {one.stat().st_mode & 0o777 for one in (path, home / erased.KEY_FILE)} == {0o600}
    (home / erased.KEY_FILE).unlink()
    district.land(3, students=STUDENTS)
    with pytest.raises(PermanentError, match=r"privacy.key is gone"):
        district.run("students")
    assert held(district) == []


def test_names_of_files_and_columns_and_kept_files_go_too(district: District) -> None:
    folder = district.landing / "2025-09-15"
    rows = f"{ATTENDANCE_HEADER},notes on {canaries.LAST}\n{NUMBER},2025-09-10,late,x\nother1,2025-09-10,gone,\n"
    (folder / f"attendance_records-{canaries.LAST}.csv").write_text(rows, encoding="utf-8")
    (folder / "roster.zip").write_bytes(canaries.zipped(canaries.roster()))
    (folder / "grades-unreadable.csv").write_text(f"what,ever\n{NUMBER},{canaries.REFUSED}\n", encoding="utf-8")
    district.run()
    assert {Path(name).suffix for name in canaries.in_files(district.raw)} == {".parquet", ".refused", ".zip"}
    done = erasing(district)
    assert {name: done.counts[name] for name in ("refused files", "kept bundles", "file names", "columns")} == {
        "refused files": 1,
        "kept bundles": 1,
        "file names": 1,
        "columns": 1,
    }
    assert held(district) == []
    (bundle,) = (district.raw / district.tenant.name / "originals").rglob("*.zip")
    assert b"Other" in b"".join(canaries.contents(bundle.read_bytes()))
    district.run()
    assert held(district) == []
    assert len([row for row in district.manifest() if row["table_name"] == "attendance_records"]) == 3
    for path in district.raw.rglob("*.parquet"):
        path.unlink()
    district.run()
    assert held(district) == []
    district.check_accounts({})


@pytest.mark.parametrize("stored", [True, False], ids=["married", "never loaded"])
def test_what_lies_under_a_name_of_other_times_goes_too(engine: sa.Engine, tmp_path: Path, stored: bool) -> None:
    district = District(engine, tmp_path)
    first = STUDENTS if stored else STUDENTS.replace(canaries.BORN, "no day")
    district.land(1, students=first)
    folder = district.landing / "2025-09-08"
    rows = f"{ATTENDANCE_HEADER}\n{NUMBER},2025-09-02,absent\nother1,2025-09-02,present\n"
    (folder / f"attendance_records-{canaries.LAST}.csv").write_text(rows, encoding="utf-8")
    (folder / "grades-bad.csv").write_text(f"what,ever\n{canaries.LAST},{canaries.REFUSED}\n", encoding="utf-8")
    district.run()
    if stored:
        district.land(2, students=STUDENTS.replace(canaries.LAST, "Married"))
    district.land(3, students=f"{STUDENT_HEADER}\n,{canaries.FIRST},{canaries.LAST},2010-01-01\n")
    district.run()
    assert {Path(name).suffix for name in canaries.in_files(district.raw)} == {".parquet", ".refused"}
    done = erasing(district)
    assert (done.counts["refused files"], done.counts["file names"]) == (1, 1)
    assert held(district) == []
    district.run()
    assert held(district) == []
    district.check_accounts({})


def _first(monkeypatch: pytest.MonkeyPatch, name: str, deed: Callable[[], object]) -> None:
    """Have a deed done once, before the erasure comes to a step."""
    step = getattr(erasure, name)
    deeds = [deed]

    def after_the_deed(*given: Any, **named: Any) -> Any:
        if deeds:
            deeds.pop()()
        return step(*given, **named)

    monkeypatch.setattr(erasure, name, after_the_deed)


def test_rows_that_a_load_brings_after_the_look_go_too(
    engine: sa.Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    district = District(engine, tmp_path)
    district.land(1, students=STUDENTS.replace(canaries.BORN, "no day"))
    district.run()
    district.land(2, students=STUDENTS, attendance_records=MORE)
    # It asks who approved after the look, and before it notes anything.
    _first(monkeypatch, "two_people", district.run)
    assert erasing(district).counts["students"] == 1
    assert held(district) == []
    assert district.rows("students", "last_name") == ["Child"]
    district.check_accounts({})


@pytest.mark.parametrize("step", ["two_people", "take_away", "rewritten_without"])
def test_a_hold_that_is_placed_at_any_moment_before_the_deed_wins(
    district: District, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    folder = district.landing / "2025-09-15"
    (folder / "grades-bad.csv").write_text(f"what,ever\n{NUMBER},{canaries.REFUSED}\n", encoding="utf-8")
    district.run()
    before = canaries.in_files(district.raw), accounts(district)
    with monkeypatch.context() as patch:
        _first(patch, step, lambda: holds.place(district.work, NUMBER, "a lawsuit"))
        with pytest.raises(PermanentError, match="legal hold"):
            erasing(district)
    assert (canaries.in_files(district.raw), accounts(district)) == before
    assert len(district.rows("legal_holds", "reason")) == 1
    # Nothing is noted that would leave out what the district sends from now on.
    district.land(3, attendance_records=MORE.replace("09-09", "09-16"))
    assert district.run("attendance_records")["attendance_records"].report.deliveries[-1].erased_student == 0
    holds.release(district.work, NUMBER)
    erasing(district)
    assert held(district) == []


def test_a_month_that_was_taken_out_has_to_be_brought_back_first(
    district: District, monkeypatch: pytest.MonkeyPatch
) -> None:
    if district.work.dialect == "sqlite":
        pytest.skip("there are no months to take out")
    upkeep = Work(district.engine, EVERY_TENANT)
    month = dt.date(2025, 9, 1)
    before = canaries.in_files(district.raw), accounts(district)

    def take_out() -> None:
        detach_month(upkeep, "attendance_records", month)

    with monkeypatch.context() as patch:
        _first(patch, "rewritten_without", take_out)
        with pytest.raises(PermanentError, match="attach-month attendance_records 2025-09`"):
            erasing(district)
    for execute in (False, True):
        with pytest.raises(PermanentError, match="attach-month attendance_records 2025-09`"):
            erasing(district, execute=execute)
    assert (canaries.in_files(district.raw), accounts(district)) == before
    assert district.rows("erasures", "id") == district.rows("erased_keys", "key_hash") == []
    attach_month(upkeep, "attendance_records", month)
    erasing(district)
    assert held(district) == []
    take_out()
    # It holds nothing of them any more: nobody has to bring it back.
    with pytest.raises(PermanentError, match="was erased on"):
        erasing(district)


def test_tables_that_an_erasure_changes_are_rewritten() -> None:
    assert {"model_evaluations", "promotion_decisions", *STORED_TABLES, *BY_CONTENT} == set(erasure.TOUCHED)


def test_what_a_killed_process_was_writing_goes_and_what_is_being_written_stays(district: District) -> None:
    (archived,) = (district.raw / district.tenant.name / "grades").rglob("*.parquet")
    theirs = archived.with_suffix(".another-machine_1_0123456789ab.tmp")
    kept = archived.with_name(f"{archived.name}.0123456789ab.tmp")
    for left in (theirs, kept):
        left.write_bytes(f"half of a row of {NUMBER}".encode())
    ours = archived_file.temporary_beside(archived)
    ours.write_bytes(b"of another student")
    assert {str(left.relative_to(district.raw)) for left in (theirs, kept)} <= set(canaries.in_files(district.raw))
    assert erasing(district).counts["unfinished files"] == 2
    assert held(district) == []
    assert ours.exists() and not theirs.exists() and not kept.exists()


def test_two_processes_that_make_the_key_at_once_have_the_same_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs: list[bytes] = []
    made = secrets.token_hex

    def while_another_makes_it(size: int) -> str:
        if not theirs:
            theirs.append(b"")
            theirs[0] = erased.privacy_key(tmp_path)
        return made(size)

    monkeypatch.setattr(secrets, "token_hex", while_another_makes_it)
    assert erased.privacy_key(tmp_path) == theirs[0] != b""
    assert [path.name for path in tmp_path.iterdir()] == [erased.KEY_FILE]
    assert (tmp_path / erased.KEY_FILE).stat().st_mode & 0o777 == 0o600


def test_an_archive_that_is_restored_from_a_backup_is_cleaned_by_saying_the_erasure_again(
    district: District, tmp_path: Path
) -> None:
    backup = tmp_path / "backup"
    shutil.copytree(district.raw, backup)
    erasing(district)
    shutil.copytree(backup, district.raw, dirs_exist_ok=True)
    shutil.rmtree(backup)
    assert held(district) != []
    assert erasing(district).counts["archived files"] == 4
    assert held(district) == []
    district.run()
    assert held(district) == []
    district.check_accounts({})
    with pytest.raises(PermanentError, match="was erased on"):
        erasing(district)


@pytest.mark.parametrize("kind", ["archive", "refused", "bundle", "made again"])
def test_what_was_being_archived_during_an_erasure_leaves_no_file(
    district: District, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    folder = district.landing / "2025-09-15"
    table = "grades" if kind == "refused" else "students"
    if kind == "refused":
        (folder / "grades-bad.csv").write_text(f"what,ever\n{NUMBER},{canaries.REFUSED}\n", encoding="utf-8")
    elif kind == "bundle":
        folder.with_name("2025-09-22").mkdir()
        (folder.with_name("2025-09-22") / "roster.zip").write_bytes(canaries.zipped(canaries.roster()))
    else:
        district.land(3, students=STUDENTS.replace("Other", "Another"))
    where, name = (LandedFile, "keep_in") if kind in ("refused", "bundle") else (archive, "write_archive")
    write = getattr(where, name)

    def erased_meanwhile(*given: Any, **named: Any) -> Any:
        erasing(district)
        return write(*given, **named)

    with district.work.reading() as connection:
        entry = manifest.every_file(connection, district.work, "students")[0]
    with monkeypatch.context() as patch:
        patch.setattr(where, name, erased_meanwhile)
        with pytest.raises(DeliveryUnfinished, match="run again"):
            if kind == "made again":
                archive.make_again(district.work, district.raw, district.tenant, entry)
            else:
                district.run(table)
    assert held(district) == []
    district.run()
    assert held(district) == []
    district.check_accounts({})
