"""Keeping the database in shape: partitions and their maintenance.

Knows tables and no district's data logic; how rows are loaded is in `ingest`.
"""
