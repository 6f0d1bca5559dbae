"""Every table of the house, declared once: the seed's eight, and those the house needs. Plain Python data.

Where a declaration departs from the seed's DDL the comment says why; indexes of the seed that only repeat another are
listed in `dropped_indexes` with the reason. Rules between rows (unknown student, conflicts, future dates) are not
constraints of a table; they are in `ingest`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, get_args

from edupulse_pipelines.schema.declaration import Check, Column, ColumnType, ForeignKey, Index, Record, Table, Unique

ATTENDANCE_STATUSES = ("present", "absent", "tardy", "excused")
EXIT_TYPES = ("completed", "transferred", "dropped_out", "failed", "other")
RISK_CATEGORIES = ("low", "medium", "high", "critical")
FEEDBACK_TYPES = ("true_positive", "false_positive", "true_negative", "false_negative")
ERASED_STUDENT = "erased_student"
"""What is counted beside the accounts of rows that were left out, because their student has been erased."""
ACCOUNTS = ("read", "inserted", "updated", "unchanged", "quarantined")
"""What the account of a delivery counts: read = inserted + updated + unchanged + quarantined."""
ENROLLMENT_ORIGINS = ("sent", "student", "assumed")
"""Where an enrolment comes from: a delivery of enrollments, an entry date of students, or neither said when."""
ARCHIVED, LOADED, REFUSED, SUPERSEDED, WITHDRAWN = "archived", "loaded", "refused", "superseded", "withdrawn"
FILE_STATUSES = (ARCHIVED, LOADED, REFUSED, SUPERSEDED, WITHDRAWN)
"""What can have become of a file: kept and not loaded yet; in its table; unreadable; replaced by another content;
unreadable and taken out of the landing folder by a person."""
KNOWN = "known"
"""What a run says of a file that an earlier one has archived; the manifest keeps the file's status."""
EVALUATION_SCOPES = ("validation", "week", "unseen_students", "matured", "health")
DISCLOSURE_KINDS = ("inspection", "research", "aggregates")
"""What can be given out: what is held of one student, a de-identified data set, or counts."""
DecisionKind = Literal["gate", "promote", "rollback", "sync"]
"""Who decided about a model: the gate after a training, a person who promoted a model or went back to one, or the
mending of what MLflow and `model_metadata` disagreed about."""
DECISION_KINDS: tuple[DecisionKind, ...] = get_args(DecisionKind)
Stage = Literal["weekly_activity", "enrolled_days", "student_features"]
"""What a mark in `pending_updates` asks to recompute: rows of a table, or the days of rows that weekly activity has,
as a student's enrolment has changed."""
UPDATE_STAGES: tuple[Stage, ...] = get_args(Stage)

_REPEATS_PRIMARY_KEY = "repeats the primary key"

_ID = Column(name="id", type="guid", default="uuid", comment="System-generated, time-ordered identifier.")
_TENANT = Column(name="tenant_id", type="text", length=50, comment="The school district that owns the row.")
_STUDENT = Column(name="student_id", type="guid", comment="The student the row is about.")
_DELIVERED_ON = Column(
    name="delivered_on", type="date", bookkeeping=True, comment="Date of the newest delivery that held this record."
)
_FIELD_DELIVERIES = Column(
    name="field_deliveries",
    type="json",
    bookkeeping=True,
    nullable=True,
    comment=(
        "For fields that the newest delivery did not carry: the date of the newest delivery that did (null: none yet). "
        "NULL when every field is as new as the row; it keeps the result independent of the order of deliveries."
    ),
)
_CREATED = Column(
    name="created_at", type="timestamp", default="now", bookkeeping=True, comment="When the row was first written."
)
_UPDATED = Column(
    name="updated_at",
    type="timestamp",
    default="now",
    bookkeeping=True,
    comment="When the row last changed; kept by the database.",
)
_DELETED_ON = Column(
    name="deleted_on",
    type="date",
    nullable=True,
    comment="Delivery that took the record back (`_deleted`, or missing from a full snapshot); NULL while it stands.",
)
_FIRST_DELIVERED_ON = Column(
    name="first_delivered_on",
    type="date",
    bookkeeping=True,
    comment="Date of the oldest delivery that held this record.",
)
CHANGE_ID = "change_id"
"""The column of every audited table that names what wrote the row as it is."""
STATEMENTS_OF_A_CHANGE = 1 << 20
"""A number in `change_id` is that of the change times this, plus that of the statement within the change."""
_CHANGE = Column(
    name=CHANGE_ID,
    type="integer",
    maximum=9223372036854775807,
    default="change",
    bookkeeping=True,
    comment=(
        "What wrote the row as it is: the number of the change (`audit_changes`) times 1,048,576, plus that of the "
        "statement (`audit_entries`). 0: from before changes were on record, or (SQLite) not by the pipelines."
    ),
)
_OF_STUDENT = ForeignKey(("tenant_id", "student_id"), "students", ("tenant_id", "id"))
_SOURCE_RECORD = Column(
    name="source_record_id",
    type="text",
    length=100,
    nullable=True,
    coded=True,
    delivered=True,
    comment="The source system's own identifier of the record; with it a changed record is an update.",
)
_RECORD_KEY = Column(
    name="record_key",
    type="text",
    length=110,
    comment=(
        "Identity across deliveries: `id:` + source record id (of incidents with the student's number, since one may "
        "concern several), else `hash:` + content hash + occurrence number."
    ),
)

STUDENTS = Table(
    name="students",
    comment="Central table of students: demographics and enrolment.",
    columns=(
        _ID,
        _TENANT,
        Column(
            name="district_id",
            type="text",
            length=50,
            pii="direct",
            delivered=True,
            comment="The student's number within the district.",
        ),
        Column(name="first_name", type="text", length=100, pii="direct", delivered=True, comment="Given name."),
        Column(name="last_name", type="text", length=100, pii="direct", delivered=True, comment="Family name."),
        Column(
            name="grade_level",
            type="integer",
            nullable=True,
            minimum=0,
            maximum=12,
            pii="indirect",
            delivered=True,
            codes_in="grade_levels",
            comment="Current grade, 0 (kindergarten) to 12.",
        ),
        Column(name="date_of_birth", type="date", pii="direct", delivered=True, comment="Date of birth."),
        Column(
            name="gender",
            type="text",
            length=10,
            nullable=True,
            pii="indirect",
            coded=True,
            delivered=True,
            comment="Gender as recorded.",
        ),
        Column(
            name="ethnicity",
            type="text",
            length=100,
            nullable=True,
            pii="indirect",
            coded=True,
            delivered=True,
            comment="Ethnicity as recorded; for equity analysis only.",
        ),
        Column(
            name="socioeconomic_status",
            type="text",
            length=50,
            nullable=True,
            pii="indirect",
            coded=True,
            delivered=True,
            comment="Socioeconomic status as recorded; for equity analysis only.",
        ),
        Column(
            name="gpa",
            type="number",
            nullable=True,
            minimum=0,
            maximum=5,
            maximum_unweighted=4,
            pii="indirect",
            delivered=True,
            comment="Grade point average as delivered: an undated snapshot, stored and never a feature.",
        ),
        Column(
            name="attendance_rate",
            type="number",
            nullable=True,
            minimum=0,
            maximum=1,
            pii="indirect",
            delivered=True,
            comment="Attendance rate as delivered: an undated snapshot, stored and never a feature.",
        ),
        Column(
            name="parent_contact",
            type="text",
            length=200,
            nullable=True,
            pii="direct",
            delivered=True,
            comment="How to reach a parent or guardian.",
        ),
        Column(
            name="enrollment_date",
            type="date",
            default="today",
            pii="indirect",
            delivered=True,
            comment=(
                "Newest first day of enrolment that was sent; the first delivery's date when the district does not "
                "say. For people: what is computed comes from `enrollments`."
            ),
        ),
        Column(
            name="exit_date",
            type="date",
            nullable=True,
            pii="indirect",
            delivered=True,
            comment="Newest first day of being enrolled no more that was sent; for people, as the enrollment date.",
        ),
        Column(
            name="exit_type",
            type="text",
            length=20,
            values=EXIT_TYPES,
            nullable=True,
            pii="indirect",
            delivered=True,
            comment="Why the student left.",
        ),
        Column(
            name="student_metadata",
            type="json",
            nullable=True,
            default="empty_object",
            pii="indirect",
            delivered=True,
            comment="Further facts of the district, as a JSON object.",
        ),
        _DELIVERED_ON,
        _FIELD_DELIVERIES,
        _CREATED,
        _UPDATED,
        _DELETED_ON,
    ),
    record=Record(key=("district_id",), never_ahead=("date_of_birth",), first_delivery="enrollment_date"),
    primary_key=("id",),
    uniques=(Unique(("tenant_id", "district_id")), Unique(("tenant_id", "id"))),
    indexes=(Index(("tenant_id", "grade_level")), Index(("tenant_id", "enrollment_date"))),
    dropped_indexes={
        "idx_students_district_id": "repeats the unique constraint on (tenant_id, district_id)",
        "idx_students_created_at": "no query orders or filters students by creation time",
    },
)

