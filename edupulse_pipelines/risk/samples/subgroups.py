"""In which subgroups each student is: the columns of students and the keys of their metadata that the settings audit.

Read when a model is trained and not while students are scored: nothing here is an input of a model. A value that was
not sent is None, which `judging.evaluation` makes a subgroup of its own, "not recorded"; it is never counted as "no".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson
import sqlalchemy as sa
from numpy.typing import NDArray

from edupulse_pipelines.errors import ConfigurationError
from edupulse_pipelines.schema.sqlalchemy_tables import students
from edupulse_pipelines.settings import METADATA, TenantSettings
from edupulse_pipelines.storage.work import Work

MOST_VALUES = 30
"""So many different values may a key of the metadata have: subgroups stand in model cards and in MLflow, so what tells
single students apart (a second name, a number) is not audited by."""
_NAMED_AT_MOST = 20
"""So many keys are named in an error."""


def read_subgroups(
    connection: sa.Connection, work: Work, tenant: TenantSettings, district_ids: NDArray[np.object_]
) -> dict[str, NDArray[np.object_]]:
    """By name of what is audited, as the settings have it, each student's value as text; None where it was not sent.

    `district_ids`: the students, in the order of the answer. ConfigurationError for a key of the metadata that nobody
    has while there are others, and for one with so many values that it would tell students apart.
    """
    table, audited = students.c, tenant.audit.subgroups
    columns = [name for name in audited if not name.startswith(METADATA)]
    keys = tenant.audit.metadata_keys
    rows = connection.execute(
        sa.select(
            table.district_id, *(table[name] for name in columns), *((table.student_metadata,) if keys else ())
        ).where(table.tenant_id == work.tenant, table.deleted_on.is_(None))
    ).all()
    of_student = {row.district_id: row for row in rows}
    ordered = [of_student.get(number) for number in district_ids]
    facts_of = [getattr(row, "student_metadata", None) for row in ordered]
    described: list[Mapping[str, Any]] = [facts if isinstance(facts, dict) else {} for facts in facts_of]
    found = {name: [_text(getattr(row, name, None)) for row in ordered] for name in columns}
    found |= {f"{METADATA}{key}": [_text(facts.get(key)) for facts in described] for key in keys}
    _refuse_unknown(tenant, keys, described)
    _refuse_many(tenant, {key: found[f"{METADATA}{key}"] for key in keys})
    return {name: _objects(found[name]) for name in audited}


def _refuse_unknown(tenant: TenantSettings, keys: Sequence[str], described: Sequence[Mapping[str, Any]]) -> None:
    """A misspelt key would audit nothing, silently. Where nobody has any metadata, it may still come."""
    known = {key for facts in described for key in facts}
    unknown = [key for key in keys if key not in known]
    if unknown and known:
        names = sorted(known)
        more = f" and {len(names) - _NAMED_AT_MOST} more" if len(names) > _NAMED_AT_MOST else ""
        raise ConfigurationError(
            f"[tenants.{tenant.name}.audit] subgroups: no student has {unknown[0]!r} in student_metadata "
            f"(there are: {', '.join(names[:_NAMED_AT_MOST])}{more})."
        )


def _refuse_many(tenant: TenantSettings, values_by_key: Mapping[str, Sequence[str | None]]) -> None:
    for key, values in values_by_key.items():
        if (count := len({value for value in values if value is not None})) > MOST_VALUES:
            raise ConfigurationError(
                f"[tenants.{tenant.name}.audit] subgroups: {METADATA}{key} has {count:,} different values, more than "
                f"the {MOST_VALUES} that make subgroups; a model card would tell single students by it."
            )


def _text(value: Any) -> str | None:
    """A value as it stands in a subgroup's name; None for what is empty."""
    if isinstance(value, str):
        return value.strip() or None
    if value is None:
        return None
    # JSON's own spelling: true and false, numbers, lists.
    return orjson.dumps(value).decode()


def _objects(values: Sequence[str | None]) -> NDArray[np.object_]:
    made = np.empty(len(values), dtype=object)
    made[:] = values
    return made
