"""`edupulse list`, as typed: on the terminal, as CSV, as a page; what it refuses, and who can read what it writes."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import logging
import os
import re
import stat
from html.parser import HTMLParser
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from edupulse_pipelines import cli
from edupulse_pipelines_tests.risk.listed import STUDENTS, WEEK, fill

NAMES = [text for _, number, first, last, *_ in STUDENTS for text in (number, first, last)]


class House:
    """A home with one district, whose week is scored."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def __call__(self, *words: object, code: int = 0) -> Result:
        done = CliRunner().invoke(cli.main, ["list", *map(str, words), "--home", str(self.home)])
        assert done.exit_code == code, done.output
        assert "Traceback" not in done.output
        return done


@pytest.fixture
def house(tmp_path: Path, database_url: str, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.setenv("EDUPULSE_DATABASE_URL", database_url)
    home = tmp_path / "home"
    home.mkdir()
    home.joinpath("edupulse.toml").write_text(
        '[tenants.north]\ntimezone = "America/New_York"\nfirst_week = 2024-09-02\n', encoding="utf-8"
    )
    fill(engine, "north")
    return House(home)


def test_a_table_by_school_for_a_terminal(house: House) -> None:
    said = house().stdout
    assert "7 of 8 scored students at medium risk or above: 3 critical, 2 high, 2 medium" in said
    assert "1 more enrolled, not scored: little known yet" in said
    assert "for your eyes" in said
    headings = ["Elm Street (S-2)  2", "North <High> (S-1)  3", "School S-9  1", "No school known  1"]
    assert [said.index(heading) for heading in headings] == sorted(said.index(heading) for heading in headings)
    assert "<script>alert(1)</script>" in said
    assert "• Failing <b>math</b>" in said
    assert "→ Ask the teacher" in said
    assert "+ Attended 96% of the last 4 weeks" in said
    assert re.search(r"Zqschools, Zqtwo +K ", said)
    assert "\x1b" not in said  # what a text says to a terminal is spelled out
    assert "Zqlow" not in said
    assert max(map(len, said.splitlines())) <= 120


def test_a_csv_that_a_spreadsheet_does_not_run(house: House) -> None:
    said = house("--format", "csv").stdout_bytes.decode()
    assert said.count("\r\n") == 8
    rows = list(csv.DictReader(io.StringIO(said, newline="")))
    assert [(row["school_id"], row["school"], row["district_id"], row["risk_category"]) for row in rows] == [
        ("S-2", "Elm Street", "0103", "medium"),
        ("S-2", "Elm Street", "0104", "medium"),
        ("S-1", "North <High>", "0101", "critical"),
        ("S-1", "North <High>", "0102", "high"),
        ("S-1", "North <High>", "0111", "high"),
        ("S-9", "", "0109", "critical"),
        ("", "No school known", "0105", "critical"),
    ]
    dangerous = next(row for row in rows if row["district_id"] == "0102")
    assert dangerous["first_name"] == "'=cmd|'/c calc'!A1"
    assert dangerous["reasons"] == "'=1+1"
    assert dangerous["recommendations"].startswith("'-call")
    assert dangerous["last_name"] == "O'Neil & Söhne"
    ada = next(row for row in rows if row["district_id"] == "0101")
    assert ada["reasons"].splitlines() == ["Failing <b>math</b>", "2 incidents", "1 incident this week"]
    assert (ada["week"], ada["risk_score"], ada["rescored"]) == (str(WEEK), "0.91", "false")
    cells = [cell for row in rows for cell in row.values()]
    assert [cell for cell in cells if cell[:1] in ("=", "+", "-", "@", "\t", "\r")] == []


class Page(HTMLParser):
    """What a page holds: its tags with their attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of each tag of this name."""
        return [attributes for name, attributes in self.tags if name == tag]


def test_a_page_to_print_that_needs_nothing_and_runs_nothing(house: House) -> None:
    text = house("--format", "html").stdout
    page = Page(text)
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "img", "link", "iframe", "object", "embed", "form", "a", "b"}
    assert [key for _, attributes in page.tags for key in attributes if key.startswith("on") or key in {"src", "href", "style"}] == []  # fmt: skip  # noqa: E501
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "Failing &lt;b&gt;math&lt;/b&gt;" in text
    assert "url(" not in text and "@import" not in text and "http:" not in text and "https:" not in text
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style.group(1).encode()).digest()).decode()
    (policy,) = [meta["content"] for meta in page.of("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def test_a_page_that_can_be_read_aloud_and_printed(house: House) -> None:
    text = house("--format", "html").stdout
    page = Page(text)
    assert page.of("html") == [{"lang": "en"}]
    assert len(page.of("h1")) == 1
    assert len(page.of("h2")) == 5  # four schools, and how to read it
    assert [head["scope"] for head in page.of("th")].count("row") == 7
    assert {head["scope"] for head in page.of("th")} == {"row", "col"}
    assert len(page.of("caption")) == len(page.of("thead")) == len(page.of("table")) == 4
    assert "break-before: page" in text and "table-header-group" in text and "@page" in text
    assert text.index("Elm Street") < text.index("North &lt;High&gt;") < text.index("School S-9")
    assert text.index("School S-9") < text.index("No school known")
    assert "within 8 weeks" in text
    assert "62%*" in text and "hindsight" in text


@pytest.mark.parametrize("form", ["table", "csv", "html"])
def test_a_file_is_for_its_owner_alone_and_replaces_one_that_is_there(house: House, form: str, tmp_path: Path) -> None:
    path = tmp_path / "new" / f"list.{form}"
    done = house("--format", form, "--output", path)
    assert done.stdout == f"7 students. Written to {path}, which only you can read.\n"
    first = path.read_bytes()
    assert "Söhne".encode() in first
    assert first.startswith(b"\xef\xbb\xbf") == (form == "csv")
    path.write_bytes(b"old")
    path.chmod(0o644)
    os.umask(0)
    house("--format", form, "--output", path)
    assert path.read_bytes()[:40] == first[:40]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [*path.parent.iterdir()] == [path]


def test_a_file_that_cannot_be_written_is_said(house: House, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "list.html", "/dev/null"):
        assert "another one" in (said := house("--output", path, code=1).output) or "cannot be written" in said
    assert not [name for name in NAMES[:3] if name in said]


def test_json_counts_and_names_nobody(house: House, tmp_path: Path) -> None:
    done = house("--json")
    facts = json.loads(done.stdout)
    assert (facts["tenant"], facts["week"], facts["listed"], facts["scored"], facts["not_scored"]) == (
        "north", str(WEEK), 7, 8, 1,
    )  # fmt: skip
    assert facts["by_category"] == {"critical": 3, "high": 2, "medium": 2}
    assert facts["by_school"][-1] == {"school_id": None, "name": None, "listed": 1}
    assert (facts["format"], facts["path"]) == ("table", None)
    assert [name for name in NAMES if name in done.output] == []
    path = tmp_path / "list.csv"
    done = house("--json", "--format", "csv", "--output", path)
    assert json.loads(done.stdout)["path"] == str(path)
    assert [name for name in NAMES if name in done.output] == []
    assert "0101" in path.read_text(encoding="utf-8")


def test_grades_and_schools_as_people_write_them(house: House) -> None:
    for words in (["--grade", "K"], ["--grade", "Kindergarten"], ["--grade", "0", "--school", "elm street"]):
        assert json.loads(house("--json", *words).stdout)["listed"] == 1
    assert json.loads(house("--json", "--grade", "pk", "--grade", "09").stdout)["listed"] == 3
    said = house("--grade", 11).stdout
    assert "Of 1 scored student none is at medium risk or above." in said
    assert "None of the 1 scored students" in house("--grade", 11, "--format", "html").stdout
    assert house("--grade", 11, "--format", "csv").stdout.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--school", "West"], 1, "No student is known to be at a school 'West'"),
        (["--grade", "8"], 1, "No student is known to be in grade '8'"),
        (["--week", "2025-02-03"], 1, "no predictions for the week of 2025-02-03"),
        (["--week", "yesterday"], 2, "not a date like"),
        (["--week", "9999-12-31"], 2, "not a date from"),
        (["--tenant", "south"], 2, "there are: north"),
        (["--format", "pdf"], 2, "pdf"),
    ],
)
def test_what_it_refuses(house: House, words: list[str], code: int, said: str) -> None:
    output = house(*words, code=code).output
    assert said in output.replace("\n", " ")
    assert [name for name in NAMES if name in output] == []


def test_any_day_of_the_week_names_it(house: House) -> None:
    assert json.loads(house("--json", "--week", "2025-03-09").stdout)["week"] == str(WEEK)


def test_nothing_is_logged(house: House, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        house("--format", "html")
    assert [name for name in NAMES if name in caplog.text] == []
    assert sorted(path.name for path in house.home.iterdir()) == ["edupulse.toml"]
