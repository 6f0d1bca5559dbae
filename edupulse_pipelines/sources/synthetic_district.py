"""A synthetic school district: landing files of a school year that behave, and misbehave, like real ones.

What lives here: the causal story, its simulation and the writing of canonical landing CSV. What does not: features,
labels, models. The coefficients were set by hand for plausible rates (attendance about 95 %, one student in seven
chronically absent, about one high-school student in twenty dropping out within the year, a default label for about a
quarter of the students) and for students who differ lastingly enough that a plain logistic regression ranks that label
with an AUC a little above 0.8. They are not fitted to the features, candidates or settings of this package.

The causal story
----------------
Every student has hidden traits, in units of a standard deviation over students (0 is typical, higher is better):

- *home stability* is a common cause (the main confounder): it shifts engagement, ability, conduct, mobility and, more
  weakly, the recorded socioeconomic status. The status itself causes nothing. Gender and ethnicity are independent of
  everything.
- *engagement* moves week by week: a lasting level, a first-order autoregressive drift, a slump over the school year,
  shocks and support. It drives unexcused absences, tardiness, missing work, and part of grades, conduct and dropout.
- *ability* (mostly lasting, slow drift) drives grades. Each course also has its own difficulty, each student an
  aptitude for it, and every mark its noise: a bad week in one course need not mean anything.
- *conduct* (level and fast drift) drives incidents; grades 6 to 9 have more of them.
- *frailty* is poor health: spells of excused absence, with a winter wave that hits everybody. It lowers attendance
  below 90 % without lowering engagement, so low attendance does not always announce failing or dropping out.
- *mobility* (lasting) makes shocks, changes of contact and transfers likelier. A transfer is not an adverse event,
  though it looks like one beforehand.
- *shocks* (a loss, a move, trouble at home) hit suddenly, lower engagement at once and conduct and ability a little;
  most fade within two to three months, one in five hardly does. Nothing beforehand predicts them but mobility.
- *support*: the school notices students with a poor month of attendance, and lifts some of them for a while. So the
  worst-looking students improve more than their record says (confounding by intervention).
- *dropping out* (grades 9 to 12) has a small weekly hazard that grows with falling engagement and ability. Who has
  decided stops coming; the exit is recorded one or two weeks later.

So risk is predictable but not trivially: lasting traits and drift can be learned from the record, shocks, support
and the noise of eight weeks cannot. `best_score` says how well the label can be predicted at best.

The switches
------------
`Story` has three, all arguments of everything here; the default story is the one above.

- *noise* (1) scales what the record says beyond engagement and ability: the scatter of every mark, and how often
  people fall ill. At 0 a mark is what ability, engagement, course and kind of assignment make it, and nobody is ever
  excused.
- *confounding* (1) scales the effect of home stability on engagement, ability, conduct and mobility, and how often the
  school notices a poor month. At 0 home stability causes nothing but the recorded socioeconomic status, so that the
  traits go together only as far as engagement moves the others, and nobody is treated for looking bad. How much
  students differ stays the same.
- *drift* (0) changes the district for good with one school week (`drift_from`), as a new grading policy and a wave of
  illness would. A drift of 1: marks are 4 points lower, three of four missing assignments become a zero instead of
  one of two, people fall ill twice as often, the odds of an unexcused absence grow by half. So the inputs move, and the
  same record means a higher risk than before. The weeks before it are those of the story without drift, to the byte.

The school year
---------------
36 school weeks with a fall break of one week (after week 10), a winter break of two (after week 16) and a spring break
of one (after week 27): 40 calendar weeks. Weeks without school have no delivery. A shorter run has the breaks that fall
inside it, a longer one repeats the cycle without a summer. One week in five has a day off. The year ends with the
given last week, whatever its season. The district is K-12: four courses a student in grades 0 to 5, five in 6 to 8,
six above, with something graded in each at least every other week.

The dirt
--------
Less than 2 % of the rows of each table and delivery, none in a table of so few rows that one would matter, and no
file that would be refused (`students.csv` and `discipline_incidents.csv` have no bad rows at all).
`DistrictSummary.dirt` counts it.

Rows that cannot be loaded as they come, counted per table in `DistrictSummary.bad_rows`:

- `impossible_status` (attendance), `grade_over_100`, `impossible_date` (attendance and grades, `2025-13-45`): the
  row is damaged; about half of them come again, repaired, with the next delivery;
- `unknown_student` (attendance): a row of somebody who never appears in `students.csv`;
- `student_not_yet_known` (attendance and grades): a newcomer's rows arrive one delivery before the newcomer does.

Rows that can be loaded, and try the merge:

- `exact_repeat` (attendance and grades): the same row twice, next to each other;
- `late_row` (attendance and grades): a row left out, delivered with the next delivery;
- `corrected_grade`: comes again with the next delivery, with a new value under the same `source_record_id`;
- `resolution_added`: an incident of severity 3 or more comes again with its resolution, one delivery later (the
  ordinary course of things, so not counted in the 2 %).
"""

