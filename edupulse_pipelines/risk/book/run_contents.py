"""What the MLflow run of a training holds beside its model: datasets, the figures measured on them, and candidates.

Each candidate is a child run with its configuration and its figures. Figures name the dataset that they were measured
on. Writes no student: a dataset is its hash and its size, never a row. Opening and ending the run of the training
itself, its model and its files are in `registry`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.entities import Dataset

TRAINING, VALIDATION = "training", "validation"
"""What a dataset was used for (MLflow's context)."""
CANDIDATE = "candidate"
"""Status (a tag) of a child run; that of a training is `trained` or `no_model`."""

_LONGEST_DIGEST = 36
_LONGEST_PARAMETER = 500


@dataclass(frozen=True)
class LoggedDataset:
    """What a model was trained on or judged by, as MLflow shows it: never a row, only what identifies and sizes it."""

    context: str
    """`training` or `validation`."""
    name: str
    digest: str
    """Hash of the ordered samples; MLflow keeps its first 36 characters, the profile all of it."""
    features: Sequence[str]
    profile: Mapping[str, Any]
    """Counts and weeks: samples, students, events, first and last week."""


@dataclass(frozen=True)
class LoggedCandidate:
    """What a training compared: a kind of model with its best configuration, the rule, or the champion of the time."""

    name: str
    params: Mapping[str, Any]
    metrics: Mapping[str, float]
    """Measured on the validation dataset."""
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RunContents:
    """What the run of a training holds beside its model."""

    params: Mapping[str, Any]
    tags: Mapping[str, str]
    """On the run and on the registered version."""
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """By the context of the dataset that they were measured on (`training`, `validation`)."""
    documents: Mapping[str, Any] = field(default_factory=dict)
    """By file name: a text for `.md`, `.html` and `.txt`, anything else is stored as JSON. A name may hold a folder
    (`plots/importance.png`), here and for `figures`."""
    figures: Mapping[str, bytes] = field(default_factory=dict)
    """PNG by file name, stored as it is."""
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    """By file name (`.json`), shown as tables."""
    datasets: Sequence[LoggedDataset] = ()
    candidates: Sequence[LoggedCandidate] = ()
    """They become child runs."""
    record: Mapping[str, Any] | None = None
    """The model's record as `ModelRecord.as_document` gives it, from which a lost row is written again (`mirror`)."""
    description: str = ""
    """Markdown, shown on the run's and the version's page; cut at 5000 characters."""


def log_datasets(
    client: MlflowClient, run_id: str, tenant_name: str, datasets: Sequence[LoggedDataset]
) -> dict[str, Dataset]:
    """Make `datasets` the inputs of a run; as MLflow knows them, by context."""
    from mlflow.entities import Dataset

    made = {}
    # For MLflow a dataset is its name and digest: two that share both would be shown as one.
    keys = [(dataset.name, dataset.digest) for dataset in datasets]
    for dataset in datasets:
        alone = keys.count((dataset.name, dataset.digest)) == 1
        columns = [{"type": "double", "name": name, "required": False} for name in dataset.features]
        made[dataset.context] = Dataset(
            name=dataset.name if alone else f"{dataset.name}, {dataset.context}",
            digest=dataset.digest[:_LONGEST_DIGEST],
            source_type="edupulse",
            source=json.dumps({"tenant": tenant_name, "table": "student_features", "sha256": dataset.digest}),
            schema=json.dumps({"mlflow_colspec": columns}),
            profile=json.dumps(dict(dataset.profile)),
        )
    _use(client, run_id, made)
    return made


def log_metrics(
    client: MlflowClient,
    run_id: str,
    metrics: Mapping[str, float],
    dataset: Dataset | None,
    *,
    model_id: str | None = None,
    params: Mapping[str, Any] | None = None,
) -> None:
    """Log figures that were measured on `dataset`, and parameters, in one call.

    With `model_id` (of the logged model) they are shown beside the model as well as in the run.
    """
    from mlflow.entities import Metric, Param

    now = int(time.time() * 1000)
    name, digest = (dataset.name, dataset.digest) if dataset is not None else (None, None)
    client.log_batch(
        run_id,
        [Metric(key, value, now, 0, model_id, name, digest, run_id) for key, value in metrics.items()],
        [Param(key, parameter(value)) for key, value in (params or {}).items()],
    )


def log_candidates(
    client: MlflowClient,
    experiment_id: str,
    candidates: Sequence[LoggedCandidate],
    datasets: Mapping[str, Dataset],
    tags: Mapping[str, str],
) -> None:
    """Log each candidate as a child of the run that is open, with `tags` and its own; `datasets` by context."""
    import mlflow

    for candidate in candidates:
        with mlflow.start_run(
            experiment_id=experiment_id,
            run_name=candidate.name,
            nested=True,
            tags={**tags, **candidate.tags, "status": CANDIDATE, "candidate": candidate.name},
        ) as run:
            _use(client, run.info.run_id, datasets)
            log_metrics(client, run.info.run_id, candidate.metrics, datasets.get(VALIDATION), params=candidate.params)


def parameter(value: Any) -> str:
    """A parameter as MLflow stores it: text, of at most 500 characters."""
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _LONGEST_PARAMETER else text[: _LONGEST_PARAMETER - 1] + "…"


def _use(client: MlflowClient, run_id: str, datasets: Mapping[str, Dataset]) -> None:
    from mlflow.entities import DatasetInput, InputTag

    if datasets:
        inputs = [
            DatasetInput(dataset, [InputTag("mlflow.data.context", context)]) for context, dataset in datasets.items()
        ]
        client.log_inputs(run_id, inputs)
