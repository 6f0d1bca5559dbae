"""The ground floor: every table declared once, and what is derived from that.

`declaration` has the words (Table, Column, Unique, …), `tables` says every table in them, in plain Python with no
third-party import. Derived, each in its own module: `sqlalchemy_tables` (Core tables with named constraints), `ddl`
(the `sql/schema/*.sql` files), `expectations` (Great Expectations suites), `dictionary` (the data dictionary) and
`migrations` (Alembic). Dagster's `TableSchema` is derived in `orchestration`, which alone imports dagster.
No business rules and no reading or writing of records live here; next room: `ingest`.
"""
