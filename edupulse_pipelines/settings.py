"""Settings: where things are (environment), and what each district is (`edupulse.toml`).

Reads environment variables and one TOML file, and checks them; opens no database, no network and no landing folder.
Everything a district may decide lives in `TenantSettings`: a district is data, never a copied folder.
"""

from __future__ import annotations

import datetime as dt
import os
import re
import tomllib
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from edupulse_pipelines.errors import ConfigurationError
from edupulse_pipelines.weeks import week_start

_TENANT_NAME = re.compile(r"[a-z][a-z0-9]*([_-][a-z0-9]+)*")


class _Section(BaseModel):
    """A table of `edupulse.toml`: unknown keys are an error, because a misspelt threshold must not pass silently."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean(cls, value: Any) -> Any:
        """No setting is a yes or no; pydantic would read `true` as 1."""
        if isinstance(value, bool):
            raise ValueError(f"{str(value).lower()} is not a value for this key")
        return value


class LabelSettings(_Section):
    """What counts as an adverse event within the horizon; `False` (or an empty list) switches an event off."""

    horizon_weeks: int = Field(8, ge=1, le=52)
    attendance_below: float | None = Field(0.9, gt=0, le=1)
    failing_below: float | None = Field(60.0, gt=0, le=100)
    serious_severity: int | None = Field(4, ge=1, le=5)
    incident_count: int | None = Field(3, ge=1)
    exit_types: tuple[Literal["completed", "transferred", "dropped_out", "failed", "other"], ...] = (
        "dropped_out",
        "failed",
    )

    @field_validator("attendance_below", "failing_below", "serious_severity", "incident_count", mode="before")
    @classmethod
    def _false_is_off(cls, value: Any) -> Any:
        if value is True:
            raise ValueError("give a threshold, or false to switch the event off")
        return None if value is False else value

    @model_validator(mode="after")
    def _some_event(self) -> LabelSettings:
        if not any(
            (self.attendance_below, self.failing_below, self.serious_severity, self.incident_count, self.exit_types)
        ):
            raise ValueError("every adverse event is switched off; there would be nothing to predict")
        return self


class CohortSettings(_Section):
    """Who is scored: enrolled at the week's end, with at least this many school weeks of data."""

    minimum_weeks_of_data: int = Field(4, ge=1)


class CategorySettings(_Section):
    """Lowest risk score of each category; below `medium` is `low`."""

    medium: float = Field(0.25, gt=0, lt=1)
    high: float = Field(0.5, gt=0, lt=1)
    critical: float = Field(0.75, gt=0, lt=1)

    @model_validator(mode="after")
    def _ascending(self) -> CategorySettings:
        if not self.medium < self.high < self.critical:
            raise ValueError("medium, high and critical must ascend")
        return self


class RuleSettings(_Section):
    """The simple attendance-behaviour-course rule that every model is measured beside."""

    attendance_below: float = Field(0.9, gt=0, le=1)
    incidents_at_least: int = Field(2, ge=1)
    failing_below: float = Field(60.0, gt=0, le=100)


class TrainingSettings(_Section):
    """When there is enough to train on, and how often the weekly job trains again."""

    minimum_train_per_class: int = Field(10, ge=2)
    minimum_validation_per_class: int = Field(3, ge=1)
    retrain_weeks: int = Field(8, ge=1)


class PromotionSettings(_Section):
    """What a challenger must reach to become champion; one that does not is recorded and stays a challenger."""

    minimum_auc: float = Field(0.5, ge=0, le=1)


