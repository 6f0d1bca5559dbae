"""What the columns of a file that was delivered are: as which declared ones they are read, and what they may hold.

Told of the profile that holds now. A column that no declared one is read from is the district's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edupulse_pipelines.schema.declaration import Column
from edupulse_pipelines.schema.delivery import DELIVERED
from edupulse_pipelines.settings import ProfileSettings
from edupulse_pipelines.sources.profiles import canonical_names
from edupulse_pipelines.sources.records import RefusedFile


def read_as(header: Sequence[str], table: str, profile: ProfileSettings, *, converted: bool) -> Mapping[str, Column]:
    """By its name in the file the declared column that each is read as; those that none is read from are not there.

    converted: a converter has written the file, so that it has our names. Of a table that nobody delivers (quarantined
    predictions of version 1.0) there are none.
    """
    if table not in DELIVERED:
        return {}
    names = list(header)
    if not converted:
        try:
            names = canonical_names(names, table, profile)
        except RefusedFile:  # two columns have one name under the profile of now: the names as they stand
            names = list(header)
    declared = {column.name: column for column in DELIVERED[table].columns}
    return {theirs: declared[ours] for theirs, ours in zip(header, names, strict=True) if ours in declared}


def is_written_by_people(column: Column | None, text: str) -> bool:
    """Whether a text of a file may name somebody. column: as which it is read; None: the district's own column.

    What is no text by its declaration is a number or a date, unless letters stand there.
    """
    if column is None or column.written_by_people:
        return True
    return column.type not in ("text", "guid") and any(letter.isalpha() for letter in text)
