"""The rules of the house that no room can keep alone: who may import whom, and what never stands in a file."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "edupulse_pipelines"
MODULES = sorted(path for path in PACKAGE.rglob("*.py"))

GROUND = {"schema"}
STORAGE = {"storage"}
ENCRYPTION = {"encryption"}
DOMAIN = {"sources", "ingest", "features", "risk", "governance", "operations"}
ROOF = {"orchestration", "cli", "definitions"}
SHARED = {
    "errors", "file_locks", "full_disk", "hashing", "private_home", "programs", "progress", "settings",
    "sizes_in_words", "weeks", "whole_files",
}  # fmt: skip
"""Small modules that every room may use; they stand on nothing but each other (and plain libraries)."""

MAY_IMPORT: dict[str, set[str]] = {
    **dict.fromkeys(SHARED, SHARED),
    # A district's profile names tables and columns: the declaration says which there are.
    "settings": SHARED | GROUND,
    # Plain declarations and what is derived from them: no settings, no errors for people, no connection of its own.
    **dict.fromkeys(GROUND, GROUND),
    "storage": GROUND | SHARED | STORAGE,
    # What lies on the disk, encrypted: files and keys, no table.
    "encryption": SHARED | ENCRYPTION,
    # Formats are read without a database, features know no model, and ingest no outside format but through `sources`.
    "sources": GROUND | SHARED | {"sources"},
    "ingest": GROUND | SHARED | STORAGE | ENCRYPTION | {"ingest", "sources"},
    # A restored home is looked at by the rooms that know what is in it.
    "operations": GROUND
    | SHARED
    | STORAGE
    | ENCRYPTION
    | {"sources", "ingest", "features", "risk", "governance", "operations"},
    "features": GROUND | SHARED | STORAGE | {"features"},
    "risk": GROUND | SHARED | STORAGE | {"features", "risk"},
    # What is held of a student lies in every domain's files and tables.
    "governance": GROUND | SHARED | STORAGE | ENCRYPTION | {"sources", "ingest", "features", "risk", "governance"},
    "orchestration": GROUND | SHARED | STORAGE | ENCRYPTION | DOMAIN | {"orchestration"},
    "cli": GROUND | SHARED | STORAGE | ENCRYPTION | DOMAIN | {"orchestration", "cli"},
    "definitions": SHARED | ENCRYPTION | {"orchestration"},
}
HEAVY = {
    "pandas", "numpy", "sqlalchemy", "alembic", "sklearn", "shap", "great_expectations", "mlflow", "matplotlib",
}  # fmt: skip


def room(path: Path) -> str:
    """The room (or the module of the top floor) that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@cache
def syntax(path: Path) -> ast.Module:
    """What a file consists of."""
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imports(path: Path, *, at_module_level: bool = False) -> set[str]:
    """Full names of what a file imports: anywhere, or only what importing the file itself imports."""
    tree = syntax(path)
    found: set[str] = set()
    package = [PACKAGE.name, *path.relative_to(PACKAGE).parent.parts]

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found.update(f"{module}.{alias.name}" for alias in node.names)
        elif at_module_level:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                return
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                for child in node.orelse:
                    visit(child)
                return
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(tree)
    return found


