"""OneRoster bundles of both versions as records: what becomes a row, what is left out and counted, what is refused."""

from __future__ import annotations

import datetime as dt
import io
import json
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from edupulse_pipelines.settings import ProfileSettings, TenantSettings
from edupulse_pipelines.sources.oneroster import open_bundle
from edupulse_pipelines.sources.oneroster_csv import Bundle
from edupulse_pipelines.sources.records import (
    FIELDS,
    LINE_NUMBER,
    PROBLEM,
    SYSTEM_COLUMNS,
    RecordSource,
    RefusedFile,
    archive_schema,
)

TENANT = TenantSettings(name="lake", timezone="UTC", first_week=dt.date(2025, 9, 1), landing=Path("landing"))
STRICT = TENANT.model_copy(update={"profile": ProfileSettings(extra_credit="quarantine")})
DELIVERED_ON = dt.date(2025, 10, 6)

# The headers as the standard has them, in its order.
COMMON = "sourcedId,status,dateLastModified,"
HEADERS_1_1 = {
    "users.csv": "enabledUser,orgSourcedIds,role,username,userIds,givenName,familyName,middleName,identifier,email,sms,"
    "phone,agentSourcedIds,grades,password",
    "demographics.csv": "birthDate,sex,americanIndianOrAlaskaNative,asian,blackOrAfricanAmerican,"
    "nativeHawaiianOrOtherPacificIslander,white,demographicRaceTwoOrMoreRaces,hispanicOrLatinoEthnicity",
    "courses.csv": "schoolYearSourcedId,title,courseCode,grades,orgSourcedId,subjects,subjectCodes",
    "classes.csv": "title,grades,courseSourcedId,classCode,classType,location,schoolSourcedId,termSourcedIds,subjects,"
    "subjectCodes,periods",
    "enrollments.csv": "classSourcedId,schoolSourcedId,userSourcedId,role,primary,beginDate,endDate",
    "categories.csv": "title",
    "lineItems.csv": "title,description,assignDate,dueDate,classSourcedId,categorySourcedId,gradingPeriodSourcedId,"
    "resultValueMin,resultValueMax",
    "results.csv": "lineItemSourcedId,studentSourcedId,scoreStatus,score,scoreDate,comment",
    "orgs.csv": "name,type,identifier,parentSourcedId",
}
HEADERS_1_2 = HEADERS_1_1 | {
    "users.csv": "enabledUser,username,userIds,givenName,familyName,middleName,identifier,email,sms,phone,"
    "agentSourcedIds,grades,password,userMasterIdentifier,resourceSourcedIds,preferredGivenName,preferredMiddleName,"
    "preferredFamilyName,primaryOrgSourcedId,pronouns",
    "roles.csv": "userSourcedId,roleType,role,beginDate,endDate,orgSourcedId,userProfileSourcedId",
    "categories.csv": "title,weight",
    "lineItems.csv": "title,description,assignDate,dueDate,classSourcedId,categorySourcedId,academicSessionSourcedId,"
    "resultValueMin,resultValueMax,schoolSourcedId",
    "results.csv": "lineItemSourcedId,studentSourcedId,scoreStatus,score,scoreDate,comment,textScore,classSourcedId,"
    "inProgress,incomplete,late,missing",
}
HEADERS = {"1.1": HEADERS_1_1, "1.2": HEADERS_1_2}
VERSIONS = ("1.1", "1.2")
Row = dict[str, str]
Files = dict[str, bytes]


def csv(header: str, rows: list[Row]) -> bytes:
    names = header.split(",")
    assert {name for row in rows for name in row} <= set(names)
    lines = [",".join(f'"{row.get(name, "")}"' for name in names) for row in rows]
    return "".join(line + "\r\n" for line in [header, *lines]).encode()


def bundle(version: str, mode: str | None = "bulk", **tables: list[Row]) -> Files:
    """The files of a bundle; `mode` is what its manifest says of each of them (None: it has no manifest)."""
    files = {f"{name}.csv": csv(COMMON + HEADERS[version][f"{name}.csv"], rows) for name, rows in tables.items()}
    if mode is not None:
        said = {"manifest.version": "1.0", "oneroster.version": version, **{f"file.{name}": mode for name in tables}}
        files["manifest.csv"] = csv(
            "propertyName,value", [{"propertyName": name, "value": value} for name, value in said.items()]
        )
    return files


def openers(files: Files) -> dict[str, Any]:
    return {name.lower(): partial(io.BytesIO, content) for name, content in files.items()}


def source(
    table: str, files: Files, *, tenant: TenantSettings = TENANT, earlier: tuple[Files, ...] = ()
) -> RecordSource:
    return open_bundle(openers(files), table, tenant, DELIVERED_ON, [openers(older) for older in earlier])


