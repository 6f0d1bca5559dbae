"""Whether the old primary is gone, as far as that can be seen from here, before a standby takes its place.

Gone is what refuses connections: its machine answers, and nothing listens. A name that is not found, an address from
which nothing comes back and a place that we may not look at say nothing: the primary may run behind them, and be
reached by others.
"""

from __future__ import annotations

import errno
import os
import socket
from dataclasses import dataclass
from typing import Any, Literal

from edupulse_pipelines.settings import STANDBY_URL, places_of

_NAMED = "EDUPULSE_DATABASE_URL"
_CONNECT_SECONDS = 5.0
_SOCKET_FOLDERS = ("/run/postgresql", "/var/run/postgresql", "/tmp")
"""Where libpq looks for a socket when a URL names no host; which of them was decided when it was built."""
_REFUSED = {errno.ECONNREFUSED, errno.ENOENT}
_NO_SUCH_ADDRESS = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}
"""An address of a kind that this machine has not, IPv6 of `localhost` say."""


@dataclass(frozen=True)
class _Seen:
    """What an address says: `why` for one that is neither taken nor refused."""

    how: Literal["answers", "gone", "unknown"]
    why: str = ""


def why_not_promoted(url: str, standby_url: str) -> str | None:
    """Why the standby must not take the place of the primary now, in a sentence; None where the primary is gone.

    It asks no more than whether a connection is taken: a primary that refuses clients, or is starting, is there.
    """
    its_own = set(places_of(standby_url, STANDBY_URL))
    others = [place for place in places_of(url, _NAMED) if place not in its_own]
    if not others:
        return (
            f"{_NAMED} names no server but the standby, so nobody can tell from here whether the primary is gone. "
            "Name the primary there, too, or see yourself that it is off and stays off; then --force promotes."
        )
    seen = {_in_words(*place): _look_at(*place) for place in others}
    for place, one in seen.items():
        if one.how == "answers":
            return (
                f"The primary answers ({place}): two servers that both take writes would each have rows that the "
                "other has not. Stop it for good first (and see that it does not start again); --force promotes in "
                "any case."
            )
    for place, one in seen.items():
        if one.how == "unknown":
            return (
                f"Nobody can tell from here whether the primary is gone ({place}: {one.why}): it may take writes of "
                "others. See yourself that it is off and stays off, its machine and not only its network; then "
                "--force promotes."
            )
    return None


def _in_words(host: str, port: int) -> str:
    return f"{host or 'the socket of this machine'}, port {port}"


def _look_at(host: str, port: int) -> _Seen:
    if host.startswith("/"):
        return _of_socket(host, port)
    if host:
        return _of_address(host, port)
    here = [*(_of_socket(folder, port) for folder in _SOCKET_FOLDERS), _of_address("localhost", port)]
    return next((one for how in ("answers", "unknown") for one in here if one.how == how), _Seen("gone"))


def _of_socket(folder: str, port: int) -> _Seen:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as made:
        return _of_code(_code_of(made, f"{folder}/.s.PGSQL.{port}"))


def _of_address(host: str, port: int) -> _Seen:
    """What all addresses of a host say."""
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return _Seen("unknown", "its name is not found")
    seen = []
    for family, kind, protocol, _, address in addresses:
        try:
            with socket.socket(family, kind, protocol) as made:
                code = _code_of(made, address)
        except OSError as error:
            code = error.errno or 0
        if code not in _NO_SUCH_ADDRESS:
            seen.append(_of_code(code))
    if not seen:
        return _Seen("unknown", "it cannot be reached from this machine")
    return next((one for how in ("answers", "unknown") for one in seen if one.how == how), _Seen("gone"))


def _code_of(made: socket.socket, address: Any) -> int:
    made.settimeout(_CONNECT_SECONDS)
    return made.connect_ex(address)


def _of_code(code: int) -> _Seen:
    if code == 0:
        return _Seen("answers")
    if code in _REFUSED:
        return _Seen("gone")
    if code == errno.EAGAIN:  # of a time that is over, or of a queue that is full
        return _Seen("unknown", f"no answer within {_CONNECT_SECONDS:.0f} seconds")
    return _Seen("unknown", os.strerror(code))
