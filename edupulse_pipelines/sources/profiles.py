"""What a tenant's profile does to the rows of a source: names of columns, dates, decimals, codes and letter grades.

`check_header` judges a header under the profile, `apply_profile` brings rows into canonical names and values. What a
profile may say is checked in `settings`; whether the values are good is judged in `ingest`. A code that the profile
does not map is named and never guessed. No database here.
"""

from __future__ import annotations

import datetime as dt
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from edupulse_pipelines.schema.declaration import Column
from edupulse_pipelines.schema.delivery import ASSIGNMENT, DELETED, DELETED_VALUES, DELIVERED, SOURCE_RECORD
from edupulse_pipelines.schema.expectations import TYPE_PATTERNS
from edupulse_pipelines.settings import ProfileSettings
from edupulse_pipelines.settings.profile import UNUSED
from edupulse_pipelines.sources.dates import date_parser, iso_day
from edupulse_pipelines.sources.records import PROBLEM, RefusedFile

UNMAPPED_CODE = "unmapped_code"
MISSING_DATE_OF_BIRTH = "missing_date_of_birth"
"""Name of the warning that counts the rows with the tenant's marker for a date of birth that is not known."""

_MOST_CODES = 30
"""A column with more unmapped texts than this holds no codes: its columns have slipped, say, and names stand in it."""
_MORE = ""
"""Stands for the unmapped texts of a column beyond `_MOST_CODES`; the empty field is never one."""
_LOOKS_LIKE_A_CODE = re.compile(r"(?!(?:.*[0-9]){6})[A-Za-z0-9_/+*.-]{1,12}")


class _Judged(NamedTuple):
    """What becomes of one distinct text: its new text (None: empty), and the rule it breaks, if any."""

    text: str | None
    rule: str | None = None


def check_header(header: list[str], table: str, profile: ProfileSettings) -> list[str]:
    """Our names of the columns of a header, by position; names that the contract does not know stay as they are.

    RefusedFile `duplicate_column` (a name occurs twice), `rename_collision` (two columns have one canonical name) or
    `missing_column` (a required one is not there under any name).
    """
    contract = DELIVERED[table]
    repeated = next((name for name in header if header.count(name) > 1), None)
    if repeated is not None:
        # Without a header row this may be a student's value: only names that somebody declared are repeated.
        declared = repeated in contract.column_names or repeated in profile.columns.get(table, {})
        places = " and ".join(str(place) for place, name in enumerate(header, start=1) if name == repeated)
        raise RefusedFile(
            "duplicate_column",
            f"line 1: column {repr(repeated) if declared else places}: the same name occurs more than once",
        )
    canonical = canonical_names(header, table, profile)
    missing = [name for name in contract.required if name not in canonical]
    if missing:
        columns = f"required column{'s' if len(missing) > 1 else ''} {', '.join(missing)}"
        verb = "are" if len(missing) > 1 else "is"
        # Nothing of line 1 is shown: in a damaged file it may be a student's.
        understood = set(canonical) & set(contract.column_names)
        hint = "" if understood else "; is there a header row, or does the profile have to name the columns?"
        raise RefusedFile("missing_column", f"line 1: {columns} {verb} missing{hint}")
    if (
        contract.record.about_predictions
        and "prediction_id" not in canonical
        and not {"district_id", "prediction_date"} <= set(canonical)
    ):
        raise RefusedFile("missing_column", "line 1: needs prediction_id, or district_id together with prediction_date")
    return canonical


def unknown_columns(header: Sequence[str], canonical: Sequence[str], table: str) -> list[str]:
    """The columns of a header that the table has no use for, as they are called; `canonical`: by `check_header`."""
    return [
        name or f"(column {position} has no name)"
        for position, (name, ours) in enumerate(zip(header, canonical, strict=True), start=1)
        if ours not in DELIVERED[table].column_names
    ]


