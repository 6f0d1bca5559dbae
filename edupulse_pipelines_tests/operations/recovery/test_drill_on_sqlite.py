"""The drill of a home on SQLite, with real moments; and `edupulse backup drill` as it is typed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from edupulse_pipelines import cli
from edupulse_pipelines.operations.backup import taking
from edupulse_pipelines.operations.backup.moments import all_moments, newest_moment
from edupulse_pipelines.operations.recovery import moment_files
from edupulse_pipelines.operations.recovery.drill import drill
from edupulse_pipelines.operations.recovery.scratch import MARK
from edupulse_pipelines.settings import BackupSettings, Settings
from edupulse_pipelines.storage.database import Database
from edupulse_pipelines_tests.operations.recovery.primary import filled


def flip(path: Path, at: int) -> None:
    """Change one byte of a file."""
    content = bytearray(path.read_bytes())
    content[at] ^= 0x55
    path.write_bytes(content)


def test_the_copy_of_a_moment_is_compared_and_its_models_score(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, engine, registry = filled(tmp_path, f"sqlite:///{tmp_path / 'edupulse.db'}")
    database = Database(settings.database_url)
    files = taking.home_files

    def written_meanwhile(of: Settings) -> Iterator[Any]:
        """Files are copied while others write."""
        with database.work("north") as work, work.keeping_out():
            pass
        return files(of)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(taking, "home_files", written_meanwhile)
        done = drill(settings, database, registry)
    assert done.findings == ()
    assert done.unproven == (
        "No file of the home was read back: there was no moment before (`edupulse backup create`).",
    )
    assert (done.sizes["champions"], done.sizes["students_scored"]) == (1, 10)
    moment = newest_moment(settings)
    assert moment is not None
    assert done.moment == moment.id
    assert done.rpo_seconds is None  # there was no moment before
    assert not settings.drill_dir.exists()

    # A content that has lost a bit since it was copied; it is not copied again while the file is as it was.
    model = next(file for file in moment.files if file.name.endswith("model.skops"))
    content = settings.backup_dir / "files" / model.sha256[:2] / model.sha256
    flip(content, 40)
    earlier, said = drill(settings, database, registry).findings
    assert earlier.startswith(f"Files of {moment.id}: ")
    assert said.startswith("Opening the champions from restored files: ")
    assert "is damaged: it has another content" in earlier
    assert "is damaged: it has another content" in said
    flip(content, 40)

    # A row that is another one in the copy.
    write = moment_files.write_database

    def damaged(*arguments: object) -> int:
        size = write(*arguments)
        path = arguments[-1]
        assert isinstance(path, Path)
        path.write_bytes(path.read_bytes().replace(b"ZQann", b"ZQanx"))
        return size

    monkeypatch.setattr(moment_files, "write_database", damaged)
    found = drill(settings, database, registry)
    assert any(one.endswith("students: as many rows (16), but not the same ones") for one in found.findings)
    assert any(one.startswith("Record of changes, restored: students, change") for one in found.findings)
    assert "ZQ" not in json.dumps(found.facts())
    assert found.rpo_seconds is not None
    engine.dispose()


def test_the_oldest_moment_is_read_too_and_one_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    settings, engine, registry = filled(tmp_path, f"sqlite:///{tmp_path / 'edupulse.db'}", champion=False)
    database = Database(settings.database_url)
    settings.config_path.write_text("# as it was first\n", encoding="utf-8")
    first = taking.take_moment(settings, database).moment
    settings.config_path.write_text("# as it is\n", encoding="utf-8")
    taking.take_moment(settings, database)
    stored = first.file("edupulse.toml")
    assert stored is not None
    content = settings.backup_dir / "files" / stored.sha256[:2] / stored.sha256
    flip(content, 2)
    (found,) = drill(settings, database, registry).findings
    assert found == f"Files of {first.id}: {content} is damaged: it has another content."
    flip(content, 2)
    flip(settings.backup_dir / "moments" / f"{first.id}.json", 40)
    (found,) = drill(settings, database, registry).findings
    assert f"{first.id}.json is damaged" in found
    engine.dispose()


def test_the_moment_that_is_read_is_not_thrown_away_meanwhile(tmp_path: Path) -> None:
    settings, engine, registry = filled(tmp_path, f"sqlite:///{tmp_path / 'edupulse.db'}", champion=False)
    only_one = BackupSettings.model_validate({"retention": "REDUNDANCY 1", "keep_at_least": 1})
    settings = settings.model_copy(update={"backup": only_one})
    database = Database(settings.database_url)
    taking.take_moment(settings, database)
    for archive in settings.raw_dir.rglob("*.parquet"):
        archive.write_bytes(archive.read_bytes() + b"another")  # so that its content is in the earlier moment alone
    assert drill(settings, database, registry).findings == ()
    assert len(all_moments(settings)[0]) == 2
    taking.take_moment(settings, database)
    assert len(all_moments(settings)[0]) == 1
    engine.dispose()


def typed(home: Path, *words: str, code: int = 0) -> Result:
    done = CliRunner().invoke(cli.main, [*words, "--home", str(home)])
    assert done.exit_code == code, done.output
    return done


def test_it_is_typed_and_told(tmp_path: Path) -> None:
    _, engine, _ = filled(tmp_path, f"sqlite:///{tmp_path / 'edupulse.db'}", champion=False)
    engine.dispose()
    (tmp_path / "edupulse.toml").write_text(
        '[tenants.north]\ntimezone = "America/New_York"\nfirst_week = 2025-09-01\nlanding = "north/landing"\n'
    )
    assert "Everything came back: " in typed(tmp_path, "backup", "drill").output
    told = json.loads(typed(tmp_path, "backup", "drill", "--json").output.splitlines()[-1])
    assert (told["succeeded"], told["findings"]) == (True, [])
    assert told["rpo_seconds"] < 600
    assert typed(tmp_path, "backup", "drill", "--clean").output == "No drill left anything behind.\n"
    (tmp_path / "drill" / "point").mkdir(parents=True)
    (tmp_path / "drill" / MARK).write_text("{}", encoding="utf-8")
    told = json.loads(typed(tmp_path, "backup", "status", "--json").output)
    assert any("has left a copy of the data" in note for note in told["notes"])
    assert "No drill" not in typed(tmp_path, "backup", "drill", "--clean").output
    assert not any(
        "drill" in note for note in json.loads(typed(tmp_path, "backup", "status", "--json").output)["notes"]
    )
    said = typed(tmp_path, "backup", "standby", "status", code=2).output
    assert "A standby is for PostgreSQL" in said
