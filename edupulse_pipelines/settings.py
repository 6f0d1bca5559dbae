"""Settings: where things are (environment), and what each district is (`edupulse.toml`).

Reads environment variables and one TOML file, and checks them; opens no database, no network and no landing folder.
Everything a district may decide lives in `TenantSettings`: a district is data, never a copied folder.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import math
import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from edupulse_pipelines.errors import ConfigurationError
from edupulse_pipelines.schema.declaration import Column
from edupulse_pipelines.schema.delivery import DELIVERED, DeliveredTable
from edupulse_pipelines.weeks import week_start

_TENANT_NAME = re.compile(r"[a-z][a-z0-9]*([_-][a-z0-9]+)*")

ISO_DATE = "%Y-%m-%d"
_DELIMITER_WORDS = {"comma": ",", "tab": "\t", "semicolon": ";", "pipe": "|"}
_DIRECTIVE = re.compile(r"%(.)", re.DOTALL)
_DATE_DIRECTIVES = "YmdbBHIMSfp%"
_DATE_WORDS = {"YYYY": "%Y", "MMMM": "%B", "MMM": "%b", "MM": "%m", "M": "%m", "DD": "%d", "D": "%d"}
_DATE_WORD = re.compile("|".join(_DATE_WORDS))
_TWO_DIGITS = "a year of two digits is a guess; the format needs four (%Y or YYYY)"
_BORN_AT_ALL = 1930
_INTEGER = re.compile(r"[0-9]{1,9}")
_NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]+)?")


class _Section(BaseModel):
    """A table of `edupulse.toml`: unknown keys are an error, because a misspelt threshold must not pass silently."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean(cls, value: Any) -> Any:
        """No setting is a yes or no; pydantic would read `true` as 1."""
        if isinstance(value, bool):
            raise ValueError(f"{str(value).lower()} is not a value for this key")
        return value


def _plain_date(value: Any) -> Any:
    """A date or its ISO text; pydantic would read a number as seconds since 1970."""
    if isinstance(value, str):
        value = dt.date.fromisoformat(value)
    if not isinstance(value, dt.date) or isinstance(value, dt.datetime):
        raise ValueError("not a date such as 2025-09-01")
    return value


Day = Annotated[dt.date, BeforeValidator(_plain_date)]


class LabelSettings(_Section):
    """What counts as an adverse event within the horizon; `False` (or an empty list) switches an event off."""

    horizon_weeks: Annotated[int, Field(ge=1, le=52)] | Literal["exit"] = 8
    """Calendar weeks after the as-of week, or `exit`: how the student leaves, any time later."""
    attendance_below: float | None = Field(0.9, gt=0, le=1)
    failing_below: float | None = Field(60.0, gt=0, le=100)
    serious_severity: int | None = Field(4, ge=1, le=5)
    incident_count: int | None = Field(3, ge=1)
    exit_types: tuple[Literal["completed", "transferred", "dropped_out", "failed", "other"], ...] = (
        "dropped_out",
        "failed",
    )

    @field_validator("attendance_below", "failing_below", "serious_severity", "incident_count", mode="before")
    @classmethod
    def _false_is_off(cls, value: Any) -> Any:
        if value is True:
            raise ValueError("give a threshold, or false to switch the event off")
        return None if value is False else value

    @model_validator(mode="before")
    @classmethod
    def _exit_counts_exits_only(cls, values: Any) -> Any:
        """Until exit, nearly everybody has a bad month: only the way of leaving tells students apart."""
        if not isinstance(values, dict) or values.get("horizon_weeks") != "exit":
            return values
        others = ("attendance_below", "failing_below", "serious_severity", "incident_count")
        given = [name for name in others if values.get(name) not in (None, False)]
        if given:
            raise ValueError(f'{given[0]}: with horizon_weeks = "exit" only exit_types count; remove it')
        return {**values, **dict.fromkeys(others, False)}

    @property
    def weeks(self) -> int | None:
        """Length of the horizon in calendar weeks; None: until exit."""
        return None if self.horizon_weeks == "exit" else self.horizon_weeks

    @model_validator(mode="after")
    def _some_event(self) -> LabelSettings:
        if not any(
            (self.attendance_below, self.failing_below, self.serious_severity, self.incident_count, self.exit_types)
        ):
            raise ValueError("every adverse event is switched off; there would be nothing to predict")
        return self