def apply_profile(
    rows: pa.Table,
    table: str,
    profile: ProfileSettings,
    *,
    zone: dt.tzinfo = dt.UTC,
    converted: bool = False,
    named: bool = False,
) -> tuple[pa.Table, dict[int, list[str]], Counter[tuple[str, str]]]:
    """Archived rows of `table` in canonical names and values, reasons by position, rows per unmapped (column, code).

    A text that a rule of the profile does not understand stays as it is and gets a reason (`type:<column>`,
    `unmapped_code:<column>`); rows that could not be read are left alone, and of rows that take a record back only
    the key is judged. The counts are those of `add_codes`. `zone`: in which a time stamp with an offset has its date.
    `converted`: the rows come from a converter, which has written canonical columns, dates and numbers; its codes are
    mapped where they are not canonical already, and none is let pass unmapped. `named`: the columns have our names
    already. RefusedFile `rename_collision` when the profile has changed since the file was read, so that two columns
    have one name now.
    """
    reasons: dict[int, list[str]] = {}
    unmapped: Counter[tuple[str, str]] = Counter()
    if not (converted or named):
        names = canonical_names(rows.column_names, table, profile)
        rows = rows.rename_columns(names) if names != rows.column_names else rows
    for column in DELIVERED[table].columns:
        rule = _rule(column, table, profile, zone, converted=converted)
        if rule is None or column.name not in rows.column_names:
            continue
        came = rows.column(column.name)
        rewritten = _rewritten(came, rule)
        if rewritten.column is not came:
            rows = rows.set_column(rows.column_names.index(column.name), column.name, rewritten.column)
        _note(rewritten, column.name, reasons, unmapped)
    delivered = {name for name in DELIVERED[table].column_names if name in rows.column_names}
    if profile.letter_grades and "grade_letter" in delivered:
        rows = _with_letter_grades(rows, profile, reasons, unmapped)
    if profile.missing_date_of_birth != "quarantine" and "date_of_birth" in delivered:
        rows = _with_marked_dates_of_birth(rows, profile.missing_date_of_birth)
    if profile.names_work(table) and SOURCE_RECORD in delivered:
        rows = _with_work_of_record_id(rows)
    if reasons and DELETED in rows.column_names:
        _forgive_deletions(rows, table, reasons, unmapped)
    return rows, reasons, unmapped


def presentable_codes(unmapped: Counter[tuple[str, str]]) -> list[dict[str, Any]]:
    """The unmapped codes for a summary, of each column the most frequent first: `{"column", "code", "rows"}`.

    Shown are only short texts that look like codes, in columns with few of them; the others are counted together, for a
    name, a number or a date of birth may have slipped into a coded column.
    """
    shown: list[dict[str, Any]] = []
    by_column: dict[str, Counter[str]] = {}
    for (column, code), count in unmapped.items():
        by_column.setdefault(column, Counter())[code] += count
    for column, codes in sorted(by_column.items()):
        if len(codes) > _MOST_CODES:
            shown.append(
                {"column": column, "code": f"(more than {_MOST_CODES} values, not shown)", "rows": codes.total()}
            )
            continue
        others = [code for code in codes if not _LOOKS_LIKE_A_CODE.fullmatch(code)]
        hidden = sum(codes.pop(code) for code in others)
        shown += [
            {"column": column, "code": code, "rows": count}
            for code, count in sorted(codes.items(), key=lambda entry: (-entry[1], entry[0]))
        ]
        if others:
            text = f"({len(others)} other value{'' if len(others) == 1 else 's'}, not shown)"
            shown.append({"column": column, "code": text, "rows": hidden})
    return shown


def add_codes(total: Counter[tuple[str, str]], more: Mapping[tuple[str, str], int]) -> None:
    """Add the unmapped (column, code) of one part of a delivery to those of all; of each column only a few are kept.

    What is in `total` does not grow with the file: the rows of a column's further codes are counted under no code.
    """
    kept = Counter(column for column, _ in total)
    for (column, code), count in more.items():
        if (column, code) in total:
            total[column, code] += count
        elif kept[column] <= _MOST_CODES:
            total[column, code] = count
            kept[column] += 1
        else:
            total[column, _MORE] += count


