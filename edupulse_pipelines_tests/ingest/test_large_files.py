"""A file of five gigabytes: memory does not grow with it, and not one row is lost.

Half a year of attendance by period of a large district, in the wide form in which systems export it. Takes some ten
minutes and 25 GB of disk.
"""

from __future__ import annotations

import datetime as dt
import itertools
import os
import random
import shutil
from collections import Counter
from pathlib import Path

import pytest
import sqlalchemy as sa

from edupulse_pipelines.storage.engine import create_engine
from edupulse_pipelines.storage.versions import upgrade
from edupulse_pipelines.weeks import WEEK
from edupulse_pipelines_tests.benchmarks.load import FIRST_DAY, TENANT, School, enrol, ours_in_a_process

SIZE = int(os.environ.get("EDUPULSE_TEST_LARGE_FILE_BYTES", "5000000000"))
STUDENTS = 40_000 if SIZE >= 1_000_000_000 else 1_000
PERIODS = 6
GIB = 2**30
HEADER = (
    "school_year,school_code,school_name,district_id,grade,homeroom,date,period,course_code,course_title,section_id,"
    "teacher_code,teacher_name,status,minutes,entered_by,entered_at,comment"
)
COURSES = ("Algebra I", "World History", "Biology with Laboratory", "English 9", "Physical Education", "Art")


def write_export(path: Path, school: School, size: int) -> tuple[dt.date, Counter[str]]:
    """Write about `size` bytes, day after day; the last day, and how many rows must become what.

    One row in a thousand has a status of the system's own, one in ten thousand a student whom nobody knows, one is cut,
    and one comes twice.
    """
    before: list[list[str]] = []
    after: list[list[str]] = []
    for period, course in enumerate(COURSES, start=1):
        before.append([])
        after.append([])
        for place in school.order:
            code = f"{place % 47:03d}"
            before[-1].append(
                f"2024-2025,{code},Springfield Consolidated Middle School No. {code},{school.numbers[place]},"
                f"{place % 4 + 6},HR-{place % 90:02d},"
            )
            after[-1].append(
                f",{period},C{period:02d}{place % 9},{course},2024-{code}-{period:02d}-{place % 31:02d},"
                f"T{place % 700:04d},Teacher of section {place % 31:02d},"
            )
    counts: Counter[str] = Counter()
    statuses = ("present",) * 93 + ("absent",) * 3 + ("tardy",) * 2 + ("excused",) * 2
    with path.open("w") as stream:
        stream.write(HEADER + "\n")
        for number in itertools.takewhile(lambda _: stream.tell() < size, itertools.count()):
            day = FIRST_DAY + (number // 5) * WEEK + dt.timedelta(days=number % 5)
            for period in range(PERIODS):
                tail = f",50,ATT-CLERK,{day}T{8 + period:02d}:05:00-05:00,\n"
                chosen = random.Random(day.toordinal() * PERIODS + period).choices(statuses, k=len(school.order))
                lines = [
                    f"{head}{day}{middle}{status}{tail}"
                    for head, middle, status in zip(before[period], after[period], chosen, strict=True)
                ]
                for at in range(9, len(lines), 1_000):
                    lines[at] = lines[at].replace(f",{chosen[at]},", ",here,")
                    counts["quarantined"] += 1
                    counts["inserted"] -= 1
                counts["inserted"] += len(lines)
                if period == 0:
                    strangers = [line.replace(",S0", ",X0") for line in lines[10::10_000]]
                    cut = [line[: len(line) // 2] + "\n" for line in lines[11::10_000]]
                    again = lines[12::10_000]
                    counts["quarantined"] += len(strangers) + len(cut)
                    counts["unchanged"] += len(again)
                    lines += [*strangers, *cut, *again]
                stream.writelines(lines)
    return day, counts


def folder_size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.mark.heavy
def test_a_file_of_five_gigabytes_needs_less_than_one_of_memory_and_loses_no_row(
    postgresql_url: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    free = shutil.disk_usage(tmp_path).free
    assert free > 5 * SIZE, f"this test needs {5 * SIZE / GIB:.0f} GiB of disk"
    engine = create_engine(postgresql_url)
    upgrade(engine)
    school = School.of(STUDENTS)
    enrol(postgresql_url, school)
    landing = tmp_path / "landing"
    landing.mkdir()
    export = tmp_path / "attendance_records.csv"
    last_day, counts = write_export(export, school, SIZE)
    delivered = last_day + dt.timedelta(days=7 - last_day.weekday())
    (landing / f"{delivered}").mkdir()
    landed = export.rename(landing / f"{delivered}" / export.name)

    done = ours_in_a_process(postgresql_url, tmp_path, landing, {"load": [delivered - WEEK]})
    step = done["steps"]["load"]
    with engine.connect() as connection:
        stored, held = (
            connection.scalar(sa.text(f"SELECT count(*) FROM {table} WHERE tenant_id = '{TENANT}'"))
            for table in ("attendance_records", "quarantined_records")
        )
        database_size = int(connection.scalar(sa.text("SELECT pg_database_size(current_database())")) or 0)
    engine.dispose()
    with capfd.disabled():
        print(
            f"\n{landed.stat().st_size / GIB:.2f} GiB of CSV, {step['read']:,} rows in {step['seconds']:.0f} s; peak "
            f"{done['peak_mib']} MiB of memory; on disk {folder_size(tmp_path / f'raw-{landing.name}') / GIB:.2f} GiB "
            f"of archive, {database_size / GIB:.2f} GiB of database"
        )
    counts["read"] = counts.total()
    assert {name: step[name] for name in counts} == dict(counts)
    assert (stored, held) == (counts["inserted"], counts["quarantined"])
    assert done["peak_mib"] < 1024
    assert folder_size(tmp_path / f"raw-{landing.name}") < landed.stat().st_size / 4
