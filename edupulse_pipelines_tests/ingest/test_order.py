"""Order does not matter: however deliveries are grouped into runs, interrupted or chunked, the tables are the same."""

from __future__ import annotations

import csv
import io
import itertools
import tempfile
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, assume, given
from hypothesis import strategies as st

from edupulse_pipelines.ingest import delivered_rows, marks, quarantine
from edupulse_pipelines.schema.delivery import DELIVERED
from edupulse_pipelines.schema.tables import TABLES as TABLES_DECLARED
from edupulse_pipelines.storage import manifest
from edupulse_pipelines.weeks import WEEK, week_start
from edupulse_pipelines_tests.ingest.district import (
    ATTENDANCE_HEADER,
    FIRST_WEEK,
    STUDENT_HEADER,
    District,
    delivery_day,
)
from edupulse_pipelines_tests.repeated import same_examples

_names = itertools.count()

SNAPSHOT = {
    "students": (
        "district_id", "first_name", "gpa", "gender", "enrollment_date", "exit_date", "student_metadata",
        "delivered_on", "field_deliveries",
    ),
    "enrollments": (
        "district_id", "school_id", "entry_date", "exit_date", "exit_type", "is_primary", "source_record_id", "origin",
        "first_delivered_on", "delivered_on", "field_deliveries", "deleted_on",
    ),
    "attendance_records": (
        "district_id", "date", "period", "school_id", "status", "minutes_absent", "minutes_possible", "delivered_on",
        "field_deliveries",
    ),
    "grades": (
        "district_id", "record_key", "source_record_id", "course_id", "submission_date", "grade_value",
        "grade_letter", "assignment_id", "due_date", "delivered_on", "field_deliveries",
    ),
    "discipline_incidents": (
        "district_id", "record_key", "incident_date", "severity_level", "resolution", "delivered_on",
        "field_deliveries",
    ),
}  # fmt: skip
TABLES = tuple(SNAPSHOT)

# Per table the required columns and the optional ones, with the few values that make repeats and conflicts likely.
NUMBERS = st.sampled_from(["ZQ1", "ZQ2", "ZQ3"])
DAYS = st.sampled_from(["2025-09-02", "2025-09-03", "2025-09-10", "2025-09-17"])
IDS = st.sampled_from(["r1", "r2", ""])
COLUMNS: dict[str, tuple[dict[str, st.SearchStrategy[str]], dict[str, st.SearchStrategy[str]]]] = {
    "students": (
        {
            "district_id": NUMBERS,
            "first_name": st.sampled_from(["ZQa", "ZQb"]),
            "last_name": st.just("ZQ"),
            "date_of_birth": st.just("2010-01-01"),
        },
        {
            "gpa": st.sampled_from(["", "2", "3.5"]),
            "gender": st.sampled_from(["", "ZQf"]),
            "enrollment_date": st.sampled_from(["", "2025-08-25", "2025-09-12"]),
            "exit_date": st.sampled_from(["", "2025-08-28", "2025-09-16"]),
            "exit_type": st.sampled_from(["", "other"]),
            "student_metadata": st.sampled_from(["", "{}", '"{""a"": 1}"']),
        },
    ),
    "enrollments": (
        {"district_id": NUMBERS, "entry_date": st.sampled_from(["2025-08-25", "2025-09-03"])},
        {
            "school_id": st.sampled_from(["", "1", "2"]),
            "exit_date": st.sampled_from(["", "2025-09-17"]),
            "is_primary": st.sampled_from(["", "Yes", "0"]),
            "_deleted": st.sampled_from(["", "", "true"]),
        },
    ),
    "attendance_records": (
        {"district_id": NUMBERS, "date": DAYS, "status": st.sampled_from(["present", "absent"])},
        {
            "period": st.sampled_from(["", "1", "01"]),
            "school_id": st.sampled_from(["", "1", "2"]),
            "minutes_absent": st.sampled_from(["", "10", "70"]),
            "minutes_possible": st.sampled_from(["", "60"]),
        },
    ),
    "grades": (
        {"district_id": NUMBERS, "course_id": st.just("ZQm"), "submission_date": DAYS},
        {
            "source_record_id": IDS,
            "grade_value": st.sampled_from(["", "50", "50.0"]),
            "grade_letter": st.sampled_from(["", "A"]),
            "assignment_id": st.sampled_from(["", "w1", "w2"]),
            "due_date": st.sampled_from(["", "2025-09-05"]),
        },
    ),
    "discipline_incidents": (
        {"district_id": NUMBERS, "incident_date": DAYS, "severity_level": st.sampled_from(["1", "5"])},
        {"source_record_id": IDS, "resolution": st.sampled_from(["", "ZQ"])},
    ),
}


