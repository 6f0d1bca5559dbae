"""Which commit of this package runs, so that a model says what code made it. Asks git, and nothing else."""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path

from edupulse_pipelines.programs import environment


@functools.lru_cache(maxsize=1)
def git_revision() -> str:
    """The commit this package runs from, with `-dirty` when its files differ from it; empty outside its checkout."""
    package = Path(__file__).parents[2]

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", *words],
                cwd=package,
                capture_output=True,
                text=True,
                timeout=10,
                check=False,
                env=environment(in_english=False, password=False),
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    # Installed into an environment inside somebody else's checkout, that repository says nothing about us.
    if git("ls-files", "--error-unmatch", "__init__.py") is None:
        return ""
    revision = git("rev-parse", "HEAD")
    if not revision:
        return ""
    return f"{revision}-dirty" if git("status", "--porcelain", "--", ".") else revision