SCHOOLS = Table(
    name="schools",
    comment="The district's schools.",
    columns=(
        _ID,
        _TENANT,
        Column(
            name="school_id", type="text", length=50, coded=True, delivered=True, comment="The district's number of it."
        ),
        Column(
            name="name",
            type="text",
            length=200,
            nullable=True,
            coded=True,
            delivered=True,
            comment="The school's name.",
        ),
        Column(
            name="level",
            type="text",
            length=50,
            nullable=True,
            coded=True,
            delivered=True,
            comment="Kind of school, in the district's words: elementary, middle, high, …",
        ),
        Column(
            name="lowest_grade",
            type="text",
            length=20,
            nullable=True,
            coded=True,
            delivered=True,
            comment="Lowest grade taught, as the district writes it (`0`, `PK`, …).",
        ),
        Column(
            name="highest_grade",
            type="text",
            length=20,
            nullable=True,
            coded=True,
            delivered=True,
            comment="Highest grade taught, as the district writes it.",
        ),
        _FIRST_DELIVERED_ON,
        _DELIVERED_ON,
        _FIELD_DELIVERIES,
        _CREATED,
        _UPDATED,
        _DELETED_ON,
    ),
    record=Record(key=("school_id",), describes_only=True),
    primary_key=("id",),
    uniques=(Unique(("tenant_id", "school_id")),),
)

ENROLLMENTS = Table(
    name="enrollments",
    comment="Since when and until when each student is enrolled, and where: one row a student, school and entry.",
    columns=(
        _ID,
        _TENANT,
        _STUDENT,
        Column(
            name="school_id",
            type="text",
            length=50,
            nullable=True,
            pii="indirect",
            coded=True,
            delivered=True,
            comment="The school; NULL where the district does not say. Checked against `schools` once it sends any.",
        ),
        Column(name="entry_date", type="date", pii="indirect", delivered=True, comment="First day of the enrolment."),
        Column(
            name="exit_date",
            type="date",
            nullable=True,
            pii="indirect",
            delivered=True,
            comment="First day on which the enrolment holds no more; NULL while it does.",
        ),
        Column(
            name="exit_type",
            type="text",
            length=20,
            values=EXIT_TYPES,
            nullable=True,
            pii="indirect",
            delivered=True,
            comment="Why the enrolment ended.",
        ),
        Column(
            name="grade_level",
            type="integer",
            nullable=True,
            minimum=0,
            maximum=12,
            pii="indirect",
            delivered=True,
            comment="Grade at this school, 0 (kindergarten) to 12.",
        ),
        Column(
            name="is_primary",
            type="boolean",
            nullable=True,
            delivered=True,
            comment="Whether it is the student's main school, where there are several at a time; NULL: not said.",
        ),
        Column(
            name="source_record_id",
            type="text",
            length=100,
            nullable=True,
            coded=True,
            delivered=True,
            comment="The source system's own identifier of the enrolment.",
        ),
        Column(
            name="origin",
            type="text",
            length=10,
            values=ENROLLMENT_ORIGINS,
            comment=(
                "`sent`: a delivery of enrollments. `student`: an `enrollment_date` of a delivery of students. "
                "`assumed`: none was sent; it begins with the first recorded event, or else the first delivery."
            ),
        ),
        _FIRST_DELIVERED_ON,
        Column(
            name="delivered_on",
            type="date",
            bookkeeping=True,
            comment=(
                "Date of the newest delivery that held this record; of those that were not `sent`, of the oldest one "
                "that said what it says now."
            ),
        ),
        _FIELD_DELIVERIES,
        _CREATED,
        _UPDATED,
        _DELETED_ON,
        Column(
            name="taken_back_for",
            type="text",
            nullable=True,
            pii="direct",
            comment="Why a person took it back by command; free text.",
        ),
    ),
    record=Record(key=("district_id", "school_id", "entry_date"), refers_to="students", counts_from="entry_date"),
    primary_key=("id",),
    uniques=(Unique(("student_id", "school_id", "entry_date"), coalesce=("school_id",)),),
    foreign_keys=(_OF_STUDENT,),
    indexes=(Index(("tenant_id", "school_id")),),
)

ENROLLMENT_STATEMENTS = Table(
    name="enrollment_statements",
    comment=(
        "What deliveries of students said of entry and exit, each distinct statement once; the enrolments that were "
        "not sent themselves are made of them, whatever order the deliveries came in."
    ),
    columns=(
        _TENANT,
        _STUDENT,
        Column(
            name="said",
            type="text",
            length=50,
            pii="indirect",
            comment=(
                "`entry/exit/exit type` as delivered, dates in ISO form. An empty entry was not said; an empty exit "
                "says that there is none, and `?` that nothing was said of it."
            ),
        ),
        _FIRST_DELIVERED_ON,
        Column(name="delivered_on", type="date", bookkeeping=True, comment="Date of the newest delivery that said so."),
    ),
    primary_key=("student_id", "said"),
    foreign_keys=(_OF_STUDENT,),
    indexes=(Index(("tenant_id", "delivered_on")),),
)

ATTENDANCE_RECORDS = Table(
    name="attendance_records",
    comment="Attendance, one row per student, day and, where the district records them, period and school.",
    columns=(
        _ID,
        _TENANT,
        _STUDENT,
        Column(name="date", type="date", pii="indirect", delivered=True, comment="School day."),
        Column(
            name="status",
            type="text",
            length=20,
            values=ATTENDANCE_STATUSES,
            pii="indirect",
            delivered=True,
            comment="present and tardy are attended; absent is unexcused; excused is kept apart.",
        ),
        Column(
            name="period",
            type="integer",
            nullable=True,
            minimum=0,
            maximum=2147483647,
            delivered=True,
            comment="Period of the day; NULL where attendance is daily.",
        ),
        _DELIVERED_ON,
        _CREATED,
        _UPDATED,
        _DELETED_ON,
        Column(
            name="minutes_absent",
            type="integer",
            nullable=True,
            minimum=0,
            maximum=1440,
            pii="indirect",
            delivered=True,
            comment="Minutes of the session that the student missed; NULL where they are not sent.",
        ),
        Column(
            name="minutes_possible",
            type="integer",
            nullable=True,
            minimum=1,
            maximum=1440,
            delivered=True,
            comment="Minutes of the session; NULL where they are not sent.",
        ),
        _FIELD_DELIVERIES,
        Column(
            name="school_id",
            type="text",
            length=50,
            nullable=True,
            pii="indirect",
            coded=True,
            delivered=True,
            comment="Where the session was; NULL where nobody says: then the enrolment of that day says it when asked.",
        ),
    ),
    record=Record(
        key=("district_id", "date", "period", "school_id"),
        refers_to="students",
        event_date="date",
        within=(("minutes_absent", "minutes_possible"),),
        domain="attendance",
    ),
    # (id, date) and not id alone: PostgreSQL wants the partition column in the key of a table partitioned by month.
    partition_by_month="date",
    primary_key=("id", "date"),
    # A plain UNIQUE lets duplicates through when period is NULL. Without the tenant, which the student's id implies,
    # and with the day before the tenant: comparing the same text first made each index cost twice as much to build.
    uniques=(Unique(("student_id", "date", "period", "school_id"), coalesce=("period", "school_id")),),
    foreign_keys=(_OF_STUDENT,),
    indexes=(Index(("date", "tenant_id")),),
    dropped_indexes={
        "idx_attendance_student_date": "a prefix of the unique index on (student_id, date, period, school_id)",
        "idx_attendance_status": "four values, most rows have one of them; no query is about a status of all days",
    },
)

