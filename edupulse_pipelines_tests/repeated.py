"""How often a test is repeated that says the same of many values or examples, and on which database."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, Phase, settings


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


def same_examples(count: int, *suppressed: HealthCheck) -> settings:
    """So many examples, the same every time: another draw is for who looks for something.

    suppressed: Hypothesis's health checks left out, beside those of a function's fixtures and of slow examples.
    """
    return settings(
        max_examples=count,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        deadline=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, *suppressed],
    )
