"""A PostgreSQL URL as libpq's programs take it: `name=value` pairs without the password, which every user could see.

What leaves this machine has to be verified (`transport`). Nothing is connected here.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from edupulse_pipelines.settings.database_url import checked_database_url
from edupulse_pipelines.settings.transport import binds_channel, values_of_url

OF_CLIENTS = frozenset({"application_name", "options", "connect_timeout", "client_encoding"})
"""What a URL says of our own connections, and a program decides for itself."""


def conninfo_of(
    url: str,
    named: str,
    *,
    passfile: Path | None = None,
    with_database: bool = True,
    left_out: Collection[str] = OF_CLIENTS,
    to_primary: bool = False,
) -> str:
    """The conninfo of a URL. `named`: what errors call it. passfile: of a file that holds the URL's password.

    to_primary: of several hosts the one that takes writes, whichever that is at the time. ConfigurationError for a URL
    that leaves this machine unverified.
    """
    from sqlalchemy.engine import make_url

    spelled = checked_database_url(url, named)
    parsed, values = make_url(spelled), values_of_url(spelled, named)
    words = {name: value for name, value in values.items() if value and name not in {*left_out, "password"}}
    if parsed.username:
        words["user"] = parsed.username
    if not with_database:
        words.pop("dbname", None)
    if to_primary:
        words.pop("target_session_attrs", None)
        if "," in words.get("host", "") + words.get("hostaddr", ""):
            words["target_session_attrs"] = "read-write"
    if passfile is not None and password_of(url):
        words["passfile"] = str(passfile)
    if binds_channel(url, named):
        words["channel_binding"] = "require"
    return " ".join(f"{name}={_quoted(value)}" for name, value in words.items())


def password_of(url: str) -> dict[str, str]:
    """The variable by which a program is given the password of a URL; empty for a URL without one."""
    from sqlalchemy.engine import make_url

    parsed = make_url(url)
    given = parsed.password or parsed.query.get("password")
    return {"PGPASSWORD": str(given)} if given else {}


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return escaped if escaped and escaped == value and not any(c.isspace() for c in value) else f"'{escaped}'"
