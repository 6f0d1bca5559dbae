"""Loading one record table: its deliveries in order, each validated and merged in one transaction with its account.

Also tries quarantined rows again, and marks what a full snapshot no longer holds. For every file, read = inserted +
updated + unchanged + quarantined. Reading is in `delivered_rows`, judging in `validation`, writing in `merge`,
`attendance` and `quarantine`; what rows refer to is in `references`.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from edupulse_pipelines.errors import PermanentError
from edupulse_pipelines.ingest import delivered_rows, quarantine
from edupulse_pipelines.ingest.archive import archive_path
from edupulse_pipelines.ingest.attendance import AttendanceMerge, Prepared, make_room
from edupulse_pipelines.ingest.delivered_rows import ArchivedContent, DeliveredRows, ahead, archived_instructional_days
from edupulse_pipelines.ingest.frames import Integers, Piece
from edupulse_pipelines.ingest.marks import Marks
from edupulse_pipelines.ingest.merge import OUTCOMES, QUARANTINED, UNCHANGED, UPDATED, Outcomes, merge_piece
from edupulse_pipelines.ingest.quarantine import BadRow
from edupulse_pipelines.ingest.references import References
from edupulse_pipelines.ingest.snapshots import take_back_vanished
from edupulse_pipelines.ingest.validation import FUTURE_DATE, UNKNOWN_RECORD, Reasons, failed_expectations, validate
from edupulse_pipelines.schema.sqlalchemy_tables import ingested_files, instructional_days
from edupulse_pipelines.schema.tables import RECORD_TABLES
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.sources.profiles import MISSING_DATE_OF_BIRTH, presentable_codes
from edupulse_pipelines.storage.turns import take_turn
from edupulse_pipelines.storage.work import Work
from edupulse_pipelines.weeks import week_of_delivery

_WAITING_BATCH = 20_000
CONFIRMED_LATER_ROWS = 20_000
"""Rows from which on a delivery that only confirms the newest one is not merged until an older delivery asks for it:
rewriting every record for the sake of its `delivered_on` would cost as much as its first load."""
EXIT_BEFORE_ENROLLMENT = "exit_before_enrollment"
SNAPSHOT_WAITS = "snapshot_waits"
"""Snapshots that take nothing back yet, because rows of theirs are in quarantine."""

Progress = Callable[[int, int], None]


@dataclass
class DeliveryCounts:
    """The account of one table in one delivery; `deleted`: stored records it took back."""

    week: dt.date
    delivered_on: dt.date
    read: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    quarantined: int = 0
    deleted: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    failed_expectations: list[dict[str, Any]] = field(default_factory=list)
    unmapped_codes: list[dict[str, Any]] = field(default_factory=list)
    """Codes that the tenant's profile does not map: column, code, rows."""
    left_out: dict[str, int] = field(default_factory=dict)
    """Entries of the source that are no records of the table, by reason; they are not among the rows read."""

    @property
    def balanced(self) -> bool:
        """Whether every row that was read is accounted for."""
        return self.read == self.inserted + self.updated + self.unchanged + self.quarantined


@dataclass
class LoadReport:
    """What one call of `load_records` did; `replayed` rows belong to the accounts of earlier deliveries."""

    deliveries: list[DeliveryCounts] = field(default_factory=list)
    replayed: int = 0
    warnings: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class ReplayCounts:
    """What a replay did to one table's open rows."""

    tried: int = 0
    loaded: int = 0
    still_quarantined: int = 0


def load_records(
    work: Work,
    raw_dir: Path,
    tenant: TenantSettings,
    table: str,
    weeks: Iterable[dt.date],
    progress: Progress | None = None,
) -> LoadReport:
    """Try the waiting rows of `table` again, then merge its archived deliveries for `weeks` (Mondays), oldest first.

    Deliveries of earlier weeks that were archived and never merged, because their run stopped before, are taken along.

    A delivery whose files are all known by content is only counted again. Each delivery is one transaction: rows,
    manifest, quarantine and marks of what has to be recomputed come together or not at all; two loads of one table
    wait for each other. `progress` gets rows done and rows in all.
    """
    loader = _Loader(work, raw_dir, tenant, table, progress)
    deliveries = sorted(_due(work, table, set(weeks)).items())
    loader.total = sum(row.rows_read for _, files in deliveries for row in files)
    # First, because one content may also be in a delivery that is merged now, and would close the entry they share.
    loader.report.replayed = loader.replay().loaded
    for delivered_on, files, judged in loader.judged(deliveries):
        counts = loader.deliver(delivered_on, files, judged)
        counts.failed_expectations = failed_expectations(table, counts.reasons, weighted=loader.weighted)
        loader.report.deliveries.append(counts)
    loader.deliver_again()
    loader.try_snapshots()
    if loader.merged:
        # What waiting rows take back may have come with one of these deliveries, whichever was loaded first.
        loader.report.replayed += loader.replay(only=UNKNOWN_RECORD).loaded
    return loader.report