ATTENDANCE_STATEMENTS = Table(
    name="attendance_statements",
    comment=(
        "Sessions of which some deliveries name the school and some do not: what each of them said. The records of "
        "such a session are made of it, one or several, whatever order the deliveries came in."
    ),
    columns=(
        _TENANT,
        _STUDENT,
        Column(name="date", type="date", pii="indirect", comment="School day."),
        Column(name="period", type="integer", comment="Period of the day; -1 where attendance is daily."),
        Column(
            name="said",
            type="json",
            pii="indirect",
            comment="By school (empty: none named) the record that these deliveries alone would make.",
        ),
        Column(
            name="at_several",
            type="boolean",
            comment="Whether the student was enrolled at several schools on that day when the records were made.",
        ),
    ),
    primary_key=("student_id", "date", "period"),
    foreign_keys=(_OF_STUDENT,),
    indexes=(Index(("tenant_id", "date")),),
)

GRADES = Table(
    name="grades",
    comment="Graded work, one row per student and assignment.",
    columns=(
        _ID,
        _TENANT,
        _STUDENT,
        _RECORD_KEY,
        _SOURCE_RECORD,
        Column(
            name="course_id",
            type="text",
            length=50,
            coded=True,
            delivered=True,
            comment="The district's course identifier.",
        ),
        Column(
            name="course_name",
            type="text",
            length=200,
            nullable=True,
            coded=True,
            delivered=True,
            comment="The course's title.",
        ),
        Column(
            name="grade_value",
            type="number",
            nullable=True,
            minimum=0,
            maximum=100,
            pii="indirect",
            delivered=True,
            comment="Score in percent, 0 to 100.",
        ),
        Column(
            name="grade_letter",
            type="text",
            length=2,
            nullable=True,
            pii="indirect",
            coded=True,
            delivered=True,
            comment="Letter grade.",
        ),
        Column(
            name="submission_date",
            type="date",
            pii="indirect",
            delivered=True,
            comment="The day the work was handed in.",
        ),
        Column(
            name="assignment_type",
            type="text",
            length=50,
            nullable=True,
            coded=True,
            delivered=True,
            comment="test, homework, project, …",
        ),
        _DELIVERED_ON,
        _FIELD_DELIVERIES,
        _CREATED,
        _UPDATED,
        _DELETED_ON,
        _CHANGE,
        Column(
            name="assignment_id",
            type="text",
            length=100,
            nullable=True,
            coded=True,
            identifies=False,
            delivered=True,
            comment="The piece of work: classmates who had the same one have the same value. Optional.",
        ),
        Column(
            name="due_date",
            type="date",
            nullable=True,
            pii="indirect",
            identifies=False,
            delivered=True,
            comment="The day by which the work had to be handed in; may lie ahead. Optional.",
        ),
    ),
    record=Record(refers_to="students", event_date="submission_date", domain="academic"),
    primary_key=("id",),
    uniques=(Unique(("tenant_id", "record_key")),),
    foreign_keys=(_OF_STUDENT,),
    indexes=(Index(("tenant_id", "student_id", "submission_date")), Index(("tenant_id", "course_id"))),
    dropped_indexes={
        "idx_grades_student_course": "a student's grades are read by date; the index on submission_date serves",
        "idx_grades_submission_date": "queries by date name the tenant and its students",
        "idx_grades_assignment_type": "no query filters by assignment type alone",
    },
)

DISCIPLINE_INCIDENTS = Table(
    name="discipline_incidents",
    comment="Behavioural incidents with their severity.",
    columns=(
        _ID,
        _TENANT,
        _STUDENT,
        _RECORD_KEY,
        _SOURCE_RECORD,
        Column(name="incident_date", type="date", pii="indirect", delivered=True, comment="The day of the incident."),
        Column(
            name="severity_level",
            type="integer",
            minimum=1,
            maximum=5,
            pii="indirect",
            delivered=True,
            comment="1 minor, 2 moderate, 3 serious, 4 major, 5 critical.",
        ),
        Column(
            name="incident_type",
            type="text",
            length=100,
            nullable=True,
            pii="indirect",
            delivered=True,
            comment="Kind of incident.",
        ),
        Column(
            name="description",
            type="text",
            nullable=True,
            pii="direct",
            delivered=True,
            comment="Free text; may name people.",
        ),
        Column(
            name="resolution",
            type="text",
            length=200,
            nullable=True,
            pii="indirect",
            delivered=True,
            comment="What was done.",
        ),
        _DELIVERED_ON,
        _FIELD_DELIVERIES,
        _CREATED,
        _UPDATED,
        _DELETED_ON,
    ),
    record=Record(refers_to="students", event_date="incident_date", domain="behavioral", one_per_student=True),
    primary_key=("id",),
    uniques=(Unique(("tenant_id", "record_key")),),
    foreign_keys=(_OF_STUDENT,),
    indexes=(Index(("tenant_id", "student_id", "incident_date")), Index(("tenant_id", "incident_date"))),
    dropped_indexes={
        "idx_discipline_severity": "five values; no query filters by severity alone",
        "idx_discipline_type": "no query filters by type alone",
    },
)

STUDENT_FEATURES = Table(
    name="student_features",
    comment="The feature vector of each enrolled student at the end of each school week.",
    columns=(
        _TENANT,
        _STUDENT,
        Column(name="feature_date", type="date", comment="The Sunday that closes the school week: the as-of date."),
        Column(
            name="attendance_rate",
            type="number",
            nullable=True,
            minimum=0,
            maximum=1,
            pii="indirect",
            comment="Share of recorded sessions attended over the last four school weeks.",
        ),
        Column(
            name="gpa_current",
            type="number",
            nullable=True,
            minimum=0,
            maximum=5,
            pii="indirect",
            comment="Grade points of the mean grade over the last four school weeks (4.0 scale).",
        ),
        # No default of 0 as in the seed: a district that sends no discipline data has unknown, not zero, incidents.
        Column(
            name="discipline_incidents",
            type="integer",
            nullable=True,
            minimum=0,
            maximum=2147483647,
            pii="indirect",
            comment="Incidents over the last four school weeks; NULL when the district sends none.",
        ),
        Column(
            name="feature_vector",
            type="json",
            nullable=True,
            pii="indirect",
            comment="Weekly series, trends, metadata and the named features of the model.",
        ),
        _CREATED,
        _UPDATED,
    ),
    audit="reference",
    primary_key=("student_id", "feature_date"),
    foreign_keys=(_OF_STUDENT,),
    indexes=(Index(("tenant_id", "feature_date")),),
    dropped_indexes={
        "idx_features_student_date": _REPEATS_PRIMARY_KEY,
        "UNIQUE(student_id, feature_date)": _REPEATS_PRIMARY_KEY,
    },
)

