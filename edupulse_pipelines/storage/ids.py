"""The ids that rows get, made singly or as arrays of bytes, and their forms for the databases.

They are UUIDs of version 7, which ascend in time, so that new rows are added at the end of their key's index. How rows
are written is in `bulk`.
"""

from __future__ import annotations

import time
import uuid

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import uuid_utils.compat

Ids = npt.NDArray[np.uint8]
"""UUIDs as an array [rows, 16] of bytes."""


def new_id_bytes(count: int) -> Ids:
    """`count` UUIDs of version 7 (RFC 9562, method 1: a counter after the milliseconds), ascending in one call.

    What `new_ids` makes, but fast enough for a million: 48 bits of time, 12 + 20 bits of counter, 42 random bits.
    """
    ids = np.frombuffer(np.random.default_rng().bytes(16 * count), dtype=np.uint8).reshape(count, 16).copy()
    milliseconds = time.time_ns() // 1_000_000
    ids[:, :6] = np.frombuffer(milliseconds.to_bytes(6, "big"), dtype=np.uint8)
    # 32 bits, begun anywhere in the lower half, so that two calls of one millisecond do not share their order.
    counter = np.arange(count, dtype=np.uint64) + np.uint64(int.from_bytes(ids[0, 6:10].tobytes(), "big") >> 1)
    ids[:, 6] = 0x70 | ((counter >> 28) & 0x0F)
    ids[:, 7] = (counter >> 20) & 0xFF
    ids[:, 8] = 0x80 | ((counter >> 14) & 0x3F)
    ids[:, 9] = (counter >> 6) & 0xFF
    ids[:, 10] = ((counter & 0x3F) << 2).astype(np.uint8) | (ids[:, 10] & 0x03)
    return ids


_HEX = np.frombuffer(b"".join(b"%02x" % value for value in range(256)), dtype=np.uint8).reshape(256, 2)


def id_texts(ids: Ids, dialect: str) -> pa.Array:
    """The ids as the database writes them: with hyphens on PostgreSQL, 32 hexadecimal digits on SQLite."""
    digits = _HEX[ids].reshape(len(ids), 32)
    if dialect == "postgresql":
        hyphenated = np.full((len(ids), 36), ord("-"), dtype=np.uint8)
        for start, end, place in ((0, 8, 0), (8, 12, 9), (12, 16, 14), (16, 20, 19), (20, 32, 24)):
            hyphenated[:, place : place + end - start] = digits[:, start:end]
        digits = hyphenated
    width = digits.shape[1]
    offsets = np.arange(0, width * (len(ids) + 1), width, dtype=np.int64)
    return pa.LargeStringArray.from_buffers(
        len(ids), pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(digits))
    ).cast(pa.string() if width * len(ids) < 2**31 else pa.large_string())


def id_column(ids: Ids) -> pa.Array:
    """The ids as 16 bytes each, as PostgreSQL's binary COPY takes them."""
    offsets = np.arange(0, 16 * (len(ids) + 1), 16, dtype=np.int32)
    return pa.BinaryArray.from_buffers(
        pa.binary(), len(ids), [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(ids))]
    )


def id_bytes(texts: pa.Array) -> Ids:
    """The ids of texts as `id_texts` writes them, all with hyphens or all without."""
    if not len(texts):
        return np.empty((0, 16), dtype=np.uint8)
    joined = "".join(texts.to_pylist()).replace("-", "")
    return np.frombuffer(bytes.fromhex(joined), dtype=np.uint8).reshape(-1, 16)


def new_ids(count: int) -> list[uuid.UUID]:
    """`count` time-ordered ids (UUID version 7, RFC 9562)."""
    return [uuid_utils.compat.uuid7() for _ in range(count)]