def read(opened: RecordSource) -> list[dict[str, Any]]:
    """All rows of a source, whose tables have the archive's schema."""
    tables = list(opened.batches())
    assert all(table.schema == archive_schema(opened.header) for table in tables)
    return pa.concat_tables([archive_schema(opened.header).empty_table(), *tables]).to_pylist()


def fields(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in SYSTEM_COLUMNS}


# Students


def user(version: str, number: str = "1", role: str = "student", **facts: str) -> Row:
    named = {"sourcedId": f"u{number}", "givenName": f"Ada{number}", "familyName": "Lane"} | facts
    return named | ({"role": role} if version == "1.1" else {})


def role(number: str = "1", name: str = "student", **facts: str) -> Row:
    return {
        "sourcedId": f"r{number}{name}{facts.get('orgSourcedId', '')}",
        "userSourcedId": f"u{number}",
        "role": name,
    } | facts


def people(
    version: str, *users: Row, roles: list[Row] | None = None, mode: str | None = "bulk", **more: list[Row]
) -> Files:
    """A bundle of users; in 1.2 each is a student unless `roles` says otherwise."""
    if version == "1.2":
        more["roles"] = [role(row["sourcedId"][1:]) for row in users] if roles is None else roles
    return bundle(version, mode, users=list(users), **more)


def only_student(version: str, *users: Row, tenant: TenantSettings = TENANT, **more: Any) -> dict[str, Any]:
    (row,) = read(source("students", people(version, *users, **more), tenant=tenant))
    return row


@pytest.mark.parametrize("version", VERSIONS)
def test_a_student(version: str) -> None:
    more = {"enrollments": [role(beginDate="2025-08-18")]} if version == "1.1" else {}
    files = people(
        version,
        user(version, identifier="4711", grades="KG", enabledUser="true", agentSourcedIds="u8,u9"),
        user(version, "9", "parent", phone="555-01", email="grace@example.org"),
        roles=[role(beginDate="2025-08-18"), role("9", "parent")],
        mode="bulk",
        demographics=[{"sourcedId": "u1", "birthDate": "2019-05-06", "sex": "female", "asian": "true"}],
        **more,
    )
    opened = source("students", files)
    (row,) = read(opened)
    assert fields(row) == {
        "district_id": "4711",
        "first_name": "Ada1",
        "last_name": "Lane",
        "grade_level": "0",
        "date_of_birth": "2019-05-06",
        "gender": "female",
        "ethnicity": "Asian",
        "parent_contact": "grace@example.org",
        "enrollment_date": "2025-08-18",
        "exit_date": None,
        "exit_type": None,
        "student_metadata": '{"sourcedId":"u1","enabled":true,"races":["asian"]}',
    }
    assert (row[LINE_NUMBER], opened.source_format) == (2, f"OneRoster {version}")
    assert (opened.left_out, getattr(opened, "snapshot")) == ({"not_a_student": 1}, True)  # noqa: B009


@pytest.mark.parametrize("version", VERSIONS)
def test_columns_are_found_whatever_their_case_order_and_company(version: str) -> None:
    files = people(version, user(version, identifier="4711"), mode=None)
    lines = [line.split(",") for line in files["users.csv"].decode().splitlines()]
    lines[0] = [name.upper() for name in lines[0]]
    turned = [[*reversed(line), extra] for line, extra in zip(lines, ("metadata.x", "y"), strict=True)]
    files["users.csv"] = b"\xef\xbb\xbf" + "\n".join(map(",".join, turned)).encode()
    (row,) = read(source("students", files))
    assert (row["district_id"], row["first_name"]) == ("4711", "Ada1")


@pytest.mark.parametrize(
    ("roles", "expected"),
    [
        ([role(orgSourcedId="a"), role(orgSourcedId="b", roleType="secondary")], 1),
        ([role(name="teacher")], 0),
        ([role(name="parent"), role()], 1),
        ([role(status="tobedeleted")], 0),
    ],
)
def test_a_user_is_a_student_once_if_a_role_says_so(roles: list[Row], expected: int) -> None:
    assert len(read(source("students", people("1.2", user("1.2"), roles=roles)))) == expected


def test_without_an_identifier_the_number_is_the_sourced_id() -> None:
    assert only_student("1.2", user("1.2"))["district_id"] == "u1"


def test_students_with_one_identifier_are_both_kept_to_be_quarantined() -> None:
    rows = read(source("students", people("1.2", user("1.2", "1", identifier="7"), user("1.2", "2", identifier="7"))))
    assert [(row["district_id"], row["first_name"]) for row in rows] == [("7", "Ada1"), ("7", "Ada2")]