MODEL_METADATA = Table(
    name="model_metadata",
    comment="Every model version trained, mirrored from the MLflow registry.",
    columns=(
        _ID,
        _TENANT,
        Column(name="model_version", type="text", length=50, comment="Version, unique within the tenant."),
        Column(name="model_type", type="text", length=50, nullable=True, comment="Kind of model."),
        Column(name="training_date", type="timestamp", default="now", comment="When it was trained."),
        Column(
            name="performance_metrics",
            type="json",
            nullable=True,
            default="empty_object",
            comment="Metrics on the validation weeks, beside those of the simple rule.",
        ),
        Column(
            name="hyperparameters",
            type="json",
            nullable=True,
            default="empty_object",
            comment="What it was made with and of: settings, weeks, configuration, coefficients, references.",
        ),
        Column(name="is_active", type="boolean", default="false", comment="Whether it is the tenant's champion."),
        _CREATED,
        _UPDATED,
        Column(
            name="data_through",
            type="date",
            nullable=True,
            comment="Monday of the newest school week whose data it was trained with.",
        ),
        Column(name="data_hash", type="text", length=64, nullable=True, comment="SHA-256 of its ordered samples."),
        Column(
            name="settings_hash",
            type="text",
            length=64,
            nullable=True,
            comment="SHA-256 of the settings that decide a model.",
        ),
        Column(
            name="promoted",
            type="boolean",
            default="false",
            comment="Whether it may score: it passed the promotion gate, or a person said so.",
        ),
        Column(
            name="set_aside",
            type="boolean",
            default="false",
            comment="Whether its files are gone for good: kept for its predictions, never chosen again.",
        ),
        Column(name="mlflow_run_id", type="text", length=64, nullable=True, comment="MLflow's id of its run."),
        Column(name="mlflow_model_id", type="text", length=64, nullable=True, comment="MLflow's id of the model."),
        Column(
            name="registered_model",
            type="text",
            length=255,
            nullable=True,
            comment="Name of the registered model in MLflow.",
        ),
        Column(
            name="registry_version",
            type="text",
            length=20,
            nullable=True,
            comment="Version of the registered model; NULL when it was set aside.",
        ),
        Column(
            name="artifact_sha256",
            type="text",
            length=64,
            nullable=True,
            comment="SHA-256 of the model's files, as they were logged.",
        ),
        Column(name="artifact_uri", type="text", nullable=True, comment="Where the model's files lie."),
        Column(
            name="label_hash",
            type="text",
            length=64,
            nullable=True,
            comment="Hash of the definition of the label that it learned; figures of another label are not comparable.",
        ),
    ),
    primary_key=("id",),
    # Two active models would make the champion ambiguous.
    uniques=(Unique(("tenant_id", "model_version")), Unique(("tenant_id",), where="is_active")),
    dropped_indexes={
        "idx_model_version": "repeats the unique constraint on (tenant_id, model_version)",
        "idx_model_active": "the partial unique index on the active model serves it",
        "idx_model_training_date": "a tenant has tens of models; no index pays",
    },
)

PREDICTIONS = Table(
    name="predictions",
    comment="What a model, or the rule, says of a student in a school week: category, probability and explanation.",
    columns=(
        _ID,
        _TENANT,
        _STUDENT,
        Column(name="feature_date", type="date", comment="As-of date of the features that were scored."),
        Column(
            name="prediction_date",
            type="timestamp",
            default="now",
            comment="When the student was first scored for the week by this model.",
        ),
        Column(
            name="risk_score",
            type="number",
            nullable=True,
            minimum=0,
            maximum=1,
            pii="indirect",
            comment=(
                "How likely the event is that the district wants to prevent: 0 (never) to 1 (certain). NULL: the rule "
                "scored before anything was known of which probabilities could be learned."
            ),
        ),
        Column(
            name="risk_category",
            type="text",
            length=20,
            values=RISK_CATEGORIES,
            pii="indirect",
            comment=(
                "The score in words, from bounds that the district has set (without a probability from those of the "
                "rule's score); high and critical are flagged."
            ),
        ),
        Column(
            name="confidence",
            type="number",
            nullable=True,
            minimum=0,
            maximum=1,
            comment=(
                "How sure the model is that flagged, or not flagged, is right: of past predictions with so much, at "
                "least this share was. The less is known of the student, the lower. NULL without a probability."
            ),
        ),
        Column(
            name="risk_factors",
            type="json",
            nullable=True,
            default="empty_list",
            pii="indirect",
            comment="What raised or lowered the score, with the largest contribution first.",
        ),
        Column(name="model_version", type="text", length=50, coded=True, comment="The model that scored."),
        Column(
            name="rescored",
            type="boolean",
            default="false",
            comment="Scored on request by a model that may have been trained on this very week.",
        ),
        _CREATED,
        _UPDATED,
        Column(
            name="rule_score",
            type="number",
            nullable=True,
            minimum=0,
            pii="indirect",
            comment=(
                "The graded score of the rule: 0 far from every threshold, 1 as at one of them, more beyond. It makes "
                "the order of a list where probabilities are equal or missing. NULL where a model scored."
            ),
        ),
    ),
    primary_key=("id",),
    uniques=(Unique(("tenant_id", "student_id", "feature_date", "model_version")), Unique(("tenant_id", "id"))),
    foreign_keys=(
        _OF_STUDENT,
        ForeignKey(("tenant_id", "model_version"), "model_metadata", ("tenant_id", "model_version")),
    ),
    indexes=(Index(("tenant_id", "feature_date", "risk_category")), Index(("tenant_id", "model_version"))),
    checks=(
        Check("probability", "(risk_score IS NULL) = (confidence IS NULL)"),
        Check("order", "risk_score IS NOT NULL OR rule_score IS NOT NULL"),
    ),
    dropped_indexes={
        "idx_predictions_student": "a prefix of the unique constraint on (tenant_id, student_id, …)",
        "idx_predictions_date": "lists go by feature_date; the index on (tenant_id, feature_date, …) serves them",
        "idx_predictions_risk_category": "four values; part of the index on feature_date",
    },
)

TRAINING_FEEDBACK = Table(
    name="training_feedback",
    comment="Educators' verdicts on predictions.",
    columns=(
        _ID,
        _TENANT,
        Column(name="prediction_id", type="guid", delivered=True, comment="The prediction that is judged."),
        _RECORD_KEY,
        Column(
            name="outcome_date",
            type="date",
            nullable=True,
            pii="indirect",
            delivered=True,
            comment="When the outcome was known.",
        ),
        Column(
            name="outcome_type",
            type="text",
            length=50,
            nullable=True,
            pii="indirect",
            delivered=True,
            comment="What happened.",
        ),
        Column(
            name="feedback_type",
            type="text",
            length=50,
            values=FEEDBACK_TYPES,
            nullable=True,
            pii="indirect",
            delivered=True,
            comment="The verdict.",
        ),
        Column(
            name="educator_notes",
            type="text",
            nullable=True,
            pii="direct",
            delivered=True,
            comment="Free text; may name people.",
        ),
        _DELIVERED_ON,
        _CREATED,
        _UPDATED,
        _DELETED_ON,
        Column(
            name="reviewer",
            type="text",
            length=100,
            nullable=True,
            pii="direct",
            delivered=True,
            comment="Who judged; a name, a role or a number, as the district likes.",
        ),
    ),
    record=Record(refers_to="predictions", further_events=("outcome_date",)),
    primary_key=("id",),
    uniques=(Unique(("tenant_id", "record_key")),),
    foreign_keys=(ForeignKey(("tenant_id", "prediction_id"), "predictions", ("tenant_id", "id")),),
    indexes=(Index(("tenant_id", "prediction_id")),),
    dropped_indexes={
        "idx_feedback_type": "four values; no index pays",
        "idx_feedback_outcome_date": "a district has hundreds of verdicts a year; no index pays",
    },
)

