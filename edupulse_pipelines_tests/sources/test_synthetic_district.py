"""The synthetic district: same bytes for a seed, a school year with breaks, plausible rates, small doses of dirt."""

from __future__ import annotations

import csv
import datetime as dt
import hashlib
import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from edupulse_pipelines.errors import LandingError
from edupulse_pipelines.schema.delivery import DELETED, DELIVERED
from edupulse_pipelines.schema.tables import ATTENDANCE_STATUSES, EXIT_TYPES
from edupulse_pipelines.sources.best_score import best_scores
from edupulse_pipelines.sources.synthetic_district import (
    DistrictSummary,
    first_week,
    generate_district,
    latent_traits,
    school_weeks,
)
from edupulse_pipelines.sources.synthetic_files import HEADERS
from edupulse_pipelines.sources.synthetic_year import ABSENT, DEFAULT_STORY, EXCUSED, Story, Year, first_day
from edupulse_pipelines.weeks import feature_date, week_of_delivery, week_start

LAST = dt.date(2026, 6, 8)
WEEK = dt.timedelta(days=7)


@dataclass(frozen=True)
class District:
    summary: DistrictSummary
    folder: Path
    rows: dict[str, dict[dt.date, list[dict[str, str]]]]  # table -> delivery date -> rows

    def all(self, table: str) -> Iterator[tuple[dt.date, dict[str, str]]]:
        for delivered_on, rows in self.rows[table].items():
            for row in rows:
                yield delivered_on, row

    def enrolments(self) -> dict[str, list[dict[str, str]]]:
        """By student what stands of the enrolments at the end, in order."""
        found: dict[str, list[dict[str, str]]] = defaultdict(list)
        for row in self.latest("enrollments", "district_id", "school_id", "entry_date").values():
            found[row["district_id"]].append(row)
        return {student: sorted(of, key=lambda row: row["entry_date"]) for student, of in found.items()}

    def latest(self, table: str, *key: str) -> dict[tuple[str, ...], dict[str, str]]:
        """What stands at the end: the newest row of each key."""
        return {tuple(row[column] for column in key): row for _, row in self.all(table)}


