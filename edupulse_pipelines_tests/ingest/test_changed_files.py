"""Landed files that differ from what was loaded are found by their content, whatever their name, size and time."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from edupulse_pipelines.ingest import changed_files
from edupulse_pipelines.ingest.landing import landed_deliveries
from edupulse_pipelines.sources.landed_files import LandedFile
from edupulse_pipelines_tests.ingest.district import STUDENT_HEADER, District, delivery_day
from edupulse_pipelines_tests.ingest.test_deletions import weeks

pytestmark = pytest.mark.usefixtures("quick_judge")

GRADES = "district_id,course_id,submission_date,grade_value"
ROW = "ZQ1,ZQm,2025-09-02,50\n"


@pytest.fixture
def loaded(district: District) -> District:
    """Three weeks, of the first of which the grades were refused."""
    district.land(1, students=f"{STUDENT_HEADER}\nZQ1,ZQa,ZQb,2010-01-01\n", grades="district_id,course_id\n")
    for number in (2, 3):
        district.land(number, grades=f"{GRADES}\n{ROW}")
    district.run()
    return district


def found(district: District) -> list[tuple[str, str | None]]:
    return [
        (one.name, one.was) for one in changed_files.changed_files(district.work, landed_deliveries(district.tenant))
    ]


def path_of(district: District, number: int, name: str) -> Path:
    return district.landing / delivery_day(number).isoformat() / name


def test_a_correction_of_the_same_name_is_taken_along_with_a_later_week(loaded: District) -> None:
    assert found(loaded) == []
    loaded.land(1, grades=f"{GRADES}\n{ROW}ZQ1,ZQm,2025-09-03,60\n")
    loaded.land(2, grades__late=f"{GRADES}\nZQ1,ZQm,2025-09-09,70\n")
    loaded.land(4, grades=f"{GRADES}\n{ROW}")
    assert found(loaded) == [
        ("2025-09-08/grades.csv", "refused"), ("2025-09-15/grades-late.csv", None), ("2025-09-29/grades.csv", None)
    ]  # fmt: skip
    done = loaded.run("grades", weeks=weeks(4))["grades"]
    assert [(file.delivered_on, file.status) for file in done.archive.files] == [
        (delivery_day(1), "archived"), (delivery_day(2), "archived"), (delivery_day(4), "archived")
    ]  # fmt: skip
    assert [delivery.delivered_on for delivery in done.report.deliveries] == [delivery_day(n) for n in (1, 2, 4)]
    assert sorted(loaded.rows("grades", "grade_value")) == [50, 60, 70]
    assert loaded.refused() == []
    assert found(loaded) == []


def test_a_run_of_an_earlier_week_leaves_later_ones_alone(loaded: District) -> None:
    loaded.land(3, grades=f"{GRADES}\nZQ1,ZQm,2025-09-03,60\n")
    assert loaded.run("grades", weeks=weeks(1))["grades"].archive.files[0].status == "refused"
    assert found(loaded) == [("2025-09-22/grades.csv", "loaded")]


def test_files_nobody_has_touched_are_read_once(loaded: District, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changed_files, "SETTLED_SECONDS", -60)  # as if they had been landed a minute ago
    assert found(loaded) == []

    def read(_self: LandedFile) -> tuple[str, int]:
        raise AssertionError("read again")

    with monkeypatch.context() as patch:
        patch.setattr(LandedFile, "fingerprint", read)
        assert found(loaded) == []
    # Another content of the same size and, as some copies make it, with the time of the first one.
    path = path_of(loaded, 2, "grades.csv")
    times = path.stat().st_mtime_ns
    time.sleep(0.02)
    path.write_text(f"{GRADES}\n{ROW.replace('50', '51')}", encoding="utf-8")
    os.utime(path, ns=(times, times))
    assert found(loaded) == [("2025-09-15/grades.csv", "loaded")]
    # The same content in its place again, with another time: read, and the same.
    path.write_text(f"{GRADES}\n{ROW}", encoding="utf-8")
    assert found(loaded) == []


def test_what_has_just_been_written_is_not_trusted(loaded: District, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two changes of one moment look alike to the file system."""
    touched = [max(path.stat().st_mtime, path.stat().st_ctime) for file in _landed(loaded) for path in file.paths]
    clock = SimpleNamespace(time=lambda: min(touched) + 1.9)  # whatever time the load has taken
    monkeypatch.setattr(changed_files, "time", clock)
    assert found(loaded) == []
    assert {row["landed_state"] for row in loaded.manifest()} == {None}
    clock.time = lambda: max(touched) + 2.1
    assert found(loaded) == []
    assert None not in {row["landed_state"] for row in loaded.manifest()}


def _landed(district: District) -> list[LandedFile]:
    return [file for one in landed_deliveries(district.tenant) for files in one.files.values() for file in files]


def test_a_file_that_cannot_be_read_any_more_is_no_news(loaded: District, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(_self: LandedFile) -> tuple[str, int]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(LandedFile, "fingerprint", denied)
    assert found(loaded) == []
