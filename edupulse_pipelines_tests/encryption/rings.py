"""Homes with a key, for tests."""

from __future__ import annotations

from pathlib import Path

import pyrage

from edupulse_pipelines.encryption.keyring import KeyRing, use_keys
from edupulse_pipelines.settings import EncryptionSettings, Settings


def identity() -> str:
    """An operator's identity, made anew."""
    return str(pyrage.x25519.Identity.generate())


def settings_at(home: Path, key_file: Path | None) -> Settings:
    """The settings of a home whose key lies in `key_file`; without one nothing is encrypted."""
    return Settings(
        home=home,
        database_url="sqlite://",
        tracking_uri="sqlite://",
        config_path=home / "edupulse.toml",
        tenants={},
        encryption=EncryptionSettings(key_file=key_file),
    )


def home_with_key(home: Path) -> KeyRing:
    """A home whose key lies beside it, as this process knows it from here on."""
    home.mkdir(parents=True, exist_ok=True)
    key_file = home.parent / f"{home.name}.key"
    key_file.write_text(f"{identity()}\n", encoding="utf-8")
    return use_keys(settings_at(home, key_file))
