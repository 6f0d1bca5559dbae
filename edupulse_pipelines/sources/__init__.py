"""Outside formats on their way to the canonical landing CSV, and the synthetic district that writes it.

What lives here knows how a source looks and nothing of what happens to its rows: reading the landing folder,
validation, quarantine and merging are `ingest`'s. No database access, no Dagster.
"""

DEFAULT_SEED = 20260901
"""The seed of the synthetic district where nobody names another; here, because the command line names it without
importing what draws the district."""
