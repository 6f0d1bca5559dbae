"""Whether what leaves this machine is encrypted, and to whom: decided by what a setting says, before anything is sent.

Outside of loopback and sockets a connection to PostgreSQL has to say `sslmode=verify-full`: of libpq's other modes
`prefer` falls back to plain text, and `require` and `verify-ca` take a certificate of another name. What libpq adds by
itself is followed: a service file, and variables of the environment. Pages and trackers are reached by https, mail by
TLS. Nothing is connected here, and no name is looked up.
"""

from __future__ import annotations

import configparser
import ipaddress
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from edupulse_pipelines.errors import ConfigurationError

VERIFIED = "verify-full"
_NOT_VERIFIED = {
    "disable": "which sends everything in plain text",
    "allow": "which begins in plain text",
    "prefer": "which falls back to plain text",
    "require": "which takes any certificate",
    "verify-ca": "which takes a certificate of another name",
}
_HOW = "add sslmode=verify-full, and sslrootcert=FILE unless the authority's certificate is in ~/.postgresql/root.crt"
_OLD_TLS = {"tlsv1", "tlsv1.1"}
_INSECURE_MLFLOW = ("MLFLOW_TRACKING_INSECURE_TLS", "MLFLOW_S3_IGNORE_TLS")
_WEB, _MAIL = {"http", "https"}, {"smtp", "smtps", "smtp+starttls"}
_POSTGRESQL = {"postgres", "postgresql"}
_USUAL_PORT = 5432
_PAIR = re.compile(r"\s*(\w+)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|((?:[^\s\\']|\\.)*))")


def demand_encrypted(target: str | Mapping[str, str], named: str) -> None:
    """ConfigurationError unless a connection is encrypted to whoever it names, or stays on this machine.

    target: a PostgreSQL URL, a conninfo of libpq (`host=… sslmode=…`: Barman's two, `primary_conninfo`) or its
    parameters by name, `https://…` of a page, a tracker or a webhook, or `smtps://…` and `smtp+starttls://…` of a mail
    server. Other schemes with a host are refused, because nobody here can tell. named: what the error calls it.
    Passwords are not told.
    """
    if not isinstance(target, str):
        _demand_verified(target, named)
        return
    scheme = scheme_of(target)
    kind = scheme.partition("+")[0]
    if scheme in _MAIL:
        _demand_mail(target, scheme, named)
    elif scheme in _WEB:
        _demand_https(target, named)
    elif kind in _POSTGRESQL:
        _demand_verified(values_of_url(target, named), named)
    elif not scheme and "=" in target:
        _demand_verified(values_of_conninfo(target, named), named)
    elif scheme and (host := _host_of(target)) and not is_loopback(host):
        raise ConfigurationError(
            f"{named} reaches {host} by {scheme}://, of which nobody here can tell whether it is encrypted: give it "
            "another address (https://, or PostgreSQL with sslmode=verify-full)."
        )


def demand_encrypted_tracker(uri: str, named: str = "MLFLOW_TRACKING_URI") -> None:
    """The same of MLflow's tracking server or store, of which certificates have to be checked, too."""
    demand_encrypted(uri, named)
    host = _host_of(uri)
    if scheme_of(uri) != "https" or (host and is_loopback(host)):
        return
    for variable in _INSECURE_MLFLOW:
        if os.environ.get(variable, "").strip().lower() in {"true", "1", "yes", "on"}:
            raise ConfigurationError(f"{variable} has certificates not checked, and {named} reaches {host}: unset it.")


def binds_channel(target: str, named: str) -> bool:
    """Whether a PostgreSQL URL leaves this machine and says nothing of `channel_binding`, which it then is to demand.

    With it nobody in between can pass a password on, whatever certificate they have; only SCRAM knows it. A server
    without SCRAM needs `channel_binding=prefer` in the URL.
    """
    values = values_of_url(target, named)
    return "channel_binding" not in values and not _stays_here(_effective(values, named)[0])


