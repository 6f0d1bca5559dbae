"""What was delivered of attendance and could not be read: whose weeks are in doubt, and until when."""

from __future__ import annotations

import datetime as dt

import sqlalchemy as sa

from edupulse_pipelines.features import update_weekly_activity
from edupulse_pipelines.ingest.doubt import attendance_in_doubt
from edupulse_pipelines.schema.sqlalchemy_tables import students, weekly_activity
from edupulse_pipelines.storage.bulk import as_text
from edupulse_pipelines.weeks import WEEK
from edupulse_pipelines_tests.enrolment import enrol as let_them_be_enrolled
from edupulse_pipelines_tests.ingest.district import FIRST_WEEK, District, delivery_day

SECOND_WEEK = FIRST_WEEK + WEEK
NAMESPACE = 'xmlns="http://ed-fi.org/5.2.0"'


def doubt_of(district: District) -> dict[dt.date, set[str] | None]:
    """By week the numbers of the students in doubt; None: everybody."""
    with district.engine.connect() as connection:
        query = sa.select(as_text(students.c.id), students.c.district_id)
        numbers = {row[0]: row[1] for row in connection.execute(query)}
    doubt = attendance_in_doubt(district.work, district.tenant)
    return {week: None if ids is None else {numbers[key] for key in ids} for week, ids in doubt.items()}


def test_a_row_in_quarantine_makes_its_students_week_doubtful(district: District) -> None:
    district.enrol("1", "2", "3", "4")
    rows = [
        "1,2025-09-02,away",  # a code that nobody has mapped
        "2,2025-09-09,absent", "2,2025-09-09,tardy",  # what now?
        "3,2025-99-99,absent",  # some day
        "4,2025-09-10,absent",
        "9,2025-09-10,absent",  # waits for a student, who is none of these
    ]  # fmt: skip
    district.land(2, attendance_records="\n".join(["district_id,date,status", *rows]))
    district.run("attendance_records")
    assert doubt_of(district) == {FIRST_WEEK: {"1"}, SECOND_WEEK: {"2", "3"}}
    district.land(2, attendance_records="district_id,date,status\n1,2025-09-02,absent\n")
    district.run("attendance_records")
    assert doubt_of(district) == {}


def test_a_row_that_names_no_student_may_be_about_anybody(district: District) -> None:
    district.enrol("1")
    rows = "1,2025-09-02,absent\n,2025-09-03,absent\n1,2025-09-09,absent,too many\n"
    district.land(2, attendance_records="district_id,date,status\n" + rows)
    district.run("attendance_records")
    assert doubt_of(district) == {FIRST_WEEK: None, SECOND_WEEK: None}


def test_rows_in_the_districts_own_words_are_understood(district: District) -> None:
    profile = {
        "columns": {"attendance_records": {"Pupil": "district_id", "Day": "date", "Code": "status"}},
        "date_format": "DD.MM.YYYY",
        "codes": {"attendance_records": {"status": {"A": "absent"}}},
    }
    own = District(district.engine, district.landing.parent, name="own", profile=profile)
    own.enrol("1")
    own.land(2, attendance_records="Pupil,Day,Code\n1,02.09.2025,??\n")
    own.run("attendance_records")
    assert doubt_of(own) == {FIRST_WEEK: {"1"}}


def test_a_refused_file_makes_its_week_doubtful(district: District) -> None:
    district.land(1, attendance_records="district_id,date,status\n", attendance_records__north="nonsense\n1\n")
    district.run("attendance_records")
    assert doubt_of(district) == {FIRST_WEEK: None}
    (district.landing / delivery_day(1).isoformat() / "attendance_records-north.csv").unlink()
    district.run("attendance_records")
    assert doubt_of(district) == {}


def enrol(district: District, *numbers: str) -> None:
    """Have these students, enrolled since the first week."""
    district.enrol(*numbers)
    with district.engine.begin() as connection:
        connection.execute(sa.update(students).values(enrollment_date=FIRST_WEEK))
        let_them_be_enrolled(connection, district.tenant.name)


def land_xml(district: District, day: int, name: str, *elements: str) -> None:
    folder = district.landing / delivery_day(day).isoformat()
    folder.mkdir(exist_ok=True)
    text = f"<Interchange{name} {NAMESPACE}>{''.join(elements)}</Interchange{name}>"
    (folder / f"{name}.xml").write_text(text, encoding="utf-8")


