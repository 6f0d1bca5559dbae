"""Names of tables, columns and roles as they stand in a statement. Values are never written there: they are bound."""

from __future__ import annotations


def quoted(name: str) -> str:
    """A name as an identifier of either database, whatever characters it has."""
    return '"' + name.replace('"', '""') + '"'
