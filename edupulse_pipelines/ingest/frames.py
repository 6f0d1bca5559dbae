"""Archived rows as frames: text beside numbers, and the identity of each row within its delivery and across them.

A delivery is read in chunks, twice when it is large: once for the hashes that tell repeats and conflicts of the whole
delivery (`fingerprints`, `Identities`), once for the rows. Nothing is judged here.
"""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd

from edupulse_pipelines.ingest.archive import PROBLEM, SYSTEM_COLUMNS
from edupulse_pipelines.schema.delivery import DELIVERED
from edupulse_pipelines.schema.expectations import KEY_VERSIONS, NUMBER_SUFFIX, TYPE_PATTERNS, numeric

KEY = "key"
"""Identity across deliveries: student number; number, date and period; `id:` or `hash:` for the others."""
REPEAT = "repeat"
"""Whether an earlier row of the delivery already says exactly this about the same key."""


UNKNOWN_COLUMN = "unknown:"
"""Stands before the name of a column that the contract does not know, which could be the name of one of ours."""


def set_apart(frame: pd.DataFrame, table: str) -> pd.DataFrame:
    """The archived frame with the columns that the contract of `table` does not know renamed to `unknown:<name>`."""
    ours = {*DELIVERED[table].column_names, *SYSTEM_COLUMNS}
    return frame.rename(columns={name: UNKNOWN_COLUMN + name for name in frame.columns if name not in ours})


def with_numbers(frame: pd.DataFrame, table: str) -> pd.DataFrame:
    """The frame with `x:number` beside each numeric column of the contract that it has.

    Text that is not written as a number (`NaN`, `1,5`, `inf`) has no number: the type expectation judges it.
    """
    made = frame.copy()
    for column in DELIVERED[table].columns:
        if not numeric(column) or column.name not in frame:
            continue
        text = frame[column.name].astype("str")
        written_as_number = text.str.match(TYPE_PATTERNS[column.type]).fillna(False).astype(bool)
        made[column.name + NUMBER_SUFFIX] = pd.to_numeric(text.where(written_as_number), errors="coerce").astype(
            "float64"
        )
    return made


def fingerprints(frame: pd.DataFrame, table: str) -> pd.DataFrame:
    """Per row: `keyed` (the row says which record it is), `key` and `content` as 64-bit hashes.

    Rows that could not be read have neither; two equal hashes of different texts would only quarantine a row too many.
    """
    usable = frame[PROBLEM].isna()
    keyed, key = _key_text(frame, table, usable)
    return pd.DataFrame(
        {
            "usable": usable.to_numpy(),
            "keyed": keyed.to_numpy(),
            "key": pd.util.hash_array(key.to_numpy(dtype=object)),
            "content": pd.util.hash_array(_content(frame, table).to_numpy(dtype=object)),
        }
    )


class Identities:
    """What the whole of a delivery says about each of its rows, in file and line order.

    `versions`: number of different rows for the row's key; `repeat`: an earlier row says the same; `occurrence`:
    how many earlier rows without a key have this content.
    """

    def __init__(self, rows: pd.DataFrame) -> None:
        self.versions = np.ones(len(rows))
        self.repeat = np.zeros(len(rows), dtype=bool)
        self.occurrence = np.zeros(len(rows), dtype=np.int64)
        keyed = rows["keyed"].to_numpy()
        if keyed.any():
            known = rows.loc[keyed, ["key", "content"]]
            self.repeat[keyed] = known.duplicated().to_numpy()
            self.versions[keyed] = known.groupby("key")["content"].transform("nunique").to_numpy(dtype="float64")
        unkeyed = rows["usable"].to_numpy() & ~keyed
        if unkeyed.any():
            content = rows.loc[unkeyed, "content"]
            self.occurrence[unkeyed] = content.groupby(content).cumcount().to_numpy()

    def attach(self, frame: pd.DataFrame, table: str, start: int) -> pd.DataFrame:
        """The chunk whose first row is row `start` of the delivery, with `key`, `key:versions` and `repeat`."""
        rows = slice(start, start + len(frame))
        usable = frame[PROBLEM].isna()
        keyed, key = _key_text(frame, table, usable)
        unkeyed = usable & ~keyed
        if not DELIVERED[table].natural_key and unkeyed.any():
            digests = [
                f"hash:{hashlib.blake2b(text.encode(), digest_size=16).hexdigest()}#{count}"
                for text, count in zip(
                    _content(frame, table)[unkeyed], self.occurrence[rows][unkeyed.to_numpy()], strict=True
                )
            ]
            key = key.copy()
            key[unkeyed] = digests
        made = frame.copy()
        made[KEY] = key
        made[KEY_VERSIONS] = self.versions[rows]
        made[REPEAT] = self.repeat[rows]
        return made


def _key_text(frame: pd.DataFrame, table: str, usable: pd.Series) -> tuple[pd.Series, pd.Series]:
    """Which rows say which record they are, and the key as text (empty where they do not)."""
    contract = DELIVERED[table]
    if contract.natural_key:
        keyed = usable.copy()
        joined: pd.Series | None = None
        for name in contract.natural_key:
            part = _canonical(frame, table, name)
            if name in contract.required:
                keyed &= part.notna()
            # Without a period the row is about the whole day; no period is spelled like this.
            text = part.where(part.notna(), "whole day")
            joined = text if joined is None else joined + "|" + text
        assert joined is not None
        return keyed, joined.where(keyed, "")
    identifier = _canonical(frame, table, "source_record_id")
    keyed = usable & identifier.notna()
    return keyed, ("id:" + identifier.where(keyed, "")).where(keyed, "")


def _canonical(frame: pd.DataFrame, table: str, name: str) -> pd.Series:
    """A column's values as text in one spelling (`07` and `7` are the same number), missing where there is none."""
    if name not in frame:
        return pd.Series(None, index=frame.index, dtype="object")
    number = frame.get(name + NUMBER_SUFFIX)
    text = frame[name].astype("object")
    if number is None:
        return text.where(frame[name].notna(), None)
    spelled = number.map(lambda value: f"{value:.15g}", na_action="ignore")
    return spelled.where(number.notna(), text).astype("object").where(frame[name].notna(), None)


def _content(frame: pd.DataFrame, table: str) -> pd.Series:
    """Everything the contract knows of a row, as one text; an absent column and an empty field are the same."""
    parts = []
    for name in DELIVERED[table].column_names:
        if name in frame:
            value = _canonical(frame, table, name)
            parts.append((name + "\x1f" + value.astype("str") + "\x1e").where(value.notna(), "").to_numpy(dtype=object))
    if not parts:
        return pd.Series("", index=frame.index, dtype="object")
    return pd.Series(np.sum(np.vstack(parts), axis=0), index=frame.index, dtype="object")
