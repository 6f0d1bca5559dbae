"""OneRoster CSV bundles (1.1, 1.2.0, 1.2.1) as records: `students` and `grades`. Attendance and incidents it has none.

Values become canonical where the standard says what they mean; what only the district can map (grade levels beside KG
and 01 to 12, a scoreStatus of its own) stays as it is, and the profile maps it or validation quarantines the row.
Nothing is validated or stored here, and nothing is dropped without being counted in `left_out`.

Mapping (column names as in the 1EdTech CSV binding):

- `students`: users with the role student, in roles.csv (1.2) or in users.csv (1.1), in the order of users.csv. The
  number is `identifier`, else `sourcedId`. Where two students have the same number both rows stay as they are, to be
  quarantined, and their results name them by `sourcedId`, which no student has: nothing is attributed by a guess.
- enrolment is that of the student role (1.1: of the enrollments as a student): from the earliest beginDate to the last
  endDate, which is exclusive as our `exit_date`; while one of them is open there is no exit. OneRoster has no reason
  of leaving: the exit type is `other` once the date has come.
- `grades`: results, by way of lineItems, classes, courses and categories. The grade is the score's place between
  resultValueMin and -Max, in percent. Results that are exempt, not submitted, submitted or graded in part are no
  grades, and no zeros, whatever score they carry.
- bulk: what is not listed no longer exists (`snapshot`). Delta: `tobedeleted` takes a record back.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, cast

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from edupulse_pipelines.schema.delivery import DELETED
from edupulse_pipelines.schema.expectations import TYPE_PATTERNS
from edupulse_pipelines.schema.source_formats import ONEROSTER
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.sources.oneroster_csv import (
    BULK,
    DELTA,
    SOURCED_ID,
    STATUS,
    Bundle,
    Files,
    Places,
    folded,
    taken,
    to_be_deleted,
)
from edupulse_pipelines.sources.records import FIELDS, LINE_NUMBER, PROBLEM, RecordSource, RefusedFile, archive_schema

MAIN_FILES = {"students": "users.csv", "grades": "results.csv"}
"""The file whose rows, and lines, are a table's records."""

_STUDENT = "student"
_GRADE_LEVELS = {"kg": "0"} | {text: str(level) for level in range(1, 13) for text in (str(level), f"{level:02}")}
_NO_SEX = ("unspecified",)
_RACES = {
    "americanIndianOrAlaskaNative": "American Indian or Alaska Native",
    "asian": "Asian",
    "blackOrAfricanAmerican": "Black or African American",
    "nativeHawaiianOrOtherPacificIslander": "Native Hawaiian or Other Pacific Islander",
    "white": "White",
}
_SEVERAL_RACES = "demographicRaceTwoOrMoreRaces"
_HISPANIC = "hispanicOrLatinoEthnicity"
_METADATA = {
    "sourcedId": SOURCED_ID,
    "middle_name": "middleName",
    "preferred_first_name": "preferredGivenName",
    "preferred_middle_name": "preferredMiddleName",
    "preferred_last_name": "preferredFamilyName",
    "pronouns": "pronouns",
}
"""Facts of `student_metadata` and the column of users.csv they come from; beside school, enabledUser and race."""

_TRUE = "true"
_GRADED = "fully graded"
_NOT_GRADED = ("exempt", "not submitted", "submitted", "partially graded")
_NO_STATUS = "no scoreStatus"
_NUMBER = TYPE_PATTERNS["number"].replace(r"\Z", r"\z")  # as Arrow's regular expressions spell it
_DIGITS = 10  # decimals of a computed percentage
_NOTHING = pa.scalar(None, pa.string())


def open_bundle(
    files: Files,
    table: str,
    tenant: TenantSettings,
    delivered_on: dt.date | None = None,
    earlier: Sequence[Files] = (),
) -> RecordSource:
    """The records that a bundle has for `table` (`students` or `grades`); `files` by base name.

    `delivered_on` tells an exit that has come from one that is announced. `earlier`: the bundles delivered before,
    oldest first, in which a delta's rows find what has not changed; without them they may not find their student.
    RefusedFile `missing_file`, `missing_column`, `duplicate_column` and what reading CSV raises, with file and column.
    """
    bundle = Bundle(files, earlier)
    return cast(RecordSource, {"students": _Students, "grades": _Grades}[table](bundle, tenant, delivered_on))


