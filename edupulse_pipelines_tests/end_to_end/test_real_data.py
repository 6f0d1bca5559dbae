"""Real learners' grades and exits through the whole pipeline; the data lie beside the repository, not in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from edupulse_pipelines.cli import main
from edupulse_pipelines.storage.engine import create_engine

OULAD = Path(__file__).parents[3] / "shared" / "data" / "oulad"


@pytest.mark.heavy
@pytest.mark.skipif(not OULAD.is_dir(), reason="the OULAD deliveries are not beside the repository")
def test_every_row_of_oulad_is_loaded_and_domains_that_are_not_sent_are_missing(tmp_path: Path) -> None:
    expected = json.loads(OULAD.joinpath("stats.json").read_text(encoding="utf-8"))
    result = CliRunner(env={"EDUPULSE_CONFIG": str(OULAD / "edupulse.toml")}).invoke(
        main, ["run", "--all", "--json", "--home", str(tmp_path)]
    )
    assert result.exit_code == 0, result.output[-2000:]
    summary = json.loads(result.stdout.strip().splitlines()[-1])
    assert summary["students"] == expected["students"]
    assert summary["tables"]["students"]["read"] == expected["student_rows"]
    assert summary["tables"]["grades"]["read"] == expected["grade_rows"]
    for account in summary["tables"].values():
        assert account["read"] == sum(account[key] for key in ("inserted", "updated", "unchanged", "quarantined"))
    assert summary["weeks"] == expected["deliveries"]
    assert summary["model"]["metrics"]["auc_roc"] > summary["model"]["metrics"]["baseline"]["auc_roc"]

    engine = create_engine(f"sqlite:///{tmp_path / 'edupulse.db'}")
    with engine.connect() as connection:
        scored = connection.scalar(sa.text("SELECT COUNT(*) FROM predictions"))
        sent = connection.scalar(
            sa.text(
                "SELECT COUNT(*) FROM student_features WHERE attendance_rate IS NOT NULL"
                " OR discipline_incidents IS NOT NULL"
            )
        )
        vector = json.loads(
            connection.scalar(
                sa.text("SELECT CAST(feature_vector AS TEXT) FROM student_features ORDER BY gpa_current DESC LIMIT 1")
            )
        )
    engine.dispose()
    assert scored > 100_000
    assert sent == 0
    assert vector["attendance"] == vector["behavioral"] == [None] * 4
    assert vector["metadata"]["data_quality"] <= 4 / 12