class CohortSettings(_Section):
    """Who is scored: enrolled at the week's end, with at least this many school weeks of data."""

    minimum_weeks_of_data: int = Field(4, ge=1)
    group_by: tuple[str, ...] = ()
    """Keys of `student_metadata` that say who learns together (module and presentation, say); none: everybody does."""
    starts: dict[str, Day] = Field(default_factory=dict)
    """First day of teaching by group, or by any one of its `group_by` values; what lies before it does not count."""

    @model_validator(mode="after")
    def _starts_of_groups(self) -> CohortSettings:
        if self.starts and not self.group_by:
            raise ValueError("starts without group_by: say which key of student_metadata names the group")
        return self

    def group_of(self, metadata: Any) -> tuple[str, ...]:
        """The `group_by` values of a student's metadata; an empty text where there is none."""
        told = metadata if isinstance(metadata, dict) else {}
        return tuple("" if (value := told.get(key)) is None else str(value) for key in self.group_by)

    def start_of(self, group: tuple[str, ...]) -> dt.date | None:
        """The first day of teaching of a group, given as its `group_by` values."""
        for name in ("/".join(group), *group):
            if name in self.starts:
                return self.starts[name]
        return None


class CategorySettings(_Section):
    """Lowest risk score of each category; below `medium` is `low`."""

    medium: float = Field(0.25, gt=0, lt=1)
    high: float = Field(0.5, gt=0, lt=1)
    critical: float = Field(0.75, gt=0, lt=1)

    @model_validator(mode="after")
    def _ascending(self) -> CategorySettings:
        if not self.medium < self.high < self.critical:
            raise ValueError("medium, high and critical must ascend")
        return self


class RuleSettings(_Section):
    """The simple attendance-behaviour-course rule that every model is measured beside."""

    attendance_below: float = Field(0.9, gt=0, le=1)
    incidents_at_least: int = Field(2, ge=1)
    failing_below: float = Field(60.0, gt=0, le=100)


class TrainingSettings(_Section):
    """When there is enough to train on, and how often the weekly job trains again."""

    minimum_train_per_class: int = Field(10, ge=2)
    minimum_validation_per_class: int = Field(3, ge=1)
    retrain_weeks: int = Field(8, ge=1)
    candidates: tuple[Literal["logistic", "additive", "boosting"], ...] = Field(
        ("logistic", "additive", "boosting"), min_length=1
    )
    tuning_fits: int = Field(24, ge=0)
    """How many fits the search inside the training window may take; 0: the simplest candidate as it comes."""
    max_training_rows: int = Field(300_000, ge=1_000)
    """Above it, training takes a part of the students, each with all their weeks."""
    retrain_on_feedback: int = Field(50, ge=1)
    """So many verdicts since the newest model make a training due."""
    retrain_on_drift: float = Field(0.25, gt=0)
    """A population stability index of the score, or of a quarter of the features, at or above this makes one due."""


class InputSettings(_Section):
    """What the model may see: features of the record, and entries of `student_metadata`.

    A list orders the values from low to high. Gender, ethnicity and socioeconomic status are for audits only.
    """

    record: tuple[str, ...] | None = Field(None, min_length=1)
    """Names of the features of the record; all by default. Of a district whose courses differ in what they ask for,
    only those that compare with the class carry over to a course that was never seen."""
    metadata: dict[str, Literal["number"] | tuple[str, ...]] = Field(default_factory=dict)

    @field_validator("metadata")
    @classmethod
    def _no_protected_attribute(cls, value: dict[str, Any]) -> dict[str, Any]:
        protected = {"gender", "sex", "ethnicity", "race", "socioeconomic_status", "grade_level"}
        for name in value:
            if len(name) > 100:
                raise ValueError(f"{name[:20]}…: a name of at most 100 characters")
            if name.lower() in protected:
                raise ValueError(f"{name} is an audit dimension, never an input of the model")
        return value


