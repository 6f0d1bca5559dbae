"""Which tenants a command works for: the one that `--tenant` names, all of them, or the only one."""

from __future__ import annotations

import click

from edupulse_pipelines.errors import ConfigurationError
from edupulse_pipelines.settings import Settings, TenantSettings


def chosen_tenants(settings: Settings, name: str | None, *, as_json: bool) -> list[TenantSettings]:
    """The tenant of this name, or all; with `--json` one."""
    if not settings.tenants:
        raise ConfigurationError(
            f"There is no {settings.config_path}, so no tenant. "
            "`edupulse demo` makes one; README.md says how to write yours."
        )
    tenants = [settings.tenant(name)] if name else list(settings.tenants.values())
    if as_json and len(tenants) > 1:
        raise click.UsageError("--json with several tenants needs --tenant.")
    return tenants


def chosen_tenant(settings: Settings, name: str | None) -> TenantSettings:
    """The tenant of this name, or the only one."""
    tenants = chosen_tenants(settings, name, as_json=False)
    if len(tenants) > 1:
        raise click.UsageError(f"There are several tenants; --tenant says which ({', '.join(settings.tenants)}).")
    return tenants[0]
