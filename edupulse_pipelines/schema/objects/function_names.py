"""The names of our functions in PostgreSQL, of today and of earlier versions: what `db upgrade` may replace and drop.

A database may hold functions of others, also some whose names begin like ours. A name that is declared for the first
time is added here, and stays when its function goes, so that `db upgrade` takes the function away.
"""

from __future__ import annotations

from edupulse_pipelines.schema.tables import AUDITED, RECORD_TABLES

FUNCTION_NAMES = frozenset(
    {
        "edupulse_guard",
        "edupulse_guard_rows",
        "edupulse_audit_arrive",
        "edupulse_audit_begin",
        "edupulse_audit_built",
        "edupulse_audit_columns",
        "edupulse_audit_content",
        "edupulse_audit_entries",
        "edupulse_audit_fixed",
        "edupulse_audit_guard",
        "edupulse_audit_images",
        "edupulse_audit_is_retired",
        "edupulse_audit_link",
        "edupulse_audit_moment",
        "edupulse_audit_moved",
        "edupulse_audit_next",
        "edupulse_audit_number",
        "edupulse_audit_record",
        "edupulse_audit_refuse_truncate",
        "edupulse_audit_release",
        "edupulse_audit_start",
        "edupulse_month_attach",
        "edupulse_month_bound",
        "edupulse_month_bounds",
        "edupulse_month_column",
        "edupulse_month_columns",
        "edupulse_month_demand_ended",
        "edupulse_month_demand_started",
        "edupulse_month_end",
        "edupulse_month_finish",
        "edupulse_month_hold_default",
        "edupulse_month_locks",
        "edupulse_month_make",
        "edupulse_month_name",
        "edupulse_month_partition",
        "edupulse_month_place",
        "edupulse_month_rename",
        "edupulse_month_start",
        "edupulse_month_table",
        "edupulse_month_take",
        "edupulse_month_tenant",
        "edupulse_month_unclaimed",
        "edupulse_month_writer",
        "edupulse_refuse_change",
        "edupulse_touch_updated_at",
    }
    | {f"edupulse_audit_{part}_{name}" for name in AUDITED for part in ("row", "statement")}
    | {f"{name}_as_recorded" for name in RECORD_TABLES}
)
