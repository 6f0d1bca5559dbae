"""The raw archive: landed files kept as they came, as string-typed Parquet, with the manifest that names them.

Written once and never changed: `<raw>/<tenant>/<table>/<delivery date>/<file>.<hash>.parquet`, one row per data row of
the file with its line number; what is said of the whole file is in the Parquet metadata. A file that is refused is
kept byte for byte beside it (`….refused`), the bundle that rows were converted from under `<raw>/<tenant>/originals`.
Nothing is validated here beyond what reading needs, and no format is known: that is `sources`.
"""

from __future__ import annotations

import datetime as dt
import os
import re
import shutil
import socket
import uuid
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.errors import DeliveryUnfinished, LandingError
from edupulse_pipelines.ingest.landing import Delivery, landed_deliveries
from edupulse_pipelines.ingest.snapshots import EVENT_DATES
from edupulse_pipelines.schema.sqlalchemy_tables import ingested_files
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.sources.contents import COMPRESSION_BOMB, TOO_LARGE
from edupulse_pipelines.sources.landed_files import LandedFile, bundles_kept
from edupulse_pipelines.sources.records import (
    FIELDS,
    LINE_NUMBER,
    PROBLEM,
    SYSTEM_COLUMNS,
    RecordSource,
    RefusedFile,
    archive_schema,
)
from edupulse_pipelines.storage.ids import new_ids
from edupulse_pipelines.storage.work import Work
from edupulse_pipelines.weeks import week_of_delivery

__all__ = [
    "FIELDS",
    "LINE_NUMBER",
    "PROBLEM",
    "SYSTEM_COLUMNS",
    "ArchiveReport",
    "ArchivedFile",
    "archive_files",
    "archive_path",
    "archived_header",
    "refused_files",
    "weeks_not_archived",
]

Progress = Callable[[int, int], None]
"""Called with bytes done and bytes in all."""

_METADATA = "edupulse."
_FORMER_COLUMNS = ("_file_name", "_sha256")
"""Columns of archives that the first release wrote; they have no metadata of ours."""
_DICTIONARY_BYTES = 4 << 20  # so that a row group's student numbers stay a dictionary


@dataclass(frozen=True, kw_only=True)
class ArchivedFile:
    """What became of one landed file: `archived`, `known` (archived by an earlier run) or `refused`.

    `left_out`: entries of the source that are no records of the table, by reason; `notes`: what a converter did to rows
    that are there, by kind.
    """

    week: dt.date
    delivered_on: dt.date
    file_name: str
    status: str
    rows: int
    size_bytes: int
    reason: str | None = None
    detail: str | None = None
    unknown_columns: list[str] = field(default_factory=list)
    source_format: str | None = None
    left_out: dict[str, int] = field(default_factory=dict)
    notes: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class ArchiveReport:
    """The files of one table in the weeks that were asked for, in order of delivery."""

    files: list[ArchivedFile]

    @property
    def refused(self) -> list[ArchivedFile]:
        """The files that could not be read at all."""
        return [file for file in self.files if file.status == "refused"]


def archive_path(raw_dir: Path, tenant: str, table: str, delivered_on: dt.date, file_name: str, sha256: str) -> Path:
    """Where the archive of a file lies; a member of a zip or bundle (`week.zip/grades.csv`) needs no folder."""
    flat = file_name.replace("/", "+")
    return raw_dir / tenant / table / delivered_on.isoformat() / f"{flat}.{sha256[:16]}.parquet"


def archive_files(
    work: Work,
    raw_dir: Path,
    tenant: TenantSettings,
    table: str,
    weeks: Iterable[dt.date],
    progress: Progress | None = None,
) -> ArchiveReport:
    """Archive the files of `table` that were delivered for `weeks` (Mondays), and enter them in the manifest.

    A file known by name, delivery and hash is not read again; of a content that is archived under another name or
    delivery the archive is shared. A refused file is entered with its reason and reads zero rows. `progress` hears of
    bytes done and bytes in all. LandingError as `landed_deliveries` raises it, DeliveryUnfinished when a file changes
    while it is read.
    """
    wanted = set(weeks)
    deliveries = landed_deliveries(tenant)
    asked = [one for one in deliveries if one.week in wanted]
    steps = _Steps(progress, sum(file.size_on_disk for one in asked for file in one.files.get(table, [])))
    archive = _Archive(work, raw_dir, tenant, table, deliveries)
    try:
        files = [archive.add(one, file, steps) for one in asked for file in one.files.get(table, [])]
    except OSError as error:
        if not error.filename or not Path(error.filename).is_relative_to(tenant.landing):
            raise
        raise LandingError(
            f"{error.filename} cannot be read ({error.strerror}): let the delivery finish, or put it right, and run "
            "again."
        ) from None
    archive.withdraw_missing(asked, wanted)
    return ArchiveReport(files)