def places_of(url: str, named: str) -> list[tuple[str, int]]:
    """The hosts, addresses or folders of sockets that a PostgreSQL URL reaches, and their ports, as libpq finds them.

    A host is empty where nothing names one: libpq then takes the socket in the folder that it was built with.
    """
    targets, effective, _ = _effective(values_of_url(url, named), named)
    ports = effective.get("port", "").split(",")
    if len(ports) == 1:
        ports *= len(targets)
    if len(ports) != len(targets) or not all(port.strip().isdigit() for port in ports if port.strip()):
        raise ConfigurationError(f"{named} names {len(targets)} hosts and {len(ports)} ports: one for each, or one.")
    return [(target, int(port.strip() or _USUAL_PORT)) for target, port in zip(targets, ports, strict=True)]


def is_loopback(host: str) -> bool:
    """Whether a host of a conninfo is this machine: a socket, `localhost`, 127.0.0.0/8 or ::1. No name is looked up."""
    bare = host.strip().strip("[]").lower()
    if not bare or bare.startswith(("/", "@")) or bare == "localhost":
        return True
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def scheme_of(target: str) -> str:
    """The scheme of a URL in small letters; empty for what is none."""
    found = re.match(r"\s*([A-Za-z][A-Za-z0-9+.-]*)://", target)
    return found[1].lower() if found else ""


# What a connection says


def values_of_url(url: str, named: str) -> dict[str, str]:
    """The parameters of libpq that a PostgreSQL URL gives; several hosts are joined by commas, as libpq has them."""
    rest = url.strip().partition("://")[2]
    authority = re.split(r"[/?]", rest, maxsplit=1)[0]
    if authority.count("@") > 1 or re.search(r"[#\\\s]", rest):
        raise ConfigurationError(
            f"{named}: characters such as @, #, \\ and blanks have to be percent-encoded in a URL."
        )
    found: dict[str, list[str]] = {}
    hosts = authority.rpartition("@")[2]
    beside_hosts: list[str] = []
    if hosts:
        found["host"] = [unquote(_without_port(host)) for host in hosts.split(",")]
        beside_hosts += map(_port_of, hosts.split(","))
    path, _, query = rest[len(authority) :].partition("?")
    if path.strip("/"):
        found["dbname"] = [unquote(path.lstrip("/"))]
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name == "host":
            found.setdefault(name, []).extend(map(_without_port, value.split(",")))
            beside_hosts += map(_port_of, value.split(","))
        else:
            found.setdefault(name, []).append(value)
    if "port" not in found and any(beside_hosts):
        found["port"] = beside_hosts
    return _single(found, named)


def values_of_conninfo(conninfo: str, named: str) -> dict[str, str]:
    """The parameters of a conninfo string (`name=value` or `name='value'`); the last of a name counts, as for libpq."""
    found: dict[str, str] = {}
    place = 0
    text = conninfo.strip()
    while place < len(text):
        pair = _PAIR.match(text, place)
        if pair is None:
            raise ConfigurationError(f"{named} is no conninfo of libpq (name=value, parted by blanks).")
        quoted, bare = pair[2], pair[3]
        found[pair[1].lower()] = re.sub(r"\\(.)", r"\1", quoted if quoted is not None else bare)
        place = pair.end()
    return found


def _single(found: Mapping[str, list[str]], named: str) -> dict[str, str]:
    values = {}
    for name, given in found.items():
        if name in ("host", "hostaddr", "port"):
            values[name] = ",".join(given)
        elif len(set(given)) > 1:
            raise ConfigurationError(f"{named} says {name} several times, and differently: leave one.")
        else:
            values[name] = given[0]
    return values


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0].lstrip("[")
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() and ":" not in name else host


def _port_of(host: str) -> str:
    """The port that stands beside a host; empty where there is none."""
    name, colon, port = host.rpartition(":")
    beside = colon and port.isdigit() and (":" not in name or name.endswith("]"))
    return port if beside else ""


# What libpq makes of it


