"""How far a long step is: rows done, rows a second, time left; one line every ten seconds at most.

`Progress` writes to the step's Dagster log; `cli.output.steps` draws the same on a terminal. No Dagster is imported
here, so that the command line can draw without it.
"""

from __future__ import annotations

import time
from collections import deque
from logging import Logger
from typing import Any

SECONDS_BETWEEN_LINES = 10.0
_WINDOW_SECONDS = 30.0
"""The pace is that of the last half minute: a load slows down as its table grows."""
_SHORTEST_SECONDS = 1.0


class Pace:
    """How fast `done` moves towards `total`, and when a next line is due. Times are `time.monotonic()`."""

    def __init__(self, now: float | None = None) -> None:
        started = time.monotonic() if now is None else now
        self._heard: deque[tuple[float, int]] = deque([(started, 0)])
        self._spoke_at = started
        self._total = 0

    def reached(self, done: int, total: int, now: float | None = None) -> None:
        """`done` of `total` are finished (`total` 0: nobody knows how many there are)."""
        self._heard.append((time.monotonic() if now is None else now, done))
        self._total = total
        while len(self._heard) > 2 and self._heard[-1][0] - self._heard[1][0] > _WINDOW_SECONDS:
            self._heard.popleft()

    @property
    def rate(self) -> float | None:
        """Units a second; None before there is something to tell it from."""
        (began, before), (ended, after) = self._heard[0], self._heard[-1]
        return (after - before) / (ended - began) if ended - began >= _SHORTEST_SECONDS and after > before else None

    @property
    def seconds_left(self) -> float | None:
        """What the rest will take at this pace; None when that cannot be said."""
        left = self._total - self._heard[-1][1]
        return left / self.rate if self.rate is not None and left > 0 else None

    def line_due(self, now: float | None = None) -> bool:
        """Whether ten seconds have passed since this last said yes."""
        moment = time.monotonic() if now is None else now
        if moment - self._spoke_at < SECONDS_BETWEEN_LINES:
            return False
        self._spoke_at = moment
        return True

    def in_words(self, unit: str = "rows") -> str:
        """`1,200,000 of 2,000,000 rows · 150,000 rows/s · 5 s left`, as much of it as is known."""
        done = self._heard[-1][1]
        parts = [f"{done:,} of {self._total:,} {unit}" if self._total else f"{done:,} {unit}"]
        if self.rate is not None and self.rate >= 1 and " " not in unit:
            parts.append(f"{self.rate:,.0f} {unit}/s")
        if self.seconds_left is not None:
            parts.append(f"{duration(self.seconds_left)} left")
        return " · ".join(parts)


def duration(seconds: float) -> str:
    """A duration as a person says it: `40 s`, `3 min`, `1 h 20 min`."""
    if seconds < 60:
        return f"{max(round(seconds), 1)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


class Progress:
    """Hears what the steps do. This one writes to the step's log; the command line swaps in one that draws too."""

    def __init__(self) -> None:
        self._log: Logger | None = None
        self._pace = Pace()

    def started(self, asset: str, log: Logger) -> None:
        """The step of `asset` begins; lines about it go to `log`."""
        self._log, self._pace = log, Pace()

    def advanced(self, done: int, total: int, unit: str = "rows") -> None:
        """`done` of `total` units of the running step are finished (`total` 0: unknown); cheap to call often."""
        self._pace.reached(done, total)
        if self._pace.line_due():
            self.line(self._pace.in_words(unit))

    def line(self, text: str) -> None:
        """Ten seconds have passed: say how far it is."""
        if self._log is not None:
            self._log.info(text)

    def finished(self, asset: str, report: Any) -> None:
        """The room's function returned `report`."""

    def delayed(self, asset: str, message: str) -> None:
        """The step of `asset` stops with `message`, and begins again after a pause."""

    def failed(self, asset: str, message: str) -> None:
        """The step of `asset` stops with `message`."""