class PromotionSettings(_Section):
    """What a challenger must reach to become champion; one that does not is recorded and stays a challenger."""

    minimum_auc: float = Field(0.5, ge=0, le=1)
    capacity: float = Field(0.1, gt=0, le=1)
    """Share of each week's cohort that the school can help."""
    certainty: float = Field(0.8, ge=0.5, lt=1)
    """Share of bootstrap replicates in which the challenger must be ahead."""
    calibration_error: float = Field(0.1, gt=0, le=1)
    fnr_gap: float = Field(0.2, ge=0, le=1)
    """A subgroup's false-negative rate may lie this much above everybody's."""
    maximum_false_negative_rate: float | None = Field(None, gt=0, le=1)
    """Bound of any subgroup's false-negative rate; none by default, because at a small capacity it is high anyway."""
    bootstrap: int = Field(500, ge=50, le=10_000)
    minimum_subgroup: int = Field(10, ge=1)
    """Students; figures of smaller subgroups are not shown and decide nothing."""

    @field_validator("maximum_false_negative_rate", mode="before")
    @classmethod
    def _false_is_off(cls, value: Any) -> Any:
        return None if value is False else value


class FeedbackSettings(_Section):
    """How educators' verdicts are read."""

    prevented: tuple[str, ...] = ("prevented", "helped", "intervention_succeeded")
    """Outcome types that say of a false positive: there was a risk, the school helped, and so it did not happen."""

    @field_validator("prevented")
    @classmethod
    def _in_small_letters(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        words = tuple(word.strip().casefold() for word in value)
        if "" in words:
            raise ValueError("an outcome type is never empty")
        return words


class ReviewSettings(_Section):
    """How many unflagged students are drawn for review each week, so that misses are found; 0 draws none."""

    weekly_sample: int = Field(5, ge=0, le=1000)


class ProfileSettings(_Section):
    """How a district writes its files: encoding, dates, column names and local codes, and what they mean here.

    What the profile does to rows is in `sources.profiles`. Kept here in one spelling: a date format as strptime's,
    codes by table and column, grade levels as text (`""`: leave it empty), letters as percent.
    """

    encoding: Literal["auto", "utf-8", "utf-16", "cp1252", "latin-1"] = "auto"
    delimiter: Literal["auto", ",", "\t", ";", "|"] = "auto"
    date_format: str = ISO_DATE
    decimal: Literal[".", ","] = "."
    columns: dict[str, dict[str, str]] = Field(default_factory=dict)
    codes: dict[str, dict[str, dict[str, str]]] = Field(default_factory=dict)
    grade_levels: dict[str, str] = Field(default_factory=dict)
    letter_grades: dict[str, float] = Field(default_factory=dict)
    missing_date_of_birth: dt.date | Literal["quarantine"] = "quarantine"
    extra_credit: Literal["cap", "quarantine"] = "cap"

    @field_validator("encoding", mode="before")
    @classmethod
    def _encoding_in_small_letters(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value

    @field_validator("delimiter", mode="before")
    @classmethod
    def _delimiter_by_its_word(cls, value: Any) -> Any:
        return _DELIMITER_WORDS.get(value.lower(), value) if isinstance(value, str) else value

    @field_validator("date_format")
    @classmethod
    def _whole_date(cls, value: str) -> str:
        """`YYYY`, `MM` and `DD`, or strptime's directives; a year has four digits, or the century would be a guess."""
        if value.upper() in ("ISO", "YYYY-MM-DD"):
            return ISO_DATE
        if "%" not in value:
            if "YY" in value.replace("YYYY", ""):
                raise ValueError(_TWO_DIGITS)
            if any(letter.isalpha() for letter in _DATE_WORD.sub("", value)):
                raise ValueError("spell it as strptime does, such as %m/%d/%Y %H:%M:%S")
            value = _DATE_WORD.sub(lambda word: _DATE_WORDS[word[0]], value)
        directives = _DIRECTIVE.findall(value)
        if "y" in directives:
            raise ValueError(_TWO_DIGITS)
        unknown = [directive for directive in directives if directive not in _DATE_DIRECTIVES]
        if unknown or "%" in _DIRECTIVE.sub("", value):
            raise ValueError(f"%{''.join(unknown[:1])} is not understood (known: %{', %'.join(_DATE_DIRECTIVES)})")
        for part, allowed in (("year", "Y"), ("month", "mbB"), ("day", "d")):
            if sum(directives.count(directive) for directive in allowed) != 1:
                raise ValueError(f"a date format names the {part} once (such as %m/%d/%Y or DD.MM.YYYY)")
        return value

    @field_validator("columns")
    @classmethod
    def _columns_of_ours(cls, value: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
        for table, names in value.items():
            known = _delivered(table).column_names
            for theirs, ours in names.items():
                if not theirs:
                    raise ValueError(f"{table}: a column without a name cannot be renamed")
                if ours and ours not in known:
                    raise ValueError(f"{table}.{theirs}: {ours!r} is not a column of {table} ({', '.join(known)})")
        return value

    @field_validator("codes", mode="before")
    @classmethod
    def _codes_by_table_and_column(cls, value: Any) -> Any:
        """Nested tables, or the short form with `table.column` as the key."""
        made: dict[str, dict[str, Any]] = {}
        for key, inner in _table_of(value, "").items():
            table, dot, column = key.partition(".")
            columns = {column: inner} if dot else _table_of(inner, key)
            for name, codes in columns.items():
                if name in made.setdefault(table, {}):
                    raise ValueError(f"{table}.{name} is declared twice")
                made[table][name] = _texts(codes, f"{table}.{name}")
        return made

    @field_validator("codes")
    @classmethod
    def _codes_have_a_meaning(cls, value: dict[str, dict[str, dict[str, str]]]) -> dict[str, dict[str, dict[str, str]]]:
        for table, columns in value.items():
            contract = _delivered(table)
            for name, codes in columns.items():
                if name not in contract.column_names:
                    raise ValueError(f"{table}.{name}: not a column of {table} ({', '.join(contract.column_names)})")
                if (table, name) == ("students", "grade_level"):
                    raise ValueError(f"{table}.{name}: grade levels are declared under grade_levels")
                column = contract.columns[contract.column_names.index(name)]
                if column.pii == "direct" or column.type not in ("text", "integer", "number"):
                    raise ValueError(f"{table}.{name}: this column holds no codes")
                for code, meaning in codes.items():
                    problem = _broken_rule(column, meaning)
                    if problem:
                        raise ValueError(f"{table}.{name}: {code} = {meaning!r}: {problem}")
        return value

    @field_validator("grade_levels", mode="before")
    @classmethod
    def _levels_as_text(cls, value: Any) -> Any:
        return _texts(value, "")

    @field_validator("grade_levels")
    @classmethod
    def _levels_of_ours(cls, value: dict[str, str]) -> dict[str, str]:
        level = _delivered("students").columns[_delivered("students").column_names.index("grade_level")]
        for code, meaning in value.items():
            problem = _broken_rule(level, meaning)
            if problem:
                raise ValueError(f"{code} = {meaning!r}: {problem}")
        return value

    @field_validator("letter_grades", mode="before")
    @classmethod
    def _letters_with_a_percentage(cls, value: Any) -> Any:
        for letter, percent in _table_of(value, "").items():
            if not 1 <= len(letter) <= 2:
                raise ValueError(f"{letter!r}: a letter grade has one or two characters (shorten it under codes)")
            if isinstance(percent, bool) or not isinstance(percent, int | float) or not 0 <= percent <= 100:
                raise ValueError(f"{letter}: not a percentage from 0 to 100")
        return value

    @field_validator("missing_date_of_birth", mode="before")
    @classmethod
    def _marker_or_quarantine(cls, value: Any) -> Any:
        if value == "quarantine":
            return value
        try:
            marker: dt.date = _plain_date(value)
        except ValueError:
            raise ValueError('neither "quarantine" nor a date such as 1900-01-01') from None
        if marker.year >= _BORN_AT_ALL:
            raise ValueError(f"the marker must lie before {_BORN_AT_ALL}, where no student's date of birth is")
        return marker

    @property
    def iso_dates(self) -> bool:
        """Whether dates come as YYYY-MM-DD, so that nothing has to be rewritten."""
        return self.date_format == ISO_DATE

    def fingerprint(self, table: str) -> str:
        """A hash of what decides what the rows of a table's files mean; a file loaded under another is loaded again."""
        meaning = self.model_dump(mode="json", exclude={"encoding", "delimiter", "extra_credit", "columns", "codes"})
        meaning |= {"columns": self.columns.get(table, {}), "codes": self.codes.get(table, {})}
        return hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()[:16]

    def canonical_name(self, table: str, name: str) -> str:
        """Our name of the column that the district calls `name` in its file of `table`.

        A column that the profile says is not used (`""`) gets a name that is none of ours, whatever it is called.
        """
        ours = self.columns.get(table, {}).get(name, name)
        return f"unused:{name}" if name and not ours else ours


def _delivered(table: str) -> DeliveredTable:
    if table not in DELIVERED:
        raise ValueError(f"{table}: not a table that is delivered ({', '.join(DELIVERED)})")
    return DELIVERED[table]


def _table_of(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{where}: must be a table" if where else "must be a table")
    return value


def _texts(codes: Any, where: str) -> dict[str, str]:
    """A table of codes whose meanings are texts or numbers, as texts."""
    prefix = f"{where}: " if where else ""
    made = {}
    for code, meaning in _table_of(codes, where).items():
        if not code:
            raise ValueError(f"{prefix}an empty field is no code")
        if isinstance(meaning, bool) or not isinstance(meaning, str | int | float):
            raise ValueError(f"{prefix}{code}: not a text or a number")
        made[code] = str(meaning)
    return made


def _broken_rule(column: Column, text: str) -> str | None:
    """The rule of the column that a value breaks, in words; None for a good one. An empty text means: no value."""
    if text == "":
        return None if column.nullable else "this column cannot be left empty"
    if column.values is not None and text not in column.values:
        return f"not one of {', '.join(column.values)}"
    if column.length is not None and len(text) > column.length:
        return f"longer than {column.length} characters"
    if column.type in ("integer", "number"):
        rule = _INTEGER if column.type == "integer" else _NUMBER
        if not rule.fullmatch(text):
            return f"not {'an integer' if column.type == 'integer' else 'a number'}"
        lowest = -math.inf if column.minimum is None else column.minimum
        highest = math.inf if column.maximum is None else column.maximum
        if not lowest <= float(text) <= highest:
            return f"not from {lowest:g} to {highest:g}"
    return None


class FilesSettings(_Section):
    """How much one landed file may be: what is over a limit is refused while it is read, before it fills the disk."""

    max_file_gib: float = Field(20.0, gt=0)
    """Uncompressed size of one file, or of all that one zip or bundle holds."""
    max_compression_ratio: float = Field(200.0, ge=1)

    @property
    def max_bytes(self) -> int:
        """The largest uncompressed size that is read."""
        return int(self.max_file_gib * 2**30)


Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
WEEKDAYS: tuple[Weekday, ...] = get_args(Weekday)
"""In the order of `datetime.date.weekday()`."""


class AttendanceSettings(_Section):
    """What attendance records say: every session, or only the absences and tardies (everybody else was there)."""

    recording: Literal["auto", "all", "exceptions"] = "auto"
    """`auto`: exceptions where the newest attendance came as Ed-Fi, which knows nothing else; all otherwise."""
    sessions_per_day: int = Field(1, ge=1, le=20)
    """Sessions of one school day where only exceptions are recorded; 1: attendance is daily."""


class DaySpan(_Section):
    """The days from `start` to `end`, both included."""

    start: Day
    end: Day

    @model_validator(mode="after")
    def _forwards(self) -> DaySpan:
        if self.end < self.start:
            raise ValueError(f"the end {self.end} lies before the start {self.start}")
        return self


def _span_of_a_day(value: Any) -> Any:
    return value if isinstance(value, dict | DaySpan) else {"start": value, "end": value}


class CalendarSettings(_Section):
    """The days of instruction: the weekdays of the terms without the holidays, and the extra days."""

    terms: tuple[DaySpan, ...] = ()
    weekdays: tuple[Weekday, ...] = Field(WEEKDAYS[:5], min_length=1)
    holidays: tuple[Annotated[DaySpan, BeforeValidator(_span_of_a_day)], ...] = ()
    """Single dates, or spans."""
    extra_days: tuple[Day, ...] = ()
    """Days of instruction whatever weekday or holiday they fall on."""

    @model_validator(mode="after")
    def _needs_terms(self) -> CalendarSettings:
        default = {"holidays": (), "extra_days": (), "weekdays": WEEKDAYS[:5]}
        given = [name for name, value in default.items() if getattr(self, name) != value]
        if given and not self.terms:
            raise ValueError(f"{given[0]} without terms: say from when to when there is school")
        return self


class TenantSettings(_Section):
    """One school district, as `[tenants.<name>]` of `edupulse.toml` declares it."""

    name: str = Field(max_length=50)
    timezone: str
    first_week: Day
    landing: Path
    max_quarantined: float = Field(0.1, ge=0, le=1)
    grading_scale: Literal["unweighted", "weighted"] = "unweighted"
    label: LabelSettings = LabelSettings()
    cohort: CohortSettings = CohortSettings()
    categories: CategorySettings = CategorySettings()
    rule: RuleSettings = RuleSettings()
    training: TrainingSettings = TrainingSettings()
    promotion: PromotionSettings = PromotionSettings()
    inputs: InputSettings = InputSettings()
    feedback: FeedbackSettings = FeedbackSettings()
    review: ReviewSettings = ReviewSettings()
    files: FilesSettings = FilesSettings()
    profile: ProfileSettings = ProfileSettings()
    attendance: AttendanceSettings = AttendanceSettings()
    calendar: CalendarSettings = CalendarSettings()

    @field_validator("name")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        if not _TENANT_NAME.fullmatch(value):
            raise ValueError("a tenant's name is lower-case letters and digits, joined by single - or _")
        return value

    @field_validator("timezone")
    @classmethod
    def _known_timezone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except Exception as error:
            raise ValueError("not an IANA time zone such as America/New_York") from error
        return value

    @field_validator("first_week")
    @classmethod
    def _monday(cls, value: dt.date) -> dt.date:
        if value.weekday() != 0:
            raise ValueError(f"{value} is a {value:%A}; school weeks start on a Monday ({week_start(value)} is one)")
        return value

    @property
    def identifier(self) -> str:
        """The name as Dagster wants it in job and schedule names (`-` becomes `_`)."""
        return self.name.replace("-", "_")


class _Environment(BaseSettings):
    """The environment variables; MLflow's own variable keeps its own name."""

    model_config = SettingsConfigDict(env_prefix="EDUPULSE_", extra="ignore", env_ignore_empty=True)

    home: Path = Path(".edupulse")
    database_url: str | None = None
    config: Path | None = None
    mlflow_tracking_uri: str | None = Field(None, validation_alias="MLFLOW_TRACKING_URI")


class Settings(_Section):
    """Everything the pipelines need to know before they start; made by `load_settings`."""

    home: Path
    database_url: str = Field(repr=False)  # these two may hold passwords
    tracking_uri: str = Field(repr=False)
    config_path: Path
    tenants: dict[str, TenantSettings]

    @property
    def raw_dir(self) -> Path:
        """Where the raw archive (immutable Parquet) lies."""
        return self.home / "raw"

    @property
    def dagster_home(self) -> Path:
        """The Dagster instance that `run`, `demo`, `edupulse dev` and `dagster dev` share."""
        return self.home / "dagster"

    @property
    def mlflow_dir(self) -> Path:
        """Where MLflow's default store and artifacts lie."""
        return self.home / "mlflow"

    def tenant(self, name: str) -> TenantSettings:
        """The tenant of this name; ConfigurationError names the ones there are."""
        try:
            return self.tenants[name]
        except KeyError:
            known = ", ".join(sorted(self.tenants)) or "none"
            raise ConfigurationError(f"No tenant {name!r} in {self.config_path} (there are: {known}).") from None


def normalise_database_url(url: str) -> str:
    """One spelling for a database URL: PostgreSQL always through psycopg2, which Dagster and MLflow ship.

    `postgres://`, `postgresql://`, `postgresql+psycopg://` and the like become `postgresql+psycopg2://`; SQLite URLs
    stay as they are. ConfigurationError for any other database.
    """
    scheme, separator, rest = url.strip().partition("://")
    dialect = scheme.lower().partition("+")[0]
    if separator and dialect in {"postgres", "postgresql"}:
        if not _readable(url):
            raise ConfigurationError(
                "EDUPULSE_DATABASE_URL cannot be read: a password needs its special characters percent-encoded, and a "
                "port is a number (its value is not shown: it may hold a password)."
            )
        return f"postgresql+psycopg2://{rest}"
    if separator and dialect == "sqlite":
        return f"sqlite://{rest}"
    raise ConfigurationError(
        "EDUPULSE_DATABASE_URL must start with postgresql:// or sqlite:// "
        "(its value is not shown: it may hold a password)."
    )


def _readable(url: str) -> bool:
    try:
        parts = urlsplit(url.strip())
        return parts.port is None or parts.port > 0
    except ValueError:
        return False


def load_settings(*, home: Path | None = None, placeholder: bool = False) -> Settings:
    """Settings from the environment and `edupulse.toml`.

    `home` overrides `EDUPULSE_HOME`. Without a TOML file there are no tenants; with `placeholder` there is then one
    named `demo`, so that the asset graph can be looked at before anything has been set up. ConfigurationError names
    the file, the key and the rule that is broken.
    """
    try:
        environment = _Environment()
    except ValidationError as error:
        raise ConfigurationError(f"An environment variable is wrong: {_explain(error)}") from None
    root = (home if home is not None else environment.home).expanduser().absolute()
    config_path = (environment.config or root / "edupulse.toml").expanduser().absolute()
    if config_path.is_file():
        tenants = _read_tenants(config_path, root)
    elif environment.config is not None or config_path.exists():
        problem = "is not a file" if config_path.exists() else "does not exist"
        source = "EDUPULSE_CONFIG names " if environment.config is not None else ""
        raise ConfigurationError(f"{source}{config_path}, which {problem}.")
    else:
        tenants = {"demo": _placeholder_tenant(root)} if placeholder else {}
    return Settings(
        home=root,
        database_url=normalise_database_url(environment.database_url or f"sqlite:///{root / 'edupulse.db'}"),
        tracking_uri=environment.mlflow_tracking_uri or f"sqlite:///{root / 'mlflow' / 'mlflow.db'}",
        config_path=config_path,
        tenants=tenants,
    )


def _read_tenants(path: Path, home: Path) -> dict[str, TenantSettings]:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not valid TOML: {error}") from None
    unknown = sorted(set(document) - {"tenants"})
    if unknown:
        raise ConfigurationError(f"{path}: unknown key {unknown[0]!r}; only [tenants.<name>] tables are expected.")
    declared = document.get("tenants", {})
    if not isinstance(declared, dict) or not declared:
        raise ConfigurationError(f"{path} declares no tenant; add a [tenants.<name>] table.")
    tenants: dict[str, TenantSettings] = {}
    identifiers: dict[str, str] = {}
    for name, table in declared.items():
        if not isinstance(table, dict):
            raise ConfigurationError(f"{path}: tenants.{name} must be a table, [tenants.{name}].")
        if "name" in table:
            raise ConfigurationError(f"{path}: [tenants.{name}] name: the table's own name is the tenant's; remove it.")
        declared_landing = table.get("landing", str(home / "landing" / name))
        if not isinstance(declared_landing, str) or not declared_landing:
            raise ConfigurationError(f"{path}: [tenants.{name}] landing: not the path of a folder.")
        # Joining an absolute path leaves it as it is.
        landing = (path.parent / Path(declared_landing).expanduser()).absolute()
        values = {**table, "name": name, "landing": landing}
        try:
            tenant = TenantSettings.model_validate(values)
        except ValidationError as error:
            raise ConfigurationError(f"{path}: [tenants.{name}] {_explain(error)}") from None
        if tenant.identifier in identifiers:
            raise ConfigurationError(
                f"{path}: tenants {identifiers[tenant.identifier]!r} and {name!r} differ only in - and _; rename one."
            )
        identifiers[tenant.identifier] = name
        tenants[name] = tenant
    return tenants


def _explain(error: ValidationError) -> str:
    """The broken rules, key by key, in words; pydantic's own text repeats input values and links."""
    parts = []
    for problem in error.errors(include_url=False, include_input=False):
        key = ".".join(str(step) for step in problem["loc"]) or "table"
        parts.append(f"{key}: {problem['msg'].removeprefix('Value error, ')}")
    return "; ".join(parts) + "."


def _placeholder_tenant(home: Path) -> TenantSettings:
    """A district to show the asset graph of, starting with the school year (first Monday of August) we are in."""
    today = dt.date.today()
    year = today.year if today.month >= 8 else today.year - 1
    return TenantSettings(
        name="demo", timezone="UTC", first_week=week_start(dt.date(year, 8, 7)), landing=home / "landing" / "demo"
    )


def quiet_libraries() -> None:
    """Switch off the usage reporting of the libraries we call: a district's machine reports to nobody."""
    for name, value in (
        ("GX_ANALYTICS_ENABLED", "false"),
        ("MLFLOW_DISABLE_TELEMETRY", "true"),
        ("MLFLOW_RECORD_ENV_VARS_IN_MODEL_LOGGING", "false"),
        ("DO_NOT_TRACK", "true"),
        ("DAGSTER_DISABLE_TELEMETRY", "true"),
        ("GIT_PYTHON_REFRESH", "quiet"),
    ):
        os.environ.setdefault(name, value)
