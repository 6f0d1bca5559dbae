"""The moments of a backup folder, drawn as a table."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from edupulse_pipelines.operations.backup.moments import Moment


def show_moments(console: Console, moments: Sequence[Moment]) -> None:
    """A line for each moment, oldest first."""
    table = Table(title="moments", title_justify="left")
    for name in ("id", "taken (UTC)", "database"):
        table.add_column(name, no_wrap=True)
    for name in ("files", "MiB", "new MiB"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("schema", "version"):
        table.add_column(name, no_wrap=True)
    for moment in moments:
        table.add_row(
            moment.id,
            f"{moment.at.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S}",
            moment.base_backup or moment.database,
            f"{len(moment.files):,}",
            f"{moment.bytes / 2**20:,.1f}",
            f"{moment.new_bytes / 2**20:,.1f}",
            moment.schema_revision or "none",
            moment.package_version,
        )
    console.print(table)
