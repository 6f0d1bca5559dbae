"""Everything that imports Dagster: partitions, resources, assets, checks, jobs, schedules, and how they look in the UI.

No logic worth a unit test of its own lives here beyond that: an asset opens its resources, calls one function of a
domain room, and reports what came of it. Nothing heavy (pandas, SQLAlchemy, MLflow, …) is imported before a step runs,
and no value of a student's record goes into metadata, check results or logs: counts, names of files, columns and rules.
"""