@st.composite
def files(draw: st.DrawFn, table: str) -> str:
    """One file of a table: some of the optional columns, up to five rows."""
    required, optional = COLUMNS[table]
    columns = required | {name: values for name, values in optional.items() if draw(st.booleans())}
    rows = draw(st.lists(st.tuples(*columns.values()), max_size=3 if table == "students" else 5))
    return "\n".join([",".join(columns), *(",".join(row) for row in rows)])


@st.composite
def landings(draw: st.DrawFn) -> dict[int, dict[str, str]]:
    """Files by delivery (1 to 4): now and then a file is missing, comes in two parts, or is one of an earlier week."""
    landing: dict[int, dict[str, str]] = {}
    for number in range(1, 5):
        landed = landing.setdefault(number, {})
        for table in TABLES:
            for name in (table, f"{table}__b"):
                kind = draw(st.sampled_from(["new", "again", "none"] if name == table else ["new", "none", "none"]))
                known = [file for other in landing.values() for key, file in other.items() if key.startswith(table)]
                if kind == "again" and known:
                    landed[name] = draw(st.sampled_from(known))
                elif kind != "none":
                    landed[name] = draw(files(table))
    return landing


def district_with(engine: sa.Engine, folder: str, landing: dict[int, dict[str, str]]) -> District:
    """A new district in which all of this has landed."""
    district = District(engine, Path(folder), name=f"d{next(_names)}")
    for number, landed in landing.items():
        district.land(number, **landed)
    return district


def students_of_records(landing: dict[int, dict[str, str]]) -> dict[tuple[str, str], set[str]]:
    """Table and source id of every record that has one: the students it is delivered for."""
    found: dict[tuple[str, str], set[str]] = {}
    for landed in landing.values():
        for name, text in landed.items():
            for row in csv.DictReader(io.StringIO(text)):
                if source := row.get("source_record_id"):
                    found.setdefault((name.partition("__")[0], source), set()).add(str(row.get("district_id")))
    return found


def snapshot(district: District) -> dict[str, list[Any]]:
    """The record tables without ids and moments."""
    return {table: district.rows(table, *columns) for table, columns in SNAPSHOT.items()}


def run(district: District, weeks: list[int]) -> None:
    """One run over these weeks (counted from 1), students first as the assets have it."""
    district.run(*TABLES, weeks=[FIRST_WEEK + (number - 1) * WEEK for number in weeks])


_given = given(
    landing=landings(),
    order=st.permutations([1, 2, 3, 4]),
    cuts=st.sets(st.integers(1, 3)),
    chunk=st.sampled_from([2, 99]),
)


@pytest.mark.usefixtures("quick_judge")
@same_examples(3, HealthCheck.data_too_large)
@_given
def test_the_tables_do_not_depend_on_the_order_or_grouping_of_runs(
    engine: sa.Engine, landing: dict[int, dict[str, str]], order: list[int], cuts: set[int], chunk: int
) -> None:
    _check_the_order(engine, landing, order, cuts, chunk)


@pytest.mark.heavy
@pytest.mark.usefixtures("quick_judge")
@same_examples(30, HealthCheck.data_too_large)
@_given
def test_nor_do_those_of_many_districts(
    engine: sa.Engine, landing: dict[int, dict[str, str]], order: list[int], cuts: set[int], chunk: int
) -> None:
    _check_the_order(engine, landing, order, cuts, chunk)


