"""The risk model around what was saved, of whatever kind it is: the one place that knows every kind."""

from __future__ import annotations

from sklearn.pipeline import Pipeline

from edupulse_pipelines.risk.models.baseline import RuleModel
from edupulse_pipelines.risk.models.model import RiskModel
from edupulse_pipelines.risk.statuses import RULE


def risk_model_of(pipeline: Pipeline) -> RiskModel:
    """The risk model around a saved pipeline; ValueError when it is none of ours."""
    return RuleModel(pipeline) if list(pipeline.named_steps) == [RULE] else RiskModel(pipeline)
