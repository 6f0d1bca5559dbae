"""Poison rows: one per declared constraint, through the real validation, and past it into the database.

Each is a valid row with one thing wrong, and must fail for exactly that. The list of poisons is made from the
declaration, and a kind of constraint that nobody here knows fails the test: a check that checks nothing is found out.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import sqlalchemy as sa

from edupulse_pipelines.ingest.frames import Coded, Piece
from edupulse_pipelines.ingest.validation import expectations_for, validate
from edupulse_pipelines.schema.declaration import Column, Table
from edupulse_pipelines.schema.delivery import DELETED, DELIVERED
from edupulse_pipelines.schema.expectations import CONFLICTING_DUPLICATE, KEY_VERSIONS
from edupulse_pipelines.schema.sqlalchemy_tables import metadata
from edupulse_pipelines.schema.tables import RECORD_TABLES, TABLES

DELIVERED_ON = "2025-09-08"
EARLIEST = dt.date(2023, 9, 1)
EVENTS = {
    "attendance_records": ("date",),
    "grades": ("submission_date",),
    "discipline_incidents": ("incident_date",),
    "training_feedback": ("outcome_date",),
}
"""The dates of events, which have a first day."""

CONSTRAINTS = {"type", "nullable", "length", "minimum", "maximum", "maximum_unweighted", "values"}
"""What a declared column says about its values."""
NO_CONSTRAINTS = {
    "name",
    "comment",
    "default",
    "pii",
    "delivered",
    "exact_text",
    "codes_in",
    "bookkeeping",
    "coded",
    "identifies",
}

WRONG_TYPE: dict[str, tuple[str, ...]] = {
    "integer": ("1.0", "one", "NaN", "1e1", "", " 1", "1\n", "1" * 19),
    "number": ("1,5", "NaN", "inf", "1.2.3", "--1", "1e", "1\n"),
    "date": ("2025-13-45", "2025-02-29", "0000-01-01", "25-09-01", "2025-9-1", "20250901", "2025-09-01\n", "today"),
    "guid": ("7", "g" * 32, "1" * 31),
    "json": ("[]", "{", '"x"', '{"a": NaN}', '{"a": "\\u0000"}'),
    "boolean": ("maybe", "2", "yes ", "1\n", "oui"),
    "text": (),
}
VALID = {
    "boolean": "Yes",
    "integer": "1",
    "number": "1",
    "date": "2025-09-01",
    "guid": str(uuid.UUID(int=7)),
    "json": "{}",
    "text": "x",
}


def valid_text(column: Column) -> str:
    """A valid field for the column."""
    return column.values[0] if column.values else VALID[column.type]


def poisons(column: Column, *, weighted: bool) -> Iterator[tuple[str, str, str]]:
    """(field, reason, constraint) for everything that the column's declaration forbids."""
    if not column.nullable and column.default is None:
        yield "", f"required:{column.name}", "nullable"
    for text in filter(None, WRONG_TYPE[column.type]):
        yield text, f"type:{column.name}", "type"
    if column.length is not None and column.values is None:  # a text that is too long is not in the set either
        yield "é" * (column.length + 1), f"length:{column.name}", "length"
    if column.values is not None:
        for text in {"X", column.values[0].upper(), column.values[0] + " "} - set(column.values):
            yield text, f"values:{column.name}", "values"
    step = 1 if column.type == "integer" else 0.001
    if column.minimum is not None:
        yield f"{column.minimum - step:.12g}", f"range:{column.name}", "minimum"
    maximum = column.maximum if weighted or column.maximum_unweighted is None else column.maximum_unweighted
    if maximum is not None:
        name = "maximum" if weighted or column.maximum_unweighted is None else "maximum_unweighted"
        yield f"{maximum + step:.12g}", f"range:{column.name}", name


def limits(column: Column, *, weighted: bool) -> Iterator[str]:
    """Fields at the very edge of what the declaration allows."""
    maximum = column.maximum if weighted or column.maximum_unweighted is None else column.maximum_unweighted
    yield from (f"{end:.12g}" for end in (column.minimum, maximum) if end is not None)
    if column.values is not None:
        yield from column.values
    elif column.length is not None:
        yield "é" * column.length
    if column.nullable or column.default is not None:
        yield ""


def good_row(table: str) -> dict[str, str]:
    """A valid row that says something of every column (and takes no record back); a whole is as large as it can be."""
    wholes = {whole for _, whole in DELIVERED[table].record.within}
    return {
        column.name: ""
        if column.name == DELETED
        else f"{column.maximum}"
        if column.name in wholes
        else valid_text(column)
        for column in DELIVERED[table].columns
    }


