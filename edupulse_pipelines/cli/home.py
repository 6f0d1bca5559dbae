"""The settings of a command, and the home kept private from then on."""

from __future__ import annotations

from pathlib import Path

from edupulse_pipelines.cli.answers import say_error
from edupulse_pipelines.encryption.keyring import use_keys
from edupulse_pipelines.private_home import keep_private
from edupulse_pipelines.settings import Settings, load_settings


def settings_of(home: Path | None, *, placeholder: bool = False, make: bool = False) -> Settings:
    """The settings of the home; from here on the command writes for the home's owner alone, and with its key.

    Raises as `load_settings`.

    Districts whose settings are wrong are told. `make`: make the home when there is none; one with districts is made in
    any case.
    """
    settings = load_settings(home=home, placeholder=placeholder)
    for trouble in settings.broken_tenants.values():
        say_error(trouble)
    keep_private(settings, make=make or bool(settings.tenants))
    use_keys(settings)
    return settings
