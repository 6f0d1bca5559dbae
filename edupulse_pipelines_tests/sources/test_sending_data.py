"""The page for a district's data engineer: it is the generated one, and its examples work as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa
import pytest

from edupulse_pipelines.schema.delivery import DELIVERED
from edupulse_pipelines.schema.reasons import REASONS
from edupulse_pipelines.settings import load_settings
from edupulse_pipelines.sources.profiles import apply_profile, check_header
from edupulse_pipelines.sources.records import FIELDS, LINE_NUMBER, PROBLEM, archive_schema
from edupulse_pipelines.sources.sending_data import page

ROOT = Path(__file__).parents[2]
EXAMPLES = re.findall(r"^```toml\n(.*?)^```", page(), re.DOTALL | re.MULTILINE)


def test_the_committed_page_is_the_generated_one() -> None:
    assert (ROOT / "docs" / "sending-data.md").read_text(encoding="utf-8") == page(), "run `make sql`"


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_of_settings_can_be_read(tmp_path: Path, example: str) -> None:
    (tmp_path / "edupulse.toml").write_text(example, encoding="utf-8")
    (tenant,) = load_settings(home=tmp_path).tenants.values()
    # Every example is one because it says something.
    assert tenant.model_fields_set - {"name", "timezone", "first_week", "landing"}


@pytest.mark.parametrize(
    ("example", "table", "theirs", "ours"),
    [
        (
            0,
            "attendance_records",
            {"Student Number": "7", "Att Date": "9/1/2026", "Att Code": "ISS"},
            {"district_id": "7", "date": "2026-09-01", "status": "present"},
        ),
        (
            1,
            "grades",
            {"Schüler": "7", "Fach": "M", "Note": "2", "Datum": "1.9.2026"},
            {
                "district_id": "7", "course_id": "M", "grade_letter": "2", "submission_date": "2026-09-01",
                "grade_value": "85",
            },
        ),
    ],
)  # fmt: skip
def test_a_profile_of_the_page_does_what_it_is_for(
    tmp_path: Path, example: int, table: str, theirs: dict[str, str], ours: dict[str, str]
) -> None:
    (tmp_path / "edupulse.toml").write_text(EXAMPLES[example], encoding="utf-8")
    (tenant,) = load_settings(home=tmp_path).tenants.values()
    check_header(list(theirs), table, tenant.profile)
    row = pa.Table.from_pylist([{LINE_NUMBER: 2, PROBLEM: None, FIELDS: None, **theirs}], archive_schema(list(theirs)))
    made, reasons, _ = apply_profile(row, table, tenant.profile)
    assert reasons == {}
    assert made.drop_columns([LINE_NUMBER, PROBLEM, FIELDS]).to_pylist() == [ours]


def test_columns_and_codes_are_all_there() -> None:
    text = page()
    for contract in DELIVERED.values():
        for name in contract.column_names:
            assert re.search(rf"^\| (\*\*)?{name}(\*\*)? \|", text, re.MULTILINE) or f"`{name}`" in text
    assert [code for code in REASONS if f"| `{REASONS[code].spelling}` |" not in text] == []
