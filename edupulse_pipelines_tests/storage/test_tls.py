"""A server with TLS, as it is met: the right certificate, others, none, and somebody in between who has none."""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import sqlalchemy as sa
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from edupulse_pipelines.errors import ConfigurationError, DatabaseUnusable
from edupulse_pipelines.operations.postgresql_server import FolderServer
from edupulse_pipelines.storage import engine as engines
from edupulse_pipelines_tests.servers import new_server

PASSWORD = "s3cret"
NAME = "db.example.org"
_SPEAKS_TLS_OR_GSSAPI = {number.to_bytes(4, "big") for number in (80877103, 80877104)}
"""What libpq asks before it says who it is."""
_YOUR_PASSWORD_IN_PLAIN = b"R" + (8).to_bytes(4, "big") + (3).to_bytes(4, "big")


class Authority(NamedTuple):
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate


def authority(called: str = "An authority") -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, called)])
    made = _builder(name, name, key, 1, 30).add_extension(x509.BasicConstraints(True, None), critical=True)
    return Authority(key, made.sign(key, hashes.SHA256()))


def certificate(by: Authority, *names: str, days: tuple[int, int] = (1, 30)) -> tuple[bytes, bytes]:
    """(certificate, key) of a server with these names, in PEM; valid from so many days ago to so many from now."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    alternatives = [
        x509.IPAddress(ipaddress.ip_address(name)) if name[0].isdigit() else x509.DNSName(name) for name in names
    ]
    made = _builder(subject, by.certificate.subject, key, *days).add_extension(
        x509.SubjectAlternativeName(alternatives), critical=False
    )
    pem = serialization.Encoding.PEM
    return made.sign(by.key, hashes.SHA256()).public_bytes(pem), key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, since: int, until: int
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=since))
        .not_valid_after(now + dt.timedelta(days=until))
    )


class Tls(NamedTuple):
    server: FolderServer
    port: int
    ours: Authority
    root: Path
    admin: sa.Engine

    def certify(self, made: tuple[bytes, bytes] | None) -> None:
        """Have the server show this certificate from now on; None: have it speak no TLS."""
        if made is not None:
            write_certificate(self.server.data, made)
        with engines.alone(self.admin) as connection:
            connection.exec_driver_sql(f"ALTER SYSTEM SET ssl = {'on' if made else 'off'}")
            before = connection.exec_driver_sql("SELECT pg_conf_load_time()").scalar()
            connection.exec_driver_sql("SELECT pg_reload_conf()")
            for _ in range(200):
                if connection.exec_driver_sql("SELECT pg_conf_load_time()").scalar() != before:
                    return
                connection.exec_driver_sql("SELECT pg_sleep(0.02)")

    def url(self, host: str, user: str = "scram", *, port: int | None = None, more: str = "") -> str:
        return (
            f"postgresql://{user}:{PASSWORD}@{host}:{port or self.port}/postgres"
            f"?sslmode=verify-full&sslrootcert={self.root}{more}"
        )


def write_certificate(folder: Path, made: tuple[bytes, bytes]) -> None:
    owner = folder.stat()
    for name, content in zip(("server.crt", "server.key"), made, strict=True):
        path = folder / f"{name}.new"
        path.write_bytes(content)
        path.chmod(0o600)
        os.chown(path, owner.st_uid, owner.st_gid)
        path.replace(folder / name)


def address() -> str | None:
    """An address of this machine that is not loopback, if it has one."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        asked.connect(("192.0.2.1", 9))  # nothing is sent
        found = str(asked.getsockname()[0])
        if not ipaddress.ip_address(found).is_loopback:
            return found
    return None


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tls]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ours = authority()
    root = tmp_path_factory.mktemp("authority") / "root.crt"
    root.write_bytes(ours.certificate.public_bytes(serialization.Encoding.PEM))
    hba = "local all postgres trust\nhostssl all scram all scram-sha-256\nhostssl all md5 all md5\n"
    with new_server("debian", hba=hba, listen="*", port=port) as server:
        admin = engines.create_engine(server.url())
        with engines.alone(admin) as connection:
            for user, kind in (("scram", "scram-sha-256"), ("md5", "md5")):
                connection.exec_driver_sql(f"SET password_encryption = '{kind}'")
                connection.exec_driver_sql(f"CREATE ROLE {user} LOGIN PASSWORD '{PASSWORD}'")
        made = Tls(server, port, ours, root, admin)
        made.certify(certificate(ours, "localhost", NAME))
        yield made
        admin.dispose()


def asked(url: str) -> str:
    """How the connection is encrypted, by the server's own word; errors as the house raises them."""
    engine = engines.create_engine(url)
    try:
        with engines.reachable(engine), engines.reading(engine) as connection:
            return str(
                connection.exec_driver_sql("SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()").scalar()
            )
    finally:
        engine.dispose()