def test_somebody_who_is_no_student_may_have_a_students_identifier() -> None:
    files = people("1.1", user("1.1", "1", identifier="7"), user("1.1", "2", "teacher", identifier="7"))
    assert [row["first_name"] for row in read(source("students", files))] == ["Ada1"]


@pytest.mark.parametrize(
    ("grades", "expected"),
    [
        ("01", "1"), ("9", "9"), ("12", "12"), ("KG", "0"), ("10,11", "10"), ("", None), ("Owls", "Owls"),
    ],
)  # fmt: skip
def test_grade_levels(grades: str, expected: str | None) -> None:
    assert only_student("1.2", user("1.2", grades=grades))["grade_level"] == expected


@pytest.mark.parametrize("code", ["IT", "PR", "PK", "TK", "13", "PS", "UG"])
def test_a_known_code_of_a_grade_without_a_number_is_kept_as_a_fact(code: str) -> None:
    row = only_student("1.1", user("1.1", grades=code.lower()))
    assert (row["grade_level"], json.loads(row["student_metadata"])["grade_code"]) == (None, code)


def test_what_the_profile_maps_is_left_to_it() -> None:
    mapped = TENANT.model_copy(update={"profile": ProfileSettings(grade_levels={"PK": "0"})})
    row = only_student("1.1", user("1.1", grades="PK"), tenant=mapped)
    assert (row["grade_level"], "grade_code" in json.loads(row["student_metadata"])) == ("PK", False)


def test_who_has_no_demographics_has_no_date_of_birth() -> None:
    described, unknown = read(
        source(
            "students",
            people(
                "1.2", user("1.2", "1"), user("1.2", "2"), demographics=[{"sourcedId": "u1", "birthDate": "2011-02-03"}]
            ),
        )
    )
    assert (described["date_of_birth"], unknown["date_of_birth"]) == ("2011-02-03", None)


def test_columns_that_nothing_fills_are_absent_but_for_the_date_of_birth() -> None:
    header = source("students", people("1.1", user("1.1"))).header
    assert "date_of_birth" in header
    assert not {"gender", "ethnicity", "enrollment_date", "exit_date", "exit_type", "_deleted"} & set(header)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"white": "true"}, "White"),
        ({"white": "TRUE", "asian": "true"}, "Two or more races"),
        ({"white": "true", "demographicRaceTwoOrMoreRaces": "true"}, "Two or more races"),
        ({"white": "true", "asian": "true", "hispanicOrLatinoEthnicity": "true"}, "Hispanic"),
        ({"hispanicOrLatinoEthnicity": "false", "blackOrAfricanAmerican": "true"}, "Black or African American"),
        ({"white": "false"}, None),
    ],
)
def test_ethnicity(facts: Row, expected: str | None) -> None:
    row = only_student("1.2", user("1.2"), demographics=[{"sourcedId": "u1"} | facts])
    assert row["ethnicity"] == expected


@pytest.mark.parametrize(("sex", "expected"), [("male", "male"), ("other", "other"), ("unspecified", None), ("", None)])
def test_gender(sex: str, expected: str | None) -> None:
    assert only_student("1.2", user("1.2"), demographics=[{"sourcedId": "u1", "sex": sex}])["gender"] == expected


@pytest.mark.parametrize(
    ("periods", "begin", "end", "exit_type"),
    [
        ([("2025-08-18", "2025-10-06")], "2025-08-18", "2025-10-06", "other"),
        ([("2025-08-18", "2025-10-07")], "2025-08-18", "2025-10-07", None),  # the delivery is of 2025-10-06
        ([("2025-09-01", ""), ("2025-08-18", "2025-08-31")], "2025-08-18", None, None),
        ([("2025-09-01", "2025-09-20"), ("2025-08-18", "2025-08-31")], "2025-08-18", "2025-09-20", "other"),
        ([("", "")], None, None, None),
    ],
)
@pytest.mark.parametrize("version", VERSIONS)
def test_enrolment(
    version: str, periods: list[tuple[str, str]], begin: str | None, end: str | None, exit_type: str | None
) -> None:
    rows = [
        role(beginDate=first, endDate=last) | {"sourcedId": str(place)} for place, (first, last) in enumerate(periods)
    ]
    more = (
        {"roles": rows} if version == "1.2" else {"enrollments": [*rows, role(name="teacher", beginDate="2020-01-01")]}
    )
    row = only_student(version, user(version), **more)
    assert (row["enrollment_date"], row["exit_date"], row["exit_type"]) == (begin, end, exit_type)


