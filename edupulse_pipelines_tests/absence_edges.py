"""Every rule of absence at its edges: days enrolled, of absence and missed, and what the rule says of them.

The golden table of `test_absence_rules` (the arithmetic in Python) and of `sql/test_chronic_absence` (the query).
None: the rule says nothing, because there are too few days enrolled.
"""

from __future__ import annotations

EDGES: tuple[tuple[str, int, int, float, bool | None], ...] = (
    # Exactly a tenth is chronic; nine days are too few, whatever share of them.
    ("federal", 40, 4, 4.0, True),
    ("federal", 40, 3, 3.0, False),
    ("federal", 41, 4, 4.0, False),
    ("federal", 10, 1, 1.0, True),
    ("federal", 10, 0, 0.0, False),
    ("federal", 9, 9, 9.0, None),
    ("federal", 1, 1, 1.0, None),
    ("federal", 178, 52, 52.0, True),
    ("federal", 176, 18, 18.0, True),
    ("federal", 176, 17, 17.0, False),
    # Days are counted, not their parts.
    ("federal", 40, 3, 9.5, False),
    ("federal_2013", 180, 15, 15.0, True),
    ("federal_2013", 180, 14, 14.0, False),
    ("federal_2013", 15, 15, 15.0, True),
    ("california", 31, 4, 4.0, True),
    ("california", 31, 3, 3.0, False),
    ("california", 30, 30, 30.0, None),
    ("california", 40, 4, 4.0, True),
    ("connecticut", 40, 4, 4.0, True),
    ("connecticut", 41, 4, 4.0, False),
    ("connecticut", 1, 1, 1.0, True),
    ("connecticut", 1, 0, 0.4, False),
    ("florida", 180, 21, 21.0, True),
    ("florida", 180, 20, 20.0, False),
    ("hawaii", 180, 15, 15.0, True),
    ("hawaii", 180, 14, 14.9, False),
    # Time is counted, whole days or parts of them.
    ("ohio", 40, 0, 4.0, True),
    ("ohio", 40, 9, 3.999, False),
    ("ohio", 30, 0, 2.99999, False),
    ("ohio", 30, 0, 3.0, True),
    # More than a tenth, of at least 90 days.
    ("pennsylvania", 90, 9, 9.0, False),
    ("pennsylvania", 90, 10, 10.0, True),
    ("pennsylvania", 100, 10, 10.0, False),
    ("pennsylvania", 99, 10, 10.0, True),
    ("pennsylvania", 89, 89, 89.0, None),
)
