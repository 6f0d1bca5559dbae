"""The one `Definitions` that Dagster loads. Importing it opens no database, no network, and no heavy library."""

from __future__ import annotations

from edupulse_pipelines.orchestration.assembly import build_defs
from edupulse_pipelines.settings import load_settings, quiet_libraries

__all__ = ["build_defs", "defs"]

quiet_libraries()
defs = build_defs(load_settings(placeholder=True))