MODEL_EVALUATIONS = Table(
    name="model_evaluations",
    comment="Every measured figure of every model in long form: one row a model, as-of week, metric and subgroup.",
    columns=(
        _TENANT,
        Column(name="model_version", type="text", length=50, comment="The model version it belongs to."),
        Column(
            name="candidate",
            type="text",
            length=50,
            comment="Whose scores: `logistic`, `additive`, `boosting`, `rule`, or `champion` (the one at that time).",
        ),
        Column(
            name="scope",
            type="text",
            length=20,
            values=EVALUATION_SCOPES,
            comment=(
                "`validation`: all held-out weeks together; `week`: one of them; `unseen_students`: held-out weeks and "
                "held-out students; `matured`: scores as they were given, once their outcomes are known; `health`: "
                "drift."
            ),
        ),
        Column(name="as_of_date", type="date", comment="Sunday of the as-of week; of several weeks, of the last one."),
        Column(name="metric", type="text", length=50, comment="Name of the metric, as in `risk.judging.evaluation`."),
        Column(
            name="parameter",
            type="text",
            length=100,
            comment="What the metric is taken at, such as `k10` or a feature; empty where there is none.",
        ),
        Column(
            name="subgroup", type="text", length=100, comment="`attribute=value`; empty for everybody in the cohort."
        ),
        Column(
            name="value", type="number", nullable=True, comment="NULL: not defined, or a subgroup too small to show."
        ),
        Column(
            name="samples",
            type="integer",
            nullable=True,
            minimum=0,
            maximum=9223372036854775807,
            comment="Student-weeks it was measured on; NULL for a subgroup too small to show.",
        ),
        Column(name="evaluated_at", type="timestamp", default="now", comment="When it was measured."),
    ),
    primary_key=(
        "tenant_id",
        "model_version",
        "candidate",
        "scope",
        "as_of_date",
        "metric",
        "parameter",
        "subgroup",
    ),
    foreign_keys=(ForeignKey(("tenant_id", "model_version"), "model_metadata", ("tenant_id", "model_version")),),
)

PROMOTION_DECISIONS = Table(
    name="promotion_decisions",
    comment="Who became champion, who did not, and why: every decision of the gate and of people, with its numbers.",
    columns=(
        _ID,
        _TENANT,
        Column(name="model_version", type="text", length=50, comment="The model that was decided about."),
        Column(
            name="kind",
            type="text",
            length=20,
            values=DECISION_KINDS,
            comment="`gate`: by the rules; `promote`, `rollback`, `sync`: by a person's command.",
        ),
        Column(name="promoted", type="boolean", comment="Whether the model passed."),
        Column(
            name="previous_version",
            type="text",
            length=50,
            nullable=True,
            comment="The champion before; NULL when there was none.",
        ),
        Column(name="reason", type="text", comment="The decision in words."),
        Column(name="numbers", type="json", default="empty_object", comment="Every figure that it rests on."),
        Column(name="decided_at", type="timestamp", default="now", comment="When it was decided."),
        Column(name="run_id", type="text", length=50, nullable=True, comment="The run that decided."),
    ),
    primary_key=("id",),
    foreign_keys=(ForeignKey(("tenant_id", "model_version"), "model_metadata", ("tenant_id", "model_version")),),
    indexes=(Index(("tenant_id", "decided_at")),),
)

REVIEW_PROPOSALS = Table(
    name="review_proposals",
    comment="Unflagged students drawn at random each week for an educator's review, so that misses can be counted.",
    columns=(
        _ID,
        _TENANT,
        Column(name="prediction_id", type="guid", comment="The prediction to judge; names student, week and model."),
        Column(name="feature_date", type="date", comment="As-of date of the week it was drawn for."),
        Column(
            name="drawn_from",
            type="integer",
            minimum=1,
            maximum=2147483647,
            comment="Unflagged students of the week it was drawn from; with the number drawn, the sampling fraction.",
        ),
        Column(name="proposed_at", type="timestamp", default="now", comment="When it was drawn."),
    ),
    primary_key=("id",),
    uniques=(Unique(("tenant_id", "prediction_id")),),
    foreign_keys=(ForeignKey(("tenant_id", "prediction_id"), "predictions", ("tenant_id", "id")),),
    indexes=(Index(("tenant_id", "feature_date")),),
)

INGESTED_FILES = Table(
    name="ingested_files",
    comment="The manifest: every file that was ever landed, and what became of its rows.",
    columns=(
        _ID,
        _TENANT,
        Column(name="table_name", type="text", length=50, comment="The record table the file is for."),
        Column(name="delivered_on", type="date", comment="Date of the delivery."),
        Column(name="file_name", type="text", length=255, comment="Name within the delivery."),
        Column(name="sha256", type="text", length=64, comment="Hash of the content."),
        Column(name="size_bytes", type="integer", minimum=0, maximum=9223372036854775807, comment="Size of the file."),
        Column(name="status", type="text", length=20, values=FILE_STATUSES, comment="What became of it."),
        Column(name="reason", type="text", length=50, nullable=True, comment="Code of the reason for a refusal."),
        Column(name="detail", type="text", nullable=True, comment="The refusal in words; never a student's value."),
        Column(
            name="unknown_columns",
            type="json",
            nullable=True,
            default="empty_list",
            comment="Header names the contract does not know.",
        ),
        Column(
            name="rows_read",
            type="integer",
            default="zero",
            minimum=0,
            maximum=9223372036854775807,
            comment="Data rows in the file.",
        ),
        Column(
            name="rows_inserted",
            type="integer",
            default="zero",
            minimum=0,
            maximum=9223372036854775807,
            comment="New records.",
        ),
        Column(
            name="rows_updated",
            type="integer",
            default="zero",
            minimum=0,
            maximum=9223372036854775807,
            comment="Changed records.",
        ),
        Column(
            name="rows_unchanged",
            type="integer",
            default="zero",
            minimum=0,
            maximum=9223372036854775807,
            comment="Rows that said nothing new.",
        ),
        Column(
            name="rows_quarantined",
            type="integer",
            default="zero",
            minimum=0,
            maximum=9223372036854775807,
            comment="Rows still in quarantine.",
        ),
        Column(name="archived_at", type="timestamp", default="now", comment="When the file was archived."),
        Column(name="loaded_at", type="timestamp", nullable=True, comment="When its rows were merged."),
        Column(name="run_id", type="text", length=50, nullable=True, comment="The run that merged it."),
        Column(
            name="source_format",
            type="text",
            length=50,
            nullable=True,
            comment="What the file was read as, such as `csv, gzip` or `OneRoster 1.2`.",
        ),
        Column(
            name="left_out",
            type="json",
            nullable=True,
            comment="Entries of the source that are no records of the table (an exempt result, say), by reason.",
        ),
        Column(
            name="snapshot",
            type="json",
            nullable=True,
            comment="The days (`from`, `to`) for which the delivery says it holds every record; NULL: what is new.",
        ),
        Column(
            name="rows_deleted",
            type="integer",
            default="zero",
            maximum=9223372036854775807,
            comment="Stored records that this file, or its absence of them from a snapshot, took back.",
        ),
        Column(
            name="confirms_only",
            type="boolean",
            default="false",
            comment=(
                "Whether its rows were not merged one by one, because the newest delivery before it said exactly the "
                "same; they are when an older delivery comes late."
            ),
        ),
        Column(
            name="landed_state",
            type="text",
            bookkeeping=True,
            length=64,
            nullable=True,
            comment=(
                "Hash of what the file system said of the landed file when its content was compared last; while it "
                "says the same, the file is not read again."
            ),
        ),
        Column(
            name="removals",
            type="json",
            nullable=True,
            comment=(
                "Of a snapshot: how many records it no longer holds (`gone`) beside those it does (`held`), and "
                "whether it is `believed` and has taken them back. NULL while that was not looked at."
            ),
        ),
        Column(
            name="rows_by_week",
            type="json",
            nullable=True,
            comment=(
                "Rows by the Monday of the school week they are dated in; from when on a domain is known rests on it. "
                "NULL where the table's records have no such date, and for files loaded before this was noted."
            ),
        ),
        Column(
            name="archive_sha256",
            type="text",
            length=64,
            nullable=True,
            comment="Hash of the archive that was written of it; NULL for one from before archives had a hash.",
        ),
        Column(
            name="rows_erased",
            type="integer",
            default="zero",
            maximum=9223372036854775807,
            comment="Rows of erased students, which the archive leaves out; they are not among those read.",
        ),
    ),
    primary_key=("id",),
    uniques=(Unique(("tenant_id", "table_name", "delivered_on", "file_name", "sha256")),),
    indexes=(Index(("tenant_id", "sha256")),),
)

