"""What a person sees after a run."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from edupulse_pipelines.cli.output.drawing import printable
from edupulse_pipelines.cli.output.summary import show_summary

ACCOUNT = {"read": 9, "inserted": 0, "updated": 0, "unchanged": 0, "quarantined": 9, "waiting": 0}


def summary(**more: Any) -> dict[str, Any]:
    return {
        "tables": {"grades": ACCOUNT},
        "quarantine_reasons": {},
        "unmapped_codes": {},
        "model": None,
        "predictions": {"week": None},
        "lists": {},
        "warnings": ["grades: 9 rows are quarantined", "grades: a column is not quarantined, only unknown"],
        "audit_head": "4:00c1",
        "warned_checks": [{"asset": "grades", "check": "expectations", "warning": "grades: 9 rows are quarantined"}],
        "errors": [],
        "students": 1,
        "success": True,
        "weeks": 1,
        "seconds": 1.0,
        **more,
    }


def drawn(**more: Any) -> str:
    screen = io.StringIO()
    show_summary(Console(file=screen, width=200), summary(**more), look="edupulse quarantine list --tenant n")
    return screen.getvalue()


def test_quarantined_rows_are_named_by_their_commonest_reasons_and_where_to_look() -> None:
    reasons = {f"range:c{number}": 9 - number for number in range(7)}
    said = drawn(quarantine_reasons={"grades": reasons})
    assert "range:c4" in said
    assert "range:c5" not in said
    assert "and 2 more reasons" in said
    assert "edupulse quarantine list --tenant n" in said
    assert "9 rows are quarantined" not in said  # said once
    assert "a column is not quarantined" in said  # what a warning is about is not looked for in its words
    assert "quarantine list" not in drawn()
    assert "9 rows are quarantined" in drawn()


def test_codes_that_nobody_maps_are_named() -> None:
    reasons = {"unmapped_code:status": 12}
    codes = {"attendance_records": {"status": {"[UA]": 10, "T\x07": 2}}}
    said = drawn(quarantine_reasons={"attendance_records": reasons}, unmapped_codes=codes)
    assert "attendance_records.status: codes that the profile does not map: '[UA]' (10), 'T\\x07' (2)" in said
    many = drawn(
        quarantine_reasons={"attendance_records": reasons},
        unmapped_codes={"attendance_records": {"status": {f"C{number}": 1 for number in range(12)}}},
    )
    assert "and 2 more" in many


@pytest.mark.parametrize(
    ("text", "shown"), [("é ok", "é ok"), ("\x1b[2J", "\\x1b[2J"), ("a\nb", "a\\nb"), ("\u202e", "\\u202e")]
)
def test_a_value_cannot_command_the_terminal(text: str, shown: str) -> None:
    assert printable(text) == shown
