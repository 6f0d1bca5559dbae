"""An attack on everything that is told of groups: a linear programme, all versions of a model together.

Its unknowns are counts of every combination of true values, of each data set: students, student-weeks, events. What
was told bounds them: totals exactly, groups by their steps, rates by their digits. For each count that is hidden it
asks for the least and the most that fits.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from scipy.optimize import linprog

from edupulse_pipelines.risk.judging.evaluation import measures
from edupulse_pipelines.risk.judging.fairness import judge_fairness
from edupulse_pipelines.risk.judging.suppression import AND, SMALLER_GROUPS, STEP, subgroup_rows, told_count, told_rate
from edupulse_pipelines.settings import PromotionSettings

WEEKS, WITHIN = 4, 4
SETTINGS = PromotionSettings(bootstrap=60)
PAIRS = [("gender", "ethnicity"), ("gender", "grade"), ("ethnicity", "grade")]
UNKNOWNS = ("students", "rows", "events")


def district(rare: int, seed: int = 0, students: int = 240) -> dict[str, Any]:
    """Rows of four weeks; so many students of the rarest ethnicity, and three whose gender is X."""
    random = np.random.default_rng(seed)
    ethnicity = random.choice(["a", "b", "c"], students, p=[0.55, 0.3, 0.15]).astype(object)
    gender, grade = random.choice(["F", "M"], students).astype(object), random.choice(["9", "10"], students)
    ethnicity[:rare] = "rare"
    gender[20:23] = "X"
    student, week = np.tile(np.arange(students), WEEKS), np.repeat(np.arange(WEEKS), students)
    risk = random.beta(1, 2, students)
    actual = random.random(len(student)) < risk[student]
    values = {"gender": gender, "ethnicity": ethnicity, "grade": grade.astype(object)}
    return {
        "probability": np.clip(risk[student] + random.normal(0, 0.1, len(student)), 0, 1),
        "actual": actual,
        "week": week,
        "student": student,
        "groups": {name: each[student] for name, each in values.items()},
    }


def told(rows: Mapping[str, Any], audited: tuple[str, ...]) -> dict[str, Any]:
    """What a training stores of the rows: figures, and the decision's numbers."""
    groups = {name: rows["groups"][name] for name in audited}
    arrays = (rows["probability"], rows["actual"].astype(np.int8), rows["week"])
    figures = measures(*arrays, capacity=0.1, subgroups=groups, student=rows["student"])
    pairs = [pair for pair in PAIRS if set(pair) <= set(audited)]
    judged = judge_fairness(
        rows["probability"], rows["actual"], rows["week"], rows["student"], groups, SETTINGS, 0, pairs
    )
    return {"figures": figures, "fairness": judged}


class Attack:
    """The programme of the versions of one data set."""

    def __init__(self, rows: Mapping[str, Any]) -> None:
        self.rows = rows
        names = list(rows["groups"])
        values = {name: sorted(set(rows["groups"][name])) for name in names}
        self.atoms = [dict(zip(names, each, strict=True)) for each in itertools.product(*values.values())]
        self.width = len(UNKNOWNS) * len(self.atoms)
        self.above: list[np.ndarray] = []
        self.limits: list[float] = []
        for number in range(len(self.atoms)):
            counts = {of: self.atom(number, of) for of in UNKNOWNS}
            self.at_most(counts["events"] - counts["rows"], 0)
            self.at_most(counts["students"] - counts["rows"], 0)
            self.at_most(counts["rows"] - WEEKS * counts["students"], 0)
        # Totals are told exactly.
        everybody = range(len(self.atoms))
        truth = (len(np.unique(rows["student"])), len(rows["student"]), int(rows["actual"].sum()))
        for of, total in zip(UNKNOWNS, truth, strict=True):
            self.between(self.sum(everybody, of), total, total)

    def atom(self, number: int, of: str) -> np.ndarray:
        row = np.zeros(self.width)
        row[UNKNOWNS.index(of) * len(self.atoms) + number] = 1
        return row

    def sum(self, numbers: Any, of: str) -> np.ndarray:
        return np.sum([self.atom(number, of) for number in numbers], axis=0)

    def at_most(self, row: np.ndarray, limit: float) -> None:
        self.above.append(row)
        self.limits.append(limit)

    def between(self, row: np.ndarray, least: float, most: float) -> None:
        self.at_most(row, most)
        self.at_most(-row, -least)

    def members(self, name: str) -> list[int]:
        """The combinations that a told group is made of; who is in the smaller groups is known, at worst."""
        wanted = []
        for part in name.split(AND):
            attribute = part.partition("=")[0]
            values = self.rows["groups"][attribute]
            rows = dict(subgroup_rows({attribute: values}, self.rows["student"], SETTINGS.minimum_subgroup))[part]
            wanted.append((attribute, set(values[rows])))
        return [
            number for number, atom in enumerate(self.atoms) if all(atom[name] in values for name, values in wanted)
        ]

    def learn(self, version: Mapping[str, Any]) -> None:
        for figure in version["figures"]:
            if not figure.subgroup:
                continue
            rows = self.sum(members := self.members(figure.subgroup), "rows")
            step = STEP * WEEKS / 2
            self.between(rows, figure.samples - step, figure.samples + step)
            if figure.metric == "base_rate" and figure.value is not None:
                events = self.sum(members, "events")
                # Never told as none or all: what is near is a step, at most.
                self.at_most(events - (figure.value + 0.005) * rows, 0)
                if figure.value > (STEP + 1) / figure.samples:
                    self.at_most((figure.value - 0.005) * rows - events, 0)
        for row in version["fairness"]["subgroups"]:
            members = self.members(row["subgroup"])
            count = self.sum(members, "students")
            self.at_most(-count, -SETTINGS.minimum_subgroup)  # or it would not be named
            if "students" in row:
                self.between(count, row["students"] - STEP / 2, row["students"] + STEP / 2)
            # Whoever has an event is a student, and has a row with one.
            for row_of in (count, self.sum(members, "events")):
                self.at_most(-row_of, -(row["event_students"] - STEP / 2))

    def range_of(self, row: np.ndarray) -> tuple[float, float]:
        found = []
        for sign in (1, -1):
            solved = linprog(sign * row, A_ub=np.array(self.above), b_ub=self.limits, method="highs")
            assert solved.status == 0, solved.message
            found.append(sign * solved.fun)
        return found[0], found[1]

    def hidden(self) -> dict[str, tuple[np.ndarray, dict[str, int]]]:
        """Every value that too few students have, and every intersection: its combinations and true counts."""
        found = {}
        names = list(self.rows["groups"])
        for some in [(name,) for name in names] + list(itertools.combinations(names, 2)):
            for values in itertools.product(*(sorted(set(self.rows["groups"][name])) for name in some)):
                rows = np.all(
                    [self.rows["groups"][name] == value for name, value in zip(some, values, strict=True)], axis=0
                )
                students = len(np.unique(self.rows["student"][rows]))
                if 0 < students < SETTINGS.minimum_subgroup:
                    wanted = dict(zip(some, values, strict=True))
                    members = [n for n, atom in enumerate(self.atoms) if wanted.items() <= atom.items()]
                    counts = (students, int(rows.sum()), int(self.rows["actual"][rows].sum()))
                    found[str(wanted)] = (np.array(members), dict(zip(UNKNOWNS, counts, strict=True)))
        return found


