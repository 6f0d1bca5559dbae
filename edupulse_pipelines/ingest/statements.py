"""What rows of students say of entry and exit, and the enrolments that follow from all they ever said. Pure functions.

A student's enrolments are a function of the set of statements, each with the dates of its oldest and newest delivery,
so that the order in which deliveries are loaded has no say:

- Each entry date that was ever said is an enrolment of its own; none overwrites another.
- An exit ends the enrolment that holds it: the one with the latest entry up to it. For each enrolment the newest
  statement that spoke of it counts; the same entry with an empty exit opens it again.
- Where deliveries named no entry before the first one that did, there is an assumed enrolment: it begins with the
  student's first recorded event, or with the first delivery if that was earlier.

How statements and enrolments are stored is in `student_enrolments`; which enrolments have an effect, and that each ends
at the latest where the next one begins, is decided when they are read (`features.enrolment`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping
from dataclasses import dataclass

NOT_SAID = "?"
"""Stands for an exit, or an exit type, of which the file has no column."""


@dataclass(frozen=True)
class Statement:
    """One distinct statement about a student, with the dates of the oldest and the newest delivery that made it.

    said: `entry/exit/exit type` as `enrollment_statements` has it.
    """

    said: str
    first: dt.date
    newest: dt.date

    @property
    def entry(self) -> dt.date | None:
        """The first day of enrolment; None when it was not said."""
        text = self.said.split("/")[0]
        return dt.date.fromisoformat(text) if text else None

    @property
    def speaks_of_exit(self) -> bool:
        """Whether the file had a column for the exit."""
        return self.said.split("/")[1] != NOT_SAID

    @property
    def exit(self) -> dt.date | None:
        """The day of the exit; None when there is none, or nothing was said of it."""
        text = self.said.split("/")[1]
        return None if text in ("", NOT_SAID) else dt.date.fromisoformat(text)

    @property
    def exit_type(self) -> str:
        """Why the student left; empty when the district does not know, `NOT_SAID` when nothing was said of it."""
        return self.said.split("/")[2]


@dataclass(frozen=True)
class Said:
    """An enrolment that follows from statements, as `enrollments` has it; `origin` is `student` or `assumed`."""

    origin: str
    entry: dt.date
    exit: dt.date | None
    exit_type: str | None
    first_delivered_on: dt.date
    delivered_on: dt.date


def may_be_assumed(statements: Collection[Statement], without: Collection[dt.date] = ()) -> bool:
    """Whether deliveries named no entry before the first one that named one; `without`: entries taken back."""
    silent = min((statement.first for statement in statements if statement.entry is None), default=None)
    said = [
        statement.first for statement in statements if statement.entry is not None and statement.entry not in without
    ]
    return not said or (silent is not None and silent < min(said))


def stay_taken_back(statements: Collection[Statement], taken_back: Mapping[dt.date, dt.date]) -> set[dt.date]:
    """Those of the entries taken back (by entry the day) that no delivery has said since."""
    return {
        entry
        for entry, day in taken_back.items()
        if all(statement.newest < day for statement in statements if statement.entry == entry)
    }


def said_enrolments(
    statements: Collection[Statement], taken_back: Mapping[dt.date, dt.date], first_event: dt.date | None
) -> list[Said]:
    """The enrolments of one student, by entry; those that stay taken back are not among them.

    taken_back: by entry the day on which it was taken back. first_event: of an assumed enrolment.
    """
    gone = stay_taken_back(statements, taken_back)
    entries = sorted({statement.entry for statement in statements if statement.entry is not None} - gone)
    first = min(statement.first for statement in statements)
    assumed = None
    if may_be_assumed(statements, gone):
        assumed = first if first_event is None else min(first_event, first)
        while assumed in gone:  # the row that remembers it has that day
            assumed += dt.timedelta(days=1)
    # An entry that is no later than the assumed one takes its place.
    holders = entries if assumed is None or (entries and entries[0] <= assumed) else [assumed, *entries]
    spoken = _by_holder(statements, holders)
    found = []
    for holder in sorted({*holders, *([] if assumed is None else [assumed])}):
        is_assumed = holder not in entries
        exit_, exit_type, delivered_on = _outcome(statements, spoken.get(holder, []))
        begun = min(
            (statement.first for statement in statements if statement.entry == holder or is_assumed), default=first
        )
        found.append(
            Said(
                "assumed" if is_assumed else "student",
                holder,
                exit_,
                exit_type,
                begun,
                begun if delivered_on is None else delivered_on,
            )
        )
    return found


def _by_holder(statements: Collection[Statement], holders: list[dt.date]) -> dict[dt.date, list[Statement]]:
    """For each enrolment (by entry) the statements that spoke of its end."""
    spoken: dict[dt.date, list[Statement]] = {}
    first_said: dict[dt.date, dt.date] = {}
    for statement in statements:
        if statement.entry is not None:
            first_said[statement.entry] = min(statement.first, first_said.get(statement.entry, statement.first))
    for statement in statements:
        if not statement.speaks_of_exit:
            continue
        if statement.exit is not None:
            holder = _holder(holders, statement.exit)
        elif statement.entry is None:  # of an enrolment that was known by then
            known = [entry for entry in holders if first_said.get(entry, dt.date.min) <= statement.newest]
            holder = _holder(known or holders, statement.newest)
        elif statement.entry in holders:
            holder = statement.entry
        else:
            continue  # an entry that was taken back
        spoken.setdefault(holder, []).append(statement)
        # Who says an entry and an exit before it says as well that this entry has no end.
        if statement.exit is not None and statement.entry in holders and statement.exit < statement.entry != holder:
            spoken.setdefault(statement.entry, []).append(Statement(f"{statement.entry}//", *_days(statement)))
    return spoken


def _days(statement: Statement) -> tuple[dt.date, dt.date]:
    return statement.first, statement.newest


def _holder(holders: list[dt.date], day: dt.date) -> dt.date:
    """The latest of the entries up to the day; the earliest one when all are later."""
    return max((entry for entry in holders if entry <= day), default=holders[0])


def _outcome(
    statements: Collection[Statement], spoken: list[Statement]
) -> tuple[dt.date | None, str | None, dt.date | None]:
    """Exit and exit type by the newest of the statements, and the oldest delivery that said so."""
    if not spoken:
        return None, None, None
    newest = max(spoken, key=lambda statement: (statement.newest, statement.said))
    exit_type = newest.exit_type
    if exit_type == NOT_SAID:  # an exit that another delivery gave a reason for
        told = [one for one in statements if one.exit == newest.exit and one.exit_type != NOT_SAID]
        exit_type = max(told, key=lambda one: (one.newest, one.said)).exit_type if told else ""
    return newest.exit, (exit_type or None) if newest.exit is not None else None, newest.first
