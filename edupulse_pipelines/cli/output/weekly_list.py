"""The list of a week on a terminal and as CSV. As a page to print it is in `risk.telling.list_page`."""

from __future__ import annotations

import csv
import io

from rich.console import Console, Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from edupulse_pipelines.cli.output.drawing import counted, day_in_words, printable
from edupulse_pipelines.ingest.spreadsheets import guarded
from edupulse_pipelines.risk.telling.list_page import counts_in_words, grade_in_words, percent
from edupulse_pipelines.risk.weekly_list import LISTED_CATEGORIES, NO_SCHOOL, ListedStudent, WeeklyList
from edupulse_pipelines.weeks import feature_date

CSV_COLUMNS = (
    "week",
    "school_id",
    "school",
    "grade_level",
    "district_id",
    "last_name",
    "first_name",
    "risk_category",
    "risk_score",
    "confidence",
    "reasons",
    "recommendations",
    "strengths",
    "model_version",
    "rescored",
    "rule_score",
)
"""The header of the CSV; `week` is its Monday. A row of the rule has its score, and before any outcome is known neither
probability nor confidence."""
_FILE_WIDTH = 100
_STYLES = {"critical": "bold red", "high": "bold", "medium": ""}


def list_as_csv(listed: WeeklyList) -> str:
    """The list after RFC 4180: a row a student, several reasons in one cell on lines of their own.

    What a spreadsheet would run as a formula has an apostrophe in front. What is not known is empty, and of a school
    that is not known the name says so.
    """
    text = io.StringIO()
    sheet = csv.writer(text, lineterminator="\r\n")
    sheet.writerow(CSV_COLUMNS)
    for student in listed.students:
        school = student.school
        sheet.writerow(
            map(
                guarded,
                (
                    listed.week.isoformat(),
                    "" if school is None else school.number,
                    NO_SCHOOL if school is None else school.name or "",
                    student.grade or "",
                    student.number,
                    student.last_name,
                    student.first_name,
                    student.category,
                    "" if student.score is None else f"{student.score:.6g}",
                    "" if student.confidence is None else f"{student.confidence:.6g}",
                    "\n".join(student.reasons),
                    "\n".join(student.recommendations),
                    "\n".join(student.strengths),
                    student.model_version,
                    "true" if student.rescored else "false",
                    "" if student.rule_score is None else f"{student.rule_score:.6g}",
                ),
            )
        )
    return text.getvalue()


def list_as_table(listed: WeeklyList) -> str:
    """The list as a terminal shows it, without colours."""
    text = io.StringIO()
    show_list(Console(file=text, width=_FILE_WIDTH, highlight=False), listed)
    return text.getvalue()


def show_list(on: Console, listed: WeeklyList) -> None:
    """The list: a table a school."""
    days = f"{day_in_words(listed.week)} to {day_in_words(feature_date(listed.week))}"
    on.print(f"[bold]{listed.tenant}[/]  week of {days}", soft_wrap=True)
    scored = counted(listed.scored, "scored student")
    if listed.students:
        on.print(
            f"  {len(listed.students):,} of {scored} at {LISTED_CATEGORIES[0]} risk or above: "
            f"{counts_in_words(listed.by_category)}",
            soft_wrap=True,
        )
    else:
        on.print(f"  Of {scored} none is at {LISTED_CATEGORIES[0]} risk or above.", soft_wrap=True)
    if listed.not_scored:
        on.print(
            f"  [dim]{listed.not_scored:,} more enrolled, not scored: little known yet, or a grade not scored[/]",
            soft_wrap=True,
        )
    if listed.without_probability:
        on.print(
            "  Made by the rule, without probabilities: no outcome to learn one from is known yet.", soft_wrap=True
        )
    elif listed.by_rule:
        on.print("  Made by the rule: no model that does better is there for this week.", soft_wrap=True)
    if listed.other_label:
        on.print("  [yellow]![/] A model scored that learned another label than the settings name now.", soft_wrap=True)
    if not listed.students:
        return
    on.print("  [yellow]![/] Student records: for your eyes, not for tickets, mails or logs.", soft_wrap=True)
    for school, there in listed.by_school:
        title = NO_SCHOOL if school is None else school.title
        number = f" ({school.number})" if school is not None and school.name else ""
        on.print()
        on.print(f"[bold]{escape(printable(title))}[/][dim]{escape(printable(number))}  {len(there):,}[/]")
        on.print(_table(there))
    if any(student.rescored for student in listed.students):
        on.print("[dim]* scored afterwards by a model that knows later weeks: hindsight[/]", soft_wrap=True)


def _table(there: list[ListedStudent]) -> Table:
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", expand=True, show_lines=False)
    made.add_column("Student", ratio=3)
    made.add_column("Grade", no_wrap=True)
    made.add_column("Risk", no_wrap=True)
    made.add_column("Reasons (•), what to do (→), strengths (+)", ratio=8)
    for student in there:
        name = f"{printable(student.last_name)}, {printable(student.first_name)}"
        score = ("" if student.score is None else percent(student.score)) + ("*" if student.rescored else "")
        made.add_row(
            Group(Text(name), Text(printable(student.number), style="dim")),
            escape(printable(grade_in_words(student.grade))),
            Group(Text(student.category, style=_STYLES.get(student.category, "")), Text(score)),
            _why(student),
        )
        made.add_row()
    return made


def _why(student: ListedStudent) -> Table:
    """Reasons, recommendations and strengths, each with its mark in front."""
    made = Table.grid(padding=(0, 1, 0, 0))
    for mark, texts, style in (
        ("•", student.reasons, ""),
        ("→", student.recommendations, ""),
        ("+", student.strengths, "dim"),
    ):
        for text in texts:
            made.add_row(mark, Text(printable(text)), style=style)
    if not made.row_count:
        made.add_row("•", "no reasons are stored", style="dim")
    return made
