"""The archive of one landed file: where it lies, what is in it, how it is written and read.

String-typed Parquet, one row per data row of the file with its line number; what is said of the whole file (its hash,
format, entries left out) is in the Parquet metadata. Written under a temporary name and moved into place when it is
complete, never changed afterwards; encrypted where the home has a key (`encryption`), and then read with it. Which
files are archived, and when, is in `archive`; no format is known here.
"""

from __future__ import annotations

import datetime as dt
import os
import re
import shutil
import socket
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from edupulse_pipelines.encryption.archives import (
    ParquetOptions,
    archive_schema_of,
    encryption_for,
    is_encrypted_archive,
    opened_archive,
)
from edupulse_pipelines.errors import EncryptedFileDamaged
from edupulse_pipelines.full_disk import naming
from edupulse_pipelines.hashing import hash_of_file
from edupulse_pipelines.ingest.erased_rows import ErasedRows
from edupulse_pipelines.sources.blanks import BLANK, without_blank_rows
from edupulse_pipelines.sources.records import LINE_NUMBER, SYSTEM_COLUMNS, RecordSource, archive_schema
from edupulse_pipelines.whole_files import put_in_place, sync_file, to_disk

FORMER_COLUMNS = ("_file_name", "_sha256")
"""Columns of archives that the first release wrote; they have no metadata of ours."""
_METADATA = "edupulse."
ERASED_ROWS = "rows_erased"
"""Name of the fact how many rows of erased students an archive has left out."""
PLAIN_SHA256 = "plain_sha256"
"""Name of the fact of which plain archive (its hash) an encrypted one was made."""
_UNREADABLE = (OSError, pa.ArrowException, ValueError, KeyError, EncryptedFileDamaged)
"""What pyarrow and the reading of the metadata say of bytes that are not an archive, or not one any more."""
_DICTIONARY_BYTES = 4 << 20  # so that a row group's student numbers stay a dictionary


def archive_path(raw_dir: Path, tenant: str, table: str, delivered_on: dt.date, file_name: str, sha256: str) -> Path:
    """Where the archive of a file lies; a member of a zip or bundle (`week.zip/grades.csv`) needs no folder."""
    flat = file_name.replace("/", "+")
    return raw_dir / tenant / table / delivered_on.isoformat() / f"{flat}.{sha256[:16]}.parquet"


def archived_header(path: Path) -> list[str]:
    """The header of the archived file, in its order."""
    schema = archive_schema_of(path)
    ours = SYSTEM_COLUMNS if schema.metadata else (*SYSTEM_COLUMNS, *FORMER_COLUMNS)
    return [name for name in schema.names if name not in ours]


def archived_instructional_days(path: Path) -> list[dt.date]:
    """The days of instruction that the archived source's own calendar names."""
    return [dt.date.fromisoformat(day) for day in archive_facts(path).get("instructional_days", [])]


def archive_facts(path: Path) -> dict[str, Any]:
    """What an archive says of its whole file; nothing for none, a damaged one, or one of the first release.

    KeyUnusable when it is encrypted and cannot be opened.
    """
    try:
        stored = archive_schema_of(path).metadata or {}
        return {
            key.decode().removeprefix(_METADATA): orjson.loads(value)
            for key, value in stored.items()
            if key.startswith(_METADATA.encode())
        }
    except _UNREADABLE:
        return {}


def is_archived(path: Path, sha256: str, read_with: Mapping[str, str]) -> bool:
    """Whether there is an archive that says it is of this content and was read with the settings of now."""
    if not path.exists():
        return False
    facts = archive_facts(path)
    if not facts:
        with suppress(*_UNREADABLE):
            return "_sha256" in archive_schema_of(path).names
        return False
    of_now = facts.get("read_with")
    return (
        facts.get("sha256") == sha256
        and isinstance(of_now, dict)
        and all(value in ("auto", of_now.get(name)) for name, value in read_with.items())
    )


def hash_of_archive(path: Path) -> str | None:
    """SHA-256 of the archive itself, every byte of it; None when there is none."""
    try:
        return hash_of_file(path)
    except FileNotFoundError:
        return None


def is_whole(path: Path, rows: int) -> bool:
    """Whether every row of an archive can be read, and they are as many as the manifest has.

    All that can be known of an archive whose hash nobody took: a changed value may go unnoticed.
    """
    try:
        with opened_archive(path) as archive:
            return sum(len(batch) for batch in archive.iter_batches()) == rows
    except _UNREADABLE:
        return False


def temporary_beside(target: Path) -> Path:
    """A name beside the target that no other run, in this process or another, writes to.

    What processes of this machine that were killed have left under such names is removed.
    """
    remove_left_behind(target.parent)
    return target.with_suffix(f".{_host()}_{os.getpid()}_{uuid.uuid4().hex[:12]}.tmp")


def remove_left_behind(folder: Path) -> None:
    """Remove what processes of this machine that were killed have left in a folder under temporary names."""
    for left in folder.glob("*.tmp"):
        writer = _writer(left)
        if writer is not None and not _is_running(writer):
            left.unlink(missing_ok=True)


def unfinished_files(folder: Path) -> list[Path]:
    """What was being written below a folder of archives (`*.tmp`), and that no process of this machine is writing."""
    return [
        path for path in sorted(folder.rglob("*.tmp")) if (writer := _writer(path)) is None or not _is_running(writer)
    ]


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())[:40]


def _writer(temporary: Path) -> int | None:
    """The process of this machine that has given a temporary name; None for another machine's, or another name."""
    named = re.search(rf"\.{_host()}_([0-9]+)_[0-9a-f]{{12}}\.tmp$", temporary.name)
    return int(named[1]) if named else None


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        pass
    return True


