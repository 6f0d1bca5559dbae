"""Names and codes of outside formats as names of ours, for what is counted by them."""

from __future__ import annotations

import re

TWO_OR_MORE_RACES = "Two or more races"
"""Ethnicity of a student of several races."""
_LONGEST = 60


def snake_case(text: str) -> str:
    """A name or code as a reason: `Not Submitted` is `not_submitted`, and so is `NotSubmitted`."""
    return re.sub(r"[^0-9a-z]+", "_", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", text).lower()).strip("_")[:_LONGEST]
