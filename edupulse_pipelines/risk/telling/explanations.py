"""Why a score is what it is: the model's own contributions as the seed's `risk_factors`, in plain words.

The words are in `factors`; here is the arithmetic. Definitions:

- A factor's *contribution* is the sum of the contributions (log-odds, from the training set's average) of those of its
  features that are recorded for the student. What the missing ones of a domain contribute is a factor of its own
  (`attendance_not_recorded` and so on), so that nothing unrecorded is told as an absence, a decline or an incident.
  Intercept + all factors' contributions = the score's log-odds, as with the features.
- `weight`: the contribution's absolute share of all factors' contributions; they sum to 1.
- Told in its direction: the facts that are told pull the way the factor does and, where a direction is known, a value
  that raises the risk is worse than typical as both are written, and one that lowers it is not.
- Never told: a factor without such a fact (0 incidents as incidents, a rise as a decline, a usual value as a risk).
- `other`: what is not told, all together, so that all contributions and the intercept are the score.
- `protective`: lowers the risk, is recorded of the student, is no worse than what is typical, is not what the factor's
  name warns of (an incident is no strength, even where others have more), and nothing recent of it is worse.

What is recommended here looks at the factor alone; `advice` looks at the recent course and the student's other factors.

Whether a fact raises or lowers this student's risk is what the model says, never what we would have guessed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from edupulse_pipelines.risk.rounding import DIGITS
from edupulse_pipelines.risk.telling.factors import (
    BACKGROUND,
    FACTORS,
    NOT_RECORDED,
    NOTHING_STANDS_OUT,
    OTHER,
    Fact,
    Factor,
    FactorDomain,
    fact_of,
    grouped,
)

MAXIMUM_FACTORS = 5

RiskFactor = dict[str, Any]
Floats = NDArray[np.float64]
Booleans = NDArray[np.bool_]
Positions = NDArray[np.int64]

_MISSING_LOWERS = "No action; nothing was recorded, so look at the other factors"
_NOT_ALONE = "No reason for concern by itself; look at it together with the other factors"
NOTHING_TOLD: RiskFactor = {
    "factor": NOTHING_STANDS_OUT,
    "weight": 0.0,
    "value": None,
    "description": "Nothing that is recorded sets this student apart",
    "recommendation": "No action",
    "contribution": 0.0,
    "direction": "lowers",
    "protective": False,
    "unit": None,
}
"""The only factor of a student about whom no other can be told."""


class ExplainedModel(Protocol):
    """What explaining needs of a model."""

    @property
    def features(self) -> list[str]:
        """Names of the input columns."""
        ...

    @property
    def typical(self) -> dict[str, float | None]:
        """Median of each feature in training; None where it was never recorded."""
        ...

    def contributions(self, features: pd.DataFrame, /) -> Floats:
        """Log-odds, shape (rows, features)."""
        ...


def risk_factors(
    model: ExplainedModel, features: pd.DataFrame, levels: Mapping[str, Sequence[str]] | None = None
) -> list[list[RiskFactor]]:
    """Per row of `features`, up to five factors with a contribution other than 0, the largest first, at least one, and
    after them `other` where anything is not told.

    `value` (in `unit`) and the description's first words are of the factor's first fact that is recorded; where the
    name says something and the factor raises the risk, of the first that shows it. Where another fact weighs more, it
    is told, too. Value and unit are null where nothing was recorded. Where no factor can be told, the only one is
    `nothing_stands_out`, weight 0. `levels`: values, in order, of the declared inputs that have such (see
    `factors.fact_of`).
    """
    contributions = np.asarray(model.contributions(features), dtype=np.float64)
    names = list(model.features)
    values = np.round(features[names].to_numpy(np.float64), DIGITS)
    telling: list[_Telling] = [
        _Recorded(FACTORS[name], columns, names, model.typical, levels) for name, columns in grouped(names).items()
    ]
    telling += [_Missing(domain, columns, names, levels) for domain, columns in _domains(names).items()]
    told = [teller.told(values[:, teller.columns], contributions[:, teller.columns]) for teller in telling]

    totals = np.column_stack([facts.contribution for facts in told])
    size = np.abs(totals)
    whole = size.sum(axis=1)
    weights = np.round(size / np.where(whole > 0, whole, 1.0)[:, None], DIGITS)
    size[np.column_stack([facts.never for facts in told])] = 0.0
    # Stable: factors of equal size stay in the order of the registry.
    order = np.argsort(-size, axis=1, kind="stable")[:, :MAXIMUM_FACTORS]
    shown = np.take_along_axis(size, order, axis=1) > 0
    explained: list[list[RiskFactor]] = [[NOTHING_TOLD] * max(1, count) for count in shown.sum(axis=1).tolist()]
    for position, (teller, facts) in enumerate(zip(telling, told, strict=True)):
        rows, places = np.nonzero((order == position) & shown)
        if not len(rows):
            continue
        words = teller.words(values[rows][:, teller.columns], facts, rows)
        for row, place, weight, contribution, name, value, description, recommendation, protective, unit in zip(
            rows.tolist(),
            places.tolist(),
            weights[rows, position].tolist(),
            facts.contribution[rows].tolist(),
            words.name,
            words.value,
            words.description,
            words.recommendation,
            words.protective,
            words.unit,
            strict=True,
        ):
            explained[row][place] = {
                "factor": name,
                "weight": weight,
                "value": value,
                "description": description,
                "recommendation": recommendation,
                "contribution": contribution,
                "direction": "raises" if contribution > 0 else "lowers",
                "protective": protective,
                "unit": unit,
            }
    explained = [[dict(NOTHING_TOLD)] if factors[0] is NOTHING_TOLD else factors for factors in explained]
    _add_others(explained, totals, order, shown)
    return explained


def _add_others(explained: list[list[RiskFactor]], totals: Floats, order: Positions, shown: Booleans) -> None:
    """Append to each row's factors what they leave out of its contributions (rows, factors), if that is anything."""
    left_out = totals != 0
    for place in range(order.shape[1]):
        rows = np.flatnonzero(shown[:, place])
        left_out[rows, order[rows, place]] = False
    rest = np.where(left_out, totals, 0.0)
    contribution = np.round(rest.sum(axis=1), DIGITS) + 0.0
    whole, apart = np.abs(totals).sum(axis=1), np.abs(rest).sum(axis=1)
    weight = np.round(apart / np.where(whole > 0, whole, 1.0), DIGITS)
    count = left_out.sum(axis=1)
    for row in np.flatnonzero(count).tolist():
        raises, many = bool(contribution[row] > 0), int(count[row])
        things = "One more thing that weighs less" if many == 1 else f"{many} more things that weigh less"
        verb = ("raises" if raises else "lowers").removesuffix("s" if many > 1 else "")
        explained[row].append(
            {
                "factor": OTHER,
                "weight": float(weight[row]),
                "value": None,
                "description": f"{things} or cannot be told by a single fact {verb} the risk in all",
                "recommendation": None,
                "contribution": float(contribution[row]),
                "direction": "raises" if raises else "lowers",
                "protective": False,
                "unit": None,
            }
        )


