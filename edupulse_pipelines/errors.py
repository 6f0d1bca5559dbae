"""The errors whose message is written for a person: what went wrong, where, and what to do.

Only errors that the command line and the Dagster assets show as they are live here. Programming mistakes stay
ordinary exceptions. No message may carry a value of a student's record: file, line, column and rule are enough.
"""

from __future__ import annotations


class EduPulseError(Exception):
    """The work failed for a reason a person can act on; the command exits with `exit_code`."""

    exit_code = 1


class ConfigurationError(EduPulseError):
    """`edupulse.toml`, an environment variable or an option is wrong (wrong usage: exit 2)."""

    exit_code = 2


class LandingError(EduPulseError):
    """The landing folder is missing, or holds a delivery that cannot belong to the tenant."""


class CorrectionsRefused(EduPulseError):
    """A file with corrected quarantine rows cannot be taken as it is; nothing of it was recorded."""


class DatabaseUnavailable(EduPulseError):
    """The database does not answer."""


class SchemaBehind(EduPulseError):
    """The database's schema is not the one this version needs; `edupulse db upgrade` brings it there."""


class RegistryUnavailable(EduPulseError):
    """The MLflow tracking server or registry does not answer."""


class ModelArtifactError(RegistryUnavailable):
    """A registered model cannot be used: its version or artifact is gone, or is not the one that was logged."""