def judged(table: str, rows: list[dict[str, str]], versions: list[int], *, weighted: bool) -> list[list[str]]:
    """The reasons of each row."""
    names = DELIVERED[table].column_names
    piece = Piece(
        table=table,
        start=0,
        file=np.zeros(len(rows), dtype=np.int16),
        line_numbers=np.arange(2, len(rows) + 2),
        problems={},
        columns={name: Coded.of(pa.array([row[name] or None for row in rows], pa.string())) for name in names},
        present={0: frozenset(names)},
        delivered_on=DELIVERED_ON,
        versions=np.array(versions, dtype=np.int32),
        repeat=np.zeros(len(rows), dtype=np.bool_),
    )
    (reasons,) = validate([piece], table, weighted=weighted, earliest=EARLIEST)
    return [reasons.get(row, []) for row in range(len(rows))]


def test_every_kind_of_constraint_is_known_here() -> None:
    assert {field.name for field in dataclasses.fields(Column)} == CONSTRAINTS | NO_CONSTRAINTS
    assert {column.type for name in RECORD_TABLES for column in DELIVERED[name].columns} <= set(WRONG_TYPE)


@pytest.mark.parametrize(("table", "weighted"), [*((table, False) for table in RECORD_TABLES), ("students", True)])
def test_one_poison_row_per_declared_constraint(table: str, weighted: bool) -> None:
    good = good_row(table)
    rows, versions, expected = [good, good], [1, 2], [[], [CONFLICTING_DUPLICATE]]
    poisoned: set[tuple[str, str]] = set()
    for column in DELIVERED[table].columns:
        for text, reason, constraint in poisons(column, weighted=weighted):
            rows.append({**good, column.name: text})
            expected.append([reason])
            poisoned.add((column.name, constraint))
        for text in limits(column, weighted=weighted):
            rows.append({**good, column.name: text})
            expected.append([])
    for name in DELIVERED[table].not_ahead:
        rows += [{**good, name: "2025-09-09"}, {**good, name: DELIVERED_ON}]
        expected += [["future_date"], []]
    for column in DELIVERED[table].columns:
        if column.type == "date":  # a birth, an entry or an exit may be long ago
            is_event = column.name in EVENTS.get(table, ())
            before = EARLIEST - dt.timedelta(days=1)
            rows += [{**good, column.name: day.isoformat()} for day in (EARLIEST, before, dt.date(1027, 10, 6))]
            expected += [[], *[["too_old"] if is_event else []] * 2]
    for part, whole in DELIVERED[table].record.within:
        rows += [{**good, part: "8", whole: "7"}, {**good, part: "7", whole: "7"}, {**good, part: "8", whole: ""}]
        expected += [[f"more_than:{part}"], [], []]
    versions += [1] * (len(rows) - len(versions))
    found = judged(table, rows, versions, weighted=weighted)
    wrong = [
        (changed, got, wanted)
        for row, got, wanted in zip(rows, found, expected, strict=True)
        if got != wanted
        for changed in [{name: text for name, text in row.items() if text != good[name]}]
    ]
    assert wrong == []
    # The declaration, once more and in other words: no constraint without its poison, and none without expectation.
    declared = set()
    for column in DELIVERED[table].columns:
        if column.type != "text":
            declared.add((column.name, "type"))
        if not column.nullable and column.default is None:
            declared.add((column.name, "nullable"))
        if column.length is not None and column.values is None:
            declared.add((column.name, "length"))
        if column.values is not None:
            declared.add((column.name, "values"))
        if column.minimum is not None:
            declared.add((column.name, "minimum"))
        if column.maximum is not None:
            tighter = column.maximum_unweighted is not None and not weighted
            declared.add((column.name, "maximum_unweighted" if tighter else "maximum"))
    assert poisoned == declared
    rule = {"nullable": "required", "minimum": "range", "maximum": "range", "maximum_unweighted": "range"}
    with_expectation = set(expectations_for(table, weighted=weighted).expectations_by_reason)
    assert with_expectation >= {f"{rule.get(kind, kind)}:{name}" for name, kind in declared} | {CONFLICTING_DUPLICATE}


def test_an_expectation_that_cannot_be_evaluated_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """GX answers a broken metric with `success=False` and an empty result, which must not read as zero bad rows."""
    expectations = expectations_for("attendance_records", weighted=False)
    frame = pd.DataFrame([good_row("attendance_records")])
    frame["period:number"] = [object()]
    frame[KEY_VERSIONS] = 1.0
    with pytest.raises(RuntimeError, match=r"period:number was not evaluated"):
        expectations.judge(frame)


# Past the validation

TENANT = "lakeside"
FILLED = {name: table for name, table in TABLES.items() if not name.startswith("audit_")}
"""The tables that are filled by the pipelines; the record of changes is filled by triggers, and tested with them."""


def keys(table: Table) -> list[tuple[str, ...]]:
    """The columns of each key; those of a partial or coalescing one with the column that it depends on."""
    return [table.primary_key, *((*unique.columns, *filter(None, [unique.where])) for unique in table.uniques)]


