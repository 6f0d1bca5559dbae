"""Writing judged rows into their table, one writer for a kind of table; `writer_of` says which.

`records` writes grades, incidents and any table of records that has no writer of its own; `students` and `feedback` are
records with a rule more; `attendance` comes by the million and is written by column. What all writers take and give is
in `outcomes`. Nothing is judged here beyond what only the database knows.
"""
