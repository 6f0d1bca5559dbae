"""Everything that touches the database on behalf of a room.

`database` opens it for whoever works with it, `engine` makes the engine of a URL, `versions` makes and checks its
schema, `work` opens transactions (no other module does). `bulk` moves many rows, `ids` makes their ids, `manifest`
records which files were read, `pending` keeps the marks of what has to be recomputed, `counts` counts what is stored,
`turns` says who waits for whom, `months` makes monthly partitions. No rule about students lives here, and nothing
imports Dagster; the rooms that do the work (`ingest`, `features`, `risk`, `operations`) stand on this one.
"""
