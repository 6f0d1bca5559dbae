"""The raw archive: every landed file of a week kept as it came, once, and entered in the manifest.

`<raw>/<tenant>/<table>/<delivery date>/<file>.<hash>.parquet` (see `archived_file`). A file that is refused is kept
byte for byte beside it (`….refused`), how is in `kept_as_it_came`; bundles that rows were converted from are in
`kept_bundles`.
Nothing is validated here beyond what reading needs, and no format is known: that is `sources`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sqlalchemy.engine import Connection

from edupulse_pipelines.encryption.archives import rows_in_archive
from edupulse_pipelines.errors import DeliveryUnfinished, LandingError
from edupulse_pipelines.ingest.archived_file import (
    ERASED_ROWS,
    archive_facts,
    archive_path,
    archived_header,
    hash_of_archive,
    is_archived,
    share_archive,
    write_archive,
)
from edupulse_pipelines.ingest.changed_files import changed_files, renamed
from edupulse_pipelines.ingest.erased_rows import ErasedRows
from edupulse_pipelines.ingest.kept_as_it_came import keep
from edupulse_pipelines.ingest.kept_bundles import KeptBundles
from edupulse_pipelines.ingest.landing import Delivery, landed_deliveries, readable
from edupulse_pipelines.progress import Progress
from edupulse_pipelines.schema.delivery import DELIVERED
from edupulse_pipelines.schema.source_formats import format_of
from edupulse_pipelines.schema.tables import ARCHIVED, KNOWN, LOADED, REFUSED
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.sources.contents import COMPRESSION_BOMB, TOO_LARGE
from edupulse_pipelines.sources.file_names import name_outside, path_outside
from edupulse_pipelines.sources.landed_files import LandedFile
from edupulse_pipelines.sources.records import SYSTEM_COLUMNS, RecordSource, RefusedFile
from edupulse_pipelines.storage import manifest
from edupulse_pipelines.storage.erased import read_erased
from edupulse_pipelines.storage.work import Work
from edupulse_pipelines.weeks import week_of_delivery


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
    told_name: str = ""
    """The file's name as it may leave the database (`told_names`)."""
    told_columns: list[str] = field(default_factory=list)
    """The unknown columns as they may leave the database: `column 7`, by their place in the file."""

    def __post_init__(self) -> None:
        if not self.told_name:
            object.__setattr__(self, "told_name", name_outside(self.file_name, 1))


@dataclass(frozen=True)
class ArchiveReport:
    """The files of one table in the weeks that were asked for, and those taken along, in order of delivery."""

    files: list[ArchivedFile]

    @property
    def refused(self) -> list[ArchivedFile]:
        """The files that could not be read at all."""
        return [file for file in self.files if file.status == REFUSED]


def archive_files(
    work: Work,
    raw_dir: Path,
    tenant: TenantSettings,
    table: str,
    weeks: Iterable[dt.date],
    progress: Progress | None = None,
) -> ArchiveReport:
    """Archive the files of `table` that were delivered for `weeks` (Mondays), and enter them in the manifest.

    Those of earlier weeks that differ from what the manifest has are taken along: a correction that was landed later.

    A file known by name, delivery and hash is not read again; of a content that is archived under another name or
    delivery the archive is shared. A refused file is entered with its reason and reads zero rows. `progress` hears of
    bytes done and bytes in all. LandingError as `landed_deliveries` raises it, DeliveryUnfinished when a file changes
    while it is read.
    """
    wanted = set(weeks)
    with work.reading() as connection:
        deliveries = renamed(landed_deliveries(tenant), read_erased(connection, work, raw_dir.parent))
    asked = [delivery for delivery in deliveries if delivery.week in wanted]
    earlier = [
        delivery for delivery in deliveries if wanted and delivery.week < max(wanted) and delivery.week not in wanted
    ]
    with _Archive(work, raw_dir, tenant, table, deliveries) as archive, readable(tenant):
        late = [(changed.delivery, changed.file) for changed in changed_files(work, earlier, [table])]
        landed = [*late, *((delivery, file) for delivery in asked for file in delivery.files.get(table, []))]
        steps = _Steps(progress, sum(file.size_on_disk for _, file in landed))
        files = [archive.add(delivery, file, steps) for delivery, file in landed]
    archive.withdraw_missing(asked, wanted)
    with work.reading() as connection:
        told = told_names(connection, work, table)
    files = [replace(file, told_name=told[file.delivered_on, file.file_name]) for file in files]
    return ArchiveReport(sorted(files, key=lambda file: (file.delivered_on, file.file_name)))


def told_names(connection: Connection, work: Work, table: str) -> dict[tuple[dt.date, str], str]:
    """By delivery and name of every file of a table, the name as it may leave the database (`name_outside`).

    `file 2` is the second, in the order of names, of all files the manifest has of that table and delivery.
    """
    return {
        (day, name): name_outside(name, place)
        for day, names in manifest.names_by_delivery(connection, work, table).items()
        for place, name in enumerate(names, start=1)
    }


