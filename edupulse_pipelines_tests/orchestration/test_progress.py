"""How far a long step says it is."""

from __future__ import annotations

import io
import logging

import pytest
from rich.console import Console

from edupulse_pipelines.cli.output.steps import ConsoleProgress
from edupulse_pipelines.orchestration import progress
from edupulse_pipelines.orchestration.progress import Pace, Progress


@pytest.mark.parametrize(
    ("heard", "total", "unit", "said"),
    [
        ([], 0, "rows", "0 rows"),
        ([(10, 50_000)], 0, "rows", "50,000 rows · 5,000 rows/s"),
        ([(10, 50_000)], 200_000, "rows", "50,000 of 200,000 rows · 5,000 rows/s · 30 s left"),
        ([(10, 50_000)], 2_050_000, "rows", "50,000 of 2,050,000 rows · 5,000 rows/s · 7 min left"),
        ([(10, 50_000)], 24_050_000, "rows", "50,000 of 24,050,000 rows · 5,000 rows/s · 1 h 20 min left"),
        ([(10, 50_000)], 50_000, "rows", "50,000 of 50,000 rows · 5,000 rows/s"),
        ([(10, 5)], 10, "weeks written", "5 of 10 weeks written · 10 s left"),
        # The last half minute counts, not the whole time; a step that stands still has no pace.
        ([(10, 90_000), (50, 100_000), (90, 110_000)], 0, "rows", "110,000 rows · 250 rows/s"),
        ([(10, 90_000), (50, 90_000), (90, 90_000)], 100_000, "rows", "90,000 of 100,000 rows"),
        ([(0.1, 90_000)], 100_000, "rows", "90,000 of 100,000 rows"),
    ],
)
def test_rows_pace_and_time_left(heard: list[tuple[float, int]], total: int, unit: str, said: str) -> None:
    pace = Pace(now=0)
    for moment, done in heard:
        pace.reached(done, total, now=moment)
    assert pace.in_words(unit) == said


def test_a_line_is_due_every_ten_seconds() -> None:
    pace = Pace(now=0)
    assert [moment for moment in range(40) if pace.line_due(now=moment)] == [10, 20, 30]


def test_the_steps_log_hears_it(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    quiet = Progress()
    quiet.advanced(1, 2)  # nobody has started
    quiet.started("grades", logging.getLogger("step"))
    quiet.advanced(1, 2)
    assert caplog.messages == []
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0)
    quiet.advanced(1, 2)
    assert caplog.messages == ["1 of 2 rows"]


@pytest.mark.parametrize("terminal", [True, False])
def test_the_command_shows_it_too(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, terminal: bool
) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0)
    caplog.set_level("INFO")
    screen = io.StringIO()
    on = Console(file=screen, force_terminal=terminal, width=120)
    with ConsoleProgress(on) as drawn:
        drawn.started("grades", logging.getLogger("step"))
        drawn.advanced(1_000, 4_000)
    assert "1,000 of 4,000 rows" in screen.getvalue()
    assert caplog.messages == ["1,000 of 4,000 rows"]
