"""Every command of the runbooks about backups in `docs/operating.md` is typed, on a home on SQLite."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from edupulse_pipelines import cli
from edupulse_pipelines_tests.operations.backup.home import BackedUp, students

PAGE = Path(__file__).parents[3] / "docs" / "operating.md"
RUN = "11111111-2222-3333-4444-555555555555"


def commands(title: str) -> list[str]:
    """The commands of the runbook with this title, in their order."""
    after = re.split(rf"\n##+ {title}\n", PAGE.read_text(encoding="utf-8"), maxsplit=1)[1]
    section = re.split(r"\n##+ ", after)[0]
    blocks = re.findall(r"```console\n(.*?)```", section, re.DOTALL)
    found = [line.strip() for block in blocks for line in block.splitlines() if line.strip()]
    assert found, title
    assert all(line.startswith("edupulse ") for line in found)
    return found


class Typist:
    """Types the commands of a page, with places of the test in the place of those that the page names."""

    def __init__(self, home: BackedUp, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.places = {"/srv/": f"{folder}/srv/", "RUN": RUN}
        monkeypatch.setenv("EDUPULSE_HOME", str(home.home))

    def __call__(self, title: str, closing: str | None = None) -> None:
        """closing: the command that leaves a home closed, and so ends with 1."""
        for line in commands(title):
            typed = line
            for place, instead in self.places.items():
                typed = typed.replace(place, instead)
            done = CliRunner().invoke(cli.main, shlex.split(typed, comments=True)[1:])
            assert done.exit_code == (1 if line == closing else 0), (typed, done.output, done.exception)


@pytest.fixture
def typist(home: BackedUp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Typist:
    return Typist(home, tmp_path, monkeypatch)


def test_first_backup(typist: Typist, home: BackedUp, tmp_path: Path) -> None:
    typist("First backup")
    assert len(students(tmp_path / "srv" / "looked-at")) == 3


def test_the_server_is_gone(typist: Typist, home: BackedUp, tmp_path: Path) -> None:
    home("backup", "create")
    home.engine.dispose()
    (tmp_path / "srv").mkdir()
    home.backups.rename(tmp_path / "srv" / "backups")
    shutil.rmtree(home.home)
    typist("The server is gone", closing="edupulse backup restore --from /srv/backups --to /srv/edupulse")
    assert len(students(tmp_path / "srv" / "edupulse")) == 3


def test_undo_last_mondays_run(typist: Typist, home: BackedUp, tmp_path: Path) -> None:
    home("backup", "create")
    with replace(home.district.work, run_id=RUN).writing() as connection:
        connection.exec_driver_sql("UPDATE students SET last_name = 'Wrong'")
    home("backup", "create")
    typist("Undo last Monday's run")
    assert students(tmp_path / "srv" / "before") == ["Lee", "Moss", "Ray"]
    assert set(students(home.home)) == {"Wrong"}


def test_the_drill(typist: Typist, home: BackedUp) -> None:
    home("backup", "create")
    home.write("drill/edupulse-drill.json", "{}")
    home.write("drill/point/edupulse.db", "left behind by one that was killed")
    typist("The drill")
    assert not (home.home / "drill").exists()
    (done,) = (home.home / "drills.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(done)["succeeded"] is True
