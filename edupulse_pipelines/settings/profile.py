"""How a district writes its files: encoding, dates, names of columns, local codes and what they mean here."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import math
import re
from typing import Any, Literal

from pydantic import Field, field_validator

from edupulse_pipelines.schema.declaration import Column
from edupulse_pipelines.schema.delivery import ASSIGNMENT, DELIVERED, DeliveredTable
from edupulse_pipelines.settings.section import Section, plain_date

ISO_DATE = "%Y-%m-%d"
UNUSED = "unused:"
"""Stands before the name of a column that the profile says is not used: it is none of ours, whatever it is called."""
_DELIMITER_WORDS = {"comma": ",", "tab": "\t", "semicolon": ";", "pipe": "|"}
_DIRECTIVE = re.compile(r"%(.)", re.DOTALL)
_DATE_DIRECTIVES = "YmdbBHIMSfp%"
_DATE_WORDS = {"YYYY": "%Y", "MMMM": "%B", "MMM": "%b", "MM": "%m", "M": "%m", "DD": "%d", "D": "%d"}
_DATE_WORD = re.compile("|".join(_DATE_WORDS))
_TWO_DIGITS = "a year of two digits is a guess; the format needs four (%Y or YYYY)"
_BORN_AT_ALL = 1930
_INTEGER = re.compile(r"[0-9]{1,9}")
_NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]+)?")


class ProfileSettings(Section):
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
    assignment_from: Literal["assignment_id", "source_record_id"] = "assignment_id"
    """Where a grade says which piece of work it is for; `source_record_id`: where it is not said otherwise, the part of
    that before its last `-`."""

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
            column_names = _delivered(table).column_names
            for their_name, our_name in names.items():
                if not their_name:
                    raise ValueError(f"{table}: a column without a name cannot be renamed")
                if our_name and our_name not in column_names:
                    listed = ", ".join(column_names)
                    raise ValueError(f"{table}.{their_name}: {our_name!r} is not a column of {table} ({listed})")
        return value

    @field_validator("codes", mode="before")
    @classmethod
    def _codes_by_table_and_column(cls, value: Any) -> Any:
        """Nested tables, or the short form with `table.column` as the key."""
        by_table: dict[str, dict[str, Any]] = {}
        for key, inner in _table_of(value, "").items():
            table, dot, column = key.partition(".")
            columns = {column: inner} if dot else _table_of(inner, key)
            for name, codes in columns.items():
                if name in by_table.setdefault(table, {}):
                    raise ValueError(f"{table}.{name} is declared twice")
                by_table[table][name] = _texts(codes, f"{table}.{name}")
        return by_table

    @field_validator("codes")
    @classmethod
    def _codes_have_a_meaning(cls, value: dict[str, dict[str, dict[str, str]]]) -> dict[str, dict[str, dict[str, str]]]:
        for table, columns in value.items():
            contract = _delivered(table)
            for name, codes in columns.items():
                if name not in contract.column_names:
                    raise ValueError(f"{table}.{name}: not a column of {table} ({', '.join(contract.column_names)})")
                column = contract.columns[contract.column_names.index(name)]
                if column.codes_in != "codes":
                    words = column.codes_in.replace("_", " ")
                    raise ValueError(f"{table}.{name}: {words} are declared under {column.codes_in}")
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
        columns = [column for contract in DELIVERED.values() for column in contract.columns]
        (level,) = {column for column in columns if column.codes_in == "grade_levels"}
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
            marker: dt.date = plain_date(value)
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
        elsewhere = {"encoding", "delimiter", "extra_credit", "columns", "codes", "assignment_from"}
        meaning = self.model_dump(mode="json", exclude=elsewhere)
        meaning |= {"columns": self.columns.get(table, {}), "codes": self.codes.get(table, {})}
        if self.names_work(table):  # only then, so that files loaded before there was the setting are not loaded again
            meaning["assignment_from"] = self.assignment_from
        return hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()[:16]

    def names_work(self, table: str) -> bool:
        """Whether rows of the table that do not name their piece of work get it from their `source_record_id`."""
        return self.assignment_from != ASSIGNMENT and table in DELIVERED and ASSIGNMENT in DELIVERED[table].column_names

    def canonical_name(self, table: str, name: str) -> str:
        """Our name of the column that the district calls `name` in its file of `table`.

        A column that the profile says is not used (`""`) gets a name that is none of ours, whatever it is called.
        """
        ours = self.columns.get(table, {}).get(name, name)
        return UNUSED + name if name and not ours else ours


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
    texts = {}
    for code, meaning in _table_of(codes, where).items():
        if not code:
            raise ValueError(f"{prefix}an empty field is no code")
        if isinstance(meaning, bool) or not isinstance(meaning, str | int | float):
            raise ValueError(f"{prefix}{code}: not a text or a number")
        texts[code] = str(meaning)
    return texts


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
