"""Ed-Fi XML as records: what becomes a row, what is left out and counted, and what is refused."""

from __future__ import annotations

import datetime as dt
import io
import json
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from edupulse_pipelines.settings import ProfileSettings, TenantSettings
from edupulse_pipelines.sources.edfi import open_bundle
from edupulse_pipelines.sources.edfi_xml import Interchange, interchange_of
from edupulse_pipelines.sources.records import LINE_NUMBER, SYSTEM_COLUMNS, RecordSource, RefusedFile, archive_schema

SAMPLE = Path(__file__).parents[3] / "shared" / "data" / "edfi_sample"
TENANT = TenantSettings(name="lake", timezone="UTC", first_week=dt.date(2025, 9, 1), landing=Path("landing"))
STRICT = TENANT.model_copy(update={"profile": ProfileSettings(extra_credit="quarantine")})
DELIVERED_ON = dt.date(2025, 10, 6)


def xml(interchange: str, *elements: str, namespace: str = "http://ed-fi.org/5.2.0") -> bytes:
    """One interchange file; its first element begins on line 2."""
    body = "\n".join(elements)
    return f'<Interchange{interchange} xmlns="{namespace}">\n{body}\n</Interchange{interchange}>\n'.encode()


def tags(**values: str | None) -> str:
    return "".join(f"<{name}>{value}</{name}>" for name, value in values.items() if value is not None)


def code(descriptor: str, value: str) -> str:
    return f"uri://ed-fi.org/{descriptor}Descriptor#{value}"


def of_student(number: str) -> str:
    return f"<StudentReference><StudentIdentity>{tags(StudentUniqueId=number)}</StudentIdentity></StudentReference>"


SCHOOL = f"<SchoolReference><SchoolIdentity>{tags(SchoolId='7')}</SchoolIdentity></SchoolReference>"


def source(table: str, *files: bytes, tenant: TenantSettings = TENANT) -> RecordSource:
    named = {f"{place}.xml": content for place, content in enumerate(files)}
    return open_bundle(
        {name: partial(io.BytesIO, content) for name, content in named.items()},
        table,
        tenant,
        DELIVERED_ON,
    )


def read(opened: RecordSource) -> list[dict[str, Any]]:
    """All rows of a source, whose tables have the archive's schema."""
    tables = list(opened.batches())
    assert all(table.schema == archive_schema(opened.header) for table in tables)
    return pa.concat_tables([archive_schema(opened.header).empty_table(), *tables]).to_pylist()


def only(table: str, *files: bytes, tenant: TenantSettings = TENANT) -> dict[str, Any]:
    (row,) = read(source(table, *files, tenant=tenant))
    return row


# Students


def student(number: str = "1", **birth: str) -> str:
    name = tags(FirstName="Ada", MiddleName="B", LastSurname="Lane")
    return f"<Student>{tags(StudentUniqueId=number)}<Name>{name}</Name><BirthData>{tags(**birth)}</BirthData></Student>"


def enrolled(number: str = "1", **facts: str | None) -> str:
    return f"<StudentSchoolAssociation>{of_student(number)}{SCHOOL}{tags(**facts)}</StudentSchoolAssociation>"


def described(*parts: str, number: str = "1") -> str:
    name = "StudentEducationOrganizationAssociation"
    return f"<{name}>{of_student(number)}{''.join(parts)}</{name}>"


@pytest.mark.parametrize(
    ("namespace", "source_format"),
    [
        ("http://ed-fi.org/5.2.0", "Ed-Fi 5.2"),
        ("http://ed-fi.org/3.3.1-b", "Ed-Fi 3.3.1-b"),
        ("http://ed-fi.org/0320", "Ed-Fi 0320"),
    ],
)
def test_a_student_is_read_in_any_version(namespace: str, source_format: str) -> None:
    opened = source("students", xml("Student", student("42", BirthDate="2010-02-03Z"), namespace=namespace))
    (row,) = read(opened)
    assert opened.source_format == source_format
    assert {name: row[name] for name in ("district_id", "first_name", "last_name", "date_of_birth")} == {
        "district_id": "42", "first_name": "Ada", "last_name": "Lane", "date_of_birth": "2010-02-03",
    }  # fmt: skip
    assert row["student_metadata"] == '{"middle_name":"B"}'


def test_without_the_enrollment_interchange_its_columns_are_absent() -> None:
    assert not {"grade_level", "ethnicity", "enrollment_date", "exit_date", "exit_type"} & set(
        source("students", xml("Student", student())).header
    )


def test_enrolment_begins_with_the_first_entry_and_has_the_level_of_the_last() -> None:
    row = only(
        "students",
        xml("Student", student()),
        xml(
            "StudentEnrollment",
            enrolled(EntryDate="2026-01-07", EntryGradeLevel=code("GradeLevel", "Tenth grade")),
            enrolled(
                EntryDate="2025-08-18", EntryGradeLevel=code("GradeLevel", "Ninth grade"), ExitWithdrawDate="2025-12-19"
            ),
        ),
    )
    assert (row["enrollment_date"], row["grade_level"]) == ("2025-08-18", "10")
    assert (row["exit_date"], row["exit_type"]) == (None, None)


