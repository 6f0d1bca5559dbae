"""EduPulse pipelines: a school district's weekly files, turned into explained risk predictions.

The rooms, left to right as the data goes: `schema` (every table declared once), `sources` (outside formats),
`ingest` (raw archive, validation, quarantine, merge), `features` (weekly activity, feature vectors), `risk` (labels,
model, predictions). `orchestration` puts them into Dagster; `cli` and `definitions` are the roof. The domain rooms
never import `dagster`. This module holds nothing but the version.
"""

from __future__ import annotations

__version__ = "0.1.0"
