"""By what a district has its models audited for fairness. Who is in which subgroup is read in `risk.samples`."""

from __future__ import annotations

from itertools import combinations
from typing import Literal

from pydantic import Field, field_validator, model_validator

from edupulse_pipelines.settings.section import Section

AUDIT_COLUMNS = ("gender", "ethnicity", "socioeconomic_status", "grade_level")
"""The columns of students that make subgroups; a district that names none is audited by all of them."""
METADATA = "metadata."
"""What stands before the name of a key of `student_metadata`."""
_LONGEST_NAME = 60
"""Characters; with its value a name has to fit into `model_evaluations.subgroup`."""


class AuditSettings(Section):
    """What the figures of a model are broken down by, and whom the promotion gate compares with everybody."""

    subgroups: tuple[str, ...] = Field(AUDIT_COLUMNS, min_length=1)
    """Columns of students, and `metadata.<key>` for keys of `student_metadata`. Whether any student has such a key is
    known when a model is trained, and refused then."""

    intersections: Literal["all", "none"] | tuple[tuple[str, str], ...] = "all"
    """Of which two of the subgroups the gate judges the intersections."""

    @field_validator("subgroups")
    @classmethod
    def _something_to_audit_by(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if name not in AUDIT_COLUMNS and not (name.startswith(METADATA) and name.removeprefix(METADATA).strip()):
                raise ValueError(
                    f"{name[:_LONGEST_NAME]!r} is nothing to audit by; there are {', '.join(AUDIT_COLUMNS)}, and "
                    f"{METADATA}<key> for a key of student_metadata"
                )
            if len(name) > _LONGEST_NAME or "=" in name:
                raise ValueError(f"{name[:20]}…: a name of at most {_LONGEST_NAME} characters, and without =")
        if twice := sorted({name for name in value if value.count(name) > 1}):
            raise ValueError(f"{twice[0]!r} is named twice")
        return value

    @model_validator(mode="after")
    def _pairs_of_what_is_audited(self) -> AuditSettings:
        for one, other in self.pairs:
            for name in (one, other):
                if name not in self.subgroups:
                    raise ValueError(f"intersections: {name[:_LONGEST_NAME]!r} is not among the subgroups")
            if one == other:
                raise ValueError(f"intersections: {one!r} with itself")
        return self

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """The attributes whose intersections are judged, two by two."""
        if isinstance(self.intersections, str):
            return tuple(combinations(self.subgroups, 2)) if self.intersections == "all" else ()
        return self.intersections

    @property
    def metadata_keys(self) -> tuple[str, ...]:
        """The keys of `student_metadata` among the subgroups."""
        return tuple(name.removeprefix(METADATA) for name in self.subgroups if name.startswith(METADATA))
