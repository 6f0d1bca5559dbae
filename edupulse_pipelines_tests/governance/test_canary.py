"""A student planted in every way that a district can send one, through everything: found where the register says only.

One run of a made-up district on SQLite, with Dagster's and MLflow's own files, for all tests of this module. The rooms'
steps on both databases are in `test_erasure` and `test_inspection`.
"""

from __future__ import annotations

import csv
import datetime as dt
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from edupulse_pipelines.cli import main
from edupulse_pipelines.sources.synthetic_district import first_week, generate_district
from edupulse_pipelines.storage.engine import create_engine
from edupulse_pipelines.weeks import last_closed_week
from edupulse_pipelines_tests.governance import canaries
from edupulse_pipelines_tests.prepared import draw_nothing, put_mlflow_store

TENANT = "springfield"


@dataclass
class House:
    """A home with the district, and what its commands have printed so far."""

    home: Path
    printed: list[str]
    newest: str
    """Monday of the newest week."""
    needles: tuple[str, ...] = canaries.CANARIES
    """What is searched for: once the student is stored, the internal id as well."""

    @property
    def landing(self) -> Path:
        return self.home / "landing" / TENANT

    def __call__(self, *words: str, code: int | None = 0) -> Result:
        done = CliRunner(env={"EDUPULSE_DATABASE_URL": None, "MLFLOW_TRACKING_URI": None}).invoke(
            main, [*words, "--home", str(self.home)]
        )
        self.printed.append(done.output)
        assert code is None or done.exit_code == code, done.output[-3000:]
        return done

    def engine(self) -> sa.Engine:
        return create_engine(f"sqlite:///{self.home / 'edupulse.db'}")

    def found(self) -> tuple[dict[str, set[str]], dict[str, set[str]]]:
        engine = self.engine()
        tables = canaries.in_tables(engine, self.needles)
        engine.dispose()
        return canaries.in_files(self.home, self.needles), tables


@pytest.fixture(scope="module")
def _no_pictures() -> Iterator[None]:
    """Nothing could be found in them."""
    with pytest.MonkeyPatch.context() as patch:
        draw_nothing(patch)
        yield


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, _no_pictures: None) -> Iterator[House]:
    home = tmp_path_factory.mktemp("canary") / "home"
    last, weeks = last_closed_week("UTC"), 18
    made = House(home, [], str(last))
    generate_district(made.landing, students=80, weeks=weeks, last_week=last)
    canaries.plant(made.landing)
    home.joinpath("edupulse.toml").write_text(
        f'[tenants.{TENANT}]\ntimezone = "UTC"\nfirst_week = {first_week(weeks, last)}\n'
        f'[tenants.{TENANT}.training]\ncandidates = ["logistic"]\n',
        encoding="utf-8",
    )
    put_mlflow_store(home / "mlflow" / "mlflow.db")
    newest = max(path.name for path in made.landing.iterdir())
    bundle = made.landing / str(dt.date.fromisoformat(newest) - dt.timedelta(days=2))
    bundle.mkdir()
    bundle.joinpath("roster.zip").write_bytes(canaries.zipped(canaries.roster()))
    refused = canaries.refused_file(made.landing)
    made("run", "--week", made.newest, code=1)
    refused.unlink()
    summary = json.loads(made("run", "--all", "--json", code=None).stdout.strip().splitlines()[-1])
    assert summary["model"] is not None, summary["errors"]
    assert summary["predictions"]["scored"] > 0
    engine = made.engine()
    made.needles += canaries.ids_of(engine, TENANT)
    engine.dispose()
    yield made


def test_a_student_is_found_where_the_register_says_and_nowhere_else(house: House) -> None:
    files, tables = house.found()
    assert canaries.outside_the_register(files, tables, TENANT) == []
    assert not [text for text in house.printed if "zq" in text.lower()]
    # The search sees what is there: else the lines above would hold of anything.
    kinds = {Path(name).suffix for name in files if name.startswith("raw/")}
    assert kinds == {".parquet", ".refused", ".zip"}
    assert {"students", "grades", "discipline_incidents", "quarantined_records", "ingested_files"} <= set(tables)
    everything = set().union(*files.values(), *tables.values())
    assert everything.difference(house.needles[-2:]) == set(canaries.CANARIES)
    assert {"attendance_records", "student_features", "predictions"} <= {
        name for name, here in tables.items() if not here.isdisjoint(house.needles[-2:])
    }