def factor_contributions(model: ExplainedModel, features: pd.DataFrame) -> pd.DataFrame:
    """Contribution (log-odds) of every factor, a column each, `…_not_recorded` last; rows add up to the score.

    Not rounded. The mean of the absolute values is a factor's global importance.
    """
    contributions = np.asarray(model.contributions(features), dtype=np.float64)
    names = list(model.features)
    recorded = ~np.isnan(features[names].to_numpy(np.float64))
    columns = {name: _sum(contributions[:, of], recorded[:, of]) for name, of in grouped(names).items()}
    for domain, of in _domains(names).items():
        columns[NOT_RECORDED[domain].name] = _sum(contributions[:, of], ~recorded[:, of])
    return pd.DataFrame(columns)


@dataclass(frozen=True)
class _Told:
    """What is known of one factor for every row."""

    contribution: Floats
    """Rounded log-odds."""
    never: Booleans
    """Where it is not told: it would say what the record does not show."""
    first: Positions
    """Which of the facts is told first."""
    second: Positions
    """Which one is told after it; the same one: none."""


@dataclass(frozen=True)
class _Words:
    """Columns of the finished factors, one entry a row."""

    name: list[str]
    value: list[float | None]
    description: list[str]
    recommendation: list[str]
    protective: list[bool]
    unit: list[str | None]