def canonical_names(names: Sequence[str], table: str, profile: ProfileSettings) -> list[str]:
    """Our names of columns as a file of `table` has them; names that the contract does not know stay as they are.

    A name that is neither ours nor in the profile counts as one that differs by case, blanks and punctuation only,
    unless another column has that name exactly. RefusedFile `rename_collision` when two columns have one name.
    Of a table that nobody delivers (quarantined predictions of version 1.0) names are ours.
    """
    if table not in DELIVERED:
        return list(names)
    exact = [profile.canonical_name(table, name) for name in names]
    canonical = list(exact)
    meanings = _folded_names(names, table, profile)
    for place, name in enumerate(names):
        meant = None if exact[place] != name else meanings.get(_folded(name))
        if meant == "":
            canonical[place] = UNUSED + name
        elif meant is not None and meant not in exact:
            canonical[place] = meant
    for name in DELIVERED[table].column_names:
        theirs = [names[place] for place, canonical_name in enumerate(canonical) if canonical_name == name]
        if len(theirs) > 1:
            raise RefusedFile(
                "rename_collision",
                f"line 1: the columns {' and '.join(map(repr, theirs))} are both {name} under the tenant's profile; "
                'rename the other one there (to "" if it is not used)',
            )
    return canonical


def known_names(names: Sequence[str], table: str, profile: ProfileSettings) -> int:
    """How many of these names of columns mean one that the table knows."""
    meanings = _folded_names(names, table, profile)
    exact = (profile.canonical_name(table, name) in DELIVERED[table].column_names for name in names)
    return sum(known or bool(meanings.get(_folded(name))) for name, known in zip(names, exact, strict=True))


def _folded_names(names: Sequence[str], table: str, profile: ProfileSettings) -> dict[str, str]:
    """What a name means that is spelled another way: one of ours, or what the profile says of it ("": not used).

    A name of the profile that stands among `names` as it is spelled there speaks of that column alone.
    """
    return {_folded(name): name for name in DELIVERED[table].column_names} | {
        _folded(theirs): ours for theirs, ours in profile.columns.get(table, {}).items() if theirs not in names
    }


def _folded(name: str) -> str:
    # `deleted` may be any column of a district's own; `_deleted` takes records back.
    return "".join(letter for letter in name.casefold() if letter.isalnum() or (letter == "_" and name[0] == "_"))


# Rules for one distinct text


def _rule(
    column: Column, table: str, profile: ProfileSettings, zone: dt.tzinfo, *, converted: bool
) -> Callable[[str], _Judged] | None:
    """What the profile has to say about the texts of a column; None when it says nothing."""
    codes: dict[str, str] | None
    if column.codes_in == "grade_levels":
        codes = profile.grade_levels or None
    else:
        codes = profile.codes.get(table, {}).get(column.name)
    decimal_comma = not converted and profile.decimal == "," and column.type == "number"
    if converted and codes is None and (column.values or column.type == "integer") and column.name != DELETED:
        codes = {}
    if codes is not None:
        return _code_rule(column, codes, decimal_comma=decimal_comma, canonical_first=converted)
    if decimal_comma:
        return _with_decimal_point
    if not converted and column.type == "date":
        return partial(_iso_date, zone=zone) if profile.iso_dates else _date_rule(profile.date_format)
    return None


