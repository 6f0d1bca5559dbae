"""Which delivery each field of a stored record is from, by column: reading and writing `field_deliveries`.

A record's `delivered_on` is the date of its newest delivery. `field_deliveries` names the fields that this delivery did
not carry, each with the date of the newest delivery that did (null: none yet); it is NULL where there are none. Days
are counted from 1970. What follows from the dates is decided by the writers.

Attendance has millions of records, and few districts send its optional fields. There a field that is empty and not
named was never carried; one that a delivery carried empty is named with its date. So a record of a district that sends
none of them has NULL, which costs nothing.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence

import numpy as np
import orjson
import pyarrow as pa

from edupulse_pipelines.ingest.frames import Coded, Integers, Mask

EPOCH = dt.date(1970, 1, 1)
NEVER = -(2**31) + 1
"""Stands for a day before all others where a record has none."""
_AS_THE_RECORD = NEVER - 1


def days_of_fields(
    stored: pa.ChunkedArray, names: Sequence[str], delivered: Integers, empty: Mapping[str, Mask] | None = None
) -> dict[str, Integers]:
    """By field, for each row: the day of the newest delivery that carried it, `NEVER` where none has.

    stored: the rows' `field_deliveries`; delivered: the days of their `delivered_on`. empty: by field, in which rows it
    is; given for a table whose empty fields were never carried unless they are named.
    """
    coded = Coded.of(stored)
    documents = [orjson.loads(text) for text in coded.texts.to_pylist()] + [{}]
    days = {}
    for name in names:
        of_text = [_day(document[name]) if name in document else _AS_THE_RECORD for document in documents]
        of_row = np.array(of_text, dtype=np.int64)[coded.codes]
        unnamed = delivered if empty is None else np.where(empty[name], NEVER, delivered)
        days[name] = np.where(of_row == _AS_THE_RECORD, unnamed, of_row)
    return days


def field_deliveries(
    days: Mapping[str, Integers], delivered: Integers, empty: Mapping[str, Mask] | None = None
) -> pa.Array:
    """The reverse of `days_of_fields`."""
    if not days:
        return pa.nulls(len(delivered), pa.string())
    older = []
    for name, of_field in days.items():
        unnamed = delivered if empty is None else np.where(empty[name], NEVER, delivered)
        older.append(np.where(of_field == unnamed, _AS_THE_RECORD, of_field))
    if all((of_field == _AS_THE_RECORD).all() for of_field in older):  # as nearly everywhere
        return pa.nulls(len(delivered), pa.string())
    distinct, of_row = np.unique(np.column_stack(older), axis=0, return_inverse=True)
    texts = []
    for combination in distinct.tolist():
        dates = {
            name: None if day == NEVER else (EPOCH + dt.timedelta(days=day)).isoformat()
            for name, day in zip(days, combination, strict=True)
            if day != _AS_THE_RECORD
        }
        texts.append(orjson.dumps(dates).decode() if dates else None)
    return pa.array(texts, pa.string()).take(pa.array(of_row.reshape(-1)))


def never_carried(carried: Mapping[str, Mask], count: int) -> pa.Array:
    """`field_deliveries` of `count` new records; `carried`: by field, for each record whether its row carries it."""
    delivered = np.zeros(count, dtype=np.int64)
    return field_deliveries({name: np.where(there, 0, NEVER) for name, there in carried.items()}, delivered)


def _day(date: str | None) -> int:
    return NEVER if date is None else (dt.date.fromisoformat(date) - EPOCH).days
