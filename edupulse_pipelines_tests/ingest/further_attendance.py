"""A process in which attendance is declared with further fields of every type, and deliveries leave some of them out.

    python -m edupulse_pipelines_tests.ingest.further_attendance FOLDER "URL URL"

prints as its last line, for each of these databases by the order in which three deliveries are loaded, what is stored
then, and what a fourth one does that says the same as the record (JSON).
"""

from __future__ import annotations

import itertools
import sys
from dataclasses import replace
from pathlib import Path

import orjson

from edupulse_pipelines.schema import tables
from edupulse_pipelines.schema.declaration import Column

FIELDS = (
    Column(name="note", type="text", length=10, nullable=True, delivered=True, comment="A text."),
    Column(name="minutes", type="integer", minimum=0, nullable=True, delivered=True, comment="A whole number."),
    Column(name="share", type="number", nullable=True, delivered=True, comment="A number."),
    Column(name="since", type="date", nullable=True, delivered=True, comment="A date."),
    Column(name="detail", type="json", nullable=True, delivered=True, comment="A document."),
)
TABLE = "attendance_records"
DELIVERIES = {
    1: {
        TABLE: (
            "district_id,date,status,note,minutes,share,since,detail\n"
            'ZQ1,2025-09-02,absent,ZQa,30,0.5,2025-09-01,"{""a"": [1, 2]}"\n'
            "ZQ2,2025-09-02,present,ZQa,5,,,\n"
            "ZQ3,2025-09-03,tardy,,7,,,{}\n"
        )
    },
    2: {
        TABLE: (
            "district_id,date,status,note,share,since,_deleted\n"
            "ZQ1,2025-09-02,excused,ZQb,0.25,2025-09-02,\n"
            "ZQ2,2025-09-02,,,,,true\n"
            "ZQ3,2025-09-03,tardy,,,,\n"
        )
    },
    3: {
        TABLE: "district_id,date,status\nZQ1,2025-09-02,present\nZQ2,2025-09-02,absent\n",
        f"{TABLE}__b": "district_id,date,status,minutes\nZQ3,2025-09-03,tardy,\nZQ3,2025-09-04,tardy,9\n",
    },
}
AGAIN = (
    "district_id,date,status,note,minutes,share,since,detail\n"
    'ZQ1,2025-09-02,present,ZQb,030,0.250,2025-09-02,"{""a"":[1.0,2]}"\n'
)


def declare() -> None:
    """Give attendance the fields."""
    declared = tables.TABLES[TABLE]
    tables.TABLES[TABLE] = replace(declared, columns=(*declared.columns, *FIELDS))


def load(url: str, folder: Path) -> dict[str, object]:
    """Load the deliveries in every order, each for a district of its own, and say what is stored."""
    from edupulse_pipelines.ingest.validation import Expectations
    from edupulse_pipelines.ingest.writers import attendance
    from edupulse_pipelines.weeks import WEEK
    from edupulse_pipelines_tests.ingest.conftest import _judge
    from edupulse_pipelines_tests.ingest.district import FIRST_WEEK, District
    from edupulse_pipelines_tests.ingest.one_column_more import made

    Expectations.judge = _judge  # type: ignore[method-assign]
    attendance.BULK_ROWS = 1  # the first month of the first district is built apart
    engine = made(url)
    outcomes: dict[str, object] = {}
    columns = ("district_id", "date", "status", *(field.name for field in FIELDS), "delivered_on", "field_deliveries")
    for order in itertools.permutations(DELIVERIES):
        name = "d" + "".join(map(str, order))
        district = District(engine, folder, name=name)
        district.enrol("ZQ1", "ZQ2", "ZQ3")
        for number, files in DELIVERIES.items():
            district.land(number, **files)
        for number in order:
            district.run(TABLE, weeks=[FIRST_WEEK + (number - 1) * WEEK])
        # A row that takes back what has not arrived waits until it has.
        district.run(TABLE)
        stored = district.rows(TABLE, *columns)
        changed = district.rows(TABLE, "updated_at")
        district.land(4, **{TABLE: AGAIN})
        again = district.run(TABLE, weeks=[FIRST_WEEK + 3 * WEEK])[TABLE].counts
        outcomes[name] = {
            "stored": stored,
            "again": again,
            "unchanged": district.rows(TABLE, "updated_at") == changed,
            "all_new": district.rows(TABLE, "field_deliveries").count(None),
        }
    return outcomes


if __name__ == "__main__":
    declare()
    folders = {url: Path(sys.argv[1], str(number)) for number, url in enumerate(sys.argv[2].split())}
    print(orjson.dumps([load(url, folder) for url, folder in folders.items()]).decode())
