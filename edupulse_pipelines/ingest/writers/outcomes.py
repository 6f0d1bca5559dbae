"""What every writer takes and gives: a judged piece that is prepared without the database, and an outcome per row.

How rows are written is in the writers beside this module.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
from sqlalchemy.engine import Connection

from edupulse_pipelines.ingest.delivered_rows import DeliveredRows
from edupulse_pipelines.ingest.frames import Integers, Mask, Piece, as_numbers
from edupulse_pipelines.ingest.marks import Marks
from edupulse_pipelines.ingest.references import Students
from edupulse_pipelines.ingest.validation import Reasons
from edupulse_pipelines.schema.answers import answer
from edupulse_pipelines.schema.declaration import Column
from edupulse_pipelines.schema.delivery import DELIVERED
from edupulse_pipelines.schema.tables import ACCOUNTS
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.storage.work import Work

INSERTED, UPDATED, UNCHANGED, QUARANTINED = range(4)
OUTCOMES = ACCOUNTS[1:]
"""What becomes of a row; the numbers above are positions in this."""
Outcomes = npt.NDArray[np.int8]

ARROW_TYPES: dict[str, pa.DataType] = {
    "guid": pa.string(),
    "text": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "date": pa.date32(),
    "json": pa.string(),
    "boolean": pa.bool_(),
}


@dataclass(frozen=True)
class Target:
    """Where a delivery's rows go: the transaction of the delivery, and what its rows are about and make stale.

    warnings: counted by name while rows are written; a warning quarantines nothing. raised: numbers of students whose
    rows name the child otherwise than what is stored, so that whose they are has to be looked at.
    """

    connection: Connection
    work: Work
    tenant: TenantSettings
    rows: DeliveredRows
    students: Students
    marks: Marks
    warnings: Counter[str]
    raised: set[str]


@dataclass
class Prepared:
    """A judged piece; `asked`: the rows to write (the others are looked at and left alone)."""

    piece: Piece
    reasons: Reasons
    asked: Mask

    def good(self) -> Mask:
        """The rows to write: asked for, without a reason, and not said before in the delivery."""
        good = self.asked & ~self.piece.repeat
        if self.piece.silent is not None:
            good &= ~self.piece.silent
        if self.reasons:
            good[list(self.reasons)] = False
        return good


PreparedT = TypeVar("PreparedT", bound=Prepared)


class Writer(Protocol[PreparedT]):
    """Writes one delivery, in the transaction of its target: `prepare` and `write` each piece, then `close`."""

    @staticmethod
    def make_room(work: Work, tenant: TenantSettings, rows: DeliveredRows) -> None:
        """What has to be there before the delivery's transaction begins; in transactions of its own."""

    def prepare(self, piece: Piece, reasons: Reasons, asked: Mask) -> PreparedT:
        """Sort out a piece and add the reasons that are known without the database, which is not asked anything.

        May be called by another thread than the one that writes.
        """

    def write(self, prepared: PreparedT) -> Outcomes:
        """Write the good rows and add the reasons that the database gives; what became of each row of the piece."""

    def close(self) -> None:
        """What remains to be done when every piece is written."""


def settled(outcomes: Outcomes, reasons: Reasons, refused: Reasons) -> Outcomes:
    """The outcomes with every row that has a reason quarantined; `refused` is added to `reasons`."""
    for row, codes in refused.items():
        reasons.setdefault(row, []).extend(codes)
    if reasons:
        outcomes[list(reasons)] = QUARANTINED
    return outcomes


def typed(piece: Piece, column: Column, rows: Integers) -> pa.Array:
    """The column of these good rows, with the type of the table's column; null for the empty field.

    Of a row that takes a record back only the key has been judged, so only that is read.
    """
    if column.name not in piece.columns:
        return pa.nulls(len(rows), ARROW_TYPES[column.type])
    coded = piece.columns[column.name]
    codes = coded.codes[rows]
    if column.name not in DELIVERED[piece.table].key_columns and (deleted := piece.deleted[rows]).any():
        codes = np.where(deleted & piece.names_its_record()[rows], -1, codes)
    # Only what good rows say can be parsed.
    used, inverse = np.unique(codes, return_inverse=True)
    empty = len(used) > 0 and used[0] < 0
    values = _parsed(coded.texts.take(pa.array(used[1:] if empty else used)), column)
    places = inverse - 1 if empty else inverse
    return values.take(pa.array(places, pa.int32(), mask=places < 0))


def _parsed(texts: pa.Array, column: Column) -> pa.Array:
    if column.type in ("integer", "number"):
        return pa.array(as_numbers(texts, column.type)).cast(ARROW_TYPES[column.type])
    if column.type == "date":
        return texts.cast(pa.date32())
    if column.type == "boolean":
        return pa.array([answer(text) for text in texts.to_pylist()], pa.bool_())
    if column.type == "json":
        return pa.array([orjson.dumps(orjson.loads(text)).decode() for text in texts.to_pylist()], pa.string())
    return texts
