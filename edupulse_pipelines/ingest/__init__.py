"""From landed files to record tables: archived, judged, written or quarantined. Every row is accounted for.

The way of a file: `landing` finds it in its delivery, `archive` keeps it as it came (`archived_file`) and enters it in
the manifest. The way of a delivery, in `load`: `delivery` reads its rows (`delivered_rows`, `frames`) and judges them
(`validation`), `merging` has the good ones written (`writers`) and the bad ones kept (`quarantine`), and enters the
account. Beside it: `replay` tries quarantined rows again, `export` and `corrections` take them to a person and back,
`snapshots` takes back what a full snapshot no longer holds.

Formats are read in `sources`, the database is reached through `storage`, what follows from the records is computed in
`features`.
"""