def replay_quarantine(
    work: Work,
    raw_dir: Path,
    tenant: TenantSettings,
    tables: Iterable[str] | None = None,
) -> dict[str, ReplayCounts]:
    """Try every open row of the tables again, with its correction, under the rules and the profile of now.

    Students come first: what waits for them is tried after them. What is loaded leaves quarantine with a trace and
    marks what has to be recomputed.
    """
    wanted = set(RECORD_TABLES if tables is None else tables)
    return {
        table: _Loader(work, raw_dir, tenant, table, None).replay(every=True)
        for table in RECORD_TABLES
        if table in wanted
    }


def _due(work: Work, table: str, weeks: set[dt.date]) -> dict[dt.date, list[sa.Row]]:
    """The deliveries of `weeks`, and those of earlier weeks with a file that was archived and never merged."""
    with work.reading() as connection:
        return {
            delivered_on: files
            for delivered_on, files in _manifest(connection, work, table).items()
            if (week := week_of_delivery(delivered_on)) in weeks
            or (weeks and week < max(weeks) and any(row.status == "archived" for row in files))
        }


def _manifest(
    connection: Connection, work: Work, table: str, delivered_on: dt.date | None = None
) -> dict[dt.date, list[sa.Row]]:
    """The manifest rows that count, by delivery, in order of file name; of one name only the newest content."""
    files = ingested_files.c
    query = (
        sa.select(ingested_files)
        .where(files.tenant_id == work.tenant, files.table_name == table, files.status.in_(("archived", "loaded")))
        .order_by(files.delivered_on, files.file_name, files.archived_at, files.sha256)
    )
    if delivered_on is not None:
        query = query.where(files.delivered_on == delivered_on)
    newest: dict[tuple[dt.date, str], sa.Row] = {}
    for row in connection.execute(query):
        newest[row.delivered_on, row.file_name] = row
    deliveries: dict[dt.date, list[sa.Row]] = {}
    for (day, _), row in newest.items():
        deliveries.setdefault(day, []).append(row)
    return deliveries


_Judged = tuple[Piece, Reasons]


@dataclass
class _Ready:
    """A judged piece and what has been prepared of its merge; only rows of `asked` are merged."""

    piece: Piece
    reasons: Reasons
    references: pa.Array | None
    prepared: Prepared | None
    asked: npt.NDArray[np.bool_]

    def good(self) -> npt.NDArray[np.bool_]:
        """The rows to merge: asked for, without a reason, and not said before."""
        made = self.asked & ~self.piece.repeat
        if self.reasons:
            made[list(self.reasons)] = False
        return made


@dataclass
class _Rows:
    """A delivery that has to be merged: its rows, and its pieces with the reasons of bad rows."""

    rows: DeliveredRows
    pieces: Iterable[_Judged]


