"""The model card: what a model is for, what it was made of, how good it is and for whom, as markdown and as HTML.

After M. Mitchell et al., "Model Cards for Model Reporting" (2019). Writes what it is given and computes nothing. Holds
no student: figures of subgroups that are too small are not shown, and counts and rates of the others are rounded, so
that those of a small one cannot be found by subtraction.
"""

from __future__ import annotations

import base64
import datetime as dt
import html
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edupulse_pipelines.risk.judging.evaluation import CAPACITY, Measure
from edupulse_pipelines.settings import CategorySettings, CohortSettings, LabelSettings, RuleSettings

KIND_WORDS = {
    "logistic": "Logistic regression with missing indicators",
    "additive": "Glass-box additive model: one step function per feature",
    "boosting": "Gradient-boosted trees that never go against a known direction",
    "rule": "The simple attendance-behaviour-course rule",
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
    ("calibration_error", "", "Calibration error"),
)
_RATES = {"base_rate", "precision_at", "recall_at", "false_negative_rate"}
_LARGEST_SUMMARY = 4500


@dataclass(frozen=True)
class DataFacts:
    """The student-weeks of one part (training or validation)."""

    student_weeks: int
    students: int
    events: int
    first_week: dt.date
    """Sunday of the first as-of week."""
    last_week: dt.date
    weeks: int
    note: str = ""
    """What else is to be known, such as that a part of the students was taken."""


@dataclass(frozen=True)
class CandidateFacts:
    """One candidate: how it did out of fold inside the training window, and on the held-out weeks."""

    kind: str
    tuning_log_loss: float | None
    """Best out-of-fold log loss of its configurations."""
    fits: int
    config: Mapping[str, Any]
    measures: Sequence[Measure] = ()
    chosen: bool = False
    left_out: str = ""
    """Why there is no such model."""


@dataclass(frozen=True)
class CardFacts:
    """Everything a card says; what is empty or None is left out or said to be unknown."""

    tenant: str
    model_version: str
    kind: str
    data_through: dt.date
    """Sunday of the last week that was known."""
    trained_at: dt.datetime
    label: LabelSettings
    cohort: CohortSettings
    categories: CategorySettings
    rule: RuleSettings
    capacity: float
    """Share of each week's cohort that the school can help."""
    training: DataFacts
    validation: DataFacts
    measures: Sequence[Measure]
    """The model on the held-out weeks, for everybody and for subgroups."""
    rule_measures: Sequence[Measure] = ()
    champion_measures: Sequence[Measure] = ()
    unseen_measures: Sequence[Measure] = ()
    """The model kind on students who were held out of training as well."""
    candidates: Sequence[CandidateFacts] = ()
    features: Sequence[str] = ()
    metadata_inputs: Sequence[str] = ()
    importance: Mapping[str, float] = field(default_factory=dict)
    """Mean absolute contribution by factor, in log-odds."""
    confidence: str = ""
    """What confidence means, when not as usual."""
    leakage_proof: str = ""
    """The outcome of the leakage proof in words."""
    minimum_subgroup: int = 10
    promoted: bool | None = None
    """None: not decided yet."""
    decision: str = ""
    """The gate's reason."""
    decision_numbers: Mapping[str, Any] = field(default_factory=dict)
    """The gate's figures (`Decision.numbers`), for the intervals."""
    champion_version: str | None = None
    """The champion that it was compared with."""
    data_hash: str = ""
    settings_hash: str = ""
    git_revision: str = ""
    seed: int | None = None
    libraries: Mapping[str, str] = field(default_factory=dict)
    """Versions of the libraries that decide scores."""
    figures: Mapping[str, bytes] = field(default_factory=dict)
    """Title to PNG, shown in the HTML card alone."""


@dataclass(frozen=True)
class _Heading:
    text: str
    level: int = 2


@dataclass(frozen=True)
class _Text:
    text: str


@dataclass(frozen=True)
class _Bullets:
    lines: Sequence[str]


@dataclass(frozen=True)
class _Table:
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: Sequence[int] = (0,)
    """Columns of words; the others are numbers, which are set to the right."""


@dataclass(frozen=True)
class _Figure:
    title: str
    png: bytes


_Block = _Heading | _Text | _Bullets | _Table | _Figure


def model_card(facts: CardFacts) -> str:
    """The card as markdown (GitHub's tables); ends with a line break."""
    return _markdown([*_title(facts), *_sections(facts)])


