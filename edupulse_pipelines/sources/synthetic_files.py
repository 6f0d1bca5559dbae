"""What the information system of a synthetic district writes down of its school year: rows of the landing files.

With names, contacts and courses, and with the mistakes of those who type; the kinds of mistakes are listed in
`synthetic_district`. What really happened is in `synthetic_year`.
"""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter
from collections.abc import Iterable

import numpy as np

from edupulse_pipelines.schema.tables import ATTENDANCE_STATUSES
from edupulse_pipelines.sources.synthetic_enrolments import SCHOOLS, day_of, enrolments_by_week, schools_of
from edupulse_pipelines.sources.synthetic_year import (
    ASSIGNMENT_TYPES,
    COURSES,
    DAYS,
    PRESENT,
    TARDY,
    Year,
    streams,
)
from edupulse_pipelines.weeks import WEEK

HEADERS: dict[str, tuple[str, ...]] = {
    "students": (
        "district_id",
        "first_name",
        "last_name",
        "grade_level",
        "date_of_birth",
        "gender",
        "ethnicity",
        "socioeconomic_status",
        "gpa",
        "attendance_rate",
        "parent_contact",
        "enrollment_date",
        "exit_date",
        "exit_type",
        "student_metadata",
    ),
    "schools": ("school_id", "name", "level", "lowest_grade", "highest_grade"),
    "enrollments": (
        "source_record_id",
        "district_id",
        "school_id",
        "entry_date",
        "exit_date",
        "exit_type",
        "grade_level",
        "is_primary",
    ),
    "attendance_records": ("district_id", "date", "status", "period", "school_id"),
    "grades": (
        "source_record_id",
        "district_id",
        "course_id",
        "course_name",
        "grade_value",
        "grade_letter",
        "submission_date",
        "assignment_type",
        "assignment_id",
        "due_date",
    ),
    "discipline_incidents": (
        "source_record_id",
        "district_id",
        "incident_date",
        "severity_level",
        "incident_type",
        "description",
        "resolution",
    ),
}
#: Lowest percentage of each letter (College Board's 4.0 scale) and its grade points.
_LETTERS = (
    (97, "A+", 4.0),
    (93, "A", 4.0),
    (90, "A-", 3.7),
    (87, "B+", 3.3),
    (83, "B", 3.0),
    (80, "B-", 2.7),
    (77, "C+", 2.3),
    (73, "C", 2.0),
    (70, "C-", 1.7),
    (67, "D+", 1.3),
    (65, "D", 1.0),
    (0, "F", 0.0),
)
FIRST_NAMES = (  # noqa: SIM905 - as a list, a page of one name a line
    "Aaliyah Adrián Aiko Amara Amir Ana Andre Anika Arjun Ava Beatriz Ben Bilal Caleb Camila Carlos Chidi Chloe Daniel "
    "Daria David Diego Elena Eli Emeka Emma Ethan Fatima Felix Gabriela Grace Hana Hannah Hassan Imani Isaac Isabella "
    "Jamal Jasmine Javier Jayden Jia José Kai Keisha Kenji Khadija Layla Leilani Leo Liam Linh Lucía Luis Maëlle Mai "
    "Malik Marcus Maria Mateo Maya Mei Miguel Mila Mohamed Nadia Naomi Nia Noah Nour Olivia Omar Priya Quinn Rafael "
    "Rohan Rosa Ruth Samir Samuel Santiago Sara Sienna Sofía Tala Tariq Theo Thuy Tomás Tyrone Valeria Víctor Wei "
    "Winona Yara Yusuf Zoë Zuri"
).split()
LAST_NAMES = (  # noqa: SIM905
    "Abdi,Adeyemi,Ahmed,Ali,Anderson,Baker,Begay,Brown,Carter,Castillo,Chen,Cohen,Collins,Cruz,Davis,Diaz,Edwards,"
    "Evans,Flores,Foster,Garcia,Gonzalez,Gray,Green,Gupta,Gutiérrez,Hall,Harris,Hassan,Hernández,Hill,Hoang,Hughes,"
    "Ibrahim,Iyer,Jackson,James,Johnson,Jones,Kahananui,Kaur,Khan,Kim,King,Kowalski,Le,Lee,Lewis,Li,Lopez,Martin,"
    "Martinez,Mbeki,McCoy,Mensah,Mitchell,Moore,Morales,Morgan,Müller,Nelson,Nguyễn,Novak,O'Brien,Okafor,Ortiz,Park,"
    "Patel,Perez,Petrov,Phillips,Price,Ramirez,Reyes,Rivera,Roberts,Robinson,Rodriguez,Rossi,Sanchez,Scott,Shah,Silva,"
    "Singh,Smith,St. James,Tanaka,Taylor,Thomas,Torres,Tran,Tsosie,Turner,Walker,Wang,Washington,White,Williams,"
    "Wilson,Wright,Yang,Young,Zhang"
).split(",")
ETHNICITIES = (
    ("Hispanic or Latino", 0.28),
    ("White", 0.38),
    ("Black or African American", 0.16),
    ("Asian", 0.08),
    ("Two or more races", 0.06),
    ("American Indian or Alaska Native", 0.02),
    ("Native Hawaiian or Pacific Islander", 0.02),
)
LANGUAGES = (("en", 0.74), ("es", 0.15), ("vi", 0.03), ("ar", 0.03), ("zh", 0.03), ("so", 0.02))
INCIDENT_TYPES = {
    1: ("dress code", "phone use", "tardiness"),
    2: ("disruption", "inappropriate language", "leaving class"),
    3: ("defiance", "fighting", "bullying"),
    4: ("possession of drugs", "possession of a weapon", "theft"),
    5: ("assault", "threat to safety"),
}
DESCRIPTIONS = (
    "Reported by the classroom teacher.",
    "Reported by a bus driver, on the way home.",
    'Student said "it was not me"; a witness disagrees.',
    "Happened between lessons, in the hallway.",
    "Second reminder that week; family was called.",
    "",
)
RESOLUTIONS = {
    1: ("warning", "reminder of the rules"),
    2: ("conversation with a counselor", "detention"),
    3: ("conference with the family", "in-school suspension"),
    4: ("suspension, 3 days", "restorative circle and suspension"),
    5: ("suspension, 10 days", "referred to a hearing"),
}
_ONLY_WHAT_HAPPENED = ("students", "schools", "enrollments")
"""Tables of which a delivery has no file when nothing happened."""
_DAMAGED = ("impossible_status", "impossible_date", "grade_over_100")
#: Bad rows are drawn for tables of at least this many rows, up to this share (newcomers' early rows come on top).
_DIRT_FROM_ROWS = 100
_DIRT_SHARE = 0.01


