"""`python -m edupulse_pipelines_tests.benchmarks NAME [options]`: run one benchmark.

Every other module of this package is a benchmark, but for those whose name begins with an underscore: its `run(argv)`
measures all sides, says in words what it sees, and returns the figures {"bench", "size", "unit", "ours", "others",
"ratios", "peak_mib", ...}, which are printed as the last line.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import sys

import edupulse_pipelines_tests.benchmarks as benchmarks


def main(argv: list[str]) -> int:
    names = sorted(
        module.name for module in pkgutil.iter_modules(benchmarks.__path__) if not module.name.startswith("_")
    )
    if not argv or argv[0] not in names:
        print(f"usage: python -m edupulse_pipelines_tests.benchmarks {{{','.join(names)}}} [options]", file=sys.stderr)
        return 2
    figures = importlib.import_module(f"{benchmarks.__name__}.{argv[0]}").run(argv[1:])
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
