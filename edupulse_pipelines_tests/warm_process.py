"""Imported by the process that others are forked from (`forked`): everything slow has happened once.

Loading a few rows imports what is imported late and makes the suites of Great Expectations, which takes seconds.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

# What a run imports when it comes to its steps.
import dagster  # noqa: F401
import mlflow  # noqa: F401
import sklearn  # noqa: F401

import edupulse_pipelines.cli
import edupulse_pipelines.orchestration.execution
import edupulse_pipelines.risk.scoring
import edupulse_pipelines.risk.training  # noqa: F401
from edupulse_pipelines.ingest.archive import archive_files
from edupulse_pipelines.ingest.load import load_records
from edupulse_pipelines.schema.delivery import DELIVERED
from edupulse_pipelines.storage.engine import create_engine
from edupulse_pipelines.storage.versions import upgrade
from edupulse_pipelines_tests.ingest.district import District, delivery_day
from edupulse_pipelines_tests.prepared import CompiledStatements

CompiledStatements.share()

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
