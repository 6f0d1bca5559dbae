"""Every command and option says what it does, here and in `docs/commands.md`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from edupulse_pipelines import cli

PAGE = Path(__file__).parents[2] / "docs" / "commands.md"


def commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """The command and all below it, with the words that are typed for each."""
    yield path, command
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            yield from commands(below, (*path, name))


TREE = dict(commands(cli.main))
LEAVES = {path: command for path, command in TREE.items() if not isinstance(command, click.Group)}


def test_the_tree_is_walked_to_its_leaves() -> None:
    assert {("run",), ("db", "detach-month"), ("model", "show")} <= LEAVES.keys()
    assert {(), ("db",), ("model",), ("quarantine",)} <= TREE.keys() - LEAVES.keys()


@pytest.mark.parametrize("path", TREE, ids=" ".join)
def test_a_command_has_help(path: tuple[str, ...]) -> None:
    assert TREE[path].help
    done = CliRunner().invoke(cli.main, [*path, "--help"])
    assert done.exit_code == 0
    assert "Usage:" in done.output
    assert ("--home" in done.output) == (path in LEAVES or path == ())


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_an_option_has_help(path: tuple[str, ...]) -> None:
    options = [option for option in LEAVES[path].params if isinstance(option, click.Option)]
    assert options
    assert [option.name for option in options if not option.help] == []


def test_every_command_that_ends_answers_scripts() -> None:
    without = {path for path, command in LEAVES.items() if "--json" not in {o for p in command.params for o in p.opts}}
    assert without == {("dev",)}


def test_every_command_has_its_line_in_the_page_and_no_other_has() -> None:
    lines = re.findall(r"^\| `edupulse ([a-z -]+)` \| (.+) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(name for name, _ in lines) == sorted(" ".join(path) for path in LEAVES)
    assert [name for name, said in lines if len(said) < 20] == []
