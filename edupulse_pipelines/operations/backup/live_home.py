"""What the live home knows of what came after a moment: deliveries and erasures. A restore asks it, and only reads.

Where its database cannot be asked, the notes of erasures that lie in the home say who was erased, if the home is that
of the backups.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edupulse_pipelines.errors import EduPulseError
from edupulse_pipelines.hashing import hash_of_file
from edupulse_pipelines.operations.backup.database_facts import read_facts
from edupulse_pipelines.operations.backup.moments import Moment
from edupulse_pipelines.settings import Settings
from edupulse_pipelines.storage.database import Database
from edupulse_pipelines.storage.engine import is_absent
from edupulse_pipelines.storage.erased import FOLDER, KEY_FILE


@dataclass(frozen=True)
class Live:
    """What the live home knows: the deliveries of its database, and the erasures; None where it cannot be asked."""

    deliveries: dict[str, dict[str, list[str]]] | None = None
    erased: set[str] | None = None


def ask_live(settings: Settings, newest: Moment | None) -> Live:
    """Ask the database of the live home; where it cannot be asked, the notes of erasures in the home.

    newest: the newest moment there is. A home that was made anew, or brought back to an earlier time, knows less than
    it, and says nothing of what came after it.
    """
    if not settings.home.is_dir():
        return Live()
    if is_absent(settings.database_url):
        return Live(erased=_noted(settings, newest))
    try:
        tenants = {*settings.tenants, *(newest.deliveries if newest is not None else ())}
        facts = read_facts(Database(settings.database_url, for_keeper=True), tenants)
    except EduPulseError:
        return Live(erased=_noted(settings, newest))
    there = ids_of(facts.erasures)
    if newest is not None and (ids_of(newest.erasures) - there or (facts.last_change or 0) < (newest.last_change or 0)):
        return Live()
    return Live(facts.deliveries, there) if facts.revision is not None else Live()


def _noted(settings: Settings, newest: Moment | None) -> set[str] | None:
    """The erasures that are noted in the live home; None unless it is that of the backups, by the key of its notes.

    An erasure is noted there before anything is taken away.
    """
    key = newest.file(KEY_FILE) if newest is not None else None
    ours = settings.home / KEY_FILE
    if newest is None or key is None or not ours.is_file() or hash_of_file(ours) != key.sha256:
        return None
    noted = noted_in(settings)
    return None if ids_of(newest.erasures) - noted else noted


def noted_in(settings: Settings) -> set[str]:
    """The ids of the erasures that the home has notes of."""
    return {path.stem for path in (settings.home / FOLDER).glob("*/*.json")}


def ids_of(erasures: Mapping[str, list[str]]) -> set[str]:
    """The ids of erasures that are told by district."""
    return {identifier for ids in erasures.values() for identifier in ids}
