"""The model card: what a model is for, what it was made of, how good it is and for whom.

After M. Mitchell et al., "Model Cards for Model Reporting" (2019). Writes what it is given and computes
nothing: what it is given is in `card_facts`, how a page becomes markdown or HTML in `card_page`. Holds no student:
figures of subgroups that are too small are not shown, and counts and rates of the others are rounded, so that those of
a small one cannot be found by subtraction.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from edupulse_pipelines.risk.judging.evaluation import CAPACITY, Measure
from edupulse_pipelines.risk.judging.suppression import SMALLER_GROUPS
from edupulse_pipelines.risk.models.baseline import graded_rule
from edupulse_pipelines.risk.telling.card_facts import CardFacts
from edupulse_pipelines.risk.telling.card_page import (
    Block,
    Bullets,
    Figure,
    Heading,
    Table,
    Text,
    markdown,
    page_html,
)
from edupulse_pipelines.risk.telling.label_words import adverse_events
from edupulse_pipelines.risk.telling.rule_card import thresholds
from edupulse_pipelines.settings import METADATA, DayRule

KIND_WORDS = {
    "logistic": "Logistic regression with missing indicators that never goes against a known direction",
    "additive": "Glass-box additive model: one step function per feature",
    "boosting": "Gradient-boosted trees that never go against a known direction",
    "averaged": "Mean of the logistic and the boosted model, taken of their log-odds",
    "rule": "The graded attendance-behaviour-course rule",
    "champion": "The champion at that time",
}
_SHOWN = (
    ("auc_roc", "", "AUC (ROC)", "higher is better"),
    ("average_precision", "", "Average precision", "higher is better"),
    ("precision_at", CAPACITY, "Precision at capacity", "higher is better"),
    ("recall_at", CAPACITY, "Recall at capacity", "higher is better"),
    ("precision_at", "k5", "Precision in the top 5 %", ""),
    ("precision_at", "k10", "Precision in the top 10 %", ""),
    ("precision_at", "k20", "Precision in the top 20 %", ""),
    ("brier_score", "", "Brier score", "lower is better"),
    ("log_loss", "", "Log loss, nats", "lower is better"),
    ("calibration_error", "", "Calibration error", "lower is better"),
    ("calibration_slope", "", "Calibration slope", "1 is right"),
    ("base_rate", "", "Base rate", "with an event"),
)
_OF_SUBGROUPS = (
    ("base_rate", "", "Base rate"),
    ("auc_roc", "", "AUC"),
    ("precision_at", CAPACITY, "Precision at capacity"),
    ("false_negative_rate", CAPACITY, "False-negative rate at capacity"),
    ("recall_ratio", CAPACITY, "Recall ratio at capacity"),
    ("calibration_error", "", "Calibration error"),
)
DAY_WORDS: dict[DayRule, str] = {
    "half": "A day is one of absence when half of its sessions or more were missed.",
    "more_than_half": "A day is one of absence when more than half of its sessions were missed.",
    "any": "A day is one of absence when any of its sessions was missed.",
    "all": "A day is one of absence when all of its sessions were missed.",
    "minutes": "A day is one of absence when half of its minutes (or sessions) or more were missed.",
}
"""What the day rule says, as a sentence."""
OTHER_LABEL = (
    "This model learned another label than the one that the district's settings name now. It scores until a model of "
    "that label takes its place; its figures are about the label below, and not comparable with those of the new one."
)
_RATES = {"base_rate", "precision_at", "recall_at", "false_negative_rate"}
_LARGEST_SUMMARY = 4500


def model_card(facts: CardFacts) -> str:
    """The card as markdown (GitHub's tables); ends with a line break."""
    return markdown([*_title(facts), *_sections(facts)])


def card_summary(facts: CardFacts) -> str:
    """The head of the card, short enough for the description of a run or a registered version in MLflow."""
    blocks = [*_title(facts), *_metrics(facts, short=True), *_decision(facts)]
    text = markdown([*blocks, Text("The whole card: artifacts `model_card.md` and `model_card.html` of the run.")])
    return text if len(text) <= _LARGEST_SUMMARY else markdown(_title(facts))


def marked(card: str, note: str, *, as_html: bool) -> str:
    """A written card with a note below its title."""
    end_of_title = "</h1>\n" if as_html else "\n\n"
    title, _, rest = card.partition(end_of_title)
    if as_html:
        return f"{title}{end_of_title}<p><strong>{html.escape(note)}</strong></p>\n{rest}"
    return f"{title}{end_of_title}**{note}**\n\n{rest}"


def card_html(facts: CardFacts) -> str:
    """The card as one HTML page that needs nothing else: styles and figures are inside, no script, no link out."""
    blocks: list[Block] = [*_title(facts), *_sections(facts)]
    if facts.figures:
        blocks.append(Heading("Plots"))
        blocks += [Figure(title, png) for title, png in facts.figures.items()]
    return page_html(f"Model card {facts.tenant} {facts.model_version}", blocks)


def _title(facts: CardFacts) -> list[Block]:
    status = {True: "Passed the promotion gate.", False: "Did not pass the promotion gate.", None: ""}[facts.promoted]
    horizon = "until they leave" if facts.label.weeks is None else f"within {_count(facts.label.weeks, 'week')}"
    return [
        Heading(f"Risk model {facts.model_version}", 1),
        Text(
            f"School district **{facts.tenant}**. {KIND_WORDS.get(facts.kind, facts.kind)}; the calibrated probability "
            f"that a student has an adverse event {horizon}. Data through {facts.data_through}, trained "
            f"{facts.trained_at:%Y-%m-%d %H:%M %Z}. {status}".rstrip()
        ),
    ]


def _sections(facts: CardFacts) -> list[Block]:
    return [
        *_use(facts),
        *_question(facts),
        *_data(facts),
        *_candidates(facts),
        *_metrics(facts),
        *_subgroups(facts),
        *_explanations(facts),
        *_decision(facts),
        *_limits(facts),
        *_reproduce(facts),
    ]


def _use(facts: CardFacts) -> list[Block]:
    return [
        Heading("Intended use"),
        Bullets(
            [
                "A weekly list that helps counsellors and teachers decide whom to talk to first, with the reasons "
                f"for each student. The school can help about {_percent(facts.capacity)} of the students at a time; "
                "the figures at capacity are about that list.",
                "A score starts a conversation. An educator who knows the student decides, and says afterwards "
                "whether the score was right.",
            ]
        ),
        Heading("Not for", 3),
        Bullets(
            [
                "Discipline, grading, course placement, admission, or any decision without a person who can be asked.",
                "Comparing schools, teachers or groups of students.",
                "Other districts, or students for whom less data are recorded than the cohort asks for.",
                "Saying why something happens: contributions explain the score, not the student's life.",
            ]
        ),
    ]


def _question(facts: CardFacts) -> list[Block]:
    label, cohort = facts.label, facts.cohort
    over = "until the student leaves" if label.weeks is None else f"in the {_count(label.weeks, 'week')} after it"
    within = f" Students are compared within {', '.join(cohort.group_by)}." if cohort.group_by else ""
    return [
        Heading("What is predicted, and for whom"),
        Text(
            f"As of the Sunday of a school week, whether at least one of these happens {over} (an educator's verdict "
            "counts more than the record):"
        ),
        Bullets([f"the student {event}" for event in adverse_events(label)]),
        *_rule_of_absence(facts),
        Text(
            f"Cohort: students enrolled at the week's end with at least "
            f"{_count(cohort.minimum_weeks_of_data, 'school week')} of data.{within} Categories by score: medium from "
            f"{_percent(facts.categories.medium)}, high from {_percent(facts.categories.high)}, critical from "
            f"{_percent(facts.categories.critical)}; high and critical are flagged."
        ),
    ]


def _rule_of_absence(facts: CardFacts) -> list[Block]:
    """Whose rule of absence it is, since when, where it is written, and what makes a day one of absence."""
    rule = facts.label.absence_rule
    if rule is None:
        return []
    until = f"to {rule.effective_to}" if rule.effective_to else "on"
    # Addresses as text: the page links to nothing.
    sources = "; ".join(source.removeprefix("https://") for source in rule.sources)
    return [
        Text(
            f"**Chronic absence** by the rule `{rule.name}` of the {rule.authority}, in force from "
            f"{rule.effective_from} {until}, counted over the days of the horizon alone. {DAY_WORDS[facts.absent_day]} "
            f"Excused absences count; tardy is present. Written in: {sources}."
        )
    ]


def _data(facts: CardFacts) -> list[Block]:
    rows = []
    for name, part in (("Training", facts.training), ("Validation", facts.validation)):
        share = part.events / part.student_weeks if part.student_weeks else None
        rows.append(
            [
                name,
                f"{part.first_week} to {part.last_week}",
                str(part.weeks),
                f"{part.students:,}",
                f"{part.student_weeks:,}",
                f"{part.events:,} ({_percent(share)})",
            ]
        )
    notes = [f"{name}: {part.note}" for name, part in (("Training", facts.training), ("Validation", facts.validation))
             if part.note]  # fmt: skip
    inputs = f"{len(facts.features)} inputs: attendance, grades and incidents of the weeks before"
    if facts.metadata_inputs:
        inputs += f", and {', '.join(facts.metadata_inputs)} as the district declared them"
    blocks: list[Block] = [
        Heading("Data"),
        Table(["", "As-of weeks", "Weeks", "Students", "Student-weeks", "With an event"], rows, (0, 1)),
        Text(
            "Validation weeks come after the training weeks, with a gap of the horizon between them, so that nothing "
            "of training was known from validation or the other way round. Gender, ethnicity, socioeconomic status and "
            f"grade level are never inputs. {inputs}. What is not recorded is treated as unknown, never as zero."
        ),
    ]
    if notes:
        blocks.append(Bullets(notes))
    if facts.leakage_proof:
        blocks.append(Text(f"**Leakage proof.** {facts.leakage_proof}"))
    return blocks


def _candidates(facts: CardFacts) -> list[Block]:
    if not facts.candidates:
        return []
    rows = []
    for candidate in facts.candidates:
        name = candidate.kind.capitalize() + (" (chosen)" if candidate.chosen else "")
        config = ", ".join(f"{key} {_plain(value)}" for key, value in candidate.config.items())
        rows.append(
            [
                f"**{name}**" if candidate.chosen else name,
                _number(candidate.tuning_log_loss, 4) if not candidate.left_out else "left out",
                *(
                    _shown(_find(candidate.measures, metric, parameter), metric)
                    for metric, parameter in (("auc_roc", ""), ("precision_at", CAPACITY), ("calibration_error", ""))
                ),
                str(candidate.fits),
                config or candidate.left_out or "—",
            ]
        )
    return [
        Heading("Candidates compared"),
        Table(
            [
                "Candidate",
                "Log loss, tuning",
                "AUC",
                "Precision at capacity",
                "Calibration error",
                "Fits",
                "Configuration",
            ],
            rows,
            left=(0, 6),
        ),
        Text(
            "Chosen by the out-of-fold log loss inside the training weeks; a simpler candidate is preferred when it is "
            "within one standard error of the best. The other columns are of the held-out weeks, which decide nothing "
            "here."
        ),
    ]


def _metrics(facts: CardFacts, *, short: bool = False) -> list[Block]:
    columns: list[tuple[str, Sequence[Measure]]] = [
        ("This model", facts.measures),
        ("Simple rule", facts.rule_measures),
    ]
    if facts.champion_measures:
        columns.append(("Champion", facts.champion_measures))
    if facts.unseen_measures and not short:
        columns.append(("Unseen students", facts.unseen_measures))
    columns = [column for column in columns if column[1]]
    names = {"This model": "challenger", "Simple rule": "rule", "Champion": "champion"}
    shown = [
        figure
        for figure in _SHOWN
        if not short or figure[0] in ("auc_roc", "calibration_error") or figure[1] == CAPACITY
    ]
    rows = []
    for metric, parameter, label, hint in shown:
        values = []
        for name, measures in columns:
            text = _shown(_find(measures, metric, parameter), metric)
            if (metric, parameter) == ("precision_at", CAPACITY):
                text += _interval(facts.decision_numbers, names.get(name, ""))
            values.append(text)
        rows.append([f"{label} ({hint})" if hint and not short else label, *values])
    part = facts.validation
    blocks: list[Block] = [
        Heading("How good it is"),
        Table(["On the held-out weeks", *(name for name, _ in columns)], rows),
        Text(
            f"{part.student_weeks:,} student-weeks of {part.students:,} students, {part.first_week} to "
            f"{part.last_week}. Capacity: the top {_percent(facts.capacity)} of each week's cohort. Precision: share "
            "of the list with an event; recall: share of the events that are on the list. A calibration slope below 1 "
            "is overconfident. In brackets: 95 % intervals of a bootstrap over students."
        ),
    ]
    if short:
        return blocks[:2]
    details = []
    if facts.champion_version and facts.champion_measures:
        details.append(f"The champion compared with is {facts.champion_version}.")
    if facts.unseen_measures:
        details.append("Unseen students: the same kind of model without the students it was then measured on.")
    limits = thresholds(graded_rule(facts.label, facts.rule))
    details.append(
        f"The rule grades the distances to thresholds, nothing in it is trained: {'; '.join(limits.values())}."
    )
    return [*blocks, Text(" ".join(details))]


def _subgroups(facts: CardFacts) -> list[Block]:
    names = list(dict.fromkeys(measure.subgroup for measure in facts.measures if measure.subgroup))
    audited = f"Audited by {', '.join(map(_attribute, facts.audited))}."
    if not names:
        return [Heading("By subgroup"), Text(f"{audited} There are no figures.")]
    rows = []
    suppressed = 0
    everybody = [_rounded_rate(_find(facts.measures, metric, parameter)) for metric, parameter, _ in _OF_SUBGROUPS]
    rows.append(["**Everybody**", _rounded_count(facts.validation.student_weeks), *everybody])
    for name in names:
        figures = [_find(facts.measures, metric, parameter, name) for metric, parameter, _ in _OF_SUBGROUPS]
        attribute, _, value = name.partition("=")
        title = f"{_attribute(attribute)}: {value}"
        if all(measure is None or measure.samples is None for measure in figures):
            suppressed += 1
            rows.append([title, f"fewer than {facts.minimum_subgroup} students", *("—" for _ in figures)])
            continue
        samples = next(measure.samples for measure in figures if measure is not None and measure.samples is not None)
        rows.append([title, _rounded_count(samples), *map(_rounded_rate, figures)])
    sentence = "No subgroup is too small to show"
    if suppressed or any(name.endswith(SMALLER_GROUPS) for name in names):
        sentence = (
            f"Who has a value that fewer than {facts.minimum_subgroup} students have is in one of the smaller groups "
            f"taken together; figures of fewer than {facts.minimum_subgroup} students are not shown "
            f"({_count(suppressed, 'subgroup')} here)"
        )
    return [
        Heading("By subgroup"),
        Table(["Subgroup", "Student-weeks", *(label for _, _, label in _OF_SUBGROUPS)], rows),
        Text(
            f"{audited} Who has no value is a subgroup of its own. {sentence}; counts and rates are rounded, and an "
            "attribute with one group to show is left out. The recall ratio is the share of a group's events that are "
            "on the list, as a share of everybody's; the promotion gate judges it, of intersections of two groups as "
            "well. The false-negative rate is the share that is not on the list."
        ),
    ]


def _attribute(name: str) -> str:
    """What is audited, as people say it: `special education (metadata)`."""
    words = name.removeprefix(METADATA).replace("_", " ")
    return f"{words} (metadata)" if name.startswith(METADATA) else words


def _explanations(facts: CardFacts) -> list[Block]:
    blocks: list[Block] = [
        Heading("Explanations and confidence"),
        Text(
            "Every score is the model's starting point plus one contribution per feature, in log-odds; nothing is left "
            "over. Contributions are grouped into the factors that people see with each student. "
            + (
                facts.confidence
                or "Confidence is the probability that the side the category takes is right, lowered where "
                "little or incomplete data are known of a student, and never above what held-out students "
                "bore out."
            )
        ),
    ]
    if facts.importance:
        ordered = sorted(facts.importance.items(), key=lambda item: (-item[1], item[0]))
        blocks.append(
            Table(
                ["Factor", "Mean contribution, log-odds"],
                [[name.replace("_", " "), _number(value, 3)] for name, value in ordered[:10]],
            )
        )
    return blocks


def _decision(facts: CardFacts) -> list[Block]:
    if facts.promoted is None and not facts.decision:
        return []
    sentences = re.split(r"(?<=[.!?])\s+(?=[A-Z])", facts.decision.strip()) if facts.decision else []
    blocks: list[Block] = [Heading("Promotion decision")]
    if len(sentences) > 1:
        return [*blocks, Text(f"**{sentences[0]}**"), Bullets(sentences[1:])]
    return [*blocks, Text(sentences[0] if sentences else "Promoted." if facts.promoted else "Not promoted.")]


def _limits(facts: CardFacts) -> list[Block]:
    lines = [
        "It knows what was recorded. Reasons that leave no trace in attendance, grades or incidents are unknown to it.",
        "It learned from earlier weeks. When a school changes how it records or grades, scores go wrong before anybody "
        "notices; drift and calibration are measured every week for that reason.",
        "Where the school helped and nothing happened, the record says that nothing happened. Educators' verdicts "
        "correct that only as far as they are given.",
        f"The intervals are of {facts.validation.students:,} students in "
        f"{_count(facts.validation.weeks, 'week')}; other years may differ by more.",
    ]
    if facts.validation.events < 50:
        lines.append(
            f"Only {_count(facts.validation.events, 'student-week')} with an event could be held out. Figures of so "
            "few are rough."
        )
    return [Heading("Limits"), Bullets(lines)]


def _reproduce(facts: CardFacts) -> list[Block]:
    rows = [
        ("Data", facts.data_hash),
        ("Settings", facts.settings_hash),
        ("Code", facts.git_revision),
        ("Seed", "" if facts.seed is None else str(facts.seed)),
        *((name, number) for name, number in facts.libraries.items()),
    ]
    return [
        Heading("Reproduce"),
        Text(
            f"`edupulse model reproduce {facts.model_version} --tenant {facts.tenant}` trains again from the record "
            "and compares the scores. The same data, settings and code give the same model."
        ),
        Table(["", "Value"], [[name, f"`{value}`"] for name, value in rows if value], (0, 1)),
    ]


def _find(measures: Sequence[Measure], metric: str, parameter: str, subgroup: str = "") -> Measure | None:
    return next(
        (
            measure
            for measure in measures
            if (measure.metric, measure.parameter, measure.subgroup) == (metric, parameter, subgroup)
        ),
        None,
    )


def _shown(measure: Measure | None, metric: str) -> str:
    value = None if measure is None else measure.value
    if metric in _RATES:
        return "—" if value is None else f"{100 * value:.1f} %"
    return _number(value, 3)


def _rounded_rate(measure: Measure | None) -> str:
    value = None if measure is None else measure.value
    if value is None or measure is None:
        return "—"
    return f"{100 * value:.0f} %" if measure.metric in _RATES else f"{value:.2f}"


def _rounded_count(count: int) -> str:
    """Two digits: enough to judge a figure by, too few to subtract."""
    step = 10 ** max(0, int(math.log10(count)) - 1) if count else 1
    return f"about {round(count / step) * step:,}"


def _interval(numbers: Mapping[str, Any], name: str) -> str:
    figure = (numbers.get("precision_at_capacity") or {}).get(name) or {}
    low, high = figure.get("low"), figure.get("high")
    return "" if low is None or high is None else f" ({100 * low:.1f} to {100 * high:.1f})"


def _number(value: float | None, digits: int) -> str:
    return "—" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _percent(share: float | None) -> str:
    return "—" if share is None else f"{100 * share:.3g} %"


def _count(number: int, unit: str) -> str:
    return f"{number:,} {unit}{'' if number == 1 else 's'}"
