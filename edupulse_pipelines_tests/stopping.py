"""Work that stops after one of its commits, for tests of what the next try of a step reports."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import sqlalchemy as sa

from edupulse_pipelines.storage.work import Work


class Stopped(Exception):
    """The step ends here, whatever it still had to do."""


@dataclass(frozen=True)
class StoppingWork(Work):
    """Work that stops after its commit numbered `stops_after` (from 1)."""

    stops_after: int = 0
    commits: list[None] = field(default_factory=list, compare=False)

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """As for everybody, and then the end."""
        with super().writing() as connection:
            yield connection
        self.commits.append(None)
        if len(self.commits) == self.stops_after:
            raise Stopped