class _Source:
    """A table's records out of the bundle; the subclasses convert batches of rows of the main file.

    Beyond RecordSource: `snapshot`, whether a record that is not among the rows no longer exists; and `notes`, what was
    done to rows that are there, by kind.
    """

    table: ClassVar[str]
    reads: ClassVar[tuple[str, ...]]
    """The columns of the main file that are used where it has them."""

    def __init__(self, bundle: Bundle, tenant: TenantSettings, delivered_on: dt.date | None) -> None:
        self._bundle = bundle
        self._profile = tenant.profile
        self._delivered_on = delivered_on
        self._main = bundle.needed(MAIN_FILES[self.table], SOURCED_ID)
        mode = bundle.mode(self._main.name)
        self._delta = mode == DELTA
        # Without a manifest only the rows can tell, by their status.
        self._takes_back = mode != BULK and self._main.has(STATUS)
        self.snapshot = mode == BULK
        self.header: list[str] = []
        self.source_format = ONEROSTER.named(f" {bundle.version}")
        self.unknown_columns: list[str] = []
        self.left_out: dict[str, int] = {}
        self.notes: dict[str, int] = {}
        self.instructional_days: list[dt.date] = []

    def batches(self) -> Iterator[pa.Table]:
        """The rows in the order of the source, in tables of `archive_schema(header)`; to be iterated once."""
        self._prepare()
        for rows in self._main.rows([SOURCED_ID, STATUS, *self.reads]):
            records = self._converted(rows)
            if len(records):
                yield records

    def _converted(self, rows: pa.Table) -> pa.Table:
        deleted = to_be_deleted(rows[STATUS])
        if not self._takes_back:
            # Of a bulk file such an object is simply not on the list.
            rows = self._without(rows, deleted, "to_be_deleted")
            deleted = pa.chunked_array([np.zeros(len(rows), dtype=bool)])
        rows, deleted = self._records(rows, deleted)
        if not len(rows):
            return archive_schema(self.header).empty_table()
        columns = self._columns(rows, deleted)
        if self._takes_back:
            columns[DELETED] = pc.if_else(deleted, _TRUE, _NOTHING)
        # A row that could not be read has no fields, only its problem.
        readable = rows[PROBLEM].is_null()
        return pa.Table.from_arrays(
            [
                *(rows[name] for name in (LINE_NUMBER, PROBLEM, FIELDS)),
                *(pc.if_else(readable, columns[name], _NOTHING) for name in self.header),
            ],
            schema=archive_schema(self.header),
        )

    def _prepare(self) -> None:
        """Read what the main file refers to."""
        raise NotImplementedError

    def _records(self, rows: pa.Table, deleted: pa.ChunkedArray) -> tuple[pa.Table, pa.ChunkedArray]:
        """The rows that are records, and which of them take theirs back; the others are counted as left out."""
        raise NotImplementedError

    def _columns(self, rows: pa.Table, deleted: pa.ChunkedArray) -> dict[str, Any]:
        """The canonical columns of the rows."""
        raise NotImplementedError

    def _without(self, rows: pa.Table, mask: pa.ChunkedArray, reason: str) -> pa.Table:
        """The rows but for those of the mask, which are counted as left out."""
        if count := pc.sum(mask).as_py():
            self.left_out[reason] = self.left_out.get(reason, 0) + count
            return rows.filter(pc.invert(mask))
        return rows


class _Roster:
    """Who is a student: by roles.csv (1.2), or by the role that users.csv gives (1.1)."""

    def __init__(self, bundle: Bundle, *, needed: bool) -> None:
        self._bundle = bundle
        self.by_roles = bundle.has("roles.csv", "userSourcedId", "role")
        bundle.has("users.csv", SOURCED_ID, needed=needed)
        users = bundle.file("users.csv")
        if users is not None and not self.by_roles and not users.has("role"):
            raise RefusedFile(
                "missing_file", "roles.csv is missing, and users.csv has no column role: who is a student is not said"
            )

    def roles(self) -> pa.Table:
        """The roles as a student: userSourcedId, beginDate, endDate. Of 1.1 the enrollments as one."""
        name = "roles.csv" if self.by_roles else "enrollments.csv"
        rows = self._bundle.listed(name, ["userSourcedId", "role", "beginDate", "endDate"])
        return rows.filter(_equals(rows["role"], _STUDENT))

    def students(self, users: pa.Table) -> pa.Table:
        """The users who are students, of a list with `role`."""
        if self.by_roles:
            return users.filter(_among(users[SOURCED_ID], self.roles()["userSourcedId"]))
        return users.filter(_equals(users["role"], _STUDENT))


