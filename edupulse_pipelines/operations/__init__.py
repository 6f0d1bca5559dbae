"""Keeping the database in shape: `partitions` makes months ahead of need, and takes old ones out for archiving.

Knows tables and no district's data logic; how rows are loaded is in `ingest`, how a load makes its months in `storage`.
"""
