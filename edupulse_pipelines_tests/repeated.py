"""How often a test is repeated that says the same of many values, and on which database."""

from __future__ import annotations

from collections.abc import Sequence

import pytest


def mostly_on_sqlite(
    name: str, values: Sequence[object], *, ordinary: int | None = None, on_postgresql: int = 1
) -> pytest.MarkDecorator:
    """Give a test of both databases these values of the parameter `name`, for what does not depend on the value.

    With the first `ordinary` (all if None) it runs on SQLite, and with the first `on_postgresql` on PostgreSQL; with
    the others where heavy tests run.
    """
    ordinarily = {"sqlite": len(values) if ordinary is None else ordinary, "postgresql": on_postgresql}
    return pytest.mark.parametrize(
        ("database_url", name),
        [
            pytest.param(database, value, marks=() if place < count else pytest.mark.heavy)
            for database, count in ordinarily.items()
            for place, value in enumerate(values)
        ],
        indirect=["database_url"],
    )