ACCEPTED_REMOVALS = Table(
    name="accepted_removals",
    comment="Deliveries of which a person has said that what their snapshots no longer hold is really gone.",
    columns=(
        _TENANT,
        Column(name="delivered_on", type="date", comment="Date of the delivery."),
        Column(name="accepted_by", type="text", length=255, nullable=True, comment="Who said so, as the run knows it."),
        Column(name="accepted_at", type="timestamp", default="now", comment="When it was said."),
    ),
    primary_key=("tenant_id", "delivered_on"),
)

QUARANTINED_RECORDS = Table(
    name="quarantined_records",
    comment="Rows that were not loaded, as they came, with every reason; they can be replayed.",
    columns=(
        _ID,
        _TENANT,
        Column(name="table_name", type="text", length=50, comment="The record table the row is for."),
        Column(name="file_hash", type="text", length=64, comment="SHA-256 of the file."),
        Column(name="file_name", type="text", length=255, comment="Delivery date and file name."),
        Column(name="delivered_on", type="date", comment="Date of the delivery."),
        Column(
            name="line_number",
            type="integer",
            minimum=1,
            maximum=9223372036854775807,
            comment="The row's first line in the file; the header is line 1.",
        ),
        # JSON and not JSONB: JSONB refuses a NUL character and reorders keys, and this is the row as it came.
        Column(name="raw", type="json", exact_text=True, pii="direct", comment="The row as it came."),
        Column(name="reasons", type="json", comment="Reason codes, each `rule` or `rule:column`."),
        Column(name="quarantined_at", type="timestamp", default="now", comment="When it was quarantined."),
        Column(name="run_id", type="text", length=50, nullable=True, comment="The run that quarantined it."),
        Column(name="replayed_at", type="timestamp", nullable=True, comment="When it was loaded after all."),
        Column(
            name="superseded_at",
            type="timestamp",
            nullable=True,
            comment="When a corrected file of the same name and delivery replaced its file.",
        ),
        Column(
            name="corrected",
            type="json",
            nullable=True,
            exact_text=True,
            pii="direct",
            comment="The row as a person corrected it, by column of the file; it is loaded in place of `raw`.",
        ),
        Column(name="corrected_at", type="timestamp", nullable=True, comment="When it was corrected."),
        Column(
            name="replay_run_id", type="text", length=50, nullable=True, comment="The run that loaded it after all."
        ),
        Column(
            name="accepted_at",
            type="timestamp",
            nullable=True,
            comment="When a person said that the row is right, of one that names another child under a number.",
        ),
        Column(name="accepted_by", type="text", length=255, nullable=True, comment="Who said so."),
        Column(name="accepted_reason", type="text", nullable=True, comment="Why, as the person said it."),
    ),
    primary_key=("id",),
    # With the table: a district may deliver the same bytes under the names of two tables.
    uniques=(Unique(("tenant_id", "table_name", "file_hash", "line_number")),),
    indexes=(Index(("tenant_id", "table_name", "delivered_on")),),
)

DISPUTED_NUMBERS = Table(
    name="disputed_numbers",
    comment="Numbers under which another child was delivered: from when to when nobody knows whose records are meant.",
    columns=(
        _TENANT,
        Column(name="district_id", type="text", length=50, pii="direct", comment="The student's number."),
        Column(name="since", type="date", comment="The delivery that named another child under the number."),
        Column(
            name="until",
            type="date",
            nullable=True,
            comment="The next delivery that named the first child again; NULL while there is none.",
        ),
    ),
    primary_key=("tenant_id", "district_id", "since"),
)

STUDENT_MERGES = Table(
    name="student_merges",
    comment="Numbers that a person has said are one child's, with who said so and why.",
    columns=(
        _ID,
        _TENANT,
        Column(name="old_number", type="text", length=50, pii="direct", comment="The number that is given up."),
        Column(name="new_number", type="text", length=50, pii="direct", comment="The number of the joined child."),
        Column(name="reason", type="text", pii="direct", comment="Why they are one child, as the person said it."),
        Column(name="merged_by", type="text", length=255, nullable=True, comment="Who joined them."),
        Column(name="merged_at", type="timestamp", default="now", comment="When they were joined."),
        Column(name="undone_by", type="text", length=255, nullable=True, comment="Who took the joining back."),
        Column(name="undone_at", type="timestamp", nullable=True, comment="When it was taken back."),
        Column(name="in_force", type="boolean", comment="Whether it holds."),
        Column(
            name="moved",
            type="json",
            nullable=True,
            comment="Ids of the predictions and verdicts that went to the joined child, for taking it back.",
        ),
    ),
    primary_key=("id",),
    uniques=(Unique(("tenant_id", "old_number"), where="in_force"),),
    indexes=(Index(("tenant_id", "new_number")),),
)

INSTRUCTIONAL_DAYS = Table(
    name="instructional_days",
    comment="The school days a source's own calendar names; with them exceptions-only attendance has a denominator.",
    columns=(
        _TENANT,
        Column(name="date", type="date", comment="A day of instruction."),
        Column(
            name="delivered_on", type="date", bookkeeping=True, comment="Date of the newest delivery that named it."
        ),
    ),
    primary_key=("tenant_id", "date"),
)

_DAYS_OF_A_WEEK: tuple[tuple[str, ColumnType, str], ...] = (
    (
        "days_enrolled",
        "integer",
        "Days within an enrolment of which a session is recorded, or that the calendar names.",
    ),
    ("days_present", "integer", "Days enrolled that are no day of absence."),
    ("days_absent", "integer", "Days of absence without an excuse; tardy is present."),
    ("days_excused", "integer", "Days of absence that are excused; for chronic absence they count as well."),
    ("days_missed", "number", "What was missed of the days, in days: half a day is 0.5."),
)
WEEKLY_ACTIVITY = Table(
    name="weekly_activity",
    comment="What each student's records say about one school week; no row when they say nothing.",
    columns=(
        _TENANT,
        _STUDENT,
        Column(name="week_start", type="date", comment="Monday of the school week."),
        *(
            Column(
                name=f"sessions_{status}",
                type="integer",
                default="zero",
                minimum=0,
                maximum=2147483647,
                pii="indirect",
                comment=f"Sessions recorded as {status}.",
            )
            for status in ATTENDANCE_STATUSES
        ),
        Column(
            name="unexcused_absences",
            type="integer",
            default="zero",
            minimum=0,
            maximum=2147483647,
            pii="indirect",
            comment="School days with at least one unexcused absence.",
        ),
        Column(
            name="grade_count",
            type="integer",
            default="zero",
            minimum=0,
            maximum=2147483647,
            pii="indirect",
            comment="Graded pieces of work.",
        ),
        Column(
            name="grade_mean",
            type="number",
            nullable=True,
            minimum=0,
            maximum=100,
            pii="indirect",
            comment="Mean score, percent.",
        ),
        Column(
            name="grade_lowest",
            type="number",
            nullable=True,
            minimum=0,
            maximum=100,
            pii="indirect",
            comment="Lowest score, percent.",
        ),
        Column(
            name="incident_count",
            type="integer",
            default="zero",
            minimum=0,
            maximum=2147483647,
            pii="indirect",
            comment="Incidents.",
        ),
        Column(
            name="severity_highest",
            type="integer",
            nullable=True,
            minimum=1,
            maximum=5,
            pii="indirect",
            comment="Highest severity.",
        ),
        Column(
            name="sessions_basis",
            type="text",
            length=20,
            nullable=True,
            pii="indirect",
            comment=(
                "How the sessions were counted. NULL: as recorded. Where only absences are recorded: the days of "
                "instruction while enrolled (1 = Monday) x sessions a day, such as `12345 x 1`; or `unknown` without "
                "a calendar or delivery for the week: then no rate can be given."
            ),
        ),
        *(
            Column(name=name, type=kind, nullable=True, pii="indirect", comment=f"{meaning} NULL while unknown.")
            for name, kind, meaning in _DAYS_OF_A_WEEK
        ),
        Column(
            name="days_basis",
            type="text",
            length=20,
            nullable=True,
            comment="The rule by which sessions were made into days, such as `half`; NULL: not computed yet.",
        ),
    ),
    audit="reference",
    primary_key=("student_id", "week_start"),
    foreign_keys=(_OF_STUDENT,),
    indexes=(Index(("tenant_id", "week_start")),),
)

