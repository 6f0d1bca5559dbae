"""What a district's file for each record table may and must carry: the landing contract, derived from the declaration.

Files name a student by `district_id` where the tables have `student_id`. Plain data; reading the files is in `sources`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from edupulse_pipelines.schema.declaration import Column
from edupulse_pipelines.schema.tables import RECORD_TABLES, TABLES


@dataclass(frozen=True, kw_only=True)
class DeliveredTable:
    """One record table as it is delivered."""

    name: str
    columns: tuple[Column, ...]
    required: tuple[str, ...]
    """Columns whose absence from the header refuses the file."""
    event_dates: tuple[str, ...]
    """Dates that cannot lie after the delivery (enrolment and exit may be announced ahead)."""
    natural_key: tuple[str, ...] = ()
    """Columns that identify a record; empty where the source's own id or the content does."""

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names a header may carry."""
        return tuple(column.name for column in self.columns)

    @property
    def optional(self) -> tuple[str, ...]:
        """Columns whose absence leaves the stored value as it is."""
        return tuple(name for name in self.column_names if name not in self.required)

    @property
    def key_columns(self) -> tuple[str, ...]:
        """Columns that name the record; of a row that takes a record back only these are judged."""
        if self.natural_key:
            return self.natural_key
        return ("source_record_id",) if "source_record_id" in self.column_names else ("prediction_id",)


DELETED = "_deleted"
"""The column in which a delivery takes records back."""
DELETED_VALUES = ("true", "TRUE", "True")

_DELETED = Column(
    name=DELETED,
    type="text",
    nullable=True,
    delivered=True,
    values=(*DELETED_VALUES, "false", "FALSE", "False"),
    comment="`true` takes the record back: it is marked as deleted; only its key has to be given.",
)
_STUDENT_NUMBER = TABLES["students"].column("district_id")

_PREDICTION_REFERENCE = (
    replace(TABLES["training_feedback"].column("prediction_id"), nullable=True),
    replace(_STUDENT_NUMBER, nullable=True),
    Column(
        name="prediction_date",
        type="date",
        nullable=True,
        delivered=True,
        comment="Local day on which the prediction was made, or the Sunday it was made for.",
    ),
    replace(TABLES["predictions"].column("model_version"), nullable=True, delivered=True),
)


def _delivered(name: str) -> DeliveredTable:
    own = tuple(column for column in TABLES[name].columns if column.delivered)
    if name == "training_feedback":
        own = _PREDICTION_REFERENCE + tuple(column for column in own if column.name != "prediction_id")
    elif name != "students":
        own = (_STUDENT_NUMBER, *own)
    return DeliveredTable(
        name=name,
        columns=(*own, _DELETED),
        required=tuple(column.name for column in own if not column.nullable and column.default is None),
        event_dates={
            "students": ("date_of_birth",),
            "attendance_records": ("date",),
            "grades": ("submission_date",),
            "discipline_incidents": ("incident_date",),
            "training_feedback": ("outcome_date",),
        }[name],
        natural_key={
            "students": ("district_id",),
            "attendance_records": ("district_id", "date", "period"),
        }.get(name, ()),
    )


DELIVERED: dict[str, DeliveredTable] = {name: _delivered(name) for name in RECORD_TABLES}
"""The landing contract by table name."""
