"""The drill over backups that Barman has made, with a moment's files, as a person types it."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from edupulse_pipelines import cli
from edupulse_pipelines_tests.benchmarks.backup import run as benchmark
from edupulse_pipelines_tests.operations.backed_up import backed_up_server
from edupulse_pipelines_tests.operations.recovery.primary import filled

pytestmark = pytest.mark.heavy


@pytest.mark.parametrize("kind", ["wheel", "debian"])
def test_what_barman_has_copied_comes_back(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with backed_up_server(kind) as backed:
        home = backed.settings.home
        home.mkdir(exist_ok=True)
        for folder in (home, home.parent):
            folder.chmod(0o711)  # the server's user has to reach what is restored
        _, engine, registry = filled(home, backed.settings.database_url)
        engine.dispose()
        south = '[tenants.south]\ntimezone = "UTC"\nfirst_week = 2024-09-02\nlanding = "south"\n'
        (home / "edupulse.toml").write_text(
            '[tenants.north]\ntimezone = "America/New_York"\nfirst_week = 2025-09-01\nlanding = "north/landing"\n'
            f'{south}[backup]\nprograms = "{backed.server.programs.folder}"\n'
        )
        monkeypatch.setenv("EDUPULSE_DATABASE_URL", backed.settings.database_url)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", registry.tracking_uri)

        def typed(*words: str) -> str:
            done = CliRunner().invoke(cli.main, [*words, "--home", str(home)])
            assert done.exit_code == 0, (done.output, done.exception)
            return done.stdout

        typed("backup", "create")
        told = json.loads(typed("backup", "drill", "--json").splitlines()[-1])
        assert (told["succeeded"], told["findings"]) == (True, [])
        assert (told["sizes"]["champions"], told["sizes"]["students_scored"]) == (1, 10)
        assert told["rpo_seconds"] is not None
        assert ("amcheck" in told["seconds"]) == (kind == "debian")
        assert not (home / "drill").exists()


def test_the_benchmark_measures_every_side() -> None:
    figures = benchmark(["--megabytes", "1", "--files-mib", "4", "--rounds", "1"])
    assert set(figures["ratios"]) == {"full barman", "increment barman", "restore barman"}
    assert {"full pg_dump", "restore pg_restore", "files"} <= set(figures["others"])
    assert figures["hashed_rows_a_second"] > 0
