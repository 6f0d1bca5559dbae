"""The connection to MLflow's tracking server and registry: how it is opened, and its failures as errors of ours.

Imports mlflow only when the connection is first used (the import takes seconds). What a failure means is decided in
`mlflow_failures`; what is logged and registered is in `registry`.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from edupulse_pipelines.errors import DiskFull, RegistryRefused, RegistryUnavailable
from edupulse_pipelines.file_locks import only_one
from edupulse_pipelines.full_disk import full_disk_in_words
from edupulse_pipelines.risk.book.mlflow_failures import in_words, is_missing, is_transient
from edupulse_pipelines.settings import quiet_libraries

if TYPE_CHECKING:
    from mlflow import MlflowClient

FLUENT = threading.RLock()
"""Held while MLflow's fluent functions are called: they read the tracking URI from the process, not from a client."""


class MlflowConnection:
    """The tracking server, or the store of one, at `tracking_uri`."""

    def __init__(self, tracking_uri: str) -> None:
        self.tracking_uri = tracking_uri
        self._client: MlflowClient | None = None

    @contextlib.contextmanager
    def answering(self) -> Iterator[MlflowClient]:
        """The client; its failures become RegistryUnavailable where another try may help, else RegistryRefused."""
        client_type, failures = _mlflow()
        import mlflow

        try:
            with FLUENT:
                mlflow.set_tracking_uri(self.tracking_uri)
                mlflow.set_registry_uri(self.tracking_uri)
                if self._client is None:
                    self._client = self._opened(client_type)
            yield self._client
        except failures as error:
            if full := full_disk_in_words(error):
                raise DiskFull(full) from error
            kind = RegistryUnavailable if is_transient(error) else RegistryRefused
            raise kind(f"MLflow at {_without_password(self.tracking_uri)} failed: {in_words(error)}") from error

    def _opened(self, client_type: type[MlflowClient]) -> MlflowClient:
        """A client whose store has its tables: opening a new store makes them, and two who do that at once fail."""
        uri = self.tracking_uri
        if uri.startswith("http"):
            return client_type(tracking_uri=uri, registry_uri=uri)
        with only_one(self._lock_file()):
            database = _sqlite_file(self.tracking_uri)
            if database is not None and not database.exists():
                database.touch()  # SQLite makes files that no group may write, whatever the umask
            client = client_type(tracking_uri=uri, registry_uri=uri)  # the client opens the store itself
            client.search_experiments(max_results=1)
            client.search_registered_models(max_results=1)
        return client

    def _lock_file(self) -> Path:
        database = _sqlite_file(self.tracking_uri)
        if database is not None:
            return database.parent / "opening.lock"
        name = hashlib.sha256(self.tracking_uri.encode()).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"edupulse-mlflow-{os.getuid()}-{name}.lock"


def make_store(tracking_uri: str) -> None:
    """Give a new store its tables, so that processes that open it at once find them there; a server has its own."""
    database = _sqlite_file(tracking_uri)
    is_made = database is not None and database.exists() and database.stat().st_size > 0
    if not is_made and not tracking_uri.startswith("http"):
        with MlflowConnection(tracking_uri).answering():
            pass


def _sqlite_file(uri: str) -> Path | None:
    """The file of a SQLite store; None of another store, and of one in memory or named by a URI of SQLite's own."""
    if not uri.startswith("sqlite:"):
        return None
    name = sa.engine.make_url(uri).database or ":memory:"
    return None if name.startswith(("file:", ":memory:")) else Path(name).absolute()


@contextlib.contextmanager
def missing_is_none() -> Iterator[None]:
    """Leave the block quietly when MLflow says that what is asked for does not exist."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if not is_missing(error):
            raise


def _mlflow() -> tuple[type[MlflowClient], tuple[type[Exception], ...]]:
    """MLflow's client class and its ways to fail, imported with reporting to third parties and chatter switched off."""
    quiet_libraries()
    # A tracking server that is down should be said within a minute, not after MLflow's default of many retries.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    import mlflow
    import mlflow.sklearn
    from mlflow.exceptions import MlflowException

    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    return mlflow.MlflowClient, (MlflowException, OSError, sa.exc.SQLAlchemyError)


def _without_password(uri: str) -> str:
    head, separator, tail = uri.rpartition("@")
    if not separator:
        return uri
    scheme, marker, user = head.partition("://")
    return f"{scheme}{marker}{user.partition(':')[0]}:***@{tail}"
