"""The students of a OneRoster bundle: users, their demographics, enrolment and a parent's contact.

The mapping is told in `oneroster`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from edupulse_pipelines.schema.answers import answer
from edupulse_pipelines.schema.delivery import DELETED, GRADE_CODE
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.sources.grade_codes import grade_level
from edupulse_pipelines.sources.names import TWO_OR_MORE_RACES
from edupulse_pipelines.sources.oneroster_csv import (
    DELTA,
    SOURCED_ID,
    STATUS,
    Bundle,
    Places,
    folded,
    taken,
    to_be_deleted,
)
from edupulse_pipelines.sources.oneroster_source import NOTHING, STUDENT, BundleSource, Roster, among, equals, mapped
from edupulse_pipelines.sources.records import PROBLEM

_KIN = ("parent", "guardian", "relative")
"""The roles of those whose address is a student's `parent_contact`; an agent may also be a teacher or a counselor."""
_INACTIVE = "inactive"
_NO_SEX = ("unspecified",)
_RACES = {
    "americanIndianOrAlaskaNative": "American Indian or Alaska Native",
    "asian": "Asian",
    "blackOrAfricanAmerican": "Black or African American",
    "nativeHawaiianOrOtherPacificIslander": "Native Hawaiian or Other Pacific Islander",
    "white": "White",
}
_DATE = r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}\z"
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


