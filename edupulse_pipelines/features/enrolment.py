"""The students of a tenant as arrays: their ids, and from when until when they were enrolled.

A student is enrolled from `enrollment_date` on, and no longer on `exit_date`; a deleted student counts as never
enrolled. Which students have enough data to be scored is decided in `risk`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.schema.sqlalchemy_tables import students
from edupulse_pipelines.storage.bulk import DAY, ID, Bytes, as_text, days, read_arrays
from edupulse_pipelines.storage.work import Work


@dataclass(frozen=True)
class Students:
    """Students by position, in the order of their ids."""

    ids: Bytes
    """The database's text of the id."""
    enrolled: npt.NDArray[np.datetime64]
    left: npt.NDArray[np.datetime64]
    """NaT while enrolled."""

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, selection: Any) -> Students:
        return Students(self.ids[selection], self.enrolled[selection], self.left[selection])

    def frame(self) -> pd.DataFrame:
        """As `feature_vectors` takes them; `student_id` is the position."""
        return pd.DataFrame(
            {
                "student_id": np.arange(len(self)),
                "enrollment_date": self.enrolled.astype("datetime64[s]"),
                "exit_date": self.left.astype("datetime64[s]"),
            }
        )

    def enrolled_on(self, day: Any) -> npt.NDArray[np.bool_]:
        """Which of them are enrolled on a day (`numpy.datetime64`, or several that broadcast)."""
        return (self.enrolled <= day) & (np.isnat(self.left) | (self.left > day))


NOBODY = Students(np.empty(0, ID), np.empty(0, "datetime64[D]"), np.empty(0, "datetime64[D]"))


def read_students(connection: Connection, work: Work) -> Students:
    """Every student of the tenant with the days of enrolment and exit.

    A deleted one leaves on the day of enrolment, so that nothing is computed for it and what was stored is deleted.
    """
    table = students.c
    until = sa.case((table.deleted_on.is_(None), table.exit_date), else_=table.enrollment_date)
    ids, enrolled, left = read_arrays(
        connection,
        sa.select(as_text(table.id), as_text(table.enrollment_date), as_text(until)).where(
            table.tenant_id == work.tenant
        ),
        ID,
        DAY,
        DAY,
    )
    order = np.argsort(ids)
    return Students(ids[order], days(enrolled[order]), days(left[order]))
