"""How much of what there is a snapshot may take back, who may say yes to more, and that the order has no say in it."""

from __future__ import annotations

import datetime as dt
import itertools
import random

import pytest

from edupulse_pipelines.ingest.load import load_records
from edupulse_pipelines.storage import snapshots
from edupulse_pipelines.storage.snapshots import Removals
from edupulse_pipelines_tests.ingest import oracle
from edupulse_pipelines_tests.ingest.district import STUDENT_HEADER, District, delivery_day
from edupulse_pipelines_tests.ingest.test_deletions import DAY, declare, weeks
from edupulse_pipelines_tests.repeated import mostly_on_sqlite

pytestmark = pytest.mark.usefixtures("quick_judge")

GRADES = "source_record_id,district_id,course_id,submission_date,grade_value"
ALL = range(20)


def students(numbers: object) -> str:
    return "\n".join([STUDENT_HEADER, *(f"ZQ{number},ZQa,ZQ{number},2010-01-01" for number in numbers), ""])


def grades(numbers: object) -> str:
    return "\n".join([GRADES, *(f"g{number},ZQ1,ZQm,2025-09-0{number % 5 + 1},50" for number in numbers), ""])


def land(district: District, number: int, *, snapshot: bool = True, **files: str) -> None:
    district.land(number, **files)
    if snapshot:
        declare(district, number, {"snapshot": True})


def accept(district: District, *numbers: int) -> None:
    with district.work.writing() as connection:
        snapshots.accept_removals(connection, district.work, [DAY[number] for number in numbers])


def found(district: District, table: str) -> dict[int, Removals | None]:
    """What was found of each snapshot, by the number of its delivery."""
    with district.work.reading() as connection:
        number = {day: number for number, day in DAY.items()}
        stored = snapshots.snapshots(connection, district.work, table)
    return {number[one.delivered_on]: one.removals for one in stored}


def standing(district: District) -> int:
    return sum(day is None for day in district.rows("students", "deleted_on"))


@pytest.mark.parametrize("left", [range(0), range(2)], ids=["a header alone", "two of twenty"])
def test_a_snapshot_that_lacks_nearly_everybody_takes_nobody_back(district: District, left: range) -> None:
    land(district, 1, students=students(ALL))
    land(district, 2, students=students(left))
    done = district.run("students")["students"]
    assert standing(district) == 20
    assert sum(delivery.deleted for delivery in done.report.deliveries) == 0
    gone = 20 - len(left)
    assert found(district, "students") == {1: Removals(0, 20, True), 2: Removals(gone, len(left), False)}
    # The next snapshot lacks them, too: it waits as well. A full one settles everything.
    land(district, 3, students=students(left))
    district.run("students", weeks=weeks(3))
    assert found(district, "students")[3] == Removals(gone, len(left), False)
    land(district, 4, students=students(ALL))
    district.run("students", weeks=weeks(4))
    assert standing(district) == 20
    assert all(removals is not None and removals.believed for removals in found(district, "students").values())


def test_a_district_without_anybody_is_not_believed_however_small_it_is(district: District) -> None:
    land(district, 1, students=students(range(2)), grades=grades([]))
    land(district, 2, students=students([]), grades=grades([]))
    district.run("students", "grades")
    assert standing(district) == 2
    assert found(district, "students")[2] == Removals(2, 0, False)
    assert found(district, "grades")[2] == Removals(0, 0, True)
    accept(district, 2)
    district.run("students", weeks=[])
    assert standing(district) == 0


def test_little_is_believed_and_five_always(district: District) -> None:
    land(district, 1, students=students(range(60)))
    land(district, 2, students=students(range(54)))  # six of sixty are a tenth
    land(district, 3, students=students(range(49)))  # five
    land(district, 4, students=students(range(43)))  # six of forty-nine
    district.run("students")
    assert [removals and removals.believed for removals in found(district, "students").values()] == [
        True, True, True, False
    ]  # fmt: skip
    assert standing(district) == 49


def test_a_yes_takes_back_and_is_a_yes_to_the_snapshots_before(district: District) -> None:
    land(district, 1, students=students(ALL))
    for number in (2, 3):
        land(district, number, students=students(range(2)))
    district.run("students")
    district.forget_marks()
    accept(district, 3)
    accept(district, 3)
    report = load_records(district.work, district.raw, district.tenant, "students", [])  # no week asks for it
    assert report.deliveries == []
    assert standing(district) == 2
    assert set(district.rows("students", "deleted_on")) == {None, DAY[2]}
    assert [removals and removals.believed for removals in found(district, "students").values()] == [True] * 3
    assert ("ZQ19", delivery_day(1)) in district.marks("student_features") or (
        None, delivery_day(1)
    ) in district.marks("student_features")  # fmt: skip
    assert {row["delivered_on"]: row["rows_deleted"] for row in district.manifest()} == {
        DAY[1]: 0, DAY[2]: 18, DAY[3]: 0
    }  # fmt: skip
    again = district.run("students")
    assert (standing(district), again["students"].report.warnings) == (2, {})


def test_rows_that_say_so_are_taken_at_their_word(district: District) -> None:
    land(district, 1, snapshot=False, students=students(ALL))
    rows = "\n".join(f"ZQ{number},,,,true" for number in range(18))
    land(district, 2, snapshot=False, students=f"{STUDENT_HEADER},_deleted\n{rows}\n")
    land(district, 3, students=students(range(18, 20)))  # which lacks nobody any more
    district.run("students")
    assert standing(district) == 2
    assert found(district, "students") == {3: Removals(0, 2, True)}
    assert set(district.rows("students", "deleted_on")) == {None, DAY[2]}


