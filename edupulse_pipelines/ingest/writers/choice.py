"""Which writer a table has."""

from __future__ import annotations

from edupulse_pipelines.ingest.writers.attendance import AttendanceWriter
from edupulse_pipelines.ingest.writers.enrollments import EnrollmentWriter
from edupulse_pipelines.ingest.writers.feedback import FeedbackWriter
from edupulse_pipelines.ingest.writers.records import RecordWriter
from edupulse_pipelines.ingest.writers.students import StudentWriter

_WRITERS: dict[str, type[RecordWriter] | type[AttendanceWriter]] = {
    "students": StudentWriter,
    "attendance_records": AttendanceWriter,
    "enrollments": EnrollmentWriter,
    "training_feedback": FeedbackWriter,
}


def writer_of(table: str) -> type[RecordWriter] | type[AttendanceWriter]:
    """The writer of a table's deliveries; a table of records without one of its own has the general one."""
    return _WRITERS.get(table, RecordWriter)
