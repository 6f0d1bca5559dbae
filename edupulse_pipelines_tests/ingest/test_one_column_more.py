"""A column that is added to the declaration of a record table is everywhere, without a second place that names it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

TABLES = ["students", "attendance_records", "grades", "discipline_incidents", "training_feedback"]


@pytest.fixture
def urls(tmp_path: Path, postgresql_url: str) -> str:
    """Of an empty database of each kind: a process that imports everything costs more than what it does then."""
    return f"sqlite:///{tmp_path / 'empty.db'} {postgresql_url}"


def test_a_declared_column_is_stored_judged_archived_and_documented(urls: str, tmp_path: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-m", f"{__package__}.one_column_more", str(tmp_path), urls, *TABLES],
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    everywhere = {
        "database": True,
        "script": [True, True],
        "suite": ["range:shoe_size", "type:shoe_size"],
        "archive": ["41", "42", "99"],
        "stored": [41, 42, 42],
        "quarantine": [["range:shoe_size"]],
        "dictionary": len(TABLES),
    }
    assert json.loads(process.stdout.splitlines()[-1]) == [dict.fromkeys(TABLES, everywhere)] * 2


def test_fields_of_attendance_are_as_new_as_the_deliveries_that_carried_them(urls: str, tmp_path: Path) -> None:
    """Fields of every type, left out by some deliveries; the order in which these are loaded makes no difference."""
    process = subprocess.run(
        [sys.executable, "-m", f"{__package__}.further_attendance", str(tmp_path), urls],
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    first, second, third = "2025-09-08", "2025-09-15", "2025-09-22"
    of_second = {"note": second, "share": second, "since": second}
    older = {
        "ZQ1": of_second | {"minutes": first, "detail": first},
        "ZQ2": dict.fromkeys(("note", "minutes", "share", "since", "detail"), first),
        # The third delivery carried its minutes, and they were empty.
        "ZQ3": of_second | {"detail": first, "minutes": third},
    }
    outcome = {
        "stored": [
            ["ZQ1", "2025-09-02", "present", "ZQb", 30, 0.25, "2025-09-02", {"a": [1, 2]}, third, older["ZQ1"]],
            ["ZQ2", "2025-09-02", "absent", "ZQa", 5, None, None, None, third, older["ZQ2"]],
            ["ZQ3", "2025-09-03", "tardy", None, None, None, None, {}, third, older["ZQ3"]],
            ["ZQ3", "2025-09-04", "tardy", None, 9, None, None, None, third, None],
        ],
        "again": [1, 0, 0, 1, 0],
        "unchanged": True,
        # Of one record the newest delivery carried every field; of the other the empty ones never came.
        "all_new": 2,
    }
    orders = ["d123", "d132", "d213", "d231", "d312", "d321"]
    assert json.loads(process.stdout.splitlines()[-1]) == [dict.fromkeys(orders, outcome)] * 2
