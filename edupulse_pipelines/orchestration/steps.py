"""What every step does around the room's function it calls: tell who watches, and turn an error into words.

An error a person can act on fails the step with its message alone. Any other is told by its kind and place (one of the
database by its constraint), because its own text may quote a student's values.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from dagster import AssetExecutionContext, Failure, OpExecutionContext

from edupulse_pipelines.errors import EduPulseError
from edupulse_pipelines.orchestration.resources import Progress


@contextmanager
def step(context: AssetExecutionContext | OpExecutionContext, progress: Progress) -> Iterator[None]:
    """The frame of one step's work; raises Failure, which Dagster shows without a traceback of ours."""
    name = context.asset_key.path[-1] if isinstance(context, AssetExecutionContext) else context.op.name
    progress.started(name, context.log)
    try:
        yield
    except Failure as failure:
        progress.failed(name, failure.description or "")
        raise
    except EduPulseError as error:
        progress.failed(name, str(error))
        raise Failure(str(error), allow_retries=False) from None
    except Exception as error:
        message = _without_values(error) or _where(error)
        progress.failed(name, message)
        raise Failure(message) from None


def _where(error: Exception) -> str:
    """The kind of an unexpected error and the frames it came through: enough to mend it, without its text.

    Libraries quote what they choke on, and that may be a student's value.
    """
    frames = traceback.extract_tb(error.__traceback__)
    path = "\n".join(f"  {frame.filename}:{frame.lineno} in {frame.name}" for frame in frames[1:])
    return f"Unexpected {type(error).__name__}; its text is left out, because it may quote a student's record.\n{path}"


def _without_values(error: Exception) -> str | None:
    """What a database error says, less the values it quotes; None when `error` is not one."""
    from sqlalchemy.exc import DBAPIError, StatementError

    if not isinstance(error, StatementError):
        return None
    cause = error.orig
    parts = [f"The database refused a statement ({type(cause or error).__name__}"]
    diagnostics = getattr(cause, "diag", None)
    if isinstance(error, DBAPIError) and diagnostics is not None:
        for label, attribute in (
            ("SQLSTATE", "sqlstate"),
            ("table", "table_name"),
            ("constraint", "constraint_name"),
        ):
            value = getattr(diagnostics, attribute, None)
            parts.append(f", {label} {value}" if value else "")
    elif isinstance(error, DBAPIError) and "constraint failed" in str(cause):
        parts.append(f", {str(cause).splitlines()[0]}")  # SQLite names the constraint or columns, never values
    return "".join(parts) + "). Nothing of this table's delivery was changed."