class TenantSettings(_Section):
    """One school district, as `[tenants.<name>]` of `edupulse.toml` declares it."""

    name: str = Field(max_length=50)
    timezone: str
    first_week: dt.date
    landing: Path
    max_quarantined: float = Field(0.1, ge=0, le=1)
    grading_scale: Literal["unweighted", "weighted"] = "unweighted"
    label: LabelSettings = LabelSettings()
    cohort: CohortSettings = CohortSettings()
    categories: CategorySettings = CategorySettings()
    rule: RuleSettings = RuleSettings()
    training: TrainingSettings = TrainingSettings()
    promotion: PromotionSettings = PromotionSettings()

    @field_validator("name")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        if not _TENANT_NAME.fullmatch(value):
            raise ValueError("a tenant's name is lower-case letters and digits, joined by single - or _")
        return value

    @field_validator("timezone")
    @classmethod
    def _known_timezone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except Exception as error:
            raise ValueError("not an IANA time zone such as America/New_York") from error
        return value

    @field_validator("first_week", mode="before")
    @classmethod
    def _date(cls, value: Any) -> Any:
        """A date or its ISO text; pydantic would read a number as seconds since 1970."""
        if isinstance(value, str):
            value = dt.date.fromisoformat(value)
        if not isinstance(value, dt.date) or isinstance(value, dt.datetime):
            raise ValueError("not a date such as 2025-09-01")
        return value

    @field_validator("first_week")
    @classmethod
    def _monday(cls, value: dt.date) -> dt.date:
        if value.weekday() != 0:
            raise ValueError(f"{value} is a {value:%A}; school weeks start on a Monday ({week_start(value)} is one)")
        return value

    @property
    def identifier(self) -> str:
        """The name as Dagster wants it in job and schedule names (`-` becomes `_`)."""
        return self.name.replace("-", "_")


class _Environment(BaseSettings):
    """The environment variables; MLflow's own variable keeps its own name."""

    model_config = SettingsConfigDict(env_prefix="EDUPULSE_", extra="ignore", env_ignore_empty=True)

    home: Path = Path(".edupulse")
    database_url: str | None = None
    config: Path | None = None
    mlflow_tracking_uri: str | None = Field(None, validation_alias="MLFLOW_TRACKING_URI")


class Settings(_Section):
    """Everything the pipelines need to know before they start; made by `load_settings`."""

    home: Path
    database_url: str = Field(repr=False)  # these two may hold passwords
    tracking_uri: str = Field(repr=False)
    config_path: Path
    tenants: dict[str, TenantSettings]

    @property
    def raw_dir(self) -> Path:
        """Where the raw archive (immutable Parquet) lies."""
        return self.home / "raw"

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
        try:
            return self.tenants[name]
        except KeyError:
            known = ", ".join(sorted(self.tenants)) or "none"
            raise ConfigurationError(f"No tenant {name!r} in {self.config_path} (there are: {known}).") from None


def normalise_database_url(url: str) -> str:
    """One spelling for a database URL: PostgreSQL always through psycopg2, which Dagster and MLflow ship.

    `postgres://`, `postgresql://`, `postgresql+psycopg://` and the like become `postgresql+psycopg2://`; SQLite URLs
    stay as they are. ConfigurationError for any other database.
    """
    scheme, separator, rest = url.strip().partition("://")
    dialect = scheme.lower().partition("+")[0]
    if separator and dialect in {"postgres", "postgresql"}:
        if not _readable(url):
            raise ConfigurationError(
                "EDUPULSE_DATABASE_URL cannot be read: a password needs its special characters percent-encoded, and a "
                "port is a number (its value is not shown: it may hold a password)."
            )
        return f"postgresql+psycopg2://{rest}"
    if separator and dialect == "sqlite":
        return f"sqlite://{rest}"
    raise ConfigurationError(
        "EDUPULSE_DATABASE_URL must start with postgresql:// or sqlite:// "
        "(its value is not shown: it may hold a password)."
    )


def _readable(url: str) -> bool:
    try:
        parts = urlsplit(url.strip())
        return parts.port is None or parts.port > 0
    except ValueError:
        return False