class Export:
    """The district's information system: writes down what happened, with the mistakes of those who type."""

    def __init__(self, year: Year, seed: int) -> None:
        self.year, self.weeks = year, year.weeks
        self.ids = year.district_ids
        self.dirt: Counter[str] = Counter()
        self.bad_rows: Counter[str] = Counter()
        _, people, self._rng = streams(seed)
        self._people = self._describe(people)
        self._moves: Counter[int] = Counter()
        self._school = schools_of(year)
        self._enrolments = enrolments_by_week(year, self._school, [one["enrollment_date"] for one in self._people])
        self._renames_in = len(self.weeks) // 2
        self._records = Counter[str]()  # last number given out per prefix
        self._next: dict[str, list[list]] = {table: [] for table in HEADERS}  # rows for the next delivery

    def delivery(self, number: int) -> dict[str, list[list]]:
        """The rows of the school week with index `number` by table; no `students` when nobody changed."""
        late = self._next
        self._next = {table: [] for table in HEADERS}
        early = {
            self.ids[student] for student in np.flatnonzero(self.year.known_late & (self.year.entry // DAYS == number))
        }
        attendance, grades = self._attendance(number), self._grades(number)
        delivery = {
            "students": self._students(number),
            "schools": [list(school) for school in SCHOOLS] if number == 0 else [],
            "enrollments": self._enrolments[number],
            "attendance_records": late["attendance_records"] + self._soiled_attendance(number, attendance, early),
            "grades": late["grades"] + self._soiled_grades(number, grades, early),
            "discipline_incidents": late["discipline_incidents"] + self._incidents(number),
        }
        return {table: rows for table, rows in delivery.items() if rows or table not in _ONLY_WHAT_HAPPENED}

    # People

    def _describe(self, rng: np.random.Generator) -> list[dict]:
        """What `students.csv` says of each student and never changes, except for the contact."""
        year, start = self.year, self.weeks[0]
        people = []
        status_score = 0.45 * year.home + 0.9 * rng.standard_normal(year.n)
        for student in range(year.n):
            grade_level = int(year.grade_level[student])
            # Between 5 and 6 years old at the start of kindergarten, with a few who repeated a year.
            age_days = (5 + grade_level + (rng.random() < 0.05)) * 365.25 + rng.integers(0, 365)
            entry = int(year.entry[student])
            if entry:
                enrolled = self.weeks[entry // DAYS] + dt.timedelta(days=entry % DAYS)
            else:
                years = int(min(rng.geometric(0.35) - 1, grade_level))
                enrolled = start - 52 * years * WEEK
            ability, engagement = year.ability_level[student], year.engagement_level[student]
            past_mean = float(np.clip(82 + 7 * ability + 3 * engagement + 3 * rng.standard_normal(), 40, 99))
            past_attendance = float(np.clip(0.945 + 0.025 * engagement + 0.02 * rng.standard_normal(), 0.6, 1))
            plan = {
                "homeroom": f"{grade_level}{'ABC'[int(rng.integers(0, 3))]}",
                "home_language": _chosen(rng, LANGUAGES),
                "bus": bool(rng.random() < 0.5),
                "individual_education_plan": bool(rng.random() < 0.13),
            }
            people.append(
                {
                    "district_id": self.ids[student],
                    "first_name": FIRST_NAMES[int(rng.integers(0, len(FIRST_NAMES)))],
                    "last_name": LAST_NAMES[int(rng.integers(0, len(LAST_NAMES)))],
                    "grade_level": grade_level,
                    "date_of_birth": (start - dt.timedelta(days=int(age_days))).isoformat(),
                    "gender": _chosen(rng, (("F", 0.49), ("M", 0.495), ("X", 0.015))),
                    "ethnicity": _chosen(rng, ETHNICITIES),
                    "socioeconomic_status": "free meals"
                    if status_score[student] < -0.35
                    else "reduced-price meals"
                    if status_score[student] < 0
                    else "paid meals",
                    "enrollment_date": enrolled.isoformat(),
                    "student_metadata": json.dumps(plan),
                    "past_gpa": _grade_points(past_mean),
                    "past_attendance": past_attendance,
                    "contact_by_mail": bool(rng.random() < 0.6),
                }
            )
        return people

    def _students(self, number: int) -> list[list]:
        """Rows of `students.csv`: everybody known at the start, afterwards only whom something happened to."""
        year = self.year
        known_from = year.entry // DAYS + year.known_late
        known = known_from <= number
        moved = year.moved[:, number] & known
        for student in np.flatnonzero(moved):
            self._moves[int(student)] += 1
        changed = (known_from == number) | ((year.last // DAYS == number) & known) | moved
        changed |= year.back // DAYS == number
        for student in self._renamed(number):
            before = LAST_NAMES.index(self._people[student]["last_name"])
            self._people[student]["last_name"] = LAST_NAMES[(before + 1) % len(LAST_NAMES)]
            changed[student] = True
        return [self._student(int(student), number) for student in np.flatnonzero(changed)]

    def _student(self, student: int, number: int) -> list:
        year, person = self.year, self._people[student]
        is_back = year.back[student] < (number + 1) * DAYS
        gone = year.last[student] < (number + 1) * DAYS and not is_back
        exit_date = ""
        if gone:
            exit_date = day_of(self.weeks, int(year.last[student]), after=1)
        gpa, attendance = person["past_gpa"], person["past_attendance"]
        if number > int(year.entry[student]) // DAYS:  # the snapshots of today, as an export shows them
            scores = year.score[student, : number + 1]
            if np.isfinite(scores).any():
                gpa = _grade_points(float(np.nanmean(scores)))
            status = year.status[student, : number + 1]
            attendance = float(np.isin(status, (PRESENT, TARDY)).sum() / max((status >= 0).sum(), 1))
        household = student + 1 if not self._moves[student] else student + 1 + 5000 * self._moves[student]
        phone = f"555-01{household % 100:02d} ext. {household}"
        values = person | {
            "gpa": f"{gpa:.2f}" if person["grade_level"] >= 6 else "",
            "attendance_rate": f"{attendance:.3f}",
            "parent_contact": f"family{household}@example.org" if person["contact_by_mail"] else phone,
            "enrollment_date": day_of(self.weeks, int(year.back[student])) if is_back else person["enrollment_date"],
            "exit_date": exit_date,
            "exit_type": year.exit_type[student] if gone else "",
        }
        return [values[column] for column in HEADERS["students"]]

    def _renamed(self, number: int) -> np.ndarray:
        """Whose last name changes in a school week: of one child, halfway, to whom nothing else has happened so far."""
        year = self.year
        calm = (year.entry == 0) & (year.last // DAYS > number) & ~year.moved[:, : number + 1].any(axis=1)
        return np.flatnonzero(calm)[:1] if 0 < number == self._renames_in else np.empty(0, dtype=np.int64)

    # Records as they should be

    def _attendance(self, number: int) -> list[list]:
        status = self.year.status
        rows: list[list] = []
        schools = [SCHOOLS[place][0] for place in self._school[:, number].tolist()]
        for day in range(DAYS):
            date = (self.weeks[number] + dt.timedelta(days=day)).isoformat()
            today = status[:, number, day].tolist()
            rows.extend(
                [self.ids[student], date, ATTENDANCE_STATUSES[code], "", schools[student]]
                for student, code in enumerate(today)
                if code >= 0
            )
        return rows

    def _grades(self, number: int) -> list[list]:
        year, rows = self.year, []
        for student in range(len(self.ids)):
            grade_level = int(year.grade_level[student])
            for slot in np.flatnonzero(np.isfinite(year.score[student, number])):
                value = float(year.score[student, number, slot])
                code, name = COURSES[slot]
                date = self.weeks[number] + dt.timedelta(days=int(year.due[grade_level, number, slot]))
                rows.append(
                    [
                        self._record_id("G"),
                        self.ids[student],
                        f"{code}-{grade_level:02d}",
                        f"{name} {grade_level or 'K'}",
                        f"{value:g}",
                        _letter(value),
                        date.isoformat(),
                        ASSIGNMENT_TYPES[year.assignment[grade_level, number, slot]],
                        f"{code}-{grade_level:02d}-W{number + 1:02d}",
                        date.isoformat(),
                    ]
                )
        return rows

    def _incidents(self, number: int) -> list[list]:
        rng, rows = self._rng, []
        for student, day, severity in self.year.incidents[number]:
            kinds, endings = INCIDENT_TYPES[severity], RESOLUTIONS[severity]
            row = [
                self._record_id("D"),
                self.ids[student],
                (self.weeks[number] + dt.timedelta(days=day)).isoformat(),
                severity,
                kinds[int(rng.integers(0, len(kinds)))],
                DESCRIPTIONS[int(rng.integers(0, len(DESCRIPTIONS)))],
                endings[int(rng.integers(0, len(endings)))],
            ]
            if severity >= 3 and number + 1 < len(self.weeks):
                self._next["discipline_incidents"].append(row)
                self.dirt["resolution_added"] += 1
                row = [*row[:-1], ""]
            rows.append(row)
        return rows

    def _record_id(self, prefix: str) -> str:
        self._records[prefix] += 1
        return f"{prefix}{self._records[prefix]:07d}"

    # And as they arrive

    def _soiled_attendance(self, number: int, rows: list[list], early: set[str]) -> list[list]:
        kinds = ("impossible_status", "impossible_date", "unknown_student", "exact_repeat", "late_row")
        chosen = self._chosen_rows(number, "attendance_records", rows, early, kinds)
        soiled = []
        for line, row in enumerate(rows):
            kind = chosen.get(line)
            if kind == "impossible_status":
                soiled.append([*row[:2], ("here", "PRESENT?", "excused/tardy")[line % 3], *row[3:]])
            elif kind == "impossible_date":
                soiled.append([row[0], f"{row[1][:4]}-13-45", *row[2:]])
            elif kind == "unknown_student":
                soiled.extend([row, [f"9{self._rng.integers(0, 10_000):05d}", *row[1:]]])
            elif kind == "exact_repeat":
                soiled.extend([row, row])
            elif kind != "late_row":
                soiled.append(row)
            self._repair("attendance_records", kind, row)
        return soiled

    def _soiled_grades(self, number: int, rows: list[list], early: set[str]) -> list[list]:
        kinds = ("grade_over_100", "impossible_date", "exact_repeat", "late_row", "corrected_grade")
        chosen = self._chosen_rows(number, "grades", rows, early, kinds)
        soiled = []
        for line, row in enumerate(rows):
            kind, value = chosen.get(line), float(row[4])
            if kind == "grade_over_100":
                soiled.append([*row[:4], f"{value * 10 if value > 10 else value + 900:g}", *row[5:]])
            elif kind == "impossible_date":
                soiled.append([*row[:6], f"{row[6][:4]}-13-45", *row[7:]])
            elif kind == "exact_repeat":
                soiled.extend([row, row])
            elif kind == "corrected_grade":
                wrong = value - 10 if value >= 10 else value + 50  # what stands there for a week
                soiled.append([*row[:4], f"{wrong:g}", _letter(wrong), *row[6:]])
            elif kind != "late_row":
                soiled.append(row)
            self._repair("grades", kind, row)
        return soiled

    def _chosen_rows(
        self, number: int, table: str, rows: list[list], early: set[str], kinds: tuple[str, ...]
    ) -> dict[int, str]:
        """Which rows get which dirt: a handful, each row at most one kind, none of the students not yet known."""
        if early:
            unknown = sum(row[HEADERS[table].index("district_id")] in early for row in rows)
            self.dirt["student_not_yet_known"] += unknown
            self.bad_rows[table] += unknown
        if len(rows) < _DIRT_FROM_ROWS:
            return {}
        column = HEADERS[table].index("district_id")
        candidates = np.array([line for line, row in enumerate(rows) if row[column] not in early])
        most = int(_DIRT_SHARE * len(rows))
        drawn = min(most, int(self._rng.poisson(min(0.5 * _DIRT_SHARE * len(rows), 8.0))))
        lines = self._rng.choice(candidates, size=drawn, replace=False)
        chosen = {int(line): kinds[int(self._rng.integers(0, len(kinds)))] for line in lines}
        for line, kind in list(chosen.items()):
            if kind in ("late_row", "corrected_grade") and number == len(self.weeks) - 1:
                del chosen[line]  # no later delivery would bring what is true
        for kind in chosen.values():
            self.dirt[kind] += 1
            self.bad_rows[table] += kind in _DAMAGED or kind == "unknown_student"
        return chosen

    def _repair(self, table: str, kind: str | None, row: list) -> None:
        """What the next delivery says about a row of this one."""
        if kind in ("late_row", "corrected_grade") or (kind in _DAMAGED and self._rng.random() < 0.5):
            self._next[table].append(row)


def _chosen(rng: np.random.Generator, shares: Iterable[tuple[str, float]]) -> str:
    point = rng.random()
    for value, share in shares:
        point -= share
        if point < 0:
            return value
    raise ValueError("the shares do not add up to 1")


def _letter(value: float) -> str:
    return next(letter for lowest, letter, _ in _LETTERS if value >= lowest)


def _grade_points(value: float) -> float:
    return next(points for lowest, _, points in _LETTERS if value >= lowest)