@pytest.mark.parametrize(
    ("agents", "expected"),
    [("u8,u9", "555-08"), ("u9", "nine@example.org"), ("u7, u9", "nine@example.org"), ("u7", None), ("", None)],
)
def test_the_contact_is_the_first_agent_who_can_be_reached(agents: str, expected: str | None) -> None:
    files = people(
        "1.1",
        user("1.1", agentSourcedIds=agents),
        user("1.1", "7", "parent"),
        user("1.1", "8", "parent", phone="555-08"),
        user("1.1", "9", "parent", phone="555-09", email="nine@example.org"),
    )
    assert read(source("students", files))[0]["parent_contact"] == expected


def test_only_parents_guardians_and_relatives_are_contacts() -> None:
    def contact(version: str, *kinds: str) -> tuple[str | None, dict[str, int]]:
        numbers = [str(place) for place, _ in enumerate(kinds, start=7)]
        agents = [user(version, number, kind, email=f"{kind}@x") for number, kind in zip(numbers, kinds, strict=True)]
        roles = [role(number, kind) for number, kind in zip(numbers, kinds, strict=True)] if version == "1.2" else []
        listed = ",".join(f"u{number}" for number in numbers)
        more = {"roles": [role(), *roles]} if version == "1.2" else {}
        opened = source("students", people(version, user(version, agentSourcedIds=listed), *agents, **more))
        return read(opened)[0]["parent_contact"], opened.notes

    for version in VERSIONS:
        assert contact(version, "teacher") == (None, {"agents_who_are_no_relatives": 1})
        assert contact(version, "counselor", "Parent") == ("Parent@x", {"agents_who_are_no_relatives": 1})
        assert contact(version, "relative", "guardian") == ("relative@x", {})


def test_several_rows_for_one_student_are_one_or_contradict_each_other() -> None:
    row = {"sourcedId": "u1", "birthDate": "2011-02-03", "sex": "female", "white": "true"}

    def described(*rows: Row) -> tuple[tuple[str | None, ...], dict[str, int]]:
        opened = source("students", people("1.1", user("1.1"), demographics=list(rows)))
        (found,) = read(opened)
        return (found["date_of_birth"], found["gender"], found["ethnicity"]), opened.notes

    assert described(row, row) == (("2011-02-03", "female", "White"), {})
    assert described(row, row | {"sex": "", "white": ""}) == (("2011-02-03", "female", "White"), {})
    assert described(row, row | {"white": "false", "asian": "1"}) == (
        ("2011-02-03", "female", "Two or more races"), {},
    )  # fmt: skip
    assert described(row, row | {"sex": "male"}) == (
        ("2011-02-03", None, "White"), {"contradicting_demographics": 1},
    )  # fmt: skip
    assert described(row, row | {"birthDate": "2012-02-03"})[0] == (None, "female", "White")


@pytest.mark.parametrize(
    ("answers", "ethnicity", "notes"),
    [
        ({"white": "1", "asian": "No"}, "White", {}),
        ({"white": "Yes", "asian": "Y"}, "Two or more races", {}),
        ({"white": "0", "asian": "N"}, None, {}),
        ({"white": "TRUE", "asian": "perhaps"}, None, {"not_understood_asian": 1}),
        ({"asian": "perhaps", "hispanicOrLatinoEthnicity": "T"}, "Hispanic", {"not_understood_asian": 1}),
    ],
)
def test_what_is_neither_yes_nor_no_stays_unknown(answers: Row, ethnicity: str | None, notes: dict[str, int]) -> None:
    opened = source("students", people("1.1", user("1.1"), demographics=[{"sourcedId": "u1"} | answers]))
    assert read(opened)[0]["ethnicity"] == ethnicity
    assert opened.notes == notes


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("15/06/2011", "2011-06-15"),
        ("2011-06-15", "2011-06-15"),
        ("2011-06-15T00:00:00.000Z", "2011-06-15"),
        ("2011-06-15T02:30:00Z", "2011-06-14"),  # still the day before in New York
        ("2011-06-15T02:30:00", "2011-06-15"),
        ("June 2011", "June 2011"),
    ],
)
def test_dates_follow_the_profile_and_time_stamps_the_time_zone(written: str, expected: str) -> None:
    profile = ProfileSettings(date_format="DD/MM/YYYY")
    there = TENANT.model_copy(update={"profile": profile, "timezone": "America/New_York"})
    row = only_student("1.1", user("1.1"), demographics=[{"sourcedId": "u1", "birthDate": written}], tenant=there)
    assert row["date_of_birth"] == expected


