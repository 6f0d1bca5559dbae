"""What a declared object is: something in the database that is replaced as a whole when its declaration changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class DeclaredObject:
    """A comment, a function, a trigger, a sequence, or a call of a function that puts something on a table.

    `guard` turns on row-level security for a table, `call` puts triggers on its partitions.

    name: as the database knows it; of a function with the names and types of its arguments, such as
    `f(parent text, month date)`. table: the table it is on; None for a function, which is on none. statement: what puts
    it there, in the place of one that is there already. (Of a trigger on SQLite, which knows no replacing, only what
    makes it.)
    """

    kind: Literal["comment", "function", "trigger", "guard", "sequence", "call"]
    name: str
    table: str | None
    statement: str