def refused_files(work: Work, weeks: Iterable[dt.date]) -> list[str]:
    """The refused files of the deliveries of `weeks` that have not been replaced or taken away, one line each."""
    wanted = set(weeks)
    files = ingested_files.c
    with work.reading() as connection:
        rows = connection.execute(
            sa.select(files.delivered_on, files.file_name, files.detail)
            .where(files.tenant_id == work.tenant, files.status == "refused")
            .order_by(files.delivered_on, files.file_name)
        ).all()
    return [f"{day}/{name}: {detail}" for day, name, detail in rows if week_of_delivery(day) in wanted]


def weeks_not_archived(work: Work, tenant: TenantSettings, until: dt.date) -> list[dt.date]:
    """The weeks up to `until` (Mondays, ascending) with a landed file whose name no run has seen yet.

    Such a delivery came after its week's run, which nobody will repeat by chance. Reads names only, no contents.
    """
    files = ingested_files.c
    with work.reading() as connection:
        seen = {
            tuple(row)
            for row in connection.execute(
                sa.select(files.delivered_on, files.file_name).where(files.tenant_id == work.tenant)
            )
        }
    return sorted(
        {
            delivery.week
            for delivery in landed_deliveries(tenant)
            if delivery.week <= until
            for landed in delivery.files.values()
            for file in landed
            if (delivery.delivered_on, file.name) not in seen
        }
    )


def archived_header(path: Path) -> list[str]:
    """The header of the archived file, in its order."""
    schema = pq.read_schema(path)
    ours = SYSTEM_COLUMNS if schema.metadata else (*SYSTEM_COLUMNS, *_FORMER_COLUMNS)
    return [name for name in schema.names if name not in ours]


