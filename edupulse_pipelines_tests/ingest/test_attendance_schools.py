"""The school of attendance: which rows with and without one are the same record, in whatever order they are loaded."""

from __future__ import annotations

import datetime as dt
import itertools
import tempfile
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import example, given
from hypothesis import strategies as st

from edupulse_pipelines.ingest import delivered_rows
from edupulse_pipelines.ingest.doubt import attendance_in_doubt
from edupulse_pipelines.ingest.writers import attendance
from edupulse_pipelines.storage import months
from edupulse_pipelines.weeks import WEEK
from edupulse_pipelines_tests.conftest import Scene
from edupulse_pipelines_tests.ingest.district import FIRST_WEEK, STUDENT_HEADER, District, delivery_day
from edupulse_pipelines_tests.repeated import same_examples

DAY = "2025-09-02"
STUDENTS = f"{STUDENT_HEADER},enrollment_date\nZQ1,ZQa,ZQb,2010-01-01,2025-08-25\nZQ2,ZQc,ZQd,2010-01-01,2025-08-25\n"
WITHOUT = "district_id,date,status"
WITH = "district_id,date,status,school_id"
AT_TWO = "district_id,school_id,entry_date,exit_date\nZQ1,A,2025-08-25,\nZQ1,B,2025-08-25,\n"
_names = itertools.count()


def rows(header: str, *lines: str) -> str:
    return "\n".join([header, *(line.replace("ZQ1,", f"ZQ1,{DAY},", 1) for line in lines), ""])


def records(district: District) -> list[tuple[Any, ...]]:
    """School and status of what is recorded of the day, the records that were taken back left out."""
    found = district.rows("attendance_records", "school_id", "status", "deleted_on")
    return [(school, status) for school, status, deleted_on in found if deleted_on is None]


def landed(district: District, **files: str) -> dict[str, Any]:
    """Land one more delivery and run it."""
    number = 1 + len(list(district.landing.iterdir()))
    district.land(number, **files)
    return district.run(weeks=[FIRST_WEEK + (number - 1) * WEEK])


def _load(engine: sa.Engine, folder: Path) -> None:
    landed(District(engine, folder), students=STUDENTS)


@pytest.fixture
def scene(request: pytest.FixtureRequest) -> Scene | None:
    return _load if "school_day" in request.fixturenames else None


@pytest.fixture
def school_day(district: District) -> District:
    """A district with two students and nothing recorded."""
    return district


def counts(done: dict[str, Any]) -> tuple[int, ...]:
    return tuple(done["attendance_records"].counts[1:4])


def test_a_later_row_that_adds_the_school_updates_and_does_not_double(school_day: District) -> None:
    assert counts(landed(school_day, attendance_records=rows(WITHOUT, "ZQ1,absent"))) == (1, 0, 0)
    (identifier,) = school_day.rows("attendance_records", "id")
    school_day.forget_marks()
    assert counts(landed(school_day, attendance_records=rows(WITH, "ZQ1,absent,A"))) == (0, 1, 0)
    assert records(school_day) == [("A", "absent")]
    assert school_day.rows("attendance_records", "id") == [identifier]
    assert school_day.marks("weekly_activity") == {("ZQ1", FIRST_WEEK)}


@pytest.mark.parametrize("dropped", [rows(WITHOUT, "ZQ1,excused"), rows(WITH, "ZQ1,excused,")])
def test_a_later_row_that_drops_the_school_updates_and_leaves_the_school(school_day: District, dropped: str) -> None:
    landed(school_day, attendance_records=rows(WITH, "ZQ1,absent,A"))
    assert counts(landed(school_day, attendance_records=dropped)) == (0, 1, 0)
    assert records(school_day) == [("A", "excused")]
    again = dropped.replace("excused", "excused ")
    assert counts(landed(school_day, attendance_records=again)) == (0, 0, 1)
    assert school_day.rows("attendance_records", "delivered_on") == [FIRST_WEEK + 4 * WEEK]


def test_two_schools_that_are_sent_are_two_records(school_day: District) -> None:
    """In one delivery or in two; then what names no school is about neither of them."""
    assert counts(landed(school_day, attendance_records=rows(WITH, "ZQ1,absent,A", "ZQ1,present,B"))) == (2, 0, 0)
    assert counts(landed(school_day, attendance_records=rows(WITH, "ZQ1,absent,B"))) == (0, 1, 0)
    assert records(school_day) == [("A", "absent"), ("B", "absent")]
    assert counts(landed(school_day, attendance_records=rows(WITHOUT, "ZQ1,tardy"))) == (1, 0, 0)
    assert records(school_day) == [("A", "absent"), ("B", "absent"), (None, "tardy")]


def test_rows_with_and_without_a_school_in_one_delivery_are_two_records(school_day: District) -> None:
    assert counts(landed(school_day, attendance_records=rows(WITH, "ZQ1,absent,A", "ZQ1,present,"))) == (2, 0, 0)
    assert records(school_day) == [("A", "absent"), (None, "present")]