@pytest.mark.parametrize(
    ("exit_type", "expected"),
    [
        ("Graduated", "completed"), ("Completed", "completed"), ("Transferred", "transferred"),
        ("Dropout", "dropped_out"), ("End of school year", "other"), ("Withdrawn", "other"), ("Moved abroad", "other"),
        (None, "other"),
    ],
)  # fmt: skip
def test_exit_types(exit_type: str | None, expected: str) -> None:
    kind = exit_type and code("ExitWithdrawType", exit_type)
    left = enrolled(EntryDate="2025-08-18", ExitWithdrawDate="2025-09-30", ExitWithdrawType=kind)
    row = only("students", xml("Student", student()), xml("StudentEnrollment", left))
    assert (row["exit_date"], row["exit_type"]) == ("2025-09-30", expected)


@pytest.mark.parametrize(
    ("level", "expected"),
    [("Kindergarten", "0"), ("First grade", "1"), ("Twelfth grade", "12"), ("Owls", "Owls")],
)
def test_grade_levels_beside_kindergarten_and_1_to_12_are_for_the_profile(level: str, expected: str) -> None:
    entry = enrolled(EntryDate="2025-08-18", EntryGradeLevel=code("GradeLevel", level))
    assert only("students", xml("Student", student()), xml("StudentEnrollment", entry))["grade_level"] == expected


WHITE, ASIAN = (f"<Race>{code('Race', race)}</Race>" for race in ("White", "Asian"))


@pytest.mark.parametrize(
    ("level", "code_of_it"),
    [
        ("Prekindergarten", "PK"), ("Preschool/Prekindergarten", "PK"), ("Infant/toddler", "IT"), ("Ungraded", "UG"),
        ("Transitional Kindergarten", "TK"), ("Postsecondary", "PS"), ("Grade 13", "13"),
    ],
)  # fmt: skip
def test_a_known_grade_without_a_number_is_kept_as_a_fact(level: str, code_of_it: str) -> None:
    entry = enrolled(EntryDate="2025-08-18", EntryGradeLevel=code("GradeLevel", level))
    row = only("students", xml("Student", student()), xml("StudentEnrollment", entry))
    assert (row["grade_level"], json.loads(row["student_metadata"])["grade_code"]) == (None, code_of_it)


def told(*associations: str) -> tuple[dict[str, Any], dict[str, int]]:
    """The only student beside these associations, and what was noted."""
    opened = source("students", xml("Student", student()), xml("StudentEnrollment", *associations))
    (row,) = read(opened)
    return row, opened.notes


def test_two_associations_of_a_student_are_taken_together_or_contradict_each_other() -> None:
    female, male = (tags(Sex=code("Sex", sex)) for sex in ("Female", "Male"))
    row, notes = told(described(WHITE, female), described(WHITE, female))
    assert (row["ethnicity"], row["gender"], notes) == ("White", "Female", {})
    row, notes = told(described(WHITE), described(ASIAN, female))
    assert (row["ethnicity"], row["gender"], notes) == ("Two or more races", "Female", {})
    row, notes = told(described(female), described(male))
    assert (row["gender"], notes) == (None, {"contradicting_sex": 1})
    said = [described(WHITE, tags(HispanicLatinoEthnicity=answer)) for answer in ("Yes", "0")]
    row, notes = told(*said)
    assert (row["ethnicity"], notes) == (None, {"contradicting_hispanic_latino_ethnicity": 1})
    row, notes = told(described(WHITE, tags(HispanicLatinoEthnicity="maybe")))
    assert (row["ethnicity"], notes) == ("White", {"not_understood_hispanic_latino_ethnicity": 1})


def contact(kind: str, number: str, **address: str) -> str:
    mail = f"<ElectronicMail>{tags(ElectronicMailAddress=address.get('mail'))}</ElectronicMail>"
    phone = f"<Telephone>{tags(TelephoneNumber=address.get('phone'))}</Telephone>"
    return f"<{kind}><{kind}UniqueId>{number}</{kind}UniqueId>{mail}{phone}</{kind}>"


def association(kind: str, number: str, relation: str, **facts: str) -> str:
    identity = f"<{kind}Identity><{kind}UniqueId>{number}</{kind}UniqueId></{kind}Identity>"
    return (
        f"<Student{kind}Association>{of_student('1')}<{kind}Reference>{identity}</{kind}Reference>"
        f"{tags(Relation=code('Relation', relation), **facts)}</Student{kind}Association>"
    )


@pytest.mark.parametrize("kind", ["Parent", "Contact"])
def test_the_contact_is_the_first_parent_guardian_or_relative_who_can_be_reached(kind: str) -> None:
    def contact_of(*people: tuple[str, dict[str, str], dict[str, str]]) -> tuple[str | None, dict[str, int]]:
        persons = [contact(kind, str(place), **address) for place, (_, address, _) in enumerate(people)]
        links = [association(kind, str(place), relation, **facts) for place, (relation, _, facts) in enumerate(people)]
        opened = source("students", xml("Student", student()), xml(f"Student{kind}", *persons, *links))
        (row,) = [row for row in read(opened) if row["district_id"] == "1"]
        assert opened.left_out == {}
        return row["parent_contact"], opened.notes

    mother, neighbor = ("Mother, foster", {"phone": "555-01"}, {}), ("Neighbor", {"mail": "n@x"}, {})
    assert contact_of(mother) == ("555-01", {})
    assert contact_of(neighbor, mother) == ("555-01", {"contacts_who_are_no_relatives": 1})
    assert contact_of(("Case worker", {"mail": "w@x"}, {}), ("Family friend", {"mail": "f@x"}, {}))[0] is None
    assert contact_of(mother, ("Guardian", {"mail": "g@x"}, {"ContactPriority": "1"}))[0] == "g@x"
    assert contact_of(mother, ("Aunt", {"mail": "a@x"}, {"PrimaryContactStatus": "1"}))[0] == "a@x"
    assert contact_of(("Father", {}, {}), mother)[0] == "555-01"


