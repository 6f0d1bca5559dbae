"""`edupulse model …`, as typed, on SQLite and PostgreSQL."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from edupulse_pipelines import cli
from edupulse_pipelines.errors import EduPulseError
from edupulse_pipelines.risk.book.registry import Registry
from edupulse_pipelines.risk.book.reproduction import Reproduction
from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines_tests.prepared import put_mlflow_store
from edupulse_pipelines_tests.risk.district import tenant_settings
from edupulse_pipelines_tests.risk.registered import recorded

FIRST, SECOND = "2025-01-06-aaaaaaaa", "2025-01-27-bbbbbbbb"
Edupulse = Callable[..., Result]


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    home = tmp_path_factory.mktemp("cli-mlflow")
    return Registry(put_mlflow_store(home / "mlflow.db"), home / "artifacts")


@pytest.fixture
def tenant() -> TenantSettings:
    return tenant_settings()


@pytest.fixture
def edupulse(
    tmp_path: Path, tenant: TenantSettings, database_url: str, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> Edupulse:
    """The command over the test's database and the session's MLflow."""
    home = tmp_path / "home"
    (home / "landing").mkdir(parents=True)
    (home / "edupulse.toml").write_text(
        f'[tenants.{tenant.name}]\ntimezone = "{tenant.timezone}"\nfirst_week = {tenant.first_week}\n',
        encoding="utf-8",
    )
    monkeypatch.setenv("EDUPULSE_DATABASE_URL", database_url)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", registry.tracking_uri)
    return lambda *words: CliRunner().invoke(cli.main, ["model", *map(str, words), "--home", str(home)])


@pytest.fixture
def two_models(engine: sa.Engine, registry: Registry, tenant: TenantSettings) -> None:
    for version in (FIRST, SECOND):
        recorded(engine, registry, tenant, version, promoted=version == FIRST, documents={"model_card.html": "<p>x"})


def facts(done: Result, code: int = 0) -> dict[str, Any]:
    assert done.exit_code == code, done.output
    return json.loads(done.stdout.splitlines()[-1])


def said(done: Result) -> str:
    assert done.exit_code == 0, done.output
    return done.stdout


def test_no_model_yet(edupulse: Edupulse, tenant: TenantSettings) -> None:
    assert "no model yet" in said(edupulse("list"))
    assert facts(edupulse("list", "--json")) == {"tenant": tenant.name, "models": []}
    for words in (["show"], ["card"], ["rollback", "--reason", "x"]):
        done = edupulse(*words)
        assert (done.exit_code, "no champion" in done.output) == (1, True), done.output
    assert facts(edupulse("sync", "--json"))["differences"] == []
    assert facts(edupulse("reviews", "--json"))["open"] == 0


@pytest.mark.usefixtures("two_models")
def test_promote_show_and_roll_back(edupulse: Edupulse, tenant: TenantSettings, registry: Registry) -> None:
    assert edupulse("promote", FIRST).exit_code == 2  # without a reason
    assert edupulse("promote", FIRST, "--reason", " ").exit_code == 2
    assert edupulse("promote", "2019", "--reason", "x").exit_code == 1
    assert facts(edupulse("promote", FIRST, "--reason", "The first.", "--json")) == {
        "tenant": tenant.name,
        "model_version": FIRST,
        "previous_version": None,
        "withdrawn": [],
    }
    assert f"is {SECOND} (before: {FIRST})" in said(edupulse("promote", SECOND, "--reason", "Asked for."))
    assert registry.champion(tenant.name) == SECOND
    listed = facts(edupulse("list", "--json"))["models"]
    assert [(one["version"], one["champion"], one["promoted"]) for one in listed] == [
        (FIRST, False, True),
        (SECOND, True, True),
    ]
    shown = said(edupulse("list"))
    assert "champion" in shown and "0.800" in shown and "0.500" in shown
    shown = facts(edupulse("show", "--json"))
    assert (shown["version"], shown["type"], shown["decisions"][0]["reason"]) == (
        SECOND,
        "logistic",
        "Asked for.",
    )
    page = f"http://127.0.0.1:5000/#/models/edupulse-{tenant.name}/versions/2?workflowType=machine_learning"
    assert shown["mlflow_page"] == page
    assert page in said(edupulse("show"))
    assert "promote: promoted after" in said(edupulse("show"))
    assert "The first." in said(edupulse("show", FIRST))
    assert f"is {FIRST}" in said(edupulse("rollback", "--reason", "Too many alarms."))
    assert registry.champion(tenant.name) == FIRST


@pytest.mark.usefixtures("two_models")
def test_the_card(edupulse: Edupulse, tmp_path: Path) -> None:
    assert said(edupulse("card", FIRST)) == "# Card\n"
    out = tmp_path / "new" / "card.html"
    assert "Written to" in said(edupulse("card", FIRST, "--html", "--out", out))
    assert out.read_text(encoding="utf-8") == "<p>x"
    assert facts(edupulse("card", FIRST, "--json"))["card"] == "# Card\n"
    assert edupulse("card", "2019").exit_code == 1


@pytest.mark.usefixtures("two_models")
def test_sync_says_and_mends(edupulse: Edupulse, tenant: TenantSettings, registry: Registry) -> None:
    said(edupulse("promote", SECOND, "--reason", "x"))
    assert "agree" in said(edupulse("sync"))
    registry.remove_champion(tenant.name)
    done = edupulse("sync")
    assert done.exit_code == 1
    assert "MLflow's champion is not set" in done.stdout and f"would point the alias at {SECOND}" in done.stdout
    assert f"model sync --tenant {tenant.name} --apply" in done.stdout
    (only,) = facts(edupulse("sync", "--json"), code=1)["differences"]
    assert (only["kind"], only["mended"]) == ("champion", None)
    assert "the alias points at" in said(edupulse("sync", "--apply"))
    assert registry.champion(tenant.name) == SECOND
    registry.remove_champion(tenant.name)
    assert facts(edupulse("sync", "--apply", "--from", "registry", "--json"))["applied"] is True
    assert [one["champion"] for one in facts(edupulse("list", "--json"))["models"]] == [False, False]
    assert edupulse("sync", "--from", "elsewhere").exit_code == 2


@pytest.mark.parametrize("reproduced", [True, False])
def test_reproduce_says_whether_scores_are_the_same(
    edupulse: Edupulse, monkeypatch: pytest.MonkeyPatch, reproduced: bool
) -> None:
    found = Reproduction(FIRST, True, True, 0.0 if reproduced else 0.1, "Compared.")
    monkeypatch.setattr("edupulse_pipelines.risk.book.reproduction.reproduce", lambda *_arguments: found, raising=False)
    done = edupulse("reproduce", FIRST, "--json")
    assert facts(done, code=0 if reproduced else 1)["reproduced"] is reproduced

    def none(*_arguments: object) -> None:
        raise EduPulseError("has no model")

    monkeypatch.setattr("edupulse_pipelines.risk.book.reproduction.reproduce", none, raising=False)
    assert edupulse("reproduce", "2019").exit_code == 1


def test_reviews_are_written_once_and_for_the_owner_only(
    edupulse: Edupulse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = pd.DataFrame({"prediction_id": [1, 2]})
    monkeypatch.setattr("edupulse_pipelines.risk.samples.feedback.open_reviews", lambda *_arguments: waiting)
    monkeypatch.setattr("edupulse_pipelines.risk.samples.feedback.review_template", lambda *_arguments: b"a,b\n1,2\n")
    assert said(edupulse("reviews")) == "2 open reviews.\n"
    out = tmp_path / "reviews.csv"
    assert facts(edupulse("reviews", "--out", out, "--json"))["path"] == str(out)
    assert out.read_bytes() == b"a,b\n1,2\n"
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    out.write_bytes(b"filled in")
    done = edupulse("reviews", "--out", out)
    assert (done.exit_code, "exists already" in done.output, out.read_bytes()) == (1, True, b"filled in")


def test_an_empty_database_is_said(tmp_path: Path, tenant: TenantSettings) -> None:
    (tmp_path / "edupulse.toml").write_text(
        f'[tenants.{tenant.name}]\ntimezone = "UTC"\nfirst_week = {tenant.first_week}\n', encoding="utf-8"
    )
    for words in (["show"], ["sync"], ["reviews"]):
        done = CliRunner().invoke(cli.main, ["model", *words, "--home", str(tmp_path)])
        assert (done.exit_code, "edupulse db upgrade" in done.output) == (1, True), done.output