def share_archive(archive: Path, target: Path) -> None:
    """Have the archive of the same content in a second place: archives are replaced as a whole, never written to."""
    if archive == target:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(target)
    try:
        try:
            os.link(archive, temporary)
        except OSError:  # a file system without links
            shutil.copyfile(archive, temporary)
            sync_file(temporary)
        put_in_place(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def write_archive(
    target: Path,
    source: RecordSource,
    facts: dict[str, Any],
    event_date: str | None,
    check: Callable[[], None],
    erased: ErasedRows,
) -> None:
    """Write the archive under a temporary name; move it into place when `check` finds nothing wrong after all.

    erased: leaves out the rows of erased students, and counts them.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    schema = archive_schema(erased.header)
    unknown = dict(zip(source.header, erased.header, strict=True))
    temporary = temporary_beside(target)
    complete = bool(getattr(source, "snapshot", False))
    first_date: dt.date | None = None
    try:
        with temporary.open("wb") as stream:
            with _parquet_writer(stream, schema, target) as writer:
                blank = 0
                for batch in source.batches():
                    table = without_blank_rows(batch)
                    blank += len(batch) - len(table)
                    table = erased.keep(table)
                    writer.write_table(table)
                    if complete and event_date in source.header:
                        first_date = min(filter(None, (first_date, _first_date(table[event_date]))), default=None)
                # A converter's complete source answers for the days from its first record on: earlier years are in
                # bundles of their own. A table without days is complete as a whole.
                since = first_date.isoformat() if first_date is not None else None
                complete_from = None if not complete else "" if event_date is None else since
                facts = facts | {
                    "source_format": source.source_format,
                    "unknown_columns": [unknown.get(name, name) for name in source.unknown_columns],
                    ERASED_ROWS: erased.count,
                    "left_out": source.left_out | ({BLANK: blank} if blank else {}),
                    "notes": getattr(source, "notes", {}),
                    "instructional_days": [day.isoformat() for day in source.instructional_days],
                    "complete_from": complete_from,
                }
                writer.add_key_value_metadata(
                    {_METADATA + name: orjson.dumps(value).decode() for name, value in facts.items()}
                )
            to_disk(stream)
        check()
        put_in_place(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def rewrite_archive(path: Path, erased: ErasedRows) -> Path | None:
    """What the archive at `path` would be without rows of erased students, under a temporary name beside it.

    None when it has none. Its facts stay, and say how many rows have been left out in all.
    """
    facts = archive_facts(path)
    names = dict(zip(archived_header(path), erased.header, strict=True))
    with opened_archive(path) as archive:
        for group in range(archive.num_row_groups):
            erased.keep(archive.read_row_group(group))
        gone = erased.count
        if not gone and not erased.changes_header:
            return None
        schema = archive_schema(erased.header) if facts else archive.schema_arrow.remove_metadata()
        facts.pop(PLAIN_SHA256, None)
        facts |= {
            ERASED_ROWS: facts.get(ERASED_ROWS, 0) + gone,
            "unknown_columns": [names.get(name, name) for name in facts.get("unknown_columns", [])],
        }
        temporary = temporary_beside(path)
        with temporary.open("wb") as stream:
            with _parquet_writer(stream, schema, path) as writer:
                for group in range(archive.num_row_groups):
                    writer.write_table(erased.keep(archive.read_row_group(group)).cast(schema))
                if "sha256" in facts:  # an archive of the first release has no facts
                    writer.add_key_value_metadata(
                        {_METADATA + name: orjson.dumps(value).decode() for name, value in facts.items()}
                    )
            to_disk(stream)
    erased.count = gone
    return temporary


def encrypt_archive(path: Path) -> Path | None:
    """What a plain archive is encrypted, under a temporary name beside it; None when it is, or is to stay as it is.

    It says of which bytes it was made, so that whoever finds the manifest behind knows that it is the same archive.
    """
    if is_encrypted_archive(path) or not (options := encryption_for(path)):
        return None
    temporary = temporary_beside(path)
    try:
        with naming(temporary), opened_archive(path) as archive, temporary.open("wb") as stream:
            stored = dict(archive.schema_arrow.metadata or {})
            if stored:  # an archive of the first release has none, and is known by that
                stored[(_METADATA + PLAIN_SHA256).encode()] = orjson.dumps(hash_of_archive(path))
            with _parquet_writer(stream, archive.schema_arrow.remove_metadata(), path, options) as writer:
                for group in range(archive.num_row_groups):
                    writer.write_table(archive.read_row_group(group).replace_schema_metadata())
                writer.add_key_value_metadata(stored)
            to_disk(stream)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def is_encrypted_from(path: Path, archive_sha256: str | None) -> bool:
    """Whether an archive says that it is the encryption of the one that had this hash."""
    return archive_sha256 is not None and archive_facts(path).get(PLAIN_SHA256) == archive_sha256


def _parquet_writer(
    stream: BinaryIO, schema: pa.Schema, path: Path, options: ParquetOptions | None = None
) -> pq.ParquetWriter:
    """Writes the archive that will lie at `path`; options: its encryption, where that is known."""
    return pq.ParquetWriter(
        stream,
        schema,
        compression="zstd",
        use_dictionary=[name for name in schema.names if name != LINE_NUMBER],
        column_encoding={LINE_NUMBER: "DELTA_BINARY_PACKED"},
        dictionary_pagesize_limit=_DICTIONARY_BYTES,
        store_schema=False,  # or the metadata that is added at the end would not be the schema's
        **(encryption_for(path) if options is None else options),
    )


def _first_date(texts: pa.ChunkedArray) -> dt.date | None:
    dates = pc.strptime(texts, format="%Y-%m-%d", unit="s", error_is_null=True)
    first = pc.min(dates).as_py()
    return first.date() if first is not None else None
