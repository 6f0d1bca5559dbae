"""What it takes to have something taken away for good: a reason, and two people."""

from __future__ import annotations

from edupulse_pipelines.errors import ConfigurationError
from edupulse_pipelines.storage.work import Work


def given_reason(reason: str | None) -> str:
    """The reason; ConfigurationError when there is none."""
    told = (reason or "").strip()
    if not told:
        raise ConfigurationError("Say why: --reason.")
    return told


def two_people(work: Work, approved_by: str | None) -> str:
    """Who approved; ConfigurationError when that is nobody, or whoever asks."""
    approver = (approved_by or "").strip()
    if not approver or approver.casefold() == work.actor.strip().casefold():
        raise ConfigurationError("It needs two people: --approved-by names another one than who executes it.")
    return approver
