"""Deliveries that only confirmed what was stored: counted when they came, merged when an older delivery asks for it.

A large delivery that repeats the newest loaded one is entered as `confirms_only` and not written, because nothing but
`delivered_on` of its records would change. When a delivery older than it comes late, that date has to be in the
records first, or the older delivery would win over what the confirming one has said.
"""

from __future__ import annotations

import datetime as dt

import numpy as np
from sqlalchemy.engine import Connection

from edupulse_pipelines.ingest import quarantine
from edupulse_pipelines.ingest.delivered_rows import DeliveredRows
from edupulse_pipelines.ingest.delivery import pieces_of, rows_of, without_copies
from edupulse_pipelines.ingest.table_load import TableLoad
from edupulse_pipelines.storage import manifest
from edupulse_pipelines.storage.manifest import Entry


def merge_confirming(load: TableLoad, delivered_on: dt.date) -> None:
    """Before a delivery of `delivered_on` is merged: merge the later ones that only confirmed; a transaction each."""
    while True:
        with load.work.reading() as connection:
            waiting = manifest.next_confirming(connection, load.work, load.table, delivered_on)
            files = [] if waiting is None else manifest.delivery(connection, load.work, load.table, waiting)
        if waiting is None:
            return
        # A delivery with a file that is not loaded will be merged as a whole when its turn comes.
        whole = bool(files) and all(file.is_loaded for file in files)
        rows = rows_of(load, files) if whole else None
        with load.writing() as connection:
            if rows is not None:
                _write(connection, load, rows, without_copies(files))
            manifest.note_merged(connection, load.work, load.table, waiting)


def _write(connection: Connection, load: TableLoad, rows: DeliveredRows, files: list[Entry]) -> None:
    """Write a delivery that has its account already; rows that are in quarantine are left to the replay."""
    marks = load.marks(connection)
    held = [quarantine.open_lines(connection, load.work, load.table, file.sha256) for file in files]
    writer = load.writer(connection, rows, marks)
    for piece, reasons in pieces_of(load, rows):
        asked = np.ones(len(piece), dtype=np.bool_)
        for number, lines in enumerate(held):
            asked &= (piece.file != number) | ~np.isin(piece.line_numbers, lines)
        writer.write(writer.prepare(piece, reasons, asked))
    writer.close()
    load.leave(connection, marks)
