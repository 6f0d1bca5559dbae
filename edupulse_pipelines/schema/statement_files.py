"""How one of our SQL files holds several statements: a line `--;` between empty lines separates them. Runs nothing."""

from __future__ import annotations

_SEPARATOR = "\n\n--;\n\n"


def statements(text: str) -> list[str]:
    """The statements of a file's text, in order; the text itself when there is one."""
    return text.split(_SEPARATOR)