WEEKLY_COURSE_GRADES = Table(
    name="weekly_course_grades",
    comment="Weekly activity by course, which the label of failing a course needs.",
    columns=(
        _TENANT,
        _STUDENT,
        Column(name="week_start", type="date", comment="Monday of the school week."),
        Column(name="course_id", type="text", length=50, comment="The district's course identifier."),
        Column(
            name="grade_count",
            type="integer",
            minimum=1,
            maximum=2147483647,
            pii="indirect",
            comment="Graded pieces of work.",
        ),
        Column(
            name="grade_mean", type="number", minimum=0, maximum=100, pii="indirect", comment="Mean score, percent."
        ),
        Column(
            name="grade_lowest", type="number", minimum=0, maximum=100, pii="indirect", comment="Lowest score, percent."
        ),
    ),
    audit="reference",
    primary_key=("student_id", "week_start", "course_id"),
    foreign_keys=(_OF_STUDENT,),
    indexes=(Index(("tenant_id", "week_start")),),
)

PENDING_UPDATES = Table(
    name="pending_updates",
    comment="What has to be recomputed; written in the transaction that changed the records.",
    columns=(
        _ID,
        _TENANT,
        Column(
            name="stage",
            type="text",
            length=20,
            values=UPDATE_STAGES,
            comment="What to recompute: a table, or (`enrolled_days`) the days of rows of weekly activity.",
        ),
        Column(name="student_id", type="guid", nullable=True, comment="The student; NULL for every student."),
        Column(
            name="week_start",
            type="date",
            comment="Monday of the week; other than for weekly_activity that week and all later.",
        ),
        _CREATED,
    ),
    audit="none",
    not_audited="A queue: rows come and go as work is found and done; what was done is on record in its tables.",
    primary_key=("id",),
    foreign_keys=(_OF_STUDENT,),
    indexes=(Index(("tenant_id", "stage")), Index(("tenant_id", "student_id"))),
)

STEP_ACCOUNTS = Table(
    name="step_accounts",
    comment="What each step of a run has done so far; a step that is tried again tells what all its tries did.",
    columns=(
        _TENANT,
        Column(name="run_id", type="text", length=50, comment="The Dagster run."),
        Column(name="step", type="text", length=50, comment="The table that the step fills."),
        Column(
            name="part",
            type="text",
            length=10,
            comment="Date of the delivery, or Monday of the week, that was worked on; empty for the whole step.",
        ),
        Column(name="account", type="json", comment="Counts by name; also of codes that the profile does not map."),
        _CREATED,
    ),
    primary_key=("tenant_id", "run_id", "step", "part"),
)

DISCLOSURES = Table(
    name="disclosures",
    comment="What of students' data was given to whom: every inspection and every export. Nothing of it is changed.",
    columns=(
        _ID,
        _TENANT,
        Column(name="kind", type="text", length=20, values=DISCLOSURE_KINDS, comment="What was given."),
        Column(
            name="subject_hash",
            type="text",
            length=64,
            nullable=True,
            comment="Of an inspection: keyed hash of the student's number; it tells nothing without the key.",
        ),
        Column(name="disclosed_at", type="timestamp", default="now", comment="When."),
        Column(name="disclosed_by", type="text", length=255, comment="Who gave it."),
        Column(name="recipient", type="text", length=255, comment="To whom."),
        Column(name="purpose", type="text", comment="What for."),
        Column(name="legal_basis", type="text", length=255, comment="On what legal basis."),
        Column(name="files", type="json", comment="SHA-256 of each file that was written, by its name."),
        Column(name="counts", type="json", default="empty_object", comment="How much was given, by what it is."),
    ),
    primary_key=("id",),
    indexes=(Index(("tenant_id", "disclosed_at")),),
    append_only=True,
)

ERASURES = Table(
    name="erasures",
    comment=(
        "Erasures of students, and what retention took away: who wanted it, who approved, and how much went. No row "
        "names a student."
    ),
    columns=(
        _ID,
        _TENANT,
        Column(
            name="number_hash",
            type="text",
            length=64,
            comment="Keyed hash of the student's number; of retention, of the id of its certificate.",
        ),
        Column(name="reason", type="text", comment="Why, as the person said it."),
        Column(name="erased_by", type="text", length=255, comment="Who erased."),
        Column(name="approved_by", type="text", length=255, comment="Who approved; another person."),
        Column(name="begun_at", type="timestamp", default="now", comment="When it was begun."),
        Column(name="done_at", type="timestamp", nullable=True, comment="When all was gone; NULL while it is not."),
        Column(name="counts", type="json", default="empty_object", comment="What was taken away, by place."),
    ),
    primary_key=("id",),
    uniques=(Unique(("tenant_id", "number_hash")), Unique(("tenant_id", "id"))),
)

ERASED_KEYS = Table(
    name="erased_keys",
    comment=(
        "Keyed hashes of what names an erased student, so that a file landed again does not bring the student back."
    ),
    columns=(
        _TENANT,
        Column(name="key_hash", type="text", length=64, comment="Keyed hash of a number, an id, a name or a header."),
        Column(name="erasure_id", type="guid", comment="The erasure it belongs to."),
    ),
    primary_key=("tenant_id", "key_hash"),
    foreign_keys=(ForeignKey(("tenant_id", "erasure_id"), "erasures", ("tenant_id", "id")),),
)

LEGAL_HOLDS = Table(
    name="legal_holds",
    comment="Students whose data must be kept for now, whatever retention or an erasure would take away.",
    columns=(
        _ID,
        _TENANT,
        Column(name="district_id", type="text", length=50, pii="direct", comment="The student's number."),
        Column(name="reason", type="text", pii="direct", comment="Why, as the person said it."),
        Column(name="placed_by", type="text", length=255, comment="Who placed it."),
        Column(name="placed_at", type="timestamp", default="now", comment="When it was placed."),
        Column(name="released_by", type="text", length=255, nullable=True, comment="Who released it."),
        Column(name="released_at", type="timestamp", nullable=True, comment="When it was released."),
        Column(name="in_force", type="boolean", comment="Whether it holds."),
    ),
    primary_key=("id",),
    uniques=(Unique(("tenant_id", "district_id"), where="in_force"),),
)
_IS_THE_AUDIT = "It is the record of changes itself; it is only ever added to."
_BIGGEST = 9223372036854775807
AUDIT_CHANGES = Table(
    name="audit_changes",
    comment="Every transaction that changed an audited row: who, when, in which run; and its link in the chain.",
    columns=(
        Column(name="id", type="integer", maximum=_BIGGEST, comment="Number of the change; numbers may be left out."),
        Column(
            name="tenant_id",
            type="text",
            length=50,
            comment="The district it was made for, or whose rows it changed first; empty for none.",
        ),
        Column(name="changed_at", type="timestamp", default="now", comment="When the transaction began."),
        Column(name="actor", type="text", length=255, comment="Who asked for it, as the pipelines know it."),
        Column(
            name="database_user",
            type="text",
            length=255,
            comment="The role that was logged in; on SQLite the operating system's user.",
        ),
        Column(name="run_id", type="text", length=50, nullable=True, comment="The run that made it."),
        Column(
            name="transaction_id",
            type="integer",
            maximum=_BIGGEST,
            nullable=True,
            comment="The server's number of the transaction; NULL on SQLite.",
        ),
        Column(
            name="link_number",
            type="integer",
            maximum=_BIGGEST,
            nullable=True,
            comment="Its place in the chain, by the order in which transactions were committed.",
        ),
        Column(name="linked_at", type="timestamp", nullable=True, comment="When it was committed."),
        Column(
            name="link",
            type="text",
            length=64,
            nullable=True,
            comment="SHA-256 of the link before, of this row and of its entries. NULL only before it is committed.",
        ),
    ),
    access="audit",
    audit="none",
    not_audited=_IS_THE_AUDIT,
    primary_key=("id",),
    uniques=(Unique(("link_number",)),),
    indexes=(Index(("tenant_id", "changed_at")), Index(("run_id",))),
)