def make_again(work: Work, raw_dir: Path, tenant: TenantSettings, entry: manifest.Entry) -> bool:
    """Write the archive of a file anew from its landed file; False when that is gone or has another content by now."""
    try:
        deliveries = landed_deliveries(tenant)
        with _Archive(work, raw_dir, tenant, entry.table_name, deliveries) as archive, readable(tenant):
            return archive.make_again(entry)
    except (LandingError, RefusedFile):
        return False


def refused_files(work: Work, weeks: Iterable[dt.date]) -> list[str]:
    """The refused files of the deliveries of `weeks` that have not been replaced or taken away, one line each."""
    wanted = set(weeks)
    with work.reading() as connection:
        refused = manifest.refused(connection, work)
        told = {table: told_names(connection, work, table) for table in {file.table_name for file in refused}}
    return [
        f"{file.delivered_on}/{told[file.table_name][file.delivered_on, file.file_name]}: {file.detail}"
        for file in refused
        if week_of_delivery(file.delivered_on) in wanted
    ]


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
        with work.reading() as connection:
            self._erased = read_erased(connection, work, raw_dir.parent)
        self._deliveries = renamed(deliveries, self._erased)
        self._bundles = KeptBundles(raw_dir / work.tenant, tenant, self._deliveries)

    def __enter__(self) -> _Archive:
        self._bundles.__enter__()
        return self

    def __exit__(self, *raised: object) -> None:
        self._bundles.__exit__(*raised)

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
        entered = self._entry(identity)
        if entered is not None and self._is_known(delivery, file, entered, read_with, steps):
            steps.end()
            of_file = archive_facts(target)
            with self._work.writing() as connection:
                manifest.note_snapshot(connection, entered, self._snapshot(delivery, of_file))
                manifest.supersede_unloaded(connection, identity)
            if entered.run_id is not None and entered.run_id == self._work.run_id:
                # An earlier try of this run's step has archived it.
                return self._report(delivery, identity, size, ARCHIVED, vars(entered), of_file.get("notes"))
            return self._report(delivery, identity, size, KNOWN, vars(entered))
        values: dict[str, Any] = {
            "size_bytes": size,
            "run_id": self._work.run_id,
            "archived_at": dt.datetime.now(dt.UTC),
        }
        made: list[Path] = []
        try:
            shared = self._archive_of(sha256, read_with)
            if shared is not None:
                share_archive(shared, target)
            else:
                self._write(delivery, file, sha256, read_with, state, steps)
            made += [target] if shared != target else []
            if file.is_bundle and not self._erased:  # as with refused files, below
                made += self._bundles.keep(delivery, file, sha256)
            of_file = archive_facts(target)
            values |= {
                "status": ARCHIVED,
                "rows_read": rows_in_archive(target),
                "reason": None,
                "detail": None,
                "unknown_columns": of_file["unknown_columns"],
                "source_format": of_file["source_format"],
                "left_out": of_file["left_out"] or None,
                "snapshot": self._snapshot(delivery, of_file),
                "archive_sha256": hash_of_archive(target),
                "rows_erased": of_file.get(ERASED_ROWS, 0),
            }
        except RefusedFile as refusal:
            kept = target.with_suffix(".refused")
            # Once rows have been taken away nobody can tell whether an unreadable file holds them.
            keepable = refusal.reason not in (TOO_LARGE, COMPRESSION_BOMB) and not self._erased.concern(self._table)
            if keepable and not kept.exists():
                keep(file, kept)
                made.append(kept)
            values |= {"status": REFUSED, "rows_read": 0, "reason": refusal.reason, "detail": refusal.detail}
            of_file = {}
        steps.end()
        with self._entering(made) as connection:
            manifest.enter(connection, identity, entered, values)
            if values["status"] == ARCHIVED:
                manifest.supersede_unloaded(connection, identity)
        return self._report(delivery, identity, size, values["status"], values, of_file.get("notes"))

    @contextmanager
    def _entering(self, made: list[Path]) -> Iterator[Connection]:
        """The transaction that enters what was written; where rows were erased meanwhile, that is removed instead."""
        with self._work.writing() as connection:
            if not read_erased(connection, self._work, self._raw_dir.parent).are_those_of(self._erased):
                for path in made:
                    path.unlink(missing_ok=True)
                raise DeliveryUnfinished("Rows of a student were erased while the file was archived: run again.")
            yield connection

    def make_again(self, entry: manifest.Entry) -> bool:
        """Write the archive of a file anew from its landed file, if that still has the content that was archived."""
        for delivery in self._deliveries:
            for file in delivery.files.get(self._table, []):
                if (delivery.delivered_on, file.name) != (entry.delivered_on, entry.file_name):
                    continue
                state = file.state()
                sha256, size = file.fingerprint()
                if sha256 != entry.sha256:
                    return False
                read_with = file.read_with(self._tenant, delivery.delivered_on)
                target = self._write(delivery, file, sha256, read_with, state, _Steps(None, size))
                with self._entering([target]) as connection:
                    manifest.note_archive(connection, entry, hash_of_archive(target))
                return True
        return False

    def _is_known(
        self,
        delivery: Delivery,
        file: LandedFile,
        entered: manifest.Entry,
        read_with: Mapping[str, str],
        steps: _Steps,
    ) -> bool:
        """Whether there is an archive of the file, read with the settings of now and as it was written.

        One from before archives had a hash is made again of the landed file, and has one from then on.
        """
        target = self._path(delivery.delivered_on, file.name, entered.sha256)
        if entered.status not in (ARCHIVED, LOADED) or not is_archived(target, entered.sha256, read_with):
            return False
        if entered.archive_sha256 is not None:
            return hash_of_archive(target) == entered.archive_sha256
        with suppress(RefusedFile):  # by a limit of later: what is there is judged when it is read
            self._write(delivery, file, entered.sha256, read_with, file.state(), steps)
            with self._entering([target]) as connection:
                manifest.note_archive(connection, entered, hash_of_archive(target))
        return True

    def _write(
        self,
        delivery: Delivery,
        file: LandedFile,
        sha256: str,
        read_with: Mapping[str, str],
        state: object,
        steps: _Steps,
    ) -> Path:
        """Write the archive of a landed file; RefusedFile when it cannot be read as its table."""
        target = self._path(delivery.delivered_on, file.name, sha256)
        source = file.open(
            self._tenant,
            delivered_on=delivery.delivered_on,
            earlier=self._bundles.before(delivery) if file.is_delta else (),
            on_bytes=steps.read,
        )
        _refuse_reserved_columns(source)
        facts = {"sha256": sha256, "read_with": read_with}
        event_date = DELIVERED[self._table].record.event_date
        converted = format_of(source.source_format).converted
        erased = ErasedRows(
            self._erased,
            self._table,
            source.header,
            self._tenant.profile,
            converted=converted,
            delivered_on=delivery.delivered_on,
        )
        write_archive(
            target, source, facts, event_date, lambda: _check_unchanged(file, state, self._tenant.landing), erased
        )
        return target

    def withdraw_missing(self, asked: list[Delivery], weeks: set[dt.date]) -> None:
        """A refused file that is no longer landed has been taken away by a person; it stops nothing any more."""
        present = {
            (delivery.delivered_on, file.name) for delivery in asked for file in delivery.files.get(self._table, [])
        }

        def missing(connection: Connection) -> list[manifest.Entry]:
            return [
                file
                for file in manifest.refused(connection, self._work, self._table)
                if week_of_delivery(file.delivered_on) in weeks and (file.delivered_on, file.file_name) not in present
            ]

        with self._work.reading() as connection:
            if not missing(connection):
                return
        with self._work.writing() as connection:
            manifest.withdraw(connection, missing(connection))

    def _path(self, delivered_on: dt.date, file_name: str, sha256: str) -> Path:
        return archive_path(self._raw_dir, self._work.tenant, self._table, delivered_on, file_name, sha256)

    def _entry(self, identity: Mapping[str, object]) -> manifest.Entry | None:
        with self._work.reading() as connection:
            return manifest.entry(connection, identity)

    def _archive_of(self, sha256: str, read_with: Mapping[str, str]) -> Path | None:
        """An intact archive of this content that was read as it would be read now."""
        with self._work.reading() as connection:
            archived = manifest.with_content(connection, self._work, self._table, sha256)
        for entry in archived:
            path = self._path(entry.delivered_on, entry.file_name, sha256)
            if (
                is_archived(path, sha256, read_with)
                and entry.archive_sha256 is not None
                and hash_of_archive(path) == entry.archive_sha256
            ):
                return path
        return None

    def _snapshot(self, delivery: Delivery, of_file: Mapping[str, Any]) -> dict[str, str] | None:
        """The days of which the delivery holds every record: as its manifest says, else as the source itself does."""
        if self._table in delivery.snapshots:
            return delivery.snapshots[self._table]
        complete_from = of_file.get("complete_from")
        if complete_from is None or self._table in delivery.no_snapshots:
            return None
        return {"from": complete_from or self._tenant.first_week.isoformat(), "to": delivery.delivered_on.isoformat()}

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
            told_columns=self._places(identity, values.get("unknown_columns") or []),
            source_format=values.get("source_format"),
            left_out=values.get("left_out") or {},
            notes=notes or {},
        )

    def _places(self, identity: Mapping[str, Any], columns: list[str]) -> list[str]:
        """Columns that no table knows by their place in the file: their names are the sender's words."""
        if not columns:
            return []
        header = archived_header(self._path(*(identity[name] for name in ("delivered_on", "file_name", "sha256"))))
        return [f"column {header.index(name) + 1}" if name in header else name for name in columns]


def _refuse_reserved_columns(source: RecordSource) -> None:
    reserved = sorted(set(source.header) & set(SYSTEM_COLUMNS))
    if reserved:
        raise RefusedFile("reserved_column", f"line 1: column {reserved[0]!r} has a name that is kept for the archive")


def _check_unchanged(file: LandedFile, state: object, landing: Path) -> None:
    if file.state() != state:
        raise DeliveryUnfinished(
            f"{path_outside(file.paths[0], landing)} changed while it was read: let the delivery finish, then run "
            "again. A file that is copied under a hidden name (.name) and renamed when it is complete is never read "
            "too early."
        )
