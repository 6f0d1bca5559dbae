"""The one `Definitions` that Dagster loads. Importing it opens no database, no network, and no heavy library."""

from __future__ import annotations

import logging

from edupulse_pipelines.encryption.keyring import use_keys
from edupulse_pipelines.orchestration.assembly import build_defs
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
defs = build_defs(settings)
