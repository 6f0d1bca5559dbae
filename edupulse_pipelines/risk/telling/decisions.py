"""The gate's decision in words, made from its numbers: a sentence for each condition, the failed ones first.

What the numbers are is said in `judging.promotion`. Decides nothing and reads nothing from a database.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from edupulse_pipelines.risk.judging.leakage import LeakageProof
from edupulse_pipelines.risk.judging.promotion import Decision


def decision_words(decision: Decision) -> str:
    """Whether the model was promoted, and why."""
    numbers = decision.numbers
    verdict = "Promoted." if decision.promoted else "Not promoted."
    if numbers.get("champion_changed"):
        return f"{verdict} The champion was changed while this model was trained; train again."
    sentences = [verdict]
    leakage = numbers.get("leakage")
    if leakage and not leakage["passed"]:
        sentences.append(LeakageProof.from_json(leakage).sentence)
    if numbers.get("student_weeks") == 0:
        sentences.append("There is no held-out student-week to judge on.")
    else:
        conditions = sorted(_conditions(numbers), key=lambda condition: condition[0])
        sentences += [sentence for _, sentence in conditions]
    return " ".join(sentences)


def _conditions(numbers: Mapping[str, Any]) -> Iterator[tuple[bool, str]]:
    """Of each condition that was judged, whether it passed, and the sentence that says so."""
    if "auc_roc" in numbers:
        yield _auc(numbers["auc_roc"])
    if "against" in numbers:
        yield from _leads(numbers)
    if "calibration_error" in numbers:
        yield _calibration(numbers["calibration_error"])
    if "fairness" in numbers:
        yield _fairness(numbers["fairness"])
    if "false_negative_rate" in numbers:
        yield _subgroups(numbers["false_negative_rate"])


def _auc(figures: Mapping[str, Any]) -> tuple[bool, str]:
    if figures["value"] is None:
        return False, "The AUC is not defined, because the held-out weeks hold one class only."
    how = "at least" if figures["passed"] else "below"
    return figures["passed"], f"The AUC of {figures['value']:.3f} is {how} {figures['minimum']:g}."


def _leads(numbers: Mapping[str, Any]) -> Iterator[tuple[bool, str]]:
    against = numbers["against"]
    champion, rule = against["champion"], against["rule"]
    if champion is None:
        version = numbers.get("champion_version")
        why = "could not be loaded or needs other inputs"
        if numbers.get("champion_learned_another_label"):
            why = "learned another label"
        yield (
            True,
            f"The champion {version} {why}, so it was not compared." if version else "There is no champion to beat.",
        )
    else:
        yield _log_loss(numbers, champion)
        lead, margin = champion["precision_at_capacity"], champion["precision_at_capacity"]["margin"]
        how = "not below" if lead["passed"] else "below"
        yield (
            lead["passed"],
            f"{_precision(numbers)} is {how} the champion's {_value(numbers, 'champion')} by more than {margin:g} "
            f"({_interval(lead)}).",
        )
    sure = f"; {_ahead(numbers, rule)}, {_percent(rule['required'])} required" if rule["required"] else ""
    how = "above" if rule["value"] > 0 else "not above"
    yield (
        rule["passed"],
        f"{_precision(numbers)} is {how} the simple rule's {_value(numbers, 'rule')} ({_interval(rule)}{sure}).",
    )


def _log_loss(numbers: Mapping[str, Any], champion: Mapping[str, Any]) -> tuple[bool, str]:
    lead, figures, looks = champion["log_loss"], numbers["log_loss"], champion["earlier_looks"]
    how = "not below" if lead["value"] <= 0 else "below"
    if 0 < lead["value"] < lead["minimum"]:
        how = f"by less than {lead['minimum']:.4f} below"
    again = f" after {looks} earlier comparison{'s' if looks > 1 else ''} with this champion" if looks else ""
    return lead["passed"], (
        f"The log loss of {figures['challenger']['value']:.4f} is {how} the champion's "
        f"{figures['champion']['value']:.4f} ({_interval(lead, 4)}; {_ahead(numbers, lead)}, "
        f"{_percent(lead['required'])} required{again})."
    )


def _precision(numbers: Mapping[str, Any]) -> str:
    value = numbers["precision_at_capacity"]["challenger"]["value"]
    return f"Precision of {value:.3f} among the top {_percent(numbers['capacity'])} of each week"


def _value(numbers: Mapping[str, Any], name: str) -> str:
    return f"{numbers['precision_at_capacity'][name]['value']:.3f}"


def _interval(lead: Mapping[str, Any], digits: int = 3) -> str:
    low, value, high = (f"{lead[name]:+.{digits}f}" for name in ("low", "value", "high"))
    return f"lead {value}, 95 % interval {low} to {high}"


def _ahead(numbers: Mapping[str, Any], lead: Mapping[str, Any]) -> str:
    return f"ahead in {_percent(lead['certainty'])} of {numbers['replicates']} bootstrap replicates"


def _calibration(figures: Mapping[str, Any]) -> tuple[bool, str]:
    error, bound, by_chance = figures["value"], figures["maximum"], figures["by_chance"]
    if error <= bound:
        return True, f"The calibration error of {error:.3f} is at most {bound:g}."
    if figures["passed"]:
        return True, (
            f"The calibration error of {error:.3f} is above {bound:g}, but so few student-weeks give up to "
            f"{by_chance:.3f} by chance."
        )
    return False, (
        f"The calibration error of {error:.3f} is above {bound:g}, and above the {by_chance:.3f} that chance gives."
    )


_FAILURES = {
    "recall_ratio": "its recall ratio at capacity is {value}, below {recall_ratio:g}",
    "calibration": "the share with an event lies {off} from what was predicted, more than {calibration:g}",
    "gap": "its false-negative rate is above everybody's by more than {gap:g}",
    "maximum": "its false-negative rate is above {maximum:g}",
}


def _fairness(figures: Mapping[str, Any]) -> tuple[bool, str]:
    rows = figures["subgroups"]
    if not rows:
        return True, "There is no subgroup to judge."
    if not figures["everybody"]["recall"]:
        return True, "Without an event on a list no subgroup can be compared."
    unjudged = [row for row in rows if row["outcome"] == "cannot_be_judged"]
    rest = ""
    if unjudged:
        needed = unjudged[0]["event_students_needed"]
        power = max(row["power"] for row in unjudged)
        rest = (
            f" {len(unjudged)} of {len(rows)} subgroups and intersections cannot be judged: one with half of "
            f"everybody's recall would be found with a probability of {_percent(power)} at most, "
            f"{_percent(figures['power'])} required"
        ) + (f", which takes about {needed} students with an event." if needed else ".")
    failed = [row for row in rows if row["outcome"] == "failed"]
    if not failed:
        return True, (
            f"No subgroup's recall ratio at capacity is sure to be below {figures['recall_ratio']:g}, and none is sure "
            f"to be miscalibrated by more than {figures['calibration']:g}.{rest}"
        )
    told = []
    for row in failed:
        off = (row["calibration"] or {}).get("value")
        value = "not shown" if row["value"] is None else f"{row['value']:.2f}"
        words = [_FAILURES[name].format(**{**figures, "value": value, "off": off}) for name in row["failures"]]
        told.append(f"{row['subgroup']} fails ({'; '.join(words)})")
    return False, f"{', '.join(told)}.{rest}"


def _subgroups(figures: Mapping[str, Any]) -> tuple[bool, str]:
    """The condition of earlier versions, whose decisions are kept."""
    suppressed, everybody, maximum = figures["suppressed"], figures["everybody"]["value"], figures["maximum"]
    left_out = (
        f" (smaller groups of {len(suppressed)} attribute{'s' if len(suppressed) > 1 else ''}, of fewer than "
        f"{figures['minimum_subgroup']} students together, not judged)"
        if suppressed
        else ""
    )
    if not figures["subgroups"]:
        return True, f"There is no subgroup to judge{left_out}."
    if everybody is None:
        return True, f"Without an event no subgroup can be missed{left_out}."
    bound = f"everybody's {everybody:.3f} by more than {figures['gap']:g}"
    if maximum is not None:
        bound += f", or the bound of {maximum:g}"
    failed = [f"{row['subgroup']} ({row['value']:.3f})" for row in figures["subgroups"] if not row["passed"]]
    if failed:
        return False, (
            f"The false-negative rate of {', '.join(failed)} exceeds {bound}, with "
            f"{_percent(figures['certainty'])} certainty{left_out}."
        )
    return True, f"No subgroup's false-negative rate is sure to exceed {bound}{left_out}."


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