def card_summary(facts: CardFacts) -> str:
    """The head of the card, short enough for the description of a run or a registered version in MLflow."""
    blocks = [*_title(facts), *_metrics(facts, short=True), *_decision(facts)]
    text = _markdown([*blocks, _Text("The whole card: artifacts `model_card.md` and `model_card.html` of the run.")])
    return text if len(text) <= _LARGEST_SUMMARY else _markdown(_title(facts))


def card_html(facts: CardFacts) -> str:
    """The card as one HTML page that needs nothing else: styles and figures are inside, no script, no link out."""
    blocks: list[_Block] = [*_title(facts), *_sections(facts)]
    if facts.figures:
        blocks.append(_Heading("Plots"))
        blocks += [_Figure(title, png) for title, png in facts.figures.items()]
    title = html.escape(f"Model card {facts.tenant} {facts.model_version}")
    body = "\n".join(_as_html(block) for block in blocks)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _title(facts: CardFacts) -> list[_Block]:
    status = {True: "Passed the promotion gate.", False: "Did not pass the promotion gate.", None: ""}[facts.promoted]
    horizon = "until they leave" if facts.label.weeks is None else f"within {_count(facts.label.weeks, 'week')}"
    return [
        _Heading(f"Risk model {facts.model_version}", 1),
        _Text(
            f"School district **{facts.tenant}**. {KIND_WORDS.get(facts.kind, facts.kind)}; the calibrated probability "
            f"that a student has an adverse event {horizon}. Data through {facts.data_through}, trained "
            f"{facts.trained_at:%Y-%m-%d %H:%M %Z}. {status}".rstrip()
        ),
    ]


def _sections(facts: CardFacts) -> list[_Block]:
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


def _use(facts: CardFacts) -> list[_Block]:
    return [
        _Heading("Intended use"),
        _Bullets(
            [
                "A weekly list that helps counsellors and teachers decide whom to talk to first, with the reasons "
                f"for each student. The school can help about {_percent(facts.capacity)} of the students at a time; "
                "the figures at capacity are about that list.",
                "A score starts a conversation. An educator who knows the student decides, and says afterwards "
                "whether the score was right.",
            ]
        ),
        _Heading("Not for", 3),
        _Bullets(
            [
                "Discipline, grading, course placement, admission, or any decision without a person who can be asked.",
                "Comparing schools, teachers or groups of students.",
                "Other districts, or students for whom less data are recorded than the cohort asks for.",
                "Saying why something happens: contributions explain the score, not the student's life.",
            ]
        ),
    ]


def _question(facts: CardFacts) -> list[_Block]:
    label, cohort = facts.label, facts.cohort
    events = []
    if label.attendance_below is not None:
        events.append(f"attends less than {_percent(label.attendance_below)} of the sessions")
    if label.failing_below is not None:
        events.append(f"has a mean grade below {label.failing_below:g} in a course")
    if label.serious_severity is not None:
        events.append(f"has an incident of severity {label.serious_severity} or more")
    if label.incident_count is not None:
        events.append(f"has {label.incident_count} incidents or more")
    if label.exit_types:
        events.append(f"leaves school as {' or '.join(one.replace('_', ' ') for one in label.exit_types)}")
    over = "until the student leaves" if label.weeks is None else f"in the {_count(label.weeks, 'week')} after it"
    within = f" Students are compared within {', '.join(cohort.group_by)}." if cohort.group_by else ""
    return [
        _Heading("What is predicted, and for whom"),
        _Text(
            f"As of the Sunday of a school week, whether at least one of these happens {over} (an educator's verdict "
            "counts more than the record):"
        ),
        _Bullets([f"the student {event}" for event in events]),
        _Text(
            f"Cohort: students enrolled at the week's end with at least "
            f"{_count(cohort.minimum_weeks_of_data, 'school week')} of data.{within} Categories by score: medium from "
            f"{_percent(facts.categories.medium)}, high from {_percent(facts.categories.high)}, critical from "
            f"{_percent(facts.categories.critical)}; high and critical are flagged."
        ),
    ]


def _data(facts: CardFacts) -> list[_Block]:
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
    blocks: list[_Block] = [
        _Heading("Data"),
        _Table(["", "As-of weeks", "Weeks", "Students", "Student-weeks", "With an event"], rows, (0, 1)),
        _Text(
            "Validation weeks come after the training weeks, with a gap of the horizon between them, so that nothing "
            "of training was known from validation or the other way round. Gender, ethnicity and socioeconomic status "
            f"are never inputs; they are used to audit the model. {inputs}. What is not recorded is treated as "
            "unknown, never as zero."
        ),
    ]
    if notes:
        blocks.append(_Bullets(notes))
    if facts.leakage_proof:
        blocks.append(_Text(f"**Leakage proof.** {facts.leakage_proof}"))
    return blocks