class _Loader:
    """The loading of one table in one run: what every delivery shares."""

    def __init__(
        self,
        work: Work,
        raw_dir: Path,
        tenant: TenantSettings,
        table: str,
        progress: Progress | None,
    ) -> None:
        self.work = work
        self.raw_dir = raw_dir
        self.tenant = tenant
        self.table = table
        self.report = LoadReport()
        self.weighted = tenant.grading_scale == "weighted"
        self.total = 0
        self.merged = False
        self._of = (work, table)
        self._again: set[dt.date] = set()
        self._reopened: set[uuid.UUID] = set()
        self._done = 0
        self._progress = progress
        self._references: References | None = None

    def _advance(self, rows: int) -> None:
        self._done += rows
        if self._progress is not None and rows:
            self._progress(min(self._done, self.total), self.total)

    # Reading and judging

    def judged(
        self, deliveries: list[tuple[dt.date, list[sa.Row]]]
    ) -> Iterator[tuple[dt.date, list[sa.Row], _Rows | None]]:
        """The deliveries in order with their judged pieces; None for one that says nothing new.

        Small deliveries are judged together: the price of a validation is mostly per call, not per row.
        """
        group: list[tuple[dt.date, list[sa.Row], DeliveredRows | None]] = []
        rows_in_group = 0
        for delivered_on, files in deliveries:
            with self.work.reading() as connection:
                known = self._says_nothing_new(connection, delivered_on, files) is not None
            count = 0 if known else sum(row.rows_read for row in files)
            if group and rows_in_group + count > delivered_rows.PIECE_ROWS:
                yield from self._judge_group(group)
                group, rows_in_group = [], 0
            group.append((delivered_on, files, None if known else self._rows(delivered_on, files)))
            rows_in_group += count
        yield from self._judge_group(group)

    def _judge_group(
        self, group: list[tuple[dt.date, list[sa.Row], DeliveredRows | None]]
    ) -> Iterator[tuple[dt.date, list[sa.Row], _Rows | None]]:
        small = {
            day: list(rows.pieces())
            for day, _, rows in group
            if rows is not None and rows.count <= delivered_rows.PIECE_ROWS
        }
        pieces = [(day, piece) for day, of_day in small.items() for piece in of_day]
        verdicts = validate([piece for _, piece in pieces], self.table, weighted=self.weighted) if pieces else []
        reasons: dict[dt.date, list[_Judged]] = {day: [] for day in small}
        for (day, piece), found in zip(pieces, verdicts, strict=True):
            reasons[day].append((piece, found))
        for day, files, rows in group:
            if rows is None:
                yield day, files, None
            else:
                yield day, files, _Rows(rows, reasons[day] if day in small else self._judge(rows))

    def _judge(self, rows: DeliveredRows) -> Iterator[_Judged]:
        for piece in rows.pieces():
            yield piece, validate([piece], self.table, weighted=self.weighted)[0]

    def _rows(self, delivered_on: dt.date, files: list[sa.Row]) -> DeliveredRows:
        with self.work.reading() as connection:
            contents = [
                ArchivedContent(
                    row.file_name,
                    archive_path(self.raw_dir, self.work.tenant, self.table, delivered_on, row.file_name, row.sha256),
                    row.rows_read,
                    quarantine.corrections(connection, self.work, self.table, row.sha256),
                    converted=not (row.source_format or "csv").startswith("csv"),
                )
                for row in _without_copies(files)
            ]
        lost = [content.path for content in contents if not content.path.exists()]
        if lost:
            raise PermanentError(
                f"{self.table}: the archive of {delivered_on}/{files[0].file_name} is gone ({lost[0]}). Land the "
                f"delivery again under its date, or restore the raw archive."
            )
        return DeliveredRows(self.table, delivered_on, contents, self.tenant.profile)

    def _says_nothing_new(self, connection: Connection, delivered_on: dt.date, files: list[sa.Row]) -> str | None:
        """`loaded`: these files have been loaded; `known`: every row of theirs was in one delivery of this date or
        later; `confirms`: they are just the newest delivery, which is older; None: they have to be merged.

        One and the same delivery, and for `known` not a row of it in quarantine: rows of different files can repeat or
        contradict each other. A student's first delivery is a fact of its own (`enrollment_date`), so for students a
        later date does not say everything. A snapshot says what is not there, too.
        """
        if all(row.status == "loaded" for row in files):
            return "loaded"
        if any(row.snapshot for row in files):
            return None
        manifest = ingested_files.c
        of_table = sa.and_(
            manifest.tenant_id == self.work.tenant, manifest.table_name == self.table, manifest.status == "loaded"
        )
        known: set[dt.date] | None = None
        held = 0
        for row in files:
            found = connection.execute(
                sa.select(manifest.delivered_on, manifest.rows_quarantined).where(
                    of_table, manifest.sha256 == row.sha256
                )
            ).all()
            dates = {day for day, _ in found}
            held += sum(count for _, count in found)
            known = dates if known is None else known & dates
        if not known:
            return None
        later = delivered_on if self.table == "students" else max(known)
        if not held and any(delivered_on <= day <= later for day in known):
            return "known"
        if sum(row.rows_read for row in files) < CONFIRMED_LATER_ROWS:
            return None
        newest = connection.scalar(sa.select(sa.func.max(manifest.delivered_on)).where(of_table))
        return "confirms" if newest < delivered_on and self._is_all_of(connection, newest, files) else None

    def _is_all_of(self, connection: Connection, delivered_on: dt.date, files: list[sa.Row]) -> bool:
        """Whether these files are all that a delivery was, so that each row has the same verdict again.

        But for rows that came too early then.
        """
        there = _manifest(connection, self.work, self.table, delivered_on).get(delivered_on, [])
        if {row.sha256 for row in there} != {row.sha256 for row in files}:
            return False
        return not any(
            FUTURE_DATE in quarantine.open_reasons(connection, self.work, self.table, row.sha256)
            for row in files
            if row.rows_quarantined or any(each.rows_quarantined for each in there)
        )

    # One delivery

    def deliver(self, delivered_on: dt.date, files: list[sa.Row], judged: _Rows | None) -> DeliveryCounts:
        """Bring one delivery into the tables, in one transaction."""
        self._settle(delivered_on, judged)
        if judged is not None:
            self._make_room(judged.rows)
        with self._writing() as connection:
            now = _manifest(connection, self.work, self.table, delivered_on).get(delivered_on, [])
            if [(row.id, row.status) for row in now] != [(row.id, row.status) for row in files]:
                files, judged = now, None  # another run has loaded or superseded a file meanwhile
            known = self._says_nothing_new(connection, delivered_on, files)
            if judged is None and known is not None:
                return self._count_again(connection, delivered_on, files, known)
            if judged is not None:
                return self._merge(connection, delivered_on, files, judged)
        rows = self._rows(delivered_on, files)
        return self.deliver(delivered_on, files, _Rows(rows, self._judge(rows)))

    def _settle(self, delivered_on: dt.date, judged: _Rows | None) -> None:
        """Before an older delivery is merged: merge the newer ones that only confirmed what was stored.

        Until then nothing tells them from the delivery that they confirm; now their date has to be in their records.
        """
        if judged is None:
            return
        files = ingested_files.c
        confirming = (
            files.tenant_id == self.work.tenant,
            files.table_name == self.table,
            files.confirms_only.is_(True),
        )
        while True:
            with self.work.reading() as connection:
                waiting = connection.scalar(
                    sa.select(sa.func.min(files.delivered_on)).where(*confirming, files.delivered_on > delivered_on)
                )
                found = [] if waiting is None else _manifest(connection, *self._of, waiting).get(waiting, [])
            if waiting is None:
                return
            # A delivery with a file that is not loaded will be merged as a whole when its turn comes.
            whole = found and all(row.status == "loaded" for row in found)
            rows = self._rows(waiting, found) if whole else None
            with self._writing() as connection:
                if rows is not None:
                    self._confirm(connection, rows, _without_copies(found))
                connection.execute(
                    ingested_files.update()
                    .where(*confirming, files.delivered_on == waiting)
                    .values(confirms_only=False)
                )

    def _confirm(self, connection: Connection, rows: DeliveredRows, files: list[sa.Row]) -> None:
        """Merge a delivery that has its account already; rows that are in quarantine are left to the replay."""
        marks = self._marks(connection)
        held = [quarantine.open_lines(connection, *self._of, row.sha256) for row in files]
        merge = self._attendance(connection, rows, marks)
        for piece, reasons in self._judge(rows):
            asked = np.ones(len(piece), dtype=np.bool_)
            for number, lines in enumerate(held):
                asked &= (piece.file != number) | ~np.isin(piece.line_numbers, lines)
            self._merge_piece(connection, rows, self._prepare(connection, piece, reasons, merge, asked), marks, merge)
        if merge is not None:
            merge.close()
        marks.write(connection)

    def _count_again(
        self, connection: Connection, delivered_on: dt.date, files: list[sa.Row], known: str
    ) -> DeliveryCounts:
        counts = DeliveryCounts(week_of_delivery(delivered_on), delivered_on)
        reasons: Counter[str] = Counter()
        marks = self._marks(connection)
        for row in files:
            held = quarantine.open_count(connection, self.work, self.table, row.sha256)
            if row.status != "loaded":
                self._supersede_replaced(connection, row)
                self._mark_week(connection, delivered_on, row.rows_read, marks)
                outcome = {"unchanged": row.rows_read - held, "quarantined": held}
                self._account(connection, row, outcome, confirms_only=known == "confirms")
            counts.read += row.rows_read
            counts.quarantined += held
            counts.unchanged += row.rows_read - held
            reasons.update(quarantine.open_reasons(connection, self.work, self.table, row.sha256))
        marks.write(connection)
        counts.reasons = dict(sorted(reasons.items()))
        counts.left_out = _left_out(files)
        self._advance(counts.read)
        return counts

    def _merge(
        self, connection: Connection, delivered_on: dt.date, files: list[sa.Row], judged: _Rows
    ) -> DeliveryCounts:
        """Merge one delivery, keep its bad rows, and enter the account of each of its files."""
        self.merged = True
        counts = DeliveryCounts(week_of_delivery(delivered_on), delivered_on, read=sum(row.rows_read for row in files))
        marks = self._marks(connection)
        if not all(row.loaded_at for row in files):
            self._mark_week(connection, delivered_on, counts.read, marks)
        for row in files:
            self._supersede_replaced(connection, row)
        originals = _without_copies(files)
        accounts = np.zeros((len(originals), len(OUTCOMES)), dtype=np.int64)
        tally: Counter[str] = Counter()
        merge = self._attendance(connection, judged.rows, marks)
        for ready in ahead(self._prepared(connection, judged.pieces, merge)):
            piece, reasons = ready.piece, ready.reasons
            outcomes = self._merge_piece(connection, judged.rows, ready, marks, merge)
            tally.update(code for codes in reasons.values() for code in codes)
            counts.deleted += int((piece.deleted & (outcomes == UPDATED)).sum())
            cells = np.bincount(piece.file.astype(np.int64) * len(OUTCOMES) + outcomes, minlength=accounts.size)
            accounts += cells.reshape(accounts.shape)
            self._keep(connection, delivered_on, originals, judged.rows, piece, reasons)
            self._advance(len(piece))
        if merge is not None:
            merge.close()
        by_content = {
            row.sha256: dict(zip(OUTCOMES, accounts[number].tolist(), strict=True))
            for number, row in enumerate(originals)
        }
        for row in files:
            account = by_content[row.sha256]
            if row not in originals:
                held = account["quarantined"]
                account = {"unchanged": row.rows_read - held, "quarantined": held}
                tally.update(quarantine.open_reasons(connection, self.work, self.table, row.sha256))
                self._advance(row.rows_read)
            self._account(connection, row, _added(row, account) if row.id in self._reopened else account)
            for name, count in account.items():
                setattr(counts, name, getattr(counts, name) + count)
        counts.deleted += self._snapshots(connection, delivered_on, marks)
        self._add_deleted(connection, files[0], counts.deleted)
        self._instructional_days(connection, delivered_on, originals)
        marks.write(connection)
        counts.reasons = dict(sorted(tally.items()))
        counts.unmapped_codes = presentable_codes(judged.rows.unmapped)
        counts.left_out = _left_out(files)
        return counts

    def _make_room(self, rows: DeliveredRows) -> None:
        if self.table == "attendance_records":
            make_room(self.work, rows.days, self.tenant.first_week, rows.delivered_on)

    def _attendance(self, connection: Connection, rows: DeliveredRows, marks: Marks) -> AttendanceMerge | None:
        if self.table != "attendance_records":
            return None
        return AttendanceMerge(connection, self.work, rows, self.tenant.first_week, self._known(connection), marks)

    def _prepared(
        self, connection: Connection, pieces: Iterable[_Judged], merge: AttendanceMerge | None
    ) -> Iterator[_Ready]:
        """What can be done about each piece without the database; a second thread may do it (see `ahead`)."""
        self._known(connection)
        return (self._prepare(connection, piece, reasons, merge) for piece, reasons in pieces)

    def _prepare(
        self,
        connection: Connection,
        piece: Piece,
        reasons: Reasons,
        merge: AttendanceMerge | None,
        only: npt.NDArray[np.bool_] | None = None,
    ) -> _Ready:
        ready = _Ready(piece, reasons, None, None, np.ones(len(piece), dtype=np.bool_) if only is None else only)
        if merge is not None:
            ready.references = self._known(connection).resolve(connection, piece, reasons)
            ready.prepared = merge.prepare(piece, reasons, ready.good())
        return ready

    def _merge_piece(
        self,
        connection: Connection,
        rows: DeliveredRows,
        ready: _Ready,
        marks: Marks,
        merge: AttendanceMerge | None,
    ) -> Outcomes:
        """Merge the good rows; what became of each row of the piece. Adds the database's reasons."""
        piece, reasons = ready.piece, ready.reasons
        if merge is not None:
            assert ready.prepared is not None
            refused = merge.write(ready.prepared)
            outcomes = ready.prepared.outcomes
        else:
            references = self._known(connection).resolve(connection, piece, reasons)
            places: Integers = np.flatnonzero(ready.good())
            if self.table == "students":
                self._warn(piece, places)
            mine = None if references is None else references.take(pa.array(places))
            outcomes = np.full(len(piece), UNCHANGED, dtype=np.int8)
            merged, refused = merge_piece(connection, self.work, piece, places, mine, rows.delivered_on, marks)
            outcomes[places] = merged
        for row, codes in refused.items():
            reasons.setdefault(row, []).extend(codes)
        if reasons:
            outcomes[list(reasons)] = QUARANTINED
        return outcomes

    def _keep(
        self,
        connection: Connection,
        delivered_on: dt.date,
        files: list[sa.Row],
        rows: DeliveredRows,
        piece: Piece,
        reasons: Reasons,
    ) -> None:
        bad = sorted(reasons)
        kept: dict[int, dict[int, BadRow]] = {}
        for row, (file, line, raw) in zip(bad, rows.raw(piece, bad), strict=True):
            kept.setdefault(file, {})[line] = BadRow(raw, reasons[row])
        for number in np.unique(piece.file).tolist():
            lines = piece.line_numbers[piece.file == number]
            freed = quarantine.keep(
                connection,
                self.work,
                table=self.table,
                file_hash=files[number].sha256,
                file_name=f"{delivered_on}/{files[number].file_name}",
                delivered_on=delivered_on,
                lines=(int(lines.min()), int(lines.max())),
                bad=kept.get(number, {}),
            )
            if freed:
                self._open_again(connection, delivered_on, files[number].sha256)

    def _open_again(self, connection: Connection, delivered_on: dt.date, sha256: str) -> None:
        """Have the other deliveries of a content merged again: rows of it that waited in them are good now.

        They share their entries in quarantine with this delivery, which has just closed them.
        """
        files = ingested_files.c
        others = (
            files.tenant_id == self.work.tenant,
            files.table_name == self.table,
            files.sha256 == sha256,
            files.delivered_on != delivered_on,
            files.status == "loaded",
            files.rows_quarantined > 0,
        )
        opened = connection.execute(sa.select(files.id, files.delivered_on).where(*others)).all()
        self._again.update(day for _, day in opened)
        self._reopened.update(identifier for identifier, _ in opened)
        connection.execute(ingested_files.update().where(*others).values(status="archived"))

    def try_snapshots(self) -> None:
        """Apply the newest snapshot, should it have had to wait: what was in its way may have been taken away since."""
        files = ingested_files.c
        if self.merged:
            return  # each merged delivery has done so
        with self.work.reading() as connection:
            newest = connection.scalar(
                sa.select(sa.func.max(files.delivered_on)).where(
                    files.tenant_id == self.work.tenant,
                    files.table_name == self.table,
                    files.status == "loaded",
                    files.snapshot.is_not(None),
                )
            )
            found = [] if newest is None else _manifest(connection, *self._of, newest).get(newest, [])
        if not found:
            return
        with self._writing() as connection:
            marks = self._marks(connection)
            self._add_deleted(connection, found[0], self._snapshots(connection, found[0].delivered_on, marks))
            marks.write(connection)

    def deliver_again(self) -> None:
        """Merge what `_open_again` has opened; rows that are loaded by it are counted as replayed."""
        done: set[dt.date] = set()
        while waiting := self._again - done:
            delivered_on = min(waiting)
            done.add(delivered_on)  # once: what frees a row of one may hold a row of another
            with self.work.reading() as connection:
                files = _manifest(connection, self.work, self.table, delivered_on).get(delivered_on, [])
            before = sum(row.rows_quarantined for row in files)
            if any(row.status == "archived" for row in files):
                rows = self._rows(delivered_on, files)
                counts = self.deliver(delivered_on, files, _Rows(rows, self._judge(rows)))
                self.report.replayed += max(0, before - counts.quarantined)

    # Trying again

    def replay(self, *, every: bool = False, only: str | None = None) -> ReplayCounts:
        """Try the waiting rows of this table again (`every`: all open ones; `only`: those with this reason).

        The delivery is read anew from the archive, so that identity and conflicts are those of the whole delivery; only
        the waiting lines are merged.
        """
        lines: dict[str, set[int]] = {}
        tried = 0
        with self.work.reading() as connection:
            waiting = iter(quarantine.waiting(connection, *self._of, every=every))
            while batch := list(islice(waiting, _WAITING_BATCH)):
                wanted = [row for row in batch if only is None or only in row.reasons]
                for row in wanted if every else self._maybe_good_now(connection, wanted):
                    lines.setdefault(row.file_hash, set()).add(row.line_number)
                    tried += 1
            manifest = _manifest(connection, self.work, self.table) if lines else {}
        # One content may have been delivered more than once: every delivery has its say, but a row is freed once.
        freed: set[tuple[str, int]] = set()
        for delivered_on, files in sorted(manifest.items()):
            if not any(row.sha256 in lines and row.status == "loaded" for row in files):
                continue
            rows = self._rows(delivered_on, files)
            self._settle(delivered_on, _Rows(rows, ()))
            self._make_room(rows)
            with self._writing() as connection:
                freed |= self._merge_lines(connection, rows, files, lines)
        return ReplayCounts(tried, len(freed), tried - len(freed))

    def _maybe_good_now(self, connection: Connection, rows: list[sa.Row]) -> list[sa.Row]:
        """Those of the waiting rows whose student has come, or that wait for something else."""
        if self.table == "training_feedback":
            return rows
        profile = self.tenant.profile

        def number(row: sa.Row) -> str | None:
            values = row.corrected or row.raw
            for name, value in values.items() if isinstance(values, dict) else ():
                if name == "district_id" or profile.canonical_name(self.table, name) == "district_id":
                    return str(value)
            return None

        places = self._known(connection).places(pa.array([number(row) for row in rows], pa.string()))
        return [
            row for row, place in zip(rows, places.tolist(), strict=True) if place >= 0 or UNKNOWN_RECORD in row.reasons
        ]

    def _merge_lines(
        self,
        connection: Connection,
        rows: DeliveredRows,
        files: list[sa.Row],
        lines: dict[str, set[int]],
    ) -> set[tuple[str, int]]:
        """Merge only these lines (by file hash) of the delivery; those (file hash, line) that this has freed.

        Not those that another delivery of the same content, or another run meanwhile, has freed before.
        """
        freed: set[tuple[str, int]] = set()
        marks = self._marks(connection)
        originals = _without_copies(files)
        merge = self._attendance(connection, rows, marks)
        for piece in rows.pieces():
            asked = np.zeros(len(piece), dtype=np.bool_)
            for number, row in enumerate(originals):
                if row.sha256 in lines and row.status == "loaded":
                    asked |= (piece.file == number) & np.isin(piece.line_numbers, list(lines[row.sha256]))
            if not asked.any():
                continue
            (reasons,) = validate([piece], self.table, weighted=self.weighted)
            ready = self._prepare(connection, piece, reasons, merge, asked)
            outcomes = self._merge_piece(connection, rows, ready, marks, merge)
            for number, row in enumerate(originals):
                mine = np.flatnonzero(asked & (piece.file == number)).tolist()
                good = {
                    int(piece.line_numbers[place]): OUTCOMES[outcomes[place]] for place in mine if place not in reasons
                }
                new = quarantine.release(connection, self.work, self.table, row.sha256, list(good))
                if new:
                    self._correct_accounts(connection, row, Counter(good[line] for line in new))
                freed |= {(row.sha256, line) for line in new}
                still_bad = {int(piece.line_numbers[place]): reasons[place] for place in mine if place in reasons}
                quarantine.reconsider(connection, self.work, self.table, row.sha256, still_bad)
        if merge is not None:
            merge.close()
        self._add_deleted(connection, files[0], self._snapshots(connection, rows.delivered_on, marks))
        marks.write(connection)
        return freed

    # What deliveries share

    def _writing(self) -> AbstractContextManager[Connection]:
        return _exclusively(self.work, self.table)

    def _known(self, connection: Connection) -> References:
        if self._references is None:
            self._references = References(connection, self.work, self.tenant, self.table)
        return self._references

    def _marks(self, connection: Connection) -> Marks:
        return Marks(self.work, self._known(connection))

    def _warn(self, piece: Piece, places: Integers) -> None:
        exits, entries = piece.columns.get("exit_date"), piece.columns.get("enrollment_date")
        if exits is not None and entries is not None:
            left, came = (
                column.take(column.texts).take(pa.array(places)).to_numpy(zero_copy_only=False)
                for column in (exits, entries)
            )
            known = np.array([a is not None and b is not None for a, b in zip(left, came, strict=True)])
            backwards = sum(a < b for a, b in zip(left[known], came[known], strict=True)) if len(known) else 0
            self._count_warning(EXIT_BEFORE_ENROLLMENT, backwards)
        marker = self.tenant.profile.missing_date_of_birth
        if marker != "quarantine" and "date_of_birth" in piece.columns:
            born = piece.columns["date_of_birth"]
            marked = born.where_value(np.array([text == marker.isoformat() for text in born.texts.to_pylist()], bool))
            self._count_warning(MISSING_DATE_OF_BIRTH, int(marked[places].sum()))

    def _count_warning(self, name: str, count: int) -> None:
        if count:
            self.report.warnings[name] = self.report.warnings.get(name, 0) + count

    def _snapshots(self, connection: Connection, delivered_on: dt.date, marks: Marks) -> int:
        """Apply this delivery's snapshot and every later one: a late delivery may hold what a later one no longer had.

        How many records this delivery's own took back.
        """
        files = ingested_files.c
        of_table = (files.tenant_id == self.work.tenant, files.table_name == self.table, files.status == "loaded")
        rows = connection.execute(
            sa.select(files.delivered_on, files.snapshot)
            .where(*of_table, files.delivered_on >= delivered_on, files.snapshot.is_not(None))
            .order_by(files.delivered_on)
        ).all()
        own = 0
        for day, snapshot in {row.delivered_on: row.snapshot for row in rows}.items():
            refused = connection.scalar(
                sa.select(sa.func.count())
                .select_from(ingested_files)
                .where(*of_table[:2], files.delivered_on == day, files.status == "refused")
            )
            found = _manifest(connection, *self._of, day).get(day, [])
            incomplete = refused or any(
                row.status != "loaded" or quarantine.open_count(connection, *self._of, row.sha256) for row in found
            )
            if incomplete:
                self._count_warning(SNAPSHOT_WAITS, 1)
                continue
            count = take_back_vanished(connection, self.work, self.table, day, snapshot, marks)
            own += count if day == delivered_on else 0
        return own

    def _instructional_days(self, connection: Connection, delivered_on: dt.date, files: list[sa.Row]) -> None:
        """Store the school days that the source's own calendar names."""
        if self.table != "attendance_records":
            return
        named: set[dt.date] = set()
        for row in files:
            path = archive_path(self.raw_dir, self.work.tenant, self.table, delivered_on, row.file_name, row.sha256)
            named.update(archived_instructional_days(path))
        if not named:
            return
        days = instructional_days.c
        stored = set(connection.scalars(sa.select(days.date).where(days.tenant_id == self.work.tenant)))
        if named & stored:
            connection.execute(
                instructional_days.update()
                .where(
                    days.tenant_id == self.work.tenant,
                    days.date.in_(sorted(named & stored)),
                    days.delivered_on < delivered_on,
                )
                .values(delivered_on=delivered_on)
            )
        if named - stored:
            connection.execute(
                instructional_days.insert(),
                [
                    {"tenant_id": self.work.tenant, "date": day, "delivered_on": delivered_on}
                    for day in sorted(named - stored)
                ],
            )

    # The manifest

    def _mark_week(self, connection: Connection, delivered_on: dt.date, rows: int, marks: Marks) -> None:
        """A week becomes one with data, or a domain begins: every student's vectors from there on are stale."""
        week = week_of_delivery(delivered_on)
        files = ingested_files.c
        loaded = connection.execute(
            sa.select(files.delivered_on, files.rows_read).where(
                files.tenant_id == self.work.tenant,
                files.table_name == self.table,
                files.status == "loaded",
                files.delivered_on >= week,
                files.delivered_on <= week + dt.timedelta(days=8),
            )
        ).all()
        of_week = [count for day, count in loaded if week_of_delivery(day) == week]
        if not of_week or (rows and not any(of_week)):
            marks.add_everybody("student_features", week)

    def _supersede_replaced(self, connection: Connection, row: sa.Row) -> None:
        """A corrected file of the same name in the same delivery replaces the content that was loaded before."""
        files = ingested_files.c
        replaced = connection.execute(
            sa.select(files.id, files.sha256).where(
                *(
                    files[name] == getattr(row, name)
                    for name in ("tenant_id", "table_name", "delivered_on", "file_name")
                ),
                files.sha256 != row.sha256,
                files.status == "loaded",
            )
        ).all()
        for identifier, sha256 in replaced:
            connection.execute(ingested_files.update().where(files.id == identifier).values(status="superseded"))
            elsewhere = connection.scalar(
                sa.select(sa.func.count())
                .select_from(ingested_files)
                .where(
                    files.tenant_id == row.tenant_id,
                    files.table_name == row.table_name,
                    files.sha256 == sha256,
                    files.status == "loaded",
                )
            )
            if not elsewhere:
                quarantine.supersede(connection, self.work, row.table_name, sha256)

    def _account(
        self, connection: Connection, row: sa.Row, outcome: Mapping[str, int], *, confirms_only: bool = False
    ) -> None:
        connection.execute(
            ingested_files.update()
            .where(ingested_files.c.id == row.id)
            .values(
                status="loaded",
                rows_inserted=outcome.get("inserted", 0),
                rows_updated=outcome.get("updated", 0),
                rows_unchanged=outcome.get("unchanged", 0),
                rows_quarantined=outcome.get("quarantined", 0),
                confirms_only=confirms_only,
                loaded_at=dt.datetime.now(dt.UTC),
                run_id=self.work.run_id,
            )
        )

    def _correct_accounts(self, connection: Connection, row: sa.Row, freed: Mapping[str, int]) -> None:
        """Move freed rows from quarantined to what they became, in each delivery of this content that held them."""
        files = ingested_files.c
        count = sum(freed.values())
        held = (
            files.tenant_id == row.tenant_id,
            files.table_name == row.table_name,
            files.sha256 == row.sha256,
            files.status == "loaded",
            files.rows_quarantined >= count,
        )
        connection.execute(
            ingested_files.update()
            .where(*held, files.id == row.id)
            .values(
                rows_inserted=files.rows_inserted + freed.get("inserted", 0),
                rows_updated=files.rows_updated + freed.get("updated", 0),
                rows_unchanged=files.rows_unchanged + freed.get("unchanged", 0),
                rows_quarantined=files.rows_quarantined - count,
            )
        )
        connection.execute(
            ingested_files.update()
            .where(*held, files.id != row.id)
            .values(rows_unchanged=files.rows_unchanged + count, rows_quarantined=files.rows_quarantined - count)
        )

    def _add_deleted(self, connection: Connection, row: sa.Row, count: int) -> None:
        if count:
            of_file = ingested_files.update().where(ingested_files.c.id == row.id)
            connection.execute(of_file.values(rows_deleted=ingested_files.c.rows_deleted + count))


