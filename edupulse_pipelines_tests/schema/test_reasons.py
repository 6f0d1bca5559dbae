"""The registry of reason codes and the code that gives them say the same."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import edupulse_pipelines
from edupulse_pipelines.schema.expectations import expectations
from edupulse_pipelines.schema.reasons import REASONS, only_waits, reason_for
from edupulse_pipelines.schema.tables import RECORD_TABLES, TABLES

PACKAGE = Path(edupulse_pipelines.__file__).parent
ROOMS = [path for room in ("sources", "ingest") for path in sorted((PACKAGE / room).rglob("*.py"))]
ROOMS.append(PACKAGE / "orchestration" / "summary.py")
CODE = re.compile(r"[a-z]+(?:_[a-z]+)+")
NO_REASONS = {"synthetic_district.py", "synthetic_files.py", "synthetic_year.py"}
"""They write files; their words are about their own dirt."""


COLUMNS = {column for table in TABLES.values() for column in table.column_names}


def _constants(tree: ast.Module) -> dict[str, str]:
    """Module-level constants that hold a text."""
    return {
        node.targets[0].id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    }


def _given() -> dict[str, set[str]]:
    """The codes that the rooms give, and the modules they are found in.

    Refusals, constants spelled like a code, f-strings such as `f"type:{name}"` (`hash:` is an identity), warnings.
    """
    trees = {
        str(path.relative_to(PACKAGE)): ast.parse(path.read_text(encoding="utf-8"))
        for path in ROOMS
        if path.name not in NO_REASONS
    }
    constants = {name: text for tree in trees.values() for name, text in _constants(tree).items()}
    given: dict[str, set[str]] = {}
    for module, tree in trees.items():
        found = {
            text
            for text in _constants(tree).values()
            if CODE.fullmatch(text.partition(":")[0]) and text not in TABLES and text not in COLUMNS
        }
        for node in ast.walk(tree):
            match node:
                case ast.Call(
                    func=ast.Name(id="RefusedFile" | "refused") | ast.Attribute(attr="_refused"), args=[reason, *_]
                ):
                    if isinstance(reason, ast.Constant):
                        found.add(reason.value)
                    elif isinstance(reason, ast.Name) and reason.id in constants:
                        found.add(constants[reason.id])
                case ast.JoinedStr(values=[ast.Constant(value=str(text)), ast.FormattedValue(), *_]) if re.fullmatch(
                    r"(?!hash:)[a-z_]{3,}:", text
                ):
                    found.add(text)
                case ast.Subscript(value=ast.Name(id="warnings"), slice=ast.Constant(value=str(text))):
                    found.add(text)
        for text in found:
            given.setdefault(text.partition(":")[0], set()).add(module)
    for table in RECORD_TABLES:
        for expectation in expectations(table):
            given.setdefault(expectation.meta["reason"].partition(":")[0], set()).add("expectations.py")
    return given


def test_every_code_that_is_given_is_registered_and_the_other_way_round() -> None:
    given = _given()
    assert {code: modules for code, modules in given.items() if code not in REASONS} == {}
    assert set(REASONS) - set(given) == set()


@pytest.mark.parametrize("code", sorted(REASONS))
def test_a_reason_says_what_it_means_and_what_to_do(code: str) -> None:
    reason = REASONS[code]
    assert reason.code == code
    assert reason.meaning.endswith(".")
    assert reason.fix.endswith((".", ".)"))
    assert reason.kind == "row" or not (reason.waits or reason.column)
    assert reason_for(reason.spelling.replace("<column>", "date")) is reason
    assert reason_for("no_such_code:date") is None


def test_a_row_with_a_bad_value_does_not_only_wait() -> None:
    assert {code for code, reason in REASONS.items() if reason.waits} == {
        "unknown_student", "unknown_school", "unknown_prediction", "unknown_record", "disputed_number"
    }  # fmt: skip
    assert only_waits(["unknown_student", "unknown_record"])
    assert not only_waits(["unknown_student", "type:date"])
