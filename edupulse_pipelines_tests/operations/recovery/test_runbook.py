"""Every command of "A standby" and "Promote the standby" in `docs/operating.md` is typed, on a pair of servers."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from edupulse_pipelines import cli
from edupulse_pipelines.storage.engine import create_engine
from edupulse_pipelines.storage.versions import upgrade
from edupulse_pipelines_tests.operations.recovery.test_standby import pair_of

PAGE = Path(__file__).parents[3] / "docs" / "operating.md"


def commands(title: str) -> list[str]:
    """The commands of the section with this title, in order."""
    after = re.split(rf"\n##+ {title}\n", PAGE.read_text(encoding="utf-8"), maxsplit=1)[1]
    section = re.split(r"\n##+ ", after)[0]
    lines = "".join(re.findall(r"```console\n(.*?)```", section, re.DOTALL)).splitlines()
    return [line.strip() for line in lines if line.strip()]


def test_promote_the_standby(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pair_of(tmp_path) as pair:
        monkeypatch.setenv("EDUPULSE_DATABASE_URL", pair.settings.database_url)
        monkeypatch.setenv("EDUPULSE_BACKUP_URL", pair.settings.database_url)
        monkeypatch.setenv("EDUPULSE_STANDBY_URL", pair.standby.url())
        engine = create_engine(pair.url)
        upgrade(engine)
        engine.dispose()
        (tmp_path / "edupulse.toml").write_text(
            '[tenants.north]\ntimezone = "UTC"\nfirst_week = 2025-09-01\nlanding = "north"\n'
            f'[backup]\nprograms = "{pair.primary.programs.folder}"\n'
        )

        def typed(line: str, code: int = 0) -> str:
            words = shlex.split(line.replace("/srv/standby", str(pair.standby.data)), comments=True)
            assert words[0] == "edupulse"
            done = CliRunner().invoke(cli.main, [*words[1:], "--home", str(tmp_path)], input="n\n")
            assert done.exit_code == code, (line, done.output, done.exception)
            return done.output

        make, look = commands("A standby")
        status, promote, check, verify, create = commands("Promote the standby")
        assert "is a standby; the slot edupulse_standby keeps WAL for it" in typed(make)
        pair.standby.start()
        pair.wait_until_it_follows()
        assert "The standby follows: " in typed(look)
        assert "The standby follows: " in typed(status)
        assert "The primary answers" in typed(promote, code=1)
        pair.primary.stop("immediate")
        typed("edupulse backup standby promote", code=1)  # it asks, and the answer is no
        typed(promote)
        typed(check)
        typed(verify)
        # The old primary's place is taken by a standby of the new one.
        pair.standby, pair.primary = pair.primary, pair.standby
        shutil.rmtree(pair.standby.data)
        typed(create)
        pair.standby.start()  # the URL that it was made by names both servers, and itself first
        pair.wait_until_it_follows()
