"""Base backups of a PostgreSQL: take one, list and verify them, and fill an empty folder from one.

The other modules of this room, the drill and the standby call what is named here, and nothing below it. Nothing here
starts a server.
"""

from edupulse_pipelines.operations.backup.barman_backups import (
    BaseBackup,
    RestorePoint,
    WalState,
    await_restore_point,
    base_backups,
    cannot_lead_to_now,
    make_restore_point,
    restore_points,
    take_base_backup,
    wal_state,
)
from edupulse_pipelines.operations.backup.barman_restore import RestorePlan, demand_free, restore_database, restore_plan
from edupulse_pipelines.operations.backup.barman_verify import Damage, verify_base_backups
from edupulse_pipelines.operations.backup.targets import Target, target_before_change
from edupulse_pipelines.operations.backup.wal import Gap

__all__ = [
    "BaseBackup",
    "Damage",
    "Gap",
    "RestorePlan",
    "RestorePoint",
    "Target",
    "WalState",
    "await_restore_point",
    "base_backups",
    "cannot_lead_to_now",
    "demand_free",
    "make_restore_point",
    "restore_database",
    "restore_plan",
    "restore_points",
    "take_base_backup",
    "target_before_change",
    "verify_base_backups",
    "wal_state",
]
