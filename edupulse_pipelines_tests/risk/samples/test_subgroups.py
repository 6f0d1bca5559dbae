"""By what models are audited: columns of students, and keys of their metadata; who has no value stands apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from edupulse_pipelines.errors import ConfigurationError
from edupulse_pipelines.risk.judging.suppression import subgroup_rows
from edupulse_pipelines.risk.samples.cohorts import read_cohort, read_week
from edupulse_pipelines.risk.samples.subgroups import MOST_VALUES, read_subgroups
from edupulse_pipelines.schema.sqlalchemy_tables import students
from edupulse_pipelines.settings import AUDIT_COLUMNS, AuditSettings, TenantSettings
from edupulse_pipelines_tests.risk.district import made_up_district, tenant_settings, week, work_of, write

DISTRICT = made_up_district(count=12, weeks=5)
NUMBERS = sorted(DISTRICT.students.district_id)
FACTS: list[Any] = [
    {"special_education": True, "english_learner": "Y"},
    {"special_education": False, "english_learner": " N "},
    {"special_education": None, "english_learner": ""},
    {"english_learner": "1", "level": 2},
    {"special_education": "false", "races": ["a", "b"]},
    None,
    *[{}] * 6,
]


def audited(*names: str) -> TenantSettings:
    return tenant_settings(audit=AuditSettings(subgroups=names))


def put(engine: sa.Engine, tenant: TenantSettings, described: list[Any]) -> None:
    write(engine, tenant, DISTRICT)
    with engine.begin() as connection:
        for number, facts in zip(NUMBERS, described, strict=True):
            mine = sa.and_(students.c.tenant_id == tenant.name, students.c.district_id == number)
            connection.execute(sa.update(students).where(mine).values(student_metadata=facts))


def subgroups(engine: sa.Engine, tenant: TenantSettings) -> dict[str, np.ndarray]:
    with engine.connect() as connection:
        return read_subgroups(connection, work_of(connection, tenant), tenant, np.array(NUMBERS, dtype=object))


def test_a_key_of_the_metadata_makes_subgroups_and_what_is_not_sent_one_of_its_own(engine: sa.Engine) -> None:
    tenant = audited("metadata.special_education", "gender", "metadata.english_learner", "metadata.races")
    put(engine, tenant, FACTS)
    found = subgroups(engine, tenant)
    assert list(found) == list(tenant.audit.subgroups)
    assert found["metadata.special_education"].tolist() == ["true", "false", None, None, "false", *[None] * 7]
    assert found["metadata.english_learner"].tolist() == ["Y", "N", None, "1", *[None] * 8]
    assert found["metadata.races"][4] == '["a","b"]'
    rows_of = subgroup_rows(found, np.arange(12), 1)
    sizes = {name: len(rows) for name, rows in rows_of if name.startswith("metadata.special")}
    assert sizes == {
        "metadata.special_education=false": 2,
        "metadata.special_education=true": 1,
        "metadata.special_education=not recorded": 9,
    }


def test_a_district_that_names_none_is_audited_as_before(engine: sa.Engine) -> None:
    tenant = tenant_settings()
    put(engine, tenant, FACTS)
    with engine.begin() as connection:
        connection.execute(sa.update(students).where(students.c.district_id == NUMBERS[0]).values(gender="F"))
        connection.execute(sa.update(students).where(students.c.district_id == NUMBERS[1]).values(gender=""))
    found = subgroups(engine, tenant)
    assert tuple(found) == AUDIT_COLUMNS == ("gender", "ethnicity", "socioeconomic_status", "grade_level")
    assert found["gender"].tolist() == ["F", *[None] * 11]
    assert found["grade_level"].tolist() == ["9"] * 12


def test_the_rows_that_are_judged_carry_them(engine: sa.Engine) -> None:
    tenant = audited("metadata.english_learner")
    put(engine, tenant, FACTS)
    with engine.connect() as connection:
        work = work_of(connection, tenant)
        matrix = read_cohort(connection, work, tenant, [week(number) for number in range(5)])
    rows = np.arange(len(matrix.student))
    (values,) = matrix.subgroups(rows).values()
    told = dict(zip(matrix.population.district_ids[matrix.student].tolist(), values.tolist(), strict=True))
    sent = dict(zip(NUMBERS, ["Y", "N", None, "1", *[None] * 8], strict=True))
    assert told == {number: sent[number] for number in told}
    assert {"Y", "1", None} <= set(told.values())
    assert not any("english" in name for name in matrix.features)


def test_a_key_that_nobody_has_is_refused_with_those_there_are(engine: sa.Engine) -> None:
    """When a model is trained; scoring goes on, since it looks at no subgroup."""
    tenant = audited("gender", "metadata.special_educaton")
    put(engine, tenant, FACTS)
    with pytest.raises(ConfigurationError) as error, engine.connect() as connection:
        read_cohort(connection, work_of(connection, tenant), tenant, [week(4)])
    assert str(error.value) == (
        f"[tenants.{tenant.name}.audit] subgroups: no student has 'special_educaton' in student_metadata "
        "(there are: english_learner, level, races, special_education)."
    )
    with engine.connect() as connection:
        assert len(read_week(connection, work_of(connection, tenant), tenant, week(4))) > 5


def test_where_nobody_has_metadata_everybody_is_not_recorded(engine: sa.Engine) -> None:
    tenant = audited("metadata.special_education")
    put(engine, tenant, [{}] * 11 + [None])
    assert subgroups(engine, tenant)["metadata.special_education"].tolist() == [None] * 12


def test_what_tells_students_apart_is_no_subgroup(engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    tenant = audited("metadata.middle_name")
    put(engine, tenant, [{"middle_name": f"ZQ{number}"} for number in range(12)])
    assert MOST_VALUES < 50
    monkeypatch.setattr("edupulse_pipelines.risk.samples.subgroups.MOST_VALUES", 11)
    with pytest.raises(ConfigurationError, match=r"metadata\.middle_name has 12 different values") as error:
        subgroups(engine, tenant)
    assert "ZQ" not in str(error.value)