def load_settings(*, home: Path | None = None, placeholder: bool = False) -> Settings:
    """Settings from the environment and `edupulse.toml`.

    `home` overrides `EDUPULSE_HOME`. Without a TOML file there are no tenants; with `placeholder` there is then one
    named `demo`, so that the asset graph can be looked at before anything has been set up. ConfigurationError names
    the file, the key and the rule that is broken.
    """
    try:
        environment = _Environment()
    except ValidationError as error:
        raise ConfigurationError(f"An environment variable is wrong: {_explain(error)}") from None
    root = (home if home is not None else environment.home).expanduser().absolute()
    config_path = (environment.config or root / "edupulse.toml").expanduser().absolute()
    if config_path.is_file():
        tenants = _read_tenants(config_path, root)
    elif environment.config is not None or config_path.exists():
        problem = "is not a file" if config_path.exists() else "does not exist"
        source = "EDUPULSE_CONFIG names " if environment.config is not None else ""
        raise ConfigurationError(f"{source}{config_path}, which {problem}.")
    else:
        tenants = {"demo": _placeholder_tenant(root)} if placeholder else {}
    return Settings(
        home=root,
        database_url=normalise_database_url(environment.database_url or f"sqlite:///{root / 'edupulse.db'}"),
        tracking_uri=environment.mlflow_tracking_uri or f"sqlite:///{root / 'mlflow' / 'mlflow.db'}",
        config_path=config_path,
        tenants=tenants,
    )


def _read_tenants(path: Path, home: Path) -> dict[str, TenantSettings]:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not valid TOML: {error}") from None
    unknown = sorted(set(document) - {"tenants"})
    if unknown:
        raise ConfigurationError(f"{path}: unknown key {unknown[0]!r}; only [tenants.<name>] tables are expected.")
    declared = document.get("tenants", {})
    if not isinstance(declared, dict) or not declared:
        raise ConfigurationError(f"{path} declares no tenant; add a [tenants.<name>] table.")
    tenants: dict[str, TenantSettings] = {}
    identifiers: dict[str, str] = {}
    for name, table in declared.items():
        if not isinstance(table, dict):
            raise ConfigurationError(f"{path}: tenants.{name} must be a table, [tenants.{name}].")
        if "name" in table:
            raise ConfigurationError(f"{path}: [tenants.{name}] name: the table's own name is the tenant's; remove it.")
        declared_landing = table.get("landing", str(home / "landing" / name))
        if not isinstance(declared_landing, str) or not declared_landing:
            raise ConfigurationError(f"{path}: [tenants.{name}] landing: not the path of a folder.")
        # Joining an absolute path leaves it as it is.
        landing = (path.parent / Path(declared_landing).expanduser()).absolute()
        values = {**table, "name": name, "landing": landing}
        try:
            tenant = TenantSettings.model_validate(values)
        except ValidationError as error:
            raise ConfigurationError(f"{path}: [tenants.{name}] {_explain(error)}") from None
        if tenant.identifier in identifiers:
            raise ConfigurationError(
                f"{path}: tenants {identifiers[tenant.identifier]!r} and {name!r} differ only in - and _; rename one."
            )
        identifiers[tenant.identifier] = name
        tenants[name] = tenant
    return tenants


def _explain(error: ValidationError) -> str:
    """The broken rules, key by key, in words; pydantic's own text repeats input values and links."""
    parts = []
    for problem in error.errors(include_url=False, include_input=False):
        key = ".".join(str(step) for step in problem["loc"]) or "table"
        parts.append(f"{key}: {problem['msg'].removeprefix('Value error, ')}")
    return "; ".join(parts) + "."


def _placeholder_tenant(home: Path) -> TenantSettings:
    """A district to show the asset graph of, starting with the school year (first Monday of August) we are in."""
    today = dt.date.today()
    year = today.year if today.month >= 8 else today.year - 1
    return TenantSettings(
        name="demo", timezone="UTC", first_week=week_start(dt.date(year, 8, 7)), landing=home / "landing" / "demo"
    )


def quiet_libraries() -> None:
    """Switch off the usage reporting of the libraries we call: a district's machine reports to nobody."""
    for name, value in (
        ("GX_ANALYTICS_ENABLED", "false"),
        ("MLFLOW_DISABLE_TELEMETRY", "true"),
        ("MLFLOW_RECORD_ENV_VARS_IN_MODEL_LOGGING", "false"),
        ("DO_NOT_TRACK", "true"),
        ("DAGSTER_DISABLE_TELEMETRY", "true"),
        ("GIT_PYTHON_REFRESH", "quiet"),
    ):
        os.environ.setdefault(name, value)
