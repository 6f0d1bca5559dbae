"""What a district's file for each record table may and must carry: the landing contract, derived from the declaration.

Files name a student by `district_id` where the tables have `student_id`. Plain data; reading the files is in `sources`,
how their rows become records in `ingest`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from edupulse_pipelines.schema.answers import NO, YES, spellings
from edupulse_pipelines.schema.declaration import Column, Record
from edupulse_pipelines.schema.tables import RECORD_TABLES, TABLES

STUDENT_NUMBER = "district_id"
"""The column by which files name a student."""
SCHOOL = "school_id"
"""The column that names a school."""
SOURCE_RECORD = "source_record_id"
"""The column with the source's own id of a record."""
ASSIGNMENT = "assignment_id"
"""The column that names the piece of work a grade is for."""
FIRST_DELIVERED_ON = "first_delivered_on"
"""The column of tables that keep the date of the oldest delivery of each record."""
RECORD_KEY = "record_key"
"""The column that stores the identity of records whose delivered columns do not make one."""
FIELD_DELIVERIES = "field_deliveries"
"""The column that stores which fields are older than the record, where a table keeps that."""


@dataclass(frozen=True, kw_only=True)
class DeliveredTable:
    """One record table as it is delivered, and what of it is stored."""

    name: str
    record: Record
    columns: tuple[Column, ...]
    required: tuple[str, ...]
    """Columns whose absence from the header refuses the file."""
    reference: str | None
    """The stored column that names the student or prediction a record is about; files name them by other columns."""
    fields: tuple[str, ...]
    """The stored columns that a delivery sets or changes: the reference, then the delivered ones but for the key."""

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names a header may carry."""
        return tuple(column.name for column in self.columns)

    @property
    def optional(self) -> tuple[str, ...]:
        """Columns whose absence leaves the stored value as it is."""
        return tuple(name for name in self.column_names if name not in self.required)

    @property
    def not_ahead(self) -> tuple[str, ...]:
        """Dates that cannot lie after the delivery (enrolment and exit may be announced ahead)."""
        return self.record.not_ahead

    @property
    def natural_key(self) -> tuple[str, ...]:
        """Columns that identify a record; empty where the source's own id or the content does."""
        return self.record.key

    @property
    def key_columns(self) -> tuple[str, ...]:
        """Columns that name the record; of a row that takes a record back only these are judged."""
        if self.natural_key or SOURCE_RECORD in self.column_names:
            return self.naming_columns
        return (self.reference or "",)

    @property
    def naming_columns(self) -> tuple[str, ...]:
        """Columns by which a row can say itself which record it is."""
        if self.natural_key:
            return self.natural_key
        return (SOURCE_RECORD, STUDENT_NUMBER) if self.record.one_per_student else (SOURCE_RECORD,)

    def must_name(self, name: str) -> bool:
        """Whether a row without this one of `naming_columns` does not say which record it is."""
        return name in self.required or not self.natural_key

    @property
    def keeps_field_dates(self) -> bool:
        """Whether the table stores which fields are older than the record."""
        return FIELD_DELIVERIES in TABLES[self.name].column_names

    @property
    def stored_key(self) -> str:
        """The stored column that identifies a record, where it is one column."""
        return self.natural_key[0] if len(self.natural_key) == 1 else RECORD_KEY


GRADE_CODE = "grade_code"
"""The fact of `student_metadata` that holds the code of a grade outside kindergarten to grade 12."""
DELETED = "_deleted"
"""The column in which a delivery takes records back."""
DELETED_VALUES = spellings(YES)

_DELETED = Column(
    name=DELETED,
    type="text",
    nullable=True,
    delivered=True,
    values=(*DELETED_VALUES, *spellings(NO)),
    comment="`true` takes the record back: it is marked as deleted; only its key has to be given.",
)
_OF_STUDENT = TABLES["students"].column(STUDENT_NUMBER)

_REFERENCES: dict[str | None, tuple[Column, ...]] = {
    None: (),
    "students": (_OF_STUDENT,),
    "predictions": (
        replace(TABLES["training_feedback"].column("prediction_id"), nullable=True),
        replace(_OF_STUDENT, nullable=True),
        Column(
            name="prediction_date",
            type="date",
            nullable=True,
            delivered=True,
            comment="Local day on which the prediction was made, or the Sunday it was made for.",
        ),
        replace(TABLES["predictions"].column("model_version"), nullable=True, delivered=True),
    ),
}
"""By what a record is about: the columns by which a file names it."""


def _delivered(name: str) -> DeliveredTable:
    table = TABLES[name]
    assert table.record is not None
    reference = table.reference
    own = tuple(column for column in table.columns if column.delivered and column.name != reference)
    columns = (*_REFERENCES[table.record.refers_to], *own)
    key = set(table.record.key) or {SOURCE_RECORD}
    # Where the student is part of the key, another student's row is another record.
    changing = () if reference is None or STUDENT_NUMBER in key else (reference,)
    return DeliveredTable(
        name=name,
        record=table.record,
        columns=(*columns, _DELETED),
        required=tuple(column.name for column in columns if not column.nullable and column.default is None),
        reference=reference,
        fields=(*changing, *(column.name for column in own if column.name not in key)),
    )


DELIVERED: dict[str, DeliveredTable] = {name: _delivered(name) for name in RECORD_TABLES}
"""The landing contract by table name."""
TABLE_OF_DOMAIN: dict[str, str] = {
    contract.record.domain: name for name, contract in DELIVERED.items() if contract.record.domain is not None
}
"""The table whose records feed each domain of the features."""