AUDIT_ENTRIES = Table(
    name="audit_entries",
    comment="What a change did to each table: one row a statement (SQLite: a table); an insert is on record by this.",
    columns=(
        Column(
            name="change_id",
            type="integer",
            maximum=_BIGGEST,
            comment="As in the rows it wrote. 0: rows that were there before changes were on record.",
        ),
        Column(name="tenant_id", type="text", length=50, comment="The district whose rows it changed."),
        Column(name="table_name", type="text", length=63, comment="The table."),
        Column(
            name="operation",
            type="text",
            length=10,
            values=("before", "insert", "update", "delete", "write", "replace", "detach", "attach", "restate"),
            comment=(
                "`before`: counted when the record began. `write` and `replace` (SQLite): rows added or changed, and "
                "those that were changed or removed. `detach`, `attach`: a month that was taken out or brought back. "
                "`restate`: what an erasure has left of the rows that another change wrote (named in `replaced`)."
            ),
        ),
        Column(name="rows", type="integer", maximum=_BIGGEST, comment="Rows it wrote, removed or moved."),
        Column(
            name="columns",
            type="integer",
            nullable=True,
            comment="How many audited columns the table had; `content` is of the first so many.",
        ),
        Column(
            name="content",
            type="text",
            length=64,
            nullable=True,
            comment="SHA-256 of the rows it wrote (of a month: of those in it), less bookkeeping columns.",
        ),
        Column(
            name="images",
            type="text",
            length=64,
            nullable=True,
            comment="SHA-256 of the hashes of what it replaced or removed (`audit_images`).",
        ),
        Column(
            name="replaced",
            type="json",
            nullable=True,
            comment=(
                "Where no images are kept, and of months: rows that left (or came back), by their `change_id`. "
                "Of `restate`: rows that are left."
            ),
        ),
    ),
    access="audit",
    audit="none",
    not_audited=_IS_THE_AUDIT,
    primary_key=("change_id", "tenant_id", "table_name", "operation"),
    indexes=(Index(("table_name",)),),
)

AUDIT_IMAGES = Table(
    name="audit_images",
    comment="Rows as they were before they were replaced or removed.",
    columns=(
        _ID,
        _TENANT,
        Column(name="table_name", type="text", length=63, comment="The table."),
        Column(name="row_key", type="text", comment="The row's key: its id, or the columns of its key, parted by `|`."),
        Column(name="student_id", type="guid", nullable=True, comment="The student it is about, where it names one."),
        Column(name="written_by", type="integer", maximum=_BIGGEST, comment="`change_id` of what wrote the row so."),
        Column(
            name="replaced_by",
            type="integer",
            maximum=_BIGGEST,
            comment="`change_id` of what replaced or removed it.",
        ),
        Column(name="image", type="json", nullable=True, pii="direct", comment="The row; NULL once it is erased."),
        Column(
            name="salt",
            type="text",
            length=32,
            nullable=True,
            comment="Random; without it nobody can guess the row from its hash. NULL once the row is erased.",
        ),
        Column(
            name="hash",
            type="text",
            length=64,
            nullable=True,
            comment="SHA-256 of salt and row. NULL (SQLite): not changed by the pipelines.",
        ),
    ),
    access="audit",
    audit="none",
    not_audited=_IS_THE_AUDIT,
    primary_key=("id",),
    indexes=(Index(("replaced_by",)), Index(("student_id",)), Index(("table_name", "row_key"))),
)


def _with_change(table: Table) -> Table:
    """The table as it is stored: one that is audited has `change_id` behind its other columns."""
    if table.audit == "none" or CHANGE_ID in table.column_names:  # there already, where columns were added later
        return table
    return replace(table, columns=(*table.columns, _CHANGE))


RETENTION_REMOVALS = Table(
    name="retention_removals",
    comment=(
        "Of which students retention has taken records or predictions away, by table: rows dated up to a day are left "
        "out when they are landed again, and nothing is computed of that time any more."
    ),
    columns=(
        _TENANT,
        _STUDENT,
        Column(name="table_name", type="text", length=50, comment="The table that rows were taken from."),
        Column(name="through", type="date", comment="Rows dated up to this day are gone: the day it was begun."),
        Column(name="removed_at", type="timestamp", nullable=True, comment="When all was gone; NULL until then."),
    ),
    primary_key=("student_id", "table_name"),
    foreign_keys=(_OF_STUDENT,),
    indexes=(Index(("tenant_id", "table_name")),),
)

RETENTION_CERTIFICATES = Table(
    name="retention_certificates",
    comment="What retention has taken away: how much, by whom, and who approved. Nothing of it is changed.",
    columns=(
        _ID,
        _TENANT,
        Column(name="signed_at", type="timestamp", default="now", comment="When all was gone."),
        Column(name="executed_by", type="text", length=255, comment="Who executed it."),
        Column(name="approved_by", type="text", length=255, comment="Who approved; another person."),
        Column(name="reason", type="text", comment="Why, as the person said it."),
        Column(
            name="document",
            type="json",
            exact_text=True,
            comment="The certificate itself: periods, counts, hashes of what is gone, the last backup, what remains.",
        ),
        Column(name="sha256", type="text", length=64, comment="Hash of the certificate's file, which is the document."),
    ),
    primary_key=("id",),
    indexes=(Index(("tenant_id", "signed_at")),),
    append_only=True,
)

TABLES: dict[str, Table] = {
    table.name: _with_change(table)
    for table in (
        STUDENTS,
        SCHOOLS,
        ENROLLMENTS,
        ENROLLMENT_STATEMENTS,
        ATTENDANCE_RECORDS,
        ATTENDANCE_STATEMENTS,
        GRADES,
        DISCIPLINE_INCIDENTS,
        STUDENT_FEATURES,
        MODEL_METADATA,
        PREDICTIONS,
        TRAINING_FEEDBACK,
        MODEL_EVALUATIONS,
        PROMOTION_DECISIONS,
        REVIEW_PROPOSALS,
        INGESTED_FILES,
        ACCEPTED_REMOVALS,
        QUARANTINED_RECORDS,
        DISPUTED_NUMBERS,
        STUDENT_MERGES,
        INSTRUCTIONAL_DAYS,
        WEEKLY_ACTIVITY,
        WEEKLY_COURSE_GRADES,
        PENDING_UPDATES,
        STEP_ACCOUNTS,
        DISCLOSURES,
        ERASURES,
        ERASED_KEYS,
        LEGAL_HOLDS,
        AUDIT_CHANGES,
        AUDIT_ENTRIES,
        AUDIT_IMAGES,
        RETENTION_REMOVALS,
        RETENTION_CERTIFICATES,
    )
}
"""Every table by name, in an order in which they can be created."""

RECORD_TABLES: tuple[str, ...] = tuple(name for name, table in TABLES.items() if table.record is not None)
"""The tables a district delivers, in the order in which they are loaded."""

AUDITED: tuple[str, ...] = tuple(name for name, table in TABLES.items() if table.audit != "none")
"""The tables whose changes are on record."""