def test_dates_follow_the_profile_and_time_stamps_the_time_zone() -> None:
    profile = ProfileSettings(date_format="DD/MM/YYYY")
    there = TENANT.model_copy(update={"profile": profile, "timezone": "America/New_York"})
    born = {"15/06/2011": "2011-06-15", "2011-06-15T02:30:00Z": "2011-06-14", "2011-06-15Z": "2011-06-15"}
    for written, expected in born.items():
        row = only("students", xml("Student", student(BirthDate=written)), tenant=there)
        assert row["date_of_birth"] == expected


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([WHITE], "White"),
        ([f"<Race>{WHITE}</Race>"], "White"),
        ([WHITE, ASIAN], "Two or more races"),
        ([ASIAN, tags(HispanicLatinoEthnicity="true")], "Hispanic"),
        ([tags(Race=code("Race", "Black - African American"))], "Black or African American"),
        ([tags(Race=code("Race", "Choose Not to Respond"))], None),
        ([], None),
    ],
)
def test_ethnicity(parts: list[str], expected: str | None) -> None:
    row = only("students", xml("Student", student()), xml("StudentEnrollment", described(*parts)))
    assert row["ethnicity"] == expected


@pytest.mark.parametrize(
    ("birth_sex", "sex", "expected"),
    [("Male", None, "Male"), ("Male", "Female", "Female"), (None, "Not Selected", None), (None, None, None)],
)
def test_gender_is_the_sex_else_the_sex_at_birth(birth_sex: str | None, sex: str | None, expected: str | None) -> None:
    born = {"BirthSex": code("Sex", birth_sex)} if birth_sex else {}
    row = only(
        "students",
        xml("Student", student(**born)),
        xml("StudentEnrollment", described(tags(Sex=sex and code("Sex", sex)))),
    )
    assert row["gender"] == expected


# Attendance


def event(number: str | None, day: str | None, category: str | None, school: str = SCHOOL) -> str:
    what = tags(EventDate=day, AttendanceEventCategory=category and code("AttendanceEventCategory", category))
    return (
        f"<StudentSchoolAttendanceEvent><AttendanceEvent>{what}</AttendanceEvent>"
        f"{of_student(number) if number else ''}{school}</StudentSchoolAttendanceEvent>"
    )


@pytest.mark.parametrize(
    ("category", "status"),
    [
        ("Unexcused Absence", "absent"), ("Excused Absence", "excused"), ("Tardy", "tardy"), ("Partial", "tardy"),
        ("Early departure", "tardy"), ("Present", "present"), ("In Attendance", "present"),
        ("Field trip", "Field trip"), (None, None),
    ],
)  # fmt: skip
def test_categories(category: str | None, status: str | None) -> None:
    row = only("attendance_records", xml("StudentAttendance", event("1", "2025-09-02", category)))
    assert {name: row[name] for name in ("district_id", "date", "status")} == {
        "district_id": "1", "date": "2025-09-02", "status": status,
    }  # fmt: skip


def test_the_worst_event_of_a_day_stays() -> None:
    opened = source(
        "attendance_records",
        xml(
            "StudentAttendance",
            event("1", "2025-09-02", "Tardy"),
            event("2", "2025-09-02", "Tardy"),
            event("1", "2025-09-02", "Unexcused Absence"),
            event("1", "2025-09-02", "Excused Absence"),
            event("1", "2025-09-03", "Tardy"),
        ),
    )
    rows = [(row[LINE_NUMBER], row["district_id"], row["date"], row["status"]) for row in read(opened)]
    assert rows == [
        (3, "2", "2025-09-02", "tardy"),
        (4, "1", "2025-09-02", "absent"),
        (6, "1", "2025-09-03", "tardy"),
    ]
    assert opened.left_out == {"second_event_of_the_day": 2}


@pytest.mark.parametrize(
    "other", [("1", "2025-09-02", "Field trip"), (None, "2025-09-02", "Tardy"), ("1", None, "Tardy")]
)
def test_an_event_that_is_unclear_is_kept_to_be_quarantined(other: tuple[str | None, str | None, str]) -> None:
    opened = source("attendance_records", xml("StudentAttendance", event("1", "2025-09-02", "Tardy"), event(*other)))
    assert len(read(opened)) == 2
    assert opened.left_out == {}


def identified(**parts: str) -> str:
    """A section as it is referred to: its identifier, and where it is taught."""
    offering = tags(LocalCourseCode=parts.get("course"))
    if "school" in parts:
        offering += (
            f"<SchoolReference><SchoolIdentity>{tags(SchoolId=parts['school'])}</SchoolIdentity></SchoolReference>"
        )
    identity = f"<CourseOfferingIdentity>{offering}</CourseOfferingIdentity>" if offering else ""
    return tags(SectionIdentifier=parts["section"]) + f"<CourseOfferingReference>{identity}</CourseOfferingReference>"


def meets(*periods: str) -> str:
    return "".join(
        "<ClassPeriodReference><ClassPeriodIdentity>"
        f"{tags(ClassPeriodName=name)}</ClassPeriodIdentity></ClassPeriodReference>"
        for name in periods
    )


def section_event(number: str, day: str, category: str, reference: str, *periods: str) -> str:
    what = tags(EventDate=day, AttendanceEventCategory=code("AttendanceEventCategory", category))
    section = f"<SectionReference><SectionIdentity>{reference}</SectionIdentity></SectionReference>"
    return (
        f"<StudentSectionAttendanceEvent><AttendanceEvent>{what}</AttendanceEvent>{of_student(number)}"
        f"{section if reference else ''}{meets(*periods)}</StudentSectionAttendanceEvent>"
    )


