"""Which moments are kept, and throwing away the others with the contents that nothing names any more.

The rule is that of the base backups (`[backup] retention`, `keep_at_least`): within a recovery window every moment
stays, and the newest one from before it, so that the whole window can be gone back to; with a redundancy the newest so
many. What base backups there are is not asked: a moment whose own is gone still has the files, and the database may be
restored to its place from an earlier one. The newest moment always stays.

Who reads contents keeps them by `not_retired` meanwhile.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from edupulse_pipelines.file_locks import if_free, shared
from edupulse_pipelines.operations.backup.contents import Contents
from edupulse_pipelines.operations.backup.moments import Moment, all_moments, forget
from edupulse_pipelines.settings import Settings

_LOCK = "retiring.lock"
_DAYS = {"DAYS": 1, "WEEKS": 7, "MONTHS": 31}


def retire(settings: Settings, contents: Contents, now: dt.datetime | None = None) -> tuple[tuple[str, ...], int]:
    """Throw away the moments that are too old; their ids, and the bytes that became free.

    While a manifest cannot be read no content is thrown away: it may name it. While somebody reads (`not_retired`)
    nothing is: the next time it goes.
    """
    with if_free(settings.backup_dir / _LOCK) as free:
        return _retire(settings, contents, now) if free else ((), 0)


@contextmanager
def not_retired(settings: Settings) -> Iterator[None]:
    """Keep moments and contents from being thrown away for the block; in a folder that is read-only nobody does."""
    if not os.access(settings.backup_dir, os.W_OK):
        yield
        return
    with shared(settings.backup_dir / _LOCK):
        yield


def _retire(settings: Settings, contents: Contents, now: dt.datetime | None) -> tuple[tuple[str, ...], int]:
    there, unreadable = all_moments(settings)
    old = too_old(settings, there, now or dt.datetime.now(dt.UTC))
    for moment in old:
        forget(settings, moment.id)
    if unreadable:
        return tuple(moment.id for moment in old), 0
    gone = {moment.id for moment in old}
    wanted = {file.sha256 for moment in there if moment.id not in gone for file in moment.files}
    return tuple(sorted(gone)), contents.remove_all_but(wanted)


def too_old(settings: Settings, there: Sequence[Moment], now: dt.datetime) -> list[Moment]:
    """Those of the moments, oldest first, that the settings no longer keep."""
    least = settings.backup.keep_at_least
    words = settings.backup.retention.split()
    if words[0] == "REDUNDANCY":
        kept = there[-max(int(words[1]), least) :]
    else:
        begin = now - dt.timedelta(days=int(words[3]) * _DAYS[words[4]])
        before = [moment for moment in there if moment.at < begin]
        within = [moment for moment in there if moment.at >= begin]
        kept = [*before[-1:], *within]
        if len(kept) < least:
            kept = list(there[-least:])
    names = {moment.id for moment in kept}
    return [moment for moment in there if moment.id not in names]