def test_everything_is_shown_to_the_family_and_nothing_of_another_student(house: House, tmp_path: Path) -> None:
    out = tmp_path / "for the family"
    engine = house.engine()
    with engine.connect() as connection:
        others = set(
            connection.scalars(
                sa.text("SELECT district_id FROM students WHERE district_id <> :number"), {"number": canaries.NUMBER}
            )
        )
        held = connection.scalar(
            sa.text(
                "SELECT COUNT(*) FROM predictions p JOIN students s ON s.id = p.student_id"
                " WHERE s.district_id = :number"
            ),
            {"number": canaries.NUMBER},
        )
    engine.dispose()
    told = json.loads(house("privacy", "inspect", canaries.NUMBER, "--out", str(out), "--json").stdout)
    page = out.joinpath("index.html").read_text(encoding="utf-8")
    sheets = {
        path.stem: list(csv.DictReader(path.open(encoding="utf-8-sig", newline=""))) for path in out.glob("*.csv")
    }
    for canary in set(canaries.CANARIES) - {canaries.REFUSED}:
        assert any(canary in str(rows) for rows in sheets.values()), canary
        assert canary in page, canary
    assert "grades-unreadable" not in page and "1 that do" in page
    assert len(sheets["predictions"]) == held == told["rows"]["predictions"]
    assert "the score)" in page
    meanings = {(row["sheet"], row["column"]): row["meaning"] for row in sheets["columns"]}
    assert all(meanings[name, column] for name, rows in sheets.items() if name != "columns" for column in rows[0])
    everything = page + "".join(str(rows) for rows in sheets.values())
    assert not [number for number in others if f"'{number}'" in everything or f">{number}<" in everything]
    assert {path.stat().st_mode & 0o777 for path in out.rglob("*") if path.is_file()} == {0o600}
    line = json.loads(house("privacy", "disclosures", "--student", canaries.NUMBER, "--json").stdout)["disclosures"][-1]
    assert (line["kind"], line["recipient"]) == ("inspection", "the student's family")
    assert set(line["files"]) == {path.name for path in out.iterdir() if path.is_file()}
    house("privacy", "inspect", canaries.NUMBER, "--out", str(out), code=1)


def _trained_model(house: House) -> dict[str, Any]:
    """The model that was trained; a rule that stands in for one is not."""
    listed = json.loads(house("model", "list", "--json").stdout.splitlines()[-1])["models"]
    (model,) = (one for one in listed if one["type"] != "rule")
    return model


def test_a_model_is_made_again_from_what_was_known_when_it_was_trained(house: House) -> None:
    model = _trained_model(house)
    first = min(house.landing.iterdir())
    grades = first / "grades.csv"
    header, *rows = grades.read_text(encoding="utf-8").splitlines()
    place = header.split(",").index("grade_value")
    for number, row in enumerate(rows):
        cells = row.split(",")
        if canaries.NUMBER not in cells:
            rows[number] = ",".join([*cells[:place], "51.5", *cells[place + 1 :]])
    grades.write_text("\n".join([header, *rows, ""]), encoding="utf-8")
    house("run", "--week", str(dt.date.fromisoformat(first.name) - dt.timedelta(days=7)), code=None)
    assert "the data are not those" in house("model", "reproduce", model["version"], code=1).output
    done = json.loads(house("model", "reproduce", model["version"], "--as-recorded", "--json").stdout)
    assert done["same_data"] and done["reproduced"]


def test_after_the_erasure_nothing_is_left_and_nothing_comes_back(house: House) -> None:
    """The last test of the module: it takes away what the others look at."""
    asked = ("privacy", "erase", canaries.NUMBER, "--reason", "the family asked")
    before = house.found()
    dry = json.loads(house(*asked, "--json").stdout)
    assert not dry["executed"] and dry["places"]["students"] == 1
    after = house.found()
    assert (after[1], before[0].keys()) == (before[1], after[0].keys())
    done = json.loads(house(*asked, "--approved-by", "the privacy officer", "--execute", "--json").stdout)
    for place in ("students", "predictions", "student_features", "archived rows", "quarantined_records"):
        assert done["places"][place] == dry["places"][place] > 0, place
    assert {"refused files", "kept bundles", "file names", "columns"} <= set(done["places"])
    model = _trained_model(house)
    again = house("model", "reproduce", model["version"], "--as-recorded", code=1).output
    assert "have been erased since" in " ".join(again.split())
    _assert_gone(house)
    summary = json.loads(house("run", "--week", house.newest, "--json", code=None).stdout.splitlines()[-1])
    assert summary["tables"]["students"]["erased_student"] > 0
    for account in summary["tables"].values():
        counted = (account[name] for name in ("inserted", "updated", "unchanged", "quarantined"))
        assert account["read"] == sum(counted) + account.get("erased_student", 0)
    _assert_gone(house)
    assert "was erased on" in house(*asked, code=1).output
    # Made again from landing, where everything still is.
    for path in house.home.joinpath("raw").rglob("*.parquet"):
        path.unlink()
    house("run", "--week", house.newest, code=None)
    assert list(house.home.joinpath("raw").rglob("*.parquet"))
    _assert_gone(house)


def _assert_gone(house: House) -> None:
    files, tables = house.found()
    assert tables == {}
    assert {name: here for name, here in files.items() if not name.startswith("landing/")} == {}