def sessions(*files: bytes) -> list[tuple[str, str, str]]:
    """Student, status and period of each row."""
    return [(row["district_id"], row["status"], row["period"]) for row in read(source("attendance_records", *files))]


def test_an_event_of_a_section_has_the_period_that_the_section_is_taught_in() -> None:
    day, absence = "2025-09-02", "Unexcused Absence"
    here = {"course": "ALG-1", "school": "7"}
    schedule = xml(
        "MasterSchedule",
        f"<Section>{identified(section='A', **here)}{meets('03 - Traditional', 'Period 2')}</Section>",
        f"<Section>{identified(section='A', course='ALG-1', school='8')}{meets('Period 5')}</Section>",
        f"<Section>{identified(section='B', **here)}{meets('Homeroom')}</Section>",
    )
    events = [
        section_event("1", day, absence, identified(section="A", **here)),
        section_event("2", day, absence, identified(section="A", course="ALG-1", school="8")),
        section_event("3", day, absence, identified(section="A", **here), "Period 6"),  # the event says it itself
        section_event("4", day, absence, identified(section="A")),  # of which school?
        section_event("5", day, absence, identified(section="B", **here)),
    ]
    found = sessions(xml("StudentAttendance", *events), schedule)
    assert found[:3] == [("1", "absent", "2"), ("2", "absent", "5"), ("3", "absent", "6")]
    assert all(int(period) >= 1000 for _, _, period in found[3:])


def test_a_section_without_a_period_has_one_number_in_every_delivery() -> None:
    day, absence = "2025-09-02", "Unexcused Absence"
    both = [section_event("1", day, absence, identified(section=name)) for name in ("S1", "S2")]
    first, second = sessions(xml("StudentAttendance", *both))
    assert first[2] != second[2]
    assert sessions(xml("StudentAttendance", both[1])) == [second]
    assert sessions(xml("StudentAttendance", *reversed(both))) == [second, first]
    assert (
        len({first[2], second[2], sessions(xml("StudentAttendance", section_event("1", day, absence, "")))[0][2]}) == 3
    )


def test_a_day_at_two_schools_is_two_events_and_each_has_its_school() -> None:
    day, absence, other = "2025-09-02", "Unexcused Absence", SCHOOL.replace("7", "8")
    at_7, nowhere = identified(section="S1", school="7"), identified(section="S2")
    opened = source(
        "attendance_records",
        xml(
            "StudentAttendance",
            event("1", day, absence),
            event("1", day, "Tardy", other),
            event("1", day, "Excused Absence", other),
            # What the day at a school says is not said again by a section there.
            section_event("2", day, "Tardy", at_7),
            event("2", day, absence),
            event("2", day, "Tardy", other),
            # A section of which nobody says where it is: at the one school of that day.
            event("3", day, absence),
            section_event("3", day, "Tardy", nowhere),
            # Or at one of two, so that it may be said once more.
            event("4", day, absence),
            event("4", day, absence, other),
            section_event("4", day, "Tardy", nowhere),
        ),
    )
    found = [(row["district_id"], row["status"], row["school_id"]) for row in read(opened)]
    assert found == [
        ("1", "absent", "7"),
        ("1", "excused", "8"),
        ("2", "absent", "7"),
        ("2", "tardy", "8"),
        ("3", "absent", "7"),
        ("4", "absent", "7"),
        ("4", "absent", "8"),
        ("4", "tardy", None),
    ]
    assert opened.left_out == {"second_event_of_the_day": 1, "section_event_of_an_event_of_the_day": 2}


def test_the_worst_event_of_a_period_stays_and_what_the_day_says_is_not_said_twice() -> None:
    day, absence = "2025-09-02", "Unexcused Absence"
    one, two = identified(section="S1"), identified(section="S2")
    opened = source(
        "attendance_records",
        xml(
            "StudentAttendance",
            section_event("1", day, "Tardy", one),
            section_event("1", day, absence, one),
            section_event("1", day, "Tardy", two),
            event("2", day, absence),
            section_event("2", day, absence, one),
            section_event("2", day, "Excused Absence", two),
            event("3", day, "Tardy"),
            section_event("3", day, absence, one),
            section_event("3", day, "Tardy", two),
        ),
    )
    rows = [(row["district_id"], row["status"], row["period"] is None) for row in read(opened)]
    assert rows == [
        ("1", "absent", False), ("1", "tardy", False), ("2", "absent", True), ("3", "tardy", True),
        ("3", "absent", False),
    ]  # fmt: skip
    assert opened.left_out == {"second_event_of_the_day": 1, "section_event_of_an_event_of_the_day": 3}


def test_a_calendar_alone_says_that_no_attendance_was_sent() -> None:
    opened = source("attendance_records", calendar("School", 20))
    assert read(opened) == []
    assert opened.left_out == {"not_sent": 1}


# Days of instruction


def calendar(kind: str | None, days: int, events: str = "Instructional day") -> bytes:
    identity = tags(CalendarCode="C", SchoolYear="2025-2026") + SCHOOL
    declared = f"<Calendar>{identity}{tags(CalendarType=code('CalendarType', kind))}</Calendar>" if kind else ""
    reference = f"<CalendarReference><CalendarIdentity>{identity}</CalendarIdentity></CalendarReference>"
    dates = [
        f"<CalendarDate>{tags(Date=f'2025-09-{day:02}', CalendarEvent=code('CalendarEvent', events))}{reference}"
        "</CalendarDate>"
        for day in range(days, 0, -1)
    ]
    return xml("EducationOrgCalendar", *dates, declared)


