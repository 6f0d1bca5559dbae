"""Loading one record table: its deliveries in order, each validated and merged in one transaction with its account.

Also tries waiting quarantined rows again. For every file, read = inserted + updated + unchanged + quarantined. Reading
formats is in `sources`, judging in `validation`, writing in `merge` and `quarantine`.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from edupulse_pipelines.database import writing
from edupulse_pipelines.ingest import quarantine
from edupulse_pipelines.ingest.archive import LINE_NUMBER, PROBLEM, SHA256, archive_path, archived_header, read_archive
from edupulse_pipelines.ingest.frames import KEY, REPEAT, Identities, fingerprints, set_apart, with_numbers
from edupulse_pipelines.ingest.merge import Record, mark_delivery_week, merge_records, student_ids
from edupulse_pipelines.ingest.validation import (
    MISSING_PREDICTION,
    UNKNOWN_PREDICTION,
    UNKNOWN_STUDENT,
    Reasons,
    failed_expectations,
    validate,
)
from edupulse_pipelines.schema.declaration import Column
from edupulse_pipelines.schema.delivery import DELIVERED
from edupulse_pipelines.schema.expectations import NUMBER_SUFFIX, numeric
from edupulse_pipelines.schema.sqlalchemy_tables import ingested_files, predictions, students
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.weeks import week_of_delivery

CHUNK_ROWS = 100_000
_NAMES_PER_QUERY = 5_000
Progress = Callable[[int, int], None]


@dataclass
class DeliveryCounts:
    """The account of one table in one delivery."""

    week: dt.date
    delivered_on: dt.date
    read: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    quarantined: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    failed_expectations: list[dict[str, Any]] = field(default_factory=list)

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


def load_records(
    engine: Engine,
    raw_dir: Path,
    tenant: TenantSettings,
    table: str,
    weeks: Iterable[dt.date],
    run_id: str | None = None,
    progress: Progress | None = None,
) -> LoadReport:
    """Try the waiting rows of `table` again, then merge its archived deliveries for `weeks` (Mondays), oldest first.

    Deliveries of earlier weeks that were archived and never merged, because their run stopped before, are taken along.

    A delivery whose files are all known by content is only counted again. Each delivery is one transaction: rows,
    manifest, quarantine and marks of what has to be recomputed come together or not at all. `progress` gets rows done
    and rows in all.
    """
    deliveries = sorted(_due(engine, tenant.name, table, set(weeks)).items())
    total = sum(row.rows_read for _, files in deliveries for row in files)
    report = LoadReport()
    done = 0
    loader = _Loader(engine, raw_dir, tenant, table, run_id, report)
    # First, because one content may also be in a delivery that is merged now, and would close the entry they share.
    report.replayed = loader.replay()
    for delivered_on, files, judged in loader.judged(deliveries):
        with writing(engine) as connection:
            if judged is None:
                counts = loader.count_again(connection, delivered_on, files)
            else:
                counts = loader.merge(connection, delivered_on, files, judged)
        counts.failed_expectations = failed_expectations(table, counts.reasons, weighted=loader.weighted)
        report.deliveries.append(counts)
        done += counts.read
        if progress is not None:
            progress(done, total)
    return report


def _due(engine: Engine, tenant: str, table: str, weeks: set[dt.date]) -> dict[dt.date, list[sa.Row]]:
    """The deliveries of `weeks`, and those of earlier weeks with a file that was archived and never merged."""
    return {
        delivered_on: files
        for delivered_on, files in _manifest(engine, tenant, table).items()
        if (week := week_of_delivery(delivered_on)) in weeks
        or (weeks and week < max(weeks) and any(row.status == "archived" for row in files))
    }


def _manifest(engine: Engine, tenant: str, table: str) -> dict[dt.date, list[sa.Row]]:
    """The manifest rows that count, by delivery, in order of file name; of one name only the newest content."""
    files = ingested_files.c
    query = (
        sa.select(ingested_files)
        .where(files.tenant_id == tenant, files.table_name == table, files.status.in_(("archived", "loaded")))
        .order_by(files.delivered_on, files.file_name, files.archived_at, files.sha256)
    )
    newest: dict[tuple[dt.date, str], sa.Row] = {}
    with engine.connect() as connection:
        for row in connection.execute(query):
            newest[row.delivered_on, row.file_name] = row
    deliveries: dict[dt.date, list[sa.Row]] = {}
    for (delivered_on, _), row in newest.items():
        deliveries.setdefault(delivered_on, []).append(row)
    return deliveries


class _Loader:
    """The loading of one table in one run: what every delivery shares."""

    def __init__(
        self, engine: Engine, raw_dir: Path, tenant: TenantSettings, table: str, run_id: str | None, report: LoadReport
    ) -> None:
        self.engine = engine
        self.raw_dir = raw_dir
        self.tenant = tenant
        self.table = table
        self.run_id = run_id
        self.report = report
        self.weighted = tenant.grading_scale == "weighted"
        self._ids: pd.Series | None = None

    def judged(
        self, deliveries: list[tuple[dt.date, list[sa.Row]]]
    ) -> Iterator[tuple[dt.date, list[sa.Row], Iterable[tuple[pd.DataFrame, Reasons]] | None]]:
        """The deliveries in order with their chunks and the reasons of bad rows; None for one that says nothing new.

        Small deliveries are judged together: the price of a validation is mostly per call, not per row.
        """
        group: list[tuple[dt.date, list[sa.Row], _DeliveredRows | None]] = []
        rows_in_group = 0
        for delivered_on, files in deliveries:
            with self.engine.connect() as connection:
                known = self._says_nothing_new(connection, files)
            count = 0 if known else sum(row.rows_read for row in files)
            if group and rows_in_group + count > CHUNK_ROWS:
                yield from self._judge_group(group)
                group, rows_in_group = [], 0
            group.append((delivered_on, files, None if known else _DeliveredRows(self, delivered_on, files)))
            rows_in_group += count
        yield from self._judge_group(group)

    def _judge_group(
        self, group: list[tuple[dt.date, list[sa.Row], _DeliveredRows | None]]
    ) -> Iterator[tuple[dt.date, list[sa.Row], Iterable[tuple[pd.DataFrame, Reasons]] | None]]:
        small = {
            day: next(rows.chunks()) for day, _, rows in group if rows is not None and 0 < rows.count <= CHUNK_ROWS
        }
        reasons: dict[dt.date, Reasons] = {day: {} for day in small}
        if small:
            together = pd.concat(small.values(), ignore_index=True)
            found = validate(together, self.table, weighted=self.weighted)
            start = 0
            for day, chunk in small.items():
                reasons[day] = {
                    position - start: found[position]
                    for position in range(start, start + len(chunk))
                    if position in found
                }
                start += len(chunk)
        for day, files, rows in group:
            if rows is None:
                yield day, files, None
            elif day in small:
                yield day, files, [(small[day], reasons[day])]
            else:
                yield (
                    day,
                    files,
                    ((chunk, validate(chunk, self.table, weighted=self.weighted)) for chunk in rows.chunks()),
                )

    def replay(self) -> int:
        """Try the waiting rows of this table again; the number that could be loaded.

        The delivery is read anew from the archive, so that identity and conflicts are those of the whole delivery; only
        the waiting lines are merged.
        """
        with self.engine.connect() as connection:
            waiting = quarantine.waiting(connection, self.tenant.name, self.table)
            if not waiting:
                return 0
            if self.table != "training_feedback":
                known = self._student_ids(connection)
                waiting = [
                    row for row in waiting if isinstance(row.raw, dict) and row.raw.get("district_id") in known.index
                ]
        lines: dict[str, set[int]] = {}
        for row in waiting:
            lines.setdefault(row.file_hash, set()).add(row.line_number)
        # One content may have been delivered more than once: every delivery has its say, but a row is freed once.
        freed: set[tuple[str, int]] = set()
        for delivered_on, files in sorted(_manifest(self.engine, self.tenant.name, self.table).items()):
            if not any(row.sha256 in lines and row.status == "loaded" for row in files):
                continue
            with writing(self.engine) as connection:
                freed |= self._merge_lines(connection, delivered_on, files, lines, freed)
        return len(freed)

    # One delivery

    def _says_nothing_new(self, connection: Connection, files: list[sa.Row]) -> bool:
        """Whether these files have been loaded, or every row of theirs by one delivery of this date or later.

        One and the same delivery, and not a row of it in quarantine: rows of different files can repeat or contradict
        each other. A student's first delivery is a fact of its own (`enrollment_date`), so for students only the same
        date counts.
        """
        if all(row.status == "loaded" for row in files):
            return True
        manifest = ingested_files.c
        known: set[dt.date] | None = None
        for row in files:
            dates = connection.scalars(
                sa.select(manifest.delivered_on).where(
                    manifest.tenant_id == self.tenant.name,
                    manifest.table_name == self.table,
                    manifest.sha256 == row.sha256,
                    manifest.status == "loaded",
                    manifest.rows_quarantined == 0,
                    manifest.delivered_on == row.delivered_on
                    if self.table == "students"
                    else manifest.delivered_on >= row.delivered_on,
                )
            ).all()
            known = set(dates) if known is None else known & set(dates)
        return bool(known)

    def count_again(self, connection: Connection, delivered_on: dt.date, files: list[sa.Row]) -> DeliveryCounts:
        counts = DeliveryCounts(week_of_delivery(delivered_on), delivered_on)
        reasons: Counter[str] = Counter()
        for row in files:
            held = quarantine.open_count(connection, self.tenant.name, self.table, row.sha256)
            if row.status != "loaded":
                self._supersede_replaced(connection, row)
                self._mark_week(connection, delivered_on, row.rows_read)
                self._account(connection, row, {"unchanged": row.rows_read - held, "quarantined": held})
            counts.read += row.rows_read
            counts.quarantined += held
            counts.unchanged += row.rows_read - held
            reasons.update(quarantine.open_reasons(connection, self.tenant.name, self.table, row.sha256))
        counts.reasons = dict(reasons)
        return counts

    def merge(
        self,
        connection: Connection,
        delivered_on: dt.date,
        files: list[sa.Row],
        chunks: Iterable[tuple[pd.DataFrame, Reasons]],
    ) -> DeliveryCounts:
        """Merge one delivery, keep its bad rows, and enter the account of each of its files."""
        counts = DeliveryCounts(week_of_delivery(delivered_on), delivered_on, read=sum(row.rows_read for row in files))
        headers = self.headers(delivered_on, files)
        self._mark_week(connection, delivered_on, counts.read)
        accounts: dict[str, Counter[str]] = {row.id.hex: Counter() for row in files}
        tally: Counter[str] = Counter()
        for row in files:
            self._supersede_replaced(connection, row)
        for chunk, reasons in chunks:
            outcome = self._merge_chunk(connection, delivered_on, chunk, reasons, headers)
            tally.update(code for codes in reasons.values() for code in codes)
            for row in files:
                mine = chunk["file"] == row.id.hex
                accounts[row.id.hex].update(outcome[mine])
                if mine.any():
                    quarantine.keep(
                        connection,
                        tenant=self.tenant.name,
                        table=self.table,
                        file_hash=row.sha256,
                        file_name=f"{delivered_on}/{row.file_name}",
                        delivered_on=delivered_on,
                        rows=chunk[mine],
                        header=headers[row.id.hex],
                        reasons=reasons,
                        run_id=self.run_id,
                    )
        originals = {row.sha256: accounts[row.id.hex] for row in _without_copies(files)}
        for row in files:
            account = accounts[row.id.hex]
            if account is not originals[row.sha256]:
                held = originals[row.sha256]["quarantined"]
                account.update({"unchanged": row.rows_read - held, "quarantined": held})
                tally.update(quarantine.open_reasons(connection, self.tenant.name, self.table, row.sha256))
            self._account(connection, row, account)
            for name, count in account.items():
                setattr(counts, name, getattr(counts, name) + count)
        counts.reasons = dict(sorted(tally.items()))
        return counts

    def _merge_lines(
        self,
        connection: Connection,
        delivered_on: dt.date,
        files: list[sa.Row],
        lines: dict[str, set[int]],
        freed_before: set[tuple[str, int]],
    ) -> set[tuple[str, int]]:
        """Merge only these lines (by file hash) of the delivery; those (file hash, line) that are good now."""
        freed: set[tuple[str, int]] = set()
        rows = _DeliveredRows(self, delivered_on, files)
        headers = self.headers(delivered_on, files)
        for whole in rows.chunks():
            asked = [line in lines.get(sha, ()) for sha, line in zip(whole[SHA256], whole[LINE_NUMBER], strict=True)]
            chunk = whole[asked]
            if chunk.empty:
                continue
            reasons = validate(chunk, self.table, weighted=self.weighted)
            outcome = self._merge_chunk(connection, delivered_on, chunk, reasons, headers)
            for row in files:
                good = {
                    (row.sha256, int(line)): outcome[position]
                    for position, line in chunk.loc[chunk["file"] == row.id.hex, LINE_NUMBER].items()
                    if outcome[position] != "quarantined"
                }
                new = [line for line in good if line not in freed_before]
                if new:
                    quarantine.release(connection, self.tenant.name, self.table, row.sha256, [line for _, line in new])
                    self._correct_accounts(connection, row, Counter(good[line] for line in new))
                freed |= set(good)
                still_bad = {
                    int(line): reasons[position]
                    for position, line in chunk.loc[chunk["file"] == row.id.hex, LINE_NUMBER].items()
                    if position in reasons
                }
                quarantine.reconsider(connection, self.tenant.name, self.table, row.sha256, still_bad)
        return freed

    def _merge_chunk(
        self,
        connection: Connection,
        delivered_on: dt.date,
        chunk: pd.DataFrame,
        reasons: Reasons,
        headers: dict[str, list[str]],
    ) -> pd.Series:
        """Merge the good rows; what became of each row, by position. Adds the database's reasons."""
        references = self._resolve(connection, chunk, reasons)
        bad = chunk.index.isin(list(reasons))
        repeat = chunk[REPEAT].to_numpy()
        good = chunk[~bad & ~repeat]
        if self.table == "students":
            self._warn(good)
        records = self._records(good, references, headers)
        outcome = pd.Series(np.where(bad, "quarantined", "unchanged").astype(object), index=chunk.index)
        if records:
            merged = merge_records(connection, self.tenant.name, self.table, list(records.values()), delivered_on)
            outcome.loc[list(records)] = np.array(merged, dtype=object)
        return outcome

    def headers(self, delivered_on: dt.date, files: list[sa.Row]) -> dict[str, list[str]]:
        """Each file's header, by the id of its manifest row."""
        return {row.id.hex: archived_header(self.path(delivered_on, row)) for row in files}

    def path(self, delivered_on: dt.date, row: sa.Row) -> Path:
        """Where the archive of a file lies."""
        return archive_path(self.raw_dir, self.tenant.name, self.table, delivered_on, row.file_name, row.sha256)

    # What a row refers to

    def _resolve(self, connection: Connection, chunk: pd.DataFrame, reasons: Reasons) -> dict[int, Any]:
        """By position the id of the student (feedback: the prediction) a row is about; else adds a reason."""
        readable = chunk[chunk[PROBLEM].isna()]
        if self.table == "students":
            return {}
        if self.table == "training_feedback":
            found = self._prediction_ids(connection, readable)
        else:
            numbers = readable["district_id"]
            ids = numbers.map(self._student_ids(connection))
            found = {
                position: identifier if pd.notna(identifier) else UNKNOWN_STUDENT
                for position, identifier, there in zip(ids.index.tolist(), ids, numbers.notna(), strict=True)
                if there
            }
        for position, reference in found.items():
            if isinstance(reference, str):
                reasons.setdefault(position, []).append(reference)
        return found

    def _student_ids(self, connection: Connection) -> pd.Series:
        if self._ids is None:
            self._ids = student_ids(connection, self.tenant.name)
        return self._ids

    def _prediction_ids(self, connection: Connection, chunk: pd.DataFrame) -> dict[int, Any]:
        """By position the prediction that the row names, or a reason code (text) when there is none.

        By `prediction_id`; else by student and local day (or as-of Sunday) of the prediction, and model version where
        given. Of several, the latest by as-of date, moment and id.
        """
        named = [guid for text in _texts(chunk, "prediction_id") if (guid := _guid(text)) is not None]
        numbers = _texts(chunk, "district_id")
        by_id: dict[uuid.UUID, Any] = {}
        by_day: dict[tuple[str, str, str | None], Any] = {}
        zone = ZoneInfo(self.tenant.timezone)
        for row in self._predictions(connection, named, numbers):
            by_id[row.id] = row.id
            for day in (row.prediction_date.astimezone(zone).date(), row.feature_date):
                for version in (row.model_version, None):
                    by_day[row.district_id, day.isoformat(), version] = row.id
        found: dict[int, Any] = {}
        for position, fields in zip(chunk.index, chunk.to_dict("records"), strict=True):
            text, number, day, version = (
                value if isinstance(value := fields.get(name), str) else None
                for name in ("prediction_id", "district_id", "prediction_date", "model_version")
            )
            if text is not None:
                found[int(position)] = by_id.get(_guid(text), UNKNOWN_PREDICTION)  # type: ignore[arg-type]
            elif number is not None and day is not None:
                found[int(position)] = by_day.get((number, day, version), UNKNOWN_PREDICTION)
            else:
                found[int(position)] = MISSING_PREDICTION
        return found

    def _predictions(self, connection: Connection, named: list[uuid.UUID], numbers: list[str]) -> list[sa.Row]:
        query = (
            sa.select(
                predictions.c.id,
                predictions.c.prediction_date,
                predictions.c.feature_date,
                predictions.c.model_version,
                students.c.district_id,
            )
            .join(students, students.c.id == predictions.c.student_id)
            .where(predictions.c.tenant_id == self.tenant.name)
        )
        found: dict[uuid.UUID, sa.Row] = {}
        for column, values in ((predictions.c.id, named), (students.c.district_id, numbers)):
            for start in range(0, len(values), _NAMES_PER_QUERY):  # SQLite allows so many parameters and no more
                for row in connection.execute(query.where(column.in_(values[start : start + _NAMES_PER_QUERY]))):
                    found[row.id] = row
        return sorted(found.values(), key=lambda row: (row.feature_date, row.prediction_date, row.id))

    def _records(
        self, good: pd.DataFrame, references: dict[int, Any], headers: dict[str, list[str]]
    ) -> dict[int, Record]:
        """The rows as records for `merge_records`, with the types of the table, by position.

        A field whose column the row's file lacks is left out of its record: it was not delivered.
        """
        made: dict[int, Record] = {}
        for file, rows in good.groupby("file", sort=False):
            delivered = [column for column in DELIVERED[self.table].columns if column.name in headers[str(file)]]
            values = [_typed(rows, column) for column in delivered]
            names = [column.name for column in delivered]
            for position, key, row in zip(rows.index, rows[KEY], zip(*values, strict=True), strict=True):
                record: Record = dict(zip(names, row, strict=True))
                record["key"] = key
                if self.table == "students":
                    # An empty enrolment date is one that the district does not know, not one that it takes back.
                    if record.get("enrollment_date") is None:
                        record.pop("enrollment_date", None)
                elif self.table == "training_feedback":
                    record["prediction_id"] = references[int(position)]
                else:
                    record["student_id"] = references[int(position)]
                    if self.table == "attendance_records":
                        period = record.setdefault("period", None)
                        record["key"] = (record["student_id"], record["date"], -1 if period is None else period)
                made[int(position)] = record
        return made

    def _warn(self, good: pd.DataFrame) -> None:
        if "exit_date" in good and "enrollment_date" in good:
            backwards = int((good["exit_date"] < good["enrollment_date"]).fillna(False).sum())
            if backwards:
                warnings = self.report.warnings
                warnings["exit_before_enrollment"] = warnings.get("exit_before_enrollment", 0) + backwards

    # The manifest

    def _mark_week(self, connection: Connection, delivered_on: dt.date, rows: int) -> None:
        """A week becomes one with data, or a domain begins: every student's vectors from there on are stale."""
        week = week_of_delivery(delivered_on)
        files = ingested_files.c
        loaded = connection.execute(
            sa.select(files.delivered_on, files.rows_read).where(
                files.tenant_id == self.tenant.name,
                files.table_name == self.table,
                files.status == "loaded",
                files.delivered_on >= week,
                files.delivered_on <= week + dt.timedelta(days=8),
            )
        ).all()
        of_week = [count for day, count in loaded if week_of_delivery(day) == week]
        if not of_week or (rows and not any(of_week)):
            mark_delivery_week(connection, self.tenant.name, week)

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
                quarantine.supersede(connection, row.tenant_id, row.table_name, sha256)

    def _account(self, connection: Connection, row: sa.Row, outcome: Mapping[str, int]) -> None:
        connection.execute(
            ingested_files.update()
            .where(ingested_files.c.id == row.id)
            .values(
                status="loaded",
                rows_inserted=outcome.get("inserted", 0),
                rows_updated=outcome.get("updated", 0),
                rows_unchanged=outcome.get("unchanged", 0),
                rows_quarantined=outcome.get("quarantined", 0),
                loaded_at=dt.datetime.now(dt.UTC),
                run_id=self.run_id,
            )
        )

    def _correct_accounts(self, connection: Connection, row: sa.Row, freed: Mapping[str, int]) -> None:
        """Move freed rows from quarantined to what they became, for every delivery of this content."""
        files = ingested_files.c
        count = sum(freed.values())
        connection.execute(
            ingested_files.update()
            .where(files.id == row.id)
            .values(
                rows_inserted=files.rows_inserted + freed.get("inserted", 0),
                rows_updated=files.rows_updated + freed.get("updated", 0),
                rows_unchanged=files.rows_unchanged + freed.get("unchanged", 0),
                rows_quarantined=files.rows_quarantined - count,
            )
        )
        connection.execute(
            ingested_files.update()
            .where(
                files.tenant_id == row.tenant_id,
                files.table_name == row.table_name,
                files.sha256 == row.sha256,
                files.status == "loaded",
                files.id != row.id,
            )
            .values(rows_unchanged=files.rows_unchanged + count, rows_quarantined=files.rows_quarantined - count)
        )


