"""Judging rows: the Great Expectations suite of a table, and the rules between rows that need more than the row.

`validate` returns reasons per row and never a value. What happens to a bad row is the business of `quarantine`.
"""

from __future__ import annotations

import logging
import re
from functools import lru_cache
from typing import Any

import orjson
import pandas as pd

from edupulse_pipelines.ingest.archive import PROBLEM
from edupulse_pipelines.schema.delivery import DELIVERED
from edupulse_pipelines.schema.expectations import KEY_VERSIONS, TYPE_PATTERNS, suite
from edupulse_pipelines.settings import quiet_libraries

FUTURE_DATE = "future_date"
UNKNOWN_STUDENT = "unknown_student"
UNKNOWN_PREDICTION = "unknown_prediction"
MISSING_PREDICTION = "required:prediction_id"
_ESCAPED_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
REPLAYABLE = frozenset({UNKNOWN_STUDENT, UNKNOWN_PREDICTION})
"""Reasons that can vanish without the file being changed: what the row waits for may still arrive."""

Reasons = dict[int, list[str]]
"""Reason codes by position in the frame; positions without an entry are good."""


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
        self._columns = {column for _, column in self.expectations_by_reason.values()}

    def judge(self, frame: pd.DataFrame) -> Reasons:
        """Reasons by position. RuntimeError when an expectation could not be evaluated at all."""
        # A column that the file lacks is all NULL: the header has been judged before.
        whole = frame.reindex(columns=[*frame.columns, *sorted(self._columns.difference(frame.columns))])
        result = self._batches.get_batch(batch_parameters={"dataframe": whole}).validate(
            self.suite,
            # The positional index and no values: a failing value is a student's.
            result_format={"result_format": "COMPLETE", "exclude_unexpected_values": True},
        )
        reasons: Reasons = {}
        for outcome in result.results:
            if outcome.success:
                continue
            config = outcome.expectation_config
            assert config is not None and config.meta is not None
            if "unexpected_index_list" not in outcome.result:
                raise RuntimeError(f"the expectation {config.type} of {config.kwargs.get('column')} was not evaluated")
            code = config.meta["reason"]
            for position in outcome.result["unexpected_index_list"] or []:
                codes = reasons.setdefault(int(position), [])
                if code not in codes:
                    codes.append(code)
        return reasons


@lru_cache(maxsize=16)
def expectations_for(table: str, *, weighted: bool) -> Expectations:
    """The suite of a table, made once per process: setting one up costs more than judging a small frame."""
    return Expectations(table, weighted=weighted)


def validate(frame: pd.DataFrame, table: str, *, weighted: bool) -> Reasons:
    """Reasons by position (the frame's index) for a frame with `delivered_on`, each row's delivery date as ISO text."""
    reasons: Reasons = {
        position: [problem]
        for position, problem in zip(frame.index.tolist(), frame[PROBLEM], strict=True)
        if isinstance(problem, str)
    }
    readable = frame[frame[PROBLEM].isna()]
    if len(readable):
        # A position in the frame, not a label: GX hands the index back.
        reasons |= expectations_for(table, weighted=weighted).judge(readable)
        for position, code in _unstorable_json(readable, table):
            codes = reasons.setdefault(position, [])
            if code not in codes:
                codes.append(code)
        for position in _future(readable, table):
            reasons.setdefault(position, []).append(FUTURE_DATE)
    return reasons


def _future(frame: pd.DataFrame, table: str) -> list[int]:
    """Positions of rows with an event after their delivery. ISO dates compare as text."""
    late = pd.Series(False, index=frame.index)
    for name in DELIVERED[table].event_dates:
        if name in frame:
            text = frame[name].astype("str")
            is_date = text.str.match(TYPE_PATTERNS["date"]).fillna(False).astype(bool)
            late |= is_date & (text > frame["delivered_on"].astype("str"))
    return [int(position) for position in frame.index[late]]


def _unstorable_json(frame: pd.DataFrame, table: str) -> list[tuple[int, str]]:
    """Rows whose JSON a Python parser lets pass (NaN, an escaped NUL, a lone surrogate) but the database would not."""
    found = []
    for column in DELIVERED[table].columns:
        if column.type != "json" or column.name not in frame:
            continue
        for position, text in frame[column.name].dropna().items():
            try:
                storable = not _ESCAPED_NUL.search(text) and isinstance(orjson.loads(text), dict)
            except orjson.JSONDecodeError:
                storable = False
            if not storable:
                found.append((int(position), f"type:{column.name}"))  # type: ignore[call-overload]
    return found


def failed_expectations(table: str, reasons: dict[str, int], *, weighted: bool) -> list[dict[str, Any]]:
    """The failed expectations behind reason counts: expectation, column, reason, number of rows; no values."""
    if not reasons:
        return []
    known = expectations_for(table, weighted=weighted).expectations_by_reason
    rows = []
    for reason, count in sorted(reasons.items()):
        expectation, column = known.get(reason, ("cross-row rule", reason.partition(":")[2] or "row"))
        rows.append(
            {
                "expectation": expectation,
                "column": column.partition(":")[0] if column != KEY_VERSIONS else "key",
                "reason": reason,
                "unexpected": count,
            }
        )
    return rows