@pytest.mark.parametrize(
    ("facts", "periods", "exit_date"),
    [
        ({"enabledUser": "true"}, ("2025-08-18", ""), None),
        ({"enabledUser": "No"}, ("2025-08-18", ""), "2025-10-06"),  # the delivery's date
        ({"enabledUser": "false", "dateLastModified": "2025-09-30T10:00:00Z"}, ("2025-08-18", ""), "2025-09-30"),
        ({"enabledUser": "false", "dateLastModified": "2025-12-01"}, ("2025-08-18", ""), "2025-10-06"),
        ({"enabledUser": "false"}, ("2025-08-18", "2025-09-12"), "2025-09-12"),
        ({"enabledUser": "false"}, ("2025-08-18", "2026-06-12"), "2025-10-06"),
        ({"enabledUser": "perhaps"}, ("2025-08-18", ""), None),
        ({"status": "inactive"}, ("2025-08-18", ""), "2025-10-06"),
    ],
)
def test_a_closed_account_ends_the_enrolment(facts: Row, periods: tuple[str, str], exit_date: str | None) -> None:
    rows = [role(beginDate=periods[0], endDate=periods[1])]
    row = only_student("1.2", user("1.2") | facts, roles=rows)
    assert (row["exit_date"], row["exit_type"]) == (exit_date, exit_date and "other")


def test_an_inactive_role_without_an_end_has_ended() -> None:
    row = only_student("1.2", user("1.2"), roles=[role(beginDate="2025-08-18", status="inactive")])
    assert (row["exit_date"], row["exit_type"]) == ("2025-10-06", "other")


def test_metadata() -> None:
    row = only_student(
        "1.2",
        user(
            "1.2", enabledUser="false", preferredGivenName="Addie", pronouns="she/her", primaryOrgSourcedId="s1",
            middleName='Ö""',
        ),
        demographics=[{"sourcedId": "u1", "hispanicOrLatinoEthnicity": "true", "white": "true"}],
    )  # fmt: skip
    assert json.loads(row["student_metadata"]) == {
        "sourcedId": "u1", "enabled": False, "preferred_first_name": "Addie", "pronouns": "she/her", "school": "s1",
        "middle_name": 'Ö"', "hispanic": True, "races": ["white"],
    }  # fmt: skip


def test_a_line_that_cannot_be_read_stays_with_its_problem() -> None:
    files = people("1.1", user("1.1", "1"), user("1.1", "2"))
    lines = files["users.csv"].splitlines()
    files["users.csv"] = b"\n".join([*lines[:2], b"u3,cut", *lines[2:]])
    good, bad, last = read(source("students", files))
    assert (bad[LINE_NUMBER], bad[PROBLEM], json.loads(bad[FIELDS])) == (3, "too_few_fields", ["u3", "cut"])
    assert bad["district_id"] is None
    assert (good["district_id"], last["district_id"], last[LINE_NUMBER]) == ("u1", "u2", 4)


# Grades


def result(number: str = "1", **facts: str) -> Row:
    named = {
        "sourcedId": f"x{number}",
        "lineItemSourcedId": "l1",
        "studentSourcedId": "u1",
        "scoreStatus": "fully graded",
    }
    return named | {"score": "80", "scoreDate": "2025-09-05"} | facts


def marks(version: str, *results: Row, line: Row | None = None, mode: str | None = "bulk", **more: list[Row]) -> Files:
    """A bundle of results of one line item, whose student is u1 with the number 4711."""
    tables = {
        "courses": [{"sourcedId": "c1", "courseCode": "ALG-1", "title": "Algebra"}],
        "classes": [{"sourcedId": "k1", "courseSourcedId": "c1"}],
        "categories": [{"sourcedId": "g1", "title": "Quiz"}],
        "lineItems": [{"sourcedId": "l1", "classSourcedId": "k1", "categorySourcedId": "g1"} | (line or {})],
    }
    users = more.pop("users", [user(version, identifier="4711")])
    return people(version, *users, mode=mode, results=list(results), **(tables | more))


def only_grade(*results: Row, tenant: TenantSettings = TENANT, **more: Any) -> dict[str, Any]:
    (row,) = read(source("grades", marks("1.2", *results, **more), tenant=tenant))
    return row


@pytest.mark.parametrize("version", VERSIONS)
def test_a_grade(version: str) -> None:
    opened = source("grades", marks(version, result()))
    (row,) = read(opened)
    assert fields(row) == {
        "district_id": "4711",
        "source_record_id": "x1",
        "course_id": "ALG-1",
        "course_name": "Algebra",
        "grade_value": "80",
        **({"grade_letter": None} if version == "1.2" else {}),
        "submission_date": "2025-09-05",
        "assignment_type": "Quiz",
        "assignment_id": "l1",
        "due_date": None,
    }
    assert (row[LINE_NUMBER], getattr(opened, "snapshot")) == (2, True)  # noqa: B009


