"""Writing educators' verdicts: records about a prediction, which has to be looked up in the database.

The merging itself is in `records`, the look-up in `references`.
"""

from __future__ import annotations

import pyarrow as pa

from edupulse_pipelines.ingest.references import predictions_of
from edupulse_pipelines.ingest.writers.records import PreparedRecords, RecordWriter


class FeedbackWriter(RecordWriter):
    """Writes one delivery of verdicts."""

    def looked_up(self, prepared: PreparedRecords) -> pa.Array:
        """For each row of the piece the id of its prediction; adds the reason to rows whose prediction is not there."""
        target = self.target
        return predictions_of(target.connection, target.work, target.tenant, prepared.piece, prepared.reasons)