class _Students(_Source):
    """Users who are students, in the order of users.csv, with their demographics, enrolment and a parent's contact."""

    table = "students"
    reads = (
        "role", "identifier", "givenName", "familyName", "grades", "enabledUser", "agentSourcedIds",
        "primaryOrgSourcedId", "orgSourcedIds", *list(_METADATA.values())[1:],
    )  # fmt: skip

    def __init__(self, bundle: Bundle, tenant: TenantSettings, delivered_on: dt.date | None) -> None:
        super().__init__(bundle, tenant, delivered_on)
        self._main.require("givenName", "familyName")
        self._roster = _Roster(bundle, needed=True)
        has_demographics = bundle.has("demographics.csv", SOURCED_ID)
        has_enrollment = self._roster.by_roles or bundle.has("enrollments.csv", "userSourcedId", "role")
        # A column that nothing in the bundle fills is absent, so that stored values stay; a date of birth is required.
        self.header = [
            *("district_id", "first_name", "last_name", "grade_level", "date_of_birth"),
            *(("gender", "ethnicity") if has_demographics else ()),
            *(("parent_contact",) if self._main.has("agentSourcedIds") else ()),
            *(("enrollment_date", "exit_date", "exit_type") if has_enrollment else ()),
            "student_metadata",
            *((DELETED,) if self._takes_back else ()),
        ]

    def _prepare(self) -> None:
        roles = self._roster.roles()
        self._students = pc.unique(roles["userSourcedId"]) if self._roster.by_roles else None
        self._former, self._changed = self._changes()
        # A row that takes a user back may give no more than the sourcedId.
        self._before = self._bundle.listed("users.csv", ["identifier", "role"], before=True)
        self._known_before = Places(self._before[SOURCED_ID])
        # Aggregated: one row per student.
        ends = roles.group_by("userSourcedId").aggregate(
            [("beginDate", "min"), ("endDate", "max"), ("endDate", "count"), ([], "count_all")]
        )
        self._enrolled = Places(ends["userSourcedId"])
        self._begin = ends["beginDate_min"]
        self._end = pc.if_else(pc.equal(ends["endDate_count"], ends["count_all"]), ends["endDate_max"], _NOTHING)
        self._demographics = self._bundle.listed(
            "demographics.csv", ["birthDate", "sex", _HISPANIC, _SEVERAL_RACES, *_RACES]
        )
        self._described = Places(self._demographics[SOURCED_ID])
        users = self._bundle.listed("users.csv", ["email", "phone", "sms"])
        contact = pc.coalesce(users["email"], users["phone"], users["sms"])
        users = users.set_column(1, "email", contact).filter(contact.is_valid())
        self._reachable, self._contact = Places(users[SOURCED_ID]), users["email"]

    def batches(self) -> Iterator[pa.Table]:
        """The rows in the order of users.csv; see RecordSource."""
        yield from super().batches()
        if self._changed is not None and (count := len(self._changed)):
            self.left_out["change_of_a_user_not_in_the_delta"] = count

    def _changes(self) -> tuple[pa.Array, pa.Array | None]:
        """Of a delta: who had the role of a student taken back here, and whom its other files speak of."""
        nobody = pa.array([], pa.string())
        roles = self._bundle.file("roles.csv")
        if not self._delta:
            return nobody, None
        changed: list[pa.ChunkedArray] = []
        former = nobody
        if roles is not None and self._bundle.mode("roles.csv") == DELTA:
            rows = roles.all_rows(["userSourcedId", "role", STATUS])
            rows = rows.filter(_equals(rows["role"], _STUDENT))
            changed.append(rows["userSourcedId"])
            former = pc.unique(rows.filter(to_be_deleted(rows[STATUS]))["userSourcedId"])
        demographics = self._bundle.file("demographics.csv")
        if demographics is not None and self._bundle.mode("demographics.csv") == DELTA:
            changed.append(demographics.all_rows([SOURCED_ID])[SOURCED_ID])
        users = pc.unique(pa.chunked_array([c for column in changed for c in column.chunks], pa.string()))
        return former, users.filter(users.is_valid())

    def _records(self, rows: pa.Table, deleted: pa.ChunkedArray) -> tuple[pa.Table, pa.ChunkedArray]:
        ids, unreadable = rows[SOURCED_ID], rows[PROBLEM].is_valid()
        before = self._known_before.of(ids)
        for name in ("identifier", "role"):
            values = pc.if_else(deleted, pc.coalesce(rows[name], taken(self._before[name], before)), rows[name])
            rows = rows.set_column(rows.column_names.index(name), name, values)
        if self._changed is not None:
            self._changed = self._changed.filter(pc.invert(_among(self._changed, ids)))
        if self._students is None:
            student = _equals(rows["role"], _STUDENT)
            unclear = pc.and_(deleted, rows["role"].is_null())
        else:
            student = _among(ids, self._students)
            # Whoever was a student until this delta is one who is taken back.
            left = pc.and_(_among(ids, self._former), pc.invert(student))
            unclear = pc.and_(deleted, pc.invert(pc.or_(student, left)))
            student, deleted = pc.or_(student, left), pc.or_(deleted, left)
        unclear = pc.and_(unclear, pc.invert(unreadable))
        kept = pc.or_(pc.or_(student, unreadable), unclear)
        rows = self._without(rows, pc.invert(kept), "not_a_student")
        unclear, deleted = unclear.filter(kept), deleted.filter(kept)
        return self._without(rows, unclear, "deleted_user_of_unknown_role"), deleted.filter(pc.invert(unclear))

    def _columns(self, rows: pa.Table, deleted: pa.ChunkedArray) -> dict[str, Any]:
        ids = rows[SOURCED_ID]
        enrolled, described = self._enrolled.of(ids), self._described.of(ids)
        facts = {name: taken(self._demographics[name], described) for name in self._demographics.column_names}
        flags = {name: _equals(facts[name], _TRUE).to_numpy(zero_copy_only=False) for name in (*_RACES, _HISPANIC)}
        several = _equals(facts[_SEVERAL_RACES], _TRUE).to_numpy(zero_copy_only=False)
        sex = folded(facts["sex"])
        end = taken(self._end, enrolled)
        today = pa.scalar(None if self._delivered_on is None else self._delivered_on.isoformat(), pa.string())
        return {
            "district_id": pc.coalesce(rows["identifier"], ids),
            "first_name": rows["givenName"],
            "last_name": rows["familyName"],
            "grade_level": _mapped(rows["grades"], _grade_level),
            "date_of_birth": facts["birthDate"],
            "gender": pc.if_else(_among(sex, pa.array(_NO_SEX)), _NOTHING, sex),
            "ethnicity": _ethnicity(flags, several),
            "parent_contact": self._parent_contact(rows["agentSourcedIds"]),
            "enrollment_date": taken(self._begin, enrolled),
            "exit_date": end,
            "exit_type": pc.if_else(pc.less_equal(end, today), "other", _NOTHING),
            "student_metadata": self._metadata(rows, flags),
        }

    def _parent_contact(self, agents: pa.ChunkedArray) -> pa.Array:
        """The first of each student's agents who can be reached: by e-mail, else by phone."""
        lists = pc.split_pattern(agents, ",").combine_chunks()
        names = pc.utf8_trim_whitespace(lists.flatten())
        contacts = taken(self._contact, self._reachable.of(pa.chunked_array([names])))
        reachable = np.flatnonzero(contacts.is_valid().to_numpy(zero_copy_only=False))
        whose, first = np.unique(
            pc.list_parent_indices(lists).to_numpy(zero_copy_only=False)[reachable], return_index=True
        )
        places = np.full(len(agents), -1, dtype=np.int64)
        places[whose] = reachable[first]
        return taken(contacts, places)

    def _metadata(self, rows: pa.Table, flags: dict[str, np.ndarray]) -> pa.Array:
        """The rest of what is known, as JSON."""
        columns = [rows[name].to_pylist() for name in _METADATA.values()]
        schools = pc.coalesce(rows["primaryOrgSourcedId"], rows["orgSourcedIds"]).to_pylist()
        enabled = rows["enabledUser"].to_pylist()
        hispanic = flags[_HISPANIC].tolist()
        races = list(zip(*(flags[name].tolist() for name in _RACES), strict=True))
        texts = []
        for row, values in enumerate(zip(*columns, strict=True)):
            facts: dict[str, object] = {name: value for name, value in zip(_METADATA, values, strict=True) if value}
            if schools[row]:
                facts["school"] = _first(schools[row])
            if enabled[row]:
                facts["enabled"] = {"true": True, "false": False}.get(enabled[row].lower(), enabled[row])
            if hispanic[row]:
                facts["hispanic"] = True
            if any(races[row]):
                facts["races"] = [name for name, flag in zip(_RACES, races[row], strict=True) if flag]
            texts.append(orjson.dumps(facts).decode())
        return pa.array(texts, pa.string())


