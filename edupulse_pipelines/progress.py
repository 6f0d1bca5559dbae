"""How a room tells its caller how far it is. Nothing is shown here: that is for `orchestration.progress`."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Called with how much is done and how much there is in all: bytes, rows, weeks or trainings, as the function says that
takes it."""
