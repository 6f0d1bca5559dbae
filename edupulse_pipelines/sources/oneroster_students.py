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

from edupulse_pipelines.schema.delivery import DELETED
from edupulse_pipelines.settings import TenantSettings
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
from edupulse_pipelines.sources.oneroster_source import NOTHING, STUDENT, TRUE, BundleSource, Roster, among, equals
from edupulse_pipelines.sources.records import PROBLEM

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


class OneRosterStudents(BundleSource):
    """Users who are students, in the order of users.csv, with their demographics, enrolment and a parent's contact."""

    table = "students"
    main_file = "users.csv"
    reads = (
        "role", "identifier", "givenName", "familyName", "grades", "enabledUser", "agentSourcedIds",
        "primaryOrgSourcedId", "orgSourcedIds", *list(_METADATA.values())[1:],
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
        self._end = pc.if_else(pc.equal(ends["endDate_count"], ends["count_all"]), ends["endDate_max"], NOTHING)
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
        flags = {name: equals(facts[name], TRUE).to_numpy(zero_copy_only=False) for name in (*_RACES, _HISPANIC)}
        several = equals(facts[_SEVERAL_RACES], TRUE).to_numpy(zero_copy_only=False)
        sex = folded(facts["sex"])
        end = taken(self._end, enrolled)
        today = pa.scalar(None if self._delivered_on is None else self._delivered_on.isoformat(), pa.string())
        return {
            "district_id": pc.coalesce(rows["identifier"], ids),
            "first_name": rows["givenName"],
            "last_name": rows["familyName"],
            "grade_level": _mapped(rows["grades"], _grade_level),
            "date_of_birth": facts["birthDate"],
            "gender": pc.if_else(among(sex, pa.array(_NO_SEX)), NOTHING, sex),
            "ethnicity": _ethnicity(flags, several),
            "parent_contact": self._parent_contact(rows["agentSourcedIds"]),
            "enrollment_date": taken(self._begin, enrolled),
            "exit_date": end,
            "exit_type": pc.if_else(pc.less_equal(end, today), "other", NOTHING),
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