@pytest.mark.parametrize(
    ("content", "days"),
    [
        (calendar("School", 20), 20),
        (calendar("Grade Level", 25), 25),
        (calendar("School", 20, "Make-up day"), 20),
        (calendar("School", 20, "Student late arrival/early dismissal"), 20),
        (calendar("School", 20, "Holiday"), 0),
        (calendar("School", 19), 0),
        (calendar("Student Specific", 25), 0),
        (calendar("IEP", 25), 0),
        (calendar("Staff", 25), 0),
        (calendar(None, 25), 0),
    ],
)
def test_days_of_instruction_are_those_of_a_schools_calendar(content: bytes, days: int) -> None:
    opened = source("attendance_records", content)
    assert opened.instructional_days == [dt.date(2025, 9, day) for day in range(1, days + 1)]
    assert read(opened) == []


# Incidents


def incident(identifier: str = "10", *parts: str, behavior: str = "School Violation", **facts: str) -> str:
    what = tags(Behavior=code("Behavior", behavior))
    return (
        f'<DisciplineIncident id="D{identifier}">{tags(IncidentIdentifier=identifier, IncidentDate="2025-09-03")}'
        f"<Behavior>{what}</Behavior>{SCHOOL}{tags(**facts)}{''.join(parts)}</DisciplineIncident>"
    )


NON_OFFENDER = "StudentDisciplineIncidentNonOffenderAssociation"


def participation(value: str | None) -> str:
    return tags(DisciplineIncidentParticipationCode=value and code("DisciplineIncidentParticipationCode", value))


def offense(
    number: str = "1",
    reference: str = "D10",
    behavior: str = "School Violation",
    who: str | None = None,
    more: str = "",
) -> str:
    return (
        f'<StudentDisciplineIncidentBehaviorAssociation id="A{number}">{of_student(number)}'
        f'<DisciplineIncidentReference ref="{reference}"/>{tags(Behavior=code("Behavior", behavior))}'
        f"{participation(who)}{more}</StudentDisciplineIncidentBehaviorAssociation>"
    )


def action(discipline: str, number: str = "1", reference: str = "", length: str = "3") -> str:
    name = "StudentDisciplineIncidentBehaviorAssociation"
    identity = (
        f"<{name}Identity>{of_student(number)}<DisciplineIncidentReference><DisciplineIncidentIdentity>"
        f"{tags(IncidentIdentifier='10')}{SCHOOL}</DisciplineIncidentIdentity></DisciplineIncidentReference>"
        f"</{name}Identity>"
    )
    target = f'<{name}Reference ref="{reference}"/>' if reference else f"<{name}Reference>{identity}</{name}Reference>"
    return (
        f"<DisciplineAction>{tags(Discipline=code('Discipline', discipline), ActualDisciplineActionLength=length)}"
        f"{target}</DisciplineAction>"
    )


def test_an_incident_of_a_perpetrator() -> None:
    location = code("IncidentLocation", "School bus")
    row = only(
        "discipline_incidents",
        xml(
            "StudentDiscipline",
            # The parts may stand in any order.
            offense("604", who="Perpetrator", more=tags(BehaviorDetailedDescription="Shoving")),
            action("In School Suspension", "604"),
            action("Detention", "604", length="1"),
            incident(IncidentLocation=location),
        ),
    )
    assert {name: value for name, value in row.items() if name not in SYSTEM_COLUMNS} == {
        "district_id": "604",
        "source_record_id": "7-10-604",
        "incident_date": "2025-09-03",
        "severity_level": "2",
        "incident_type": "School Violation",
        "description": "Shoving; location: School bus",
        "resolution": "In School Suspension, 3 days; Detention, 1 day",
    }


def test_others_than_perpetrators_are_left_out_by_their_part() -> None:
    outsider = (
        f"<DisciplineIncidentExternalParticipant>{participation('Victim')}</DisciplineIncidentExternalParticipant>"
    )
    staff = participation("Reporter") + participation("Witness")
    witness = of_student("3") + participation("Witness")
    opened = source(
        "discipline_incidents",
        xml(
            "StudentDiscipline",
            incident("10", outsider),
            offense("1"),
            offense("2", who="Victim"),
            f"<{NON_OFFENDER}>{witness}</{NON_OFFENDER}>",
            f"<StaffDisciplineIncidentAssociation>{staff}</StaffDisciplineIncidentAssociation>",
        ),
    )
    assert [row["district_id"] for row in read(opened)] == ["1"]
    assert opened.left_out == {
        "external_victim": 1, "student_victim": 1, "student_witness": 1, "staff_reporter": 1, "staff_witness": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("behavior", "graver", "expected"),
    [
        ("Other", "", "1"), ("School Violation", "", "2"), ("School Code of Conduct", "", "3"),
        ("State Offense", "", "4"),
        ("State Offense", "weapon", "5"), ("State Offense", "police", "5"), ("State Offense", "expulsion", "5"),
        ("Other", "weapon", "4"), ("School Code of Conduct", "police", "4"), ("Vaping", "", "Vaping"),
        ("Vaping", "weapon", "Vaping"),
    ],
)  # fmt: skip
def test_severity(behavior: str, graver: str, expected: str) -> None:
    weapon = tags(Weapon=code("Weapon", "Knife")) if graver == "weapon" else ""
    row = only(
        "discipline_incidents",
        xml(
            "StudentDiscipline",
            incident(ReportedToLawEnforcement="true" if graver == "police" else "false"),
            offense(behavior=behavior, more=weapon),
            *([action("Expulsion", reference="A1")] if graver == "expulsion" else []),
        ),
    )
    assert row["severity_level"] == expected


