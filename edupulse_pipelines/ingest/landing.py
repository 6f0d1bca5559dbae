"""Finding what a district has delivered: date folders under the tenant's landing folder, and their own manifests.

What a file in a delivery is, is known by `sources.landed_files`; its contents are read by `archive`.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edupulse_pipelines.errors import LandingError
from edupulse_pipelines.schema.tables import RECORD_TABLES
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.sources.file_names import name_outside, path_outside
from edupulse_pipelines.sources.landed_files import DELIVERY_MANIFEST, LandedFile, landed_files
from edupulse_pipelines.sources.plain_files import open_plain
from edupulse_pipelines.weeks import week_of_delivery

_LARGEST_MANIFEST = 1 << 20  # bytes; it says a few words about each table
_DATE_FOLDER = re.compile(r"^\d{4}-\d{2}-\d{2}$")


@dataclass(frozen=True)
class Delivery:
    """One date folder: its files by record table (in name order), and the names that nobody understands.

    `snapshots`: the tables of which the delivery says that it holds every record, with the days (`from` and `to`, ISO)
    for which it says so; `no_snapshots`: those of which it says that it does not, whatever the source itself says.
    """

    delivered_on: dt.date
    path: Path
    files: dict[str, list[LandedFile]] = field(default_factory=dict)
    unknown_files: list[str] = field(default_factory=list)
    snapshots: dict[str, dict[str, str]] = field(default_factory=dict)
    no_snapshots: frozenset[str] = frozenset()

    @property
    def week(self) -> dt.date:
        """Monday of the school week that this delivery carries."""
        return week_of_delivery(self.delivered_on)


def landed_deliveries(tenant: TenantSettings) -> list[Delivery]:
    """Every delivery in the tenant's landing folder, oldest first; those of weeks still open included.

    LandingError when the folder is missing or cannot be read, when a delivery lies before the tenant's `first_week`, or
    when its `manifest.json` is wrong. Names that are no deliveries are left alone: `ignored_folders` tells them.
    """
    folder = tenant.landing
    with readable(tenant):
        if not folder.is_dir():
            raise LandingError(
                f"Tenant {tenant.name}: the landing folder {folder} does not exist. Deliveries are expected in "
                f"{folder}/<YYYY-MM-DD>/<table>.csv.",
                tenant=tenant.name,
            )
        dates = {path: delivered_on for path in sorted(folder.iterdir()) if (delivered_on := _delivery_date(path))}
        return [_delivery(tenant, path, delivered_on) for path, delivered_on in dates.items()]


@contextmanager
def readable(tenant: TenantSettings) -> Iterator[None]:
    """Turn what the system says when something in the landing folder cannot be read into a LandingError that names it.

    Every other error of the system stays as it is.
    """
    try:
        yield
    except OSError as error:
        if not error.filename or not Path(os.fsdecode(error.filename)).is_relative_to(tenant.landing):
            raise
        raise LandingError(
            f"Tenant {tenant.name}: {_told(error.filename, tenant)} cannot be read ({error.strerror}): let the "
            "delivery finish, or put it right, and run again.",
            tenant=tenant.name,
        ) from None


def _told(path: str | bytes, tenant: TenantSettings) -> str:
    try:
        return path_outside(Path(os.fsdecode(path)), tenant.landing)
    except OSError:  # not even the folder beside it can be listed
        return str(tenant.landing)


def _delivery(tenant: TenantSettings, path: Path, delivered_on: dt.date) -> Delivery:
    """The delivery in the folder `path`. LandingError as `landed_deliveries` says."""
    if week_of_delivery(delivered_on) < tenant.first_week:
        raise LandingError(
            f"Tenant {tenant.name}: the delivery {path} carries the week of {week_of_delivery(delivered_on)}, "
            f"before first_week = {tenant.first_week}. Set an earlier first_week, or move the folder away.",
            tenant=tenant.name,
        )
    files, unknown = landed_files(path, tenant)
    declared = _snapshots(path / DELIVERY_MANIFEST, files, tenant.first_week, delivered_on)
    return Delivery(
        delivered_on,
        path,
        files,
        unknown,
        snapshots={table: days for table, days in declared.items() if days is not None},
        no_snapshots=frozenset(table for table, days in declared.items() if days is None),
    )


def ignored_folders(tenant: TenantSettings) -> list[str]:
    """What lies in the landing folder and is no delivery, for a warning; hidden names are left out.

    A file or a link says what to do with it: nobody puts one there to be left alone. LandingError when the folder
    cannot be read.
    """
    with readable(tenant):
        return [
            _ignored(tenant, path, name_outside(path.name, place))
            for place, path in enumerate(sorted(tenant.landing.iterdir()), start=1)
            if not path.name.startswith(".") and _delivery_date(path) is None
        ]


def _ignored(tenant: TenantSettings, path: Path, name: str) -> str:
    if path.is_symlink():
        return f"{name} (a link, and links are not followed: land the folder itself)"
    if path.is_dir():
        return name
    return (
        f"{name} (a file: move it into a folder named after its delivery date, such as "
        f"{tenant.landing.name}/{dt.date.today()}/{name if name == path.name else 'students.csv'})"
    )


def _snapshots(
    manifest: Path, files: Mapping[str, list[LandedFile]], first_week: dt.date, delivered_on: dt.date
) -> dict[str, dict[str, str] | None]:
    """What the manifest says of the tables: the days of which the delivery holds every record, None for no snapshot.

    LandingError, which names file and key, when the manifest is not what it may be.
    """
    if not os.path.lexists(manifest):
        return {}
    declared = _declared_snapshots(manifest, files)
    whole = {"from": first_week.isoformat(), "to": delivered_on.isoformat()}
    snapshots: dict[str, dict[str, str] | None] = {}
    for table, days in declared.items():
        key = f"{manifest}: snapshot.{_key(table)}"
        if table not in RECORD_TABLES:
            raise LandingError(f"{key}: no table of that name ({', '.join(RECORD_TABLES)}).")
        if days is False:
            snapshots[table] = None
            continue
        if table not in files:
            # Taken at its word, it would take back every record there is.
            raise LandingError(
                f"{key}: the delivery has no file of {table}; if there are no records, deliver one with its header row."
            )
        snapshots[table] = whole if days is True else _days(key, days, whole)
    return snapshots


def _key(name: str) -> str:
    """A key of the manifest as it may be told."""
    told = name_outside(name, 1)
    return told if told == name else "…"


def _declared_snapshots(manifest: Path, files: Mapping[str, list[LandedFile]]) -> dict[str, Any]:
    """The manifest's `snapshot` by table; `true` stands for every table that the delivery has files for."""
    with open_plain(manifest) as stream:
        content = stream.read(_LARGEST_MANIFEST + 1)
    if len(content) > _LARGEST_MANIFEST:
        raise LandingError(f"{manifest}: larger than 1 MiB; it says no more than which tables are snapshots.")
    try:
        document = json.loads(content.decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        raise LandingError(f"{manifest}: line {error.lineno}: not valid JSON ({error.msg}).") from None
    except UnicodeDecodeError:
        raise LandingError(f"{manifest}: not valid JSON (not UTF-8).") from None
    except RecursionError:
        raise LandingError(f"{manifest}: brackets are nested too deeply.") from None
    except ValueError:  # Python refuses to read an integer of thousands of digits
        raise LandingError(f"{manifest}: holds a number that is too long to be read.") from None
    if not isinstance(document, dict):
        raise LandingError(f'{manifest}: must be an object such as {{"snapshot": true}}.')
    unknown = sorted(set(document) - {"snapshot"})
    if unknown:
        raise LandingError(f"{manifest}: unknown key {_key(unknown[0])!r}; only 'snapshot' is known.")
    declared = document.get("snapshot", {})
    if isinstance(declared, bool):
        return dict.fromkeys(files, declared)
    if not isinstance(declared, dict):
        raise LandingError(f"{manifest}: snapshot: must be true, false, or an object with tables.")
    return declared


def _days(key: str, given: Any, whole: Mapping[str, str]) -> dict[str, str]:
    """The days that a table's snapshot covers: those that are given, else from the first week to the delivery."""
    if not isinstance(given, dict):
        raise LandingError(f"{key}: must be true, false, or an object with 'from' and 'to'.")
    for name, day in given.items():
        if name not in whole:
            raise LandingError(f"{key}: unknown key {_key(name)!r}; only 'from' and 'to' are known.")
        if not _is_date(day):
            raise LandingError(f"{key}.{name}: not a date such as {whole['to']}.")
    held = {**whole, **given}
    if held["from"] > held["to"]:
        raise LandingError(f"{key}: 'from' ({held['from']}) lies after 'to' ({held['to']}).")
    return held


def _is_date(value: Any) -> bool:
    if not isinstance(value, str) or not _DATE_FOLDER.match(value):
        return False
    try:
        dt.date.fromisoformat(value)
    except ValueError:
        return False
    return True


def _delivery_date(path: Path) -> dt.date | None:
    if not _is_date(path.name) or path.is_symlink() or not path.is_dir():
        return None
    return dt.date.fromisoformat(path.name)
