"""One primary for the drills of a session, with a district, its roles' URLs and a champion; and its copies."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from edupulse_pipelines_tests.operations.recovery.primary import Primary, primary_of


@pytest.fixture(scope="session")
def primary() -> Iterator[Primary]:
    """A server of the wheel, which archives, with a base backup of it taken before its newest rows."""
    with primary_of("wheel") as made:
        yield made


@pytest.fixture(scope="session")
def primary_with_contrib() -> Iterator[Primary]:
    """The same of the distribution, which has extensions."""
    with primary_of("debian") as made:
        yield made
