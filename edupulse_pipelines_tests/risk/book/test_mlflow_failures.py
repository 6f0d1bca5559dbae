"""Which failures of MLflow are tried again, and how they are told: a tracking server, a store in SQLite, the disk."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import mlflow
import pytest
import requests
import sqlalchemy as sa
from mlflow.exceptions import MlflowException, RestException
from mlflow.protos import databricks_pb2 as codes

from edupulse_pipelines.errors import DiskFull, ModelArtifactError, PermanentError, RegistryRefused, RegistryUnavailable
from edupulse_pipelines.risk.book.mlflow_failures import in_words, is_transient
from edupulse_pipelines.risk.book.model_files import fetched
from edupulse_pipelines.risk.book.registry import Registry
from edupulse_pipelines_tests.risk.district import tenant_settings
from edupulse_pipelines_tests.risk.registered import logged

VERSION = "2025-02-24-abcdef12"
Answer = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def server(answer: Answer) -> Iterator[str]:
    """A server on this machine that answers every request by `answer`; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        do_POST = do_GET

        def log_message(self, *_arguments: Any) -> None:
            """Say nothing."""

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.server_port}"
    finally:
        listening.shutdown()
        thread.join()
        listening.server_close()


def status(number: int, document: object = None) -> Answer:
    """Answers with a status and a JSON document, or with a page."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.rfile.read(int(request.headers.get("Content-Length") or 0))
        body = b"<html>no</html>" if document is None else json.dumps(document).encode()
        request.send_response(number)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    return answer


def hang_up(request: BaseHTTPRequestHandler) -> None:
    """Ends the connection without an answer."""
    request.connection.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def one_try(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow's client asks once, and waits for a second."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")


@pytest.mark.usefixtures("one_try")
@pytest.mark.parametrize("number", [408, 429, 500, 502, 503, 504])
def test_a_server_in_trouble_is_asked_again(tmp_path: Path, number: int) -> None:
    with server(status(number)) as address, pytest.raises(RegistryUnavailable, match="MLflow at http://127"):
        Registry(address, tmp_path).champion("north")


@pytest.mark.usefixtures("one_try")
@pytest.mark.parametrize(
    ("number", "document"),
    [
        (400, {"error_code": "BAD_REQUEST", "message": "no"}),
        (401, {"error_code": "UNAUTHENTICATED", "message": "who are you?"}),
        (401, {"detail": "a proxy's words"}),
        (403, {"error_code": "PERMISSION_DENIED", "message": "no"}),
        (403, None),
        (404, {"error_code": "ENDPOINT_NOT_FOUND", "message": "an older server"}),
        (409, {"error_code": "RESOURCE_CONFLICT", "message": "no"}),
        (501, {"error_code": "NOT_IMPLEMENTED", "message": "no"}),
        (200, None),
    ],
)
def test_a_server_that_refuses_is_not_asked_again(tmp_path: Path, number: int, document: object) -> None:
    with server(status(number, document)) as address, pytest.raises(RegistryRefused, match="MLflow at http://127"):
        Registry(address, tmp_path).find_run("north", {"status": "trained"})


@pytest.mark.usefixtures("one_try")
def test_a_connection_that_ends_or_an_answer_that_does_not_come_may_be_better_later(tmp_path: Path) -> None:
    with server(hang_up) as address, pytest.raises(RegistryUnavailable):
        Registry(address, tmp_path).champion("north")
    done = threading.Event()
    with server(lambda _request: done.wait(5) and None) as address:
        with pytest.raises(RegistryUnavailable, match="time"):
            Registry(address, tmp_path).champion("north")
        done.set()
    with pytest.raises(RegistryUnavailable):  # nobody listens there any more
        Registry(address, tmp_path).champion("north")


@pytest.mark.usefixtures("one_try")
def test_an_address_that_is_none_is_permanent(tmp_path: Path) -> None:
    with pytest.raises(RegistryRefused, match="Invalid url"):
        Registry("http://nowhere:port", tmp_path).champion("north")


def _store(folder: Path, of: Registry) -> Registry:
    """A copy of the store of a registry, for a test to spoil."""
    path = folder / "mlflow.db"
    with (
        closing(sqlite3.connect(of.tracking_uri.removeprefix("sqlite:///"))) as source,
        closing(sqlite3.connect(path)) as copy,
    ):
        source.backup(copy)
    return Registry(f"sqlite:///{path}", folder / "artifacts")


def test_a_locked_store_is_asked_again(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    locked = _store(tmp_path, registry)
    locked.champion("north")
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        monkeypatch.setattr(sa.dialects.sqlite.base.SQLiteDialect, "do_execute", _without_waiting)
        with pytest.raises(RegistryUnavailable, match="locked"):
            locked.champion("north")
    locked.champion("north")


def _without_waiting(_dialect: Any, cursor: Any, statement: str, parameters: Any, context: Any = None) -> None:
    cursor.execute(statement.replace("busy_timeout = 20000", "busy_timeout = 0"), parameters)


def test_a_store_of_another_version_is_permanent(registry: Registry, tmp_path: Path) -> None:
    broken = _store(tmp_path, registry)
    broken.champion("north")
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as other:
        other.execute("DROP TABLE registered_model_aliases")
        other.execute("DROP TABLE registered_models")
    with pytest.raises(RegistryRefused, match="no such table"):
        broken.champion("north")


def test_a_store_that_may_only_be_read_is_permanent(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_only = _store(tmp_path, registry)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    address = f"sqlite:///file:{tmp_path / 'mlflow.db'}?mode=ro&uri=true"
    with pytest.raises(RegistryRefused, match="can only be read"):
        Registry(address, read_only.artifact_root).log_no_model("north", run_name="x", params={}, tags={}, documents={})
    # The address is no path. MLflow takes it for one and makes its folders, so the test stands in a folder of its own.
    assert [path for path in elsewhere.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [
        (errno.ENOSPC, DiskFull, "No space is left on the disk of /somewhere/mlflow"),
        (errno.EROFS, RegistryRefused, r"can only be read.*\(/somewhere/mlflow/1\)$"),
        (errno.EACCES, RegistryRefused, r"may not read or write.*\(/somewhere/mlflow/1\)$"),
    ],
)
def test_a_disk_that_does_not_take_it_is_permanent_and_told_in_plain_words(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[PermanentError], words: str
) -> None:
    def fail(*_arguments: Any, **_options: Any) -> None:
        raise OSError(number, os.strerror(number), "/somewhere/mlflow/1")

    tenant = tenant_settings()
    run, _ = logged(registry, tenant, VERSION)
    with monkeypatch.context() as patch:
        patch.setattr(mlflow, "log_text", fail)
        with pytest.raises(kind, match=words) as told:
            logged(registry, tenant, "2025-03-03-00000000")
    assert "\n" not in str(told.value)
    # Also when the files are copied, which MLflow does in threads; the model is not what is wrong.
    monkeypatch.setattr(shutil, "copy2", fail)
    with pytest.raises(kind, match=words):
        registry.load_model(tenant.name, VERSION, run.registry_version)


@pytest.mark.usefixtures("one_try")
@pytest.mark.parametrize(
    ("number", "kind"), [(200, None), (503, RegistryUnavailable), (404, ModelArtifactError)], ids=str
)
def test_a_server_that_goes_away_between_the_files_is_told_from_a_file_that_is_gone(
    number: int, kind: type[Exception] | None
) -> None:
    """The listing is answered, and a file of it is not."""
    names = ["MLmodel", "model.skops"]
    listing = {"files": [{"path": name, "is_dir": False, "file_size": 2} for name in names]}

    def answer(request: BaseHTTPRequestHandler) -> None:
        asks_for_file = request.path.rpartition("/")[2] in names
        status(number if asks_for_file else 200, {} if asks_for_file else listing)(request)

    with server(answer) as address:
        mlflow.set_tracking_uri(address)
        uri = f"{address}/api/2.0/mlflow-artifacts/artifacts/1/models/m-1/artifacts"
        if kind is None:
            with fetched("Model x", uri) as folder:
                assert sorted(path.name for path in folder.iterdir()) == names
            return
        with pytest.raises((MlflowException, ModelArtifactError)) as caught, fetched("Model x", uri):
            pass
        assert isinstance(caught.value, ModelArtifactError) == (kind is ModelArtifactError)
        assert is_transient(caught.value) == (kind is RegistryUnavailable)


def _raised(code: int, cause: BaseException | None = None) -> MlflowException:
    error = MlflowException("API request to somewhere failed", error_code=code)
    error.__cause__ = cause
    return error


def _response(number: int) -> requests.Response:
    response = requests.Response()
    response.status_code = number
    return response


def _of_database(code: str) -> sa.exc.OperationalError:
    class Refused(Exception):
        pgcode = code

    return sa.exc.OperationalError("SELECT 1", {}, Refused("no"))


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (_raised(codes.TEMPORARILY_UNAVAILABLE), True),
        (_raised(codes.REQUEST_LIMIT_EXCEEDED), True),
        (_raised(codes.INTERNAL_ERROR), False),
        (_raised(codes.INTERNAL_ERROR, ConnectionResetError()), True),
        (_raised(codes.INTERNAL_ERROR, OSError(errno.ENOSPC, "full")), False),
        (_raised(codes.PERMISSION_DENIED, ConnectionResetError()), False),
        (_raised(codes.DATA_LOSS), False),
        (_raised(codes.TEMPORARILY_UNAVAILABLE, _of_database("57P01")), True),
        (_raised(codes.TEMPORARILY_UNAVAILABLE, _of_database("53300")), True),
        (_raised(codes.TEMPORARILY_UNAVAILABLE, _of_database("40P01")), True),
        (_raised(codes.TEMPORARILY_UNAVAILABLE, _of_database("53100")), False),
        (_raised(codes.BAD_REQUEST, _of_database("42P01")), False),
        (RestException({"error_code": "TEMPORARILY_UNAVAILABLE", "message": "busy"}), True),
        (RestException({"error_code": "CUSTOMER_UNAUTHORIZED", "message": "API request to"}), False),
        (requests.exceptions.HTTPError(response=_response(503)), True),
        (requests.exceptions.HTTPError(response=_response(403)), False),
        (requests.exceptions.SSLError("certificate"), False),
        (requests.exceptions.ChunkedEncodingError("cut off"), True),
        (sa.exc.TimeoutError("pool"), True),
        (OSError(errno.EHOSTUNREACH, "far away"), True),
        (OSError("API request to somewhere failed"), False),
        (TimeoutError(), True),
        (FileNotFoundError(errno.ENOENT, "gone"), False),
        (None, False),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_only_what_is_listed_is_tried_again(error: BaseException | None, transient: bool) -> None:
    assert is_transient(error) is transient


def test_what_databases_say_about_their_disk_is_told_in_plain_words() -> None:
    full = _raised(codes.TEMPORARILY_UNAVAILABLE, _of_database("53100"))
    assert in_words(full) == "no space is left on the disk"
    assert in_words(_raised(codes.INTERNAL_ERROR)) == "API request to somewhere failed"
    assert in_words(ValueError()) == "ValueError"