class _Steps:
    """How many of all bytes are done, for whoever wants to know."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress = progress
        self._total = total
        self._done = 0
        self._of_file = 0
        self._size = 0

    def begin(self, size: int) -> None:
        """The next file, of so many bytes on disk."""
        self._done += self._size
        self._of_file, self._size = 0, size
        self.read(0)

    def read(self, count: int) -> None:
        """So many bytes more; a file that is read more than once is done only once."""
        self._of_file = min(self._of_file + count, self._size)
        if self._progress is not None:
            self._progress(self._done + self._of_file, self._total)

    def end(self) -> None:
        """The file is done, however much of it had to be read."""
        self.read(self._size)


class _Archive:
    """The archiving of one table in one run: what every file shares."""

    def __init__(
        self,
        work: Work,
        raw_dir: Path,
        tenant: TenantSettings,
        table: str,
        deliveries: list[Delivery],
    ) -> None:
        self._work = work
        self._raw_dir = raw_dir
        self._tenant = tenant
        self._table = table
        self._deliveries = deliveries

    def add(self, delivery: Delivery, file: LandedFile, steps: _Steps) -> ArchivedFile:
        """Archive one file, or find it archived, and enter it in the manifest."""
        steps.begin(file.size_on_disk)
        state = file.state()
        sha256, size = file.fingerprint()
        target = self._path(delivery.delivered_on, file.name, sha256)
        identity = {
            "tenant_id": self._work.tenant,
            "table_name": self._table,
            "delivered_on": delivery.delivered_on,
            "file_name": file.name,
            "sha256": sha256,
        }
        read_with = file.read_with(self._tenant, delivery.delivered_on)
        known = self._manifest_row(identity)
        if known is not None and known.status in ("archived", "loaded") and _is_archived(target, sha256, read_with):
            steps.end()
            with self._work.writing() as connection:
                self._note_snapshot(connection, known, self._snapshot(delivery, _metadata(target)))
                self._supersede_unloaded(connection, identity)
            return self._report(delivery, identity, size, "known", known._asdict())
        values: dict[str, Any] = {
            "size_bytes": size,
            "run_id": self._work.run_id,
            "archived_at": dt.datetime.now(dt.UTC),
        }
        try:
            shared = self._archive_of(sha256, read_with, target)
            if shared is not None:
                _share(shared, target)
            else:
                source = file.open(
                    self._tenant,
                    delivered_on=delivery.delivered_on,
                    earlier=self._bundles_before(delivery) if file.is_delta else (),
                    on_bytes=steps.read,
                )
                _refuse_reserved_columns(source)
                facts = {"sha256": sha256, "read_with": read_with}
                _write(target, source, facts, EVENT_DATES.get(self._table), lambda: _check_unchanged(file, state))
            if file.is_bundle:
                self._keep_original(delivery, file, sha256)
            said = _metadata(target)
            values |= {
                "status": "archived",
                "rows_read": pq.read_metadata(target).num_rows,
                "reason": None,
                "detail": None,
                "unknown_columns": said["unknown_columns"],
                "source_format": said["source_format"],
                "left_out": said["left_out"] or None,
                "snapshot": self._snapshot(delivery, said),
            }
        except RefusedFile as refusal:
            kept = target.with_suffix(".refused")
            if refusal.reason not in (TOO_LARGE, COMPRESSION_BOMB) and not kept.exists():
                file.keep(kept)
            values |= {"status": "refused", "rows_read": 0, "reason": refusal.reason, "detail": refusal.detail}
            said = {}
        steps.end()
        with self._work.writing() as connection:
            self._enter(connection, identity, known, values)
            if values["status"] == "archived":
                self._supersede_unloaded(connection, identity)
        return self._report(delivery, identity, size, values["status"], values, said.get("notes"))

    def _enter(
        self, connection: Connection, identity: Mapping[str, Any], known: sa.Row | None, values: Mapping[str, Any]
    ) -> None:
        """Write the file's row of the manifest, unless another run has come first since `known` was read."""
        files = ingested_files.c
        mine = sa.and_(*(files[name] == value for name, value in identity.items()))
        row = connection.execute(sa.select(files.id, files.status).where(mine)).one_or_none()
        if row is None:
            try:
                with connection.begin_nested():
                    connection.execute(ingested_files.insert().values(id=new_ids(1)[0], **identity, **values))
                return
            except sa.exc.IntegrityError:
                row = connection.execute(sa.select(files.id, files.status).where(mine)).one()
        overtaken = row.status in ("archived", "loaded") and (known is None or known.status != row.status)
        if not overtaken:
            connection.execute(ingested_files.update().where(files.id == row.id).values(**values))

    def withdraw_missing(self, asked: list[Delivery], weeks: set[dt.date]) -> None:
        """A refused file that is no longer landed has been taken away by a person; it stops nothing any more."""
        present = {(one.delivered_on, file.name) for one in asked for file in one.files.get(self._table, [])}
        files = ingested_files.c
        with self._work.writing() as connection:
            refused = connection.execute(
                sa.select(files.id, files.delivered_on, files.file_name).where(
                    files.tenant_id == self._work.tenant, files.table_name == self._table, files.status == "refused"
                )
            ).all()
            for identifier, delivered_on, file_name in refused:
                if week_of_delivery(delivered_on) in weeks and (delivered_on, file_name) not in present:
                    connection.execute(ingested_files.update().where(files.id == identifier).values(status="withdrawn"))

    def _path(self, delivered_on: dt.date, file_name: str, sha256: str) -> Path:
        return archive_path(self._raw_dir, self._work.tenant, self._table, delivered_on, file_name, sha256)

    def _manifest_row(self, identity: Mapping[str, object]) -> sa.Row | None:
        with self._work.reading() as connection:
            return connection.execute(
                sa.select(ingested_files).where(*(ingested_files.c[name] == value for name, value in identity.items()))
            ).one_or_none()

    def _archive_of(self, sha256: str, read_with: Mapping[str, str], target: Path) -> Path | None:
        """An archive of this content that was read as it would be read now: in its place, or elsewhere."""
        files = ingested_files.c
        with self._work.reading() as connection:
            elsewhere = connection.execute(
                sa.select(files.delivered_on, files.file_name).where(
                    files.tenant_id == self._work.tenant,
                    files.table_name == self._table,
                    files.sha256 == sha256,
                    files.status.in_(("archived", "loaded", "superseded")),
                )
            ).all()
        for path in (target, *(self._path(day, name, sha256) for day, name in elsewhere)):
            if _metadata(path) and _is_archived(path, sha256, read_with):
                return path
        return None

    def _snapshot(self, delivery: Delivery, said: Mapping[str, Any]) -> dict[str, str] | None:
        """The days of which the delivery holds every record: as its manifest says, else as the source itself does."""
        if self._table in delivery.snapshots:
            return delivery.snapshots[self._table]
        complete_from = said.get("complete_from")
        if complete_from is None or self._table in delivery.no_snapshots:
            return None
        return {"from": complete_from or self._tenant.first_week.isoformat(), "to": delivery.delivered_on.isoformat()}

    def _note_snapshot(self, connection: Connection, known: sa.Row, snapshot: dict[str, str] | None) -> None:
        """What the manifest says may change after the file was loaded; a snapshot is then loaded again."""
        if snapshot != known.snapshot:
            status = "archived" if snapshot is not None else known.status
            connection.execute(
                ingested_files.update().where(ingested_files.c.id == known.id).values(snapshot=snapshot, status=status)
            )

    def _supersede_unloaded(self, connection: Connection, identity: Mapping[str, object]) -> None:
        """An earlier content of the same file that never reached the tables has no rows to answer for any more."""
        files = ingested_files.c
        connection.execute(
            ingested_files.update()
            .where(
                *(files[name] == identity[name] for name in ("tenant_id", "table_name", "delivered_on", "file_name")),
                files.sha256 != identity["sha256"],
                files.status.in_(("archived", "refused")),
            )
            .values(status="superseded")
        )

    def _originals(self, delivered_on: dt.date) -> Path:
        return self._raw_dir / self._work.tenant / "originals" / delivered_on.isoformat()

    def _keep_original(self, delivery: Delivery, file: LandedFile, sha256: str) -> None:
        """Keep the bundle itself, once for all the tables it has rows for."""
        name = file.paths[0].stem if len(file.paths) == 1 else "bundle"
        kept = self._originals(delivery.delivered_on) / f"{name}.{sha256[:16]}.zip"
        if not kept.exists():
            file.keep(kept)

    def _bundles_before(self, delivery: Delivery) -> list[LandedFile]:
        """The bundles delivered before, oldest first, from the last one on that holds everything.

        Those that have been cleared away from the landing folder are taken from what was kept of them.
        """
        by_day: dict[dt.date, list[LandedFile]] = {}
        for kept in sorted(self._originals(delivery.delivered_on).parent.glob("*/*.zip")):
            by_day.setdefault(dt.date.fromisoformat(kept.parent.name), []).extend(
                bundles_kept(kept, self._tenant.files)
            )
        for one in self._deliveries:
            bundles = [file for files in one.files.values() for file in files if file.is_bundle]
            if bundles:
                by_day[one.delivered_on] = bundles
        found: list[LandedFile] = []
        for day in sorted((day for day in by_day if day < delivery.delivered_on), reverse=True):
            # Of one bundle there is a landed file for each table.
            distinct = {file.contents: file for file in by_day[day] if file.format == "oneroster"}
            found[:0] = distinct.values()
            if any(not file.is_delta for file in distinct.values()):
                break
        return found

    def _report(
        self,
        delivery: Delivery,
        identity: Mapping[str, Any],
        size: int,
        status: str,
        values: Mapping[str, Any],
        notes: dict[str, int] | None = None,
    ) -> ArchivedFile:
        return ArchivedFile(
            week=delivery.week,
            delivered_on=delivery.delivered_on,
            file_name=identity["file_name"],
            status=status,
            rows=values["rows_read"],
            size_bytes=size,
            reason=values.get("reason"),
            detail=values.get("detail"),
            unknown_columns=values.get("unknown_columns") or [],
            source_format=values.get("source_format"),
            left_out=values.get("left_out") or {},
            notes=notes or {},
        )


