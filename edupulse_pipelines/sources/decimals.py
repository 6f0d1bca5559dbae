"""Numbers as sources write them: with the decimal sign that the tenant's profile declares."""

from __future__ import annotations

import re

from edupulse_pipelines.settings import ProfileSettings

_WITH_COMMA = re.compile(r"[+-]?[0-9]*,[0-9]+")


def with_point(text: str, profile: ProfileSettings) -> str:
    """The number with a decimal point, where the profile declares a comma; what is none stays as it is."""
    return text.replace(",", ".") if profile.decimal == "," and _WITH_COMMA.fullmatch(text) else text