@pytest.mark.parametrize("rare", [1, 4, 9])
def test_no_hidden_count_is_found_within_four_from_all_versions_together(rare: int) -> None:
    rows = district(rare)
    attack = Attack(rows)
    # Three versions of the same weeks: other subgroups were audited, and other scores were judged.
    attack.learn(told(rows, ("gender", "ethnicity", "grade")))
    attack.learn(told(rows, ("ethnicity", "gender")))
    attack.learn(told({**rows, "probability": 1 - rows["probability"]}, ("grade", "ethnicity")))
    hidden = attack.hidden()
    assert {"{'ethnicity': 'rare'}", "{'gender': 'X'}"} <= set(hidden)
    for name, (members, counts) in hidden.items():
        for of, count in counts.items():
            low, high = attack.range_of(attack.sum(members, of))
            assert low - 1e-6 <= count <= high + 1e-6, (name, of)  # the attack itself is right
            assert low < count - WITHIN or high > count + WITHIN, (name, of, low, high)


def test_the_attack_finds_what_earlier_versions_told() -> None:
    """Everybody less the groups, exactly: the audit's 42 student-weeks and 18 events, of this district."""
    rows = district(4)
    attack = Attack(rows)
    for value in ("a", "b", "c"):
        members = [number for number, atom in enumerate(attack.atoms) if atom["ethnicity"] == value]
        mine = rows["groups"]["ethnicity"] == value
        attack.between(attack.sum(members, "rows"), mine.sum(), mine.sum())
        attack.between(attack.sum(members, "events"), *[rows["actual"][mine].sum()] * 2)
    members, counts = attack.hidden()["{'ethnicity': 'rare'}"]
    for of in ("rows", "events"):
        assert attack.range_of(attack.sum(members, of)) == pytest.approx((counts[of], counts[of]), abs=1e-6)


def test_a_small_group_is_told_nowhere_in_what_is_stored() -> None:
    found = told(district(4), ("gender", "ethnicity", "grade"))
    names = {one.subgroup for one in found["figures"]} | {row["subgroup"] for row in found["fairness"]["subgroups"]}
    assert not any("rare" in name or "=X" in name for name in names)
    assert any(name.startswith("ethnicity=c and ") and name.endswith(SMALLER_GROUPS) for name in names)
    assert any(AND in name for name in names)


def test_counts_and_rates_are_told_in_steps() -> None:
    assert [told_count(count, 10) for count in (0, 4, 5, 14, 15, 104)] == [0, 0, 10, 10, 20, 100]
    assert (told_count(104, 10, 12), told_count(104, 25)) == (120, 100)
    assert (told_rate(0, 200), told_rate(200, 200), told_rate(1, 3)) == (0.05, 0.95, None)
    assert told_rate(31, 90) == 0.34
