"""Erasing and retention where PostgreSQL has roles: the keeper may, and a role that owns nothing is told who may."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa

from edupulse_pipelines.governance.role_names import RoleNames
from edupulse_pipelines_tests.cli.house import House
from edupulse_pipelines_tests.governance import canaries
from edupulse_pipelines_tests.ingest.district import ATTENDANCE_HEADER
from edupulse_pipelines_tests.roles import roles_of

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
STUDENT = "1001"
BORN = "2010-01-01"
ERASE = ("privacy", "erase", STUDENT, "--reason", "asked", "--approved-by", "another", "--execute")
RETAIN = ("privacy", "retention", "--reason", "over", "--approved-by", "another", "--execute")


@dataclass
class Kept:
    """A house whose tables are the owner role's, with the URL each role logs in by."""

    house: House
    names: RoleNames
    urls: dict[str, str]
    environment: pytest.MonkeyPatch

    def as_(self, login: str, *, keeper: bool) -> None:
        """Commands run by the loader's URL from now on, with the keeper's or without."""
        self.environment.setenv("EDUPULSE_DATABASE_URL", self.urls[login])
        self.environment.delenv("EDUPULSE_KEEPER_URL", raising=False)
        if keeper:
            self.environment.setenv("EDUPULSE_KEEPER_URL", self.urls[self.names.keeper])


@pytest.fixture
def kept(tmp_path: Path, database_url: str, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kept]:
    house = House(tmp_path, database_url, engine, monkeypatch)
    left = "district_id,first_name,last_name,date_of_birth,enrollment_date,exit_date,exit_type\n"
    house.district.land(2, students=f"{left}1002,Bertram,Ray,2010-01-02,2020-09-01,2021-06-18,completed\n")
    house.district.run("students")
    with roles_of(engine, "north") as (names, urls):
        with (tmp_path / "edupulse.toml").open("a", encoding="utf-8") as stream:
            stream.write(f'[tenants.north.retention]\nattendance_records = 3\n[roles]\nprefix = "{names.prefix}"\n')
        yield Kept(house, names, urls, monkeypatch)


def test_the_keeper_erases_from_every_place_and_what_is_landed_again_stays_out(kept: Kept, engine: sa.Engine) -> None:
    kept.as_(kept.names.loader, keeper=True)
    assert "Erased:" in kept.house(*ERASE).output
    home = kept.house.home
    found = canaries.in_files(home, (STUDENT, BORN))
    assert [name for name in found if not (home / name).is_relative_to(kept.house.district.landing)] == []
    assert canaries.in_tables(engine, (BORN,)) == {}
    kept.as_(kept.names.loader, keeper=False)
    kept.house.district.land(3, attendance_records=f"{ATTENDANCE_HEADER}\n1001,2025-09-16,present\n")
    kept.house.district.run("attendance_records")
    assert set(kept.house.district.rows("attendance_records", "district_id")) == {"1002"}
    assert "was erased on" in kept.house(*ERASE, code=1).output


def test_the_keeper_takes_away_what_is_over_and_the_loader_only_counts_it(kept: Kept) -> None:
    kept.as_(kept.names.loader, keeper=False)
    counted = json.loads(kept.house("privacy", "retention", "--json").stdout)["tenants"]["north"]["over"]
    assert counted == {"attendance_records": {"students": 1, "rows": 1}}
    kept.as_(kept.names.loader, keeper=True)
    assert "Signed off:" in kept.house(*RETAIN).output
    assert kept.house.district.rows("attendance_records", "district_id") == ["1001"]
    kept.as_(kept.names.loader, keeper=False)
    assert json.loads(kept.house("privacy", "retention", "--json").stdout)["tenants"]["north"]["over"] == {}


@pytest.mark.parametrize("words", [ERASE, RETAIN], ids=["erase", "retention"])
def test_a_role_that_owns_nothing_is_told_whose_url_to_name_and_nothing_changes(
    kept: Kept, words: tuple[str, ...]
) -> None:
    before = kept.house.district.rows("attendance_records", "district_id")
    kept.as_(kept.names.loader, keeper=False)
    said = kept.house(*words, code=1).output
    assert "EDUPULSE_KEEPER_URL" in said and "EDUPULSE_DATABASE_URL" not in said
    assert kept.house.district.rows("attendance_records", "district_id") == before
    assert not (kept.house.home / "erasures").exists()
    # The keeper by the ordinary URL becomes nobody: it may read nothing, and is told so.
    kept.as_(kept.names.keeper, keeper=False)
    kept.house(*words, code=1)
    assert kept.house.district.rows("attendance_records", "district_id") == before
