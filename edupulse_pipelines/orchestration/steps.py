"""The frame of every step: it gives the step its `Work`, tells who watches, and turns an error into words.

An error a person can act on fails the step with its message alone. Any other is told by its kind and place (one of the
database by its constraint), because its own text may quote a student's values. Only transient errors leave Dagster the
choice to try the step again (`orchestration.retries`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dagster import AssetExecutionContext, Failure, OpExecutionContext

from edupulse_pipelines.errors import DatabaseRefused, DiskFull, EduPulseError, TransientError, unexpected_in_words
from edupulse_pipelines.full_disk import full_disk_in_words
from edupulse_pipelines.orchestration.recorded_runs import DISK_FULL
from edupulse_pipelines.orchestration.resources import Database, Progress
from edupulse_pipelines.orchestration.retries import is_tried_again
from edupulse_pipelines.settings import TenantSettings

if TYPE_CHECKING:
    from edupulse_pipelines.storage.work import Work

_ROLLED_BACK = "The transaction it was in was rolled back."


@contextmanager
def step(
    context: AssetExecutionContext | OpExecutionContext,
    progress: Progress,
    database: Database,
    tenant: TenantSettings | None,
) -> Iterator[Work]:
    """The frame of one step's work for `tenant` (None: for no district); gives the `Work` of this run.

    Raises Failure, which Dagster shows without a traceback of ours. At its end the log says how many transactions the
    step began: a step that suddenly begins many more than its weeks and deliveries explain has become slow.
    """
    from edupulse_pipelines.storage.work import EVERY_TENANT

    name = context.asset_key.path[-1] if isinstance(context, AssetExecutionContext) else context.op.name
    progress.started(name, context.log)
    try:
        with database.work(tenant.name if tenant is not None else EVERY_TENANT, context.run_id) as work:
            try:
                yield work
            finally:
                context.log.info(f"Transactions: {work.attempts.in_words}.")
    except Failure as failure:
        progress.failed(name, failure.description or "")
        raise
    except EduPulseError as error:
        message = f"{error} {_ROLLED_BACK}" if isinstance(error, DatabaseRefused) else str(error)
        metadata = {DISK_FULL: True} if isinstance(error, DiskFull) else None
        told = Failure(message, metadata=metadata, allow_retries=isinstance(error, TransientError))
        if is_tried_again(context, told):
            progress.delayed(name, message)
        else:
            progress.failed(name, message)
        raise told from None
    except Exception as error:
        full = full_disk_in_words(error)
        message = full or unexpected_in_words(error)
        progress.failed(name, message)
        raise Failure(message, metadata={DISK_FULL: True} if full else None, allow_retries=False) from None