def calendar_elements() -> list[str]:
    identity = "<CalendarCode>C</CalendarCode><SchoolYear>2026</SchoolYear>"
    reference = f"<CalendarReference><CalendarIdentity>{identity}</CalendarIdentity></CalendarReference>"
    return [
        f"<Calendar>{identity}<CalendarType>x#School</CalendarType></Calendar>",
        *(
            f"<CalendarDate><Date>2025-09-{day:02}</Date><CalendarEvent>x#Instructional day</CalendarEvent>{reference}"
            "</CalendarDate>"
            for day in range(1, 31)
        ),
    ]


def section_absence(number: str, day: str, section: str) -> str:
    return (
        f"<StudentSectionAttendanceEvent><AttendanceEvent><EventDate>{day}</EventDate><AttendanceEventCategory>"
        "x#Unexcused Absence</AttendanceEventCategory></AttendanceEvent><StudentReference><StudentIdentity>"
        f"<StudentUniqueId>{number}</StudentUniqueId></StudentIdentity></StudentReference><SectionReference>"
        f"<SectionIdentity><SectionIdentifier>{section}</SectionIdentifier></SectionIdentity></SectionReference>"
        "</StudentSectionAttendanceEvent>"
    )


def activity_of(district: District) -> list[tuple[str, int, int, str]]:
    """Number, sessions present and absent, and their basis, of every student-week."""
    row = weekly_activity.c
    query = (
        sa.select(students.c.district_id, row.sessions_present, row.sessions_absent, row.sessions_basis)
        .join(students, students.c.id == row.student_id)
        .order_by(students.c.district_id, row.week_start)
    )
    with district.engine.connect() as connection:
        return [tuple(found) for found in connection.execute(query)]


def update(district: District) -> None:
    tenant = district.tenant
    update_weekly_activity(
        district.work,
        tenant.first_week,
        tenant.attendance,
        tenant.calendar,
        lambda: attendance_in_doubt(district.work, tenant),
    )


def test_absences_by_section_are_read_and_never_turn_into_presence(district: District) -> None:
    enrol(district, "1", "2")
    events = [section_absence("1", f"2025-09-0{day}", section) for day in range(2, 6) for section in ("S1", "S2", "S3")]
    land_xml(district, 1, "EducationOrgCalendar", *calendar_elements())
    land_xml(district, 1, "StudentAttendance", *events)
    assert district.run("attendance_records")["attendance_records"].counts == (12, 12, 0, 0, 0)
    assert district.run("attendance_records")["attendance_records"].counts == (12, 0, 0, 12, 0)
    update(district)
    assert [(present, absent) for _, present, absent, _ in activity_of(district)] == [(0, 12)]
    periods = {"recording": "auto", "sessions_per_day": 3}
    district.tenant = district.tenant.model_validate(district.tenant.model_dump() | {"attendance": periods})
    update(district)
    assert activity_of(district) == [("1", 9, 12, "1234567 x 3"), ("2", 21, 0, "1234567 x 3")]


def test_absences_in_a_form_that_is_left_out_are_no_presence(district: District) -> None:
    enrol(district, "1")
    land_xml(district, 1, "EducationOrgCalendar", *calendar_elements())
    land_xml(district, 1, "StudentAttendance", "<StudentProgramAttendanceEvent/>")
    land_xml(district, 2, "EducationOrgCalendar", *calendar_elements())
    land_xml(district, 2, "StudentAttendance", "<StudentBusAttendanceEvent/>")
    done = district.run("attendance_records")["attendance_records"]
    assert [delivery.left_out for delivery in done.report.deliveries] == [
        {"student_program_attendance_event": 1},
        {"student_bus_attendance_event": 1},
    ]
    assert doubt_of(district) == {FIRST_WEEK: None, SECOND_WEEK: None}
    update(district)
    assert activity_of(district) == []


def test_a_bundle_without_its_attendance_file_says_nothing_of_who_came(district: District) -> None:
    enrol(district, "1")
    for day in (1, 2):
        land_xml(district, day, "EducationOrgCalendar", *calendar_elements())
    land_xml(district, 2, "StudentAttendance")
    district.run("attendance_records")
    assert doubt_of(district) == {FIRST_WEEK: None}
    update(district)
    assert activity_of(district) == [("1", 7, 0, "1234567 x 1")]
