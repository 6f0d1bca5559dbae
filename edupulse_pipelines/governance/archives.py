"""The raw archives of a district, each with its line in the manifest, and whose rows they hold.

Refused files and kept bundles, which lie beside them, are in `kept_files`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from sqlalchemy.engine import Connection

from edupulse_pipelines.encryption.archives import opened_archive
from edupulse_pipelines.ingest.archived_file import archive_facts, archive_path, archived_header
from edupulse_pipelines.ingest.erased_rows import ErasedRows
from edupulse_pipelines.schema.source_formats import format_of
from edupulse_pipelines.schema.tables import RECORD_TABLES
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.storage import manifest
from edupulse_pipelines.storage.erased import ErasedKeys
from edupulse_pipelines.storage.manifest import Entry
from edupulse_pipelines.storage.work import Work


@dataclass(frozen=True)
class Archive:
    """One archive on disk; `entry`: its line in the manifest, None for a file that no line names."""

    path: Path
    table: str
    delivered_on: dt.date
    entry: Entry | None

    @property
    def converted(self) -> bool:
        """Whether a converter has written its rows, so that they have our names of columns."""
        source = archive_facts(self.path).get("source_format") or (self.entry.source_format if self.entry else None)
        return format_of(source).converted

    def filter(self, keys: ErasedKeys, tenant: TenantSettings, lines: Collection[int] = ()) -> ErasedRows:
        """What tells whose its rows are; `lines` are the student's, whatever they say."""
        return ErasedRows(
            keys,
            self.table,
            archived_header(self.path),
            tenant.profile,
            converted=self.converted,
            delivered_on=self.delivered_on,
            lines=lines,
        )


def archives(connection: Connection, work: Work, raw_dir: Path, keys: ErasedKeys | None = None) -> list[Archive]:
    """Every archive of the tenant on disk, by table, delivery and name.

    keys: of an erasure that may have been stopped after it had given files other names.
    """
    entries: dict[Path, Entry] = {}
    for table in RECORD_TABLES:
        for entry in manifest.every_file(connection, work, table):
            for name in {entry.file_name, keys.file_name(entry.file_name) if keys is not None else entry.file_name}:
                path = archive_path(raw_dir, work.tenant, table, entry.delivered_on, name, entry.sha256)
                entries[path] = entry
    return archives_below(raw_dir, work.tenant, entries)


def archives_below(raw_dir: Path, tenant: str, entries: Mapping[Path, Entry] | None = None) -> list[Archive]:
    """Every archive of a district on disk; `entries`: by path their lines in the manifest, where there is one."""
    return [
        Archive(path, table, dt.date.fromisoformat(path.parent.name), (entries or {}).get(path))
        for table in RECORD_TABLES
        for path in sorted((raw_dir / tenant / table).glob("*/*.parquet"))
    ]


def rows_of(archive: Archive, keys: ErasedKeys, tenant: TenantSettings) -> pa.Table | None:
    """The rows of an archive that `keys` recognises; None when there are none."""
    rows = archive.filter(keys, tenant)
    parts = []
    with opened_archive(archive.path) as stored:
        for group in range(stored.num_row_groups):
            part = stored.read_row_group(group)
            mine = rows.among(part)
            if mine.any():
                parts.append(part.filter(pa.array(mine)))
    return pa.concat_tables(parts) if parts else None


def names_in(
    archive: Archive, numbers: Collection[str], keys: ErasedKeys, tenant: TenantSettings
) -> Iterator[tuple[str, str, str]]:
    """(number, first name, last name) of every row of an archive of `students` that has one of these numbers."""
    rows = archive.filter(keys, tenant)
    with opened_archive(archive.path) as stored:
        for group in range(stored.num_row_groups):
            yield from rows.names_beside(stored.read_row_group(group, columns=rows.name_columns), numbers)