def _code_rule(
    column: Column, codes: dict[str, str], *, decimal_comma: bool, canonical_first: bool
) -> Callable[[str], _Judged]:
    # In a column of free text the values the tenant maps to are the canonical ones: there are no others.
    canonical = set(column.values or codes.values())
    pattern = re.compile(TYPE_PATTERNS[column.type]) if column.type in TYPE_PATTERNS else None

    def judged(text: str) -> _Judged:
        if text in codes and not (canonical_first and is_canonical(text)):
            return _Judged(codes[text] or None)
        if column.type == "number" and decimal_comma:
            text_with_point, rule = _with_decimal_point(text)
            if rule is None and text_with_point is not None and is_canonical(text_with_point):
                return _Judged(text_with_point)
        elif is_canonical(text):
            return _Judged(text)
        return _Judged(text, UNMAPPED_CODE)

    def is_canonical(text: str) -> bool:
        if pattern is None:
            return text in canonical
        if not pattern.match(text):
            return False
        # The range of a measured number is not the business of its codes; an integer outside it is another code.
        return column.type == "number" or (
            (column.minimum is None or int(text) >= column.minimum)
            and (column.maximum is None or int(text) <= column.maximum)
        )

    return judged


def _with_decimal_point(text: str) -> _Judged:
    """A number with a decimal comma; one with a point may mean thousands, which nobody shall guess."""
    return _Judged(text, "type") if "." in text else _Judged(text.replace(",", ".") if text.count(",") == 1 else text)


def _iso_date(text: str, *, zone: dt.tzinfo) -> _Judged:
    return _Judged(iso_day(text, zone) or text)


def _date_rule(date_format: str) -> Callable[[str], _Judged]:
    parsed = date_parser(date_format)

    def judged(text: str) -> _Judged:
        date = parsed(text)
        return _Judged(text, "type") if date is None else _Judged(date)

    return judged


# Whole columns


class _Column(NamedTuple):
    """A rewritten column, and per distinct text what became of it and where it stands (-1: empty)."""

    column: pa.ChunkedArray | pa.Array
    texts: list[str]
    judged: list[_Judged]
    indices: np.ndarray


def _distinct(column: pa.ChunkedArray) -> tuple[list[str], np.ndarray]:
    """The distinct texts of a column, and for each row the number of its text (-1: empty)."""
    encoded = pc.dictionary_encode(column).unify_dictionaries().combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):  # of no rows at all
        return [], np.empty(0, dtype=np.int64)
    return encoded.dictionary.to_pylist(), pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)


def _rewritten(column: pa.ChunkedArray, rule: Callable[[str], _Judged]) -> _Column:
    texts, indices = _distinct(column)
    judged = [rule(text) for text in texts]
    if all(entry.text == text for entry, text in zip(judged, texts, strict=True)):
        return _Column(column, texts, judged, indices)
    return _Column(_taken(judged, indices, column.type), texts, judged, indices)


def _taken(judged: list[_Judged], indices: np.ndarray, type_: pa.DataType) -> pa.Array:
    """The new text for each index, null for -1; as text or as a dictionary, as the column was."""
    places: dict[str, int] = {}
    # The place after the last text stands for the empty field: index -1 picks it.
    place = [-1 if entry.text is None else places.setdefault(entry.text, len(places)) for entry in judged]
    chosen = np.array([*place, -1], dtype=np.int32)[indices]
    encoded = pa.DictionaryArray.from_arrays(
        pa.array(chosen, pa.int32(), mask=chosen < 0), pa.array(list(places), pa.string())
    )
    return encoded if pa.types.is_dictionary(type_) else encoded.cast(pa.string())


def _note(
    column: _Column,
    name: str,
    reasons: dict[int, list[str]],
    unmapped: Counter[tuple[str, str]],
    among: np.ndarray | None = None,
) -> None:
    """Enter the reasons of a rewritten column, of the rows `among` (a mask; None: all of them)."""
    for rule in {entry.rule for entry in column.judged if entry.rule is not None}:
        # One place more than there are texts: an empty field (-1) looks there.
        broken = np.array([*(entry.rule == rule for entry in column.judged), False])[column.indices]
        if among is not None:
            broken &= among
        positions = np.flatnonzero(broken)
        for position in positions.tolist():
            reasons.setdefault(position, []).append(f"{rule}:{name}")
        if rule == UNMAPPED_CODE:
            counts = np.bincount(column.indices[positions], minlength=len(column.texts))
            add_codes(unmapped, {(name, column.texts[place]): int(counts[place]) for place in np.flatnonzero(counts)})


