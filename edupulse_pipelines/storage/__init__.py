"""Everything that touches the database on behalf of a room.

`engine` makes the engine of a URL, `work` opens transactions (no other module does), `bulk` moves many rows, `ids`
makes their ids, `pending` keeps the marks of what has to be recomputed, `turns` lets one writer at a time change
a table, `months` makes, detaches and brings back monthly partitions. No rule about students lives here, and nothing
imports Dagster; the rooms that do the work (`ingest`, `features`, `risk`, `operations`) stand on this one.
"""
