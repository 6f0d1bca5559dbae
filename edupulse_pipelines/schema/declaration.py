"""The words in which tables are declared: Table, Column, Record, Unique, ForeignKey, Index, Check. Plain data only.

What is said here holds everywhere: the DDL, the expectations, the column schema in Dagster and the data dictionary are
all derived from it. How a rule is enforced is the business of the deriving module.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

ColumnType = Literal["guid", "text", "integer", "number", "date", "timestamp", "boolean", "json"]
Audit = Literal["whole", "reference", "none"]
"""How changes of a table's rows are kept on record. `whole`: what is replaced or removed is kept. `reference`: each row
names the change that wrote it, and nothing is kept of what it replaced, as the rows are computed from records. `none`:
not at all."""
Pii = Literal["none", "indirect", "direct"]
"""FERPA's distinction: `direct` identifies a student by itself, `indirect` together with other facts."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column: its type, whether it may be NULL, the values it may hold, what it means."""

    name: str
    type: ColumnType
    comment: str
    nullable: bool = False
    length: int | None = None
    minimum: float | None = None
    maximum: float | None = None
    values: tuple[str, ...] | None = None
    default: Literal["now", "today", "uuid", "empty_object", "empty_list", "false", "zero", "change"] | None = None
    pii: Pii = "none"
    coded: bool = False
    """Whether a text is a code, or a name out of a list (a course, an ethnicity): it speaks of no person, also where it
    is spelled like somebody's name."""
    delivered: bool = False
    """Whether a district's file may carry it (the landing contract)."""
    identifies: bool = True
    """Whether the content of a record without an id of its own has a part in it; without that the record is the same
    one whatever the column says, so that a district may begin to send it."""
    codes_in: Literal["codes", "grade_levels"] = "codes"
    """The part of a tenant's profile that says what the district's codes for it mean; `codes` is for any column."""
    exact_text: bool = False
    """JSON kept letter for letter (`JSON` rather than `JSONB` on PostgreSQL)."""
    maximum_unweighted: float | None = None
    """A tighter maximum for tenants whose grading scale is unweighted; the database allows `maximum`."""
    bookkeeping: bool = False
    """Not part of what the record says: a change of it alone is no change on record (the audit leaves it out)."""

    def __post_init__(self) -> None:
        if (self.length or self.values) and self.type != "text":
            raise ValueError(f"{self.name}: length and values are for text columns")
        if (self.minimum is not None or self.maximum is not None) and self.type not in ("integer", "number"):
            raise ValueError(f"{self.name}: a range is for numbers")
        if self.coded and self.type != "text":
            raise ValueError(f"{self.name}: only a text is coded")

    @property
    def written_by_people(self) -> bool:
        """Whether it may hold what people have written, and so the name of whomever: no code, and nothing computed."""
        coded = self.coded or self.values is not None
        return self.type in ("text", "json") and not coded and (self.delivered or self.pii == "direct")


TENANT = "tenant_id"
"""The column with the name of the district that a row belongs to."""
NULL_AS = {"integer": "-1", "text": "''"}
"""By the type of a column of `Unique.coalesce`: what NULL counts as, in SQL."""


@dataclass(frozen=True)
class Unique:
    """A uniqueness rule; `where`: a predicate. `coalesce`: nullable columns whose NULLs are equal to each other.

    NULL then counts as -1 in a column of integers and as the empty text in one of text.
    """

    columns: tuple[str, ...]
    coalesce: tuple[str, ...] = ()
    where: str | None = None


@dataclass(frozen=True)
class ForeignKey:
    """`columns` of this table name a row of `table` by its `references`; deleting a row that is named is refused."""

    columns: tuple[str, ...]
    table: str
    references: tuple[str, ...]


@dataclass(frozen=True)
class Index:
    """A non-unique index."""

    columns: tuple[str, ...]


@dataclass(frozen=True)
class Check:
    """What has to be true of several columns of a row together; `condition` is SQL that both databases read."""

    name: str
    condition: str


