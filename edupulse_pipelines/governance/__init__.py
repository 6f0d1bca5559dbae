"""Who may see and change what, on record, and what a family may ask for.

`role_names` says what the roles of PostgreSQL are called, `access` what each may do with which table, `roles` makes
them (`edupulse db roles`). How row-level security is turned on for a table is part of the schema
(`schema.objects.guards`). On SQLite there are no roles: who may read the file may read every district.
`audit_verify` recomputes the record of changes and compares the tables with it (`audit_contents`), `audit_history`
reads it, `audit_years` retires what is old, and `audit_restate` accounts for what an erasure leaves. `past_records`
computes features of what was known at a moment.

`register` is every place where data of a student can lie; `inspection` shows what is held, `erasure` takes it away,
`retention` what is over by the district's periods, with `certificates` of it; `taking_away` has what both do to files.
`delivered_columns` tells as what the columns of a delivered file are read. `research` and `aggregates` give out what
tells nobody, `released_files` writes it, and `disclosures` is the record of what was given out.
"""
