"""What a failure of MLflow means: may another try help, is the thing asked for missing, and how to say it in a line.

Decided by types and codes: of MLflow's own errors, of the requests it sends to a tracking server, of the database
behind a store, and of the operating system. What is not listed here as passing is permanent.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator

import sqlalchemy as sa

from edupulse_pipelines.storage.engine import driver_code, is_busy, is_gone

_PASSING_CODES = {
    "TEMPORARILY_UNAVAILABLE",
    "REQUEST_LIMIT_EXCEEDED",
    "RESOURCE_EXHAUSTED",
    "DEADLINE_EXCEEDED",
    "ABORTED",
}
"""MLflow's codes of what may be gone at the next try."""
_CODE_OF_NO_CHOICE = "INTERNAL_ERROR"
"""MLflow's code where nobody chose one: what it was raised from says more."""
_MISSING_CODES = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "NOT_FOUND"}
_PASSING_STATUSES = {408, 429, 502, 503, 504}
_PASSING_ERRNOS = {
    errno.EAGAIN,
    errno.EBUSY,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
    errno.ENETDOWN,
    errno.ENETUNREACH,
    errno.ENETRESET,
    errno.ESTALE,
}
"""Of the network and of disks that are reached over it; refused, reset and timed out have types of their own."""
_FULL = "no space is left on the disk"
_READ_ONLY = "the disk or the file can only be read"
_NO_ACCESS = "this user may not read or write there"
_WORDS_OF_ERRNOS = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: "no space is left in this user's share of the disk",
    errno.EROFS: _READ_ONLY,
    errno.EACCES: _NO_ACCESS,
    errno.EPERM: _NO_ACCESS,
}
_WORDS_OF_DATABASES = {
    "SQLITE_FULL": _FULL,
    "53100": _FULL,
    "SQLITE_READONLY": _READ_ONLY,
    "SQLITE_CANTOPEN": "its SQLite file cannot be opened or made: look at its folder and at who may write there",
}
"""By the names of SQLite's codes, and by SQLSTATE."""


def is_transient(error: BaseException | None) -> bool:
    """Whether another try, some time later, may succeed.

    A server that answers 500 until MLflow's own tries are used up counts as one in trouble, like 503: MLflow does not
    keep which of the two it was.
    """
    import requests
    from mlflow.exceptions import MlflowException

    if isinstance(error, MlflowException):
        cause = _cause(error)
        if error.error_code == _CODE_OF_NO_CHOICE or isinstance(cause, sa.exc.SQLAlchemyError):
            return is_transient(cause)
        return error.error_code in _PASSING_CODES
    if isinstance(error, sa.exc.DBAPIError):
        return is_busy(error) or (_words_of_database(error) is None and is_gone(error))
    if isinstance(error, requests.exceptions.HTTPError):
        return error.response is not None and error.response.status_code in _PASSING_STATUSES
    if isinstance(error, requests.exceptions.RequestException):
        passing = (
            requests.exceptions.ConnectionError,
            requests.exceptions.Timeout,
            requests.exceptions.RetryError,  # the server answered 408, 429, 500, 502, 503 or 504 to every try
            requests.exceptions.ChunkedEncodingError,  # the connection ended in the middle of an answer
        )
        return isinstance(error, passing) and not isinstance(error, requests.exceptions.SSLError)
    if isinstance(error, OSError):
        return isinstance(error, ConnectionError | TimeoutError) or error.errno in _PASSING_ERRNOS
    return isinstance(error, sa.exc.TimeoutError)  # every connection of a pool was in use


def is_missing(error: BaseException) -> bool:
    """Whether MLflow or its store says that what is asked for does not exist."""
    import requests
    from mlflow.exceptions import MlflowException

    if isinstance(error, MlflowException) and error.error_code != _CODE_OF_NO_CHOICE:
        return error.error_code in _MISSING_CODES
    return any(
        isinstance(cause, FileNotFoundError)
        or (
            isinstance(cause, requests.exceptions.HTTPError)
            and cause.response is not None
            and cause.response.status_code == 404
        )
        for cause in _causes(error)
    )


def is_beside_the_files(error: BaseException) -> bool:
    """Whether reading an artifact failed for a reason that says nothing about the artifact.

    MLflow or its database could not be asked, or the disk or the rights of this machine did not allow it.
    """
    return is_transient(error) or any(
        isinstance(cause, sa.exc.SQLAlchemyError)
        or (isinstance(cause, OSError) and _WORDS_OF_ERRNOS.get(cause.errno or 0) is not None)
        for cause in _causes(error)
    )


def in_words(error: BaseException) -> str:
    """One line: plain words where the disk, its rights or a database's file are the reason, else what the error says.

    An error that says nothing gives its type's name.
    """
    for cause in _causes(error):
        if isinstance(cause, OSError) and (words := _WORDS_OF_ERRNOS.get(cause.errno or 0)):
            return f"{words} ({cause.filename})" if cause.filename else words
        if isinstance(cause, sa.exc.DBAPIError) and (words := _words_of_database(cause)):
            return words
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _words_of_database(error: sa.exc.DBAPIError) -> str | None:
    code = driver_code(error)
    # SQLite's names go into detail behind the second word: SQLITE_READONLY_DIRECTORY.
    return _WORDS_OF_DATABASES.get("_".join(code.split("_")[:2]))


def _cause(error: BaseException) -> BaseException | None:
    """What an error was raised from, or while handling what; MLflow raises some without saying from what."""
    return error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, what it was raised from, and so on."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = _cause(cause)
