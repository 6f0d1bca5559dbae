"""What lies in a landing folder and is not read: names that nobody understands, and folders that are no deliveries.

A delivery of which nothing was read is no success, and neither is a folder or a file beside the deliveries that looks
like one. Nothing is opened here; what names say is known by `sources.file_names`.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from edupulse_pipelines.ingest.landing import ignored_folders, landed_deliveries, readable
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.sources.file_names import name_outside, read_name

_BEGINS_WITH_A_DATE = re.compile(r"[0-9]{4}[-_.]?[0-9]{2}[-_.]?[0-9]{2}")


@dataclass(frozen=True)
class LeftAlone:
    """names: files of deliveries that nobody understands, and what lies beside the deliveries, to be shown.

    unread: those of which something was meant to be read: deliveries without a single file that was understood, and
    folders and files beside them that look like a delivery.
    """

    names: list[str]
    unread: list[str]

    @property
    def advice(self) -> str:
        """What is wrong with the unread ones, in a sentence; empty when there are none."""
        if not self.unread:
            return ""
        return (
            f"Nothing was read of {', '.join(self.unread[:5])}{' …' if len(self.unread) > 5 else ''}: a delivery is a "
            "folder named by its date alone, such as 2026-09-07, and its files are named after tables, such as "
            "students.csv or attendance.xlsx."
        )


def left_alone(tenant: TenantSettings, weeks: Collection[dt.date]) -> LeftAlone:
    """What is left alone of the deliveries of `weeks` (Mondays), and beside all deliveries.

    LandingError as `landed_deliveries` raises it.
    """
    landed = landed_deliveries(tenant)
    deliveries = [delivery for delivery in landed if delivery.week in weeks]
    names = [f"{delivery.delivered_on}/{name}" for delivery in deliveries for name in delivery.unknown_files]
    unread = [str(delivery.delivered_on) for delivery in deliveries if delivery.unknown_files and not delivery.files]
    known = {str(delivery.delivered_on) for delivery in landed}
    with readable(tenant):
        beside = [
            name_outside(path.name, place)
            for place, path in enumerate(sorted(tenant.landing.iterdir()), start=1)
            if path.name not in known and not path.name.startswith(".") and _looks_like_a_delivery(path)
        ]
    return LeftAlone([*names, *ignored_folders(tenant)], [*unread, *beside])


def _looks_like_a_delivery(path: Path) -> bool:
    if path.is_symlink():
        return False
    dated = _BEGINS_WITH_A_DATE.match(path.name) is not None
    if path.is_file():
        return dated or _is_a_tables(path)
    if not path.is_dir():
        return False
    files = [inside for inside in path.iterdir() if inside.is_file() and not inside.name.startswith(".")]
    return bool(files) and (dated or any(_is_a_tables(inside) for inside in files))


def _is_a_tables(path: Path) -> bool:
    named = read_name(path.name)
    return named is not None and named.table is not None