def valid_row(table: Table, *, another: bool = False) -> dict[str, Any]:
    """A valid row, or another one that differs in every key; both refer to the first rows of other tables."""
    referring = {name for key in table.foreign_keys for name in key.columns}
    in_keys = {name for key in keys(table) for name in key} - referring - {"tenant_id"}
    coalescing = {unique.coalesce for unique in table.uniques}
    row: dict[str, Any] = {}
    for column in table.columns:
        if column.default == "change":  # the database's own; another change's is refused
            continue
        differs = another and column.name in in_keys
        row[column.name] = {
            "guid": uuid.UUID(int=8 if differs else 7),
            "text": TENANT if column.name == "tenant_id" else (column.values or ("y" if differs else "x",))[0],
            "integer": None if column.name in coalescing and not differs else int(column.minimum or 0) + differs,
            "number": float(column.minimum or 0),
            "date": dt.date(2025, 9, 8 if differs else 1),
            "timestamp": dt.datetime(2025, 9, 1, tzinfo=dt.UTC),
            "boolean": not differs,
            "json": {},
        }[column.type]
    return row


def refusal(connection: sa.Connection, statement: sa.Executable, row: dict[str, Any] | None = None) -> str:
    """The database's answer; empty when it does as it is told (which is taken back)."""
    savepoint = connection.begin_nested()
    try:
        connection.execute(statement, row or {})
    except (sa.exc.IntegrityError, sa.exc.DataError) as error:
        return str(error.orig)
    else:
        return ""
    finally:
        savepoint.rollback()


@pytest.fixture
def connection(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction in which every table has one valid row; rolled back at the end."""
    with engine.connect() as connection:
        for name, table in FILLED.items():
            connection.execute(metadata.tables[name].insert(), valid_row(table))
        yield connection
        connection.rollback()


def _bad_values(table: str, column: Column, *, postgresql: bool) -> Iterator[tuple[Any, str]]:
    """(value, words of the refusal) for what the database itself has to refuse in a column."""
    if not column.nullable:
        yield None, column.name
    if column.values:
        yield "X", f"ck_{table}_{column.name}_values"
    elif column.length and postgresql:  # SQLite knows no length of a text
        yield "x" * (column.length + 1), f"character varying({column.length})"
    if column.minimum is not None:
        yield column.minimum - 1, f"ck_{table}_{column.name}_range"
    if column.maximum is not None and column.maximum < 2**31 - 1:
        yield column.maximum + 1, f"ck_{table}_{column.name}_range"


def test_what_slips_past_the_validation_the_database_refuses(connection: sa.Connection) -> None:
    postgresql = connection.dialect.name == "postgresql"
    wrong: list[str] = []
    for name, table in FILLED.items():
        insert, row = metadata.tables[name].insert(), valid_row(table, another=True)
        referring = {column for key in table.foreign_keys for column in key.columns}
        if any(referring.issuperset(unique.columns) for unique in table.uniques):
            connection.execute(metadata.tables[name].delete())  # one row for each row of another table: make room
        assert refusal(connection, insert, row) == "", f"the valid row of {name}"
        for column in table.columns:
            for value, words in _bad_values(name, column, postgresql=postgresql):
                answer = refusal(connection, insert, {**row, column.name: value})
                if words not in answer:
                    wrong.append(f"{name}.{column.name} = {value!r}: {answer or 'taken'}")
            wrong += [
                f"{name}.{column.name} = {value!r} is the limit itself"
                for value in (column.minimum, column.maximum if (column.maximum or 0) < 2**31 - 1 else None)
                if value is not None and refusal(connection, insert, {**row, column.name: value})
            ]
    assert wrong == []


def test_the_database_refuses_a_key_twice_and_a_reference_to_nothing(connection: sa.Connection) -> None:
    wrong: list[str] = []
    for name, table in FILLED.items():
        insert, stored, row = metadata.tables[name].insert(), valid_row(table), valid_row(table, another=True)
        for columns in keys(table):
            answer = refusal(connection, insert, {**row, **{column: stored[column] for column in columns}})
            if "unique" not in answer.lower():
                wrong.append(f"{name} {columns} twice: {answer or 'taken'}")
        for key in table.foreign_keys:
            tenant, reference = key.columns
            nothing = "z" if isinstance(row[reference], str) else uuid.UUID(int=99)
            # The row that is named has to be there, and to be of the same tenant.
            for change in ({reference: nothing}, {tenant: "hillside"}):
                answer = refusal(connection, insert, {**row, **change})
                if "foreign key" not in answer.lower():
                    wrong.append(f"{name} -> {key.table}: {answer or 'taken'}")
    wrong += [
        f"{name}: deleted although others refer to it"
        for name in ("students", "predictions", "model_metadata")
        if "foreign key" not in refusal(connection, metadata.tables[name].delete()).lower()
    ]
    assert wrong == []
