"""The commit that a model says it was made by."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from edupulse_pipelines.risk.book import code_revision as module
from edupulse_pipelines.risk.book.code_revision import git_revision


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder like that of the package, inside a repository that does not hold it yet, and told to be the package."""
    folder = tmp_path / "edupulse_pipelines"
    (folder / "risk" / "book").mkdir(parents=True)
    (folder / "__init__.py").write_text("", encoding="utf-8")
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    monkeypatch.setattr(module, "__file__", str(folder / "risk" / "book" / "code_revision.py"))
    git_revision.cache_clear()
    yield folder
    git_revision.cache_clear()


def _commit(path: Path) -> str:
    """Commit a file or folder; the commit's name, as git says it."""
    git = ["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run([*git, "add", path.name], cwd=path.parent, check=True)
    subprocess.run([*git, "commit", "-q", "-m", "A commit"], cwd=path.parent, check=True)
    told = subprocess.run([*git, "rev-parse", "HEAD"], cwd=path.parent, check=True, capture_output=True, text=True)
    return told.stdout.strip()


def test_the_revision_is_the_commit_of_the_package(package: Path) -> None:
    commit = _commit(package)
    (package.parent / "notes.txt").write_text("not of the package", encoding="utf-8")
    assert len(commit) == 40
    assert git_revision() == commit


def test_a_changed_file_of_the_package_makes_the_revision_dirty(package: Path) -> None:
    commit = _commit(package)
    (package / "__init__.py").write_text("changed = True\n", encoding="utf-8")
    assert git_revision() == f"{commit}-dirty"


def test_a_checkout_that_does_not_hold_the_package_says_nothing_of_it(package: Path) -> None:
    """Installed inside somebody else's checkout, without being part of it."""
    theirs = package.parent / "theirs.txt"
    theirs.write_text("theirs", encoding="utf-8")
    _commit(theirs)
    assert git_revision() == ""
