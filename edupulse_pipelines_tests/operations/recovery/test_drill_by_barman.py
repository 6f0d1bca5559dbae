"""The drill over backups that Barman has made, with a moment's files, as a person types it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner
from dagster import DagsterInstance, ExecuteInProcessResult

from edupulse_pipelines import cli
from edupulse_pipelines.operations.backup.moments import moments
from edupulse_pipelines.orchestration.assembly import build_defs
from edupulse_pipelines.orchestration.backups import BACKUP
from edupulse_pipelines.orchestration.drills import DRILL_JOB, DRILLED, FOLLOWED, LOOK_JOB
from edupulse_pipelines.schema.migrations import head
from edupulse_pipelines.settings import Settings, load_settings
from edupulse_pipelines_tests.benchmarks.backup import run as benchmark
from edupulse_pipelines_tests.operations.backed_up import BackedUp, backed_up_server
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
        if kind == "wheel":
            _the_jobs_do_the_same(load_settings(home=home), backed)


def _the_jobs_do_the_same(settings: Settings, backed: BackedUp) -> None:
    def run(job: str) -> tuple[ExecuteInProcessResult, dict[str, Any]]:
        """The outcome, and what the run shows: its step's metadata, or that of its failure."""
        with DagsterInstance.ephemeral() as instance:
            definition = build_defs(settings).resolve_job_def(job)
            result = definition.execute_in_process(instance=instance, raise_on_error=False)
        shown: dict[str, Any] = {}
        for event in result.all_events:
            if event.is_step_failure:
                shown["failure"] = event.step_failure_data.user_failure_data.description
            elif event.is_successful_output:
                shown |= event.step_output_data.metadata
            elif event.is_step_materialization:
                shown |= event.materialization.metadata
        return result, {name: getattr(value, "value", value) for name, value in shown.items()}

    done, shown = run(BACKUP)
    assert done.success, shown
    assert shown["moment"] == moments(settings)[-1].id
    assert (shown["damaged"], shown["warnings"], shown["schema_revision"]) == (0, 0, head())
    assert shown["rpo_seconds"] < 600
    done, shown = run(DRILL_JOB)
    assert done.success, shown
    assert (shown["champions"], shown["students_scored"]) == (1, 10)
    assert shown["rto_seconds"] > 0
    done, _ = run(LOOK_JOB)
    assert {check.check_name: check.passed for check in done.get_asset_check_evaluations()} == {
        DRILLED: True,
        FOLLOWED: True,
    }
    backed.stop_receiving()
    before = moments(settings)
    done, shown = run(BACKUP)
    assert not done.success
    assert "the receiver does not run. `edupulse backup setup` says how it is started" in shown["failure"]
    done, shown = run(DRILL_JOB)
    assert not done.success
    assert "the receiver does not run" in shown["failure"]
    assert not settings.drill_dir.exists()
    assert moments(settings) == before


def test_the_benchmark_measures_every_side() -> None:
    figures = benchmark(["--megabytes", "1", "--files-mib", "4", "--rounds", "1"])
    assert set(figures["ratios"]) == {"full barman", "increment barman", "restore barman"}
    assert {"full pg_dump", "restore pg_restore", "files"} <= set(figures["others"])
    assert figures["hashed_rows_a_second"] > 0