def test_several_behaviors_of_a_student_are_one_incident_of_the_gravest() -> None:
    opened = source(
        "discipline_incidents",
        xml("StudentDiscipline", incident(), offense(behavior="Other"), offense(behavior="State Offense")),
    )
    (row,) = read(opened)
    assert (row["severity_level"], row["incident_type"]) == ("4", "Other; State Offense")
    assert opened.left_out == {"further_behavior_of_the_incident": 1}


def test_what_cannot_be_resolved_is_kept_to_be_quarantined() -> None:
    unknown_incident, unknown_part = read(
        source(
            "discipline_incidents",
            xml("StudentDiscipline", incident(), offense("1", reference="D99"), offense("2", who="Bystander")),
        )
    )
    assert (unknown_incident["district_id"], unknown_incident["incident_date"]) == ("1", None)
    assert unknown_part["severity_level"] == "participation Bystander"


def test_an_incident_that_is_told_in_two_ways_is_held_back() -> None:
    twice = [incident("10"), incident("10").replace("2025-09-03", "2025-09-04")]
    opened = source("discipline_incidents", xml("StudentDiscipline", *twice, offense()))
    (row,) = read(opened)
    assert (row["incident_date"], opened.notes) == (None, {"contradicting_discipline_incidents": 1})
    same = source("discipline_incidents", xml("StudentDiscipline", incident("10"), incident("10"), offense()))
    assert (read(same)[0]["incident_date"] is not None, same.notes) == (True, {})


def test_a_report_that_is_not_understood_leaves_the_severity_unknown() -> None:
    for said, severity in (("1", "4"), ("No", "2"), ("perhaps", "not understood")):
        told = incident("10", ReportedToLawEnforcement=said)
        assert only("discipline_incidents", xml("StudentDiscipline", told, offense()))["severity_level"] == severity


def test_incidents_of_data_standard_3() -> None:
    name = "StudentDisciplineIncidentAssociation"

    def part(number: str, who: str) -> str:
        behavior = f"<Behavior>{tags(Behavior=code('Behavior', 'Other'))}</Behavior>"
        reference = '<DisciplineIncidentReference ref="D10"/>'
        return f"<{name}>{of_student(number)}{reference}{tags(StudentParticipationCode=who)}{behavior}</{name}>"

    opened = source(
        "discipline_incidents",
        xml(
            "StudentDiscipline",
            incident(),
            part("1", "Perpetrator"),
            part("2", "Victim"),
            namespace="http://ed-fi.org/0320",
        ),
    )
    assert [(row["district_id"], row["severity_level"]) for row in read(opened)] == [("1", "1")]
    assert opened.left_out == {"student_victim": 1}


# Grades


def assignment(identifier: str = "G1", **facts: str) -> str:
    course = (
        "<SectionReference><SectionIdentity><CourseOfferingReference><CourseOfferingIdentity>"
        f"{tags(LocalCourseCode='ALG-1')}</CourseOfferingIdentity></CourseOfferingReference></SectionIdentity>"
        "</SectionReference>"
    )
    values = {"GradebookEntryIdentifier": identifier, "DateAssigned": "2025-09-01", "Title": "Quiz 1"} | facts
    return f"<GradebookEntry>{course}{tags(**values)}</GradebookEntry>"


def graded(identifier: str = "G1", number: str = "1", **facts: str) -> str:
    reference = f"<GradebookEntryIdentity>{tags(GradebookEntryIdentifier=identifier)}</GradebookEntryIdentity>"
    return (
        f"<StudentGradebookEntry><GradebookEntryReference>{reference}</GradebookEntryReference>{of_student(number)}"
        f"{tags(**facts)}</StudentGradebookEntry>"
    )


def grade(entry: dict[str, str], work: dict[str, str] | None = None, tenant: TenantSettings = TENANT) -> dict[str, Any]:
    return only("grades", xml("StudentGradebook", graded(**entry), assignment(**(work or {}))), tenant=tenant)


def test_a_grade() -> None:
    row = grade({"NumericGradeEarned": "74.00", "LetterGradeEarned": "C", "SubmissionStatus": code("S", "Graded")})
    assert {name: value for name, value in row.items() if name not in SYSTEM_COLUMNS} == {
        "district_id": "1",
        "source_record_id": "G1-1",
        "course_id": "ALG-1",
        "course_name": "ALG-1",
        "grade_value": "74.00",
        "grade_letter": "C",
        "submission_date": "2025-09-01",
        "assignment_type": "Quiz",
        "assignment_id": "G1",
        "due_date": None,
    }
    assert grade({"NumericGradeEarned": "74"}, {"DueDate": "2025-09-08"})["due_date"] == "2025-09-08"


@pytest.mark.parametrize(
    ("entry", "work", "expected"),
    [
        ({"DateFulfilled": "2025-09-05"}, {"DueDate": "2025-09-08"}, "2025-09-05"),
        ({}, {"DueDate": "2025-09-08"}, "2025-09-08"),
        ({}, {"DueDate": "2025-10-20"}, "2025-09-01"),  # the delivery is of 2025-10-06
        ({}, {}, "2025-09-01"),
        ({}, {"DateAssigned": ""}, None),
    ],
)
def test_the_date_of_a_grade(entry: dict[str, str], work: dict[str, str], expected: str | None) -> None:
    assert grade({"NumericGradeEarned": "74"} | entry, work)["submission_date"] == expected


