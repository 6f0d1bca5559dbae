"""Judging rows: the Great Expectations suite of a table, and the rules between rows that need more than the row.

`validate` returns reasons per row and never a value. What happens to a bad row is the business of `quarantine`.
"""

from __future__ import annotations

import copy
import datetime as dt
import logging
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from edupulse_pipelines.ingest.frames import Piece, as_numbers, distinct_values
from edupulse_pipelines.schema.delivery import DELETED, DELIVERED, STUDENT_NUMBER
from edupulse_pipelines.schema.expectations import (
    CONFLICTING_DUPLICATE,
    KEY_VERSIONS,
    NUMBER_SUFFIX,
    TYPE_PATTERNS,
    numeric,
    suite,
)
from edupulse_pipelines.settings import quiet_libraries

if TYPE_CHECKING:
    import great_expectations as gx

FUTURE_DATE = "future_date"
TOO_OLD = "too_old"
MORE_THAN = "more_than"
"""A number is more than the one that it is a part of."""
UNKNOWN_STUDENT = "unknown_student"
UNKNOWN_SCHOOL = "unknown_school"
"""A row names a school that has not arrived, in a district that sends its schools."""
UNKNOWN_PREDICTION = "unknown_prediction"
MISSING_PREDICTION = "required:prediction_id"
_IS_DATE = re.compile(TYPE_PATTERNS["date"])
_ESCAPED_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
UNKNOWN_RECORD = "unknown_record"
"""A row takes back a record that has not arrived."""
ANOTHER_CHILD = "another_child"
"""A row of students names another child under the number of one who is known."""
DISPUTED_NUMBER = "disputed_number"
"""Another child has been delivered under the row's number, so that nobody can say whose record it is."""
SPOILT_NUMBER = "spoilt_number"
"""The number is what a spreadsheet has made of it."""
_SPOILT = re.compile(r"""[0-9](?:[.,][0-9]*)?[eE]\+[0-9]{2,}|=\s*".*\"""", re.DOTALL)
MOVED_STUDENT = "moved_student"
"""The record of this `source_record_id` is another student's."""
DETACHED_MONTH = "detached_month"
"""The row's month has been taken out of the table."""
LATER_PREDICTION = "later_prediction"
"""Of version 1.0: a later prediction of the same model for the student in the same school week is kept."""
Reasons = dict[int, list[str]]
"""Reason codes by row of a piece; rows without an entry are good."""


class Expectations:
    """One table's suite, ready to judge frames; `expectations_by_reason` says which expectation gives which code."""

    def __init__(self, table: str, *, weighted: bool) -> None:
        quiet_libraries()
        import great_expectations as gx

        logging.getLogger("great_expectations").setLevel(logging.WARNING)
        context = gx.get_context(mode="ephemeral")
        # Data stays here: no Data Docs, no stored results, no progress bars over student rows.
        context.variables.progress_bars = {"globally": False, "metric_calculations": False}  # type: ignore[assignment]
        self._asset = context.data_sources.add_pandas(table).add_dataframe_asset(table)
        self._batches = self._asset.add_batch_definition_whole_dataframe(table)
        self.suite = context.suites.add(suite(table, weighted=weighted))
        self.expectations_by_reason: dict[str, tuple[str, str]] = {}
        for expectation in self.suite.expectations:
            reason = str((expectation.meta or {})["reason"])
            self.expectations_by_reason.setdefault(
                reason,
                (expectation.expectation_type, str(expectation.column)),  # type: ignore[attr-defined]
            )

    def judge(
        self, frame: pd.DataFrame, columns: Collection[str] | None = None
    ) -> dict[str, list[tuple[str, list[int]]]]:
        """By column, in the suite's order: the reason code and the positions in `frame` of what fails.

        `frame` has the columns that the suite names; only what is expected of `columns` is judged, if they are given,
        which takes as much less time as there are fewer. RuntimeError when an expectation could not be evaluated at
        all.
        """
        result = self._batches.get_batch(batch_parameters={"dataframe": frame}).validate(
            self.suite if columns is None else self._part(columns),
            # The positional index and no values: a failing value is a student's.
            result_format={"result_format": "COMPLETE", "exclude_unexpected_values": True},
        )
        by_column: dict[str, list[tuple[str, list[int]]]] = {}
        for outcome in result.results:
            if outcome.success:
                continue
            config = outcome.expectation_config
            assert config is not None and config.meta is not None
            if "unexpected_index_list" not in outcome.result:
                raise RuntimeError(f"the expectation {config.type} of {config.kwargs.get('column')} was not evaluated")
            positions = [int(position) for position in outcome.result["unexpected_index_list"] or []]
            column = str(config.kwargs["column"]).removesuffix(NUMBER_SUFFIX)
            by_column.setdefault(column, []).append((config.meta["reason"], positions))
        return by_column

    def _part(self, columns: Collection[str]) -> gx.ExpectationSuite:
        """What the suite expects of these columns."""
        import great_expectations as gx

        rules = [
            copy.copy(rule)
            for rule in self.suite.expectations
            if rule.column in columns  # type: ignore[attr-defined]
        ]
        return gx.ExpectationSuite(name=f"part of {self.suite.name}", expectations=rules)