def test_a_second_school_parts_what_was_taken_for_one_record(school_day: District) -> None:
    landed(school_day, attendance_records=rows(WITHOUT, "ZQ1,tardy"))
    landed(school_day, attendance_records=rows(WITH, "ZQ1,absent,A"))
    assert records(school_day) == [("A", "absent")]
    assert counts(landed(school_day, attendance_records=rows(WITH, "ZQ1,present,B"))) == (1, 0, 0)
    assert records(school_day) == [("A", "absent"), ("B", "present"), (None, "tardy")]


@pytest.mark.parametrize("enrolled_first", [True, False])
def test_a_student_enrolled_at_two_schools_on_that_day_has_both_records(
    school_day: District, *, enrolled_first: bool
) -> None:
    if enrolled_first:
        landed(school_day, enrollments=AT_TWO)
    landed(school_day, attendance_records=rows(WITHOUT, "ZQ1,absent"))
    landed(school_day, attendance_records=rows(WITH, "ZQ1,present,A"))
    if not enrolled_first:
        assert records(school_day) == [("A", "present")]
        school_day.forget_marks()
        landed(school_day, enrollments=AT_TWO)
        assert ("ZQ1", FIRST_WEEK) in school_day.marks("weekly_activity")
    assert records(school_day) == [("A", "present"), (None, "absent")]
    # The second enrolment was a mistake.
    landed(school_day, enrollments="district_id,school_id,entry_date,_deleted\nZQ1,B,2025-08-25,true\n")
    assert records(school_day) == [("A", "present")]
    assert len(school_day.rows("attendance_records", "id")) == 1


def test_a_row_may_take_back_a_record_without_saying_its_school(school_day: District) -> None:
    landed(school_day, attendance_records=rows(WITH, "ZQ1,absent,A"))
    taken_back = rows("district_id,date,status,_deleted", "ZQ1,,true")
    assert landed(school_day, attendance_records=taken_back)["attendance_records"].delivery.deleted == 1
    assert records(school_day) == []
    landed(school_day, attendance_records=rows(WITH, "ZQ1,absent,A", "ZQ1,absent,B"))
    assert landed(school_day, attendance_records=f"{taken_back}\n,,,\n")["attendance_records"].counts[4] == 1
    assert records(school_day) == [("A", "absent"), ("B", "absent")]


@pytest.mark.parametrize("order", [(2, 3, 4), (3, 4, 2)])
def test_what_a_snapshot_took_back_is_not_what_a_row_has_said(school_day: District, order: tuple[int, ...]) -> None:
    """The record is gone while the snapshot is believed; no row says that it is to stay so."""
    whole = f'{{"snapshot": {{"attendance_records": {{"from": "{DAY}", "to": "{DAY}"}}}}}}'
    files = {
        2: rows(WITH, "ZQ1,absent,A"),
        3: rows(WITHOUT, "ZQ1,absent"),
        4: f"{WITHOUT}\nZQ2,{DAY},present\n",
    }
    for number in order:
        school_day.land(number, attendance_records=files[number])
        if number == 4:
            (school_day.landing / str(delivery_day(4)) / "manifest.json").write_text(whole)
        school_day.run(weeks=[FIRST_WEEK + (number - 1) * WEEK])
    assert records(school_day) == [(None, "present")]
    (said,) = school_day.rows("attendance_statements", "said")
    assert "taken_back" not in said


def test_an_unknown_school_waits_and_loads_by_itself(school_day: District) -> None:
    """Where a district sends its schools; and the student's week is in doubt meanwhile."""
    landed(school_day, attendance_records=rows(WITH, "ZQ1,absent,C"))
    assert records(school_day) == [("C", "absent")]  # no school was sent so far: kept as it is
    landed(school_day, schools="school_id\nA\n", attendance_records=rows(WITH, "ZQ1,absent,B"))
    assert school_day.reasons("attendance_records") == {2: ["unknown_school"]}
    (of_week,) = attendance_in_doubt(school_day.work, school_day.tenant).values()
    assert of_week is not None and len(of_week) == 1
    done = landed(school_day, schools="school_id\nB\n")
    assert done["attendance_records"].report.replayed == 1
    assert records(school_day) == [("B", "absent"), ("C", "absent")]
    assert school_day.quarantine() == []


def test_a_joined_student_keeps_nothing_of_what_was_said_before(school_day: District) -> None:
    """Statements are made anew with the records."""
    from edupulse_pipelines.ingest.joining import join, part

    both = f"{WITH}\nZQ1,{DAY},absent,\nZQ2,{DAY},present,A\n"
    landed(school_day, attendance_records=both)
    landed(school_day, attendance_records=rows(WITH, "ZQ1,tardy,B"))
    before = school_day.rows("attendance_records", "district_id", "school_id", "status", "deleted_on")
    join(school_day.work, school_day.raw, school_day.tenant, "ZQ1", "ZQ2", "moved")
    assert records(school_day) == [("A", "present"), ("B", "tardy"), (None, "absent")]
    part(school_day.work, school_day.raw, school_day.tenant, "ZQ1")
    assert school_day.rows("attendance_records", "district_id", "school_id", "status", "deleted_on") == before


