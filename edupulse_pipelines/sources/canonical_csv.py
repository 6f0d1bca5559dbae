"""The canonical CSV of the landing contract as a source of records: its delimiter, its header, and so its columns.

RFC 4180 with a header row; comma, tab, semicolon or pipe. A file that cannot be read as a whole raises RefusedFile; a
line that cannot be read becomes a row with a problem. Values stay text: types are judged in `ingest`. How the bytes
become rows is in `csv_text`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from edupulse_pipelines.schema.source_formats import CSV
from edupulse_pipelines.settings import FilesSettings, ProfileSettings
from edupulse_pipelines.sources.csv_rows import NUL_BYTE
from edupulse_pipelines.sources.csv_text import BLOCK_BYTES, CsvText
from edupulse_pipelines.sources.profiles import check_header, known_names, unknown_columns
from edupulse_pipelines.sources.records import RefusedFile

DELIMITERS = (",", "\t", ";", "|")
"""What may stand between fields, in the order in which a header is tried with them."""


class CanonicalCsv(CsvText):
    """One file as a source of records: its header is checked when it is opened, its rows come from `batches`, once.

    RefusedFile as CsvText has it, `malformed_header`, and what `check_header` says of the header under the tenant's
    profile.
    """

    def __init__(
        self,
        content: Path | Callable[[], BinaryIO],
        table: str,
        profile: ProfileSettings | None = None,
        *,
        source_format: str = CSV.name,
        max_columns: int = FilesSettings().max_columns,
        block_bytes: int = BLOCK_BYTES,
        strict: bool = False,
    ) -> None:
        profile = profile or ProfileSettings()
        super().__init__(content, profile.encoding, max_columns=max_columns, block_bytes=block_bytes, strict=strict)
        self.source_format = source_format
        self.delimiter, self.header = self._find_header(table, profile)
        self.unknown_columns = unknown_columns(self.header, check_header(self.header, table, profile), table)
        self.left_out: dict[str, int] = {}
        self.instructional_days: list[dt.date] = []

    def _find_header(self, table: str, profile: ProfileSettings) -> tuple[str, list[str]]:
        """The delimiter and the column names: the delimiter with which the header has most names that we know."""
        candidates = DELIMITERS if profile.delimiter == "auto" else (profile.delimiter,)
        rows = {delimiter: self.read_header(delimiter) for delimiter in candidates}

        def known(delimiter: str) -> int:
            return known_names(rows[delimiter].fields, table, profile) if rows[delimiter].problem is None else 0

        best = max(candidates, key=known)  # the first of several
        if rows[best].problem == NUL_BYTE:
            raise RefusedFile(
                "malformed_header",
                "line 1: there are NUL characters in the header row; UTF-16 without a byte order mark has to be "
                'declared (encoding = "utf-16") in the tenant\'s profile in edupulse.toml',
            )
        if rows[best].problem is not None:
            raise RefusedFile("malformed_header", "line 1: the header row is not valid CSV")
        return best, rows[best].fields
