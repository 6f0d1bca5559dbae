"""Whether a text about one student names another one, so that somebody has to redact it before it is given out."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.governance.person import Person, words_of
from edupulse_pipelines.schema.sqlalchemy_tables import students
from edupulse_pipelines.storage.work import Work

_SHORTEST_NUMBER = 4  # digits; a shorter one is any number in a sentence
_SHORTEST_NAME = 2


class OtherStudents:
    """The names and numbers of a tenant's students but one.

    Every first name, last name or number of another student counts as naming one, also where it is an everyday word:
    a person looks at the text then, and nothing is given out by mistake.
    """

    def __init__(self, connection: Connection, work: Work, person: Person) -> None:
        column = students.c
        query = sa.select(column.id, column.district_id, column.first_name, column.last_name)
        own = {word for pair in person.names for name in pair for word in words_of(name)}
        own |= {word for number in person.numbers for word in words_of(number)}
        self._words: set[str] = set()
        for identifier, number, first, last in connection.execute(query.where(column.tenant_id == work.tenant)):
            if identifier in person.ids:
                continue
            if len(number) >= _SHORTEST_NUMBER:
                self._words |= words_of(number)
            self._words |= {word for name in (first, last) for word in words_of(name) if len(word) >= _SHORTEST_NAME}
        self._words -= own

    def are_named_in(self, text: str) -> bool:
        """Whether one of them is named."""
        return not self._words.isdisjoint(words_of(text))
