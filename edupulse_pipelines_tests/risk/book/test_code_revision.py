"""The commit that a model says it was made by."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from edupulse_pipelines.risk.book import code_revision as module
from edupulse_pipelines.risk.book.code_revision import git_revision


def test_the_revision_is_the_commit_of_this_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    revision = git_revision().removesuffix("-dirty")
    assert revision == "" or (len(revision) == 40 and set(revision) <= set("0123456789abcdef"))
    # Installed inside somebody else's checkout, without being part of it.
    package = tmp_path / "site-packages" / "edupulse_pipelines" / "risk" / "book"
    package.mkdir(parents=True)
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    monkeypatch.setattr(module, "__file__", str(package / "code_revision.py"))
    git_revision.cache_clear()
    try:
        assert git_revision() == ""
    finally:
        git_revision.cache_clear()
