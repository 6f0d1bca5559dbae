"""Schools and enrolments out of OneRoster bundles and Ed-Fi interchanges."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.sources.landed_files import landed_files
from edupulse_pipelines_tests.sources import test_edfi as edfi
from edupulse_pipelines_tests.sources import test_oneroster as roster


def of_roster(table: str, files: roster.Files, **options: Any) -> list[tuple[Any, ...]]:
    return [tuple(roster.fields(row).values()) for row in roster.read(roster.source(table, files, **options))]


def org(number: str, kind: str = "school", **facts: str) -> roster.Row:
    return {"sourcedId": f"o{number}", "name": f"School {number}", "type": kind} | facts


def in_class(user: str, school: str, begin: str = "", end: str = "", **facts: str) -> roster.Row:
    return {
        "sourcedId": f"e{user}{school}{begin}",
        "userSourcedId": f"u{user}",
        "schoolSourcedId": school,
        "role": "student",
        "beginDate": begin,
        "endDate": end,
    } | facts


@pytest.mark.parametrize("version", roster.VERSIONS)
def test_the_orgs_that_are_schools(version: str) -> None:
    files = roster.bundle(version, orgs=[org("1"), org("2", "district"), org("3", status="tobedeleted")])
    opened = roster.source("schools", files)
    assert [tuple(roster.fields(row).values()) for row in roster.read(opened)] == [("o1", "School 1")]
    assert opened.left_out == {"not_a_school": 1, "to_be_deleted": 1}


def test_a_role_is_an_enrolment_at_its_org() -> None:
    """1.2: two roles at a time, a transfer, and a role without a first day."""
    files = roster.people(
        "1.2",
        roster.user("1.2", identifier="4711"),
        roster.user("1.2", "2"),
        roles=[
            roster.role(orgSourcedId="o1", beginDate="2025-08-18", endDate="2025-10-01", roleType="primary"),
            roster.role(orgSourcedId="o2", beginDate="2025-10-01", roleType="primary"),
            roster.role(orgSourcedId="o3", beginDate="2025-10-01", roleType="secondary"),
            roster.role("2", orgSourcedId="o1"),
            roster.role("9", "teacher", orgSourcedId="o1", beginDate="2025-08-18"),
        ],
        enrollments=[in_class("2", "o1", "2025-08-20", "2025-12-19"), in_class("1", "o9", "2025-08-20")],
    )
    assert of_roster("enrollments", files) == [
        ("4711", "o1", "2025-08-18", "2025-10-01", "true"),
        ("4711", "o2", "2025-10-01", None, "true"),
        ("4711", "o3", "2025-10-01", None, "false"),
        ("u2", "o1", "2025-08-20", None, None),
    ]


def test_classes_at_a_school_are_one_enrolment() -> None:
    """1.1: a class that ends with its term ends no enrolment while another goes on, or before the day has come."""
    files = roster.people(
        "1.1",
        *(roster.user("1.1", number) for number in "1234"),
        enrollments=[
            in_class("1", "o1", "2025-08-18", "2025-09-30"),
            in_class("1", "o1", "2025-09-01", "2025-12-19"),
            in_class("2", "o1", "2025-08-18", "2025-09-30"),
            in_class("3", "o1"),
            in_class("4", "", "2025-08-18"),
            in_class("9", "o1", "2025-08-18", role="teacher"),
        ],
    )
    opened = roster.source("enrollments", files)
    assert [tuple(roster.fields(row).values()) for row in roster.read(opened)] == [
        ("u1", "o1", "2025-08-18", None, None),
        ("u2", "o1", "2025-08-18", "2025-09-30", None),
    ]
    assert opened.left_out == {"no_begin_date": 1, "no_school": 1}
    assert not getattr(opened, "snapshot")  # noqa: B009 - beyond what every source has


def test_a_delta_ends_what_is_to_be_deleted() -> None:
    """The weeks before stay weeks of enrolment. The delivery is of 6 October."""
    begun = {"orgSourcedId": "o1", "beginDate": "2025-08-18"}
    before = roster.people("1.2", roster.user("1.2"), roles=[roster.role(**begun)])
    delta = roster.bundle("1.2", "delta", roles=[roster.role(status="tobedeleted", **begun)])
    assert of_roster("enrollments", delta, earlier=(before,)) == [("u1", "o1", "2025-08-18", "2025-10-06", None)]


def test_a_delta_that_drops_the_first_class_says_nothing_of_the_days_before() -> None:
    classes = [in_class("1", "o1", "2025-08-18"), in_class("1", "o1", "2025-09-15")]
    before = roster.people("1.1", roster.user("1.1"), enrollments=classes)
    delta = roster.bundle("1.1", "delta", enrollments=[classes[0] | {"status": "tobedeleted"}])
    assert of_roster("enrollments", delta, earlier=(before,)) == [("u1", "o1", "2025-09-15", None, None)]


@pytest.mark.parametrize("version", roster.VERSIONS)
@pytest.mark.parametrize(
    ("facts", "left"),
    [
        ({"enabledUser": "false", "dateLastModified": "2025-09-20T12:00:00.000Z"}, "2025-09-20"),
        ({"enabledUser": "0", "dateLastModified": ""}, "2025-10-06"),
        ({"status": "inactive", "dateLastModified": "2027-01-01"}, "2025-10-06"),
        ({"enabledUser": "N", "dateLastModified": "2025-08-01"}, "2025-08-18"),
        ({"enabledUser": "true"}, None),
        ({"enabledUser": "perhaps"}, None),
    ],
)
def test_a_closed_account_ends_the_enrolment(version: str, facts: roster.Row, left: str | None) -> None:
    begun = {"beginDate": "2025-08-18"}
    enrolled: dict[str, Any] = (
        {"roles": [roster.role(orgSourcedId="o1", **begun)]}
        if version == "1.2"
        else {"enrollments": [in_class("1", "o1", **{"begin": "2025-08-18"})]}
    )
    files = roster.people(version, roster.user(version, **facts), **enrolled)
    assert [row[2:4] for row in of_roster("enrollments", files)] == [("2025-08-18", left)]


def test_an_inactive_class_without_an_end_is_over() -> None:
    files = roster.people("1.1", roster.user("1.1"), enrollments=[in_class("1", "o1", "2025-08-18", status="inactive")])
    assert [row[2:4] for row in of_roster("enrollments", files)] == [("2025-08-18", "2025-10-06")]


@pytest.mark.parametrize("begin", ["08/18/2025", "2025-08-18T00:00:00.000Z", "2025-08-18"])
def test_days_of_classes_are_read_as_dates(begin: str) -> None:
    tenant = roster.TENANT.model_copy(
        update={"profile": roster.TENANT.profile.model_copy(update={"date_format": "%m/%d/%Y"})}
    )
    files = roster.people(
        "1.1",
        roster.user("1.1"),
        enrollments=[in_class("1", "o1", "01/05/2026", "06/05/2026"), in_class("1", "o1", begin, "12/19/2025")],
    )
    rows = of_roster("enrollments", files, tenant=tenant)
    assert [row[2:4] for row in rows] == [("2025-08-18", None)]


@pytest.mark.parametrize("order", [1, -1])
def test_of_roles_that_contradict_each_other_only_what_they_share_is_believed(order: int) -> None:
    begun = {"orgSourcedId": "o1", "beginDate": "2025-08-18"}
    roles = [
        roster.role(sourcedId="a", roleType="primary", **begun),
        roster.role(sourcedId="b", roleType="secondary", endDate="2025-10-01", **begun),
    ]
    opened = roster.source("enrollments", roster.people("1.2", roster.user("1.2"), roles=roles[::order]))
    assert [tuple(roster.fields(row).values()) for row in roster.read(opened)] == [
        ("u1", "o1", "2025-08-18", None, None)
    ]
    assert opened.notes == {"contradicting_roles": 1}


def test_edfi_schools() -> None:
    school = (
        f"<School>{edfi.tags(SchoolId='7', NameOfInstitution='Lake High')}"
        f"<SchoolCategory>{edfi.code('SchoolCategory', 'High School')}</SchoolCategory>"
        f"<GradeLevel>{edfi.code('GradeLevel', 'Tenth grade')}</GradeLevel>"
        f"<GradeLevel>{edfi.code('GradeLevel', 'Ninth grade')}</GradeLevel></School>"
    )
    other = f"<LocalEducationAgency>{edfi.tags(LocalEducationAgencyId='1')}</LocalEducationAgency>"
    opened = edfi.source("schools", edfi.xml("EducationOrganization", school, other))
    (row,) = edfi.read(opened)
    assert roster.fields(row) == {
        "school_id": "7", "name": "Lake High", "level": "High School", "lowest_grade": "9", "highest_grade": "10",
    }  # fmt: skip
    assert opened.left_out == {"local_education_agency": 1}


def test_each_edfi_association_is_an_enrolment() -> None:
    opened = edfi.source(
        "enrollments",
        edfi.xml(
            "StudentEnrollment",
            edfi.enrolled(
                EntryDate="2025-08-18",
                EntryGradeLevel=edfi.code("GradeLevel", "Ninth grade"),
                PrimarySchool="true",
                ExitWithdrawDate="2025-10-01",
                ExitWithdrawType=edfi.code("ExitWithdrawType", "Transferred"),
            ),
            edfi.enrolled("2", EntryDate="2025-08-18", EntryGradeLevel=edfi.code("GradeLevel", "Ungraded")),
        ),
    )
    assert [tuple(roster.fields(row).values()) for row in edfi.read(opened)] == [
        ("1", "7", "2025-08-18", "2025-10-01", "transferred", "9", "true"),
        ("2", "7", "2025-08-18", None, None, None, None),
    ]


def test_enrollments_csv_beside_users_csv_is_one_of_onerosters(tmp_path: Path) -> None:
    tenant = TenantSettings(name="lake", timezone="UTC", first_week=roster.TENANT.first_week, landing=tmp_path)
    (tmp_path / "enrollments.csv").write_text("district_id,entry_date\n1,2025-08-18\n")
    files, unknown = landed_files(tmp_path, tenant)
    assert ([file.format for file in files["enrollments"]], unknown) == (["csv"], [])
    bundle = roster.people("1.1", roster.user("1.1"), enrollments=[in_class("1", "o1", "2025-08-18")], orgs=[org("1")])
    for name, content in bundle.items():
        (tmp_path / name).write_bytes(content)
    files, unknown = landed_files(tmp_path, tenant)
    assert {table: [(file.name, file.format) for file in found] for table, found in files.items()} == {
        "students": [("users.csv", "oneroster")],
        "schools": [("orgs.csv", "oneroster")],
        "enrollments": [("enrollments.csv", "oneroster")],
    }
    assert unknown == []
