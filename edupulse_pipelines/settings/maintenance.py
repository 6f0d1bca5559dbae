"""When the database's upkeep does something, how gently, and what it warns of."""

from __future__ import annotations

import stat
from pathlib import Path

from pydantic import Field

from edupulse_pipelines.errors import ConfigurationError
from edupulse_pipelines.settings.database_url import checked_database_url
from edupulse_pipelines.settings.section import Section

_GIB = 2**30


class MaintenanceSettings(Section):
    """`[maintenance]`: what `edupulse db maintain` and the job `maintenance` go by."""

    dead_rows: float = Field(0.1, gt=0, lt=1)
    """Share of a table's rows that are dead; above it the table is vacuumed."""
    changed_rows: float = Field(0.05, gt=0, lt=1)
    """Share of a table's rows that changed since it was analysed; above it, it is analysed."""
    transaction_age: int = Field(150_000_000, ge=100_000, le=1_900_000_000)
    """Transactions since a table's oldest row was frozen; above it the table is vacuumed. PostgreSQL itself does it at
    200 million, whatever else the server has to do then."""
    index_bloat: float = Field(0.3, gt=0, lt=1)
    """Share of an index that a new one would not have; above it, it is built anew."""
    index_at_least_mib: float = Field(8.0, ge=0)
    """Smaller indexes are left as they are."""
    free_pages: float = Field(0.25, gt=0, lt=1)
    """Share of a SQLite file that is free; above it the file is written anew."""
    pause_seconds: float = Field(1.0, ge=0)
    """Between one table or index and the next."""
    lock_seconds: float = Field(5.0, gt=0)
    """So long a lock is waited for, and others may have to wait behind us; then the table is left for the next time."""
    patience_minutes: float = Field(10.0, ge=0)
    """So long it is waited until nobody loads into a table; then it is left for the next time."""
    keep_free_gib: float = Field(1.0, ge=0)
    """What has to stay free on a disk beside what the work needs for a time."""
    server_disk_gib: float | None = Field(None, gt=0)
    """What database and write-ahead log may take on the server, where its disk cannot be looked at from here."""
    days_until_full: int = Field(60, ge=1)
    """A disk that would be full in fewer days, as it grows, is told."""
    keeper_url_file: Path | None = None
    """A file with the keeper's URL, for the weekly job alone; readable by nobody but this user."""

    def keepers_url(self, beside: Path) -> str | None:
        """The URL in `keeper_url_file`, which may be named as it lies beside a folder; None where none is named.

        ConfigurationError for a file that cannot be read, that others may read, or that holds no URL.
        """
        if self.keeper_url_file is None:
            return None
        file = beside / self.keeper_url_file.expanduser()
        named = f"[maintenance] keeper_url_file: {file}"
        try:
            if stat.S_IMODE(file.stat().st_mode) & 0o077:
                raise ConfigurationError(f"{named} may be read by others: chmod 600 it.")
            given = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{named} cannot be read: {getattr(error, 'strerror', 'no text')}.") from None
        if not given:
            raise ConfigurationError(f"{named} is empty.")
        return checked_database_url(given, named)

    @property
    def keep_free_bytes(self) -> int:
        """`keep_free_gib` in bytes."""
        return int(self.keep_free_gib * _GIB)

    @property
    def server_disk_bytes(self) -> int | None:
        """`server_disk_gib` in bytes."""
        return None if self.server_disk_gib is None else int(self.server_disk_gib * _GIB)

    @property
    def index_at_least_bytes(self) -> int:
        """`index_at_least_mib` in bytes."""
        return int(self.index_at_least_mib * 2**20)
