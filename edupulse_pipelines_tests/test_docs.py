"""What the pages say of the code is true: their links, the files and commands they name, the settings they list."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from pydantic import BaseModel

from edupulse_pipelines.cli import main
from edupulse_pipelines.settings import MaintenanceSettings, TenantSettings

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
PACKAGE = ROOT / "edupulse_pipelines"


def page_id(path: Path) -> str:
    return path.name


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    local = [target for target in targets if "://" not in target]
    assert [target for target in local if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_files_that_are_named_are_there(page: Path) -> None:
    named = re.findall(r"`([\w./-]+/[\w./-]*)`", page.read_text(encoding="utf-8"))
    known = [name for name in named if name.split("/")[0] in ROOMS]
    homes = (ROOT, PACKAGE, PACKAGE / "risk", ROOT / "edupulse_pipelines_tests")
    assert [name for name in known if not any((home / name).exists() for home in homes)] == []


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_modules_that_are_named_are_there(page: Path) -> None:
    named = re.findall(r"`([a-z_]+(?:\.[a-z_]+)+)`", page.read_text(encoding="utf-8"))
    ours = [name for name in named if name.split(".")[0] in ROOMS]
    paths = {name: [home.joinpath(*name.split(".")) for home in (ROOT, PACKAGE)] for name in ours}
    missing = [
        name
        for name, homes in paths.items()
        if not any(path.is_dir() or path.with_suffix(".py").is_file() for path in homes)
    ]
    assert missing == []


ROOMS = {
    *(path.name for path in PACKAGE.iterdir() if path.is_dir()),
    *(path.name for path in (PACKAGE / "risk").iterdir() if path.is_dir()),
    *("edupulse_pipelines", "edupulse_pipelines_tests", "docs", "sql", "deploy", "benchmarks"),
}


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "commands.md"], ids=page_id)
def test_commands_that_are_named_are_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    typed = re.findall(r"(?:`|^)edupulse ([a-z][a-z-]*)(?: ([a-z][a-z-]*))?", text, re.MULTILINE)
    unknown = []
    for first, second in typed:
        command = main.commands.get(first)
        if command is None or (isinstance(command, click.Group) and second and second not in command.commands):
            unknown.append(f"{first} {second}")
    assert unknown == []


def test_every_benchmark_is_told_of() -> None:
    modules = (ROOT / "edupulse_pipelines_tests" / "benchmarks").glob("[!_]*.py")
    benchmarks = {path.stem for path in modules if "def run(argv" in path.read_text(encoding="utf-8")}
    text = (ROOT / "docs" / "measured.md").read_text(encoding="utf-8")
    assert {"load", "quality"} <= benchmarks
    assert [name for name in sorted(benchmarks) if f"| `{name}` |" not in text] == []


def test_the_settings_page_lists_what_a_district_may_decide_with_its_default() -> None:
    text = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    block = next(part for part in re.findall(r"```toml\n(.*?)```", text, re.DOTALL) if "max_quarantined" in part)
    written = tomllib.loads(block)["tenants"]["springfield"]
    required = {name: written[name] for name in ("timezone", "first_week")}
    default = TenantSettings(name="springfield", landing=ROOT, **required)
    listed = dict(flat(written))
    defaults = {key: default_of(default, key) for key in listed}
    assert listed == defaults
    unlisted = [key for key in flat_keys(TenantSettings) if key not in listed]
    # What has no default that could be written is there as a comment.
    assert [key for key in unlisted if not re.search(rf"\b{key.rpartition('.')[2]}( = |\])", text)] == []


def test_the_settings_page_lists_the_limits_of_upkeep_with_their_defaults() -> None:
    text = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    block = next(part for part in re.findall(r"```toml\n(.*?)```", text, re.DOTALL) if "index_bloat" in part)
    default = MaintenanceSettings()
    listed = tomllib.loads(block)["maintenance"]
    assert listed == {key: getattr(default, key) for key in listed}
    unlisted = [key for key in MaintenanceSettings.model_fields if key not in listed]
    assert [key for key in unlisted if f"# {key} = " not in block] == []


def flat(section: dict[str, Any], head: str = "") -> Iterator[tuple[str, Any]]:
    """Each setting of a table with its dotted name."""
    for name, value in section.items():
        if isinstance(value, dict):
            yield from flat(value, f"{head}{name}.")
        else:
            yield f"{head}{name}", value


def flat_keys(model: type[BaseModel], head: str = "") -> Iterator[str]:
    """The dotted names of all settings of a model that a page has to list. Profiles have a page of their own."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        if f"{head}{name}" in {"name", "landing", "timezone", "first_week", "profile"}:
            continue
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from flat_keys(kind, f"{head}{name}.")
        else:
            yield f"{head}{name}"


def default_of(settings: TenantSettings, key: str) -> Any:
    """The value of a dotted name as TOML writes it, which has no null: what is not set is false."""
    value: Any = settings
    for part in key.split("."):
        value = getattr(value, part)
    if value is None:
        return False
    return list(value) if isinstance(value, tuple) else value