@lru_cache(maxsize=16)
def expectations_for(table: str, *, weighted: bool) -> Expectations:
    """The suite of a table, made once per process: setting one up costs more than judging a small frame."""
    return Expectations(table, weighted=weighted)


def validate(pieces: Sequence[Piece], table: str, *, weighted: bool, earliest: dt.date) -> list[Reasons]:
    """For each piece the reasons by row; rows without an entry are good. No event lies before `earliest`.

    Every distinct value is judged once, for all pieces together: equal values have equal verdicts, and the price of a
    validation is mostly per call.
    """
    reasons: list[Reasons] = [{row: [problem] for row, problem in piece.problems.items()} for piece in pieces]
    if not any(len(piece) for piece in pieces):
        return reasons
    for name, verdicts in _verdicts(pieces, table, weighted=weighted).items():
        for piece, of_piece in zip(pieces, reasons, strict=True):
            for code, texts, empty in verdicts:
                _give(of_piece, piece, name, code, texts, empty=empty)
    for piece, of_piece in zip(pieces, reasons, strict=True):
        if (piece.versions > 1).any():
            for row in np.flatnonzero((piece.versions > 1) & piece.readable).tolist():
                of_piece.setdefault(row, []).append(CONFLICTING_DUPLICATE)
        for name in DELIVERED[table].not_ahead:
            _give(of_piece, piece, name, FUTURE_DATE, _after(piece, name), empty=False)
            _give_after_creation(of_piece, piece, name)
        for name in DELIVERED[table].record.events:
            _give(of_piece, piece, name, TOO_OLD, _before(piece, name, earliest), empty=False)
        spoilt = [text for text in piece.column(STUDENT_NUMBER).texts.to_pylist() if _SPOILT.fullmatch(text)]
        _give(of_piece, piece, STUDENT_NUMBER, SPOILT_NUMBER, spoilt, empty=False)
        for part, whole in DELIVERED[table].record.within:
            _give_more_than(of_piece, piece, part, whole)
        for row, codes in piece.given_reasons.items():
            _replace(of_piece, row, codes)
    return reasons


_VERSIONS = (1, 2)
"""One version of a key, and more than one: what the expectation has to tell apart."""


def _verdicts(pieces: Sequence[Piece], table: str, *, weighted: bool) -> dict[str, list[tuple[str, list[str], bool]]]:
    """By column of the contract: code, the texts it is for, and whether it is also for the empty field."""
    values = distinct_values(pieces, table)
    suite_ = expectations_for(table, weighted=weighted)
    length = max(2, *(len(texts) + 1 for texts, _ in values.values()))
    columns: dict[str, Any] = {}
    texts_of: dict[str, list[str | None]] = {}
    for column in DELIVERED[table].columns:
        texts, empty = values[column.name]
        texts_of[column.name] = [*texts, *([None] if empty or not texts else [])]
        # Columns have different numbers of values: the first one is repeated, and what is found there is left out.
        padded = texts_of[column.name] + [texts_of[column.name][0]] * (length - len(texts_of[column.name]))
        columns[column.name] = pd.Series(padded, dtype="str")
        if numeric(column):
            numbers = as_numbers(pa.array(texts, pa.string()), column.type) if texts else np.empty(0)
            full = np.full(length, numbers[0] if len(numbers) else np.nan)
            full[: len(numbers)] = numbers
            full[len(numbers) : len(texts_of[column.name])] = np.nan
            columns[column.name + NUMBER_SUFFIX] = full
    columns[KEY_VERSIONS] = np.resize(np.array(_VERSIONS, dtype=np.float64), length)
    judged = suite_.judge(pd.DataFrame(columns))
    if judged.pop(KEY_VERSIONS, None) != [(CONFLICTING_DUPLICATE, list(range(1, length, 2)))]:
        raise RuntimeError("the expectation on the number of versions of a key does not tell one from several")
    by_column: dict[str, list[tuple[str, list[str], bool]]] = {}
    for name, verdicts in judged.items():
        for code, positions in verdicts:
            failing = [texts_of[name][position] for position in positions if position < len(texts_of[name])]
            by_column.setdefault(name, []).append(
                (code, [text for text in failing if text is not None], None in failing)
            )
    for name, code, text in _unstorable_json(values, table):
        by_column.setdefault(name, []).append((code, [text], False))
    return by_column


