"""The `edupulse` command in processes that are forked off one which has imported everything (`warm_process`).

A process that imports what a run needs does nothing else for five seconds. A forked one begins where the imports end;
what its environment, its umask and its limits are is said for each, as for a program that is started.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import resource
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

CONTEXT = multiprocessing.get_context("forkserver")
PRELOADED = ["edupulse_pipelines_tests.warm_process", "edupulse_pipelines_tests.ingest.interruptions"]
CONTEXT.set_forkserver_preload(PRELOADED)
PATIENCE_SECONDS = 300


class Program:
    """A process that was started; `finish` waits for its end."""

    def __init__(
        self,
        work: Callable[..., None],
        *arguments: Any,
        environment: Mapping[str, str] | None = None,
        umask: int | None = None,
        largest_file: int | None = None,
    ) -> None:
        """Start `work`, a function of a module, with these arguments.

        environment: all of it; as that of this process if None. largest_file: bytes that a file may have.
        """
        self._said = tempfile.TemporaryDirectory(prefix="edupulse-said-")
        folder = Path(self._said.name)
        surroundings = (dict(os.environ if environment is None else environment), umask, largest_file)
        self._process = CONTEXT.Process(target=_run, args=(folder, surroundings, work, arguments))
        self._process.start()

    def finish(self) -> subprocess.CompletedProcess[str]:
        """Its exit code, and what it said; it is killed, and that is an error, if it does not end."""
        self._process.join(PATIENCE_SECONDS)
        alive = self._process.is_alive()
        if alive:
            self._process.kill()
            self._process.join()
        out, err = (Path(self._said.name, name).read_text(encoding="utf-8") for name in ("out", "err"))
        self._said.cleanup()
        assert not alive, f"the process did not end: {out}{err}"
        return subprocess.CompletedProcess([], self._process.exitcode or 0, out, err)


def edupulse(*words: object, **options: Any) -> Program:
    """Start the command, as typed; options as those of a `Program`."""
    return Program(_edupulse, *map(str, words), **options)


def _run(
    folder: Path, surroundings: tuple[dict[str, str], int | None, int | None], work: Any, arguments: tuple[Any, ...]
) -> None:
    environment, umask, largest_file = surroundings
    for name, number in (("out", 1), ("err", 2)):
        with (folder / name).open("wb") as stream:
            os.dup2(stream.fileno(), number)
    os.environ.clear()
    os.environ.update(environment)
    if umask is not None:
        os.umask(umask)
    if largest_file is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    atexit._clear()  # what the process it was forked from has to do at its own end
    try:
        work(*arguments)
    finally:
        atexit._run_exitfuncs()  # of a forked process nobody else does


def _edupulse(*words: str) -> None:
    from edupulse_pipelines.cli import main

    main(words, prog_name="edupulse")
