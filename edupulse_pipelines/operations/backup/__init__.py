"""A way back: `base_backups` copies a PostgreSQL with its WAL through Barman, and fills a folder from such a copy.

Barman is a program that is started, never imported. What Barman does not know (files, models, settings, SQLite) is put
together with a base backup by the moments of this room.
"""
