"""Who a row of students says a child is, and whether that is another child than the one before.

Letters are compared as people do: case, accents, blanks and hyphens are no difference. A date of birth that stands for
none (`missing_date_of_birth`) tells nothing.
"""

from __future__ import annotations

import datetime as dt
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

NAMED_BY = ("first_name", "last_name", "date_of_birth")
"""The columns of students that say who a child is."""


@dataclass(frozen=True)
class Identity:
    """First name, last name and date of birth (None: not known), as they are compared."""

    first_name: str
    last_name: str
    born: dt.date | None

    @classmethod
    def of(cls, row: Mapping[str, Any], marker: object) -> Identity:
        """The identity in a row of students; `marker`: the date that stands for a missing date of birth."""
        born = row["date_of_birth"]
        return cls(folded(row["first_name"]), folded(row["last_name"]), None if born == marker else born)

    def is_another(self, other: Identity) -> bool:
        """Whether everything that is known of both differs: then it is another child."""
        return (
            self.first_name != other.first_name
            and self.last_name != other.last_name
            and None not in (self.born, other.born)
            and self.born != other.born
        )


def folded(name: str) -> str:
    """A name as it is compared: letters alone, without case and accents."""
    plain = unicodedata.normalize("NFKD", name.casefold())
    return "".join(letter for letter in plain if letter.isalnum()) or name.strip()