class OneRosterStudents(BundleSource):
    """Users who are students, in the order of users.csv, with their demographics, enrolment and a parent's contact."""

    table = "students"
    main_file = "users.csv"
    reads = (
        "role", "identifier", "givenName", "familyName", "grades", "enabledUser", "agentSourcedIds",
        "primaryOrgSourcedId", "orgSourcedIds", "dateLastModified", *list(_METADATA.values())[1:],
    )  # fmt: skip

    def __init__(self, bundle: Bundle, tenant: TenantSettings, delivered_on: dt.date | None) -> None:
        super().__init__(bundle, tenant, delivered_on)
        self._main.require("givenName", "familyName")
        self._roster = Roster(bundle, needed=True)
        has_demographics = bundle.has("demographics.csv", SOURCED_ID)
        has_enrollment = self._roster.by_roles or bundle.has("enrollments.csv", "userSourcedId", "role")
        # A column that nothing in the bundle fills is absent, so that stored values stay; a date of birth is required.
        self.header = [
            *("district_id", "first_name", "last_name", "grade_level", "date_of_birth"),
            *(("gender", "ethnicity") if has_demographics else ()),
            *(("parent_contact",) if self._main.has("agentSourcedIds") else ()),
            *(("enrollment_date",) if has_enrollment else ()),
            *(("exit_date", "exit_type") if has_enrollment or self._says_who_is_enabled() else ()),
            "student_metadata",
            *((DELETED,) if self._takes_back else ()),
        ]

    def _says_who_is_enabled(self) -> bool:
        """Whether some user's account is said to be enabled or not, or inactive."""
        users = self._bundle.listed("users.csv", ["enabledUser", STATUS])
        inactive = equals(users[STATUS], _INACTIVE)
        return bool(pc.any(users["enabledUser"].is_valid()).as_py() or pc.any(inactive).as_py())

    def _prepare(self) -> None:
        roles = self._roster.roles()
        self._students = pc.unique(roles["userSourcedId"]) if self._roster.by_roles else None
        self._former, self._changed = self._changes()
        # A row that takes a user back may give no more than the sourcedId.
        self._before = self._bundle.listed("users.csv", ["identifier", "role"], before=True)
        self._known_before = Places(self._before[SOURCED_ID])
        end = self._days(roles["endDate"])
        ended = pc.and_(equals(roles[STATUS], _INACTIVE), pc.is_null(end))
        end = pc.if_else(ended, pa.scalar(self._today, pa.string()), end)
        roles = pa.table(
            {"userSourcedId": roles["userSourcedId"], "beginDate": self._days(roles["beginDate"]), "endDate": end}
        )
        # Aggregated: one row per student.
        ends = roles.group_by("userSourcedId").aggregate(
            [("beginDate", "min"), ("endDate", "max"), ("endDate", "count"), ([], "count_all")]
        )
        self._enrolled = Places(ends["userSourcedId"])
        self._begin = ends["beginDate_min"]
        self._end = pc.if_else(pc.equal(ends["endDate_count"], ends["count_all"]), ends["endDate_max"], NOTHING)
        self._demographics = self._bundle.listed(
            "demographics.csv",
            ["birthDate", "sex", _HISPANIC, _SEVERAL_RACES, *_RACES],
            any_of=(_HISPANIC, _SEVERAL_RACES, *_RACES),
        )
        self._described = Places(self._demographics[SOURCED_ID])
        users = self._bundle.listed("users.csv", ["email", "phone", "sms"])
        contact = pc.coalesce(users["email"], users["phone"], users["sms"])
        users = users.set_column(1, "email", contact).filter(contact.is_valid())
        self._reachable, self._contact = Places(users[SOURCED_ID]), users["email"]
        self._kin = self._roster.users_with(_KIN)

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
            rows = rows.filter(equals(rows["role"], STUDENT))
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
            self._changed = self._changed.filter(pc.invert(among(self._changed, ids)))
        if self._students is None:
            student = equals(rows["role"], STUDENT)
            unclear = pc.and_(deleted, rows["role"].is_null())
        else:
            student = among(ids, self._students)
            # Whoever was a student until this delta is one who is taken back.
            left = pc.and_(among(ids, self._former), pc.invert(student))
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
        answers = {name: self._answers(facts[name], name) for name in (*_RACES, _HISPANIC, _SEVERAL_RACES)}
        flags = {name: yes for name, (yes, _) in answers.items()}
        unclear = np.any([not_understood for _, not_understood in answers.values()], axis=0)
        sex = folded(facts["sex"])
        levels = mapped(rows["grades"], lambda text: grade_level(_first(text), self._profile.grade_levels)[0])
        end = self._exit(rows, taken(self._end, enrolled))
        return {
            "district_id": pc.coalesce(rows["identifier"], ids),
            "first_name": rows["givenName"],
            "last_name": rows["familyName"],
            "grade_level": levels,
            "date_of_birth": self._days(facts["birthDate"]),
            "gender": pc.if_else(among(sex, pa.array(_NO_SEX)), NOTHING, sex),
            "ethnicity": _ethnicity(flags, unclear),
            "parent_contact": self._parent_contact(rows["agentSourcedIds"]),
            "enrollment_date": taken(self._begin, enrolled),
            "exit_date": end,
            "exit_type": pc.if_else(pc.less_equal(end, pa.scalar(self._today, pa.string())), "other", NOTHING),
            "student_metadata": self._metadata(rows, flags),
        }

    def _exit(self, rows: pa.Table, end: pa.Array) -> pa.Array:
        """The day from which on each student is no longer enrolled: of the role or, of a closed account, no later.

        A closed account (`enabledUser` false, status inactive) has no date of its own: it is the day on which it was
        last changed, where the file says that, else the delivery's.
        """
        enabled, unclear = self._answers(rows["enabledUser"], "enabledUser")
        closed = rows["enabledUser"].is_valid().to_numpy() & ~enabled & ~unclear
        closed |= equals(rows[STATUS], _INACTIVE).to_numpy(zero_copy_only=False)
        today = pa.scalar(self._today, pa.string())
        changed = self._days(rows["dateLastModified"])
        dated = pc.fill_null(pc.and_(pc.match_substring_regex(changed, _DATE), pc.less_equal(changed, today)), False)
        closed_on = pc.if_else(dated, changed, today)
        earlier = pc.fill_null(pc.less_equal(end, closed_on), False)
        return pc.if_else(pc.and_(pa.array(closed), pc.invert(earlier)), closed_on, end)

    def _parent_contact(self, agents: pa.ChunkedArray) -> pa.Array:
        """The first of each student's parents, guardians and relatives who can be reached: by e-mail, else by phone."""
        lists = pc.split_pattern(agents, ",").combine_chunks()
        names = pc.utf8_trim_whitespace(lists.flatten())
        contacts = taken(self._contact, self._reachable.of(pa.chunked_array([names])))
        known = contacts.is_valid().to_numpy(zero_copy_only=False)
        kin = among(names, self._kin).to_numpy(zero_copy_only=False)
        self._note("agents_who_are_no_relatives", int((known & ~kin).sum()))
        reachable = np.flatnonzero(known & kin)
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
        grades = rows["grades"].to_pylist()
        hispanic = flags[_HISPANIC].tolist()
        races = list(zip(*(flags[name].tolist() for name in _RACES), strict=True))
        texts = []
        for row, values in enumerate(zip(*columns, strict=True)):
            facts: dict[str, object] = {name: value for name, value in zip(_METADATA, values, strict=True) if value}
            if schools[row]:
                facts["school"] = _first(schools[row])
            if enabled[row]:
                understood = answer(enabled[row])
                facts["enabled"] = enabled[row] if understood is None else understood
            code = grade_level(_first(grades[row] or ""), self._profile.grade_levels)[1]
            if code is not None:
                facts[GRADE_CODE] = code
            if hispanic[row]:
                facts["hispanic"] = True
            if any(races[row]):
                facts["races"] = [name for name, flag in zip(_RACES, races[row], strict=True) if flag]
            texts.append(orjson.dumps(facts).decode())
        return pa.array(texts, pa.string())


def _first(listed: str) -> str:
    """The first entry of a list in one field."""
    return next((entry.strip() for entry in listed.split(",") if entry.strip()), "")


def _ethnicity(flags: dict[str, np.ndarray], unclear: np.ndarray) -> pa.Array:
    """Hispanic before all, then two or more races, then the one; unknown where an answer was not understood."""
    races = np.vstack([flags[name] for name in _RACES])
    words = [*_RACES.values(), TWO_OR_MORE_RACES, "Hispanic"]
    chosen = np.where(races.any(axis=0), races.argmax(axis=0), -1)
    chosen[flags[_SEVERAL_RACES] | (races.sum(axis=0) > 1)] = len(words) - 2
    chosen[unclear] = -1
    chosen[flags[_HISPANIC]] = len(words) - 1
    return taken(pa.array(words), chosen)