class _Telling(Protocol):
    columns: list[int]

    def told(self, values: Floats, contributions: Floats) -> _Told: ...

    def words(self, values: Floats, told: _Told, rows: Positions) -> _Words: ...


class _Recorded:
    """A factor of the registry, among the features of one model."""

    def __init__(
        self,
        factor: Factor,
        columns: list[int],
        names: Sequence[str],
        typical: Mapping[str, float | None],
        levels: Mapping[str, Sequence[str]] | None,
    ) -> None:
        self.factor = factor
        self.columns = columns
        self.facts: list[Fact] = [fact_of(names[column], levels) for column in columns]
        place = {fact.feature: which for which, fact in enumerate(self.facts)}
        self.told_as = np.array([place.get(fact.instead or "", which) for which, fact in enumerate(self.facts)])
        self.units = [fact.unit for fact in self.facts]
        self.medians = [typical[names[column]] for column in columns]
        self.asides = [
            "" if median is None else f" (typical: {fact.number.written(median)})"
            for fact, median in zip(self.facts, self.medians, strict=True)
        ]

    def told(self, values: Floats, contributions: Floats) -> _Told:
        recorded = ~np.isnan(values)
        total = np.round(_sum(contributions, recorded), DIGITS) + 0.0
        raises = total > 0
        shows = self._each(values, Fact.shown_by)
        towards = np.where(recorded, contributions * np.sign(total)[:, None], -np.inf)
        fits = (towards > 0) & recorded & self._in_direction(values, shows, raises)
        # Of what shows the factor's name the first is told where it raises the risk, else the first of all.
        shown = fits & shows & raises[:, None]
        first = np.where(_any(shown), shown.argmax(axis=1), fits.argmax(axis=1))
        # In the direction of the whole: the fact that says most about why it raises, or why it lowers.
        strongest = np.where(fits, towards, -np.inf).argmax(axis=1)
        rows = np.arange(len(values))
        most, weight_of_first = towards[rows, strongest], towards[rows, first]
        first, strongest = self._as_told(recorded, first), self._as_told(recorded, strongest)
        if self.factor is BACKGROUND:  # unrelated circumstances: none of them comes first by itself
            first = strongest
        second = np.where(most > weight_of_first, strongest, first)
        return _Told(total, ~_any(fits), first, second)

    def _in_direction(self, values: Floats, shows: Booleans, raises: Booleans) -> Booleans:
        """Which facts, told as they are told, fit a factor that raises the risk, or one that lowers it; shape as
        `values`."""
        worse = self._each(values, Fact.worse)
        claimed = np.array([bool(fact.direction) for fact in self.facts]) & np.array(
            [median is not None for median in self.medians]
        )
        may_raise = worse | ~claimed
        if self.factor.otherwise is not None and not self.factor.otherwise_raises:
            may_raise &= shows
        fits = np.where(raises[:, None], may_raise, ~worse)
        there = ~np.isnan(values[:, self.told_as])
        return np.where(there, fits[:, self.told_as], fits)

    def _as_told(self, recorded: Booleans, which: Positions) -> Positions:
        """The fact that is told in the place of fact number `which` of each row, where that is recorded."""
        other = self.told_as[which]
        return np.where(recorded[np.arange(len(which)), other], other, which)

    def words(self, values: Floats, told: _Told, rows: Positions) -> _Words:
        first, second = told.first[rows], told.second[rows]
        here = np.arange(len(rows))
        raises = told.contribution[rows] > 0
        concern = self._each(values, Fact.worrying)
        worrying = concern[here, first] | concern[here, second]
        recent = np.array([fact.is_recent for fact in self.facts])
        slipping = _any(self._each(values, Fact.worse) & recent)
        name = np.full(len(rows), self.factor.name, dtype=object)
        if self.factor.otherwise is not None:
            name[~self._each(values, Fact.shown_by)[here, first]] = self.factor.otherwise
        description = self._told_first(values, first)
        apart = second != first
        if apart.any():
            description[apart] += self._texts(values[apart], second[apart], "; ")
        protective = ~raises & ~worrying & ~slipping
        recommendation = np.full(len(rows), _NOT_ALONE, dtype=object)
        # Nobody claims a direction of what belongs to the background: there is no worrying side to be on.
        recommendation[raises & (worrying | (self.factor.domain == "background"))] = self.factor.act
        recommendation[protective] = self.factor.keep
        return _Words(
            name.tolist(),
            values[here, first].tolist(),
            description.tolist(),
            recommendation.tolist(),
            (protective & self.factor.of_student).tolist(),
            [self.units[which] for which in first.tolist()],
        )

    def _each(self, values: Floats, question: Any) -> Booleans:
        """A question of `Fact` about values and median, asked of every fact; shape as `values`."""
        return np.column_stack(
            [
                question(fact, values[:, which], median)
                for which, (fact, median) in enumerate(zip(self.facts, self.medians, strict=True))
            ]
        )

    def _told_first(self, values: Floats, which: Positions) -> NDArray[np.object_]:
        texts = self._texts(values, which, "")
        texts[:] = [text[0].upper() + text[1:] for text in texts]
        return texts

    def _texts(self, values: Floats, which: Positions, before: str) -> NDArray[np.object_]:
        """Fact number `which` of each row in words; a text is made once for each value as it is written."""
        texts = np.empty(len(values), dtype=object)
        for number, (fact, aside) in enumerate(zip(self.facts, self.asides, strict=True)):
            rows = np.flatnonzero(which == number)
            if not len(rows):
                continue
            head, _, tail = fact.text.partition("{value}")
            distinct, inverse = np.unique(np.round(values[rows, number], fact.number.decimals), return_inverse=True)
            written = [f"{before}{head}{fact.number.written(value)}{tail}{aside}" for value in distinct.tolist()]
            texts[rows] = np.array(written, dtype=object)[inverse]
        return texts


