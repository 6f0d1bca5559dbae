"""Great Expectations suites, one per delivered table, derived from the declaration.

A suite judges a frame of text columns as they came (empty field = missing) in which every numeric column `x` is
accompanied by `x:number`, its value or missing, and every row by `key:versions`, the number of different rows its
delivery holds for its key. Each expectation carries in `meta` the reason code that a failing row gets: `rule:column`.
What frames are made of, and rules that need the database, are in `ingest`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edupulse_pipelines.schema.answers import NO, YES
from edupulse_pipelines.schema.declaration import Column
from edupulse_pipelines.schema.delivery import DELIVERED

if TYPE_CHECKING:
    import great_expectations as gx

NUMBER_SUFFIX = ":number"
KEY_VERSIONS = "key:versions"
CONFLICTING_DUPLICATE = "conflicting_duplicate"

# `\Z` and not `$`, which lets a line break after the value pass.
_INTEGER = r"^[+-]?[0-9]{1,18}\Z"
_NUMBER = r"^[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?\Z"
_GUID = r"^[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}\Z"
# ISO 8601 calendar dates that exist, leap years included: the type is the whole rule, so that 2025-02-30 is no date.
_DATE = (
    r"^(?!0000)(?:"
    r"[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    r"|02-(?:0[1-9]|1[0-9]|2[0-8]))"
    r"|(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29)\Z"
)
TYPE_PATTERNS: dict[str, str] = {
    "integer": _INTEGER,
    "number": _NUMBER,
    "date": _DATE,
    "guid": _GUID,
    "json": r"^\s*\{",
    "boolean": rf"^(?i:{'|'.join((*YES, *NO))})\Z",
}


def numeric(column: Column) -> bool:
    """Whether a frame carries the column's value as a number beside its text."""
    return column.type in ("integer", "number")


def expectations(table: str, *, weighted: bool = False) -> list[Any]:
    """The expectations of a delivered table; `weighted` is the tenant's grading scale (GPA up to 5 rather than 4)."""
    import great_expectations.expectations as gxe

    rules: list[Any] = []
    for column in DELIVERED[table].columns:
        name = column.name
        if not column.nullable and column.default is None:
            rules.append(gxe.ExpectColumnValuesToNotBeNull(column=name, meta={"reason": f"required:{name}"}))
        if column.type in TYPE_PATTERNS:
            rules.append(
                gxe.ExpectColumnValuesToMatchRegex(
                    column=name, regex=TYPE_PATTERNS[column.type], meta={"reason": f"type:{name}"}
                )
            )
        if column.type == "json":
            rules.append(gxe.ExpectColumnValuesToBeJsonParseable(column=name, meta={"reason": f"type:{name}"}))
        if column.length is not None:
            rules.append(
                gxe.ExpectColumnValueLengthsToBeBetween(
                    column=name, max_value=column.length, meta={"reason": f"length:{name}"}
                )
            )
        if column.values is not None:
            rules.append(
                gxe.ExpectColumnValuesToBeInSet(
                    column=name, value_set=list(column.values), meta={"reason": f"values:{name}"}
                )
            )
        if numeric(column) and (column.minimum is not None or column.maximum is not None):
            maximum = column.maximum if weighted or column.maximum_unweighted is None else column.maximum_unweighted
            rules.append(
                gxe.ExpectColumnValuesToBeBetween(
                    column=name + NUMBER_SUFFIX,
                    min_value=column.minimum,
                    max_value=maximum,
                    meta={"reason": f"range:{name}"},
                )
            )
    rules.append(
        gxe.ExpectColumnValuesToBeBetween(column=KEY_VERSIONS, max_value=1, meta={"reason": CONFLICTING_DUPLICATE})
    )
    return rules


def suite(table: str, *, weighted: bool = False) -> gx.ExpectationSuite:
    """The expectations of a delivered table as one Great Expectations suite."""
    import great_expectations as gx

    return gx.ExpectationSuite(name=f"{table}_delivered", expectations=expectations(table, weighted=weighted))