@pytest.mark.parametrize(
    ("work", "expected"),
    [
        ({"Title": "Unit 1 Test"}, "Unit Test"),
        ({"Title": "Assignment 12"}, "Assignment"),
        ({"GradebookEntryType": code("GradebookEntryType", "Homework")}, "Homework"),
        ({"Title": "An essay on everything that happened since the beginning of time"}, None),
    ],
)
def test_the_type_of_an_assignment_or_its_title_without_a_number(work: dict[str, str], expected: str | None) -> None:
    assert grade({"NumericGradeEarned": "74"}, work)["assignment_type"] == expected


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"PointsEarned": "8"}, "40"),
        ({"PointsEarned": "8", "NumericGradeEarned": "41"}, "41"),
        ({"PointsEarned": "eight"}, "eight of 20 points"),
        ({"NumericGradeEarned": "good"}, "good"),
        ({"NumericGradeEarned": "90", "SubmissionStatus": code("S", "Late work")}, "Late work"),
    ],
)
def test_the_value_of_a_grade(entry: dict[str, str], expected: str) -> None:
    assert grade(entry, {"MaxPoints": "20"})["grade_value"] == expected


def test_extra_credit_follows_the_profile() -> None:
    files = xml("StudentGradebook", graded(NumericGradeEarned="103"), assignment())
    capped, kept = source("grades", files), source("grades", files, tenant=STRICT)
    assert [row["grade_value"] for row in read(capped) + read(kept)] == ["100", "103"]
    assert (getattr(capped, "notes"), getattr(kept, "notes")) == ({"capped_at_100": 1}, {})  # noqa: B009


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"SubmissionStatus": code("S", "Exempt"), "NumericGradeEarned": "0"}, "exempt"),
        ({"SubmissionStatus": code("S", "Not Submitted"), "NumericGradeEarned": "0"}, "not_submitted"),
        ({"SubmissionStatus": code("S", "Submitted")}, "submitted"),
        ({"SubmissionStatus": code("S", "Returned"), "NumericGradeEarned": "50"}, "returned"),
        ({}, "not_graded"),
    ],
)
def test_work_without_a_grade_is_left_out_and_no_zero(facts: dict[str, str], reason: str) -> None:
    opened = source("grades", xml("StudentGradebook", assignment(), graded(**facts)))
    assert read(opened) == []
    assert opened.left_out == {reason: 1}


def test_a_grade_of_an_unknown_assignment_is_kept_to_be_quarantined() -> None:
    row = only("grades", xml("StudentGradebook", graded("G9", NumericGradeEarned="74")))
    assert (row["source_record_id"], row["course_id"], row["submission_date"]) == ("G9-1", None, None)


# Files


def test_a_row_has_the_line_its_element_begins_on() -> None:
    rows = read(source("students", xml("Student", "<!-- -->", student("1"), "", student("2"))))
    assert [row[LINE_NUMBER] for row in rows] == [3, 5]


def test_line_numbers_are_used_once_whatever_the_layout() -> None:
    packed = xml("Student", student("1") + student("2"))
    rows = read(source("students", packed, packed))
    assert [row[LINE_NUMBER] for row in rows] == [2, 3, 6, 7]


def test_files_are_known_by_their_root_and_elements_of_extensions_are_not_ours() -> None:
    extension = '<x:Student xmlns:x="http://state.example/ext"><x:StudentUniqueId>9</x:StudentUniqueId></x:Student>'
    opened = source("students", b"not XML", xml("StudentParent", student("1"), extension, "<Person/>", "<Person/>"))
    assert [row["district_id"] for row in read(opened)] == ["1"]
    assert opened.left_out == {"person": 2, "student": 1}


def test_a_file_larger_than_what_is_read_at_once() -> None:
    rows = read(source("students", xml("Student", *(student(str(number)) for number in range(2500)))))
    assert [row["district_id"] for row in rows] == [str(number) for number in range(2500)]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (xml("StudentGradebook"), Interchange("StudentGradebook", "5.2.0")),
        (xml("Student", namespace="http://example.org/5.2.0"), None),
        (b"<Descriptors xmlns='http://ed-fi.org/5.2.0'/>", None),
        (b"district_id,first_name\n", None),
        (b"", None),
    ],
)
def test_an_interchange_is_known_by_its_root(content: bytes, expected: Interchange | None) -> None:
    assert interchange_of(io.BytesIO(content)) == expected


BOMB = b"""<!DOCTYPE InterchangeStudent [<!ENTITY a "ha"><!ENTITY b "&a;&a;"><!ENTITY c SYSTEM "file:///etc/passwd">]>
"""


MANY_ATTRIBUTES = " ".join(f"attribute_{number}='Grace'" for number in range(80_000))


