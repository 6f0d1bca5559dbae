"""What several commands share: `--home` with errors in words and exit codes, `--json`, `--tenant`, `--table`, days."""

from __future__ import annotations

import datetime as dt
import functools
import logging
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from edupulse_pipelines.cli.answers import error_in_words, say_error
from edupulse_pipelines.errors import EduPulseError
from edupulse_pipelines.schema.tables import RECORD_TABLES
from edupulse_pipelines.weeks import EARLIEST_DAY, LATEST_DAY

Command = TypeVar("Command", bound=Callable[..., Any])


home_option = click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where landing, raw archive, SQLite files and models lie.  [default: EDUPULSE_HOME, else ./.edupulse]",
)


def command(function: Command) -> Command:
    """What every command has: `--home`, errors in words, exit codes.

    A home that stands before the command (`edupulse` itself takes it) is the command's when it has none of its own.
    """

    @home_option
    @functools.wraps(function)
    def guarded(*args: Any, home: Path | None, **kwargs: Any) -> Any:
        home = home or click.get_current_context().find_object(Path)
        warnings.filterwarnings("ignore")  # libraries' notices to programmers
        logging.getLogger("alembic").setLevel(logging.WARNING)
        try:
            return function(*args, home=home, **kwargs)
        except EduPulseError as error:
            say_error(str(error))
            sys.exit(error.exit_code)
        except (click.ClickException, click.Abort, click.exceptions.Exit):
            raise
        except BrokenPipeError:  # whoever read the output has seen enough (`| head`); click ends it without a word
            raise
        except Exception as error:
            say_error(error_in_words(error))
            sys.exit(1)
        except KeyboardInterrupt:
            say_error("Interrupted. What had been merged stays; running again goes on from there.")
            sys.exit(1)

    return guarded  # type: ignore[return-value]


json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object as the last line, for scripts."
)


def tenant_option(default: str) -> Callable[[Command], Command]:
    """`--tenant`, and what happens without it."""
    return click.option("--tenant", "tenant_name", help=f"The tenant.  [default: {default}]")


table_option = click.option(
    "--table", "tables", type=click.Choice(RECORD_TABLES), multiple=True, help="Only rows of this table; repeatable."
)


def words_given(_context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """The words of an option that are kept for whoever asks later; wrong usage for blanks."""
    if value is not None and not value.strip():
        raise click.BadParameter("say something: it is kept.", param=parameter)
    return value


def day_given(text: str | None, option: str) -> dt.date | None:
    """The day that an option names (YYYY-MM-DD), None without one; wrong usage for anything else."""
    if text is None:
        return None
    try:
        day = dt.date.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a date like 2026-03-09.", param_hint=option) from None
    if not EARLIEST_DAY <= day <= LATEST_DAY:
        raise click.BadParameter(f"{text} is not a date from {EARLIEST_DAY} to {LATEST_DAY}.", param_hint=option)
    return day
