"""The bundles that rows were converted from, kept once each: `<raw>/<tenant>/originals/<day>/NAME.<hash>.zip`.

A OneRoster bundle of changes (delta) is read after those before it, which are taken from here when they have been
cleared away from the landing folder. How a file is kept is in `kept_as_it_came`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from edupulse_pipelines.errors import PermanentError
from edupulse_pipelines.ingest.archived_file import remove_left_behind
from edupulse_pipelines.ingest.kept_as_it_came import keep, readable_copy
from edupulse_pipelines.ingest.landing import Delivery
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.sources.landed_files import LandedFile, bundles_kept


class KeptBundles:
    """The kept bundles of a district. Those that are encrypted can be read in plain until the block is left."""

    def __init__(self, folder: Path, tenant: TenantSettings, deliveries: Sequence[Delivery]) -> None:
        """`folder`: of the district in the raw archive; `deliveries`: all that are landed."""
        self._folder = folder / "originals"
        self._tenant = tenant
        self._deliveries = deliveries
        self._copies = ExitStack()

    def __enter__(self) -> KeptBundles:
        """Begin; what processes that were killed have left in plain is removed, of whatever delivery it is."""
        for folder in self._folder.glob("*/"):
            remove_left_behind(folder)
        return self

    def __exit__(self, *_raised: object) -> None:
        self._copies.close()

    def keep(self, delivery: Delivery, file: LandedFile, sha256: str) -> list[Path]:
        """Keep the bundle itself, once for all the tables it has rows for; the file that was made, if any."""
        name = file.paths[0].stem if len(file.paths) == 1 else "bundle"
        kept = self._folder / delivery.delivered_on.isoformat() / f"{name}.{sha256[:16]}.zip"
        if kept.exists():
            return []
        keep(file, kept)
        return [kept]

    def before(self, delivery: Delivery) -> list[LandedFile]:
        """The bundles delivered before, oldest first, from the last one on that holds everything.

        Those that have been cleared away from the landing folder are taken from what was kept of them.
        """
        kept: dict[dt.date, list[Path]] = {}
        for path in sorted(self._folder.glob("*/*.zip")):
            kept.setdefault(dt.date.fromisoformat(path.parent.name), []).append(path)
        landed: dict[dt.date, list[LandedFile]] = {}
        for other in self._deliveries:
            bundles = [file for files in other.files.values() for file in files if file.is_bundle]
            if bundles:
                landed[other.delivered_on] = bundles
        before: list[LandedFile] = []
        for day in sorted((day for day in {*kept, *landed} if day < delivery.delivered_on), reverse=True):
            of_day = landed.get(day) or [file for path in kept[day] for file in self._readable(path)]
            # Of one bundle there is a landed file for each table.
            distinct = {file.contents: file for file in of_day if file.format == "oneroster"}
            before[:0] = distinct.values()
            if any(not file.is_delta for file in distinct.values()):
                break
        return before

    def _readable(self, path: Path) -> list[LandedFile]:
        """The bundle that was kept in a zip, for each of its tables. PermanentError when it is not the one any more."""
        copy = self._copies.enter_context(readable_copy(path))
        bundles = bundles_kept(copy, self._tenant.files)
        sha256 = path.suffixes[-2].removeprefix(".")  # the beginning of it, see `keep`
        if not bundles or not bundles[0].fingerprint()[0].startswith(sha256):
            raise PermanentError(
                f"The bundle that was kept of the delivery of {path.parent.name} is damaged (in {path.parent}), and "
                "the changes delivered after it cannot be read without it. Land that delivery again under its date, or "
                "restore the raw archive."
            )
        return bundles
