"""Bringing a database of version 1.0 along: its tables are moved, and their rows come over as records of one district.

`adopt` does it, `dry_run` says what would come of it, `finish` drops the old tables. What the old tables are and where
they go is in `storage.version_1`. Rows of students, attendance, grades, incidents and verdicts are archived like a
delivery and loaded like one (`records`); models and predictions, which nobody delivers, are in `scores`. How old rows
are read is in `extracts`, what is counted in `accounts`, what has to hold before anything is changed in `conditions`.
"""