def _candidates(facts: CardFacts) -> list[_Block]:
    if not facts.candidates:
        return []
    rows = []
    for one in facts.candidates:
        name = one.kind.capitalize() + (" (chosen)" if one.chosen else "")
        config = ", ".join(f"{key} {_plain(value)}" for key, value in one.config.items())
        rows.append(
            [
                f"**{name}**" if one.chosen else name,
                _number(one.tuning_log_loss, 4) if not one.left_out else "left out",
                *(
                    _shown(_find(one.measures, metric, parameter), metric)
                    for metric, parameter in (("auc_roc", ""), ("precision_at", CAPACITY), ("calibration_error", ""))
                ),
                str(one.fits),
                config or one.left_out or "—",
            ]
        )
    return [
        _Heading("Candidates compared"),
        _Table(
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
        _Text(
            "Chosen by the out-of-fold log loss inside the training weeks; a simpler candidate is preferred when it is "
            "within one standard error of the best. The other columns are of the held-out weeks, which decide nothing "
            "here."
        ),
    ]


def _metrics(facts: CardFacts, *, short: bool = False) -> list[_Block]:
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
    shown = [one for one in _SHOWN if not short or one[0] in ("auc_roc", "calibration_error") or one[1] == CAPACITY]
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
    blocks: list[_Block] = [
        _Heading("How good it is"),
        _Table(["On the held-out weeks", *(name for name, _ in columns)], rows),
        _Text(
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
    rule = facts.rule
    details.append(
        f"The simple rule counts flags: attendance below {_percent(rule.attendance_below)}, at least "
        f"{_count(rule.incidents_at_least, 'incident')}, a course below {rule.failing_below:g}."
    )
    return [*blocks, _Text(" ".join(details))]


def _subgroups(facts: CardFacts) -> list[_Block]:
    names = list(dict.fromkeys(one.subgroup for one in facts.measures if one.subgroup))
    if not names:
        return [_Heading("By subgroup"), _Text("The district sends no attribute to audit by.")]
    rows = []
    suppressed = 0
    everybody = [_rounded_rate(_find(facts.measures, metric, parameter)) for metric, parameter, _ in _OF_SUBGROUPS]
    rows.append(["**Everybody**", _rounded_count(facts.validation.student_weeks), *everybody])
    for name in names:
        figures = [_find(facts.measures, metric, parameter, name) for metric, parameter, _ in _OF_SUBGROUPS]
        attribute, _, value = name.partition("=")
        title = f"{attribute.replace('_', ' ')}: {value}"
        if all(one is None or one.samples is None for one in figures):
            suppressed += 1
            rows.append([title, f"fewer than {facts.minimum_subgroup} students", *("—" for _ in figures)])
            continue
        samples = next(one.samples for one in figures if one is not None and one.samples is not None)
        rows.append([title, _rounded_count(samples), *map(_rounded_rate, figures)])
    said = (
        f"Figures of fewer than {facts.minimum_subgroup} students are not shown "
        f"({_count(suppressed, 'subgroup')} here)" if suppressed else "No subgroup is too small to show"
    )  # fmt: skip
    return [
        _Heading("By subgroup"),
        _Table(["Subgroup", "Student-weeks", *(label for _, _, label in _OF_SUBGROUPS)], rows),
        _Text(
            f"{said}; counts and rates are rounded. The false-negative rate is the share of the students with an "
            "event who were not on the list; at a small capacity it is high for everybody, so it is compared with "
            "everybody's."
        ),
    ]


def _explanations(facts: CardFacts) -> list[_Block]:
    blocks: list[_Block] = [
        _Heading("Explanations and confidence"),
        _Text(
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
            _Table(
                ["Factor", "Mean contribution, log-odds"],
                [[name.replace("_", " "), _number(value, 3)] for name, value in ordered[:10]],
            )
        )
    return blocks


def _decision(facts: CardFacts) -> list[_Block]:
    if facts.promoted is None and not facts.decision:
        return []
    sentences = re.split(r"(?<=[.!?])\s+(?=[A-Z])", facts.decision.strip()) if facts.decision else []
    blocks: list[_Block] = [_Heading("Promotion decision")]
    if len(sentences) > 1:
        return [*blocks, _Text(f"**{sentences[0]}**"), _Bullets(sentences[1:])]
    return [*blocks, _Text(sentences[0] if sentences else "Promoted." if facts.promoted else "Not promoted.")]


def _limits(facts: CardFacts) -> list[_Block]:
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
    return [_Heading("Limits"), _Bullets(lines)]


def _reproduce(facts: CardFacts) -> list[_Block]:
    rows = [
        ("Data", facts.data_hash),
        ("Settings", facts.settings_hash),
        ("Code", facts.git_revision),
        ("Seed", "" if facts.seed is None else str(facts.seed)),
        *((name, number) for name, number in facts.libraries.items()),
    ]
    return [
        _Heading("Reproduce"),
        _Text(
            f"`edupulse model reproduce {facts.model_version} --tenant {facts.tenant}` trains again from the record "
            "and compares the scores. The same data, settings and code give the same model."
        ),
        _Table(["", "Value"], [[name, f"`{value}`"] for name, value in rows if value], (0, 1)),
    ]


def _find(measures: Sequence[Measure], metric: str, parameter: str, subgroup: str = "") -> Measure | None:
    return next(
        (one for one in measures if (one.metric, one.parameter, one.subgroup) == (metric, parameter, subgroup)), None
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


def _markdown(blocks: Sequence[_Block]) -> str:
    parts = []
    for block in blocks:
        if isinstance(block, _Heading):
            parts.append(f"{'#' * block.level} {block.text}")
        elif isinstance(block, _Text):
            parts.append(block.text)
        elif isinstance(block, _Bullets):
            parts.append("\n".join(f"- {line}" for line in block.lines))
        elif isinstance(block, _Table):
            rule = ["---" if i in block.left else "---:" for i in range(len(block.header))]
            rows = [[cell.replace("|", "\\|") for cell in row] for row in (block.header, rule, *block.rows)]
            parts.append("\n".join(f"| {' | '.join(row)} |" for row in rows))
    return "\n\n".join(parts) + "\n"


def _as_html(block: _Block) -> str:
    if isinstance(block, _Heading):
        return f"<h{block.level}>{_inline(block.text)}</h{block.level}>"
    if isinstance(block, _Text):
        return f"<p>{_inline(block.text)}</p>"
    if isinstance(block, _Bullets):
        return f"<ul>{''.join(f'<li>{_inline(line)}</li>' for line in block.lines)}</ul>"
    if isinstance(block, _Figure):
        data = base64.b64encode(block.png).decode()
        title = html.escape(block.title)
        return (
            f'<figure><figcaption>{title}</figcaption><img src="data:image/png;base64,{data}" alt="{title}"></figure>'
        )
    head = "".join(f"<th{_right(i, block)}>{_inline(cell)}</th>" for i, cell in enumerate(block.header))
    body = "".join(
        f"<tr>{''.join(f'<td{_right(i, block)}>{_inline(cell)}</td>' for i, cell in enumerate(row))}</tr>"
        for row in block.rows
    )
    return f'<div class="table"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _right(column: int, block: _Table) -> str:
    return "" if column in block.left else ' class="n"'


def _inline(text: str) -> str:
    """Escaped, with the two marks that the texts use: **strong** and `code`."""
    escaped = html.escape(text, quote=False)
    escaped = re.sub(r"`([^`]*)`", r"<code>\1</code>", escaped)
    return re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", escaped)


_STYLE = """
:root{color-scheme:light dark;--ink:#1c2530;--soft:#5c6875;--line:#d9dfe5;--page:#fff;--band:#f5f7f9;--mark:#1f4e8c}
@media(prefers-color-scheme:dark){:root{--ink:#e4e9ee;--soft:#9aa6b2;--line:#38424d;--page:#14191f;--band:#1c232b;--mark:#7fb0ee}}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:62rem;margin:0 auto;padding:2rem 1.25rem 4rem}
h1{font-size:1.75rem;line-height:1.2;margin:0 0 .5rem}
h2{font-size:1.2rem;margin:2.2rem 0 .5rem;padding-top:.9rem;border-top:1px solid var(--line);color:var(--mark)}
h3{font-size:1rem;margin:1.2rem 0 .3rem}
p,ul{margin:.5rem 0;max-width:48rem}ul{padding-left:1.2rem}li{margin:.2rem 0}
.table{overflow-x:auto;margin:.8rem 0}
table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums}
th,td{padding:.35rem .8rem .35rem .5rem;text-align:left;border-bottom:1px solid var(--line);vertical-align:top}
th{font-weight:600;color:var(--soft);vertical-align:bottom}th.n,td.n{text-align:right}td.n,td:first-child{white-space:nowrap}
tbody tr:nth-child(even){background:var(--band)}
code{font:.85em ui-monospace,Menlo,Consolas,monospace;overflow-wrap:anywhere}
figure{margin:1.2rem 0}figcaption{font-weight:600;margin-bottom:.3rem}
img{max-width:100%;height:auto;background:#fff;border:1px solid var(--line);border-radius:4px}
"""
