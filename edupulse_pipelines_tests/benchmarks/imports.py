"""Import time of `edupulse_pipelines.definitions` beside `import dagster` alone: fresh processes, taken in turns."""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence

OURS, DAGSTER = "edupulse_pipelines.definitions", "dagster"
_TIMED = "import time; began = time.perf_counter(); import {module}; print(time.perf_counter() - began)"


def run(argv: Sequence[str]) -> dict[str, object]:
    """Best of `--repeats` imports of each side (other work only adds); the promise is a ratio <= 1.5."""
    parser = argparse.ArgumentParser(prog="imports", description=__doc__)
    parser.add_argument("--repeats", type=int, default=7, help="processes per side (default 7)")
    repeats = parser.parse_args(list(argv)).repeats
    seconds: dict[str, list[float]] = {OURS: [], DAGSTER: []}
    with tempfile.TemporaryDirectory() as elsewhere:  # no edupulse.toml: the stand-in tenant
        for module in seconds:
            _import_seconds(module, elsewhere)  # fills the file cache, and is not counted
        for _ in range(repeats):
            for module, taken in seconds.items():
                taken.append(_import_seconds(module, elsewhere))
    ours, theirs = (min(seconds[module]) for module in (OURS, DAGSTER))
    for module, taken in seconds.items():
        print(f"{module}: best {min(taken):.3f} s, median {statistics.median(taken):.3f} s of {repeats}")
    peak_kib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return {
        "bench": "imports",
        "size": repeats,
        "unit": "seconds",
        "ours": round(ours, 4),
        "others": {"dagster": round(theirs, 4)},
        "ratios": {"dagster": round(ours / theirs, 3)},
        "peak_mib": round(peak_kib / 1024, 1),
    }


def _import_seconds(module: str, folder: str) -> float:
    code = _TIMED.format(module=module)
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    return float(done.stdout)
