"""Imported by the process that the children of `interruptions` are forked from: everything slow has happened once.

Loading a few rows imports what is imported late and makes the suites of Great Expectations, which takes seconds.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from edupulse_pipelines.ingest.archive import archive_files
from edupulse_pipelines.ingest.load import load_records
from edupulse_pipelines.schema.delivery import DELIVERED
from edupulse_pipelines.storage.engine import create_engine
from edupulse_pipelines.storage.versions import upgrade
from edupulse_pipelines_tests.ingest.district import District, delivery_day

with tempfile.TemporaryDirectory() as _folder:
    _engine = create_engine(f"sqlite:///{_folder}/warm.db")
    upgrade(_engine)
    _district = District(_engine, Path(_folder), name="warm")
    for _table, _contract in DELIVERED.items():
        _columns = dict.fromkeys((*_contract.required, "district_id", *_contract.column_names[:3]))
        _district.land(delivery_day(1), **{_table: f"{','.join(_columns)}\n{','.join('?' for _ in _columns)}\n"})
    for _table in DELIVERED:
        archive_files(_district.work, _district.raw, _district.tenant, _table, [delivery_day(0)])
        load_records(_district.work, _district.raw, _district.tenant, _table, [delivery_day(0)])
    _engine.dispose()