from __future__ import annotations

import copy
import csv
import datetime as dt
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edupulse_pipelines.errors import LandingError
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
    "attendance_records": ("district_id", "date", "status", "period"),
    "grades": (
        "source_record_id",
        "district_id",
        "course_id",
        "course_name",
        "grade_value",
        "grade_letter",
        "submission_date",
        "assignment_type",
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

WEEKS_OF_A_YEAR = 36
#: School week of the year (1-based) after which a break begins -> its length in weeks.
BREAKS = {10: 1, 16: 2, 27: 1}

DAYS = 5
STATUSES = ("present", "absent", "tardy", "excused")
PRESENT, ABSENT, TARDY, EXCUSED, _NO_SESSION = 0, 1, 2, 3, -1  # `Year.status`
_STAYS = 1_000_000_000

#: First-order autoregressive drift of the traits: what is kept from week to week, and the step's standard deviation.
_DRIFT = {"engagement": (0.94, 0.17), "ability": (0.97, 0.08), "conduct": (0.90, 0.25)}

COURSES = (
    ("ELA", "English Language Arts"),
    ("MATH", "Mathematics"),
    ("SCI", "Science"),
    ("SOC", "Social Studies"),
    ("ART", "Arts"),
    ("LANG", "World Languages"),
)
ASSIGNMENT_TYPES = ("homework", "quiz", "test", "project")
_ASSIGNMENT_SHARES = (0.45, 0.25, 0.18, 0.12)
_ASSIGNMENT_EFFECT = np.array([2.5, 0.0, -3.5, 2.0])

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

_DAMAGED = ("impossible_status", "impossible_date", "grade_over_100")
#: Bad rows are drawn for tables of at least this many rows, up to this share (newcomers' early rows come on top).
_DIRT_FROM_ROWS = 100
_DIRT_SHARE = 0.01
#: Only from this many students on is a newcomer's whole week of rows a small share of every table.
_LAG_FROM_STUDENTS = 200


@dataclass(frozen=True)
class Story:
    """The switches of the causal story (see the module's docstring). ValueError when one is outside its range."""

    noise: float = 1.0
    """0 to 5."""
    confounding: float = 1.0
    """0 to 1.5; beyond that home stability alone would decide about mobility."""
    drift: float = 0.0
    """0 to 2."""
    drift_from: int = 24
    """Number of the first school week (from 1) that the drift is in; no drift in a shorter run."""

    def __post_init__(self) -> None:
        for name, highest in (("noise", 5.0), ("confounding", 1.5), ("drift", 2.0)):
            if not 0 <= getattr(self, name) <= highest:
                raise ValueError(f"{name} must be at least 0 and at most {highest:g}")
        if self.drift_from < 1:
            raise ValueError("drift_from must be at least 1")

    def drift_in(self, number: int) -> float:
        """The drift in the school week with index `number`."""
        return self.drift if number + 1 >= self.drift_from else 0.0


DEFAULT_STORY = Story()


@dataclass(frozen=True)
class LatentTraits:
    """What the generator knows and the files do not say, for the best score anybody could reach.

    `district_ids` (n students, in the order of the arrays), `weeks` (the Mondays). Arrays of shape (n, weeks) hold each
    school week's value in standard deviations, drift, shocks and support included: `engagement`, `ability`, `conduct`;
    `enrolled` is true where the student has school days in the week; `leaving` is true from the week after the
    decision to drop out. Arrays of shape (n,) do not change: `home_stability`, `frailty`, `mobility` (a factor, 1 is
    typical).
    """

    district_ids: tuple[str, ...]
    weeks: tuple[dt.date, ...]
    engagement: np.ndarray
    ability: np.ndarray
    conduct: np.ndarray
    enrolled: np.ndarray
    leaving: np.ndarray
    home_stability: np.ndarray
    frailty: np.ndarray
    mobility: np.ndarray


@dataclass(frozen=True)
class DistrictSummary:
    """What was generated.

    `students` (distinct, newcomers included), `school_weeks` (their Mondays), `deliveries` (their dates), `rows` per
    table over all deliveries, `dirt` per kind (see the module's docstring), `bad_rows` per table: rows that cannot be
    loaded as they come (newcomers' early rows can, one delivery later).
    """

    students: int
    school_weeks: tuple[dt.date, ...]
    deliveries: tuple[dt.date, ...]
    rows: dict[str, int]
    dirt: dict[str, int]
    bad_rows: dict[str, int]


def school_weeks(weeks: int, last_week: dt.date) -> tuple[dt.date, ...]:
    """The Mondays of `weeks` school weeks, ascending, the last of them `last_week`; breaks are gaps between them."""
    if weeks < 1:
        raise ValueError("weeks must be at least 1")
    if last_week.weekday() != 0:
        raise ValueError("last_week must be a Monday")
    offsets, calendar_week = [], 0
    for number in range(1, weeks + 1):
        offsets.append(calendar_week)
        calendar_week += 1 + BREAKS.get((number - 1) % WEEKS_OF_A_YEAR + 1, 0)
    return tuple(last_week - (offsets[-1] - offset) * WEEK for offset in offsets)


def first_week(weeks: int, last_week: dt.date) -> dt.date:
    """The Monday of the first of `weeks` school weeks that end with `last_week` (a tenant's `first_week`)."""
    return school_weeks(weeks, last_week)[0]


def latent_traits(
    *, students: int = 500, weeks: int = 36, seed: int = 20260901, last_week: dt.date, story: Story = DEFAULT_STORY
) -> LatentTraits:
    """The hidden traits behind `generate_district` with the same arguments."""
    year = _simulate(students, school_weeks(weeks, last_week), seed, story)
    return LatentTraits(
        district_ids=year.district_ids,
        weeks=year.weeks,
        engagement=year.engagement,
        ability=year.ability,
        conduct=year.conduct,
        enrolled=np.any(year.status >= 0, axis=2),
        leaving=year.was_leaving,
        home_stability=year.home,
        frailty=year.frailty,
        mobility=year.mobility,
    )


def generate_district(
    out: Path,
    *,
    students: int = 500,
    weeks: int = 36,
    seed: int = 20260901,
    last_week: dt.date,
    story: Story = DEFAULT_STORY,
    progress: Callable[[int, int], None] | None = None,
) -> DistrictSummary:
    """Write the landing files `out/<delivery date>/<table>.csv` of a synthetic district, and say what is in them.

    `students` counts everybody of the year, some 4 % of whom enrol later; `weeks` school weeks end with the Monday
    `last_week`; each is delivered on the Monday after it. `progress(weeks written, weeks)` is called after each week.
    `story` sets the switches. The same arguments give the same bytes. Memory and time grow with students x weeks
    (500 x 36: about 2 seconds).

    The date folders appear in `out` together, at the end. Raises LandingError when `out` already holds something
    (deliveries of two districts must not mix), ValueError for arguments that make no district.
    """
    if students < 1:
        raise ValueError("students must be at least 1")
    year = school_weeks(weeks, last_week)
    out = Path(out)
    unfinished = out / ".generating"
    if out.exists() and (not out.is_dir() or any(entry != unfinished for entry in out.iterdir())):
        raise LandingError(f"{out} is not an empty folder; choose another one or empty it first")
    shutil.rmtree(unfinished, ignore_errors=True)  # of a run that was interrupted
    unfinished.mkdir(parents=True)

    export = _Export(_simulate(students, year, seed, story), seed)
    rows: Counter[str] = Counter(dict.fromkeys(HEADERS, 0))
    deliveries = []
    try:
        for number, week in enumerate(year):
            delivered_on = week + WEEK
            folder = unfinished / delivered_on.isoformat()
            folder.mkdir()
            for table, records in export.delivery(number).items():
                _write(folder / f"{table}.csv", HEADERS[table], records)
                rows[table] += len(records)
            deliveries.append(delivered_on)
            if progress is not None:
                progress(number + 1, weeks)
        for folder in sorted(unfinished.iterdir()):
            folder.rename(out / folder.name)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return DistrictSummary(
        students=students,
        school_weeks=year,
        deliveries=tuple(deliveries),
        rows=dict(rows),
        dirt=dict(sorted(export.dirt.items())),
        bad_rows={table: export.bad_rows[table] for table in HEADERS},
    )


def _write(path: Path, header: tuple[str, ...], records: Iterable[list]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)  # RFC 4180: CRLF
        writer.writerow(header)
        writer.writerows(records)


def _streams(seed: int) -> list[np.random.Generator]:
    """One stream each for the story, the people and the dirt: changing one leaves the others as they were."""
    return [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(3)]


def _probability(log_odds: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-log_odds))


