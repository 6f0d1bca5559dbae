"""Settings over a temporary home, for definitions and runs that need no data."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from edupulse_pipelines.orchestration import retries
from edupulse_pipelines.settings import Settings, TenantSettings
from edupulse_pipelines_tests.prepared import put_mlflow_store


def settings_of(home: Path, *tenants: TenantSettings) -> Settings:
    return Settings(
        home=home,
        database_url=f"sqlite:///{home / 'edupulse.db'}",
        tracking_uri=f"sqlite:///{home / 'mlflow' / 'mlflow.db'}",
        config_path=home / "edupulse.toml",
        tenants={tenant.name: tenant for tenant in tenants},
    )


def tenant_of(home: Path, name: str = "open-university", timezone: str = "Europe/London") -> TenantSettings:
    return TenantSettings(name=name, timezone=timezone, first_week=dt.date(2026, 1, 5), landing=home / "landing" / name)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for minutes here; what is tested is whether and how often a step is tried again."""
    monkeypatch.setattr(retries, "FIRST_PAUSE_SECONDS", 0.01)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    put_mlflow_store(tmp_path / "mlflow" / "mlflow.db")
    return settings_of(tmp_path, tenant_of(tmp_path))


@pytest.fixture
def tenant(settings: Settings) -> TenantSettings:
    return next(iter(settings.tenants.values()))
