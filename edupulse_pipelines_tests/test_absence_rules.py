"""The rules of absence: each at its edges, whole as data, and named by a tenant."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edupulse_pipelines.settings import (
    RULE_NAMES,
    AttendanceSettings,
    CalendarSettings,
    LabelSettings,
    TenantSettings,
    absence_rule,
)
from edupulse_pipelines.settings.absence_rules import ABSENCE_RULES, AbsenceRule
from edupulse_pipelines_tests.absence_edges import EDGES


def tenant(**sections: object) -> TenantSettings:
    given = {"name": "a", "timezone": "UTC", "first_week": "2026-08-31", "landing": Path("landing")}
    return TenantSettings.model_validate({**given, **sections})


@pytest.mark.parametrize(("name", "enrolled", "absent", "missed", "expected"), EDGES)
def test_a_rule_at_its_edge(name: str, enrolled: int, absent: int, missed: float, expected: bool | None) -> None:
    rule = absence_rule(name)
    assert bool(rule.decides(enrolled)) is (expected is not None)
    assert bool(rule.is_met(enrolled, absent, missed)) is bool(expected)


@pytest.mark.parametrize("name", RULE_NAMES)
def test_arrays_are_decided_as_numbers_are(name: str) -> None:
    rule, rows = absence_rule(name), [row for row in EDGES if row[0] == name]
    assert {row[-1] for row in rows} >= {True, False}, "the table shows nothing of this rule"
    enrolled, absent, missed = (np.array([row[column] for row in rows]) for column in (1, 2, 3))
    assert rule.is_met(enrolled, absent, missed).tolist() == [bool(row[-1]) for row in rows]


def test_a_share_of_parts_of_days_is_not_lost_by_rounding() -> None:
    rule = absence_rule("ohio")
    assert rule.is_met(10, 0, sum([0.1] * 10)) and sum([0.1] * 10) < 1  # which binary fractions make less than 1


def test_every_rule_says_whose_it_is_and_where_it_is_written() -> None:
    assert len({rule.name for rule in ABSENCE_RULES}) == len(ABSENCE_RULES)
    for rule in ABSENCE_RULES:
        assert rule.authority and rule.sources and rule.part_of_a_day, rule.name
        assert rule.effective_to is None or rule.effective_to > rule.effective_from
    in_force = [rule for rule in ABSENCE_RULES if rule.effective_to is None and rule.name != "federal"]
    assert len({str(rule.as_json() | {"name": ""} | {"day": rule.absent_day}) for rule in in_force}) == len(in_force)
    assert len(in_force) >= 5
    with pytest.raises(ValueError, match="percent"):
        AbsenceRule(
            name="x", authority="x", sources=("x",), effective_from=in_force[0].effective_from, part_of_a_day="x"
        )


def test_a_rule_in_words() -> None:
    assert absence_rule("federal").words == "is absent on 10 % or more of the days enrolled, of at least 10"
    assert absence_rule("pennsylvania").words == "is absent on more than 10 % of the days enrolled, of at least 90"
    assert absence_rule("hawaii").words == "is absent on 15 days or more of a school year"
    assert absence_rule("ohio").words == "misses 10 % or more of the time of the days enrolled"


@pytest.mark.parametrize(
    ("given", "rule", "rate"),
    [
        ({}, "federal", None),
        ({"rule": "california"}, "california", None),
        ({"attendance_below": 0.85}, "threshold", 0.85),
        ({"rule": "threshold"}, "threshold", 0.9),
        ({"rule": "threshold", "attendance_below": 0.8}, "threshold", 0.8),
        ({"attendance_below": False}, None, None),
        ({"rule": False}, None, None),
        ({"horizon_weeks": "exit"}, None, None),
    ],
)
def test_what_a_label_names(given: dict[str, object], rule: str | None, rate: float | None) -> None:
    label = LabelSettings.model_validate(given)
    assert (label.rule, label.attendance_below) == (rule, rate)
    assert (label.absence_rule is None) is (rule in (None, "threshold"))
    assert LabelSettings.model_validate(label.model_dump(mode="json")) == label


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rule": "atlantis"}, "no rule of absence; there are federal,"),
        ({"rule": "federal", "attendance_below": 0.9}, "remove it, or name that rule"),
        ({"rule": "threshold", "attendance_below": False}, "set rule = false"),
        ({"rule": True}, "a threshold"),
        ({"rule": "federal", "horizon_weeks": "exit"}, "only exit_types count"),
    ],
)
def test_a_label_that_contradicts_itself_is_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LabelSettings.model_validate(given)


def test_a_rule_that_the_horizon_cannot_meet_is_refused_with_an_advice_that_works() -> None:
    with pytest.raises(ValueError, match=r"pennsylvania needs 90 days.*hold.? 40; set horizon_weeks = 18 or more"):
        tenant(label={"rule": "pennsylvania"})
    assert tenant(label={"rule": "pennsylvania", "horizon_weeks": 18}).label.absence_rule is absence_rule(
        "pennsylvania"
    )
    saturdays = CalendarSettings.model_validate(
        {
            "terms": [{"start": "2026-08-31", "end": "2027-06-11"}],
            "weekdays": ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday"],
        }
    )
    assert tenant(label={"rule": "pennsylvania", "horizon_weeks": 15}, calendar=saturdays)


def test_the_day_rule_follows_the_label_unless_the_tenant_says_otherwise() -> None:
    assert tenant().absent_day == "half"
    assert tenant(label={"rule": "california"}).absent_day == "all"
    assert tenant(label={"attendance_below": 0.9}).absent_day == "half"
    assert tenant(attendance=AttendanceSettings(absent_day="any")).absent_day == "any"
