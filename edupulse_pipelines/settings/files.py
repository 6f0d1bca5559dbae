"""How large one landed file may be, and how wide."""

from __future__ import annotations

from pydantic import Field

from edupulse_pipelines.settings.section import Section


class FilesSettings(Section):
    """How much one landed file may be: what is over a limit is refused while it is read, before it fills the disk."""

    max_file_gib: float = Field(20.0, gt=0)
    """Uncompressed size of one file, or of all that one zip or bundle holds."""
    max_compression_ratio: float = Field(200.0, ge=1)
    max_columns: int = Field(2000, ge=1)
    """Columns in the header row of a CSV."""

    @property
    def max_bytes(self) -> int:
        """The largest uncompressed size that is read."""
        return int(self.max_file_gib * 2**30)
