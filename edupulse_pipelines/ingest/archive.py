"""The raw archive: landed files kept as they came, as string-typed Parquet, with the manifest that names them.

Written once and never changed: `<raw>/<tenant>/<table>/<delivery date>/<file>.<hash>.parquet`, one row per data row of
the file with its line number. A file that is refused is kept byte for byte beside it (`….refused`). Nothing is
validated here beyond what reading needs.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from edupulse_pipelines.database import new_ids, writing
from edupulse_pipelines.ingest.landing import Delivery, landed_deliveries
from edupulse_pipelines.schema.sqlalchemy_tables import ingested_files
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.sources.canonical_csv import CanonicalCsv, CsvRow, RefusedFile
from edupulse_pipelines.weeks import week_of_delivery

LINE_NUMBER = "_line_number"
FILE_NAME = "_file_name"
SHA256 = "_sha256"
PROBLEM = "_problem"
FIELDS = "_fields"
"""The fields of a row with a problem, as a JSON list: it does not fit the header's columns."""
SYSTEM_COLUMNS = (LINE_NUMBER, FILE_NAME, SHA256, PROBLEM, FIELDS)
_ROWS_PER_GROUP = 50_000


@dataclass(frozen=True, kw_only=True)
class ArchivedFile:
    """What became of one landed file: `archived`, `known` (archived by an earlier run) or `refused`."""

    week: dt.date
    delivered_on: dt.date
    file_name: str
    status: str
    rows: int
    size_bytes: int
    reason: str | None = None
    detail: str | None = None
    unknown_columns: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ArchiveReport:
    """The files of one table in the weeks that were asked for, in order of delivery."""

    files: list[ArchivedFile]

    @property
    def refused(self) -> list[ArchivedFile]:
        """The files that could not be read at all."""
        return [file for file in self.files if file.status == "refused"]


def archive_path(raw_dir: Path, tenant: str, table: str, delivered_on: dt.date, file_name: str, sha256: str) -> Path:
    """Where the archive of a file lies."""
    return raw_dir / tenant / table / delivered_on.isoformat() / f"{file_name}.{sha256[:16]}.parquet"


def archive_files(
    engine: Engine,
    raw_dir: Path,
    tenant: TenantSettings,
    table: str,
    weeks: Iterable[dt.date],
    run_id: str | None = None,
) -> ArchiveReport:
    """Archive the files of `table` that were delivered for `weeks` (Mondays), and enter them in the manifest.

    A file known by name, delivery and hash is not read again. A refused file is entered with its reason and reads zero
    rows. LandingError as `landed_deliveries` raises it.
    """
    wanted = set(weeks)
    files: list[ArchivedFile] = []
    present: set[tuple[dt.date, str]] = set()
    for delivery in landed_deliveries(tenant):
        if delivery.week not in wanted:
            continue
        files.extend(
            _archive(engine, raw_dir, tenant.name, table, delivery, path, run_id)
            for path in delivery.files.get(table, [])
        )
        present.update((delivery.delivered_on, path.name) for path in delivery.files.get(table, []))
    _withdraw_missing(engine, tenant.name, table, wanted, present)
    return ArchiveReport(files)


def refused_files(engine: Engine, tenant: str, weeks: Iterable[dt.date]) -> list[str]:
    """The refused files of the deliveries of `weeks` that have not been replaced or taken away, one line each."""
    wanted = set(weeks)
    files = ingested_files.c
    with engine.connect() as connection:
        rows = connection.execute(
            sa.select(files.delivered_on, files.file_name, files.detail)
            .where(files.tenant_id == tenant, files.status == "refused")
            .order_by(files.delivered_on, files.file_name)
        ).all()
    return [f"{day}/{name}: {detail}" for day, name, detail in rows if week_of_delivery(day) in wanted]


def weeks_not_archived(engine: Engine, tenant: TenantSettings, until: dt.date) -> list[dt.date]:
    """The weeks up to `until` (Mondays, ascending) with a landed file whose name no run has seen yet.

    Such a delivery came after its week's run, which nobody will repeat by chance. Reads names only, no contents.
    """
    files = ingested_files.c
    with engine.connect() as connection:
        seen = {
            tuple(row)
            for row in connection.execute(
                sa.select(files.delivered_on, files.file_name).where(files.tenant_id == tenant.name)
            )
        }
    return sorted(
        {
            delivery.week
            for delivery in landed_deliveries(tenant)
            if delivery.week <= until
            for paths in delivery.files.values()
            for path in paths
            if (delivery.delivered_on, path.name) not in seen
        }
    )


def read_archive(path: Path, batch_rows: int) -> Iterator[pa.RecordBatch]:
    """The archived rows in file order, in batches."""
    with pq.ParquetFile(path) as archive:
        yield from archive.iter_batches(batch_size=batch_rows)


def archived_header(path: Path) -> list[str]:
    """The header of the archived file, in its order."""
    return [name for name in pq.read_schema(path).names if name not in SYSTEM_COLUMNS]


