"""The Dagster home of an EduPulse home: its file, its instance, and runs that nobody will finish.

It is one folder, `<home>/dagster`, shared by `edupulse run`, `demo` and `dev` and by a bare `dagster dev`. What its
runs did is read in `recorded_runs`.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from dagster import DagsterInstance, DagsterRunStatus, RunsFilter

from edupulse_pipelines.errors import PermanentError
from edupulse_pipelines.settings import Settings

_PROCESS_TAG, _HOST_TAG = "edupulse/process", "edupulse/host"

INSTANCE_FILE = """\
# The Dagster home of this EduPulse home: the runs and materializations that the UI shows. Yours to edit.
telemetry:
  enabled: false
nux:
  enabled: false # no sign-up window in the UI
python_logs:
  python_log_level: INFO
concurrency:
  pools:
    # One run of a district at a time (its assets share a pool); districts run side by side.
    granularity: run
    default_limit: 1
"""


@contextmanager
def dagster_instance(settings: Settings) -> Iterator[DagsterInstance]:
    """The Dagster instance of the home, made on first use, telemetry off. PermanentError when it cannot open."""
    prepare_dagster_home(settings.dagster_home)
    try:
        opened = DagsterInstance.from_config(str(settings.dagster_home))
    except Exception as error:
        raise PermanentError(
            f"Dagster's own storage, as {settings.dagster_home / 'dagster.yaml'} describes it, cannot be opened: "
            f"{str(error).strip().splitlines()[0]}"
        ) from error
    with opened as instance:
        yield instance


def prepare_dagster_home(home: Path) -> None:
    """Make the folder with its `dagster.yaml`, unless there is one already."""
    home.mkdir(parents=True, exist_ok=True)
    instance_file = home / "dagster.yaml"
    if not instance_file.exists():
        instance_file.write_text(INSTANCE_FILE, encoding="utf-8")


def process_tags() -> Mapping[str, str]:
    """Run tags that say which process of which machine works on the run."""
    return {_PROCESS_TAG: str(os.getpid()), _HOST_TAG: socket.gethostname()}


def close_abandoned_runs(instance: DagsterInstance) -> None:
    """Runs of this machine whose process has died are failures; as running they would hold their district's pool."""
    here = RunsFilter(statuses=[DagsterRunStatus.STARTED], tags={_HOST_TAG: socket.gethostname()})
    for run in instance.get_runs(here):
        process = int(run.tags.get(_PROCESS_TAG, "0"))
        if process and process != os.getpid() and not _alive(process):
            instance.report_run_failed(run, "The process of this run ended without finishing it.")


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