def rooms_imported(path: Path) -> set[str]:
    """The rooms of the package that a file imports from."""
    inside = {name.split(".")[1] for name in imports(path) if name.startswith(f"{PACKAGE.name}.")}
    return {name for name in inside if (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").is_file()}


def test_every_room_has_its_place_in_the_import_rule() -> None:
    assert {room(path) for path in MODULES} - {"__init__"} <= GROUND | STORAGE | ENCRYPTION | DOMAIN | ROOF | SHARED


@pytest.mark.parametrize("name", sorted({room(path) for path in MODULES} - {"__init__"}))
def test_a_room_stands_on_what_is_below_it(name: str) -> None:
    wrong = {
        str(path.relative_to(ROOT)): sorted(rooms_imported(path) - MAY_IMPORT[name])
        for path in MODULES
        if room(path) == name and rooms_imported(path) - MAY_IMPORT[name]
    }
    assert wrong == {}


def _module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def test_no_two_modules_need_each_other() -> None:
    modules = {_module(path): path for path in MODULES}

    def named(full: str) -> str | None:
        """The module that an import names, itself or something in it."""
        return full if full in modules else next(iter(modules.keys() & {full.rpartition(".")[0]}), None)

    needs = {
        name: {found for full in imports(path) if (found := named(full)) is not None and found != name}
        for name, path in modules.items()
    }
    assert needs["edupulse_pipelines.cli"] >= {"edupulse_pipelines.cli.run", "edupulse_pipelines.settings"}
    # What needs nothing that is left is on no circle; nor is what then needs nothing that is left.
    while free := [name for name, others in needs.items() if not others & needs.keys()]:
        for name in free:
            del needs[name]
    assert sorted(needs) == []


def test_no_module_takes_what_another_keeps_to_itself() -> None:
    private = [
        f"{path.relative_to(ROOT)} imports {full}"
        for path in MODULES
        for full in imports(path)
        if full.startswith(f"{PACKAGE.name}.") and re.search(r"\._(?!_)", full)
    ]
    assert private == []


def _opens_connections(path: Path) -> list[str]:
    """The places of a file that make an engine, or open a connection or a transaction on one."""
    found = [full for full in imports(path) if full.rpartition(".")[2] in {"create_engine", "Engine"}]
    for node in ast.walk(syntax(path)):
        if not isinstance(node, ast.Attribute):
            continue
        of = ast.unparse(node.value)
        if node.attr in {"create_engine", "Engine", "_engine", "connect"} or (
            node.attr in {"begin", "raw_connection"} and re.search(r"engine|connection|work", of)
        ):
            found.append(f"{of}.{node.attr} in line {node.lineno}")
    return found


def test_no_program_is_given_our_secrets() -> None:
    started = {
        f"{path.relative_to(ROOT)}, line {node.lineno}": {word.arg: ast.unparse(word.value) for word in node.keywords}
        for path in MODULES
        if "subprocess" in path.read_text(encoding="utf-8")
        for node in ast.walk(syntax(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("subprocess.run", "subprocess.Popen")
    }
    assert len(started) > 5
    assert [place for place, given in started.items() if "environment(" not in given.get("env", "")] == []


def test_only_storage_opens_connections() -> None:
    assert _opens_connections(PACKAGE / "storage" / "engine.py")
    opened = {
        str(path.relative_to(ROOT)): places
        for path in MODULES
        if room(path) not in STORAGE and (places := _opens_connections(path))
    }
    assert opened == {}


def test_dagster_is_for_orchestration_and_the_roof() -> None:
    wrong = [
        str(path.relative_to(ROOT))
        for path in MODULES
        if room(path) not in ROOF
        and any(name.partition(".")[0].startswith(("dagster", "click", "rich")) for name in imports(path))
    ]
    assert wrong == []


def test_the_declaration_is_plain_data() -> None:
    for name in ("declaration", "tables", "delivery", "source_formats"):
        found = imports(PACKAGE / "schema" / f"{name}.py")
        assert {full.partition(".")[0] for full in found} <= {"__future__", "dataclasses", "typing", PACKAGE.name}


def _reached(path: Path, seen: set[Path]) -> set[Path]:
    """The modules of the package that importing a file imports, itself included."""
    if path in seen:
        return seen
    seen.add(path)
    for name in imports(path, at_module_level=True):
        parts = name.split(".")
        if parts[0] != PACKAGE.name:
            continue
        for end in range(1, len(parts) + 1):
            base = PACKAGE.joinpath(*parts[1:end])
            for candidate in (base / "__init__.py", base.with_suffix(".py")):
                if candidate.is_file():
                    _reached(candidate, seen)
    return seen


@pytest.mark.parametrize("name", ["definitions", "cli", "settings", "weeks", "errors", "progress"])
def test_heavy_libraries_are_imported_inside_the_step(name: str) -> None:
    package = PACKAGE / name / "__init__.py"
    heavy = {
        f"{path.relative_to(ROOT)} imports {full}"
        for path in _reached(package if package.is_file() else PACKAGE / f"{name}.py", set())
        for full in imports(path, at_module_level=True)
        if full.partition(".")[0] in HEAVY
    }
    assert heavy == set()


@pytest.mark.parametrize("folder", ["edupulse_pipelines", "edupulse_pipelines_tests"])
def test_every_public_module_says_what_it_is(folder: str) -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / folder).rglob("*.py"))
        if path.read_text(encoding="utf-8").strip()
        and ast.get_docstring(syntax(path)) is None
        # A file of tests has a name that says it; a room's module has to tell what does not live in it, too.
        and not path.name.startswith(("test_", "conftest"))
        and "versions" not in path.parts
    ]
    assert silent == []


def test_no_module_is_called_by_a_word_that_says_nothing() -> None:
    nothing = re.compile(r"(.*_)?(utils?|helpers?|manager|base|common|misc)")
    assert [str(path.relative_to(ROOT)) for path in MODULES if nothing.fullmatch(path.stem)] == []


def _tracked() -> list[Path]:
    """The files under version control, or all that look like it when there is none (an unpacked archive)."""
    answer = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if answer.returncode == 0:
        names = [name for name in answer.stdout.decode().split("\0") if name]
        return [ROOT / name for name in names if (ROOT / name).is_file()]
    return [path for path in ROOT.rglob("*") if path.is_file() and ".git" not in path.parts]


# Written so that this file does not find itself.
HOST_PATHS = re.compile(r"(?<![\w.:/-])/(?:work|home|Users|root|tmp|mnt|var/folders)/[\w.-]+")
REGISTRIES = re.compile(r"https?://[^\s\"'<>)]*(?:pypi|artifactory|nexus|/simple\b|registry\.)[^\s\"'<>)]*", re.I)
INDEX_OPTIONS = re.compile(r"(?:--(?:extra-)?index-" r"url|--trusted-" r"host|find-" r"links)[ =]", re.I)


def test_no_file_names_a_machine_or_a_registry() -> None:
    found = []
    for path in _tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), start=1):
            for pattern in (HOST_PATHS, REGISTRIES, INDEX_OPTIONS):
                found += [f"{path.relative_to(ROOT)}:{number}: {hit.group()}" for hit in pattern.finditer(line)]
    assert found == []


def test_every_package_is_shipped() -> None:
    declared = set(
        tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    )
    found = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "edupulse_pipelines").rglob("*.py")} | {
        "edupulse_pipelines.sql",
        "edupulse_pipelines.sql.maintenance",
        "edupulse_pipelines.sql.queries",
        "edupulse_pipelines.sql.schema",
        "edupulse_pipelines.sql.security",
    }
    assert declared == found
