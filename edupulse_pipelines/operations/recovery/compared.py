"""What differs between two states of a database, in words: tables, counts, names; never a value of a row."""

from __future__ import annotations

from edupulse_pipelines.operations.recovery.state import State


def differences(noted: State, found: State) -> list[str]:
    """How the restored database (`found`) differs from what was noted of the live one; empty when it does not.

    A sequence may have gone on: the server notes some numbers ahead, and a crash loses those, never the others.
    """
    said = []
    if noted.revision != found.revision:
        said.append(f"schema revision {found.revision or 'none'}, noted was {noted.revision or 'none'}")
    for name in sorted(noted.tables.keys() | found.tables.keys()):
        before, now = noted.tables.get(name), found.tables.get(name)
        if now is None or before is None:
            said.append(f"{name}: the table is missing" if now is None else f"{name}: a table that was not there")
        elif before.rows != now.rows:
            said.append(f"{name}: {now.rows:,} rows, noted were {before.rows:,}")
        elif before.hash != now.hash:
            said.append(f"{name}: as many rows ({now.rows:,}), but not the same ones")
    for name, last in noted.sequences.items():
        there = found.sequences.get(name)
        if there is None:
            said.append(f"sequence {name}: missing")
        elif there < last:
            said.append(f"sequence {name}: it would give out numbers that have been given out ({there}, noted {last})")
    for key in sorted(noted.definitions.keys() | found.definitions.keys()):
        defined, there_is = noted.definitions.get(key), found.definitions.get(key)
        if defined != there_is:
            how = "missing" if there_is is None else "was not there" if defined is None else "another definition"
            said.append(f"{key}: {how}")
    if noted.audit_head != found.audit_head:
        said.append("the record of changes ends with another link")
    return said