def test_work_is_due_when_its_line_item_says() -> None:
    due = only_grade(result(), line={"dueDate": "2025-09-04T23:59:00.000Z"}, tenant=TENANT)["due_date"]
    assert due == "2025-09-04"


@pytest.mark.parametrize(("version", "table"), [("1.1", "students"), ("1.2", "students"), ("1.2", "grades")])
def test_a_bulk_file_without_a_row_is_refused(version: str, table: str) -> None:
    """It holds all there is, and the format demands rows of it; a delta may hold none."""
    files = people(version) if table == "students" else marks(version)
    with pytest.raises(RefusedFile, match=r"(users|results)\.csv: a header and no row") as refusal:
        read(source(table, files))
    assert refusal.value.reason == "no_rows"


def test_the_letter_is_the_text_score() -> None:
    assert only_grade(result(score="", textScore="B+"))["grade_letter"] == "B+"


def test_a_course_without_a_code_has_its_sourced_id() -> None:
    assert only_grade(result(), courses=[{"sourcedId": "c1", "title": "Algebra"}])["course_id"] == "c1"


@pytest.mark.parametrize(
    ("score", "lowest", "highest", "expected"),
    [
        ("17", "", "20", "85"),
        ("3", "1", "4", "66.6666666667"),
        ("87.50", "", "", "87.50"),
        ("+8.", "0", "10", "80"),
        ("0", "", "50", "0"),
        ("", "", "50", None),
        ("-1", "0", "10", "-10"),
        ("A", "0", "10", "A"),
        ("8", "0", "0", "8 on a scale of 0 to 0"),
        ("8", "10", "", "-2.2222222222"),
        ("8", "10", "5", "8 on a scale of 10 to 5"),
        ("8", "0", "ten", "8 on a scale of 0 to ten"),
        ("105", "0", "100", "100"),
        ("21", "0", "20", "100"),
    ],
)
def test_a_score_is_a_percentage_of_its_scale(score: str, lowest: str, highest: str, expected: str | None) -> None:
    row = only_grade(result(score=score), line={"resultValueMin": lowest, "resultValueMax": highest})
    assert row["grade_value"] == expected


def test_extra_credit_follows_the_profile() -> None:
    files = marks("1.2", result(score="105"), result("2", score="100"))
    capped, kept = source("grades", files), source("grades", files, tenant=STRICT)
    assert [row["grade_value"] for row in read(capped) + read(kept)] == ["100", "100", "105", "100"]
    assert (getattr(capped, "notes"), getattr(kept, "notes")) == ({"capped_at_100": 1}, {})  # noqa: B009


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("status", ["exempt", "not submitted", "submitted", "partially graded"])
def test_a_result_that_is_not_graded_is_left_out_and_no_zero(version: str, status: str) -> None:
    opened = source("grades", marks(version, result(), result("2", scoreStatus=status.title(), score="0")))
    assert [row["source_record_id"] for row in read(opened)] == ["x1"]
    assert opened.left_out == {status.replace(" ", "_"): 1}


@pytest.mark.parametrize(("status", "expected"), [("ext:late", "ext:late"), ("", "no scoreStatus")])
def test_a_status_nobody_knows_is_kept_to_be_quarantined(status: str, expected: str) -> None:
    assert only_grade(result(scoreStatus=status))["grade_value"] == expected


@pytest.mark.parametrize(
    ("facts", "missing"),
    [
        ({"lineItemSourcedId": "l9"}, ("course_id", "course_name", "assignment_type")),
        ({"lineItemSourcedId": ""}, ("course_id",)),
        ({"scoreDate": ""}, ("submission_date",)),
    ],
)
def test_what_a_result_lacks_is_empty_to_be_quarantined(facts: Row, missing: tuple[str, ...]) -> None:
    row = only_grade(result(**facts))
    assert [row[name] for name in missing] == [None] * len(missing)
    assert row["source_record_id"] == "x1"


@pytest.mark.parametrize(
    ("users", "expected"),
    [
        ([user("1.1", "2")], "u1"),  # not there
        ([user("1.1", "1", "teacher", identifier="7")], "u1"),  # no student
        ([user("1.1", "1", identifier="7"), user("1.1", "2", identifier="7")], "u1"),  # who of them, nobody can say
        ([user("1.1", "1", identifier="u2"), user("1.1", "2")], "u1"),
        ([user("1.1", "1", identifier="7"), user("1.1", "2", "teacher", identifier="7")], "7"),
    ],
)
def test_a_result_of_nobody_known_names_its_sourced_id(users: list[Row], expected: str) -> None:
    (row,) = read(source("grades", marks("1.1", result(), users=users)))
    assert row["district_id"] == expected


