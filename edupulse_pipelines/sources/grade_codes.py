"""Grade levels as the outside formats write them: our number, or a known code of a level that has none.

A code outside kindergarten to grade 12 (CEDS, which OneRoster and Ed-Fi follow) is no error: the level stays empty and
the code is kept among the student's facts. What the tenant's profile maps is left to it, and so is what nobody knows.
"""

from __future__ import annotations

from collections.abc import Collection

_ORDINALS = (
    "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "eleventh",
    "twelfth",
)  # fmt: skip
_LEVELS = (
    {"kg": "0", "k": "0", "kindergarten": "0"}
    | {text: str(level) for level in range(1, 13) for text in (str(level), f"{level:02}")}
    | {f"{ordinal} grade": str(level) for level, ordinal in enumerate(_ORDINALS, start=1)}
)
_CODES = {
    "IT": ("infant/toddler",),
    "PR": ("preschool",),
    "PK": ("prekindergarten", "pre-kindergarten", "preschool/prekindergarten", "early education"),
    "TK": ("transitional kindergarten",),
    "13": ("grade 13", "thirteenth grade"),
    "PS": ("postsecondary",),
    "UG": ("ungraded",),
    "AE": ("adult education",),
    "ABE": ("adult basic education",),
    "ASE": ("adult secondary education",),
    "AdultESL": ("adult english as a second language",),
    "OT": ("other",),
    "OutOfSchool": ("out of school",),
}
"""CEDS's codes, and how Ed-Fi's descriptors name them."""
_KNOWN_CODES = {text.lower(): code for code, names in _CODES.items() for text in (code, *names)}


def grade_level(text: str, mapped: Collection[str]) -> tuple[str | None, str | None]:
    """Our level and the code of a grade level as it came; of one that nobody knows the text as the level.

    `mapped`: the codes that the tenant's profile maps, which stay as they are.
    """
    if text in mapped:
        return text, None
    level = _LEVELS.get(text.lower())
    if level is not None:
        return level, None
    code = _KNOWN_CODES.get(text.lower())
    return (text, None) if code is None else (None, code)
