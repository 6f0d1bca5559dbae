"""One spelling for the URL of a database; whether it is encrypted on its way is decided in `transport`."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote, urlsplit

from edupulse_pipelines.errors import ConfigurationError
from edupulse_pipelines.settings.transport import demand_encrypted


def normalise_database_url(url: str) -> str:
    """One spelling for a database URL: PostgreSQL always through psycopg2, which Dagster and MLflow ship.

    `postgres://`, `postgresql://`, `postgresql+psycopg://` and the like become `postgresql+psycopg2://`; several hosts
    (a primary and its standby, `h1:5432,h2:5432`) become the parameters `host` and `port`, which SQLAlchemy passes on;
    SQLite URLs stay as they are. ConfigurationError for any other database.
    """
    scheme, separator, rest = url.strip().partition("://")
    dialect = scheme.lower().partition("+")[0]
    if separator and dialect in {"postgres", "postgresql"}:
        rest = _hosts_as_parameters(rest)
        if not _readable(f"postgresql://{rest}"):
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


def checked_database_url(url: str, named: str) -> str:
    """The same of a URL that a setting gives, which has to be encrypted outside of this machine; `named`: the setting.

    ConfigurationError as `normalise_database_url` and `demand_encrypted` raise it.
    """
    spelled = normalise_database_url(url)
    demand_encrypted(spelled, named)
    return spelled


def _readable(url: str) -> bool:
    try:
        parts = urlsplit(url.strip())
        return parts.port is None or parts.port > 0
    except ValueError:
        return False


def _hosts_as_parameters(rest: str) -> str:
    """What follows `://`, with several hosts of its authority among the parameters; one host stays where it is."""
    split = re.search(r"[/?]", rest)
    authority, tail = (rest[: split.start()], rest[split.start() :]) if split else (rest, "")
    login, at, places = authority.rpartition("@")
    if "," not in places:
        return rest
    hosts, ports = [], []
    for place in places.split(","):
        found = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]]*)(?::(\d+))?", place)
        if found is None:
            return rest  # refused as unreadable
        hosts.append(unquote(found[1].strip("[]")))
        ports.append(found[2] or "5432")
    path, _, query = tail.partition("?")
    given = f"host={quote(','.join(hosts), safe=',')}&port={','.join(ports)}"
    return f"{login}{at}{path or '/'}?{given}{f'&{query}' if query else ''}"
