"""Every table declared once, and what is derived from that; every other room stands on this one.

`declaration` has the words (Table, Column, Unique, …), `tables` declares every table in them, `delivery` the files that
districts deliver, `reasons` the codes of the quarantine: plain Python data, no third-party import. Derived, each in
its own module: `sqlalchemy_tables` (Core tables with named constraints), `ddl` (the `sql/schema/*.sql` files),
`expectations` (Great Expectations suites), `dictionary` (the data dictionary). Dagster's `TableSchema` is derived in
`orchestration`, which alone imports dagster.

`migrations` (Alembic) changes the tables of a database, `objects` declares what is replaced as a whole (comments,
functions, triggers), `catalogs` reads what a database has. They work on a connection that they are given
(`storage.versions` opens it). No business rules and no reading or writing of records live here.
"""
