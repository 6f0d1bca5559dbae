"""The Dagster home: made once however many begin at once, and runs that nobody will finish are closed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance, DagsterRunStatus, job, op

from edupulse_pipelines.orchestration.homes import close_abandoned_runs, dagster_instance, process_tags
from edupulse_pipelines.settings import load_settings
from edupulse_pipelines_tests import forked
from edupulse_pipelines_tests.test_private_home import a_district

UNFINISHED = ["NOT_STARTED", "STARTING", "STARTED", "CANCELING"]
FINISHED = ["SUCCESS", "FAILURE", "CANCELED"]


@op
def nothing() -> None:
    """No work."""


@job
def idle() -> None:
    """A job without work."""
    nothing()


@pytest.fixture
def instance() -> Iterator[DagsterInstance]:
    with DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture
def dead_process() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def run_of(instance: DagsterInstance, status: str, **tags: str) -> str:
    """A run in this state, worked on by the process that the tags name."""
    made = instance.create_run_for_job(
        idle,
        status=DagsterRunStatus[status],
        tags={**process_tags(), **{f"edupulse/{name}": value for name, value in tags.items()}},
    )
    return made.run_id


def status_of(instance: DagsterInstance, run_id: str) -> str:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status.value


@pytest.mark.parametrize("status", UNFINISHED)
@pytest.mark.parametrize("release", ["this", "an earlier one"])
def test_a_run_of_a_dead_process_is_closed_however_far_it_had_come(
    instance: DagsterInstance, dead_process: int, status: str, release: str
) -> None:
    started = {"process_started": ""} if release == "an earlier one" else {}
    run_id = run_of(instance, status, process=str(dead_process), **started)
    close_abandoned_runs(instance)
    assert status_of(instance, run_id) == "FAILURE"


@pytest.mark.parametrize("status", UNFINISHED)
@pytest.mark.parametrize("of", ["this process", "another one"])
def test_a_process_that_got_the_number_of_a_dead_one_is_not_taken_for_it(
    instance: DagsterInstance, status: str, of: str
) -> None:
    """In a container every first process has the same number."""
    process = os.getpid() if of == "this process" else os.getppid()
    run_id = run_of(instance, status, process=str(process), process_started="another boot/17")
    close_abandoned_runs(instance)
    assert status_of(instance, run_id) == "FAILURE"


@pytest.mark.parametrize("status", UNFINISHED)
def test_a_run_that_is_worked_on_is_left_alone(instance: DagsterInstance, dead_process: int, status: str) -> None:
    mine = run_of(instance, status)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        theirs = run_of(instance, status, process=str(other.pid), process_started="")
        elsewhere = run_of(instance, status, process=str(dead_process), host=f"not-{socket.gethostname()}")
        close_abandoned_runs(instance)
        other.communicate(b"\n")
    assert [status_of(instance, run_id) for run_id in (mine, theirs, elsewhere)] == [status] * 3


def test_a_run_that_was_started_again_in_the_ui_is_left_alone(instance: DagsterInstance, dead_process: int) -> None:
    """It has the tags of the run before it, which name a process that is not its own."""
    before = run_of(instance, "FAILURE", process=str(dead_process))
    again = instance.create_run_for_job(
        idle,
        status=DagsterRunStatus.STARTED,
        tags={**process_tags(), "edupulse/process": str(dead_process)},
        root_run_id=before,
        parent_run_id=before,
    )
    close_abandoned_runs(instance)
    assert status_of(instance, again.run_id) == "STARTED"


@pytest.mark.parametrize("status", FINISHED)
def test_a_finished_run_stays_as_it_is(instance: DagsterInstance, dead_process: int, status: str) -> None:
    run_id = run_of(instance, status, process=str(dead_process))
    close_abandoned_runs(instance)
    assert status_of(instance, run_id) == status


def test_first_runs_at_once_on_a_new_home_both_succeed(tmp_path: Path) -> None:
    """Both make Dagster's store, the database's tables and MLflow's store, or find them made."""
    a_district(tmp_path)
    (tmp_path / "landing" / "north" / "2026-01-12" / "grades.csv").unlink()
    runs = [forked.edupulse("run", "--all", "--home", tmp_path) for _ in range(2)]
    ended = [run.finish() for run in runs]
    assert [run.returncode for run in ended] == [0, 0], "\n".join(run.stdout + run.stderr for run in ended)


def _open(home: Path, together: Any) -> None:
    settings = load_settings(home=home)
    together.wait(forked.PATIENCE_SECONDS)
    with dagster_instance(settings) as instance:
        assert instance.get_runs() == []


def test_many_openers_of_a_new_home(tmp_path: Path) -> None:
    """Held back until all have imported Dagster, so that they begin at the same moment."""
    together = forked.CONTEXT.Barrier(4)
    openers = [forked.Program(_open, tmp_path, together) for _ in range(4)]
    ended = [opener.finish() for opener in openers]
    assert [opener.returncode for opener in ended] == [0] * 4, ended
