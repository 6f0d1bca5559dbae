"""The two user interfaces on this machine, for `edupulse dev`: Dagster over the home, and MLflow over its store.

Both are child processes on the loopback interface; this module starts, watches and stops them, and nothing else.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edupulse_pipelines.errors import PermanentError
from edupulse_pipelines.risk.book.mlflow_pages import start_page
from edupulse_pipelines.settings import Settings

LOOPBACK = "127.0.0.1"
_READY_SECONDS = 120.0
_STOP_SECONDS = 8.0
_POLL_SECONDS = 0.25


@dataclass
class Server:
    """One child process that serves a page."""

    name: str
    command: Sequence[str]
    port: int
    log: Path
    page: str = ""
    """What follows the address in the link to its first page."""
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Of its environment alone: what may hold a password, which a command line would show to every user."""
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """Where its first page is."""
        return f"http://{LOOPBACK}:{self.port}{self.page}"


def development_servers(settings: Settings, dagster_port: int, mlflow_port: int) -> list[Server]:
    """The servers for this home. No MLflow server of ours when `MLFLOW_TRACKING_URI` names one that runs already."""
    servers = [
        Server(
            "Dagster",
            [
                sys.executable,
                "-m",
                "dagster",
                "dev",
                "-h",
                LOOPBACK,
                "-p",
                str(dagster_port),
                "-m",
                "edupulse_pipelines.definitions",
            ],
            dagster_port,
            settings.home / "logs" / "dagster.log",
        )
    ]
    if not settings.tracking_uri.startswith("http"):
        artifacts = (settings.mlflow_dir / "artifacts").absolute().as_uri()
        command = [
            sys.executable,
            "-m",
            "mlflow",
            "server",
            "--host",
            LOOPBACK,
            "--port",
            str(mlflow_port),
            "--workers",
            "1",
        ]
        command += ["--default-artifact-root", artifacts]
        store = {"MLFLOW_BACKEND_STORE_URI": settings.tracking_uri}
        log = settings.home / "logs" / "mlflow.log"
        servers.append(Server("MLflow", command, mlflow_port, log, start_page(""), store))
    return servers


def environment(settings: Settings, inherited: Mapping[str, str]) -> dict[str, str]:
    """The environment of the servers: this home, made explicit, and nobody reported to."""
    return {
        **inherited,
        "EDUPULSE_HOME": str(settings.home),
        "DAGSTER_HOME": str(settings.dagster_home),
        "DAGSTER_DISABLE_TELEMETRY": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "PYTHONUNBUFFERED": "1",
    }


def serve(
    servers: Sequence[Server], settings: Settings, *, ready: Callable[[Server], None], stopping: Callable[[], None]
) -> None:
    """Start `servers`, call `ready` with each as its page answers, and wait until interrupted; then stop them all.

    `stopping` is called when the interrupt arrives; the servers may take some seconds to end.
    EduPulseError when a port is taken or a server ends by itself, with the last lines of its log.
    """
    for server in servers:
        if _answers(server.port):
            option = f"--{server.name.lower()}-port"
            raise PermanentError(
                f"Port {server.port} is taken; {server.name} cannot use it. Choose another with {option}."
            )
    stop_signals = {name: signal.signal(name, _interrupt) for name in (signal.SIGTERM, signal.SIGINT)}
    try:
        for server in servers:
            server.log.parent.mkdir(parents=True, exist_ok=True)
            with server.log.open("wb") as log:
                server.process = subprocess.Popen(
                    server.command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env={**environment(settings, os.environ), **server.variables},
                    start_new_session=True,  # an interrupt at the terminal reaches us alone; we stop them in order
                )
        waiting, give_up = list(servers), time.monotonic() + _READY_SECONDS
        while True:
            for server in servers:
                if server.process is not None and server.process.poll() is not None:
                    raise PermanentError(
                        f"{server.name} ended by itself (exit {server.process.returncode}).\n{_tail(server.log)}"
                    )
            for server in [one for one in waiting if _answers(one.port)]:
                waiting.remove(server)
                ready(server)
            if waiting and time.monotonic() > give_up:
                raise PermanentError(
                    f"{waiting[0].name} did not answer within {_READY_SECONDS:.0f} s.\n{_tail(waiting[0].log)}"
                )
            time.sleep(_POLL_SECONDS)
    except KeyboardInterrupt:
        stopping()
    finally:
        _stop(servers)
        for name, handler in stop_signals.items():
            signal.signal(name, handler)


def _interrupt(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _stop(servers: Sequence[Server]) -> None:
    """Ask every process group to end, and end it by force when it does not."""
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, signal.SIG_IGN)  # a second Ctrl-C must not leave a server behind
    running = [server.process for server in servers if server.process is not None]
    for process in running:
        _signal_group(process, signal.SIGINT)
    deadline = time.monotonic() + _STOP_SECONDS
    for process in running:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=max(0.1, deadline - time.monotonic()))
        _signal_group(process, signal.SIGKILL)  # what is left of the group
        process.wait()


def _signal_group(process: subprocess.Popen[bytes], name: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, name)


def _answers(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((LOOPBACK, port)) == 0


def _tail(log: Path, lines: int = 15) -> str:
    try:
        last = log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
    except OSError:
        last = []
    return "\n".join([*last, f"(the whole log: {log})"])