def read(folder: Path, summary: DistrictSummary) -> District:
    rows: dict[str, dict[dt.date, list[dict[str, str]]]] = defaultdict(dict)
    for path in sorted(folder.glob("*/*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            rows[path.stem][dt.date.fromisoformat(path.parent.name)] = list(csv.DictReader(file))
    return District(summary, folder, rows)


def as_date(text: str) -> dt.date | None:
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        return None


@pytest.fixture(scope="module")
def year(tmp_path_factory: pytest.TempPathFactory) -> District:
    out = tmp_path_factory.mktemp("year") / "landing" / "demo"
    return read(out, generate_district(out, students=400, weeks=36, last_week=LAST))


def bad(table: str, row: dict[str, str], known: set[str]) -> bool:
    """Whether a row cannot be loaded as it comes, by the rules this test knows of."""
    day = {"attendance_records": "date", "grades": "submission_date", "discipline_incidents": "incident_date"}[table]
    if row["district_id"] not in known or as_date(row[day]) is None:
        return True
    if table == "attendance_records":
        return row["status"] not in ATTENDANCE_STATUSES
    return table == "grades" and not 0 <= float(row["grade_value"]) <= 100


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    for name, seed in (("one", 7), ("two", 7), ("other", 8)):
        generate_district(tmp_path / name, students=60, weeks=12, seed=seed, last_week=LAST)
    assert files(tmp_path / "one") == files(tmp_path / "two")
    assert files(tmp_path / "one") != files(tmp_path / "other")


def test_the_default_story_does_not_change(tmp_path: Path) -> None:
    """Reports and other people's runs name districts by their arguments only. Differs with another NumPy's streams."""
    generate_district(tmp_path, students=60, weeks=12, seed=7, last_week=LAST)
    digest = hashlib.sha256()
    for name, content in files(tmp_path).items():
        digest.update(name.encode() + content)
    assert digest.hexdigest() == "c7a55033db1af85965dbf684547fc2f59cef98c5d671e0478d1c22d8bb148003"


def test_headers_are_the_landing_contract() -> None:
    for table, header in HEADERS.items():
        # The made-up district knows days and periods of absence, no minutes, and takes nothing back.
        assert set(header) == set(DELIVERED[table].column_names) - {"minutes_absent", "minutes_possible", DELETED}


def test_the_school_year_has_breaks() -> None:
    weeks = school_weeks(36, LAST)
    assert len(weeks) == 36
    assert weeks[-1] == LAST
    assert first_week(36, LAST) == weeks[0] == LAST - 39 * WEEK
    assert all(week.weekday() == 0 for week in weeks)
    gaps = [(after - before) // WEEK - 1 for before, after in itertools.pairwise(weeks)]
    assert sorted(gap for gap in gaps if gap) == [1, 1, 2]


@pytest.mark.parametrize(("weeks", "without_school"), [(1, 0), (4, 0), (10, 0), (11, 1), (24, 3), (72, 8)])
def test_short_years_have_fewer_breaks(weeks: int, without_school: int) -> None:
    school = school_weeks(weeks, LAST)
    assert len(school) == weeks
    assert (school[-1] - school[0]) // WEEK + 1 - weeks == without_school


def test_every_school_week_is_delivered_on_the_monday_after_it(year: District) -> None:
    summary = year.summary
    assert summary.school_weeks == school_weeks(36, LAST)
    assert summary.deliveries == tuple(week + WEEK for week in summary.school_weeks)
    assert [week_of_delivery(day) for day in summary.deliveries] == list(summary.school_weeks)
    assert sorted(path.name for path in year.folder.iterdir()) == [day.isoformat() for day in summary.deliveries]
    for table in ("attendance_records", "grades", "discipline_incidents"):
        assert list(year.rows[table]) == list(summary.deliveries)
    for table in ("students", "enrollments"):
        assert 1 < len(year.rows[table]) < 36
    assert next(iter(year.rows["students"])) == summary.deliveries[0]
    assert summary.rows == {table: sum(1 for _ in year.all(table)) for table in HEADERS}


def test_rows_are_of_the_delivered_week_or_the_one_before(year: District) -> None:
    school = set(year.summary.school_weeks)
    late = Counter[str]()
    for table, column in (
        ("attendance_records", "date"),
        ("grades", "submission_date"),
        ("discipline_incidents", "incident_date"),
    ):
        for delivered_on, row in year.all(table):
            day = as_date(row[column])
            if day is not None:
                assert day < delivered_on
                assert week_start(day) in school
                assert day.weekday() < 5
                late[table] += week_start(day) != week_of_delivery(delivered_on)
    assert all(late.values())


def test_students_and_their_rows_fit_together(year: District) -> None:
    students = year.latest("students", "district_id")
    assert len(students) == year.summary.students == 400
    at_start = year.rows["students"][year.summary.deliveries[0]]
    assert 380 <= len(at_start) < 400
    for row in students.values():
        assert 0 <= int(row["grade_level"]) <= 12
        assert bool(row["exit_date"]) == bool(row["exit_type"])
        assert row["exit_type"] in ("", *EXIT_TYPES)
        assert not row["gpa"] or 0 <= float(row["gpa"]) <= 4
        assert 0 <= float(row["attendance_rate"]) <= 1
    enrolments = year.enrolments()
    assert len(enrolments) == 400
    for table, column in (
        ("attendance_records", "date"),
        ("grades", "submission_date"),
        ("discipline_incidents", "incident_date"),
    ):
        for _, row in year.all(table):
            if row["district_id"] in enrolments and as_date(row[column]):
                (of_day,) = (one for one in enrolments[row["district_id"]] if holds(one, row[column]))
                assert row.get("school_id", of_day["school_id"]) == of_day["school_id"]
    # The students' own dates are those of the newest enrolment, but for a change of school.
    for (number,), row in students.items():
        last = enrolments[number][-1]
        assert (row["exit_date"], row["exit_type"]) == (last["exit_date"], last["exit_type"])


def test_three_schools_transfers_re_entries_and_a_renamed_child(year: District) -> None:
    schools = {row["school_id"]: row for _, row in year.all("schools")}
    assert len(schools) == 3
    assert list(year.rows["schools"]) == [year.summary.deliveries[0]]
    at = Counter(row["school_id"] for _, row in year.all("enrollments"))
    assert all(at[school] > 100 for school in schools)
    kinds = Counter[str]()
    for of_student in year.enrolments().values():
        for before, after in itertools.pairwise(of_student):
            kinds["transfer" if before["exit_date"] == after["entry_date"] else "re-entry"] += 1
            assert before["exit_type"] == "transferred"
            if before["exit_date"] == after["entry_date"]:
                assert before["school_id"] != after["school_id"]
            else:
                gap = dt.date.fromisoformat(after["entry_date"]) - dt.date.fromisoformat(before["exit_date"])
                assert gap > 3 * WEEK
        for one in of_student:
            grades = schools[one["school_id"]]
            assert int(grades["lowest_grade"]) <= int(one["grade_level"]) <= int(grades["highest_grade"])
    assert kinds["transfer"] >= 5
    assert kinds["re-entry"] >= 2
    names: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    for _, row in year.all("students"):
        names[row["district_id"], row["first_name"], row["date_of_birth"]].add(row["last_name"])
    assert len(names) == 400
    assert sorted(map(len, names.values()))[-2:] == [1, 2]


def holds(enrolment: dict[str, str], day: str) -> bool:
    return enrolment["entry_date"] <= day and (not enrolment["exit_date"] or day < enrolment["exit_date"])


def test_everybody_enrolled_has_attendance_every_school_day(year: District) -> None:
    week = year.summary.school_weeks[0]
    days = Counter(row["district_id"] for row in year.rows["attendance_records"][week + WEEK] if as_date(row["date"]))
    assert sum(count == 5 for count in days.values()) > 370


def test_bad_rows_are_few_and_counted(year: District) -> None:
    """Known here is who has been in a `students.csv` up to and including the delivery."""
    found, worst = Counter[str](), 0.0
    known: set[str] = set()
    for delivered_on in year.summary.deliveries:
        known |= {row["district_id"] for row in year.rows["students"].get(delivered_on, [])}
        for table in ("attendance_records", "grades", "discipline_incidents"):
            rows = year.rows[table][delivered_on]
            number = sum(bad(table, row, known) for row in rows)
            found[table] += number
            worst = max(worst, number / max(len(rows), 1))
    assert {table: found[table] for table in HEADERS} == year.summary.bad_rows
    assert found["attendance_records"] > 50
    assert found["grades"] > 30
    assert found["discipline_incidents"] == 0
    assert worst < 0.02


def test_every_kind_of_dirt_occurs(year: District) -> None:
    assert set(year.summary.dirt) == {
        "corrected_grade",
        "exact_repeat",
        "grade_over_100",
        "impossible_date",
        "impossible_status",
        "late_row",
        "resolution_added",
        "student_not_yet_known",
        "unknown_student",
    }
    assert min(year.summary.dirt.values()) >= 10


def test_repeats_within_a_file_are_exact(year: District) -> None:
    repeats = 0
    for table, key in (("attendance_records", ("district_id", "date")), ("grades", ("source_record_id",))):
        for rows in year.rows[table].values():
            seen: dict[tuple[str, ...], dict[str, str]] = {}
            for row in rows:
                if as_date(row.get("date", row.get("submission_date", ""))) is None:
                    continue
                earlier = seen.setdefault(tuple(row[column] for column in key), row)
                repeats += earlier is not row
                assert earlier == row
    assert repeats == year.summary.dirt["exact_repeat"]


def test_corrections_keep_their_source_record_id(year: District) -> None:
    for table, changed in (("grades", "grade_value"), ("discipline_incidents", "resolution")):
        values: dict[str, list[str]] = defaultdict(list)
        for _, row in year.all(table):
            values[row["source_record_id"]].append(row[changed])
        assert sum(len(set(held)) > 1 for held in values.values()) >= 10


def test_a_newcomer_known_late_arrives_in_the_next_delivery(year: District) -> None:
    first_known: dict[str, dt.date] = {}
    for delivered_on, row in year.all("students"):
        first_known.setdefault(row["district_id"], delivered_on)
    early = [row for day, row in year.all("attendance_records") if first_known.get(row["district_id"], day) > day]
    late = {row["district_id"] for row in early}
    assert late
    deliveries = year.summary.deliveries
    for student in late:
        seen = min(day for day, row in year.all("attendance_records") if row["district_id"] == student)
        assert deliveries.index(first_known[student]) == deliveries.index(seen) + 1


def labels(district: District, as_of_index: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Attendance up to an as-of week, whether the eight weeks after it were adverse, by the default definition, and
    whose they are."""
    as_of = feature_date(district.summary.school_weeks[as_of_index])
    end = as_of + 8 * WEEK
    attended: dict[str, list[list[bool]]] = defaultdict(lambda: [[], []])
    for (student, day), row in district.latest("attendance_records", "district_id", "date").items():
        date = as_date(day)
        if date is not None and date <= end and row["status"] in ATTENDANCE_STATUSES:
            attended[student][date > as_of].append(row["status"] in ("present", "tardy"))
    marks: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in district.latest("grades", "source_record_id").values():
        date, value = as_date(row["submission_date"]), float(row["grade_value"])
        if date is not None and as_of < date <= end and value <= 100:
            marks[row["district_id"]][row["course_id"]].append(value)
    severities: dict[str, list[int]] = defaultdict(list)
    for row in district.latest("discipline_incidents", "source_record_id").values():
        if as_of.isoformat() < row["incident_date"] <= end.isoformat():
            severities[row["district_id"]].append(int(row["severity_level"]))
    past, adverse, whose = [], [], []
    enrolments = district.enrolments()
    for (student,), row in district.latest("students", "district_id").items():
        before, after = attended[student]
        if len(before) < 15 or not any(holds(one, as_of.isoformat()) for one in enrolments[student]):
            continue
        whose.append(student)
        past.append(np.mean(before))
        adverse.append(
            bool(after and np.mean(after) < 0.9)
            or any(np.mean(values) < 60 for values in marks[student].values())
            or len(severities[student]) >= 3
            or max(severities[student], default=0) >= 4
            or (row["exit_type"] == "dropped_out" and row["exit_date"] <= end.isoformat())
        )
    return np.array(past), np.array(adverse), whose


def test_rates_are_plausible(year: District) -> None:
    statuses = Counter(row["status"] for _, row in year.all("attendance_records"))
    total = statuses.total()
    assert 0.90 < (statuses["present"] + statuses["tardy"]) / total < 0.97
    assert 0.01 < statuses["excused"] / total < 0.04
    values = [float(row["grade_value"]) for _, row in year.all("grades")]
    assert 75 < np.median(values) < 90
    per_student_week = len(values) / (400 * 36)
    assert 2 < per_student_week < 6
    severities = Counter(
        row["severity_level"] for row in year.latest("discipline_incidents", "source_record_id").values()
    )
    assert severities["1"] > severities["3"] > severities["4"] > 0
    assert severities["2"] > severities["3"]
    exits = Counter(row["exit_type"] for row in year.latest("students", "district_id").values())
    assert 0 < exits["dropped_out"] < 0.1 * 400
    assert 0 < exits["transferred"] < 0.1 * 400


def test_risk_can_be_predicted_but_not_trivially(year: District) -> None:
    """The label's base rate, and how well past attendance alone ranks it (the AUC as the share of ordered pairs)."""
    for as_of_index in (9, 22):
        past, adverse, _ = labels(year, as_of_index)
        assert 0.15 < adverse.mean() < 0.35
        pairs = past[adverse][:, None] - past[~adverse][None, :]
        assert 0.60 < ((pairs < 0).mean() + (pairs == 0).mean() / 2) < 0.90


@pytest.mark.parametrize(("students", "weeks"), [(1, 1), (2, 8), (12, 4), (25, 6), (60, 40)])
def test_small_districts(tmp_path: Path, students: int, weeks: int) -> None:
    out = tmp_path / "small"
    district = read(out, generate_district(out, students=students, weeks=weeks, last_week=LAST))
    assert len(list(out.iterdir())) == weeks
    assert len(district.latest("students", "district_id")) == students
    known = {student for (student,) in district.latest("students", "district_id")}
    for table in ("attendance_records", "grades", "discipline_incidents"):
        assert sum(bad(table, row, known) for _, row in district.all(table)) == district.summary.bad_rows[table]
        for rows in district.rows[table].values():
            assert sum(bad(table, row, known) for row in rows) <= 0.02 * len(rows)


def test_the_smallest_demo_has_adverse_events_enough(tmp_path: Path) -> None:
    district = read(tmp_path / "s", generate_district(tmp_path / "s", students=120, weeks=24, last_week=LAST))
    for as_of_index in (3, 12):
        _, adverse, _ = labels(district, as_of_index)
        assert adverse.sum() >= 15
        assert (~adverse).sum() >= 15


def test_the_best_score_is_judged_by_what_the_files_say(year: District) -> None:
    """Its label is that of the files, but for what their dirt did to very few."""
    weeks = [year.summary.school_weeks[number] for number in (9, 22)]
    scores = best_scores(students=400, weeks=36, last_week=LAST, as_of=weeks, futures=1)
    position = {student: row for row, student in enumerate(scores.district_ids)}
    for column, as_of_index in enumerate((9, 22)):
        _, adverse, whose = labels(year, as_of_index)
        rows = [position[student] for student in whose]
        assert scores.enrolled[rows, column].all()
        assert (scores.adverse[rows, column] == adverse).mean() > 0.985


def played(story: Story, students: int = 1000) -> Year:
    year = first_day(students=students, weeks=36, seed=5, last_week=LAST, story=story)
    for number in range(36):
        year.play(number)
    return year


def test_noise_is_what_the_record_says_beyond_the_traits() -> None:
    """Without it nobody is ill, and the marks of one assignment follow from the traits."""
    without, usual, more = (played(Story(noise=noise)) for noise in (0.0, 1.0, 2.0))
    excused = [(year.status == EXCUSED).sum() / (year.status >= 0).sum() for year in (without, usual, more)]
    assert excused[0] == 0
    assert 1.5 < excused[2] / excused[1] < 2.5
    scatter = []
    for year in (without, usual, more):
        slot, number = 0, 10
        mark = year.score[:, number, slot]
        by_traits = 8 * year.ability[:, number] + 3.5 * year.engagement[:, number] + 5 * year.aptitude[:, slot]
        usual_range = (mark > 5) & (mark < 100)
        rest = [
            (mark - by_traits)[usual_range & (year.grade_level == grade)]
            for grade in range(13)
            if year.assignment[grade, number, slot] >= 0
        ]
        scatter.append(np.mean([np.std(one) for one in rest]))
    assert scatter[0] < 0.2  # marks are given in halves
    assert scatter[0] < scatter[1] < scatter[2]


def test_confounding_is_home_stability_and_support() -> None:
    without, usual = played(Story(confounding=0.0), 4000), played(DEFAULT_STORY, 4000)
    for trait in ("engagement_level", "ability_level", "conduct_level", "mobility"):
        assert abs(np.corrcoef(without.home, getattr(without, trait))[0, 1]) < 0.05
        assert abs(np.corrcoef(usual.home, getattr(usual, trait))[0, 1]) > 0.25
        # As different from one another as ever.
        assert np.std(np.log(getattr(without, trait)) if trait == "mobility" else getattr(without, trait)) == (
            pytest.approx(np.std(np.log(usual.mobility) if trait == "mobility" else getattr(usual, trait)), rel=0.05)
        )
    assert not without.support.any()
    assert (usual.support > 0.1).mean() > 0.01


def test_drift_changes_the_district_from_one_week_on() -> None:
    usual, drifted = played(DEFAULT_STORY), played(Story(drift=1.0, drift_from=20))
    before, after = slice(0, 19), slice(19, 36)
    for name in ("status", "score", "engagement"):
        was, now = getattr(usual, name), getattr(drifted, name)
        assert np.array_equal(was[:, before], now[:, before], equal_nan=name != "status")
    assert usual.incidents[:19] == drifted.incidents[:19]

    def rate(year: Year, code: int) -> float:
        return float((year.status[:, after] == code).sum() / (year.status[:, after] >= 0).sum())

    assert 1.5 < rate(drifted, EXCUSED) / rate(usual, EXCUSED) < 2.5
    assert 1.2 < rate(drifted, ABSENT) / rate(usual, ABSENT) < 2.0
    assert 2.0 < np.nanmedian(usual.score[:, after]) - np.nanmedian(drifted.score[:, after]) < 6.0
    assert (drifted.score[:, after] == 0).sum() > 1.3 * (usual.score[:, after] == 0).sum()


def test_deliveries_before_the_drift_are_those_without_it(tmp_path: Path) -> None:
    usual = generate_district(tmp_path / "usual", students=60, weeks=12, last_week=LAST)
    generate_district(tmp_path / "drifted", students=60, weeks=12, last_week=LAST, story=Story(drift=1.0, drift_from=9))
    for number, day in enumerate(usual.deliveries):
        same = files(tmp_path / "usual" / day.isoformat()) == files(tmp_path / "drifted" / day.isoformat())
        assert same == (number < 8)


def test_drift_makes_the_same_record_mean_more_risk() -> None:
    """Just before it begins the record is the same and the risk is higher: what was learned before is too low."""
    as_of = school_weeks(36, LAST)[18]
    mean = [
        np.nanmean(
            best_scores(
                students=300, last_week=LAST, as_of=[as_of], futures=10, story=Story(drift=drift, drift_from=20)
            ).probability
        )
        for drift in (0.0, 1.0)
    ]
    assert mean[1] > mean[0] + 0.05


@pytest.mark.parametrize(
    "wrong",
    [
        {"noise": -0.1},
        {"noise": float("nan")},
        {"noise": 5.1},
        {"confounding": 1.6},
        {"drift": -1.0},
        {"drift": 3.0},
        {"drift_from": 0},
    ],
)
def test_stories_that_cannot_be_told(wrong: dict) -> None:
    with pytest.raises(ValueError, match="must be"):
        Story(**wrong)


@pytest.mark.parametrize("story", [Story(noise=0.0), Story(noise=3.0), Story(confounding=1.5), Story(drift=2.0)])
def test_every_story_makes_files_that_can_be_loaded(tmp_path: Path, story: Story) -> None:
    summary = generate_district(tmp_path / "d", students=120, weeks=30, last_week=LAST, story=story)
    district = read(tmp_path / "d", summary)
    known = {student for (student,) in district.latest("students", "district_id")}
    for table in ("attendance_records", "grades", "discipline_incidents"):
        assert sum(bad(table, row, known) for _, row in district.all(table)) == summary.bad_rows[table]
    usual = generate_district(tmp_path / "usual", students=120, weeks=30, last_week=LAST)
    assert files(tmp_path / "d") != files(tmp_path / "usual")
    assert summary.deliveries == usual.deliveries


def test_latent_traits_are_those_behind_the_files(year: District) -> None:
    traits = latent_traits(students=400, weeks=36, last_week=LAST)
    assert traits.weeks == year.summary.school_weeks
    assert traits.engagement.shape == traits.enrolled.shape == (400, 36)
    absences = Counter(row["district_id"] for _, row in year.all("attendance_records") if row["status"] == "absent")
    counts = np.array([absences[student] for student in traits.district_ids])
    always = traits.enrolled.all(axis=1)
    assert np.corrcoef(traits.engagement[always].mean(axis=1), np.log1p(counts[always]))[0, 1] < -0.5


def test_progress_is_told_week_by_week(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    generate_district(tmp_path / "p", students=5, weeks=3, last_week=LAST, progress=lambda *at: told.append(at))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_a_folder_in_use_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(LandingError, match="not an empty folder"):
        generate_district(tmp_path, students=5, weeks=2, last_week=LAST)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_an_interrupted_run_leaves_no_deliveries_and_can_be_repeated(tmp_path: Path) -> None:
    def interrupt(done: int, weeks: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate_district(tmp_path, students=5, weeks=2, last_week=LAST, progress=interrupt)
    assert list(tmp_path.iterdir()) == []
    generate_district(tmp_path, students=5, weeks=2, last_week=LAST)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    "wrong", [{"students": 0}, {"weeks": 0}, {"last_week": dt.date(2026, 6, 9)}], ids=lambda wrong: next(iter(wrong))
)
def test_arguments_that_make_no_district(tmp_path: Path, wrong: dict) -> None:
    with pytest.raises(ValueError, match="must be"):
        generate_district(tmp_path / "d", **({"students": 5, "weeks": 2, "last_week": LAST} | wrong))
    assert not (tmp_path / "d").exists()
