"""What `load_settings` accepts, and that each mistake is answered with the file and the key it is in."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from edupulse_pipelines.errors import ConfigurationError
from edupulse_pipelines.schema.tables import EXIT_TYPES
from edupulse_pipelines.settings import LabelSettings, ProfileSettings, load_settings, normalise_database_url
from edupulse_pipelines.settings.protected import protected_by
from edupulse_pipelines.settings.retention import RetentionSettings

PROFILE = "[tenants.lakeside.profile]\n"
TERM = "[tenants.lakeside.calendar]\nterms = [{ start = 2025-09-01, end = 2026-06-12 }]\n"
GOOD = {"timezone": '"America/New_York"', "first_week": "2025-09-01"}


def written(home: Path, *, extra: str = "", **keys: str) -> Path:
    """An `edupulse.toml` with one tenant; a key with an empty text is left out."""
    lines = [f"{key} = {value}" for key, value in {**GOOD, **keys}.items() if value]
    path = home / "edupulse.toml"
    path.write_text("\n".join(["[tenants.lakeside]", *lines, extra]), encoding="utf-8")
    return path


def test_nothing_set_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("EDUPULSE_HOME", "EDUPULSE_DATABASE_URL", "EDUPULSE_CONFIG", "MLFLOW_TRACKING_URI"):
        monkeypatch.setenv(name, "")  # an empty variable is one that is not set
    settings = load_settings()
    assert settings.home == tmp_path / ".edupulse"
    assert settings.database_url == f"sqlite:///{tmp_path}/.edupulse/edupulse.db"
    assert settings.tracking_uri == f"sqlite:///{tmp_path}/.edupulse/mlflow/mlflow.db"
    assert settings.tenants == {}
    assert not settings.home.exists(), "reading settings makes nothing"
    with pytest.raises(ConfigurationError, match=r"No tenant 'x' in .*edupulse\.toml \(there are: none\)"):
        settings.tenant("x")
    (tenant,) = load_settings(placeholder=True).tenants.values()
    assert (tenant.name, tenant.first_week.weekday()) == ("demo", 0)


def test_a_tenant_and_its_defaults(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        extra=(
            "max_quarantined = 0\ngrading_scale = 'weighted'\n[tenants.lakeside.label]\nincident_count = false\n"
            "exit_types = []\nhorizon_weeks = 4\n[tenants.hill-side]\ntimezone = 'UTC'\nfirst_week = '2025-09-01'\n"
        ),
    )
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())  # as an editor may save it
    settings = load_settings(home=tmp_path)
    lakeside, hillside = settings.tenants.values()
    assert lakeside.landing == tmp_path / "landing" / "lakeside"
    assert (lakeside.max_quarantined, lakeside.grading_scale, lakeside.label.horizon_weeks) == (0, "weighted", 4)
    assert (lakeside.label.incident_count, lakeside.label.exit_types, lakeside.label.serious_severity) == (None, (), 4)
    assert (hillside.first_week, hillside.max_quarantined, hillside.identifier) == (
        dt.date(2025, 9, 1), 0.1, "hill_side"
    )  # fmt: skip
    assert hillside.cohort.minimum_weeks_of_data == 4


def test_a_profile_in_each_spelling(tmp_path: Path) -> None:
    written(
        tmp_path,
        extra="""
        [tenants.lakeside.profile]
        encoding = "UTF-16"
        delimiter = "Semicolon"
        date_format = "%d.%m.%Y %H:%M"
        decimal = ","
        missing_date_of_birth = 1900-01-01
        extra_credit = "quarantine"
        columns.students = { "Student Number" = "district_id", "status" = "" }
        codes."attendance_records.status" = { P = "present", "A*" = "absent" }
        codes.discipline_incidents.severity_level = { LOW = 1, "10" = "5" }
        codes.students = { gender = { "9" = "" } }
        grade_levels = { PK = "", KG = 0, "13" = "12" }
        letter_grades = { "A+" = 98.5, F = 0 }
        """,
    )
    profile = load_settings(home=tmp_path).tenant("lakeside").profile
    assert (profile.encoding, profile.delimiter, profile.date_format, profile.decimal, profile.iso_dates) == (
        "utf-16", ";", "%d.%m.%Y %H:%M", ",", False
    )  # fmt: skip
    assert profile.codes == {
        "attendance_records": {"status": {"P": "present", "A*": "absent"}},
        "discipline_incidents": {"severity_level": {"LOW": "1", "10": "5"}},
        "students": {"gender": {"9": ""}},
    }
    assert profile.grade_levels == {"PK": "", "KG": "0", "13": "12"}
    assert profile.letter_grades == {"A+": 98.5, "F": 0}
    assert (profile.missing_date_of_birth, profile.extra_credit) == (dt.date(1900, 1, 1), "quarantine")
    assert [profile.canonical_name("students", name) for name in ("Student Number", "gpa", "status", "x")] == [
        "district_id", "gpa", "unused:status", "x"
    ]  # fmt: skip
    assert profile.canonical_name("grades", "Student Number") == "Student Number"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("iso", "%Y-%m-%d"),
        ("YYYY-MM-DD", "%Y-%m-%d"),
        ("%Y-%m-%d", "%Y-%m-%d"),
        ("M/D/YYYY", "%m/%d/%Y"),
        ("DD-MMM-YYYY", "%d-%b-%Y"),
        ("%Y%m%d", "%Y%m%d"),
    ],
)
def test_date_formats_in_one_spelling(given: str, expected: str) -> None:
    profile = ProfileSettings(date_format=given)
    assert profile.date_format == expected
    assert profile.iso_dates == (expected == "%Y-%m-%d")


def test_attendance_and_its_calendar(tmp_path: Path) -> None:
    extra = (
        "[tenants.lakeside.attendance]\nrecording = 'exceptions'\nsessions_per_day = 6\n"
        f"{TERM}holidays = [2025-12-25, {{ start = 2026-04-03, end = '2026-04-06' }}]\nextra_days = [2026-01-10]\n"
        "[tenants.hillside]\ntimezone = 'UTC'\nfirst_week = 2025-09-01\n"
    )
    written(tmp_path, extra=extra)
    lakeside, hillside = load_settings(home=tmp_path).tenants.values()
    assert (lakeside.attendance.recording, lakeside.attendance.sessions_per_day) == ("exceptions", 6)
    calendar = lakeside.calendar
    spans = [(span.start.isoformat(), span.end.isoformat()) for span in (*calendar.terms, *calendar.holidays)]
    assert spans == [
        ("2025-09-01", "2026-06-12"),
        ("2025-12-25", "2025-12-25"),
        ("2026-04-03", "2026-04-06"),
    ]
    assert calendar.weekdays == ("monday", "tuesday", "wednesday", "thursday", "friday")
    assert calendar.extra_days == (dt.date(2026, 1, 10),)
    assert (hillside.attendance.recording, hillside.attendance.sessions_per_day) == ("auto", 1)
    assert hillside.calendar.terms == ()


def test_feedback_and_review(tmp_path: Path) -> None:
    tables = "[tenants.lakeside.feedback]\nprevented = [' Helped ']\n[tenants.lakeside.review]\nweekly_sample = 0\n"
    written(tmp_path, extra=tables + "[tenants.hill]\ntimezone = 'UTC'\nfirst_week = '2025-09-01'\n")
    lakeside, hill = load_settings(home=tmp_path).tenants.values()
    assert (lakeside.feedback.prevented, lakeside.review.weekly_sample) == (("helped",), 0)
    assert (hill.feedback.prevented[0], hill.review.weekly_sample) == ("prevented", 5)


def test_what_a_model_is_made_of_by_default(tmp_path: Path) -> None:
    written(tmp_path)
    tenant = load_settings(home=tmp_path).tenant("lakeside")
    assert (tenant.label.horizon_weeks, tenant.label.weeks) == (8, 8)
    assert (tenant.label.rule, tenant.label.attendance_below, tenant.label.failing_below) == ("federal", None, 60)
    assert tenant.label.exit_types == ("dropped_out", "failed")
    assert (tenant.cohort.group_by, tenant.cohort.starts) == ((), {})
    assert (tenant.inputs.record, tenant.inputs.metadata) == (None, {})
    training, promotion = tenant.training, tenant.promotion
    assert training.candidates == ("logistic", "additive", "boosting", "averaged")
    assert (training.tuning_fits, training.max_training_rows, training.retrain_weeks) == (24, 300_000, 8)
    assert (training.retrain_on_feedback, training.retrain_on_drift) == (50, 0.25)
    assert (training.minimum_train_per_class, training.minimum_validation_per_class) == (10, 3)
    assert (promotion.minimum_auc, promotion.capacity, promotion.certainty) == (0.5, 0.1, 0.8)
    assert (promotion.calibration_error, promotion.fnr_gap, promotion.maximum_false_negative_rate) == (0.1, None, None)
    assert (promotion.recall_ratio, promotion.subgroup_calibration) == (0.8, 0.1)
    assert tenant.audit.pairs[:2] == (("gender", "ethnicity"), ("gender", "socioeconomic_status"))
    assert len(tenant.audit.pairs) == 6
    assert (promotion.bootstrap, promotion.minimum_subgroup) == (500, 10)


def test_until_the_exit(tmp_path: Path) -> None:
    written(
        tmp_path,
        extra=(
            "[tenants.lakeside.label]\nhorizon_weeks = 'exit'\nattendance_below = false\nexit_types = ['failed']\n"
            "[tenants.hill]\ntimezone = 'UTC'\nfirst_week = '2025-09-01'\nlabel.horizon_weeks = 'exit'\n"
        ),
    )
    for tenant, exit_types in zip(
        load_settings(home=tmp_path).tenants.values(), [("failed",), ("dropped_out", "failed")], strict=True
    ):
        label = tenant.label
        assert (label.horizon_weeks, label.weeks, label.exit_types) == ("exit", None, exit_types)
        # A bad month tells nobody apart until the exit.
        assert (label.attendance_below, label.failing_below, label.serious_severity, label.incident_count) == (
            (None,) * 4
        )
        assert LabelSettings.model_validate(label.model_dump(mode="json")) == label


def test_groups_and_inputs(tmp_path: Path) -> None:
    written(
        tmp_path,
        extra=(
            "[tenants.lakeside.cohort]\ngroup_by = ['module', 'presentation']\n"
            "starts = { 2013B = 2025-02-01, 'AAA/2013J' = '2025-10-01' }\n"
            "[tenants.lakeside.inputs]\nrecord = ['classmates_ahead', 'attendance_rate_4w']\n"
            "metadata = { previous_attempts = 'number', education = ['none', 'A level', 'degree'] }\n"
            "[tenants.lakeside.training]\ncandidates = ['additive']\ntuning_fits = 0\n"
            "[tenants.lakeside.promotion]\nmaximum_false_negative_rate = false\ncapacity = 0.05\n"
        ),
    )
    tenant = load_settings(home=tmp_path).tenant("lakeside")
    spring, autumn = dt.date(2025, 2, 1), dt.date(2025, 10, 1)
    groups = [("AAA", "2013B"), ("AAA", "2013J"), ("BBB", "2013J"), ("", ""), ("2013B", "AAA")]
    assert [tenant.cohort.start_of(one) for one in groups] == [spring, autumn, None, None, spring]
    assert tenant.inputs.record == ("classmates_ahead", "attendance_rate_4w")
    assert tenant.inputs.metadata == {"previous_attempts": "number", "education": ("none", "A level", "degree")}
    assert (tenant.training.candidates, tenant.training.tuning_fits) == (("additive",), 0)
    assert (tenant.promotion.maximum_false_negative_rate, tenant.promotion.capacity) == (None, 0.05)


def test_a_protected_input_needs_a_written_reason_and_others_do_not(tmp_path: Path) -> None:
    written(
        tmp_path,
        extra=(
            "[tenants.lakeside.inputs]\nmetadata = { age = 'number', previous_attempts = 'number' }\n"
            "reasons = { age = 'Adults in evening classes; the board decided so in 2025.' }\n"
            "[tenants.lakeside.audit]\nsubgroups = ['gender', 'ethnicity']\nintersections = 'none'\n"
            "[tenants.lakeside.promotion]\nfnr_gap = 0.3\n"
        ),
    )
    tenant = load_settings(home=tmp_path).tenant("lakeside")
    assert list(tenant.inputs.metadata) == ["age", "previous_attempts"]
    assert (tenant.audit.pairs, tenant.promotion.fnr_gap) == ((), 0.3)


@pytest.mark.parametrize(
    ("name", "about"),
    [
        ("DateOfBirth", "age"),
        ("AGE_BAND", "age"),
        ("plan504", "disability"),
        ("special-education", "disability"),
        ("englishLearner", "language"),
        ("home_language", "language"),
        ("free_lunch", "poverty"),
        ("zip5", "where the student lives"),
        ("num_of_prev_attempts", None),
        ("highest_education", None),
        ("studied_credits", None),
        ("page_views", None),
        ("distance", None),
        ("language_arts_hours", "language"),  # a reason is soon written
    ],
)
def test_what_a_name_stands_for(name: str, about: str | None) -> None:
    assert protected_by(name) == about


def test_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "config"
    folder.mkdir()
    path = written(folder, landing='"../in coming/x"')
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("EDUPULSE_CONFIG", "../config/edupulse.toml")
    monkeypatch.setenv("EDUPULSE_HOME", "home")
    settings = load_settings()
    assert settings.home == elsewhere / "home"
    assert settings.config_path.resolve() == path
    assert settings.tenant("lakeside").landing.resolve() == tmp_path / "in coming" / "x"
    assert load_settings(home=tmp_path).home == tmp_path, "an option wins over the environment"
    written(folder, landing='"/srv/landing"')
    assert load_settings().tenant("lakeside").landing == Path("/srv/landing")
    monkeypatch.setenv("HOME", str(tmp_path))
    written(folder, landing='"~/landing"')
    assert load_settings().tenant("lakeside").landing == tmp_path / "landing"


@pytest.mark.parametrize(
    ("keys", "extra", "key"),
    [
        ({"timezone": ""}, "", "timezone"),
        (
            {},
            "[tenants.lakeside.retention]\nstudent_features = 2",
            "retention: student_features has no period of its own",
        ),
        ({}, "[tenants.lakeside.retention]\nschools = 2", "retention: schools has no rows that end with a student's"),
        ({}, "[tenants.lakeside.retention]\nmarks = 2", "retention: marks is no table; periods are for students"),
        ({}, "[tenants.lakeside.retention]\ngrades = true", "retention.grades: true is not a value"),
        (
            {},
            "[tenants.lakeside.retention]\ngrades = 0",
            "retention.grades: otherwise: years are a whole number",
        ),
        ({}, "[tenants.lakeside.retention]\ngrades = 1.5", "retention.grades: otherwise: years are a whole number"),
        ({}, '[tenants.lakeside.retention]\ngrades = "5"', "retention.grades: otherwise: years are a whole number"),
        ({}, "[tenants.lakeside.retention]\ngrades = {}", "retention.grades: no kind of exit has a period"),
        ({}, "[tenants.lakeside.retention]\ngrades = { moved = 2 }", "retention.grades: 'moved' is no kind of exit"),
        (
            {},
            "[tenants.lakeside.retention]\nstudents = 3\ngrades = 5",
            "retention: grades would be kept longer than students",
        ),
        (
            {},
            "[tenants.lakeside.retention]\npredictions = 1\ntraining_feedback = { other = 2 }",
            "retention: training_feedback would be kept longer than predictions (other",
        ),
        ({"timezone": '"Mars/Olympus"'}, "", "timezone"),
        ({"timezone": '""'}, "", "timezone"),
        ({"timezone": '"../../etc/passwd"'}, "", "timezone"),
        ({"timezone": "5"}, "", "timezone"),
        ({"first_week": ""}, "", "first_week"),
        ({"first_week": "2025-09-02"}, "", "first_week: 2025-09-02 is a Tuesday"),
        ({"first_week": "20250901"}, "", "first_week"),
        ({"first_week": "345600"}, "", "first_week"),  # seconds since 1970: a Monday
        ({"first_week": "true"}, "", "first_week"),
        ({"first_week": '"soon"'}, "", "first_week"),
        ({"first_week": "2025-09-01T00:00:00"}, "", "first_week"),
        ({"landing": "5"}, "", "landing"),
        ({"landing": '""'}, "", "landing"),
        ({"landing": '["a"]'}, "", "landing"),
        ({"name": '"hillside"'}, "", "name"),
        ({"max_quarantined": "1.5"}, "", "max_quarantined"),
        ({"max_quarantined": "-0.1"}, "", "max_quarantined"),
        ({"max_quarantined": "nan"}, "", "max_quarantined"),
        ({"max_quarantined": "true"}, "", "max_quarantined"),
        ({"max_quarantined": '"10 %"'}, "", "max_quarantined"),
        ({"max_quarantine": "0.2"}, "", "max_quarantine"),
        ({"grading_scale": '"4.0"'}, "", "grading_scale"),
        ({"label": "5"}, "", "label"),
        ({}, "[tenants.lakeside.label]\nhorizon_weeks = 0", "label.horizon_weeks"),
        ({}, "[tenants.lakeside.label]\nhorizon_weeks = true", "label.horizon_weeks"),
        ({}, "[tenants.lakeside.label]\nhorizon = 8", "label.horizon"),
        ({}, "[tenants.lakeside.label]\nattendance_below = 90", "label.attendance_below"),
        ({}, "[tenants.lakeside.label]\nattendance_below = true", "label.attendance_below"),
        ({}, "[tenants.lakeside.label]\nexit_types = ['moved']", "label.exit_types"),
        (
            {},
            "[tenants.lakeside.label]\nattendance_below = false\nfailing_below = false\nserious_severity = false\n"
            "incident_count = false\nexit_types = []",
            "label: every adverse event is switched off",
        ),
        ({}, "[tenants.lakeside.cohort]\nminimum_weeks_of_data = 0", "cohort.minimum_weeks_of_data"),
        ({}, "[tenants.lakeside.label]\nhorizon_weeks = 'end'", "label.horizon_weeks"),
        ({}, "[tenants.lakeside.label]\nhorizon_weeks = 53", "label.horizon_weeks"),
        (
            {},
            "[tenants.lakeside.label]\nhorizon_weeks = 'exit'\nfailing_below = 50",
            'label: failing_below: with horizon_weeks = "exit" only exit_types count; remove it',
        ),
        (
            {},
            "[tenants.lakeside.label]\nhorizon_weeks = 'exit'\nincident_count = 3\nserious_severity = false",
            "label: incident_count: with horizon_weeks",
        ),
        (
            {},
            "[tenants.lakeside.label]\nhorizon_weeks = 'exit'\nexit_types = []",
            "label: every adverse event is switched off",
        ),
        ({}, "[tenants.lakeside.cohort]\nstarts = { a = 2025-09-01 }", "cohort: starts without group_by"),
        ({}, "[tenants.lakeside.cohort]\ngroup_by = ['m']\nstarts = { a = 20250901 }", "cohort.starts.a: not a date"),
        ({}, "[tenants.lakeside.cohort]\ngroup_by = 'module'", "cohort.group_by"),
        ({}, "[tenants.lakeside.inputs]\nmetadata = { gender = ['F', 'M'] }", "inputs.metadata: gender is an audit"),
        ({}, "[tenants.lakeside.inputs]\nmetadata = { Race = 'number' }", "inputs.metadata: Race is an audit"),
        ({}, "[tenants.lakeside.inputs]\nmetadata = { ethnicity = ['x'] }", "inputs.metadata: ethnicity is an audit"),
        (
            {},
            "[tenants.lakeside.inputs]\nmetadata = { socioeconomic_status = ['low', 'high'] }",
            "inputs.metadata: socioeconomic_status is an audit",
        ),
        ({}, "[tenants.lakeside.inputs]\nmetadata = { terms = 'text' }", "inputs.metadata.terms"),
        (
            {},
            "[tenants.lakeside.audit]\nsubgroups = ['gender', 'sex']",
            "audit.subgroups: 'sex' is nothing to audit by; there are gender, ethnicity, socioeconomic_status, "
            "grade_level, and metadata.<key> for a key of student_metadata",
        ),
        ({}, "[tenants.lakeside.audit]\nsubgroups = ['metadata.']", "audit.subgroups: 'metadata.' is nothing to"),
        ({}, "[tenants.lakeside.audit]\nsubgroups = ['special_education']", "audit.subgroups: 'special_education' is"),
        ({}, "[tenants.lakeside.audit]\nsubgroups = ['gender', 'gender']", "audit.subgroups: 'gender' is named twice"),
        ({}, "[tenants.lakeside.audit]\nsubgroups = []", "audit.subgroups"),
        (
            {},
            f"[tenants.lakeside.audit]\nsubgroups = ['metadata.{'a' * 60}']",
            "audit.subgroups: metadata.aaaaaaaaaaa…: a name",
        ),
        ({}, "[tenants.lakeside.audit]\nsubgroup = ['gender']", "audit.subgroup"),
        ({}, "[tenants.lakeside.inputs]\nrecord = []", "inputs.record"),
        (
            {},
            "[tenants.lakeside.inputs]\nmetadata = { age = 'number' }",
            "inputs: metadata: age is protected or stands for it (age)",
        ),
        (
            {},
            "[tenants.lakeside.inputs]\nmetadata = { ageBand = ['a', 'b'] }\nreasons = { ageBand = 'because' }",
            "inputs: metadata: ageBand is protected or stands for it (age)",
        ),
        (
            {},
            "[tenants.lakeside.inputs]\nmetadata = { imd_band = ['a', 'b'] }",
            "inputs: metadata: imd_band is protected or stands for it (poverty)",
        ),
        (
            {},
            "[tenants.lakeside.inputs]\nmetadata = { has_iep = 'number' }",
            "inputs: metadata: has_iep is protected or stands for it (disability)",
        ),
        (
            {},
            "[tenants.lakeside.inputs]\nreasons = { age = 'Older students enrol later.' }",
            "inputs: reasons: age is no input",
        ),
        ({}, "[tenants.lakeside.promotion]\nrecall_ratio = 0.5", "promotion.recall_ratio"),
        (
            {},
            "[tenants.lakeside.audit]\nintersections = [['gender', 'age']]",
            "audit: intersections: 'age' is not among the subgroups",
        ),
        (
            {},
            "[tenants.lakeside.audit]\nintersections = [['gender', 'gender']]",
            "audit: intersections: 'gender' with itself",
        ),
        ({}, "[tenants.lakeside.training]\ncandidates = []", "training.candidates"),
        ({}, "[tenants.lakeside.training]\ncandidates = ['forest']", "training.candidates.0"),
        ({}, "[tenants.lakeside.training]\ntuning_fits = -1", "training.tuning_fits"),
        ({}, "[tenants.lakeside.training]\nmax_training_rows = 10", "training.max_training_rows"),
        ({}, "[tenants.lakeside.training]\nretrain_on_drift = 0", "training.retrain_on_drift"),
        ({}, "[tenants.lakeside.promotion]\ncapacity = 0", "promotion.capacity"),
        ({}, "[tenants.lakeside.promotion]\ncertainty = 0.4", "promotion.certainty"),
        ({}, "[tenants.lakeside.promotion]\nmaximum_false_negative_rate = true", "promotion.maximum_false_negative"),
        ({}, "[tenants.lakeside.promotion]\nbootstrap = 5", "promotion.bootstrap"),
        ({}, "[tenants.lakeside.categories]\nmedium = 0.6", "categories: medium, high and critical must ascend"),
        ({}, "[tenants.lakeside.training]\nminimum_train_per_class = 1", "training.minimum_train_per_class"),
        ({}, "[tenants.lakeside.promotion]\nminimum_auc = 70", "promotion.minimum_auc"),
        ({}, "[tenants.lakeside.files]\nmax_file_gib = 0", "files.max_file_gib"),
        ({}, "[tenants.lakeside.files]\nmax_compression_ratio = 0.5", "files.max_compression_ratio"),
        ({}, "[tenants.lakeside.models]\nkind = 'x'", "models"),
        ({}, "[tenants.lakeside.attendance]\nrecording = 'absences'", "attendance.recording"),
        ({}, "[tenants.lakeside.attendance]\nsessions_per_day = 0", "attendance.sessions_per_day"),
        ({}, "[tenants.lakeside.calendar]\nterms = [{ start = 2025-09-01 }]", "calendar.terms.0.end"),
        ({}, "[tenants.lakeside.calendar]\nterms = [{ start = 5, end = 2025-09-01 }]", "calendar.terms.0.start: not a"),
        (
            {},
            "[tenants.lakeside.calendar]\nterms = [{ start = 2025-09-02, end = 2025-09-01 }]",
            "calendar.terms.0: the end 2025-09-01 lies before",
        ),
        ({}, "[tenants.lakeside.calendar]\nholidays = [2025-12-25]", "calendar: holidays without terms"),
        ({}, f"{TERM}weekdays = []", "calendar.weekdays"),
        ({}, f"{TERM}weekdays = ['Mon']", "calendar.weekdays.0"),
        ({}, f"{TERM}holidays = ['Christmas']", "calendar.holidays.0"),
        ({}, f"{TERM}extra_days = [2025-12-25T08:00:00]", "calendar.extra_days.0: not a date"),
        ({}, PROFILE + "encoding = 'ascii'", "profile.encoding"),
        ({}, PROFILE + "delimiter = ':'", "profile.delimiter"),
        ({}, PROFILE + "delimiter = true", "profile.delimiter"),
        ({}, PROFILE + "decimal = ' '", "profile.decimal"),
        ({}, PROFILE + "quote = ' '", "profile.quote"),
        ({}, PROFILE + "date_format = ''", "profile.date_format"),
        ({}, PROFILE + "date_format = '%d/%m'", "profile.date_format: a date format names the year once"),
        ({}, PROFILE + "date_format = '%Y-%m-%b-%d'", "profile.date_format: a date format names the month once"),
        ({}, PROFILE + "date_format = 'MM/YYYY'", "profile.date_format: a date format names the day once"),
        ({}, PROFILE + "date_format = '%d/%m/%y'", "profile.date_format: a year of two digits is a guess"),
        ({}, PROFILE + "date_format = 'DD.MM.YY'", "profile.date_format: a year of two digits is a guess"),
        ({}, PROFILE + "date_format = '%Y-%j'", "profile.date_format: %j is not understood"),
        ({}, PROFILE + "date_format = '%Y-%m-%d%'", "profile.date_format: % is not understood"),
        ({}, PROFILE + "date_format = 'YYYY-MM-DD hh:mm'", "profile.date_format: spell it as strptime does"),
        ({}, PROFILE + "missing_date_of_birth = 'guess'", "profile.missing_date_of_birth: neither"),
        ({}, PROFILE + "missing_date_of_birth = 1900", "profile.missing_date_of_birth: neither"),
        (
            {},
            PROFILE + "missing_date_of_birth = 2010-01-01",
            "profile.missing_date_of_birth: the marker must lie before",
        ),
        ({}, PROFILE + "extra_credit = 'drop'", "profile.extra_credit"),
        ({}, PROFILE + "columns.pupils = {}", "profile.columns: pupils: not a table"),
        (
            {},
            PROFILE + "columns.grades = { Score = 'score' }",
            "profile.columns: grades.Score: 'score' is not a column",
        ),
        ({}, PROFILE + "columns.grades = { '' = 'course_id' }", "profile.columns: grades: a column without a name"),
        ({}, PROFILE + "columns.grades = { Score = 5 }", "profile.columns.grades.Score"),
        ({}, PROFILE + "codes = 5", "profile.codes: must be a table"),
        ({}, PROFILE + "codes.pupils.status = { A = 'absent' }", "profile.codes: pupils: not a table"),
        (
            {},
            PROFILE + "codes.grades.status = { A = 'absent' }",
            "profile.codes: grades.status: not a column of grades",
        ),
        (
            {},
            PROFILE + "codes.'grades.status' = { A = 'absent' }",
            "profile.codes: grades.status: not a column of grades",
        ),
        ({}, PROFILE + "codes.grades = 5", "profile.codes: grades: must be a table"),
        ({}, PROFILE + "codes.grades.course_id = 5", "profile.codes: grades.course_id: must be a table"),
        (
            {},
            PROFILE + "codes.'students.gender' = { F = 'f' }\ncodes.students.gender = { M = 'm' }",
            "profile.codes: students.gender is declared twice",
        ),
        (
            {},
            PROFILE + "codes.attendance_records.status = { A = 'away' }",
            "profile.codes: attendance_records.status: A = 'away': not one of present, absent, tardy, excused",
        ),
        (
            {},
            PROFILE + "codes.attendance_records.status = { A = '' }",
            "profile.codes: attendance_records.status: A = '': this column cannot be left empty",
        ),
        (
            {},
            PROFILE + "codes.attendance_records.status = { A = true }",
            "profile.codes: attendance_records.status: A: not a text or a number",
        ),
        (
            {},
            PROFILE + "codes.attendance_records.status = { '' = 'present' }",
            "profile.codes: attendance_records.status: an empty field is no code",
        ),
        (
            {},
            PROFILE + "codes.discipline_incidents.severity_level = { HIGH = 6 }",
            "profile.codes: discipline_incidents.severity_level: HIGH = '6': not from 1 to 5",
        ),
        (
            {},
            PROFILE + "codes.discipline_incidents.severity_level = { HIGH = 4.5 }",
            "profile.codes: discipline_incidents.severity_level: HIGH = '4.5': not an integer",
        ),
        (
            {},
            PROFILE + "codes.grades.grade_value = { A = 'nan' }",
            "profile.codes: grades.grade_value: A = 'nan': not a n",
        ),
        (
            {},
            PROFILE + "codes.students.gender = { X = 'not specified' }",
            "profile.codes: students.gender: X = 'not speci",
        ),
        (
            {},
            PROFILE + "codes.students.first_name = { A = 'B' }",
            "profile.codes: students.first_name: this column holds",
        ),
        (
            {},
            PROFILE + "codes.grades.submission_date = { A = 'B' }",
            "profile.codes: grades.submission_date: this column",
        ),
        (
            {},
            PROFILE + "codes.students.grade_level = { KG = 0 }",
            "profile.codes: students.grade_level: grade levels are",
        ),
        ({}, PROFILE + "grade_levels = { PK = -1 }", "profile.grade_levels: PK = '-1': not an integer"),
        ({}, PROFILE + "grade_levels = { PG = 13 }", "profile.grade_levels: PG = '13': not from 0 to 12"),
        ({}, PROFILE + "grade_levels = { KG = false }", "profile.grade_levels: KG: not a text or a number"),
        ({}, PROFILE + "grade_levels = ['KG']", "profile.grade_levels: must be a table"),
        ({}, PROFILE + "letter_grades = { A = 101 }", "profile.letter_grades: A: not a percentage"),
        ({}, PROFILE + "letter_grades = { A = nan }", "profile.letter_grades: A: not a percentage"),
        ({}, PROFILE + "letter_grades = { A = '95' }", "profile.letter_grades: A: not a percentage"),
        ({}, PROFILE + "letter_grades = { A = true }", "profile.letter_grades: A: not a percentage"),
        ({}, PROFILE + "letter_grades = { Pass = 80 }", "profile.letter_grades: 'Pass': a letter grade has one or two"),
        ({}, "[tenants.lakeside.feedback]\nprevented = ['helped', ' ']\n", "feedback.prevented"),
        ({}, "[tenants.lakeside.review]\nweekly_sample = -1\n", "review.weekly_sample"),
    ],
)
def test_a_wrong_key_is_named_with_the_file(tmp_path: Path, keys: dict[str, str], extra: str, key: str) -> None:
    path = written(tmp_path, extra=extra, **keys)
    with pytest.raises(ConfigurationError) as caught:
        load_settings(home=tmp_path)
    assert str(caught.value).startswith(f"{path}: [tenants.lakeside] {key}")
    assert caught.value.exit_code == 2
    assert "pydantic" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "declares no tenant"),
        ("[tenants]", "declares no tenant"),
        ("tenants = 5", "declares no tenant"),
        ("[[tenants]]\nname = 'a'", "declares no tenant"),
        ("[tenants]\nlakeside = 5", "tenants.lakeside must be a table"),
        ("[tenant.lakeside]\ntimezone = 'UTC'", "unknown key 'tenant'"),
        ("[tenants.lakeside\n", "not valid TOML"),
        ("[tenants.a]\ntimezone = 'UTC'\ntimezone = 'UTC'", "not valid TOML"),
        ("[tenants.Lakeside]\ntimezone='UTC'\nfirst_week=2025-09-01", "[tenants.Lakeside] name"),
        ('[tenants."lakeside\\n"]\ntimezone="UTC"\nfirst_week=2025-09-01', "name"),
        ('[tenants."lake side"]\ntimezone="UTC"\nfirst_week=2025-09-01', "name"),
        ('[tenants."../up"]\ntimezone="UTC"\nfirst_week=2025-09-01', "name"),
        (f"[tenants.{'a' * 51}]\ntimezone='UTC'\nfirst_week=2025-09-01", "at most 50"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "edupulse.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        load_settings(home=tmp_path)
    assert str(path) in str(caught.value)
    assert words in str(caught.value)


def test_of_two_tenants_whose_names_differ_only_in_the_dash_the_second_does_not_run(tmp_path: Path) -> None:
    path = tmp_path / "edupulse.toml"
    tenants = [f"[tenants.{name}]\ntimezone='UTC'\nfirst_week=2025-09-01\n" for name in ("a-b", "a_b")]
    path.write_text("".join(tenants), encoding="utf-8")
    settings = load_settings(home=tmp_path)
    assert list(settings.tenants) == ["a-b"]
    assert list(settings.broken_tenants) == ["a_b"]
    assert str(path) in settings.broken_tenants["a_b"]
    assert "differ only in - and _" in settings.broken_tenants["a_b"]


def test_a_file_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "edupulse.toml"
    path.write_bytes("[tenants.a]\nlanding = 'é'".encode("latin-1"))
    with pytest.raises(ConfigurationError, match="not valid TOML"):
        load_settings(home=tmp_path)
    path.unlink()
    path.mkdir()
    with pytest.raises(ConfigurationError, match=r"edupulse\.toml, which is not a file"):
        load_settings(home=tmp_path)
    monkeypatch.setenv("EDUPULSE_CONFIG", str(tmp_path / "gone.toml"))
    with pytest.raises(ConfigurationError, match=r"EDUPULSE_CONFIG names .*gone\.toml, which does not exist"):
        load_settings(home=tmp_path)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("postgres://u:p@h:5432/d", "postgresql+psycopg2://u:p@h:5432/d"),
        ("postgresql://u@h/d?sslmode=require", "postgresql+psycopg2://u@h/d?sslmode=require"),
        ("PostgreSQL+psycopg://h/d", "postgresql+psycopg2://h/d"),
        ("postgresql+asyncpg://h/d", "postgresql+psycopg2://h/d"),
        ("postgresql+psycopg2://h/d", "postgresql+psycopg2://h/d"),
        (" postgresql:///d?host=/run/pg \n", "postgresql+psycopg2:///d?host=/run/pg"),
        ("postgresql://u:p%40ss@[::1]:5432/d", "postgresql+psycopg2://u:p%40ss@[::1]:5432/d"),
        (
            "postgresql://u:p%40,ss@a:6000,b/d?target_session_attrs=read-write",
            "postgresql+psycopg2://u:p%40,ss@/d?host=a,b&port=6000,5432&target_session_attrs=read-write",
        ),
        ("postgresql://a,[::1]:1", "postgresql+psycopg2:///?host=a,%3A%3A1&port=5432,1"),
        ("postgresql://%2Frun%2Fa,b/d", "postgresql+psycopg2:///d?host=%2Frun%2Fa,b&port=5432,5432"),
        ("sqlite:///x.db", "sqlite:///x.db"),
        ("sqlite+pysqlite:////srv/x.db", "sqlite:////srv/x.db"),
        ("sqlite://", "sqlite://"),
    ],
)
def test_one_spelling_of_a_database_url(given: str, expected: str) -> None:
    assert normalise_database_url(given) == expected
    assert normalise_database_url(expected) == expected


@pytest.mark.parametrize(
    "given",
    [
        "mysql://u:hunter2@h/d",
        "hunter2",
        "postgresql:/u:hunter2@h/d",
        "postgresql://u:hunter2@h:port/d",
        "postgresql://u:hunter2/x@h/d",  # a / in a password
        "postgresql://u:hunter2@[::1/d",
        "postgresql://u:hunter2@a:port,b/d",
        "oracle+x://hunter2",
    ],
)
def test_a_wrong_database_url_is_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("EDUPULSE_DATABASE_URL", given)
    with pytest.raises(ConfigurationError, match="EDUPULSE_DATABASE_URL") as caught:
        load_settings(home=tmp_path)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_settings_do_not_show_a_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDUPULSE_DATABASE_URL", "postgresql://u:hunter2@h/d?sslmode=verify-full")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://u:hunter2@mlflow.example.org")
    settings = load_settings(home=tmp_path)
    assert "hunter2" in settings.database_url
    assert settings.tracking_uri.endswith("mlflow.example.org")
    assert "hunter2" not in f"{settings} {settings!r}"


@pytest.mark.parametrize("name", ["con", "nul", "aux", "prn", "com1", "lpt9", "com0"])
def test_a_tenant_is_not_named_like_a_device(tmp_path: Path, name: str) -> None:
    (tmp_path / "edupulse.toml").write_text(f"[tenants.{name}]\ntimezone = 'UTC'\nfirst_week = 2025-09-01\n")
    with pytest.raises(ConfigurationError, match=rf"\[tenants.{name}\] name: '{name}' is the name of a dev") as caught:
        load_settings(home=tmp_path)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("name", ["raw", "originals", "landing", "dagster", "mlflow", "logs"])
def test_a_tenant_is_not_named_like_a_folder_of_ours(tmp_path: Path, name: str) -> None:
    (tmp_path / "edupulse.toml").write_text(f"[tenants.{name}]\ntimezone = 'UTC'\nfirst_week = 2025-09-01\n")
    with pytest.raises(ConfigurationError, match=rf"\[tenants.{name}\] name: '{name}' is the name of a folder"):
        load_settings(home=tmp_path)


@pytest.mark.parametrize("name", ["console", "nullschool", "rawlins", "com", "lpt10", "con-valley", "demo", "class"])
def test_names_that_only_begin_like_one_are_names(tmp_path: Path, name: str) -> None:
    (tmp_path / "edupulse.toml").write_text(f"[tenants.{name}]\ntimezone = 'UTC'\nfirst_week = 2025-09-01\n")
    assert load_settings(home=tmp_path).tenant(name).identifier == name.replace("-", "_")


@pytest.mark.parametrize("key", ["columns", "codes"])
@pytest.mark.parametrize("table", ["con", "raw", "originals", "''", "'..'"])
def test_a_profile_is_of_tables_that_are_delivered(tmp_path: Path, key: str, table: str) -> None:
    written(tmp_path, extra=f"[tenants.lakeside.profile.{key}.{table}]\nx = {{ y = 'z' }}\n")
    with pytest.raises(
        ConfigurationError, match=rf"profile.{key}.*(not a table that is delivered|string|not a text or a number)"
    ):
        load_settings(home=tmp_path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("x = " + "[" * 100_000, "nested too deeply"),
        ("[tenants.lakeside]\nx = " + "[" * 5_000 + "]" * 5_000, "nested too deeply"),
        ("x = " + "{a=" * 100_000, "nested too deeply"),
        ("[" * 100_000, "not valid TOML"),
        (f"x = {'9' * 5_000}", "a number that is too long"),
        (f"[tenants.lakeside]\nmax_quarantined = {'9' * 5_000}", "a number that is too long"),
        ("#" * (5 << 20), "larger than 4 MiB"),
        ("\0", "not valid TOML"),
        ("tenants" + ".a" * 4_000 + " = 1", "lakeside|tenants|a"),
    ],
    ids=lambda value: value[:20],
)
def test_a_hostile_settings_file_is_refused_in_words(tmp_path: Path, content: str, words: str) -> None:
    from click.testing import CliRunner

    from edupulse_pipelines.cli import main

    (tmp_path / "edupulse.toml").write_text(content)
    with pytest.raises(ConfigurationError, match=words) as caught:
        load_settings(home=tmp_path)
    assert len(str(caught.value)) < 2_000
    done = CliRunner().invoke(main, ["run", "--home", str(tmp_path)])
    assert done.exit_code == 2
    assert done.output.startswith("Error:")


@pytest.mark.parametrize("day", ["0001-01-01", "1899-12-25", "9999-12-27", "2200-01-06"])
@pytest.mark.parametrize("key", ["first_week = {}", "calendar.terms = [{{ start = 2025-09-01, end = {} }}]"])
def test_days_that_no_school_has_seen_are_refused(tmp_path: Path, day: str, key: str) -> None:
    """Around them there is no room for the arithmetic of weeks."""
    week = "" if key.startswith("first_week") else "first_week = 2025-09-01\n"
    text = f"[tenants.lakeside]\ntimezone = 'UTC'\n{week}{key.format(day)}\n"
    (tmp_path / "edupulse.toml").write_text(text)
    with pytest.raises(ConfigurationError, match=rf"{day} is not a day from 1970-01-01 to 2199-12-31|lies before"):
        load_settings(home=tmp_path)


@pytest.mark.parametrize(
    ("periods", "kind", "years"),
    [
        (5, "completed", 5),
        (5, None, 5),
        ({"completed": 5, "otherwise": 3}, "completed", 5),
        ({"completed": 5, "otherwise": 3}, "other", 3),
        ({"completed": 5, "otherwise": 3}, None, 5),  # whatever the kind was, it is over by then
        ({"completed": 5}, "completed", 5),
        ({"completed": 5}, "other", None),
        ({"completed": 5}, None, None),
        (dict.fromkeys(EXIT_TYPES, 4), None, 4),
    ],
)
def test_the_years_of_a_kind_of_exit(periods: object, kind: str | None, years: int | None) -> None:
    settings = RetentionSettings.model_validate({"grades": periods})
    assert settings.years("grades", kind) == years
    assert settings.years("predictions", kind) is None
