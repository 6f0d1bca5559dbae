"""How files write yes and no. Plain data; what is neither is not understood, and no answer."""

from __future__ import annotations

YES = ("true", "yes", "y", "t", "1")
NO = ("false", "no", "n", "f", "0")
"""In any case of letters."""
_ANSWERS = dict.fromkeys(YES, True) | dict.fromkeys(NO, False)


def answer(text: str) -> bool | None:
    """What the text answers; None when it is neither yes nor no."""
    return _ANSWERS.get(text.lower())


def spellings(words: tuple[str, ...]) -> tuple[str, ...]:
    """The words as they are usually written: in small letters, in capitals, with one capital."""
    return tuple(dict.fromkeys(spelled for word in words for spelled in (word, word.upper(), word.capitalize())))
