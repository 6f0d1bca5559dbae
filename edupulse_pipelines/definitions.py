"""The one `Definitions` that Dagster loads. Importing it opens no database, no network, and no heavy library."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from edupulse_pipelines.encryption.keyring import use_keys
from edupulse_pipelines.orchestration.assembly import build_defs
from edupulse_pipelines.orchestration.homes import demand_encrypted_storage
from edupulse_pipelines.private_home import keep_private
from edupulse_pipelines.settings import forget_keeper, load_settings, quiet_libraries

__all__ = ["build_defs", "defs"]

quiet_libraries()
forget_keeper()
settings = load_settings(placeholder=True)
for trouble in settings.broken_tenants.values():
    logging.getLogger(__name__).error(trouble)
keep_private(settings)  # also a bare `dagster dev` writes for the home's owner alone
use_keys(settings)
demand_encrypted_storage(settings.dagster_home)
if "DAGSTER_HOME" in os.environ:  # of a bare `dagster dev` or daemon, which may lie elsewhere
    demand_encrypted_storage(Path(os.environ["DAGSTER_HOME"]))
defs = build_defs(settings)
