"""The grades of a OneRoster bundle: results, by way of line items, classes, courses and categories.

The mapping is told in `oneroster`.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from edupulse_pipelines.schema.delivery import DELETED
from edupulse_pipelines.schema.expectations import TYPE_PATTERNS
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.sources.oneroster_csv import SOURCED_ID, Bundle, Places, folded, taken
from edupulse_pipelines.sources.oneroster_source import NOTHING, BundleSource, Roster

_GRADED = "fully graded"
_NOT_GRADED = ("exempt", "not submitted", "submitted", "partially graded")
_NO_STATUS = "no scoreStatus"
_NUMBER = TYPE_PATTERNS["number"].replace(r"\Z", r"\z")  # as Arrow's regular expressions spell it
_DIGITS = 10  # decimals of a computed percentage


class OneRosterGrades(BundleSource):
    """Results that are graded, in the order of results.csv, which is streamed; the lists it refers to are in memory."""

    table = "grades"
    main_file = "results.csv"
    reads = ("lineItemSourcedId", "studentSourcedId", "scoreStatus", "score", "scoreDate", "textScore")

    def __init__(self, bundle: Bundle, tenant: TenantSettings, delivered_on: dt.date | None) -> None:
        super().__init__(bundle, tenant, delivered_on)
        self._main.require("lineItemSourcedId", "studentSourcedId", "scoreStatus", "score", "scoreDate")
        needed = not self._delta
        self._roster = Roster(bundle, needed=needed)
        bundle.has("lineItems.csv", SOURCED_ID, "classSourcedId", "resultValueMin", "resultValueMax", needed=needed)
        bundle.has("classes.csv", SOURCED_ID, "courseSourcedId", needed=needed)
        bundle.has("courses.csv", SOURCED_ID, "title", needed=needed)
        has_categories = bundle.has("categories.csv", SOURCED_ID, "title")
        self.header = [
            *("district_id", "source_record_id", "course_id", "course_name", "grade_value"),
            *(("grade_letter",) if self._main.has("textScore") else ()),  # since 1.2
            "submission_date",
            *(("assignment_type",) if has_categories else ()),
            "assignment_id",
            "due_date",
            *((DELETED,) if self._takes_back else ()),
        ]

    def _prepare(self) -> None:
        users = self._roster.students(self._bundle.listed("users.csv", ["identifier", "role"]))
        number = pc.coalesce(users["identifier"], users[SOURCED_ID])
        # Nobody can say which of several students with one number a result is about.
        ambiguous = number.to_pandas().duplicated(keep=False).to_numpy()
        self._numbers = pc.if_else(pa.array(ambiguous), users[SOURCED_ID], number)
        self._students = Places(users[SOURCED_ID])
        courses = self._bundle.listed("courses.csv", ["courseCode", "title"])
        self._course_ids, self._course_names = pc.coalesce(courses["courseCode"], courses[SOURCED_ID]), courses["title"]
        classes = self._bundle.listed("classes.csv", ["courseSourcedId"])
        categories = self._bundle.listed("categories.csv", ["title"])
        self._categories = categories["title"]
        lines = self._bundle.listed(
            "lineItems.csv", ["classSourcedId", "categorySourcedId", "dueDate", "resultValueMin", "resultValueMax"]
        )
        self._line_items, self._due = Places(lines[SOURCED_ID]), lines["dueDate"]
        course_of_class = Places(courses[SOURCED_ID]).of(classes["courseSourcedId"])
        self._course = _picked(course_of_class, Places(classes[SOURCED_ID]).of(lines["classSourcedId"]))
        self._category = Places(categories[SOURCED_ID]).of(lines["categorySourcedId"])
        self._scale = (self._with_points(lines["resultValueMin"]), self._with_points(lines["resultValueMax"]))
        self._lowest, self._highest = _number(self._scale[0], 0.0), _number(self._scale[1], 100.0)

    def _records(self, rows: pa.Table, deleted: pa.ChunkedArray) -> tuple[pa.Table, pa.ChunkedArray]:
        status = folded(rows["scoreStatus"])
        for name in _NOT_GRADED:
            # A result that is taken back needs no grade.
            these = pc.and_(pc.fill_null(pc.equal(status, name), False), pc.invert(deleted))
            rows = self._without(rows, these, name.replace(" ", "_"))
            status, deleted = status.filter(pc.invert(these)), deleted.filter(pc.invert(these))
        return rows, deleted

    def _columns(self, rows: pa.Table, deleted: pa.ChunkedArray) -> dict[str, Any]:
        line = self._line_items.of(rows["lineItemSourcedId"])
        course = _picked(self._course, line)
        number = taken(self._numbers, self._students.of(rows["studentSourcedId"]))
        return {
            "district_id": pc.coalesce(number, rows["studentSourcedId"]),
            "source_record_id": rows[SOURCED_ID],
            "course_id": taken(self._course_ids, course),
            "course_name": taken(self._course_names, course),
            "grade_value": self._grade_value(rows, line, deleted),
            "grade_letter": rows["textScore"],
            "submission_date": self._days(rows["scoreDate"]),
            "assignment_type": taken(self._categories, _picked(self._category, line)),
            "assignment_id": rows["lineItemSourcedId"],
            "due_date": self._days(taken(self._due, line)),
        }

    def _grade_value(self, rows: pa.Table, line: np.ndarray, deleted: pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
        """The score in percent of its scale; where there is none a text that is no number, for validation to see."""
        score = self._with_points(rows["score"])
        lowest, highest = _picked(self._lowest, line, np.nan), _picked(self._highest, line, np.nan)
        value = _number(score, np.nan)
        with np.errstate(all="ignore"):
            percent = 100 * (value - lowest) / (highest - lowest)
        scaled = np.isfinite(percent) & (highest > lowest)
        above = scaled & (percent > 100)
        if self._profile.extra_credit == "cap" and above.any():
            percent[above] = 100
            self.notes["capped_at_100"] = self.notes.get("capped_at_100", 0) + int(above.sum())
        text = pc.cast(pc.round(pa.array(np.where(scaled, percent, 0)), _DIGITS), pa.string())
        # A score that is in percent already keeps its spelling.
        as_it_is = (lowest == 0) & (highest == 100) & ~(above & (percent <= 100))
        grades = pc.if_else(pa.array(scaled & ~as_it_is), text, score)
        # A number that no scale makes a percentage must not be taken for one.
        unscaled = np.isfinite(value) & (line >= 0) & ~scaled
        if unscaled.any():
            scale = [taken(column, line) for column in self._scale]
            words = pc.binary_join_element_wise(
                score, " on a scale of ", pc.fill_null(scale[0], "0"), " to ", pc.fill_null(scale[1], "100"), ""
            )
            grades = pc.if_else(pa.array(unscaled), words, grades)
        status = folded(rows["scoreStatus"])
        graded = pc.equal(status, _GRADED)
        grades = pc.if_else(pc.fill_null(graded, False), grades, pc.fill_null(rows["scoreStatus"], _NO_STATUS))
        return pc.if_else(deleted, NOTHING, grades)


def _picked(values: np.ndarray, places: np.ndarray, nothing: float = -1) -> np.ndarray:
    """The values at the places; `nothing` for place -1."""
    return np.append(values, nothing).astype(values.dtype)[places]


def _number(texts: pa.ChunkedArray, empty: float) -> np.ndarray:
    """Texts as numbers: `empty` where there is none, NaN where it is not written as one."""
    written = pc.match_substring_regex(texts, _NUMBER)
    numbers = pc.cast(pc.if_else(written, pc.utf8_ltrim(texts, "+"), NOTHING), pa.float64())
    values = pc.fill_null(numbers, np.nan).to_numpy().copy()
    values[texts.is_null().to_numpy()] = empty
    return values