def test_the_right_certificate_is_taken_and_the_password_bound_to_it(tls: Tls) -> None:
    assert asked(tls.url("localhost")) in ("TLSv1.2", "TLSv1.3")
    assert asked(tls.url("localhost", more="&channel_binding=require")) in ("TLSv1.2", "TLSv1.3")
    assert asked(tls.url(NAME, more="&hostaddr=127.0.0.1")) in ("TLSv1.2", "TLSv1.3")


def test_a_certificate_of_another_name_is_refused(tls: Tls) -> None:
    with pytest.raises(
        DatabaseUnusable, match=r'certificate for "localhost".* does not match host name "127\.0\.0\.1"'
    ):
        asked(tls.url("127.0.0.1"))  # which is not localhost
    with pytest.raises(DatabaseUnusable, match="does not match host name"):
        asked(tls.url("elsewhere.example.org", more="&hostaddr=127.0.0.1"))


@pytest.mark.parametrize("what", ["other authority", "one of the same name", "expired", "not yet valid"])
def test_a_certificate_that_proves_nothing_is_refused(tls: Tls, what: str) -> None:
    right = certificate(tls.ours, "localhost", NAME)
    wrong = {
        "other authority": lambda: certificate(authority("Another one"), "localhost"),
        "one of the same name": lambda: certificate(authority(), "localhost"),
        "expired": lambda: certificate(tls.ours, "localhost", days=(30, -1)),
        "not yet valid": lambda: certificate(tls.ours, "localhost", days=(-1, 30)),
    }
    tls.certify(wrong[what]())
    try:
        with pytest.raises(DatabaseUnusable, match=r"SSL error: (certificate verify|provider signature)"):
            asked(tls.url("localhost"))
    finally:
        tls.certify(right)
    assert asked(tls.url("localhost"))


def test_a_server_without_tls_is_refused(tls: Tls) -> None:
    tls.certify(None)
    try:
        with pytest.raises(DatabaseUnusable, match="does not support SSL"):
            asked(tls.url("localhost"))
    finally:
        tls.certify(certificate(tls.ours, "localhost", NAME))


def test_no_authority_is_no_reason_to_trust(tls: Tls, tmp_path: Path) -> None:
    url = tls.url("localhost").replace(str(tls.root), str(tmp_path / "gone.crt"))
    with pytest.raises(DatabaseUnusable, match=r"root certificate file .*gone\.crt.* does not exist"):
        asked(url)


class Between:
    """Somebody between us and the server who says that there is no TLS, and keeps all that is said then."""

    def __init__(self) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.heard: list[bytes] = []
        self.thread = threading.Thread(target=self._listen, daemon=True)
        self.thread.start()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                said, _ = self.listening.accept()
                with said:
                    said.settimeout(5)
                    while heard := said.recv(4096):
                        self.heard.append(heard)
                        if heard[:1] == b"p":  # a password
                            break
                        said.sendall(b"N" if heard[4:8] in _SPEAKS_TLS_OR_GSSAPI else _YOUR_PASSWORD_IN_PLAIN)


@pytest.fixture
def between() -> Iterator[Between]:
    made = Between()
    yield made
    made.listening.close()


def test_whoever_talks_us_down_to_plain_text_hears_nothing(tls: Tls, between: Between) -> None:
    port = between.listening.getsockname()[1]
    with pytest.raises(DatabaseUnusable, match="does not support SSL"):
        asked(tls.url("localhost", port=port))
    assert between.heard
    assert not [heard for heard in between.heard if PASSWORD.encode() in heard or b"scram" in heard]


def test_without_verifying_they_would_hear_the_password(between: Between) -> None:
    """What is refused outside of this machine: it shows that the test before could fail."""
    port = between.listening.getsockname()[1]
    with pytest.raises(sa.exc.OperationalError):
        engines.create_engine(f"postgresql://scram:{PASSWORD}@localhost:{port}/postgres?sslmode=prefer").connect()
    assert [heard for heard in between.heard if PASSWORD.encode() in heard]


def test_outside_of_this_machine_nothing_is_sent_before_the_url_says_so(between: Between) -> None:
    with pytest.raises(ConfigurationError, match="says sslmode=require"):
        asked(f"postgresql://scram:{PASSWORD}@{NAME}:{between.listening.getsockname()[1]}/postgres?sslmode=require")
    assert between.heard == []


def test_a_server_without_scram_is_told_how(tls: Tls) -> None:
    here = address()
    if here is None:
        pytest.skip("lacks an address that is not loopback")
    more = f"&hostaddr={here}"
    assert asked(tls.url(NAME, more=more)) in ("TLSv1.2", "TLSv1.3")
    with pytest.raises(DatabaseUnusable, match=r"channel binding .*needs channel_binding=prefer in the URL"):
        asked(tls.url(NAME, "md5", more=more))
    assert asked(tls.url(NAME, "md5", more=f"{more}&channel_binding=prefer")) in ("TLSv1.2", "TLSv1.3")