@contextmanager
def _exclusively(work: Work, table: str) -> Iterator[Connection]:
    """A transaction in which nobody else loads this table of this tenant: a second load waits for the first."""
    with work.writing() as connection:
        take_turn(connection, work.tenant, [table])
        yield connection


def _added(row: sa.Row, outcome: Mapping[str, int]) -> Mapping[str, int]:
    """The account of a file that is merged a second time: what it brought the first time it has brought."""
    inserted = row.rows_inserted + outcome.get("inserted", 0)
    updated = row.rows_updated + outcome.get("updated", 0)
    quarantined = outcome.get("quarantined", 0)
    unchanged = row.rows_read - inserted - updated - quarantined
    if unchanged < 0:  # a row was inserted the first time and updated the second
        return outcome
    return {"inserted": inserted, "updated": updated, "unchanged": unchanged, "quarantined": quarantined}


def _left_out(files: list[sa.Row]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for row in files:
        counts.update(row.left_out or {})
    return dict(sorted(counts.items()))


def _without_copies(files: list[sa.Row]) -> list[sa.Row]:
    """The files of one delivery without those whose content an earlier one has: a copy says nothing of its own."""
    originals: dict[str, sa.Row] = {}
    for row in files:
        originals.setdefault(row.sha256, row)
    return list(originals.values())
