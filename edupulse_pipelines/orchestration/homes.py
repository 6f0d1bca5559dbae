"""The Dagster home of an EduPulse home: its file, its instance, and runs that nobody will finish.

It is one folder, `<home>/dagster`, shared by `edupulse run`, `demo` and `dev` and by a bare `dagster dev`. What its
runs did is read in `recorded_runs`.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml
from dagster import DagsterInstance, DagsterRunStatus, RunsFilter

from edupulse_pipelines.errors import DiskFull, PermanentError
from edupulse_pipelines.file_locks import only_one
from edupulse_pipelines.full_disk import full_disk_in_words
from edupulse_pipelines.settings import Settings, demand_encrypted

_PROCESS_TAG, _STARTED_TAG, _HOST_TAG = "edupulse/process", "edupulse/process_started", "edupulse/host"
_UNFINISHED = [
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.MANAGED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]
_SECRET = re.compile("password|secret|token")
"""In a key of `dagster.yaml` whose value is one."""

INSTANCE_FILE = """\
# The Dagster home of this EduPulse home: the runs and materializations that the UI shows. Yours to edit.
telemetry:
  enabled: false
nux:
  enabled: false # no sign-up window in the UI
python_logs:
  python_log_level: INFO
run_monitoring:
  enabled: true # a run of the UI whose process ended before it began is closed by the daemon
concurrency:
  pools:
    # One run of a district at a time (its assets share a pool); districts run side by side.
    granularity: run
    default_limit: 1
"""


@contextmanager
def dagster_instance(settings: Settings) -> Iterator[DagsterInstance]:
    """The Dagster instance of the home, made on first use, telemetry off.

    PermanentError when it cannot open, ConfigurationError when its storage is reached in plain text.
    """
    prepare_dagster_home(settings.dagster_home)
    demand_encrypted_storage(settings.dagster_home)
    try:
        # Opening a new home makes Dagster's tables, and two who do that at once fail.
        with only_one(settings.dagster_home / "opening.lock"):
            opened = DagsterInstance.from_config(str(settings.dagster_home))
    except Exception as error:
        if full := full_disk_in_words(error):
            raise DiskFull(full) from error
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
    process = os.getpid()
    return {_PROCESS_TAG: str(process), _STARTED_TAG: _started(process) or "", _HOST_TAG: socket.gethostname()}


def close_abandoned_runs(instance: DagsterInstance) -> None:
    """Runs of this machine whose process has died are failures, however far they had come.

    As unfinished ones they would hold their district's pool, and be shown as if they went on.
    """
    here = RunsFilter(statuses=_UNFINISHED, tags={_HOST_TAG: socket.gethostname()})
    for run in instance.get_runs(here):
        process = int(run.tags.get(_PROCESS_TAG, "0"))
        # One that was started again in the UI has the tags of the run before it, and another process.
        if process and run.parent_run_id is None and not _is_working(process, run.tags.get(_STARTED_TAG)):
            instance.report_run_failed(run, "The process of this run ended without finishing it.")


def secrets_in_the_file(home: Path) -> list[str]:
    """The keys of the home's `dagster.yaml` that hold a secret themselves instead of naming an environment variable.

    `dagster dev` puts what the file says on the command lines of its processes, where every user of the machine sees
    it; of a variable only the name.
    """
    with suppress(OSError, yaml.YAMLError, RecursionError):
        return sorted(_secrets(yaml.safe_load((home / "dagster.yaml").read_text(encoding="utf-8")), ""))
    return []  # Dagster itself says what is wrong with it


def demand_encrypted_storage(home: Path) -> None:
    """ConfigurationError when the home's `dagster.yaml` names a PostgreSQL that is reached without a verified TLS."""
    document = None
    with suppress(OSError, yaml.YAMLError, RecursionError):
        document = yaml.safe_load((home / "dagster.yaml").read_text(encoding="utf-8"))
    for place, target in _storages(document, ""):
        demand_encrypted(target, f"{home / 'dagster.yaml'}: {place}")


def _storages(value: Any, place: str) -> Iterator[tuple[str, str | dict[str, str]]]:
    """Every connection to PostgreSQL that the file describes, with its place in it."""
    if not isinstance(value, dict):
        return
    for key, inner in value.items():
        where = f"{place}.{key}".removeprefix(".")
        if key == "postgres_url" and (url := _given(inner)):
            yield where, url
        elif key == "postgres_db" and isinstance(inner, dict):
            params = inner.get("params")
            given = {"host": inner.get("hostname"), **(params if isinstance(params, dict) else {})}
            yield where, {name: told for name, one in given.items() if (told := _given(one))}
        else:
            yield from _storages(inner, where)


def _given(value: Any) -> str:
    """A value of the file, or that of the environment variable it names."""
    if isinstance(value, dict):
        return os.environ.get(str(value.get("env")), "")
    return "" if value is None else str(value)


def _secrets(value: Any, place: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _secrets(inner, f"{place}.{key}".removeprefix("."))
    elif isinstance(value, list):
        for inner in value:
            yield from _secrets(inner, place)
    elif isinstance(value, str):
        key = place.rpartition(".")[2].lower()
        if _SECRET.search(key) or ("url" in key and "@" in value):
            yield place


def _is_working(process: int, started: str | None) -> bool:
    """Whether the process that began a run is there still; its number may have been given to another one since.

    `started`: as `_started` told it when the run began; None for a run of an earlier release.
    """
    if started and (now := _started(process)) is not None:
        return now == started
    if process == os.getpid():
        return started is None
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _started(process: int) -> str | None:
    """What tells a process from all others that have its number: boot and moment of its start; None if unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        # The name in brackets may hold anything; the 20th field after it is the start, in ticks since the boot.
        fields = Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()
        return f"{boot}/{int(fields[19])}"
    except (OSError, ValueError, IndexError):
        return None