def _metadata(path: Path) -> dict[str, Any]:
    """What an archive says of its whole file; nothing when there is none, or one of the first release."""
    try:
        stored = pq.read_schema(path).metadata or {}
    except (FileNotFoundError, pa.ArrowInvalid):
        return {}
    return {
        key.decode().removeprefix(_METADATA): orjson.loads(value)
        for key, value in stored.items()
        if key.startswith(_METADATA.encode())
    }


def _is_archived(path: Path, sha256: str, read_with: Mapping[str, str]) -> bool:
    """Whether there is a whole archive of this content that was read with the settings of now."""
    if not path.exists():
        return False
    said = _metadata(path)
    if not said:
        with suppress(pa.ArrowInvalid):
            return "_sha256" in pq.read_schema(path).names
        return False
    return said["sha256"] == sha256 and all(
        value in ("auto", said["read_with"].get(name)) for name, value in read_with.items()
    )


def _refuse_reserved_columns(source: RecordSource) -> None:
    reserved = sorted(set(source.header) & set(SYSTEM_COLUMNS))
    if reserved:
        raise RefusedFile("reserved_column", f"line 1: column {reserved[0]!r} has a name that is kept for the archive")


def _check_unchanged(file: LandedFile, state: object) -> None:
    if file.state() != state:
        raise DeliveryUnfinished(
            f"{file.paths[0]} changed while it was read: let the delivery finish, then run again. A file that is "
            "copied under a hidden name (.name) and renamed when it is complete is never read too early."
        )


