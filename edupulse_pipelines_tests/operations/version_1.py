"""A small database of version 1.0, made from the statements of its documentation, with one of each thing it let in."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from edupulse_pipelines.settings import TenantSettings
from edupulse_pipelines.storage.engine import create_engine

CREATED = dt.datetime(2025, 1, 10, 17, 0, tzinfo=dt.UTC)
"""When rows were created, unless they say otherwise."""

DDL = """
CREATE TABLE students (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    district_id VARCHAR(50) UNIQUE NOT NULL,
    first_name VARCHAR(100) NOT NULL,
    last_name VARCHAR(100) NOT NULL,
    grade_level INTEGER CHECK (grade_level >= 0 AND grade_level <= 12),
    date_of_birth DATE NOT NULL,
    gender VARCHAR(10),
    ethnicity VARCHAR(100),
    socioeconomic_status VARCHAR(50),
    gpa REAL CHECK (gpa >= 0 AND gpa <= 4.0),
    attendance_rate REAL CHECK (attendance_rate >= 0 AND attendance_rate <= 1.0),
    parent_contact VARCHAR(200),
    enrollment_date DATE DEFAULT CURRENT_DATE,
    student_metadata JSONB DEFAULT '{}',
    created_at TIMESTAMPTZ DEFAULT CURRENT_TIMESTAMP,
    updated_at TIMESTAMPTZ DEFAULT CURRENT_TIMESTAMP
);
CREATE INDEX idx_students_district_id ON students(district_id);
CREATE INDEX idx_students_grade_level ON students(grade_level);
CREATE INDEX idx_students_enrollment_date ON students(enrollment_date);
CREATE INDEX idx_students_created_at ON students(created_at);
CREATE TABLE attendance_records (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    student_id UUID REFERENCES students(id) ON DELETE CASCADE,
    date DATE NOT NULL,
    status VARCHAR(20) CHECK (status IN ('present', 'absent', 'tardy', 'excused')),
    period INTEGER,
    created_at TIMESTAMPTZ DEFAULT CURRENT_TIMESTAMP,
    UNIQUE(student_id, date, period)
);
CREATE INDEX idx_attendance_student_date ON attendance_records(student_id, date);
CREATE INDEX idx_attendance_date_status ON attendance_records(date, status);
CREATE INDEX idx_attendance_status ON attendance_records(status);
CREATE TABLE grades (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    student_id UUID REFERENCES students(id) ON DELETE CASCADE,
    course_id VARCHAR(50) NOT NULL,
    course_name VARCHAR(200),
    grade_value REAL CHECK (grade_value >= 0 AND grade_value <= 100),
    grade_letter VARCHAR(2),
    submission_date DATE NOT NULL,
    assignment_type VARCHAR(50),
    created_at TIMESTAMPTZ DEFAULT CURRENT_TIMESTAMP
);
CREATE TABLE discipline_incidents (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    student_id UUID REFERENCES students(id) ON DELETE CASCADE,
    incident_date DATE NOT NULL,
    severity_level INTEGER CHECK (severity_level >= 1 AND severity_level <= 5),
    incident_type VARCHAR(100),
    description TEXT,
    resolution VARCHAR(200),
    created_at TIMESTAMPTZ DEFAULT CURRENT_TIMESTAMP
);
CREATE TABLE student_features (
    student_id UUID REFERENCES students(id) ON DELETE CASCADE,
    feature_date DATE NOT NULL,
    attendance_rate REAL CHECK (attendance_rate >= 0 AND attendance_rate <= 1),
    gpa_current REAL CHECK (gpa_current >= 0 AND gpa_current <= 5),
    discipline_incidents INTEGER CHECK (discipline_incidents >= 0) DEFAULT 0,
    feature_vector JSONB,
    created_at TIMESTAMPTZ DEFAULT CURRENT_TIMESTAMP,
    PRIMARY KEY (student_id, feature_date),
    UNIQUE(student_id, feature_date)
);
CREATE TABLE predictions (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    student_id UUID REFERENCES students(id) ON DELETE CASCADE,
    prediction_date TIMESTAMPTZ DEFAULT CURRENT_TIMESTAMP,
    risk_score REAL CHECK (risk_score >= 0 AND risk_score <= 1),
    risk_category VARCHAR(20) CHECK (risk_category IN ('low', 'medium', 'high', 'critical')),
    confidence REAL CHECK (confidence >= 0 AND confidence <= 1),
    risk_factors JSONB DEFAULT '[]',
    model_version VARCHAR(50),
    created_at TIMESTAMPTZ DEFAULT CURRENT_TIMESTAMP
);
CREATE TABLE training_feedback (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    prediction_id UUID REFERENCES predictions(id) ON DELETE CASCADE,
    outcome_date DATE,
    outcome_type VARCHAR(50),
    feedback_type VARCHAR(50) CHECK (
        feedback_type IN ('true_positive', 'false_positive', 'true_negative', 'false_negative')
    ),
    educator_notes TEXT,
    created_at TIMESTAMPTZ DEFAULT CURRENT_TIMESTAMP
);
CREATE TABLE model_metadata (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    model_version VARCHAR(50) UNIQUE NOT NULL,
    model_type VARCHAR(50),
    training_date TIMESTAMPTZ DEFAULT CURRENT_TIMESTAMP,
    performance_metrics JSONB DEFAULT '{}',
    hyperparameters JSONB DEFAULT '{}',
    is_active BOOLEAN DEFAULT FALSE,
    created_at TIMESTAMPTZ DEFAULT CURRENT_TIMESTAMP
);
"""


def ddl(dialect: str, *tables: str) -> list[str]:
    """The statements, of these tables alone if any are named.

    Ids are made by gen_random_uuid(): uuid_generate_v4() of the documentation needs an extension, and both make one of
    version 4. On SQLite ids are as SQLAlchemy's own type had them, and none are generated.
    """
    text = DDL
    if dialect == "sqlite":
        text = text.replace(" DEFAULT gen_random_uuid()", "").replace("UUID", "CHAR(32)").replace("JSONB", "JSON")
        text = text.replace("TIMESTAMPTZ", "DATETIME")
    statements = [statement.strip() for statement in text.split(";") if statement.strip()]
    return [one for one in statements if not tables or _OF_TABLE.match(one)[1] in tables]  # type: ignore[index]


_OF_TABLE = re.compile(r"CREATE (?:TABLE|INDEX \w+ ON) (\w+)")


@dataclass
class Version1:
    """Rows of version 1.0, by table, and where they are written to."""

    url: str
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def add(self, table: str, **values: Any) -> str:
        """A row with a new id; the id as 32 digits."""
        number = sum(map(len, self.rows.values())) + 1
        row = {"created_at": CREATED, **values}
        if table != "student_features":
            row = {"id": uuid.UUID(int=(0xABC << 100) + number), **row}
        self.rows.setdefault(table, []).append(row)
        return row["id"].hex if "id" in row else ""

    def student(self, number: str, **values: Any) -> uuid.UUID:
        """A student; the id."""
        row = {"first_name": f"First{number}", "last_name": f"Last{number}", "date_of_birth": dt.date(2012, 5, 17)}
        return uuid.UUID(
            self.add("students", district_id=number, **{**row, "enrollment_date": dt.date(2024, 9, 2)} | values)
        )

    def write(self, further: Iterable[str] = ()) -> None:
        """Make the tables and write the rows."""
        engine = create_engine(self.url)
        with engine.begin() as connection:
            for statement in (*ddl(engine.dialect.name), *further):
                connection.exec_driver_sql(statement)
            for table in sorted(self.rows, key=_ORDER.index):
                for row in self.rows[table]:
                    _insert(connection, table, row)
        engine.dispose()


_ORDER = list(re.findall(r"CREATE TABLE (\w+)", DDL))


def _insert(connection: sa.Connection, table: str, row: Mapping[str, Any]) -> None:
    sqlite = connection.dialect.name == "sqlite"
    values = {}
    for name, value in row.items():
        if isinstance(value, uuid.UUID):
            value = value.hex if sqlite else str(value)  # noqa: PLW2901
        elif isinstance(value, dt.datetime):
            value = f"{value:%Y-%m-%d %H:%M:%S.%f}" + ("" if sqlite else "+00")  # noqa: PLW2901
        elif isinstance(value, dt.date):
            value = value.isoformat()  # noqa: PLW2901
        values[name] = value
    places = ", ".join(f":{name}" for name in values)
    connection.execute(sa.text(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({places})"), values)


def tenant_in(home: Path, name: str = "riverside") -> TenantSettings:
    """The district that the database is adopted for."""
    return TenantSettings(
        name=name, timezone="America/Chicago", first_week=dt.date(2024, 9, 2), landing=home / "landing" / name
    )


def district(url: str) -> Version1:
    """One of each thing that version 1.0 let in."""
    old = Version1(url)
    anna = old.student("S1", gpa=3.48, attendance_rate=0.48, student_metadata='{"lunch": "free"}')
    ben = old.student("S2", enrollment_date=None)
    cleo = old.student("S3", enrollment_date=None)
    old.student("S4", date_of_birth=dt.date(2025, 3, 1))  # born after it was created

    def attend(student: uuid.UUID | None, day: str, status: str | None = "present", **more: Any) -> None:
        old.add("attendance_records", student_id=student, date=dt.date.fromisoformat(day), status=status, **more)

    for day in ("2024-09-03", "2024-09-04", "2024-10-01"):
        attend(anna, day)
    attend(anna, "2024-10-02", "absent", period=1)
    attend(anna, "2024-10-02", "present", period=2)
    attend(ben, "2024-09-10", "tardy")
    attend(ben, "2024-09-10", "tardy")  # alike
    attend(ben, "2024-09-11", "absent")
    attend(ben, "2024-09-11", "present")  # contradicting
    attend(None, "2024-09-12")
    attend(ben, "2024-09-13", None)
    attend(ben, "2024-09-16", period=-1)
    attend(ben, "2025-01-11")  # the day after its creation
    for letter in (None, None, "B"):
        old.add(
            "grades",
            student_id=anna,
            course_id="MATH",
            course_name="Mathematics",
            grade_value=87.1,
            grade_letter=letter,
            submission_date=dt.date(2024, 10, 4),
            assignment_type="test",
        )
    old.add("grades", student_id=None, course_id="MATH", submission_date=dt.date(2024, 10, 4))
    for severity in (2, 2, None):
        old.add(
            "discipline_incidents",
            student_id=ben,
            incident_date=dt.date(2024, 10, 8),
            severity_level=severity,
            incident_type="disruption",
            description='Threw a "ball", then\nleft.',
        )
    for day in (dt.date(2024, 10, 9), dt.date(2024, 10, 16)):
        old.add("student_features", student_id=anna, feature_date=day, attendance_rate=0.5, feature_vector="{}")
    old.add("model_metadata", model_version="v1", model_type="gru", is_active=True, performance_metrics='{"auc": 0.9}')

    def predict(student: uuid.UUID | None, when: dt.datetime, model: str | None = "v1", **more: Any) -> uuid.UUID:
        values = {"risk_score": 0.48, "risk_category": "medium", "confidence": 0.9, **more}
        return uuid.UUID(
            old.add("predictions", student_id=student, prediction_date=when, model_version=model, **values)
        )

    older = predict(anna, dt.datetime(2024, 10, 8, 15, tzinfo=dt.UTC))
    newer = predict(anna, dt.datetime(2024, 10, 10, 15, tzinfo=dt.UTC), risk_score=0.52)
    predict(anna, dt.datetime(2024, 10, 10, 15, tzinfo=dt.UTC), "gone")
    predict(cleo, dt.datetime(2024, 10, 14, 2, tzinfo=dt.UTC), None)  # still Sunday in Chicago
    predict(None, dt.datetime(2024, 10, 14, 15, tzinfo=dt.UTC))
    predict(cleo, dt.datetime(2024, 10, 15, 15, tzinfo=dt.UTC), risk_score=None)
    for prediction in (older, newer):
        old.add(
            "training_feedback",
            prediction_id=prediction,
            outcome_date=dt.date(2024, 12, 2),
            feedback_type="true_positive",
            educator_notes="Spoke to the family.",
        )
    return old
