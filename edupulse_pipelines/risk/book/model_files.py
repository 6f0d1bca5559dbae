"""The files of a model that MLflow keeps: fetched as a copy, compared with what was logged, and loaded.

Where they lie is asked of MLflow in `registry`. Loads only types that were reviewed, whatever the files say about
themselves; a model whose files are gone or changed is a ModelArtifactError, and nothing takes its place.
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

from edupulse_pipelines.errors import ModelArtifactError
from edupulse_pipelines.hashing import hash_of_file
from edupulse_pipelines.risk.book.mlflow_connection import FLUENT
from edupulse_pipelines.risk.book.mlflow_failures import in_words, is_beside_the_files
from edupulse_pipelines.risk.models.model import RiskModel
from edupulse_pipelines.risk.models.saved import risk_model_of
from edupulse_pipelines.risk.models.sklearn_private import SKOPS_TRUSTED_TYPES

_MODEL_FILE = "model.skops"
# Written by MLflow into what others download through it, not part of what was logged.
_NOT_LOGGED = "registered_model_meta"


@contextlib.contextmanager
def fetched(label: str, source: str) -> Iterator[Path]:
    """A copy of a model's files, there as long as the block runs; `label` names the model in messages.

    ModelArtifactError when they are not there. A failure that says nothing about the files (MLflow or its store could
    not be asked, the disk is full) is raised as it is.
    """
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(downloaded(source))
            if not (folder / _MODEL_FILE).is_file():
                raise FileNotFoundError(f"{_MODEL_FILE} is not among its files")
        except Exception as error:
            if is_beside_the_files(error):
                raise
            raise _unusable(label, f"cannot be loaded from MLflow: {in_words(error)}") from error
        yield folder


@contextlib.contextmanager
def downloaded(uri: str, path: str = "") -> Iterator[Path]:
    """A folder with a copy of what lies at `uri`, or of `path` below it, there as long as the block runs.

    MLflow copies in threads and reports their failures as a text; here its error names the first of them as its cause,
    so that a server which went away is told from a file which is not there.
    """
    from mlflow.exceptions import MlflowException
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    with tempfile.TemporaryDirectory() as folder:
        with FLUENT:
            repository = get_artifact_repository(uri)
            repository = getattr(repository, "repo", repository)  # models:/… stands for another place
            copies = _RememberedThreads(repository.thread_pool)
            repository.thread_pool = copies
            try:
                repository.download_artifacts(path, folder)
            except MlflowException as error:
                failures = [failure for copy in copies.started if (failure := copy.exception())]
                if failures:
                    raise error from failures[0]
                raise
        yield Path(folder)


class _RememberedThreads:
    """An executor that keeps what it started."""

    def __init__(self, threads: Executor) -> None:
        self._threads = threads
        self.started: list[Future[Any]] = []

    def submit(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Future[Any]:
        """As `Executor.submit`."""
        self.started.append(self._threads.submit(function, *arguments, **options))
        return self.started[-1]


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
        raise _unusable(label, f"cannot be loaded from MLflow: {in_words(error)}") from error


def folder_sha256(folder: Path) -> str:
    """SHA-256 over the logged files of a model: of the lines `<sha256>  <path>`, sorted by path, as sha256sum writes
    them."""
    digest = hashlib.sha256()
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != _NOT_LOGGED)
    for path in files:
        digest.update(f"{hash_of_file(path)}  {path.relative_to(folder).as_posix()}\n".encode())
    return digest.hexdigest()


def _unusable(label: str, why: str) -> ModelArtifactError:
    return ModelArtifactError(
        f"{label} {why}. Restore its artifact, or train again (`edupulse model sync` shows what can be mended)."
    )
