"""The home that tests of backups start from: made once, copied for each test."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from edupulse_pipelines_tests.operations.backup.home import BackedUp, make_home


@pytest.fixture(scope="session")
def _home_template(tmp_path_factory: pytest.TempPathFactory, _sqlite_template: Path) -> Path:
    home = tmp_path_factory.mktemp("backed-up") / "home"
    make_home(home, _sqlite_template)
    return home


@pytest.fixture
def home(tmp_path: Path, _home_template: Path) -> Iterator[BackedUp]:
    """A home of one district, in `tmp_path / "home"`."""
    shutil.copytree(_home_template, tmp_path / "home")
    made = BackedUp(tmp_path / "home")
    yield made
    made.engine.dispose()
