"""The graph as Dagster sees it is what the committed snapshot says.

After an intended change: `EDUPULSE_UPDATE_SNAPSHOT=1 pytest edupulse_pipelines_tests/orchestration/test_graph.py`.
"""

from __future__ import annotations

import datetime as dt
import json
import os
from pathlib import Path
from typing import Any

import pytest
from dagster import AssetKey, Definitions, partition_loading_context, serialize_value

from edupulse_pipelines.orchestration.assembly import build_defs
from edupulse_pipelines.orchestration.partitions import school_weeks
from edupulse_pipelines.schema.tables import RECORD_TABLES
from edupulse_pipelines.settings import Settings
from edupulse_pipelines_tests.orchestration.conftest import settings_of, tenant_of

SNAPSHOT = Path(__file__).parent / "graph.json"
JOBS = ("maintenance", "open_university_weekly", "open_university_training")
NO_DISTRICTS = ("Maintenance", "Recovery")
"""What the keys of assets begin with that are over all districts, and are not partitioned by week."""


def graph_of(defs: Definitions) -> dict[str, Any]:
    assets: dict[str, Any] = {}
    for definition in defs.resolve_asset_graph().assets_defs:
        if not definition.keys:  # only checks
            continue
        if definition.key.path[0] in NO_DISTRICTS or definition.key.path[0].startswith("__"):
            continue
        spec = definition.get_asset_spec(definition.key)
        partitions: Any = definition.partitions_def
        policy = definition.backfill_policy
        assets[definition.key.to_user_string()] = {
            "deps": sorted(dep.asset_key.to_user_string() for dep in spec.deps),
            "weeks_before": {
                dep.asset_key.to_user_string(): mapping.start_offset
                for dep in spec.deps
                if (mapping := dep.partition_mapping) is not None
            },
            "code_version": spec.code_version,
            "code": [Path(at.file_path).name for at in spec.metadata["dagster/code_references"].code_references],
            "group": spec.group_name,
            "kinds": sorted(spec.kinds),
            "owners": list(spec.owners),
            "tags": {key: value for key, value in spec.tags.items() if not key.startswith("dagster/")},
            "columns": [column.name for column in spec.metadata["dagster/column_schema"].columns],
            "checks": {check.name: "blocking" if check.blocking else "told" for check in definition.check_specs},
            "partitions": f"{partitions.cron_schedule} {partitions.timezone} from {partitions.start:%Y-%m-%d}",
            "one_run_for_many_weeks": policy is not None and policy.max_partitions_per_run is None,
            "pool": definition.op.pool,
        }
    return {
        "assets": dict(sorted(assets.items())),
        "jobs": {
            name: sorted(key.to_user_string() for key in defs.resolve_job_def(name).asset_layer.selected_asset_keys)
            for name in JOBS
        },
        "schedules": {
            schedule.name: {
                "job": schedule.job_name,
                "cron": schedule.cron_schedule,
                "timezone": schedule.execution_timezone,
                "status": schedule.default_status.value,
            }
            for schedule in sorted(defs.get_repository_def().schedule_defs, key=lambda one: one.name)
        },
    }


def test_the_graph_is_the_committed_one(settings: Settings) -> None:
    settings.config_path.write_text("", encoding="utf-8")  # a configured home
    graph = graph_of(build_defs(settings))
    if os.environ.get("EDUPULSE_UPDATE_SNAPSHOT"):
        SNAPSHOT.write_text(json.dumps(graph, indent=1) + "\n", encoding="utf-8")
    assert graph == json.loads(SNAPSHOT.read_text(encoding="utf-8"))


def test_every_asset_is_described_for_people(settings: Settings) -> None:
    for definition in build_defs(settings).resolve_asset_graph().assets_defs:
        for spec in definition.specs:
            assert spec.description and len(spec.description) > 80, spec.key
        assert all(check.description for check in definition.check_specs)