def _school_day(number: int, day: int) -> bool:
    """Whether there is school on `day` (0 Monday) of the school week with index `number`: some weeks have a day off."""
    if number % 10 == 3:
        return day != 4
    return not (number % 10 == 8 and day == 0)


#: Arrays of `Year` with a row for each student, besides the drift.
_PER_STUDENT = (
    *("grade_level", "home", "engagement_level", "ability_level", "conduct_level", "frailty", "mobility", "aptitude"),
    *("entry", "last", "known_late", "shock", "fading", "support", "sick_days", "leaving"),
    *("engagement", "ability", "conduct", "was_leaving", "moved", "status", "score"),
)


class Year:
    """The school year as it really was, before anybody typed it into a system; played week by week.

    n students, w weeks, c course slots. The state of one week and the random stream are all that the next week depends
    on: a copy with another stream plays another future of the same students (`futures`). Every draw is made for every
    student, enrolled or not, so that the stream stays aligned; what does not happen is masked.
    """

    def __init__(self, n: int, weeks: tuple[dt.date, ...], rng: np.random.Generator, story: Story) -> None:
        self.rng, self.n, self.weeks, self.story = rng, n, weeks, story
        self.district_ids = _district_ids(n)
        w, slots, normal = len(weeks), len(COURSES), rng.standard_normal
        # What lasts.
        self.grade_level = rng.permutation(np.arange(n) % 13) if n >= 13 else rng.integers(0, 13, n)
        # What variance home stability gives more or less, directly and by way of engagement, the own part makes up for.
        common, less = story.confounding, 1.0 - story.confounding**2
        self.home = normal(n)
        self.engagement_level = 0.50 * common * self.home + _own(0.87, 0.25 * less) * normal(n)
        self.ability_level = (
            0.35 * common * self.home + 0.20 * self.engagement_level + _own(0.88, 0.1925 * less) * normal(n)
        )
        self.conduct_level = (
            0.35 * common * self.home + 0.25 * self.engagement_level + _own(0.85, 0.21 * less) * normal(n)
        )
        self.frailty = normal(n)
        self.mobility = np.exp(_own(0.5, 0.16 * less) * normal(n) - 0.4 * common * self.home)
        self.aptitude = normal((n, slots))
        self.difficulty = 3.0 * normal((13, slots))
        # What is planned: (13 grade levels, w, c) indexes into ASSIGNMENT_TYPES or -1, and their days of the week.
        self.assignment, self.due = _assignments(rng, w)
        # First and last school day of each student, counted in weeks * DAYS; about 4 % come later, with time left to
        # become known; _STAYS where there is no last day.
        self.entry = np.zeros(n, dtype=np.int64)
        if w >= 6:
            for student in rng.permutation(n)[: round(0.04 * n)]:
                self.entry[student] = rng.integers(2, w - 2) * DAYS + rng.integers(0, 3)
        self.last = np.full(n, _STAYS, dtype=np.int64)
        self.exit_type = [""] * n
        self.known_late = _known_late(self.entry, n)
        # What moves.
        self.drift = {"engagement": 0.5 * normal(n), "ability": 0.33 * normal(n), "conduct": 0.57 * normal(n)}
        self.shock, self.fading, self.support = np.zeros(n), np.full(n, 0.85), np.zeros(n)
        self.sick_days = np.zeros(n, dtype=np.int64)
        self.leaving = np.zeros(n, dtype=bool)
        # What happens.
        self.engagement, self.ability, self.conduct = (np.full((n, w), np.nan) for _ in range(3))
        self.was_leaving, self.moved = np.zeros((n, w), dtype=bool), np.zeros((n, w), dtype=bool)
        self.status = np.full((n, w, DAYS), _NO_SESSION, dtype=np.int8)  # index into STATUSES
        self.score = np.full((n, w, slots), np.nan)  # percent; NaN: nothing recorded
        self.incidents: list[list[tuple[int, int, int]]] = [[] for _ in weeks]  # (student, day, severity)

    def futures(self, copies: int, rng: np.random.Generator) -> Year:
        """`copies` of every student as they are now, to be played on with another stream.

        The students of the first copy come first; nothing that happens to the copies happens to the original. What
        happened so far is kept, except for the incidents.
        """
        branch = copy.copy(self)
        branch.rng, branch.n, branch.district_ids = rng, self.n * copies, self.district_ids * copies
        for name in _PER_STUDENT:
            value: np.ndarray = getattr(self, name)
            setattr(branch, name, np.tile(value, (copies,) + (1,) * (value.ndim - 1)))
        branch.drift = {trait: np.tile(value, copies) for trait, value in self.drift.items()}
        branch.exit_type = self.exit_type * copies
        branch.incidents = [[] for _ in self.weeks]
        return branch

    def play(self, number: int) -> None:
        """Let the school week with index `number` happen, after the weeks before it."""
        self._live(number)
        self._attend(number)
        self._work(number)
        self._behave(number)
        self._leave(number)

    def _live(self, number: int) -> None:
        """Drift, shocks, support; the traits of the week."""
        rng, n, drift = self.rng, self.n, self.drift
        for trait, (persistence, step) in _DRIFT.items():
            drift[trait] = persistence * drift[trait] + step * rng.standard_normal(n)
        hit = rng.random(n) < np.minimum(0.0055 * self.mobility, 0.2)
        size = 0.8 + 0.7 * rng.standard_exponential(n)
        lasting = rng.random(n) < 0.2
        self.shock = self.fading * self.shock + np.where(hit, size, 0.0)
        self.fading = np.where(hit, np.where(lasting, 0.985, 0.85), self.fading)
        self.support *= 0.92
        if number >= 4:
            month = self.status[:, number - 4 : number]
            recorded = np.maximum((month >= 0).sum((1, 2)), 1)
            missed = ((month == ABSENT) | (month == EXCUSED)).sum((1, 2)) / recorded
            self.support += (missed > 0.15) & (rng.random(n) < 0.08 * self.story.confounding)
        slump = 0.3 * number / WEEKS_OF_A_YEAR
        self.engagement[:, number] = (
            self.engagement_level + drift["engagement"] - self.shock + self.support - slump - 3.5 * self.leaving
        )
        self.ability[:, number] = self.ability_level + drift["ability"] - 0.2 * self.shock
        self.conduct[:, number] = self.conduct_level + drift["conduct"] - 0.4 * self.shock + 0.3 * self.support
        self.was_leaving[:, number] = self.leaving

    def _attend(self, number: int) -> None:
        rng, n, engagement = self.rng, self.n, self.engagement[:, number]
        drift = self.story.drift_in(number)
        illness = self.story.noise * (1.0 + drift)
        winter = 1.0 + 0.9 * np.exp(-(((number % WEEKS_OF_A_YEAR) - 18) ** 2) / 18.0)
        for day in range(DAYS):
            at = number * DAYS + day
            falls_ill = rng.random(n) < np.minimum(0.0035 * winter * np.exp(1.2 * self.frailty) * illness, 0.3)
            spell = rng.geometric(0.5, n)
            self.sick_days = np.where(falls_ill & (self.sick_days == 0), spell, self.sick_days)
            away = -5.5 - 1.75 * engagement + 0.35 * (self.grade_level >= 9) + 0.2 * (self.grade_level == 0)
            skips = rng.random(n) < _probability(away + 0.2 * (day in (0, 4)) + 0.4 * drift)
            late = rng.random(n) < _probability(-3.4 - 0.6 * engagement)
            if _school_day(number, day):
                what = np.select([skips, self.sick_days > 0, late], [ABSENT, EXCUSED, TARDY], PRESENT)
                enrolled = (self.entry <= at) & (at <= self.last)
                self.status[:, number, day] = np.where(enrolled, what, _NO_SESSION)
            self.sick_days = np.maximum(self.sick_days - 1, 0)

    def _work(self, number: int) -> None:
        """Marks of what was due; what is not handed in is a zero for half of the teachers, nothing for the others."""
        rng, shape = self.rng, self.aptitude.shape
        strictness = self.story.drift_in(number)
        engagement, ability = self.engagement[:, number], self.ability[:, number]
        kind = self.assignment[self.grade_level, number]
        marks = (
            85.0
            + (8.0 * ability + 3.5 * engagement)[:, None]
            + 5.0 * self.aptitude
            + self.difficulty[self.grade_level]
            + _ASSIGNMENT_EFFECT[np.maximum(kind, 0)]
            + 6.5 * self.story.noise * rng.standard_normal(shape)
            - 4.0 * strictness
        )
        marks = np.round(np.clip(marks, 5.0, 100.0) * 2) / 2
        week = self.status[:, number]
        days_missed = ((week == ABSENT) | (week == EXCUSED)).sum(1)
        missing = rng.random(shape) < _probability(-4.7 - 1.0 * engagement + 0.35 * days_missed)[:, None]
        marks = np.where(missing, np.where(rng.random(shape) < 0.5 + 0.25 * strictness, 0.0, np.nan), marks)
        due_at = number * DAYS + self.due[self.grade_level, number]
        there = (kind >= 0) & (self.entry[:, None] <= due_at) & (due_at <= self.last[:, None])
        self.score[:, number] = np.where(there, marks, np.nan)

    def _behave(self, number: int) -> None:
        """Incidents, on days on which the student is at school."""
        rng, conduct = self.rng, self.conduct[:, number]
        age = 0.5 * ((self.grade_level >= 6) & (self.grade_level <= 9))
        counts = rng.poisson(np.exp(np.minimum(-4.4 - 1.0 * conduct - 0.25 * self.engagement[:, number] + age, 0.5)))
        for student in np.flatnonzero(counts).tolist():
            for _ in range(int(counts[student])):
                day, gravity = int(rng.integers(0, DAYS)), rng.logistic() - 0.5 * conduct[student]
                severity = 1 + int(np.searchsorted((0.4, 1.9, 3.5, 5.0), gravity))
                # Nobody reports a newcomer who is not yet known: one bad row is a large share of this small table.
                unknown = self.known_late[student] and self.entry[student] // DAYS == number
                if self.status[student, number, day] in (PRESENT, TARDY) and not unknown:
                    self.incidents[number].append((student, day, severity))
        self.incidents[number].sort(key=lambda incident: (incident[1], incident[0]))

    def _leave(self, number: int) -> None:
        """Who decides to drop out, who moves away, whose contact changes. A newcomer stays a few weeks at least."""
        rng, n = self.rng, self.n
        settled = (self.entry <= number * DAYS) & (self.last == _STAYS) & (number - self.entry // DAYS >= 3)
        hazard = 0.0007 * np.exp(-1.1 * self.engagement[:, number] - 0.35 * self.ability[:, number])
        drops = (rng.random(n) < np.minimum(hazard, 0.5)) & (self.grade_level >= 9)
        transfers = rng.random(n) < 0.0007 * self.mobility
        other = rng.random(n) < 0.00005
        goes = settled & (drops | transfers | other)
        last_day = (number + rng.integers(1, 3, n)) * DAYS + rng.integers(0, DAYS, n)
        self.last[goes] = last_day[goes]
        for student in np.flatnonzero(goes).tolist():
            self.exit_type[student] = (
                "dropped_out" if drops[student] else "transferred" if transfers[student] else "other"
            )
        self.leaving |= goes & drops
        self.moved[:, number] = settled & (rng.random(n) < 0.0012 * self.mobility)


def first_day(*, students: int, weeks: int, seed: int, last_week: dt.date, story: Story) -> Year:
    """The year of `generate_district` with the same arguments, nothing of it played yet."""
    if students < 1:
        raise ValueError("students must be at least 1")
    return Year(students, school_weeks(weeks, last_week), _streams(seed)[0], story)


def _simulate(n: int, weeks: tuple[dt.date, ...], seed: int, story: Story) -> Year:
    year = Year(n, weeks, _streams(seed)[0], story)
    for number in range(len(weeks)):
        year.play(number)
    return year


def _own(coefficient: float, variance: float) -> float:
    """The coefficient of a standard normal variable that makes its variance larger by `variance` (may be negative)."""
    # The factor is exactly 1 where nothing changes.
    return float(coefficient * np.sqrt(1.0 + variance / coefficient**2))


def _district_ids(n: int) -> tuple[str, ...]:
    return tuple(f"{10_000 + student}" for student in range(n))


def _assignments(rng: np.random.Generator, w: int) -> tuple[np.ndarray, np.ndarray]:
    """What is due in each grade level, week and course, and on which day: the whole class has it, and no course goes
    without for more than one week."""
    shape = (13, w, len(COURSES))
    kind = np.where(rng.random(shape) < 0.6, rng.choice(4, size=shape, p=_ASSIGNMENT_SHARES), -1)
    due = rng.integers(0, DAYS, size=shape)
    for number in range(w):
        if number:
            kind[:, number][(kind[:, number - 1] < 0) & (kind[:, number] < 0)] = 0
        for day in range(DAYS):
            if not _school_day(number, day):
                due[:, number][due[:, number] == day] = 2
    # Four courses in grades 0 to 5, five in 6 to 8, six above.
    courses = np.where(np.arange(13) <= 5, 4, np.where(np.arange(13) <= 8, 5, 6))
    kind[np.arange(len(COURSES)) >= np.broadcast_to(courses[:, None, None], shape)] = -1
    return kind, due


def _known_late(entry: np.ndarray, n: int) -> np.ndarray:
    """Which newcomers reach `students.csv` one delivery late: every other one, never two in a week, none where a
    student is a large share of the district."""
    late = np.zeros(n, dtype=bool)
    if n < _LAG_FROM_STUDENTS:
        return late
    weeks_taken: set[int] = set()
    for student in np.flatnonzero(entry)[::2].tolist():
        week = int(entry[student]) // DAYS
        late[student] = week not in weeks_taken
        weeks_taken.add(week)
    return late


class _Export:
    """The district's information system: writes down what happened, with the mistakes of those who type."""

    def __init__(self, year: Year, seed: int) -> None:
        self.year, self.weeks = year, year.weeks
        self.ids = year.district_ids
        self.dirt: Counter[str] = Counter()
        self.bad_rows: Counter[str] = Counter()
        _, people, self._rng = _streams(seed)
        self._people = self._describe(people)
        self._moves: Counter[int] = Counter()
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
            "attendance_records": late["attendance_records"] + self._soiled_attendance(number, attendance, early),
            "grades": late["grades"] + self._soiled_grades(number, grades, early),
            "discipline_incidents": late["discipline_incidents"] + self._incidents(number),
        }
        return {table: rows for table, rows in delivery.items() if rows or table != "students"}

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
        return [self._student(int(student), number) for student in np.flatnonzero(changed)]

    def _student(self, student: int, number: int) -> list:
        year, person = self.year, self._people[student]
        gone = year.last[student] < (number + 1) * DAYS
        exit_date = ""
        if gone:
            week, day = divmod(int(year.last[student]), DAYS)
            exit_date = (self.weeks[week] + dt.timedelta(days=day + 1)).isoformat()
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
            "exit_date": exit_date,
            "exit_type": year.exit_type[student] if gone else "",
        }
        return [values[column] for column in HEADERS["students"]]

    # Records as they should be

    def _attendance(self, number: int) -> list[list]:
        status = self.year.status
        rows: list[list] = []
        for day in range(DAYS):
            date = (self.weeks[number] + dt.timedelta(days=day)).isoformat()
            today = status[:, number, day].tolist()
            rows.extend(
                [self.ids[student], date, STATUSES[code], ""] for student, code in enumerate(today) if code >= 0
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
                soiled.append([*row[:2], ("here", "PRESENT?", "excused/tardy")[line % 3], row[3]])
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
                soiled.append([*row[:6], f"{row[6][:4]}-13-45", row[7]])
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