def _with_letter_grades(
    rows: pa.Table,
    profile: ProfileSettings,
    reasons: dict[int, list[str]],
    unmapped: Counter[tuple[str, str]],
) -> pa.Table:
    """The rows with a percentage for the letter where there is no `grade_value`."""
    percents = {letter: f"{percent:.15g}" for letter, percent in profile.letter_grades.items()}
    letters, indices = _distinct(rows.column("grade_letter"))
    values = rows.column("grade_value") if "grade_value" in rows.column_names else None
    judged = [_Judged(percents.get(letter), None if letter in percents else UNMAPPED_CODE) for letter in letters]
    filled = _Column(_taken(judged, indices, pa.string()), letters, judged, indices)
    noted = np.zeros(rows.num_rows, dtype=bool)
    noted[[position for position, codes in reasons.items() if f"{UNMAPPED_CODE}:grade_letter" in codes]] = True
    empty = np.ones(rows.num_rows, dtype=bool) if values is None else values.is_null().to_numpy()
    _note(filled, "grade_letter", reasons, unmapped, empty & ~noted)
    if values is None:
        return rows.append_column("grade_value", filled.column)
    return rows.set_column(
        rows.column_names.index("grade_value"),
        "grade_value",
        pc.coalesce(values.cast(pa.string()), pa.chunked_array([filled.column])),
    )


def _with_work_of_record_id(rows: pa.Table) -> pa.Table:
    """The rows with the part of `source_record_id` before its last `-` where `assignment_id` is empty."""
    texts, indices = _distinct(rows.column(SOURCE_RECORD))
    judged = [_Judged(text.rpartition("-")[0] or None) for text in texts]
    work = _taken(judged, indices, pa.string())
    if ASSIGNMENT not in rows.column_names:
        return rows.append_column(ASSIGNMENT, work)
    given = rows.column(ASSIGNMENT).cast(pa.string())
    filled = pc.coalesce(given, pa.chunked_array([work]))
    return rows.set_column(rows.column_names.index(ASSIGNMENT), ASSIGNMENT, filled)


def _with_marked_dates_of_birth(rows: pa.Table, marker: dt.date) -> pa.Table:
    given = rows.column("date_of_birth")
    if not given.null_count:
        return rows
    readable = rows.column(PROBLEM).is_null()
    marked = pc.if_else(pc.and_(given.is_null(), readable), pa.scalar(marker.isoformat()), given.cast(pa.string()))
    return rows.set_column(rows.column_names.index("date_of_birth"), "date_of_birth", marked)


def _forgive_deletions(
    rows: pa.Table, table: str, reasons: dict[int, list[str]], unmapped: Counter[tuple[str, str]]
) -> None:
    """A row that takes its record back, and names it, needs its key only: what else it says is not used."""
    contract = DELIVERED[table]
    judged = {*contract.key_columns, DELETED}
    deletes = pc.is_in(rows.column(DELETED).cast(pa.string()), pa.array(DELETED_VALUES)).to_numpy()
    for name in contract.naming_columns:
        if contract.must_name(name):
            deletes = deletes & (rows.column(name).is_valid().to_numpy() if name in rows.column_names else False)
    for position in [position for position in reasons if deletes[position]]:
        kept = [code for code in reasons[position] if code.partition(":")[2] in judged]
        for code in set(reasons[position]) - set(kept):
            rule, _, name = code.partition(":")
            if rule == UNMAPPED_CODE:
                text = rows.column(name)[position].as_py()
                unmapped[name, text if (name, text) in unmapped else _MORE] -= 1
        if kept:
            reasons[position] = kept
        else:
            del reasons[position]
    for key in [key for key, count in unmapped.items() if count <= 0]:
        del unmapped[key]
