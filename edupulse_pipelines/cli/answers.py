"""How a command answers: a sentence or one JSON object, an error, and commands that can be typed next."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import click

from edupulse_pipelines.errors import EduPulseError, unexpected_in_words
from edupulse_pipelines.full_disk import full_disk_in_words


def answer(sentence: str, facts: dict[str, Any], as_json: bool) -> None:
    """Print the sentence, or with `--json` the facts."""
    if as_json:
        print_json(facts)
    else:
        click.echo(sentence)


def print_json(value: dict[str, Any]) -> None:
    """Print one JSON object on a line of its own."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def say_error(message: str) -> None:
    """Print what went wrong to stderr."""
    from rich.console import Console
    from rich.markup import escape

    Console(stderr=True, highlight=False).print(f"[red]Error:[/] {escape(message)}", soft_wrap=True)


def error_in_words(error: Exception) -> str:
    """What to say of any error; of an unexpected one not its text, which may quote a student's record."""
    if isinstance(error, EduPulseError):
        return str(error)
    if isinstance(error, click.ClickException):
        return error.format_message()
    return full_disk_in_words(error) or unexpected_in_words(error)


def command_to_type(words: str, home: Path | None) -> str:
    """A command of ours that can be typed as it stands, for the same home."""
    return f"{own_name()} {words}{f' --home {shlex.quote(str(home))}' if home else ''}"


def own_name() -> str:
    """How this command was called, so that what it suggests can be typed."""
    called = Path(sys.argv[0])
    installed = shutil.which("edupulse")
    if installed is None or Path(installed).resolve() != called.resolve():
        return os.path.relpath(called) if called.name == "edupulse" else "edupulse"
    return "edupulse"
