"""Taking rows out of what lies beside the tables: archives, refused files, kept bundles, and the quarantine.

Whose rows they are is known by keys (`storage.erased`); who is taken away, and what of the tables, is decided by
`erasure` and `retention`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.engine import Connection

from edupulse_pipelines.governance import kept_files
from edupulse_pipelines.governance.archives import Archive
from edupulse_pipelines.governance.person import Person
from edupulse_pipelines.governance.quarantined import quarantined_rows
from edupulse_pipelines.ingest.archived_file import (
    ERASED_ROWS,
    archive_facts,
    hash_of_archive,
    rewrite_archive,
    temporary_beside,
    unfinished_files,
)
from edupulse_pipelines.ingest.kept_as_it_came import encrypt_kept
from edupulse_pipelines.schema.sqlalchemy_tables import quarantined_records
from edupulse_pipelines.schema.tables import RECORD_TABLES
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.sources.landed_files import bundles_kept
from edupulse_pipelines.storage import manifest
from edupulse_pipelines.storage.erased import ErasedKeys
from edupulse_pipelines.storage.work import Work

Lines = dict[tuple[str, str], set[int]]
"""By table and content (hash) lines of quarantined rows."""


@contextmanager
def rewritten_without(
    archives: Sequence[Archive], keys: ErasedKeys, tenant: TenantSettings, lines: Lines
) -> Iterator[dict[Path, Path]]:
    """By archive that holds rows which `keys` recognises what it would be without, under a temporary name beside it.

    lines: of rows that are to go whatever they say. What has not been moved into place is removed in the end.
    """
    rewritten: dict[Path, Path] = {}
    try:
        for archive in archives:
            of_file = lines.get((archive.table, archive.entry.sha256), set()) if archive.entry is not None else set()
            temporary = rewrite_archive(archive.path, archive.filter(keys, tenant, of_file))
            if temporary is not None:
                rewritten[archive.path] = temporary
        yield rewritten
    finally:
        for temporary in rewritten.values():
            temporary.unlink(missing_ok=True)


def remove_refused(work: Work, raw_dir: Path, person: Person, tables: Collection[str] = RECORD_TABLES) -> int:
    """Remove the refused files of these tables that hold the person, and those that nobody can look into; how many."""
    of_tables = [path for path in kept_files.refused_files(work.tenant, raw_dir) if path.parent.parent.name in tables]
    removed = [path for path in of_tables if kept_files.mentions(path, person) is not False]
    for path in removed:
        path.unlink(missing_ok=True)
    return len(removed)


def remove_unfinished(work: Work, raw_dir: Path) -> int:
    """Remove what processes that were killed had been writing into the archive, whoever it is of; how many files."""
    left = unfinished_files(raw_dir / work.tenant)
    for path in left:
        path.unlink(missing_ok=True)
    return len(left)


def mend_bundles(
    work: Work, raw_dir: Path, tenant: TenantSettings, person: Person, only: Collection[str] | None = None
) -> int:
    """Write OneRoster bundles that hold the person again without the rows, and remove other kept bundles that do.

    only: names of members of OneRoster that rows are taken from; by default all. How many bundles held any.
    """
    mended = 0
    for path in kept_files.kept_bundles(work.tenant, raw_dir):
        if kept_files.mentions(path, person) is False:
            continue
        content = kept_files.roster_without(path, person, only)
        if content is not None and only is not None and content == kept_files.roster_without(path, person, ()):
            continue
        mended += 1
        if content is not None:
            temporary = temporary_beside(path)  # which is removed after a kill
            temporary.write_bytes(content)
            temporary.chmod(path.stat().st_mode & 0o777)
            bundles = bundles_kept(temporary, tenant.files)
            stem = path.name.split(".")[0]
            if not bundles:
                temporary.unlink()
            else:
                sha256 = bundles[0].fingerprint()[0]
                encrypt_kept(temporary, path)
                temporary.replace(path.with_name(f"{'bundle' if person.is_named_in(stem) else stem}.{sha256[:16]}.zip"))
        path.unlink(missing_ok=True)
    return mended


def quarantined_lines(connection: Connection, work: Work, tenant: TenantSettings, keys: ErasedKeys) -> Lines:
    """The lines of quarantined rows that `keys` recognises: a person may have corrected what the archive has."""
    lines: Lines = {}
    for row in quarantined_rows(connection, work, keys, tenant):
        lines.setdefault((row.table_name, row.file_hash), set()).add(row.line_number)
    return lines


def delete_quarantined(
    connection: Connection, work: Work, tenant: TenantSettings, keys: ErasedKeys
) -> Counter[tuple[str, str]]:
    """Delete the quarantined rows that `keys` recognises.

    By table and content how many of them stood open, and how many were deleted in all under `("", "")`.
    """
    opened: Counter[tuple[str, str]] = Counter()
    for row in list(quarantined_rows(connection, work, keys, tenant)):
        connection.execute(quarantined_records.delete().where(quarantined_records.c.id == row.id))
        opened["", ""] += 1
        if row.replayed_at is None and row.superseded_at is None:
            opened[row.table_name, row.file_hash] += 1
    return opened


def restate_accounts(
    connection: Connection,
    archives: list[Archive],
    rewritten: dict[Path, Path],
    opened: Counter[tuple[str, str]],
) -> dict[str, int]:
    """Restate hash and account of every file whose archive has left out more rows than the manifest says."""
    rows = files = 0
    for archive in archives:
        path = rewritten.get(archive.path, archive.path)
        total = archive_facts(path).get(ERASED_ROWS, 0)
        digest = hash_of_archive(path)
        assert digest is not None  # its facts have just been read
        files += archive.path in rewritten
        if archive.entry is None or (total == archive.entry.rows_erased and archive.path not in rewritten):
            continue
        rows += total - archive.entry.rows_erased
        open_rows = opened[archive.table, archive.entry.sha256] if archive.entry.is_loaded else 0
        manifest.note_rewritten(connection, archive.entry, total, open_rows, digest)
    return {"archived rows": rows, "archived files": files}