def test_what_was_taken_back_stands_again_when_a_late_delivery_says_it_was_too_much(district: District) -> None:
    """The snapshot of the third week lacks four students of the first, and all of the second, which comes late."""
    land(district, 1, snapshot=False, students=students(ALL))
    land(district, 3, students=students(range(16)))
    district.run("students", weeks=weeks(1, 3))
    assert standing(district) == 16
    land(district, 2, snapshot=False, students=students(range(100, 130)))
    district.run("students", weeks=weeks(2))
    assert standing(district) == 50
    assert found(district, "students") == {3: Removals(34, 16, False)}
    assert [row["rows_deleted"] for row in district.manifest()] == [0, 0, 0]


def test_only_the_days_of_a_snapshot_count(district: District) -> None:
    district.enrol("ZQ1")
    land(district, 1, snapshot=False, grades=grades(range(40)))
    district.land(2, grades=grades([0, 5]))  # of the first of September alone, where there were eight
    declare(district, 2, {"snapshot": {"grades": {"from": "2025-09-01", "to": "2025-09-01"}}})
    district.run("grades")
    assert found(district, "grades") == {2: Removals(6, 2, False)}
    district.tenant = district.tenant.model_copy(update={"max_taken_back": 0.75})
    district.run("grades", weeks=[])
    assert found(district, "grades") == {2: Removals(6, 2, True)}
    assert sum(day is not None for day in district.rows("grades", "deleted_on")) == 6


@mostly_on_sqlite("seed", range(4), ordinary=2)
def test_the_result_does_not_depend_on_the_order(district: District, seed: int) -> None:
    """Four deliveries, snapshots or not, some accepted: whatever is loaded first, the same records stand."""
    draw = random.Random(seed)
    parts = {n: sorted(draw.sample(ALL, draw.choice([3, 14, 17, 20]))) for n in DAY}
    full = {n: draw.random() < 0.7 for n in DAY}
    accepted = [n for n in DAY if full[n] and draw.random() < 0.25]
    results = []
    orders = [(1, 2, 3, 4), *draw.sample(list(itertools.permutations(DAY)), 3)]
    for place, order in enumerate(orders):
        one = District(district.engine, district.raw.parent / str(place), name=f"d{place}")
        accept(one, *accepted)
        for number in order:
            land(one, number, snapshot=full[number], students=students(parts[number]))
            one.run("students", weeks=weeks(number))
        believed = {n: removals and removals.believed for n, removals in found(one, "students").items()}
        results.append((one.rows("students", "district_id", "delivered_on", "deleted_on"), believed))
    assert all(result == results[0] for result in results), (parts, full, accepted, orders)


@mostly_on_sqlite("seed", range(4), ordinary=2)
def test_schools_and_enrolments_that_a_snapshot_lacks_are_what_the_rules_say(district: District, seed: int) -> None:
    """Snapshots or not, some accepted, rows that take back; in three orders, and once more when all are there."""
    draw = random.Random(seed)
    pool = {
        "schools": [str(number) for number in range(10)],
        "enrollments": [f"ZQ{number % 12},{number % 3},2025-09-0{number // 12 + 1}" for number in range(36)],
    }
    header = {"schools": "school_id,_deleted", "enrollments": "district_id,school_id,entry_date,_deleted"}
    full = {n: draw.random() < 0.7 for n in DAY}
    accepted = [n for n in DAY if full[n] and draw.random() < 0.25]
    files: dict[int, dict[str, str]] = {n: {"students": students(range(12))} for n in DAY}
    expected = {}
    for table, keys in pool.items():
        held: dict[str, dt.date] = {}
        by_row: dict[str, dt.date | None] = {}
        counts = {}
        for n, day in DAY.items():
            # All of it at first, as what the district has never sent is not checked; then little or much less.
            rows = keys if n == 1 else draw.sample(keys, draw.choice([2, len(keys) - 5, len(keys) - 3, len(keys)]))
            # Of a record that a row takes back and a later snapshot lacks, either may give the date.
            back = [] if n == 1 or any(full[later] for later in DAY if later >= n) else draw.sample(keys, 3)
            said = [key for key in rows if key not in back]
            files[n][table] = "\n".join(
                [header[table], *(f"{key}," for key in said), *(f"{key},true" for key in back), ""]
            )
            held |= dict.fromkeys(said, day)
            by_row |= dict.fromkeys(said) | dict.fromkeys(back, day)
            if full[n]:
                counts[day] = len(said)
        records = {key: (held[key], by_row[key]) for key in keys}
        expected[table] = oracle.removals(records, counts, [DAY[n] for n in accepted], district.tenant.max_taken_back)
    for place, order in enumerate([(1, 2, 3, 4), (4, 3, 2, 1), (2, 4, 1, 3)]):
        one = District(district.engine, district.raw.parent / str(place), name=f"d{place}")
        accept(one, *accepted)
        for number in order:
            land(one, number, snapshot=full[number], **files[number])
            one.run("students", "schools", "enrollments", weeks=weeks(number))
        one.run("students", "schools", "enrollments")
        schools = dict(one.rows("schools", "school_id", "deleted_on"))
        enrolments = {
            f"{number},{school},{entry}": deleted_on
            for number, school, entry, deleted_on, origin in one.rows(
                "enrollments", "district_id", "school_id", "entry_date", "deleted_on", "origin"
            )
            if origin == "sent"
        }
        assert {"schools": schools, "enrollments": enrolments} == expected, (order, full, accepted)
