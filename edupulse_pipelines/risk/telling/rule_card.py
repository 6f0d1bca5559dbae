"""The card of a rule: what it looks at, with which thresholds and weights, and what was learned of it.

A rule has no more to tell: nothing in its score is trained. The card of a trained model is in `model_card`.
"""

from __future__ import annotations

from edupulse_pipelines.risk.book.records import ModelRecord
from edupulse_pipelines.risk.models.baseline import BANDS, HIGHEST_LEVEL, GradedRule, RuleModel
from edupulse_pipelines.risk.telling.card_page import Block, Bullets, Heading, Table, Text, markdown, page_html
from edupulse_pipelines.risk.telling.label_words import adverse_events
from edupulse_pipelines.settings import TenantSettings

_FIGURES = (("auc_roc", "AUC (ROC)"), ("brier_score", "Brier score"), ("calibration_error", "calibration error"))


def rule_card(tenant: TenantSettings, record: ModelRecord, model: RuleModel) -> dict[str, str]:
    """The card as markdown and as HTML, by file name."""
    title = f"The rule {record.model_version} of {tenant.name}"
    blocks = _blocks(title, tenant, record, model)
    return {"model_card.md": markdown(blocks), "model_card.html": page_html(title, blocks)}


def thresholds(rule: GradedRule) -> dict[str, str]:
    """By part of the rule its threshold in words."""
    of = {"days": "days absent", "time": "time missed", "sessions": "sessions missed"}[rule.absence_of]
    severe = "" if rule.serious_severity is None else f", or one of severity {rule.serious_severity}"
    return {
        "absence": f"{100 * rule.absence_limit:.3g} % of this school year's {of}",
        "behaviour": f"{rule.incidents} incidents in the last eight school weeks{severe}",
        "grades": f"a mean grade of {rule.failing_below:g} this school year",
        "course": "one half of the weeks in the weakest course failed, this school year",
        "missing_work": "nothing of what the classmates have handed in on average this school year",
    }


def _blocks(title: str, tenant: TenantSettings, record: ModelRecord, model: RuleModel) -> list[Block]:
    limits = thresholds(model.rule)
    blocks: list[Block] = [
        Heading(title, 1),
        Text(
            "A graded score of attendance, behaviour and course work: of each part the distance to its threshold, 0 "
            f"far away, 1 at it, {HIGHEST_LEVEL:g} at most, times its weight; their sum is the score. **Nothing in it "
            "is trained.** A part of which nothing is recorded adds nothing."
        ),
        Table(
            ("part", "threshold", "weight"),
            [(name.replace("_", " "), limits[name], f"{weight:g}") for name, weight in model.rule.weights.items()],
            left=(0, 1),
        ),
        Heading("What it stands for"),
        Text("An adverse event within the horizon. A student:"),
        Bullets(adverse_events(tenant.label)),
        Heading("Probabilities"),
    ]
    learned = model.rule.learned
    if learned is None:
        medium, high, critical = BANDS
        blocks.append(
            Text(
                "**It gives none yet**: no outcome is known from which one could be learned, so risk score and "
                f"confidence are empty. Categories go by the score: medium from {medium:g}, high from {high:g}, "
                f"critical from {critical:g}. Lists are sorted by category, then by the score."
            )
        )
        return blocks
    how = "a sigmoid" if learned.kind == "sigmoid" else "steps that never fall (isotonic)"
    blocks.append(
        Text(
            f"Which probability belongs to a score was learned as {how} from {learned.rows:,} student-weeks with known "
            f"outcomes, {learned.events:,} of them with an event, with data through the week of {record.data_through}."
        )
    )
    rows = [(label, f"{record.metrics[name]:.3f}") for name, label in _FIGURES if record.metrics.get(name) is not None]
    if rows:
        blocks.append(Table(("measured", "value"), rows))
    return blocks
