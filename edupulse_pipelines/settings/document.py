"""Reading `edupulse.toml`: its districts, or the file, the key and the rule that is broken."""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import ValidationError

from edupulse_pipelines.errors import ConfigurationError
from edupulse_pipelines.settings.tenant import TenantSettings


def read_tenants(path: Path, home: Path) -> dict[str, TenantSettings]:
    """The districts of the file by name; `home` holds their landing folders unless they say otherwise.

    ConfigurationError names the file, the key and the rule that is broken.
    """
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
            raise ConfigurationError(f"{path}: [tenants.{name}] {rules_in_words(error)}") from None
        if tenant.identifier in identifiers:
            raise ConfigurationError(
                f"{path}: tenants {identifiers[tenant.identifier]!r} and {name!r} differ only in - and _; rename one."
            )
        identifiers[tenant.identifier] = name
        tenants[name] = tenant
    return tenants


def rules_in_words(error: ValidationError) -> str:
    """The broken rules, key by key, in words; pydantic's own text repeats input values and links."""
    parts = []
    for problem in error.errors(include_url=False, include_input=False):
        key = ".".join(str(step) for step in problem["loc"]) or "table"
        parts.append(f"{key}: {problem['msg'].removeprefix('Value error, ')}")
    return "; ".join(parts) + "."