@pytest.mark.parametrize(
    ("content", "reason", "line"),
    [
        (BOMB + xml("Student", student("&b;")), "forbidden_xml", 1),
        (xml("Student", student("1"), "<Student><Name>Grace</Student>"), "malformed_xml", 3),
        (xml("Student", student("1"))[:-30], "malformed_xml", 2),
        (xml("Student", f"<Student>{'<x/>' * 20_001}</Student>"), "malformed_xml", 2),
        (xml("Student", f"<Student>{'Grace ' * 200_000}</Student>"), "malformed_xml", 2),
        (xml("Student", f"<Student id='{'Grace ' * 200_000}'></Student>"), "malformed_xml", 2),
        (xml("Student", f"<Student><Name x='{'Grace ' * 200_000}'/></Student>"), "malformed_xml", 2),
        (xml("Student", f"<x:Other xmlns:x='{'Grace' * 300}'/>"), "malformed_xml", 2),
        (xml("Student", f"<Student><{'Grace' * 300}/></Student>"), "malformed_xml", 2),
        (xml("Student", f"<Student {MANY_ATTRIBUTES}></Student>"), "malformed_xml", 2),
    ],
    ids=lambda value: None if isinstance(value, int) else value[:24] if isinstance(value, str) else "xml",
)
def test_bad_xml_is_refused_by_file_and_line_and_shows_no_value(content: bytes, reason: str, line: int) -> None:
    with pytest.raises(RefusedFile) as refused:
        read(source("students", content))
    assert refused.value.reason == reason
    assert f"0.xml: line {line}:" in refused.value.detail
    assert not any(value in refused.value.detail for value in ("Grace", "Ada", "passwd"))


class Counted(io.BytesIO):
    """A file that counts the bytes that were taken from it."""

    taken = 0

    def read(self, size: int | None = -1, /) -> bytes:
        content = super().read(size)
        self.taken += len(content)
        return content

    def readinto(self, buffer: Any, /) -> int:
        count = super().readinto(buffer)
        self.taken += count
        return count


@pytest.mark.parametrize(
    "endless",
    [
        "<Student id='{}'/>",
        "<Other id='{}'/>",
        "<Student><Name x='{}'/></Student>",
        "<!-- {} -->",
        "<?x {} ?>",
        "<{}/>",
    ],
)
def test_a_tag_without_end_is_refused_long_before_it_has_been_read(endless: str) -> None:
    """The parser begins a tag anew with every chunk of the file: 32 MB of one cost seconds, and twice as much four
    times as many."""
    content = xml("Student", student("1"), endless.format("Grace" * 8_000_000))
    streams: list[Counted] = []

    def open_file() -> io.BytesIO:
        streams.append(Counted(content))
        return streams[-1]

    with pytest.raises(RefusedFile, match=r"0.xml: line [1-3]: more than 4,194,304 bytes in one tag") as refused:
        read(open_bundle({"0.xml": open_file}, "students", TENANT, DELIVERED_ON))
    assert refused.value.reason == "malformed_xml"
    assert 0 < streams[-1].taken < 6 << 20


def test_a_bundle_without_the_interchange_is_refused() -> None:
    with pytest.raises(RefusedFile, match="InterchangeStudentDiscipline") as refused:
        source("discipline_incidents", xml("Student", student()))
    assert refused.value.reason == "missing_file"


# The sample of the Ed-Fi Data Standard


@pytest.mark.skipif(not SAMPLE.is_dir(), reason="the Ed-Fi sample is not beside the repository")
class TestSample:
    """Every number that is known of the sample."""

    @staticmethod
    def rows(table: str) -> tuple[RecordSource, list[dict[str, Any]]]:
        opened = open_bundle(
            {path.name: partial(io.FileIO, path) for path in SAMPLE.iterdir()}, table, TENANT, DELIVERED_ON
        )
        return opened, read(opened)

    def test_students(self) -> None:
        opened, rows = self.rows("students")
        assert (len(rows), len({row["district_id"] for row in rows}), opened.left_out) == (960, 960, {"person": 3})
        assert sum(row["gender"] is not None for row in rows) == 3
        assert all(row[name] for row in rows for name in ("first_name", "last_name", "date_of_birth"))
        assert (rows[0][LINE_NUMBER], opened.source_format) == (3, "Ed-Fi 5.2")

    def test_attendance(self) -> None:
        opened, rows = self.rows("attendance_records")
        assert Counter(row["status"] for row in rows) == {"excused": 1077, "absent": 773, "tardy": 66}
        assert (len(rows), opened.left_out) == (1916, {"second_event_of_the_day": 1})
        assert (len({row["date"] for row in rows}), len({row["district_id"] for row in rows})) == (162, 227)
        assert opened.instructional_days == []  # two days of one student are no calendar

    def test_incidents(self) -> None:
        opened, rows = self.rows("discipline_incidents")
        assert Counter(row["incident_type"] for row in rows) == {
            "State Offense": 9, "School Code of Conduct": 7, "School Violation": 4, "Other": 1,
        }  # fmt: skip
        assert opened.left_out == {
            "student_witness": 2, "staff_reporter": 21, "staff_witness": 3, "external_victim": 3,
            "external_perpetrator": 2, "external_witness": 2,
        }  # fmt: skip
        actions = Counter(action for row in rows for action in row["resolution"].split("; "))
        assert (sum(actions.values()), actions["Expulsion, 5 days"]) == (25, 1)
        assert all(row["severity_level"] in "12345" and row["incident_date"] for row in rows)

    def test_grades(self) -> None:
        opened, rows = self.rows("grades")
        assert Counter(row["assignment_type"] for row in rows) == {"Assignment": 200, "Quiz": 25, "Unit Test": 25}
        assert (getattr(opened, "notes"), opened.left_out) == ({"capped_at_100": 5}, {})  # noqa: B009
        assert (min(float(row["grade_value"]) for row in rows), {row["course_id"] for row in rows}) == (27, {"ALG-1"})

    def test_no_row_names_an_unknown_student(self) -> None:
        known = {row["district_id"] for row in self.rows("students")[1]}
        for table in ("attendance_records", "discipline_incidents", "grades"):
            assert {row["district_id"] for row in self.rows(table)[1]} <= known