class _Missing:
    """What a domain does not have on record."""

    def __init__(
        self,
        domain: FactorDomain,
        columns: list[int],
        names: Sequence[str],
        levels: Mapping[str, Sequence[str]] | None,
    ) -> None:
        self.factor = NOT_RECORDED[domain]
        self.columns = columns
        # The last text is of a student without anything in the domain.
        self.texts = np.array(
            [*(fact_of(names[column], levels).missing for column in columns), self.factor.missing], dtype=object
        )

    def told(self, values: Floats, contributions: Floats) -> _Told:
        missing = np.isnan(values)
        total = np.round(_sum(contributions, missing), DIGITS) + 0.0
        towards = np.where(missing, contributions * np.sign(total)[:, None], -np.inf)
        strongest = np.where(missing.all(axis=1), len(self.columns), towards.argmax(axis=1))
        return _Told(total, np.logical_not(_any(missing)), strongest, strongest)

    def words(self, values: Floats, told: _Told, rows: Positions) -> _Words:
        raises = (told.contribution[rows] > 0).tolist()
        count = len(raises)
        return _Words(
            [self.factor.name] * count,
            [None] * count,
            self.texts[told.first[rows]].tolist(),
            [self.factor.act if raising else _MISSING_LOWERS for raising in raises],
            [False] * count,
            [None] * count,
        )


def _any(flags: Booleans) -> Booleans:
    return np.asarray(flags.any(axis=1), dtype=np.bool_)


def _sum(contributions: Floats, which: Booleans) -> Floats:
    return np.where(which, contributions, 0.0).sum(axis=1)


def _domains(names: Sequence[str]) -> dict[FactorDomain, list[int]]:
    """Domain to the positions of its features."""
    columns_by_domain: dict[FactorDomain, list[int]] = {}
    for factor, columns in grouped(names).items():
        columns_by_domain.setdefault(FACTORS[factor].domain, []).extend(columns)
    return columns_by_domain