@dataclass(frozen=True, kw_only=True)
class Record:
    """What makes a table one of records that a district delivers: which record a row is, and what depends on it."""

    key: tuple[str, ...] = ()
    """Delivered columns that identify a record. Without any, the source's own id does (`source_record_id`), else the
    row's content; the table then stores that identity as `record_key`."""
    one_per_student: bool = False
    """Whether one `source_record_id` may stand for several records, one of each student that it names."""
    refers_to: Literal["students", "predictions"] | None = None
    """The table that holds what each record is about; a foreign key of the table names it."""
    event_date: str | None = None
    """The date by whose school week a record counts: a changed record makes that week's activity stale, and a full
    snapshot of some days takes back the records dated within them. Without one a snapshot is of the whole table."""
    further_events: tuple[str, ...] = ()
    """Further dates of events of the district, which bind like `event_date` but decide no week."""
    within: tuple[tuple[str, str], ...] = ()
    """(part, whole): numbers of a row of which the first cannot be more than the second."""
    never_ahead: tuple[str, ...] = ()
    """Dates that are no events (a birth) and still cannot lie after the delivery."""
    first_delivery: str | None = None
    """A date that is the first delivery's where the district does not say it. Records of students themselves have no
    event; they count from this date, so that a change of one makes its student's features stale from then on."""
    counts_from: str | None = None
    """Of records about students that are no events: the day from which on a change of one makes the student's features
    stale."""
    describes_only: bool = False
    """Whether nothing that is computed depends on the records."""
    domain: Literal["attendance", "academic", "behavioral"] | None = None
    """The features that the records feed."""

    def __post_init__(self) -> None:
        has_date = self.event_date is not None or (self.counts_from is not None and self.about_students)
        if has_date or self.about_predictions or self.describes_only:
            return
        if self.about_students or self.first_delivery is None:
            raise ValueError(
                "records need a date that they count from: event_date, or first_delivery where they are the students"
            )

    @property
    def about_students(self) -> bool:
        """Whether each record is about one student, who has to be there before it."""
        return self.refers_to == "students"

    @property
    def about_predictions(self) -> bool:
        """Whether each record is about one prediction."""
        return self.refers_to == "predictions"

    @property
    def events(self) -> tuple[str, ...]:
        """The dates of events: none lies after its delivery, or before the district's `earliest_date`.

        Births, entries and exits are none: they may be long ago.
        """
        return (*((self.event_date,) if self.event_date else ()), *self.further_events)

    @property
    def not_ahead(self) -> tuple[str, ...]:
        """The dates that cannot lie after the delivery."""
        return (*self.events, *self.never_ahead)


@dataclass(frozen=True, kw_only=True)
class Table:
    """One table; `record` for those that a district delivers."""

    name: str
    comment: str
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...]
    uniques: tuple[Unique, ...] = ()
    foreign_keys: tuple[ForeignKey, ...] = ()
    indexes: tuple[Index, ...] = ()
    checks: tuple[Check, ...] = ()
    dropped_indexes: dict[str, str] = field(default_factory=dict)
    """Indexes of the seed that are not made, each with the reason."""
    partition_by_month: str | None = None
    """On PostgreSQL: the date column by whose months the table is range-partitioned."""
    record: Record | None = None
    tenant_owned: bool = True
    """Whether each row belongs to a district, whose name its `tenant_id` is. On PostgreSQL row-level security then
    keeps the districts apart, in the table and in its partitions."""
    access: Literal["rows", "audit"] = "rows"
    """Who is let in on PostgreSQL: to `rows` the loader, who writes them, and the analysts of each district; to the
    `audit` the auditors of each district, and the loader only to read."""
    append_only: bool = False
    """Whether rows are added and never changed or removed; triggers refuse both."""
    audit: Audit = "whole"
    not_audited: str | None = None
    """Why changes of the table are not on record, where they are not."""

    def __post_init__(self) -> None:
        if self.tenant_owned != (TENANT in self.column_names):
            raise ValueError(f"{self.name}: a table is tenant_owned if it has the column {TENANT}, and only then")
        if (self.audit == "none") != (self.not_audited is not None):
            raise ValueError(f"{self.name}: a table that is not audited says why, and no other does")

    def column(self, name: str) -> Column:
        """The column of this name; KeyError when there is none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(f"{self.name}.{name}")

    @property
    def column_names(self) -> tuple[str, ...]:
        """The names of the columns, in order."""
        return tuple(column.name for column in self.columns)

    @property
    def audited_columns(self) -> tuple[Column, ...]:
        """The columns that say what a row is, in order; empty for a table that is not audited."""
        if self.audit == "none":
            return ()
        return tuple(column for column in self.columns if not column.bookkeeping)

    @property
    def reference(self) -> str | None:
        """The column that names what a record is about (`student_id`); None where it is about itself."""
        if self.record is None or self.record.refers_to is None:
            return None
        (key,) = (key for key in self.foreign_keys if key.table == self.record.refers_to)
        return key.columns[-1]

    @property
    def touched_at(self) -> bool:
        """Whether the database maintains `updated_at` for this table."""
        return "updated_at" in self.column_names
