"""A number of bytes as people read it, in one unit everywhere: 1 MiB is 1,048,576 bytes, as in the settings."""

from __future__ import annotations

_UNITS = (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))


def in_bytes(size: float) -> str:
    """`1.5 GiB`, `12.3 MiB`, `4.0 KiB`, `17 bytes`."""
    for unit, scale in _UNITS:
        if size >= scale:
            return f"{size / scale:,.1f} {unit}"
    return "1 byte" if size == 1 else f"{size:,.0f} bytes"