class _Grades(_Source):
    """Results that are graded, in the order of results.csv, which is streamed; the lists it refers to are in memory."""

    table = "grades"
    reads = ("lineItemSourcedId", "studentSourcedId", "scoreStatus", "score", "scoreDate", "textScore")

    def __init__(self, bundle: Bundle, tenant: TenantSettings, delivered_on: dt.date | None) -> None:
        super().__init__(bundle, tenant, delivered_on)
        self._main.require("lineItemSourcedId", "studentSourcedId", "scoreStatus", "score", "scoreDate")
        needed = not self._delta
        self._roster = _Roster(bundle, needed=needed)
        bundle.has("lineItems.csv", SOURCED_ID, "classSourcedId", "resultValueMin", "resultValueMax", needed=needed)
        bundle.has("classes.csv", SOURCED_ID, "courseSourcedId", needed=needed)
        bundle.has("courses.csv", SOURCED_ID, "title", needed=needed)
        has_categories = bundle.has("categories.csv", SOURCED_ID, "title")
        self.header = [
            *("district_id", "source_record_id", "course_id", "course_name", "grade_value"),
            *(("grade_letter",) if self._main.has("textScore") else ()),  # since 1.2
            "submission_date",
            *(("assignment_type",) if has_categories else ()),
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
            "lineItems.csv", ["classSourcedId", "categorySourcedId", "resultValueMin", "resultValueMax"]
        )
        self._line_items = Places(lines[SOURCED_ID])
        course_of_class = Places(courses[SOURCED_ID]).of(classes["courseSourcedId"])
        self._course = _picked(course_of_class, Places(classes[SOURCED_ID]).of(lines["classSourcedId"]))
        self._category = Places(categories[SOURCED_ID]).of(lines["categorySourcedId"])
        self._scale = (lines["resultValueMin"], lines["resultValueMax"])
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
            "submission_date": rows["scoreDate"],
            "assignment_type": taken(self._categories, _picked(self._category, line)),
        }

    def _grade_value(self, rows: pa.Table, line: np.ndarray, deleted: pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
        """The score in percent of its scale; where there is none a text that is no number, for validation to see."""
        score = rows["score"]
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
        return pc.if_else(deleted, _NOTHING, grades)


def _equals(texts: pa.Array | pa.ChunkedArray, code: str) -> pa.Array | pa.ChunkedArray:
    return pc.fill_null(pc.equal(folded(texts), code), False)


def _among(values: pa.Array | pa.ChunkedArray, value_set: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    if isinstance(value_set, pa.ChunkedArray):
        value_set = value_set.combine_chunks()
    return pc.is_in(values, value_set=value_set, skip_nulls=True)


def _picked(values: np.ndarray, places: np.ndarray, nothing: float = -1) -> np.ndarray:
    """The values at the places; `nothing` for place -1."""
    return np.append(values, nothing).astype(values.dtype)[places]


def _number(texts: pa.ChunkedArray, empty: float) -> np.ndarray:
    """Texts as numbers: `empty` where there is none, NaN where it is not written as one."""
    written = pc.match_substring_regex(texts, _NUMBER)
    numbers = pc.cast(pc.if_else(written, pc.utf8_ltrim(texts, "+"), _NOTHING), pa.float64())
    values = pc.fill_null(numbers, np.nan).to_numpy().copy()
    values[texts.is_null().to_numpy()] = empty
    return values


def _mapped(texts: pa.ChunkedArray, rule: Any) -> pa.Array:
    """A rule applied to each distinct text."""
    encoded = pc.dictionary_encode(texts).unify_dictionaries().combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.chunk(0)
    return pa.array([rule(text) for text in encoded.dictionary.to_pylist()], pa.string()).take(encoded.indices)


def _first(listed: str) -> str:
    """The first entry of a list in one field."""
    return next((entry.strip() for entry in listed.split(",") if entry.strip()), "")


def _grade_level(grades: str) -> str | None:
    level = _first(grades)
    return _GRADE_LEVELS.get(level.lower(), level) or None


def _ethnicity(flags: dict[str, np.ndarray], several: np.ndarray) -> pa.Array:
    """Hispanic before all, then two or more races, then the one."""
    races = np.vstack([flags[name] for name in _RACES])
    words = [*_RACES.values(), "Two or more", "Hispanic"]
    chosen = np.where(races.any(axis=0), races.argmax(axis=0), -1)
    chosen[several | (races.sum(axis=0) > 1)] = len(words) - 2
    chosen[flags[_HISPANIC]] = len(words) - 1
    return taken(pa.array(words), chosen)
