"""What a setting has to say before anything of it is reached: kinds of addresses, libpq's ways to add to them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edupulse_pipelines.errors import ConfigurationError
from edupulse_pipelines.operations.backup.barman_configuration import conninfo
from edupulse_pipelines.orchestration.homes import demand_encrypted_storage
from edupulse_pipelines.settings import (
    binds_channel,
    conninfo_of,
    demand_encrypted,
    is_loopback,
    load_settings,
    password_of,
)
from edupulse_pipelines.settings.transport import demand_encrypted_tracker, values_of_conninfo
from edupulse_pipelines.storage.engine import create_engine

FULL = "sslmode=verify-full"


@pytest.fixture(autouse=True)
def _no_libpq_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("PGSERVICE", "PGSERVICEFILE", "PGSYSCONFDIR", "PGHOST", "PGHOSTADDR", "PGSSLMODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.parametrize(
    "host",
    ["", "localhost", "LOCALHOST", "127.0.0.1", "127.8.9.10", "::1", "[::1]", "::ffff:127.0.0.1", "/run/pg", "@pg"],
)
def test_what_stays_on_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["db", "10.0.0.1", "128.0.0.1", "localhost.example.org", "127.0.0.1.example.org", "127.1", "0.0.0.0", "::"]
)
def test_what_may_leave_it(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize(
    "target",
    [
        "postgresql:///d",
        "postgresql://u:p@localhost/d",
        "postgresql://u:p@127.0.0.1:5433/d?sslmode=disable",
        "postgresql://u:p@[::1]:5433/d",
        "postgresql:///d?host=/run/pg&port=1",
        "postgresql+psycopg2://u@%2Frun%2Fpg/d",
        "postgresql://u@localhost:1,127.0.0.1:2/d",
        "postgresql://u@db.example.org/d?hostaddr=127.0.0.1",  # a tunnel
        f"postgresql://u:p@db.example.org/d?{FULL}",
        f"postgresql://u:p@a:1,b:2/d?{FULL}&target_session_attrs=read-write",
        f"postgresql+psycopg2:///d?host=a:1&host=b:2&{FULL}",
        "host=/run/pg user=x",
        "host=db.example.org user=x sslmode = 'verify-full' password='a b\\' c'",
        "https://hooks.example.org/x",
        "http://127.0.0.1:5000",
        "http://localhost:5000/x",
        "smtps://mail.example.org",
        "smtp+starttls://u:p@mail.example.org:587",
        "smtp://localhost:25",
        "sqlite:////srv/x.db",
        "file:///srv/mlruns",
        "databricks",
    ],
)
def test_what_is_let_through(target: str) -> None:
    demand_encrypted(target, "it")


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("postgresql://u:s3cret@db.example.org/d", r"it reaches db\.example\.org and says no sslmode: add sslmode=ver"),
        ("postgresql://u:s3cret@db.example.org/d?sslmode=", "says no sslmode"),
        ("postgresql://u:s3cret@db/d?sslmode=disable", "says sslmode=disable, which sends everything in plain text"),
        ("postgresql://u:s3cret@db/d?sslmode=allow", "sslmode=allow, which begins in plain text"),
        ("postgresql://u:s3cret@db/d?sslmode=prefer", "sslmode=prefer, which falls back to plain text"),
        ("postgresql://u:s3cret@db/d?sslmode=require", "sslmode=require, which takes any certificate"),
        (
            "postgresql://u:s3cret@db/d?sslmode=verify-ca",
            "sslmode=verify-ca, which takes a certificate of another",
        ),
        ("postgresql://u:s3cret@db/d?sslmode=full", "sslmode=full, which is no mode of libpq"),
        (f"postgresql://u:s3cret@db/d?{FULL}&sslmode=disable", "says sslmode several times"),
        ("postgresql://u:s3cret@localhost,db/d", "it reaches db and"),
        ("postgresql://u:s3cret@localhost/d?host=db", "it reaches db and"),
        ("postgresql:///d?host=localhost:1&host=db:2", "it reaches db and"),
        ("postgresql://u:s3cret@localhost/d?hostaddr=10.0.0.1", r"it reaches 10\.0\.0\.1 and"),
        ("postgresql://u:s3cret@[fd00::1]:5432/d", "it reaches fd00::1 and"),
        (f"postgresql://u:s3cret@db/d?{FULL}&ssl_min_protocol_version=TLSv1", "it lets in tlsv1: TLSv1.2"),
        ("postgresql:///host%3Ddb%20password%3Ds3cret", "a connection inside its database name"),
        ("postgresql:///d?dsn=host%3Ddb", "a connection inside its database name or `dsn`"),
        ("postgresql://u@localhost#:s3cret@db/d", "have to be percent-encoded"),
        ("postgresql://u:s3cret@db@localhost/d", "have to be percent-encoded"),
        ("host=db user=x password=s3cret", "it reaches db and says no sslmode"),
        ("host=localhost,db password=s3cret", "it reaches db and"),
        ("host=db sslmode=verify-full sslmode=require password=s3cret", "says sslmode=require"),
        ("host=db sslmode", "is no conninfo of libpq"),
        (
            "http://u:s3cret@hooks.example.org",
            r"reaches hooks\.example\.org in plain text: it has to begin with https",
        ),
        ("http://", "it reaches nobody in plain text"),
        ("smtp://u:s3cret@mail.example.org", "begin it with smtps://"),
        ("mysql://u:s3cret@db/d", "it reaches db by mysql://, of which nobody here can tell"),
    ],
)
def test_what_is_refused_by_name_and_without_its_password(target: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as raised:
        demand_encrypted(target, "it")
    assert "s3cret" not in str(raised.value)


def test_variables_of_libpq_are_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "db")
    with pytest.raises(ConfigurationError, match="it reaches db and says no sslmode"):
        demand_encrypted("postgresql:///d", "it")
    demand_encrypted("postgresql://localhost/d", "it")
    monkeypatch.setenv("PGHOSTADDR", "10.0.0.1")
    with pytest.raises(ConfigurationError, match=r"it reaches 10\.0\.0\.1 \(PGHOSTADDR\) and"):
        demand_encrypted("postgresql://localhost/d", "it")
    for mode in ("require", "verify-full"):  # another process may not have the variable
        monkeypatch.setenv("PGSSLMODE", mode)
        with pytest.raises(ConfigurationError, match=f"PGSSLMODE={mode} is no part of it"):
            demand_encrypted("postgresql://db/d", "it")
    demand_encrypted(f"postgresql://db/d?{FULL}", "it")
    monkeypatch.setenv("PGSSLMINPROTOCOLVERSION", "TLSv1.1")
    with pytest.raises(ConfigurationError, match=r"PGSSLMINPROTOCOLVERSION lets in tlsv1\.1"):
        demand_encrypted(f"postgresql://db/d?{FULL}", "it")


def test_a_service_is_followed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".pg_service.conf").write_text(
        "[weak]\nhost=db\nsslmode=require\n[good]\nhost=db\nsslmode=verify-full\n[here]\nhost=/run/pg\n"
        "[moves]\nhostaddr=10.0.0.1\n",
        encoding="utf-8",
    )
    demand_encrypted("postgresql:///d?service=good", "it")
    demand_encrypted("postgresql:///d?service=here", "it")
    demand_encrypted(f"postgresql://db/d?service=weak&{FULL}", "it")  # what the connection says itself counts
    with pytest.raises(ConfigurationError, match="it reaches db and the service weak says sslmode=require"):
        demand_encrypted("postgresql:///d?service=weak", "it")
    with pytest.raises(ConfigurationError, match=r"it reaches 10\.0\.0\.1 and says no sslmode"):
        demand_encrypted("postgresql://localhost/d?service=moves", "it")
    with pytest.raises(ConfigurationError, match="by the service gone, of which no service file"):
        demand_encrypted("service=gone", "it")
    monkeypatch.setenv("PGSERVICE", "weak")
    with pytest.raises(ConfigurationError, match="the service weak says sslmode=require"):
        demand_encrypted("postgresql:///d", "it")
    elsewhere = tmp_path / "elsewhere.conf"
    elsewhere.write_text("[weak]\nhost=localhost\n", encoding="utf-8")
    monkeypatch.setenv("PGSERVICEFILE", str(elsewhere))
    demand_encrypted("postgresql:///d", "it")


def test_parameters_by_name() -> None:
    demand_encrypted({"host": "db", "sslmode": "verify-full"}, "it")
    with pytest.raises(ConfigurationError, match="it reaches db"):
        demand_encrypted({"host": "db"}, "it")
    assert values_of_conninfo("a = 1 b='x \\' y' c=", "it") == {"a": "1", "b": "x ' y", "c": ""}


@pytest.mark.parametrize(
    "variable", ["EDUPULSE_DATABASE_URL", "EDUPULSE_KEEPER_URL", "EDUPULSE_BACKUP_URL", "EDUPULSE_STANDBY_URL"]
)
def test_every_url_of_a_database_is_looked_at(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str) -> None:
    from edupulse_pipelines.settings import backup_url, keeper_url, standby_url

    monkeypatch.setenv(variable, "postgresql://u:s3cret@db.example.org/d?sslmode=require")
    with pytest.raises(ConfigurationError, match=rf"{variable} reaches db\.example\.org and says sslmode=require"):
        (load_settings(home=tmp_path), keeper_url(), backup_url(), standby_url())
    monkeypatch.setenv(variable, f"postgresql://u:s3cret@db.example.org/d?{FULL}")
    assert load_settings(home=tmp_path)


def test_an_engine_is_made_of_no_other_url() -> None:
    with pytest.raises(ConfigurationError, match="The database's URL reaches db and says no sslmode"):
        create_engine("postgresql://u:s3cret@db/d")
    create_engine(f"postgresql://u:s3cret@db/d?{FULL}").dispose()


def test_the_password_is_bound_to_the_channel_outside_of_this_machine() -> None:
    assert binds_channel(f"postgresql://db/d?{FULL}", "it")
    assert not binds_channel(f"postgresql://db/d?{FULL}&channel_binding=prefer", "it")
    assert not binds_channel("postgresql://localhost/d", "it")


def test_mlflow_is_reached_by_https_with_certificates_checked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for uri in ("https://mlflow.example.org", "http://127.0.0.1:5000", "sqlite:///x.db", f"postgresql://db/m?{FULL}"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        assert load_settings(home=tmp_path).tracking_uri == uri
    for uri in ("http://u:s3cret@mlflow.example.org", "postgresql://u:s3cret@db/m", "mysql+pymysql://u:s3cret@db/m"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        with pytest.raises(ConfigurationError, match="MLFLOW_TRACKING_URI reaches") as raised:
            load_settings(home=tmp_path)
        assert "s3cret" not in str(raised.value)
    monkeypatch.setenv("MLFLOW_TRACKING_INSECURE_TLS", "true")
    with pytest.raises(ConfigurationError, match="MLFLOW_TRACKING_INSECURE_TLS has certificates not checked"):
        demand_encrypted_tracker("https://mlflow.example.org")
    demand_encrypted_tracker("https://localhost:5000")


@pytest.mark.parametrize(
    ("storage", "refused"),
    [
        ({"postgres": {"postgres_url": {"env": "DAGSTER_URL"}}}, "storage.postgres.postgres_url reaches db"),
        ({"postgres": {"postgres_db": {"hostname": "db"}}}, "storage.postgres.postgres_db reaches db"),
        (
            {"postgres": {"postgres_db": {"hostname": {"env": "DAGSTER_HOST"}, "params": {"sslmode": "require"}}}},
            "=req",
        ),
        ({"postgres": {"postgres_db": {"hostname": "db", "params": {"sslmode": "verify-full"}}}}, None),
        ({"postgres": {"postgres_db": {"hostname": "localhost"}}}, None),
        ({"sqlite": {"base_dir": "/srv"}}, None),
    ],
)
def test_dagsters_own_storage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, storage: object, refused: str | None
) -> None:
    monkeypatch.setenv("DAGSTER_URL", "postgresql://u:s3cret@db/d")
    monkeypatch.setenv("DAGSTER_HOST", "db")
    (tmp_path / "dagster.yaml").write_text(f"storage: {json.dumps(storage)}\n", encoding="utf-8")
    if refused is None:
        demand_encrypted_storage(tmp_path)
        return
    with pytest.raises(ConfigurationError, match=refused) as raised:
        demand_encrypted_storage(tmp_path)
    assert "s3cret" not in str(raised.value)


def test_barmans_two_connections_say_what_the_url_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDUPULSE_DATABASE_URL", f"postgresql://u:s3cret@db.example.org/d?{FULL}&sslrootcert=/x.crt")
    settings = load_settings(home=tmp_path)
    for replication in (False, True):
        said = conninfo(settings, replication=replication)
        demand_encrypted(said, "it")
        values = values_of_conninfo(said, "it")
        assert (values["sslmode"], values["channel_binding"], values["host"]) == (
            "verify-full",
            "require",
            "db.example.org",
        )
        assert "s3cret" not in said


def test_a_standby_says_what_the_primarys_url_says() -> None:
    url = f"postgresql://u:s3cret@db.example.org/d?{FULL}"
    said = conninfo_of(url, "The primary's URL", to_primary=True)
    assert (values_of_conninfo(said, "it")["sslmode"], password_of(url)) == ("verify-full", {"PGPASSWORD": "s3cret"})
    assert values_of_conninfo(said, "it")["channel_binding"] == "require"
    with pytest.raises(ConfigurationError, match="The primary's URL reaches db and says no sslmode"):
        conninfo_of("postgresql://u:s3cret@db/d", "The primary's URL")


def test_a_code_server_asks_for_a_verified_storage(tmp_path: Path) -> None:
    """A bare `dagster dev`: nobody but `definitions` looks at the file that DAGSTER_HOME names."""
    (tmp_path / "dagster.yaml").write_text(
        "storage:\n  postgres:\n    postgres_url: postgresql://one@db.example.org/dagster\n", encoding="utf-8"
    )
    (tmp_path / "home").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", "import edupulse_pipelines.definitions"],
        env={**os.environ, "DAGSTER_HOME": str(tmp_path), "EDUPULSE_HOME": str(tmp_path / "home")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "ConfigurationError" in done.stderr and "dagster.yaml: storage.postgres.postgres_url" in done.stderr
