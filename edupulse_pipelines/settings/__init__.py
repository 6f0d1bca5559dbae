"""Settings: where things are (environment), and what each district is (`edupulse.toml`).

Reads environment variables and one TOML file, and checks them; opens no database, no network and no landing folder.
Everything a district may decide lives in `TenantSettings`.

One module a subject: `environment` (`load_settings`, `Settings`), `document` (reading the file), `tenant` (a district),
and the tables of a district: `model`, `audit`, `profile`, `files`, `calendar`. `absence_rules` has the rules of
authorities that a district may name. `permissions` is the home's table, `roles` has the names of PostgreSQL's roles,
`backup` says where backups lie, `drill` where they are tried, `standby` how far a second server may be behind,
`encryption` names the operator's key, `maintenance` has the upkeep's limits, `section` is what the tables have in
common, `database_url` spells a URL, `conninfo` tells it to programs, `transport` demands that it is encrypted,
`libraries` quiets the libraries we call.
"""

from edupulse_pipelines.settings.absence_rules import DAY_RULES, RULE_NAMES, AbsenceRule, DayRule, absence_rule
from edupulse_pipelines.settings.audit import AUDIT_COLUMNS, METADATA, AuditSettings
from edupulse_pipelines.settings.backup import BACKUP_URL, BackupSettings, backup_url
from edupulse_pipelines.settings.calendar import WEEKDAYS, AttendanceSettings, CalendarSettings, DaySpan, Weekday
from edupulse_pipelines.settings.conninfo import conninfo_of, password_of
from edupulse_pipelines.settings.database_url import checked_database_url, normalise_database_url
from edupulse_pipelines.settings.drill import DrillSettings
from edupulse_pipelines.settings.encryption import ENCRYPTION_KEY, EncryptionSettings, encryption_key
from edupulse_pipelines.settings.environment import Settings, load_settings
from edupulse_pipelines.settings.files import FilesSettings
from edupulse_pipelines.settings.libraries import quiet_libraries
from edupulse_pipelines.settings.maintenance import MaintenanceSettings
from edupulse_pipelines.settings.model import (
    DEFAULT_ATTENDANCE_BELOW,
    GRADE_DIGITS,
    THRESHOLD,
    CategorySettings,
    CohortSettings,
    FeedbackSettings,
    InputSettings,
    LabelSettings,
    PromotionSettings,
    ReviewSettings,
    RuleSettings,
    TrainingSettings,
)
from edupulse_pipelines.settings.permissions import PermissionsSettings
from edupulse_pipelines.settings.profile import ISO_DATE, ProfileSettings
from edupulse_pipelines.settings.roles import KEEPER_URL, RolesSettings, forget_keeper, keeper_url
from edupulse_pipelines.settings.section import Day
from edupulse_pipelines.settings.standby import STANDBY_URL, StandbySettings, standby_url
from edupulse_pipelines.settings.tenant import TenantSettings
from edupulse_pipelines.settings.transport import binds_channel, demand_encrypted, is_loopback, places_of

__all__ = [
    "AUDIT_COLUMNS",
    "BACKUP_URL",
    "DAY_RULES",
    "DEFAULT_ATTENDANCE_BELOW",
    "ENCRYPTION_KEY",
    "GRADE_DIGITS",
    "ISO_DATE",
    "KEEPER_URL",
    "METADATA",
    "RULE_NAMES",
    "STANDBY_URL",
    "THRESHOLD",
    "WEEKDAYS",
    "AbsenceRule",
    "AttendanceSettings",
    "AuditSettings",
    "BackupSettings",
    "CalendarSettings",
    "CategorySettings",
    "CohortSettings",
    "Day",
    "DayRule",
    "DaySpan",
    "DrillSettings",
    "EncryptionSettings",
    "FeedbackSettings",
    "FilesSettings",
    "InputSettings",
    "LabelSettings",
    "MaintenanceSettings",
    "PermissionsSettings",
    "ProfileSettings",
    "PromotionSettings",
    "ReviewSettings",
    "RolesSettings",
    "RuleSettings",
    "Settings",
    "StandbySettings",
    "TenantSettings",
    "TrainingSettings",
    "Weekday",
    "absence_rule",
    "backup_url",
    "binds_channel",
    "checked_database_url",
    "conninfo_of",
    "demand_encrypted",
    "encryption_key",
    "forget_keeper",
    "is_loopback",
    "keeper_url",
    "load_settings",
    "normalise_database_url",
    "password_of",
    "places_of",
    "quiet_libraries",
    "standby_url",
]
