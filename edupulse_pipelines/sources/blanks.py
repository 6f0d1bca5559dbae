"""Blanks around a value are no part of it, and a value of blanks only is none: what that means for texts and columns.

Blanks are Unicode's white space and what has no width of its own: no-break spaces, zero-width spaces, marks of byte
order and of direction. The raw archive keeps values as they came; whoever reads it trims.
"""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from edupulse_pipelines.sources.records import FIELDS, PROBLEM, SYSTEM_COLUMNS

BLANK = "blank"
"""Name under which rows without a value are counted among the entries left out."""
_OF_NO_WIDTH = "\u180e\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"
_AROUND = re.compile(rf"^[\s{_OF_NO_WIDTH}]+|[\s{_OF_NO_WIDTH}]+$")
# The same, as Arrow's regular expressions spell it.
_CLASS = r"[\s\x0b\x1c-\x1f\x{85}\p{Z}\x{180e}\x{200b}-\x{200f}\x{2060}\x{feff}]"
_AT_AN_END = rf"\A{_CLASS}|{_CLASS}\z"
_AT_THE_ENDS = rf"\A{_CLASS}+|{_CLASS}+\z"
_NOTHING_ELSE = rf"\A{_CLASS}*\z"


def trimmed(text: str) -> str:
    """The text without the blanks around it."""
    return _AROUND.sub("", text)


def trimmed_column(column: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """The texts of a column without the blanks around them, null for none; None when nothing has to be trimmed.

    Each distinct text is looked at once.
    """
    encoded = column.dictionary_encode().unify_dictionaries()
    texts = encoded.chunk(0).dictionary if encoded.num_chunks else pa.array([], pa.string())
    if not pc.any(pc.match_substring_regex(texts, _AT_AN_END)).as_py():
        return None
    bare = pc.replace_substring_regex(texts, pattern=_AT_THE_ENDS, replacement="")
    bare = pc.if_else(pc.equal(bare, ""), pa.scalar(None, pa.string()), bare)
    return pa.chunked_array([bare.take(chunk.indices) for chunk in encoded.chunks], pa.string())


def trimmed_rows(rows: pa.Table) -> tuple[pa.Table, list[str]]:
    """Rows of a source without blanks around their values, and the columns in which there were any."""
    changed = []
    for place, name in enumerate(rows.column_names):
        if name in SYSTEM_COLUMNS:
            continue
        column = trimmed_column(rows.column(place))
        if column is not None:
            rows = rows.set_column(place, name, column)
            changed.append(name)
    return rows, changed


def without_blank_rows(rows: pa.Table) -> pa.Table:
    """The rows of a source that have a value, be it one that does not fit the header."""
    columns = [rows.column(name) for name in rows.column_names if name not in SYSTEM_COLUMNS]
    places: npt.NDArray[np.int64] = np.arange(len(rows))
    for column in columns:
        part = column if len(places) == len(rows) else column.take(pa.array(places))
        empty = pc.fill_null(pc.match_substring_regex(part, _NOTHING_ELSE), True)
        places = places[empty.to_numpy()]
        if not len(places):
            return rows
    problems, fields = rows[PROBLEM].take(pa.array(places)), rows[FIELDS].take(pa.array(places)).to_pylist()
    blank = [
        problem is None or _without_a_value(text) for problem, text in zip(problems.to_pylist(), fields, strict=True)
    ]
    kept = np.ones(len(rows), dtype=np.bool_)
    kept[places[np.array(blank, dtype=np.bool_)]] = False
    return rows if kept.all() else rows.filter(pa.array(kept))


def _without_a_value(fields: str | None) -> bool:
    return fields is not None and not any(trimmed(str(field)) for field in orjson.loads(fields))
