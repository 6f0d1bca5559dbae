"""A standby's life: made, followed, behind, its slot broken, promoted; and clients that find the new primary."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa

from edupulse_pipelines.errors import ConfigurationError, PermanentError
from edupulse_pipelines.operations.postgresql_server import FolderServer
from edupulse_pipelines.operations.recovery import fence
from edupulse_pipelines.operations.recovery.fence import why_not_promoted
from edupulse_pipelines.operations.recovery.standby import (
    Standby,
    create_standby,
    promote_standby,
    standby_state,
    standby_url_or_refuse,
    trouble_with_standby,
)
from edupulse_pipelines.settings import (
    BackupSettings,
    Settings,
    StandbySettings,
    conninfo_of,
    normalise_database_url,
    password_of,
    places_of,
)
from edupulse_pipelines.storage.database import Database
from edupulse_pipelines_tests.operations.recovery.copies import ask
from edupulse_pipelines_tests.servers import CHEAP, new_server

WAL = {"max_slot_wal_keep_size": "32MB", "min_wal_size": "32MB", "max_wal_size": "32MB", "wal_keep_size": "0"}


@dataclass
class Pair:
    """A primary, the folder for its standby, and settings of a home whose URL names both."""

    primary: FolderServer
    standby: FolderServer
    settings: Settings

    @property
    def url(self) -> str:
        return normalise_database_url(self.primary.url())

    def create(self) -> None:
        create_standby(self.settings, Database(self.url), self.standby.data, self.url)

    def state(self) -> Standby:
        return standby_state(self.settings, Database(self.url), Database(self.standby.url()))

    def trouble(self) -> list[str]:
        return trouble_with_standby(self.settings, self.state())

    def wait_until_it_follows(self) -> None:
        for _ in range(200):
            state = self.state()
            if state.connected and state.lag_bytes == 0:
                return
            ask(self.primary, "SELECT pg_sleep(0.05)")
        raise AssertionError(state)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with pair_of(tmp_path) as made:
        yield made


@contextmanager
def pair_of(home: Path) -> Iterator[Pair]:
    """A primary, and a server for its standby that is not there yet."""
    with new_server("wheel", settings=WAL) as primary:
        folder = primary.data.parent
        standby = FolderServer(
            primary.programs, folder / "standby", folder / "other", port=5433, user=primary.run_as(), settings=CHEAP
        )
        both = f"{primary.socket},{standby.socket}&port=5432,5433&target_session_attrs=read-write"
        settings = Settings(
            home=home,
            database_url=f"postgresql+psycopg2://postgres@/postgres?host={both}",
            tracking_uri="",
            config_path=home / "edupulse.toml",
            tenants={},
            backup=BackupSettings(programs=str(primary.programs.folder)),
        )
        try:
            yield Pair(primary, standby, settings)
        finally:
            if standby.data.exists():
                standby.stop("immediate")


def write(settings: Settings) -> None:
    """Write a row as a client of the home does."""
    with Database(settings.database_url).unchecked_work() as work, work.writing() as connection:
        connection.execute(sa.text("INSERT INTO noted VALUES (1)"))


def test_it_follows_takes_the_place_and_clients_find_it(pair: Pair) -> None:
    ask(pair.primary, "CREATE TABLE noted (a integer)")
    pair.create()
    assert pair.standby.data.stat().st_mode & 0o777 == 0o700
    with pytest.raises(PermanentError, match="is not empty"):
        pair.create()
    assert pair.trouble() == ["The standby is not connected; the slot edupulse_standby keeps WAL for it. Start it."]
    pair.standby.start()
    write(pair.settings)
    pair.wait_until_it_follows()
    state = pair.state()
    assert (state.slot, state.in_recovery, state.lag_seconds) == ("active", True, 0.0)
    assert pair.trouble() == []
    assert ask(pair.standby, "SELECT count(*) FROM noted") == 1
    with pytest.raises(PermanentError, match="in use by another standby"):
        create_standby(pair.settings, Database(pair.url), pair.standby.data.parent / "second", pair.url)
    assert not (pair.standby.data.parent / "second").exists()
    with pytest.raises(PermanentError, match=r"The primary answers \(.*port 5432\)"):
        promote_standby(pair.settings, pair.standby.url())
    assert ask(pair.standby, "SELECT pg_is_in_recovery()") is True
    pair.primary.stop("immediate")
    assert pair.trouble()[0].startswith("The primary does not answer")
    promote_standby(pair.settings, pair.standby.url())
    write(pair.settings)
    assert ask(pair.standby, "SELECT count(*) FROM noted") == 2
    with pytest.raises(PermanentError, match="no standby: it takes writes already"):
        promote_standby(pair.settings, pair.standby.url())
    assert pair.trouble() == ["The standby was promoted: it is a primary of its own now. Make a new standby."]
    pair.standby.stop("immediate")
    with pytest.raises(PermanentError, match="does not answer, so it cannot be promoted"):
        promote_standby(pair.settings, pair.standby.url())


def test_a_slot_that_is_broken_and_one_that_is_gone(pair: Pair) -> None:
    pair.create()
    slow = pair.settings.model_copy(update={"standby": StandbySettings(max_slot_bytes=0)})
    ask(pair.primary, "CREATE TABLE noted AS SELECT g, repeat('x', 500) FROM generate_series(1, 5000) g")
    said = trouble_with_standby(slow, pair.state())
    assert any("holds back" in one for one in said), said
    for _ in range(4):
        ask(pair.primary, "SELECT pg_switch_wal()")
        ask(pair.primary, "INSERT INTO noted SELECT g, repeat('x', 500) FROM generate_series(1, 2000) g")
        ask(pair.primary, "CHECKPOINT")
    assert pair.state().slot == "lost"
    assert "is broken: the primary has thrown away WAL" in pair.trouble()[0]
    with pytest.raises(PermanentError, match=r"pg_drop_replication_slot\('edupulse_standby'\)"):
        create_standby(pair.settings, Database(pair.url), pair.standby.data.parent / "second", pair.url)
    ask(pair.primary, "SELECT pg_drop_replication_slot('edupulse_standby')")
    assert "is gone: nothing keeps WAL" in pair.trouble()[0]
    # A base backup that fails leaves neither folder nor slot behind.
    refused = pair.url.replace("postgres@", "nobody@")
    with pytest.raises(PermanentError, match="pg_basebackup failed"):
        create_standby(pair.settings, Database(pair.url), pair.standby.data.parent / "third", refused)
    assert not (pair.standby.data.parent / "third").exists()
    assert pair.state().slot == "missing"


def test_thresholds_are_those_of_the_settings(tmp_path: Path) -> None:
    settings = Settings(
        home=tmp_path,
        database_url="postgresql+psycopg2://h/d",
        tracking_uri="",
        config_path=tmp_path / "edupulse.toml",
        tenants={},
        standby=StandbySettings(max_lag_bytes=10, max_lag_seconds=2),
    )
    state = Standby(True, "active", 0, True, lag_bytes=10, lag_seconds=2.0, in_recovery=True)
    assert trouble_with_standby(settings, state) == []
    state = Standby(True, "active", 0, True, lag_bytes=11, lag_seconds=2.5, in_recovery=True)
    assert [one.split("(")[1] for one in trouble_with_standby(settings, state)] == [
        "max_lag_bytes).",
        "max_lag_seconds).",
    ]


@pytest.mark.parametrize(
    ("url", "places"),
    [
        ("postgresql://u@a:1,b/d", [("a", 1), ("b", 5432)]),
        ("postgresql://u@a/d", [("a", 5432)]),
        ("postgresql:///d?host=/run/pg&port=6000", [("/run/pg", 6000)]),
        ("postgresql:///d?host=a:1&host=b:2", [("a", 1), ("b", 2)]),
        ("postgresql:///d?host=[::1]:1&host=b", [("::1", 1), ("b", 5432)]),
        ("postgresql://a/d?hostaddr=10.0.0.1&port=7", [("10.0.0.1", 7)]),
        ("postgresql:///d", [("", 5432)]),
    ],
)
def test_the_places_that_a_url_names(url: str, places: list[tuple[str, int]]) -> None:
    assert places_of(normalise_database_url(url), "it") == places


def test_only_what_refuses_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    here = "postgresql://u@127.0.0.1:{}/d"
    standby = here.format(1)

    def said(url: str) -> str:
        return why_not_promoted(url, standby) or ""

    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        assert f"The primary answers (127.0.0.1, port {port})" in said(here.format(port))
        assert "The primary answers" in said(f"postgresql://u@127.0.0.1:1,127.0.0.1:{port}/d")
        assert "The primary answers" in said(f"postgresql://u@no.such.host/d?hostaddr=127.0.0.1&port={port}")
    assert said(here.format(port)) == ""
    assert "its name is not found" in said("postgresql://u@no.such.host.invalid/d")
    assert "names no server but the standby" in said(standby)
    monkeypatch.setattr(fence, "_code_of", lambda *_: errno.EHOSTUNREACH)
    assert "Nobody can tell from here whether the primary is gone" in said(here.format(port))
    assert "No route to host" in said(here.format(port))


def test_a_primary_on_a_socket_is_seen_where_the_url_names_no_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fence, "_SOCKET_FOLDERS", (str(tmp_path),))
    url, standby = "postgresql://u@/d?port=5999", "postgresql://u@127.0.0.1:1/d"
    assert why_not_promoted(url, standby) is None
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / ".s.PGSQL.5999"))
        listening.listen()
        assert "The primary answers (the socket of this machine" in (why_not_promoted(url, standby) or "")


def test_what_a_role_may_not_see_of_the_standby_is_unknown(pair: Pair) -> None:
    ask(pair.primary, "CREATE ROLE loader LOGIN")
    pair.create()
    pair.standby.start()
    pair.wait_until_it_follows()
    loader = Database(normalise_database_url(pair.primary.url(user="loader")))
    state = standby_state(pair.settings, loader, None)
    assert (state.connected, state.lag_bytes, state.slot) == (None, None, "active")
    (said,) = trouble_with_standby(pair.settings, state)
    assert "GRANT pg_monitor" in said


def test_a_password_is_never_on_a_command_line() -> None:
    url = normalise_database_url("postgresql://u:it's%20me@a:1,b/d?sslmode=verify-full&sslrootcert=/my%20crt")
    words = conninfo_of(url, "it", with_database=False)
    assert words == "host=a,b port=1,5432 sslmode=verify-full sslrootcert='/my crt' user=u channel_binding=require"
    assert password_of(url) == {"PGPASSWORD": "it's me"}


def test_the_standbys_url_names_the_standby_alone() -> None:
    with pytest.raises(ConfigurationError, match="not set"):
        standby_url_or_refuse(None)
    with pytest.raises(ConfigurationError, match="names several servers"):
        standby_url_or_refuse(normalise_database_url("postgresql://a,b/d"))
