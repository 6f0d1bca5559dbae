"""A database opened for the length of a block says in words what it does not do."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from edupulse_pipelines.errors import DatabaseRefused
from edupulse_pipelines.storage.database import Database


def test_a_refused_statement_is_told_without_its_text_and_values(database_url: str) -> None:
    statement = sa.text("INSERT INTO nowhere VALUES (:name)")
    with (
        pytest.raises(DatabaseRefused, match=r"^The database refused a statement \(") as caught,
        Database(database_url).work("north") as work,
        work.writing() as connection,
    ):
        connection.execute(statement, {"name": "Ada Lovelace"})
    assert "Ada" not in str(caught.value) and "INSERT" not in str(caught.value)
