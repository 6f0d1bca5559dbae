"""Features: what is known about a student at the end of a school week.

`definitions` declares them. `weekly_activity` keeps one row per student and week, counted from the records in
`roll_up`; `vectors` computes the feature vector from these rows, and `store` keeps it. `standing` computes the features
of the whole school year and the comparison with classmates, which are not stored. `school_calendar` says which weeks
had school. Not here: loading records (`ingest`), labels and models (`risk`).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edupulse_pipelines.features.definitions import FEATURES as FEATURES
    from edupulse_pipelines.features.school_calendar import SchoolCalendar as SchoolCalendar
    from edupulse_pipelines.features.store import FeatureReport as FeatureReport
    from edupulse_pipelines.features.store import read_features as read_features
    from edupulse_pipelines.features.store import update_student_features as update_student_features
    from edupulse_pipelines.features.vectors import attendance_rate as attendance_rate
    from edupulse_pipelines.features.vectors import feature_vectors as feature_vectors
    from edupulse_pipelines.features.vectors import vector_json as vector_json
    from edupulse_pipelines.features.weekly_activity import ActivityReport as ActivityReport
    from edupulse_pipelines.features.weekly_activity import update_weekly_activity as update_weekly_activity

_MODULE_OF = {
    "FEATURES": "definitions",
    "SchoolCalendar": "school_calendar",
    "FeatureReport": "store",
    "read_features": "store",
    "update_student_features": "store",
    "attendance_rate": "vectors",
    "feature_vectors": "vectors",
    "vector_json": "vectors",
    "ActivityReport": "weekly_activity",
    "update_weekly_activity": "weekly_activity",
}
# The function `school_calendar` is imported from the module whose name it shares.


def __getattr__(name: str) -> Any:
    """The room's functions, imported when first asked for: reading the definitions must not import pandas."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