def test_results_are_in_the_order_of_the_file() -> None:
    many = [result(str(number), score=str(number % 101)) for number in range(3000)]
    rows = read(source("grades", marks("1.2", *many)))
    assert [(row[LINE_NUMBER], row["grade_value"]) for row in rows] == [
        (number + 2, str(number % 101)) for number in range(3000)
    ]


# Bulk and delta


@pytest.mark.parametrize("mode", ["delta", None])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_delta_takes_records_back(version: str, mode: str | None) -> None:
    gone = {"status": "tobedeleted"}
    files = marks(
        version,
        result("1", status="active"),
        result("2", scoreStatus="", score="", **gone),
        mode=mode,
        users=[user(version, "1", identifier="4711"), user(version, "2", identifier="4712", **gone)],
    )
    grades, students = source("grades", files), source("students", files)
    assert [(row["source_record_id"], row["grade_value"], row["_deleted"]) for row in read(grades)] == [
        ("x1", "80", None), ("x2", None, "true"),
    ]  # fmt: skip
    assert [(row["district_id"], row["_deleted"]) for row in read(students)] == [("4711", None), ("4712", "true")]
    assert (getattr(grades, "snapshot"), getattr(students, "snapshot")) == (False, False)  # noqa: B009


@pytest.mark.parametrize("table", ["students", "grades"])
def test_in_bulk_what_is_to_be_deleted_is_not_on_the_list(table: str) -> None:
    gone = {"status": "tobedeleted"}
    opened = source(table, marks("1.1", result(**gone), users=[user("1.1", **gone)]))
    assert read(opened) == []
    assert opened.left_out == {"to_be_deleted": 1}


def test_a_delta_finds_what_has_not_changed_in_earlier_bundles() -> None:
    delta = bundle("1.2", "delta", results=[result()])
    first = marks("1.2", users=[user("1.2", identifier="1")])
    second = bundle("1.2", "delta", users=[user("1.2", identifier="4711")])
    (row,) = read(source("grades", delta, earlier=(first, second)))
    assert (row["district_id"], row["course_id"], row["assignment_type"]) == ("4711", "ALG-1", "Quiz")
    (alone,) = read(source("grades", delta))
    assert (alone["district_id"], alone["course_id"]) == ("u1", None)


def test_a_delta_of_a_user_keeps_the_demographics_and_the_role_of_earlier_bundles() -> None:
    first = people("1.2", user("1.2"), demographics=[{"sourcedId": "u1", "birthDate": "2011-02-03"}])
    delta = bundle("1.2", "delta", users=[user("1.2", familyName="Byron")])
    (row,) = read(source("students", delta, earlier=(first,)))
    assert (row["last_name"], row["date_of_birth"]) == ("Byron", "2011-02-03")


def test_a_bulk_file_is_complete_without_earlier_bundles() -> None:
    first = people("1.2", user("1.2"), demographics=[{"sourcedId": "u1", "birthDate": "2011-02-03"}])
    bulk = people("1.2", user("1.2"), demographics=[{"sourcedId": "u2"}])
    (row,) = read(source("students", bulk, earlier=(first,)))
    assert row["date_of_birth"] is None


@pytest.mark.parametrize("version", VERSIONS)
def test_a_user_who_is_taken_back_has_the_number_of_earlier_bundles(version: str) -> None:
    first = people(version, user(version, identifier="4711"))
    delta = bundle(version, "delta", users=[{"sourcedId": "u1", "status": "tobedeleted"}])
    (row,) = read(source("students", delta, earlier=(first,)))
    assert (row["district_id"], row["_deleted"]) == ("4711", "true")


def test_a_role_taken_back_takes_the_student_back() -> None:
    delta = people("1.2", user("1.2"), roles=[role(status="tobedeleted")], mode="delta")
    (row,) = read(source("students", delta, earlier=(people("1.2", user("1.2")),)))
    assert (row["district_id"], row["_deleted"]) == ("u1", "true")


def test_what_a_delta_says_of_users_it_does_not_hold_is_counted() -> None:
    delta = people(
        "1.2", user("1.2"), user("1.2", "5", status="tobedeleted"), roles=[role(), role("2")], mode="delta",
        demographics=[{"sourcedId": "u3"}],
    )  # fmt: skip
    opened = source("students", delta)
    assert [row["district_id"] for row in read(opened)] == ["u1"]
    assert opened.left_out == {"deleted_user_of_unknown_role": 1, "change_of_a_user_not_in_the_delta": 2}


# Files