def _check_the_order(
    engine: sa.Engine, landing: dict[int, dict[str, str]], order: list[int], cuts: set[int], chunk: int
) -> None:
    # Whose a record is that two students are named for is decided by what is loaded first: the other is refused.
    assume(not any(len(of) > 1 for of in students_of_records(landing).values()))
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        together = district_with(engine, folder, landing)
        run(together, [1, 2, 3, 4])
        one_by_one = district_with(engine, folder, landing)
        patch.setattr(delivered_rows, "PIECE_ROWS", chunk)
        groups = [order[start:end] for start, end in itertools.pairwise([0, *sorted(cuts), 4])]
        for group in groups:
            run(one_by_one, sorted(group))
        assert snapshot(one_by_one) == snapshot(together)
        # Everything once more: nothing changes, nothing is left to recompute.
        before = snapshot(together)
        together.forget_marks()
        run(together, [1, 2, 3, 4])
        assert snapshot(together) == before
        assert together.marks("weekly_activity") == together.marks("student_features") == set()
        # Whatever stands in the tables now has been marked when it came in.
        marked = one_by_one.marks("weekly_activity")
        for table, date in (
            ("attendance_records", "date"), ("grades", "submission_date"), ("discipline_incidents", "incident_date")
        ):  # fmt: skip
            assert {(number, week_start(day)) for number, day in one_by_one.rows(table, "district_id", date)} <= marked


def test_tables_whose_files_may_leave_fields_out_keep_how_old_each_is() -> None:
    """All but verdicts, of which a later delivery without a field leaves the older value, and an earlier one not."""
    without = {
        name
        for name, contract in DELIVERED.items()
        if set(contract.fields) - set(contract.required) - {contract.reference}
        and "field_deliveries" not in TABLES_DECLARED[name].column_names
    }
    assert without == {"training_feedback"}


LANDING = {
    1: {
        "students": f"{STUDENT_HEADER}\nZQ1,ZQa,ZQb,2010-01-01\n",
        "attendance_records": (f"{ATTENDANCE_HEADER}\nZQ1,2025-09-02,absent\nZQ1,2025-09-03,x\nZQ2,2025-09-02,tardy\n"),
    },
    2: {
        "students": f"{STUDENT_HEADER},gpa\nZQ1,ZQa,ZQc,2010-01-01,3\nZQ2,ZQa,ZQb,2010-01-01,\n",
        "attendance_records": (
            f"{ATTENDANCE_HEADER}\nZQ1,2025-09-02,excused\nZQ1,2025-09-10,x\nZQ2,2025-09-10,tardy\n"
        ),
    },
}


PLACES: dict[str, tuple[Any, str]] = {
    "enter_account": (manifest, "enter_account"),
    "write": (marks.Marks, "write"),
    "keep": (quarantine, "keep"),
    "replay": (manifest, "move_freed"),
}
"""Where each step is done."""


def everything(district: District) -> dict[str, list[Any]]:
    """The record tables, the quarantine and the manifest; not how files looked when they were compared last.

    That is noted of files that have lain still for a while, whatever becomes of the run.
    """
    files = [{name: value for name, value in file.items() if name != "landed_state"} for file in district.manifest()]
    return {**snapshot(district), "quarantine": district.quarantine(everything=True), "files": files}


@pytest.mark.usefixtures("quick_judge")
@pytest.mark.parametrize("step", ["enter_account", "write", "keep", "replay"])
def test_a_run_that_dies_leaves_no_half_delivery_and_goes_on(engine: sa.Engine, tmp_path: Path, step: str) -> None:
    """The process dies in the second delivery after some of its writes, or while a waiting row is replayed."""
    whole = district_with(engine, str(tmp_path), LANDING)
    run(whole, [1])
    run(whole, [2])
    killed = district_with(engine, str(tmp_path), LANDING)
    run(killed, [1])

    class Died(BaseException):
        """No error that anything would catch."""

    def die(*_args: Any, **_options: Any) -> None:
        raise Died

    weeks = [FIRST_WEEK + WEEK]
    table = "students" if step in ("enter_account", "write") else "attendance_records"
    if table == "attendance_records":
        killed.run("students", weeks=weeks)
    if step == "keep":
        killed.run(table, weeks=[])  # replays, and no more
    before = everything(killed)
    room, function = PLACES[step]
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Died):
        patch.setattr(room, function, die)
        killed.run(table, weeks=weeks)
    after = everything(killed)
    archived = [
        file for file in after["files"] if file["delivered_on"] == delivery_day(2) and file["table_name"] == table
    ]
    assert [file["status"] for file in archived] == ["archived"]
    after["files"].remove(archived[0])
    assert after == before
    run(killed, [2])
    assert snapshot(killed) == snapshot(whole)
    for each in (whole, killed):
        each.check_accounts({})
    columns = ("line_number", "delivered_on", "reasons")
    assert [[row[name] for name in columns] for row in killed.quarantine()] == [
        [row[name] for name in columns] for row in whole.quarantine()
    ]
