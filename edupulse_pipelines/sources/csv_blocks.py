"""Reading a block of CSV at once, by Arrow, where it is plain that the reader of `csv_rows` would say the same.

What is out of the ordinary (a NUL, a stray quote, a field without end) is left to that reader; a test holds the two
together.
"""

from __future__ import annotations

import csv
import re
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv

from edupulse_pipelines.sources.csv_rows import LONGEST_FIELD, TOO_FEW_FIELDS, TOO_MANY_FIELDS, Row, as_table
from edupulse_pipelines.sources.records import SYSTEM_COLUMNS

_BLANK_LINES = re.compile(rb"\n\n+")


class Block(NamedTuple):
    """What `read_block` read: the rows, and how many physical lines they and the blank ones were."""

    rows: pa.Table
    lines: int


def read_block(block: bytes, lines_before: int, delimiter: str, schema: pa.Schema) -> Block | None:
    """The rows of a block of whole lines by Arrow's reader; None where the strict reader might say something else.

    There are no NULs then, no field is too long, and every quote opens or closes a field or is one of a doubled pair.
    """
    if b"\0" in block:
        return None
    text = block if block.endswith((b"\n", b"\r")) else block + b"\n"
    if b"\r" in text:
        if b'"' in text and _return_within_quotes(text):
            return None
        text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    codes = np.frombuffer(text, dtype=np.uint8)
    line_ends = row_ends = np.flatnonzero(codes == ord("\n"))
    first_lines = np.arange(1, len(line_ends) + 1, dtype=np.int64)
    quoted = b'"' in text
    if quoted:
        quotes = np.flatnonzero(codes == ord('"'))
        if not _quotes_enclose_fields(codes, quotes, ord(delimiter)):
            return None
        of_rows = np.searchsorted(quotes, line_ends) % 2 == 0  # the other ones stand within quotes
        row_ends = line_ends[of_rows]
        first_lines = first_lines[np.concatenate([[True], of_rows[:-1]])]
    lengths = np.diff(row_ends, prepend=-1) - 1
    if lengths.max() >= LONGEST_FIELD:
        return None
    several_lines = len(row_ends) < len(line_ends)
    if not lengths.min():  # blank lines are no rows
        if several_lines:
            return None
        first_lines = first_lines[lengths > 0]
        text = _BLANK_LINES.sub(b"\n", text.lstrip(b"\n"))
        if not text:
            return Block(schema.empty_table(), len(line_ends))
    numbers = first_lines + lines_before
    columns, misfits = _arrow_columns(text, delimiter, len(schema) - len(SYSTEM_COLUMNS), quoted, several_lines)
    if len(columns) + len(misfits) != len(numbers) or (misfits and several_lines):
        return None
    misfit = _misfit_lines(text, delimiter, columns.num_columns) if misfits else np.zeros(len(numbers), dtype=bool)
    if int(misfit.sum()) != len(misfits):
        return None
    nothing = pa.nulls(len(columns), pa.string())
    fitting = pa.Table.from_arrays([pa.array(numbers[~misfit]), nothing, nothing, *columns.columns], schema=schema)
    if not misfits:
        return Block(fitting, len(line_ends))
    rows = [
        Row(number, fields, TOO_FEW_FIELDS if len(fields) < columns.num_columns else TOO_MANY_FIELDS)
        for number, fields in zip(
            numbers[misfit].tolist(), csv.reader(misfits, delimiter=delimiter, strict=True), strict=True
        )
    ]
    order = np.argsort(np.concatenate([numbers[~misfit], numbers[misfit]]), kind="stable")
    return Block(pa.concat_tables([fitting, as_table(rows, schema)]).take(order), len(line_ends))


def _quotes_enclose_fields(codes: np.ndarray, quotes: np.ndarray, delimiter: int) -> bool:
    """Whether the quotes of a text that ends with a line alternately open and close: both readers then see the same.

    One that opens follows a delimiter or a line's end, one that closes stands before one; or the one is next to the
    other, which is a doubled quote within a field.
    """
    if len(quotes) % 2:
        return False
    opening, closing = quotes[::2], quotes[1::2]
    before = codes[opening - 1]  # of the very first byte: the last, which is a line's end
    after = codes[closing + 1]
    doubled = opening[1:] == closing[:-1] + 1
    return bool(
        np.all((before == delimiter) | (before == ord("\n")) | np.concatenate([[False], doubled]))
        and np.all((after == delimiter) | (after == ord("\n")) | np.concatenate([doubled, [False]]))
    )


def _return_within_quotes(text: bytes) -> bool:
    codes = np.frombuffer(text, dtype=np.uint8)
    quotes, returns = (np.flatnonzero(codes == ord(character)) for character in ('"', "\r"))
    return bool(np.any(np.searchsorted(quotes, returns) % 2))


def _arrow_columns(
    text: bytes, delimiter: str, width: int, quoted: bool, several_lines: bool
) -> tuple[pa.Table, list[str]]:
    """The rows of the right width as text columns, '' as null, and the text of the others, in order."""
    misfits: list[str] = []

    def skip(row: pyarrow.csv.InvalidRow) -> str:
        misfits.append(row.text)
        return "skip"

    names = [str(position) for position in range(width)]
    table = pyarrow.csv.read_csv(
        pa.BufferReader(text),
        read_options=pyarrow.csv.ReadOptions(column_names=names, block_size=len(text) + 1, use_threads=False),
        parse_options=pyarrow.csv.ParseOptions(
            delimiter=delimiter,
            quote_char='"' if quoted else False,
            double_quote=quoted,
            escape_char=False,
            newlines_in_values=several_lines,
            ignore_empty_lines=False,
            invalid_row_handler=skip,
        ),
        convert_options=pyarrow.csv.ConvertOptions(
            check_utf8=False,  # done before
            column_types=dict.fromkeys(names, pa.string()),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=True,
        ),
    )
    return table, misfits


def _misfit_lines(text: bytes, delimiter: str, width: int) -> np.ndarray:
    """For each line of the text, whether it has another number of fields than `width`."""
    codes = np.frombuffer(text, dtype=np.uint8)
    between = np.flatnonzero(codes == ord(delimiter))
    if b'"' in text:
        between = between[np.searchsorted(np.flatnonzero(codes == ord('"')), between) % 2 == 0]
    delimiters_before = np.searchsorted(between, np.flatnonzero(codes == ord("\n")))
    return np.diff(delimiters_before, prepend=0) != width - 1