# Any order

SCHOOLS = st.sampled_from(["", "", "A", "B"])


@st.composite
def attendance_files(draw: st.DrawFn) -> str:
    """A file about one student and one or two sessions, with or without schools; rows may be taken back."""
    columns: dict[str, st.SearchStrategy[str]] = {
        "district_id": st.just("ZQ1"),
        "date": st.just(DAY),
        "status": st.sampled_from(["present", "absent", "excused"]),
        "period": st.sampled_from(["", "", "1"]),
    }
    if draw(st.booleans()) or draw(st.booleans()):
        columns["school_id"] = SCHOOLS
    if draw(st.booleans()):
        columns["minutes_absent"] = st.sampled_from(["", "10", "20"])
    if draw(st.booleans()):
        columns["_deleted"] = st.sampled_from(["", "", "true"])
    lines = draw(st.lists(st.tuples(*columns.values()), min_size=1, max_size=3))
    return "\n".join([",".join(columns), *map(",".join, lines)])


@st.composite
def enrollment_files(draw: st.DrawFn) -> str:
    lines = draw(
        st.lists(
            st.tuples(st.just("ZQ1"), st.sampled_from(["A", "B"]), st.just("2025-08-25"), st.sampled_from(["", DAY])),
            max_size=2,
            unique_by=lambda row: row[1],
        )
    )
    return "\n".join(["district_id,school_id,entry_date,exit_date", *map(",".join, lines)])


Landing = dict[int, dict[str, str]]


def district_with(engine: sa.Engine, folder: str, landing: Landing) -> District:
    district = District(engine, Path(folder), name=f"s{next(_names)}")
    district.land(1, students=STUDENTS)
    for number, files in landing.items():
        district.land(number, **files)
    district.run("students", weeks=[FIRST_WEEK])
    return district


def snapshot(district: District) -> list[Any]:
    names = ("date", "period", "school_id", "status", "minutes_absent", "delivered_on", "field_deliveries")
    return district.rows("attendance_records", "district_id", *names, "deleted_on")


_given = given(
    files=st.lists(st.tuples(attendance_files(), st.none() | enrollment_files()), min_size=4, max_size=4),
    order=st.permutations([1, 2, 3, 4]),
    piece=st.sampled_from([1, 99]),
)


@pytest.mark.usefixtures("quick_judge")
@same_examples(3)
@_given
@example(
    [
        (rows(WITHOUT, "ZQ1,tardy"), None),
        (rows(WITH, "ZQ1,absent,A"), None),
        (rows("district_id,date,status,_deleted", "ZQ1,,true"), AT_TWO),
        (rows(WITH, "ZQ1,present,B"), None),
    ],
    [4, 3, 2, 1],
    1,
)
def test_the_records_do_not_depend_on_the_order_of_deliveries(
    engine: sa.Engine, files: list[tuple[str, str | None]], order: list[int], piece: int
) -> None:
    _check_the_order(engine, files, order, piece)


@pytest.mark.heavy
@pytest.mark.usefixtures("quick_judge")
@same_examples(40)
@_given
def test_nor_do_those_of_many_districts(
    engine: sa.Engine, files: list[tuple[str, str | None]], order: list[int], piece: int
) -> None:
    _check_the_order(engine, files, order, piece)


def _check_the_order(engine: sa.Engine, files: list[tuple[str, str | None]], order: list[int], piece: int) -> None:
    landing: Landing = {
        number: {"attendance_records": attended, **({} if enrolled is None else {"enrollments": enrolled})}
        for number, (attended, enrolled) in enumerate(files, start=1)
    }
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        together = district_with(engine, folder, landing)
        together.run("enrollments", "attendance_records")
        patch.setattr(delivered_rows, "PIECE_ROWS", piece)
        one_by_one = district_with(engine, folder, landing)
        for number in order:
            one_by_one.run("enrollments", "attendance_records", weeks=[FIRST_WEEK + (number - 1) * WEEK])
        # An enrolment that came last is followed by the next load.
        one_by_one.run("attendance_records", weeks=[])
        assert snapshot(one_by_one) == snapshot(together)
        before = snapshot(together)
        together.run("enrollments", "attendance_records")
        assert snapshot(together) == before


def test_months_that_are_built_apart_have_the_school(school_day: District, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attendance, "BULK_ROWS", 2)
    monkeypatch.setattr(delivered_rows, "PIECE_ROWS", 2)
    days = [dt.date(2025, 9, day) for day in (2, 3, 4)]
    lines = [f"{number},{day},present,{school}" for day in days for number in ("ZQ1", "ZQ2") for school in ("A", "")]
    landed(school_day, attendance_records="\n".join([WITH, *lines, ""]))
    assert records(school_day) == sorted([("A", "present"), (None, "present")] * 6, key=repr)
    landed(school_day, attendance_records="\n".join([WITH, *lines, ""]).replace("present", "absent"))
    assert records(school_day) == sorted([("A", "absent"), (None, "absent")] * 6, key=repr)
    with school_day.work.reading() as connection:
        assert months.default_rows(connection, "attendance_records") == 0
