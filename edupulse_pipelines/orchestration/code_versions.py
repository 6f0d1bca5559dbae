"""Which version of its logic an asset has, and where that logic stands: both are shown in the UI.

Raise an asset's number when it computes something else from the same input. Dagster then marks weeks that were made by
the earlier code as outdated; `edupulse run --all` makes them again where the rooms find that something differs. Raw and
record assets have no version: they keep what was delivered, and what is read differently is delivered again.
"""

from __future__ import annotations

from pathlib import Path

import edupulse_pipelines

CODE_VERSIONS = {"weekly_activity": "3", "student_features": "2", "risk_model": "2", "predictions": "1"}

_PACKAGE = Path(edupulse_pipelines.__file__).parent
_LOGIC = {
    "weekly_activity": "features/weekly_activity.py",
    "student_features": "features/vectors.py",
    "risk_model": "risk/training.py",
    "predictions": "risk/scoring.py",
}
_RAW, _RECORDS = "ingest/archive.py", "ingest/load.py"


def logic_of(asset: str) -> Path:
    """The file of the room that does the work of an asset (its name without the tenant)."""
    return _PACKAGE / (_RAW if asset.startswith("raw_") else _LOGIC.get(asset, _RECORDS))