def _demand_verified(values: Mapping[str, str], named: str) -> None:
    if "dsn" in values or re.search(r"=|://", values.get("dbname", "")):
        raise ConfigurationError(f"{named} has a connection inside its database name or `dsn`: give that one itself.")
    targets, effective, sources = _effective(values, named)
    if _stays_here(targets):
        return
    where = ", ".join(target for target in targets if not is_loopback(target))
    mode = effective.get("sslmode", "").strip().lower()
    source = sources.get("sslmode", "")
    via = f" ({sources['hostaddr']})" if sources.get("hostaddr", "").startswith("PG") else ""
    if source.startswith("PG") or not mode:
        told = f", and {source}={mode} is no part of it" if source.startswith("PG") else ""
        raise ConfigurationError(f"{named} reaches {where}{via} and says no sslmode{told}: {_HOW}.")
    if mode != VERIFIED:
        said = f"{source} says" if source else "says"
        why = _NOT_VERIFIED.get(mode, "which is no mode of libpq")
        raise ConfigurationError(f"{named} reaches {where}{via} and {said} sslmode={mode}, {why}: {_HOW}.")
    least = effective.get("ssl_min_protocol_version", "").strip().lower()
    if least in _OLD_TLS:
        by = sources.get("ssl_min_protocol_version") or "it"
        raise ConfigurationError(f"{named} reaches {where}, and {by} lets in {least}: TLSv1.2 is the least.")


def _stays_here(targets: list[str]) -> bool:
    return all(map(is_loopback, targets))


def _effective(values: Mapping[str, str], named: str) -> tuple[list[str], dict[str, str], dict[str, str]]:
    """(where it connects, what libpq goes by, where each of these comes from when not from the connection itself)."""
    effective = {name: value for name, value in values.items() if value}
    sources: dict[str, str] = {}
    service = effective.get("service") or os.environ.get("PGSERVICE")
    if service:
        for name, value in _service(service, effective.get("servicefile"), named).items():
            if name not in effective:
                effective[name] = value
                sources[name] = f"the service {service}"
    for name, variable in (
        ("host", "PGHOST"),
        ("hostaddr", "PGHOSTADDR"),
        ("port", "PGPORT"),
        ("sslmode", "PGSSLMODE"),
        ("ssl_min_protocol_version", "PGSSLMINPROTOCOLVERSION"),
    ):
        given = os.environ.get(variable)
        if given and name not in effective:
            effective[name] = given
            sources[name] = variable
    return list(_targets(effective)), effective, sources


def _targets(effective: Mapping[str, str]) -> Iterator[str]:
    """Where it connects: libpq goes by the address where there is one, and by the name where there is none."""
    hosts = effective.get("host", "").split(",")
    addresses = effective.get("hostaddr", "").split(",")
    for place in range(max(len(hosts), len(addresses))):
        address = addresses[place].strip() if place < len(addresses) else ""
        yield address or (hosts[place].strip() if place < len(hosts) else "")


def _service(service: str, file: str | None, named: str) -> dict[str, str]:
    """What the service file says of a service, found as libpq finds it."""
    given = file or os.environ.get("PGSERVICEFILE")
    files = [Path(given)] if given else [Path("~/.pg_service.conf").expanduser()]
    if folder := os.environ.get("PGSYSCONFDIR"):
        files.append(Path(folder) / "pg_service.conf")
    for path in files:
        parser = configparser.RawConfigParser(delimiters=("=",), comment_prefixes=("#",), strict=False)
        try:
            parser.read_string(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, configparser.Error):
            continue
        if parser.has_section(service):
            return dict(parser.items(service))
    raise ConfigurationError(
        f"{named} connects by the service {service}, of which no service file that was found says anything "
        f"({', '.join(map(str, files))}): say host and sslmode=verify-full instead."
    )


# Pages and mail


def _host_of(url: str) -> str:
    try:
        return urlsplit(url.strip()).hostname or ""
    except ValueError:
        return "?"


def _demand_https(url: str, named: str) -> None:
    if scheme_of(url) == "https" or (is_loopback(_host_of(url)) and _host_of(url)):
        return
    raise ConfigurationError(
        f"{named} reaches {_host_of(url) or 'nobody'} in plain text: it has to begin with https://."
    )


def _demand_mail(url: str, scheme: str, named: str) -> None:
    if scheme != "smtp" or is_loopback(_host_of(url)):
        return
    raise ConfigurationError(
        f"{named} reaches {_host_of(url)} in plain text: begin it with smtps:// (TLS from the first byte) or "
        "smtp+starttls:// (TLS before anything else is said)."
    )
