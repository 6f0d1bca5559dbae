"""A column that is added to the declaration of a record table is everywhere, without a second place that names it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

TABLES = ["students", "grades", "discipline_incidents", "training_feedback"]


def test_a_declared_column_is_stored_judged_archived_and_documented(empty_database_url: str, tmp_path: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-m", f"{__package__}.one_column_more", empty_database_url, str(tmp_path), *TABLES],
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
    assert json.loads(process.stdout.splitlines()[-1]) == dict.fromkeys(TABLES, everywhere)


def test_a_column_of_attendance_is_not_left_unstored_in_silence() -> None:
    """Attendance is written by hand, so its writer says what to do instead of dropping what it does not know."""
    program = (
        f"from {__package__}.one_column_more import declare; declare(['attendance_records'])\n"
        "import edupulse_pipelines.ingest.load"
    )
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert process.returncode == 1
    assert "attendance_records declares a delivered column that this module does not store" in process.stderr
