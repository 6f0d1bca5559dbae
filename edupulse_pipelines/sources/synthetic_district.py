"""A synthetic school district: landing files of a school year that behave, and misbehave, like real ones.

What lives here: the causal story, and the writing of canonical landing CSV. Its simulation is in `synthetic_year`, the
rows that are written in `synthetic_files`. What does not: features, labels, models. The coefficients were set by hand
for plausible rates (attendance about 95 %, one student in seven chronically absent, about one high-school student in
twenty dropping out within the year, a default label for about a quarter of the students) and for students who differ
lastingly enough that a plain logistic regression ranks that label with an AUC a little above 0.8. They are not fitted
to the features, candidates or settings of this package.

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
- *mobility* (lasting) makes shocks, moves within the district and transfers out of it likelier. A transfer is not an
  adverse event, though it looks like one beforehand.
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

Schools and enrolments
----------------------
Two schools up to grade 8 and a high school (`schools.csv`, with the first delivery). `enrollments.csv` has everybody at
the start, afterwards whom something happens to: newcomers; a child who moves within the district (its contact changes,
and up to grade 8 its school); somebody who leaves, or is there again four school weeks after having moved away, which
half of the grades do. Attendance names the school. Halfway through the year one child gets another last name: same
first name and date of birth, so it is an update of the child.

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

import csv
import datetime as dt
import shutil
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edupulse_pipelines.errors import LandingError
from edupulse_pipelines.progress import Progress
from edupulse_pipelines.sources import DEFAULT_SEED
from edupulse_pipelines.sources.synthetic_files import HEADERS, Export
from edupulse_pipelines.sources.synthetic_year import DEFAULT_STORY, Story, first_week, school_weeks, simulate
from edupulse_pipelines.weeks import WEEK

__all__ = ["DistrictSummary", "LatentTraits", "first_week", "generate_district", "latent_traits", "school_weeks"]


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


def latent_traits(
    *, students: int = 500, weeks: int = 36, seed: int = DEFAULT_SEED, last_week: dt.date, story: Story = DEFAULT_STORY
) -> LatentTraits:
    """The hidden traits behind `generate_district` with the same arguments."""
    year = simulate(students, school_weeks(weeks, last_week), seed, story)
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
    seed: int = DEFAULT_SEED,
    last_week: dt.date,
    story: Story = DEFAULT_STORY,
    progress: Progress | None = None,
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

    export = Export(simulate(students, year, seed, story), seed)
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