def test_code_references_name_files_that_exist(settings: Settings) -> None:
    for definition in build_defs(settings).resolve_asset_graph().assets_defs:
        if not definition.keys or definition.key.path[0] in NO_DISTRICTS:
            continue
        references = definition.get_asset_spec(definition.key).metadata["dagster/code_references"].code_references
        assert len(references) == 2
        assert all(Path(reference.file_path).is_file() for reference in references)


@pytest.mark.parametrize(
    ("week", "weeks"),
    [
        ("2026-03-16", ["01-26", "02-02", "02-09", "02-16", "02-23", "03-02", "03-09", "03-16"]),
        ("2026-01-12", ["01-05", "01-12"]),
    ],
)
def test_features_name_the_weeks_that_they_read(settings: Settings, week: str, weeks: list[str]) -> None:
    features, activity = (AssetKey(["open-university", name]) for name in ("student_features", "weekly_activity"))
    graph = build_defs(settings).resolve_asset_graph()
    partitions: Any = graph.get(features).partitions_def
    with partition_loading_context(effective_dt=dt.datetime(2026, 4, 1, tzinfo=dt.UTC)):
        read = (
            graph.get(features)
            .partition_mappings[activity]
            .get_upstream_mapped_partitions_result_for_partitions(
                partitions.empty_subset().with_partition_keys([week]), partitions, graph.get(activity).partitions_def
            )
        )
        assert sorted(read.partitions_subset.get_partition_keys()) == [f"2026-{day}" for day in weeks]
        assert not list(read.required_but_nonexistent_subset.get_partition_keys())


def test_tenants_are_built_side_by_side(tmp_path: Path) -> None:
    both = settings_of(tmp_path, tenant_of(tmp_path, "north"), tenant_of(tmp_path, "south", "America/Denver"))
    all_keys = build_defs(both).resolve_asset_graph().get_all_asset_keys()
    keys = [key.path for key in all_keys if key.path[0] not in NO_DISTRICTS]
    assert len(keys) == 2 * (2 * len(RECORD_TABLES) + 4)
    assert {path[0] for path in keys} == {"north", "south"}


def test_the_stand_in_tenant_has_no_running_schedule(settings: Settings) -> None:
    schedules = build_defs(settings).get_repository_def().schedule_defs
    assert {schedule.default_status.value for schedule in schedules} == {"STOPPED"}


def test_resources_can_be_swapped(settings: Settings) -> None:
    database = object()
    resources = build_defs(settings, database=database).resources
    assert resources is not None and resources["database"] is database
    with pytest.raises(TypeError, match="no such resource: databse"):
        build_defs(settings, databse=database)


@pytest.mark.parametrize("in_environment", [True, False])
def test_no_password_in_what_dagster_shows_and_stores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_environment: bool
) -> None:
    if in_environment:
        monkeypatch.setenv("EDUPULSE_DATABASE_URL", "postgres://u:s3cret@h/d")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql+psycopg2://u:s3cret@h/m")
    settings = settings_of(tmp_path, tenant_of(tmp_path)).model_copy(
        update={
            "database_url": "postgresql+psycopg2://u:s3cret@h/d",
            "tracking_uri": "postgresql+psycopg2://u:s3cret@h/m",
        }
    )
    defs = build_defs(settings)
    for job in defs.get_repository_def().get_all_jobs():
        assert "s3cret" not in serialize_value(job.get_job_snapshot())
    # What the page of a resource shows: the configuration as it was given.
    shown = repr({name: getattr(resource, "__dict__", resource) for name, resource in (defs.resources or {}).items()})
    assert "s3cret" not in shown
    assert ("EDUPULSE_DATABASE_URL" in shown) == in_environment


def test_weeks_start_on_monday(settings: Settings) -> None:
    weeks = school_weeks(next(iter(settings.tenants.values())))
    with partition_loading_context(effective_dt=dt.datetime(2026, 2, 2, 12, tzinfo=dt.UTC)):
        assert weeks.get_partition_keys() == ["2026-01-05", "2026-01-12", "2026-01-19", "2026-01-26"]