def _archive(
    engine: Engine, raw_dir: Path, tenant: str, table: str, delivery: Delivery, path: Path, run_id: str | None
) -> ArchivedFile:
    sha256, size = _hash(path)
    target = archive_path(raw_dir, tenant, table, delivery.delivered_on, path.name, sha256)
    identity = {
        "tenant_id": tenant,
        "table_name": table,
        "delivered_on": delivery.delivered_on,
        "file_name": path.name,
        "sha256": sha256,
    }
    known = _manifest_row(engine, identity)
    if known is not None and known.status in ("archived", "loaded") and target.exists():
        with writing(engine) as connection:
            _supersede_unloaded(connection, identity)
        return ArchivedFile(
            week=delivery.week,
            delivered_on=delivery.delivered_on,
            file_name=path.name,
            status="known",
            rows=known.rows_read,
            size_bytes=size,
            unknown_columns=known.unknown_columns or [],
        )
    values: dict[str, object] = {"size_bytes": size, "run_id": run_id, "archived_at": dt.datetime.now(dt.UTC)}
    try:
        source = CanonicalCsv(path, table)
        reserved = sorted(set(source.header) & set(SYSTEM_COLUMNS))
        if reserved:
            raise RefusedFile(
                "reserved_column", f"line 1: column {reserved[0]!r} has a name that is kept for the archive"
            )
        rows = _write(target, source, path.name, sha256)
        values |= {
            "status": "archived",
            "rows_read": rows,
            "unknown_columns": source.unknown_columns,
            "reason": None,
            "detail": None,
        }
    except RefusedFile as refusal:
        rows = 0
        kept = target.with_suffix(".refused")
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, kept)
        values |= {"status": "refused", "rows_read": 0, "reason": refusal.reason, "detail": refusal.detail}
    with writing(engine) as connection:
        if known is None:
            connection.execute(ingested_files.insert().values(id=new_ids(1)[0], **identity, **values))
        else:
            connection.execute(ingested_files.update().where(ingested_files.c.id == known.id).values(**values))
        if values["status"] == "archived":
            _supersede_unloaded(connection, identity)
    return ArchivedFile(
        week=delivery.week,
        delivered_on=delivery.delivered_on,
        file_name=path.name,
        status=str(values["status"]),
        rows=rows,
        size_bytes=size,
        reason=values.get("reason"),  # type: ignore[arg-type]
        detail=values.get("detail"),  # type: ignore[arg-type]
        unknown_columns=values.get("unknown_columns") or [],  # type: ignore[arg-type]
    )


def _hash(path: Path) -> tuple[str, int]:
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256")
        return digest.hexdigest(), stream.tell()


def _manifest_row(engine: Engine, identity: dict[str, object]) -> sa.Row | None:
    with engine.connect() as connection:
        return connection.execute(
            sa.select(ingested_files).where(*(ingested_files.c[name] == value for name, value in identity.items()))
        ).one_or_none()


def _supersede_unloaded(connection: Connection, identity: dict[str, object]) -> None:
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


def _withdraw_missing(
    engine: Engine, tenant: str, table: str, weeks: set[dt.date], present: set[tuple[dt.date, str]]
) -> None:
    """A refused file that is no longer landed has been taken away by a person; it stops nothing any more."""
    files = ingested_files.c
    with writing(engine) as connection:
        refused = connection.execute(
            sa.select(files.id, files.delivered_on, files.file_name).where(
                files.tenant_id == tenant, files.table_name == table, files.status == "refused"
            )
        ).all()
        for identifier, delivered_on, file_name in refused:
            if week_of_delivery(delivered_on) in weeks and (delivered_on, file_name) not in present:
                connection.execute(ingested_files.update().where(files.id == identifier).values(status="withdrawn"))


def _write(target: Path, source: CanonicalCsv, file_name: str, sha256: str) -> int:
    """Write the archive under a temporary name and move it into place; the number of data rows."""
    target.parent.mkdir(parents=True, exist_ok=True)
    schema = pa.schema(
        [
            pa.field(LINE_NUMBER, pa.int64(), nullable=False),
            pa.field(FILE_NAME, pa.string(), nullable=False),
            pa.field(SHA256, pa.string(), nullable=False),
            pa.field(PROBLEM, pa.string()),
            pa.field(FIELDS, pa.string()),
            *(pa.field(name, pa.string()) for name in source.header),
        ]
    )
    temporary = target.with_suffix(f".{os.getpid()}.tmp")
    count = 0
    try:
        with pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
            group: list[CsvRow] = []
            for row in source.rows():
                group.append(row)
                if len(group) == _ROWS_PER_GROUP:
                    writer.write_table(_as_table(group, schema, file_name, sha256))
                    count += len(group)
                    group = []
            writer.write_table(_as_table(group, schema, file_name, sha256))
            count += len(group)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return count


def _as_table(rows: list[CsvRow], schema: pa.Schema, file_name: str, sha256: str) -> pa.Table:
    width = len(schema) - len(SYSTEM_COLUMNS)
    aligned = [row.fields if row.problem is None else [""] * width for row in rows]
    columns: list[pa.Array] = [
        pa.array([row.line_number for row in rows], pa.int64()),
        pa.array([file_name] * len(rows), pa.string()),
        pa.array([sha256] * len(rows), pa.string()),
        pa.array([row.problem for row in rows], pa.string()),
        pa.array(
            [None if row.problem is None else json.dumps(row.fields, ensure_ascii=False) for row in rows], pa.string()
        ),
    ]
    # Only the empty field is NULL; every other text is a value, whatever it spells.
    columns.extend(pa.array([value or None for value in values], pa.string()) for values in zip(*aligned, strict=True))
    if not rows:
        columns.extend(pa.array([], pa.string()) for _ in range(width))
    return pa.Table.from_arrays(columns, schema=schema)
