from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa

from edupulse_pipelines.ingest.validation import Expectations
from edupulse_pipelines.schema.expectations import CONFLICTING_DUPLICATE, KEY_VERSIONS
from edupulse_pipelines.schema.tables import ATTENDANCE_STATUSES
from edupulse_pipelines_tests.ingest.district import SECRET, District


@pytest.fixture(autouse=True)
def _no_student_in_any_output(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Nothing of a student reaches a log or the terminal, whatever a test does."""
    caplog.set_level("INFO")
    yield
    printed = capfd.readouterr()
    assert SECRET not in caplog.text + printed.out + printed.err


@pytest.fixture
def district(engine: sa.Engine, tmp_path: Path) -> District:
    """A district without a single delivery, on SQLite and on PostgreSQL."""
    return District(engine, tmp_path)


def _judge(_self: Expectations, frame: pd.DataFrame) -> dict[str, list[tuple[str, list[int]]]]:
    """What the suites say of the values in tests about time and order, which is quick."""
    wrong: dict[str, tuple[str, pd.Series]] = {}
    if "status" in frame:
        wrong["status"] = ("values:status", ~frame["status"].isin(ATTENDANCE_STATUSES) & frame["status"].notna())
    if "grade_value:number" in frame:
        wrong["grade_value"] = ("range:grade_value", frame["grade_value:number"] > 100)
    wrong[KEY_VERSIONS] = (CONFLICTING_DUPLICATE, frame[KEY_VERSIONS] > 1)
    return {
        column: [(reason, np.flatnonzero(values).tolist())]
        for column, (reason, values) in wrong.items()
        if values.any()
    }


@pytest.fixture
def quick_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    """No Great Expectations: a call costs 0.2 s whatever it judges, and tests about order make hundreds of calls."""
    monkeypatch.setattr(Expectations, "judge", _judge)
