"""Reading `edupulse.toml`: districts, who may read the home, roles; or the file, the key and the broken rule."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import ValidationError

from edupulse_pipelines.errors import ConfigurationError
from edupulse_pipelines.settings.backup import BackupSettings
from edupulse_pipelines.settings.drill import DrillSettings
from edupulse_pipelines.settings.encryption import EncryptionSettings
from edupulse_pipelines.settings.maintenance import MaintenanceSettings
from edupulse_pipelines.settings.permissions import PermissionsSettings
from edupulse_pipelines.settings.roles import RolesSettings
from edupulse_pipelines.settings.section import Section
from edupulse_pipelines.settings.standby import StandbySettings
from edupulse_pipelines.settings.tenant import TenantSettings

_LARGEST_FILE = 4 << 20  # bytes
_OF_THE_INSTALLATION = ("permissions", "roles", "backup", "encryption", "maintenance", "drill", "standby")
"""The tables that are no district's."""
_Section = TypeVar("_Section", bound=Section)


class SettingsFile(NamedTuple):
    """What `edupulse.toml` says; of a district whose table is wrong, what is wrong with it."""

    tenants: dict[str, TenantSettings]
    broken_tenants: dict[str, str]
    permissions: PermissionsSettings
    roles: RolesSettings
    backup: BackupSettings
    encryption: EncryptionSettings
    maintenance: MaintenanceSettings
    drill: DrillSettings
    standby: StandbySettings


def read_settings_file(path: Path, home: Path) -> SettingsFile:
    """The districts of the file by name, and the rest; `home` holds their landing folders unless they say otherwise.

    A wrong table is its district's trouble alone. ConfigurationError names the file, the key and the rule that is
    broken: when the file as a whole cannot be used, or no table of a district can.
    """
    document = _document(path)
    unknown = sorted(set(document) - {"tenants", *_OF_THE_INSTALLATION})
    if unknown:
        *others, last = (f"[{name}]" for name in _OF_THE_INSTALLATION)
        raise ConfigurationError(
            f"{path}: unknown key {unknown[0]!r}; only [tenants.<name>] tables, {', '.join(others)} and {last} are "
            "expected."
        )
    permissions = _section(path, document, "permissions", PermissionsSettings)
    roles = _section(path, document, "roles", RolesSettings)
    try:
        encryption = _section(path, document, "encryption", EncryptionSettings).beside(path.parent)
    except RuntimeError:  # Python knows no home folder of `~somebody`
        raise ConfigurationError(f"{path}: [encryption] key_file: there is no such user.") from None
    tenants, broken = _tenants(path, home, document)
    backup = _section(path, document, "backup", BackupSettings)
    maintenance = _section(path, document, "maintenance", MaintenanceSettings)
    drill = _section(path, document, "drill", DrillSettings)
    standby = _section(path, document, "standby", StandbySettings)
    return SettingsFile(tenants, broken, permissions, roles, backup, encryption, maintenance, drill, standby)


def _section(path: Path, document: dict[str, Any], name: str, section: type[_Section]) -> _Section:
    try:
        return section.model_validate(document.get(name, {}))
    except ValidationError as error:
        raise ConfigurationError(f"{path}: [{name}] {rules_in_words(error)}") from None


def _tenants(path: Path, home: Path, document: dict[str, Any]) -> tuple[dict[str, TenantSettings], dict[str, str]]:
    """The districts that are declared rightly, and of the others what is wrong."""
    declared = document.get("tenants", {})
    if not isinstance(declared, dict) or not declared:
        raise ConfigurationError(f"{path} declares no tenant; add a [tenants.<name>] table.")
    tenants: dict[str, TenantSettings] = {}
    broken: dict[str, str] = {}
    identifiers: dict[str, str] = {}
    for name, table in declared.items():
        try:
            tenant = _tenant(path, home, name, table)
        except ConfigurationError as error:
            broken[name] = str(error)
            continue
        if tenant.identifier in identifiers:
            broken[name] = (
                f"{path}: tenants {identifiers[tenant.identifier]!r} and {name!r} differ only in - and _; rename one."
            )
            continue
        identifiers[tenant.identifier] = name
        tenants[name] = tenant
    if not tenants:
        raise ConfigurationError(" ".join(broken.values()))
    return tenants, broken


def _tenant(path: Path, home: Path, name: str, table: Any) -> TenantSettings:
    if not isinstance(table, dict):
        raise ConfigurationError(f"{path}: tenants.{name} must be a table, [tenants.{name}].")
    if "name" in table:
        raise ConfigurationError(f"{path}: [tenants.{name}] name: the table's own name is the tenant's; remove it.")
    declared_landing = table.get("landing", str(home / "landing" / name))
    if not isinstance(declared_landing, str) or not declared_landing:
        raise ConfigurationError(f"{path}: [tenants.{name}] landing: not the path of a folder.")
    try:
        # Joining an absolute path leaves it as it is.
        landing = (path.parent / Path(declared_landing).expanduser()).absolute()
        return TenantSettings.model_validate({**table, "name": name, "landing": landing})
    except ValidationError as error:
        raise ConfigurationError(f"{path}: [tenants.{name}] {rules_in_words(error)}") from None
    except RuntimeError:  # Python knows no home folder of `~somebody`
        raise ConfigurationError(f"{path}: [tenants.{name}] landing: there is no such user.") from None


def _document(path: Path) -> dict[str, Any]:
    """What the file says, as TOML reads it."""
    try:
        with path.open("rb") as stream:
            content = stream.read(_LARGEST_FILE + 1)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}.") from None
    if len(content) > _LARGEST_FILE:
        raise ConfigurationError(f"{path} is larger than {_LARGEST_FILE >> 20} MiB: that is no file of settings.")
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not valid TOML: {error}") from None
    except RecursionError:
        raise ConfigurationError(f"{path} cannot be read: brackets are nested too deeply.") from None
    except ValueError:  # Python refuses to read an integer of thousands of digits
        raise ConfigurationError(f"{path} cannot be read: it holds a number that is too long.") from None


def rules_in_words(error: ValidationError) -> str:
    """The broken rules, key by key, in words; pydantic's own text repeats input values and links."""
    parts = []
    for problem in error.errors(include_url=False, include_input=False):
        key = ".".join(str(step) for step in problem["loc"]) or "table"
        parts.append(f"{key}: {problem['msg'].removeprefix('Value error, ')}")
    return "; ".join(parts) + "."
