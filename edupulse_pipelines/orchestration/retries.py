"""Which failed steps Dagster tries again, how often, and after what pause.

A step that fails with a `TransientError` (`errors`) is tried again by the policy here; a step that fails with anything
else is not, and neither is its run: the jobs carry a tag that says so, whatever the instance's `run_retries` say. Runs
whose process died are the instance's business (`deploy/dagster.yaml`).
"""

from __future__ import annotations

from dagster import AssetExecutionContext, Backoff, Failure, Jitter, OpExecutionContext, RetryPolicy

TRIES_AFTER_THE_FIRST = 3
FIRST_PAUSE_SECONDS = 10.0
"""The pauses grow: about 10, 30 and 70 seconds (Dagster's exponential backoff), so some two minutes in all."""
NO_RUN_RETRY = {"dagster/retry_on_asset_or_op_failure": "false"}
"""Run tags: a run that ended because a step failed is not started again; its transient failures have been retried."""


def retry_policy() -> RetryPolicy:
    """The policy of every step: growing pauses, with a random part so that districts do not come back all at once."""
    return RetryPolicy(
        max_retries=TRIES_AFTER_THE_FIRST,
        delay=FIRST_PAUSE_SECONDS,
        backoff=Backoff.EXPONENTIAL,
        jitter=Jitter.PLUS_MINUS,
    )


def is_tried_again(context: AssetExecutionContext | OpExecutionContext, error: BaseException) -> bool:
    """Whether Dagster will start the step of `context` again after it raised `error`."""
    return isinstance(error, Failure) and error.allow_retries and context.retry_number < TRIES_AFTER_THE_FIRST
