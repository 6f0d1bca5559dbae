"""Writing judged rows into their table, one writer for a kind of table; `writer_of` says which.

`records` writes grades, incidents and any table of records that has no writer of its own; `students` and `feedback` are
records with a rule more; `attendance` comes by the million and is written by column (`attendance_rows`,
`attendance_changes`). What all writers take and give is in `outcomes`, how old a record's fields are in `field_dates`.
Nothing is judged here beyond what only the database knows.
"""