def _temporary(target: Path) -> Path:
    """A name beside the target that no other run, in this process or another, writes to.

    What processes of this machine that were killed have left under such names is removed.
    """
    host = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())[:40]
    for left in target.parent.glob("*.tmp"):
        named = re.search(rf"\.{host}_([0-9]+)_[0-9a-f]{{12}}\.tmp$", left.name)
        if named and not _is_running(int(named[1])):
            left.unlink(missing_ok=True)
    return target.with_suffix(f".{host}_{os.getpid()}_{uuid.uuid4().hex[:12]}.tmp")


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        pass
    return True


def _share(archive: Path, target: Path) -> None:
    """Have the archive of the same content in a second place: archives are replaced as a whole, never written to."""
    if archive == target:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(target)
    try:
        try:
            os.link(archive, temporary)
        except OSError:  # a file system without links
            shutil.copyfile(archive, temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _write(
    target: Path, source: RecordSource, facts: dict[str, Any], event_date: str | None, check: Callable[[], None]
) -> None:
    """Write the archive under a temporary name; move it into place when `check` finds nothing wrong after all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    schema = archive_schema(source.header)
    temporary = _temporary(target)
    complete = bool(getattr(source, "snapshot", False))
    first_date: dt.date | None = None
    try:
        with temporary.open("wb") as stream:
            with pq.ParquetWriter(
                stream,
                schema,
                compression="zstd",
                use_dictionary=schema.names[1:],
                column_encoding={LINE_NUMBER: "DELTA_BINARY_PACKED"},
                dictionary_pagesize_limit=_DICTIONARY_BYTES,
                store_schema=False,  # or the metadata that is added at the end would not be the schema's
            ) as writer:
                for table in source.batches():
                    writer.write_table(table)
                    if complete and event_date in source.header:
                        first_date = min(filter(None, (first_date, _first_date(table[event_date]))), default=None)
                # A converter's complete source answers for the days from its first record on: earlier years are in
                # bundles of their own. A table without days is complete as a whole.
                since = first_date.isoformat() if first_date is not None else None
                complete_from = None if not complete else "" if event_date is None else since
                facts = facts | {
                    "source_format": source.source_format,
                    "unknown_columns": source.unknown_columns,
                    "left_out": source.left_out,
                    "notes": getattr(source, "notes", {}),
                    "instructional_days": [day.isoformat() for day in source.instructional_days],
                    "complete_from": complete_from,
                }
                writer.add_key_value_metadata(
                    {_METADATA + name: orjson.dumps(value).decode() for name, value in facts.items()}
                )
            stream.flush()
            os.fsync(stream.fileno())
        check()
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _first_date(texts: pa.ChunkedArray) -> dt.date | None:
    dates = pc.strptime(texts, format="%Y-%m-%d", unit="s", error_is_null=True)
    first = pc.min(dates).as_py()
    return first.date() if first is not None else None
