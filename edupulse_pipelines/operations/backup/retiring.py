"""Which moments are kept, and throwing away the others with the contents that nothing names any more.

The rule is that of the base backups (`[backup] retention`, `keep_at_least`): within a recovery window every moment
stays, and the newest one from before it, so that the whole window can be gone back to; with a redundancy the newest so
many. A moment whose base backup Barman has thrown away can restore no database any more, and goes too. The newest
moment always stays.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from edupulse_pipelines.operations.backup import base_backups
from edupulse_pipelines.operations.backup.contents import Contents
from edupulse_pipelines.operations.backup.moments import Moment, all_moments, forget
from edupulse_pipelines.settings import Settings

_DAYS = {"DAYS": 1, "WEEKS": 7, "MONTHS": 31}


def retire(settings: Settings, contents: Contents, now: dt.datetime | None = None) -> tuple[tuple[str, ...], int]:
    """Throw away the moments that are too old; their ids, and the bytes that became free.

    While a manifest cannot be read no content is thrown away: it may name it.
    """
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
    old = [moment for moment in there if moment.id not in names]
    if any(moment.base_backup for moment in there):
        bases = {backup.id for backup in base_backups.base_backups(settings)}
        lost = [
            moment
            for moment in there[:-1]
            if moment.base_backup is not None and moment.base_backup not in bases and moment.id in names
        ]
        old += lost
    return old
