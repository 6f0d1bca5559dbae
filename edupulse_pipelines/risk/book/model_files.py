"""The files of a model that MLflow keeps: fetched as a copy, compared with what was logged, and loaded.

Where they lie is asked of MLflow in `registry`. Loads only types that were reviewed, whatever the files say about
themselves; a model whose files are gone or changed is a ModelArtifactError, and nothing takes its place.
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from edupulse_pipelines.errors import ModelArtifactError
from edupulse_pipelines.risk.book.mlflow_connection import FLUENT, first_line, is_no_answer
from edupulse_pipelines.risk.models.model import RiskModel, risk_model_of
from edupulse_pipelines.risk.models.sklearn_private import SKOPS_TRUSTED_TYPES

_MODEL_FILE = "model.skops"
# Written by MLflow into what it downloads, not part of what was logged.
_NOT_LOGGED = "registered_model_meta"


@contextlib.contextmanager
def fetched(label: str, source: str) -> Iterator[Path]:
    """A copy of a model's files, there as long as the block runs; `label` names the model in messages.

    ModelArtifactError when they are not there. A failure to ask MLflow or its store is raised as it is.
    """
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(downloaded(source))
            if not (folder / _MODEL_FILE).is_file():
                raise FileNotFoundError(f"{_MODEL_FILE} is not among its files")
        except Exception as error:
            if is_no_answer(error):
                raise
            raise _unusable(label, f"cannot be loaded from MLflow: {first_line(error)}") from error
        yield folder


@contextlib.contextmanager
def downloaded(uri: str) -> Iterator[Path]:
    """A copy of what lies at `uri`, there as long as the block runs."""
    import mlflow

    with tempfile.TemporaryDirectory() as folder:
        with FLUENT:
            path = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=folder))
        yield path


def check_unchanged(label: str, folder: Path, expected: str | None) -> str:
    """The hash of a model's files; ModelArtifactError when it is not `expected` (None: nothing to compare with)."""
    sha256 = folder_sha256(folder)
    if expected and sha256 != expected:
        raise _unusable(label, "is not the model that was logged: its files changed")
    return sha256


def read_model(label: str, folder: Path) -> RiskModel:
    """The model in a folder of files; ModelArtifactError when it cannot be read.

    Not through mlflow.sklearn: it would take the list of trusted types, and the way of loading, from the files
    themselves.
    """
    import skops.io

    try:
        return risk_model_of(skops.io.load(folder / _MODEL_FILE, trusted=SKOPS_TRUSTED_TYPES))
    except Exception as error:
        raise _unusable(label, f"cannot be loaded from MLflow: {first_line(error)}") from error


def folder_sha256(folder: Path) -> str:
    """SHA-256 over the logged files of a model: of the lines `<sha256>  <path>`, sorted by path, as sha256sum writes
    them."""
    digest = hashlib.sha256()
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != _NOT_LOGGED)
    for path in files:
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{content}  {path.relative_to(folder).as_posix()}\n".encode())
    return digest.hexdigest()


def _unusable(label: str, why: str) -> ModelArtifactError:
    return ModelArtifactError(
        f"{label} {why}. Restore its artifact, or train again (`edupulse model sync` shows what can be mended)."
    )
