"""Which landed files differ from what the manifest has for them: new ones, and those whose content is another by now.

The content decides. So that years of deliveries need not be read every week, a file that was compared once is not read
again while the file system says that nobody has touched it; what it says of the last moments before is not trusted,
because two changes of one moment look alike.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from edupulse_pipelines.ingest.landing import Delivery, landed_deliveries
from edupulse_pipelines.schema.tables import REFUSED
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.sources.landed_files import LandedFile
from edupulse_pipelines.storage import manifest
from edupulse_pipelines.storage.erased import ErasedKeys, read_erased
from edupulse_pipelines.storage.work import Work

SETTLED_SECONDS = 2.0
"""From then on a file's times tell any further change: no file system counts in larger steps."""


@dataclass(frozen=True)
class ChangedFile:
    """A landed file of one table; `was`: what had become of the content before it, None for a name not seen yet."""

    delivery: Delivery
    table: str
    file: LandedFile
    was: str | None

    @property
    def name(self) -> str:
        """Delivery and file name."""
        return f"{self.delivery.delivered_on}/{self.file.name}"


def changed_files(work: Work, deliveries: Iterable[Delivery], tables: Iterable[str] | None = None) -> list[ChangedFile]:
    """The files of these deliveries (of these tables) that differ from the manifest; refused ones first, then by date.

    Notes of each that was read and is the same how the file system describes it, so that it is not read again.
    """
    with work.reading() as connection:
        known = manifest.current_contents(connection, work)
    wanted = None if tables is None else set(tables)
    changed: list[ChangedFile] = []
    seen: dict[uuid.UUID, str] = {}
    for delivery in deliveries:
        for table, files in delivery.files.items():
            for file in files if wanted is None or table in wanted else ():
                current = known.get((table, delivery.delivered_on, file.name))
                if current is None:
                    changed.append(ChangedFile(delivery, table, file, None))
                    continue
                try:
                    began, described = time.time(), _described(file)
                    if described == current.landed_state:
                        continue
                    if file.fingerprint()[0] != current.sha256:
                        changed.append(ChangedFile(delivery, table, file, current.status))
                    elif _is_settled(file, began) and described == _described(file):
                        seen[current.id] = described
                except OSError:  # what was read once and cannot be now is no news
                    continue
    if seen:
        with work.writing() as connection:
            manifest.note_landed(connection, seen)
    return sorted(changed, key=lambda one: (one.was != REFUSED, one.delivery.delivered_on, one.table, one.file.name))


def renamed(deliveries: Iterable[Delivery], erased: ErasedKeys) -> list[Delivery]:
    """The deliveries with other names for the files whose own names an erased student."""
    if not erased:
        return list(deliveries)
    return [
        replace(
            delivery,
            files={
                table: [replace(file, name=erased.file_name(file.name)) for file in files]
                for table, files in delivery.files.items()
            },
        )
        for delivery in deliveries
    ]


def changed_weeks(work: Work, tenant: TenantSettings, until: dt.date, home: Path) -> list[dt.date]:
    """The weeks up to `until` (Mondays, ascending) with a landed file that differs from what the manifest has.

    Such a delivery, or its correction, came after its week's run, which nobody will repeat by chance. LandingError as
    `landed_deliveries` raises it.
    """
    with work.reading() as connection:
        erased = read_erased(connection, work, home)
    deliveries = renamed((delivery for delivery in landed_deliveries(tenant) if delivery.week <= until), erased)
    return sorted({changed.delivery.week for changed in changed_files(work, deliveries)})


def _described(file: LandedFile) -> str:
    """What the file system says of the files, in one text: any change of one of them changes it."""
    return hashlib.sha256(json.dumps(file.state()).encode()).hexdigest()


def _is_settled(file: LandedFile, moment: float) -> bool:
    """Whether nothing had touched the files for a while before `moment` (seconds since 1970)."""
    newest = max(max(stat.st_mtime, stat.st_ctime) for path in file.paths for stat in [path.stat()])
    return newest < moment - SETTLED_SECONDS
