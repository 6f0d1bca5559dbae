"""Rows that were records before, in a database of version 1.0: they keep their ids and the moments of their creation.

An archive that was made of such a database has both beside the delivered columns. Whoever writes rows asks here for
their ids; which rows were records before is a fact of the archive's format (`schema.source_formats`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from edupulse_pipelines.storage.ids import Ids, id_bytes, new_id_bytes

ID, CREATED_AT = "id", "created_at"
EARLIER_COLUMNS = (ID, CREATED_AT)
"""The columns of an archive that say it: the id with hyphens or without, the moment in UTC as ISO text or empty."""
_DAYS_OF_NO_MOMENT = np.datetime64("NaT", "D")


@dataclass(frozen=True)
class Earlier:
    """Of each row of a piece the id and the moment of its creation, UTC; NaT where that is not known.

    day: the local day of that moment, NaT without one.
    """

    ids: Ids
    created: npt.NDArray[np.datetime64]
    day: npt.NDArray[np.datetime64]

    @classmethod
    def of(cls, parts: Sequence[pa.Table | None], counts: Sequence[int], zone: ZoneInfo) -> Earlier:
        """What the parts of a piece say, each with so many rows; rows of a part that says nothing get new ids."""
        ids, created, days = [], [], []
        for part, count in zip(parts, counts, strict=True):
            if part is None:
                ids.append(new_id_bytes(count))
                created.append(np.full(count, np.datetime64("NaT"), dtype="datetime64[us]"))
                days.append(np.full(count, _DAYS_OF_NO_MOMENT, dtype="datetime64[D]"))
                continue
            ids.append(id_bytes(part[ID].combine_chunks()))
            moments = part[CREATED_AT].combine_chunks().cast(pa.timestamp("us"))
            created.append(moments.to_numpy(zero_copy_only=False).astype("datetime64[us]"))
            local = pc.local_timestamp(pc.assume_timezone(moments, "UTC").cast(pa.timestamp("us", zone.key)))
            days.append(local.to_numpy(zero_copy_only=False).astype("datetime64[D]"))
        return cls(np.concatenate(ids), np.concatenate(created), np.concatenate(days))

    def created_at(self, rows: npt.NDArray[np.int64]) -> pa.Array:
        """The moments of these rows, as `copy_binary` takes them; now where they are not known."""
        moments = self.created[rows]
        moments = np.where(
            np.isnat(moments), np.datetime64(dt.datetime.now(dt.UTC).replace(tzinfo=None), "us"), moments
        )
        return pa.array(moments, pa.timestamp("us", "UTC"))


def moment_texts(moments: pa.Array, dialect: str) -> pa.Array:
    """Moments as texts that the database reads; on SQLite as its driver keeps them, UTC without saying so."""
    texts = pc.strftime(moments.cast(pa.timestamp("us")), format="%Y-%m-%d %H:%M:%S")
    return pc.binary_join_element_wise(texts, "+00", "") if dialect == "postgresql" else texts
