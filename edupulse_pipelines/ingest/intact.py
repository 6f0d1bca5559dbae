"""Whether a file's archive is as it was written, before a row of it is judged; if not, it is made again from landing.

Disks lose bits, and Parquet tells of few of them: a changed value would be loaded as if the district had sent it. So
the manifest has the hash of every archive. Writing archives is in `archive`.
"""

from __future__ import annotations

from pathlib import Path

from edupulse_pipelines.errors import PermanentError
from edupulse_pipelines.ingest.archive import make_again, told_names
from edupulse_pipelines.ingest.archived_file import hash_of_archive, is_encrypted_from, is_whole
from edupulse_pipelines.ingest.table_load import TableLoad
from edupulse_pipelines.storage import manifest
from edupulse_pipelines.storage.manifest import Entry

UNVERIFIED = "archive_unverified"


def intact_archive(load: TableLoad, file: Entry) -> Path:
    """Where the archive of a file lies, after it was found to be, or was made, as it should be.

    One from before archives had a hash is read to its end and counted as `archive_unverified`; from then on it has a
    hash. PermanentError when it is damaged or gone, and landing no longer holds the content that it was made of.
    """
    path = load.archive_of(file)
    found = hash_of_archive(path)
    if found is not None and found == file.archive_sha256:
        return path
    if found is not None and file.archive_sha256 is None and is_whole(path, file.rows_read):
        load.warnings[UNVERIFIED] += 1
        with load.work.writing() as connection:
            manifest.note_archive(connection, file, found)
        return path
    if found is not None and is_encrypted_from(path, file.archive_sha256) and is_whole(path, file.rows_read):
        # It was encrypted by somebody who was stopped before the manifest knew.
        with load.work.writing() as connection:
            manifest.note_archive(connection, file, found)
        return path
    if make_again(load.work, load.raw_dir, load.tenant, file):
        return path
    with load.work.reading() as connection:
        told = told_names(connection, load.work, load.table)
    trouble = "gone" if found is None else "damaged"
    raise PermanentError(
        f"{load.table}: the archive of {file.delivered_on}/{told[file.delivered_on, file.file_name]} is {trouble} "
        f"(in {path.parent}). Land the delivery again under its date, or restore the raw archive."
    )
