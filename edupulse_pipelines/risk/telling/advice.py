"""What is recommended to somebody who looks at the whole student: the recent course, and everything else that is said.

`explanations` gives each factor its recommendation by that factor alone. Here it becomes advice:

- Where the last four school weeks show that the matter is over (`Factor.over`), that is said in place of what to do
  about it: nobody calls a family about attendance while the student attends.
- The same is recommended once, with the factor that weighs most.
- The course of the lowest recent grades is named, where one is known.
- Of students at low risk nothing is recommended.

No I/O: where courses come from is in `features.lowest_course`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from edupulse_pipelines.risk.telling.explanations import RiskFactor
from edupulse_pipelines.risk.telling.factors import FACTORS, Factor

CoursesOf = Callable[[NDArray[np.int64]], Sequence[str | None]]
"""Given row numbers, the course of each row's lowest recent grades; None where none is known."""

_FACTOR_OF: dict[str, Factor] = {
    name: factor for factor in FACTORS.values() for name in (factor.name, factor.otherwise) if name
}


def advise(
    explained: Sequence[list[RiskFactor]],
    features: pd.DataFrame,
    typical: Mapping[str, float | None],
    low: NDArray[np.bool_],
    courses_of: CoursesOf | None = None,
) -> None:
    """Put each row's recommendations right, in place; None where there is none.

    `explained`: the factors of each row, the largest first; `features`: the rows, with whatever recent features there
    are, the model's or not; `typical`: the medians that the factors were told with; `low`: who is at low risk.
    """
    instead = {factor.name: _when_over(factor, features, typical) for factor in FACTORS.values() if factor.over}
    of_course: list[tuple[int, RiskFactor, str]] = []
    for row, (factors, at_low_risk) in enumerate(zip(explained, low.tolist(), strict=True)):
        said: set[str] = set()
        for one in factors:
            text = one["recommendation"]
            factor = _FACTOR_OF.get(one["factor"])
            if factor is not None and text == factor.act:
                if factor.over and (over := instead[factor.name][row]) is not None:
                    text = over
                elif factor.in_course is not None and not at_low_risk:
                    of_course.append((row, one, factor.in_course))
            one["recommendation"] = None if at_low_risk or text in said else text
            if text is not None:
                said.add(text)
    if of_course and courses_of is not None:
        rows = np.unique([row for row, _, _ in of_course])
        course_of = dict(zip(rows.tolist(), courses_of(rows), strict=True))
        for row, one, words in of_course:
            if (course := course_of[row]) is not None:
                one["recommendation"] = words.replace("{course}", course)


def _when_over(factor: Factor, features: pd.DataFrame, typical: Mapping[str, float | None]) -> NDArray[np.object_]:
    """Per row what is said where the factor's matter is over; None where it is not."""
    texts = np.full(len(features), None, dtype=object)
    for recovery in reversed(factor.over):
        if recovery.feature in features.columns:
            values = features[recovery.feature].to_numpy(np.float64)
            texts[recovery.shown_by(values, typical.get(recovery.feature))] = recovery.act
    return texts
