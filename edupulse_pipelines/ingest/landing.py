"""Finding what a district has delivered: date folders under the tenant's landing folder. Reads names, not contents."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass, field
from pathlib import Path

from edupulse_pipelines.errors import LandingError
from edupulse_pipelines.schema.tables import RECORD_TABLES
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.weeks import week_of_delivery

_FILE = re.compile(rf"^({'|'.join(RECORD_TABLES)})(-[^/]+)?\.csv$")
_LONGEST_NAME = 200  # bytes
_DATE_FOLDER = re.compile(r"^\d{4}-\d{2}-\d{2}$")


@dataclass(frozen=True)
class Delivery:
    """One date folder: its files by record table (in name order), and the names that no table claims."""

    delivered_on: dt.date
    path: Path
    files: dict[str, list[Path]] = field(default_factory=dict)
    unknown_files: list[str] = field(default_factory=list)

    @property
    def week(self) -> dt.date:
        """Monday of the school week that this delivery carries."""
        return week_of_delivery(self.delivered_on)


def landed_deliveries(tenant: TenantSettings) -> list[Delivery]:
    """Every delivery in the tenant's landing folder, oldest first; those of weeks still open included.

    LandingError when the folder is missing, or when a delivery lies before the tenant's `first_week`. Folders whose
    name is not a date are ignored: `ignored_folders` names them.
    """
    folder = tenant.landing
    if not folder.is_dir():
        raise LandingError(
            f"Tenant {tenant.name}: the landing folder {folder} does not exist. Deliveries are expected in "
            f"{folder}/<YYYY-MM-DD>/<table>.csv."
        )
    deliveries = []
    for path in sorted(folder.iterdir()):
        delivered_on = _delivery_date(path)
        if delivered_on is None:
            continue
        if week_of_delivery(delivered_on) < tenant.first_week:
            raise LandingError(
                f"Tenant {tenant.name}: the delivery {path} carries the week of {week_of_delivery(delivered_on)}, "
                f"before first_week = {tenant.first_week}. Set an earlier first_week, or move the folder away."
            )
        delivery = Delivery(delivered_on, path)
        for file in sorted(path.iterdir()):
            match = _FILE.match(file.name)
            if match and file.is_file() and _storable(file.name):
                delivery.files.setdefault(match.group(1), []).append(file)
            elif not file.name.startswith("."):
                delivery.unknown_files.append(file.name)
        deliveries.append(delivery)
    return deliveries


def ignored_folders(tenant: TenantSettings) -> list[str]:
    """Names in the landing folder that are not deliveries, for a warning; hidden names are left out."""
    return [
        path.name
        for path in sorted(tenant.landing.iterdir())
        if not path.name.startswith(".") and _delivery_date(path) is None
    ]


def _storable(name: str) -> bool:
    """Whether the archive and the manifest can name the file: they put a date and a hash beside its name."""
    return name.isprintable() and len(name.encode()) <= _LONGEST_NAME


def _delivery_date(path: Path) -> dt.date | None:
    if not _DATE_FOLDER.match(path.name) or not path.is_dir():
        return None
    try:
        return dt.date.fromisoformat(path.name)
    except ValueError:
        return None
