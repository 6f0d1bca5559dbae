"""One spelling for the URL of a database."""

from __future__ import annotations

from urllib.parse import urlsplit

from edupulse_pipelines.errors import ConfigurationError


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
