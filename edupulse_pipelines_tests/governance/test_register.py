"""The register names every table and column that can hold a student, and the page says of each place what it says."""

from __future__ import annotations

from pathlib import Path

from edupulse_pipelines.governance.register import BY_CONTENT, PLACES, STORED_TABLES, WITHOUT_STUDENTS
from edupulse_pipelines.schema.tables import TABLES

PAGE = Path(__file__).parents[2] / "docs" / "privacy.md"


def test_every_table_has_its_place_or_holds_no_student() -> None:
    placed = [table for place in PLACES for table in place.tables]
    assert len(placed) == len(set(placed))
    assert {*placed, *WITHOUT_STUDENTS} == set(TABLES)
    assert {*STORED_TABLES, *BY_CONTENT} == set(placed)
    assert not set(placed) & set(WITHOUT_STUDENTS)


def test_a_table_without_students_declares_no_column_of_one() -> None:
    declared = {
        name: [column.name for column in TABLES[name].columns if column.pii != "none" or column.name == "student_id"]
        for name in WITHOUT_STUDENTS
    }
    assert {name: columns for name, columns in declared.items() if columns} == {}


def test_the_page_says_word_for_word_what_the_register_says() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for place in PLACES:
        assert f"| {place.name} | {place.holds} | {place.inspected} | {place.erased} |" in page, place.name
