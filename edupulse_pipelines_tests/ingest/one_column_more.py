"""A process in which record tables are declared with a column more, and a delivery that carries it is loaded.

Only the declaration is changed, before anything that derives from it is imported.

    python -m edupulse_pipelines_tests.ingest.one_column_more FOLDER "URL URL" TABLE...

prints as its last line, for each of these databases by table, where the column was found (JSON).
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from edupulse_pipelines.schema import tables
from edupulse_pipelines.schema.declaration import Column

if TYPE_CHECKING:
    import sqlalchemy as sa

NAME = "shoe_size"
ADDED = Column(
    name=NAME, type="integer", nullable=True, minimum=1, maximum=60, delivered=True, comment="Size of the left shoe."
)


def declare(names: list[str]) -> None:
    """Give these tables the column."""
    for name in names:
        declared = tables.TABLES[name]
        tables.TABLES[name] = replace(declared, columns=(*declared.columns, ADDED))


def made(url: str) -> sa.Engine:
    """The empty database with the schema as it is declared now."""
    from edupulse_pipelines.schema import ddl
    from edupulse_pipelines.storage.engine import create_engine

    engine = create_engine(url)
    with engine.begin() as connection:
        for statement in ddl.statements(engine.dialect.name):
            connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
    return engine


def load(url: str, folder: Path, names: list[str]) -> dict[str, dict[str, object]]:
    """Make the declared tables, load three deliveries, and say where the column is."""
    import pyarrow.parquet as pq
    import sqlalchemy as sa

    from edupulse_pipelines.schema import ddl
    from edupulse_pipelines.schema.dictionary import dictionary
    from edupulse_pipelines.schema.expectations import NUMBER_SUFFIX, expectations
    from edupulse_pipelines.schema.sqlalchemy_tables import metadata, model_metadata, predictions
    from edupulse_pipelines_tests.ingest.district import FIRST_WEEK, District

    engine = made(url)
    district = District(engine, folder)
    headers = {
        "students": ("district_id,first_name,last_name,date_of_birth", "ZQ1,ZQ,ZQ,2010-01-01"),
        "attendance_records": ("district_id,date,status", "ZQ1,2025-09-02,present"),
        "grades": ("district_id,source_record_id,course_id,submission_date", "ZQ1,ZQ7,ZQm,2025-09-02"),
        "discipline_incidents": ("district_id,source_record_id,incident_date,severity_level", "ZQ1,ZQ8,2025-09-02,1"),
        "training_feedback": ("district_id,prediction_date,feedback_type", "ZQ1,2025-09-07,true_positive"),
    }
    stored: dict[str, list[object]] = {name: [] for name in names}
    for week, size in enumerate((41, 42, 99), start=1):  # new, changed, outside of its range
        files = {name: f"{headers[name][0]},{NAME}\n{headers[name][1]},{size}\n" for name in names}
        district.land(week, **files)
        if week == 1:
            district.run("students")
            with engine.begin() as connection:
                (student,) = connection.scalars(sa.select(metadata.tables["students"].c.id))
                connection.execute(
                    model_metadata.insert().values(tenant_id=district.tenant.name, model_version="v1", is_active=True)
                )
                connection.execute(
                    predictions.insert().values(
                        tenant_id=district.tenant.name,
                        student_id=student,
                        feature_date=FIRST_WEEK.replace(day=7),
                        risk_score=0.5,
                        risk_category="low",
                        confidence=1,
                        model_version="v1",
                    )
                )
        district.run(*names)
        for name in names:
            stored[name].append(district.rows(name, NAME)[-1])
    inspector = sa.inspect(engine)
    return {
        name: {
            "database": NAME in {column["name"] for column in inspector.get_columns(name)},
            "script": [NAME in ddl.script(dialect) for dialect in ("sqlite", "postgresql")],
            "suite": sorted(
                str((expectation.meta or {})["reason"])
                for expectation in expectations(name)
                if expectation.column in (NAME, NAME + NUMBER_SUFFIX)
            ),
            "archive": sorted(
                {
                    value
                    for path in (district.raw / district.tenant.name / name).rglob("*.parquet")
                    for value in pq.read_table(path)[NAME].to_pylist()
                }
            ),
            "stored": stored[name],
            "quarantine": [row["reasons"] for row in district.quarantine(name)],
            "dictionary": dictionary().count(f"| {NAME} | integer | yes | ≥ 1; ≤ 60 |  | Size of the left shoe. |"),
        }
        for name in names
    }


def main(names: list[str]) -> None:
    """Declare the column, and try it on every database."""
    declare(names)
    from edupulse_pipelines.ingest.validation import Expectations
    from edupulse_pipelines_tests.prepared import remembering

    Expectations.judge = remembering(Expectations.judge)  # type: ignore[method-assign]
    folders = {url: Path(sys.argv[1], str(number)) for number, url in enumerate(sys.argv[2].split())}
    print(orjson.dumps([load(url, folder, names) for url, folder in folders.items()]).decode())


if __name__ == "__main__":
    main(sys.argv[3:])
