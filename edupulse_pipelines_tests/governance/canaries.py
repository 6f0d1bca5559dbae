"""Canaries: values that nothing but one student's files hold, where they are planted, and the search for them.

The search reads every file below a home, unpacked where it is packed, and every row of every table.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path

import pyarrow.parquet as pq
import sqlalchemy as sa

from edupulse_pipelines.governance.register import PLACES
from edupulse_pipelines.schema.sqlalchemy_tables import metadata

NUMBER = "ZQ7741"
FIRST, LAST = "Zqfirsta", "Zqlasta"
MAIDEN = "Zqmaiden"
"""The last name in every delivery but the newest."""
BORN = "2009-02-27"
ETHNICITY = "Zqethnic"
GRADE = "13.37193"
TEXT = "Zqwords of an incident"
FILE = f"grades-{MAIDEN} make-up.csv"
HEADER = f"notes on {LAST}"
NOTE = "Zqnote"
BAD = "Zqbadstatus"
REFUSED = "Zqrefusedcell"
CANARIES = (NUMBER, FIRST, LAST, MAIDEN, BORN, ETHNICITY, GRADE, "Zqwords", NOTE, BAD, REFUSED)


def plant(landing: Path, others: int = 1) -> str:
    """Make a student of every delivery the canary, and add what a district may send of one; the number it had."""
    deliveries = sorted(path for path in landing.iterdir() if path.is_dir())
    students = _read(deliveries[0] / "students.csv")
    was = students[others]["district_id"]
    for folder in deliveries:
        for path in folder.glob("*.csv"):
            rows = _read(path)
            for row in rows:
                if row.get("district_id") == was:
                    row["district_id"] = NUMBER
                    if path.name == "students.csv":
                        last = LAST if folder == deliveries[-1] else MAIDEN
                        row |= {"first_name": FIRST, "last_name": last, "date_of_birth": BORN, "ethnicity": ETHNICITY}
            if rows:
                _write(path, rows)
    _plant_rows(deliveries)
    return was


def _plant_rows(deliveries: list[Path]) -> None:
    first, last = deliveries[1], deliveries[-1]
    grades = _read(first / "grades.csv")
    grade = {**grades[0], "district_id": NUMBER, "grade_value": GRADE, "source_record_id": "ZQ7741-g"}
    _write(first / FILE, [grade])
    attendance = _read(last / "attendance_records.csv")
    bad = {**attendance[0], "district_id": NUMBER, "status": BAD}
    rows = [{**row, HEADER: NOTE if row["district_id"] == NUMBER else ""} for row in [*attendance, bad]]
    _write(last / "attendance_records.csv", rows)
    incident = {"district_id": NUMBER, "incident_date": first.name, "severity_level": "2", "description": TEXT}
    path = first / "discipline_incidents-b.csv"
    day = min(row["submission_date"] for row in grades)
    _write(path, [incident | {"incident_date": day, "incident_type": "other", "source_record_id": "ZQ7741-i"}])


def refused_file(landing: Path) -> Path:
    """Land a file that cannot be read as its table, in the newest delivery."""
    newest = max(path for path in landing.iterdir() if path.is_dir())
    path = newest / "grades-unreadable.csv"
    path.write_text(f"what,ever\n{NUMBER},{REFUSED}\n", encoding="utf-8")
    return path


def roster() -> dict[str, str]:
    """A OneRoster bundle with the canary and one other student."""
    return {
        "orgs.csv": "sourcedId,status,dateLastModified,name,type,identifier,parentSourcedId\no1,,,School,school,,\n",
        "users.csv": (
            "sourcedId,status,dateLastModified,enabledUser,orgSourcedIds,role,username,userIds,givenName,familyName\n"
            f"{NUMBER},,,true,o1,student,u,,{FIRST},{LAST}\nother1,,,true,o1,student,v,,Other,Child\n"
        ),
        "demographics.csv": (
            f"sourcedId,status,dateLastModified,birthDate,sex\n{NUMBER},,,{BORN},\nother1,,,2010-01-02,\n"
        ),
    }


def zipped(members: Mapping[str, str]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return packed.getvalue()


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def _write(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


# Searching


def in_files(home: Path, needles: tuple[str, ...] = CANARIES) -> dict[str, set[str]]:
    """By path below the home the canaries that a file there holds, its name included."""
    found: dict[str, set[str]] = {}
    for path in sorted(path for path in home.rglob("*") if path.is_file()):
        name = str(path.relative_to(home))
        texts = [name.encode(), *contents(path.read_bytes())]
        if here := {needle for needle in needles for text in texts if needle.lower().encode() in text.lower()}:
            found[name] = here
    return found


def contents(data: bytes) -> Iterator[bytes]:
    """A file, and what is in it where it is packed."""
    yield data
    if data[:2] == b"\x1f\x8b":
        yield from contents(gzip.decompress(data))
    elif data[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            for member in packed.namelist():
                yield member.encode()
                yield from contents(packed.read(member))
    elif data[:4] == b"PAR1":
        stored = pq.read_table(io.BytesIO(data))
        yield str(stored.schema).encode()
        yield json.dumps(stored.to_pylist(), default=str, ensure_ascii=False).encode()


def in_tables(engine: sa.Engine, needles: tuple[str, ...] = CANARIES) -> dict[str, set[str]]:
    """By table the canaries that a row of it holds; every table of the database, and on PostgreSQL its statistics."""
    found: dict[str, set[str]] = {}
    with engine.connect() as connection:
        names = sa.inspect(connection).get_table_names()
        if engine.dialect.name == "postgresql":
            names.append("pg_stats")
        assert set(metadata.tables) <= set(names)
        for name in names:
            for row in connection.execute(sa.text(f'SELECT * FROM "{name}"')):
                text = json.dumps([str(value) for value in row], ensure_ascii=False).lower()
                if here := {needle for needle in needles if needle.lower() in text}:
                    found.setdefault(name, set()).update(here)
    return found


def ids_of(engine: sa.Engine, tenant: str) -> tuple[str, str]:
    """The canary's internal id, with hyphens and without: rows may say nothing else of whose they are."""
    students = metadata.tables["students"]
    mine = sa.and_(students.c.tenant_id == tenant, students.c.district_id == NUMBER)
    with engine.connect() as connection:
        identifier = connection.execute(sa.select(students.c.id).where(mine)).scalar_one()
    return str(identifier), identifier.hex


def outside_the_register(files: Mapping[str, set[str]], tables: Mapping[str, set[str]], tenant: str) -> list[str]:
    """What was found in a file or table that no place of the register names."""
    paths = [path.replace("{tenant}", tenant) for place in PLACES for path in place.paths]
    known = {table for place in PLACES for table in place.tables} | {"pg_stats"}
    return [
        *(f"{name}: {sorted(here)}" for name, here in files.items() if not any(fnmatch(name, path) for path in paths)),
        *(f"table {name}: {sorted(here)}" for name, here in tables.items() if name not in known),
    ]