class _DeliveredRows:
    """One table's rows of one delivery, in typed and identified chunks, indexed by position in the delivery.

    A delivery of one chunk is read once; a larger one twice, so that memory does not grow with the file.
    """

    def __init__(self, loader: _Loader, delivered_on: dt.date, files: list[sa.Row]) -> None:
        self._table = loader.table
        originals = _without_copies(files)
        self._paths = {row.id.hex: loader.path(delivered_on, row) for row in originals}
        self.delivered_on = delivered_on
        self.count = sum(row.rows_read for row in originals)
        self._only_chunk = next(self._read(), None) if self.count <= CHUNK_ROWS else None
        hashes = [fingerprints(chunk, self._table) for chunk in self._again()]
        self._identities = Identities(pd.concat(hashes, ignore_index=True)) if hashes else None

    def chunks(self) -> Iterator[pd.DataFrame]:
        """The rows with `file` (id of the manifest row), `delivered_on`, numbers and identity."""
        start = 0
        for frame in self._again():
            assert self._identities is not None
            yield self._identities.attach(frame, self._table, start)
            start += len(frame)

    def _again(self) -> Iterator[pd.DataFrame]:
        if self.count <= CHUNK_ROWS:
            return iter([] if self._only_chunk is None else [self._only_chunk])
        return self._read()

    def _read(self) -> Iterator[pd.DataFrame]:
        start = 0
        parts: list[pd.DataFrame] = []
        for file, path in self._paths.items():
            for batch in read_archive(path, CHUNK_ROWS):
                part = pa.Table.from_batches([batch]).to_pandas()
                part = set_apart(part, self._table)
                part["file"] = file
                parts.append(part)
                if sum(map(len, parts)) >= CHUNK_ROWS:
                    yield self._chunk(parts, start)
                    start += sum(map(len, parts))
                    parts = []
        if parts:
            yield self._chunk(parts, start)

    def _chunk(self, parts: list[pd.DataFrame], start: int) -> pd.DataFrame:
        frame = pd.concat(parts, ignore_index=True)
        frame.index = pd.RangeIndex(start, start + len(frame))
        frame["delivered_on"] = self.delivered_on.isoformat()
        return with_numbers(frame, self._table)


def _without_copies(files: list[sa.Row]) -> list[sa.Row]:
    """The files of one delivery without those whose content an earlier one has: a copy says nothing of its own."""
    originals: dict[str, sa.Row] = {}
    for row in files:
        originals.setdefault(row.sha256, row)
    return list(originals.values())


def _typed(rows: pd.DataFrame, column: Column) -> list[Any]:
    present = rows[column.name].notna().tolist()
    if numeric(column):
        numbers = rows[column.name + NUMBER_SUFFIX].tolist()
        cast: Callable[[float], Any] = int if column.type == "integer" else float
        return [cast(value) if there else None for value, there in zip(numbers, present, strict=True)]
    parse: Callable[[str], Any] = {"date": dt.date.fromisoformat, "json": orjson.loads}.get(column.type, str)
    return [parse(value) if there else None for value, there in zip(rows[column.name].tolist(), present, strict=True)]


def _texts(frame: pd.DataFrame, name: str) -> list[str]:
    return [str(text) for text in frame[name].dropna().unique()] if name in frame else []


def _guid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