@pytest.mark.parametrize(
    ("manifest", "names", "expected"),
    [
        ({"oneroster.version": "1.2"}, [], "1.2"),
        ({}, ["roles.csv"], "1.2"),
        ({}, ["users.csv"], "1.1"),
        (None, [], "1.1"),
    ],
)
def test_the_version_is_what_the_manifest_says_or_the_files_look_like(
    manifest: Row | None, names: list[str], expected: str
) -> None:
    files = dict.fromkeys(names, b"")
    if manifest is not None:
        rows = [{"propertyName": name, "value": value} for name, value in manifest.items()]
        files["manifest.csv"] = csv("propertyName,value", rows)
    assert Bundle(openers(files)).version == expected


def without_column(files: Files, name: str, column: str) -> Files:
    lines = [line.split(",") for line in files[name].decode().splitlines()]
    place = lines[0].index(column)
    return files | {name: "\n".join(",".join(line[:place] + line[place + 1 :]) for line in lines).encode()}


@pytest.mark.parametrize(
    ("table", "name", "column"),
    [
        ("students", "users.csv", "sourcedId"), ("students", "users.csv", "familyName"),
        ("students", "roles.csv", "role"), ("grades", "results.csv", "scoreStatus"),
        ("grades", "lineItems.csv", "classSourcedId"), ("grades", "lineItems.csv", "resultValueMax"),
        ("grades", "classes.csv", "courseSourcedId"), ("grades", "courses.csv", "title"),
    ],
)  # fmt: skip
def test_a_missing_column_is_named_with_its_file(table: str, name: str, column: str) -> None:
    with pytest.raises(RefusedFile) as refused:
        source(table, without_column(marks("1.2", result()), name, column))
    assert (refused.value.reason, refused.value.detail) == (
        "missing_column",
        f"{name}: line 1: column {column} is missing",
    )


@pytest.mark.parametrize(
    ("table", "name"),
    [
        ("students", "users.csv"), ("students", "roles.csv"), ("grades", "results.csv"), ("grades", "users.csv"),
        ("grades", "lineItems.csv"), ("grades", "classes.csv"), ("grades", "courses.csv"),
    ],
)  # fmt: skip
def test_a_missing_file_is_named(table: str, name: str) -> None:
    files = marks("1.2", result())
    del files[name]
    with pytest.raises(RefusedFile, match=name) as refused:
        source(table, files)
    assert refused.value.reason == "missing_file"


def test_a_file_that_is_not_utf_8_is_named_with_its_line_and_no_value() -> None:
    files = people("1.1", user("1.1", "1"), user("1.1", "2", familyName="Grace\N{LATIN SMALL LETTER E WITH ACUTE}"))
    files["users.csv"] = files["users.csv"].decode().encode("cp1252")
    with pytest.raises(RefusedFile) as refused:
        read(source("students", files))
    assert refused.value.reason == "encoding"
    assert refused.value.detail.startswith("users.csv: line 3, byte ")
    assert ": not UTF-8; OneRoster asks for UTF-8; save it so, or declare its encoding" in refused.value.detail
    assert "Grace" not in refused.value.detail
    # The advice holds, and does no harm to a file that is UTF-8.
    declared = TENANT.model_copy(update={"profile": ProfileSettings(encoding="cp1252")})
    for encoding in ("cp1252", "utf-8"):
        files["users.csv"] = files["users.csv"].decode("cp1252").encode(encoding)
        names = [row["last_name"] for row in read(source("students", files, tenant=declared))]
        assert names[1] == "Grace\N{LATIN SMALL LETTER E WITH ACUTE}"


@pytest.mark.parametrize("delimiter", ["auto", ";"])
def test_a_file_with_another_delimiter_is_read(delimiter: Any) -> None:
    files = people("1.1", user("1.1"))
    files["users.csv"] = files["users.csv"].replace(b",", b";")
    declared = TENANT.model_copy(update={"profile": ProfileSettings(delimiter=delimiter)})
    assert [row["district_id"] for row in read(source("students", files, tenant=declared))] == ["u1"]


def test_decimal_commas_follow_the_profile() -> None:
    declared = TENANT.model_copy(update={"profile": ProfileSettings(decimal=",")})
    line = {"resultValueMin": "0,0", "resultValueMax": "7,5"}
    row = only_grade(result(score="1,5"), tenant=declared, line=line)
    assert row["grade_value"] == "20"
    assert only_grade(result(score="1,5"))["grade_value"] == "1,5"  # not declared: held back


def test_names_of_columns_in_the_profile_are_said_to_do_nothing_here() -> None:
    profile = ProfileSettings(columns={"students": {"Number": "district_id"}, "grades": {"Mark": "grade_value"}})
    opened = source("students", people("1.1", user("1.1")), tenant=TENANT.model_copy(update={"profile": profile}))
    assert len(read(opened)) == 1
    assert opened.notes == {"profile_columns_without_effect": 1}