def _give(reasons: Reasons, piece: Piece, name: str, code: str, texts: Iterable[str], *, empty: bool) -> None:
    """Add the code to the rows whose field is one of these texts, or empty."""
    texts = list(texts)
    column = piece.column(name)
    rows = np.zeros(len(piece), dtype=np.bool_)
    if texts and len(column.texts):
        rows = column.where_value(pc.is_in(column.texts, pa.array(texts, pa.string())).to_numpy(zero_copy_only=False))
    if empty:
        rows |= column.codes < 0
    rows &= piece.readable
    contract = DELIVERED[piece.table]
    if name not in (*contract.key_columns, DELETED) and rows.any():
        # A row that takes a record back, and says which one, needs nothing else.
        rows &= ~(piece.deleted & piece.names_its_record())
    for row in np.flatnonzero(rows).tolist():
        codes = reasons.setdefault(row, [])
        if code not in codes:
            codes.append(code)


def _replace(reasons: Reasons, row: int, codes: list[str]) -> None:
    """What the profile found says more than what the expectations make of the unmapped value."""
    columns = {code.partition(":")[2] for code in codes}
    others = [code for code in reasons.get(row, []) if code.partition(":")[2] not in columns]
    reasons[row] = [*others, *codes]


def _give_more_than(reasons: Reasons, piece: Piece, part: str, whole: str) -> None:
    """Add the code to the readable rows in which one number is more than another, and neither has a reason itself.

    A field that is empty or no number is not more than another, nor less.
    """
    numbers = [_numbers(piece, name) for name in (part, whole)]
    for row in np.flatnonzero((numbers[0] > numbers[1]) & piece.readable).tolist():
        codes = reasons.setdefault(row, [])
        if not any(code.partition(":")[2] in (part, whole) for code in codes):
            codes.append(f"{MORE_THAN}:{part}")


def _numbers(piece: Piece, name: str) -> np.ndarray:
    """The numbers of a column by row; NaN where there is none."""
    column = piece.column(name)
    if not len(column.texts):
        return np.full(len(piece), np.nan)
    return np.append(as_numbers(column.texts, "integer"), np.nan)[column.codes]


def _after(piece: Piece, name: str) -> list[str]:
    """The dates of the column that lie after the piece's delivery. ISO dates compare as text."""
    return [text for text in piece.column(name).texts.to_pylist() if text > piece.delivered_on and _IS_DATE.match(text)]


def _give_after_creation(reasons: Reasons, piece: Piece, name: str) -> None:
    """Of rows that were records before: those whose day lies after that of their creation came from the future."""
    column = piece.column(name)
    if piece.earlier is None or not len(column.texts):
        return
    texts = [text if _IS_DATE.match(text) else "NaT" for text in column.texts.to_pylist()]
    of_row = np.array([*texts, "NaT"], dtype="datetime64[D]")[column.codes]
    for row in np.flatnonzero((of_row > piece.earlier.day) & piece.readable).tolist():
        codes = reasons.setdefault(row, [])
        if FUTURE_DATE not in codes:
            codes.append(FUTURE_DATE)


def _before(piece: Piece, name: str, earliest: dt.date) -> list[str]:
    """The dates of the column that lie before `earliest`."""
    return [
        text for text in piece.column(name).texts.to_pylist() if text < earliest.isoformat() and _IS_DATE.match(text)
    ]


def _unstorable_json(values: Mapping[str, tuple[list[str], bool]], table: str) -> list[tuple[str, str, str]]:
    """JSON that a Python parser lets pass (NaN, an escaped NUL, a lone surrogate) but the database would not.

    (column, code, text) each.
    """
    unstorable = []
    for column in DELIVERED[table].columns:
        if column.type != "json":
            continue
        for text in values[column.name][0]:
            try:
                storable = not _ESCAPED_NUL.search(text) and isinstance(orjson.loads(text), dict)
            except orjson.JSONDecodeError:
                storable = False
            if not storable:
                unstorable.append((column.name, f"type:{column.name}", text))
    return unstorable


def failed_expectations(table: str, reasons: dict[str, int], *, weighted: bool) -> list[dict[str, Any]]:
    """The failed expectations behind reason counts: expectation, column, reason, number of rows; no values."""
    if not reasons:
        return []
    expectations = expectations_for(table, weighted=weighted).expectations_by_reason
    rows = []
    for reason, count in sorted(reasons.items()):
        expectation, column = expectations.get(reason, ("cross-row rule", reason.partition(":")[2] or "row"))
        rows.append(
            {
                "expectation": expectation,
                "column": column.partition(":")[0] if column != KEY_VERSIONS else "key",
                "reason": reason,
                "unexpected": count,
            }
        )
    return rows
