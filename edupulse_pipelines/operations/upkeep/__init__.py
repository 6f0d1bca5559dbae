"""The upkeep of the database: what it needs, done gently; how large it is and when its disk will be full.

`maintenance` is what the weekly job and `edupulse db maintain` call: `keep_up` does what is needed, `state_of`
measures. `tasks` is what there is to do and what came of it, `postgresql` and `sqlite` decide it and do it; `sizes`
measures and `growth` compares with the weeks before; `findings` looks at slow statements and at what the server writes
to its log; `disks` knows how much room there is. What each measurement asks the database stands in `sql/maintenance/`,
for people too (`queries`). Months of partitions are in `operations.partitions`.
"""
