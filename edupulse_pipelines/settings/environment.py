"""Where things are: the environment variables, and the settings that they and `edupulse.toml` amount to."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from edupulse_pipelines.errors import ConfigurationError
from edupulse_pipelines.settings.backup import BackupSettings
from edupulse_pipelines.settings.database_url import checked_database_url
from edupulse_pipelines.settings.document import read_settings_file, rules_in_words
from edupulse_pipelines.settings.drill import DrillSettings
from edupulse_pipelines.settings.encryption import EncryptionSettings
from edupulse_pipelines.settings.maintenance import MaintenanceSettings
from edupulse_pipelines.settings.permissions import PermissionsSettings
from edupulse_pipelines.settings.roles import RolesSettings
from edupulse_pipelines.settings.section import Section
from edupulse_pipelines.settings.standby import StandbySettings
from edupulse_pipelines.settings.tenant import TenantSettings
from edupulse_pipelines.settings.transport import demand_encrypted_tracker
from edupulse_pipelines.weeks import week_start


class Environment(BaseSettings):
    """The environment variables; MLflow's own variable keeps its own name."""

    model_config = SettingsConfigDict(env_prefix="EDUPULSE_", extra="ignore", env_ignore_empty=True)

    home: Path = Path(".edupulse")
    database_url: str | None = None
    config: Path | None = None
    mlflow_tracking_uri: str | None = Field(None, validation_alias="MLFLOW_TRACKING_URI")


class Settings(Section):
    """Everything the pipelines need to know before they start; made by `load_settings`."""

    home: Path
    database_url: str = Field(repr=False)  # these two may hold passwords
    tracking_uri: str = Field(repr=False)
    config_path: Path
    tenants: dict[str, TenantSettings]
    broken_tenants: dict[str, str] = Field(default_factory=dict)
    """Districts whose table is wrong, with what is wrong: they do not run, and the others do."""
    permissions: PermissionsSettings = PermissionsSettings()
    roles: RolesSettings = RolesSettings()
    backup: BackupSettings = BackupSettings()
    encryption: EncryptionSettings = EncryptionSettings()
    maintenance: MaintenanceSettings = MaintenanceSettings()
    drill: DrillSettings = DrillSettings()
    standby: StandbySettings = StandbySettings()

    @property
    def raw_dir(self) -> Path:
        """Where the raw archive (immutable Parquet) lies."""
        return self.home / "raw"

    @property
    def backup_dir(self) -> Path:
        """Where backups lie: base backups with WAL in `barman`, moments beside it."""
        given = self.backup.folder
        if given is None:
            return self.home / "backups"
        try:
            return (self.config_path.parent / Path(given).expanduser()).absolute()
        except RuntimeError:  # Python knows no home folder of `~somebody`
            raise ConfigurationError(f"{self.config_path}: [backup] folder: there is no such user.") from None

    @property
    def drill_dir(self) -> Path:
        """Where drills restore to; there for the length of one."""
        given = self.drill.folder
        if given is None:
            return self.home / "drill"
        try:
            return (self.config_path.parent / Path(given).expanduser()).absolute()
        except RuntimeError:  # Python knows no home folder of `~somebody`
            raise ConfigurationError(f"{self.config_path}: [drill] folder: there is no such user.") from None

    @property
    def programs_dir(self) -> Path | None:
        """Where the programs of PostgreSQL's server are; None for where they usually are."""
        given = self.backup.programs
        try:
            return None if given is None else (self.config_path.parent / Path(given).expanduser()).absolute()
        except RuntimeError:  # Python knows no home folder of `~somebody`
            raise ConfigurationError(f"{self.config_path}: [backup] programs: there is no such user.") from None

    @property
    def dagster_home(self) -> Path:
        """The Dagster instance that `run`, `demo`, `edupulse dev` and `dagster dev` share."""
        return self.home / "dagster"

    @property
    def mlflow_dir(self) -> Path:
        """Where MLflow's default store and artifacts lie."""
        return self.home / "mlflow"

    def tenant(self, name: str) -> TenantSettings:
        """The tenant of this name; ConfigurationError names the ones there are."""
        if name in self.broken_tenants:
            raise ConfigurationError(self.broken_tenants[name])
        try:
            return self.tenants[name]
        except KeyError:
            names = ", ".join(sorted(self.tenants)) or "none"
            raise ConfigurationError(f"No tenant {name!r} in {self.config_path} (there are: {names}).") from None


def load_settings(*, home: Path | None = None, placeholder: bool = False) -> Settings:
    """Settings from the environment and `edupulse.toml`.

    `home` overrides `EDUPULSE_HOME`. Without a TOML file there are no tenants; with `placeholder` there is then one
    named `demo`, so that the asset graph can be looked at before anything has been set up. ConfigurationError names
    the file, the key and the rule that is broken; a district's own are in `broken_tenants` while others are in order.
    """
    try:
        environment = Environment()
    except ValidationError as error:
        raise ConfigurationError(f"An environment variable is wrong: {rules_in_words(error)}") from None
    root = (home if home is not None else environment.home).expanduser().absolute()
    config_path = (environment.config or root / "edupulse.toml").expanduser().absolute()
    broken: dict[str, str] = {}
    permissions, roles, backup = PermissionsSettings(), RolesSettings(), BackupSettings()
    encryption, maintenance = EncryptionSettings(), MaintenanceSettings()
    drill, standby = DrillSettings(), StandbySettings()
    if config_path.is_file():
        of_file = read_settings_file(config_path, root)
        tenants, broken, permissions, roles, backup, encryption, maintenance, drill, standby = of_file
    elif environment.config is not None or config_path.exists():
        problem = "is not a file" if config_path.exists() else "does not exist"
        source = "EDUPULSE_CONFIG names " if environment.config is not None else ""
        raise ConfigurationError(f"{source}{config_path}, which {problem}.")
    else:
        tenants = {"demo": _placeholder_tenant(root)} if placeholder else {}
    return Settings(
        home=root,
        database_url=checked_database_url(
            environment.database_url or f"sqlite:///{root / 'edupulse.db'}", "EDUPULSE_DATABASE_URL"
        ),
        tracking_uri=_checked_tracker(environment.mlflow_tracking_uri) or f"sqlite:///{root / 'mlflow' / 'mlflow.db'}",
        config_path=config_path,
        tenants=tenants,
        broken_tenants=broken,
        permissions=permissions,
        roles=roles,
        backup=backup,
        encryption=encryption,
        maintenance=maintenance,
        drill=drill,
        standby=standby,
    )


def _checked_tracker(uri: str | None) -> str | None:
    if uri is not None:
        demand_encrypted_tracker(uri)
    return uri


def _placeholder_tenant(home: Path) -> TenantSettings:
    """A district to show the asset graph of, starting with the school year (first Monday of August) we are in."""
    today = dt.date.today()
    year = today.year if today.month >= 8 else today.year - 1
    return TenantSettings(
        name="demo", timezone="UTC", first_week=week_start(dt.date(year, 8, 7)), landing=home / "landing" / "demo"
    )
